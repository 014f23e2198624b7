"""Who may import whom, and what `import course_lib` costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "course_lib"
FILES = {".".join(("course_lib", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p
         for p in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
TOOLS = {"course_lib.device", "course_lib.claims", "course_lib.expect", "course_lib.plots"}    # import nothing else
MEASURES = {"course_lib.metrics", "course_lib.calibration"}                          # take callables, features, numbers
LOOP = {"course_lib.train", "course_lib.gan"}                                        # gan: two players, no network
MODELS = {name for name, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
          and {"nn.Module", "Module"} & {ast.unparse(base) for base in node.bases}} | {"course_lib.gaussians"}


def imports_of(name: str, at_import: bool = False) -> set[str]:
    """The modules of course_lib that a module imports; with at_import, only those that it imports outside functions."""
    tree = TREES[name]
    inside = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)} if at_import else set()
    found = set()
    for node in ast.walk(tree):
        if node in inside:
            continue
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write the whole name of the module instead of a relative import"
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return (found & set(FILES)) - {name}


def reached(name: str, at_import: bool = False) -> set[str]:
    """Everything of ours that a module imports, directly or through others."""
    todo, seen = [name], set()
    while todo:
        new = imports_of(todo.pop(), at_import) - seen
        seen |= new
        todo += new
    return seen


def test_the_package_is_where_this_test_looks():
    assert {"course_lib", "course_lib.data", "course_lib.data.toys", *TOOLS, *MEASURES, *LOOP} <= set(FILES)
    assert {"course_lib.convnet", "course_lib.mlp", "course_lib.dcgan"} <= MODELS <= set(FILES)
    assert "course_lib.checkpoint" in imports_of("course_lib.leaderboard")
    together = set().union(*(reached(name) for name in FILES if name.startswith("course_lib.checkpoints.part")))
    assert together & LOOP and together & MODELS and "course_lib.data" in together


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_never_imports_the_loop(name):
    assert not reached(name) & LOOP


@pytest.mark.parametrize("name", sorted(LOOP | MEASURES))
def test_the_loop_and_the_measures_never_import_a_model(name):
    assert not reached(name, at_import=True) & MODELS
    assert not imports_of(name) & MODELS


@pytest.mark.parametrize("name", sorted(MEASURES | {n for n in FILES if n.startswith("course_lib.data")}))
def test_measures_and_data_never_import_the_loop(name):
    assert not reached(name) & LOOP


def test_tools_import_nothing_of_ours():
    assert not set().union(*(imports_of(name) for name in TOOLS))


def test_there_are_no_cycles():
    assert not {name for name in FILES if name in reached(name, at_import=True)}


def test_the_map_of_the_package_names_every_file_once():
    named = [word for line in ast.get_docstring(TREES["course_lib"]).splitlines() if line.startswith("    ")
             for word in line[18:].split()]
    assert sorted(named) == sorted({name.split(".")[1] for name in FILES if "." in name})


def test_there_is_no_drawer_for_everything():
    assert not {"utils", "util", "helpers", "common", "misc"} & {name.split(".")[-1] for name in FILES}


EVERY_DAY = "course_lib, course_lib.device, course_lib.data, course_lib.train, course_lib.claims, course_lib.checkpoint"


def python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_the_course_costs_little_beyond_torch():
    timed = f"import time, torch; start = time.process_time(); import {EVERY_DAY}; print(time.process_time() - start)"
    assert any(float(python(timed)) <= 0.3 for _ in range(3))                            # a busy machine may try again


def test_importing_the_course_imports_nothing_heavy():
    new = f"import sys, torch; before = set(sys.modules); import {EVERY_DAY}; print(*set(sys.modules) - before)"
    assert not {"torchvision", "sklearn", "matplotlib", "scipy", "IPython", "ipywidgets"} & set(python(new).split())
