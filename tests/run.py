"""Run all tests, two at a time: those of the library, and every notebook against what it stores. Then print what each
lesson has cost.

    python tests/run.py                          everything
    python tests/run.py --lessons "31 63"        everything that belongs to these lessons, and nothing else
    python tests/run.py notebooks -k 12          what is given to pytest, with the same settings
    python tests/run.py --times benchmarks/README.md    everything, and write the times of the lessons into the file
"""

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from lessons import KINDS, ROOT, kind_of, numbered

MARKS = "<!-- times -->", "<!-- /times -->"
BUDGET = 70                                        # seconds of one core for all of a lesson, if bfloat16 is fast
N_SHOWN = 10


class Times:
    """A pytest plugin that adds up the seconds of all tests, kernel start and tear-down included."""

    def __init__(self):
        self.files = defaultdict(float)
        self.lessons = defaultdict(lambda: dict.fromkeys(KINDS, 0.0))
        self.shared = defaultdict(float)           # by file, what belongs to no lesson

    def pytest_runtest_logreport(self, report):
        file, lesson = report.nodeid.split("::")[0], dict(report.user_properties).get("lesson")
        self.files[file] += report.duration
        if lesson:
            self.lessons[lesson][kind_of(report.nodeid)] += report.duration
        else:
            self.shared[file] += report.duration

    def notebooks(self) -> dict[str, float]:
        return {name: s for name, s in sorted(self.files.items()) if name.endswith(".ipynb")}

    def table(self, budget: int, why: str) -> str:
        """What each lesson costs with all that belongs to it, the sum, and what belongs to none."""
        lines, total, rest = [], 0.0, sum(self.shared.values())
        if self.lessons:
            lines.append("".join(f"{kind:>12}" for kind in [*KINDS, "together"]) + f"  seconds; the budget: {budget}")
        for lesson, costs in sorted(self.lessons.items()):
            together = sum(costs.values())
            total += together
            lines.append("".join(f"{s:12.1f}" for s in [*costs.values(), together])
                         + f"  {lesson}" + "  over the budget" * (together > budget))
        if n := len(self.lessons):
            share = total / (n * budget)
            lines.append(f"{n} lessons: {total:.0f} s of one core, {share:.0%} of {n} x {budget} s ({why})")
        if self.shared:
            lines.append(f"belongs to no lesson: {rest:.0f} s of one core, {rest / (total + rest or 1):.0%} of all")
            slowest = sorted(self.shared.items(), key=lambda row: -row[1])[:N_SHOWN]
            lines += [f"{s:12.1f}  {name}" for name, s in slowest]
        return "\n".join(lines)


def budget() -> tuple[int, str]:
    """The seconds that a lesson may cost on this machine, and why."""
    from course_lib.device import bfloat16_is_fast

    if bfloat16_is_fast("cpu"):
        return BUDGET, "this processor multiplies bfloat16"
    return 2 * BUDGET, "this processor does not multiply bfloat16, and may take twice as long"


def with_times(text: str, seconds: dict[str, float]) -> str:
    """The text with a table of the lessons' seconds between its two marks. Raises ValueError if it lacks them."""
    if not all(text.count(mark) == 1 for mark in MARKS):
        raise ValueError(f"the file must hold each of {MARKS[0]} and {MARKS[1]} once")
    table: dict[str, list[str]] = defaultdict(lambda: ["", ""])
    for name, s in seconds.items():
        table[Path(name).stem][name.startswith("solutions/")] = f"{s:.0f}"
    rows = [f"| {stem} | {lesson} | {exercise} |" for stem, (lesson, exercise) in table.items()]
    table = "\n".join([MARKS[0], "| | lesson | exercise |", "|---|---:|---:|", *rows, MARKS[1]])
    return re.sub(f"{MARKS[0]}.*{MARKS[1]}", lambda _: table, text, flags=re.DOTALL)


def where(lessons: list[str]) -> list[str]:
    """The folders and files in which the tests of these lessons are, or all tests; as far as they exist."""
    notebooks = [ROOT / path for lesson in lessons
                 for path in (f"notebooks/{lesson}.ipynb", f"solutions/{lesson}/{lesson}.ipynb")]
    return [str(p) for p in [ROOT / "tests", *(notebooks or [ROOT / "notebooks", ROOT / "solutions"])] if p.exists()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=Path, metavar="FILE", help="write the times of the lessons into this file")
    parser.add_argument("--lessons", default="", metavar="NUMBERS", help="only what belongs to these lessons")
    options, given = parser.parse_known_args()
    try:
        chosen = [numbered(number) for number in options.lessons.split()]
    except ValueError as e:
        parser.error(str(e))
    times = Times()
    code = pytest.main(["-c", str(ROOT / "pyproject.toml"), "-n", "2", "--dist", "loadscope",
                        *(["--lessons", options.lessons] if chosen else []),
                        *given, *([] if any(Path(g.split("::")[0]).exists() for g in given) else where(chosen))],
                       plugins=[times])
    print(times.table(*(budget() if times.lessons else (BUDGET, ""))))
    if options.times and times.notebooks():
        text = options.times.read_text(encoding="utf-8")
        options.times.write_text(with_times(text, times.notebooks()), encoding="utf-8", newline="\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
