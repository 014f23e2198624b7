"""The checks of exercise 41: modes of a ring, two losses, the slope of a network, a loop with a bug, a divergence."""

import math
import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, Mistake, conform, filled, flat, rand

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


def _ring(x, centres, radius, least, distance=torch.cdist, found=lambda good, near, mine: good.sum(0),
          enough=lambda count, least: count >= least, share=lambda good, near, found: good.any(1)):
    """From the samples near each centre, those that belong to it, and those that do both, all (N, K)."""
    d = distance(x, centres)
    near, mine = d <= radius, d == d.amin(1, keepdim=True)
    modes = enough(found(near & mine, near, mine), least)
    return modes.sum(), share(near & mine, near, modes).double().mean()


FOUND, SHARE = dict(found=lambda good, near, mine: near.sum(0)), dict(share=lambda good, near, found: near.sum(1))
ring_score = Implementation(
    "ring_score", right=_ring,
    cases=_clouds,
    returns=("number of modes found", "share of good samples"),
    slips=[
        ("a distance is the root of the sum of the squared differences: {}",
         ("yours has no root", dict(distance=lambda x, c: torch.cdist(x, c).square())),
         ("you compare each coordinate, a square", dict(distance=lambda x, c: (x[:, None] - c).abs().amax(2))),
         ("you added up the absolute differences", dict(distance=lambda x, c: (x[:, None] - c).abs().sum(2)))),
        ("a mode is found if at least `least` good samples belong to it: {}",
         ("in yours a single one is enough", dict(enough=lambda count, least: count >= 1)),
         ("in yours exactly `least` are too few", dict(enough=torch.gt)),
         ("you count the modes that are missed", dict(enough=torch.lt))),
        ("where two circles overlap, a sample in both belongs to its nearest centre only, and yours counts twice, {}",
         ("for the modes and for the share", FOUND | SHARE), ("for the modes", FOUND), ("in the share", SHARE)),
        ("the second value is the share of the N samples that are good, a number between 0 and 1: {}",
         ("yours is how many are good", dict(share=lambda good, near, found: good.sum())),
         ("you divide by the number of centres", dict(share=lambda good, near, found: good.sum(0))),
         ("you took the mean over all N x K pairs of a sample and a centre",
          dict(share=lambda good, near, found: good), FOUND | dict(share=lambda good, near, found: near)),
         ("yours is that of the *modes* that are found", dict(share=lambda good, near, found: found)),
         ("yours leaves out those of missed modes", dict(share=lambda good, near, found: good[:, found].any(1))),
         ("yours is in percent", dict(share=lambda good, near, found: 100 * good.any(1))),
         ("yours is the share of those that are *not* good", dict(share=lambda good, near, found: ~good.any(1)))),
        ("you look for the sample that is nearest to each centre: each *sample* belongs to its nearest centre",
         dict(found=lambda good, near, mine: near.any(0), enough=lambda any, least: any,
              share=lambda good, near, found: near.any(0))),
        ("you added up the wrong axis: you count samples with enough centres nearby, not centres with enough samples",
         dict(found=lambda good, near, mine: near.sum(1)), SHARE | dict(found=lambda good, near, mine: near.sum(1))),
        ("you count for a mode every sample that is nearest to it, however far: only those within the radius are good",
         dict(found=lambda good, near, mine: mine.sum(0))),
    ],
    hints=("Draw three samples and two circles that overlap, one sample in both. To which centre does each belong?",
           "Take the smallest distance of each sample, and the number of the centre that it belongs to. Good are those "
           "within the radius. Count the numbers of the good ones, centre by centre, and compare with `least`.",
           "distance, nearest = torch.cdist(x, centres).min(1)\n"
           "good = distance <= radius\n"
           "count = nearest[good].bincount(minlength=len(centres))\n"
           "(count >= least).sum(), good.float().mean()"),
    rtol=1e-3, atol=1e-4)

# --- 2


def _logits(g: torch.Generator) -> list[tuple]:
    """Real and fake batches of different sizes; in the last case a discriminator that is far too sure, and wrong."""
    moderate = [(2 * rand(g, n).clamp(-2, 2) + 0.5, 2 * rand(g, m).clamp(-2, 2) - 0.7, t)
                for n, m, t in ((1, 2, 0.9), (3, 1, 0.8), (2, 5, 0.7), (4, 3, 1.0))]
    real, fake = torch.tensor([250.0, -300.0, 2.0]), torch.tensor([-280.0, 320.0])
    return [*moderate, (real + rand(g, 3), fake + rand(g, 2), 0.9)]


def _stable(s, t):
    """The cross-entropy of each logit, when the probability of "real" should be t."""
    return t * F.softplus(-s) + (1 - t) * F.softplus(s)


def _naive(s, t):
    real, fake = torch.log(torch.sigmoid(s)), torch.log(1 - torch.sigmoid(s))
    return -(real if t == 1 else fake if t == 0 else t * real + (1 - t) * fake)


def _bce(s, t):
    return F.binary_cross_entropy(torch.sigmoid(s), torch.full_like(s, t), reduction="none")


def _losses(real_logits, fake_logits, target, nll=_stable, want=lambda t: (t, 0.0, 1.0),
            mean=lambda nats: nats.mean(), put=lambda r, f, g, t: (r + f, g)):
    """`want` is what the discriminator shall say on real and on fake examples, and what the generator wants of it."""
    real, fake, asked = want(target)
    return put(mean(nll(real_logits, real)), mean(nll(fake_logits, fake)), mean(nll(fake_logits, asked)), target)


NLL = _stable, _naive, _bce                      # safe for large logits, and not


def _any(**change) -> tuple[dict, ...]:
    return tuple(dict(change, nll=nll) for nll in NLL)


losses = Implementation(
    "losses", right=_losses,
    cases=_logits,
    gradient=("real_logits", "fake_logits"),
    returns=("discriminator's loss", "generator's loss"),
    slips=[
        ("right for moderate logits, and wrong for 300 or -300, where the sigmoid is rounded to 0 or 1 before you take "
         "its logarithm (a small number added, or a clamp, hides the problem and does not repair it)", {4},
         "Which function of a logit is minus the logarithm of its sigmoid, without a sigmoid?"),
        ("on real examples the discriminator shall say `target`, and on fakes 0: {}",
         ("target is not used", *_any(want=lambda t: (1.0, 0.0, 1.0))),
         ("you smoothed the fakes as well, and it is *one-sided*", *_any(want=lambda t: (t, 1 - t, 1.0))),
         ("you smoothed the fakes and not the real examples", *_any(want=lambda t: (1.0, 1 - t, 1.0))),
         ("yours are swapped", *_any(want=lambda t: (0.0, t, 1.0))),
         ("on fakes, yours is the generator's, -log D, and must be -log(1 - D)", *_any(want=lambda t: (t, 1.0, 1.0))),
         ("you scale -log D by target, and the other half, -(1 - target) log(1 - D), is missing",
          *_any(want=lambda t: (1.0, 0.0, 1.0), put=lambda r, f, g, t: (t * r + f, g))),
         ("you use target to weigh real examples against fakes, and both count fully",
          *_any(want=lambda t: (1.0, 0.0, 1.0), put=lambda r, f, g, t: (t * r + (1 - t) * f, g)))),
        ("the generator wants its fakes to be called real with probability 1, so its loss is -log D: {}",
         ("you smoothed it", *_any(want=lambda t: (t, 0.0, t))),
         ("you smoothed all three targets", *_any(want=lambda t: (t, 1 - t, t))),
         ("with -log(1 - D) it would learn to be caught", *_any(want=lambda t: (t, 0.0, 0.0))),
         ("yours is the saturating one, log(1 - D)",
          *_any(want=lambda t: (t, 0.0, 0.0), put=lambda r, f, g, t: (r + f, -g))),
         ("yours is minus the discriminator's, the saturating game", *_any(put=lambda r, f, g, t: (r + f, -r - f)))),
        ("everything is upside down: real examples shall have large logits, and fakes small ones",
         *_any(want=lambda t: (1 - t, 1.0, 0.0))),
        ("a loss is minus a logarithm, and it is minimised: {}",
         ("both of your signs are wrong", *_any(put=lambda r, f, g, t: (-r - f, -g))),
         ("the sign of the discriminator's is wrong", *_any(put=lambda r, f, g, t: (-r - f, g)))),
        ("each loss is made of means over one batch, and the discriminator's is the sum of two: {}",
         ("you took one mean over real and fake examples together",
          *(lambda r, f, t, nll=nll: (torch.cat([nll(r, t), nll(f, 0.0)]).mean(), nll(f, 1.0).mean()) for nll in NLL)),
         ("yours is half of it", *_any(put=lambda r, f, g, t: ((r + f) / 2, g))),
         ("yours are sums over the batch", *_any(mean=Tensor.sum))),
        ("the discriminator's loss comes first, and then the generator's", *_any(put=lambda r, f, g, t: (g, r + f))),
        ("the values are right, but no gradient of the discriminator's loss reaches fake_logits: you detach them",
         *_any(put=lambda r, f, g, t: (r + f.detach(), g))),
        ("D is the sigmoid of the logit: {}",
         ("you took the logarithm of the logit itself", lambda r, f, t: (
             -(t * r.log() + (1 - t) * (1 - r).log()).mean() - (1 - f).log().mean(), -f.log().mean())),
         ("you took it twice, and softplus wants logits", dict(nll=lambda s, t: _stable(s.sigmoid(), t))),
         ("the logits come first, and then the targets", dict(nll=lambda s, t: _stable(torch.full_like(s, t), s)))),
    ],
    hints=("Take one real and one fake example, both with the logit 0, so that D is 1/2: the losses are 1.386 and "
           "0.693. Which of the three terms is not as it should be?",
           "Minus log D is softplus of minus the logit, and minus log(1 - D) is softplus of the logit. Weigh the two "
           "by target and 1 - target on real examples. Fakes: the second, and for the generator the first.",
           "real = target * softplus(-real_logits) + (1 - target) * softplus(real_logits)\n"
           "real.mean() + softplus(fake_logits).mean(), softplus(-fake_logits).mean()"),
    rtol=1e-3, atol=1e-4)

# --- 3

ADVICE = {                                         # for errors of autograd
    "does not require grad": "autograd has not followed x through the discriminator: x.requires_grad_() must stand "
                             "before it, and no torch.no_grad() around it",
    "not have been used in the graph": "the logits do not depend on the tensor that you differentiate by: give the "
                                       "discriminator that very tensor, the one with requires_grad_()",
    "only for scalar outputs": "autograd.grad differentiates one number, and you gave it the logits of a whole batch: "
                               "add them up first, as each depends on its own example only",
    "graph a second time|by an inplace": "the discriminator's loss reaches back into the generator: give it "
                                         "fake.detach(), as the code did",
}
CUT = {"does not require grad": "a loss does not depend on any parameter, its way back is cut: is there a no_grad(), a "
                                "detach() or an item() between the networks and its backward()?"}   # with two players


def _advised(fn, *arguments, advices=ADVICE):
    try:
        return fn(*arguments)
    except Mistake as mistake:
        for words, advice in advices.items():
            if re.search(words, str(mistake)):
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


def _slope(discriminator, x, of=lambda s: s.sum(), then=lambda g: g.square().flatten(1).sum(1)):
    """then(gradient of `of` the logits), differentiable."""
    x = x.detach().requires_grad_()
    return then(torch.autograd.grad(of(discriminator(x)), x, create_graph=True)[0])


def _backward(discriminator, x):
    discriminator(x).sum().backward()
    return _slope(discriminator, x)


squared_slope = Implementation(
    "squared_slope", right=_slope,
    run=_run_slope,
    cases=_networks,
    gradient=("discriminator",),
    slips=[
        ("the values are right, but no gradient flows from them to the discriminator's parameters: autograd.grad(..., "
         "create_graph=True) keeps the graph; .detach() and torch.tensor() cut it",
         lambda *case: _slope(*case).detach()),
        ("the values are right, but your .backward() fills the .grad of the discriminator's parameters, {}: use "
         "torch.autograd.grad",
         ("and it ends the graph, so that no gradient can flow on", lambda *case: _backward(*case).detach()),
         ("where it would be added to the next step", _backward)),
        ("the squared length is the sum of the squares of all numbers of an example's gradient: {}",
         ("you took the root", dict(then=lambda g: g.flatten(1).norm(dim=1))),
         ("you took their mean", dict(then=lambda g: g.square().flatten(1).mean(1))),
         ("you have not squared them, and they cancel", dict(then=lambda g: g.flatten(1).sum(1))),
         ("you squared after the sum", dict(then=lambda g: g.flatten(1).sum(1).square())),
         ("you added up absolute values", dict(then=lambda g: g.flatten(1).abs().sum(1))),
         ("you have not added them up", dict(then=torch.square)),
         ("you added up one axis only, which is enough for points (B, D), and not for images (B, C, H, W)",
          dict(then=lambda g: g.square().sum(1)), dict(then=lambda g: g.square().sum(-1)))),
        ("one number for each example is asked for, shape (B,): {}",
         ("you took their mean", dict(then=lambda g: g.square().flatten(1).sum(1).mean())),
         ("you summed everything", dict(then=lambda g: g.square().sum())),
         ("you took the mean of everything", dict(then=lambda g: g.square().mean())),
         ("you summed over the examples", dict(then=lambda g: g.square().sum(0)))),
        ("you differentiate the *mean* of the logits, so every gradient is divided by B: differentiate their sum",
         dict(of=lambda s: s.mean())),
        ("the slope of the logit itself is asked for: this is that of {}",
         ("the probability", dict(of=lambda s: s.sigmoid().sum())),
         ("the loss, -log D", dict(of=lambda s: F.softplus(-s).sum())),
         ("the loss, -log(1 - D)", dict(of=lambda s: F.softplus(s).sum()))),
        ("this is the gradient with respect to the discriminator's parameters: that for x is asked for",
         lambda discriminator, x: sum(g.square().sum() for g in torch.autograd.grad(
             discriminator(x).sum(), discriminator.parameters(), create_graph=True))),
    ],
    hints=("Take a discriminator that is a plane, a linear layer with one output: its slope is its weight, everywhere. "
           "What does your function give for it, with one example and with three?",
           "Judge a copy of x that asks for gradients. As each logit depends on its own example alone, the gradient of "
           "their sum has a row for each. Keep its graph. Square it, and add up all axes but the first.",
           "x = x.detach().requires_grad_()\n"
           "slope, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)\n"
           "slope.flatten(1).square().sum(1)"),
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
    name, network, losses = (("discriminator", discriminator, d_loss) if d_opt.param_groups[0]["lr"] else
                             ("generator", generator, g_loss))
    return {f"{name}'s loss (one for each step)": losses,
            f"vector of the {name}'s parameters after {len(z)} step(s)": flat(network.parameters())}


def _step(generator, discriminator, g_opt, d_opt, real, z, clear=("gd", "d", ""), see=lambda fake: fake,
          d_loss=lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(), g_loss=lambda f: F.softplus(-f).mean(),
          result=lambda d, g: (d, g)):
    """Whose gradients are cleared at the start, after g_opt.step(), and after d_loss.backward()."""
    first, then, late = ([{"g": g_opt, "d": d_opt}[who] for who in players] for players in clear)
    for opt in first:
        opt.zero_grad()
    fake = generator(z)
    g = g_loss(discriminator(see(fake)))
    g.backward()
    g_opt.step()
    for opt in then:
        opt.zero_grad()
    d = d_loss(discriminator(real), discriminator(fake.detach()))
    d.backward()
    for opt in late:
        opt.zero_grad()
    d_opt.step()
    return result(d.detach(), g.detach())


def _repaired_or_not(**change) -> tuple[dict, dict]:
    """A new mistake, in the repaired step and in the one that still has the bug."""
    return change, dict(change, clear=("gd", "", ""))


train_step = Implementation(
    "train_step", right=_step,
    run=_run_step,
    cases=_games,
    slips=[
        ("the bug is still there: which gradients are stored in the discriminator when d_loss.backward() begins?",
         dict(clear=("gd", "", ""))),
        ("backward() adds to the gradients of all steps before, unless they are cleared: {}",
         ("in yours no gradients are cleared any more", dict(clear=("", "", ""))),
         ("the discriminator's never are now", dict(clear=("g", "", ""))),
         ("the discriminator is right now, and the generator's never are", dict(clear=("", "d", "")))),
        ("the discriminator never changes: you clear its gradients between d_loss.backward() and d_opt.step()",
         dict(clear=("gd", "d", "d"))),
        ("the generator never changes: its loss must see `fake` itself (no detach(), no no_grad()), and nothing may "
         "clear its gradients before g_opt.step()", *_repaired_or_not(see=lambda fake: fake.detach())),
        ("what each loss computes was right: {}",
         ("with softplus(+logit) the generator learns to be caught",
          *_repaired_or_not(g_loss=lambda f: F.softplus(f).mean())),
         ("now the generator's is the saturating one", *_repaired_or_not(g_loss=lambda f: -F.softplus(f).mean())),
         ("now the discriminator learns to call fakes real",
          *_repaired_or_not(d_loss=lambda r, f: F.softplus(r).mean() + F.softplus(-f).mean())),
         ("now the discriminator's is half of that",
          *_repaired_or_not(d_loss=lambda r, f: (F.softplus(-r).mean() + F.softplus(f).mean()) / 2))),
        ("the losses come back in the wrong order: the discriminator's comes first",
         *_repaired_or_not(result=lambda d, g: (g, d))),
    ],
    hints=("Just before the discriminator's backward(), print the gradients of its parameters. What should they be?",
           "The loss of the generator goes through the discriminator: its backward() leaves gradients in both, and "
           "adds to what is there. Clear the discriminator's after that, and before its own backward().",
           "g_opt.step()\nd_opt.zero_grad()\nd_loss = ..."),
    rtol=1e-3, atol=1e-4)

# --- 5


def _divergence(shares: Tensor, of=lambda js: js) -> float:
    """Jensen-Shannon divergence between eight equal modes and the same modes with these shares, in nats. The modes are
    15 standard deviations apart, so that nothing but the shares matters."""
    p, q = torch.full_like(shares, 1 / len(shares)), shares
    m = (p + q) / 2
    return of(float(torch.special.xlogy(p, p / m).sum() + torch.special.xlogy(q, q / m).sum()) / 2)


divergence = Measurement(
    "divergence",
    truth=_divergence,
    tolerance=0.08,
    slips=[
        ("this is twice the divergence: log 4 minus the loss is 2 JS", dict(of=lambda js: 2 * js)),
        ("this is the loss of the discriminator: the divergence is what it lacks to log 4, halved",
         dict(of=lambda js: 2 * math.log(2) - 2 * js)),
        ("this is half of the loss: how far is it below log 2?", dict(of=lambda js: math.log(2) - js)),
        ("the sign is wrong: a divergence is not negative", dict(of=lambda js: -js)),
        ("this is the loss minus log 4: the divergence is half of that, with the other sign",
         dict(of=lambda js: -2 * js)),
        ("this is in bits, or a share of log 2: nats are asked for", dict(of=lambda js: js / math.log(2))),
        ("this is half of the divergence: is your loss the mean of the two halves, and not their sum?",
         dict(of=lambda js: js / 2)),
    ],
    hints=("Too small? Your discriminator can still be better: train it for longer, or with more units. Too large? "
           "Take more samples, and others than those that it has been trained on.",
           "Train a network with two inputs and one output for some 500 steps of Adam (learning rate 3e-3), each with "
           "256 new samples of both. Its loss on 10,000 new samples of both lacks twice the divergence to log 4.",
           "d_loss, _ = losses(critic(ring.sample(10_000)), critic(forgetful(10_000)), 1.0)\n"
           "(math.log(4) - d_loss.item()) / 2"))
