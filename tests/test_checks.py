"""The checks of the exercises: right answers pass however they are written, each wrong one is told what is wrong with
it, and nothing that a learner may return breaks a check or shows its inside."""

import copy
import importlib
import io
import math
import pkgutil
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import mutants
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import Tensor, nn
from wrong_answers import EQUIVALENT, read_all

from course_lib import checks
from course_lib.checks import Implementation, Measurement, Mistake, rand, start_here, tensors_in
from course_lib.transformer import attention

ANSWERS = read_all()
MODULES = [importlib.import_module(f"course_lib.checks.{m.name}") for m in pkgutil.iter_modules(checks.__path__)]
TASKS = [task for module in MODULES for task in vars(module).values() if isinstance(task, Implementation)]
MEASURED = [task for module in MODULES for task in vars(module).values() if isinstance(task, Measurement)]


@pytest.fixture(autouse=True)
def the_same_inputs_in_every_run(monkeypatch, request):
    """Checks draw fresh inputs at each call. Here they are drawn from the test's name, so that a run says the same as
    the last one; `tests/margins.py` measures how near a wrong answer may come on inputs never seen."""
    drawn = random.Random(request.node.name)
    monkeypatch.setattr(checks.random, "SystemRandom", lambda: drawn)


def mistake_of(check, *answer) -> Mistake:
    with pytest.raises(Mistake) as info:
        check(*answer)
    return info.value


# --- right and wrong answers

@pytest.mark.parametrize("answer", [a for a in ANSWERS if not a.words], ids=str)
def test_a_right_answer_is_accepted_however_it_is_written(answer, capsys):
    n = 3 if answer.check in TASKS else 1          # a measurement is always the same
    for _ in range(n):
        assert answer.check(answer.answer, *answer.given) is None
    assert capsys.readouterr() == (f"ok: {answer.check.name}\n" * n, "")


@pytest.mark.parametrize("answer", [a for a in ANSWERS if a.words], ids=str)
def test_a_wrong_answer_is_told_its_own_mistake_and_no_other(answer, capsys):
    neighbours = {a.words for a in ANSWERS if a.check is answer.check and a.words} - {answer.words}
    sentence = str(mistake_of(answer.check, answer.answer, *answer.given))
    assert answer.words in sentence
    assert not [words for words in neighbours if words in sentence]
    checks.hint()
    assert len(capsys.readouterr().out.strip()) > 20                                  # there always is help


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_there_are_two_right_answers_for_each_function(task):
    assert sum(a.check is task and not a.words for a in ANSWERS) in (2, 3)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_each_slip_is_told_from_all_others(task):
    task(task.right)
    for slip in task.slips:
        for wrong in slip.formulas:
            assert str(mistake_of(task, wrong)) == " ".join(slip.sentence.split())


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_the_reference_with_one_operation_changed_is_rejected(task):
    alive, number = mutants.survivors(task)
    assert set(alive) == {change for check, change in EQUIVALENT if check == id(task)} and number > 0


@pytest.mark.parametrize("task", MEASURED, ids=lambda t: t.name)
def test_each_wrong_measurement_is_told_from_all_others(task):
    given = next((a.given for a in ANSWERS if a.check is task), ())
    task(task.truth(*given), *given)
    for slip in task.slips:
        for wrong in slip.formulas:
            assert str(mistake_of(task, wrong(*given), *given)) == " ".join(slip.sentence.split())
    if 0 < (true := float(task.truth(*given))) <= 1:
        assert f"{task.name} is in percent" in str(mistake_of(task, 100 * true, *given))


@pytest.mark.parametrize("task", TASKS + MEASURED, ids=lambda t: t.name)
def test_help_comes_in_three_steps_and_code_comes_last(task):
    words = [task.hints[0], *(slip.hint for slip in task.slips)]
    assert len(task.hints) == 3 and len(task.rows) <= 12
    assert not [text for text in words if re.search(r"\.\w+\(|torch\.|\*\*| = (?!\d)", text)]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_cases_are_fresh_and_of_odd_sizes(task):
    def draw(n):
        return [a for case in task.cases(torch.Generator().manual_seed(n)) for a in case if isinstance(a, Tensor)]

    assert any(not torch.equal(a, b) for a, b in zip(draw(0), draw(1)))
    assert {1, 3} <= {a.shape[0] for a in draw(0) if a.dim()}


# --- whatever else may come back

class Odd:
    def __repr__(self):
        raise ValueError("no name")

    __str__ = __float__ = __len__ = __eq__ = __iter__ = __repr__


def raise_(error):
    raise error


def forever(*_):
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass


def deeper(*args):
    return deeper(*args)


def on_every_tensor(change):
    """An answer that is right, but for what `change` makes of each tensor in it."""
    def through(value):
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, dict):
            return {k: through(v) for k, v in value.items()}
        return type(value)(map(through, value)) if isinstance(value, list | tuple) else value
    return lambda right: lambda *args: through(right(*args))


def always(value):
    return lambda right: lambda *args: value


ABUSE = {
    "None": always(None),
    "an ellipsis": always(...),
    "not written": lambda right: lambda *args: raise_(NotImplementedError()),
    "a string": always("0.5"),
    "a number": always(0.5),
    "a boolean": always(True),
    "a huge number": always(10**400),
    "a NumPy array": always(np.ones((2, 2))),
    "a NumPy array of objects": always(np.array([None, {}])),
    "a list of lists": always([[1.0, 2.0], [3.0]]),
    "an empty tuple": always(()),
    "an empty dict": always({}),
    "a set": always({1}),
    "a function": always(len),
    "a class": always(Odd),
    "an object without a name": always(Odd()),
    "a list of odd objects": always([Odd(), Odd()]),
    "a generator": lambda right: lambda *args: (a for a in args),
    "its arguments": lambda right: lambda *args: args,
    "its first argument": lambda right: lambda *args: args[0],
    "an empty tensor": always(torch.empty(0)),
    "a tensor of strange shape": always(torch.ones(1, 2, 3, 4, 5)),
    "integers": always(torch.ones(2, 3, dtype=torch.int64)),
    "complex numbers": always(torch.ones(3, dtype=torch.complex64)),
    "a sparse tensor": always(torch.ones(3, 3).to_sparse()),
    "a number of another device": always(torch.ones((), device="meta")),
    "an exception": lambda right: lambda *args: 1 / 0,
    "an exception without words": lambda right: lambda *args: raise_(Exception()),
    "an exception that cannot be printed": lambda right: lambda *args: raise_(type("E", (Exception,), {
        "__str__": lambda self: 1 / 0})()),
    "an exit": lambda right: lambda *args: sys.exit(3),
    "endless recursion": lambda right: deeper,
    "noise of its own": on_every_tensor(lambda t: t + torch.randn(t.shape)),
    "too few arguments": lambda right: lambda: 1.0,
    "no function": lambda right: 3.0,
    "no function, but an odd object": lambda right: Odd(),
    "no function yet": lambda right: ...,
    "a closed graph": lambda right: lambda *args: [a.requires_grad_().exp_() for a in args if hasattr(a, "exp_")],
    "NumPy arrays in place of tensors": on_every_tensor(lambda t: t.detach().numpy()),
    "NaN": on_every_tensor(lambda t: t * math.nan),
    "infinity": on_every_tensor(lambda t: t + math.inf),
    "no graph": on_every_tensor(lambda t: t.detach()),
    "an extra axis": on_every_tensor(lambda t: t[None]),
    "another device": on_every_tensor(lambda t: t.to("meta")),
    "half precision": on_every_tensor(lambda t: t.half()),
    "rounded": on_every_tensor(lambda t: t.long()),
}
MAY_BE_RIGHT = {"no graph", "half precision", "rounded", "NumPy arrays in place of tensors"}    # for some tasks
HEARD = {                                          # in every task
    "None": r"returns nothing \(None\): does it end with a `return`\?",
    **dict.fromkeys(("an ellipsis", "not written"), "is not written yet"),
    "a string": "an object of type str", "a set": "an object of type set", "a class": "an object of type type",
    "a generator": "an object of type generator", "an object without a name": "an object of type Odd",
    "a NumPy array": "a NumPy array",
    "an exception": r"ZeroDivisionError \(division by zero\), in line",
    "an exception without words": "stopped with Exception, in line",
    "an exception that cannot be printed": "stopped with E, in line",
    "an exit": r"SystemExit \(3\)",
    "endless recursion": "RecursionError",
    "noise of its own": "random numbers of its own|noise of your own",
    "too few arguments": "cannot be called as the task says",
    "no function": "must be a function, and it is the Python number 3.0",
    **dict.fromkeys(("no function, but an odd object", "no function yet"), "must be a function"),
}


@pytest.mark.parametrize("abuse", ABUSE)
@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_nothing_breaks_a_check(task, abuse, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                                               # as in a notebook: no error
        try:
            task(ABUSE[abuse](task.right))
        except Mistake as mistake:
            shown = mistake._render_traceback_()
            assert len(shown) == 1 and 20 < len(shown[0]) < 600 and "\n" not in str(mistake)
            assert re.search(HEARD.get(abuse, ""), str(mistake))
        else:
            assert abuse in MAY_BE_RIGHT
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("task, name", [(t, name) for t in TASKS for name in t.gradient
                                        if (t.name, name) != ("straight_through", "q")],     # none is asked for
                         ids=lambda x: getattr(x, "name", x))
def test_an_argument_that_no_gradient_reaches_is_named(task, name):
    def cut(value):
        return copy.deepcopy(value).requires_grad_(False) if isinstance(value, nn.Module) else value.detach()

    def learner(*args):
        return task.right(*(cut(a) if known == name else a for known, a in zip(task.arguments, args)))

    assert re.search(rf"no gradient reaches (the parameters of )?{name}\b|cannot be differentiated: .item\(\)|"
                     "bring the check above to its ok first", str(mistake_of(task, learner)))


@pytest.mark.parametrize("task", MEASURED, ids=lambda t: t.name)
@pytest.mark.parametrize("words, answers", [
    ("has no value yet", [None, ...]), ("is a function", [len, Odd]), ("grew without limit", [math.inf, math.nan]),
    ("one number is asked for", ["abc", [], {}, np.ones(3), torch.ones(2), torch.ones((), device="meta"), 10**400, 1j,
                                 Odd()])])
def test_nothing_breaks_a_measurement(task, words, answers):
    given = next(a.given for a in ANSWERS if a.check is task)
    for answer in answers:
        sentence = str(mistake_of(task, answer, *given))
        assert words in sentence and 20 < len(sentence) < 400 and "\n" not in sentence


DISTANCES = start_here.squared_distances


def test_of_single_numbers_no_factor_is_told():
    """Any number is some multiple of any other: to say which would send a learner after a factor that is not there."""
    loss = importlib.import_module("course_lib.checks.flow_matching").velocity_loss
    sentence = str(mistake_of(loss, lambda *args: loss.right(*args).long() + 3))
    assert "times what it should be" not in sentence


@pytest.mark.parametrize("abuse, words", [
    ("a NumPy array", "NumPy array, and a tensor is asked for: stay with torch functions"),
    ("a number", "the Python number 0.5"),
    ("an extra axis", "has shape (1, 1, 2), and (1, 2) is asked for"),
    ("another device", "on the device 'meta', and the inputs are on 'cpu'"),
    ("NaN", "and is nan"),
    ("rounded", "dtype is int64"),
])
def test_words_for_what_comes_back(abuse, words):
    assert words in str(mistake_of(DISTANCES, ABUSE[abuse](DISTANCES.right)))


def test_an_error_inside_the_library_is_placed_in_the_line_that_called_it():
    def answer(x, y):
        return attention(x, y[:, :1], y)                                              # refuses keys of another length

    words = str(mistake_of(DISTANCES, answer))
    assert "ValueError" in words and "`return attention(x, y[:, :1], y)" in words


def test_a_lost_graph_is_named_where_one_is_needed():
    task = start_here.binary_cross_entropy
    assert "cannot be differentiated: .item()" in str(mistake_of(task, ABUSE["no graph"](task.right)))


def test_the_line_of_the_learner_is_named():
    def learner(x, y):
        z = x.shape[0]
        return torch.ones(z).view(7, 7)

    sentence = str(mistake_of(DISTANCES, learner))
    assert "RuntimeError (shape '[7, 7]' is invalid" in sentence and ", `return torch.ones(z).view(7, 7)`" in sentence
    assert "for inputs of shape (1, 2) and (2, 2)" in sentence and "course_lib" not in sentence


def test_the_general_sentence_shows_input_expected_and_got():
    sentence = str(mistake_of(DISTANCES, lambda x, y: 3 * (x[:, None] - y).square().sum(-1) + 1))
    assert "should be" in sentence and "at [0, 0]" in sentence and "x = [[" in sentence and "y = [[" in sentence


@pytest.mark.parametrize("change, words", [
    (lambda y: 3 * y, "(all of it is 3 times what it should be)"), (lambda y: -y, "(all of it is -1 times"),
    (lambda y: y.T, "(its numbers are right, and its axes are in another order)"),
    (lambda y: y.flatten(), "(its numbers are right: reshape it)"),
    (lambda y: y * y.sign().cumsum(0), ""), (lambda y: y.roll(1, 0), ""), (lambda y: 0 * y, ""),
])
def test_the_general_sentence_tells_what_is_right_about_a_wrong_result(change, words):
    task = Implementation("double", lambda x: 2 * x, cases=lambda g: [(rand(g, 3, 2),), (rand(g, 1, 2),)])
    sentence = str(mistake_of(task, lambda x: change(2 * x)))
    assert words in sentence and (words != "" or "(its" not in sentence and "(all" not in sentence)


def test_what_a_function_prints_is_shown_once_and_in_measure(capsys):
    def learner(x, y):
        print("shape", x.shape, file=sys.stderr)
        warnings.warn("beware", stacklevel=1)
        print("much " * 10_000)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *a, **k: sys.stderr.write(warnings.formatwarning(*a[:4]))   # as without pytest
        assert "it prints a result, and must `return` it" in str(mistake_of(DISTANCES, learner))
    out, err = capsys.readouterr()
    assert err == "" and out.startswith("shape torch.Size([1, 2])") and "beware" in out and len(out) < 2_100


# --- time

@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 0.2)


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize("work", [forever, lambda *_: [0 for _ in iter(int, 1)]])
def test_a_function_that_never_ends_is_stopped(impatient, work, thread):
    found = []

    def check():
        found.append(mistake_of(DISTANCES, work))

    start = time.monotonic()
    if thread:
        other = threading.Thread(target=check)
        other.start()
        other.join(10)
    else:
        check()
    assert time.monotonic() - start < 5
    assert "was stopped after 0.2 s, in line" in str(found[0])


PROFILED = """
import sys, threading, time
from course_lib import checks

def work(stop):
    try:
        with checks.time_limit(0.1 if stop else 60):
            time.sleep(0.3 if stop else 0)
    except checks.TooSlow:
        print("stopped")

for stop in (False, True):
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    thread.join()
sys.setprofile(lambda *_: None)
(lambda: None)()
sys.setprofile(None)
print("profiled")
"""


def test_a_profiler_works_after_a_limit_in_a_thread():
    """In Python 3.11 an exception that is thrown into a thread and taken back makes every profiler hang after it."""
    answer = subprocess.run([sys.executable, "-c", PROFILED], capture_output=True, text=True, timeout=60)
    assert answer.stdout.split() == ["stopped", "profiled"], answer


@pytest.mark.parametrize("thread", [False, True])
def test_an_import_is_not_cut_off(impatient, thread, tmp_path, monkeypatch):
    """The first optimiser of a process makes PyTorch import so much that a slow machine needs longer than the limit."""
    name = f"slow_to_import_{thread}"
    (tmp_path / f"{name}.py").write_text("import time\nfor _ in range(50):\n    time.sleep(0.01)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)

    def learner(x, y):
        assert importlib.import_module(name).whole
        return (x[:, None] - y).square().sum(-1)

    if thread:
        other = threading.Thread(target=DISTANCES, args=[learner])
        other.start()
        other.join()
    else:
        DISTANCES(learner)
    assert sys.modules[name].whole


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no alarm: a sleep cannot be interrupted")
def test_a_sleep_is_interrupted_and_no_alarm_remains(impatient):
    before = signal.getsignal(signal.SIGALRM)
    assert "was stopped" in str(mistake_of(DISTANCES, lambda x, y: time.sleep(60)))
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0) and signal.getsignal(signal.SIGALRM) is before


def test_a_check_leaves_the_random_numbers_as_they_were():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    mistake_of(DISTANCES, lambda x, y: torch.rand(len(x), len(y)))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_argument_changed_in_place_is_named(capsys):
    def learner(x, y):
        result = (x[:, None] - y).square().sum(-1)
        y[0] = 0
        return result

    assert "changes its argument y in place" in str(mistake_of(DISTANCES, learner))
    checks.hint()
    assert "Make a copy first" in capsys.readouterr().out
    assert "took the square root" in str(mistake_of(DISTANCES, lambda x, y: torch.cdist(x, y) + 0 * y.zero_().sum()))


@pytest.mark.parametrize("task", [t for t in TASKS if t.run is None], ids=lambda t: t.name)
def test_an_argument_changed_in_place_is_named_in_every_task(task):
    def learner(*args):
        result = task.right(*args)
        with torch.no_grad():
            for t in tensors_in(args):
                t.copy_(t == 0)
        return result

    assert "in place" in str(mistake_of(task, learner))


def test_what_the_task_itself_changes_may_be_changed():
    def step(model, x):
        with torch.no_grad():
            model.weight.mul_(2)
        return [model(x).sum()]

    task = double(right=step, run=checks.trained, cases=lambda g: [
        (checks.filled(torch.nn.Linear(2, 1, bias=False), g), rand(g, n, 2)) for n in (1, 3)])
    task(step)
    assert "its argument x in place" in str(mistake_of(task, lambda model, x: [*step(model, x), x.zero_()][:1]))


# --- hints, and the framework itself

def test_a_notebook_shows_the_sentence_alone():
    shell = InteractiveShell()
    shown = io.StringIO()
    shell.push({"check": DISTANCES, "torch": torch})
    shell._showtraceback = lambda kind, value, lines: shown.write("\n".join(lines))
    result = shell.run_cell("check(torch.cdist)")
    assert isinstance(result.error_in_exec, Mistake)
    assert shown.getvalue() == "Mistake: you took the square root: the task asks for the squared distance"


def test_the_hint_goes_one_step_further_each_time_and_belongs_to_the_last_mistake(capsys):
    def said():
        checks.hint()
        return capsys.readouterr().out.strip()

    task = double(slips=[("you forgot the 2", lambda x: x, "How many times x?"), ("three", lambda x: 3 * x)],
                  hints=("where", "how", "code:\n    2 * x"))
    mistake_of(task, lambda x: x)
    capsys.readouterr()
    assert said() == "Hint 1 of 3. How many times x?" and said() == "Hint 2 of 3. how"
    mistake_of(task, lambda x: 3 * x)                                                 # another mistake
    assert said() == "Hint 1 of 3. where"
    mistake_of(task, lambda x: 3 * x)                                                 # the same once more
    assert [said(), said()] == ["Hint 2 of 3. how", "Hint 3 of 3. code:\n    2 * x"]
    assert said().startswith("There is no further hint")
    for _ in range(2):                                                                # a general one, with new numbers
        mistake_of(task, lambda x: x + x.abs())
    assert said() == "Hint 1 of 3. where"
    mistake_of(task, lambda x: x + x.abs())
    assert said() == "Hint 2 of 3. how"
    task(lambda x: x + x)
    capsys.readouterr()
    assert said() == "The last check, double, found nothing wrong: go on."
    mistake_of(task, lambda x: x)
    assert said().startswith("Hint 1 of 3. ")


@pytest.mark.parametrize("wrong, words", [
    (lambda x: raise_(NotImplementedError()), "Read the task once more"),
    (lambda x: 1 / 0, "in the line that is named"),
    (lambda: 1, "The first line of the function"),
    (lambda x: x.detach().numpy(), "Print what your function returns"),
    (lambda x: None, "Print what your function returns"),
    (lambda x: x[None], "Print the shape after each line"),
    (lambda x: 2 * x.detach(), "no gradient comes back"),
    (lambda x: torch.randn(x.shape), "comes in through the arguments"),
    (lambda x: 2 * x + 0 * x.zero_(), "Make a copy first"),
    (forever, "does it ever end?"),
])
def test_what_can_go_wrong_in_any_task_has_a_hint_of_its_own(wrong, words, capsys, impatient):
    task = double(gradient=("x",), hints=("where", "how", "code"))
    mistake_of(task, wrong)
    checks.hint()
    checks.hint()
    first, second = capsys.readouterr().out.strip().rsplit("\n", 1)
    assert words in " ".join(first.split()) and second == "Hint 2 of 3. how"


def double(**changes):
    return Implementation(**dict(name="double", right=lambda x: 2 * x, hints=("Look.", "Twice.", "2 * x"),
                                 cases=lambda g: [(rand(g, 1),), (rand(g, 3, 2),)]) | changes)


def test_a_slip_must_explain_every_case():
    task = double(slips=[("you forgot the 2", lambda x: x),
                         ("a batch of one fails", {0}, {1, 2})])
    assert "forgot the 2" in str(mistake_of(task, lambda x: x))
    assert "a batch of one" in str(mistake_of(task, lambda x: x if len(x) == 1 else 2 * x))
    assert "should be" in str(mistake_of(task, lambda x: x if len(x) == 3 else 2 * x))
    task = double(slips=[("wrong in the first case alone", lambda x: x if x.dim() == 1 else 2 * x)])
    assert "the first case alone" in str(mistake_of(task, lambda x: x if x.dim() == 1 else x + x))


def test_a_failure_in_one_case_does_not_hide_the_slip():
    task = double(slips=[("row 2 for all", lambda x: 3 * x[2:3].expand_as(x))])
    assert "row 2 for all" in str(mistake_of(task, lambda x: 3 * torch.stack([x[2]] * len(x))))


def test_a_wrong_gradient_is_a_mistake():
    class Blind(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return g

    task = double(gradient=("x",))
    task(lambda x: x + x)
    assert "gradient with respect to x" in str(mistake_of(task, Blind.apply))
    double()(Blind.apply)


def test_a_gradient_that_does_not_reach_one_argument_is_named():
    task = double(right=lambda x, y: x * y, cases=lambda g: [(rand(g, 3), rand(g, 3)), (rand(g, 1), rand(g, 1))],
                  gradient=("x", "y"), slips=[("nothing comes back", lambda x, y: x.detach() * y.detach())])
    assert "but no gradient reaches y: a detach()" in str(mistake_of(task, lambda x, y: x * y.detach()))
    assert "nothing comes back" in str(mistake_of(task, lambda x, y: torch.from_numpy((x * y).detach().numpy())))


def test_a_loss_can_be_asked_to_train_a_model():
    def cases(g):
        return [(checks.filled(torch.nn.Linear(2, 1), g), rand(g, n, 2)) for n in (1, 3)]

    task = double(right=lambda model, x: model(x).square().mean(), cases=cases, gradient=("model",))
    task(lambda model, x: (x @ model.weight.T + model.bias).pow(2).sum() / len(x))
    assert "cannot be differentiated" in str(mistake_of(task, lambda model, x: model(x).square().mean().item()))
    assert "no gradient reaches the parameters of model" in str(
        mistake_of(task, lambda model, x: model(x).square().mean().detach() + 0 * model.bias.sum()))
    assert "gradient with respect to the parameters of model of double should be" in str(
        mistake_of(task, lambda model, x: (x @ model.weight.detach().T + model.bias).square().mean()))


def test_values_have_names_and_an_order():
    task = double(right=lambda x: (x.sum(), x.mean()), cases=lambda g: [(rand(g, 3),)], returns=("sum", "mean"),
                  slips=[("twice the mean", lambda x: (x.mean(), x.mean()))])
    task(lambda x: [x.sum(), x.mean()])
    assert str(mistake_of(task, lambda x: (x.mean(), 2 * x.sum()))).startswith("the sum of double should be")
    assert "returns a tensor of shape (2,): return sum" in str(mistake_of(task, lambda x: x[:2]))
    assert "returns a tuple of 3: return sum, mean, in this order" in str(mistake_of(task, lambda x: (x, x, x)))
    assert "twice the mean" in str(mistake_of(task, lambda x: (x.mean(), x.mean())))
    assert "right values in the wrong order: return sum, mean" in str(mistake_of(task, lambda x: (x.mean(), x.sum())))


def test_a_share_in_percent_is_named():
    share = Measurement("share", truth=lambda: 0.25, tolerance=0.05, hints=("a", "b", "c"))
    share(0.26)
    assert "is in percent" in str(mistake_of(share, 25.2))
    assert "too large" in str(mistake_of(Measurement("number", lambda: 25.0, 0.05, hints=("a", "b", "c")), 2500))


def test_noise_of_ones_own_is_named_unless_it_is_asked_for():
    noisy = double(right=lambda x: x + torch.rand(1))
    noisy(lambda x: torch.rand(1) + x)
    assert "should be" in str(mistake_of(noisy, lambda x: x + 2 * torch.rand(1)))
    assert "random numbers of its own" in str(mistake_of(double(), lambda x: x + torch.rand(1)))
    double()(lambda x: 2 * x + 0 * torch.rand(1))


def test_a_constant_needs_no_graph():
    task = double(right=lambda x: x.clamp(min=9), gradient=("x",))
    task(lambda x: torch.full_like(x, 9))
    assert "cannot be differentiated" in str(mistake_of(double(gradient=("x",)), lambda x: 2 * x.detach()))


def test_a_row_turns_knobs_or_is_a_formula():
    def scaled(x, by=2, plus=0.0):
        return by * x + plus

    rows = [("another factor", dict(by=3), dict(by=4)), ("a shift", dict(plus=1.0), lambda x: 2 * x - 1, "Where from?")]
    for task in (double(right=scaled, slips=rows),
                 double(slips=rows, knobs=lambda **change: lambda x: scaled(x, **change))):
        for by in (3, 4):
            assert "another factor" in str(mistake_of(task, lambda x, by=by: by * x))
        assert mistake_of(task, lambda x: 2 * x - 1).hints[0] == "Where from?"
    task = double(right=scaled, slips=[("it is {} times x", ("three", dict(by=3)), ("half", lambda x: x / 2))])
    assert "it is three times x" in str(mistake_of(task, lambda x: 3 * x))
    assert "it is half times x" in str(mistake_of(task, lambda x: x / 2))
    number = Measurement("number", lambda x, k=2: k * x, 0.05, [("three", dict(k=3)), ("four", 4)], ("a", "b", "c"))
    assert "three" in str(mistake_of(number, 6, 2)) and "four" in str(mistake_of(number, 4.1, 2.5))


@pytest.mark.parametrize("wrong, words", [
    (lambda x: x, "(it is right once it is added up over its axis 1)"),
    (lambda x: x.mean(1), "divided by the size of axis 1 of x: a mean in place of a sum?"),
    (lambda x: x.sum(1) * len(x), "multiplied by the size of axis 0 of x: a sum in place of a mean?"),
    (lambda x: x.sum(), "the sum of the numbers that are asked for"), (lambda x: x.sum(1).mean(), "the mean of the"),
    (lambda x: -x.sum(1), "-1 times"), (lambda x: x.sum(1) + 3, "(all of it is 3 too large)"),
    (lambda x: x.sum(1) / math.log(2), "times what it should be: in bits, and not in nats?)"),
    (lambda x: x.sum(1).sqrt(), "the root of"), (lambda x: x.sum(1) ** 2, "the square of"),
    (lambda x: x.sum(1).exp(), "it is exp of"), (lambda x: x.sum(1).log(), "the logarithm of"),
    (lambda x: 1 / x.sum(1), "1 divided by"), (lambda x: 1 - x.sum(1), "1 minus"),
    (lambda x: x.sum(1).flip(0), "its order along axis 0 is reversed"),
    (lambda x: x.sum(1, keepdim=True), "reshape it"), (lambda x: x[:, :-1].sum(1), ""),
])
def test_families_of_mistakes_need_no_slip(wrong, words):
    task = double(right=lambda x: x.sum(1), cases=lambda g: [(torch.rand(n, 4 + n, generator=g),) for n in (1, 4, 3)])
    sentence = str(mistake_of(task, wrong))
    assert words in sentence and (words or " (" not in sentence.split(", for")[0])


def test_dicts_tuples_and_numbers_may_be_asked_for():
    task = double(right=lambda x: {"loss": x.mean(), "parts": (x, 3)})
    task(lambda x: {"parts": [x.double(), torch.tensor([3.0])], "loss": x.sum() / x.numel(), "more": None})
    assert "no entry 'parts'" in str(mistake_of(task, lambda x: {"loss": x.mean()}))
    assert "the entry 'parts', value 2 of double should be 3 and is 4" in str(
        mistake_of(task, lambda x: {"loss": x.mean(), "parts": (x, 4)}))
    assert "is a tuple of 2, and a dict with 'loss', 'parts'" in str(mistake_of(task, lambda x: (x, 3)))


def test_rounding_can_matter():
    task = double(right=lambda x: x, cases=lambda g: [(1e6 + rand(g, 3, dtype=torch.float64),)], rtol=1e-9, atol=0)
    task(lambda x: (x - 1) + 1)
    assert "should be" in str(mistake_of(task, lambda x: x.float()))
