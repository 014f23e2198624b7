"""The checks of exercise 65: words that know their neighbour, the scale of latents, captions left out whole, and whose
colour it is."""

from functools import partial

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _on_the_right(x: Tensor, by: int = 1, axis: int = 1) -> Tensor:
    """What stands `by` places further along an axis, and zeros beyond its end."""
    nothing = torch.zeros_like(x)
    return torch.cat([x, nothing, nothing], axis).narrow(axis, start=by, length=x.shape[axis])


def _on_the_left(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


def _pairs(x, W_own, W_right, c, neighbour=_on_the_right, residual=1.0, bias=1.0,
           of=lambda x, W: x @ W.mT, swap=False, keep=1.0) -> Tensor:
    W_own, W_right = (W_right, W_own) if swap else (W_own, W_right)
    return residual * x + keep * of(x, W_own) + of(neighbour(x), W_right) + bias * c


def _captions(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2, 2), (3, 4, 3), (3, 3, 3), (2, 5, 4), (1, 1, 3), (4, 7, 2))
    return [(rand(g, B, L, C), rand(g, C, C), rand(g, C, C), rand(g, C)) for B, L, C in sizes]


with_right = Implementation(
    "with_right",
    right=_pairs,
    cases=_captions,
    slips=[
        ("you mixed each word with the one on its *left*: \"red hat\" shall change \"red\", so that it knows whose "
         "colour it is", dict(neighbour=_on_the_left)),
        ("the last word has been mixed with {}: nothing stands on its right, a vector of zeros",
         ("the first one, because roll goes round in a circle", dict(neighbour=lambda x: x.roll(-1, 1))),
         ("itself", dict(neighbour=lambda x: torch.cat([x[:, 1:], x[:, -1:]], 1)))),
        ("you went round in a circle to the left: roll(1) brings the word before",
         dict(neighbour=lambda x: x.roll(1, 1))),
        ("the neighbour is the next one along the words, axis 1: you moved along {}",
         ("the captions, axis 0, so that captions mix with each other", dict(neighbour=partial(_on_the_right, axis=0)),
          dict(neighbour=lambda x: x.roll(-1, 0))),
         ("the numbers of a vector, axis 2", dict(neighbour=partial(_on_the_right, axis=2)),
          dict(neighbour=lambda x: x.roll(-1, 2)))),
        ("you took the word two places further", dict(neighbour=partial(_on_the_right, by=2))),
        ("the two matrices have changed places: W_own is for the word itself", dict(swap=True)),
        ("both matrices multiply the word itself: the neighbour is missing", dict(neighbour=lambda x: x)),
        ("a matrix is the wrong way round: as in nn.Linear each *row* makes one number of the output, so it is "
         "x @ W.T", dict(of=lambda x, W: x @ W)),
        ("x itself is missing: what the two products give is added to it", dict(residual=0.0)),
        ("the vector c is {}", ("missing", dict(bias=0.0)), ("there twice, once for each product", dict(bias=2.0))),
        ("the product of W_own with the word itself is missing", dict(keep=0.0)),
        ("where nothing stands on the right, the word itself still counts, and so does c",
         lambda x, A, W, c: torch.cat([_pairs(x, A, W, c)[:, :-1], x[:, -1:]], 1),
         lambda x, A, W, c: torch.cat([_pairs(x, A, W, c)[:, :-1], 0 * x[:, -1:]], 1)),
    ],
    hints=("Take a caption of two words. What stands on the right of the first, and what on the right of the second?",
           "Make a tensor of the shape of x in which place l holds the word l + 1: all words but the first, and then a "
           "vector of zeros. Each row of a matrix makes one number, so vectors that lie in rows meet W.T.",
           "right = torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)\n"
           "x + x @ W_own.T + right @ W_right.T + c"),
    gradient=("x", "W_own", "W_right", "c"), rtol=1e-3, atol=1e-4)

# --- 2

PER_CHANNEL = (0, 2, 3)                          # the axes over which a channel is measured


def _measure(z: Tensor, mean=PER_CHANNEL, spread=PER_CHANNEL, scale=lambda std: 1 / std, shift=lambda m, std: m):
    def over(axes, what):
        return what(z, dim=axes, keepdim=True)[0].expand(z.shape[1], 1, 1)    # (K, 1, 1)

    std = over(spread, torch.std)
    return shift(over(mean, torch.mean), std), scale(std)


def _latents(g: torch.Generator) -> list[tuple]:
    """Many values in each channel, so that n and n - 1 are the same; the channels are unlike in mean and deviation."""
    sizes = ((1, 2, 50, 40), (40, 3, 8, 8), (3, 4, 32, 30), (200, 1, 4, 5), (9, 3, 20, 20))
    return [(rand(g, N, K, H, W) * (0.2 + torch.arange(K) ** 2 + torch.rand(K, generator=g)).view(K, 1, 1)
             + 2 * rand(g, K, 1, 1) + 2 * rand(g, N, 1, 1, 1),) for N, K, H, W in sizes]


ALL = (0, 1, 2, 3)

shift_and_scale = Implementation(
    "shift_and_scale",
    right=_measure,
    cases=_latents,
    slips=[
        ("the scale multiplies, so it is 1 / deviation: you return {}",
         ("the deviation itself", dict(scale=lambda std: std)),
         ("1 / variance", dict(scale=lambda std: 1 / std**2)), ("the variance", dict(scale=lambda std: std**2)),
         ("the root of 1 / deviation", dict(scale=lambda std: std**-0.5))),
        ("each channel needs numbers of its own: {}",
         ("you measured the deviation over all channels together", dict(spread=ALL)),
         ("you measured the mean over all channels together", dict(mean=ALL)),
         ("you measured both over all channels together", dict(mean=ALL, spread=ALL))),
        ("(z - shift) * scale takes the shift away first, so it is the mean as it is: {}",
         ("you divided it by the deviation", dict(shift=lambda m, std: m / std)),
         ("you multiplied it by the deviation", dict(shift=lambda m, std: m * std)),
         ("yours has the other sign", dict(shift=lambda m, std: -m)), ("yours is 0", dict(shift=lambda m, std: 0 * m))),
        ("you took the mean over the pictures of deviations that were measured in each picture alone: measure once, "
         "over all of them", lambda z: (_measure(z)[0], 1 / z.std((2, 3)).mean(0).view(-1, 1, 1))),
        ("without its mean taken away, the mean square is more than the variance: take the deviation from the mean",
         lambda z: (z.mean((0, 2, 3)).view(-1, 1, 1), 1 / z.square().mean((0, 2, 3)).sqrt().view(-1, 1, 1))),
        ("the deviation of absolute values, or the mean distance from the mean, is less than the standard deviation: "
         "square first", lambda z: (m := z.mean((0, 2, 3)).view(-1, 1, 1),
                                    1 / (z - m).abs().mean((0, 2, 3)).view(-1, 1, 1))),
    ],
    hints=("Print the mean and the deviation of channel 0 of what your values make of z. And those of channel 1?",
           "A channel is z[:, k]: all pictures, all places. The mean and the standard deviation over the axes 0, 2 and "
           "3 are one number each for each channel; the scale is 1 over the deviation. view(-1, 1, 1) gives the shape.",
           "each = z.transpose(0, 1).flatten(1)\n"
           "each.mean(1).view(-1, 1, 1), 1 / each.std(1).view(-1, 1, 1)"),
    returns=("shift", "scale"), rtol=1e-2, atol=5e-3)

# --- 3


def _whole(words, u, share=0.1, rows=lambda u, share, words: (u < share)[:, None], empty=torch.zeros_like):
    return torch.where(rows(u, share, words), empty(words), words)


def _numbered(g: torch.Generator) -> list[tuple]:
    """As many captions as words in the first; in each, some numbers are below the share and some above."""
    cases = []
    for B, L, *share in ((4, 4, 0.5), (6, 6, 0.3), (5, 3, 0.5), (3, 7), (1, 4, 0.6), (8, 2, 0.2)):
        u = torch.rand(B, generator=g)
        limit = share[0] if share else 0.1
        u[0] *= limit
        if B > 1:
            u[1] = limit + (1 - limit) * u[1]
        if B > 2:
            u[2] = 1.5 * limit                                                # others would leave this out too
        if B == 6:
            u[3] = limit                                                      # not below it
        cases.append((torch.randint(1, 32, (B, L), generator=g), u, *share))
    return cases


leave_out = Implementation(
    "leave_out",
    right=_whole,
    cases=_numbered,
    slips=[
        ("the bug is still there: it empties the same *places* in all captions, and where there are not as many "
         "captions as words it stops with an error", dict(rows=lambda u, share, words: u < share),
         "Which axis of words does (B,) meet when it is broadcast? The last one."),
        ("you empty the captions whose number is *above* the share, and keep those below: nine of ten would be lost",
         dict(rows=lambda u, share, words: (u >= share)[:, None])),
        ("a number that is equal to the share is not below it: such a caption stays",
         dict(rows=lambda u, share, words: (u <= share)[:, None])),
        ("`share` is not used: yours is always 0.1", lambda words, u, share=0.1: _whole(words, u, 0.1)),
        ("a caption that is left out becomes all 0, the number of padding: {}",
         ("yours becomes -1", dict(empty=lambda words: 0 * words - 1)),
         ("yours becomes 1, which is a word", dict(empty=lambda words: 0 * words + 1)),
         ("in yours only its first word does", lambda words, u, share=0.1: torch.cat(
             [_whole(words, u, share)[:, :1], words[:, 1:]], 1)),
         ("in yours the first word stays", lambda words, u, share=0.1: torch.cat(
             [words[:, :1], _whole(words, u, share)[:, 1:]], 1))),
        ("you left out captions by their place in the batch: each has its own number in u",
         dict(rows=lambda u, share, words: (torch.arange(len(u)) < share * len(u))[:, None])),
        ("you have left out all captions or none: the numbers decide for each caption alone",
         dict(rows=lambda u, share, words: (u[:1] < share)[:, None]), dict(rows=lambda u, share, words: (
             u.mean() < share).view(1, 1)), lambda words, u, share=0.1: words.clone(),
         lambda words, u, share=0.1: 0 * words),
        ("captions that are left out are still there as rows of 0: you removed them",
         lambda words, u, share=0.1: words[u >= share]),
    ],
    hints=("Print u < share, and its shape, and that of words. Which number of u decides about words[1, 3]?",
           "Broadcasting lines shapes up at their last axis, so (B,) meets the words of a caption. To meet the "
           "captions it needs the shape (B, 1).",
           "torch.where((u < share)[:, None], torch.zeros_like(words), words)"))

# --- 4


def _share(pairs, hats, shirts, count=lambda right, exchanged, n: right / (right + exchanged)) -> float:
    shown = list(zip(hats, shirts))
    return count(sum(s == p for s, p in zip(shown, pairs)), sum(s[::-1] == p for s, p in zip(shown, pairs)), len(pairs))


binding = Measurement(
    "binding",
    truth=_share,
    tolerance=0.02,
    slips=[
        ("this is the share of all 100 pictures: only those that show the two colours of their caption count",
         dict(count=lambda right, exchanged, n: right / n)),
        ("this is the share that are exchanged: those in which each colour is where it should be are asked for",
         dict(count=lambda right, exchanged, n: exchanged / (right + exchanged)),
         dict(count=lambda right, exchanged, n: exchanged / n)),
        ("this is the share of pictures that show the two colours in either order",
         dict(count=lambda right, exchanged, n: (right + exchanged) / n)),
        ("this is right / exchanged: divide by both together",
         dict(count=lambda right, exchanged, n: right / max(1, exchanged))),
        ("this is a number of pictures: a share is asked for", dict(count=lambda right, exchanged, n: right),
         dict(count=lambda right, exchanged, n: exchanged)),
        ("a hat and a shirt of one colour, as a red hat and a red shirt, are not the two colours of a caption",
         lambda pairs, hats, shirts: _share(pairs, hats, shirts, lambda right, exchanged, n: right / sum(
             h in p and s in p for h, s, p in zip(hats, shirts, pairs)))),
        ("this counts a single attribute, the hat or the shirt: both colours must be where they should be",
         lambda pairs, hats, shirts: sum(h == p[0] for h, p in zip(hats, pairs)) / len(pairs),
         lambda pairs, hats, shirts: sum(s == p[1] for s, p in zip(shirts, pairs)) / len(pairs)),
    ],
    hints=("Look at one picture: what was asked for, and what do hat and shirt show? Which of three cases is it?",
           "Count the pictures in which (hat, shirt) is the pair that was asked for, and those in which (shirt, hat) "
           "is. All others do not count. Divide the first by the sum of both.",
           "right = sum((h, s) == p for h, s, p in zip(hats, shirts, pairs))\n"
           "exchanged = sum((s, h) == p for h, s, p in zip(hats, shirts, pairs))\n"
           "binding = right / (right + exchanged)"))
