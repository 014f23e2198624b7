import hashlib

import pytest
import torch

from course_lib.data import Batches, Images, Split, load

DIGITS_SHA256 = "2d889fa3f5ed77efdb7bd0a349f352a232698e3f8d0bd7d376671292535afdf0"


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits")


def rows(x):
    return [image.numpy().tobytes() for image in x]


# ---- digits

def test_digits_have_the_promised_shapes_and_types(digits):
    for split, n in ((digits.train, 4_000), (digits.test, 1_000)):
        assert (split.x.shape, split.x.dtype) == ((n, 1, 28, 28), torch.float32)
        assert (split.y.shape, split.y.dtype) == ((n,), torch.int64)
    assert digits.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_digits_are_grey_values_between_zero_and_one(digits):
    for x in (digits.train.x, digits.test.x):
        assert (x.min().item(), x.max().item()) == (0.0, 1.0)
        assert torch.equal((x * 255).round() / 255, x)


def test_every_class_is_equally_frequent_in_both_parts(digits):
    assert torch.bincount(digits.train.y).tolist() == [400] * 10
    assert torch.bincount(digits.test.y).tolist() == [100] * 10


def test_no_image_occurs_twice(digits):
    train, test = rows(digits.train.x), rows(digits.test.x)
    assert not set(train) & set(test)
    assert len({*train, *test}) == 5_000


def test_the_order_is_shuffled(digits):
    for y in (digits.train.y, digits.test.y):
        assert 0.05 < (y[1:] == y[:-1]).float().mean() < 0.15           # 0.1 by chance, nearly 1 if sorted


def test_the_pixels_and_labels_are_the_ones_every_result_was_measured_on(digits):
    parts = {"x_test": digits.test.x, "x_train": digits.train.x, "y_test": digits.test.y, "y_train": digits.train.y}
    digest = hashlib.sha256()
    for name, t in parts.items():
        whole = (t * 255).round() if name[0] == "x" else t
        digest.update(name.encode() + whole.to(torch.uint8).numpy().tobytes())
    assert digest.hexdigest() == DIGITS_SHA256


def test_labels_belong_to_their_images(digits):
    """The nearest training image knows the label of 19 in 20 test images: it could not if the rows had been mixed."""
    nearest = torch.cdist(digits.test.x.flatten(1), digits.train.x.flatten(1)).argmin(1)
    assert (digits.train.y[nearest] == digits.test.y).float().mean() > 0.9


def test_changing_a_loaded_image_leaves_the_next_load_alone(digits):
    load("digits").train.x.zero_()
    assert load("digits").train.x.sum() > 0


def test_a_split_prints_its_shapes_only(digits):
    assert repr(digits.test) == "Split(x=(1000, 1, 28, 28), y=(1000,))"
    x, y = digits.test
    assert x is digits.test.x and y is digits.test.y


@pytest.mark.parametrize("name, words", [
    ("MNIST", "unknown data set 'MNIST': choose one of digits, avatars, person, mnist, fashion_mnist, cifar10"),
    (None, "unknown data set None"),
])
def test_an_unknown_name_is_answered_with_the_known_ones(name, words):
    with pytest.raises(ValueError) as error:
        load(name)
    assert words in str(error.value) and "\n" not in str(error.value)


# ---- batches

def test_one_epoch_shows_every_row_once():
    seen = torch.cat([x for x, in Batches(torch.arange(60), batch_size=12)])
    assert sorted(seen.tolist()) == list(range(60))
    assert seen.tolist() != list(range(60))


def test_the_last_smaller_batch_is_dropped():
    loader = Batches(torch.arange(10), batch_size=4)
    sizes = [len(x) for x, in loader]
    assert sizes == [4, 4] and len(loader) == 2
    seen = torch.cat([x for x, in loader])
    assert len(seen.unique()) == 8


def test_fewer_rows_than_a_batch_make_one_batch_of_all():
    loader = Batches(torch.arange(3), torch.arange(3), batch_size=64)
    assert [len(x) for x, _ in loader] == [3]
    assert [len(x) for x, in Batches(torch.arange(1), batch_size=1)] == [1]


def test_rows_of_all_tensors_stay_together():
    x = torch.arange(30.0)[:, None, None].expand(30, 2, 2)
    for a, b, c in Batches(x, torch.arange(30), -torch.arange(30), batch_size=7):
        assert torch.equal(a[:, 1, 1].long(), b) and torch.equal(b, -c)


def test_the_order_comes_from_the_global_seed_and_changes_every_epoch():
    loader = Batches(torch.arange(100), batch_size=100)
    torch.manual_seed(3)
    first, second = (next(iter(loader))[0] for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(next(iter(loader))[0], first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("make, words", [
    (lambda: Batches(), r"nothing to make batches of: the tensors have lengths \[\]"),
    (lambda: Batches(torch.zeros(0, 1, 28, 28)), r"lengths \[0\]"),
    (lambda: Batches(torch.zeros(3), batch_size=0), "batch_size=0 must be a whole number, at least 1"),
])
def test_bad_batches_are_one_clear_line(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_split_unpacks_into_batches():
    split = Split(torch.rand(8, 1, 2, 2), torch.arange(8))
    x, y = next(iter(Batches(*split, batch_size=8)))
    assert torch.equal(x, split.x[y])
