"""The checks of exercise 71: InfoNCE, a classifier of sentences, equal captions that are masked, and a floor."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, rand


def _unit(g: torch.Generator, *size: int) -> Tensor:
    return F.normalize(rand(g, *size), dim=-1)


# --- 1

BOTH = (1, 0)                                    # pictures choose along a row, captions down a column


def _nce(a, b, scale, logits=lambda a, b, scale: scale * a @ b.mT, ways=BOTH, weight=0.5, reduce=torch.mean,
         surprise=lambda s, axis: -s.log_softmax(axis).diagonal()) -> Tensor:
    s = logits(a, b, scale)
    return weight * sum(reduce(surprise(s, axis)) for axis in ways)


def _without_own(s: Tensor, axis: int) -> Tensor:
    others = s.masked_fill(torch.eye(len(s), dtype=torch.bool), -math.inf)
    return others.logsumexp(axis) - s.diagonal()


def _matched(g: torch.Generator) -> list[tuple]:
    """In the last one pictures and captions are the same, and exp(100) is beyond float32."""
    cases = [(_unit(g, B, D), _unit(g, B, D), scale)
             for B, D, scale in ((2, 2, 1.5), (3, 4, 5.0), (1, 3, 2.0), (5, 3, 14.0), (4, 6, 3.0))]
    same = _unit(g, 3, 5)
    return [*cases, (same, same.clone(), 100.0)]


info_nce = Implementation(
    "info_nce",
    right=_nce,
    cases=_matched,
    slips=[
        ("right where scores are small, and wrong at scale 100: there exp is beyond what float32 can hold", {5},
         "log_softmax or logsumexp take the largest score away before they use exp."),
        ("this is one half of the game: {}",
         ("pictures choose among captions here, and captions must choose among pictures too",
          dict(ways=(1,), weight=1.0), dict(ways=(1, 1))),
         ("captions choose among pictures here, and pictures must choose among captions too",
          dict(ways=(0,), weight=1.0), dict(ways=(0, 0)))),
        ("the two directions are added: the loss is their mean", dict(weight=1.0)),
        ("you add up over the batch: each direction is the *mean* of the surprises", dict(reduce=torch.sum)),
        ("the cosines are to be multiplied by the scale: {}",
         ("you divide by it", dict(logits=lambda a, b, scale: a @ b.mT / scale)),
         ("it is not used", dict(logits=lambda a, b, scale: a @ b.mT)),
         ("it is there squared, once for a and once for b", dict(logits=lambda a, b, scale: scale**2 * a @ b.mT)),
         ("you take its exponential; `scale` is the number itself, not its logarithm",
          dict(logits=lambda a, b, scale: math.exp(scale) * a @ b.mT))),
        ("the own partner stands in the sum below the fraction too: you left it out there",
         dict(surprise=_without_own)),
        ("you used one softmax for the whole table: each picture makes a choice of its own, and so does each caption",
         dict(surprise=lambda s, axis: -s.flatten().log_softmax(0).view_as(s).diagonal())),
        ("you averaged the probabilities and took the logarithm after that: the loss is the mean of logarithms",
         dict(surprise=lambda s, axis: -s.softmax(axis).diagonal().mean().log().view(1))),
        ("there is no logarithm: a surprise is minus the log of a probability",
         dict(surprise=lambda s, axis: 1 - s.softmax(axis).diagonal()),
         dict(surprise=lambda s, axis: -s.softmax(axis).diagonal())),
        ("this is a yes or no for each pair by itself, as in SigLIP: here the captions compete in one softmax",
         lambda a, b, scale: F.binary_cross_entropy_with_logits(scale * a @ b.mT, torch.eye(len(a)))),
        ("your pairs do not meet others: without negatives all vectors could be equal",
         lambda a, b, scale: scale * (1 - (a * b).sum(1)).mean(), lambda a, b, scale: -scale * (a * b).sum(1).mean(),
         lambda a, b, scale: 1 - (a * b).sum(1).mean()),
    ],
    hints=("Print the table of scores, and its softmax along a row: do the rows sum to 1, and what stands on the "
           "diagonal?",
           "The scores are scale * a @ b.T. Cross-entropy of the rows, with the right answers 0, 1, …, B − 1, is what "
           "pictures pay; that of the transposed table is what captions pay. The loss is the mean of both.",
           "logits = scale * a @ b.T\nown = torch.arange(len(a))\n"
           "(F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2"),
    gradient=("a", "b"), rtol=1e-3, atol=1e-5)

# --- 2


def _named(image, text, mean=lambda t: t.mean(1), length=lambda c: F.normalize(c, dim=1),
           pick=lambda s: s.argmax(1)) -> Tensor:
    return pick(image @ length(mean(text)).mT)


def _prompts(g: torch.Generator) -> list[tuple]:
    """Classes whose sentences agree, and others whose sentences scatter, so that their means have unlike lengths."""
    cases = []
    for N, K, n, D in ((60, 3, 4, 5), (80, 5, 7, 4), (1, 2, 3, 4), (60, 2, 5, 3), (70, 4, 1, 6), (90, 6, 6, 5)):
        spread = torch.linspace(0.2, 1.6, K)[torch.randperm(K, generator=g)].view(K, 1, 1)
        text = F.normalize(_unit(g, K, 1, D) + spread * rand(g, K, n, D), dim=-1)
        cases.append((_unit(g, N, D), text))
    return cases


classify = Implementation(
    "classify",
    right=_named,
    cases=_prompts,
    slips=[
        ("the mean of a class is shorter where its sentences disagree, and then the class loses for that reason alone: "
         "bring it to length 1", dict(length=lambda c: c)),
        ("you brought the numbers of each axis to length 1, over the classes: each *class* shall have length 1",
         dict(length=lambda c: F.normalize(c, dim=0))),
        ("only {} sentence of each class counts: average over all", ("the first", dict(mean=lambda t: t[:, 0])),
         ("the last", dict(mean=lambda t: t[:, -1]))),
        ("you took the most similar single sentence: the *mean* vector stands for a class",
         lambda image, text: torch.einsum("nd,kmd->nkm", image, text).amax(2).argmax(1)),
        ("you let every sentence vote: average the vectors first",
         lambda image, text: torch.einsum("nd,kmd->nmk", image, text).argmax(2).mode(1).values),
        ("you took the class that is *least* like the picture; a distance is smallest where the likeness is greatest",
         dict(pick=lambda s: s.argmin(1))),
        ("you return the largest cosine: its place is asked for", dict(pick=lambda s: s.amax(1))),
        ("you took the axes of text for another order: it is classes, sentences, numbers",
         lambda image, text: _named(image, text.reshape(text.shape[1], text.shape[0], -1).transpose(0, 1))),
    ],
    hints=("What is the length of the mean of two vectors of length 1 that point the same way? And of two that do not?",
           "Average over the sentences, axis 1, and divide each of the K means by its length. The product of the "
           "pictures with their transpose is (N, K); the place of the largest number of each row is the class.",
           "classes = F.normalize(text.mean(dim=1), dim=1)\n(image @ classes.T).argmax(dim=1)"))

# --- 3


def _equal(words: Tensor) -> Tensor:
    return (words[:, None] == words).all(2)


def _masked(a, b, words, scale, equal=_equal, fill=-math.inf, own=True, ways=BOTH) -> Tensor:
    logits = scale * a @ b.mT
    others = equal(words) & ~torch.eye(len(a), dtype=torch.bool) if own else equal(words)
    hidden = logits.masked_fill(others, fill)
    return sum(-(hidden if axis in ways else logits).log_softmax(axis).diagonal().mean() for axis in BOTH) / 2


def _repeated(g: torch.Generator) -> list[tuple]:
    """Some captions are there twice or more; captions 0 and 1 share their first word, 1 and 2 their second; caption 3
    has the words of caption 1 in another order."""
    cases = []
    for kinds, D, scale in (([0, 0, 1], 3, 4.0), ([0, 1, 0, 2, 0], 4, 10.0), ([0, 1, 2], 3, 5.0),
                            ([0, 0, 1, 1], 5, 8.0), ([0], 2, 3.0), ([2, 1, 3, 0, 2, 2, 1], 4, 6.0)):
        table = torch.randint(1, 30, (3, 4), generator=g)
        table[:, 0], table[:, 1] = torch.tensor([30, 30, 31]), torch.tensor([32, 33, 33])
        table[1, 2:] = torch.tensor([40, 41])
        table = torch.cat([table, table[1:2, [0, 1, 3, 2]]])                                  # (4, 4)
        a, b = _unit(g, len(kinds), D), _unit(g, 4, D)
        cases.append((a, b[kinds], table[kinds], scale))
    return cases


masked_info_nce = Implementation(
    "masked_info_nce",
    right=_masked,
    cases=_repeated,
    slips=[
        ("the bug is still there: a score of 0 is no score at all, it takes part in the softmax as exp(0) = 1",
         dict(fill=0.0), "Which score has the probability 0 after a softmax?"),
        ("you gave equal captions another score, and they still take part: {}", ("1", dict(fill=1.0)),
         ("-1, which is exp(-1) in the softmax", dict(fill=-1.0))),
        ("nothing is masked any more", dict(equal=lambda words: torch.zeros(len(words), len(words)).bool())),
        ("captions are equal when *all* of their words are: {}",
         ("yours are when any word is", dict(equal=lambda words: (words[:, None] == words).any(2))),
         ("you compare the first word alone", dict(equal=lambda words: words[:, None, 0] == words[:, 0])),
         ("yours may stand in another order", dict(equal=lambda words: _equal(words.sort(1).values)),
          dict(equal=lambda words: words.sum(1)[:, None] == words.sum(1)))),
        ("only one direction is masked: {}", ("captions that choose among pictures are not", dict(ways=(1,))),
         ("pictures that choose among captions are not", dict(ways=(0,)))),
        ("the own pair is masked too: each caption is equal to itself, so leave the diagonal out of the mask",
         dict(own=False)),
        ("your mask is the wrong way round: it hides the captions that *differ*",
         dict(equal=lambda words: ~_equal(words))),
        ("you dropped the pairs whose caption is there twice: they stay, and only their twins are hidden",
         lambda a, b, words, scale: (lambda once: _nce(a[once], b[once], scale))(_equal(words).sum(1) == 1)),
    ],
    hints=("Print the softmax of the first row after masking: which entries should be 0, and are they?",
           "Whatever is to have no share in a softmax needs a score of minus infinity. The own pair must keep its "
           "score, so the diagonal is not masked.",
           "logits = (scale * a @ b.T).masked_fill(twins, -torch.inf)"),
    gradient=("a", "b"), rtol=1e-3, atol=1e-5)

# --- 4


def _counts(words) -> Tensor:
    return _equal(words).sum(1).double()


def _floor(words, of=lambda m: m.log().mean()) -> float:
    return float(of(_counts(words)))


floor = Measurement(
    "floor",
    truth=_floor,
    tolerance=0.01,
    slips=[
        ("this is the logarithm of the mean: the loss is a mean of logarithms", dict(of=lambda m: m.mean().log())),
        ("this is the mean of m: the surprise of a choice among m is its logarithm", dict(of=torch.mean)),
        ("this counts each distinct caption once: each of the 256 pairs counts, so a caption that is there often "
         "counts often", dict(of=lambda m: (m.log() / m).sum() / (1 / m).sum())),
        ("this is log 256 minus the log of the number of distinct captions: right only if all were equally frequent",
         dict(of=lambda m: math.log(len(m)) - (1 / m).sum().log())),
        ("this is log 256, the loss of pure guessing", dict(of=lambda m: torch.tensor(len(m)).double().log())),
        ("this is in bits: the loss is in nats, with the natural logarithm", dict(of=lambda m: m.log2().mean())),
        ("this is a sum over the 256 pairs: the loss is their mean", dict(of=lambda m: m.log().sum())),
        ("this is the share of captions that are there more than once", dict(of=lambda m: (m > 1).double().mean())),
        ("m counts the own caption too: you counted only the others, m − 1",
         dict(of=lambda m: (m - 1).clamp(min=1).log().mean()), dict(of=lambda m: (m - 1).mean())),
    ],
    hints=("Take one pair whose caption is there three times. What is the highest probability that the own one can "
           "get, and what is the surprise?",
           "equal_rows(words) is a table of 256 by 256: the sum of a row is m. The floor is the mean of log m.",
           "floor = equal_rows(words).sum(dim=1).double().log().mean().item()"))
