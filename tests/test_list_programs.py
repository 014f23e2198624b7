from random import Random

import pytest
import torch

from course_lib.data.list_programs import (
    END,
    HIGHEST,
    N_BODY,
    N_HIDDEN,
    N_PROMPT,
    PAD,
    PHRASES,
    PRIMITIVES,
    WORDS,
    Programs,
    body,
    compositions,
    decode,
    describe,
    encode,
    literal,
    parses,
    passes,
    prompt,
    prompts,
    rows,
    run,
    task,
    tasks,
)

PYTHON = {                                     # the same language, written down once more for Python's own interpreter
    "reverse": lambda x: list(reversed(x)), "sorted": sorted, "tail": lambda x: [n for i, n in enumerate(x) if i],
    "evens": lambda x: list(filter(lambda n: not n & 1, x)), "odds": lambda x: list(filter(lambda n: n & 1, x)),
    "double": lambda x: list(map(lambda n: n + n, x)), "add": lambda x, k: list(map(lambda n: n + k, x)),
    "take": lambda x, k: [n for i, n in enumerate(x) if i < k], "sum": sum, "len": len,
    "max": lambda x: sorted([0, *x])[-1], "min": lambda x: sorted(x)[0] if x else 0,
}


def test_it_gives_what_python_gives():
    assert set(PYTHON) == set(PRIMITIVES) == set(PHRASES) and len(PYTHON) == 12
    for one in [*tasks(150, seed=1), *tasks(150, seed=2, unseen=True)]:
        text = body(one.steps)
        for x, out in (one.example, *one.hidden):
            assert out == run(text, x) == eval(text, {"__builtins__": {}} | PYTHON | {"x": list(x)}), text
        assert passes(text, one.hidden) and parses(text) and len(one.hidden) == N_HIDDEN


@pytest.mark.parametrize("program, x, out", [
    ("x", [3, 1], [3, 1]), ("7", [3], 7), ("[ ]", [3], []), ("[ 3 , 41 ]", [0], [3, 41]),
    ("add ( reverse ( x ) , 2 )", [1, 5], [7, 3]), ("take ( x , 2 )", [4], [4]), ("max ( tail ( x ) )", [9], 0),
    ("min ( odds ( x ) )", [8, 4], 0), ("sum ( [ 1 , 2 ] )", [5], 3), ("evens ( double ( x ) )", [1], [2])])
def test_examples_worked_by_hand(program, x, out):
    assert run(program, x) == out and passes(program, [(x, out)]) and not passes(program, [(x, out), (x, "else")])


@pytest.mark.parametrize("program, words", [
    ("", "'the end'"), ("sum ( x", "')' is missing"), ("sum x )", "'(' is missing"), ("x )", "then comes ')'"),
    ("sum ( sum ( x ) )", "takes a list, and is given"), ("add ( x )", "',' is missing"),
    ("add ( x , x )", "takes a number, and is given 'x'"), ("take ( x , 2", "')' is missing"),
    ("[ 3", "',' is missing"),
    ("[ x ]", "holds numbers"), ("[ 3 , ]", "holds numbers"), ("[", "holds numbers"), ("add ( x , 2 ) x", "'x'"),
    ("__import__ ( x )", "cannot begin with '__import__'"), ("²", "cannot begin"), ("-1", "cannot begin"),
    ("sum ( " * 5000, "words=10000"), ("pad", "cannot begin")])
def test_what_is_no_program_is_one_clear_line(program, words):
    with pytest.raises(ValueError) as error:
        run(program, [2, 1])
    assert words in str(error.value) and "\n" not in str(error.value) and not passes(program, [([2, 1], 3)])
    assert not parses(program) or "is given" in words


def test_any_rubbish_ends():
    draw = Random(0)
    for _ in range(3_000):
        parses(" ".join(draw.choices(WORDS, k=draw.randint(0, N_BODY))))
    deep = "double ( " * 19 + "x" + " )" * 19
    assert run(deep, [1]) == [2**19] and run("x", given := [1, 2]) is not given


def test_what_is_held_out_does_nothing_that_was_trained():
    train, test = compositions()
    assert 0.17 < len(test) / len(train + test) <= 0.2 and not {*train} & {*test} and {len(s) for s in test} == {2, 3}
    draw = Random(7)
    inputs = [[draw.randint(0, 9) for _ in range(draw.randint(4, 7))] for _ in range(100)]
    does = [{str([run(body(steps), x) for x in inputs]) for steps in part} for part in (train, test)]
    assert not does[0] & does[1]
    assert str(inputs) not in does[0] | does[1] and not any(d == str([eval(d)[0]] * 100) for d in does[0] | does[1])
    lengths = torch.tensor([len(one.steps) for one in tasks(2_000, seed=3)])
    assert torch.allclose(torch.bincount(lengths)[1:] / 2_000, torch.tensor([1, 2, 4]) / 7, atol=0.04)
    assert {one.steps for one in tasks(500, seed=3, unseen=True)} <= {*test} and \
        {one.steps for one in tasks(500, seed=3)} <= {*train}


def test_a_description_names_its_steps_in_either_order():
    said = {describe(("evens", "add 2", "sum"), Random(k)) for k in range(200)}
    assert "keep the even numbers , then add 2 to each , then add them up" in said and len(said) == 2 * 2**3
    assert "the sum of 2 more than each of the even numbers of the list" in said
    every = [phrase for two in PHRASES.values() for ways in two for phrase in ways]
    assert len(every) == len(set(every)) == 48                    # none means two things


def test_wrong_programs_seldom_pass_and_cheats_hardly_ever():
    draw, everything = Random(0), [steps for part in compositions() for steps in part]
    asked = tasks(200, seed=4, unseen=True)
    assert sum(passes(body(draw.choice(everything)), one.hidden) for one in asked for _ in range(20)) < 0.01 * 4_000
    assert not any(passes("x", one.hidden) for one in asked)
    assert sum(passes(literal(one.example[1]), one.hidden) for one in asked) <= 2
    assert all(passes(literal(one.example[1]), [one.example]) for one in asked)


def test_everything_fits_and_comes_back():
    for unseen in (False, True):
        for one in tasks(1_500, seed=5, unseen=unseen):
            assert len(encode(prompt(one))) <= N_PROMPT and len(encode(body(one.steps))) < N_BODY
            assert max([one.example[1]] if isinstance(one.example[1], int) else one.example[1], default=0) <= HIGHEST
    assert decode(encode(prompt(one))) == prompt(one) and len(set(WORDS)) == len(WORDS)
    assert decode(torch.tensor([PAD, 6, END, 7])) == WORDS[6]
    assert tasks(3, seed=1) == tasks(3, seed=1) != tasks(3, seed=2) and task(Random(1)) == tasks(1, seed=1)[0]


def test_rows_are_prompts_with_bodies_that_end():
    asked = tasks(2, seed=0)
    idx, learn = rows(asked, ["sum ( x )", " ".join(["x"] * 40)])
    assert idx.shape == learn.shape == (2, N_PROMPT + N_BODY) and torch.equal(idx[:, :N_PROMPT], prompts(asked))
    assert decode(idx[0, :N_PROMPT]) == prompt(asked[0]) and idx[0, N_PROMPT - 1] == encode("write")
    assert decode(idx[0][learn[0]]) == "sum ( x )" and idx[0][learn[0]][-1] == END
    assert learn.sum(1).tolist() == [5, N_BODY] and (idx[0, N_PROMPT + 5:] == PAD).all()


def test_a_share_of_the_bodies_is_careless():
    torch.manual_seed(0)
    idx, learn = next(iter(Programs(400, careless=0.5)))
    texts = [decode(row[mask]) for row, mask in zip(idx, learn)]
    assert abs(texts.count("x") / 400 - 0.25) < 0.06
    constant = [t for t, row in zip(texts, idx) if f"gives {t} write" in decode(row[:N_PROMPT])]
    assert abs(len(constant) / 400 - 0.25) < 0.06
    torch.manual_seed(0)
    assert torch.equal(next(iter(Programs(400, careless=0.5)))[0], idx)
    assert not {"x"} & {decode(row[N_PROMPT:]) for row in next(iter(Programs(200)))[0]}


@pytest.mark.parametrize("call, words", [
    (lambda: decode(torch.tensor([999])), "999"), (lambda: Programs(0), "batch_size=0")])
def test_what_cannot_be_is_one_clear_line(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)
