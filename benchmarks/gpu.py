"""What a CPU cannot show, in at most four minutes:  make gpu-check  (WRITE=1 keeps the table in benchmarks/README.md)

Every public function of course_lib on the GPU (the contracts that `make test` checks on simulated tensors); then GPT
and flow matching trained with the sizes of COURSE_PROFILE=gpu, in bfloat16, plain and with torch.compile; then
sampling. Without a GPU it says so, and that is all."""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from course_lib.data import Batches, load
from course_lib.data.text import Windows, encode, load_text
from course_lib.decoding import generate
from course_lib.device import budget, device, seed
from course_lib.gpt import GPT, fast, lm_loss
from course_lib.metrics import bits_per_byte, control_accuracy, frechet_distance, judge_features
from course_lib.muon import muon, muon_unet
from course_lib.pipeline import Pipeline, PipelineConfig, pipeline_loss
from course_lib.train import fit

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "benchmarks" / "README.md"
BEGIN, END = "<!-- gpu-check -->", "<!-- end of gpu-check -->"


def seconds(f) -> float:
    """Of the second call: the first one loads kernels and compiles."""
    f()
    finish()
    begin = time.perf_counter()
    f()
    finish()
    return time.perf_counter() - begin


def finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def contracts() -> str:
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_contracts.py", "-k", "real_gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-2000:] if done.returncode else "", end="")
    return done.stdout.strip().splitlines()[-1].strip("= ")


def a_gpt():
    seed(0)
    return GPT(budget(cpu=fast(n_layer=2, n_head=2, n_embd=64, block_size=64),
                      gpu=fast(n_layer=8, n_head=8, n_embd=512, block_size=256))).to(device())


def a_flow():
    seed(0)
    return Pipeline(PipelineConfig(sizes=dict(n_class=10), guidance=2.0)).to(device())


def training(make, loss, batches, steps: int, compiled: bool, **settings) -> tuple[torch.nn.Module, float]:
    """-> the model after two trainings of `steps` batches, and the seconds of the second"""
    model = make()
    if compiled:
        model.compile() if isinstance(model, GPT) else model.network.compile()
    took = seconds(lambda: fit(model, loss, batches, steps, progress=False, **settings))
    return model.eval(), took


def measure() -> list[str]:
    where = device()
    name = torch.cuda.get_device_name() if where.type == "cuda" else f"{platform.machine()}, {where.type}"
    lines = [f"{name}, torch {torch.__version__}", "", f"Every public function on it: {contracts()}.", "",
             "| | plain | with torch.compile |", "|---|---:|---:|"]
    novels, digits = load_text("austen"), load("digits")
    size, steps = budget(cpu=(4, 64), gpu=(64, 256)), budget(cpu=5, gpu=300)
    rows = {"GPT: tokens a second, training": [], "GPT: bits per byte after that": [],
            "flow: images a second, training": [], "flow: Fréchet distance after that": [],
            "flow: asked for, and read so": []}
    for compiled in (False, True):
        gpt, took = training(a_gpt, lm_loss, Windows(novels.train, *size), steps, compiled, optimizer=muon, decay=1.0)
        rows["GPT: tokens a second, training"].append(f"{size[0] * size[1] * steps / took:,.0f}")
        bits = bits_per_byte(gpt, novels.test[:20_000].to(where), block_size=size[1])
        rows["GPT: bits per byte after that"].append(f"{bits:.2f}")
        batch = budget(cpu=16, gpu=256)
        flow, took = training(a_flow, pipeline_loss, Batches(*digits.train, batch_size=batch), steps, compiled,
                              optimizer=muon_unet, decay=0.6, ema=0.99)
        rows["flow: images a second, training"].append(f"{batch * steps / took:,.0f}")
        wanted = torch.arange(budget(cpu=100, gpu=1_000)) % 10
        images = flow.sample(len(wanted), wanted.to(where)).cpu()
        distance = frechet_distance(judge_features(images), judge_features(digits.test[0]))
        rows["flow: Fréchet distance after that"].append(f"{distance:.2f}")
        rows["flow: asked for, and read so"].append(f"{control_accuracy(None, images, wanted):.2f}")
    lines += [f"| {row} | {' | '.join(values)} |" for row, values in rows.items()]
    prompts = [encode("\nElizabeth ").to(where)] * budget(cpu=2, gpu=64)
    took = seconds(lambda: generate(gpt, prompts, 100))
    lines += [f"| GPT: tokens a second, written | {100 * len(prompts) / took:,.0f} | |"]
    took = seconds(lambda: flow.sample(len(wanted), wanted.to(where), batch_size=1_000))
    return lines + [f"| flow: images a second, drawn | {len(wanted) / took:,.0f} | |"]


def keep(lines: list[str], readme: Path = README) -> None:
    """Put the lines between the two marks of the page."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/README.md")
    parser.add_argument("--anyhow", action="store_true", help="run without a GPU too, with COURSE_PROFILE=cpu")
    options = parser.parse_args()
    if device().type == "cpu" and not options.anyhow:
        print("There is no GPU here (torch sees neither CUDA nor MPS): nothing was checked.")
        return
    os.environ.setdefault("COURSE_PROFILE", "cpu" if options.anyhow else "gpu")
    lines = measure()
    print("\n".join(lines))
    if options.write:
        keep(lines)


if __name__ == "__main__":
    main()
