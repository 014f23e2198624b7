import numpy as np
import torch
from torch.nn import functional as F

from course_lib.checks import clip as check
from course_lib.data.avatars import encode
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.info_nce)
def _(a, b, scale):
    total = 0.0
    for i in range(len(a)):
        of_picture = torch.stack([scale * (a[i] @ b[j]) for j in range(len(b))])
        of_caption = torch.stack([scale * (a[j] @ b[i]) for j in range(len(a))])
        total = total + of_picture.logsumexp(0) - of_picture[i] + of_caption.logsumexp(0) - of_caption[i]
    return total / (2 * len(a))


@right(check.info_nce)
def _(a, b, scale):
    s = torch.einsum("id,jd->ij", a, b) * scale
    s = s - s.max()
    e = s.exp()
    return -((e / e.sum(0)).diagonal().log().mean() + (e / e.sum(1, keepdim=True)).diagonal().log().mean()) / 2


@wrong(check.info_nce, "exp is beyond what float32 can hold")
def _(a, b, scale):
    e = (scale * a @ b.T).exp()
    return -((e.diagonal() / e.sum(0)).log().mean() + (e.diagonal() / e.sum(1)).log().mean()) / 2


equivalent(check.info_nce, "logits(a, b, scale) -> logits(b, a, scale)", "the loss is the mean of both directions")

# --- 2


@right(check.classify)
def _(image, text):
    classes = torch.stack([sentences.sum(0) / sentences.sum(0).norm() for sentences in text])
    return torch.tensor([max(range(len(classes)), key=lambda k: float(classes[k] @ x)) for x in image])


@right(check.classify)
def _(image, text):
    classes = F.normalize(text.mean(1), dim=1)
    return torch.cdist(image, classes).argmin(1)


equivalent(check.classify, "t.mean(1) -> t.sum(1)", "it is brought to length 1 after that")

# --- 3


@right(check.masked_info_nce)
def _(a, b, words, scale):
    losses = []
    for table in (scale * a @ b.T, scale * b @ a.T):
        for i in range(len(a)):
            kept = [j for j in range(len(a)) if j == i or not torch.equal(words[i], words[j])]
            losses.append(table[i, kept].logsumexp(0) - table[i, i])
    return torch.stack(losses).mean()


@right(check.masked_info_nce)
def _(a, b, words, scale):
    kind = words.unique(dim=0, return_inverse=True)[1]
    twins = torch.triu(kind[:, None] == kind, 1)
    logits = scale * a @ b.T - 1e9 * (twins | twins.T).float()
    return -(logits.log_softmax(0).diagonal() + logits.log_softmax(1).diagonal()).mean() / 2


@wrong(check.masked_info_nce, "the bug is still there")
def _(a, b, words, scale):
    twins = (words[:, None] == words).all(2).float() - torch.eye(len(a))
    logits = scale * a @ b.T * (1 - twins)
    return -(logits.log_softmax(0).diagonal() + logits.log_softmax(1).diagonal()).mean() / 2


# --- 4

WORDS = encode(["a red hat"] * 3 + ["a beard"] * 2 + ["a sad person", "a person", "a blue hat"])

right(check.floor, WORDS)((3 * np.log(3) + 2 * np.log(2)) / 8)
