"""The table of times that a run of all tests leaves behind."""

from types import SimpleNamespace

import pytest
from run import Times, with_times


def test_seconds_are_added_up_by_file():
    times = Times()
    for node, duration in [("notebooks/12_b.ipynb::Cell 0", 3.0), ("notebooks/12_b.ipynb::Cell 1", 1.25),
                           ("tests/test_a.py::test_x[1]", 0.5), ("notebooks/00_a.ipynb::Cell 0", 2.0)]:
        times.pytest_runtest_logreport(SimpleNamespace(nodeid=node, duration=duration))
    assert times.notebooks() == {"notebooks/00_a.ipynb": 2.0, "notebooks/12_b.ipynb": 4.25}
    assert times.table().splitlines() == ["  seconds  notebook", "      2.0  notebooks/00_a.ipynb",
                                          "      4.2  notebooks/12_b.ipynb", "  seconds  slowest test files",
                                          "      0.5  tests/test_a.py"]


def test_only_the_table_between_the_marks_is_replaced():
    before = "# Title\n<!-- times -->\nold\n\nold \\1\n<!-- /times -->\nthe rest\n"
    times = {"notebooks/00_a.ipynb": 2.4, "notebooks/12_b.ipynb": 41.6, "solutions/12_b/12_b.ipynb": 9.5}
    after = with_times(before, times)
    assert after == ("# Title\n<!-- times -->\n| | lesson | exercise |\n|---|---:|---:|\n| 00_a | 2 |  |\n"
                     "| 12_b | 42 | 10 |\n<!-- /times -->\nthe rest\n")
    assert with_times(after, times) == after


@pytest.mark.parametrize("text", ["nothing", "<!-- times --> only", "<!-- times --><!-- times --><!-- /times -->"])
def test_a_file_without_the_marks_is_refused(text):
    with pytest.raises(ValueError, match="must hold each of <!-- times --> and <!-- /times --> once"):
        with_times(text, {})
