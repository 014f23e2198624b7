"""A small assignment without torch, and a class of 25 that hands it in: right, half right, blank, hostile, broken."""

import copy
import json
import os
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

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


def write_class(root: Path, folder: Path, gradebook: Path, port: int) -> dict[str, tuple[float, str]]:
    """Write 25 submissions.  -> student: (the score to be expected, words that the remarks must hold)"""
    folder.mkdir()
    wrong = "def sq(x):\n    return x + x"
    expected = {}

    def hand_in(student, score, words="", nb=None, raw=None, **answers):
        text = raw if raw is not None else nbformat.writes(nb or answered(root, **answers))
        (folder / f"{student}.ipynb").write_text(text)
        expected[student] = (score, words)

    for i in range(2):
        hand_in(f"right {i}", 5, **RIGHT, why=f"Since {i}.")
    hand_in("half", 2, sq=RIGHT["sq"], add="def add(a, b):\n    return a")
    hand_in("hidden", 3, sq="def sq(x):\n    return 9 if x == 3 else 0", add=RIGHT["add"])
    hand_in("blank", 0)

    hand_in("infinite loop", 2, "took too long", sq=RIGHT["sq"], add="while True:\n    pass")
    hand_in("ignores interrupts", 2, "later cells were not run", sq=RIGHT["sq"],
            add="import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass")
    hand_in("exits", 2, "the kernel died", sq=RIGHT["sq"], add="import os\nos._exit(0)")
    hand_in("6 GB", 2, sq=RIGHT["sq"], add="data = bytearray(6 << 30)\n" + RIGHT["add"])
    hand_in("fork bomb", 2, "processes", sq=RIGHT["sq"], add=FORKS)
    hand_in("2 GB file", 2, sq=RIGHT["sq"], add="with open('big', 'wb') as f:\n    for _ in range(2000):\n"
                                                "        f.write(bytes(2 ** 20))\n" + RIGHT["add"])
    hand_in("reads solutions", 3, sq=leak(root / "solutions" / NAME / f"{NAME}.ipynb"), add=RIGHT["add"])
    hand_in("reads gradebook", 3, sq=leak(gradebook, "/etc/shadow", Path.home() / ".bashrc"), add=RIGHT["add"])
    hand_in("reads others", 3, sq=leak(folder / "right 0.ipynb"), add=RIGHT["add"])
    hand_in("writes gradebook", 0, sq=f"import os, sqlite3\nos.makedirs({str(gradebook.parent)!r}, exist_ok=True)\n"
            f"db = sqlite3.connect({str(gradebook)!r})\ndb.execute('update grade set auto_score = 99')\ndb.commit()")
    hand_in("socket", 3, sq=f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=2).send(b'x')\n"
            + RIGHT["sq"], add=RIGHT["add"])
    hand_in("prints for ever", 2, "put out more", sq=RIGHT["sq"], add="while True:\n    print('x' * 1000)")
    hand_in("noise", 5, sq="import sys, warnings\ndef sq(x):\n    warnings.warn('careful')\n"
            "    print('!', file=sys.stderr)\n    return x * x", add=RIGHT["add"])

    nb = answered(root, sq=wrong, add=RIGHT["add"])
    nb.cells = [c for c in nb.cells if not c.source.startswith("assert")]
    hand_in("deletes tests", 3, "test_sq: the cell was deleted", nb)
    nb = answered(root, sq=wrong, add=RIGHT["add"])
    nb.cells[2].source = "pass"
    hand_in("edits tests", 3, "test_sq: the test cell was edited", nb)
    nb = answered(root, **RIGHT)
    nb.cells[4].metadata.nbgrader.points = 100
    hand_in("changes points", 5, "test_add: points", nb)
    nb = answered(root, sq=RIGHT["sq"] + f"\nfrom IPython.display import HTML, Javascript, display\n"
                  f"display(HTML({NAUGHTY!r}), Javascript('alert(3)'))", add=RIGHT["add"],
                  why=f"{NAUGHTY} [click](javascript:alert(4)) <iframe src='javascript:alert(5)'></iframe>")
    nb.cells[1].outputs = [new_output("display_data", data={"text/html": NAUGHTY, "image/svg+xml": NAUGHTY})]
    nb.cells.append(copy.deepcopy(nb.cells[0]))
    nb.cells[-1].update(cell_type="raw", source=NAUGHTY, metadata={"format": "text/html"}, id="raw")
    hand_in("live script", 5, "", nb)
    hand_in("cheats", 5, "", sq="import ast\nclass T(ast.NodeTransformer):\n    def visit_Assert(self, node):\n"
            "        return ast.Pass()\nget_ipython().ast_transformers.append(T())\ndef sq(x):\n    return 0",
            add=RIGHT["add"])
    hand_in("not json", 0, "not readable as JSON", raw="PK\x03\x04 this is no notebook")
    hand_in("large", 0, "larger than", raw="{")
    os.truncate(folder / "large.ipynb", 100_000_000)
    assert len(expected) == 25, len(expected)
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
    return {"deep": "not readable", "list": "no proper cells", "old": "format 3", "odd cells": "no proper cells",
            "surrogate": "not readable", "link": "link", "pipe": "not a regular file", "nothing": "no notebook",
            "two": "several notebooks"}
