"""The diffusion models of lessons 61 to 64 beside those of `diffusers` and `denoising-diffusion-pytorch`.

`rows()` and `after()` are parts of `make bench`; `TQDM_DISABLE=1 python benchmarks/diffusion.py` runs them alone.
`after()` gives each network 60 seconds of processor time on the same 4,000 digits, draws 1,000 images with its own
sampler and lets the judge of the course compare them with the test digits. The peers get our optimiser, decay and
average of the weights, which are better at this length than their examples'; network, noise schedule, loss and sampler
are theirs.
"""

import importlib.util
import time
from functools import partial

import torch
from torch.nn import functional as F

from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.gaussians import GaussianMixture
from course_lib.metrics import measure
from course_lib.pipeline import Pipeline, PipelineConfig, pipeline_loss
from course_lib.train import fit

x, y = load("digits").train
SETTINGS = dict(lr=2e-3, betas=(0.9, 0.99), warmup=50, decay=0.6, ema=0.995, progress=False)


class Ours:
    """A pipeline with its loss. bf16 and channels_last, as its recipe has it."""

    loss_fn, autocast, labels = staticmethod(pipeline_loss), True, None

    def __init__(self, **config):
        self.model = Pipeline(PipelineConfig(**config)).to(memory_format=torch.channels_last)
        self.data = x,

    def sample(self, n):
        return self.model.sample(n, self.wanted(n), seeded(0))

    def wanted(self, n):
        """What the images shall show: nothing in particular."""
        return None


class OursWithLabels(Ours):
    """... of the digits, in equal numbers."""

    labels = torch.arange(1_000) % 10

    def __init__(self):
        super().__init__(sizes=dict(n_class=10), guidance=2.0)
        self.data = x, y

    def wanted(self, n):
        return self.labels[:n]


class OursWithClusters(Ours):
    """No label is used. The mixture of 40 Gaussians of lesson 13 sorts the images into clusters, which then serve as
    labels, drawn as often as they occur (the idea of Bao et al., 2022, "Why are conditional generative models better
    than unconditional ones?"). Fitting the mixture counts as training."""

    def __init__(self):
        mixture, _ = GaussianMixture.fit(x, generator=seeded(0))
        self.clusters = mixture.responsibilities(x).argmax(-1)                # (4000,)
        super().__init__(sizes=dict(n_class=mixture.config.n_gaussian), guidance=1.5)
        self.data = x, self.clusters

    def wanted(self, n):
        return self.clusters[torch.randint(len(x), (n,), generator=seeded(1))]


class Diffusers:
    """UNet2DModel of 1.1 million numbers, predicts the noise, drawn by its DDIM in 50 steps."""

    labels, data, autocast = None, (x,), False

    def __init__(self):
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

        self.noising, self.sampler = DDPMScheduler(1000), DDIMScheduler(1000)
        self.model = UNet2DModel(sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=8,
                                 block_out_channels=(32, 64, 64), attention_head_dim=16,
                                 down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                                 up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))

    def loss_fn(self, model, images):
        t, eps = torch.randint(1000, (len(images),)), torch.randn_like(images)
        return {"loss": F.mse_loss(model(self.noising.add_noise(2 * images - 1, eps, t), t).sample, eps)}

    @torch.no_grad()
    def sample(self, n):
        self.sampler.set_timesteps(50)
        images = torch.randn(n, 1, 28, 28, generator=seeded(0))
        for t in self.sampler.timesteps:
            eps = torch.cat([self.model(part, t).sample for part in images.split(100)])
            images = self.sampler.step(eps, t, images).prev_sample
        return (images / 2 + 0.5).clamp(0, 1)


class DenoisingDiffusionPytorch:
    """Unet(dim=16), predicts v as its GaussianDiffusion can, drawn by its DDIM in 50 steps."""

    labels, data, autocast = None, (x,), False

    def __init__(self):
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet

        self.model = GaussianDiffusion(Unet(dim=16, dim_mults=(1, 2, 4), channels=1), image_size=28, timesteps=1000,
                                       sampling_timesteps=50, objective="pred_v")

    @staticmethod
    def loss_fn(model, images):
        return {"loss": model(images)}

    @torch.no_grad()
    def sample(self, n):
        seed(0)
        return torch.cat([self.model.sample(batch_size=min(100, n - i)) for i in range(0, n, 100)]).clamp(0, 1)


def here(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


CONTENDERS = {"ours, flow, labels, guidance 2": OursWithLabels,
              "ours, flow, clusters for labels, guidance 1.5": OursWithClusters,
              "ours, flow": Ours,
              "ours, DDPM (v)": partial(Ours, path="v", steps=30)}
INSTALLED = {"diffusers": ("diffusers, UNet2DModel", Diffusers),
             "denoising_diffusion_pytorch": ("denoising-diffusion-pytorch, Unet(dim=16)", DenoisingDiffusionPytorch)}
PEERS = dict(peer for package, peer in INSTALLED.items() if here(package))


def train(contender, steps: int) -> None:
    fit(contender.model, contender.loss_fn, Batches(*contender.data, batch_size=32), steps,
        autocast=contender.autocast, **SETTINGS)


def rows() -> list[tuple]:
    """Speed in training and in drawing, each beside each peer."""
    mine, found = Ours(), []
    for name, make in PEERS.items():
        peer = make()
        found.append(("10 batches of 32 digits", "ours, flow, bf16", lambda: train(mine, 10), name,
                      lambda peer=peer: train(peer, 10)))
        found.append(("drawing 20 digits", "30 evaluations", lambda: mine.sample(20), f"{name}, 50",
                      lambda peer=peer: peer.sample(20)))
    return found


def processor_seconds(f, *args) -> tuple:
    """What f(*args) returns, and the seconds it took."""
    begin = time.process_time()
    result = f(*args)
    return result, (time.process_time() - begin) / torch.get_num_threads()


def after(seconds: float = 60.0) -> None:
    """Every contender trained for so many seconds, then judged. Others on this machine do not count."""
    print(f"\n| after {seconds:.0f} s of processor time | parameters | batches | images/s | drawn/s "
          "| Fréchet | precision | recall | control |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, make in (CONTENDERS | PEERS).items():
        seed(0)
        contender, building = processor_seconds(make)
        train(contender, 5)                                                   # warm up
        steps = int(20 * (seconds - building) / processor_seconds(train, contender, 20)[1])
        seed(0)
        contender = make()
        _, spent = processor_seconds(train, contender, steps)
        drawn, drawing = processor_seconds(contender.sample, 1_000)
        m = measure(drawn, contender.labels, n_bootstrap=50)
        n = sum(p.numel() for p in contender.model.parameters())
        control = f"{m['control']:.3f}" if "control" in m else "–"
        print(f"| {name} | {n:,} | {steps} | {32 * steps / spent:.0f} | {1_000 / drawing:.1f} | {m['frechet']:.2f} "
              f"| {m['precision']:.2f} | {m['recall']:.2f} | {control} |", flush=True)


if __name__ == "__main__":
    from run import table

    table(rows())
    after()
