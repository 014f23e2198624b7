"""The checks of exercise 86: weights of few bits in groups, a Pareto front, and what attention takes."""

import torch
from torch import Tensor, nn

from course_lib.checks import Implementation, Measurement, rand
from course_lib.cost import operations, operations_by_layer, pareto

# --- 1


def _in_groups(weight, n_bit, group, most=lambda b: 2 ** (b - 1) - 1, size=lambda x: x.abs().amax(1, keepdim=True),
               nearest=torch.round, scaled=lambda whole, scale: whole * scale):
    parts = weight.reshape(-1, group)                             # (n * m / group, group)
    scale = size(parts).clamp(min=1e-12) / most(n_bit)
    return scaled(nearest(parts / scale), scale).reshape(weight.shape)


def _to_the_brim(weight, n_bit, group):
    """From -2^(b-1) to 2^(b-1) - 1, all that b bits can hold."""
    most = 2 ** (n_bit - 1)
    return _in_groups(weight, n_bit, group, most=lambda b: most, nearest=lambda x: x.round().clamp(-most, most - 1))


def _weights(g: torch.Generator) -> list[tuple]:
    """No two groups of a size; the last has a group of zeros."""
    cases = []
    for n, m, n_bit, group in ((1, 4, 3, 2), (3, 6, 4, 3), (6, 6, 5, 2), (4, 12, 8, 12), (5, 4, 2, 1), (4, 8, 4, 4)):
        size = torch.exp(1.5 * rand(g, n, m // group, 1)).expand(n, m // group, group).reshape(n, m)
        weight = rand(g, n, m) * size
        if (n, m) == (4, 8):
            weight[1, 4:] = 0
        cases.append((weight, n_bit, group))
    return cases


rounded = Implementation(
    "rounded",
    right=_in_groups,
    cases=_weights,
    slips=[
        ("the scales are those of {}: every `group` neighbouring weights of a row have one of their own",
         ("whole rows", lambda w, b, group: _in_groups(w, b, w.shape[1])),
         ("the whole matrix", lambda w, b, group: _in_groups(w, b, w.numel())),
         ("columns", lambda w, b, group: _in_groups(w.T, b, w.shape[0]).T),
         ("`group` columns, all rows together", lambda w, b, group: torch.cat(
             [_in_groups(part, b, part.numel()) for part in w.split(group, 1)], 1)),
         ("rows, and of 8 bits", lambda w, b, group: _in_groups(w, 8, w.shape[1])),
         ("every m / group-th weight of a row, and a group are neighbours", lambda w, b, group: _in_groups(
             w.view(len(w), group, -1).mT.reshape(w.shape), b, group).view(len(w), -1, group).mT.reshape(w.shape))),
        ("the largest whole number of b bits is 2^(b-1) - 1: yours is {}",
         ("2^(b-1), one too many", dict(most=lambda b: 2 ** (b - 1)), _to_the_brim),
         ("2^b - 1", dict(most=lambda b: 2**b - 1)), ("2^b", dict(most=lambda b: 2**b)),
         ("127, whatever the bits", dict(most=lambda b: 127))),
        ("the scale comes from the largest *absolute* value: with the largest value a group of negative numbers goes "
         "wrong", dict(size=lambda x: x.amax(1, keepdim=True))),
        ("the scale comes from the largest absolute value of a group: yours is {}",
         ("its mean absolute value", dict(size=lambda x: x.abs().mean(1, keepdim=True))),
         ("the distance from its smallest to its largest value",
          dict(size=lambda x: x.amax(1, keepdim=True) - x.amin(1, keepdim=True)))),
        ("a weight becomes the *nearest* whole number of scales: you {}",
         ("cut off towards 0", dict(nearest=torch.trunc)),
         ("round down", dict(nearest=torch.floor)), ("round up", dict(nearest=torch.ceil))),
        ("nothing is rounded: these are the weights as they were", dict(nearest=lambda x: x)),
        ("these are the whole numbers: the weights that they stand for are whole number times scale",
         dict(scaled=lambda whole, scale: whole)),
        ("you divided by the scale where the whole number has to be multiplied with it",
         dict(scaled=lambda whole, scale: whole / scale)),
    ],
    hints=("Take a row of four weights and groups of two, by hand: which scale has the third weight?",
           "Cut the rows into groups: reshape(-1, group) puts each group into a row of its own. Its scale is "
           "abs().amax(1, keepdim=True) / (2 ** (n_bit - 1) - 1). Divide, round, multiply, and reshape back.",
           "groups = weight.reshape(-1, group)\n"
           "scale = groups.abs().amax(1, keepdim=True).clamp(min=1e-12) / (2 ** (n_bit - 1) - 1)\n"
           "((groups / scale).round() * scale).reshape(weight.shape)"))

# --- 2


def _front(spent, distance, no_dearer=torch.le, no_farther=torch.le, strict=lambda s, d: s | d, keep=torch.logical_not,
           axis=1):
    def pairs(compare, x):
        return compare(x[None, :], x[:, None])                    # (n, n): row i, column j

    better = strict(pairs(torch.lt, spent), pairs(torch.lt, distance))
    return keep((pairs(no_dearer, spent) & pairs(no_farther, distance) & better).any(axis))


def _points(g: torch.Generator) -> list[tuple]:
    """The first by hand: a tie in cost, one in distance, and one in both. Whole numbers, so that there are more."""
    cases = [(torch.tensor([2.0, 2.0, 1.0, 3.0, 1.0]), torch.tensor([5.0, 4.0, 7.0, 4.0, 7.0]))]
    for n in (1, 3, 6, 9, 20):
        cases.append((torch.randint(1, 8, (n,), generator=g).float(), torch.randint(1, 8, (n,), generator=g).float()))
    return cases


on_front = Implementation(
    "on_front",
    right=_front,
    cases=_points,
    slips=[
        ("the bug is still there: who costs as much and is farther from the digits, or is as far and costs more, is "
         "beaten as well, though nobody is better in both", dict(no_dearer=torch.lt, no_farther=torch.lt),
         "Look at the first two generators of the example: which would you take?"),
        ("ties are seen in {} alone: there are generators that cost as much, and generators that are as far",
         ("cost", dict(no_farther=torch.lt)), ("distance", dict(no_dearer=torch.lt))),
        ("two generators that are equal in both numbers throw each other out, and each generator itself: one must be "
         "strictly better in something", dict(strict=lambda s, d: s | ~s)),
        ("of generators that are equal in both numbers you keep only one: they do not beat each other",
         lambda s, d: torch.zeros(len(s), dtype=torch.bool).index_fill(0, torch.tensor(pareto(s.tolist(), d.tolist())),
                                                                      True)),
        ("this marks those that are beaten: the others are the front", dict(keep=lambda beaten: beaten)),
        ("you asked whom i beats, in place of who beats i: the axes have changed places", dict(axis=0)),
        ("only the cheapest is left: the front has a generator for each price that is worth paying",
         lambda s, d: s == s.min()),
        ("only the nearest is left: the front has a generator for each price that is worth paying",
         lambda s, d: d == d.min()),
        ("being better in one number is not yet to beat: the other must not be worse",
         lambda s, d: ~((s[None] < s[:, None]) | (d[None] < d[:, None])).any(1)),
    ],
    hints=("Two generators cost the same. One is nearer to the digits. Does the broken function leave the other out?",
           "j beats i if spent[j] <= spent[i] and distance[j] <= distance[i], and at least one of the two is <. Build "
           "each of these as a table of n x n truth values, with spent[None, :] and spent[:, None].",
           "worse = (spent[None] <= spent[:, None]) & (distance[None] <= distance[:, None])\n"
           "strictly = (spent[None] < spent[:, None]) | (distance[None] < distance[:, None])\n"
           "~(worse & strictly).any(1)"))

# --- 3


def _share(network: nn.Module, digit: Tensor, of=lambda attention, layers: attention / (attention + layers)) -> float:
    def look():
        return network(digit, 0.5, torch.tensor([3]))

    layers = sum(operations_by_layer(network, look).values())
    return of(operations(look) - layers, layers)


attention_share = Measurement(
    "attention_share",
    truth=_share,
    tolerance=0.01,
    slips=[
        ("this is the share of the linear layers: what is done outside them is asked for",
         dict(of=lambda attention, layers: layers / (attention + layers))),
        ("this is attention as a share of the linear layers: divide by all operations, attention included",
         dict(of=lambda attention, layers: attention / layers)),
        ("this is a number of operations: a share of all is asked for", dict(of=lambda attention, layers: attention),
         dict(of=lambda attention, layers: layers), dict(of=lambda attention, layers: attention + layers)),
        ("this counts half of attention: there are the scores, and then the means of the values",
         dict(of=lambda attention, layers: attention / 2 / (attention + layers)),
         dict(of=lambda attention, layers: attention / 2 / (attention / 2 + layers))),
    ],
    hints=("Which two numbers does the library give you: what is in by_layer, and what would cost.operations say?",
           "All operations of a look, less those in linear layers, are attention's. Divide by all.",
           "everything = cost.operations(look)\nattention_share = 1 - sum(by_layer.values()) / everything"))
