"""The checks of exercise 22: the best guess under noise, a loss that counts hidden patches only, descriptions that go
back to their places, a measurement."""

from functools import cache

import torch
from torch import Tensor

from course_lib import checkpoint
from course_lib.checks import Implementation, Measurement, rand
from course_lib.classify import predict
from course_lib.data import load
from course_lib.device import seeded
from course_lib.masked import choose, hidden_pixels, smooth_fill

# --- 1


def _points(g: torch.Generator) -> list[tuple]:
    """Told points among the possible ones, of unequal weight, and one far from all of them."""
    cases = []
    for B, K, D, noise in ((1, 2, 1, 1.0), (3, 4, 2, 0.7), (5, 3, 3, 1.6), (4, 6, 2, 0.5)):
        means, weights = 2 * rand(g, K, D), torch.rand(K, generator=g) + 0.2
        cases.append((means[torch.randint(K, (B,), generator=g)] + noise * rand(g, B, D), means,
                      weights / weights.sum() if K > 2 else torch.tensor([0.9, 0.1]), noise))
    return [*cases, (torch.tensor([[40.0, 40.0], [0.1, 0.2]]), rand(g, 3, 2), torch.tensor([0.2, 0.3, 0.5]), 0.6)]


FAR = {4}                                        # the case with the far point


def _squared(told: Tensor, means: Tensor) -> Tensor:
    return (told[:, None] - means).square().sum(2)                            # (B, K)


def _guess(told, means, weights, noise, distance=_squared, width=lambda noise: 2 * noise**2, prior=Tensor.log,
           share=lambda a: a.softmax(1), then=lambda guess, told, noise: guess, sign=-1.0) -> Tensor:
    return then(share(sign * distance(told, means) / width(noise) + prior(weights)) @ means, told, noise)


def _with_exp(told, means, weights, noise) -> Tensor:
    likely = weights * (-_squared(told, means) / (2 * noise**2)).exp()
    return likely @ means / likely.sum(1, keepdim=True)


def _not_normalised(told, means, weights, noise) -> Tensor:
    return ((-_squared(told, means) / (2 * noise**2)).softmax(1) * weights) @ means


best_guess = Implementation(
    "best_guess",
    right=_guess,
    cases=_points,
    slips=[
        ("far from all points every exp is 0, and 0 / 0 is nan: give the logarithms to softmax, which subtracts the "
         "largest first", _with_exp, FAR, "Print what exp(-1000) is. And the sum of three of them?"),
        ("the weights are {}: what is more probable beforehand counts more",
         ("missing", dict(prior=lambda w: 0 * w)),
         ("added as they are: beside a logarithm stands log(weights)", dict(prior=Tensor.clone)),
         ("multiplied after the softmax, so that the shares no longer sum to 1", _not_normalised)),
        ("the exponent is -distance^2 / (2 noise^2): {}",
         ("the 2 is missing", dict(width=lambda noise: noise**2)),
         ("you divide by 2 noise, without its square", dict(width=lambda noise: 2 * noise)),
         ("you divide by the noise", dict(width=lambda noise: noise)),
         ("you divide by noise^2 / 2", dict(width=lambda noise: noise**2 / 2)),
         ("you do not divide at all", dict(width=lambda noise: 1.0)),
         ("you take the mean over the D coordinates, and not their sum",
          dict(distance=lambda a, b: _squared(a, b) / a.shape[1])),
         ("your distance is not squared", dict(distance=lambda a, b: _squared(a, b).sqrt())),
         ("yours is positive, so that the farthest point counts most", dict(sign=1.0))),
        ("the shares of the K points sum to 1 for each told point: your softmax runs over the told points",
         dict(share=lambda a: a.softmax(0))),
        ("you return the most probable point: the cheapest guess is the mean of all, weighted by their shares",
         dict(share=lambda a: torch.nn.functional.one_hot(a.argmax(1), a.shape[1]).to(a.dtype))),
        ("you return the nearest point: the cheapest guess is the mean of all, weighted by their shares",
         lambda told, means, weights, noise: means[_squared(told, means).argmin(1)]),
        ("you return {}: asked is the guess itself",
         ("the step from the told point to the guess", dict(then=lambda guess, told, noise: guess - told)),
         ("the score, the step divided by noise^2", dict(then=lambda guess, told, noise: (guess - told) / noise**2))),
    ],
    hints=("Take two points, 1 and -1, noise 1, told 0.5, both with weight 0.5: which shares stand in the lesson?",
           "For each told point and each possible one: log(weight) - distance^2 / (2 noise^2), a matrix (B, K). A "
           "softmax over the K gives shares; the guess is the sum of the points, each times its share.",
           "squared = ((told[:, None] - means) ** 2).sum(2)\n"
           "(weights.log() - squared / (2 * noise**2)).softmax(1) @ means"),
    gradient=("told",), rtol=1e-3, atol=1e-4)

# --- 2


def _guesses(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 3, 2, 1), (3, 6, 4, 2), (2, 5, 3, 0), (4, 9, 2, 7))
    return [(rand(g, B, T, P), rand(g, B, T, P), choose(B, T, K, g)) for B, T, P, K in sizes]


def _loss(guess, patches, kept, counted=lambda hide: hide, pixels=lambda d: d.square().sum(2),
          over=lambda error, hide: (error * hide).sum() / hide.sum()) -> Tensor:
    hide = torch.ones(guess.shape[:2], dtype=torch.bool).scatter(1, kept, False)              # (B, T)
    return over(pixels(guess - patches), counted(hide))


hidden_loss = Implementation(
    "hidden_loss",
    right=_loss,
    cases=_guesses,
    slips=[
        ("you count {}: only what was hidden is an achievement",
         ("all patches", dict(counted=torch.ones_like)),
         ("the patches that were kept", dict(counted=lambda hide: ~hide),
          dict(counted=lambda hide: ~hide, over=lambda error, hide: error[hide].mean()))),
        ("the error is summed over the hidden patches, and divided by the number of {}",
         ("all patches", dict(over=lambda error, hide: (error * hide).mean())),
         ("images", dict(over=lambda error, hide: (error * hide).sum() / len(error))),
         ("patches in an image", dict(over=lambda error, hide: (error * hide).sum() / error.shape[1]))),
        ("each image hides patches of its own: you {}",
         ("took the choice of the first image for all of them", dict(counted=lambda hide: hide[:1].expand_as(hide))),
         ("count only what is hidden in all of them, since an index [:, kept] writes into every row",
          dict(counted=lambda hide: hide.all(0).expand_as(hide)),
          dict(counted=lambda hide: hide.all(0).expand_as(hide), over=lambda error, hide: error[hide].mean()))),
        ("over the pixels of a patch the squared errors are summed: {}",
         ("yours is their mean", dict(pixels=lambda d: d.square().mean(2))),
         ("yours are absolute errors", dict(pixels=lambda d: d.abs().sum(2))),
         ("you square after the sum, so that errors of opposite sign cancel", dict(pixels=lambda d: d.sum(2).square())),
         ("you take a root", dict(pixels=lambda d: d.square().sum(2).sqrt())),
         ("yours is half of that", dict(pixels=lambda d: d.square().sum(2) / 2))),
        ("yours is the sum over the hidden patches of all images: take the mean",
         dict(over=lambda error, hide: (error * hide).sum())),
        ("yours is a number for each image: take the mean over the images too",
         dict(over=lambda error, hide: (error * hide).sum(1) / hide.sum(1))),
    ],
    hints=("Which of the patches 0 ... T - 1 of the first image are hidden? Print them.",
           "Make a tensor (B, T) of True and write False where kept points to, in each row its own (scatter, or "
           "rows[:, None] as index). Square, sum over the pixels, and take the mean of what is True.",
           "hide = torch.ones(guess.shape[:2], dtype=torch.bool)\n"
           "hide[torch.arange(len(kept))[:, None], kept] = False\n"
           "((guess - patches) ** 2).sum(2)[hide].mean()"),
    gradient=("guess",), rtol=1e-3, atol=1e-4)

# --- 3


def _described(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2, 2, 4), (3, 3, 2, 6), (2, 1, 3, 5), (4, 5, 2, 7), (2, 4, 3, 4))
    return [(rand(g, B, K, C), choose(B, T, K, g), rand(g, C), T) for B, K, C, T in sizes]


def _assemble(h, kept, hidden_vector, n_patch, places=lambda kept: kept, empty=lambda vector: vector,
              values=lambda h: h) -> Tensor:
    B, _, C = h.shape
    everywhere = empty(hidden_vector).expand(B, n_patch, C)
    return everywhere.scatter(1, places(kept)[..., None].expand(-1, -1, C), values(h))


def _in_front(h, kept, hidden_vector, n_patch) -> Tensor:
    """The bug: descriptions in the order of the list, then the hidden vector."""
    return torch.cat([h, hidden_vector.expand(len(h), n_patch - h.shape[1], -1)], 1)


def _into_all(h, kept, hidden_vector, n_patch) -> Tensor:
    everywhere = hidden_vector.expand(len(h), n_patch, -1).clone()
    everywhere[:, kept] = h
    return everywhere


assemble = Implementation(
    "assemble",
    right=_assemble,
    cases=_described,
    slips=[
        ("the bug is still there: the descriptions stand in the first places, and not in those that their patches came "
         "from", _in_front),
        ("the descriptions stand in the last places, and not in those that their patches came from",
         lambda h, kept, vector, n: _in_front(h.flip(1), kept, vector, n).flip(1)),
        ("each image has a row of `kept` of its own: {}",
         ("all images got the places of the first one", dict(places=lambda kept: kept[:1].expand_as(kept))),
         ("all images got the descriptions of all, since an index [:, kept] writes into every row", _into_all)),
        ("you sorted `kept` and not the descriptions: h[b, i] belongs to patch kept[b, i], in this order",
         dict(places=lambda kept: kept.sort(1).values)),
        ("the order within an image is lost: h[b, i] belongs to patch kept[b, i]",
         dict(values=lambda h: h.flip(1)), dict(places=lambda kept: kept.argsort(1))),
        ("hidden places are {}: they get the vector hidden_vector",
         ("0", dict(empty=lambda vector: 0 * vector)), ("1", dict(empty=lambda vector: 0 * vector + 1))),
        ("you added the descriptions to hidden_vector: where something is known it takes the place of that vector",
         lambda h, kept, vector, n: _assemble(h + vector, kept, vector, n)),
    ],
    hints=("Take one image of four patches, of which number 2 and then number 0 were kept. Where must h[0, 0] stand, "
           "and where h[0, 1]?",
           "Begin with the hidden vector in all places, a copy, not only an expanded view. Then write h into the "
           "places that `kept` names, in each image its own: an index for the image, of shape (B, 1), beside `kept`.",
           "everywhere = hidden_vector.expand(len(h), n_patch, -1).clone()\n"
           "everywhere[torch.arange(len(h))[:, None], kept] = h"),
    gradient=("h", "hidden_vector"), rtol=1e-4, atol=1e-5)

# --- 4


@cache
def _recognised(n_keep: int = 9, way: str = "network") -> float:
    """Share of test digits that the judge names right after hidden patches were filled in, the mean of two draws."""
    x, y = load("digits").test
    model, judge, total = checkpoint.load("mae"), checkpoint.load("judge"), 0.0
    for i in range(2):
        kept = choose(len(x), 49, n_keep, seeded(100 + i))
        pictures = torch.where(hidden_pixels(x, kept, 4), 0, x)
        if way == "network":
            pictures = model.fill_in(x, kept)
        elif way == "neighbours":
            pictures = smooth_fill(x, kept, 4)
        total += (predict(judge, pictures).argmax(1) == y).double().mean().item()
    return total / 2


recognised_with_nine = Measurement(
    "recognised_with_nine",
    truth=_recognised,
    tolerance=0.07,
    slips=[
        ("this is the share with 12 patches kept, as in the lesson: keep 9", dict(n_keep=12)),
        ("this is the share with 9 patches *hidden*: keep 9 of the 49", dict(n_keep=40)),
        ("the judge saw blank patches: let the network fill them in first", dict(way="blank")),
        ("these are patches filled with their neighbours' grey (smooth_fill): let the network fill them in",
         dict(way="neighbours")),
        ("this is the share that the judge names *wrong*", lambda: 1 - _recognised()),
        ("this is a number of digits: a share is asked for", lambda: 1_000 * _recognised()),
    ],
    hints=("Draw ten of your pictures: how much of each digit is seen, and how much is the network's?",
           "Choose 9 patches for each of the 1,000 test digits, let `mae.fill_in` fill the rest, and compare the "
           "judge's largest logit with the label. Once more with another choice; the mean of the two.",
           "kept = choose(1000, 49, 9, seeded(0))\n"
           "(predict(judge, mae.fill_in(x_test, kept)).argmax(1) == y_test).double().mean()"))
