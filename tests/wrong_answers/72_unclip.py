import torch
from torch.nn import functional as F

from course_lib.checks import unclip as check
from course_lib.unclip import slerp
from wrong_answers import equivalent, right, wrong

# --- 1

right(check.along_the_arc)(slerp)


@right(check.along_the_arc)
def _(a, b, share):
    rows = []
    for p, q in zip(a, b):
        w = torch.acos(p @ q / (p.norm() * q.norm()))
        rows.append((torch.sin((1 - share) * w) * p + torch.sin(share * w) * q) / torch.sin(w))
    return torch.stack(rows)


@wrong(check.along_the_arc, "an angle of shape (n,)")
def _(a, b, share):
    w = torch.acos(F.cosine_similarity(a, b))
    return (torch.sin((1 - share) * w) * a + torch.sin(share * w) * b) / torch.sin(w)


equivalent(check.along_the_arc, "angle(a, b) -> angle(b, a)", "the angle between two has no order")
equivalent(check.along_the_arc, "F.cosine_similarity(a, b, dim=1) -> F.cosine_similarity(b, a, dim=1)", "nor a cosine")

# --- 2


@right(check.imagine)
def _(prior, y, noise, steps, scale):
    x = noise.clone()
    for i in range(steps):
        t = torch.ones(len(x)) * i / steps
        both = prior(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, 0 * y]))
        with_caption, without = both.chunk(2)
        x += (scale * with_caption + (1 - scale) * without) / steps
    return x / x.norm(dim=1, keepdim=True) * x.shape[1] ** 0.5


@right(check.imagine)
def _(prior, y, noise, steps, scale):
    rows = []
    for k in range(len(y)):
        x, t = noise[k:k + 1], torch.zeros(1)
        while t.item() < 1 - 1e-6:
            u, c = prior(x, t, 0 * y[k:k + 1]), prior(x, t, y[k:k + 1])
            x, t = x + (u + scale * (c - u)) / steps, t + 1 / steps
        rows.append(x[0] / x.square().mean().sqrt())
    return torch.stack(rows)


wrong(check.imagine, "a time for each of the 1 vectors")(lambda prior, y, noise, *_: prior(noise, 0.0, y))
wrong(check.imagine, "all zeros if there is none, and got")(
    lambda prior, y, noise, *_: prior(noise, torch.zeros(len(noise)), None))


# --- 3

right(check.pairs)(lambda z, y: (torch.cat([z] * (len(y) // len(z))), y))
right(check.pairs)(lambda z, y: (z[torch.arange(len(y)) % len(z)], y.clone()))
wrong(check.pairs, "the bug is still there")(lambda z, y: (z.repeat_interleave(len(y) // len(z), 0), y))

# --- 4: seven blue hats of 14, five of them with nothing else changed

BEFORE = torch.tensor([[0, 1, 0, 1, 0, 0, 0, 2]] * 14)
AFTER = BEFORE.clone()
BEFORE[[1, 4, 8, 10], 6] = -1
AFTER[:, 3] = torch.tensor([4, 1, 1, 2, 1, 2, 1, 2, 2, 1, 2, 2, 2, 4])
AFTER[[5, 6, 7, 13], 0], AFTER[[4, 8], 6], AFTER[[4, 6, 13], 7] = 1, 1, 3

right(check.unchanged, BEFORE, AFTER)(5 / 7)
