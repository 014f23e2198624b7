"""The tests have teeth: each bug planted in course_lib turns its test red, and is what does so.
conftest.py prints which, at the end of the session."""

import pytest
from teeth import BUGS, ROOT, Bug, Server, copy_with


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.module}-{bug.red.split('::')[-1]}")
def test_a_planted_bug_is_found(server, bug, record_property):
    answer = server.try_out(bug, bug.red)
    record_property("planted bug", f"{bug}    red: {', '.join(test.split('/')[-1] for test in answer['red'])}")
    assert answer["code"] == 1 and answer["red"], f"nothing went red for {bug}: {answer}"


def test_the_same_tests_are_green_without_a_bug(server):
    tests = sorted({bug.red for bug in BUGS})
    answer = server.try_out(None, *tests)
    assert answer["code"] == 0 and not answer["red"] and answer["passed"] >= len(tests)


def test_every_module_has_a_planted_bug():
    modules = {str(p.relative_to(ROOT / "course_lib").as_posix()) for p in (ROOT / "course_lib").rglob("*.py")}
    # no lesson computes with these
    tools = {"__init__.py", "checks/__init__.py", "classroom/__init__.py"} | {
        f"data/build_{name}.py" for name in ("austen", "digits", "emoji", "notes", "person", "spoken")}
    tools |= {module for module in modules if module.startswith("checkpoints/")}
    assert modules - tools <= {bug.module for bug in BUGS} and len(BUGS) >= 25


def test_a_bug_that_cannot_be_planted_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds 0 times"):
        copy_with(Bug("device.py", "not to be found", "", "test_device.py"), tmp_path / "a")
    with pytest.raises(ValueError, match="times, and not once"):
        copy_with(Bug("device.py", "torch", "", "test_device.py"), tmp_path / "b")


def test_code_that_does_nothing_wrong_is_no_bug(server):
    harmless = Bug("device.py", "random.seed(n)\n    np", "random.seed(n + 0)\n    np", "")
    assert server.try_out(harmless, "test_device.py")["code"] == 0
