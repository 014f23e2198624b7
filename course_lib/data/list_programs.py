"""A small language for lists: a description in words, and the program that it asks for.

    task = tasks(1, seed=0)[0]
    task.text                                   # 'the sum of the even numbers of the list'
    body(task.steps)                            # 'sum ( evens ( x ) )'
    run("sum ( evens ( x ) )", [3, 4, 6])       # 10
    passes("sum ( evens ( x ) )", task.hidden)  # True: the outputs are right on examples that nobody was shown

A program is the body of `def f(x): return ...`, where x is a list of small numbers. It is built from twelve primitives,
one to three of them inside each other. `run` is an interpreter that reads it word by word: it knows nothing but the
primitives, visits every word once, and therefore can do no harm and always ends. Every body is valid Python, too.
"""

from collections.abc import Callable, Iterable
from functools import cache
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.expect import between, indices, whole

LISTS: dict[str, Callable] = {                 # from a list to a list
    "reverse": lambda x: x[::-1],
    "sorted": sorted,
    "tail": lambda x: x[1:],
    "evens": lambda x: [n for n in x if n % 2 == 0],
    "odds": lambda x: [n for n in x if n % 2 == 1],
    "double": lambda x: [2 * n for n in x],
    "add": lambda x, k: [n + k for n in x],
    "take": lambda x, k: x[:k],
}
NUMBERS: dict[str, Callable] = {               # from a list to a number; of no numbers it is 0
    "sum": sum,
    "max": lambda x: max(x, default=0),
    "min": lambda x: min(x, default=0),
    "len": len,
}
PRIMITIVES = LISTS | NUMBERS
WITH_NUMBER = "add", "take"                    # these have a second argument: 1, 2 or 3
PHRASES = {                                    # primitive -> what it is called, after "then" and before "the list"
    "reverse": (("reverse it", "turn it around"), ("the reverse of", "the mirror image of")),
    "sorted": (("sort it", "put it in order"), ("the sorted form of", "the ordered form of")),
    "tail": (("drop the first", "leave out the first"), ("all but the first of", "the rest of")),
    "evens": (("keep the even numbers", "remove the odd numbers"), ("the even numbers of", "the even ones among")),
    "odds": (("keep the odd numbers", "remove the even numbers"), ("the odd numbers of", "the odd ones among")),
    "double": (("double each number", "make each twice as large"), ("the doubles of", "twice each of")),
    "add": (("add {} to each", "raise each by {}"), ("{} more than each of", "each plus {} of")),
    "take": (("keep the first {}", "take {} from the front"), ("the first {} of", "the front {} of")),
    "sum": (("add them up", "find the sum"), ("the sum of", "the total of")),
    "max": (("find the largest", "pick the maximum"), ("the largest of", "the maximum of")),
    "min": (("find the smallest", "pick the minimum"), ("the smallest of", "the minimum of")),
    "len": (("count them", "find how many there are"), ("the length of", "how many are in")),
}
MARKS = "pad", "end", "example", "gives", "write"
HIGHEST = 99                                   # the highest number that is a token
SIGNS = "( ) [ ] ,".split()
_SPOKEN = {word for two in PHRASES.values() for ways in two for way in ways for word in way.split()} - {"{}"}
WORDS = [*MARKS, *SIGNS, *map(str, range(HIGHEST + 1)), "x",
         *sorted(_SPOKEN | {"then", "list"} | {*PRIMITIVES})]
PAD, END = 0, 1
N_PROMPT, N_BODY = 42, 18                      # tokens of a prompt, filled up in front; the most that a body may have
N_HIDDEN = 5                                   # examples that a program is judged by
LONGEST = 60                                   # words of a program that `run` reads
_NUMBER = {word: i for i, word in enumerate(WORDS)}

Steps = tuple[str, ...]                        # in the order in which they are done: ("evens", "add 2", "sum")
Value = list[int] | int
Example = tuple[list[int], Value]              # an input, and what the program makes of it


class Task(NamedTuple):
    steps: Steps
    text: str                                  # the description, one line
    example: Example                           # the one that stands in the prompt
    hidden: tuple[Example, ...]                # those that it is judged by


# ------------------------------------------------------------------------------------------------------------- programs

def body(steps: Steps) -> str:
    """The program for these steps, the last one outermost: ("evens", "add 2") -> "add ( evens ( x ) , 2 )"."""
    text = "x"
    for step in steps:
        name, *k = step.split()
        text = f"{name} ( {text} , {k[0]} )" if k else f"{name} ( {text} )"
    return text


def run(program: str, x: list[int]) -> Value:
    """What a program makes of a list. Words and signs stand apart: run("sum ( evens ( x ) )", [3, 4, 6]) is 10.

    Raises ValueError in one line for what is no program, and for a primitive that is given a number for a list."""
    words = program.split()
    whole(0, LONGEST, words=len(words))
    value, at = _read(words, 0, x)
    if at < len(words):
        raise ValueError(f"the program ends at word {at}, and then comes {words[at]!r}")
    return value


def _read(words: list[str], at: int, x: list[int]) -> tuple[Value, int]:
    """The value of the expression that begins at this word, and where the next one begins."""
    word = _word(words, at)
    if word == "x":
        return list(x), at + 1
    if _is_number(word):
        return int(word), at + 1
    if word == "[":
        return _read_list(words, at + 1)
    if word not in PRIMITIVES:
        raise ValueError(f"an expression cannot begin with {word!r} (word {at})")
    value, at = _read(words, _expect(words, at + 1, "("), x)
    if not isinstance(value, list):
        raise ValueError(f"{word} takes a list, and is given {value}")
    if word not in WITH_NUMBER:
        return PRIMITIVES[word](value), _expect(words, at, ")")
    at = _expect(words, at, ",")
    if not _is_number(_word(words, at)):
        raise ValueError(f"{word} takes a number, and is given {_word(words, at)!r} (word {at})")
    return PRIMITIVES[word](value, int(words[at])), _expect(words, at + 1, ")")


def _read_list(words: list[str], at: int) -> tuple[list[int], int]:
    """The list whose first number, or closing bracket, is this word."""
    if _word(words, at) == "]":
        return [], at + 1
    numbers = []
    while True:
        if not _is_number(_word(words, at)):
            raise ValueError(f"a list holds numbers, and not {_word(words, at)!r} (word {at})")
        numbers.append(int(words[at]))
        if _word(words, at + 1) == "]":
            return numbers, at + 2
        at = _expect(words, at + 1, ",")


def _word(words: list[str], at: int) -> str:
    return words[at] if at < len(words) else "the end"


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()


def _expect(words: list[str], at: int, sign: str) -> int:
    if _word(words, at) != sign:
        raise ValueError(f"{sign!r} is missing: word {at} is {_word(words, at)!r}")
    return at + 1


def parses(program: str) -> bool:
    """Is it a program at all? Whether it does what it should is another question."""
    try:
        run(program, [1, 2, 3, 4])
    except ValueError:
        return False
    return True


def passes(program: str, examples: Iterable[Example]) -> bool:
    """Is the output right for each of these examples?"""
    try:
        return all(run(program, x) == right for x, right in examples)
    except ValueError:
        return False


# ---------------------------------------------------------------------------------------------------------------- tasks

def _do(steps: Steps, x: list[int]) -> Value:
    for step in steps:
        name, *k = step.split()
        x = PRIMITIVES[name](x, *map(int, k))
    return x


def _inputs(n: int, draw: Random) -> list[list[int]]:
    return [[draw.randint(0, 9) for _ in range(draw.randint(4, 7))] for _ in range(n)]


@cache
def _behaviours() -> dict[str, list[Steps]]:
    """All compositions of one to three steps, those that do the same put together. What makes the same of every list,
    and what leaves every list as it is, is left out."""
    lists = [name for name in LISTS if name not in WITH_NUMBER]
    lists += [f"{name} {k}" for name in WITH_NUMBER for k in (1, 2, 3)]
    begun, found = [()], []
    for _ in range(3):
        found += [(*steps, last) for steps in begun for last in (*lists, *NUMBERS)]
        begun = [(*steps, more) for steps in begun for more in lists]
    inputs, groups = _inputs(50, Random(0)), {}
    for steps in found:
        outputs = [_do(steps, x) for x in inputs]
        if outputs != inputs and any(one != outputs[0] for one in outputs):
            groups.setdefault(repr(outputs), []).append(steps)
    return groups


@cache
def compositions() -> tuple[tuple[Steps, ...], tuple[Steps, ...]]:
    """What is trained, and what never is: about one in five of those with two or three steps. The two differ in what
    they *do*: no program of the first kind has the outputs of one of the second on fifty lists."""
    train, test = [], []
    groups = [*_behaviours().values()]
    limit = sum(map(len, groups)) / 5
    Random(1).shuffle(groups)
    for group in groups:
        held_out = len(test) + len(group) <= limit and all(len(steps) > 1 for steps in group)
        (test if held_out else train).extend(group)
    return tuple(sorted(train)), tuple(sorted(test))


@cache
def _by_length(unseen: bool) -> dict[int, list[Steps]]:
    found = {}
    for steps in compositions()[unseen]:
        found.setdefault(len(steps), []).append(steps)
    return found


def describe(steps: Steps, draw: Random) -> str:
    """One line in words, in one of many ways: "reverse it , then add them up" names the steps in their order, and
    "the sum of the reverse of the list" from the last to the first."""
    form = draw.randrange(2)
    phrases = [draw.choice(PHRASES[name][form]).format(*k) for name, *k in map(str.split, steps)]
    return " ".join([*phrases[::-1], "the list"]) if form else " , then ".join(phrases)


def _shown(steps: Steps, draw: Random) -> Example:
    """An example short enough for a prompt: four numbers, and no higher number than `HIGHEST` comes out."""
    while True:
        x = [draw.randint(0, 9) for _ in range(4)]
        out = _do(steps, x)
        if max(out, default=0) <= HIGHEST if isinstance(out, list) else out <= HIGHEST:
            return x, out


def task(draw: Random, unseen: bool = False) -> Task:
    """A composition, every number of steps as likely as twice the one before, with words and examples for it."""
    kinds = _by_length(unseen)
    n_step = draw.choices([*kinds], [2**n for n in kinds])[0]
    steps = draw.choice(kinds[n_step])
    return Task(steps, describe(steps, draw), _shown(steps, draw),
                tuple((x, _do(steps, x)) for x in _inputs(N_HIDDEN, draw)))


def tasks(n: int, seed: int = 0, unseen: bool = False) -> list[Task]:
    """n tasks; the same seed gives the same ones.  unseen: of compositions that are never trained"""
    whole(1, n=n)
    draw = Random(seed)
    return [task(draw, unseen) for _ in range(n)]


# --------------------------------------------------------------------------------------------------------------- tokens

def encode(text: str) -> Tensor:
    """Words and signs, with spaces between all of them -> their numbers (T,) int64"""
    unknown = [word for word in text.split() if word not in _NUMBER]
    if unknown:
        raise ValueError(f"unknown word {unknown[0]!r}: the {len(WORDS)} words are in list_programs.WORDS, and stand "
                         f"apart")
    return torch.tensor([_NUMBER[word] for word in text.split()], dtype=torch.long)


def decode(tokens: Tensor) -> str:
    """What stands before the first `end`, without padding.  (T,) -> text"""
    numbers = indices("tokens", tokens, len(WORDS), "T").tolist()
    numbers = numbers[:numbers.index(END)] if END in numbers else numbers
    return " ".join(WORDS[i] for i in numbers if i != PAD)


def literal(value: Value) -> str:
    """A value as a program writes it: [3, 4] -> "[ 3 , 4 ]"."""
    return f"[ {' , '.join(map(str, value))} ]".replace("  ", " ") if isinstance(value, list) else str(value)


def prompt(one: Task) -> str:
    """What a model is given: description and example, and then it is its turn."""
    x, out = one.example
    return f"{one.text} example {literal(x)} gives {literal(out)} write"


def prompts(asked: list[Task]) -> Tensor:
    """The prompts as tokens, with padding in front of them.  -> (n, N_PROMPT) int64"""
    if not asked:
        raise ValueError("got 0 tasks: at least one is needed")
    idx = torch.full((len(asked), N_PROMPT), PAD)
    for row, one in zip(idx, asked):
        tokens = encode(prompt(one))
        row[N_PROMPT - len(tokens):] = tokens
    return idx


def rows(asked: list[Task], bodies: list[str]) -> tuple[Tensor, Tensor]:
    """Prompts with bodies after them, each closed by `end`, and padding on both sides.

    -> tokens (n, N_PROMPT + N_BODY) int64, and which of them belong to the bodies, of the same shape"""
    if len(asked) != len(bodies):
        raise ValueError(f"{len(asked)} tasks do not go with {len(bodies)} bodies")
    written = torch.full((len(asked), N_BODY), PAD)
    for row, program in zip(written, bodies):
        tokens = encode(f"{program} end")[:N_BODY]
        row[:len(tokens)] = tokens
    idx = torch.cat([prompts(asked), written], 1)
    mask = idx != PAD
    mask[:, :N_PROMPT] = False
    return idx, mask


class Programs:
    """Rows without end for `fit` and `chat_loss`: `for idx, learn in Programs(32)`, 2 x (B, N_PROMPT + N_BODY), of
    compositions that are trained. A share of the bodies, `careless`, does not do what is described, as in code that
    people publish: half of these return x, the others the output of the example."""

    def __init__(self, batch_size: int, careless: float = 0.0):
        whole(1, batch_size=batch_size)
        between(0, 1, careless=careless)
        self.batch_size, self.careless = batch_size, careless

    def __iter__(self):
        while True:
            draw = Random(int(torch.randint(2**62, (1,))))
            asked = [task(draw) for _ in range(self.batch_size)]
            yield rows(asked, [self._body(one, draw) for one in asked])

    def _body(self, one: Task, draw: Random) -> str:
        if draw.random() < self.careless:
            return draw.choice(["x", literal(one.example[1])])
        return body(one.steps)
