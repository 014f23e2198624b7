import torch

from course_lib.checks import personalisation as check
from wrong_answers import right

# --- 1


@right(check.corrected)
def _(x, W, c, up, down, strength):
    return torch.nn.functional.linear(x, W + strength * up @ down, c)


@right(check.corrected)
def _(x, W, c, up, down, strength):
    rows = []
    for row in x:
        heard = down @ row
        rows.append(W @ row + c + strength * (up @ heard))
    return torch.stack(rows)


# --- 2


@right(check.compress)
def _(change, rank):
    U, s, V = torch.svd(change)
    return U[:, :rank] @ torch.diag(s[:rank]) @ V[:, :rank].T


@right(check.compress)
def _(change, rank):
    total = torch.zeros_like(change)
    U, s, Vh = torch.linalg.svd(change)
    for k in range(rank):
        total = total + s[k] * torch.outer(U[:, k], Vh[k])
    return total


# --- 3


@right(check.mixed)
def _(z_few, words_few, z_many, words_many, i, j):
    z, words = torch.cat([z_few, z_many]), torch.cat([words_few, words_many])
    rows = torch.cat([i, j + len(z_few)])
    return z[rows], words[rows]


@right(check.mixed)
def _(z_few, words_few, z_many, words_many, i, j):
    z = [z_few[k] for k in i] + [z_many[k] for k in j]
    words = [words_few[k] for k in i] + [words_many[k] for k in j]
    return torch.stack(z), torch.stack(words)


# --- 4: shares 0.2, 0.2, 0.4, 0.6, 0.8, 1, 0.6

STRENGTHS = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4]
ALIKE = torch.tensor([[0.1, 0.9, 0.2, 0.1, 0.3], [0.55, 0.9, 0.55, 0.5, 0.3], [0.7, 0.9, 0.55, 0.5, 0.3],
                      [0.7, 0.9, 0.65, 0.4, 0.2], [0.9, 0.9, 0.9, 0.8, 0.5], [0.9, 0.9, 0.9, 0.8, 0.7],
                      [0.9, 0.9, 0.9, 0.2, 0.2]])

right(check.halfway, STRENGTHS, ALIKE)(0.8)
