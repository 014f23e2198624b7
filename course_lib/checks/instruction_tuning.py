"""The checks of exercise 73: which tokens are learned, the loss on them, where a reply ends, and where a wrong answer
comes from."""

import math

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, rand

USER, ASSISTANT, END = 257, 258, 259

# --- 1


def _said(tokens: Tensor, with_mark=False, with_end=True, mark=ASSISTANT, axis=1, close=END) -> Tensor:
    """True after a mark `mark` up to the next `close`; with the mark itself, with the end?"""
    begun = (tokens == mark).cumsum(axis)
    ended = (tokens == close).cumsum(axis)
    if not with_mark:
        begun = begun - (tokens == mark).long()                   # marks strictly before this place
    if with_end:
        ended = ended - (tokens == close).long()
    return (begun > ended).long()


def _speech(g: torch.Generator) -> list[tuple]:
    """Rows of turns of random lengths, filled up with END."""
    def turn(n_question, n_answer):
        words = torch.randint(0, 256, (n_question + n_answer,), generator=g).tolist()
        return [USER, *words[:n_question], ASSISTANT, *words[n_question:], END]

    shapes = [[[(1, 2)]], [[(2, 3), (1, 1)], [(4, 1)], [(1, 0), (0, 2), (2, 2)]], [[(3, 4)], [(1, 1), (2, 5)]],
              [[(0, 1)], [(2, 2)], [(5, 3), (1, 4), (2, 1)]]]
    cases = []
    for rows in shapes:
        rows = [[256, *sum((turn(*sizes) for sizes in row), [])] for row in rows]
        length = max(map(len, rows)) + 2 * (len(rows) > 1)
        cases.append((torch.tensor([row + [END] * (length - len(row)) for row in rows]),))
    return cases


which_to_learn = Implementation(
    "which_to_learn",
    right=_said,
    cases=_speech,
    slips=[
        ("the mark <assistant> itself is not the assistant's to say: it is in every prompt. Learning begins with the "
         "token after it", dict(with_mark=True)),
        ("the mark <end> has to be learned too: without it, the model never finishes", dict(with_end=False)),
        ("you learn <assistant> and leave out <end>: it is the other way round",
         dict(with_mark=True, with_end=False)),
        ("you learn what the *user* says: the assistant's words come after the mark 258", dict(mark=USER),
         dict(mark=USER, close=ASSISTANT)),
        ("all of it is marked, questions too", lambda tokens: tokens >= 0),
        ("every word is marked, the user's too, and no mark: the assistant's words are learned, and <end>",
         lambda tokens: tokens < 256),
        ("only the first answer of each row is marked: a row may hold several turns",
         lambda tokens: _said(tokens) & ((tokens == END).cumsum(1) - (tokens == END).long() == 0)),
        ("you return the opposite: True where nothing is learned", lambda tokens: 1 - _said(tokens)),
        ("everything after the first <assistant> is marked, later questions too",
         lambda tokens: (tokens == ASSISTANT).cumsum(1) - (tokens == ASSISTANT).long() > 0),
        ("the fill at the end of a row is marked: only the first <end> after an answer is learned",
         lambda tokens: _said(tokens) | (tokens == END)),
        ("you count marks along the rows of the batch, axis 0: they follow each other along axis 1", dict(axis=0)),
    ],
    hints=("Write the tokens of one row below each other, and beside each who says it. Where does the assistant "
           "begin, and what is the last thing it says?",
           "Count the marks <assistant> and the marks <end> before each place (cumsum counts a mark at the place "
           "itself, too). The assistant speaks where more answers have begun than ended.",
           "begun = (tokens == 258).cumsum(1) - (tokens == 258).long()\n"
           "ended = (tokens == 259).cumsum(1) - (tokens == 259).long()\nreturn begun > ended"))

# --- 2


def _masked(logits: Tensor, tokens: Tensor, learn: Tensor, shift=1, targets=slice(1, None),
            reduce=lambda x, m: x.sum() / m.sum()) -> Tensor:
    """The mean over learned targets; shift moves the mask, targets the tokens."""
    log_p = logits.log_softmax(-1).gather(2, tokens[:, targets][:, :logits.shape[1], None])[:, :, 0]
    mask = learn[:, shift:][:, :logits.shape[1]].to(log_p.dtype)
    return reduce(-log_p * mask, mask)


def _rows(g: torch.Generator) -> list[tuple]:
    cases = []
    for B, T, V in ((1, 2, 3), (3, 5, 4), (2, 7, 6), (3, 1, 5), (4, 6, 3)):
        learn = torch.rand(B, T + 1, generator=g) < 0.5
        learn[0, -1], learn[-1, 1:2] = True, True                 # some is learned, and not in every row as much
        learn[:, 0] = torch.arange(B) % 2 == 0                    # a first token has no guess
        cases.append((3 * rand(g, B, T, V), torch.randint(0, V, (B, T + 1), generator=g), learn))
    return cases


masked_loss = Implementation(
    "masked_loss",
    right=_masked,
    cases=_rows,
    slips=[
        ("the mask has not moved with the targets: the guess at place t is for token t + 1, so learn[:, 1:] belongs to "
         "it", dict(shift=0)),
        ("the guess at place t is compared with the token that it has just read: the targets are tokens[:, 1:]",
         dict(targets=slice(None))),
        ("neither targets nor mask have moved: the guess at place t is for token t + 1",
         dict(targets=slice(None), shift=0)),
        ("the mask is not used: every token is learned", lambda s, t, m: _masked(s, t, torch.ones_like(m))),
        ("the sum over the learned tokens is divided by the number of all tokens: divide by how many are learned",
         dict(reduce=lambda x, m: x.mean())),
        ("it is a mean over the rows of means in each row, so that a token in a short answer counts more than one in a "
         "long answer: add up all rows, then divide once",
         dict(reduce=lambda x, m: (x.sum(1) / m.sum(1).clamp(min=1)).mean()), dict(reduce=lambda x, m: (
             x.sum(1) / m.sum(1)).nanmean())),
        ("it is the sum over the learned tokens: divide by their number", dict(reduce=lambda x, m: x.sum())),
        ("the sign is wrong: a loss is the *negative* logarithm of a probability",
         lambda s, t, m: -_masked(s, t, m)),
        ("you divide by the number of True in `learn`, and a first token among them was never guessed: count those in "
         "learn[:, 1:]",
         lambda s, t, m: _masked(s, t, m) * m[:, 1:].sum() / m.sum()),
        ("you count what is not learned", lambda s, t, m: _masked(s, t, ~m)),
        ("these are bits: the loss is in nats, with the natural logarithm",
         lambda s, t, m: _masked(s, t, m) / math.log(2)),
        ("it is the probability of the right token, without its logarithm", lambda s, t, m: -(
            s.softmax(-1).gather(2, t[:, 1:, None])[:, :, 0][m[:, 1:]].mean())),
    ],
    hints=("How many guesses are there in a row, and how many tokens? Which token does the first guess belong to?",
           "Take the log-probability of tokens[:, 1:] at each place (log_softmax and gather, or F.cross_entropy with "
           "reduction=\"none\"), keep what learn[:, 1:] says, and take the mean of these.",
           "log_p = logits.log_softmax(-1).gather(2, tokens[:, 1:, None])[:, :, 0]\n"
           "return -log_p[learn[:, 1:]].mean()"),
    gradient=("logits",), rtol=1e-3, atol=1e-4)

# --- 3


def _length(rows: Tensor, none=1, which="first", axis=1) -> Tensor:
    """Tokens before the first END of each row; a row without one is as long as it is."""
    hit = (rows == END).long()
    if which == "number":
        return hit.sum(axis)
    if which == "others":
        return (1 - hit).sum(axis)
    place = hit.argmax(axis) if which == "first" else rows.shape[axis] - 1 - hit.flip(axis).argmax(axis)
    return torch.where(hit.sum(axis) > 0, place, none * rows.shape[axis])


def _replies(g: torch.Generator) -> list[tuple]:
    cases = []
    for B, n in ((1, 3), (3, 5), (4, 4), (3, 8), (1, 1), (5, 5)):
        rows = torch.randint(0, 256, (B, n), generator=g)
        ends = torch.randint(0, n + 1, (B, 2), generator=g)
        ends[0] = n                                               # the first row never ends
        for row, (a, b) in zip(rows, ends.tolist()):
            row[[place for place in (a, b) if place < n]] = END
        cases.append((rows,))
    return [*cases, (torch.tensor([[END, 5, 6], [7, END, END], [8, 9, END]]),)]


reply_lengths = Implementation(
    "reply_lengths",
    right=_length,
    cases=_replies,
    slips=[
        ("the bug is still there: argmax of zeros is 0, so a reply that never ends gets the length 0; it has all n "
         "tokens", dict(none=0)),
        ("you found the *last* <end> of each row: what comes after the first is not part of the reply",
         dict(which="last")),
        ("you counted the marks <end>", dict(which="number")),
        ("you counted all tokens that are not <end>, also those after it", dict(which="others")),
        ("<end> itself does not count: a reply that begins with it has the length 0",
         lambda rows: _length(rows) + (rows == END).any(1).long()),
        ("you looked along the batch, axis 0: a reply lies along axis 1", dict(axis=0), dict(axis=0, none=0)),
        ("a reply without an <end> has n tokens, not n - 1", lambda rows: torch.where(
            (rows == END).any(1), _length(rows), rows.shape[1] - 1)),
    ],
    hints=("Try the broken function on a row without any 259. What does argmax say of a row of zeros?",
           "A row without <end> needs another answer: either you ask first whether there is one (any), or you append "
           "an <end> to every row before you look for the first.",
           "closed = torch.nn.functional.pad(rows, (0, 1), value=259)\nreturn (closed == 259).long().argmax(dim=1)"))

# --- 4

ROOMS = ("kitchen", "garden", "attic", "cellar", "hall", "bathroom", "library", "garage")


def _borrowed(stories: list[str], said: list[str], within=lambda story, room: room in story, among=len) -> float:
    """Of the replies that name a room, the share in which the story names it too."""
    named = [(story, next((room for room in ROOMS if room in reply), None)) for story, reply in zip(stories, said)]
    kept = [(story, room) for story, room in named if room]
    return sum(within(*pair) for pair in kept) / among(kept)


def _last(story: str, room: str) -> bool:
    places = {r: story.rfind(r) for r in ROOMS}
    return room == max(places, key=places.get)


borrowed = Measurement(
    "borrowed",
    truth=_borrowed,
    tolerance=0.005,
    slips=[
        ("that is the share of all replies: only those that name a room count",
         lambda stories, said: _borrowed(stories, said, among=lambda kept: len(said))),
        ("that is the share of rooms that do *not* occur in the story",
         lambda stories, said: 1 - _borrowed(stories, said)),
        ("that is the number of such replies: divide by how many name a room", dict(among=lambda kept: 1)),
        ("that is the share of replies that name a room at all", lambda stories, said: sum(
            any(room in reply for room in ROOMS) for reply in said) / len(said)),
        ("that is the share of rooms that the story names *last*: anywhere in it will do",
         dict(within=_last)),
    ],
    hints=("Read five stories and their replies. Which rooms does the reply name, and does the story name them?",
           "For each pair find the first room of house.ROOMS that occurs in the reply. Leave out the pairs without "
           "one. Count in how many the room occurs in the story, and divide by how many are left.",
           "kept = [(s, r) for s, reply in zip(stories, said) for r in house.ROOMS if r in reply]\n"
           "sum(r in s for s, r in kept) / len(kept)"))
