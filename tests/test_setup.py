"""Installing: the files that list dependencies agree, make does nothing twice, and the package works on its own."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_conda_users_get_the_same_packages():
    listed = re.findall(r'^ +- "(.+)"$', (ROOT / "environment.yml").read_text(), re.M)
    extras = PROJECT["optional-dependencies"]
    assert listed == PROJECT["dependencies"] + extras["classroom"] + extras["dev"]
    assert f"- python{PROJECT['requires-python']}\n" in (ROOT / "environment.yml").read_text()
    assert "- --editable .\n" in (ROOT / "environment.yml").read_text()


def test_every_dependency_has_a_tested_version_within_its_range():
    packaging = pytest.importorskip("packaging.requirements")
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {k.lower().replace("_", "-"): v for k, v in pins.items()}
    extras = PROJECT["optional-dependencies"]
    for text in PROJECT["dependencies"] + extras["classroom"] + extras["dev"] + extras["site"]:
        need = packaging.Requirement(text)
        assert need.name in pins, f"{need.name} is missing in constraints.txt"
        assert pins[need.name] in need.specifier, f"{need.name}=={pins[need.name]} is outside {need.specifier}"


def run_make(*args, **env):
    """As from a shell: a make that runs these tests (`make -C`) hands flags and level down, and names folders."""
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    return subprocess.run(["make", *args], cwd=ROOT, capture_output=True, text=True, env=clean | env)


needs_make = pytest.mark.skipif(not shutil.which("make") or not (ROOT / ".venv" / "installed").exists(),
                                reason="make, or the environment that make setup builds, is not here (conda users)")


@needs_make
def test_a_second_set_up_installs_nothing_and_returns_at_once():
    start = time.perf_counter()
    done = run_make("setup")
    assert done.returncode == 0, done.stderr
    assert "Installing" not in done.stdout
    assert time.perf_counter() - start < 5


@needs_make
def test_make_lists_its_targets_and_refuses_an_old_python(tmp_path):
    listed = run_make("help").stdout
    for target in ("setup", "lab", "test", "rerun", "notebooks", "exercises", "checkpoints", "adopt", "bench",
                   "gpu-check", "site"):
        assert re.search(rf"^{target}\b", listed, re.M), f"make help does not list {target}"
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\ncase \"$1\" in -V) echo Python 2.7.18;; *) exit 1;; esac\n")
    old.chmod(0o755)
    done = run_make("setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stdout and "PYTHON=python3.12" in done.stdout
    assert not (tmp_path / "venv").exists()


@needs_make
def test_make_test_runs_everything_or_what_belongs_to_lessons():
    assert run_make("-n", "test", "NB=31 63").stdout.rstrip().endswith('tests/run.py --lessons "31 63"')
    assert run_make("-n", "test", "TEST_FLAGS=-x").stdout.rstrip().endswith("tests/run.py  -x")


def test_the_installed_package_carries_data_and_judge(tmp_path):
    """Build the wheel as pip would, unpack it elsewhere, and use it from a folder that is not the repository."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "course_lib", source / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-CODE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-c", "from setuptools import build_meta as b; b.build_wheel('..')"], cwd=source,
                   check=True, capture_output=True)
    wheel, = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    script = ("import sys; sys.path.insert(0, sys.argv[1]); import course_lib;"
              "assert course_lib.__file__.startswith(sys.argv[1]), course_lib.__file__;"
              "from course_lib.data import load; from course_lib import checkpoint;"
              "from course_lib.data.text import load_text; print(len(load_text('austen').train));"
              "x, y = load('digits').test; judge = checkpoint.load('judge');"
              "print(len(x), (judge(x[:200]).argmax(1) == y[:200]).float().mean().item())")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "site")], cwd=tmp_path, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    n_bytes, n, accuracy = done.stdout.split()
    assert int(n) == 1000 and int(n_bytes) > 3_600_000 and float(accuracy) > 0.95
