"""The costs that a run of all tests leaves behind, and which tests belong to a lesson."""

import sys
from pathlib import Path
from types import SimpleNamespace

import lessons
import pytest
import rerun
import run
import test_diffusion
import test_metrics
import test_vae
from lessons import KINDS, LESSONS, kind_of, lesson_of
from run import Times, with_times
from teeth import BUGS

from course_lib import diffusion
from course_lib.checks import vae as check


def report(nodeid, duration, lesson=None):
    return SimpleNamespace(nodeid=nodeid, duration=duration, user_properties=[("lesson", lesson)])


def test_the_costs_of_a_lesson_are_added_up_by_kind_and_held_against_the_budget():
    times = Times()
    for node, duration, lesson in [
            ("notebooks/31_vae.ipynb::Cell 0", 3.0, "31_vae"), ("notebooks/31_vae.ipynb::Cell 1", 1.25, "31_vae"),
            ("solutions/31_vae/31_vae.ipynb::Cell 0", 2.0, "31_vae"), ("tests/test_vae.py::test_x[1]", 0.5, "31_vae"),
            ("notebooks/12_convnet.ipynb::Cell 0", 9.0, "12_convnet"), ("tests/test_teeth.py::t[a]", 4.0, "12_convnet"),
            ("tests/test_a.py::test_x[1]", 0.5, None), ("tests/test_b.py::test_x", 1.5, None)]:
        times.pytest_runtest_logreport(report(node, duration, lesson))
    assert times.notebooks() == {"notebooks/12_convnet.ipynb": 9.0, "notebooks/31_vae.ipynb": 4.25,
                                 "solutions/31_vae/31_vae.ipynb": 2.0}
    assert times.table(10, "as measured") == """\
      lesson    solution    exercise      checks        bugs  unit tests    together  seconds; the budget: 10
         9.0         0.0         0.0         0.0         4.0         0.0        13.0  12_convnet  over the budget
         4.2         2.0         0.0         0.0         0.0         0.5         6.8  31_vae
2 lessons: 20 s of one core, 99% of 2 x 10 s (as measured)
belongs to no lesson: 2 s of one core, 9% of all
         1.5  tests/test_b.py
         0.5  tests/test_a.py"""


def test_the_budget_is_doubled_where_the_processor_is_slow(monkeypatch):
    for fast, wanted in ((True, 70), (False, 140)):
        monkeypatch.setattr("course_lib.device.bfloat16_is_fast", lambda on, fast=fast: fast)
        assert run.budget()[0] == wanted and ("not multiply" in run.budget()[1]) != fast


# --- which lesson

def an_item(nodeid, *given, function=None):
    return SimpleNamespace(nodeid=nodeid, path=Path(nodeid.split("::")[0]), function=function,
                           callspec=SimpleNamespace(params=dict(enumerate(given))))


def bug(code):
    found, = [bug for bug in BUGS if code in bug.code]
    return found


def names_two_ideas():
    return diffusion.guided, diffusion.q_sample


def names_none():
    pass


@pytest.mark.parametrize("item, lesson", [
    (an_item("tests/test_diffusion.py::test_x", function=names_two_ideas), "63_guidance"),
    (an_item("tests/test_metrics.py::test_x", function=names_none), "13_discriminative_vs_generative"),
    (an_item("notebooks/31_vae.ipynb::Cell 0"), "31_vae"), (an_item("solutions/31_vae/31_vae.ipynb::Cell 3"), "31_vae"),
    (an_item("notebooks/symbols.ipynb::top to bottom"), None),
    (an_item("tests/test_exercises.py::TestExercise::test_it_is_clean[31_vae]"), "31_vae"),
    (an_item("tests/test_exercises.py::test_a_right_answer[31_vae-free_bits: right]"), "31_vae"),
    (an_item("tests/test_checks.py::test_x[a]", check.reparameterize), "31_vae"),
    (an_item("tests/test_checks.py::test_x[a]", SimpleNamespace(check=check.free_bits)), "31_vae"),
    (an_item("tests/test_checks.py::test_x[a]", (check.free_bits, "a mutant")), "31_vae"),
    (an_item("tests/test_checks.py::test_x[a]", "None", print), None),
    (an_item("tests/test_teeth.py::test_x[a]", bug("mu**2 + logvar.expm1()")), "31_vae"),
    (an_item("tests/test_teeth.py::test_x[a]", bug("levels[:2] + levels[3:4]")), "31_vae"),
    (an_item("tests/test_teeth.py::test_x[a]", bug("without + scale *")), "63_guidance"),
    (an_item("tests/test_teeth.py::test_x[a]", bug("return a.sqrt() * x0")), "61_ddpm"),
    (an_item("tests/test_contracts.py::test_x[a]", "vae.VAE.sample", 3), "31_vae"),
    (an_item("tests/test_contracts.py::test_x[a]", "data.toys.ring"), "00_start_here"),
    (an_item("tests/test_contracts.py::test_x[a]", "metrics.bits_per_byte"), "54_gpt"),
    (an_item("tests/test_contracts.py::test_x[a]", "plots.grid"), None),
    (an_item("tests/test_vae.py::test_x", function=test_vae.test_kl_is_that_of_torch_distributions), "31_vae"),
    (an_item("tests/test_metrics.py::test_x", function=test_metrics.test_equal_distances_count_one_half),
     "13_discriminative_vs_generative"),
    (an_item("tests/test_diffusion.py::test_x", function=test_diffusion.test_ddpm_is_ddim_with_eta_1), "61_ddpm"),
    (an_item("tests/test_diffusion.py::test_x",
             function=test_diffusion.test_autoguidance_goes_from_the_weak_model_through_the_other_and_beyond),
     "63_guidance"),
    (an_item("tests/test_plots.py::test_x", function=print), None),
], ids=lambda x: getattr(x, "nodeid", x))
def test_what_belongs_to_a_lesson(item, lesson):
    assert lesson_of(item) == lesson


def test_each_lesson_has_something_of_each_kind(request):
    items, config = request.session.items, request.config
    if config.getoption("--lessons") or config.option.keyword or {kind_of(i.nodeid) for i in items} != set(KINDS):
        pytest.skip("only a run of everything has them all")
    found = {(lesson_of(item), kind_of(item.nodeid)) for item in items}
    assert {(lesson, kind) for lesson in LESSONS for kind in KINDS} <= found


def test_a_lesson_is_chosen_by_its_number():
    items = [an_item("notebooks/31_vae.ipynb::Cell 0"), an_item("tests/test_plots.py::test_x", function=print),
             an_item("tests/test_contracts.py::test_x[a]", "flow.euler"), an_item("notebooks/12_convnet.ipynb::Cell 0")]
    for chosen, kept in (("", [0, 1, 2, 3]), ("31", [0]), ("31 64", [0, 2]), ("00", [])):
        left, config = [], SimpleNamespace(getoption=lambda name, chosen=chosen: chosen)
        config.hook = SimpleNamespace(pytest_deselected=lambda items, left=left: left.extend(items))
        found = [*items]
        lessons.pytest_collection_modifyitems(config, found)
        assert found == [items[i] for i in kept] and len(found) + len(left) == len(items)


def test_an_unknown_number_is_told_which_there_are(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "--lessons", "31 99"])
    monkeypatch.setattr(run.pytest, "main", lambda *_, **__: pytest.fail("it runs something"))
    with pytest.raises(SystemExit):
        run.main()
    assert "no lesson 99: there are 00 11 12 " in capsys.readouterr().err


@pytest.mark.parametrize("given, lessons, paths", [
    (["--lessons", "31"], ["31"], ["tests", "31_vae.ipynb", "31_vae.ipynb"]),            # no other notebook is opened
    (["--lessons", "31", "-k", "current"], ["31"], ["tests", "31_vae.ipynb", "31_vae.ipynb"]),
    ([], [], ["tests", "notebooks", "solutions"]), (["-x"], [], ["tests", "notebooks", "solutions"]),
    ([__file__ + "::test_x", "-x"], [], ["test_run.py::test_x"])])
def test_what_pytest_is_asked_for(given, lessons, paths, monkeypatch):
    asked = []
    monkeypatch.setattr(sys, "argv", ["run.py", *given])
    monkeypatch.setattr(run.pytest, "main", lambda arguments, plugins: asked.extend(arguments) or 3)
    assert run.main() == 3
    assert [b for a, b in zip(asked, asked[1:]) if a == "--lessons"] == lessons
    assert [Path(a).name for a in asked if "/" in a and "pyproject" not in a] == paths
    assert [a for a in given if a in ("-x", "-k", "current")] == [a for a in asked if a in ("-x", "-k", "current")]


def test_every_test_carries_its_lesson_to_who_adds_up(request):
    assert ("lesson", None) in request.node.user_properties


# --- the table of times

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


# --- every cell twice

def test_a_cell_that_says_something_else_or_fails_the_second_time_is_found(tmp_path):
    text = "# %%\nfixed = 3\nprint(fixed)\n\n# %%\nfixed += 1\nprint(fixed)\n"
    (_, first, second), = rerun.differences(rerun.build.cells_of(text), tmp_path)
    assert (first, second) == ("4\n", "5\n")
    with pytest.raises(rerun.build.BuildError, match="which begins `del fixed`"):
        rerun.differences(rerun.build.cells_of("# %%\nfixed = 3\n\n# %%\ndel fixed\n"), tmp_path)
