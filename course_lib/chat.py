"""A model that continues becomes one that answers: tokens with marks that nobody can type, a template that turns a
dialogue into one row of tokens, a loss on the assistant's words alone, rows packed full, and a conversation.

    words = Vocabulary(house.WORDS)
    tokens, learn = pack([template(words, turns) for turns in dialogues], block_size=256)    # 2 x (N, 257)
    fit(model, chat_loss, Batches(tokens, learn, batch_size=32), steps=500)
    Chat(model, words).say("Hello!")

Dialogues are lists of turns (what the user says, what the assistant answers). Nothing here knows what they are about.
"""

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.decoding import generate, next_token
from course_lib.device import device_of, evaluating
from course_lib.expect import between, indices, logits, whole
from course_lib.gpt import GPT

BEGIN, USER, ASSISTANT, END = range(256, 260)
MARKS = ("<begin>", "<user>", "<assistant>", "<end>")  # how they are shown: no text that is encoded gives them


class Vocabulary:
    """Some words are one token each, a space before them included; four marks; everything else is bytes.

    A text is encoded as if a space stood before it, so that a word has one number wherever it stands. Any string comes
    back as it was."""

    def __init__(self, words: tuple[str, ...] = ()):
        odd = [w for w in words if not re.fullmatch("[A-Za-z]+|[0-9]", w)]
        if odd or len(set(words)) < len(words):
            raise ValueError(f"words are letters or one digit, and each is there once: not {odd[:1] or len(words)}")
        self.words = tuple(words)
        self.number = {f" {word}": 260 + k for k, word in enumerate(words)}

    def __len__(self) -> int:
        return 260 + len(self.words)

    def encode(self, text: str) -> list[int]:
        """encode("Ben ran.") -> the number of " Ben", that of " ran", and 46, the byte of the full stop"""
        if not isinstance(text, str):
            raise ValueError(f"a {type(text).__name__} is no string: one string at a time is encoded")
        tokens = []
        for piece in re.findall(r" [A-Za-z]+| [0-9]|.", f" {text}", flags=re.DOTALL):
            tokens += [self.number[piece]] if piece in self.number else piece.encode(errors="replace")
        return tokens

    def shown(self, tokens) -> list[str]:
        """Each token as it is read: " Ben", "<user>", "."; bytes that are half a letter as �."""
        names = [*(bytes([k]).decode(errors="replace") for k in range(256)), *MARKS, *self.number]
        return [names[k] for k in self._known(tokens)]

    def decode(self, tokens) -> str:
        """The text of tokens, marks left out."""
        text = b"".join(bytes([k]) if k < 256 else f" {self.words[k - 260]}".encode()
                        for k in self._known(tokens) if not 256 <= k < 260).decode(errors="replace")
        return text.removeprefix(" ")

    def _known(self, tokens) -> list[int]:
        return indices("tokens", torch.as_tensor(tokens, dtype=torch.long), len(self), "T").tolist()


# ------------------------------------------------------------------------------------------------------------- training

def template(words: Vocabulary, turns: list[tuple[str, str]]) -> tuple[list[int], list[bool]]:
    """A dialogue as tokens, and which of them the assistant has to say: its words, and that it has finished.

    <begin> <user> Hello! <assistant> Good day. <end> <user> ..."""
    tokens, learn = [BEGIN], [False]
    for said, answer in turns:
        question, reply = [USER, *words.encode(said), ASSISTANT], [*words.encode(answer), END]
        tokens += question + reply
        learn += [False] * len(question) + [True] * len(reply)
    return tokens, learn


def pack(rows: list[tuple[list[int], list[bool]]], block_size: int) -> tuple[Tensor, Tensor]:
    """Whole dialogues side by side in rows of block_size + 1 tokens, each in the first row that has room for it; what
    remains is filled with END, which nobody learns.

    -> tokens (N, block_size + 1) int64, learn (N, block_size + 1) bool
    Raises ValueError for a dialogue that
    is longer than a row."""
    whole(1, block_size=block_size)
    filled, open_rows = [], []                             # open_rows: those with room, a few at a time
    for tokens, learn in rows:
        if len(tokens) > block_size + 1 or not tokens:
            raise ValueError(f"a dialogue of {len(tokens)} tokens does not fit into a row: from 1 to {block_size + 1}")
        row = next((r for r in open_rows if len(r[0]) + len(tokens) <= block_size + 1), None)
        if row is None:
            row = [], []
            filled.append(row)
            open_rows = [*open_rows[-31:], row]
        row[0].extend(tokens)
        row[1].extend(learn)
    rest = [block_size + 1 - len(tokens) for tokens, _ in filled]
    return (torch.tensor([tokens + [END] * n for (tokens, _), n in zip(filled, rest)], dtype=torch.long),
            torch.tensor([learn + [False] * n for (_, learn), n in zip(filled, rest)], dtype=torch.bool))


def chat_loss(model: nn.Module, tokens: Tensor, learn: Tensor, **kwargs) -> dict[str, Tensor]:
    """How surprised the model is by the tokens that it shall learn, in nats each.  2 x (B, T + 1)"""
    tokens = indices("tokens", tokens, None, "B", "T + 1")
    if learn.shape != tokens.shape or learn.dtype != torch.bool:
        raise ValueError(f"learn must be true or false for each of {tuple(tokens.shape)} tokens, got {learn.dtype} of "
                         f"{tuple(learn.shape)}")
    if learn.is_cpu and not learn[:, 1:].any():
        raise ValueError(f"0 of {learn.numel()} tokens are to be learned: the loss of nothing is no number")
    scores = logits(model(tokens[:, :-1], **kwargs).flatten(0, 1))             # (B * T, vocab_size)
    targets = tokens[:, 1:].masked_fill(~learn[:, 1:], -100).flatten()         # -100: not counted
    return {"loss": F.cross_entropy(scores, targets)}


@torch.no_grad()
def text_bits(model: nn.Module, words: Vocabulary, texts: list[str]) -> float:
    """Bits per byte of plain texts, each read on its own from <begin>: what training on dialogues may spoil."""
    rows, n_byte = [words.encode(text) for text in texts], sum(len(text.encode()) for text in texts)
    if not n_byte:
        raise ValueError(f"{len(texts)} texts of {n_byte} bytes: there is nothing to measure")
    longest, nats = max(map(len, rows)), 0.0
    tokens = torch.tensor([[BEGIN, *row] + [END] * (longest - len(row)) for row in rows])     # (N, longest + 1)
    learn = torch.tensor([[False] + [True] * len(row) + [False] * (longest - len(row)) for row in rows])
    with evaluating(model):
        for t, part in zip(tokens.to(device_of(model)).split(100), learn.to(device_of(model)).split(100)):
            nats += chat_loss(model, t, part)["loss"].item() * part.sum().item()
    return nats / math.log(2) / n_byte


# -------------------------------------------------------------------------------------------------------------- talking

def prompt(words: Vocabulary, turns: list[tuple[str, str]], said: str) -> list[int]:
    """What the model reads before it answers: all that went before, the new words, and its own mark."""
    return [*template(words, turns)[0], USER, *words.encode(said), ASSISTANT]


def write(model: GPT, prompts: list[list[int]], n_new: int = 32, temperature: float = 0.0,
          generator: torch.Generator | None = None) -> list[list[int]]:
    """What a model writes after each of B prompts, up to <end> and without it, or n_new tokens."""
    written = []
    for part in (prompts[i:i + 250] for i in range(0, len(prompts), 250)):
        part = [torch.tensor(p, dtype=torch.long) for p in part]
        rows = generate(model, part, n_new, temperature, generator=generator)
        written += [row[:row.index(END)] if END in row else row for row in rows.tolist()]
    return written


def replies(model: GPT, words: Vocabulary, asked: list[str], n_new: int = 32) -> list[str]:
    """The most probable answer to each of B questions, each in a conversation of its own."""
    return [words.decode(row) for row in write(model, [prompt(words, [], said) for said in asked], n_new)]


class Chat:
    """A conversation. `say` returns the whole answer, `stream` its pieces while they are written; `turns` is what
    was said so far. When the model's block is full, the oldest turns are forgotten, and `seen` has the tokens that it
    read."""

    def __init__(self, model: nn.Module, words: Vocabulary, n_new: int = 48, temperature: float = 0.0,
                 generator: torch.Generator | None = None):
        whole(1, model.config.block_size - 8, n_new=n_new)
        between(0, math.inf, temperature=temperature)
        self.model, self.words, self.n_new = model, words, n_new
        self.temperature, self.generator = temperature, generator
        self.turns: list[tuple[str, str]] = []
        self.seen: list[int] = []

    def say(self, said: str) -> str:
        return "".join(self.stream(said))

    def stream(self, said: str) -> Iterator[str]:
        """The answer, piece by piece; it is kept once it is complete.  Raises ValueError for what is too long."""
        room, first = self.model.config.block_size - self.n_new, 0
        while len(seen := prompt(self.words, self.turns[first:], said)) > room and first < len(self.turns):
            first += 1
        if len(seen) > room:
            raise ValueError(f"{len(seen)} tokens do not fit, at most {room} are read: say it in fewer words")
        tokens, told = [], ""
        self.seen = seen
        while len(tokens) < self.n_new and (token := self._next(seen + tokens)) != END:
            tokens.append(token)
            new = self.words.decode(tokens)
            if not new.endswith("\ufffd"):                 # half a letter waits for its other bytes
                yield new[len(told):]
                told = new
        self.turns.append((said, self.words.decode(tokens)))

    def _next(self, tokens: list[int]) -> int:
        with torch.no_grad(), evaluating(self.model):
            scores = self.model(torch.tensor([tokens], device=device_of(self.model)))[:, -1]      # (1, vocab_size)
        return next_token(scores, self.temperature, generator=self.generator).item()
