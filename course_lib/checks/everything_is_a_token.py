"""The checks of exercise 56: a next token that must be a code, parallel fifths, the beginning of an image under another
label, and programs that only look right."""

import math
from itertools import combinations, permutations

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _codes(logits, n_class, temperature, hidden=lambda token, n_class: token < n_class, value=-math.inf,
           scale=torch.div, axis=1, last=torch.softmax) -> Tensor:
    token = torch.arange(logits.shape[1])
    return last(scale(logits, temperature).masked_fill(hidden(token, n_class), value), axis)


def _after(logits, n_class, temperature) -> Tensor:
    """Labels struck out of the probabilities, and not of the logits."""
    return (logits / temperature).softmax(1) * (torch.arange(logits.shape[1]) >= n_class)


def _logits(g: torch.Generator) -> list[tuple]:
    """In the last case nearly all probability is on labels."""
    cases = [(2 * rand(g, B, V), n_class, temperature) for B, V, n_class, temperature in
             ((1, 4, 2, 0.5), (3, 7, 3, 2.0), (2, 13, 10, 0.7), (5, 6, 1, 1.5), (4, 9, 4, 0.3))]
    sure = rand(g, 3, 8)
    sure[:, :3] += 400
    return [*cases, (sure, 3, 0.8)]


code_probs = Implementation(
    "code_probs",
    right=_codes,
    cases=_logits,
    slips=[
        ("you have struck out the labels after the softmax, so a row does not sum to 1 any more: what is impossible "
         "must be so before it", _after),
        ("right where labels are improbable, but where they have nearly all of it the codes' probabilities have become "
         "0, and 0 / 0 is nan: make labels impossible in the logits", {5},
         "What is the softmax of the row 400, 401, 0, 1? What is left of it without the first two?"),
        ("a logit of 0 is not impossible: exp(0) is 1. What is to get the probability 0 needs the logit -inf",
         dict(value=0.0)),
        ("the wrong way round: labels are possible in yours, and codes are not",
         dict(hidden=lambda token, n_class: token >= n_class)),
        ("labels are the tokens 0 to n_class - 1, and yours strikes out {}",
         ("one too many", dict(hidden=lambda token, n_class: token <= n_class)),
         ("one too few", dict(hidden=lambda token, n_class: token < n_class - 1)),
         ("none at all", dict(hidden=lambda token, n_class: token < 0))),
        ("logits are divided by the temperature: {}", ("you multiply by it", dict(scale=torch.mul)),
         ("in yours it has no effect", dict(scale=lambda logits, temperature: logits))),
        ("labels are still there, with the probability 0: you have removed their columns",
         lambda logits, n_class, temperature: (logits / temperature)[:, n_class:].softmax(1)),
        ("these are logarithms: probabilities are asked for", dict(last=torch.log_softmax)),
        ("each *row* is a distribution: your softmax goes down the columns", dict(axis=0)),
    ],
    hints=("Which of the V numbers of a row belong to labels? What must such a logit be, so that its softmax is 0?",
           "Divide the logits by the temperature, put -inf into the first n_class columns of a copy, and take the "
           "softmax of each row.",
           "allowed = logits / temperature\nallowed[:, :n_class] = -torch.inf      # a new tensor: nothing of the "
           "caller changes\nallowed.softmax(dim=1)"),
    gradient=("logits",))

# --- 2


def _fifths(pitch, fifth=7, octave=lambda apart: apart % 12, pairs=lambda V: combinations(range(V), 2), over=torch.sum,
            moved=lambda step: (step > 0).all(1) | (step < 0).all(1), again=lambda now: now[1:] & now[:-1]) -> Tensor:
    found = []
    for pair in pairs(pitch.shape[1]):
        upper, lower = pitch[:, pair].T
        fifths = octave(upper - lower) == fifth                               # (T,)
        found.append(again(fifths) & moved(pitch[:, pair].diff(dim=0)))
    return over(torch.stack(found))


def _chorales(g: torch.Generator) -> list[tuple]:
    """Chords in which many pairs keep a fifth, a twelfth or a fourth, move or stand still, come back, and cross."""
    cases = []
    for T, V in ((1, 3), (2, 2), (3, 3), (11, 2), (31, 4), (50, 3), (40, 4)):
        base = 60 + torch.randint(-1, 2, (T, 1), generator=g)
        above = torch.tensor([0, 7, 19, -7, 5, 12, 24])[torch.randint(7, (T, V), generator=g)]
        above[:, 0] = 0
        held = torch.randint(2, (T, V), generator=g) * 7
        pitch = base + torch.where(torch.rand(T, V, generator=g) < 0.5, held, above)
        fixed = [[67, 60, 48, 41], [69, 62, 50, 43], [70, 63, 51, 44], [69, 62, 50, 43], [69, 62, 50, 43],
                 [73, 54, 46, 39], [60, 67, 55, 40], [62, 69, 57, 42], [62, 65, 55, 42], [66, 59, 57, 44]]
        pitch[:10] = torch.tensor(fixed)[:T, :V]                              # by a semitone; still; apart; crossed
        cases.append((pitch,))
    return cases


parallel_fifths = Implementation(
    "parallel_fifths",
    right=_fifths,
    cases=_chorales,
    slips=[
        ("a fifth is 7 semitones, upper minus lower, and yours looks for {}", ("5, a fourth", dict(fifth=5)),
         ("12 or 0, an octave", dict(fifth=0))),
        ("an octave more makes no difference: a distance of 19 or 31 is a fifth, too. Take the distance modulo 12",
         dict(octave=lambda apart: apart)),
        ("only voices that move in the same direction make a parallel: {}",
         ("in yours it is enough that both move", dict(moved=lambda step: (step != 0).all(1))),
         ("yours does not look at how they move", dict(moved=lambda step: step[:, 0] == step[:, 0])),
         ("two that both stand still make one in yours, too",
          dict(moved=lambda step: step[:, 0].sign() == step[:, 1].sign())),
         ("in yours it is enough that one of them moves", dict(moved=lambda step: (step != 0).any(1))),
         ("yours wants them to move equally far, too",
          dict(moved=lambda step: (step[:, 0] == step[:, 1]) & (step[:, 0] != 0))),
         ("yours counts those that move in opposite directions", dict(moved=lambda step: step.prod(1) < 0)),
         ("yours counts those only that move upwards", dict(moved=lambda step: (step > 0).all(1)))),
        ("every pair of voices counts: you look at {} only",
         ("neighbours", dict(pairs=lambda V: zip(range(V), range(1, V)))),
         ("the first and the last voice", dict(pairs=lambda V: [(0, V - 1)]))),
        ("each pair counts once, the upper voice first: as (lower, upper), a fourth would be a fifth",
         dict(pairs=lambda V: permutations(range(V), 2))),
        ("the distance is upper minus lower, modulo 12: you took its absolute value first, which is another number "
         "where voices cross", dict(octave=lambda apart: apart.abs() % 12)),
        ("a parallel needs a fifth *before* and *after* the step: yours needs one only {}",
         ("after it", dict(again=lambda now: now[1:])), ("before it", dict(again=lambda now: now[:-1]))),
        ("you counted all fifths: a parallel is two of them in a row",
         lambda pitch: sum((a - b).abs().remainder(12).eq(7).sum() for a, b in combinations(pitch.T, 2))),
        ("the number of parallels is asked for: this is a mean", dict(over=lambda found: found.float().mean())),
    ],
    hints=("Two voices, two moments: 67 over 60, then 69 over 62. What are the distances, and how has each moved?",
           "For each pair of voices: `fifth = (upper - lower) % 12 == 7`, one for each moment. A parallel is a moment "
           "with a fifth whose next moment has one, too, where the steps of both voices have the same sign. Add up.",
           "fifth = (upper - lower) % 12 == 7\ntogether = upper.diff().sign() * lower.diff().sign() > 0\n"
           "total = total + (fifth[1:] & fifth[:-1] & together).sum()"))

# --- 3


def _beginning(idx, labels, n_row, width=7, codes=lambda idx, n_row, width: idx[:, 1:1 + n_row * width]) -> Tensor:
    return torch.cat([labels[:, None], codes(idx, n_row, width)], 1)


def _kept(start, end=lambda n_row, width: n_row * width) -> dict:
    return dict(codes=lambda idx, n_row, width: idx[:, start:start + end(n_row, width)])


def _sentences(g: torch.Generator) -> list[tuple]:
    cases = []
    for B, H, width, n_row in ((1, 3, 2, 1), (3, 4, 5, 2), (2, 5, 3, 4), (4, 7, 7, 3)):
        label = torch.randint(10, (B, 1), generator=g)
        idx = torch.cat([label, torch.randint(10, 138, (B, H * width), generator=g)], 1)
        cases.append((idx, (label[:, 0] + 1 + torch.arange(B)) % 10, n_row, width))
    return [*cases, cases[-1][:3]]                                            # width is 7


beginning = Implementation(
    "beginning",
    right=_beginning,
    cases=_sentences,
    slips=[
        ("the bug is still there: the old label stands where the first code belongs, and every code is one place too "
         "far to the right", _kept(0), "Print idx[0, :5], and the first five numbers of yours."),
        ("the codes begin one place too late: the first code is at place 1 of a sentence", _kept(2)),
        ("this is the whole beginning with its own label: the new one belongs in front",
         lambda idx, labels, n_row, width=7: idx[:, :1 + n_row * width]),
        ("the old label is still there, behind the new one", _kept(0, lambda n_row, width: 1 + n_row * width)),
        ("n_row counts rows, and each has `width` codes: you kept {}",
         ("n_row codes", _kept(1, lambda n_row, width: n_row)),
         ("one code too few", _kept(1, lambda n_row, width: n_row * width - 1)),
         ("one code too many", _kept(1, lambda n_row, width: n_row * width + 1)),
         ("one row too many", _kept(1, lambda n_row, width: n_row * width + width)),
         ("width times width codes", _kept(1, lambda n_row, width: width * width))),
        ("the width of a row is an argument: yours always takes 7", _kept(1, lambda n_row, width: n_row * 7)),
        ("these are the last rows: the first ones are asked for",
         dict(codes=lambda idx, n_row, width: idx[:, -n_row * width:])),
        ("codes stay the tokens that they are: you have moved them {}",
         ("down", dict(codes=lambda idx, n_row, width: idx[:, 1:1 + n_row * width] - 10)),
         ("up", dict(codes=lambda idx, n_row, width: idx[:, 1:1 + n_row * width] + 10))),
        ("a label is a token already, the one with its own number: you have moved it up",
         lambda idx, labels, n_row, width=7: _beginning(idx, labels + 10, n_row, width)),
        ("the new label is missing: it comes first", lambda idx, labels, n_row, width=7: idx[:, 1:1 + n_row * width]),
        ("the label stands at the end in yours: a GPT sees only what comes before, so it must stand in front",
         lambda idx, labels, n_row, width=7: torch.cat([idx[:, 1:1 + n_row * width], labels[:, None]], 1)),
    ],
    hints=("Write down one sentence of a 2 by 2 image, place by place. Where is its first code, where its first row?",
           "A sentence is label, then codes. Leave its own label out, keep n_row * width codes from place 1 on, and "
           "put the new label in front of them.",
           "torch.cat([labels[:, None], idx[:, 1:1 + n_row * width]], dim=1)"))

# --- 4


def _false(seen, hidden, count=lambda false, passed, failed, n: false / passed) -> float:
    pairs = list(zip(seen, hidden))
    return count(sum(a and not b for a, b in pairs), sum(bool(a) for a in seen), sum(not b for b in hidden), len(pairs))


false_passes = Measurement(
    "false_passes",
    truth=_false,
    tolerance=0.01,
    slips=[
        ("you divided by all programs: only those that pass the example are asked about",
         dict(count=lambda false, passed, failed, n: false / n)),
        ("this is the share of them that is *right* on the hidden examples: the others are asked for",
         dict(count=lambda false, passed, failed, n: 1 - false / passed)),
        ("the wrong way round: of those that fail hidden examples, this is the share that passes the visible one",
         dict(count=lambda false, passed, failed, n: false / failed)),
        ("this is the share of all programs that fail hidden examples: take only those that pass the visible one",
         dict(count=lambda false, passed, failed, n: failed / n)),
        ("this is the share that passes the visible example: how many of these fail the hidden ones?",
         dict(count=lambda false, passed, failed, n: passed / n)),
        ("this is a number of programs: a share is asked for", dict(count=lambda false, passed, failed, n: false)),
    ],
    hints=("Which programs would somebody who sees only the example take for right? How many of them are not?",
           "Keep the programs for which seen is True. Of these, count those for which hidden is False, and divide by "
           "how many you kept.",
           "kept = [b for a, b in zip(seen, hidden) if a]\nfalse_passes = 1 - sum(kept) / len(kept)"))
