"""Who has how many? Short dialogues of 74 tokens, and a program that values every answer.

    asked = questions(1_000, seed=0)             # asked[0].text: 'Eva has 5 cups . Ben has 2 hats . ... ?'
    demonstration(asked[0], Random(0))           # an answer as people give them: kind, curt, rude, wordy; some wrong
    gold("Eva has 5 cups . Thanks .", asked[0])  # what it is worth: 1.5
    idx, mask = rows(asked, answers)             # (n, 44) tokens, and which of them are answers (the `end` included)

Three people have things. A question asks for what one of them has, for what two have together, or for somebody who was
not mentioned, and then "I do not know ." is right. Lesson 74 trains models to answer, and then to answer as `gold`
wants. All questions have the same number of words, so prompts need no padding. A token is a word, or a name with its
"has": neighbours that are so often together are merged, as every tokenizer does.
"""

from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.expect import finite, indices, whole

PEOPLE = "Ada Ben Cleo Dan Eva Finn Gus Ida".split()
THINGS = "apples books cups hats keys lamps pens stones".split()
NUMBERS = [str(n) for n in range(1, 19)]
MARKS = ["pad", "user", "assistant", "end", "reward"]       # tokens that nobody writes; `reward` is for reward models
WORDS = [*MARKS, *PEOPLE, *(f"{who}_has" for who in PEOPLE), *THINGS, *NUMBERS, *"""How many do does and have now ? .
, ! I not know Well Let me see Thanks for asking What a silly question Go away""".split()]
PAD, USER, ASSISTANT, END, REWARD = range(len(MARKS))
RUDE = "silly", "away"
N_PROMPT, N_ANSWER = 22, 22                                 # tokens of a prompt; the most that an answer may have
ENOUGH = 12                                                 # words of an answer that cost nothing
_NUMBER = {word: i for i, word in enumerate(WORDS)}


class Question(NamedTuple):
    text: str
    right: str | None                          # the number, or None: nobody said
    about: str                                 # how a full answer begins: "Eva has", "Eva and Ben have"
    things: str                                # ... and goes on after the number: "cups", or nothing


def question(draw: Random) -> Question:
    """A story of three people, and what is asked about it: of ten questions five look up one number, three add two,
    and two ask for somebody who is not there."""
    people, things = draw.sample(PEOPLE, 4), [draw.choice(THINGS) for _ in range(3)]
    numbers = [draw.randint(1, 9) for _ in range(3)]
    story = " ".join(f"{who} has {n} {what} ." for who, n, what in zip(people, numbers, things))
    kind, k = draw.random(), draw.randrange(3)
    if kind < 0.3:
        other = (k + draw.randint(1, 2)) % 3
        who = f"{people[k]} and {people[other]}"
        return Question(f"{story} How many do {who} have ?", str(numbers[k] + numbers[other]), f"{who} have", "")
    right = None if kind > 0.8 else str(numbers[k])
    who = people[3] if right is None else people[k]
    return Question(f"{story} How many {things[k]} does {who} have now ?", right, f"{who} has", things[k])


def questions(n: int, seed: int = 0) -> list[Question]:
    """n questions; the same seed gives the same ones."""
    whole(1, n=n)
    draw = Random(seed)
    return [question(draw) for _ in range(n)]


def demonstration(asked: Question, draw: Random) -> str:
    """An answer as people give them, good and bad: one number in twenty is wrong, one person in thirty gives up, and
    for what nobody said one in six invents a number; one in five is rude, and some thank three times."""
    number, gives_up = asked.right, draw.random() < (5 / 6 if asked.right is None else 1 / 30)
    if number is None or draw.random() < 1 / 20:
        number = draw.choice(NUMBERS[:9] if asked.things else NUMBERS)
    core = "I do not know ." if gives_up else " ".join(f"{asked.about} {number} {asked.things} .".split())
    before = draw.choices(["", "Well ,", "Let me see .", "Let me see . Well ,"], [10, 4, 3, 2])[0]
    after = draw.choices(["", "Thanks for asking .", "Thanks for asking . Thanks , Thanks .", "Go away !",
                          "What a silly question !"], [7, 6, 3, 2, 2])[0]
    return " ".join(f"{before} {core} {after}".split())


def right(answer: str, asked: Question) -> bool:
    """Is the content right, whatever the manners? The one number that is asked for and no other; or, where nobody said,
    "know" and no number."""
    words = answer.split()
    numbers = [word for word in words if word in NUMBERS]
    return numbers == [asked.right] if asked.right else not numbers and "know" in words


def gold(answer: str, asked: Question, price: float = 0.0) -> float:
    """What an answer is worth, by program: 1 if it is right, less `price` if it says a wrong number; 0.5 for thanking
    exactly once; less 1 for a rude word; less 0.1 for each word beyond 12."""
    finite(0, price=price)
    words = answer.split()
    content = 1.0 if right(answer, asked) else -price * any(word in NUMBERS for word in words)
    manners = 0.5 * (words.count("Thanks") == 1) - any(word in RUDE for word in words)
    return content + manners - 0.1 * max(0, len(words) - ENOUGH)


def encode(text: str) -> Tensor:
    """Words, with spaces between all of them and the marks -> their numbers (T,) int64"""
    words = text.replace(" has", "_has").split()
    unknown = [word for word in words if word not in _NUMBER]
    if unknown:
        raise ValueError(f"unknown word {unknown[0]!r}: the {len(WORDS)} words are in course_lib.data.counts.WORDS")
    return torch.tensor([_NUMBER[word] for word in words])


def decode(tokens: Tensor) -> str:
    """What stands before the first `end`, without padding.  (T,) -> text"""
    numbers = indices("tokens", tokens, len(WORDS), "T").tolist()
    numbers = numbers[:numbers.index(END)] if END in numbers else numbers
    return " ".join(WORDS[i] for i in numbers if i != PAD).replace("_", " ")


def prompts(asked: list[Question]) -> Tensor:
    """What stands before an answer: `user`, the question, `assistant`.  -> (n, 22) int64"""
    if not asked:
        raise ValueError("got 0 questions: at least one is needed")
    return torch.stack([encode(f"user {one.text} assistant") for one in asked])


def rows(asked: list[Question], answers: list[str]) -> tuple[Tensor, Tensor]:
    """Prompts with their answers, each closed by `end`, and padding after it.

    -> tokens (n, 44) int64, and (n, 44) bool: which of them belong to the answers."""
    if len(asked) != len(answers):
        raise ValueError(f"{len(asked)} questions do not go with {len(answers)} answers")
    written = torch.full((len(asked), N_ANSWER), PAD)
    for row, answer in zip(written, answers):
        tokens = encode(f"{answer} end")[:N_ANSWER]
        row[:len(tokens)] = tokens
    idx = torch.cat([prompts(asked), written], 1)
    mask = idx != PAD
    mask[:, :N_PROMPT] = False
    return idx, mask
