"""Counting against a dictionary, by hand, and against what a probability must be."""

from collections import Counter

import pytest
import torch

from course_lib.data.text import decode, encode
from course_lib.device import seeded
from course_lib.ngrams import NGram


def by_dictionary(train: bytes, n: int, history: bytes, c: int) -> float:
    """The formula of Witten and Bell as it stands, by recursion, with counting anew each time."""
    if n == 0:
        return 1 / 256
    h = history[len(history) - (n - 1):] if n > 1 else b""
    following = Counter(train[i + n - 1] for i in range(len(train) - n + 1) if train[i:i + n - 1] == h)
    shorter = by_dictionary(train, n - 1, h[1:], c)
    if not following:
        return shorter
    return (following[c] + len(following) * shorter) / (following.total() + len(following))


TEXT = b"the cat sat on the mat, the rat sat on the cat; \xff\xfe\xff the hat"


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_probabilities_are_those_of_the_formula(n):
    model, test = NGram(torch.tensor(list(TEXT)), n), b"the bat sat \xff\xfe on"
    expected = [by_dictionary(TEXT, min(n, i + 1), test[:i], test[i]) for i in range(len(test))]
    torch.testing.assert_close(model.prob(torch.tensor(list(test))), torch.tensor(expected, dtype=torch.float64))


def test_a_worked_example():
    """After "a" in "abac": b once, c once. Alone: a 2, b 1, c 1 of 4, three kinds."""
    model = NGram(encode("abac"), n=2)
    alone = (1 + 3 / 256) / 7                                      # of "b": (1 + 3 * 1/256) / (4 + 3)
    assert model.prob(encode("ab")).tolist() == pytest.approx([(2 + 3 / 256) / 7, (1 + 2 * alone) / 4])


@pytest.mark.parametrize("context", ["", "t", "the ", "never seen"])
def test_the_next_byte_has_probabilities_that_sum_to_one_and_equal_those_of_a_text(context):
    model = NGram(torch.tensor(list(TEXT)), n=4)
    p = model.next_probs(encode(context))
    assert p.sum().item() == pytest.approx(1) and (p > 0).all()
    for c in "aeh ":
        assert model.prob(encode(context + c))[-1].item() == pytest.approx(p[ord(c)].item())


def test_a_long_context_may_begin_with_a_high_byte():
    """Eight such bytes are a negative number, whose first seven must not become one."""
    model, context = NGram(torch.tensor(list(TEXT)), n=8), torch.tensor(list(b"\xff\xfe\xff the"))
    found = model.prob(torch.cat([context, encode(" ")]))[-1]
    assert model.next_probs(context)[ord(" ")].item() == pytest.approx(found.item()) and found > 0.5


def test_bits_are_the_mean_of_minus_log2():
    model = NGram(encode("abab"), n=1)
    p = (2 + 2 / 256) / 6
    assert model.bits_per_byte(encode("abba")) == pytest.approx(-torch.tensor(p).log2().item(), rel=1e-5)


def test_it_writes_what_it_counted():
    assert decode(NGram(encode("abc" * 5000), n=4).generate(encode("ab"), 7, seeded(0))) == "cabcabc"


def test_impossible_orders_and_texts_are_refused():
    for n in (0, 9):
        with pytest.raises(ValueError, match=f"n={n} must be"):
            NGram(encode("some text"), n)
    with pytest.raises(ValueError, match="text of 4 bytes"):
        NGram(encode("four"), 5)
