"""Build the website from the executed notebooks; no cell is run. `make site` calls it: build/site/index.html opens in
any browser, without a server and without a network.

    notebooks, exercises, idea index, glossary  ->  build/pages, which Sphinx (with myst-nb) reads  ->  build/site

The folders of the pages are those of the repository, so that the links of the notebooks lead to the right pages.
"""

import argparse
import copy
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import nbformat

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "authoring" / "site"
sys.path.insert(0, str(ROOT))

from course_lib.classroom.progress import OPENING  # noqa: E402 (the line before)

PARTS = {"0": "Start here", "1": "Discriminative baselines", "2": "Autoencoders", "3": "Variational autoencoders",
         "4": "Adversarial networks", "5": "Transformers", "6": "Diffusion", "7": "Foundation models in miniature",
         "8": "Using and judging", "9": "Electives"}
PLAYED = {"31": "latent", "63": "guidance", "65": "faces"}         # the sheet that stands below the sliders of a lesson


@dataclass
class Lesson:
    stem: str                                      # 31_vae
    title: str
    question: str                                  # as the README asks it
    minutes: int
    dots: str
    needs: list[str]                               # numbers of lessons

    @property
    def number(self) -> str:
        return self.stem[:2]


@dataclass
class Word:
    word: str
    lesson: str                                    # the number of the lesson that makes it bold
    meaning: str

    @property
    def slug(self) -> str:
        return "word-" + re.sub(r"\W+", "-", self.word.lower()).strip("-")


def lessons() -> list[Lesson]:
    """All lessons, from the first cell of each and its row in the README."""
    readme, found = (ROOT / "README.md").read_text(encoding="utf-8"), []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        opening = " ".join(nbformat.read(path, as_version=4).cells[0].source.split())
        minutes, dots = OPENING.search(opening).groups()
        needs = opening.partition("**You need**")[2].partition("**It takes**")[0]
        row = re.search(rf"\| \[([^\]]+)\]\(notebooks/{path.name}\) \| ([^|]+) \|", readme)
        if not row:
            raise ValueError(f"the README has no row for {path.name}")
        found.append(Lesson(path.stem, row[1], row[2].strip(), int(minutes), dots, re.findall(r"\((\d\d)_", needs)))
    return found


def words() -> list[Word]:
    lines = (HERE / "glossary.txt").read_text(encoding="utf-8").splitlines()
    return [Word(*(part.strip() for part in line.split(" | ", 2))) for line in lines if not line.startswith("#")]


def repository(root: Path = ROOT) -> str:
    """The address of the repository on GitHub, where the project names one; else nothing."""
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    return next((url.rstrip("/") for name, url in urls.items() if name.lower() in ("repository", "source")), "")


# --- a notebook becomes a page --------------------------------------------------------------------------------------

def page(nb, links: str = ""):
    """What Sphinx shows of a notebook: alt texts where myst-nb looks for them, drawing cells folded, no empty cells."""
    nb = copy.deepcopy(nb)
    nb.cells = [cell for cell in nb.cells if cell.source.strip()]
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        alts = [m["alt"] for o in cell.outputs for m in o.get("metadata", {}).values() if "alt" in m]
        if alts:
            cell.metadata["mystnb"] = {"image": {"alt": alts[0]}}
    if links:
        title, _, rest = nb.cells[0].source.partition("\n")
        nb.cells[0].source = f"{title}\n\n{links}\n{rest}"
    return nb


def defined(nb, known: list[Word]):
    """The first bold appearance of each word leads to the glossary, and the glossary leads back to it."""
    for word in known:
        bold = re.compile(r"\*\*(" + r"\s+".join(map(re.escape, word.word.split())) + r")\*\*", re.IGNORECASE)
        for cell in nb.cells:
            if cell.cell_type == "markdown" and bold.search(cell.source):
                link = f'<a id="{word.slug}" href="../glossary.html#{word.slug}"><strong>\\1</strong></a>'
                cell.source = bold.sub(link, cell.source, count=1)
                break
        else:
            raise ValueError(f"lesson {word.lesson} has no **{word.word}**, which the glossary says it explains")
    return nb


def opened_in(stem: str, address: str) -> str:
    """A line of links that open the lesson elsewhere, where a repository is known."""
    if not address:
        return ""
    owner = address.removeprefix("https://github.com/")
    binder = f"https://mybinder.org/v2/gh/{owner}/HEAD?urlpath=" + quote(f"lab/tree/notebooks/{stem}.ipynb")
    colab = f"https://colab.research.google.com/github/{owner}/blob/gh-pages/colab/{stem}.ipynb"
    return (f'<p class="open">Open this lesson in <a href="{colab}">Colab</a>, in <a href="{binder}">JupyterLab on '
            f'Binder</a>, or with <code>make lab</code> in <a href="{address}">your own copy</a>.</p>\n')


def for_colab(nb, address: str):
    """The notebook with a first cell that installs the course: the only thing that Colab has not."""
    nb = copy.deepcopy(nb)
    nb.cells.insert(0, nbformat.v4.new_code_cell(f"%pip install -q git+{address}", id="install"))
    return nb


# --- pages of our own -----------------------------------------------------------------------------------------------

def shown_needs(all_lessons: list[Lesson]) -> list[tuple[str, str]]:
    """Pairs (needed, lesson) for the map, without those that follow from others: 65 needs 51 through 63."""
    needs = {lesson.number: set(lesson.needs) for lesson in all_lessons}

    def behind(number: str) -> set[str]:
        return set().union(*({need} | behind(need) for need in needs[number]))

    return [(need, number) for number, direct in needs.items() for need in sorted(direct)
            if not any(need in behind(other) for other in direct)]


def prerequisites(all_lessons: list[Lesson]) -> str:
    """The map: an SVG with a box for each lesson, a row for each part (two, where it has more than four lessons), and a
    line from each lesson to what needs it."""
    parts: dict[str, list[Lesson]] = {}
    for lesson in all_lessons:
        parts.setdefault(lesson.number[0], []).append(lesson)
    rows = [row[k:k + 4] for row in parts.values() for k in range(0, len(row), 4)]
    width, height, gap, step = 150, 54, 26, 108
    across = max(map(len, rows)) * (width + gap) - gap + 20
    place = {}                                     # number of a lesson -> left and upper edge of its box
    for i, row in enumerate(rows):
        left = (across - len(row) * (width + gap) + gap) / 2
        place |= {lesson.number: (left + k * (width + gap), 30 + i * step) for k, lesson in enumerate(row)}
    lines = []
    for need, number in shown_needs(all_lessons):
        (a, b), (x, y) = place[need], place[number]
        if b == y and x - a < width + 2 * gap:     # its neighbour
            lines.append(f"M{a + width} {b + height / 2} L{x} {y + height / 2}")
        elif b == y:                               # in the same row: over the boxes between
            lines.append(f"M{a + width / 2} {b} C{a + width / 2} {b - 30} {x + width / 2} {y - 30} {x + width / 2} {y}")
        else:
            lines.append(f"M{a + width / 2} {b + height} C{a + width / 2} {b + step / 2 + height / 2} {x + width / 2} "
                         f"{y - step / 2 + height / 2} {x + width / 2} {y}")
    boxes = []
    for lesson in all_lessons:
        x, y = place[lesson.number]
        name = (f"Lesson {lesson.number}, {lesson.title}: {lesson.minutes} minutes, difficulty {len(lesson.dots)} of "
                f"3, needs {', '.join(lesson.needs) or 'nothing'}")
        words = [lesson.title]
        if len(lesson.title) > 22:                 # two lines
            cut = lesson.title.rindex(" ", 0, len(lesson.title) // 2 + 5)
            words = [lesson.title[:cut], lesson.title[cut + 1:]]
        title = "".join(f'<tspan x="{x + 10}" dy="{13 * k}">{escape(line)}</tspan>' for k, line in enumerate(words))
        boxes.append(f'<a href="notebooks/{lesson.stem}.html" aria-label="{escape(name)}"><rect x="{x}" y="{y}" rx="6" '
                     f'width="{width}" height="{height}"/><text x="{x + 10}" y="{y + 18}" font-size="12" '
                     f'font-weight="bold">{lesson.number}</text><text x="{x + width - 10}" y="{y + 18}" '
                     f'font-size="10.5" text-anchor="end">{lesson.minutes} min {lesson.dots}</text>'
                     f'<text x="{x + 10}" y="{y + 34}" font-size="11.5">{title}</text></a>')
    names = [f'<text x="6" y="{place[row[0].number][1] - 12}" font-size="12" class="part">{PARTS[part]}</text>'
             for part, row in parts.items()]
    tall = 30 + len(rows) * step - (step - height) + 6
    drawn = "".join(f'<path d="{line}"/>' for line in lines)
    return (f'<svg class="map" viewBox="0 0 {across} {tall}" role="group" aria-label="The lessons, with a line '
            f'from each to those that need it">{drawn}{"".join(names)}{"".join(boxes)}</svg>')


def gallery() -> str:
    """What speaks, sounds and moves, taken from the outputs of the lessons: a chat, a film, a chorale."""
    from course_lib.chat import Chat, Vocabulary
    from course_lib.checkpoint import load
    from course_lib.data import house

    talk = Chat(load("chat"), Vocabulary(house.WORDS))
    story = "Ben is in the hall. Eva is in the attic. The lamp is in the hall. Ben took the lamp. Eva counted 7 stars."
    asked = [f"{story} Who has the lamp?", "Ben ran to the garden. Where is the lamp now?", "Do you know where Kim is?"]
    said = "".join(f'<p class="you">{escape(line)}</p><p class="model">{escape(talk.say(line))}</p>' for line in asked)
    cards = [(f'<div class="chat">{said}</div>', "73_instruction_tuning", "A miniature ChatGPT answers")]
    for stem, part, caption in (
            ("78_video", r'src="(data:image/gif;base64,[^"]+)"', "Films: a real one, one asked for, one continued"),
            ("56_everything_is_a_token", r"(<figure.*?<audio.*?</figure>)", "A chorale goes on from its first bar")):
        path = ROOT / "notebooks" / f"{stem}.ipynb"
        cells = nbformat.read(path, as_version=4).cells if path.is_file() else []
        pages = [o.get("data", {}).get("text/html", "") for cell in cells for o in cell.get("outputs", [])]
        found = re.search(part, "".join(pages), re.DOTALL)
        if found:
            content = found[1] if found[1].startswith("<") else f'<img src="{found[1]}" alt="{caption}">'
            cards.append((content, stem, caption))
    return '<div class="gallery">' + "".join(
        f'<div>{content}<p><em>{caption}: <a href="notebooks/{stem}.html">lesson {stem[:2]}</a></em></p></div>'
        for content, stem, caption in cards) + "</div>"


def home(all_lessons: list[Lesson], sheets: dict) -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    can = readme[readme.index("After the course you can"):readme.index("## Two commands")]
    ways = readme[readme.index("## Three ways to use it"):readme.index("## The library")]
    ways = re.sub(r"\[([^\]]+)\]\((?!http)[^)]*\)", r"\1", ways)                      # files that are not on the site
    title = readme.partition("\n")[0].removeprefix("# ")
    rows = "".join(f"- **{x.number} · [{x.title}](notebooks/{x.stem}.ipynb)** ({x.minutes} min {x.dots}). "
                   f"{x.question}\n" for x in all_lessons)
    hours = round(sum(x.minutes for x in all_lessons) / 60)
    parts = "".join(
        f"```{{toctree}}\n:hidden:\n:caption: {PARTS[part]}\n\n"
        + "".join(f"{x.number} · {x.title} <notebooks/{x.stem}>\n" for x in all_lessons if x.number[0] == part)
        + "```\n\n"
        for part in dict.fromkeys(x.number[0] for x in all_lessons))
    return f"""# {title}

A course in Jupyter notebooks that you can read here and run on a laptop without a graphics card. Everything that moves,
speaks or answers on these pages was made by models that you will build.

{sheets["noise-to-digits"].html("noise-to-digits", "_static/")}

*Flow matching ([lesson 64](notebooks/64_flow_matching.ipynb)) turns noise into handwriting.*

{sheets["faces"].html("faces", "_static/")}

*Choose words, and a miniature Stable Diffusion ([lesson 65](notebooks/65_text_to_image.ipynb)) paints the face.*

{gallery()}

{can}

## The map

{len(all_lessons)} lessons, {hours} hours of reading. A line leads from a lesson to those that build on it
directly; minutes are for reading, and dots say how hard it is.

<div class="wide" tabindex="0" role="region" aria-label="Map of the lessons">{prerequisites(all_lessons)}</div>

{rows}

{ways}

{parts}
```{{toctree}}
:hidden:
:caption: Look it up

play
exercises
notebooks/symbols
glossary
course_lib/README
```
"""


def glossary(known: list[Word], all_lessons: list[Lesson]) -> str:
    stems = {lesson.number: lesson.stem for lesson in all_lessons}
    lines = ["# Glossary", "",
             "What the words mean in this course. Each leads to the place where its lesson explains it, and that leads "
             "back.", ""]
    letter = ""
    for word in sorted(known, key=lambda w: w.word.lower()):
        if word.word[0].upper() != letter:
            letter = word.word[0].upper()
            lines += [f"## {letter}", ""]
        lines += [f'<p id="{word.slug}"><strong>{escape(word.word)}</strong>: {escape(word.meaning)} '
                  f'<a href="notebooks/{stems[word.lesson]}.html#{word.slug}">Lesson {word.lesson}</a></p>', ""]
    return "\n".join(lines)


def play(sheets: dict, all_lessons: list[Lesson]) -> str:
    told = {"latent": "A VAE's code has eight numbers. Two of them are in your hands; the others are those of a real "
                      "digit. Which number leans the digit, and which changes what it is?",
            "guidance": "One network, one noise, and a scale that says how hard it listens. What do you gain between 1 "
                        "and 3, and what do you lose beyond?",
            "faces": "A caption, and the face that the model paints for it. Some of these combinations never stood in "
                     "its training pictures: green hair with a black shirt, for instance."}
    stems = {lesson.number: lesson for lesson in all_lessons}
    lines = ["# Things to play with", "", "Models of the course made each picture when this site was built.", ""]
    for number, name in PLAYED.items():
        lesson = stems[number]
        lines += [f"## {lesson.title}", "", told[name], "", sheets[name].html(name, "_static/"), "",
                  f"How it is made: [lesson {number}](notebooks/{lesson.stem}.ipynb).", ""]
    return "\n".join(lines)


def exercise_list(all_lessons: list[Lesson]) -> str:
    having = [x for x in all_lessons if (ROOT / "exercises" / x.stem).is_dir()]
    rows = [f"- [{x.number} · {x.title}](exercises/{x.stem}/{x.stem}.ipynb)" for x in having]
    entries = [f"exercises/{x.stem}/{x.stem}" for x in having]
    said = "Each lesson has one, of five or six tasks, to be done in JupyterLab. Checks say what is wrong."
    return "\n".join(["# Exercises", "", said, "", *rows, "", "```{toctree}", ":hidden:", "", *entries, "```", ""])


def ideas(all_lessons: list[Lesson], address: str) -> str:
    """The idea index; its lessons become links, and its code too where a repository is known."""
    text = (ROOT / "course_lib" / "README.md").read_text(encoding="utf-8")
    stems = {lesson.number: lesson.stem for lesson in all_lessons}
    for number, stem in stems.items():
        text = re.sub(rf"^(\|[^|]*\|[^|]*\| )({number})( \|)", rf"\1[\2](../notebooks/{stem}.ipynb)\3", text,
                      flags=re.MULTILINE)
    if address:
        text = re.sub(r"^(\|[^|]*\| )(`([^:`]+):[^`]+`)", rf"\1[\2]({address}/blob/HEAD/course_lib/\3)", text,
                      flags=re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\((?:__init__\.py|data/README\.md)\)", r"\1", text)


def of_this_lesson(lesson: Lesson, known: list[Word]) -> str:
    """The last cell of a lesson's page: its words, its ideas, its symbols."""
    said = ", ".join(f'<a href="../glossary.html#{w.slug}">{escape(w.word)}</a>' for w in known)
    index = (ROOT / "course_lib" / "README.md").read_text(encoding="utf-8")
    code = ", ".join(f"{idea.strip()} (`{place}`)" for idea, place in
                     re.findall(rf"^\| ([^|]+) \| `([^`]+)` \| {lesson.number} \|", index, re.MULTILINE))
    lines = ["## Index of this lesson", ""]
    lines += [f"**Words in the [glossary](../glossary.md):** {said}.", ""] if said else []
    lines += [f"**Ideas in the [library](../course_lib/README.md):** {code}.", ""] if code else []
    return "\n".join([*lines, "**Letters:** the [table of symbols](symbols.ipynb)."])


# --- all together ---------------------------------------------------------------------------------------------------

def write_pages(pages: Path, drawings: Path) -> None:
    from authoring.site import sheets as sheet_module

    shutil.rmtree(pages, ignore_errors=True)
    sheets = sheet_module.draw_all(drawings)
    all_lessons, known, address = lessons(), words(), repository()
    (pages / "notebooks").mkdir(parents=True)
    for lesson in all_lessons:
        own = [word for word in known if word.lesson == lesson.number]
        nb = nbformat.read(ROOT / "notebooks" / f"{lesson.stem}.ipynb", as_version=4)
        nb = defined(page(nb, opened_in(lesson.stem, address)), own)
        if name := PLAYED.get(lesson.number):
            after = 1 + next(i for i, c in enumerate(nb.cells) if c.cell_type == "code" and "\nsliders(" in c.source)
            shown = sheets[name].html(name, "../_static/")
            here = f"Here you can move it without running anything:\n\n{shown}"
            nb.cells.insert(after, nbformat.v4.new_markdown_cell(here))
        nb.cells.append(nbformat.v4.new_markdown_cell(of_this_lesson(lesson, own)))
        nbformat.write(nb, pages / "notebooks" / f"{lesson.stem}.ipynb")
        exercise = ROOT / "exercises" / lesson.stem / f"{lesson.stem}.ipynb"
        if exercise.is_file():
            folder = pages / "exercises" / lesson.stem
            folder.mkdir(parents=True)
            nbformat.write(page(nbformat.read(exercise, as_version=4)), folder / exercise.name)
    symbols = page(nbformat.read(ROOT / "notebooks" / "symbols.ipynb", as_version=4))
    nbformat.write(symbols, pages / "notebooks" / "symbols.ipynb")
    (pages / "course_lib").mkdir()
    for name, text in {"index": home(all_lessons, sheets), "glossary": glossary(known, all_lessons),
                       "play": play(sheets, all_lessons), "exercises": exercise_list(all_lessons),
                       "course_lib/README": ideas(all_lessons, address)}.items():
        (pages / f"{name}.md").write_text(text, encoding="utf-8")


def build(out: Path) -> None:
    pages, drawings = out.parent / "pages", out.parent / "sheets"
    write_pages(pages, drawings)
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "auto", "-c", HERE, "-d",
                    out.parent / "doctrees", pages, out], check=True, env=os.environ | {"COURSE_SHEETS": str(drawings)})
    if address := repository():
        (out / "colab").mkdir()
        for lesson in lessons():
            nb = nbformat.read(ROOT / "notebooks" / f"{lesson.stem}.ipynb", as_version=4)
            nbformat.write(for_colab(nb, address), out / "colab" / f"{lesson.stem}.ipynb")
    (out / ".nojekyll").touch()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    build(parser.parse_args().out.resolve())
