"""Moving digits: where they are is known without looking, and the law of the walls is played step by step."""

import torch
from torch.testing import assert_close

from course_lib.data import load
from course_lib.data.moving import MovingDigits, bounce, draw, enlarge, paste, shrink
from course_lib.device import seed, seeded
from course_lib.metrics import control_accuracy


def played(start: int, speed: int, steps: int) -> list[int]:
    """One axis of 16 pixels, pixel by pixel: at a wall it turns round."""
    place, way, course = start, 1 if speed >= 0 else -1, [start]
    for _ in range(steps):
        for _ in range(abs(speed)):
            if not 0 <= place + way <= 16:
                way = -way
            place += way
        course.append(place)
    return course


def test_a_course_is_that_of_a_ball_that_is_moved_pixel_by_pixel():
    for start in range(17):
        for speed in (-2, -1, 0, 1, 2):
            course = bounce(start + speed * torch.arange(40))
            assert course.tolist() == played(start, speed, 39)
    assert bounce(torch.tensor([15, 16, 17, 18, -1])).tolist() == [15, 16, 15, 14, 1]


def test_places_and_speeds_are_those_of_the_digits_in_the_frames():
    films = draw(40, seeded(0), n_digit=2, n_frame=9)
    assert (films.x.shape, films.place.shape, films.speed.shape) == ((40, 9, 1, 16, 32), (40, 9, 2), (40, 2))
    for n in range(40):
        for k in range(2):
            course = played(int(films.place[n, 0, k]) - 8, int(films.speed[n, k]), 8)
            assert (films.place[n, :, k] - 8).tolist() == course
    assert set(draw(200, seeded(1)).speed.flatten().tolist()) == {-2, -1, 1, 2}


def test_a_digit_is_pasted_where_its_corner_is_and_nowhere_else():
    small, corner = torch.rand(3, 1, 16, 20) + 0.1, torch.randint(-30, 40, (3, 9))
    films = paste(small, corner)
    for n in range(3):
        for t in range(9):
            left = corner[n, t].item()
            expected = torch.zeros(16, 132)                       # a frame in a long field
            expected[:, 50 + left:70 + left] = small[n, 0]
            assert_close(films[n, t, 0], expected[:, 50:82])


def test_of_two_digits_the_darker_ink_counts():
    both = draw(900, seeded(3), n_digit=2)
    apart = (both.place[:, :, 0] - both.place[:, :, 1]).abs() >= 16                         # (900, 12)
    ink = both.x.sum((2, 3, 4))
    most = ink.amax(1, keepdim=True)
    assert both.x.max() <= 1 and apart.sum() > 10 and (ink < most - 1).any()
    assert (ink - most)[apart].abs().max() < 1e-3                 # all ink of both is seen


def test_the_judge_reads_small_digits_as_well_as_large_ones():
    x, y = load("digits").test
    assert shrink(x).shape == (1_000, 1, 16, 16)
    assert control_accuracy(None, enlarge(shrink(x)), y) > control_accuracy(None, x, y) - 0.005


def test_films_are_drawn_from_the_part_that_is_asked_for():
    train, test = (draw(20, seeded(0), part=part) for part in ("train", "test"))
    assert not torch.equal(train.x, test.x)
    assert torch.equal(train.x, draw(20, seeded(0)).x)
    digits = load("digits")
    for films, digit in ((train, digits.train), (test, digits.test)):
        left = films.place[0, 0, 0] - 8
        window = films.x[0, 0, :, :, left:left + 16]
        distance = (shrink(digit.x) - window).abs().amax((1, 2, 3))
        assert distance.min() < 1e-6 and digit.y[distance.argmin()] == films.y[0, 0]


def test_batches_are_new_films_each_time_and_the_same_from_one_seed():
    loader = MovingDigits(4, 3)
    seed(0)
    first = [x for x, _ in loader]
    second = [x for x, _ in loader]
    seed(0)
    again = [x for x, _ in loader]
    assert len(loader) == len(first) == 3
    assert all(torch.equal(a, b) for a, b in zip(first, again)) and not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], first[1])


def test_a_film_says_its_shapes():
    assert repr(draw(2, seeded(0))).startswith("Films(x=(2, 12, 1, 16, 32), y=(2, 1)")
