"""Which lesson a test belongs to: for the costs that run.py prints, and for `make test NB=63`. A pytest plugin.

There is no list to keep. A notebook and the tests of an exercise carry the lesson in their names; checks, wrong answers
and bugs planted in checks belong to the lesson that the file in course_lib/checks is named for; all other tests of the
library to the lesson that teaches what they test, as the idea index says.

PYTEST_DONT_REWRITE: run.py imports it before pytest starts.
"""

import ast
import functools
import inspect
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted(p.stem for p in (ROOT / "authoring" / "lessons").glob("[0-9][0-9]_*.py"))
KINDS = {"lesson": "notebooks/", "solution": "solutions/", "exercise": "tests/test_exercises.py",
         "checks": "tests/test_checks.py", "bugs": "tests/test_teeth.py", "unit tests": ""}    # where their ids begin


def kind_of(nodeid: str) -> str:
    return next(kind for kind, start in KINDS.items() if nodeid.startswith(start))


def numbered(number: str) -> str:
    """The lesson of this number. Raises ValueError if there is none."""
    found = [lesson for lesson in LESSONS if lesson[:2] == number]
    if not found:
        raise ValueError(f"no lesson {number}: there are {' '.join(lesson[:2] for lesson in LESSONS)}")
    return found[0]


# --- what of the library belongs to which lesson

@functools.cache
def index() -> dict[tuple[str, str], str]:
    """The idea index: (file in course_lib, function or class) -> lesson."""
    text, known = (ROOT / "course_lib" / "README.md").read_text(encoding="utf-8"), {n[:2]: n for n in LESSONS}
    rows = re.findall(r"^\| .+? \| `(.+?):(\w+)` \| (\d\d) \|", text, re.M)
    return {(file, name): known[number] for file, name, number in rows if number in known}


def lesson_of_file(file: str) -> str | None:
    """The first lesson that teaches something of a file in course_lib."""
    if file.startswith("checks/"):
        return next((lesson for lesson in LESSONS if lesson[3:] == Path(file).stem), None)
    return min((lesson for (taught, _), lesson in index().items() if taught == file), default=None)


def lesson_of_name(file: str, name: str) -> str | None:
    """... that teaches this function or class, or, where the index does not name it, something else of its file."""
    return index().get((file, name)) or lesson_of_file(file)


def file_of(thing) -> str:
    """Where in course_lib a module, function or class is at home."""
    name = getattr(thing, "__name__" if isinstance(thing, types.ModuleType) else "__module__", "") or ""
    return name.removeprefix("course_lib.").replace(".", "/") + ".py" if name.startswith("course_lib.") else ""


@functools.cache
def homes_of_checks() -> dict[int, str]:
    """id(check) -> its file in course_lib."""
    return {id(check): file_of(module) for name, module in sys.modules.items() if name.startswith("course_lib.checks.")
            for check in vars(module).values() if hasattr(check, "slips")}


def around(file: str, code: str) -> str:
    """The name of the function or class of a file in course_lib in which a piece of code stands."""
    text = (ROOT / "course_lib" / file).read_text(encoding="utf-8")
    line = text[:text.find(code) + len(code) - len(code.lstrip())].count("\n") + 1
    return next((node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
                 and node.lineno <= line <= node.end_lineno), "")


# --- what a test is about

def named_in(code, names: dict) -> list:
    """The functions, classes and modules of the library that a piece of compiled code names."""
    found = [names[n] for n in code.co_names if n in names]
    found += [getattr(m, n) for m in found if isinstance(m, types.ModuleType) and file_of(m) for n in code.co_names
              if hasattr(m, n)]
    return found + [x for c in code.co_consts if isinstance(c, types.CodeType) for x in named_in(c, names)]


def of_parameter(value) -> str | None:
    """The lesson of a value that a test was called with: a planted bug, a check, an answer to one, a public name."""
    if hasattr(value, "module") and hasattr(value, "code"):
        return lesson_of_name(value.module, around(value.module, value.code))
    if home := homes_of_checks().get(id(value)) or homes_of_checks().get(id(getattr(value, "check", None))):
        return lesson_of_file(home)
    if isinstance(value, types.ModuleType):
        return lesson_of_file(file_of(value))
    if isinstance(value, str) and re.fullmatch(r"[a-z]\w*(\.\w+)+", value):               # data.toys.Gaussians.sample
        parts = value.split(".")
        for i in range(len(parts) - 1, 0, -1):
            if (ROOT / "course_lib" / (file := "/".join(parts[:i]) + ".py")).exists():
                return lesson_of_name(file, parts[i])
    return None


def lesson_of(item) -> str | None:
    """The lesson that a test belongs to, as "31_vae"; None if it serves all."""
    if found := [lesson for lesson in LESSONS if re.search(rf"(?<!\w){lesson}(?!\w)", item.nodeid)]:
        return found[0]
    values = [v for given in getattr(item, "callspec", None) and item.callspec.params.values() or ()
              for v in (given if type(given) in (tuple, list) else [given])]
    if found := [lesson for value in values if (lesson := of_parameter(value))]:
        return found[0]
    tested = re.fullmatch(r"test_(\w+)", item.path.stem)
    file = next((file for file, _ in index() if tested and Path(file).stem == tested[1]), None)
    if file is None or not inspect.isroutine(getattr(item, "function", None)):
        return None
    code = inspect.unwrap(item.function).__code__
    own = [x for x in named_in(code, item.function.__globals__) if file_of(x) == file]
    ideas = [lesson for x in own if (lesson := index().get((file, getattr(x, "__name__", ""))))]
    return max(ideas, default=lesson_of_file(file))                                   # the last builds on those before


# --- the plugin

def pytest_addoption(parser):
    parser.addoption("--lessons", metavar="NUMBERS", help='only what belongs to these lessons: "63", "31 63"')


def pytest_collection_modifyitems(config, items):
    if chosen := config.getoption("--lessons"):
        try:
            wanted = {numbered(number) for number in chosen.split()}
        except ValueError as e:
            raise pytest.UsageError(str(e)) from None
        left = [item for item in items if lesson_of(item) not in wanted]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if lesson_of(item) in wanted]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    item.user_properties.append(("lesson", lesson_of(item)))                            # goes where the report goes
