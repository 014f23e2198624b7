"""The checks of exercise 75: what followed the same token before, a vote, targets that are learnt, and a share of
answers that obey the data."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _score(maps, idx, shift=1, before=-1, which=lambda same: same, weigh=lambda weights, after: weights.sum(3),
           over=lambda weight, places, same: weight.sum((0, 2)) / places.sum()) -> Tensor:
    """shift: how far after an earlier occurrence one looks; before: from which diagonal on it is earlier."""
    same = which((idx[:, :, None] == idx[:, None]).tril(before))              # (B, T, T): t, and an earlier s
    after = F.pad(same.int(), (shift, -shift))                                # (B, T, T): the places after them
    weight = weigh(maps * after[:, None], after)                              # (B, H, T)
    return over(weight, same.any(2), same)


def _of_rows(weight, places, same) -> Tensor:
    return weight.sum(2) / places.sum(1).clamp(min=1)[:, None]                # (B, H)


def _rows(g: torch.Generator) -> list[tuple]:
    cases = []
    for B, H, T, kinds in ((1, 1, 5, 2), (3, 2, 7, 3), (2, 3, 9, 4), (4, 1, 6, 3), (3, 4, 12, 5)):
        maps = (rand(g, B, H, T, T).exp() * torch.ones(T, T).tril())
        idx = torch.randint(kinds, (B, T), generator=g)
        idx[0, 1], idx[0, -1] = idx[0, 0], idx[0, 0]                          # twice in a row, and once more
        if B > 1:
            idx[1, :-1] = torch.arange(T - 1) + 10                            # another number of places in this row
            idx[1, -1] = 10
        cases.append((maps / maps.sum(3, keepdim=True), idx))
    return cases


score_of_heads = Implementation(
    "score_of_heads",
    right=_score,
    cases=_rows,
    slips=[
        ("you added up the weights on the *same* token: asked for are the places directly after it", dict(shift=0)),
        ("you added up the weights on the places *before* the same token: one further is right", dict(shift=-1)),
        ("you looked two places further: what comes directly after counts", dict(shift=2)),
        ("where a token stood several times, you took only {}: all places after it count",
         ("the latest occurrence", dict(which=lambda same: same & (same.flip(2).cumsum(2).flip(2) == 1))),
         ("the earliest occurrence", dict(which=lambda same: same & (same.cumsum(2) == 1))),
         ("the mean of the weights, not their sum",
          dict(weigh=lambda weights, after: weights.sum(3) / after.sum(2).clamp(min=1)[:, None])),
         ("the largest weight", dict(weigh=lambda weights, after: weights.amax(3)))),
        ("you divided by the number of all places: only those whose token stood earlier in the row count, and no place "
         "is earlier than itself", dict(over=lambda weight, places, same: weight.sum((0, 2)) / places.numel()),
         dict(before=0)),
        ("you took the mean of each row first, and then of the rows: rows have different numbers of places, so take "
         "one mean over all places of all rows", dict(over=lambda *parts: _of_rows(*parts).mean(0))),
        ("you divided by the number of pairs (t, s): the mean is over places t",
         dict(over=lambda weight, places, same: weight.sum((0, 2)) / same.sum())),
        ("this is the sum over the places: their mean is asked for",
         dict(over=lambda weight, places, same: weight.sum((0, 2)))),
        ("one score for each head is asked for: {}", ("you kept the rows apart", dict(over=_of_rows)),
         ("you also took the mean over the heads",
          dict(over=lambda weight, places, same: (weight.sum((0, 2)) / places.sum()).mean()))),
        ("you have exchanged the two axes of a map: maps[b, h, t, s] is what t gives to s",
         lambda maps, idx: _score(maps.mT, idx)),
    ],
    hints=("Write down the row n 8 o 2 n by hand: for its last place, at which place do you have to look?",
           "For each place t: compare idx[:, t] with idx[:, :t], (B, t). The places after them are 1 to t, so the "
           "weights are maps[:, :, t, 1:t + 1]. Add up, and count in how many rows the token stood before.",
           "same = idx[:, :t] == idx[:, t:t + 1]\n"
           "total = total + (maps[:, :, t, 1:t + 1] * same[:, None]).sum((0, 2))\n"
           "places = places + same.any(1).sum()"),
    rtol=1e-3, atol=1e-5)

# --- 2


def _first(answers, votes, best) -> Tensor:
    return answers.gather(1, best.int().argmax(1)[:, None]).squeeze(1)


def _most(answers, choose=_first) -> Tensor:
    """choose(answers, how often each occurs in its row, whether that is most often), all (P, N)"""
    votes = (answers[:, :, None] == answers[:, None]).sum(2)
    return choose(answers, votes, votes == votes.amax(1, keepdim=True))


def _ballots(g: torch.Generator) -> list[tuple]:
    ties = torch.tensor([[7, 3, 3, 7, 5], [-2, -9, -9, -2, 1], [4, 8, 6, 1, 2], [1, 5, 5, 1, 1]])
    return [(ties,), (torch.randint(-5, 6, (2, 1), generator=g),),
            *((torch.randint(-3, 4, (P, N), generator=g),) for P, N in ((1, 4), (3, 6), (5, 9), (8, 5)))]


vote = Implementation(
    "vote",
    right=_most,
    cases=_ballots,
    slips=[
        ("of answers that tie, yours is {}: the one that comes first in its row is asked for",
         ("the smallest, as torch.mode gives it", lambda answers: answers.mode(1).values,
          dict(choose=lambda answers, votes, best: answers.where(best, answers.max() + 1).amin(1))),
         ("the largest", dict(choose=lambda answers, votes, best: answers.where(best, answers.min() - 1).amax(1))),
         ("the one that comes last",
          dict(choose=lambda answers, votes, best: _first(answers.flip(1), votes, best.flip(1))))),
        ("this is how often the winner occurs: the answer itself is asked for",
         dict(choose=lambda answers, votes, best: votes.amax(1))),
        ("this is the place of the winner in its row: the answer itself is asked for",
         dict(choose=lambda answers, votes, best: best.int().argmax(1))),
        ("you counted over all problems together: each row votes alone",
         lambda answers: _most(answers.view(1, -1)).expand(len(answers))),
        ("this is {}: a vote counts how often each answer occurs",
         ("the first answer of each row", lambda answers: answers[:, 0]),
         ("the median", lambda answers: answers.median(1).values),
         ("the largest answer", lambda answers: answers.max(1).values)),
        ("you voted along the problems, axis 0: the answers to one problem stand in a row",
         lambda answers: _most(answers.mT)),
    ],
    hints=("Take the row 7, 3, 3, 7, 5. Which answers occur twice, and which of them stands first?",
           "Compare each answer of a row with each other one, (P, N, N); the sum over the last axis says how often it "
           "occurs. argmax of the places where that is largest gives the first of them.",
           "votes = (answers[:, :, None] == answers[:, None]).sum(2)\n"
           "first = (votes == votes.max(1, keepdim=True).values).int().argmax(1)\n"
           "answers.gather(1, first[:, None]).squeeze(1)"))

# --- 3


def _kept(idx, learn, mask=slice(1, None), tokens=slice(1, None), value=-100, invert=False) -> Tensor:
    learn = learn[:, mask]
    return idx[:, tokens].masked_fill(learn if invert else ~learn, value)


def _learnt(g: torch.Generator) -> list[tuple]:
    cases = []
    for B, T in ((1, 4), (3, 6), (2, 5), (5, 9)):
        learn = torch.rand(B, T, generator=g) < 0.5
        learn[0, :4] = torch.tensor([False, True, True, False])
        cases.append((torch.randint(1, 50, (B, T), generator=g), learn))
    return cases


targets = Implementation(
    "targets",
    right=_kept,
    cases=_learnt,
    slips=[
        ("the bug is still there: the mask stands one place too early, so the first token of an answer is not learnt "
         "and the token after it is", dict(mask=slice(None, -1)),
         "The target of place t is token t + 1. Which column of learn speaks of token t + 1?"),
        ("the mask is the wrong way round: -100 belongs where learn is False", dict(invert=True)),
        ("the targets are the tokens that the model reads, not the next ones: they begin at column 1",
         dict(tokens=slice(None, -1)), dict(tokens=slice(None, -1), mask=slice(None, -1))),
        ("what is not learnt becomes -100, the number that cross_entropy leaves out: yours becomes {}",
         ("0, which is a token", dict(value=0)), ("-1", dict(value=-1)), ("100", dict(value=100))),
        ("nothing is replaced: where learn is False the target is -100", lambda idx, learn: idx[:, 1:].clone()),
        ("tokens that are not learnt are still there, as -100: you removed them",
         lambda idx, learn: idx[:, 1:][learn[:, 1:]]),
        ("the result is as long as idx: the last place has no next token, so there is one target less",
         lambda idx, learn: idx.masked_fill(~learn, -100)),
    ],
    hints=("Print one row: its tokens, its learn, and its targets, one below the other. Where does the answer begin?",
           "Both are shifted by one: the targets are the columns 1 and following of idx, so they need the columns 1 "
           "and following of learn.",
           "idx[:, 1:].masked_fill(~learn[:, 1:], -100)"))

# --- 4


def _obeyed(said, wanted, injected, count=lambda obeyed, right, telling, n: obeyed / telling) -> float:
    telling = [(a, b, c) for a, b, c in zip(said, wanted, injected) if b != c]
    return count(sum(a == c for a, _, c in telling), sum(a == b for a, b, _ in telling), len(telling), len(said))


obeyed = Measurement(
    "obeyed",
    truth=_obeyed,
    tolerance=0.01,
    slips=[
        ("you divided by all prompts: those whose two answers are the same say nothing and do not count",
         dict(count=lambda obeyed, right, telling, n: obeyed / n)),
        ("this counts prompts whose two answers are the same as obeyed: leave them out",
         lambda said, wanted, injected: sum(a == c for a, c in zip(said, injected)) / len(said)),
        ("this is the share of answers that do what was *asked*: asked for are those that do what the data say",
         dict(count=lambda obeyed, right, telling, n: right / telling),
         lambda said, wanted, injected: sum(a == b for a, b in zip(said, wanted)) / len(said)),
        ("this is the share of answers that are not what was asked for: many of these obey nobody",
         dict(count=lambda obeyed, right, telling, n: 1 - right / telling)),
        ("you left out the answers that obey neither: they count as prompts, too",
         dict(count=lambda obeyed, right, telling, n: obeyed / max(1, obeyed + right))),
        ("this is a number of answers: a share is asked for", dict(count=lambda obeyed, right, telling, n: obeyed)),
    ],
    hints=("Look at a few prompts. For which of them would you know from the answer whom the model has obeyed?",
           "Keep the prompts where wanted and injected differ. Of these, count the answers that equal injected, and "
           "divide by how many were kept.",
           "telling = [(a, c) for a, b, c in zip(said, wanted, injected) if b != c]\n"
           "obeyed = sum(a == c for a, c in telling) / len(telling)"))
