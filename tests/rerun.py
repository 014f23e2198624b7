"""Run every cell of lessons and solutions twice in a row, as learners do: nothing may fail, and what a cell prints the
second time is what it printed the first. Dear, so it is no part of the suite:  make rerun   or   make rerun NB=31

    python tests/rerun.py               all of them
    python tests/rerun.py 31 63         lessons and solutions of these
"""

import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from authoring import build


def twice(cells: list) -> list:
    """Every code cell followed by a copy of itself."""
    doubled = []
    for cell in cells:
        doubled.append(cell)
        if cell.cell_type == "code":
            again = copy.deepcopy(cell)
            again["id"] += "-again"
            doubled.append(again)
    return doubled


def printed(cell) -> str:
    """What a cell has printed or returned; pictures not."""
    return "".join(o.get("text", "") + str(o.get("data", {}).get("text/plain", "")) for o in cell.outputs)


def differences(cells: list, folder: Path) -> list[tuple[str, str, str]]:
    """(first line of the cell, printed first, printed second), for cells that say something else the second time.
    Cells that measure seconds may, and those whose output the suite does not compare. Raises BuildError for a cell that
    fails."""
    ran = build.execute(twice(cells), folder)[0].cells
    code = [c for c in ran if c.cell_type == "code"]
    return [(a.source.splitlines()[0], printed(a), printed(b)) for a, b in zip(code[::2], code[1::2])
            if printed(a) != printed(b) and "perf_counter" not in a.source
            and "nbval-ignore-output" not in a.metadata.get("tags", ())]


def main(wanted: list[str]) -> int:
    wrong = 0
    for folder in ("lessons", "exercises"):
        for job in build.jobs(build.ROOT, folder, wanted):
            print(f"{folder} {job.text.stem} ...", flush=True)
            try:
                found = differences(build.cells_of(job.text.read_text(encoding="utf-8")), job.notebook.parent)
            except build.BuildError as error:
                print(f"    fails when it is run twice: {error}")
                wrong += 1
                continue
            for source, first, second in found:
                print(f"    {source}\n        first:  {first!r}\n        second: {second!r}")
            wrong += len(found)
    print(f"{wrong} cells say something else the second time" if wrong else "every cell says the same the second time")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
