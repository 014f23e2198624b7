"""The checks of exercise 74: the loss of DPO, how much better than its group an answer is, how probable it is, and the
chance that one of eight is right."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _dpo(better, worse, better_ref, worse_ref, beta, ratio=lambda a, b: a - b, sign=1.0, surprise=F.logsigmoid,
         scale=torch.mul, margin=lambda high, low: high - low):
    high, low = ratio(better, better_ref), ratio(worse, worse_ref)
    return -surprise(sign * scale(margin(high, low), beta)).mean()


def _four(g: torch.Generator) -> list[tuple]:
    """Log-probabilities; the last case is one that a plain log(sigmoid) cannot take."""
    cases = [(*(3 * rand(g, B) - 4 for _ in range(4)), beta)
             for B, beta in ((1, 0.5), (3, 0.1), (5, 1.0), (2, 2.0), (7, 0.3))]
    return [*cases, (rand(g, 3) - 200, rand(g, 3) - 4, rand(g, 3) - 4, rand(g, 3) - 4, 1.0)]


dpo_loss = Implementation(
    "dpo_loss",
    right=_dpo,
    cases=_four,
    slips=[
        ("the wrong way round: your loss is small where the *worse* answer is the more probable one",
         dict(sign=-1.0), dict(surprise=lambda m: F.logsigmoid(-m))),
        ("the reference is missing: {}",
         ("an answer's reward is how much more probable the policy makes it than the reference does",
          dict(ratio=lambda a, b: a)),
         ("you use it for the better answer only", lambda b, w, br, wr, beta: _dpo(b, w, br, 0 * wr, beta)),
         ("you use it for the worse answer only", lambda b, w, br, wr, beta: _dpo(b, w, 0 * br, wr, beta))),
        ("the policy is missing: these are the log-probabilities under the reference alone",
         dict(ratio=lambda a, b: b + 0 * a)),
        ("the log of a ratio is a *difference* of logarithms: {}",
         ("you divide one log-probability by the other", dict(ratio=lambda a, b: a / b)),
         ("you add them", dict(ratio=lambda a, b: a + b)),
         ("yours is the ratio itself, without its log", dict(ratio=lambda a, b: (a - b).exp()))),
        ("beta multiplies the difference: {}", ("you divide by it", dict(scale=torch.div)),
         ("in yours it has no effect", dict(scale=lambda m, beta: m)),
         ("yours multiplies the loss, outside the sigmoid", lambda b, w, br, wr, beta: beta * _dpo(b, w, br, wr, 1.0))),
        ("the log is missing: this is the probability of the preference, and its surprise, -log, is asked for",
         dict(surprise=torch.sigmoid)),
        ("right where the margin is moderate, but where it is very negative the sigmoid is 0 and its log is -inf: use "
         "F.logsigmoid, which computes both in one", {5}),
        ("the two answers are added up: what counts is by how much the better one's reward is higher",
         dict(margin=lambda high, low: high + low)),
        ("only the better answer counts in yours: the worse one's reward must be subtracted",
         dict(margin=lambda high, low: high)),
        ("this is the sigmoid of the mean margin: each pair has a surprise of its own, and the mean comes last",
         lambda b, w, br, wr, beta: _dpo(b.mean()[None], w.mean()[None], br.mean()[None], wr.mean()[None], beta)),
    ],
    hints=("Take one pair. What is the reward of its better answer, in words? And of its worse one?",
           "A reward is beta times (log-probability under the policy minus that under the reference). The loss of a "
           "pair is -logsigmoid(reward of the better one minus reward of the worse one).",
           "margin = beta * ((better - better_ref) - (worse - worse_ref))\n-F.logsigmoid(margin).mean()"),
    gradient=("better", "worse"))

# --- 2


def _advantages(rewards: Tensor, axis=1, centre=lambda r, axis: r.mean(axis, keepdim=True),
                spread=lambda c, axis: c.square().mean(axis, keepdim=True).sqrt(), small=1e-4, divide=torch.div):
    centred = rewards - centre(rewards, axis)
    return divide(centred, spread(centred, axis) + small)


def _groups(g: torch.Generator) -> list[tuple]:
    """Groups unlike in mean and spread; in the last cases some or all have one reward only."""
    cases = []
    for P, G in ((1, 2), (3, 4), (4, 3), (5, 5), (2, 8)):
        apart = torch.rand(P, G, generator=g).argsort(1).square() + 0.3 * torch.rand(P, G, generator=g)
        cases.append((apart * (0.5 + torch.arange(P)[:, None]) + 3 * rand(g, P, 1) + 1,))
    same = cases[2][0] + 2
    same[0], same[2] = 1.0, 0.0
    return [*cases, (same,), (torch.ones(2, 4),)]


advantages = Implementation(
    "advantages",
    right=_advantages,
    cases=_groups,
    slips=[
        ("a group is a *row*, the answers to one prompt: you compare {}",
         ("the answers of a column, which belong to different prompts", dict(axis=0)),
         ("all answers of all prompts together", lambda r: (r - r.mean()) / (r.std(correction=0) + 1e-4)),
         ("the answers of a row, but divide by the deviation of all together",
          dict(spread=lambda c, axis: c.square().mean().sqrt())),
         ("with the mean of all prompts together: an easy prompt would make all its answers look good",
          dict(centre=lambda r, axis: r.mean()))),
        ("the mean of the group is {}", ("missing", dict(centre=lambda r, axis: 0.0),
                                         lambda r: r / (r.std(1, keepdim=True, correction=0) + 1e-4)),
         ("added: it shall be subtracted", dict(centre=lambda r, axis: -r.mean(axis, keepdim=True)))),
        ("you subtract the {} of the group: its mean is asked for",
         ("best", dict(centre=lambda r, axis: r.max(axis, keepdim=True).values)),
         ("worst", dict(centre=lambda r, axis: r.min(axis, keepdim=True).values)),
         ("median", dict(centre=lambda r, axis: r.median(axis, keepdim=True).values))),
        ("the deviation is {}", ("missing: prompts whose rewards differ much would count more than others",
                                 dict(spread=lambda c, axis: 1.0, small=0.0)),
         ("multiplied: it shall divide", dict(divide=torch.mul))),
        ("you divide by the variance: its root, the standard deviation, is asked for",
         dict(spread=lambda c, axis: c.square().mean(axis, keepdim=True))),
        ("you divide by the root of the sum of squares: the mean square is asked for",
         dict(spread=lambda c, axis: c.norm(dim=axis, keepdim=True))),
        ("you divide by the mean distance from the mean: square first, then take the root of the mean",
         dict(spread=lambda c, axis: c.abs().mean(axis, keepdim=True))),
        ("std divides by one less than the number of answers unless you say correction=0: the root of the *mean* "
         "square is asked for", dict(spread=lambda c, axis: c.std(axis, keepdim=True))),
        ("right where rewards differ; a group of equal ones gives 0 / 0, which is nan: add 0.0001 to the deviation",
         {5, 6}, "Print your advantages of [[1, 1, 1]]."),
    ],
    hints=("Take the rewards [[0, 0, 1, 1]] by hand: what is the mean, how far is each from it, and what is the "
           "deviation?",
           "Mean and deviation are taken along axis 1, with keepdim=True, so that (P, 1) meets (P, G).",
           "centred = rewards - rewards.mean(1, keepdim=True)\n"
           "centred / (centred.square().mean(1, keepdim=True).sqrt() + 1e-4)"), atol=1e-3, rtol=1e-3)

# --- 3


def _answer_logp(logits, idx, mask, rows=slice(None, -1), columns=slice(1, None), kept=slice(1, None), over=torch.sum,
                 logp=lambda z: z.log_softmax(2), on=lambda each, mask: each * mask):
    each = logp(logits[:, rows]).gather(2, idx[:, columns, None])[:, :, 0]
    return over(on(each, mask[:, kept]), dim=1)


def _written(g: torch.Generator) -> list[tuple]:
    """Prompts of 2 or more tokens, answers of 1 or more, with padding after some."""
    cases = []
    for B, T, V in ((1, 4, 3), (3, 6, 4), (4, 8, 5), (2, 5, 7)):
        place, begin = torch.arange(T), torch.randint(2, T - 1, (B, 1), generator=g)
        end = begin + 1 + (torch.rand(B, 1, generator=g) * (T - begin)).long()
        cases.append((2 * rand(g, B, T, V), torch.randint(V, (B, T), generator=g), (place >= begin) & (place < end)))
    return cases


ALL = slice(None)

answer_logp = Implementation(
    "answer_logp",
    right=_answer_logp,
    cases=_written,
    slips=[
        ("the bug is still there: row t of the logits says what comes *after* token t, and you ask it for token t "
         "itself", dict(rows=ALL, columns=ALL, kept=ALL), dict(rows=slice(1, None)),
         "Which row of the logits was computed without seeing token 5?"),
        ("the mask has been left behind: token t and its mask move together, so it is mask[:, 1:]",
         dict(kept=slice(None, -1))),
        ("the tokens were moved the wrong way: row t belongs to token t + 1, not to token t - 1",
         dict(rows=slice(1, None), columns=slice(None, -1), kept=slice(None, -1))),
        ("the mask is not used: {}", ("the prompt and the padding count too", dict(on=lambda each, mask: each)),
         ("and where it is False you count", dict(on=lambda each, mask: each * ~mask))),
        ("probabilities multiply, so their logarithms add up: {}",
         ("you took the mean", dict(over=torch.mean)),
         ("you divided by the length of the answer", lambda z, idx, mask: _answer_logp(z, idx, mask) / mask.sum(1))),
        ("logits are no log-probabilities yet: a log_softmax over the words, axis 2, is missing",
         dict(logp=lambda z: z)),
        ("these are probabilities: their logarithm is asked for, before they are added",
         dict(logp=lambda z: z.softmax(2))),
        ("the log_softmax runs over the places, axis 1: the words of one place, axis 2, share the probability",
         dict(logp=lambda z: z.log_softmax(1))),
        ("the sign: a log-probability is at most 0, and yours is the surprise",
         lambda z, idx, mask: -_answer_logp(z, idx, mask)),
    ],
    hints=("A model that saw token 5 knows it. From which row of the logits must the probability of token 5 come?",
           "Row t predicts token t + 1: so the last row is not needed, and neither is the first token. Cut all three "
           "tensors so that they line up.",
           "logp = logits[:, :-1].log_softmax(2)\neach = logp.gather(2, idx[:, 1:, None])[:, :, 0]\n"
           "(each * mask[:, 1:]).sum(1)"),
    gradient=("logits",))

# --- 4


def _pass(right: Tensor, k: int = 8) -> float:
    n = right.shape[1]
    wrong = (~right).sum(1).tolist()
    return sum(1 - math.comb(w, k) / math.comb(n, k) for w in wrong) / len(wrong)


pass_at_8 = Measurement(
    "pass_at_8",
    truth=_pass,
    tolerance=0.002,
    slips=[
        ("this is pass@1, the share of all answers that are right", dict(k=1)),
        ("this is pass@{}, the share of prompts with a right one among all their answers", ("16", dict(k=16))),
        ("this is the chance that all eight are wrong: one less it is asked for",
         lambda right: 1 - _pass(right)),
        ("you took the first eight answers only: the mean over all ways to choose eight of the sixteen is asked for, "
         "which has less noise", lambda right: right[:, :8].any(1).double().mean().item()),
        ("1 - (1 - share)^8 draws the same answer more than once, and is too low on average: count the ways to choose "
         "eight different ones", lambda right: (1 - (1 - right.double().mean(1)) ** 8).mean().item()),
        ("the mean over the prompts comes last: you took the share of all answers first, as if all prompts were "
         "equally hard", lambda right: 1 - (1 - right.double().mean().item()) ** 8),
        ("this is the chance that all eight are right: at least one is asked for", lambda right: sum(
            math.comb(n, 8) for n in right.sum(1).tolist()) / math.comb(right.shape[1], 8) / len(right)),
    ],
    hints=("A prompt has 16 answers, of which w are wrong. In how many ways can you choose 8 of them, and in how many "
           "of these are all 8 wrong?",
           "With math.comb: all wrong has the probability comb(w, 8) / comb(16, 8). One less that, and the mean over "
           "the prompts.",
           "wrong = (~right).sum(1).tolist()\n"
           "sum(1 - math.comb(w, 8) / math.comb(16, 8) for w in wrong) / len(wrong)"))
