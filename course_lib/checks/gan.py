"""The checks of exercise 41: modes of a ring, two losses, the slope of a network, a loop with a bug, a divergence."""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, Mistake, Slip, conform, filled, flat, rand

# --- 1


def _clouds(g: torch.Generator) -> list[tuple]:
    """Samples around each centre (2 radii apart or more): `inside` it, and some at a `corner`, inside the square around
    the circle only. In the fourth case two circles overlap, with the samples of the first in both."""
    cases = []
    for radius, least, inside, corner, far in ((0.5, 1, (1, 0, 0), 0, 0), (2.0, 2, (0, 2), 1, 0),
                                               (0.5, 2, (3, 2, 1, 0), 4, 2), (2.0, 2, (4, 0, 1), 0, 2),
                                               (0.5, 3, (2, 5, 3, 0, 4), 3, 1), (2.0, 1, (0, 0), 2, 3)):
        overlap = len(cases) == 3
        centres = 8 * radius * torch.arange(len(inside))[:, None] * torch.tensor([1.0, 0.5]) + rand(g, 1, 2)
        angle = torch.rand(sum(inside), generator=g) * 2 * math.pi
        if overlap:
            centres[1], angle = centres[0] + torch.tensor([1.3 * radius, 0]), angle / 10 - 0.3
        within = (0.8 + 0.1 * torch.rand(sum(inside), 1, generator=g)) * torch.stack([angle.cos(), angle.sin()], 1)
        if overlap:
            within *= 0.65                                        # nearer to the first centre than to the second
        x = torch.cat([centres.repeat_interleave(torch.tensor(inside), 0) + radius * within,
                       centres[:1] - radius * (0.8 + 0.1 * torch.rand(corner, 2, generator=g)),
                       centres[:1] - radius * (5 + torch.rand(far, 2, generator=g))])
        cases.append((x[torch.randperm(len(x), generator=g)], centres, radius, least))
    return cases


def _ring_score(distance=torch.cdist, found=None, share=None):
    """A right or wrong version, from the good samples of each mode, good (N, K), those near each, and all arguments."""
    def score(x, centres, radius, least):
        d = distance(x, centres)                                  # (N, K)
        near = d <= radius
        good = near & (d == d.amin(1, keepdim=True))
        return (found(good, near, least) if found else (good.sum(0) >= least).sum(),
                share(good, near, least) if share else good.any(1).double().mean())
    return score


def _swapped(good, near, least):
    return (near.sum(1) >= least).sum()


def _nearest_samples(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(0)
    return (nearest[d <= radius].bincount() >= least).sum(), (d <= radius).double().mean()


COUNT = "(count >= least).sum()"
SHARE = "(d.amin(1) <= radius).float().mean()"

ring_score = Implementation(
    "ring_score",
    right=_ring_score(),
    cases=_clouds,
    returns=("number of modes found", "share of good samples"),
    slips=[
        Slip(_ring_score(lambda x, c: torch.cdist(x, c).square()),
             "you compare the squared distance with the radius: take the root, or square the radius",
             "torch.cdist(x, centres) has the root already."),
        Slip(_ring_score(lambda x, c: (x[:, None] - c).abs().amax(2)),
             "you compare each coordinate with the radius, which is a square and no circle"),
        Slip(_ring_score(lambda x, c: (x[:, None] - c).abs().sum(2)),
             "you added up the absolute differences of the two coordinates: the distance is the root of the sum of "
             "their squares"),
        Slip(_ring_score(found=lambda good, near, least: (good.sum(0) >= 1).sum()),
             "a mode with a single good sample counts as found: it needs at least `least` of them", COUNT),
        Slip(_ring_score(found=lambda good, near, least: (good.sum(0) > least).sum()),
             "a mode with exactly `least` good samples is found, too: at least means >=", COUNT),
        Slip(_ring_score(found=lambda good, near, least: (near.sum(0) >= least).sum(),
                         share=lambda good, near, least: near.sum() / len(near)),
             "where two circles overlap, a sample in both counts twice, for the modes and for the share: it belongs to "
             "its nearest centre only"),
        Slip(_ring_score(found=lambda good, near, least: (near.sum(0) >= least).sum()),
             "where two circles overlap, a sample in both counts for two modes: it belongs to its nearest centre only"),
        Slip(_ring_score(share=lambda good, near, least: near.sum() / len(near)),
             "where two circles overlap, a sample in both counts twice in the share: is it near *some* centre, yes or "
             "no?", "Compare the smallest distance of each sample, d.amin(1), with the radius."),
        Slip(_ring_score(share=lambda good, near, least: good.sum()),
             "the second value is how many samples are good: their share is asked for, so divide by N"),
        Slip(_ring_score(share=lambda good, near, least: good.sum() / good.shape[1]),
             "the good samples are divided by the number of centres: their share of the N samples is asked for", SHARE),
        Slip((_ring_score(share=lambda good, near, least: good.double().mean()),
              _ring_score(found=lambda good, near, least: (near.sum(0) >= least).sum(),
                          share=lambda good, near, least: near.double().mean())),
             "you took the mean over all N x K pairs of a sample and a centre: the share of the N samples is asked for",
             SHARE),
        Slip((_ring_score(found=lambda good, near, least: near.any(0).sum(),
                          share=lambda good, near, least: near.any(0).double().mean()), _nearest_samples),
             "you look for the sample that is nearest to each centre: each *sample* belongs to its nearest centre",
             "d.min(1), over the centres, in place of d.min(0)."),
        Slip(_ring_score(share=lambda good, near, least: 100 * good.sum() / len(good)),
             "the second value is a percentage: a share is a number between 0 and 1", "Leave out the 100."),
        Slip(_ring_score(share=lambda good, near, least: (good.sum(0) >= least).double().mean()),
             "the second value is the share of the modes that are found: that of the *samples* that are good is asked "
             "for", SHARE),
        Slip(_ring_score(share=lambda good, near, least: good[:, good.sum(0) >= least].any(1).double().mean()),
             "your share leaves out good samples of modes that do not count as found: every good sample counts", SHARE),
        Slip(_ring_score(share=lambda good, near, least: 1 - good.any(1).double().mean()),
             "the second value is the share of samples that are *not* good", SHARE),
        Slip((_ring_score(found=_swapped),
              _ring_score(found=_swapped, share=lambda good, near, least: near.sum() / len(near))),
             "you added up the wrong axis: you count samples with enough centres nearby, not centres with enough "
             "samples", "For each centre, count its samples: .sum(0) of an (N, K) tensor."),
        Slip(lambda x, c, radius, least: (
            (torch.cdist(x, c).argmin(1).bincount(minlength=len(c)) >= least).sum(),
            (torch.cdist(x, c).amin(1) <= radius).double().mean()),
             "you count for a mode every sample that is nearest to it, however far: only those within the radius are "
             "good", "nearest[distance <= radius].bincount(minlength=len(centres))"),
        Slip(_ring_score(found=lambda good, near, least: (good.sum(0) < least).sum()),
             "the first value is how many modes are *missed*", COUNT),
    ],
    hint="d = torch.cdist(x, centres), shape (N, K). d.min(1) gives the distance to the nearest centre and its number. "
         "Keep the numbers of the good ones, count each with .bincount(minlength=K), and compare with least.",
    rtol=1e-3, atol=1e-4)

# --- 2


def _logits(g: torch.Generator) -> list[tuple]:
    """Real and fake batches of different sizes; in the last case a discriminator that is far too sure, and wrong."""
    moderate = [(2 * rand(g, n).clamp(-2, 2) + 0.5, 2 * rand(g, m).clamp(-2, 2) - 0.7, t)
                for n, m, t in ((1, 2, 0.9), (3, 1, 0.8), (2, 5, 0.7), (4, 3, 1.0))]
    real, fake = torch.tensor([250.0, -300.0, 2.0]), torch.tensor([-280.0, 320.0])
    return [*moderate, (real + rand(g, 3), fake + rand(g, 2), 0.9)]


def _both(r, f, t, nll):
    """Right, with nll(logits, target): the cross-entropy of each logit with this probability of "real"."""
    return nll(r, t).mean() + nll(f, 0.0).mean(), nll(f, 1.0).mean()


def _stable(s, t):
    return t * F.softplus(-s) + (1 - t) * F.softplus(s)


def _naive(s, t):
    real, fake = torch.log(torch.sigmoid(s)), torch.log(1 - torch.sigmoid(s))
    return -(real if t == 1 else fake if t == 0 else t * real + (1 - t) * fake)


def _bce(s, t):
    return F.binary_cross_entropy(torch.sigmoid(s), torch.full_like(s, t), reduction="none")


def _slip(formula, sentence: str, hint: str = "") -> Slip:
    """One mistake, in an answer that is safe for large logits and in two that are not."""
    return Slip(tuple(partial(formula, nll=nll) for nll in (_stable, _naive, _bce)), sentence, hint)


losses = Implementation(
    "losses",
    right=lambda real_logits, fake_logits, target: _both(real_logits, fake_logits, target, _stable),
    cases=_logits,
    gradient=("real_logits", "fake_logits"),
    returns=("discriminator's loss", "generator's loss"),
    slips=[
        Slip(None,
             "right for moderate logits, and wrong for 300 or -300, where the sigmoid is rounded to 0 or 1 before you "
             "take its logarithm (a small number added, or a clamp, hides the problem and does not repair it)",
             "-log sigmoid(a) = softplus(-a), and -log(1 - sigmoid(a)) = softplus(a): torch.nn.functional.softplus "
             "works on logits of any size. So does binary_cross_entropy_with_logits.", only=(4,)),
        _slip(lambda r, f, t, nll: _both(r, f, 1.0, nll),
              "target is not used: real examples shall be called real with probability target, not 1"),
        _slip(lambda r, f, t, nll: (t * nll(r, 1.0).mean() + nll(f, 0.0).mean(), nll(f, 1.0).mean()),
              "you have scaled the loss on real examples by target, and the other half is missing: "
              "-(1 - target) log(1 - D)",
              "-target log D - (1 - target) log(1 - D): its smallest value is at D = target."),
        _slip(lambda r, f, t, nll: (nll(r, t).mean() + nll(f, 1 - t).mean(), nll(f, 1.0).mean()),
              "you smoothed the target of the fakes as well: it stays 0, hence *one-sided*"),
        _slip(lambda r, f, t, nll: (nll(r, 1.0).mean() + nll(f, 1 - t).mean(), nll(f, 1.0).mean()),
              "you smoothed the fakes and not the real examples: the target of the real ones is `target`, that of the "
              "fakes stays 0"),
        _slip(lambda r, f, t, nll: (nll(r, t).mean() + nll(f.detach(), 0.0).mean(), nll(f, 1.0).mean()),
              "the values are right, but no gradient of the discriminator's loss reaches fake_logits: you detach them",
              "In the lesson's loop the fakes are detached, before the discriminator judges them, and not its logits."),
        _slip(lambda r, f, t, nll: (nll(r, t).mean() + nll(f, 0.0).mean(), nll(f, t).mean()),
              "you smoothed the generator's loss as well: it wants to be called real with probability 1"),
        _slip(lambda r, f, t, nll: (nll(r, t).mean() + nll(f, 1 - t).mean(), nll(f, t).mean()),
              "you smoothed all three targets: only that of the real examples is `target`; on fakes the "
              "discriminator wants 0 and the generator 1"),
        _slip(lambda r, f, t, nll: (nll(r, 1 - t).mean() + nll(f, 1.0).mean(), nll(f, 0.0).mean()),
              "everything is upside down: real examples shall have large logits, and fakes small ones"),
        _slip(lambda r, f, t, nll: (nll(r, t).mean() + nll(f, 1.0).mean(), nll(f, 1.0).mean()),
              "on fakes, the discriminator's loss is the generator's, -log D: it must be -log(1 - D)",
              "softplus(fake_logits).mean() for the discriminator, softplus(-fake_logits).mean() for the generator."),
        _slip(lambda r, f, t, nll: (t * nll(r, 1.0).mean() + (1 - t) * nll(f, 0.0).mean(), nll(f, 1.0).mean()),
              "you use target to weigh real against fake: both halves count fully, and target is what the "
              "discriminator shall say on real examples"),
        _slip(lambda r, f, t, nll: (nll(r, 0.0).mean() + nll(f, t).mean(), nll(f, 1.0).mean()),
              "the discriminator's targets are swapped: real examples have the target `target`, fakes 0"),
        _slip(lambda r, f, t, nll: (nll(r, t).mean() + nll(f, 0.0).mean(), nll(f, 0.0).mean()),
              "the generator's loss is -log(1 - D): it would learn to be caught"),
        _slip(lambda r, f, t, nll: (nll(r, t).mean() + nll(f, 0.0).mean(), -nll(f, 0.0).mean()),
              "the generator's loss is the saturating one, log(1 - D): the task asks for -log D"),
        _slip(lambda r, f, t, nll: (_both(r, f, t, nll)[0], -_both(r, f, t, nll)[0]),
              "the generator's loss is minus that of the discriminator: that is the saturating game, and the task "
              "asks for -log D on fakes"),
        _slip(lambda r, f, t, nll: tuple(-loss for loss in _both(r, f, t, nll)),
              "both signs are wrong: a loss is minus a logarithm, since logarithms of probabilities are negative"),
        _slip(lambda r, f, t, nll: (-_both(r, f, t, nll)[0], _both(r, f, t, nll)[1]),
              "the discriminator's loss has the wrong sign: it is minimised, like every loss here"),
        _slip(lambda r, f, t, nll: _both(r, f, t, nll)[::-1],
              "the two losses are in the wrong order: the discriminator's comes first", "return d_loss, g_loss"),
        _slip(lambda r, f, t, nll: (torch.cat([nll(r, t), nll(f, 0.0)]).mean(), nll(f, 1.0).mean()),
              "you took one mean over real and fake examples together: the task asks for the mean over the real ones "
              "*plus* the mean over the fakes"),
        _slip(lambda r, f, t, nll: (_both(r, f, t, nll)[0] / 2, nll(f, 1.0).mean()),
              "the discriminator's loss is half of what is asked for: the two means are added, not averaged"),
        _slip(lambda r, f, t, nll: (nll(r, t).sum() + nll(f, 0.0).sum(), nll(f, 1.0).sum()),
              "these are sums over the batch: the task asks for means", ".mean() in place of .sum()"),
        Slip(lambda r, f, t: _both(r, f, t, lambda s, t: _stable(torch.full_like(s, t), s)),
             "the logits and the targets have changed places: binary_cross_entropy_with_logits takes the logits first",
             "binary_cross_entropy_with_logits(real_logits, torch.full_like(real_logits, target))"),
        Slip(lambda r, f, t: (-(t * r.log() + (1 - t) * (1 - r).log()).mean() - (1 - f).log().mean(), -f.log().mean()),
             "you took the logarithm of the logits: D = sigmoid(logit) is the probability"),
        Slip(lambda r, f, t: _both(r.sigmoid(), f.sigmoid(), t, _stable),
             "the sigmoid is taken twice: softplus, logsigmoid and binary_cross_entropy_with_logits want logits, not "
             "probabilities", "Give them real_logits and fake_logits as they come."),
    ],
    hint="With D = sigmoid(logit), -log D = softplus(-logit) and -log(1 - D) = softplus(logit). Real examples: target "
         "times the first plus (1 - target) times the second. Fakes: the second for the discriminator, the first for "
         "the generator. Each is a mean over its own batch.",
    rtol=1e-3, atol=1e-4)

# --- 3

BACK = "the discriminator's loss reaches back into the generator: give it fake.detach(), as the code did"
ADVICE = {                                         # for errors of autograd
    "does not require grad": "autograd has not followed x through the discriminator: x.requires_grad_() must stand "
                             "before it, and no torch.no_grad() around it",
    "not have been used in the graph": "the logits do not depend on the tensor that you differentiate by: give the "
                                       "discriminator that very tensor, the one with requires_grad_()",
    "only for scalar outputs": "autograd.grad differentiates one number, and you gave it the logits of a whole batch: "
                               "add them up first, as each depends on its own example only",
    "backward through the graph a second time": BACK,
    "modified by an inplace operation": BACK,
}


CUT = {"does not require grad": "a loss does not depend on any parameter, its way back is cut: is there a no_grad(), a "
                                "detach() or an item() between the networks and its backward()?"}   # with two players


def _advised(fn, *arguments, advices=ADVICE):
    try:
        return fn(*arguments)
    except Mistake as mistake:
        for words, advice in advices.items():
            if words in str(mistake):
                raise Mistake(advice) from None
        raise


def _networks(g: torch.Generator) -> list[tuple]:
    """Points and images; the logits have the shape (B, 1), or (B,) in the third and the last case."""
    cases = []
    for i, shape in enumerate([(1, 2), (3, 2), (4, 3), (3, 1, 2, 4), (2, 2, 3, 3)]):
        network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape[1:]), 5), nn.Tanh(), nn.Linear(5, 1),
                                *[nn.Flatten(0)] * (i in (2, 4)))
        cases.append((filled(network, g), rand(g, *shape)))
    return cases


def _run_slope(fn, discriminator, x):
    value = _advised(fn, discriminator, x)
    left = flat(torch.zeros_like(p) if p.grad is None else p.grad for p in discriminator.parameters())
    return {"": value, "content of .grad of the discriminator's parameters after a call": left}


def _slope(of=lambda s: s.sum(), then=lambda g: g.flatten(1).square().sum(1)):
    """then(gradient of `of` the logits), differentiable."""
    def slope(discriminator, x):
        x = x.detach().requires_grad_()
        return then(torch.autograd.grad(of(discriminator(x)), x, create_graph=True)[0])
    return slope


def _leaves_gradients(discriminator, x):
    parameters = list(discriminator.parameters())
    for p, g in zip(parameters, torch.autograd.grad(discriminator(x).sum(), parameters)):
        p.grad = g
    return _slope()(discriminator, x)


def _by_parameters(discriminator, x):
    gradients = torch.autograd.grad(discriminator(x).sum(), discriminator.parameters(), create_graph=True)
    return sum(g.square().sum() for g in gradients)


squared_slope = Implementation(
    "squared_slope",
    right=_slope(),
    run=_run_slope,
    cases=_networks,
    gradient=("discriminator",),
    slips=[
        Slip(lambda discriminator, x: _slope()(discriminator, x).detach(),
             "the values are right, but no gradient flows from them to the discriminator's parameters: "
             "autograd.grad(..., create_graph=True) keeps the graph; .detach() and torch.tensor() cut it"),
        Slip(lambda discriminator, x: _leaves_gradients(discriminator, x).detach(),
             "the values are right, but .backward() ends the graph, so no gradient can flow on from them, and it fills "
             "the .grad of the discriminator's parameters: use torch.autograd.grad"),
        Slip(_leaves_gradients,
             "the values are right, but your .backward() has also filled the .grad of the discriminator's parameters, "
             "where it would be added to the next step: use torch.autograd.grad"),
        Slip(_slope(then=lambda g: g.flatten(1).square().sum(1).sqrt()),
             "you took the root: the *squared* length of the gradient is asked for", "Leave out the root."),
        Slip(_slope(then=lambda g: g.flatten(1).square().mean(1)),
             "you took the mean over the coordinates (or pixels): the squared length of a vector is the sum of their "
             "squares"),
        Slip(_slope(then=lambda g: g.flatten(1).square().sum(1).mean()),
             "you took the mean over the batch: one number for each example is asked for, shape (B,)",
             "Leave out the last .mean()."),
        Slip(_slope(then=lambda g: g.square().sum()),
             "you summed everything to one number: one for each example is asked for, shape (B,)"),
        Slip(_slope(then=lambda g: g.square().mean()),
             "you took the mean of everything: one sum of squares for each example is asked for, shape (B,)"),
        Slip(_slope(of=lambda s: s.mean()),
             "you differentiate the *mean* of the logits, so every gradient is divided by B: differentiate their sum",
             "discriminator(x).sum()"),
        Slip(_slope(of=lambda s: s.sigmoid().sum()),
             "this is the slope of the probability: that of the logit is asked for", "Leave out the sigmoid."),
        Slip(_slope(of=lambda s: F.softplus(-s).sum()),
             "this is the slope of the loss -log D: that of the logit itself is asked for",
             "Differentiate discriminator(x).sum()."),
        Slip(_slope(then=lambda g: g.flatten(1).sum(1)),
             "you have not squared the gradient: positive and negative numbers cancel"),
        Slip(_slope(then=lambda g: g.flatten(1).sum(1).square()),
             "you squared the sum: the sum of the squares is asked for", ".square() before .sum(1)"),
        Slip(_slope(then=lambda g: g.flatten(1).abs().sum(1)), "you added up absolute values: squares are asked for"),
        Slip(_slope(then=lambda g: g.square()),
             "these are the squares of all entries of the gradient: add up those of each example, shape (B,)",
             ".flatten(1).sum(1)"),
        Slip(_slope(then=lambda g: g.square().sum(0)),
             "you summed over the first axis, which are the examples: sum over all the others"),
        Slip((_slope(then=lambda g: g.square().sum(1)), _slope(then=lambda g: g.square().sum(-1))),
             "right for points (B, 2), but of an image (B, C, H, W) you sum over one axis only: sum over all but the "
             "first", "g.flatten(1) has the shape (B, C * H * W)."),
        Slip(_by_parameters,
             "this is the gradient with respect to the discriminator's parameters: that for x is asked for"),
    ],
    hint="x = x.detach().requires_grad_(); then g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True) "
         "has the shape of x. Flatten all axes but the first, square, and sum over axis 1.",
    rtol=1e-3, atol=1e-4)

# --- 4


def _games(g: torch.Generator) -> list[tuple]:
    """Two tiny networks of which one learns, the step size of the other being 0: so it makes no difference who moves
    first. What they see in each step: real (steps, B, 2) and z (steps, B, 3)."""
    cases = []
    for steps, n, learns in ((1, 3, "d"), (3, 4, "g"), (2, 4, "d"), (1, 2, "g"), (3, 1, "d"), (4, 1, "g")):
        networks = [filled(nn.Sequential(nn.Linear(i, 4), nn.Tanh(), nn.Linear(4, o)), g, 0.5)    # a slope everywhere
                    for i, o in ((3, 2), (2, 1))]
        optimisers = [torch.optim.SGD(m.parameters(), lr=0.3 * (who == learns)) for m, who in zip(networks, "gd")]
        cases.append((*networks, *optimisers, rand(g, steps, n, 2), rand(g, steps, n, 3)))
    return cases


def _run_step(fn, generator, discriminator, g_opt, d_opt, real, z):
    said = []
    for batch in zip(real, z):
        result = _advised(fn, generator, discriminator, g_opt, d_opt, *batch, advices=ADVICE | CUT)
        said.append([v.detach() for v in conform("train_step", result, (torch.zeros(()), torch.zeros(()))).values()])
    d_loss, g_loss = (torch.stack(losses) for losses in zip(*said))
    if d_opt.param_groups[0]["lr"]:
        return {"discriminator's loss (one for each step)": d_loss,
                f"vector of the discriminator's parameters after {len(z)} step(s)": flat(discriminator.parameters())}
    return {"generator's loss (one for each step)": g_loss,
            f"vector of the generator's parameters after {len(z)} step(s)": flat(generator.parameters())}


def _step(clear_first="gd", clear_then="d", clear_late="", see=lambda fake: fake, result=lambda d, g: (d, g),
          d_loss=lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(), g_loss=lambda f: F.softplus(-f).mean()):
    """A repaired or broken step: whose gradients are cleared first, after g_opt.step(), after d_loss.backward()."""
    def train_step(generator, discriminator, g_opt, d_opt, real, z):
        def clear(who):
            for w in who:
                {"g": g_opt, "d": d_opt}[w].zero_grad()

        clear(clear_first)
        fake = generator(z)
        g = g_loss(discriminator(see(fake)))
        g.backward()
        g_opt.step()
        clear(clear_then)
        d = d_loss(discriminator(real), discriminator(fake.detach()))
        d.backward()
        clear(clear_late)
        d_opt.step()
        return result(d.detach(), g.detach())
    return train_step


def _with_and_without_bug(sentence: str, hint: str = "", **changes) -> Slip:
    hint = hint or "What each loss computes was right. Compare the order of backward(), zero_grad() and step()."
    return Slip(tuple(_step(clear_then=then, **changes) for then in ("d", "")), sentence, hint)


CLEAR = "d_opt.zero_grad() must stand after g_loss.backward() and before d_loss.backward()."

train_step = Implementation(
    "train_step",
    right=_step(),
    run=_run_step,
    cases=_games,
    slips=[
        Slip(_step(clear_then=""),
             "the bug is still there: which gradients are stored in the discriminator when d_loss.backward() begins?",
             "backward() computes gradients for all parameters on the way from a loss to z, and adds them to what is "
             "there: g_loss.backward() fills the discriminator's, too. " + CLEAR),
        Slip(_step(clear_first="", clear_then=""),
             "no gradients are cleared any more: backward() adds to those of all steps before", CLEAR),
        Slip(_step(clear_first="g", clear_then=""),
             "the discriminator's gradients are never cleared now: backward() adds to those of all steps before",
             CLEAR),
        Slip(_step(clear_first=""),
             "the discriminator is right now, but the generator's gradients are never cleared",
             "Keep g_opt.zero_grad() before g_loss.backward()."),
        Slip(_step(clear_late="d"),
             "the discriminator never changes: you clear its gradients between d_loss.backward() and d_opt.step()",
             CLEAR),
        _with_and_without_bug(
            "the generator never changes: its loss must see `fake` itself (no detach(), no no_grad()), and nothing may "
            "clear its gradients before g_opt.step()",
            "discriminator(fake) for the generator's loss, discriminator(fake.detach()) for the discriminator's.",
            see=lambda fake: fake.detach()),
        _with_and_without_bug("the generator's loss has turned round: with softplus(+logit) it learns to be caught",
                              g_loss=lambda f: F.softplus(f).mean()),
        _with_and_without_bug("you made the generator's loss the saturating one: the losses were right",
                              g_loss=lambda f: -F.softplus(f).mean()),
        _with_and_without_bug("the discriminator's loss is upside down now: it learns to call fakes real",
                              d_loss=lambda r, f: F.softplus(r).mean() + F.softplus(-f).mean()),
        _with_and_without_bug("you halved the discriminator's loss: the losses were right",
                              d_loss=lambda r, f: (F.softplus(-r).mean() + F.softplus(f).mean()) / 2),
        _with_and_without_bug("the losses come back in the wrong order: the discriminator's comes first",
                              "return d_loss.item(), g_loss.item()", result=lambda d, g: (g, d)),
    ],
    hint="Just before d_loss.backward(), print the gradients that the discriminator's parameters have. What should "
         "they be?",
    rtol=1e-3, atol=1e-4)

# --- 5


def _divergence(shares: Tensor) -> float:
    """Jensen-Shannon divergence between eight equal modes and the same modes with these shares, in nats. The modes are
    15 standard deviations apart, so that nothing but the shares matters."""
    p, q = torch.full_like(shares, 1 / len(shares)), shares
    m = (p + q) / 2
    return float(torch.special.xlogy(p, p / m).sum() + torch.special.xlogy(q, q / m).sum()) / 2


divergence = Measurement(
    "divergence",
    truth=_divergence,
    tolerance=0.08,
    slips=[
        Slip(lambda shares: 2 * _divergence(shares), "this is twice the divergence: log 4 minus the loss is 2 JS"),
        Slip(lambda shares: 2 * math.log(2) - 2 * _divergence(shares),
             "this is the loss of the discriminator: the divergence is what it lacks to log 4, halved"),
        Slip(lambda shares: math.log(2) - _divergence(shares),
             "this is half of the loss: how far is it below log 2?", "JS = log 2 - loss / 2"),
        Slip(lambda shares: -_divergence(shares), "the sign is wrong: a divergence is not negative"),
        Slip(lambda shares: -2 * _divergence(shares),
             "this is the loss minus log 4: the divergence is half of that, with the other sign"),
        Slip(lambda shares: _divergence(shares) / math.log(2),
             "this is in bits, or a share of log 2: nats are asked for", "(math.log(4) - loss) / 2"),
        Slip(lambda shares: _divergence(shares) / 2,
             "this is half of the divergence: is your loss the mean of the two halves, and not their sum?",
             "JS = (log 4 - loss) / 2, with the mean over real plus the mean over fake."),
    ],
    hint="Train a network with two inputs and one output for some 500 steps of Adam (learning rate 3e-3), each with "
         "256 new samples of both. Then measure its loss on 10,000 new samples of both: JS = (log 4 - loss) / 2. Too "
         "small a result means that the discriminator can still be better: train for longer, or with more units. Too "
         "large a result comes from few samples, or from those that it has been trained on.")
