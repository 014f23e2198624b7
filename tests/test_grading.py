"""A class of 25, most of it hostile or broken, is graded by one command, which is killed half-way and started again."""

import csv
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from a_class import NAME, RIGHT, answered, entry, odd_files, write_class, write_course
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbgrader.api import Gradebook

import course_lib
from course_lib.classroom import grading, sandbox
from course_lib.classroom.cli import app

LIMITS = grading.Limits(seconds=10, memory_mb=600, processes=16)


@pytest.fixture
def course(tmp_path, quick_gradebooks):
    write_course(tmp_path)
    task = grading.assignment(tmp_path / "solutions" / NAME / f"{NAME}.ipynb", tmp_path / "exercises" / NAME)
    (tmp_path / "in").mkdir()
    return SimpleNamespace(root=tmp_path, task=task, folder=tmp_path / "in", group=grading.Class(tmp_path / "grading"))


def hashes(*folders: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for folder in folders for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.stat().st_size < 1e7}


@pytest.fixture(scope="module")
def graded(tmp_path_factory, quick_gradebooks):
    """The class, graded by `course grade`, which is killed after a few submissions and started again."""
    if reason := sandbox.unavailable():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("course")
    write_course(root)
    into, folder = root / "grading", root / "in"
    door = socket.create_server(("127.0.0.1", 0))
    expected = write_class(root, folder, into / "gradebook.db", door.getsockname()[1])
    outside = [root / "solutions", root / "exercises", folder, Path(course_lib.__file__).parent]
    before = hashes(*outside)

    command = ["grade", NAME, str(folder), "--course", str(root), "--into", str(into), "--jobs", "2",
               "--seconds", "10", "--memory", "600", "--processes", "16"]
    first = subprocess.Popen([sys.executable, "-m", "course_lib.classroom.cli", *command], stdout=subprocess.DEVNULL)
    records = into / "records" / NAME
    end = time.monotonic() + 120
    while len(list(records.glob("*.json"))) < 5 and first.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    family = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    _, orphans = psutil.wait_procs(family, timeout=5)
    kept = {path: path.stat().st_mtime_ns for path in [*records.glob("*.json"), records.with_name(f"{NAME}.solved")]}

    start = time.monotonic()
    code = app(command)
    seconds = time.monotonic() - start
    kept_as_they_were = sum(path.stat().st_mtime_ns == then for path, then in kept.items())
    door.setblocking(False)
    with door:
        try:
            door.accept()[0].close()
            visited = True
        except BlockingIOError:
            visited = False
    with (into / f"{NAME}.csv").open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    return SimpleNamespace(expected=expected, rows=rows, code=code, first=first.returncode, orphans=orphans, into=into,
                           kept=kept, kept_as_they_were=kept_as_they_were, visited=visited, before=before,
                           after=hashes(*outside), seconds=seconds, command=command)


def test_every_submission_of_the_class_has_the_expected_score(graded):
    assert graded.code == 0
    assert {s: float(row["score"]) for s, row in graded.rows.items()} == {s: e[0] for s, e in graded.expected.items()}


def test_every_trouble_is_stated(graded):
    assert {s: e[1] for s, e in graded.expected.items() if e[1] not in graded.rows[s]["remarks"]} == {}


def test_what_can_be_seen_of_deception_is_shown_to_the_teacher(graded):
    look = {s for s, row in graded.rows.items() if row["look at"]}
    assert look == {"cheats", "edits tests", "changes points"}
    assert "ast_transformers" in graded.rows["cheats"]["look at"]


def test_nothing_outside_the_sandbox_changed(graded):
    assert graded.before == graded.after
    assert not graded.visited


def test_a_killed_run_leaves_no_process_and_loses_nothing(graded):
    assert graded.first == -signal.SIGKILL               # it was killed, and did not end by itself
    assert graded.orphans == []
    assert 6 <= len(graded.kept) < 26                    # one of them is the solved notebook
    assert graded.kept_as_they_were == len(graded.kept)


def test_a_third_run_grades_nothing_and_is_quick(graded):
    start = time.monotonic()
    assert app(graded.command) == 0
    assert time.monotonic() - start < max(5, graded.seconds / 4)


def test_a_submission_takes_at_most_ten_seconds_and_core(graded, record_property):
    each = 2 * graded.seconds / (26 - len(graded.kept))
    record_property("seconds per submission and core", f"{each:.1f}")
    assert each < 10


class Live(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "iframe", "object", "embed", "svg", "form", "link", "base"):
            self.found.append(tag)
        self.found += [k for k, v in attrs if k.startswith("on") or "javascript" in (v or "").lower()
                       or k in ("src", "srcset", "poster") and not (v or "").startswith("data:image/png;base64,")
                       or k == "style" and "url" in v]


def test_the_detector_of_live_script_detects():
    assert Live("<p onclick=a()><script>1</script><a href='javascript:b()'>").found == ["onclick", "script", "href"]


def test_feedback_holds_no_live_script(graded):
    pages = list(graded.into.glob(f"feedback/*/{NAME}/{NAME}.html"))
    assert len(pages) == 25
    assert {str(p): found for p in pages if (found := Live(p.read_text()).found)} == {}
    assert all("default-src 'none'" in p.read_text() for p in pages)
    assert "alert(1)" in (graded.into / "feedback" / "live script" / NAME / f"{NAME}.html").read_text()  # as text
    assert not [p for p in pages if "HIDDEN" in p.read_text() or "sq(-2)" in p.read_text()]


def test_the_notebook_that_the_teacher_opens_holds_no_live_script(graded):
    from nbconvert import HTMLExporter
    path = graded.into / "autograded" / "live script" / NAME / f"{NAME}.ipynb"
    body = HTMLExporter(template_name="basic", exclude_input_prompt=True).from_filename(str(path))[0]
    plain = HTMLExporter(template_name="basic", exclude_input_prompt=True).from_notebook_node(
        new_notebook(cells=[new_markdown_cell("x")]))[0]
    assert Live(body).found == Live(plain).found          # only what every page of nbconvert has


# --- what needs no sandbox ------------------------------------------------------------------------------------------

HOSTILE = ["[a](javas&#99;ript:alert(1))", "[a](javascript\\:alert(1))", "[r]: javas&#99;ript&colon;alert(1)\n\n[r]",
           "![p](http://127.0.0.1:9/p.png)", "![s](data:image/svg+xml;base64,PHN2Zz4=)", "<javascript:alert(1)>",
           "<svg onload=alert(1)><image href='http://127.0.0.1:9/i'/></svg>", "<style>@import 'http://127.0.0.1:9'</style>",
           "$<img src=x onerror=alert(1)>$", "$$\n<script>alert(1)</script>\n$$", "| a |\n|---|\n| $<b onclick=a()>$ |",
           "\\begin{align}\n<img src=x onerror=alert(1)>\n\\end{align}", "&lt;script&gt;alert(1)&lt;/script&gt;",
           "[t](http://127.0.0.1:9/l \"t' onmouseover=a()\")", "$\\href{javascript:alert(1)}{x}$",
           "&#36;&#92;href{javascript:alert(1)}{x}&#36;", "$\\style{background:url(http://127.0.0.1:9/s)}{x}$",
           '$$\\def\\x#1#2{\\mmlToken{mi}[href="#1#2"]{y}}\\x{javascr}{ipt:alert(1)}$$']


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_student_writes_neither_runs_nor_fetches(text, course):
    from nbconvert import HTMLExporter
    nb, _ = grading.restore(grading.cells_in(nbformat.writes(answered(course.root, why=text)).encode()), course.task)
    grading.harmless(nb, {c.source for c in course.task.complete.cells})
    feedback = grading.page(nb, course.task, "ada", {}, {}, [])
    assert Live(feedback).found == [] and "<a " not in feedback
    basic = HTMLExporter(template_name="basic")              # as the formgrader shows it
    body, plain = (basic.from_notebook_node(new_notebook(cells=[new_markdown_cell(source)]))[0]
                   for source in (nb.cells[-1].source, "x"))
    assert Live(body).found == Live(plain).found
    assert not re.search(r"\\(href|style|mmlToken)", body)   # commands of MathJax that make links and load pictures


def test_equations_stay_what_they_are_and_ours_are_not_touched(course):
    nb = new_notebook(cells=[new_markdown_cell("$p<q$, $\\begin{matrix}a&b\\end{matrix}$, $x_1 y_1$ <b>.", id="a"),
                             new_markdown_cell("[ours](https://example.org) $\\href{https://example.org}{x}$", id="b")])
    ours = nb.cells[1].source
    grading.harmless(nb, {ours})
    assert nb.cells[1].source == ours
    text = grading.page(nb, course.task, "ada", {}, {}, [])
    assert "<code>$p&lt; q$</code>" in text and "a&amp; b" in text and "$x_1 y_1$" in text and "&lt; b&gt;" in text


def test_an_output_that_cannot_be_shown_stops_no_feedback(course):
    nb = grading.restore([], course.task)[0]
    nb.cells[1].outputs = [new_output("stream", text=""), new_output("display_data", data={"image/png": "A"}),
                           new_output("display_data", data={"image/jpeg": "<>é"}),
                           new_output("display_data", data={"image/png": "AAAA\n"})]
    grading.harmless(nb, set())
    assert grading.page(nb, course.task, "ada", {}, {}, []).count("<img") == 1


def test_without_bubblewrap_it_refuses_unless_told_otherwise(course, monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    (course.folder / "ada.ipynb").write_text(nbformat.writes(answered(course.root, **RIGHT)))
    with pytest.raises(grading.GradingError, match="bubblewrap is missing.*--trust-submissions"):
        course.group.grade(course.task, course.folder, LIMITS, jobs=1)
    assert not course.group.folder.exists()
    assert course.group.grade(course.task, course.folder, LIMITS, jobs=1, trusted=True) == {}
    assert course.group.table(course.task)[0]["score"] == 5


def test_odd_files_end_with_a_reason_and_no_points(course):
    expected = odd_files(course.root / "odd")
    assert course.group.grade(course.task, course.root / "odd", LIMITS, jobs=2, trusted=True) == {}
    rows = {row["student"]: row for row in course.group.table(course.task)}
    assert {s: row["score"] for s, row in rows.items()} == dict.fromkeys(expected, 0)
    assert {s: rows[s]["remarks"] for s, words in expected.items() if words not in rows[s]["remarks"]} == {}


def test_grades_given_by_hand_stay_when_a_new_file_is_handed_in(course):
    path = course.folder / "ada.ipynb"
    path.write_text(nbformat.writes(answered(course.root, **RIGHT, why="Because <b>I</b> say so.")))
    course.group.grade(course.task, course.folder, LIMITS, jobs=1, trusted=True)
    assert course.group.table(course.task)[0]["to grade by hand"] == 1
    with Gradebook(course.group.db_url) as gradebook:
        gradebook.find_grade("why", NAME, NAME, "ada").manual_score = 4
        gradebook.find_grade("why", NAME, NAME, "ada").needs_manual_grade = False
        gradebook.find_comment("why", NAME, NAME, "ada").manual_comment = "Nearly."
        gradebook.db.commit()
    file, rows = course.group.write_grades(course.task)
    assert rows[0]["score"] == 9 and "9.0" in file.read_text()
    feedback = course.group.path("feedback", "ada", course.task, ".html").read_text()
    assert "Nearly." in feedback and "<b>I</b>" not in feedback and "9 of 10" in feedback
    path.write_text(nbformat.writes(answered(course.root, sq=RIGHT["sq"], why="Because.")))
    course.group.grade(course.task, course.folder, LIMITS, jobs=1, trusted=True)
    assert course.group.table(course.task)[0]["score"] == 2 + 4


def test_answers_in_cells_that_lost_their_metadata_count(course):
    """As when a notebook went through another program, or an answer was moved into a new cell."""
    stripped, moved = answered(course.root, **RIGHT), answered(course.root, **RIGHT)
    for cell in stripped.cells:
        cell.metadata.pop("nbgrader", None)
    moved.cells[1].metadata.pop("nbgrader")
    for student, nb in (("stripped", stripped), ("moved", moved)):
        (course.folder / f"{student}.ipynb").write_text(nbformat.writes(nb))
    course.group.grade(course.task, course.folder, LIMITS, jobs=2, trusted=True)
    assert {row["student"]: row["score"] for row in course.group.table(course.task)} == {"stripped": 5, "moved": 5}


def test_a_given_cell_that_was_changed_or_deleted_runs_first_as_it_was(tmp_path):
    """An import that only another machine has, a helper deleted by mistake; what was repaired in place still counts."""
    solved = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}, cells=[
        new_code_cell("import math\nONE = 1", id="a"),
        new_code_cell("### BEGIN SOLUTION\nx = ONE\n### END SOLUTION", id="b", metadata=entry("x")),
        new_code_cell("assert x == 1", id="c", metadata=entry("test_x", 1)),
        new_code_cell("def helper():\n    return math.pi", id="d"), new_code_cell("y = 3", id="e"),
        new_code_cell("assert helper() > y and y == 2", id="f", metadata=entry("test_y", 2))])
    (tmp_path / "solved.ipynb").write_text(nbformat.writes(solved))
    task = grading.assignment(tmp_path / "solved.ipynb")
    mine = nbformat.reads(nbformat.writes(task.released), as_version=4)
    mine.cells[0].source = "from nowhere import drive\nimport math\nONE = 1"
    mine.cells[1].source = "x = ONE"
    mine.cells[4].source = "y = 2"
    del mine.cells[3]
    nb, remarks = grading.restore(grading.cells_in(nbformat.writes(mine).encode()), task)
    sandbox.execute(nb, grading.Limits(), trusted=True)
    assert {name: result[0] for name, result in grading.scores(nb).items()} == {"test_x": 1, "test_y": 2}
    assert len(remarks) == 3 and "runs before yours: import math" in remarks[0]
    assert grading.restore(grading.cells_in(nbformat.writes(task.released).encode()), task)[1] == []


def test_feedback_quotes_no_hidden_test_and_counts_what_is_graded(course):
    wrong = "import warnings\ndef sq(x):\n    warnings.warn('odd', stacklevel=2)\n    return 3 * x"
    handed_in = answered(course.root, sq=wrong, add=RIGHT["add"], why="So.")
    (course.folder / "ada.ipynb").write_text(nbformat.writes(handed_in))
    course.group.grade(course.task, course.folder, LIMITS, jobs=1, trusted=True)
    graded = course.group.path("autograded", "ada", course.task, ".ipynb").read_text()
    feedback = course.group.path("feedback", "ada", course.task, ".html").read_text()
    assert graded.count("sq(-2)") == 2                    # the cell and the warning; in the traceback with colours
    assert "sq(-2)" not in feedback and "HIDDEN" not in feedback and "AssertionError" in feedback and "odd" in feedback
    assert "<h1>Tiny</h1>" in feedback and "Two functions" in graded and "Two functions" not in feedback
    assert "<b>3 of 5</b> points; 5 more are for answers that are still to be graded" in feedback


def test_a_number_and_noise_in_a_test_cell_change_no_score():
    cell = new_code_cell("0.5", metadata=entry("t", 2))
    cell.outputs = [new_output("stream", name="stderr", text="careful"),
                    new_output("execute_result", data={"text/plain": "0.5"})]
    nb = new_notebook(cells=[cell])
    assert grading.scores(nb)["t"][0] == 2
    cell.outputs.append(new_output("error", ename="E", evalue="x", traceback=[]))
    assert grading.scores(nb)["t"] == (0, 2, "E: x")


def test_restoring_an_untouched_file_finds_nothing_to_put_right(course):
    cells = grading.cells_in(nbformat.writes(answered(course.root)).encode())
    nb, remarks = grading.restore(cells, course.task)
    assert remarks == []
    assert [c.source for c in nb.cells] == [c.source for c in course.task.complete.cells]


def test_cells_of_the_students_own_stay_where_they_were(course):
    given = answered(course.root, **RIGHT)
    given.cells.insert(3, new_code_cell("mine = 1"))
    given.cells[1], given.cells[5] = given.cells[5], given.cells[1]
    given.cells.append(nbformat.from_dict({**given.cells[2], "id": "again"}))
    nb, remarks = grading.restore(grading.cells_in(nbformat.writes(given).encode()), course.task)
    ids = [c.metadata.get("nbgrader", {}).get("grade_id") for c in nb.cells]
    assert [i for i in ids if i] == ["sq", "test_sq", "add", "test_add", "why"]
    assert "mine = 1" in [c.source for c in nb.cells]
    assert any("moved" in r for r in remarks) and any("more than once" in r for r in remarks)


def test_a_changed_submission_is_graded_again_and_an_unchanged_one_is_not(course, monkeypatch):
    runs = []
    monkeypatch.setattr(sandbox, "execute", lambda nb, *rest: runs.append(nb.cells[-1].source) or ([], []))
    path = course.folder / "ada.ipynb"
    for text in ("a", "a", "b"):
        path.write_text(nbformat.writes(answered(course.root, why=text)))
        course.group.grade(course.task, course.folder, LIMITS, jobs=1, trusted=True)
    assert runs == ["Because.", "a", "b"]                 # the solved notebook first, and once


@pytest.mark.parametrize("wrong, words, times", [
    ("import nowhere", "test_sq on this machine, so nobody was graded: .*'sq' is not .*; ModuleNotFoundError: No m", 2),
    ("while True:\n    pass", "test_sq .* nobody was graded: .*; code cell 1: the cell took too long", 1),
])
def test_where_the_solved_notebook_fails_nobody_is_graded(course, wrong, words, times):
    solution = course.root / "solutions" / NAME / f"{NAME}.ipynb"
    nb = nbformat.read(solution, as_version=4)
    nb.cells[1].source = nb.cells[1].source.replace("def sq", wrong + "\ndef sq")     # as when a library is missing
    solution.write_text(nbformat.writes(nb))
    (course.folder / "ada.ipynb").write_text(nbformat.writes(answered(course.root, **RIGHT)))
    for _ in range(times):                                # the failure is not remembered as a success
        with pytest.raises(grading.GradingError, match=f"{NAME} gets 0 of 2 points in the cell {words}"):
            course.group.grade(course.task, course.folder, grading.Limits(seconds=5), jobs=1, trusted=True)
    assert not (course.group.folder / "gradebook.db").exists() and not list(course.group.folder.glob("*/*"))


def test_two_runs_into_one_folder_are_refused(course):
    (course.folder / "ada.ipynb").write_text(nbformat.writes(answered(course.root)))
    course.group.create()
    with course.group.alone(), pytest.raises(grading.GradingError, match="another `course grade`"):
        course.group.grade(course.task, course.folder, LIMITS, jobs=1, trusted=True)


def test_a_class_inside_what_submissions_can_read_is_refused(course, monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: None)
    monkeypatch.setattr(sandbox, "visible", lambda: [course.root])
    (course.folder / "ada.ipynb").write_text("{}")
    with pytest.raises(grading.GradingError, match="which submissions can read"):
        course.group.grade(course.task, course.folder, LIMITS, jobs=1)


def test_the_summary_counts_everybody_once():
    rows = [{"student": str(i), "score": s, "points": 10, "to grade by hand": 0, "look at": ""}
            for i, s in enumerate([0, 0.9, 1, 5, 10])]
    text = grading.summary(rows)
    assert "mean 3.4, median 1," in text
    assert [int(line.split()[-1]) for line in text.splitlines()[1:]] == [2, 1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_environment_secrets_do_not_enter_the_sandbox(monkeypatch):
    if reason := sandbox.unavailable():
        pytest.skip(reason)
    monkeypatch.setenv("SECRET_TOKEN", "abc123")
    with sandbox.Kernel(LIMITS) as kernel:
        outputs, _ = kernel.run("import glob\nfor p in glob.glob('/proc/*/environ'):\n    print(open(p).read())")
    assert "HOME" in outputs[0].text and "abc123" not in "".join(o.get("text", "") for o in outputs)
    assert not os.path.exists(kernel.folder)


def test_an_answer_that_is_taken_from_the_checks_is_named():
    with sandbox.Kernel(grading.Limits(), trusted=True) as kernel:
        kernel.run("from course_lib.checks import hint, gan as check\ndef mine(): pass\nclass Bad(Exception): pass\n"
                   "class Own: pass\nkept = Own()\nkept")
        kernel.run("raise Bad")                              # honest work, which must not be named
        assert sandbox.changed(kernel) == []
        kernel.run("losses = check.losses.right")
        assert sandbox.changed(kernel) == ["changed: losses, which is taken from the checks"]


def test_a_check_that_was_changed_is_named_however_it_was_done():
    """Each of these lets a wrong answer pass, and few leave a function of the student's own in a library."""
    task, wrong = "check.squared_distances", "lambda x, y: torch.zeros(len(x), len(y))"
    attacks = [f"{task}.compare = print", f"{task}.same = zip", f"{task}.rtol = 1e9", f"{task} = print",
               f"{task}.right.__code__ = ({wrong}).__code__", "checks.Implementation.compare = print",
               f"{task}.__class__ = type('Implementation', (checks.Implementation,), dict(compare=print))",
               "checks.all = id", "checks.close = type('Same', (), dict(__call__=lambda *_: True))()"]
    with sandbox.Kernel(grading.Limits(), trusted=True) as kernel:
        kernel.run("import importlib, torch\nfrom course_lib import checks\n"
                   "from course_lib.checks import start_here as check")
        assert kernel.run(f"{task}({wrong})")[1] == "an error"
        for attack in attacks:
            assert sandbox.changed(kernel) == []
            kernel.run(attack)
            assert kernel.run(f"{task}({wrong})")[1] is None, attack
            found = " ".join(sandbox.changed(kernel)).replace("checks.start_here", "check")
            assert "course_lib." + ".".join(attack.split()[0].split(".")[:2]) in found, attack
            kernel.run("vars(checks).pop('all', 0), importlib.reload(checks), importlib.reload(check)")


def test_what_python_itself_adds_to_a_class_of_the_checks_is_no_change():
    """Up to Python 3.13, who looks at the annotations of a class that has none leaves an empty dictionary in it."""
    with sandbox.Kernel(grading.Limits(), trusted=True) as kernel:
        kernel.run("from course_lib.checks import convnet, flow_matching, guidance\n"
                   "for c in (convnet._Roll, flow_matching.Mixer, guidance._Network):\n    c.__annotations__")
        assert sandbox.changed(kernel) == []


@pytest.mark.skipif("bubblewrap" in (sandbox.unavailable() or ""), reason="needs bubblewrap")
def test_a_kernel_ends_when_its_grader_lets_go():
    with sandbox.Kernel(LIMITS) as kernel:
        kernel.process.stdin.close()                         # what the system does when the grader is killed
        assert kernel.process.wait(timeout=4) == 0


@pytest.mark.skipif(bool(sandbox.unavailable()), reason="needs bubblewrap")
def test_a_library_that_the_sandbox_cannot_see_is_said_before_everybody_gets_0(tmp_path):
    """As when another copy of course_lib is found by PYTHONPATH, which does not enter the sandbox."""
    here = Path(course_lib.__file__).parent
    (tmp_path / "course_lib" / "classroom").mkdir(parents=True)
    for name in ("__init__.py", "classroom/__init__.py", "classroom/sandbox.py"):
        shutil.copy(here / name, tmp_path / "course_lib" / name)
    program = "from course_lib.classroom import sandbox; print(sandbox.unavailable())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
                           env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert "No module named 'course_lib'" in found.stdout and "make setup" in found.stdout, found
