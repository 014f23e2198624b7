"""The lessons are one course: one notation, links that lead somewhere, and the same parts in the same order."""

import re
from pathlib import Path

import nbformat
import pytest

from authoring import build

LESSONS = sorted((build.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
BUILT = [path.name[:2] for path in LESSONS]
SYMBOLS = build.ROOT / "notebooks" / "symbols.ipynb"
README = build.ROOT / "README.md"
OTHERS = [SYMBOLS, *sorted((build.ROOT / "solutions").glob("*/*.ipynb")), *(build.ROOT / name for name in (
    "README.md", "course_lib/README.md", "benchmarks/README.md", "CONTRIBUTING.md", "CHANGELOG.md",
    "solutions/README.md", "solutions/TEACHING.md"))]
everywhere = pytest.mark.parametrize("path", [*LESSONS, *OTHERS],
                                     ids=lambda path: path.relative_to(build.ROOT).as_posix())


def markdown(path: Path) -> list[str]:
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")]
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]


def prose(path: Path) -> str:
    """The text without code, which may look like a formula or a link."""
    return re.sub(r"```.*?```|`[^`\n]*`", "code", "\n\n".join(markdown(path)), flags=re.DOTALL)


# --- symbols

GREEK = set(r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \kappa \lambda \mu \nu \xi \rho \sigma "
            r"\tau \phi \varphi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Sigma \Phi \Psi \Omega "
            r"\varnothing".split())
ROWS = [(re.findall(r"\$(.+?)\$", symbols), number, target) for symbols, number, target in re.findall(
    r"^\| (\$.+?\$) \| .+ \| \[(\d\d)\]\((.+?)\) \|$", "\n".join(markdown(SYMBOLS)), flags=re.MULTILINE)]


def tokens(formula: str) -> list[str]:
    """LaTeX as a list of symbols: without spaces and braces, a word in \\mathrm or \\text as one."""
    formula = re.sub(r"\\(?:text|mathrm|operatorname|tag|begin|end)\s*\{(.*?)\}",
                     lambda m: rf"\{re.sub(r'[^A-Za-z]', '', m[1])}. ", formula)
    formula = re.sub(r"\\(?:[,;:! ]|(?:left|right|[bB]ig+[lr]?|q?quad|tfrac|frac)(?![A-Za-z]))|[{}]", " ", formula)
    formula = re.sub(r"\\[lr]?Vert(?![A-Za-z])", r"\\|", formula)
    return re.findall(r"\\math(?:cal|bb)\s*[A-Z]|\\[A-Za-z]+\.?|\\.|\S", formula)


def formulas(path: Path) -> list[list[str]]:
    return [tokens(a or b) for a, b in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", prose(path), flags=re.DOTALL)]


FORMULAS = {path.name[:2]: formulas(path) for path in LESSONS}


def stands_in(symbol: str, lesson: str) -> bool:
    wanted = tokens(symbol)
    return any(wanted == f[i:i + len(wanted)] for f in FORMULAS[lesson] for i in range(len(f) - len(wanted) + 1))


def test_a_symbol_is_no_part_of_another():
    expected = [r"\KL.", "(", "q", r"\|", "p", ")"]
    assert tokens(r"\mathrm{KL}\big(q \,\|\, p\big)") == tokens(r"\mathrm{KL}(q \Vert p)") == expected
    assert tokens(r"\bar\alpha_{t}") == [r"\bar", r"\alpha", "_", "t"] and "a" not in tokens(r"\alpha \text{data}")
    assert tokens(r"\mathcal N(z)")[0] == r"\mathcal N"


def test_the_table_is_read_as_a_whole():
    lines = re.findall(r"^\| .*\[\d\d\]", "\n".join(markdown(SYMBOLS)), flags=re.MULTILINE)
    assert len(ROWS) == len(lines) >= 60 and all(symbols for symbols, *_ in ROWS)
    assert [number for _, number, _ in ROWS] == sorted(number for _, number, _ in ROWS)


def test_a_symbol_stands_in_a_formula_of_the_lesson_that_introduces_it():
    assert [(s, number) for symbols, number, _ in ROWS for s in symbols if not stands_in(s, number)] == []
    assert [target for _, number, target in ROWS if not target.startswith(number)] == []


def test_no_symbol_is_used_before_it_is_introduced():
    first = {}
    for symbols, number, _ in ROWS:
        for symbol in symbols:
            first.setdefault(symbol, number)
    early = [(s, n, lesson) for s, n in first.items() for lesson in BUILT if lesson < n and stands_in(s, lesson)]
    assert early == [], "symbol, lesson of its row, lesson that uses it before"


def test_every_greek_letter_of_a_formula_has_its_row():
    for lesson, found in FORMULAS.items():
        known = {t for symbols, number, _ in ROWS if number <= lesson for s in symbols for t in tokens(s)}
        assert {t for f in found for t in f} & GREEK <= known, lesson


# --- links

def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    if path.suffix == ".md":                       # as GitHub writes them; JupyterLab keeps the capitals
        return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    return {h.replace(" ", "-") for h in headings}


@everywhere
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", prose(path)):
        there = (path.parent / target) if target else path
        assert there.exists(), f"{path.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{path.name} links to {target}#{anchor}"


# --- lessons that are not there yet

GAPS = re.compile(r"\*\*Numbers have gaps\.\*\*.+?still to come", flags=re.DOTALL)
PROMISED = {n for announced in GAPS.findall(prose(LESSONS[0])) for n in re.findall(r"\d\d", announced)}


def broken_promises(text: str) -> list[str]:
    """Lessons that a text names although they are neither built nor announced and marked as `to come`."""
    found = re.findall(r"\blessons?\s+(\d\d)(?:(?:,| and)\s+(\d\d))*(\s+\(to\s+come\))?", text, flags=re.IGNORECASE)
    return [n for *numbers, mark in found for n in numbers if n and not (n in BUILT or n in PROMISED and mark)]


def test_a_broken_promise_is_found():
    assert broken_promises("lesson 12, Lesson 44 (to come), lessons 12 and 13") == []
    assert broken_promises("as lesson 44 shows") == ["44"] and broken_promises("lesson 99 (to come)") == ["99"]
    assert broken_promises("lessons 12 and 44 show") == ["44"]


def test_a_promised_lesson_is_not_built():
    assert PROMISED and not PROMISED & set(BUILT)


@everywhere
def test_a_lesson_that_is_named_is_there_or_announced(path):
    assert broken_promises(GAPS.sub("", prose(path))) == []


# --- the same parts in the same order

OPENING = (r"\*\*After this lesson you can\*\* (- .+?[;,.] ){3}\*\*You need\*\* .+ "
           r"\*\*It takes\*\* \d+ minutes to read and .{5,20} to run\. \*\*How hard:\*\* (•{1,3})\. "
           r"All symbols are in the \[table of symbols\]\(symbols\.ipynb\)\.")
PARTS = ["## Set-up", "Predict, then turn one knob", "## In the wild", "## Recap", "**What we left out.**",
         "**Exercises:** [", "**Next**", "## Read on", "- In the library: "]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_begins_and_ends_like_the_others(path):
    cells = nbformat.read(path, as_version=4).cells
    text, number, opening = " ".join(prose(path).split()), path.name[:2], " ".join(markdown(path)[0].split())
    assert cells[0].source.startswith(f"# {number} · ")
    assert (found := re.findall(OPENING, opening)), "what is learned, what is needed, how long it takes, how hard it is"
    assert text.count("symbols.ipynb") == 1 and "$" not in opening, "the first words need no symbol"
    row = next(line for line in README.read_text(encoding="utf-8").splitlines() if f"(notebooks/{path.name})" in line)
    assert row.endswith(f"| {found[0][1]} |"), "as hard as README says"
    shown = next(i for i, c in enumerate(cells) if "image/png" in str(c.get("outputs", "")))
    assert "## Set-up" in "\n".join(c.source for c in cells[:shown]) and shown <= 8, "it opens with a figure"
    places = [text.rfind(mark) for mark in PARTS]
    assert -1 not in places and places == sorted(places), dict(zip(PARTS, places))
    assert "## Break it" in text
    assert f"**Exercises:** [{path.stem}](../exercises/{path.stem}/{path.name})" in text
    following = LESSONS[LESSONS.index(path) + 1:]
    wanted = f"**Next**, [lesson {following[0].name[:2]}]({following[0].name}): " if following else \
        "**Next**: this is the last lesson so far."
    assert wanted in text


def words(path: Path) -> int:
    """Words of prose: a formula counts as one, its own line and code as none, a link as what is shown."""
    text = re.sub(r"\$\$.+?\$\$|```.+?```", " ", "\n\n".join(markdown(path)), flags=re.DOTALL)
    text = re.sub(r"\$[^$]+\$", "formula", text)
    return sum(bool(re.search(r"\w", word)) for word in re.sub(r"\]\([^)]*\)", "]", text).split())


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_as_long_as_one_session(path):
    """45 to 70 cells and 1,500 to 2,500 words (STYLE, A lesson)."""
    assert 45 <= len(nbformat.read(path, as_version=4).cells) <= 70 and 1500 <= words(path) <= 2500, words(path)


# --- what a page shows

def printed_code(path: Path) -> list[str]:
    """The lines of the library that a lesson prints."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code" and "getsource" in c.source]
    return [line for c in cells for o in c.outputs if o.output_type == "stream" for line in o.text.splitlines()]


@pytest.mark.parametrize("path", [p for p in LESSONS if printed_code(p)], ids=lambda p: p.name[:2])
def test_code_that_a_lesson_prints_fits_on_its_page(path):
    """JupyterLab shows 107 columns at a width of 1280 px, and wraps what is longer."""
    assert [line for line in printed_code(path) if len(line) > 107] == []
