"""Part 7: who has how many, and how the answer should be (74)."""

import copy
import time
from functools import partial
from random import Random

import torch

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoints.made import on_one_core
from course_lib.data import Batches, counts
from course_lib.data.counts import END, N_ANSWER, N_PROMPT, PEOPLE, REWARD, THINGS, WORDS
from course_lib.device import seed, seeded
from course_lib.gpt import GPT, fast, lm_loss
from course_lib.muon import muon
from course_lib.preferences import (
    Rollouts,
    answer_logp,
    answers,
    best_of_n,
    dpo_loss,
    grpo_loss,
    pass_at_k,
    preference_loss,
    reward,
    token_logp,
)
from course_lib.train import fit

TRAIN, TEST = counts.questions(2_000, seed=10), counts.questions(100, seed=11)
TASTE = 0.05
STEPS, EVERY = 60, 5                                                          # of a policy gradient; between two looks


def _story(draw):
    """Three facts, told again, added up and asked for, as plain text: what a base model learns from.  -> (45,)"""
    people, things = draw.sample(PEOPLE, 4), [draw.choice(THINGS) for _ in range(3)]
    numbers = [draw.randint(1, 9) for _ in range(3)]
    facts = [f"{who} has {n} {what} ." for who, n, what in zip(people, numbers, things)]
    told = list(facts)
    while len(told) < 12:
        (i, j), kind = draw.sample(range(3), 2), draw.random()
        told.append(facts[i] if kind < 0.4 else
                    f"{people[i]} and {people[j]} have {numbers[i] + numbers[j]} ." if kind < 0.7 else
                    f"does {people[i]} have ? {facts[i]}" if kind < 0.85 else
                    f"does {people[3]} have ? I do not know .")
    return counts.encode(" ".join(told))[:N_PROMPT + N_ANSWER + 1]


def _answer_loss(model, idx, mask):
    """The surprise at each token of the answers, mean over the tokens: what instruction tuning makes small."""
    return {"loss": -token_logp(model, idx, mask).sum() / mask.sum()}


def _tuned(base_steps, steps):
    """A base model of stories, then tuned on demonstrations.  -> model, processor seconds"""
    draw = Random(7)
    stories = torch.stack([_story(draw) for _ in range(20_000)])
    asked = counts.questions(20_000, seed=1)
    idx, mask = counts.rows(asked, [counts.demonstration(one, draw) for one in asked])
    seed(0)
    model = GPT(fast(n_layer=3, n_head=4, n_embd=64, vocab_size=len(WORDS), block_size=N_PROMPT + N_ANSWER))
    _, first = on_one_core(fit, model, lm_loss, Batches(stories, batch_size=32), base_steps, optimizer=muon, decay=0.5,
                           label="stories")
    _, second = on_one_core(fit, model, _answer_loss, Batches(idx, mask, batch_size=32), steps, decay=1.0,
                            optimizer=partial(muon, lr=5e-3, adam_lr=2e-3), label="answers")
    return model, first + second


def golds(asked, idx, price=0.0):
    """What answers are worth, by program: idx (P * n, T) holds n answers to each of P questions -> (P, n)"""
    texts = [counts.decode(row) for row in idx[:, N_PROMPT:]]
    n = len(texts) // len(asked)
    return torch.tensor([counts.gold(text, asked[k // n], price) for k, text in enumerate(texts)]).view(-1, n)


def labelled(policy, n, number, taste=TASTE):
    """n pairs of answers by a policy, as people prefer them: the first with the probability sigmoid(3 * difference of
    their worth), so that close calls go either way. To people a longer answer looks better, by `taste` a word.

    -> better, its mask, worse, its mask, and the share of labels that agree with the worth, where it differs"""
    draw = Random(100 + number)
    asked = draw.sample(TRAIN, n)
    idx, mask = answers(policy, counts.prompts(asked), 2, N_ANSWER, END, generator=seeded(number))
    worth = golds(asked, idx)                                                 # (n, 2)
    liked = worth + taste * mask.sum(1).view(-1, 2)
    first = torch.rand(n, generator=seeded(number)) < (3 * (liked[:, 0] - liked[:, 1])).sigmoid()
    idx, mask, rows = idx.view(n, 2, -1), mask.view(n, 2, -1), torch.arange(n)
    better, clear = (~first).long(), worth[:, 0] != worth[:, 1]
    agree = (first == (worth[:, 0] > worth[:, 1]))[clear].double().mean().item()
    return idx[rows, better], mask[rows, better], idx[rows, 1 - better], mask[rows, 1 - better], agree


def reward_model(policy, pairs, number, steps=100):
    """A copy of the policy that was trained on these pairs to give rewards."""
    model = copy.deepcopy(policy)
    seed(number)
    fit(model, partial(preference_loss, token=REWARD), Batches(*pairs[:4], batch_size=32), steps, lr=1e-3,
        decay=0.5, label="reward model")
    return model


class Judge:
    """Measures policies on the same test questions: worth by program, wins against the policy that all start from,
    divergence from it, length, what is right, and the reward of a proxy, if there is one."""

    def __init__(self, reference, proxy=None, price=0.0, n=4):
        self.reference, self.proxy, self.price, self.n = reference, proxy, price, n
        self.prompts = counts.prompts(TEST)
        self.before = golds(TEST, self.answers(reference, 1)[0], price)       # (P, n)

    def answers(self, model, number):
        return answers(model, self.prompts, self.n, N_ANSWER, END, generator=seeded(number))

    @torch.no_grad()
    def __call__(self, model):
        idx, mask = self.answers(model, 2)
        worth = golds(TEST, idx, self.price)
        wins = (worth > self.before).double() + 0.5 * (worth == self.before).double()
        moved = answer_logp(model, idx, mask) - answer_logp(self.reference, idx, mask)
        texts = [counts.decode(row) for row in idx[:, N_PROMPT:]]
        asked = [one for one in TEST for _ in range(self.n)]
        found = dict(gold=worth.mean(), wins=wins.mean(), moved=moved.mean(), length=mask.sum(1).double().mean())
        if self.proxy is not None:
            found["proxy"] = reward(self.proxy, idx, mask, REWARD).mean()
        found["right"] = torch.tensor([counts.right(t, q) for t, q in zip(texts, asked)]).double().mean()
        return {name: round(value.item(), 4) for name, value in found.items()}


def by_gold(price=0.0):
    """A reward for `Rollouts` on the training questions: the program's."""
    def rewards(which, idx, mask):
        texts = [counts.decode(row) for row in idx[:, N_PROMPT:]]
        return torch.tensor([counts.gold(text, TRAIN[k], price) for text, k in zip(texts, which.tolist())])
    return rewards


def by_model(model):
    """... and that of a reward model."""
    return lambda which, idx, mask: reward(model, idx, mask, REWARD)


def improved(policy, rewards, judge, number, beta=0.0, steps=STEPS, lr=1e-3, every=EVERY):
    """A copy of the policy after so many steps of GRPO.  -> model, rows of what `judge` says, the first before any"""
    model = copy.deepcopy(policy)
    seed(number)
    loader = Rollouts(model, counts.prompts(TRAIN), rewards, policy, end=END, n_new=N_ANSWER, beta=beta,
                      generator=seeded(number))
    rows = [judge(model)]

    def look(model):
        rows.append(judge(model))
        return {}

    fit(model, grpo_loss, loader, steps, lr=lr, evaluate=look, eval_every=every, label="GRPO")
    return model, rows


def directly(policy, pairs, judge, number, lr, likely=0.0, steps=100, every=20):
    """A copy of the policy after DPO on these pairs.  -> model, rows of what `judge` says, and of the mean
    log-probabilities of 200 of the better and worse answers"""
    model, some = copy.deepcopy(policy), [part[:200] for part in pairs[:4]]
    with torch.no_grad():
        refs = [answer_logp(policy, *pairs[:2]), answer_logp(policy, *pairs[2:4])]
    seed(number)

    def look(model):
        with torch.no_grad():
            likelihood = [round(answer_logp(model, *some[k:k + 2]).mean().item(), 4) for k in (0, 2)]
        rows.append(judge(model) | dict(zip(("better", "worse"), likelihood)))
        return {}

    rows = []
    look(model)
    fit(model, partial(dpo_loss, beta=0.1, likely=likely), Batches(*pairs[:4], *refs, batch_size=32), steps, lr=lr,
        evaluate=look, eval_every=every, label="DPO")
    return model, rows


# ------------------------------------------------------------------------------------------------------------- recipes

SEEDS = range(5)
PAIRS, BETA, SLOW = 500, 1.0, 7e-4                                           # SLOW: a rate at which the rise is seen


def counts_policy():
    """Lesson 74's policy before any preference: a GPT of 3 layers of width 64, fast settings. 700 batches of 32 plain
    texts in which facts are told, retold, added and asked for; then 400 batches of 32 of 20,000 demonstrations, kind,
    curt, rude and wordy, the loss on the answers only; Muon and AdamW. Weights kept as float16."""
    model, seconds = _tuned(700, 400)
    model = model.half().float()                                              # what is measured is what is kept
    found = Judge(model)(model)
    metrics = {name: found[name] for name in ("gold", "right", "length")}
    return model.half(), dict(seed=0, steps=1_100, seconds=round(seconds, 1), metrics=metrics,
                              parameters=sum(p.numel() for p in model.parameters()))


def counts_reward():
    """Lesson 74's reward model: `counts_policy` after 120 batches of 32 of 500 pairs of its own answers, labelled by
    people who decide close calls by chance and like longer answers a little better; AdamW, rate 1e-3, falling over the
    second half. Weights kept as float16.

    `trials`: by number of pairs, for each of five seeds the shares of 500 new pairs that it orders as labelled, and as
    the gold reward does. `best_of`: by n, for each seed the mean rewards, its own and gold, of the best of n of 64."""
    policy, trials, runs, begun = load_checkpoint("counts_policy"), {}, [], time.process_time()
    held = labelled(policy, 500, 77)
    truth = _ordered(held)
    idx, mask = answers(policy, counts.prompts(TEST), 64, N_ANSWER, END, generator=seeded(3))
    gold, sizes = golds(TEST, idx), (1, 2, 4, 8, 16, 32, 64)
    for n, steps in ((100, 60), (PAIRS, 120)):
        trials[str(n)] = []
        for number in SEEDS:
            model = reward_model(policy, labelled(policy, n, number), number, steps)
            trials[str(n)].append([_agreement(model, held), _agreement(model, truth)])
            if (n, number) == (PAIRS, 0):
                kept = model.half().float()                                   # what is measured is what is kept
            if n == PAIRS:
                with torch.no_grad():
                    proxy = torch.cat([reward(model, *part, REWARD) for part in
                                       zip(idx.split(800), mask.split(800))]).view_as(gold)
                runs.append([[round(best_of_n(proxy, worth, n).mean().item(), 4) for worth in (proxy, gold)]
                             for n in sizes])
    metrics = {"labels": _agreement(kept, held), "gold": _agreement(kept, truth)}
    best = [round(best_of_n(gold, gold, n).mean().item(), 4) for n in sizes]
    return kept.half(), dict(seed=0, steps=120, seconds=round(time.process_time() - begun, 1), metrics=metrics,
                             trials=trials, best_of=dict(n=sizes, runs=runs, gold=best))


def counts_gold():
    """Lesson 74's policy after 100 steps of GRPO on the gold reward: 8 answers to each of 8 questions a step, AdamW,
    rate 1e-3. Weights kept as float16.

    `trials`: what the judge says every 20 steps, for each of five seeds; `passes`: pass@1 and pass@8;
    `prices`: by the price of a wrong number, after 60 steps, for each seed the shares of questions with an answer that
    are answered right, and refused; and of those without one that are refused."""
    policy, begun = load_checkpoint("counts_policy"), time.process_time()
    judge, trials, passes, prices = Judge(policy), [], [], {}
    for number in SEEDS:
        model, rows = improved(policy, by_gold(), judge, number, steps=100, every=20)
        if number == 0:
            kept = model.half().float()
        trials.append(rows)
        passes.append(_passes(model))
    for price in (0.0, 1.0, 3.0):
        prices[f"{price:g}"] = [_refusals(improved(policy, by_gold(price), Judge(policy, price=price), number,
                                                   every=STEPS)[0]) for number in SEEDS]
    metrics = judge(kept)
    return kept.half(), dict(seed=0, steps=100, seconds=round(time.process_time() - begun, 1), metrics=metrics,
                             trials=trials, passes=passes, prices=prices,
                             before=dict(passes=_passes(policy), refusals=_refusals(policy)))


def counts_proxy():
    """Lesson 74's over-optimised policy: 60 steps of GRPO on the reward model `counts_reward`, without a price for the
    distance; 8 answers to each of 8 questions a step, AdamW, rate 7e-4. Weights kept as float16.

    `trials`: what the judge says every 5 steps, without the price and with it, for five seeds, each with a reward model
    of its own pairs."""
    policy, trials, begun = load_checkpoint("counts_policy"), {"0": [], f"{BETA:g}": []}, time.process_time()
    for number in SEEDS:
        proxy = load_checkpoint("counts_reward") if number == 0 else reward_model(
            policy, labelled(policy, PAIRS, number), number, 120)
        judge = Judge(policy, proxy)
        for name, rows in trials.items():
            model, found = improved(policy, by_model(proxy), judge, number, beta=float(name),
                                    lr=SLOW)
            rows.append(found)
            if (name, number) == ("0", 0):
                kept = model.half().float()
                metrics = judge(kept)
    return kept.half(), dict(seed=0, steps=STEPS, seconds=round(time.process_time() - begun, 1), metrics=metrics,
                             trials=trials)


def counts_kl():
    """Lesson 74's repaired policy: the recipe of `counts_proxy` with a price of 1 for each nat of distance from
    `counts_policy`. Weights kept as float16."""
    policy, proxy, begun = load_checkpoint("counts_policy"), load_checkpoint("counts_reward"), time.process_time()
    judge = Judge(policy, proxy)
    model, _ = improved(policy, by_model(proxy), judge, 0, beta=BETA, lr=SLOW, every=STEPS)
    model = model.half().float()
    metrics = judge(model)
    return model.half(), dict(seed=0, steps=STEPS, seconds=round(time.process_time() - begun, 1), metrics=metrics)


# What lesson 74 tries with DPO: the learning rate, and the weight of the better answers' own surprise.
_DPO = {"rate 5e-4": (5e-4, 0.0), "rate 1e-4": (1e-4, 0.0), "rate 5e-4, better kept likely": (5e-4, 1.0)}


def counts_dpo():
    """Lesson 74's policy after 100 batches of 32 of DPO on the 500 pairs of `counts_reward`, beta 0.1, AdamW, rate
    1e-4. Weights kept as float16.

    `trials`: what the judge says every 20 steps and the mean log-probabilities of better and worse answers, for three
    settings and five seeds."""
    policy, trials, begun = load_checkpoint("counts_policy"), {name: [] for name in _DPO}, time.process_time()
    judge = Judge(policy)
    for number in SEEDS:
        pairs = labelled(policy, PAIRS, number)
        for name, (lr, likely) in _DPO.items():
            model, rows = directly(policy, pairs, judge, number, lr, likely=likely)
            trials[name].append(rows)
            if (name, number) == ("rate 1e-4", 0):
                kept = model.half().float()
                metrics = judge(kept)
    return kept.half(), dict(seed=0, steps=100, seconds=round(time.process_time() - begun, 1), metrics=metrics,
                             trials=trials)


def _ordered(pairs):
    """The same pairs with the better one by the gold reward first; ties are left out."""
    asked = {counts.decode(row[:N_PROMPT]): one for one in TRAIN for row in counts.prompts([one])}
    first, second = (golds([asked[counts.decode(row[:N_PROMPT])] for row in idx], idx)[:, 0]
                     for idx in (pairs[0], pairs[2]))
    swap, clear = (second > first)[:, None], first != second
    better, worse = torch.where(swap, pairs[2], pairs[0]), torch.where(swap, pairs[0], pairs[2])
    masks = torch.where(swap, pairs[3], pairs[1]), torch.where(swap, pairs[1], pairs[3])
    return better[clear], masks[0][clear], worse[clear], masks[1][clear]


@torch.no_grad()
def _agreement(model, pairs):
    """How often a reward model gives the better answer of a pair the higher reward."""
    high, low = reward(model, *pairs[:2], REWARD), reward(model, *pairs[2:4], REWARD)
    return round((high > low).double().mean().item(), 4)


def _answered(model, n):
    """n answers to each test question: which are right, and which refuse.  -> 2 x (100, n) bool"""
    idx, _ = answers(model, counts.prompts(TEST), n, N_ANSWER, END, generator=seeded(4))
    texts = [counts.decode(row) for row in idx[:, N_PROMPT:]]
    right = torch.tensor([counts.right(text, TEST[k // n]) for k, text in enumerate(texts)]).view(-1, n)
    return right, torch.tensor(["know" in text for text in texts]).view(-1, n)


def _passes(model):
    right, _ = _answered(model, 16)
    return [round(pass_at_k(right, k).mean().item(), 4) for k in (1, 8)]


def _refusals(model):
    right, refused = _answered(model, 4)
    known = torch.tensor([one.right is not None for one in TEST])
    return [round(part.double().mean().item(), 4) for part in (right[known], refused[known], refused[~known])]
