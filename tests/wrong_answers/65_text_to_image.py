import torch
from torch import nn

from course_lib.checks import text_to_image as check
from wrong_answers import right, wrong

# --- 1


@right(check.with_right)
def _(x, W_own, W_right, c):
    rows = []
    for caption in x:
        for place in range(len(caption)):
            y = caption[place] + W_own @ caption[place] + c
            if place + 1 < len(caption):
                y = y + W_right @ caption[place + 1]
            rows.append(y)
    return torch.stack(rows).view(x.shape)


@right(check.with_right)
def _(x, W_own, W_right, c):
    padded = nn.functional.pad(x.transpose(1, 2), (0, 1))
    return x + nn.functional.conv1d(padded, torch.stack([W_own, W_right], 2), c).transpose(1, 2)


# --- 2


@right(check.shift_and_scale)
def _(z):
    return z.mean((0, 2, 3))[:, None, None], 1 / z.std((0, 2, 3), keepdim=True)[0]


@right(check.shift_and_scale)
def _(z):
    shift, scale = torch.zeros(z.shape[1], 1, 1), torch.zeros(z.shape[1], 1, 1)
    for k in range(z.shape[1]):
        channel = z[:, k].flatten()
        shift[k] = channel.sum() / len(channel)
        scale[k] = ((channel - shift[k]) ** 2).mean() ** -0.5
    return shift, scale


# --- 3


@right(check.leave_out)
def _(words, u, share=0.1):
    rows = []
    for row, number in zip(words, u):
        rows.append(torch.zeros_like(row) if number < share else row)
    return torch.stack(rows)


@right(check.leave_out)
def _(words, u, share=0.1):
    return words * (u >= share)[:, None]


@wrong(check.leave_out, "the bug is still there")
def _(words, u, share=0.1):
    return torch.where(u < share, torch.zeros_like(words), words)


@wrong(check.leave_out, "the bug is still there")
def _(words, u, share=0.1):
    return words.masked_fill(u < share, 0)


# --- 4: 9 right, 6 exchanged, one all blue, 4 others

PAIRS = [("red", "blue"), ("green", "black")] * 10
HATS = ["red", "green"] * 4 + ["red"] + ["black", "blue"] * 3 + ["none", "blue", "green", "none", "none"]
SHIRTS = ["blue", "black"] * 4 + ["blue"] + ["green", "red"] * 3 + ["black", "blue", "red", "black", "red"]

right(check.binding, PAIRS, HATS, SHIRTS)(9 / 15)
