"""How much a model gives away about single training examples: attacks that guess who was in the training set, and
DP-SGD, a way of training that bounds every such attack, with the accountant that says by how much."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_lib.expect import above, between, same_shape, whole
from course_lib.metrics import nearest_neighbours

# --------------------------------------------------------------------------------------------------------------- attack

def roc(members: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Guess "was in the training set" where a score is high: what share of the others is accused, what share of the
    members found, for every threshold from the strictest on.  scores (n,), (m,) -> rates (k,), (k,) from 0 to 1."""
    _scores(members, others)
    scores = torch.cat([members, others])
    thresholds = scores.unique().flip(0)                                       # strictest first
    found, accused = ((s[:, None] >= thresholds).double().mean(0) for s in (members, others))
    zero = found.new_zeros(1)
    return torch.cat([zero, accused]), torch.cat([zero, found])


def auc(members: Tensor, others: Tensor) -> float:
    """The probability that a member has a higher score than another; ties count one half. 0.5 is guessing."""
    _scores(members, others)
    higher = (members[:, None] > others).double() + 0.5 * (members[:, None] == others).double()
    return higher.mean().item()


def found_at(members: Tensor, others: Tensor, accused: float = 0.01) -> float:
    """The share of members that are found when at most this share of the others is accused (Carlini et al., 2022).

    An attack that is sure of a few says more about privacy than one that is right a little more often than not."""
    between(0, 1, accused=accused)
    wrong, right = roc(members, others)
    return right[wrong <= accused].max().item()


def drawn_often(samples: Tensor, radius: float, at_least: int = 2) -> list[Tensor]:
    """Groups of samples that lie within `radius` of one of them, the largest group first: what a generator draws again
    and again it has probably learned by heart, and one needs no training data to find it (Carlini et al., 2023).

    Greedy: the sample with most others around it and all of these form a group and leave; then again, until no group
    has `at_least` members. Each group holds numbers of samples, the one in the middle first.  samples (n, d) -> (k,)"""
    above(0, radius=radius)
    whole(1, at_least=at_least)
    near = nearest_neighbours(samples, samples, len(samples))
    close = torch.zeros(len(samples), len(samples), dtype=torch.bool).scatter_(1, near[1], near[0] <= radius)
    groups = []
    while True:
        sizes = close.sum(1)                                                   # (n,) the sample itself among them
        middle = int(sizes.argmax())
        if sizes[middle] < at_least:
            return groups
        members = close[middle].nonzero().flatten()
        groups.append(torch.cat([members[members == middle], members[members != middle]]))
        close[members] = False
        close[:, members] = False


def _scores(members: Tensor, others: Tensor) -> None:
    for scores in (members, others):
        if scores.ndim != 1 or not len(scores) or not scores.is_floating_point():
            raise ValueError(f"scores of shape {tuple(scores.shape)} and {scores.dtype}: expected floats (n,)")
        if scores.is_cpu and scores.isnan().any():
            raise ValueError(f"{int(scores.isnan().sum())} of {len(scores)} scores are nan")


# --------------------------------------------------------------------------------------------------------------- DP-SGD

def clipped(gradients: Tensor, most: float) -> Tensor:
    """Each row shortened to length `most`, where it is longer.  (B, P) -> (B, P)"""
    above(0, most=most)
    same_shape(2, gradients=gradients)
    return gradients * (most / gradients.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)


def private_gradient(model: nn.Module, loss: Callable[..., Tensor], batch: tuple[Tensor, ...], most: float,
                     noise: float, generator: torch.Generator | None = None) -> float:
    """One step of DP-SGD (Abadi et al., 2016, algorithm 1), up to the optimiser: fills `.grad` of every parameter.

    The gradient of each example is clipped to length `most`; the sum gets normal noise of deviation noise * most, and
    is divided by the number of examples. loss(model, *one example with a batch axis of 1) -> ().  -> share clipped"""
    whole(1, n_example=len(batch[0]))
    above(0, most=most)
    if not noise >= 0:
        raise ValueError(f"noise={noise} must be at least 0")
    parameters = [p for p in model.parameters() if p.requires_grad]
    B, rows = len(batch[0]), []
    for i in range(B):
        gradients = torch.autograd.grad(loss(model, *(x[i:i + 1] for x in batch)), parameters)
        rows.append(torch.cat([g.flatten() for g in gradients]))
    rows = torch.stack(rows)                                                   # (B, P)
    total = clipped(rows, most).sum(0)
    total = total + noise * most * torch.randn(total.shape, generator=generator).to(total)
    for p, g in zip(parameters, (total / B).split([p.numel() for p in parameters])):
        p.grad = g.view_as(p).clone()
    return (rows.norm(dim=1) > most).double().mean().item()


def epsilon(share: float, noise: float, steps: int, delta: float, orders=range(2, 257)) -> float:
    """What DP-SGD has promised after so many steps: (epsilon, delta)-differential privacy.

    share: of the examples in a batch, each drawn by its own coin; noise: as in `private_gradient`. Rényi divergences of
    whole orders (Mironov, Talwar & Zhang, 2019, section 3.3) are added up over the steps, then turned into
    epsilon (Mironov, 2017, proposition 3), for the order that promises most."""
    between(0, 1, share=share, delta=delta)
    above(0, noise=noise, delta=delta)
    whole(0, steps=steps)
    if share == 0 or steps == 0:
        return 0.0
    return min(steps * _renyi(share, noise, order) + math.log(1 / delta) / (order - 1) for order in orders)


def _renyi(share: float, noise: float, order: int) -> float:
    """Rényi divergence of one step: the log of sum_k C(order, k) (1 - q)^(order - k) q^k exp((k^2 - k) / (2 noise^2)),
    divided by order - 1"""
    if share == 1:
        return order / (2 * noise**2)
    k = torch.arange(order + 1, dtype=torch.float64)
    n = torch.tensor(float(order), dtype=torch.float64)
    ways = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
    terms = ways + (n - k) * math.log1p(-share) + k * math.log(share) + (k**2 - k) / (2 * noise**2)
    return terms.logsumexp(0).item() / (order - 1)
