"""The checks of exercise 84: counting green tokens, the exact rate of false alarms, windows, and the shortest text in
which a mark is found."""

import math

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement

# --- 1


def _count(tokens, green, unique=True, first=slice(None, -1), second=slice(1, None), table=lambda g: g,
           extra=lambda n: n):
    pairs = torch.stack([tokens[first], tokens[second]], 1)
    if unique:
        pairs = pairs.unique(dim=0)
    return table(green)[pairs[:, 0], pairs[:, 1]].sum(), torch.tensor(extra(len(pairs)))


def _texts(g: torch.Generator) -> list[tuple]:
    """Few tokens, so that pairs come again; lists that are not symmetric, and another share of green each time."""
    texts = [(torch.randint(V, (T,), generator=g), torch.rand(V, V, generator=g) < share)
             for V, T, share in ((1, 4, 1.1), (3, 12, 0.5), (4, 30, 0.3), (5, 40, 0.6), (6, 25, 0.25), (4, 9, 0.7))]
    return [*texts, (torch.randperm(5, generator=g), torch.rand(5, 5, generator=g) < 0.5)]    # all different


def _green_once(tokens, green):
    """Each pair's greenness counted once, but of all places."""
    return _count(tokens, green)[0], torch.tensor(len(tokens) - 1)


green_pairs = Implementation(
    "green_pairs",
    right=_count,
    cases=_texts,
    slips=[
        ("a pair counts each time it occurs in yours: it is one toss of a coin, and counts once", dict(unique=False)),
        ("green pairs are counted once in yours, and n is still the number of all places: count different pairs in "
         "both", _green_once),
        ("green[i, j] is about j after i: {}",
         ("you look up the token before among the lists of the one after", dict(table=lambda g: g.T)),
         ("you count the red ones", dict(table=lambda g: ~g))),
        ("n is the number of different pairs: {}", ("yours is one too large", dict(extra=lambda n: n + 1)),
         ("yours is one too small", dict(extra=lambda n: n - 1))),
        ("you count different tokens, and not pairs of neighbours", lambda tokens, green: (
            green[tokens[:-1], tokens[1:]].sum(), torch.tensor(len(tokens.unique())))),
        ("the last token has no neighbour after it: yours pairs it with the first", lambda tokens, green: _count(
            torch.cat([tokens, tokens[:1]]), green)),
        ("a token is paired with the one that stands two places on",
         dict(first=slice(None, -2), second=slice(2, None))),
    ],
    hints=("Take tokens 0, 1, 0, 1. Which pairs of neighbours are there, and which of them are different?",
           "Put each token beside the next one, drop what is there twice, and look each pair up in `green`.",
           "pairs = torch.stack([tokens[:-1], tokens[1:]], 1).unique(dim=0)\n"
           "green[pairs[:, 0], pairs[:, 1]].sum(), len(pairs)"),
    returns=("n_green", "n"))

# --- 2


def _tail(k, n, share, start=lambda k: k, end=0, ways=math.comb, green=lambda share: share,
          red=lambda share: 1 - share):
    tails = []
    for a in k.tolist():
        exactly = [ways(n, j) * green(share) ** j * red(share) ** (n - j) for j in range(start(a), n + 1 - end)]
        tails.append(sum(exactly))
    return torch.tensor(tails, dtype=torch.float64)


def _exactly(k, n, share):
    return torch.tensor([math.comb(n, j) * share**j * (1 - share) ** (n - j) for j in k.tolist()], dtype=torch.float64)


def _normal(k, n, share):
    z = (k.double() - share * n) / math.sqrt(share * (1 - share) * n)
    return 0.5 * torch.special.erfc(z / math.sqrt(2))


def _tosses(g: torch.Generator) -> list[tuple]:
    return [(1 + torch.randint(n, (m,), generator=g), n, share)
            for m, n, share in ((1, 3, 0.5), (3, 6, 0.25), (2, 20, 0.3), (5, 25, 0.6), (4, 5, 0.4), (3, 80, 0.25))]


tail = Implementation(
    "tail",
    right=_tail,
    cases=_tosses,
    slips=[
        ("this is the normal approximation: the exact sum over the binomial probabilities was asked for", _normal),
        ("at least k green tokens are asked for, k itself included: {}",
         ("yours begins at k + 1", dict(start=lambda k: k + 1)),
         ("this is the probability of exactly k", _exactly),
         ("this is the probability of at most k",
          lambda k, n, share: 1 - _tail(k, n, share, start=lambda k: k + 1)),
         ("this is the probability of fewer than k", lambda k, n, share: 1 - _tail(k, n, share))),
        ("the sum goes on to n, and yours stops one before", dict(end=1)),
        ("there are many ways to place j green tokens among n: math.comb(n, j) is missing",
         dict(ways=lambda n, j: 1)),
        ("you count orders, n! / (n - j)!, where only which tokens are green matters", dict(ways=math.perm)),
        ("a token is green with probability `share` and red with 1 - share: {}",
         ("yours are the other way round", dict(green=lambda s: 1 - s, red=lambda s: s)),
         ("you use share for both", dict(red=lambda s: s)),
         ("the red ones are missing", dict(red=lambda s: 1.0))),
        ("share is not used: yours is right for 1/2 only", dict(green=lambda s: 0.5, red=lambda s: 0.5)),
    ],
    hints=("Write down n = 3, k = 2, share = 1/2: which of the eight outcomes have at least two heads?",
           "Exactly j green ones have probability math.comb(n, j) share^j (1 - share)^(n - j). Add up j = k, ..., n.",
           "torch.tensor([sum(math.comb(n, j) * share**j * (1 - share)**(n - j) for j in range(a, n + 1))\n"
           "              for a in k.tolist()])"),
    rtol=1e-4, atol=1e-8)

# --- 3


def _windows(p_values: Tensor, level: float, least=lambda p: p.min(), corrected=lambda level, m: level / m,
             found=lambda low, level: low < level):
    return torch.tensor(bool(found(least(p_values), corrected(level, len(p_values)))))


def _looks(g: torch.Generator) -> list[tuple]:
    cases = []
    for m, low in ((4, 0.004), (4, 0.008), (3, 0.001), (10, 0.0005), (10, 0.02), (1, 0.009), (20, 0.0008), (50, 0.3)):
        p = 0.05 + 0.9 * torch.rand(m, generator=g, dtype=torch.float64)
        p[torch.randint(m, (1,), generator=g)] = low
        cases.append((p, 0.01))
    return cases + [(torch.full((5,), 0.008, dtype=torch.float64), 0.05),
                    (torch.tensor([0.001, 0.03, 0.001], dtype=torch.float64), 0.05),
                    (torch.tensor([0.011, 0.02, 0.03], dtype=torch.float64), 0.03),
                    (torch.full((3,), 0.03, dtype=torch.float64), 0.04),
                    (torch.tensor([0.9, 0.27], dtype=torch.float64), 0.5)]


def _by_rank(p_values, level):
    m = len(p_values)
    return torch.tensor(bool((p_values.sort().values <= level * torch.arange(1, m + 1) / m).any()))


any_window = Implementation(
    "any_window",
    right=_windows,
    cases=_looks,
    slips=[
        ("the bug is still there: each window is tested at the full level, so who looks m times is wrong m times as "
         "often", dict(corrected=lambda level, m: level),
         "Draw 50 numbers from 0 to 1: how often is the smallest below 0.01? And below 0.01 / 50?"),
        ("the level has to become smaller with the number of windows: yours {}",
         ("grows", dict(corrected=lambda level, m: level * m)),
         ("is divided by its root", dict(corrected=lambda level, m: level / m**0.5))),
        ("windows may overlap, and then yours is wrong too often: {}",
         ("1 - (1 - level)^(1 / m) is for independent ones",
          dict(corrected=lambda level, m: 1 - (1 - level) ** (1 / m))),
         ("level times rank / m is for independent ones", _by_rank)),
        ("one window is enough: {}", ("you ask that all of them are below", dict(least=lambda p: p.max())),
         ("you ask for their mean", dict(least=lambda p: p.mean()))),
        ("a small p-value speaks for the mark: yours calls it found where all are large",
         dict(found=lambda low, level: low > level)),
    ],
    hints=("How often does somebody find something who looks 50 times, each time at 1 %, where nothing is?",
           "With m windows each may be wrong with probability level / m only; then all together are wrong with at most "
           "level.",
           "bool(p_values.min() < level / len(p_values))"))

# --- 4


def _shortest(found: Tensor, lengths: list[int], share=0.9, pick=min):
    ok = found.double().mean(0) >= share
    good = [length for k, length in enumerate(lengths) if ok[k:].all()]
    return float(pick(good)) if good else float("nan")


shortest = Measurement(
    "shortest", truth=_shortest, tolerance=0.001,
    slips=[
        ("at this length fewer than 90 % of the texts are found: {}",
         ("half of them are", dict(share=0.5)), ("some of them are", dict(share=0.01))),
        ("this is the longest length that was tried: the shortest at which 90 % are found is asked for",
         dict(pick=max)),
        ("at this length *all* texts are found: 90 % are enough", dict(share=1.0)),
        ("this is the place in the list of lengths: the number of bytes is asked for", lambda found, lengths: float(
            lengths.index(int(_shortest(found, lengths))))),
        ("this is a share: a number of bytes is asked for", lambda found, lengths: found.double().mean(0)[
            lengths.index(int(_shortest(found, lengths)))].item()),
    ],
    hints=("Which axis of `found` are texts, and which are lengths?",
           "The mean over texts gives a share for each length. The first length from which on it is at least 0.9 is "
           "asked for.",
           "shares = found.double().mean(0)\n"
           "shortest = next(n for k, n in enumerate(lengths) if (shares[k:] >= 0.9).all())"))
