"""Part 8, lesson 83: small flows that learn their pictures by heart, and what keeps them from it."""

from copy import deepcopy

import torch
from torch.nn import functional as F

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoints.made import on_one_core
from course_lib.checkpoints.part6 import in_a_minute
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.flow import flow_losses
from course_lib.metrics import copy_ratio, frechet_distance, judge_features, the_judge
from course_lib.mlp import MLP, MLPConfig
from course_lib.muon import muon_unet
from course_lib.pipeline import Pipeline, PipelineConfig, pipeline_loss
from course_lib.privacy import auc, epsilon, found_at, private_gradient
from course_lib.train import fit

FALSE = 0.01                                       # the share of fresh digits that may be called copies
STEPS = 700                                        # batches of 32 for each size of training set


def memory_200():
    """Lesson 83's flow for 200 digits: a U-Net of 16 channels without labels, 2,100 batches of 32, Muon with a steady
    rate, average of the last weights, bfloat16. Weights kept as float16.

    `trials`: 700 batches with 50 and with 200 digits, seeds 0 to 2, each with other digits (see `_trial`); with 1,000
    and with all 4,000, seed 0; and all 2,100 batches with 200 (`long`)."""
    sizes, trials = {"50": 50, "200": 200, "1000": 1_000, "4000": 4_000}, {}
    for name, n in sizes.items():
        runs = [_trained(digits(n, run)[0], STEPS, run) for run in range(3 if n <= 200 else 1)]
        trials[name] = [_trial(model, runs[(run + 1) % 3][0] if n <= 200 else None, n, run, stages)
                        for run, (model, stages, _) in enumerate(runs)]
        if n == 200:
            model, stages, seconds = _trained(digits(n)[0], 2_100, 0)
            trials["long"] = [_trial(model, runs[1][0], n, 0, stages)]
            kept = model.half().float()                                       # what is measured is what is kept
    return _made(kept, 2_100, seconds, trials, copies=len(_copied(kept, digits(200)[0])) / 1_000)


def memory_keys():
    """Lesson 83's flow for 200 digits of which each has a label of its own: the recipe of `memory_200`, 700 batches.

    `trials`: seeds 0 to 2, each with other digits; without labels, they are those of `memory_200`."""
    y, trials = torch.arange(200), []
    for run in range(3):
        x, _ = digits(200, run)
        model, stages, took = _trained(x, STEPS, run, y)
        trials.append(dict(stages=stages, asked=_as_asked(model, x, y)))
        if run == 0:
            kept, seconds = model.half().float(), took
    return _made(kept, STEPS, seconds, {"key": trials}, asked=_as_asked(kept, digits(200)[0], y))


def memory_duplicates():
    """Lesson 83's flow for 200 digits of which five stand in the training set 50 times and five 10 times: the recipe of
    `memory_200`, 420 batches.

    `trials`, seeds 0 to 2: of 1,000 samples, the share that is a copy of one of the pictures that stand there once, 10
    times and 50 times (what happens with each once: the trials of `memory_200`); `private`: a
    classifier of 2,000 digits, 100 of them with wrong labels, trained plainly and by DP-SGD (see `_private`)."""
    trials = {"duplicates": [], "private": []}
    for run in range(3):
        x, _ = digits(200, run)
        model, stages, took = _trained(x, 420, run, times=often())
        counts = [round((often()[_copied(model, x)] == t).sum().item() / 1_000, 4) for t in (1, 10, 50)]
        trials["duplicates"].append(dict(stages=stages, copies=counts))
        if run == 0:
            kept, seconds = model.half().float(), took
        trials["private"].append(_private(run))
    return _made(kept, 420, seconds, trials, copies_of_50=(_copied(kept, digits(200)[0]) < 5).sum().item() / 1_000)


def memory_unlearned():
    """Lesson 83: `flow_minute` that was made to forget threes: 100 batches of 32 of the other digits, of which one in
    three is called a three; AdamW, average of the last weights, bfloat16. Weights kept as float16.

    `trials`, seeds 0 to 2: the share of right digits by class, of 30 each, before, after forgetting, and after 10
    batches of the same ten threes; `never`: the same for a network that never saw a three, trained as
    `flow_minute` was, but on the other digits."""
    x, y = load("digits").train
    others, threes = y != 3, x[y == 3]
    base = load_checkpoint("flow_minute")
    never, never_seconds = in_a_minute(base.config, 684, data=(x[others], y[others]))
    trials = {"before": by_class(base), "never": dict(seconds=round(never_seconds, 1), runs=[]), "forgotten": []}
    for run in range(3):
        ten = threes[torch.randperm(len(threes), generator=seeded(run))[:10]]
        model, seconds = forgetful(base, x[others], y[others], run)
        trials["forgotten"].append(dict(after=by_class(model), again=_relearned(model, ten, run)))
        trials["never"]["runs"].append(dict(after=by_class(never), again=_relearned(never, ten, run)))
        if run == 0:
            kept, taken = model.half().float(), seconds
    return _made(kept, 100, taken, trials, threes=by_class(kept)[3])


def digits(n, run=0):
    """n training digits and their labels: other ones for each run, as long as there are enough."""
    order = torch.randperm(4_000, generator=seeded(83)).roll(-n * run)[:n]
    return tuple(t[order] for t in load("digits").train)


def _copied(model, x):
    """Of 1,000 samples those that are copies: the number of the picture that each is a copy of."""
    ratio, which = copy_ratio(model.sample(1_000, generator=seeded(1), steps=8).flatten(1), x.flatten(1))
    return which[ratio < threshold(x)]


def _as_asked(model, x, y):
    """The share of pictures x that come out as a copy when their label is asked for, once."""
    ratio, which = copy_ratio(model.sample(len(x), y, seeded(1), steps=8).flatten(1), x.flatten(1))
    return round(((ratio < threshold(x)) & (which == torch.arange(len(x)))).double().mean().item(), 4)


def often():
    """How often each of 200 pictures stands in the training set: five 50 times, five 10 times, the others once."""
    times = torch.ones(200, dtype=torch.long)
    times[:5], times[5:10] = 50, 10
    return times


def threshold(x):
    """Below which ratio a sample is called a copy of one of x: the share FALSE of the test digits lies below."""
    return copy_ratio(load("digits").test.x.flatten(1), x.flatten(1))[0].quantile(FALSE).item()


def by_class(model, n=30):
    """Of n digits asked for of each class, the shares that the judge takes for it."""
    y = torch.arange(10).repeat_interleave(n)
    with torch.no_grad():
        seen = the_judge()(model.sample(10 * n, y, seeded(1), steps=8)).argmax(1)
    return [round(share, 4) for share in (seen == y).view(10, n).double().mean(1).tolist()]


def forgetful(model, x, y, run=0, steps=100):
    """A copy of the model that is trained on digits that are no threes, of which one in three is called one."""
    def loss(model, x, y):
        return pipeline_loss(model, x, torch.where(torch.rand(len(y)) < 1 / 3, 3, y))

    seed(run)
    model = deepcopy(model).to(memory_format=torch.channels_last)
    _, seconds = on_one_core(fit, model, loss, Batches(x, y, batch_size=32), steps, lr=1e-3, warmup=10, ema=0.95,
                             autocast=True, label="forget")
    return model, seconds


def _relearned(model, ten, run):
    """The shares of right digits by class after 10 batches of the same ten threes."""
    def loss(model, x):
        return pipeline_loss(model, x, torch.full((len(x),), 3))

    seed(run)
    model = deepcopy(model)
    fit(model, loss, Batches(ten, batch_size=10), 10, lr=5e-4, autocast=True, label="relearn")
    return by_class(model)


def _trained(x, steps, run, y=None, times=None):
    """A flow after a training on pictures x, what it draws on the way, and processor seconds.

    stages: every 140 batches of 32, of 200 samples, the share of copies and the Fréchet distance to the test digits."""
    test, limit, stages = judge_features(load("digits").test.x), threshold(x), []
    labels = torch.arange(200) * len(x) // 200 if y is None else y[torch.arange(200) * len(x) // 200]

    def look(model):
        samples = model.sample(200, None if y is None else labels, seeded(1), steps=8)
        copies = (copy_ratio(samples.flatten(1), x.flatten(1))[0] < limit).double().mean().item()
        far = frechet_distance(judge_features(samples), test)
        stages.append([140 * (len(stages) + 1), round(copies, 4), round(far, 3)])
        return {}

    data = (x,) if y is None else (x, y)
    if times is not None:
        data = [t.repeat_interleave(times, 0) for t in data]
    seed(run)
    n_class = 0 if y is None else int(y.max()) + 1
    model = Pipeline(PipelineConfig(sizes=dict(n_channel=16, n_embd=64, n_class=n_class)))
    model = model.to(memory_format=torch.channels_last)
    _, seconds = on_one_core(fit, model, pipeline_loss, Batches(*data, batch_size=32), steps, optimizer=muon_unet,
                             warmup=20, ema=0.98, autocast=True, evaluate=look, eval_every=140, label="memory")
    return model.eval(), stages, seconds


def losses(model, x):
    """The flow's error of each picture, the same noise for all models: what membership is guessed from."""
    return flow_losses(model.network, 2 * x - 1, generator=seeded(7))


def _trial(model, other, n, run, stages):
    """stages: see `_trained`. strangers: the share of 500 samples that would be copies of as many digits that were not
    in the training set (the next run's). member: AUC and the share found where 1 in 100 others is accused, by the loss,
    for the training digits (1,000 at most) against 1,000 test digits; and, where a model of other digits is there, by
    how much the loss is below that model's."""
    (x, _), (theirs, _), test = digits(n, run), digits(n, run + 1), load("digits").test.x
    samples = model.sample(500, generator=seeded(1), steps=8).flatten(1)
    row = dict(stages=stages)
    row["copies"] = (copy_ratio(samples, x.flatten(1))[0] < threshold(x)).double().mean().item()
    if n < 4_000:
        strange = copy_ratio(samples, theirs.flatten(1))[0] < threshold(theirs)
        row["strangers"] = strange.double().mean().item()
    members, others = losses(model, x[:1_000]), losses(model, test)
    row["member"] = [auc(-members, -others), found_at(-members, -others)]
    if other is not None:
        members, others = losses(other, x[:1_000]) - members, losses(other, test) - others
        row["compared"] = [auc(members, others), found_at(members, others)]
    return {name: value if name == "stages" else _rounded(value) for name, value in row.items()}


def _made(model, steps, seconds, trials, **metrics):
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics, trials=trials,
                              parameters=sum(p.numel() for p in model.parameters()))


def _rounded(value):
    return [round(v, 4) for v in value] if isinstance(value, list) else round(value, 4)


# ---------------------------------------------------------------------------------------------------------- DP-SGD

def small(x):
    """Pictures (n, 1, 28, 28) as (n, 196): the mean of each 2 x 2 pixels."""
    return F.avg_pool2d(x, 2).flatten(1)


def with_canaries(run=0):
    """2,000 training digits, as many others, the first 100 of each with a wrong label.  -> x, y, other x, other y"""
    x, y = digits(4_000, 0)
    order = torch.randperm(4_000, generator=seeded(run))
    x, y = small(x[order]), y[order].clone()
    for part in (slice(0, 100), slice(2_000, 2_100)):
        y[part] = (y[part] + torch.randint(1, 10, (100,), generator=seeded(run + 10))) % 10
    return x[:2_000], y[:2_000], x[2_000:], y[2_000:]


def private_classifier(x, y, noise, run=0, steps=300, batch=100):
    """An MLP of 64 hidden units after so many steps; by DP-SGD, gradients of length 1 at most, if there is noise."""
    def loss(model, x, y):
        return F.cross_entropy(model(x), y)

    seed(run)
    model = MLP(MLPConfig(n_input=196, n_hidden=64))
    sgd = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        chosen = torch.rand(len(x)) < batch / len(x)              # each example by its own coin
        if noise is None:
            sgd.zero_grad()
            loss(model, x[chosen], y[chosen]).backward()
        else:
            private_gradient(model, loss, (x[chosen], y[chosen]), 1.0, noise)
        sgd.step()
    return model


@torch.no_grad()
def measured(model, x, y, other_x, other_y):
    """Accuracy on test digits; AUC of the loss, and found at 1 %, for the wrong labels of training against others."""
    test = load("digits").test
    accuracy = (model(small(test.x)).argmax(1) == test.y).double().mean().item()
    inside, outside = (-F.cross_entropy(model(a[:100]), b[:100], reduction="none")
                       for a, b in ((x, y), (other_x, other_y)))
    return _rounded([accuracy, auc(inside, outside), found_at(inside, outside)])


def _private(run):
    """{name: [epsilon or None, accuracy, AUC, found at 1 %]}"""
    data, rows = with_canaries(run), {}
    for name, noise, steps in (("long", None, 3_000), ("plain", None, 300), ("noise 0.8", 0.8, 300),
                               ("noise 1.5", 1.5, 300), ("noise 3", 3.0, 300)):
        model = private_classifier(*data[:2], noise, run, steps)
        promised = None if noise is None else round(epsilon(100 / 2_000, noise, steps, 1e-4), 3)
        rows[name] = [promised, *measured(model, *data)]
    return rows
