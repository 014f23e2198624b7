"""What the README says is true where a program can tell."""

import ast
import base64
import io
import json
import re
from pathlib import Path

import matplotlib.image as mpimg
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
INDEX = re.findall(r"^\| (.+?) \| `(.+?):(\w+)` \| (\d\d) \|", README, re.M)


def source(notebook: Path) -> str:
    return "\n".join("".join(c["source"]) for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"])


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) >= 8
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


def test_every_named_file_and_command_exists():
    named = re.findall(r"`([\w./-]+/[\w.-]+)`", README)
    assert [n for n in named if not (ROOT / n).exists()] == []
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {t for t in re.findall(r"make\s+([a-z]+)", README)} <= {*targets}


def test_the_map_lists_all_lessons_in_order():
    assert re.findall(r"\]\(notebooks/(\d\d_.+?)\)", README) == [p.name for p in LESSONS]


def test_the_table_of_times_is_filled_in_for_all_lessons():
    table = README.split("<!-- times -->")[1].split("<!-- /times -->")[0]
    times = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \|", table, re.M)
    assert [name for name, *_ in times] == [p.stem for p in LESSONS]
    assert all(0 < int(lesson) <= 60 and 0 < int(exercise) <= 20 for _, lesson, exercise in times), times


def test_the_index_has_entries():
    assert len(INDEX) >= 20


@pytest.mark.parametrize("idea, file, name, lesson", INDEX, ids=[row[2] for row in INDEX])
def test_an_idea_has_one_home_and_a_lesson_that_uses_it(idea, file, name, lesson):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}, f"{file} has no {name}"
    notebook, = [p for p in LESSONS if p.name.startswith(lesson)]
    assert re.search(rf"\b{name}\b", source(notebook)), f"lesson {lesson} does not mention {name}"


def test_the_picture_is_a_figure_of_a_lesson():
    picture = mpimg.imread(ROOT / "authoring" / "readme.png")[..., :3]
    assert re.search(r"!\[.{20,}\]\(authoring/readme.png\)", README)
    for notebook in LESSONS:
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    figure = mpimg.imread(io.BytesIO(base64.b64decode("".join(output["data"]["image/png"]))))[..., :3]
                    if figure.shape == picture.shape and abs(figure - picture).mean() < 0.02:
                        return
    raise AssertionError("authoring/readme.png is not a figure of any lesson: save it from the notebook again")
