"""What nbval cannot see: a notebook is current, its exemptions are few and have reasons, and it looks like a lesson."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest

from authoring import build

TREES = [folder for folder in ("notebooks", "solutions") if list(build.ROOT.joinpath(folder).rglob("*.ipynb"))]
EXEMPT = {"nbval-ignore-output", "nbval-skip"}                                       # nothing of the cell is compared
TAGS = EXEMPT | {"nbval-ignore-figure"}                                              # its picture is not, the rest is
COMPARED = 0.85

PAGES = [(job.text, job.notebook) for job in build.jobs(build.ROOT, "lessons", [])]
LESSONS = [page for page in PAGES if page[0].stem[0].isdigit()]                        # all but the table of symbols


def cells(*paths: Path) -> list:
    return [c for path in paths for c in nbformat.read(path, as_version=4).cells]


def code(path: Path) -> list:
    return [c for c in cells(path) if c.cell_type == "code"]


def faults(cell) -> list[str]:
    """What is wrong with the exemptions of one cell from comparison."""
    tags, first = set(cell.metadata.get("tags", [])), (cell.source.splitlines() or [""])[0]
    comment = re.match(r"(#.*\n?)*", cell.source)[0]                                # the one that the cell begins with
    found = []
    if tags & TAGS and not re.search(r"^# not compared: \w.{9,}", comment, flags=re.MULTILINE):
        found.append(f"tagged {', '.join(sorted(tags & TAGS))} without a reason (`# not compared: ...`): {first!r}")
    if not tags & TAGS and re.search("^# not compared", comment, flags=re.MULTILINE):
        found.append(f"a reason without a tag: {first!r}")
    if unknown := {t for t in tags if t.startswith(("nbval", "raises"))} - TAGS:
        found.append(f"tagged {', '.join(sorted(unknown))}, which is not used here: {first!r}")
    if comment := re.search(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)", cell.source, flags=re.MULTILINE):
        found.append(f"exempt by the comment {comment[1]}: use a tag and a reason")
    return found


def compared(cells: list) -> float:
    """The part of the cells with an output whose output is compared."""
    shown = [c for c in cells if c.cell_type == "code" and c.outputs]
    return sum(not EXEMPT & set(c.metadata.get("tags", [])) for c in shown) / max(1, len(shown))


def a_cell(source: str, *tags: str):
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}, outputs=[nbformat.v4.new_output("stream")])


@pytest.mark.parametrize("cell, message", [
    (a_cell("x = 1", "nbval-ignore-output"), "without a reason"),
    (a_cell("x = 1\n# not compared: because of the weather", "nbval-ignore-figure"), "without a reason"),
    (a_cell("# not compared: ", "nbval-skip"), "without a reason"),
    (a_cell("# not compared: because of the weather"), "without a tag"),
    (a_cell("# Figure: rain.\n# not compared: because of the weather"), "without a tag"),
    (a_cell("x", "raises-exception"), "not used here"),
    (a_cell("x\n # NBVAL_IGNORE_OUTPUT\n"), "by the comment"),
    (a_cell("x = 1", "setup"), None),
    (a_cell("# not compared: because of the weather", "nbval-ignore-output"), None),
    (a_cell("# Figure: rain.\n# not compared: because of the weather", "nbval-ignore-figure"), None),
])
def test_an_exemption_without_a_reason_is_found(cell, message):
    assert [message in fault for fault in faults(cell)] == [True] * bool(message)


def test_the_compared_part_counts_cells_with_an_output():
    exempt = a_cell("# not compared: because of the weather", "nbval-ignore-output")
    silent = nbformat.v4.new_code_cell("x", metadata={"tags": ["nbval-skip"]})
    assert compared([a_cell("x"), a_cell("y", "nbval-ignore-figure"), a_cell("z"), exempt, silent]) == 0.75


@pytest.mark.parametrize("tree", TREES)
def test_at_least_85_percent_of_all_outputs_are_compared(tree):
    notebooks = [p for p in (build.ROOT / tree).rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    assert compared(cells(*notebooks)) >= COMPARED
    assert not {p.name: found for p in notebooks if (found := [f for c in code(p) for f in faults(c)])}


def test_every_notebook_has_its_text_and_every_text_its_notebook():
    stems = {p.stem for p in (build.ROOT / "notebooks").glob("*.ipynb")}
    assert stems == {text.stem for text, _ in PAGES}


def test_the_first_page_and_the_table_of_symbols_are_current():
    others = {text.stem: build.state(text, notebook) for text, notebook in PAGES if (text, notebook) not in LESSONS}
    assert others == {"index": "current", "symbols": "current"}, "run: make notebooks NB=index"


@pytest.mark.parametrize("text, notebook", LESSONS, ids=[text.stem for text, _ in LESSONS])
class TestLesson:
    def test_it_is_current(self, text, notebook):
        assert build.state(text, notebook) == "current", f"run: make notebooks NB={text.stem[:2]}"

    def test_it_is_compared(self, text, notebook):
        assert compared(cells(notebook)) >= COMPARED

    def test_it_is_clean(self, text, notebook):
        """No error, no warning, no path of a machine; small enough to read in a browser."""
        outputs = [o for c in code(notebook) for o in c.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
        assert not re.search(r"/home/\w|/Users/\w|/tmp/\w|\bat 0x[0-9a-f]{6}", str([dict(o, data={
            k: v for k, v in o.get("data", {}).items() if not k.startswith("image")}) for o in outputs]))
        assert notebook.stat().st_size <= 600_000

    def test_its_headings_form_a_table_of_contents(self, text, notebook):
        found = [line for c in cells(notebook) if c.cell_type == "markdown" for line in headings(c.source)]
        assert found[0].startswith("# ") and sum(h.startswith("# ") for h in found) == 1
        assert sum(h.startswith("## ") for h in found) >= 6

    def test_it_reads_like_a_lesson(self, text, notebook):
        """Short code cells, at least six figures, each with a description, and eight claims (STYLE, A lesson)."""
        sources = [build.FIGURE.sub(r"\1", c.source) for c in code(notebook)]         # a description is no code
        lines = [[line for line in source.splitlines() if line.strip()] for source in sources]
        assert statistics.median(map(len, lines)) <= 8 and max(map(len, lines)) <= 25
        longest = max(len(line) for c in code(notebook) for line in c.source.splitlines())
        assert longest <= 107, "a page shows 107 columns of code"
        figures = [o for c in code(notebook) for o in c.outputs if "image/png" in o.get("data", {})]
        assert len(figures) >= 6 and all(o.metadata.get("image/png", {}).get("alt") for o in figures)
        printed = "".join(o.get("text", "") for c in code(notebook) for o in c.outputs)
        assert len(re.findall(r"^.+: .+  \(checked: (?:>=|<=|>|<|==) .+\)$", printed, flags=re.MULTILINE)) >= 8


def headings(markdown: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ .*$", prose, flags=re.MULTILINE)
