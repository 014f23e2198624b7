import torch

from course_lib.checks import cost as check
from course_lib.dit import DiT, DiTConfig
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.rounded)
def _(weight, n_bit, group):
    result, most = torch.zeros_like(weight), 2 ** (n_bit - 1) - 1
    for i in range(len(weight)):
        for start in range(0, weight.shape[1], group):
            part = weight[i, start:start + group]
            scale = part.abs().max() / most
            if scale > 0:
                result[i, start:start + group] = torch.round(part / scale) * scale
    return result


@right(check.rounded)
def _(weight, n_bit, group):
    parts = weight.unflatten(1, (-1, group))                      # (n, m / group, group)
    scale = parts.abs().amax(2, keepdim=True) / (2 ** (n_bit - 1) - 1)
    whole = torch.where(scale > 0, parts / scale, 0.0).round()
    return (whole * scale).flatten(1)


@wrong(check.rounded, "nan")
def _(weight, n_bit, group):                                      # a group of zeros is divided by zero
    parts = weight.reshape(-1, group)
    scale = parts.abs().amax(1, keepdim=True) / (2 ** (n_bit - 1) - 1)
    return ((parts / scale).round() * scale).reshape(weight.shape)


equivalent(check.rounded, "size(parts).clamp(min=1e-12) -> size(parts).clamp(min=2e-12)", "no group is so small")
equivalent(check.rounded, "scaled(nearest(parts / scale), scale) -> scaled(scale, nearest(parts / scale))", "a product")

# --- 2


@right(check.on_front)
def _(spent, distance):
    n = len(spent)
    kept = torch.ones(n, dtype=torch.bool)
    for i in range(n):
        for j in range(n):
            a, b = (spent[j], distance[j]), (spent[i], distance[i])
            if a[0] <= b[0] and a[1] <= b[1] and a != b:
                kept[i] = False
    return kept


@right(check.on_front)
def _(spent, distance):
    cheapest_at = torch.stack([distance[spent <= s].min() for s in spent])       # the nearest for as much
    first = torch.stack([spent[distance <= d].min() for d in distance])          # the cheapest as near
    return (distance == cheapest_at) & (spent == first)


@wrong(check.on_front, "the bug is still there")
def _(spent, distance):
    return ~((spent[None] < spent[:, None]) & (distance[None] < distance[:, None])).any(1)


equivalent(check.on_front, "strict(pairs(torch.lt, spent), pairs(torch.lt, distance)) -> "
           "strict(pairs(torch.lt, distance), pairs(torch.lt, spent))", "or works both ways")

# --- 3

NETWORK = DiT(DiTConfig(n_layer=4, n_embd=64, n_class=10, patch=2))
DIGIT = torch.zeros(1, 1, 28, 28)

LAYERS = 4 * (2 * 196 * 12 * 64**2 + 12 * 64**2) + 2 * 196 * 2 * 4 * 64 + 8 * 64**2
ATTENTION = 4 * 4 * 196**2 * 64

right(check.attention_share, NETWORK, DIGIT)(ATTENTION / (ATTENTION + LAYERS))
