"""Run all tests, two at a time: those of the library, and every notebook against what it stores. Then print the times.

    python tests/run.py                          everything
    python tests/run.py notebooks -k 12          what is given to pytest, with the same settings
    python tests/run.py --times README.md        everything, and write the times of the lessons into the file
"""

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MARKS = "<!-- times -->", "<!-- /times -->"
N_SLOWEST = 8


class Times:
    """A pytest plugin that adds up the seconds of each file, kernel start and tear-down included."""

    def __init__(self):
        self.seconds = defaultdict(float)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid.split("::")[0]] += report.duration

    def notebooks(self) -> dict[str, float]:
        return {name: s for name, s in sorted(self.seconds.items()) if name.endswith(".ipynb")}

    def table(self) -> str:
        slowest = sorted(((s, name) for name, s in self.seconds.items() if name.endswith(".py")), reverse=True)
        return "\n".join(["  seconds  notebook", *(f"{s:9.1f}  {name}" for name, s in self.notebooks().items()),
                          "  seconds  slowest test files", *(f"{s:9.1f}  {name}" for s, name in slowest[:N_SLOWEST])])


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=Path, metavar="FILE", help="write the times of the lessons into this file")
    options, given = parser.parse_known_args()
    times = Times()
    what = given or [str(ROOT / folder) for folder in ("tests", "notebooks", "solutions") if (ROOT / folder).is_dir()]
    code = pytest.main(["-c", str(ROOT / "pyproject.toml"), "-n", "2", "--dist", "loadscope", *what], plugins=[times])
    print(times.table())
    if options.times and times.notebooks():
        text = options.times.read_text(encoding="utf-8")
        options.times.write_text(with_times(text, times.notebooks()), encoding="utf-8", newline="\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
