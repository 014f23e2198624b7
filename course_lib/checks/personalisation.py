"""The checks of exercise 76: a correction beside a layer, a change made small, a batch of few and many, and the
strength at which he appears."""

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _beside(x, W, c, up, down, strength, old=1.0, bias=1.0, of_bias=None, size=lambda s, r: s, change=None) -> Tensor:
    """The layer with its correction. of_bias: how often the bias is there, if it depends on the strength."""
    thin = x @ down.mT @ up.mT if change is None else change(x, W, up, down)
    bias = bias if of_bias is None else of_bias(strength)
    return old * (x @ W.mT) + bias * c + size(strength, up.shape[1]) * thin


def _layers(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2, 3, 1, 0.5), (3, 4, 5, 2, 2.0), (2, 3, 3, 3, -1.5), (4, 6, 6, 2, 0.0), (1, 5, 2, 2, 1.0),
             (5, 3, 7, 3, 0.7))
    return [(rand(g, B, n_in), rand(g, n_out, n_in), rand(g, n_out), rand(g, n_out, r), rand(g, r, n_in), s)
            for B, n_in, n_out, r, s in sizes]


corrected = Implementation(
    "corrected",
    right=_beside,
    cases=_layers,
    slips=[
        ("the strength is a dial for the correction alone: you multiplied {} by it too",
         ("the whole layer", lambda x, W, c, up, down, s: s * _beside(x, W, c, up, down, 1.0)),
         ("c", dict(of_bias=lambda s: s)),
         ("x @ W.T", lambda x, W, c, up, down, s: s * (x @ W.mT) + c + s * (x @ down.mT @ up.mT))),
        ("the strength is missing: with 0 the correction must be off", dict(size=lambda s, r: 1.0)),
        ("the strength counts {}", ("twice", dict(size=lambda s, r: s * s)),
         ("without its sign", dict(size=lambda s, r: abs(s))), ("as 1 + strength", dict(size=lambda s, r: 1 + s))),
        ("you divided the correction by its rank: some libraries do, and here `strength` is all that stands before it",
         dict(size=lambda s, r: s / r)),
        ("you multiplied the correction by its rank", dict(size=lambda s, r: s * r)),
        ("c is {}", ("missing", dict(bias=0.0)), ("there twice", dict(bias=2.0)),
         ("in the correction too: it belongs to the old layer and is there once", dict(of_bias=lambda s: 1 + s))),
        ("you fade from the old layer to the correction: the old layer stays as it is, and the correction is added",
         lambda x, W, c, up, down, s: (1 - s) * (x @ W.mT + c) + s * (x @ down.mT @ up.mT)),
        ("the old layer is missing: the correction is *added* to x @ W.T + c", dict(old=0.0, bias=0.0)),
        ("the product with W is missing", dict(old=0.0)),
        ("the correction must see x, and yours sees what the layer has made of it",
         lambda x, W, c, up, down, s: (y := x @ W.mT + c) + s * (y[:, :down.shape[1]] @ down.mT @ up.mT)),
        ("the correction is subtracted: it is added", dict(size=lambda s, r: -s)),
        ("W multiplies the correction as well: both see x, side by side, and are added",
         dict(change=lambda x, W, up, down: x @ W.mT * (x @ down.mT @ up.mT))),
    ],
    hints=("With up = 0, what must come out? And with strength = 0? Try both.",
           "Rows of x meet a matrix of shape (n_out, n_in) as x @ W.T. The correction goes through two of them, first "
           "down, then up, and is multiplied by the strength before it is added.",
           "x @ W.T + c + strength * (x @ down.T @ up.T)"),
    gradient=("x", "up", "down"), rtol=1e-3, atol=1e-4)

# --- 2


def _shortened(change, rank, which=lambda s, r: slice(0, r), size=lambda s: s, flip=False) -> Tensor:
    U, s, Vh = torch.linalg.svd(change.double(), full_matrices=flip)
    keep = which(s, rank)
    Vh = Vh.mT if flip else Vh
    return (U[:, keep] * size(s[keep]) @ Vh[keep]).to(change.dtype)


def _changes(g: torch.Generator) -> list[tuple]:
    """Matrices whose singular values are far apart."""
    cases = []
    for n_out, n_in, rank in ((1, 2, 1), (3, 2, 1), (4, 6, 2), (5, 5, 3), (7, 4, 1), (6, 6, 4)):
        n = min(n_out, n_in)
        U = torch.linalg.qr(rand(g, n_out, n)).Q
        V = torch.linalg.qr(rand(g, n_in, n)).Q
        cases.append((U * (3.0 * 0.6 ** torch.arange(n)) @ V.mT, rank))
    return cases


compress = Implementation(
    "compress",
    right=_shortened,
    cases=_changes,
    slips=[
        ("you kept the *smallest* singular values: what is large matters", dict(which=lambda s, r: slice(-r, None))),
        ("you left the first singular value out", dict(which=lambda s, r: slice(1, r + 1))),
        ("you kept one singular value {}", ("too many", dict(which=lambda s, r: slice(0, r + 1))),
         ("alone, that of number `rank`", dict(which=lambda s, r: slice(r - 1, r))),
         ("alone, the first", dict(which=lambda s, r: slice(0, 1)))),
        ("the singular values are {}", ("missing: the directions have no size", dict(size=torch.ones_like)),
         ("there twice", dict(size=torch.square)), ("there as their roots only: one factor has them, the other has not",
                                            dict(size=torch.sqrt))),
        ("torch.linalg.svd gives Vh, which is transposed already: its *rows* are the directions of the input",
         dict(flip=True)),
        ("you dropped the first `rank` singular values and kept the rest: this is what is lost",
         dict(which=lambda s, r: slice(r, None))),
        ("you returned the change as it was, of full rank", lambda change, rank: change.clone()),
        ("you kept {} of the change, and not its strongest directions",
         ("the first rows", lambda change, rank: torch.cat([change[:rank], 0 * change[rank:]])),
         ("the first columns", lambda change, rank: torch.cat([change[:, :rank], 0 * change[:, rank:]], 1))),
    ],
    hints=("What is the rank of what you return, and how far is it from the change?",
           "torch.linalg.svd(change, full_matrices=False) gives U, s, Vh with change = U @ diag(s) @ Vh, the largest s "
           "first. Keep the first `rank` columns of U, of s, and rows of Vh.",
           "U, s, Vh = torch.linalg.svd(change, full_matrices=False)\n(U[:, :rank] * s[:rank]) @ Vh[:rank]"),
    rtol=1e-3, atol=1e-4)

# --- 3


def _batch(z_few, words_few, z_many, words_many, i, j, z=("few", "others"), words=("few", "others")):
    """Whose pictures, and whose captions."""
    rows = {"few": (z_few[i], words_few[i]), "others": (z_many[j], words_many[j]),
            "others by i": (z_many[i], words_many[i]), "first of the few": (z_few[:len(i)], words_few[:len(i)]),
            "first of the others": (z_many[:len(j)], words_many[:len(j)])}
    return torch.cat([rows[who][0] for who in z]), torch.cat([rows[who][1] for who in words])


def _drawn(g: torch.Generator) -> list[tuple]:
    cases = []
    for n_few, n_many, n, L in ((2, 3, 1, 2), (5, 9, 4, 3), (3, 7, 6, 2), (5, 6, 5, 4)):
        j = torch.randint(n_few, n_many, (n,), generator=g)                   # numbers that the few have not
        cases.append((rand(g, n_few, 4, 2, 2), torch.randint(1, 32, (n_few, L), generator=g), rand(g, n_many, 4, 2, 2),
                      torch.randint(1, 32, (n_many, L), generator=g), torch.randint(n_few, (n,), generator=g), j))
    return cases


mixed = Implementation(
    "mixed",
    right=_batch,
    cases=_drawn,
    slips=[
        ("the bug is still there: the captions of the others are taken with `i`, and so belong to other pictures",
         dict(words=("few", "others by i")),
         "Print i and j. Which of them says which of the others' pictures are in the batch?"),
        ("the pictures of the others are taken with `i` now: `j` is theirs, for pictures and captions",
         dict(z=("few", "others by i")), dict(z=("few", "others by i"), words=("few", "others by i"))),
        ("the others come first: the few come first, then the others",
         dict(z=("others", "few"), words=("others", "few"))),
        ("the words of the batch are {}", ("all of the few", dict(words=("few", "few"))),
         ("all of the others", dict(words=("others", "others")))),
        ("the pictures of the batch are {}", ("all of the few", dict(z=("few", "few"))),
         ("all of the others", dict(z=("others", "others")))),
        ("pictures stand in one order and words in the other",
         dict(words=("others", "few")), dict(z=("others", "few"))),
        ("`i` and `j` say which pictures are in the batch: you took the first ones",
         dict(z=("first of the few", "first of the others"), words=("first of the few", "first of the others"))),
    ],
    hints=("Take the first picture of the others in the batch. Which row of words_many describes it?",
           "Pictures and captions of one group are taken with the same numbers: the few with i, the others with j.",
           "torch.cat([z_few[i], z_many[j]]), torch.cat([words_few[i], words_many[j]])"),
    returns=("z", "words"))

# --- 4


def _first(strengths, alike, test=lambda a: (a > 0.6).float().mean(1), at=0.5, pick=lambda hit: hit[0]) -> float:
    hit = [s for s, share in zip(strengths, test(torch.as_tensor(alike))) if share >= at]
    return pick(hit) if hit else float("nan")


halfway = Measurement(
    "halfway",
    truth=_first,
    tolerance=0.01,
    slips=[
        ("this is where the *mean likeness* reaches one half: ask of each picture whether it is he, then count",
         dict(test=lambda a: a.mean(1))),
        ("this is where the mean likeness is above 0.6: ask of each picture whether it is he, then take the share",
         dict(test=lambda a: a.mean(1), at=0.6)),
        ("this is where *one* of the pictures is he: at least half of them are asked for",
         dict(test=lambda a: (a > 0.6).any(1).float())),
        ("this is where *all* pictures are he: half of them are asked for",
         dict(test=lambda a: (a > 0.6).float().mean(1), at=1.0)),
        ("this is the largest strength at which half of the pictures are he: the smallest is asked for",
         dict(pick=lambda hit: hit[-1])),
        ("this is the number of a row: the strength itself is asked for", lambda strengths, alike: float(
            strengths.index(_first(strengths, alike)))),
        ("this is the last strength at which fewer than half are he: the first at which half are is asked for",
         lambda strengths, alike: strengths[max(0, strengths.index(_first(strengths, alike)) - 1)]),
    ],
    hints=("For one strength: how many of the pictures have a likeness above 0.6?",
           "(alike > 0.6) is True for each picture that is he; its mean over the pictures of a row is the share. Go "
           "through the strengths from small to large and stop at the first whose share is at least one half.",
           "shares = (alike > 0.6).float().mean(1)\n"
           "halfway = next(s for s, share in zip(strengths, shares) if share >= 0.5)"))
