"""What the READMEs say is true where a program can tell."""

import ast
import io
import json
import re
import runpy
from pathlib import Path

import matplotlib
import matplotlib.image as mpimg
import matplotlib.pyplot as plt
import pytest

matplotlib.use("Agg")

ROOT = Path(__file__).parent.parent
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in
         ("README.md", "course_lib/README.md", "benchmarks/README.md", "CONTRIBUTING.md", "CHANGELOG.md")}
README = PAGES["README.md"]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
INDEX = re.findall(r"^\| (.+?) \| `(.+?):(\w+)` \| (\d\d) \|", PAGES["course_lib/README.md"], re.M)


def source(notebook: Path) -> str:
    return "\n".join("".join(c["source"]) for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"])


@pytest.mark.parametrize("page", PAGES)
def test_every_named_file_and_command_exists(page):
    named = re.findall(r"`([\w./-]+/[\w.-]+)`", PAGES[page])
    assert [n for n in named if not (ROOT / n).exists() and "NN_name" not in n] == []
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {t for t in re.findall(r"`make\s+([a-z-]+)", PAGES[page])} <= {*targets}


def test_the_first_page_is_for_somebody_who_has_a_minute():
    assert len(README.splitlines()) <= 150


def test_the_map_lists_all_lessons_in_order():
    assert re.findall(r"\]\(notebooks/(\d\d_.+?)\)", README) == [p.name for p in LESSONS]


def test_the_table_of_times_is_filled_in_for_all_lessons():
    table = PAGES["benchmarks/README.md"].split("<!-- times -->")[1].split("<!-- /times -->")[0]
    times = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \|", table, re.M)
    assert [name for name, *_ in times] == [p.stem for p in LESSONS]
    assert all(0 < int(lesson) <= 60 and 0 < int(exercise) <= 20 for _, lesson, exercise in times), times


def test_the_index_has_entries():
    assert len(INDEX) >= 20


@pytest.mark.parametrize("idea, file, name, lesson", INDEX, ids=[row[2] for row in INDEX])
def test_an_idea_has_one_home_and_a_lesson_that_uses_it(idea, file, name, lesson):
    tree = ast.parse((ROOT / "course_lib" / file).read_text(encoding="utf-8"))
    assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}, f"{file} has no {name}"
    notebook, = [p for p in LESSONS if p.name.startswith(lesson)]
    assert re.search(rf"\b{name}\b", source(notebook)), f"lesson {lesson} does not mention {name}"


def test_the_picture_is_what_the_models_draw():
    """Made by authoring/readme.py, from the weights that are shipped."""
    assert re.search(r"!\[.{20,}\]\(authoring/readme.png\)", README)
    picture = mpimg.imread(ROOT / "authoring" / "readme.png")[..., :3]
    drawn = runpy.run_path(str(ROOT / "authoring" / "readme.py"))
    fig, buffer = drawn["strip"](), io.BytesIO()
    fig.savefig(buffer, dpi=drawn["DPI"])
    plt.close(fig)
    buffer.seek(0)
    again = mpimg.imread(buffer)[..., :3]
    assert again.shape == picture.shape and ((again - picture) ** 2).mean() ** 0.5 < 5 / 255
