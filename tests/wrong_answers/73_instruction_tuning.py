import torch
from torch.nn import functional as F

from course_lib.checks import instruction_tuning as check
from wrong_answers import right, wrong

# --- 1


@right(check.which_to_learn)
def _(tokens):
    learn = torch.zeros_like(tokens, dtype=torch.bool)
    for b, row in enumerate(tokens.tolist()):
        speaking = False
        for t, token in enumerate(row):
            learn[b, t] = speaking
            speaking = token == 258 or speaking and token != 259
    return learn


@right(check.which_to_learn)
def _(tokens):
    places = torch.arange(tokens.shape[1]).expand_as(tokens)
    opened = places.where(tokens == 258, -1).cummax(1).values.roll(1, 1)      # the last mark before each place
    closed = places.where(tokens == 259, -1).cummax(1).values.roll(1, 1)
    opened[:, 0] = closed[:, 0] = -1
    return opened > closed


# --- 2


@right(check.masked_loss)
def _(logits, tokens, learn):
    targets = tokens[:, 1:].masked_fill(~learn[:, 1:], -100)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@right(check.masked_loss)
def _(logits, tokens, learn):
    total, count = 0.0, 0
    for b in range(len(tokens)):
        for t in range(logits.shape[1]):
            if learn[b, t + 1]:
                total, count = total - logits[b, t].log_softmax(0)[tokens[b, t + 1]], count + 1
    return total / count


# --- 3


@right(check.reply_lengths)
def _(rows):
    return torch.tensor([row.index(259) if 259 in row else len(row) for row in rows.tolist()])


@right(check.reply_lengths)
def _(rows):
    return ((rows == 259).cumsum(1) == 0).sum(1)


@wrong(check.reply_lengths, "argmax of zeros")
def _(rows):
    return (rows == 259).int().argmax(dim=1)


# --- 4: 5 replies name a room, 4 of them one of their story

STORIES = ["Ben is in the hall.", "Eva is in the attic. Ben is in the hall.", "Leo is in the cellar.",
           "Ida is in the garden. Ada is in the attic.", "Kim is in the hall.", "Max is in the garage."]
SAID = ["Mia is in the hall.", "Mia is in the attic.", "Mia is in the kitchen.", "Mia is in the garden.",
        "Nobody said where Mia is.", "Mia is in the garage."]

right(check.borrowed, STORIES, SAID)(4 / 5)
right(check.borrowed, STORIES, SAID)(torch.tensor(0.8))
