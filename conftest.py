"""For everything that pytest runs here: no network, one thread, and notebooks under a strict nbval."""

import functools
import os
import runpy
import sys
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "tests"
sys.path.append(str(TESTS))
pytest_plugins = ["nbval_repairs", "lessons"]

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TQDM_DISABLE="1")
if str(TESTS / "offline") not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    runpy.run_path(str(TESTS / "offline" / "sitecustomize.py"))                       # for this process
    os.environ["PYTHONPATH"] = os.pathsep.join(                                       # for those it starts
        [str(TESTS / "offline"), *filter(None, [os.environ.get("PYTHONPATH")])])
if "COURSE_OFFLINE_LOG" not in os.environ:
    os.environ["COURSE_OFFLINE_LOG"] = os.path.join(tempfile.mkdtemp(), "attempts")


@pytest.fixture(scope="session")
def quick_gradebooks():
    """For each new gradebook nbgrader starts a Python that tells the version of its tables, always the same one, and
    after every change SQLite waits for the disk."""
    import nbgrader.api
    import sqlalchemy

    def hurry(db, _):
        db.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nbgrader.api, "get_alembic_version", functools.cache(nbgrader.api.get_alembic_version))
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", hurry)


def attempts() -> str:
    log = Path(os.environ["COURSE_OFFLINE_LOG"])
    return log.read_text() if log.exists() else ""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if attempts() and not hasattr(session.config, "workerinput"):                     # in the process that sums up
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    properties = [p for report in terminalreporter.getreports("passed") for p in report.user_properties]
    if bugs := [text for name, text in properties if name == "planted bug"]:
        terminalreporter.section(f"{len(bugs)} planted bugs, and what each turned red")
        terminalreporter.write("\n".join(bugs) + "\n")
    if attempts():
        terminalreporter.section("something tried to reach the network")
        terminalreporter.write(attempts())
