"""The strict nbval goes red for what it should: small notebooks are tampered with and run by a pytest of their own."""

import base64
import copy
import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from authoring import build

TESTS = Path(__file__).parent

LESSON = r"""# %%
import os
import sys

import matplotlib.pyplot as plt

# %%
print("value", 3)

# %%
print("accuracy: 0.974  (checked: >= 0.9)")

# %%
4;

# %%
fig, ax = plt.subplots(figsize=(3, 2))
ax.plot([1, 3, 2]);

# %%
fig, ax = plt.subplots(figsize=(3, 2))
ax.plot([1, 2, 3]);

# %%
print(os.environ["OMP_NUM_THREADS"], os.environ["COURSE_PROFILE"])

# %%
print("the end")
"""


def source(cell, old, new):
    assert old in cell.source
    cell.source = cell.source.replace(old, new)


def stored(cell, old, new):
    assert old in cell.outputs[0].text
    cell.outputs[0].text = cell.outputs[0].text.replace(old, new)


def png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def crop(cell):
    picture = Image.open(io.BytesIO(base64.b64decode(cell.outputs[0].data["image/png"])))
    cell.outputs[0].data["image/png"] = png(picture.crop((0, 0, picture.width, picture.height - 1)))


def harmless(cells):
    stored(cells[2], "0.974", "0.9681")
    source(cells[4], "[1, 3, 2]", "[3, 1, 2]")
    cells[4].metadata.tags = ["nbval-ignore-figure"]


def wrong_values(cells):
    stored(cells[1], "3", "4")
    stored(cells[2], ">= 0.9)", ">= 0.8)")
    source(cells[3], "4;", "4")
    source(cells[4], "[1, 3, 2]", "[3, 1, 2]")
    crop(cells[5])
    cells[0].execution_count = None                # never run


def wrong_behaviour(cells):
    source(cells[1], "3", "1 / 0")
    source(cells[2], "print", "import socket; socket.create_connection(('192.0.2.1', 80)); print")
    source(cells[3], "4;", "sys.stderr.write('oh');")
    cells[4].outputs = []
    source(cells[6], "print", "os._exit(1); print")
    cells[3].execution_count, cells[4].execution_count = 5, 4                         # run in another order


SLIDERS = r"""# %%
import matplotlib.pyplot as plt

from course_lib.plots import sliders

def show(a, title):
    plt.figure(figsize=(2, 1))
    plt.plot([1, a, 2])
    plt.title(title)

# %%
# Figure: a line that bends where the slider says.
sliders(show, a=(3, 0, 9, 1), title="bent")

# %%
# Figure: another one.
sliders(show, a=(0.5, 0, 9, 0.1), title="bent")

# %%
sliders(lambda t: print("written at", t), t=(0.5, 0, 1, 0.1))

# %%
for wrong in (3, (7, 0, 1, 1), (0, 1)):
    try:
        sliders(show, a=wrong, title="")
    except ValueError as e:
        print(e)
try:
    sliders(lambda a: None, a=(0, 0, 1, 1))
except ValueError as e:
    print(e)
"""


def another_start(cells):
    source(cells[2], "(0.5, 0, 9", "(8.5, 0, 9")
    source(cells[3], "(0.5,", "(0.6,")


SOUNDS = r"""# %%
import torch

from course_lib.plots import animate, listen

def walk(step):
    film = torch.zeros(1, 6, 1, 16, 16)
    for t in range(6):
        film[0, t, 0, 4:12, t * step:t * step + 5] = 1
    return film

def tone(frequency, phase=0.0, n=800):
    return 0.5 * torch.sin(6.2832 * frequency * torch.arange(n) / 8000 + phase)

# %%
listen(tone(440), 8000, ["tone"])

# %%
listen(tone(440), 8000, ["tone"])

# %%
listen([tone(440), tone(880)], 8000, ["tone", "octave"])

# %%
listen(tone(440), 8000, ["tone"])

# %%
listen(tone(440), 8000, ["tone"])

# %%
animate(walk(2), ["walk"])

# %%
animate(walk(2), ["walk"])

# %%
animate(walk(2), ["walk"])

# %%
print("the end")
"""


def other_sounds(cells):
    source(cells[1], "440", "440, phase=1.0")      # no ear hears it
    source(cells[2], "440", "470")
    source(cells[3], "listen([tone(440), tone(880)], 8000, ", "listen([tone(440)], 8000, [")
    source(cells[3], '[["tone", "octave"]', '["tone, octave"]')
    source(cells[4], "440", "440, n=799")
    source(cells[5], "8000, [", "7999, [")
    source(cells[6], "walk(2)", "0.99 * walk(2)")  # moving pictures: none sees it
    source(cells[7], "walk(2)", "walk(1)")
    source(cells[8], "walk(2)", "walk(2)[:, :5]")


CASES = {                                          # what is done to a notebook: {the item that goes red: what it says}
    harmless: {},
    wrong_values: {"Cell 1": "outputs differ", "Cell 2": "outputs differ", "Cell 3": "Unexpected output",
                   "Cell 4": r"figure 0 differs from the stored one: RMS", "Cell 5": "figure 0 is stored with shape",
                   "top to bottom": r"not run from top to bottom: execution counts \[None, 2, 3, 4, 5"},
    wrong_behaviour: {"Cell 1": "ZeroDivisionError", "Cell 2": "the network is switched off",
                      "Cell 3": "Unexpected output.*stderr", "Cell 4": "Unexpected output", "Cell 6": "kernel died",
                      "Cell 7": "Kernel dead",
                      "top to bottom": r"not run from top to bottom: execution counts \[1, 2, 3, 5, 4, 6, 7, 8\]"},
    another_start: {"Cell 2": r"figure 0 differs from the stored one: RMS", "Cell 3": "outputs differ"},
    other_sounds: {"Cell 2": "sound 0 differs from the stored one: its spectrogram by", "Cell 3": "outputs differ",
                   "Cell 4": "sound 0 is stored with 800 samples at 8000 Hz and was made with 799 at 8000",
                   "Cell 5": "made with 800 at 7999", "Cell 7": r"figure 0 differs from the stored one: RMS",
                   "Cell 8": r"stored with shape \(6, 16, 16, 3\) and was drawn with shape \(5, 16, 16, 3\)"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All cases, in one run of tests/run.py: {case: {item: (seconds, failure)}}, its output, its exit code."""
    folder = tmp_path_factory.mktemp("cases")
    lesson, turned, heard = (build.execute(build.cells_of(text), folder)[0] for text in (LESSON, SLIDERS, SOUNDS))
    for tamper in CASES:
        changed = copy.deepcopy({another_start: turned, other_sounds: heard}.get(tamper, lesson))
        tamper(changed.cells)
        nbformat.write(changed, folder / f"{tamper.__name__}.ipynb")
    path = os.pathsep.join([str(build.ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"COURSE_OFFLINE_LOG": str(folder / "attempts"), "PYTHONPATH": path}
    command = [sys.executable, TESTS / "run.py", folder, "-p", "conftest", f"--junitxml={folder}/junit.xml"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    results = {tamper: {} for tamper in CASES}
    for case in xml.etree.ElementTree.parse(folder / "junit.xml").iter("testcase"):
        tamper, = (t for t in CASES if t.__name__ in case.get("classname"))
        results[tamper][case.get("name")] = float(case.get("time")), "\n".join(f.text for f in case.findall("failure"))
    return results, done.stdout, done.returncode, turned


@pytest.mark.parametrize("tamper", CASES, ids=lambda f: f.__name__)
def test_exactly_what_was_tampered_with_goes_red(run, tamper):
    results, n = run[0][tamper], {another_start: 5, other_sounds: 10}.get(tamper, 8)
    assert list(results) == [*(f"Cell {i}" for i in range(n)), "top to bottom"]
    assert [item for item, (_, failure) in results.items() if failure] == list(CASES[tamper])
    for item, message in CASES[tamper].items():
        assert re.search(message, results[item][1])


def test_a_dead_kernel_is_reported_within_seconds(run):
    assert sum(seconds for seconds, _ in run[0][wrong_behaviour].values()) < 30


def test_the_run_ends_with_pytests_summary_and_a_table_of_times(run):
    _, printed, code, _ = run
    summary, table = printed.rsplit("belongs to no lesson: ", 1)
    assert code == 1 and re.search(rf"=+ {sum(map(len, CASES.values()))} failed, \d+ passed in .*=+\s*$", summary)
    times = dict(re.findall(r"^ +\d+\.\d  (?:\S+/)?((\w+)\.ipynb)$", table, flags=re.MULTILINE))
    assert sorted(times.values()) == sorted(tamper.__name__ for tamper in CASES)
    assert re.search("something tried to reach the network.*192.0.2.1", summary, flags=re.DOTALL)


def test_each_notebook_stays_with_one_worker(run):
    assert "2 workers" in run[1]                   # and yet every cell found what the cell before it had made


def test_figures_are_compared_by_number_shape_and_rms():
    from nbval_repairs import compare_figures

    grey = np.full((4, 6, 3), 100.0)
    assert compare_figures([grey, grey], [grey, grey + 4.9]) == ""
    assert "RMS 5.1 > 5" in compare_figures([grey, grey], [grey, grey - 5.1])
    assert "stores 1 figures, the cell drew 2" in compare_figures([grey], [grey, grey])
    assert "shape (4, 6, 3)" in compare_figures([grey], [grey[1:]])


def test_figures_are_compared_as_they_look_whatever_their_palettes():
    from nbval_repairs import compare_figures, figures

    def stored(*colours, picture):
        palette = Image.fromarray(np.array(picture, dtype=np.uint8), "P")
        palette.putpalette([c for colour in colours for c in colour])
        return figures([{"data": {"image/png": png(palette)}}])

    white, blue, red = (255, 255, 255), (0, 114, 178), (213, 94, 0)
    plain = Image.new("RGBA", (2, 1), white)
    plain.putpixel((1, 0), (*blue, 255))
    drawn = figures([{"data": {"image/png": png(plain)}}])
    assert compare_figures(stored(white, blue, picture=[[0, 1]]), drawn) == ""
    assert compare_figures(stored(blue, white, picture=[[1, 0]]), drawn) == ""
    assert "RMS" in compare_figures(stored(white, red, picture=[[0, 1]]), drawn)     # the same numbers, other colours


def test_a_saved_slider_is_a_picture_or_a_text(run):
    _, picture, other, text, faults = run[3].cells
    still, = picture.outputs
    assert still.output_type == "display_data" and set(still.data) == {"image/png", "text/plain"}
    assert still.data["text/plain"] == "sliders: a, title" and still.metadata["image/png"]["alt"].startswith("a line")
    assert other.outputs[0].data["image/png"] != still.data["image/png"]
    assert [o.data for o in text.outputs] == [{"text/plain": "written at 0.5\n"}]
    messages = faults.outputs[0].text.splitlines()
    assert [m.split(" is no range: expected")[0] for m in messages[:3]] == ["a=3", "a=(7, 0, 1, 1)", "a=(0, 1)"]
    assert messages[3:] == ["<lambda> drew and printed nothing with {'a': (0, 0, 1, 1)}"]
