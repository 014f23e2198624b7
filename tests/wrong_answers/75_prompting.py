from collections import Counter

import torch

from course_lib.checks import prompting as check
from wrong_answers import right, wrong

# --- 1


@right(check.score_of_heads)
def _(maps, idx):
    B, H, T, _ = maps.shape
    found = []
    for b in range(B):
        for t in range(T):
            after = [s + 1 for s in range(t) if idx[b, s] == idx[b, t]]
            if after:
                found.append(maps[b, :, t, after].sum(1))
    return torch.stack(found).mean(0)


@right(check.score_of_heads)
def _(maps, idx):
    same = torch.tril(idx.unsqueeze(2) == idx.unsqueeze(1), diagonal=-1).float()
    shifted = torch.nn.functional.pad(same, (1, 0))[:, :, :-1]
    total = torch.einsum("bhts,bts->h", maps, shifted)
    return total / (same.sum(2) > 0).sum()


# --- 2


@right(check.vote)
def _(answers):
    return torch.tensor([Counter(row).most_common(1)[0][0] for row in answers.tolist()])


@right(check.vote)
def _(answers):
    winners = []
    for row in answers:
        best, most = row[0], 0
        for answer in row:
            if (row == answer).sum() > most:
                best, most = answer, (row == answer).sum()
        winners.append(best)
    return torch.stack(winners)


wrong(check.vote, "should be")(lambda answers: answers.float().mean(1).round().long())

# --- 3


@right(check.targets)
def _(idx, learn):
    return torch.where(learn, idx, torch.full_like(idx, -100))[:, 1:]


@right(check.targets)
def _(idx, learn):
    targets = idx.clone()
    targets[~learn] = -100
    return targets[:, 1:]


# --- 4: of 20, 4 whose answers are the same; of 16, 5 obey, 9 are right, 2 do neither

WANTED, INJECTED = ["a"] * 20, ["a"] * 4 + ["b"] * 16
SAID = ["a"] * 3 + ["c"] + ["b"] * 5 + ["a"] * 9 + ["c"] * 2
right(check.obeyed, SAID, WANTED, INJECTED)(5 / 16)
