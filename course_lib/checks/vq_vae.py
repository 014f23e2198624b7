"""The checks of exercise 33: a gradient through a choice, a codebook that follows, a bug hunt in the order of axes,
rounding to levels, and how many words change when a digit moves by a pixel."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.checks import Implementation, Measurement, rand
from course_lib.data import load

# --- 1


def _through(z, q, value=lambda z, q: z + (q - z).detach()) -> Tensor:
    return value(z, q)


straight_through = Implementation(
    "straight_through", right=_through,
    cases=lambda g: [(rand(g, *size), rand(g, *size)) for size in ((1, 2), (3, 1), (3, 4), (2, 3, 5))],
    gradient=("z", "q"),
    slips=[
        ("you exchanged the two: the value is to be that of q, and the gradient goes to z",
         dict(value=lambda z, q: q + (z - q).detach())),
        ("the value is right, but the gradient goes to q, and none to z: what must be hidden from the gradient is the "
         "whole difference q - z", dict(value=lambda z, q: z + (q - z)), dict(value=lambda z, q: q.clone()),
         dict(value=lambda z, q: z.detach() + (q - z.detach()))),
        ("the value is right, and the gradient goes to z, but also to q, whose own is to be 0",
         dict(value=lambda z, q: z - z.detach() + q)),
        ("z and -z cancel in your gradient: hide the second z as well, with the q beside it",
         dict(value=lambda z, q: z + q.detach() - z)),
        ("your gradient has the wrong sign: {}",
         ("you hid the first z, and -z is left", dict(value=lambda z, q: z.detach() + q.detach() - (z - z.detach()))),
         ("you hid the first z only", dict(value=lambda z, q: z.detach() + (q - z)))),
        ("this is z itself: the decoder must see q", dict(value=lambda z, q: z.clone())),
        ("this is halfway between z and q: the value is to be exactly q", dict(value=lambda z, q: (z + q) / 2)),
        ("you add z - q in place of q - z, and get 2 z - q", dict(value=lambda z, q: z + (z - q).detach())),
        ("q is added to z, and the z that is too much is not taken away", dict(value=lambda z, q: z + q.detach())),
    ],
    hints=("Which value is asked for, and which gradient? Write z plus something worth q - z that no gradient can see.",
           "detach() gives a tensor of the same value that no gradient passes. Add to z the detached difference of q "
           "and z: in the value z cancels, in the gradient only the first z is left.",
           "z + (q - z).detach()"))

# --- 2


def _ema(codes, count, z, idx, decay, old=lambda d: (d, d), new=lambda d: (1, 1), below=None, stay=True, after=None,
         total=lambda hot, z: hot.T @ z) -> tuple[Tensor, Tensor]:
    """`old` and `new` are the factors of what was and what comes, in the count and in the sum of the vectors."""
    hot = F.one_hot(idx, len(codes)).to(z.dtype)                                              # (N, K)
    n, (a, b), (c, d) = hot.sum(0), old(decay), new(decay)
    counted = a * count + c * n
    moved = (b * count[:, None] * codes + d * total(hot, z)) / (counted if below is None else below(count, n))[:, None]
    if stay:
        moved = torch.where(counted[:, None] > 0, moved, codes)
    return moved, counted if after is None else after(count, n, decay)


def _mean(hot, z):
    return hot.T @ z / hot.sum(0).clamp(min=1)[:, None]


def _plain(codes, count, z, idx, decay):
    """The average of codes and means, whatever the counts say."""
    hot = F.one_hot(idx, len(codes)).to(z.dtype)
    n = hot.sum(0)
    return (torch.where(n[:, None] > 0, decay * codes + (1 - decay) * _mean(hot, z), codes), decay * count + n)


def _zero(*case):
    codes, count = _ema(*case)
    return torch.where(count[:, None] > 0, codes, torch.zeros_like(codes)), count


def _at_least_one(*case):
    codes, count = _ema(*case)
    return torch.where(count[:, None] > 0, codes * (count / count.clamp(min=1))[:, None], codes), count


def _books(g: torch.Generator) -> list[tuple]:
    """In all but the first, one code was never chosen, one is not chosen now, and the last one is chosen often. In two,
    a code is chosen once, and for the first time."""
    cases = [(rand(g, 1, 2), torch.tensor([3.0]), rand(g, 1, 2), torch.tensor([0]), 0.9)]
    for N, D, K, decay in ((6, 1, 3, 0.9), (9, 3, 5, 0.5), (12, 2, 4, 0.75)):
        idx = torch.cat([torch.full((N - K + 2,), K - 1), torch.arange(2, K)])
        count = torch.cat([torch.tensor([0, 0.8, 0])[:K - 1], 1 + 9 * torch.rand(max(K - 3, 1), generator=g)])
        cases.append((rand(g, K, D), count, rand(g, N, D), idx, decay))
    return cases


ema_step = Implementation(
    "ema_step", right=_ema, cases=_books, returns=("codes", "count"),
    slips=[
        ("a code that was never chosen has the count 0, and 0 / 0 is nan: it is to stay where it is", dict(stay=False)),
        ("a code that was never chosen is to stay where it is, and yours goes to 0", _zero),
        ("the decay makes the old count smaller, and with it the weight of the old code: {}",
         ("in your code the old count stands without it", dict(old=lambda d: (d, 1))),
         ("in your count it is missing, in your code it is there", dict(old=lambda d: (1, d))),
         ("yours is used nowhere, which is plain mini-batch k-means", dict(old=lambda d: (1, 1))),
         ("you multiply the old part by 1 - decay", dict(old=lambda d: (1 - d, 1 - d)))),
        ("the new vectors count in full: {}",
         ("you multiply them by 1 - decay in the code only", dict(new=lambda d: (1, 1 - d))),
         ("you multiply them by 1 - decay in the count only", dict(new=lambda d: (1 - d, 1))),
         ("you multiply them by 1 - decay in both, which is the convention of the paper; the old count has to be "
          "smaller by the same factor then", dict(new=lambda d: (1 - d, 1 - d)))),
        ("you divide by {}: the code is a mean over all that it stands for, so divide by the new count",
         ("the old count", dict(below=lambda count, n: count.clamp(min=1e-9))),
         ("the number of vectors of this batch", dict(below=lambda count, n: n.clamp(min=1e-9))),
         ("the sum of both, and the old one shall be made smaller first",
          dict(below=lambda count, n: (count + n).clamp(min=1e-9)))),
        ("you jump to the mean of this batch: old vectors have a say too, as many as the old count tells",
         dict(old=lambda d: (d, 0), below=lambda count, n: n.clamp(min=1e-9))),
        ("you average the code and the mean of its new vectors with the weights decay and 1 - decay, whatever the "
         "counts: a code that stands for many vectors must move less", _plain),
        ("you divide by at least 1: a count below 1 is no mistake, so keep the clamp tiny", _at_least_one),
        ("you add the mean of the new vectors: their sum is needed, since the count counts each of them",
         dict(total=_mean)),
        ("the codes are right, and the count is not: {}",
         ("you return the old one", dict(after=lambda count, n, d: count.clone())),
         ("you return that of this batch alone", dict(after=lambda count, n, d: n)),
         ("you forgot the decay in it", dict(after=lambda count, n, d: count + n))),
    ],
    hints=("Compute one code on paper: count 4, code 1, decay 0.5, and two vectors that choose it, 2 and 6. The new "
           "count is 4, and the new code 2.5.",
           "Count with one_hot(idx, K) how many vectors chose each code; its transpose times z adds these vectors up. "
           "The new count is decay * count + n. The new code: decay * count times the old one, plus the sum, over the "
           "new count. Where that is 0, keep the old code.",
           "hot = F.one_hot(idx, len(codes)).to(z.dtype)\nnew = decay * count + hot.sum(0)\n"
           "total = (decay * count)[:, None] * codes + hot.T @ z\n"
           "return torch.where(new[:, None] > 0, total / new.clamp(min=1e-9)[:, None], codes), new"))

# --- 3


def _map(h, codebook, there=lambda h: h.permute(0, 2, 3, 1).reshape(-1, h.shape[1]), far=False,
         back=lambda q, h: q.view(h.shape[0], *h.shape[2:], -1).permute(0, 3, 1, 2)) -> tuple[Tensor, Tensor]:
    """A map (B, D, H, W) as vectors (B * H * W, D), the nearest codes, and back."""
    distance = torch.cdist(there(h), codebook)
    idx = distance.argmax(1) if far else distance.argmin(1)
    return back(codebook[idx], h), idx.view(len(h), -1)


def _flat(h):
    return h.reshape(-1, h.shape[1])


quantise_map = Implementation(
    "quantise_map", right=_map,
    cases=lambda g: [(rand(g, B, D, H, W), rand(g, K, D)) for B, D, H, W, K in
                     ((1, 2, 2, 3, 5), (3, 4, 3, 2, 9), (3, 2, 5, 5, 7), (2, 3, 1, 4, 6))],
    returns=("codes", "tokens"),
    slips=[
        ("the bug is still there: reshape takes numbers as they lie in memory, so a row of yours holds numbers of one "
         "channel at several places", dict(there=_flat, back=lambda q, h: q.view(h.shape)),
         "Let h hold its own place, h[b, d, i, j] = 100 * d + 10 * i + j, and print the first row of `vectors`."),
        ("the vectors are right now, but on the way back you still only reshape: the channels must become the second "
         "axis again", dict(back=lambda q, h: q.reshape(h.shape))),
        ("the way back is right now, but the vectors are still numbers of one channel at several places",
         dict(there=_flat)),
        ("you number the places column by column: row by row is asked for",
         dict(there=lambda h: h.permute(0, 3, 2, 1).reshape(-1, h.shape[1]),
              back=lambda q, h: q.view(len(h), *h.shape[:1:-1], -1).permute(0, 3, 2, 1))),
        ("the tokens are right, and your map has rows and columns exchanged",
         dict(back=lambda q, h: q.view(len(h), *h.shape[:1:-1], -1).permute(0, 3, 2, 1))),
        ("you chose the code that is furthest away", dict(far=True)),
    ],
    hints=("What is one row of `vectors` to hold? All channels of one place. What does it hold?",
           "Move the channels to the last axis before you reshape to rows of D numbers: permute(0, 2, 3, 1). On the "
           "way back, view as (B, H, W, D) and move the last axis to the second place: permute(0, 3, 1, 2).",
           "vectors = h.permute(0, 2, 3, 1).reshape(-1, D)\n"
           "codes = codebook[idx].view(B, H, W, D).permute(0, 3, 1, 2)"))

# --- 4


def _levels(z, L, half=lambda L: (L - 1) / 2, squeeze=torch.tanh, rounded=torch.round,
            scale=lambda h: 1 / h) -> Tensor:
    h = half(L)
    s = h * squeeze(z)
    return (s + (rounded(s) - s).detach()) * scale(h)


round_to_levels = Implementation(
    "round_to_levels", right=_levels,
    cases=lambda g: [(2 * rand(g, *size), L) for size, L in (((1, 2), 3), ((3, 5), 5), ((4, 3, 2), 7), ((6, 6), 9))],
    gradient=("z",),
    slips=[
        ("the values are right, and the gradient is not that of h tanh(z) / h: {}",
         ("it is 1, as if nothing had been squeezed: take straight-through from the squeezed number",
          lambda z, L: z + (_levels(z, L) - z).detach()),
         ("it is h times too large: scale both, the squeezed number and the rounded one",
          lambda z, L: (L - 1) / 2 * z.tanh() + (_levels(z, L) - (L - 1) / 2 * z.tanh()).detach())),
        ("nothing is squeezed: without tanh a number may be rounded to a level that does not exist",
         dict(squeeze=lambda z: z)),
        ("the levels are whole numbers in yours: divide by h at the end, so that they lie between -1 and 1",
         dict(scale=lambda h: 1.0)),
        ("nothing is rounded: the decoder must see levels", dict(rounded=lambda s: s)),
        ("you round before you stretch by h, so that only -1, 0 and 1 are left",
         lambda z, L: z.tanh() + (z.tanh().round() - z.tanh()).detach()),
        ("floor always rounds down: the nearest level is asked for", dict(rounded=torch.floor)),
        ("h is (L - 1) / 2, for L levels from -h to h: yours is {}",
         ("L / 2", dict(half=lambda L: L / 2)), ("L - 1, which makes 2 L - 1 levels", dict(half=lambda L: L - 1)),
         ("L", dict(half=lambda L: L))),
        ("sigmoid goes from 0 to 1: half of the levels are never used. tanh goes from -1 to 1",
         dict(squeeze=torch.sigmoid)),
    ],
    hints=("Take L = 5 and write down what a huge z, z = 0 and a hugely negative z are to become. Which values lie "
           "between?",
           "With h = (L - 1) / 2, h tanh(z) lies between -h and h. Round it to whole numbers with a straight-through "
           "gradient, as in task 1, and divide by h.",
           "h = (L - 1) / 2\ns = h * z.tanh()\nreturn (s + (s.round() - s).detach()) / h"))

# --- 5


@cache
def _words() -> dict[str, Tensor]:
    """Tokens of test digits, and of the digits moved to the right by one pixel, and by four."""
    model, x = checkpoint.load("vqvae"), load("digits").test.x
    moved = {"still": x, "right": x.roll(1, 3), "four": x.roll(4, 3)}
    return {name: model.encode(images) for name, images in moved.items()}


def _changed(to="right", share=lambda differ: differ.float().mean()) -> float:
    w = _words()
    return share(w[to] != w["still"]).item()


changed_share = Measurement(
    "changed_share", truth=_changed, tolerance=0.02,
    slips=[
        ("this is the share of digits with at least one changed word: the share of words is asked for",
         dict(share=lambda differ: differ.any(1).float().mean())),
        ("this is how many words of a digit change: divide by 49", lambda: 49 * _changed()),
        ("this is the share of words that stay: subtract it from 1", lambda: 1 - _changed()),
        ("you moved the digits by four pixels: one is asked for", dict(to="four")),
    ],
    hints=("Which two tables of words do you compare, and of what is the mean to be taken?",
           "Encode x_test, and x_test moved by x_test.roll(1, 3). Compare the two tables (1000, 49) word by word; the "
           "mean of a comparison is a share.",
           "(vqvae.encode(x_test.roll(1, 3)) != vqvae.encode(x_test)).float().mean()"))
