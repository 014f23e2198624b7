"""Grade a class: each submission is restored from the release, run in the sandbox, and scored by nbgrader's own rules
into its SQLite gradebook, which code of students never sees. `course grade` and `course grades` are the commands.

The folder of a class is laid out as nbgrader wants it, so that its formgrader opens there:
    gradebook.db   nbgrader_config.py   source/NAME/NAME.ipynb   autograded/STUDENT/NAME/NAME.ipynb
    feedback/STUDENT/NAME/NAME.html     records/NAME/STUDENT.json (what was graded, and what happened)     NAME.csv
"""

import base64
import copy
import csv
import hashlib
import html
import io
import itertools
import json
import os
import re
import stat
import statistics
import subprocess
import sys
import sysconfig
import threading
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbgrader import preprocessors
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.utils import determine_grade
from sqlalchemy.exc import SAWarning
from tqdm.auto import tqdm
from traitlets.config import Config

import course_lib
from course_lib.classroom import sandbox, trial
from course_lib.classroom.markup import markdown
from course_lib.classroom.sandbox import Limits

try:
    import fcntl
except ImportError:                                  # Windows
    fcntl = None

LARGEST_MB, MOST_CELLS, MOST_FILES = 20, 2_000, 10_000                                # of a submission
PACKED = ".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".xz", ".bz2"
MARKUP, MARKUP_SECONDS = Path(__file__).with_name("markup.py"), 5
ENTRY = ("grade", "solution", "locked", "points", "task")
NAME = r"\w[\w .@+,'-]*"                             # of a student
ANSWERS = re.compile(r"course_lib\.checks|\bchecks?\.\w+\.(right|truth|cases|outcome|slips)\b")          # of ours


class GradingError(Exception):
    """One readable line: what stops the command, and what to do."""


class Unreadable(Exception):
    """Why a submission cannot be run, in words for the student."""


# --- the assignment -------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Assignment:
    name: str
    complete: nbformat.NotebookNode                  # what is run: no solutions, all tests
    released: nbformat.NotebookNode                  # what students got: no hidden tests
    source: Path                                     # the folder of the solved notebook
    files: tuple[Path, ...] = ()                     # what lay beside the student's notebook

    def digest(self) -> bytes:
        cells = [[c.source, c.metadata.get("nbgrader")] for c in self.complete.cells]
        return json.dumps([cells, [f.read_bytes().hex() for f in self.files]], sort_keys=True).encode()


def through(nb, steps: str, **nbgrader):
    """The notebook after these preprocessors of nbgrader."""
    nb, resources = copy.deepcopy(nb), {"nbgrader": nbgrader}
    for step in steps.split():
        nb, resources = getattr(preprocessors, step)(config=Config()).preprocess(nb, resources)
    return nb


def assignment(solution: Path, student_folder: Path | None = None) -> Assignment:
    """The assignment that a solved notebook makes, by the steps of `nbgrader generate_assignment`."""
    if not solution.is_file():
        raise GradingError(f"there is no {solution}: check the name of the assignment, or say --course FOLDER")
    nb = nbformat.read(solution, as_version=4)
    complete = through(nb, "LockCells ClearSolutions ClearOutput CheckCellMetadata ComputeChecksums")
    released = through(complete, "ClearHiddenTests ClearMarkScheme ComputeChecksums CheckCellMetadata")
    if not any(c.metadata.get("nbgrader", {}).get("grade") for c in complete.cells):
        raise GradingError(f"{solution} has no cell with points: name the solved notebook of an exercise")
    beside = student_folder.iterdir() if student_folder and student_folder.is_dir() else ()
    files = sorted(p for p in beside if p.is_file() and p.suffix != ".ipynb")
    return Assignment(solution.stem, complete, released, solution.resolve().parent, tuple(files))


# --- a submission ---------------------------------------------------------------------------------------------------

def submissions(folder: Path, name: str) -> tuple[dict[str, Path | str], list[str]]:
    """-> (student -> the notebook, or why there is none; files that are no submission).  A student is a file
    FOLDER/STUDENT.ipynb, or a folder FOLDER/STUDENT/ that holds NAME.ipynb, or a single notebook under another name, at
    any depth."""
    found, bad, others = {}, [], []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        is_folder = entry.is_dir() and not entry.is_symlink()
        if not is_folder and not entry.name.lower().endswith(".ipynb"):
            others.append(entry.name)
            continue
        student = unicodedata.normalize("NFC", entry.name if is_folder else entry.stem)
        if not re.fullmatch(NAME, student) or len(student.encode()) > 200:
            bad.append(f"{entry.name!r} is no name for a student")
        elif student in found:
            bad.append(f"{student!r} is there twice")
        else:
            found[student] = notebook_in(entry, name) if is_folder else regular(entry)
    if bad:
        raise GradingError(f"{'; '.join(bad)}: rename or remove what is too much (a name has letters, digits, spaces, "
                           ". , @ + - ' and is there once, as a file or as a folder)")
    for other in list(others):                       # handed in, and not in a form that can be run
        student, _, ending = unicodedata.normalize("NFC", other).partition(".ipynb" if ".ipynb" in other else ".")
        why = ("it is packed: unpack it into a folder" if other.lower().endswith(PACKED) else
               f"it is saved as {other!r}: rename it so that its name ends in .ipynb" if ".ipynb" in other else "")
        if why and student not in found and re.fullmatch(NAME, student):
            found[student] = why
            others.remove(other)
    if not found:
        raise GradingError(f"no submissions in {folder}: put STUDENT.ipynb files or STUDENT/ folders there")
    return found, others


def regular(path: Path) -> Path | str:
    mode = path.lstat().st_mode
    return ("the notebook is a link to another file" if stat.S_ISLNK(mode) else path if stat.S_ISREG(mode) else
            "the notebook is not a regular file")


def notebook_in(folder: Path, name: str) -> Path | str:
    """The notebook in a student's folder, or why there is none. Links are not followed, however deep the folder is."""
    todo, every, others, n = [folder], [], [], 0
    while todo:
        with suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                if (n := n + 1) > MOST_FILES:
                    return f"there are more than {MOST_FILES:,} files in the folder"
                if entry.name.startswith(".") or entry.name in ("__MACOSX", "__pycache__"):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.name.lower().endswith(".ipynb"):
                    every.append(Path(entry.path))
                else:
                    others.append(entry.name)
    chosen = [p for p in every if unicodedata.normalize("NFC", p.stem) == name] or every
    if len(chosen) == 1:
        return regular(chosen[0])
    if every:
        names = ", ".join(sorted(p.name for p in every))
        return f"several notebooks ({names:.200}), and not one that is called {name}.ipynb"
    return "no notebook was handed in" + f", but {', '.join(sorted(others)):.200}" * bool(others)


def cells_in(data: bytes) -> list[tuple[str, str, dict]]:
    """(type, source, nbgrader's entry) of each cell in a file that may hold anything. Raises Unreadable."""
    try:
        if not data.strip():
            raise Unreadable("the file is empty")
        nb = json.loads(data)
        if nb["nbformat"] != 4:
            raise Unreadable(f"it is saved in notebook format {nb['nbformat']!r:.9}: open and save it in JupyterLab")
        if len(nb["cells"]) > MOST_CELLS:
            raise Unreadable(f"it has more than {MOST_CELLS:,} cells")
        cells = []
        for cell in nb["cells"]:
            source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            source = source.replace("\r\n", "\n").replace("\r", "\n")                # another system's ends of lines
            source.encode()                          # a lone surrogate cannot be saved or run
            entry = cell.get("metadata", {}).get("nbgrader")
            entry = entry if isinstance(entry, dict) and isinstance(entry.get("grade_id"), str) else {}
            cells.append(("code" if cell["cell_type"] == "code" else "markdown", source, entry))
        return cells
    except (ValueError, RecursionError):
        raise Unreadable("it is not a notebook: the file is not readable as JSON") from None
    except (KeyError, TypeError, AttributeError):
        raise Unreadable("it is not a notebook: the file is JSON, but has no proper cells") from None


def recognised(cells: list[tuple[str, str, dict]], task: Assignment) -> tuple[list[tuple[str, str, dict]], list[str]]:
    """A cell that has lost its metadata is known by its text, if it is a test, or else by the cells before and after
    it.  -> (the cells, the names of those that were lost)"""
    there = {entry.get("grade_id") for _, _, entry in cells}
    entries = [c.metadata.get("nbgrader", {}) for c in task.released.cells]
    keys = [None, *(e.get("grade_id", c.source.strip()) for c, e in zip(task.released.cells, entries)), None]
    tests = {c.source.strip(): e.grade_id for c, e in zip(task.released.cells, entries) if e.get("locked")}
    found = [None, *(entry.get("grade_id") or tests.get(text.strip(), text.strip()) for _, text, entry in cells), None]
    lost = {key: e for key, e in zip(keys[1:], entries) if e and key not in there}
    place = {(c.cell_type, before, after): e for c, e, before, after in
             zip(task.released.cells, entries, keys, keys[2:]) if e and e.grade_id in lost and not e.locked}
    new = [(kind, text, entry or lost.get(key) or (key not in keys and place.get((kind, before, after))) or {})
           for (kind, text, entry), before, key, after in zip(cells, found, found[1:], found[2:])]
    return new, [entry["grade_id"] for _, _, entry in new if entry and entry["grade_id"] in lost]


def restore(cells: list[tuple[str, str, dict]], task: Assignment) -> tuple[nbformat.NotebookNode, list[str]]:
    """The notebook to be run: test cells, points and order come from the assignment, answers and further cells from the
    student.  -> (the notebook, what had to be put right)"""
    cells, lost = recognised(cells, task)
    order = [c.metadata.nbgrader.grade_id for c in task.complete.cells if "nbgrader" in c.metadata]
    last = {entry["grade_id"]: i for i, (_, _, entry) in enumerate(cells) if entry.get("grade_id") in order}
    between, anchor = {None: []}, None               # cells of the student's own, by the known cell before them
    for i, (kind, source, entry) in enumerate(cells):
        if last.get(entry.get("grade_id")) == i:
            anchor = entry["grade_id"]
        else:
            between.setdefault(anchor, []).append((kind, source, {}))
    remarks = [f"{entry['grade_id']}: the cell is there more than once; the last one counts"
               for i, (_, _, entry) in enumerate(cells) if last.get(entry.get("grade_id"), i) != i]
    if lost:
        remarks.append(f"cells without metadata are known by their text or place: {', '.join(lost)}")
    if sorted(last, key=last.get) != [name for name in order if name in last]:
        remarks.append("cells were moved; the order of the assignment is restored")
    lost, anchor, before = {}, None, []              # given code that is changed or gone: it runs first, so that the
    there = {source.strip() for _, source, _ in cells}                                # student's version still wins
    for cell in task.released.cells if cells else ():
        if "nbgrader" in cell.metadata:
            anchor, before = cell.metadata.nbgrader.grade_id, []
        elif cell.cell_type == "code":
            before = [*before, ("code", cell.source, {})]                             # what it may need
            if cell.source.strip() in there:
                continue
            lost[anchor] = before
            remarks.append(f"a given cell was changed or deleted; as it was given, it runs before yours: "
                           f"{cell.source.strip().splitlines()[0]:.60}")
    new, given = lost.get(None, []) + between[None], {c.source.strip() for c in task.released.cells}

    def own(cell: tuple[str, str, dict]) -> bool:
        return cell[0] == "markdown" and not cell[2] and cell[1].strip() not in given

    for complete, released in zip(task.complete.cells, task.released.cells):
        if "nbgrader" not in complete.metadata:
            continue
        wanted = complete if complete.metadata.nbgrader.locked else released
        name = wanted.metadata.nbgrader.grade_id
        if name not in last and not wanted.metadata.nbgrader.grade:
            remarks.append(f"{name}: the cell was deleted")           # the answer may stand in another cell
            new += lost.get(name, [])
            continue
        if name not in last:
            remarks.append(f"{name}: the cell was deleted; it is put back")
            source = wanted.source
        else:
            kind, source, entry = cells[last[name]]
            if wanted is complete and source.strip() not in (released.source.strip(), complete.source.strip()):
                remarks.append(f"{name}: the test cell was edited; it is restored")
            if kind != wanted.cell_type or any(entry.get(k) != wanted.metadata.nbgrader.get(k) for k in ENTRY):
                remarks.append(f"{name}: points or other metadata were changed; they are restored")
            source = wanted.source if wanted is complete else source
        if wanted.cell_type == "markdown" and source.strip() == released.source.strip():
            above = [*itertools.takewhile(own, reversed(new))][::-1]
            below = [*itertools.takewhile(own, between.get(name, []))]
            if above + below:                        # a blank answer with a text of the student's own beside it
                remarks.append(f"{name}: the answer stands in a cell beside its own; it counts")
                source = "\n\n".join(text for _, text, _ in above + below)
                del new[len(new) - len(above):], between.get(name, [])[:len(below)]
        new.append((wanted.cell_type, source, dict(wanted.metadata.nbgrader)))
        new += lost.get(name, []) + between.get(name, [])
    kinds = {"code": new_code_cell, "markdown": new_markdown_cell}
    made = [kinds[kind](source, id=f"c{i}", metadata={"nbgrader": entry} if entry else {})
            for i, (kind, source, entry) in enumerate(new)]
    return new_notebook(cells=made, metadata=task.complete.metadata), remarks


def fair(nb) -> None:
    """nbgrader gives 0 for any stderr in a test cell, and takes a number that the cell ends with as its points. Here
    only an error fails a test cell, so both become ordinary output, in place."""
    for cell in nb.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade"):
            cell.outputs = [o if o.output_type == "error" else
                            new_output("stream", name="stdout", text=o.text) if o.output_type == "stream" else
                            new_output("display_data", data=o.data) for o in cell.outputs]


def scores(nb) -> dict[str, tuple[float | None, float, str]]:
    """Task -> (score, or None if a person must grade it; points; its error) of an executed notebook."""
    fair(nb)
    found = {}
    for cell in nb.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
            error = f"{errors[0].ename}: {errors[0].evalue}".splitlines()[0].rstrip(": ") if errors else ""
            found[cell.metadata.nbgrader.grade_id] = (*determine_grade(cell), error)
    return found


def picture(data: str) -> str:
    """The same bytes in plain base64; nothing if they are none."""
    try:
        return base64.b64encode(base64.b64decode(data)).decode()
    except ValueError:
        return ""


ALIVE = re.compile(r"<(?=[A-Za-z/!?])"               # a tag, or <address>
                   r"|&(?=[#\w])"                    # an entity, which can stand for any of these
                   r"|!(?=\[)|\](?=[(:])"            # a picture; a link or its address
                   r"|\\(?=href|mmlToken|require|style|class|cssId|bbox)")           # what MathJax makes of an equation


def harmless(nb, trusted: set[str]) -> None:
    """Take out, in place, whatever a browser could run or fetch: the teacher will open this notebook in the formgrader.
    Of outputs only plain text and pictures stay. In markdown a space takes the life out of HTML, links and pictures,
    except in cells of the release; equations stay what they are."""
    for cell in nb.cells:
        if cell.cell_type != "code":
            if cell.source not in trusted:
                cell.source = ALIVE.sub(r"\g<0> ", cell.source)
            continue
        kept = []
        for o in cell.outputs:
            if o.output_type == "stream":
                kept.append(new_output("stream", name="stderr" if o.name == "stderr" else "stdout", text=str(o.text)))
            elif o.output_type == "error":
                kept.append(new_output("error", ename=str(o.ename), evalue=str(o.evalue),
                                       traceback=[str(line) for line in o.traceback]))
            else:
                data = {kind: o.data[kind] for kind in ("text/plain", "image/png", "image/jpeg")
                        if isinstance(o.data.get(kind), str)}
                data = {k: v for k, text in data.items() if (v := text if k == "text/plain" else picture(text))}
                kept += [new_output("display_data", data=data)] if data else []
        cell.outputs = kept


# --- feedback -------------------------------------------------------------------------------------------------------

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }}
pre {{ font-size: 13px; padding: .6em; background: #f5f5f5; overflow-x: auto; white-space: pre-wrap }}
pre.out {{ background: #fff; border-left: 3px solid #bbb }}
pre.error {{ background: #fdf0ed; border-left: 3px solid #c33 }}
img {{ max-width: 100% }} table {{ border-collapse: collapse }} td, th {{ padding: .2em .8em; border: 1px solid #ccc }}
.note {{ padding: .5em .8em; background: #fff7dd; border-left: 3px solid #d90 }} h3.points {{ margin-bottom: 0 }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def rendered(texts: list[str]) -> list[str]:
    """Markdown of a student's as HTML. A program of its own does it: some texts would keep it busy for hours."""
    try:
        done = subprocess.run([sys.executable, "-P", MARKUP, str(MARKUP_SECONDS)], input=json.dumps(texts).encode(),
                              capture_output=True, timeout=30 * MARKUP_SECONDS, check=True)
        return json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError):
        return [f"<pre>{html.escape(text)}</pre>" for text in texts]


def bare(line: str) -> str:
    """A line of code without what a traceback puts before it: ----> 4 x = 1."""
    return re.sub(r"^(-+>)?\s*\d*\s*", "", line).strip()


def page(nb, task: Assignment, student: str, grades: dict, comments: dict, remarks: list[str]) -> str:
    """A student's feedback as one HTML page. It is built from escaped text and pictures only, it has no script, and its
    policy forbids the browser to run one or to fetch anything. Of what was given and not changed it shows the headings
    and what failed.  grades: task -> (score, points, by hand?)"""
    total, most = (sum(g[i] for g in grades.values() if not g[2]) for i in (0, 1))
    waiting = sum(points for _, points, hand in grades.values() if hand)
    asked = {c.metadata.nbgrader.grade_id: c.source for c in task.released.cells if "nbgrader" in c.metadata}
    shown = {name: f"{'to be graded, ' if hand else f'{score:g} '}of {points:g}"
             for name, (score, points, hand) in grades.items()}
    given = {c.source for c in task.released.cells if "nbgrader" not in c.metadata}
    public = {bare(line) for c in task.released.cells for line in c.source.splitlines()}
    hidden = {bare(line) for c in task.complete.cells for line in c.source.splitlines()} - public
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{text}</td></tr>" for name, text in shown.items())
    later = f"; {waiting:g} more are for answers that are still to be graded" * bool(waiting)
    parts = [f"<p>{html.escape(student)}: <b>{total:g} of {most:g}</b> points{later}</p><table>{rows}</table>"]
    parts += [f'<p class="note">{html.escape(remark)}</p>' for remark in remarks]
    known = {c.source for c in task.released.cells}
    texts = [c.source for c in nb.cells if c.cell_type != "code" and c.source not in known]
    as_html = dict(zip(texts, rendered(texts) if texts else []))
    for cell in nb.cells:
        entry = cell.metadata.get("nbgrader", {})
        name = entry.get("grade_id")
        source = asked[name] if entry.get("locked") else cell.source                  # without hidden tests
        if name is None and source in given:
            if cell.cell_type != "code":
                source = "\n\n".join(line for line in source.splitlines() if line.startswith("#"))
            elif not any(o.output_type == "error" for o in cell.outputs):
                continue
        if name in shown:
            parts.append(f'<h3 class="points">{html.escape(name)}: {shown[name]}</h3>')
        parts.append(f"<pre>{html.escape(source)}</pre>" if cell.cell_type == "code" else
                     as_html.get(source) or markdown(source))
        for o in cell.get("outputs", []):
            for kind in ("image/png", "image/jpeg"):
                if kind in o.get("data", {}):
                    parts.append(f'<img alt="a picture that the cell drew" src="data:{kind};base64,{o.data[kind]}">')
                    break
            else:
                kind = "error" if o.output_type == "error" else "out"
                text = "\n".join(o.traceback) if kind == "error" else o.text if "text" in o else o.data["text/plain"]
                more = "\n... and more" * (len(text) > 20_000)
                text = re.sub(r"\x1b\[[\d;]*m", "", text[:20_000])       # tracebacks and warnings quote hidden tests:
                text = "\n".join(line for line in text.split("\n") if bare(line) not in hidden) + more
                parts.append(f'<pre class="{kind}">{html.escape(text)}</pre>')
        if comments.get(name):
            parts.append(f'<p class="note">{html.escape(comments[name])}</p>')
    return PAGE.format(title=html.escape(task.name), body="\n".join(parts))


# --- the class ------------------------------------------------------------------------------------------------------

def examiner_of(task: Assignment, truths: dict[str, float] | None = None) -> trial.Examiner:
    given = [c.source for c in task.released.cells if c.cell_type == "code" and "nbgrader" not in c.metadata]
    tests = {c.metadata.nbgrader.grade_id: c.source for c in task.complete.cells
             if c.cell_type == "code" and c.metadata.get("nbgrader", {}).get("locked")}
    return trial.Examiner(given, tests, truths)


def jobs_that_fit(limits: Limits) -> int:
    """One submission per core, but no more than memory holds if all of them use what they may."""
    fit = psutil.virtual_memory().available // (limits.memory_mb << 20)
    return max(1, min(os.cpu_count() or 1, fit))


class Class:
    """The folder of a class, with nbgrader's gradebook. All writing into it goes through one lock."""

    def __init__(self, folder: Path):
        self.folder, self.lock = folder.resolve(), threading.RLock()

    def create(self) -> None:
        python = str(Path(sys.executable).parent)    # nbgrader calls alembic by name
        if python not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = python + os.pathsep + os.environ["PATH"]
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        save(self.folder / "nbgrader_config.py", "import os\nget_config().CourseDirectory.root = os.getcwd()\n")

    @property
    def db_url(self) -> str:
        return f"sqlite:///{self.folder / 'gradebook.db'}"

    @contextmanager
    def gradebook(self):
        with self.lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)                                # nbgrader's own, and harmless
            with Gradebook(self.db_url) as gradebook:
                yield gradebook

    @contextmanager
    def alone(self):
        """Only one command at a time may grade into this folder."""
        with (self.folder / ".lock").open("w") as file:
            try:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise GradingError(f"another `course grade` is at work in {self.folder}: wait for it to end") from None
            yield

    def path(self, tree: str, student: str, task: Assignment, ending: str) -> Path:
        return self.folder / tree / student / task.name / (task.name + ending)

    def record_path(self, student: str, task: Assignment) -> Path:
        return self.folder / "records" / task.name / f"{student}.json"

    def record(self, student: str, task: Assignment) -> dict:
        """What is known of a submission: a key that tells which, remarks, what to look at; a fault of the grading."""
        try:
            return json.loads(self.record_path(student, task).read_text())
        except (OSError, ValueError):                # none yet, or cut off when the machine stopped
            return {}

    def open_assignment(self, task: Assignment) -> None:
        """Tell the gradebook about the tasks and their points."""
        with self.gradebook() as gradebook:
            gradebook.update_or_create_assignment(task.name)
        with self.lock:
            try:
                through(task.complete, "SaveCells", notebook=task.name, assignment=task.name, db_url=self.db_url)
            except RuntimeError:
                raise GradingError(f"tasks of {task.name} were added or removed since it was graded into "
                                   f"{self.folder}: use another --into FOLDER") from None
        save(self.folder / "source" / task.name / f"{task.name}.ipynb", nbformat.writes(task.complete))

    def enter(self, student: str, task: Assignment, nb) -> None:
        """Score an executed notebook by nbgrader's rules; a grade that a person gave stays."""
        fair(nb)
        with self.gradebook() as gradebook:
            gradebook.update_or_create_student(student)
            gradebook.update_or_create_submission(task.name, student)
        with self.lock:
            through(nb, "SaveAutoGrades", notebook=task.name, assignment=task.name, student=student, db_url=self.db_url)
        harmless(nb, {c.source for c in task.complete.cells})
        save(self.path("autograded", student, task, ".ipynb"), nbformat.writes(nb))

    def grades(self, student: str, task: Assignment) -> tuple[dict, dict]:
        """(task -> (score, points, still to be graded by hand?), task -> comment) of one student."""
        with self.gradebook() as gradebook:
            mine = gradebook.find_submission_notebook(task.name, task.name, student)
            order = [c.metadata.nbgrader.grade_id for c in task.complete.cells if "nbgrader" in c.metadata]
            grades = {g.name: (g.score, g.max_score, g.needs_manual_grade) for g in mine.grades}
            return {n: grades[n] for n in order if n in grades}, {c.name: c.comment for c in mine.comments if c.comment}

    def write_feedback(self, student: str, task: Assignment) -> None:
        """The page of a student, unless it is there and nothing that it shows has changed."""
        path, graded = (self.path(*where) for where in (("feedback", student, task, ".html"),
                                                        ("autograded", student, task, ".ipynb")))
        data, grades, remarks = graded.read_bytes(), self.grades(student, task), self.record(student, task)["remarks"]
        about = repr((grades, remarks)).encode() + data + task.digest() + Path(__file__).read_bytes()
        mark = f"<!-- {hashlib.sha256(about).hexdigest()} -->\n"
        if not (path.is_file() and path.read_text(encoding="utf-8").endswith(mark)):
            save(path, page(nbformat.reads(data.decode(), as_version=4), task, student, *grades, remarks) + mark)

    def grade_one(self, student: str, found: Path | str, task: Assignment, examiner: trial.Examiner, limits: Limits,
                  trusted: bool, again: bool) -> dict:
        """Grade one submission, unless this very file has been graded.  -> its record. What goes wrong in the grading
        itself is recorded too: it is no score, and the next run tries again."""
        try:
            return self.grade_file(student, found, task, examiner, limits, trusted, again)
        except sandbox.Stopped:
            raise
        except Exception as e:
            said = f"{e}" if isinstance(e, sandbox.Fault) else f"{type(e).__name__}: {e}"
            fault = (said.splitlines() or [""])[0][:200]
            record = {"student": student, "key": "", "remarks": [f"not graded yet, for the grading failed: {fault}"],
                      "look": [], "fault": fault}
            with suppress(OSError):                  # the disk is full, perhaps
                save(self.record_path(student, task), json.dumps(record))
            return record

    def grade_file(self, student, found, task, examiner, limits, trusted, again) -> dict:
        too_big = isinstance(found, Path) and found.stat().st_size > LARGEST_MB * 1e6
        data = b"" if too_big or isinstance(found, str) else found.read_bytes()
        key = hashlib.sha256(task.digest() + (data or str(found).encode())).hexdigest()
        old = self.record(student, task)
        if old.get("key") == key and not again and self.path("autograded", student, task, ".ipynb").exists():
            return old
        remarks, look = [], []
        try:
            if isinstance(found, str):
                raise Unreadable(found)
            if too_big:
                raise Unreadable(f"the file is larger than {LARGEST_MB} MB: clear its outputs and hand it in again")
            nb, remarks = restore(cells_in(data), task)
            look = [r for r in remarks if "restored" in r]
            known = {line for c in task.complete.cells for line in c.source.splitlines()}
            look += [f"reads the checks: {line.strip():.60}" for c in nb.cells if c.cell_type == "code"
                     for line in c.source.splitlines() if line not in known and ANSWERS.search(line)][:3]
            wrong, seen = trial.execute(nb, limits, task.files, trusted, examiner)
            remarks, look = remarks + wrong, look + seen
        except Unreadable as reason:
            nb, _ = restore([], task)
            remarks = [f"not graded: {reason}"]
            for cell in nb.cells:
                if cell.cell_type == "code":
                    cell.outputs = [sandbox.failure("NotRun", str(reason))]
        self.enter(student, task, nb)
        record = {"student": student, "key": key, "remarks": remarks, "look": look}
        save(self.record_path(student, task), json.dumps(record))
        self.write_feedback(student, task)
        return record

    def prove(self, task: Assignment, limits: Limits, trusted: bool, again: bool) -> trial.Examiner:
        """Run the solved notebook like a submission. Raises GradingError unless it gets all points: where a right
        answer fails, nobody may be graded. Not repeated while release, installation and limits are the same.
        -> the examiner of the class, who now knows what measurements should give
        """
        solved = (task.source / f"{task.name}.ipynb").read_bytes()
        library = sorted((str(p), p.stat().st_mtime_ns) for p in Path(course_lib.__file__).parent.rglob("*")
                         if p.is_file() and p.suffix != ".pyc")
        packages = os.stat(sysconfig.get_path("purelib")).st_mtime_ns                 # what is installed changes it
        key = hashlib.sha256(task.digest() + solved + repr((limits, trusted, library, packages)).encode()).hexdigest()
        record = self.folder / "records" / f"{task.name}.solved"
        with suppress(OSError, ValueError):
            known = json.loads(record.read_text())
            if known["key"] == key and not again:
                return examiner_of(task, known["truths"])
        print(f"{task.name}: first the solved notebook, which must get all points", file=sys.stderr)
        nb, _ = restore(cells_in(solved), task)
        examiner = examiner_of(task)
        try:
            remarks, _ = trial.execute(nb, limits, task.files, trusted, examiner, solved=True)
        except sandbox.Fault as e:
            raise GradingError(f"{e} Nobody was graded: repair that, or wait, and run the command again") from None
        for name, (score, points, error) in scores(nb).items():
            if score is not None and score < points:
                first = next((f"{o.ename}: {o.evalue}" for c in nb.cells for o in c.get("outputs", [])
                              if o.output_type == "error"), error)
                said = "; ".join(dict.fromkeys(line.splitlines()[0].rstrip(": ") for line in (error, first, *remarks)))
                raise GradingError(f"the solved notebook of {task.name} gets {score:g} of {points:g} points in the "
                                   f"cell {name} on this machine, so nobody was graded: {said}. Repair that first "
                                   "(`make setup`? `make exercises`? more --seconds or --memory?)")
        save(record, json.dumps({"key": key, "truths": examiner.truths}))
        return examiner

    def grade(self, task: Assignment, folder: Path, limits: Limits, jobs: int, trusted: bool = False,
              again: bool = False, only: tuple[str, ...] = (), as_root: bool = False) -> dict[str, str]:
        """Grade a folder of submissions, or `only` some students, these anew. -> student -> what went wrong in the
        grading itself, which should be empty."""
        if not folder.is_dir():
            raise GradingError(f"there is no folder {folder}: name the folder that holds the submissions")
        found, others = submissions(folder, task.name)
        if unknown := [s for s in only if s not in found]:
            raise GradingError(f"{folder} holds no submission of {', '.join(map(repr, unknown))}: write the name as it "
                               "stands there, without .ipynb")
        if not trusted:
            if reason := sandbox.unavailable():
                raise GradingError(f"{reason}; or, if you trust every line that was handed in, add --trust-submissions")
            if not as_root and getattr(os, "geteuid", lambda: 1)() == 0:
                raise GradingError("you are root, and whoever finds a hole in the Linux kernel would be root as well: "
                                   "grade as an ordinary user, or say --as-root (in a container or a virtual machine "
                                   "that holds nothing else)")
            for secret in (self.folder, folder.resolve(), task.source):
                if inside := [p for p in sandbox.visible() if secret.is_relative_to(p)]:
                    raise GradingError(f"{secret} lies in {inside[0]}, which submissions can read: move it elsewhere")
        if others:
            print(f"no notebooks, so left out: {', '.join(others)}", file=sys.stderr)
        self.create()
        sandbox.stopping.clear()
        sandbox.sweep()
        found = {s: f for s, f in found.items() if not only or s in only}
        with self.alone():
            examiner = self.prove(task, limits, trusted, again and not only)
            self.open_assignment(task)

            def all_of(students, jobs: int) -> dict[str, str]:
                failed = {}
                with ThreadPoolExecutor(jobs) as pool:
                    futures = {pool.submit(self.grade_one, s, found[s], task, examiner, limits, trusted,
                                           again or bool(only)): s for s in students}
                    try:
                        for future in tqdm(as_completed(futures), task.name, len(futures), unit="submission"):
                            if fault := future.result().get("fault"):
                                failed[futures[future]] = fault
                    except BaseException:
                        sandbox.stopping.set()
                        pool.shutdown(wait=True, cancel_futures=True)
                        raise
                return failed

            failed = all_of(found, jobs)             # a fault may have come from too many at a time
            return all_of(failed, 1) if 0 < len(failed) <= 5 else failed

    def table(self, task: Assignment) -> list[dict]:
        """One row per student, by name. The score is None where there is none, and the remarks say why."""
        tasks = {c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points for c in task.complete.cells
                 if c.metadata.get("nbgrader", {}).get("grade")}
        rows = []
        for path in sorted((self.folder / "records" / task.name).glob("*.json")):
            if not (record := self.record(path.stem, task)):
                continue
            row = {"student": path.stem, "score": None, "points": sum(tasks.values()), "to grade by hand": 0,
                   **dict.fromkeys(tasks), "remarks": " | ".join(record["remarks"]),
                   "look at": " | ".join(record["look"])}
            try:
                grades = {} if record.get("fault") else self.grades(path.stem, task)[0]
            except MissingEntry:
                grades, row["remarks"] = {}, "the gradebook does not hold it: grade it with --again"
            if grades:
                row |= {"score": sum(g[0] for g in grades.values()), "points": sum(g[1] for g in grades.values()),
                        "to grade by hand": sum(bool(g[2]) for g in grades.values()),
                        **{name: g[0] for name, g in grades.items()}}
            rows.append(row)
        return rows

    def write_grades(self, task: Assignment) -> tuple[Path, list[dict]]:
        """The CSV file and the feedback pages, as the gradebook stands now."""
        rows = self.table(task)
        if not rows:
            raise GradingError(f"nothing of {task.name} is graded in {self.folder}: run `course grade`, or say --into")
        path = self.folder / f"{task.name}.csv"
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        save(path, table.getvalue())
        for row in rows:
            if row["score"] is not None:
                self.write_feedback(row["student"], task)
        return path, rows


def save(path: Path, text: str) -> None:
    """Write a file, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    os.replace(part, path)


def summary(rows: list[dict]) -> str:
    """The scores of a class in a few lines, with a histogram in ten steps."""
    scores = [row["score"] for row in rows if row["score"] is not None]
    lines = [f"{len(rows)} submissions"]
    if scores:
        most = rows[0]["points"]
        lines = [f"{len(rows)} submissions, {most:g} points: mean {statistics.mean(scores):.1f}, median "
                 f"{statistics.median(scores):g}, lowest {min(scores):g}, highest {max(scores):g}"]
        steps = [0] * 10
        for score in scores:
            steps[min(int(10 * score / most), 9) if most else 0] += 1
        scale = max(1, max(steps) / 40)
        lines += [f"{10 * i:3d} - {10 * i + 10:3d} %  {'#' * round(n / scale):<40} {n}" for i, n in enumerate(steps)]
    if n := sum(row["to grade by hand"] for row in rows):
        lines.append(f"{n} answers wait to be graded by hand, in nbgrader's formgrader")
    if names := [row["student"] for row in rows if row["score"] is None]:
        lines.append(f"not graded yet: {', '.join(names)}")
    if names := [row["student"] for row in rows if row["look at"]]:
        lines.append(f"look at these yourself: {', '.join(names)}")
    return "\n".join(lines)
