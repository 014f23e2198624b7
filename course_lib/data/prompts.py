"""Prompts whose right answers are known (lesson 75): pairs to recall, with a new map in every row; sums, with and
without written steps; strings of letters with an instruction in one of many phrasings, with examples, or with a second
instruction hidden in the data. One vocabulary serves all: a letter, a digit, a sign and a word are one token each.

    encode("reverse the letters : b a d >")       ->  8 numbers
    answer_in(encode("d a b ; and so on"))         ->  "d a b"

What is drawn for training comes from PyTorch's global generator, so that one seed decides it.
"""

import difflib
import random
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.expect import between, indices, whole

LETTERS, DIGITS, SIGNS = "abcdefghijklmnopqrstuvwxyz", "0123456789", '+=:>;?[]"'
TASKS = {                                      # name -> what is asked of a list of letters
    "copy": lambda letters: letters,
    "reverse": lambda letters: letters[::-1],
    "sort": lambda letters: sorted(letters),
    "first": lambda letters: letters[:1],
    "last": lambda letters: letters[-1:],
}
OPENERS, VERBS = ("", "please", "now", "could you"), ("write", "say", "give", "show")
PHRASINGS = {                                  # what follows the opener; {} is one of VERBS
    "copy": ("{} the letters again", "{} them unchanged", "{} all letters as they are", "copy the letters",
             "repeat them"),
    "reverse": ("{} the letters backwards", "{} them in reverse", "{} all letters from end to start",
                "reverse the letters", "turn them around"),
    "sort": ("{} the letters in order", "{} them sorted", "{} all letters by alphabet", "sort the letters",
             "order them by alphabet"),
    "first": ("{} the first letter", "{} the first of them", "{} only the letter at the start",
              "what is the first letter", "which comes first"),
    "last": ("{} the last letter", "{} the last of them", "{} only the letter at the end", "what is the last letter",
             "which comes last"),
}
WAYS = ("plain", "reversed", "steps")          # how the answer to a sum is written


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]{2,}|\S", text)


VOCABULARY = (*LETTERS, *DIGITS, *SIGNS, *sorted({word for phrases in (OPENERS, VERBS, *PHRASINGS.values())
                                                  for text in phrases for word in _words(text) if len(word) > 1}))
NUMBER = {token: k for k, token in enumerate(VOCABULARY)}
END = NUMBER[";"]


class Prompt(NamedTuple):
    text: str                                  # what the model is given
    answer: str                                # what it shall write, up to the sign that ends an answer


def encode(text: str) -> Tensor:
    """The tokens of a text, (n,) int64. Spaces only keep letters apart: "a d" is two tokens, "ad" would be a word.

    Raises ValueError for a word or sign that is not in VOCABULARY, and names the nearest one."""
    if unknown := [word for word in _words(text) if word not in NUMBER]:
        near = difflib.get_close_matches(unknown[0], VOCABULARY, n=1, cutoff=0.0)[0]
        raise ValueError(f"no prompt has the word {unknown[0]!r}: did you mean {near!r}? Letters stand apart, as in "
                         "'b a d'")
    return torch.tensor([NUMBER[word] for word in _words(text)], dtype=torch.long)


def decode(idx: Tensor) -> str:
    """Tokens (n,) as text, with a space between any two."""
    return " ".join(VOCABULARY[k] for k in indices("tokens", idx, len(VOCABULARY), "n").tolist())


def answer_in(idx: Tensor) -> str:
    """What a model has written before the sign that ends an answer (all of it, if there is none).  (n,) -> text"""
    return decode(idx).split(";")[0].strip()


# --------------------------------------------------------------------------------------------------- pairs to recall

def pairs(n: int, n_pair: int = 24, n_key: int = 8, table: Tensor | None = None, share: float = 1.0,
          generator: torch.Generator | None = None) -> Tensor:
    """n rows "k 3 b 7 k 3 ...": keys and their values in turn, (n, 2 * n_pair) int64. Each row has n_key letters of its
    own, drawn again and again, and a new map from letters to digits.

    table (26,), a digit for each letter: this map in a share of the rows, in place of a new one. On the CPU."""
    whole(1, n=n, n_pair=n_pair)
    whole(1, len(LETTERS), n_key=n_key)
    between(0, 1, share=share)
    own = torch.rand(n, len(LETTERS), generator=generator).argsort(1)[:, :n_key]
    keys = own.gather(1, torch.randint(n_key, (n, n_pair), generator=generator))               # (n, n_pair)
    maps = torch.randint(len(DIGITS), (n, len(LETTERS)), generator=generator)
    if table is not None:
        table = indices("digits", table, len(DIGITS), len(LETTERS))
        maps = torch.where(torch.rand(n, 1, generator=generator) < share, table, maps)
    return torch.stack([keys, maps.gather(1, keys) + len(LETTERS)], dim=2).flatten(1)


def shots(idx: Tensor) -> Tensor:
    """How often the key of each pair stood in the same row before.  (B, 2 n_pair) -> (B, n_pair)"""
    keys = indices("tokens", idx, len(VOCABULARY), "B", "T")[:, ::2]
    return (keys[:, :, None] == keys[:, None]).tril(-1).sum(2)


class Pairs:
    """Rows without end for `fit` and `chat_loss`: `for idx, learn in Pairs(32)`, 2 x (B, T); learn is True where a
    value stands, the only thing that can be known. Other arguments are those of `pairs`."""

    def __init__(self, batch_size: int, **changes):
        pairs(batch_size, **changes)
        self.batch_size, self.changes = batch_size, changes

    def __iter__(self):
        while True:
            idx = pairs(self.batch_size, **self.changes)
            yield idx, (torch.arange(idx.shape[1]) % 2 == 1).expand(len(idx), -1)


# -------------------------------------------------------------------------------------------------------------- sums

def worked_sum(a: int, b: int, n_digit: int, way: str = "steps") -> Prompt:
    """A sum of two numbers of n_digit digits, as prompt and answer.

    plain     48+39=  087;             reversed  48+39=  780;
    steps     48+39=  8+9+0=17:4+3+1=08>087;    each column from the right: two digits and what is carried.
    Raises ValueError for a number with more digits."""
    whole(1, n_digit=n_digit)
    whole(0, 10**n_digit - 1, a=a, b=b)
    if way not in WAYS:
        raise ValueError(f"unknown way {way!r} to write a sum: choose one of {', '.join(WAYS)}")
    left, right, total = f"{a:0{n_digit}}", f"{b:0{n_digit}}", f"{a + b:0{n_digit + 1}}"
    columns, carry = [], 0
    for x, y in zip(reversed(left), reversed(right)):
        both = int(x) + int(y) + carry
        columns.append(f"{x}+{y}+{carry}={both:02}")
        carry = both // 10
    answer = {"plain": total, "reversed": total[::-1], "steps": ":".join(columns) + ">" + total}[way]
    return Prompt(f"{left}+{right}=", answer + ";")


def sums(n: int, n_digit: int, way: str = "steps", generator: torch.Generator | None = None) -> list[Prompt]:
    """n sums of two random numbers of n_digit digits (some begin with 0)."""
    whole(1, n=n)
    whole(1, 18, n_digit=n_digit)
    numbers = torch.randint(10**n_digit, (n, 2), generator=generator).tolist()
    return [worked_sum(a, b, n_digit, way) for a, b in numbers]


def total_in(idx: Tensor) -> str:
    """The digits of the sum that a model has written, without its steps.  (n,) -> text"""
    return answer_in(idx).split(">")[-1].replace(" ", "")


# -------------------------------------------------------------------------------------------------- strings of letters

def phrase(task: str, r: random.Random) -> str:
    """One of the many ways to ask for a task, such as "please write the letters backwards"."""
    if task not in PHRASINGS:
        raise ValueError(f"unknown task {task!r}: choose one of {', '.join(PHRASINGS)}")
    return f"{r.choice(OPENERS)} {r.choice(PHRASINGS[task]).format(r.choice(VERBS))}".strip()


def strings(n: int, r: random.Random) -> list[list[str]]:
    """n strings of three or four letters, no letter twice."""
    whole(1, 6, n=n)
    pool, found = r.sample(LETTERS, len(LETTERS)), []
    for _ in range(n):
        length = r.randint(3, 4)
        found.append(pool[:length])
        pool = pool[length:]
    return found


def solved(task: str, letters: list[str]) -> str:
    """What a task makes of letters, as it is written: solved("reverse", ["b", "a", "d"]) is "d a b"."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: choose one of {', '.join(TASKS)}")
    return " ".join(TASKS[task](letters))


def ask(instruction: str, data: str, marks: str = "", first: bool = True) -> str:
    """A prompt: "instruction : data >", or "data : instruction >". marks: what stands around the data, "[]" or '""'."""
    if len(marks) not in (0, 2):
        raise ValueError(f"marks={marks!r} must be two signs, such as '[]', or none")
    data = f"{marks[0]} {data} {marks[1]}" if marks else data
    return f"{instruction} : {data} >" if first else f"{data} : {instruction} >"


def shown(task: str, examples: list[list[str]]) -> str:
    """Solved examples of a task, to stand before a question: "b a d > d a b ; "."""
    return "".join(f"{' '.join(letters)} > {solved(task, letters)} ; " for letters in examples)


def lesson(r: random.Random) -> list[tuple[str, bool]]:
    """One row of training: pieces of text, and whether they are answers. Either an instruction, before or after its
    data, or two to six examples of a task, sometimes with an instruction before them. Data stand alone, between quotes
    or in brackets. Only in brackets there may be a second instruction, which the answer ignores."""
    task = r.choice([*TASKS])
    if r.random() < 0.45:
        (letters,), marks = strings(1, r), r.choice(["", '""', "[]"])
        data = " ".join(letters)
        if marks == "[]" and r.random() < 0.6:
            other = phrase(r.choice([*TASKS]), r)
            data = r.choice([f"{other} {data}", f"{data} {other}"])
        return [(ask(phrase(task, r), data, marks, r.random() < 0.5), False), (solved(task, letters) + " ;", True)]
    pieces = [(phrase(task, r) + " :", False)] if r.random() < 0.25 else []
    for letters in strings(r.randint(2, 6), r):
        pieces += [(" ".join(letters) + " >", False), (solved(task, letters) + " ;", True)]
    return pieces


# ----------------------------------------------------------------------------------------------------------- training

def rows(texts: list[list[tuple[str, bool]]]) -> tuple[Tensor, Tensor]:
    """Rows of pieces (text, is it an answer?) as tokens, filled up at the end, and which of them belong to answers:
    what `chat_loss` takes.  -> 2 x (B, T)"""
    tokens = [[encode(text) for text, _ in pieces] for pieces in texts]
    length = max(sum(map(len, row)) for row in tokens)
    idx, learn = torch.full((len(texts), length), END), torch.zeros(len(texts), length, dtype=torch.bool)
    for i, (row, pieces) in enumerate(zip(tokens, texts)):
        at = 0
        for piece, (_, answer) in zip(row, pieces):
            idx[i, at:at + len(piece)], learn[i, at:at + len(piece)] = piece, answer
            at += len(piece)
    return idx, learn


class Answers:
    """Rows without end for `fit` and `chat_loss`: `for idx, learn in Answers(draw, 32)`; draw(r) gives one row as a
    list of pieces, drawn with the random numbers r (a random.Random)."""

    def __init__(self, draw: Callable[[random.Random], list[tuple[str, bool]]], batch_size: int):
        whole(1, batch_size=batch_size)
        self.draw, self.batch_size = draw, batch_size

    def __iter__(self):
        while True:
            r = random.Random(int(torch.randint(2**62, (1,))))
            yield rows([self.draw(r) for _ in range(self.batch_size)])
