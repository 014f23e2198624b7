"""The checks of exercise 72: the way along an arc, sampling from a prior, pairs for its training, and what a text
difference has changed."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.checks import EULER_SLIPS, Implementation, Measurement, Mistake, kind, rand

# --- 1


def _angle(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, dim=1)[:, None].acos()


def _arc(a, b, share, angle=_angle, first=lambda s: 1 - s, second=lambda s: s, below=torch.sin) -> Tensor:
    w = angle(a, b)                                                             # (n, 1)
    return ((first(share) * w).sin() * a + (second(share) * w).sin() * b) / below(w)


def _put_back(a, b, share, length=lambda a: a.norm(dim=1, keepdim=True)):
    return F.normalize((1 - share) * a + share * b, dim=1) * length(a)


def _ends(g: torch.Generator) -> list[tuple]:
    """Rows of unlike length; as many rows as numbers in the second; angles that are far from 0 and from pi."""
    cases = []
    for n, D, share in ((1, 2, 0.25), (3, 3, 0.7), (3, 4, 0.4), (2, 5, 0.9), (4, 3, 0.1)):
        one, other = (F.normalize(rand(g, n, D), dim=1) for _ in range(2))
        side = F.normalize(other - (one * other).sum(1, keepdim=True) * one, dim=1)
        angle = 0.6 + 1.8 * torch.rand(n, 1, generator=g)
        length = 2 + 3 * torch.arange(n)[:, None] + torch.rand(n, 1, generator=g)
        cases.append((length * one, length * (angle.cos() * one + angle.sin() * side), share))
    return cases


along_the_arc = Implementation(
    "along_the_arc",
    right=_arc,
    cases=_ends,
    slips=[
        ("this is the straight line from a to b, which leaves the sphere: the weights are sines, not shares",
         lambda a, b, share: (1 - share) * a + share * b),
        ("you put points of the straight line back on the sphere: they lie on the arc, and are not walked at an even "
         "speed", _put_back, lambda a, b, share: _put_back(a, b, share, lambda a: 1.0)),
        ("the points are as long as a and b: yours have length 1",
         lambda a, b, share: _arc(F.normalize(a, dim=1), F.normalize(b, dim=1), share)),
        ("share 0 is a and share 1 is b: {}",
         ("yours go the other way", dict(first=lambda s: s, second=lambda s: 1 - s)),
         ("both of your weights have one share", dict(first=lambda s: s), dict(second=lambda s: 1 - s))),
        ("the sum is to be divided by sin w: {}", ("yours is not", dict(below=torch.ones_like)),
         ("you divide by w", dict(below=lambda w: w)), ("you multiply by it", dict(below=lambda w: 1 / w.sin()))),
        ("a and b do not have length 1, so their product is not the cosine: divide it by both lengths",
         dict(angle=lambda a, b: (a * b).sum(1, keepdim=True).acos()),
         dict(angle=lambda a, b: (a * b).sum(1, keepdim=True).clamp(-1, 1).acos()),
         dict(angle=lambda a, b: ((a * b).sum(1, keepdim=True) / a.norm(dim=1, keepdim=True)).acos()),
         dict(angle=lambda a, b: ((a * b).sum(1, keepdim=True) / a.norm(dim=1, keepdim=True)).clamp(-1, 1).acos())),
        ("each row has an angle of its own: {}",
         ("you use that of the first row for all", dict(angle=lambda a, b: _angle(a, b)[:1])),
         ("you took all rows for one vector", dict(angle=lambda a, b: _angle(a.view(1, -1), b.view(1, -1)))),
         ("you use the mean of all", dict(angle=lambda a, b: _angle(a, b).mean())),
         ("you divide by the length of all rows together", dict(
             angle=lambda a, b: ((a * b).sum(1, keepdim=True) / (a.norm() * b.norm())).acos()))),
        ("you took the cosine down the columns: a vector is a row",
         dict(angle=lambda a, b: F.cosine_similarity(a, b, dim=0).acos())),
        ("w is the angle and yours is its cosine: acos is missing", dict(angle=lambda a, b: _angle(a, b).cos())),
        ("w is in degrees: sin wants radians, as acos gives", dict(angle=lambda a, b: torch.rad2deg(_angle(a, b)))),
        ("an angle of shape (n,) meets the last axis of a, and not its rows: it needs the shape (n, 1)",
         dict(angle=lambda a, b: _angle(a, b)[:, 0])),
    ],
    hints=("Take (2, 0) for a and (0, 2) for b. What is the angle, and what should come out at share 1/3?",
           "The cosine of two vectors is their product divided by both lengths, one for each row, and acos makes an "
           "angle of it. As (n, 1) it can be multiplied with rows. The weights are sin((1 - s) w) and sin(s w).",
           "w = torch.acos(F.cosine_similarity(a, b, dim=1))[:, None]\n"
           "(torch.sin((1 - share) * w) * a + torch.sin(share * w) * b) / torch.sin(w)"),
    rtol=1e-3, atol=1e-3)

# --- 2


class _Velocity:
    """A stand-in for a trained prior: smooth in x, t and y, and another one for "no caption"."""

    def __init__(self, g: torch.Generator, D: int):
        self.A, self.B, self.slope, self.start = rand(g, D, D), rand(g, D, D), rand(g, D), rand(g, D)

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        if not isinstance(t, Tensor) or t.shape != (len(x),):
            raise Mistake(f"prior wants a time for each of the {len(x)} vectors, a tensor of shape ({len(x)},), and "
                          f"got {kind(t)}: torch.full makes one of a number")
        if not isinstance(y, Tensor):
            raise Mistake(f"prior wants a vector for each caption, all zeros if there is none, and got {kind(y)}")
        return (x @ self.A).tanh() + t[:, None] * self.slope + (y @ self.B + self.start).tanh()


def _imagine(prior, y, noise, steps, scale, clock=lambda i, n: i / n, rule=lambda u, c, s: u + s * (c - u),
             move=lambda v, n: v / n, count=lambda n: n, length=lambda x: x.shape[1] ** 0.5, start=lambda x: x,
             empty=torch.zeros_like, end=F.normalize) -> Tensor:
    x = start(noise)
    for i in range(count(steps)):
        t = torch.full((len(x),), clock(i, steps))
        x = x + move(rule(prior(x, t, empty(y)), prior(x, t, y), scale), steps)
    return end(x, dim=1) * length(x)


def _halfway(prior, y, noise, steps, scale):
    def velocity(x, t):
        t = torch.full((len(x),), t)
        without = prior(x, t, torch.zeros_like(y))
        return without + scale * (prior(x, t, y) - without)

    x = noise
    for i in range(steps):
        x = x + velocity(x + velocity(x, i / steps) / (2 * steps), (i + 0.5) / steps) / steps
    return F.normalize(x, dim=1) * x.shape[1] ** 0.5


def _asked(g: torch.Generator) -> list[tuple]:
    return [(_Velocity(g, D), rand(g, n, D), rand(g, n, D), steps, scale) for n, D, steps, scale in
            ((1, 3, 2, 1.5), (3, 5, 4, 2.5), (3, 4, 3, 0.5), (2, 6, 1, 2.0), (4, 3, 5, 3.0))]


imagine = Implementation(
    "imagine",
    right=_imagine,
    cases=_asked,
    slips=[
        ("the vectors shall have the length of the root of D: {}",
         ("you leave them as long as they come out", dict(end=lambda x, dim: x, length=lambda x: 1.0)),
         ("yours have length 1", dict(length=lambda x: 1.0)),
         ("yours have length D", dict(length=lambda x: x.shape[1])),
         ("yours have that of the root of n", dict(length=lambda x: len(x) ** 0.5)),
         ("yours have length 8, as in the lesson, where D is 64", dict(length=lambda x: 8.0)),
         ("you divide by the length of all vectors together", dict(end=lambda x, dim: x / x.norm())),
         ("you multiply by it, and do not divide by their own length first", dict(end=lambda x, dim: x)),
         ("you normalised the columns", dict(end=lambda x, dim: F.normalize(x, dim=0)))),
        ("scale is not used: {}", ("this is the velocity with the caption, scale 1", dict(rule=lambda u, c, s: c)),
         ("this is the velocity without a caption, scale 0", dict(rule=lambda u, c, s: u))),
        ("guidance starts from the velocity *without* the caption and adds scale times the difference: {}",
         ("yours starts from the one with it", dict(rule=lambda u, c, s: c + s * (c - u))),
         ("the two have changed places", dict(rule=lambda u, c, s: c + s * (u - c))),
         ("yours leads away from the caption", dict(rule=lambda u, c, s: u - s * (c - u))),
         ("you add scale - 1 times", dict(rule=lambda u, c, s: u + (s - 1) * (c - u))),
         ("in yours the start is missing", dict(rule=lambda u, c, s: s * (c - u))),
         ("you scale the velocity with the caption as a whole", dict(rule=lambda u, c, s: s * c),
          dict(rule=lambda u, c, s: u + s * c))),
        ("no caption is a y of zeros: {}", ("yours is one of ones", dict(empty=torch.ones_like)),
         ("yours is y with the other sign", dict(empty=lambda y: -y))),
        *EULER_SLIPS,
        ("the way starts at `noise`: {}", ("yours starts at 0", dict(start=torch.zeros_like)),
         ("yours starts at the caption's vector", lambda prior, y, noise, *more: _imagine(prior, y, y, *more))),
        ("this is the midpoint method, and Euler's was asked for: it takes the velocity at the start", _halfway),
    ],
    hints=("Try steps=1, where all is done at once: noise plus the guided velocity at t = 0, then the length.",
           "In a loop over i: a tensor of n times i / steps; the velocity with zeros for y and the one with y; their "
           "guided mixture; x moves by it / steps. After the loop each row is divided by its length and multiplied "
           "by the root of D.",
           "t = torch.full((len(x),), i / steps)\n"
           "without = prior(x, t, torch.zeros_like(y))\n"
           "x = x + (without + scale * (prior(x, t, y) - without)) / steps\n"
           "at the end: F.normalize(x, dim=1) * x.shape[1] ** 0.5"),
    rtol=1e-3, atol=1e-4)

# --- 3


def _pairs(z, y, again=lambda z, K: z.repeat(K, 1), beside=lambda y, z: y, rounds=lambda y, z: len(y) // len(z)):
    return again(z, rounds(y, z)), beside(y, z)


def _each_in_a_row(z: Tensor, K: int) -> Tensor:
    return z.repeat_interleave(K, 0)


def _described(g: torch.Generator) -> list[tuple]:
    return [(rand(g, N, D), rand(g, K * N, D)) for N, K, D in ((2, 2, 1), (3, 3, 2), (4, 3, 3), (1, 4, 3), (5, 1, 2))]


pairs = Implementation(
    "pairs",
    right=_pairs,
    cases=_described,
    slips=[
        ("the bug is still there: each picture comes K times in a row, and beside it stand the captions of K "
         "different faces", dict(again=_each_in_a_row),
         "Write down N = 2 and K = 2: which faces do the four rows of y describe? And which are in your pictures?"),
        ("pictures and captions belong together in yours, but `captions` shall be y as it came: it is the pictures "
         "that are to be repeated in rounds", dict(
             again=_each_in_a_row, beside=lambda y, z: y.view(-1, *z.shape).transpose(0, 1).flatten(0, 1))),
        ("you kept only the first round: K captions of each face are K pairs",
         dict(again=lambda z, K: z, beside=lambda y, z: y[:len(z)])),
        ("the pictures are not repeated: each of the K rounds needs all of them", dict(again=lambda z, K: z)),
        ("the rounds follow each other in the same order of faces: yours are turned round",
         dict(again=lambda z, K: z.flip(0).repeat(K, 1)), dict(again=lambda z, K: z.repeat(K, 1).flip(0))),
        ("the numbers of a vector have been repeated: a round is more rows, axis 0",
         dict(again=lambda z, K: z.repeat(1, K))),
        ("y holds len(y) / len(z) rounds: yours are {}", ("as many as rows", dict(rounds=lambda y, z: len(y))),
         ("one too many", dict(rounds=lambda y, z: len(y) // len(z) + 1)),
         ("one too few", dict(rounds=lambda y, z: len(y) // len(z) - 1))),
    ],
    hints=("Write down N = 2 and K = 2: which faces do the four rows of y describe, one after the other?",
           "y goes through all faces, then through all of them again. So must the pictures: a, b, a, b, and not a, a, "
           "b, b. repeat and repeat_interleave are the two.",
           "z.repeat(len(y) // len(z), 1), y"),
    returns=("pictures", "captions"))

# --- 4

HAT, BLUE, HIDDEN = 3, 2, -1
ALL_FACES = dict(of=lambda blue, n: torch.ones(n, dtype=torch.bool))


def _unchanged(before, after, of=lambda blue, n: blue, without=(HAT,), hidden=True, whole=lambda same: same.all(1)):
    same = (after == before) | ((before == HIDDEN) if hidden else torch.zeros_like(before, dtype=torch.bool))
    same = same[:, [k for k in range(before.shape[1]) if k not in without]]
    counted = of(after[:, HAT] == BLUE, len(after))
    return whole(same)[counted].double().mean().item()


unchanged = Measurement(
    "unchanged", truth=_unchanged, tolerance=0.01,
    slips=[
        ("{}: only those whose hat is blue after the change are asked for",
         ("this counts all faces", ALL_FACES),
         ("this counts the faces whose hat has *not* become blue", dict(of=lambda blue, n: ~blue))),
        ("what could not be seen before has been counted as changed: where `before` is -1, the reader's answer means "
         "nothing", dict(hidden=False), ALL_FACES | dict(hidden=False)),
        ("the hat itself has been counted among what must stay: it was to change", dict(without=())),
        ("this is the share of attributes that stay: a face counts if *all* of its others do",
         dict(whole=lambda same: same.double().mean(1)), ALL_FACES | dict(whole=lambda same: same.double().mean(1))),
        ("this is the share of faces on which something else *has* changed", dict(whole=lambda same: ~same.all(1))),
        ("this is the share of blue hats", lambda before, after: (after[:, HAT] == BLUE).double().mean().item()),
        ("this is the share, of all faces, with a blue hat and nothing else changed: divide by the number of blue hats",
         lambda before, after: _unchanged(before, after) * (after[:, HAT] == BLUE).double().mean().item()),
        ("this is a number of faces: a share is asked for",
         lambda before, after: _unchanged(before, after) * (after[:, HAT] == BLUE).sum().item(),
         lambda before, after: (after[:, HAT] == BLUE).sum().item()),
    ],
    hints=("Look at one face: which of its eight numbers count, and which do not?",
           "First keep the rows whose hat is 2 after the change. In these compare all columns but the hat's; a place "
           "where before is -1 counts as unchanged. A face counts if all of its places do; the mean is the share.",
           "same = (after == before) | (before == -1)\n"
           "same[:, 3] = True\n"
           "same[after[:, 3] == 2].all(1).double().mean().item()"))
