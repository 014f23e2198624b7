"""A small assignment without torch, and a class that hands it in: right, half right, blank, hostile, broken."""

import copy
import json
import os
import platform
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.classroom import sandbox

NAME = "90_tiny"
RIGHT = {"sq": "def sq(x):\n    return x * x", "add": "def add(a, b):\n    return a + b"}


def entry(name, points=None, manual=False):
    return {"nbgrader": dict(schema_version=3, grade_id=name, task=False, grade=points is not None,
                             solution=points is None or manual, locked=points is not None and not manual,
                             **({} if points is None else {"points": points}))}


def write_course(root: Path) -> Path:
    """A course with one assignment of 2 + 3 points for code and 5 for an answer that a person grades."""
    solved = {name: code.replace("\n    ", "\n    ### BEGIN SOLUTION\n    ") + "\n    ### END SOLUTION"
              for name, code in RIGHT.items()}
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = new_notebook(metadata={"kernelspec": kernelspec}, cells=[
        new_markdown_cell("# Tiny\nTwo functions are **given**.", id="title"),
        new_code_cell(solved["sq"], id="sq", metadata=entry("sq")),
        new_code_cell("assert sq(3) == 9, 'the square of 3 is 9'\n### BEGIN HIDDEN TESTS\nassert sq(-2) == 4\n"
                      "### END HIDDEN TESTS\nsq(1)", id="t1", metadata=entry("test_sq", 2)),  # ends with a number
        new_code_cell(solved["add"], id="add", metadata=entry("add")),
        new_code_cell("assert add(2, 3) == 5", id="t2", metadata=entry("test_add", 3)),
        new_markdown_cell("Because.", id="why", metadata=entry("why", 5, manual=True))])
    solution = root / "solutions" / NAME / f"{NAME}.ipynb"
    solution.parent.mkdir(parents=True)
    solution.write_text(nbformat.writes(nb))
    from course_lib.classroom.grading import assignment
    student = root / "exercises" / NAME / f"{NAME}.ipynb"
    student.parent.mkdir(parents=True)
    student.write_text(nbformat.writes(assignment(solution).released))
    return solution


def answered(root: Path, sq=None, add=None, why=None):
    """The student's file with these answers."""
    nb = nbformat.read(root / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    for cell in nb.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = {"sq": sq, "add": add, "why": why}.get(name) or cell.source
    return nb


def leak(*paths):
    """An answer to `sq` that is right only if one of these files can be read."""
    return (f"leaked = 0\nfor path in {[str(p) for p in paths]}:\n    try:\n"
            "        leaked += len(open(path, 'rb').read())\n    except OSError:\n        pass\n"
            "def sq(x):\n    return x * x if leaked else None")


FORKS = ("import os, time\nfor _ in range(300):\n    if os.fork() == 0:\n        time.sleep(20)\n        os._exit(0)\n"
         "time.sleep(20)")                           # a bomb that stops itself, should the sandbox fail
NAUGHTY = "<script>alert(1)</script><img src=x onerror=alert(2)>"
FILLS = """import os
for place in ("/tmp", "/dev/shm", os.path.expanduser("~")):
    try:
        for n in range(4):
            with open(f"{place}/{n}", "wb") as file:
                for _ in range(50):
                    file.write(bytes(2 ** 20))
    except OSError:
        pass
"""
DIGS = "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n"
HOOKS = """shell = get_ipython()
run = shell.run_cell_async
async def quiet(*a, **k):
    result = await run(*a, **k)
    result.error_in_exec = result.error_before_exec = None
    return result
shell.run_cell_async = quiet
shell._showtraceback = lambda *a: None
def sq(x):
    return 0"""
CALLS = """import ctypes, errno
libc, allowed = ctypes.CDLL(None, use_errno=True), 0
def call(*arguments):
    ctypes.set_errno(0)
    return 0 if libc.syscall(*arguments) < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS) else 1
for number in {numbers}:
    allowed += call(number, *[0] * 5)
allowed += call({socket}, 40, 1, 0) + call({clone}, 0x10000011, 0, 0, 0, 0)
def sq(x):
    return None if not allowed else x * x"""          # right only if something was allowed
GARBAGE = """import os
for fd in os.listdir("/proc/self/fd"):
    try:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
            os.write(int(fd), b"\\0\\0\\0\\5hello")
    except OSError:
        pass
"""
FORGES = """import json, os, threading, time
def to_all_pipes(data):
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
                os.write(int(fd), len(data).to_bytes(4) + data)
        except OSError:
            pass
def answer_everything():
    while True:
        for number in range(60):
            to_all_pipes(json.dumps([number, "execute_reply", {"status": "ok"}]).encode())
            to_all_pipes(json.dumps([number, "status", {"execution_state": "idle"}]).encode())
        time.sleep(0.02)
threading.Thread(target=answer_everything, daemon=True).start()
def sq(x):
    return 0"""
DAEMON = """import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
"""


def write_class(root: Path, folder: Path, gradebook: Path, port: int, size: int = 0) -> dict[str, tuple[float, str]]:
    """Write a class of submissions, and honest ones up to `size`.  -> student: (the score to be expected, words that
    the remarks must hold)"""
    folder.mkdir()
    wrong = "def sq(x):\n    return x + x"
    expected = {}

    def hand_in(student, score, words="", nb=None, raw=None, **answers):
        text = raw if raw is not None else nbformat.writes(nb or answered(root, **answers))
        (folder / f"{student}.ipynb").write_text(text)
        expected[student] = (score, words)

    hand_in("right", 5, **RIGHT, why="Since.")
    hand_in("half", 2, sq=RIGHT["sq"], add="def add(a, b):\n    return a")
    hand_in("hidden", 3, sq="def sq(x):\n    return 9 if x == 3 else 0", add=RIGHT["add"])
    hand_in("blank", 0)

    # stops, fills or leaves the machine
    hand_in("infinite loop", 2, "took too long", sq=RIGHT["sq"], add="while True:\n    pass")
    hand_in("ignores interrupts", 2, "later cells were not run", sq=RIGHT["sq"],
            add="import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass")
    hand_in("exits", 2, "the kernel died", sq=RIGHT["sq"], add="import os\nos._exit(0)")
    hand_in("kills all", 2, "the kernel died", sq=RIGHT["sq"],
            add="import os\nfor process in (1, -1, os.getpid()):\n    try:\n        os.kill(process, 9)\n"
                "    except OSError:\n        pass")
    hand_in("stops itself", 2, "the time limit", sq=RIGHT["sq"], add="import os\nos.kill(os.getpid(), 19)")
    hand_in("6 GB", 2, sq=RIGHT["sq"], add="data = bytearray(6 << 30)\n" + RIGHT["add"])
    hand_in("fork bomb", 2, "processes", sq=RIGHT["sq"], add=FORKS)
    hand_in("daemon", 5, sq=DAEMON + RIGHT["sq"], add=RIGHT["add"])
    hand_in("2 GB file", 2, sq=RIGHT["sq"], add="with open('big', 'wb') as f:\n    for _ in range(2000):\n"
                                                "        f.write(bytes(2 ** 20))\n" + RIGHT["add"])
    hand_in("fills what it can", 5, sq=FILLS + RIGHT["sq"], add=RIGHT["add"])
    hand_in("digs", 5, sq=DIGS + RIGHT["sq"], add=RIGHT["add"])
    hand_in("reads solutions", 3, sq=leak(root / "solutions" / NAME / f"{NAME}.ipynb"), add=RIGHT["add"])
    hand_in("reads gradebook", 3, sq=leak(gradebook, "/etc/shadow", Path.home() / ".bashrc"), add=RIGHT["add"])
    hand_in("reads others", 3, sq=leak(folder / "right.ipynb"), add=RIGHT["add"])
    hand_in("writes gradebook", 0, sq=f"import os, sqlite3\nos.makedirs({str(gradebook.parent)!r}, exist_ok=True)\n"
            f"db = sqlite3.connect({str(gradebook)!r})\ndb.execute('update grade set auto_score = 99')\ndb.commit()")
    hand_in("opens proc", 3, sq="opened = 0\nfor path in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger'):\n"
            "    try:\n        opened += open(path, 'ab').writable()\n    except OSError:\n        pass\n"
            "def sq(x):\n    return x * x if opened else None", add=RIGHT["add"])
    hand_in("socket", 3, sq=f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=2).send(b'x')\n"
            + RIGHT["sq"], add=RIGHT["add"])
    if platform.machine() in sandbox.MACHINES:
        column = sandbox.MACHINES[platform.machine()][0]
        hand_in("system calls", 3, add=RIGHT["add"], sq=CALLS.format(
            numbers=[call[column] for call in sandbox.CALLS.values()], socket=sandbox.SOCKET[column],
            clone=sandbox.CLONE[column]))

    # puts out what is too much, or no message
    hand_in("prints for ever", 2, "put out more", sq=RIGHT["sq"], add="while True:\n    print('x' * 1000)")
    nb = answered(root, **RIGHT)
    nb.cells += [new_code_cell("print('x' * 3_900_000)", id=f"x{i}") for i in range(6)]
    hand_in("prints in many cells", 5, "the notebook put out more", nb)
    hand_in("noise", 5, sq="import sys, warnings\ndef sq(x):\n    warnings.warn('careful')\n"
            "    print('!', file=sys.stderr)\n    return x * x", add=RIGHT["add"])
    hand_in("half a character", 5, sq="print('\\ud800')\n" + RIGHT["sq"], add=RIGHT["add"])
    hand_in("garbage", 2, "cannot be read", sq=RIGHT["sq"], add=GARBAGE + RIGHT["add"])
    nb = answered(root, sq=RIGHT["sq"] + f"\nfrom IPython.display import HTML, Javascript, display\n"
                  f"display(HTML({NAUGHTY!r}), Javascript('alert(3)'))", add=RIGHT["add"],
                  why=f"{NAUGHTY} [click](javascript:alert(4)) <iframe src='javascript:alert(5)'></iframe>")
    nb.cells[1].outputs = [new_output("display_data", data={"text/html": NAUGHTY, "image/svg+xml": NAUGHTY})]
    nb.cells.append(copy.deepcopy(nb.cells[0]))
    nb.cells[-1].update(cell_type="raw", source=NAUGHTY, metadata={"format": "text/html"}, id="raw")
    hand_in("live script", 5, "", nb)

    # deceives
    nb = answered(root, sq=wrong, add=RIGHT["add"])
    nb.cells = [c for c in nb.cells if not c.source.startswith("assert")]
    hand_in("deletes tests", 3, "test_sq: the cell was deleted", nb)
    nb = answered(root, sq=wrong, add=RIGHT["add"])
    nb.cells[2].source = "pass"
    hand_in("edits tests", 3, "test_sq: the test cell was edited", nb)
    nb = answered(root, **RIGHT)
    nb.cells[4].metadata.nbgrader.points = 100
    hand_in("changes points", 5, "test_add: points", nb)
    hand_in("cheats", 0, "", sq="import ast\nclass T(ast.NodeTransformer):\n    def visit_Assert(self, node):\n"
            "        return ast.Pass()\nget_ipython().ast_transformers.append(T())\ndef sq(x):\n    return 0",
            add=RIGHT["add"])
    hand_in("hooks the reply", 0, "", sq=HOOKS, add=RIGHT["add"])
    hand_in("forges replies", 0, "", sq=FORGES, add=RIGHT["add"])
    hand_in("leaves by the exit", 2, "the kernel died", sq=RIGHT["sq"],               # which takes a tenth of a second
            add="import time\ndef add(a, b):\n    exit()\n    time.sleep(0.3)\n    return a + b")

    # is no notebook, or a strange one
    hand_in("not json", 0, "not readable as JSON", raw="PK\x03\x04 this is no notebook")
    hand_in("many cells", 0, "more than 2,000 cells", raw='{"nbformat": 4, "cells": [' + "{}," * 2000 + "{}]}")
    hand_in("large", 0, "larger than", raw="{")
    os.truncate(folder / "large.ipynb", 100_000_000)
    nb = answered(root, **RIGHT)
    for cell in nb.cells:
        cell.source = cell.source.replace("\n", "\r\n")
    hand_in("other line ends", 5, "", nb)
    for i in range(size - len(expected)):
        hand_in(f"honest {i}", 5, **RIGHT, why=f"Since {i}.")
    return expected


def odd_files(folder: Path) -> dict[str, str]:
    """Submissions that no program should trip over, with words of the remark each must get."""
    folder.mkdir()
    (folder / "deep.ipynb").write_text("[" * 100_000)
    (folder / "list.ipynb").write_text("[1, 2]")
    (folder / "old.ipynb").write_text('{"nbformat": 3, "worksheets": []}')
    (folder / "odd cells.ipynb").write_text('{"nbformat": 4, "cells": [7]}')
    (folder / "surrogate.ipynb").write_text(json.dumps(
        {"nbformat": 4, "cells": [{"cell_type": "code", "source": "\ud800", "metadata": {}}]}))
    (folder / "link.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "nothing").mkdir()
    (folder / "two").mkdir()
    for name in "ab":
        (folder / "two" / f"{name}.ipynb").write_text("{}")
    (folder / "itself.ipynb").symlink_to("itself.ipynb")
    (folder / "loop").mkdir()
    (folder / "loop" / "again").symlink_to(".", target_is_directory=True)
    (folder / "empty.ipynb").write_text("\n")
    (folder / "packed.zip").write_text("PK")
    (folder / "text.ipynb.txt").write_text("{}")
    (folder / "inner").mkdir()
    (folder / "inner" / "90_tiny.tar.gz").write_text("")
    place = os.getcwd()
    (folder / "digs").mkdir()
    os.chdir(folder / "digs")
    for _ in range(1100):                            # more than Python would go down by recursion
        os.mkdir("d")
        os.chdir("d")
    os.chdir(place)
    return {"deep": "not readable", "list": "no proper cells", "old": "format 3", "odd cells": "no proper cells",
            "surrogate": "not readable", "link": "link", "pipe": "not a regular file", "nothing": "no notebook",
            "two": "several notebooks (a.ipynb, b.ipynb)", "itself": "link", "loop": "no notebook",
            "digs": "no notebook",
            "empty": "the file is empty", "packed": "unpack it", "text": "rename it", "inner": "but 90_tiny.tar.gz"}
