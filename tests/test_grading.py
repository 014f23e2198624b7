"""A class, most of it hostile or broken, is graded by one command, which is killed three times and started again."""

import base64
import contextlib
import csv
import hashlib
import itertools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import IPython
import nbformat
import psutil
import pytest
import safetensors.torch
import torch
from a_class import NAME, RIGHT, answered, entry, odd_files, write_class, write_course
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbgrader.api import Gradebook

import course_lib
from course_lib.checks import Implementation, Measurement
from course_lib.classroom import grading, markup, sandbox, trial
from course_lib.classroom.cli import app

ROOT = Path(__file__).resolve().parent.parent
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


def killed(command: list[str], plant=lambda: None, when=lambda: False) -> int:
    """Start the command in a process of its own, in which `plant` may prepare its death, or kill it `when` it is time.
    -> its exit code"""
    child = os.fork()
    if not child:
        try:
            grading.tqdm.set_lock(threading.RLock())       # the other is shared, and would stay closed after a kill
            plant()
            os._exit(app(command))
        finally:
            os._exit(99)
    end = time.monotonic() + 120
    while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
        if when():
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(done[1])


def dies(where, name: str, n: int, first=lambda *args: True):
    """Let the n-th call of a function, for which `first` is true, be the last thing that its process does."""
    calls, real = itertools.count(1), getattr(where, name)

    def last(*args, **more):
        if first(*args) and next(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    return lambda: setattr(where, name, last)


def beside(name: str) -> bool:
    """Does this folder, course-PID-..., belong to a process that tests something else at the same time?"""
    pid = name.split("-")[1]
    return pid.isdigit() and int(pid) != os.getpid() and psutil.pid_exists(int(pid))


def half_of_a_record(path, text) -> bool:
    """It stands there under another name, and the next step would be to rename it."""
    if path.suffix == ".json":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".part").write_text(text[:50])
    return path.suffix == ".json"


@pytest.fixture(scope="module")
def graded(tmp_path_factory, quick_gradebooks):
    """The class, graded by `course grade`, which is killed at three moments and started again."""
    if reason := sandbox.unavailable():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("course")
    write_course(root)
    into, folder = root / "grading", root / "in"
    door = socket.create_server(("127.0.0.1", 0))
    expected = write_class(root, folder, into / "gradebook.db", door.getsockname()[1])
    outside = [root / "solutions", root / "exercises", folder, Path(course_lib.__file__).parent]
    before, temporary = hashes(*outside), set(os.listdir(sandbox.TMP))

    command = ["grade", NAME, str(folder), "--course", str(root), "--into", str(into), "--jobs", "2", "--as-root",
               "--seconds", "6", "--memory", "600", "--processes", "16"]
    records = into / "records" / NAME
    me, start, kept, ended = psutil.Process(), time.monotonic(), {}, []
    for moment in (dict(when=lambda: (into / f"records/{NAME}.solved").exists() and len(me.children(True)) > 2),
                   dict(plant=dies(grading, "save", 6, half_of_a_record)),
                   dict(plant=dies(grading.preprocessors.SaveAutoGrades, "_add_score", 20))):
        ended.append(killed(command, **moment))
        kept |= {path: path.stat().st_mtime_ns for path in [*records.glob("*.json"), into / f"records/{NAME}.solved"]}
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
    left = {name for name in os.listdir(sandbox.TMP) if name.startswith("course-") and not beside(name)} - temporary
    return SimpleNamespace(expected=expected, rows=rows, code=code, ended=ended, into=into, kept=kept, left=left,
                           kept_as_they_were=kept_as_they_were, visited=visited, before=before, after=hashes(*outside),
                           seconds=seconds, command=command, processes=me.children(recursive=True))


def test_every_submission_of_the_class_has_the_expected_score(graded):
    assert graded.code == 0
    assert {s: float(row["score"]) for s, row in graded.rows.items()} == {s: e[0] for s, e in graded.expected.items()}


def test_every_trouble_is_stated_and_no_other(graded):
    assert {s: e[1] for s, e in graded.expected.items() if e[1] not in graded.rows[s]["remarks"]} == {}
    honest = ("right", "half", "hidden", "noise", "half a character", "other line ends", "digs", "daemon")
    assert {s: graded.rows[s]["remarks"] for s in honest} == dict.fromkeys(honest, "")


def test_what_can_be_seen_of_deception_is_shown_to_the_teacher(graded):
    look = {s for s, row in graded.rows.items() if row["look at"]}
    assert look == {"cheats", "hooks the reply", "forges replies", "edits tests", "changes points"}
    assert "an assertion that must fail did not" in graded.rows["cheats"]["look at"]


def test_nothing_outside_the_sandbox_changed(graded):
    assert graded.before == graded.after
    assert graded.left == set()
    assert not graded.visited


def test_killed_runs_leave_no_process_and_lose_nothing(graded):
    assert graded.ended == [-signal.SIGKILL] * 3         # they were killed, and did not end by themselves
    assert graded.processes == []
    assert 9 <= len(graded.kept) < 30 and graded.kept_as_they_were == len(graded.kept)


def test_a_further_run_grades_nothing_and_is_quick(graded):
    start = time.monotonic()
    assert app(graded.command) == 0
    assert time.monotonic() - start < max(5, graded.seconds / 4)


def test_a_submission_takes_at_most_eight_seconds_and_core(graded, record_property):
    each = 2 * graded.seconds / len(graded.expected)
    record_property("seconds per submission and core", f"{each:.1f}")
    assert each < 8


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
    assert len(pages) == len(graded.expected)
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
def test_what_a_student_writes_neither_runs_nor_fetches(text, course, monkeypatch):
    from nbconvert import HTMLExporter
    monkeypatch.setattr(grading, "rendered", lambda texts: [markup.markdown(text) for text in texts])
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


def test_odd_files_end_with_a_reason_and_no_points(course, monkeypatch, capsys):
    monkeypatch.setattr(grading.Class, "prove", lambda *_: grading.examiner_of(course.task))
    expected = odd_files(course.root / "odd")
    (course.root / "odd" / "list of names.csv").write_text("ada, bob")
    try:
        assert course.group.grade(course.task, course.root / "odd", LIMITS, jobs=2, trusted=True) == {}
    finally:
        sandbox.remove(course.root / "odd" / "digs")     # pytest could not
    rows = {row["student"]: row for row in course.group.table(course.task)}
    assert {s: row["score"] for s, row in rows.items()} == dict.fromkeys(expected, 0)
    assert {s: rows[s]["remarks"] for s, words in expected.items() if words not in rows[s]["remarks"]} == {}
    assert "no notebooks, so left out: list of names.csv" in capsys.readouterr().err


def test_a_notebook_is_found_under_any_name_that_a_system_gives_it(tmp_path):
    (tmp_path / "UPPER.IPYNB").touch()
    (tmp_path / "Zoe\u0308.ipynb").touch()               # as macOS writes it
    for name in ("apple/__MACOSX/._90_tiny.ipynb", "apple/sub/90_tiny.ipynb", "apple/.ipynb_checkpoints/a.ipynb",
                 "unpacked/mine (1).ipynb", "__MACOSX/._unpacked"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "unpacked.zip").touch()
    found, others = grading.submissions(tmp_path, NAME)
    assert set(found) == {"UPPER", "Zo\u00eb", "apple", "unpacked"} and others == ["unpacked.zip"]
    assert [found[s].name for s in ("apple", "unpacked")] == ["90_tiny.ipynb", "mine (1).ipynb"]


def test_all_names_that_cannot_be_are_told_at_once(tmp_path):
    for name in ("ada (1).ipynb", "-x.ipynb", "Zo\u00eb.ipynb", "Zoe\u0308.ipynb", "bob.ipynb"):
        (tmp_path / name).touch()
    (tmp_path / "bob").mkdir()
    with pytest.raises(grading.GradingError) as error:
        grading.submissions(tmp_path, NAME)
    assert all(name in str(error.value) for name in ("ada (1).ipynb", "-x.ipynb", "'Zo\u00eb'", "'bob'"))


@pytest.fixture
def stub(course, monkeypatch):
    """The class without kernels: what happens to a submission is written in its last answer."""
    def execute(nb, *_, **__):
        if "fault" in nb.cells[-1].source:
            raise sandbox.Fault("no kernel")
        if "bug" in nb.cells[-1].source:
            raise KeyError("who")
        course.runs.append(nb.cells[-1].source)
        return [], []

    def hand_in(**students):
        for student, why in students.items():
            (course.folder / f"{student}.ipynb").write_text(nbformat.writes(answered(course.root, why=why)))
        return course.group.grade(course.task, course.folder, LIMITS, jobs=2, trusted=True)

    course.runs, course.hand_in = [], hand_in
    monkeypatch.setattr(trial, "execute", execute)
    monkeypatch.setattr(grading.Class, "prove", lambda *_: grading.examiner_of(course.task))
    return course


def test_a_fault_of_the_grading_is_no_score_and_is_tried_again(stub):
    failed = stub.hand_in(ada="a", bob="fault", cyd="bug")
    assert failed == {"bob": "no kernel", "cyd": "KeyError: 'who'"}
    rows = {row["student"]: row for row in stub.group.write_grades(stub.task)[1]}
    assert {s: row["score"] for s, row in rows.items()} == {"ada": 5, "bob": None, "cyd": None}
    assert "the grading failed: no kernel" in rows["bob"]["remarks"]
    assert "3 submissions" in (said := grading.summary(list(rows.values()))) and "not graded yet: bob, cyd" in said
    assert stub.hand_in(bob="fault b") == {"bob": "no kernel", "cyd": "KeyError: 'who'"}
    assert stub.hand_in(bob="b", cyd="c") == {} and sorted(stub.runs) == ["a", "b", "c"]
    assert [row["score"] for row in stub.group.table(stub.task)] == [5, 5, 5]


def test_one_student_can_be_graded_again_by_name(stub):
    stub.hand_in(ada="a", bob="b")
    stub.group.grade(stub.task, stub.folder, LIMITS, jobs=1, trusted=True, only=("bob",))
    assert sorted(stub.runs) == ["a", "b", "b"]
    with pytest.raises(grading.GradingError, match="no submission of 'bo'"):
        stub.group.grade(stub.task, stub.folder, LIMITS, jobs=1, trusted=True, only=("bo",))


def test_a_gradebook_that_lost_a_student_loses_no_other_row(stub):
    stub.hand_in(ada="a", bob="b")
    with Gradebook(stub.group.db_url) as gradebook:
        gradebook.remove_student("bob")
    rows = stub.group.write_grades(stub.task)[1]
    assert [row["score"] for row in rows] == [5, None] and "--again" in rows[1]["remarks"]


def test_root_grades_only_if_told_so(course, monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    (course.folder / "ada.ipynb").write_text("{}")
    with pytest.raises(grading.GradingError, match="you are root.*--as-root"):
        course.group.grade(course.task, course.folder, LIMITS, jobs=1)
    assert not course.group.folder.exists()


def test_a_feedback_page_is_written_when_something_changed(stub):
    stub.hand_in(ada="a")
    page = stub.group.path("feedback", "ada", stub.task, ".html")
    first = page.stat().st_mtime_ns
    stub.group.write_grades(stub.task)
    assert page.stat().st_mtime_ns == first
    with Gradebook(stub.group.db_url) as gradebook:
        gradebook.find_comment("why", NAME, NAME, "ada").manual_comment = "Well."
        gradebook.db.commit()
    stub.group.write_grades(stub.task)
    assert "Well." in page.read_text()


def test_markdown_that_takes_for_ever_is_shown_as_it_was_written(monkeypatch):
    monkeypatch.setattr(grading, "MARKUP_SECONDS", 1)
    text = ("|" * 200 + "\n") * 2000
    assert grading.rendered(["*a*"]) == ["<p><em>a</em></p>\n"] and grading.rendered([text]) == [f"<pre>{text}</pre>"]


def test_html_in_a_students_text_becomes_text():
    assert markup.markdown("*a* <b>$<i>$") == "<p><em>a</em> &lt;b&gt;<code>$&lt;i&gt;$</code></p>\n"


def test_other_ends_of_lines_are_no_tampering(course):
    nb = answered(course.root, **RIGHT)
    for cell in nb.cells:
        cell.source = cell.source.replace("\n", "\r\n")
    restored, remarks = grading.restore(grading.cells_in(nbformat.writes(nb).encode()), course.task)
    assert remarks == [] and not any("\r" in c.source for c in restored.cells)


def test_only_folders_with_our_mark_are_swept_away(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "TMP", tmp_path)
    for name in ("course-999999999-autumn", "course-999999999-abcd", f"course-{os.getpid()}-abcd", "course-x-abcd"):
        (tmp_path / name).mkdir()
    for name in ("course-999999999-abcd", f"course-{os.getpid()}-abcd", "course-x-abcd"):
        (tmp_path / name / sandbox.MARK).touch()
    sandbox.sweep()
    assert sorted(os.listdir(tmp_path)) == sorted(["course-999999999-autumn", f"course-{os.getpid()}-abcd",
                                                   "course-x-abcd"])


class Sleeper:
    """What psutil says of a process."""
    def __init__(self, processor, status):
        self.processor, self.state = processor, status

    def cpu_times(self):
        return self.processor, 0.0, 0.0, 0.0, 99.0

    def status(self):
        return self.state


def test_a_busy_machine_costs_no_time_and_sleeping_does():
    kernel = sandbox.Kernel(LIMITS)
    kernel.tick(20, [Sleeper(1, psutil.STATUS_RUNNING)])     # 1 of 20 seconds of a core
    assert kernel.used == 2
    kernel.tick(1, [Sleeper(1.8, psutil.STATUS_RUNNING), Sleeper(0, psutil.STATUS_SLEEPING)])
    assert kernel.used == 2.8
    kernel.tick(0.2, [Sleeper(1.8, psutil.STATUS_SLEEPING)])
    assert kernel.used == 3
    kernel.tick(20, [Sleeper(1.8, psutil.STATUS_SLEEPING)])  # the grader itself was late
    assert kernel.used == 4


def run_filter(program: bytes, architecture: int, number: int, first: int = 0) -> int:
    """What Linux would answer to a system call."""
    lines, at, held = list(struct.iter_unpack("HBBI", program)), 0, 0
    while True:
        operation, yes, no, k = lines[at]
        at += 1
        if operation == 0x06:
            return k
        if operation == 0x20:
            held = {0: number, 4: architecture, 16: first}[k]
        else:
            at += yes if {0x15: held == k, 0x35: held >= k, 0x45: held & k}[operation] else no


@pytest.mark.parametrize("machine, read", [("x86_64", 0), ("aarch64", 63)])
def test_the_filter_refuses_what_it_names_and_nothing_else(machine, read):
    column, architecture = sandbox.MACHINES[machine]
    program = sandbox.filter_program(machine)
    refused, missing, allowed, killed = 0x50001, 0x50026, 0x7FFF0000, 0x80000000

    def says(number, first=0, architecture=architecture):
        return run_filter(program, architecture, number, first)

    socket, clone, clone3 = (pair[column] for pair in (sandbox.SOCKET, sandbox.CLONE, sandbox.CLONE3))
    numbers = {call[column] for call in sandbox.CALLS.values()}
    assert len(numbers) == len(sandbox.CALLS) and {says(n) for n in numbers} == {refused}
    assert {n for n in range(460) if says(n, first=1) != allowed} == numbers | {clone3}
    assert says(clone3) == missing and says(read) == allowed and says(read, architecture=0x40000003) == killed
    assert says(clone, 0x10000000) == refused and says(clone, 0x3D0F00) == allowed    # a user namespace; a thread
    assert {family for family in range(64) if says(socket, family) == allowed} == {1, 2, 10, 16}
    assert machine == "aarch64" or says(0x40000000 | 250) == missing


def test_a_control_group_is_used_where_systemd_offers_one(tmp_path, monkeypatch):
    sandbox.control_group.cache_clear()
    program = tmp_path / "systemd-run"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert sandbox.control_group()[:2] == ["systemd-run", "--scope"]
    sandbox.control_group.cache_clear()
    program.write_text("#!/bin/sh\nexit 1\n")
    assert sandbox.control_group() == []
    sandbox.control_group.cache_clear()


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


def test_a_written_answer_counts_in_whatever_cell_it_stands(course):
    """A program has dropped all metadata; or the answer is in a new cell, in place of its own, or below or above it."""
    good, stripped, moved, below, above = (answered(course.root, **RIGHT, why=w) for w in ("So.",) * 3 + (None,) * 2)
    for cell in stripped.cells:
        cell.metadata.pop("nbgrader", None)
    moved.cells[-1].metadata.pop("nbgrader")
    below.cells += [new_markdown_cell("So."), new_code_cell("1")]
    above.cells.insert(-1, new_markdown_cell("So."))
    want, _ = grading.restore(grading.cells_in(nbformat.writes(good).encode()), course.task)
    for nb, said in ((stripped, "known by their text or place: sq, test_sq, add, test_add, why"),
                     (moved, "known by their text or place: why"), (below, "why: the answer stands in a cell beside"),
                     (above, "why: the answer stands in a cell beside")):
        got, remarks = grading.restore(grading.cells_in(nbformat.writes(nb).encode()), course.task)
        assert [c.source for c in got.cells][:6] == [c.source for c in want.cells]
        assert len(remarks) == 1 and said in remarks[0]
    stripped.cells[2].source = "print('ok')"         # which hides the answers on either side
    got, remarks = grading.restore(grading.cells_in(nbformat.writes(stripped).encode()), course.task)
    assert remarks == ["cells without metadata are known by their text or place: test_add, why",
                       "sq: the cell was deleted", "test_sq: the cell was deleted; it is put back",
                       "add: the cell was deleted"]


def test_a_cell_of_the_students_own_is_not_taken_for_the_test_whose_place_it_has(course):
    nb = answered(course.root, **RIGHT)
    at = next(i for i, c in enumerate(nb.cells) if c.metadata.get("nbgrader", {}).get("grade_id") == "test_sq")
    nb.cells[at] = new_code_cell("mine = 1")
    got, remarks = grading.restore(grading.cells_in(nbformat.writes(nb).encode()), course.task)
    assert "mine = 1" in [c.source for c in got.cells]
    assert remarks == ["test_sq: the cell was deleted; it is put back"]


def test_a_written_answer_in_two_cells_is_read_from_top_to_bottom(course):
    nb = answered(course.root, **RIGHT)
    nb.cells.insert(-1, new_markdown_cell("First."))
    nb.cells.append(new_markdown_cell("Then."))
    got, _ = grading.restore(grading.cells_in(nbformat.writes(nb).encode()), course.task)
    assert "First.\n\nThen." in [c.source for c in got.cells]


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
    trial.execute(nb, grading.Limits(), trusted=True)
    assert {name: result[0] for name, result in grading.scores(nb).items()} == {"test_x": 1, "test_y": 2}
    assert len(remarks) == 3 and "runs before yours: import math" in remarks[0]
    assert grading.restore(grading.cells_in(nbformat.writes(task.released).encode()), task)[1] == []


def test_a_given_cell_that_was_deleted_finds_what_the_one_before_it_makes(tmp_path):
    solved = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}, cells=[
        new_code_cell("one = 1", id="a"), new_code_cell("two = 2 * one", id="b"),
        new_code_cell("### BEGIN SOLUTION\nx = two\n### END SOLUTION", id="c", metadata=entry("x")),
        new_code_cell("assert x == 2", id="d", metadata=entry("test_x", 1))])
    (tmp_path / "solved.ipynb").write_text(nbformat.writes(solved))
    task = grading.assignment(tmp_path / "solved.ipynb")
    mine = nbformat.reads(nbformat.writes(task.released), as_version=4)
    mine.cells[2].source = "x = two"
    del mine.cells[1]
    nb, _ = grading.restore(grading.cells_in(nbformat.writes(mine).encode()), task)
    trial.execute(nb, grading.Limits(), trusted=True)
    assert grading.scores(nb)["test_x"][0] == 1


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
    monkeypatch.setattr(trial, "execute", lambda nb, *_, **__: runs.append(nb.cells[-1].source) or ([], []))
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
        course.group.grade(course.task, course.folder, LIMITS, jobs=1, as_root=True)


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


# --- in one process with the student's code -------------------------------------------------------------------------

@pytest.fixture(scope="module")
def kernel():
    """One for many tests, each of which leaves it as it was."""
    with sandbox.Kernel(grading.Limits(), trusted=True) as kernel:
        kernel.run("import importlib, torch\nfrom course_lib import checks\n"
                   "from course_lib.checks import start_here as check")
        yield kernel


GIVEN = "import torch\nfrom course_lib.checks import start_here as check\ndef twice(x):\n    return 2 * x"
TEST = "check.squared_distances(squared_distances)\nassert abs(twice(2) - 4) < 1e-9"
RIGHT_ANSWER, WRONG_ANSWER = "lambda x, y: torch.cdist(x, y).square()", "lambda x, y: torch.zeros(len(x), len(y))"


@pytest.fixture(scope="module")
def examiner():
    return trial.Examiner([GIVEN], {"t": TEST, "n": "check.largest_eta(largest_eta, valley)"}, {"largest_eta": 0.63})


def test_an_answer_that_is_taken_from_the_checks_is_named(kernel, examiner):
    kernel.run("from course_lib.checks import hint, gan\ndef mine(): pass\nclass Bad(Exception): pass\n"
               "class Own: pass\nkept = Own()\nkept")
    kernel.run("raise Bad")                                  # honest work, which must not be named
    for answer, failed in ((WRONG_ANSWER, "an error"), (RIGHT_ANSWER, None)):
        assert kernel.run(f"check.squared_distances({answer})")[1] == failed
        assert examiner.changed(kernel) == []
    kernel.run("losses = gan.losses.right")
    assert examiner.changed(kernel) == ["changed: losses, which is taken from the checks"]
    kernel.run("del losses")


def test_a_check_that_was_changed_is_named_and_fools_nobody(kernel, examiner):
    """Each of these lets a wrong answer pass, and few leave a function of the student's own in a library."""
    task = "check.squared_distances"
    attacks = [f"{task}.compare = print", f"{task}.same = zip", f"{task}.rtol = 1e9", f"{task} = print",
               f"{task}.right.__code__ = ({WRONG_ANSWER}).__code__", "checks.Implementation.compare = print",
               f"{task}.__class__ = type('Implementation', (checks.Implementation,), dict(compare=print))",
               "checks.all = id", "checks.close = type('Same', (), dict(__call__=lambda *_: True))()"]
    kernel.run(f"squared_distances = {WRONG_ANSWER}")
    assert kernel.run(f"{task}(squared_distances)")[1] == "an error"
    for attack in attacks:
        assert examiner.changed(kernel) == []
        kernel.run(attack)
        assert kernel.run(f"{task}(squared_distances)")[1] is None, attack
        assert "results when asked once more" in examiner.doubts(kernel, "t"), attack
        found = " ".join(examiner.changed(kernel)).replace("checks.start_here", "check")
        assert "course_lib." + ".".join(attack.split()[0].split(".")[:2]) in found, attack
        kernel.run("vars(checks).pop('all', 0), importlib.reload(checks), importlib.reload(check)")
    kernel.run(f"squared_distances = {RIGHT_ANSWER}")
    assert examiner.doubts(kernel, "t") is None


def test_what_is_given_back_is_compared_outside_and_may_be_anything(kernel, examiner):
    answers = {RIGHT_ANSWER: "", "lambda x, y: (x[:, None] - y).square().sum(-1).double()": "",
               WRONG_ANSWER: "wrong results", "None": "no results", "1 / 0": "no results"}
    for answer, words in answers.items():
        kernel.run(f"squared_distances = {answer}")
        doubt = examiner.doubts(kernel, "t") or ""
        assert words in doubt if words else not doubt, answer
    kernel.run("class Equal(float):\n    __eq__ = __lt__ = __le__ = lambda *_: True\n"
               "    __sub__ = __rsub__ = __abs__ = lambda *_: Equal(0)")
    for value, right in ((0.63, True), (0.64, True), (0.1, False), ("Equal(0.1)", False), ("float('nan')", False)):
        kernel.run(f"largest_eta = {value}")
        assert (examiner.doubts(kernel, "n") is None) == right, value


def test_a_tensor_that_lies_about_itself_is_looked_through(kernel):
    kernel.run("class Liar(torch.Tensor):\n    @classmethod\n"
               "    def __torch_function__(cls, f, types, args=(), kwargs=None):\n"
               "        if f is torch.Tensor.double:\n            return right[args[0].shape]\n"
               "        return super().__torch_function__(f, types, args, kwargs or {})\n"
               "right = {}\ndef lies(x, y):\n    right[len(x), len(y)] = torch.cdist(x, y).square().double()\n"
               "    return torch.zeros(len(x), len(y)).as_subclass(Liar)")
    assert kernel.run("check.squared_distances(lies)")[1] == "an error"


def test_a_test_cell_reads_what_is_given_and_the_student_keeps_his_own(kernel, examiner):
    kernel.run("real = check, torch\ncheck = torch = type('Fake', (), dict(squared_distances=print))\n"
               "def twice(x): return 4\ndef abs(x): return 0\nsum, squared_distances = 3, None")
    assert kernel.run(TEST)[1] is None
    look, untold = examiner.before(kernel, "t")
    assert untold is None and look[0].endswith("the test ran without it: check, abs"), look
    kernel.run(f"squared_distances = {WRONG_ANSWER.replace('torch', 'real[1]')}")
    assert "squared_distances" in kernel.run(TEST)[0][0].evalue
    assert kernel.run("assert abs(-2) == 2 and twice(3) == 6")[1] is None
    assert trial.ask(kernel, "set_back") is not None
    assert kernel.run("assert (abs(-2), twice(3), sum, hasattr(check, 'fit_curve')) == (0, 4, 3, False)")[1] is None
    kernel.run("check, torch = real\ndel abs, sum, twice")


def test_what_python_itself_adds_to_a_class_of_the_checks_is_no_change(kernel):
    """Up to Python 3.13, who looks at the annotations of a class that has none leaves an empty dictionary in it, and
    who copies one of its things a list of slots."""
    kernel.run("import copy\nfrom course_lib.checks import convnet, flow_matching, guidance\n"
               "for c in (convnet._Roll, flow_matching.Mixer, guidance._Network):\n    c.__annotations__\n"
               "copy.deepcopy(convnet._Roll(True))")
    examiner = trial.Examiner(["from course_lib.checks import convnet as a, flow_matching as b, guidance as c"],
                              {"t": "a.ece(x)\nb.ends(x)\nc.label_loss(x)"})
    assert len(examiner.checks) == 4 and examiner.changed(kernel) == []


EXERCISES = [p for p in sorted(ROOT.glob("solutions/*/*.ipynb")) if p.stem == p.parent.name]


def test_every_task_that_a_program_grades_is_compared_outside():
    for path in EXERCISES:
        examiner = grading.examiner_of(grading.assignment(path))
        assert examiner.tests and all(len(examiner.questions[name]) == 1 for name in examiner.tests), path.stem
        measured = {q.name for found in examiner.questions.values() for q in found if isinstance(q.check, Measurement)}
        assert {name for name in examiner.tests if not examiner.asks(name)} == {f"check_{name}" for name in measured}


@pytest.fixture
def give(monkeypatch):
    """What the kernel would give when it is asked for its answer to a question, without a kernel."""
    shell, there = SimpleNamespace(user_ns={}), {}
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    exec(trial.INSIDE, there)

    def give(q, answer, seed) -> bytes:
        shell.user_ns[q.answer] = answer
        return base64.b64decode(there["tensors"](q.module, q.name, q.answer, seed))
    return give


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_the_right_answers_of_all_checks_agree_with_themselves_outside(path, give):
    examiner = grading.examiner_of(grading.assignment(path))
    seed = examiner.seeds[0]
    for q in (q for found in examiner.questions.values() for q in found if isinstance(q.check, Implementation)):
        given = give(q, q.check.right, seed)
        assert examiner.compare(q, seed, given) is None, q.name
        off = safetensors.torch.load(given)
        key = max(off, key=lambda key: off[key].numel() * off[key].is_floating_point())
        last = off[key].flatten()[-1:]
        last.copy_(last.logical_not() if last.dtype == torch.bool else last + 1)
        assert "wrong results" in examiner.compare(q, seed, safetensors.torch.save(off)), q.name
        assert "no results" in examiner.compare(q, seed, b"x" * 99)


def test_a_wrong_answer_is_told_outside(give):
    examiner = trial.Examiner([GIVEN], {"t": TEST})
    q, = examiner.questions["t"]
    assert examiner.compare(q, 0, give(q, q.check.right, 0)) is None
    assert "wrong results" in examiner.compare(q, 1, give(q, q.check.right, 0))
    assert "wrong results" in examiner.compare(q, 0, give(q, lambda x, y: torch.zeros(len(x), len(y)), 0))


# --- the sandbox ----------------------------------------------------------------------------------------------------

@pytest.mark.skipif("bubblewrap" in (sandbox.unavailable() or ""), reason="needs bubblewrap")
def test_a_kernel_ends_when_its_grader_lets_go():
    with sandbox.Kernel(LIMITS) as kernel:
        kernel.process.stdin.close()                         # what the system does when the grader is killed
        with contextlib.suppress(subprocess.TimeoutExpired):
            kernel.process.wait(timeout=4)
        assert kernel.process.poll() == 0


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
