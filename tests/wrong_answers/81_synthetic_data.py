import torch

from course_lib.checks import synthetic_data as check
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.next_data)
def _(data, eps, keep):
    rows = []
    for row, noise in zip(data, eps):
        mean = row.sum() / len(row)
        deviation = ((row - mean) ** 2).mean().sqrt()
        new = torch.stack([mean + deviation * e for e in noise])
        rows.append(torch.cat([row, new]) if keep else new)
    return torch.stack(rows)


@right(check.next_data)
def _(data, eps, keep):
    variance, mean = torch.var_mean(data, dim=1, correction=0)
    samples = torch.addcmul(mean[:, None], variance.sqrt()[:, None], eps)
    return torch.hstack([data, samples][0 if keep else 1:])


equivalent(check.next_data, "scaled(spread(data), eps) -> scaled(eps, spread(data))", "a product")

# --- 2


@right(check.given)
def _(x, y, few, eps, asked):
    x, y = x[few], y[few]
    made = torch.stack([x[y == k].mean(0) + x[y == k].std(0) * e for e, k in zip(eps, asked)])
    return torch.cat([x, made]), torch.cat([y, asked])


@right(check.given)
def _(x, y, few, eps, asked):
    allowed = torch.zeros(len(x), dtype=torch.bool)
    allowed[few] = True
    made = eps.clone()
    for k in range(int(y.max()) + 1):
        own = x[allowed & (y == k)]
        made[asked == k] = own.mean(0) + own.std(0) * made[asked == k]
    return torch.vstack([x[few], made]), torch.hstack([y[few], asked])


equivalent(check.given, "torch.zeros_like(eps) -> torch.ones_like(eps)", "all of it is overwritten")

# --- 3


def counted(correction=0):
    g = torch.Generator().manual_seed(7)
    data, rounds = torch.randn(2_000, 50, generator=g), 1
    while data.var(1, correction=correction).median() > 0.5 and rounds < 60:
        samples = torch.randn(2_000, 50, generator=g)
        data = data.mean(1, keepdim=True) + data.std(1, correction=correction, keepdim=True) * samples
        rounds += 1
    return rounds


right(check.half_life)(counted())
right(check.half_life)(torch.tensor(17.1))
wrong(check.half_life, "twice as long")(counted(correction=1))
