import torch
from torch.nn import functional as F

from course_lib.checks import preferences as check
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.dpo_loss)
def _(better, worse, better_ref, worse_ref, beta):
    margin = beta * (better - worse) - beta * (better_ref - worse_ref)
    return F.softplus(-margin).mean()


@right(check.dpo_loss)
def _(better, worse, better_ref, worse_ref, beta):
    rewards = beta * torch.stack([better - better_ref, worse - worse_ref], 1)
    return F.cross_entropy(rewards, torch.zeros(len(better), dtype=torch.long))


@wrong(check.dpo_loss, "its log is -inf")
def _(better, worse, better_ref, worse_ref, beta):
    return -torch.sigmoid(beta * (better - better_ref - worse + worse_ref)).log().mean()


equivalent(check.dpo_loss, "scale(margin(high, low), beta) -> scale(beta, margin(high, low))", "a product")

# --- 2


@right(check.advantages)
def _(rewards):
    rows = []
    for row in rewards:
        spread = ((row - row.sum() / len(row)) ** 2).mean() ** 0.5
        rows.append((row - row.mean()) / (spread + 1e-4))
    return torch.stack(rows)


@right(check.advantages)
def _(rewards):
    deviation, mean = torch.std_mean(rewards, dim=1, correction=0)
    return (rewards - mean[:, None]) / (deviation[:, None] + 1e-4)


@wrong(check.advantages, "which is nan")
def _(rewards):
    return (rewards - rewards.mean(1, keepdim=True)) / rewards.std(1, keepdim=True, correction=0)


equivalent(check.advantages, "0.0001 -> 0.0002", "too small to be seen")
equivalent(check.advantages, "spread(centred, axis) + small -> spread(centred, axis) - small", "0 / -0.0001 is 0 too")

# --- 3


@right(check.answer_logp)
def _(logits, idx, mask):
    surprise = F.cross_entropy(logits[:, :-1].transpose(1, 2), idx[:, 1:], reduction="none")
    return -surprise.masked_fill(~mask[:, 1:], 0).sum(1)


@right(check.answer_logp)
def _(logits, idx, mask):
    sums = []
    for z, tokens, kept in zip(logits.log_softmax(-1), idx, mask):
        sums.append(sum(z[t - 1, tokens[t]] for t in range(1, len(tokens)) if kept[t]))
    return torch.stack(sums)


equivalent(check.answer_logp, "on(each, mask[:, kept]) -> on(mask[:, kept], each)", "a product")

# --- 4

ROWS = torch.zeros(10, 16, dtype=torch.bool)
for k, n in enumerate((0, 0, 1, 2, 3, 1, 12, 16, 5, 10)):
    ROWS[k, torch.randperm(16, generator=torch.Generator().manual_seed(k))[:n]] = True

right(check.pass_at_8, ROWS)(0.6653846)
