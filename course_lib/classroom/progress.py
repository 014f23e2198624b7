"""What a learner has done, as their saved notebooks say, and the first page, which shows it beside the lessons."""

import json
import re
from pathlib import Path

OPENING = re.compile(r"\*\*It\s+takes\*\*\s+(\d+)\s+minutes.*?\*\*How\s+hard:\*\*\s+(•+)", re.DOTALL)


class Unreadable(Exception):
    """A notebook that is none."""


def exercises(course: Path) -> list[Path]:
    return [path for path in sorted((course / "exercises").glob("[0-9][0-9]_*/*.ipynb"))
            if path.stem == path.parent.name]


def tasks(exercise: Path) -> dict[str, bool]:
    """The tasks of an exercise, and whether each is done: its check ran and found nothing wrong, or a written answer is
    there. Raises Unreadable."""
    try:
        cells = json.loads(exercise.read_text(encoding="utf-8"))["cells"]
        return {c["metadata"]["nbgrader"]["grade_id"]: done(c) for c in cells
                if c.get("metadata", {}).get("nbgrader", {}).get("grade")}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unreadable(f"{exercise.name} cannot be read: open it in JupyterLab and save it, or make it anew"
                         ) from None


def done(cell: dict) -> bool:
    source = "".join(cell["source"])
    if cell["metadata"]["nbgrader"].get("solution"):
        return bool(source.strip()) and "YOUR ANSWER HERE" not in source and "YOUR CODE HERE" not in source
    return bool(cell.get("execution_count")) and not any(o["output_type"] == "error" for o in cell["outputs"])


def first_page(course: str | Path = ".."):
    """All lessons with their exercises, and what is done of these, as a table with links from notebooks/."""
    from IPython.display import Markdown

    course, rows = Path(course), []
    for lesson in sorted((course / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        opening = "".join(json.loads(lesson.read_text(encoding="utf-8"))["cells"][0]["source"])
        title = opening.split("\n")[0].partition(" · ")[2]
        minutes, dots = OPENING.search(opening).groups()
        exercise, state = course / "exercises" / lesson.stem / lesson.name, ""
        if exercise.is_file():
            try:
                known = tasks(exercise)
                left = [name for name, is_done in known.items() if not is_done]
                following = f", next: {left[0]}" if 0 < len(left) < len(known) else ""
                link = f"../exercises/{lesson.stem}/{lesson.name}"
                state = f"[{len(known) - len(left)} of {len(known)} tasks]({link}){following}"
            except Unreadable:
                state = "cannot be read"
        rows.append(f"| {lesson.stem[:2]} | [{title}]({lesson.name}) | {minutes} | {dots} | {state} |")
    if not rows:
        raise ValueError(f"there are no lessons in {course / 'notebooks'}")
    return Markdown("\n".join(["| | lesson | minutes | how hard | exercise: done |", "|---|:--|--:|:--|:--|", *rows]))
