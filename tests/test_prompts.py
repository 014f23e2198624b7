"""Prompts: every answer is known another way, and what may be learnt is what is asked."""

import random
import re

import pytest
import torch

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints.part7_prompting import followed, recalled, summed
from course_lib.data.prompts import (
    PHRASINGS,
    TASKS,
    VOCABULARY,
    Answers,
    Pairs,
    answer_in,
    ask,
    decode,
    encode,
    lesson,
    pairs,
    phrase,
    rows,
    shots,
    shown,
    solved,
    strings,
    sums,
    total_in,
    worked_sum,
)
from course_lib.device import seed, seeded


def test_a_text_comes_back():
    text = "reverse the letters : b a d > d a b ;"
    assert decode(encode(text)) == text and len(encode(text)) == 12
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert answer_in(encode(text)[8:]) == "d a b" and answer_in(encode("d a")) == "d a"


# --------------------------------------------------------------------------------------------------------------- pairs

def test_in_each_row_a_key_keeps_its_value_and_another_row_has_another_map():
    idx = pairs(200, generator=seeded(0))
    maps = []
    for row in idx.tolist():
        found = {}
        for key, value in zip(row[::2], row[1::2]):
            assert key < 26 <= value < 36 and found.setdefault(key, value) == value
        assert len(found) <= 8
        maps.append(found)
    shared = [(a[k], b[k]) for a, b in zip(maps, maps[1:]) for k in a.keys() & b.keys()]
    assert len(shared) > 200 and 0.03 < sum(x == y for x, y in shared) / len(shared) < 0.2    # 1 in 10 by chance


def test_a_share_of_the_rows_has_the_map_that_is_given():
    table = torch.arange(26) % 10
    idx = pairs(400, table=table, share=0.25, generator=seeded(0))
    same = (idx[:, 1::2] - 26 == table[idx[:, ::2]]).all(1)
    assert 0.15 < same.float().mean() < 0.35
    assert (pairs(5, table=table)[:, 1::2] - 26 == table[pairs(5, table=table)[:, ::2]]).float().mean() < 1
    fixed = pairs(5, table=table)
    assert torch.equal(fixed[:, 1::2] - 26, table[fixed[:, ::2]])


def test_shots_counts_what_stood_before():
    assert shots(encode("k 3 b 7 k 3 k 3 b 7")[None]).tolist() == [[0, 0, 1, 2, 1]]


def test_only_values_are_learnt():
    seed(0)
    idx, learn = next(iter(Pairs(3, n_pair=5)))
    assert idx.shape == learn.shape == (3, 10)
    assert torch.equal(learn, idx >= 26)


# ---------------------------------------------------------------------------------------------------------------- sums

@pytest.mark.parametrize("way", ["plain", "reversed", "steps"])
def test_a_sum_is_python_s(way):
    for n_digit in (1, 2, 5):
        for text, answer in sums(30, n_digit, way, seeded(n_digit)):
            a, b = text.rstrip("=").split("+")
            total = total_in(encode(answer))
            total = total[::-1] if way == "reversed" else total
            assert len(a) == len(b) == n_digit and len(total) == n_digit + 1 and int(total) == int(a) + int(b)


def test_the_steps_of_a_sum_are_true_and_carry():
    assert worked_sum(48, 39, 2) == ("48+39=", "8+9+0=17:4+3+1=08>087;")
    for _, answer in sums(50, 4, generator=seeded(0)):
        carry = 0
        for column in answer.split(">")[0].split(":"):
            terms, result = column.split("=")
            assert sum(map(int, terms.split("+"))) == int(result) and int(terms.split("+")[2]) == carry
            carry = int(result) // 10


# ------------------------------------------------------------------------------------------------------------- letters

def test_tasks_by_hand():
    assert [solved(task, ["c", "a", "d"]) for task in ("copy", "reverse", "sort", "first", "last")] == [
        "c a d", "d a c", "a c d", "c", "d"]


def test_every_phrase_can_be_encoded_and_asks_for_one_task():
    r, asks = random.Random(0), {}
    for task in TASKS:
        for _ in range(200):
            text = phrase(task, r)
            encode(text)
            assert asks.setdefault(text, task) == task
    assert set(PHRASINGS) == set(TASKS) and len(asks) > 150


def test_no_letter_stands_twice_in_a_prompt():
    for n in (1, 6):
        found = sum(strings(n, random.Random(n)), [])
        assert len(found) == len(set(found)) and 3 * n <= len(found) <= 4 * n


def test_prompts_are_put_together_in_words():
    assert ask("sort the letters", "b a") == "sort the letters : b a >"
    assert ask("sort the letters", "b a", "[]", first=False) == "[ b a ] : sort the letters >"
    assert shown("last", [["b", "a"], ["c"]]) == "b a > a ; c > c ; "


def test_a_row_of_training_is_answered_right_and_only_brackets_hold_instructions():
    r, seen = random.Random(0), set()
    words = {word for phrases in PHRASINGS.values() for text in phrases for word in text.split()} - {"{}"}
    for _ in range(400):
        pieces = lesson(r)
        for (question, _), (answer, learnt) in zip(pieces[-2::-2], pieces[::-2]):
            assert learnt and answer.endswith(" ;")
            data = [part for part in re.split(r'[]:"[]', question.strip(" >"))
                    if any(len(word) == 1 for word in part.split())]
            letters = [word for word in data[0].split() if len(word) == 1]
            assert any(answer == solved(task, letters) + " ;" for task in TASKS)
            if words & set(data[0].split()):
                assert "[" in question
                seen.add("instruction in brackets")
            seen |= {mark for mark in '"[' if mark in question}
            if question[:2] in (f"{letter} " for letter in letters) and ":" in question:
                seen.add("data first")
        seen.add(len(pieces))
    assert {"instruction in brackets", "data first", '"', "[", 2, 4, 12, 13} <= seen


def test_rows_are_filled_up_and_only_answers_are_learnt():
    idx, learn = rows([[("b a >", False), ("a ;", True)],
                       [("b", False), ("a ;", True), ("c d >", False), ("d ;", True)]])
    assert idx.shape == learn.shape == (2, 8)
    assert decode(idx[0]) == "b a > a ; ; ; ;" and learn[0].tolist() == [False] * 3 + [True] * 2 + [False] * 3
    assert learn[1].int().tolist() == [0, 1, 1, 0, 0, 0, 1, 1]


def test_a_seed_decides_what_is_drawn_for_training():
    def first(n):
        seed(n)
        return next(iter(Answers(lesson, 4)))[0]
    assert torch.equal(first(1), first(1)) and not torch.equal(first(1)[:, :4], first(2)[:, :4])


# --------------------------------------------------------------------------------------------------- shipped models

@pytest.mark.parametrize("name", ["recall", "recall_half"])
def test_what_is_recalled_is_what_the_file_says(name):
    said = list(metadata(name)["metrics"].values())
    assert recalled(load_checkpoint(name), n=150) == pytest.approx(said, abs=0.06)


@pytest.mark.parametrize("name, way", [("adder", "steps"), ("adder_plain", "plain"), ("adder_reversed", "reversed")])
def test_sums_are_as_right_as_the_file_says(name, way):
    said = list(metadata(name)["metrics"].values())
    assert summed(load_checkpoint(name), way, n=40) == pytest.approx(said, abs=0.2)


def test_instructions_are_followed_as_the_file_says():
    said, found = metadata("instructed")["metrics"], followed(load_checkpoint("instructed"), n=40)
    assert found == pytest.approx(said, abs=0.2)
