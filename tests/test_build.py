"""The builder: a text and its notebook hold the same, two builds give the same bytes, and no edit is ever lost."""

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from PIL import Image

from authoring import build

LESSONS = sorted(Path(build.ROOT, "authoring", "lessons").glob("[0-9][0-9]_*.py"))

DEMO = r"""# %% [markdown]
# # A demo
#
# An equation, $x^2$, and
#
# - a list
#
# $$\int_0^1 x\,dx$$

# %% tags=["setup"]
# %matplotlib inline
import os

import matplotlib.pyplot as plt

# %%
def f(x):
    return x


class A:
    pass

# %% tags=["nbval-ignore-figure", "other"]
# not compared: to have a tag with a reason
# Figure: a line that goes
#   up & down.
fig, ax = plt.subplots(figsize=(2, 1))
ax.plot([1, 3, 2]);

# %% [raw]
# <b>raw</b>

# %%
print("one")
f(3)

# %%
print("two"); print(os.environ["OMP_NUM_THREADS"], os.environ["COURSE_PROFILE"], hash("a"))

# %% [markdown]
# ```python
# # %% not a cell
# ```

# %%
print("one")
f(3)
"""


@pytest.fixture
def course(tmp_path):
    """An empty course: give it a text and get (text, notebook)."""
    (tmp_path / "authoring" / "lessons").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()

    def lesson(text=DEMO, name="01_demo"):
        path = tmp_path / "authoring" / "lessons" / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        return path, tmp_path / "notebooks" / f"{name}.ipynb"

    lesson.root = tmp_path
    lesson.main = lambda *arguments: build.main(["--root", str(tmp_path), *arguments])
    return lesson


def executed(text: Path, notebook: Path) -> nbformat.NotebookNode:
    """What `build` would write, without a kernel."""
    cells = build.cells_of(text.read_text())
    for n, cell in enumerate([c for c in cells if c.cell_type == "code"], start=1):
        cell.execution_count = n
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"course": {"fingerprint": build.fingerprint(cells)}})
    nbformat.write(nb, notebook)
    return nb


def edited(notebook: Path, **changes) -> None:
    """Save the notebook as JupyterLab would after cells were edited: {index: new source}."""
    nb = nbformat.read(notebook, as_version=4)
    for i, source in changes.items():
        nb.cells[int(i[1:])].source = source
    nbformat.write(nb, notebook)


# --- text and cells

def test_text_to_cells_to_text_is_the_identity():
    cells = build.cells_of(DEMO)
    assert [c.cell_type[0] for c in cells] == list("mcccrccmc")
    assert cells[1].source.startswith("%matplotlib inline\n") and cells[3].source.endswith("ax.plot([1, 3, 2]);")
    assert cells[3].metadata.tags == ["nbval-ignore-figure", "other"] and cells[4].source == "<b>raw</b>"
    assert build.text_of(cells) == DEMO


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_survives_the_way_to_a_notebook_and_back(path):
    text = path.read_text(encoding="utf-8")
    assert build.text_of(build.cells_of(text)) == text


def test_cell_ids_come_from_the_source_and_are_unique():
    ids = [c.id for c in build.cells_of(DEMO)]
    assert len(set(ids)) == len(ids) and ids[8] == ids[5] + "-2"
    assert [c.id for c in build.cells_of(DEMO.replace("two", "three"))][:6] == ids[:6]


@pytest.mark.parametrize("text, message", [
    ("# %%\nx = 1\n\n\n# %%\ny = 2\n", "line 4"),
    ("# %%\nx = 1", "newline"),
    ("x = 1\n", "line 1"),
    ("#%%\nx = 1\n", "line 1"),
])
def test_a_text_that_would_not_come_back_the_same_is_refused(text, message):
    with pytest.raises(build.BuildError, match=message):
        build.cells_of(text)


# --- execution

def test_two_builds_give_the_same_bytes(course, monkeypatch):
    text, notebook = course()
    build.build(text, notebook)
    first = notebook.read_bytes()
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("COURSE_PROFILE", "gpu")
    build.build(text, notebook)
    assert notebook.read_bytes() == first
    nb = nbformat.reads(first.decode(), as_version=4)
    nbformat.validate(nb)
    assert [c.execution_count for c in nb.cells if c.cell_type == "code"] == [1, 2, 3, 4, 5, 6]
    assert nb.cells[1].outputs == nb.cells[2].outputs == []
    figure, = nb.cells[3].outputs                                                     # no list of lines: ;
    png = base64.b64decode(figure.data["image/png"])
    assert b"matplotlib" not in png.lower() and Image.open(io.BytesIO(png)).mode == "P"
    assert nb.cells[3].metadata.jupyter == {"source_hidden": True}
    assert [c.metadata.get("jupyter") for c in nb.cells].count(None) == len(nb.cells) - 1
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(nb)
    assert 'alt="a line that goes up &amp; down."' in page
    stream, value = nb.cells[5].outputs
    assert stream.text == "one\n" and value.data["text/plain"] == "3"
    assert nb.cells[6].outputs[0].text.startswith("two\n1 cpu ")
    assert not list(course.root.rglob("*.part")) and str(build.ROOT).encode() not in first
    assert build.state(text, notebook) == "current" and not build.adopt(text, notebook) and text.read_text() == DEMO


def test_a_failing_lesson_leaves_the_old_notebook_and_names_the_cell(course, capsys):
    text, notebook = course("# %%\nx = 1\n\n# %%\ny = 2\nz = x / 0\n")
    notebook.write_text("{}")
    assert course.main("--force", "01") == 1
    assert notebook.read_text() == "{}" and not list(course.root.rglob("*.part"))
    message = capsys.readouterr().err
    assert "01_demo: cell 1 of 2" in message and "> z = x / 0" in message and "ZeroDivisionError" in message
    assert len(message.splitlines()) <= 5


def test_a_warning_fails_the_build(course):
    with pytest.raises(build.BuildError, match="cell 0.*\n.*UserWarning: beware"):
        build.build(*course("# %%\nimport warnings\nwarnings.warn('beware')\n"))


def test_a_dead_kernel_fails_the_build(course):
    with pytest.raises(build.BuildError, match="cell 1.*\n.*kernel died"):
        build.build(*course("# %%\nx = 1\n\n# %%\nimport os; os._exit(1)\n"))


@pytest.mark.parametrize("text", ["<Axes at 0x7f21>", "File /tmp/ipykernel_12/3.py", f"read from {build.ROOT}/data"])
def test_outputs_that_differ_from_run_to_run_are_refused(text):
    for output in (nbformat.v4.new_output("stream", text=text),
                   nbformat.v4.new_output("execute_result", {"text/plain": text})):
        with pytest.raises(build.BuildError, match="its output holds"):
            build.make_reproducible(output, "cell 3:")


def test_a_figure_is_stored_small_without_a_visible_difference():
    buffer = io.BytesIO()
    figure = Figure(figsize=(4, 2))
    figure.add_subplot().scatter(range(400), np.random.default_rng(0).random(400), c=range(400), cmap="hsv", s=30)
    figure.savefig(buffer, metadata={"Author": "somebody"})
    large, small = buffer.getvalue(), build.small(buffer.getvalue())
    assert b"somebody" in large and b"somebody" not in small and build.small(large) == small
    assert len(small) < 0.5 * len(large) and len(Image.open(io.BytesIO(small)).getcolors()) <= 256
    before, after = (np.asarray(build.pixels(png), dtype=float) for png in (large, small))
    assert before.shape == after.shape and np.sqrt(((before - after) ** 2).mean()) < 3          # nbval allows 5
    clear = io.BytesIO()
    Image.new("RGBA", (3, 2), (0, 0, 0, 0)).save(clear, "png")
    assert build.pixels(build.small(clear.getvalue())).getcolors() == [(6, (255, 255, 255))]     # a page is white


def test_random_names_of_widgets_are_not_stored():
    widget = nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "5f"},
                                                     "text/plain": "a slider"})
    build.make_reproducible(widget, "cell 3:")
    assert widget.data == {"text/plain": "a slider"}


# --- figures

@pytest.mark.parametrize("source, text", [
    ("# Figure: one line.\nplt.plot()", "one line."),
    ("# Figure: two\n# lines.\n\n# a remark\nplt.plot()", "two lines."),
    ("# not compared: trained\n# Figure: second.\nplt.plot()", "second."),
    ("# not compared: trained in\n# place\n# Figure: third.", "third."),
    ("# Figure: first.\n# not compared: trained\nplt.plot()", "first."),
    ("x = 1\n# Figure: too late.", ""),
    ("# a remark\n# Figure: too late.", ""),
    ("# not compared: trained\nplt.plot()", ""),
])
def test_a_figure_is_described_by_the_comment_its_cell_begins_with(source, text):
    assert build.description(source) == text
    left = build.FIGURE.sub(r"\1", source)
    assert "plt.plot()" not in source or left.endswith("plt.plot()") and not build.description(left)


def test_the_description_goes_to_pictures_only():
    picture = nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": "<Figure>"})
    for output in (picture, nbformat.v4.new_output("stream", text="3")):
        build.describe(output, "a line")
        build.describe(output, "")
    assert picture.metadata == {"image/png": {"alt": "a line"}}


DRAWING = "# Figure: a line.\nfig, ax = plt.subplots()\nax.plot([x for x in xs])"


@pytest.mark.parametrize("source, later, folded", [
    (DRAWING, [], True),
    ("%matplotlib inline\n" + DRAWING, [], False),                                   # the comment does not come first
    (DRAWING.replace("# Figure: ", "# "), [], False),
    (DRAWING + "\nimport os", [], False),
    (DRAWING + "\ndef f(): pass", [], False),
    (DRAWING + "\nprint(3)", [], False),
    (DRAWING + "\nhistory = torch.fit(3)", [], False),
    (DRAWING + "\nmean = 3", ["mean"], False),
    (DRAWING + "\nmean = 3", ["def f():\n    return [mean for _ in x]"], False),
    (DRAWING + "\nmean = 3", ["mean = mean + 1"], False),
    (DRAWING + "\nmean = 3", ["mean = 1", "mean"], True),
    (DRAWING + "\nfor x in xs: ax.plot(x)", ["def f(x):\n    return x", "[x for x in ys]", "for x in ys: x"], True),
    (DRAWING, ["%matplotlib inline\nfig, ax = plt.subplots()\nax.plot(xs)", "ax"], True),
])
def test_a_cell_that_only_draws_is_folded(source, later, folded):
    cells = [nbformat.v4.new_code_cell(text) for text in (source, *later)]
    build.fold(cells)
    assert cells[0].metadata == ({"jupyter": {"source_hidden": True}} if folded else {})


def test_a_cell_of_an_exercise_is_never_folded():
    cell = nbformat.v4.new_code_cell(DRAWING, metadata={"tags": ["solution:line"]})
    build.expand([cell])
    build.fold([cell])
    assert "jupyter" not in cell.metadata


def test_folding_by_hand_is_no_edit(course):
    text, notebook = course()
    nb = executed(text, notebook)
    nb.cells[2].metadata.jupyter = {"source_hidden": True, "outputs_hidden": True}
    nbformat.write(nb, notebook)
    assert build.state(text, notebook) == "current" and not build.adopt(text, notebook) and text.read_text() == DEMO


# --- stale, edited, both

def test_states(course):
    text, notebook = course()
    assert build.state(text, notebook) == "stale"
    nb = executed(text, notebook)
    assert build.state(text, notebook) == "current"
    nb.cells[1].execution_count = 9
    nbformat.write(nb, notebook)
    assert build.state(text, notebook) == "not executed"
    executed(text, notebook)
    course(DEMO.replace("one", "1"))
    assert build.state(text, notebook) == "stale"
    edited(notebook, _2="x = 3")
    assert build.state(text, notebook) == "diverged"
    course()
    assert build.state(text, notebook) == "edited"


def test_adopt_takes_an_edit_into_the_text_once(course):
    text, notebook = course()
    nb = executed(text, notebook)
    nb.cells[0].source = "# Another title\n\nwith an *equation* $e^{i\\pi}$\n"
    nb.cells[3].metadata.tags = ["new"]
    nb.cells[5].source = "%precision 3\nf(4);"
    nb.cells[5].metadata.update(execution={"iopub.status.busy": "2026"}, scrolled=True)
    del nb.cells[4]
    nb.cells.append(nbformat.v4.new_code_cell("print('last')\n\n"))
    nbformat.write(nb, notebook)
    assert build.adopt(text, notebook)
    new = text.read_text()
    assert new.startswith("# %% [markdown]\n# # Another title\n#\n# with an *equation* $e^{i\\pi}$\n\n# %%")
    assert '# %% tags=["new"]\n# not compared' in new and "\n# %%\n# %precision 3\nf(4);\n" in new
    assert "raw" not in new and "iopub" not in new and new.endswith("\n# %%\nprint('last')\n")
    assert [c.source for c in build.cells_of(new)] == [c.source.strip("\n") for c in nb.cells]
    assert not build.adopt(text, notebook) and text.read_text() == new
    assert build.state(text, notebook) == "stale"


def test_an_edit_is_never_lost_silently(course, capsys):
    text, notebook = course()
    executed(text, notebook)
    edited(notebook, _2="x = 3")
    before = notebook.read_bytes()
    assert course.main("01") == 1 and "--adopt" in capsys.readouterr().err and notebook.read_bytes() == before
    course(DEMO.replace("one", "1"))
    assert course.main("--adopt", "01") == 1 and "by hand" in capsys.readouterr().err
    assert text.read_text() == DEMO.replace("one", "1") and notebook.read_bytes() == before


@pytest.mark.parametrize("change", [
    lambda cell: cell.update(cell_type="code", outputs=[], execution_count=None, source="x = 1\n# %% [markdown]\n# y"),
    lambda cell: cell.update(attachments={"a.png": {"image/png": "aGVsbG8="}}),
])
def test_adopt_refuses_what_a_text_cannot_hold(course, change):
    text, notebook = course()
    nb = executed(text, notebook)
    change(nb.cells[0])
    nbformat.write(nb, notebook)
    with pytest.raises(build.BuildError, match="cannot hold cell 0|line"):
        build.adopt(text, notebook)
    assert text.read_text() == DEMO


# --- the command

def test_check_names_the_stale_lessons_and_executes_nothing(course, capsys):
    executed(*course("# %%\nx = 1\n", "01_one"))
    two, notebook = course("# %%\nx = 2\n", "02_two")
    assert course.main("--check") == 1
    assert capsys.readouterr().out == "01_one: current\n02_two: stale\n" and not notebook.exists()
    executed(two, notebook)
    assert course.main("--check") == 0


def test_only_stale_lessons_are_built_unless_named(course, capsys, monkeypatch):
    built = []
    monkeypatch.setattr(build, "build", lambda text, notebook, force: built.append(text.stem) or [0.0])
    executed(*course("# %%\nx = 1\n", "01_one"))
    course("# %%\nx = 2\n", "02_two")
    for arguments, expected in {(): ["02_two"], ("01",): ["01_one"], ("02_two", "01"): ["01_one", "02_two"],
                                ("--force",): ["01_one", "02_two"]}.items():
        assert course.main(*arguments) == 0 and built == expected
        built.clear()
    assert course.main("03") == 1 and "no lesson 03: there are 01_one, 02_two" in capsys.readouterr().err
