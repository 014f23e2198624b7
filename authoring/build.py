"""Text -> executed notebook.  authoring/lessons/31_vae.py (jupytext's percent format) -> notebooks/31_vae.ipynb

    python authoring/build.py              execute and save every lesson whose notebook is stale
    python authoring/build.py 31 12        execute and save these, stale or not
    python authoring/build.py --check      say which notebooks are stale, and execute nothing (exit code 1 if any is)
    python authoring/build.py --adopt 31   take an edit made in JupyterLab back into the text
    python authoring/build.py --exercises  the same for exercises: authoring/exercises/31_vae.py, with solutions and
                                           hidden tests -> solutions/31_vae/31_vae.ipynb (executed)
                                                        -> exercises/31_vae/31_vae.ipynb (for students)

Two builds give the same bytes. The metadata hold no times, paths or versions; the id of a cell is a hash of its source;
figures lose the name of the program that drew them; kernels run with one thread and a fixed hash seed. What would
differ anyway (a memory address, a path of this machine) is refused, and so are warnings: a lesson is silent on stderr.

A code cell may begin with `# Figure: ...` (one or more lines of comment, before or after `# not compared: ...`), which
describes its picture for readers who cannot see it. That becomes the alt text. If the cell only draws, its code is
folded. Pictures are stored with 256 colours.

A notebook carries the fingerprint of the text it was built from. That is how the builder notices an edit that is only
in the notebook (it asks for --adopt, or --force to lose it) and one that is in both (--adopt refuses: merge by hand).

In an exercise, the tags solution:ID, test:ID:POINTS and manual:ID:POINTS stand for nbgrader's metadata, and nbgrader's
own preprocessors make the student's file, as `nbgrader generate_assignment` would. A student's file in which somebody
has begun to work is not overwritten without --force.
"""

import argparse
import ast
import base64
import dis
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import time
from itertools import zip_longest
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import jupytext
import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
KERNEL_ENV = {                                     # what the builder and the tests set for every kernel
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
    "COURSE_PROFILE": "cpu",
    "COURSE_DEVICE": "cpu",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MATPLOTLIBRC": str(ROOT / "authoring" / "matplotlibrc"),
}
NOTEBOOK_METADATA = {                              # as JupyterLab writes them, but for the version of Python
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py", "name": "python",
                      "mimetype": "text/x-python", "nbconvert_exporter": "python", "pygments_lexer": "ipython3"}}
EDITOR_METADATA = {                                # how a cell was shown or run, not what it is
    "ExecuteTime", "collapsed", "execution", "jp-MarkdownHeadingCollapsed", "jupyter", "lines_to_next_cell", "scrolled",
    "trusted"}
FIGURE = re.compile(r"\A(# not compared:.*\n(?:#(?! Figure:).*\n)*)?# Figure:(.*(?:\n#(?! not compared:).*)*)\n?")
TEACHES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assert)
CALLS_THAT_TEACH = {"assert_close", "claim", "fit", "print"}
SECONDS = {"notebooks": 60, "solutions": 20}       # a lesson and an exercise may take this long with one thread


class BuildError(Exception):
    """One readable message: what is wrong, where, and what to do."""


# --- text and cells -------------------------------------------------------------------------------------------------

def cells_of(text: str) -> list:
    """The cells of a text in percent format. Raises BuildError if writing them again would not give the same text."""
    cells = clean(jupytext.reads(text, fmt="py:percent").cells)
    for n, (given, wanted) in enumerate(zip(text.split("\n"), text_of(cells).split("\n"), strict=False), start=1):
        if given != wanted:
            raise BuildError(f"line {n} is {given!r} where the percent format has {wanted!r} (one blank line between "
                             "cells, one newline at the end)")
    if text != text_of(cells):
        raise BuildError("the text must end with exactly one newline")
    return cells


def text_of(cells: list) -> str:
    """The percent format of cells, with one blank line between them and no header."""
    cells = nbformat.from_dict(cells)              # a copy: the next line is only for jupytext
    for cell in cells[:-1]:
        cell.metadata["lines_to_next_cell"] = 1
    metadata = NOTEBOOK_METADATA | {"jupytext": {"notebook_metadata_filter": "-all"}}
    return jupytext.writes(nbformat.v4.new_notebook(cells=cells, metadata=metadata), fmt="py:percent")


def clean(cells: list) -> list:
    """The cells without outputs and without what an editor adds, named by the hash of their source."""
    seen, kept = {}, []
    for cell in nbformat.from_dict(cells):
        source = cell.source.strip("\n")
        name = hashlib.sha1((cell.cell_type + source).encode()).hexdigest()[:8]
        seen[name] = seen.get(name, 0) + 1
        new = dict(cell_type=cell.cell_type, source=source, id=name if seen[name] == 1 else f"{name}-{seen[name]}",
                   metadata={k: v for k, v in tagged(cell.metadata).items() if k not in EDITOR_METADATA})
        if cell.cell_type == "code":
            new |= dict(outputs=[], execution_count=None)
        if cell.get("attachments"):
            new["attachments"] = cell.attachments
        kept.append(new)
    return nbformat.from_dict(kept)


def fingerprint(cells: list) -> str:
    """A hash of what the cells are, whatever they have put out."""
    return hashlib.sha1(json.dumps(clean(cells), sort_keys=True).encode()).hexdigest()


def state(text: Path, notebook: Path) -> str:
    """"current", "stale", "not executed" (from 1 to n), "edited" (only the notebook was) or "diverged" (both were)."""
    if not notebook.exists():
        return "stale"
    nb = nbformat.read(notebook, as_version=4)
    built_from = nb.metadata.get("course", {}).get("fingerprint")
    wanted, found = (fingerprint(c) for c in (cells_of(text.read_text(encoding="utf-8")), nb.cells))
    if wanted != found:
        if found == built_from:
            return "stale"
        return "edited" if wanted == built_from else "diverged"
    if wanted != built_from:                       # adopted, and not executed since
        return "stale"
    counts = [c.execution_count for c in nb.cells if c.cell_type == "code" and c.source.strip()]
    return "current" if counts == list(range(1, len(counts) + 1)) else "not executed"


# --- exercises ------------------------------------------------------------------------------------------------------

KINDS = {"solution": dict(grade=False, solution=True, locked=False),                  # what a student writes
         "test": dict(grade=True, solution=False, locked=True),                       # a check with points
         "manual": dict(grade=True, solution=True, locked=False)}                     # an answer that a person grades


def expand(cells: list) -> None:
    """Replace the short tags of an author by nbgrader's metadata, in place. Raises BuildError for a wrong tag."""
    ids = set()
    for cell in cells:
        for tag in list(cell.metadata.get("tags", [])):
            kind, *rest = tag.split(":")
            if kind not in KINDS:
                continue
            if not re.fullmatch(r"[A-Za-z]\w*" + ("" if kind == "solution" else r":\d+"), ":".join(rest)):
                raise BuildError(f"the tag {tag!r} is none of solution:ID, test:ID:POINTS, manual:ID:POINTS")
            if "nbgrader" in cell.metadata or rest[0] in ids:
                raise BuildError(f"the tag {tag!r} is a second one of its cell, or its ID is used twice")
            ids.add(rest[0])
            points = {"points": int(rest[1])} if kind != "solution" else {}
            cell.metadata["nbgrader"] = dict(schema_version=3, grade_id=rest[0], task=False, **KINDS[kind], **points)
            cell.metadata["tags"].remove(tag)
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]


def tagged(metadata: dict) -> dict:
    """The metadata of a cell with the author's tag in place of nbgrader's entry: the inverse of `expand`."""
    metadata = dict(metadata)
    if entry := metadata.pop("nbgrader", None):
        kind = next((k for k, what in KINDS.items() if what["grade"] == entry.get("grade")
                     and what["solution"] == entry.get("solution")), None)
        if kind:                                   # else a cell that is only locked
            points = [] if kind == "solution" else [str(int(entry["points"]))]
            metadata["tags"] = [":".join([kind, entry["grade_id"], *points]), *metadata.get("tags", [])]
    return metadata


def for_students(solution) -> nbformat.NotebookNode:
    """The notebook that `nbgrader generate_assignment` makes of a solution: no answers, hidden tests or outputs."""
    try:
        from nbgrader import preprocessors as nbgrader
    except ImportError:
        raise BuildError("exercises are made by nbgrader: pip install course-lib[classroom]") from None
    from traitlets.config import Config

    nb, resources = nbformat.from_dict(solution), {}
    for step in (nbgrader.LockCells, nbgrader.ClearSolutions, nbgrader.ClearOutput, nbgrader.CheckCellMetadata,
                 nbgrader.ClearHiddenTests, nbgrader.ClearMarkScheme, nbgrader.ComputeChecksums,
                 nbgrader.CheckCellMetadata):
        nb, resources = step(config=Config()).preprocess(nb, resources)
    return nb


def student_state(solution: Path, student: Path) -> str:
    """"current", "stale", or "worked in" (somebody has changed its cells since it was made)."""
    if not student.exists():
        return "stale"
    if student.read_text(encoding="utf-8") == written(for_students(nbformat.read(solution, as_version=4))):
        return "current"
    nb = nbformat.read(student, as_version=4)
    return "stale" if fingerprint(nb.cells) == nb.metadata.get("course", {}).get("released") else "worked in"


def release(solution: Path, student: Path, force: bool = False) -> None:
    """Write the student's file of a solution, unless it holds somebody's work."""
    if not force and student_state(solution, student) == "worked in":
        raise BuildError(f"somebody has worked in exercises/{student.parent.name}: copy that file, then use --force")
    student.parent.mkdir(parents=True, exist_ok=True)
    save(student, written(for_students(nbformat.read(solution, as_version=4))))


def written(nb) -> str:
    return nbformat.writes(nb, version=4) + "\n"


# --- figures --------------------------------------------------------------------------------------------------------

def description(source: str) -> str:
    """What a cell says about its picture, in one line: its comment `# Figure: ...`, or nothing."""
    found = FIGURE.match(source)
    return " ".join(found[2].replace("\n#", " ").split()) if found else ""


def describe(output, text: str) -> None:
    """Store the description of a picture where nbconvert looks for its alt text."""
    for kind in output.get("data", {}):
        if text and kind.startswith("image/"):
            output.metadata.setdefault(kind, {})["alt"] = text


def fold(cells: list) -> None:
    """Hide the code of the cells that only draw, in place."""
    codes = [cell for cell in cells if cell.cell_type == "code"]
    for i, cell in enumerate(codes):
        if "nbgrader" not in cell.metadata and only_draws(cell.source, [later.source for later in codes[i + 1:]]):
            cell.metadata["jupyter"] = {"source_hidden": True}


def only_draws(source: str, later: list[str]) -> bool:
    """Whether a cell describes its figure and does nothing else than draw it: it imports, defines, checks, prints and
    trains nothing, and no later cell uses a name that it has made."""
    if not description(source):
        return False
    nodes = list(ast.walk(ast.parse(TransformerManager().transform_cell(source))))
    called = {getattr(n.func, "id", getattr(n.func, "attr", "")) for n in nodes if isinstance(n, ast.Call)}
    if called & CALLS_THAT_TEACH or any(isinstance(n, TEACHES) for n in nodes):
        return False
    _, made = names(source)
    for needs, gives in map(names, later):
        if made & needs:
            return False
        made -= gives
    return True


def names(code: str | CodeType) -> tuple[set[str], set[str]]:
    """The names that code takes from outside, and those that it makes."""
    if isinstance(code, str):
        code = compile(TransformerManager().transform_cell(code), "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    needs, gives = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            gives.add(step.argval)
        elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            needs |= {step.argval} - gives
        elif isinstance(step.argval, CodeType):    # of a function (in Python 3.11 of a comprehension, too)
            needs |= names(step.argval)[0] - gives
    return needs, gives


def pixels(png: bytes) -> Image.Image:
    """The picture as a page shows it: in three colours, on white."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def small(png: bytes) -> bytes:
    """The picture in its best 256 colours, without the text that says when and by what it was written."""
    buffer = io.BytesIO()
    pixels(png).quantize(256, kmeans=1, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


# --- execution ------------------------------------------------------------------------------------------------------

def execute(cells: list, folder: Path, timeout: int = 300) -> tuple[nbformat.NotebookNode, list[float]]:
    """Run the cells in a fresh kernel with `folder` as its working directory; the notebook and the seconds per cell."""
    metadata = NOTEBOOK_METADATA | {"course": {"fingerprint": fingerprint(cells)}}
    nb = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    client = NotebookClient(nb, timeout=timeout, kernel_name="python3", record_timing=False, coalesce_streams=True,
                            resources={"metadata": {"path": str(folder)}},
                            extra_arguments=["--IPKernelApp.log_level=ERROR"])        # its start-up remarks
    client.reset_execution_trackers()
    seconds = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:          # instead of a personal one
        with client.setup_kernel(env=os.environ | KERNEL_ENV | {"IPYTHONDIR": profile}):
            for i, cell in enumerate(nb.cells):
                start = time.perf_counter()
                try:
                    client.execute_cell(cell, i)
                except CellExecutionError as e:
                    raise BuildError(f"{where(nb, i)}\n{where_in(e.traceback)}    {e.ename}: {e.evalue}") from None
                except CellTimeoutError:
                    raise BuildError(f"{where(nb, i)}\n    it ran for more than {timeout} s") from None
                except DeadKernelError:
                    raise BuildError(f"{where(nb, i)}\n    the kernel died (out of memory, or os._exit?)") from None
                seconds.append(time.perf_counter() - start)
                for output in cell.get("outputs", []):
                    make_reproducible(output, where(nb, i))
                    describe(output, description(cell.source))
    nbformat.validate(nb)
    return nb, seconds


def where(nb, i: int) -> str:
    first = next((line for line in nb.cells[i].source.splitlines() if line.strip()), "")
    return f"cell {i} of {len(nb.cells)}, which begins `{first}`:"


def where_in(traceback: str) -> str:
    """The lines of a coloured IPython traceback that point at the error: in the cell first, in the library last."""
    arrows = re.findall(r"^-+> *\d+ (.*)$", re.sub(r"\x1b\[[\d;]*m", "", traceback), flags=re.MULTILINE)
    return "".join(f"    > {line.strip()}\n" for line in dict.fromkeys(arrows[:1] + arrows[-1:]))


def make_reproducible(output, where: str) -> None:
    """Make a figure small and take the random ids out of a widget; refuse what differs from run to run."""
    if output.output_type == "error":
        raise BuildError(f"{where} a lesson catches the exception that it shows, and prints it")
    if output.get("name") == "stderr":
        raise BuildError(f"{where} it wrote to stderr\n    {output.text.strip()[:500]}")
    data = output.get("data", {})
    data.pop("application/vnd.jupyter.widget-view+json", None)
    if "image/png" in data:
        data["image/png"] = base64.b64encode(small(base64.b64decode(data["image/png"]))).decode() + "\n"
    for text in (output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")):
        if found := re.search(r"\bat 0x[0-9a-f]+|/ipykernel_\d+/", text):
            raise BuildError(f"{where} its output holds {found[0]!r}, which no two runs share (end the cell with ; ?)")
        if str(ROOT) in text:
            raise BuildError(f"{where} its output holds a path of this machine")


# --- the three verbs ------------------------------------------------------------------------------------------------

def build(text: Path, notebook: Path, force: bool = False) -> list[float]:
    """Execute a text and save it as a notebook, all or nothing. Returns the seconds of each cell."""
    if not force and state(text, notebook) in ("edited", "diverged"):
        raise BuildError(f"{notebook.name} was edited in JupyterLab: keep that with --adopt, or lose it with --force")
    cells = cells_of(text.read_text(encoding="utf-8"))
    expand(nbformat.from_dict(cells))              # a wrong tag is found before anything runs
    notebook.parent.mkdir(parents=True, exist_ok=True)
    nb, seconds = execute(cells, folder=notebook.parent)
    expand(nb.cells)
    fold(nb.cells)
    if any("nbgrader" in cell.metadata for cell in nb.cells):
        nb.metadata.course["released"] = fingerprint(for_students(nb).cells)
    save(notebook, written(nb))
    return seconds


def adopt(text: Path, notebook: Path) -> bool:
    """Write the cells of an edited notebook into its text. Returns whether there was anything to take over."""
    found = state(text, notebook)
    if found == "diverged":
        raise BuildError(f"both {text.name} and {notebook.name} were edited since the notebook was built: merge one "
                         "into the other by hand")
    if found != "edited":
        return False
    cells = clean(nbformat.read(notebook, as_version=4).cells)
    new = text_of(cells)
    for i, (mine, read) in enumerate(zip_longest(cells, cells_of(new))):
        if mine != read:
            raise BuildError(f"the percent format cannot hold cell {i} of {notebook.name} (is an image pasted into "
                             "it, or does a line look like a cell marker?): change the cell, or write the text by hand")
    save(text, new)
    return True


def save(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)


class Job(NamedTuple):
    text: Path
    notebook: Path
    student: Path | None = None                    # an exercise has one


def jobs(root: Path, folder: str, wanted: list[str]) -> list[Job]:
    """The lessons, with the table of symbols, or the exercises: those with these numbers or names, or all. Raises
    BuildError for an unknown one."""
    texts = {p.stem: p for p in sorted((root / "authoring" / folder).glob("*.py"))}
    chosen = [stem for stem in texts if not wanted or stem in wanted or stem[:2] in wanted]
    if unknown := [w for w in wanted if not any(w in (stem, stem[:2]) for stem in chosen)]:
        raise BuildError(f"no {folder[:-1]} {', '.join(unknown)}: there are {', '.join(texts) or 'none'}")
    if folder == "lessons":
        return [Job(texts[stem], root / "notebooks" / f"{stem}.ipynb") for stem in chosen]
    return [Job(texts[stem], *(root / tree / stem / f"{stem}.ipynb" for tree in ("solutions", "exercises")))
            for stem in chosen]


def chosen_by(options) -> list[Job]:
    """What a command is about: lessons, or exercises with --exercises; --check and --adopt look at both."""
    if options.exercises:
        return jobs(options.root, "exercises", options.names)
    chosen = jobs(options.root, "lessons", options.names)
    if options.check or options.adopt:
        stems = {job.text.stem for job in chosen}
        chosen += [job for job in jobs(options.root, "exercises", []) if job.text.stem in stems or not options.names]
    return chosen


def job_state(job: Job) -> str:
    found = state(job.text, job.notebook)
    return student_state(job.notebook, job.student) if job.student and found == "current" else found


def run(job: Job, options) -> bool:
    """Do what the options say with one lesson or exercise, and print it. Returns whether it failed."""
    name = f"exercises/{job.text.stem}" if job.student else job.text.stem
    if options.check:
        found = job_state(job)
        print(f"{name}: {found}")
        return found != "current"
    if options.adopt:
        print(f"{name}: " + ("adopted; now build it" if adopt(*job[:2]) else "nothing to adopt"))
        return False
    if not (options.names or options.force or job_state(job) != "current"):
        print(f"{name}: current")
        return False
    if not job.student or options.force or options.names or state(*job[:2]) != "current":
        seconds = build(*job[:2], options.force)
        print(f"{name}: built in {sum(seconds):.1f} s")
        if sum(seconds) > (limit := SECONDS["solutions" if job.student else "notebooks"]):
            slowest = sorted(enumerate(seconds), key=lambda cell: -cell[1])[:3]
            print(f"    more than {limit} s:", ", ".join(f"cell {i} took {s:.1f} s" for i, s in slowest))
    if job.student:
        release(*job[1:], options.force)
        print(f"{name}: the student's file is current")
    return False


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NB", help="numbers or names of lessons; all if none is given")
    verbs = parser.add_mutually_exclusive_group()
    verbs.add_argument("--check", action="store_true", help="only say which notebooks are stale")
    verbs.add_argument("--adopt", action="store_true", help="take edits made in JupyterLab back into the text")
    parser.add_argument("--exercises", action="store_true", help="exercises in place of lessons")
    parser.add_argument("--force", action="store_true", help="execute current lessons too; overwrite edited notebooks")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)   # the tests bring their own course
    options = parser.parse_args(arguments)
    failed = False
    try:
        chosen = chosen_by(options)
    except BuildError as e:
        print(e, file=sys.stderr)
        return 1
    for job in chosen:
        try:
            failed |= run(job, options)
        except BuildError as e:
            failed = True
            print(f"{job.text.stem}: {e}", file=sys.stderr)
            if not (options.check or options.adopt):
                print(f"    {job.notebook.name} is left as it was", file=sys.stderr)
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
