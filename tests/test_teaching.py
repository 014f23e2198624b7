"""The page for teachers is about the lessons as they stand: their titles, headings and prerequisites."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "solutions" / "TEACHING.md").read_text(encoding="utf-8")
LESSONS = {path.stem[:2]: path.read_text(encoding="utf-8")       # those that are built
           for path in sorted((ROOT / "authoring" / "lessons").glob("[0-9][0-9]_*.py"))
           if (ROOT / "notebooks" / f"{path.stem}.ipynb").exists()}
SECTIONS = {title[:2]: (title, text) for title, text in re.findall(r"^## (\d\d · .+)\n((?:(?!## ).*\n)*)", TEXT, re.M)}


def headings(lesson: str) -> list[str]:
    return re.findall(r"^# ##+ (.+)$", lesson, re.M)


def needed(lesson: str) -> list[str]:
    """The numbers of the lessons that its opening names after "You need"."""
    needs = re.search(r"\*\*You\s+(?:# )?need\*\*(.*?)\*\*It\s+(?:# )?takes\*\*", lesson, re.DOTALL)[1]
    return re.findall(r"\b\d\d\b(?!_)", needs)


def minutes(section: str) -> list[int]:
    return [int(n) for n in re.findall(r"^\d\. \*\*(\d+) min\*\* “", section, re.M)]


@pytest.mark.parametrize("number", LESSONS)
def test_every_lesson_has_a_section(number):
    assert number in SECTIONS, (
        f"solutions/TEACHING.md has no section for lesson {number}. Write one as for the others (a plan of 90 minutes, "
        f"misconceptions, an exam of ten points), and add the lesson and its arrows to the graph")


@pytest.mark.parametrize("number", SECTIONS)
def test_a_section_fits_its_lesson(number):
    title, section = SECTIONS[number]
    lesson = LESSONS[number]
    assert f"# # {title}\n" in lesson
    assert sum(minutes(section)) == 90 and 5 <= len(minutes(section)) <= 6
    quoted = re.findall(r"“(.+?)”", section)
    assert len(quoted) >= 10 and [heading for heading in quoted if heading not in headings(lesson)] == []
    exam = section.split("**Exam**")[1]
    points = [int(n) for n in re.findall(r"^\d\. \((\d) points\) .+ \*Answer:\*", exam, re.M)]
    assert sum(points) == 10 and 2 <= len(points) <= 3 and exam.count("*Answer:*") == len(points)


def test_the_arrows_are_what_the_openings_say():
    arrows = re.findall(r"^ *L(\d\d) --> L(\d\d)$", TEXT, re.M)
    assert arrows == [(before, number) for number in SECTIONS for before in needed(LESSONS[number])], (
        "the graph in solutions/TEACHING.md must have these arrows, in this order")


def test_a_route_says_what_it_leaves_out():
    routes = [(line, re.findall(r"\d\d", way[0])) for line in TEXT.splitlines()
              if (way := re.search(r"\d\d(?: → \d\d)+", line))]
    assert len(routes) >= 3
    for line, route in routes:
        missing = {n for i, number in enumerate(route) for n in needed(LESSONS[number]) if n not in route[:i]}
        rest = re.sub(r"\d\d(?: → \d\d)+", "", line)
        assert missing <= set(re.findall(r"\b\d\d\b", rest)), line
