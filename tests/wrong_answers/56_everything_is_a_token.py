import torch

from course_lib.checks import everything_is_a_token as check
from wrong_answers import right, wrong

# --- 1


@right(check.code_probs)
def _(logits, n_class, temperature):
    codes = torch.softmax(logits[:, n_class:] / temperature, dim=-1)
    return torch.nn.functional.pad(codes, (n_class, 0))


@right(check.code_probs)
def _(logits, n_class, temperature):
    allowed = logits / temperature
    allowed[:, :n_class] = float("-inf")
    allowed = allowed - allowed.max(dim=1, keepdim=True).values
    return allowed.exp() / allowed.exp().sum(dim=1, keepdim=True)


@wrong(check.code_probs, "struck out the labels after the softmax")            # in place: it has no gradient, either
def _(logits, n_class, temperature):
    p = (logits / temperature).softmax(1)
    p[:, :n_class] = 0
    return p


@wrong(check.code_probs, "changes a tensor in place that its gradient still needs")
def _(logits, n_class, temperature):
    p = (logits - logits[:, n_class:].max(1, keepdim=True).values).div(temperature).exp()
    p[:, :n_class] = 0
    return p / p.sum(1, keepdim=True)


# --- 2


@right(check.parallel_fifths)
def _(pitch):
    total = 0
    for t in range(len(pitch) - 1):
        for i in range(pitch.shape[1]):
            for j in range(i + 1, pitch.shape[1]):
                before, after = pitch[t, i] - pitch[t, j], pitch[t + 1, i] - pitch[t + 1, j]
                moves = pitch[t + 1, i] - pitch[t, i], pitch[t + 1, j] - pitch[t, j]
                if before % 12 == 7 and after % 12 == 7 and (min(moves) > 0 or max(moves) < 0):
                    total += 1
    return total


@right(check.parallel_fifths)
def _(pitch):
    fifth = torch.triu((pitch[:, :, None] - pitch[:, None]) % 12 == 7)        # (T, V, V)
    step = pitch[1:] - pitch[:-1]
    return (fifth[1:] & fifth[:-1] & (step[:, :, None] * step[:, None] > 0)).sum().item()


# --- 3


@right(check.beginning)
def _(idx, labels, n_row, width=7):
    new = idx.clone()
    new[:, 0] = labels
    return new[:, :n_row * width + 1]


@right(check.beginning)
def _(idx, labels, n_row, width=7):
    codes = idx[:, 1:].reshape(len(idx), -1, width)[:, :n_row].flatten(1)
    return torch.hstack([labels.unsqueeze(1), codes])


# --- 4: of 20 programs 12 are right on the example, and of these 5 on the others; one more only on the others

SEEN, HIDDEN = [True] * 12 + [False] * 8, [True] * 5 + [False] * 7 + [True] + [False] * 7
right(check.false_passes, SEEN, HIDDEN)(7 / 12)
