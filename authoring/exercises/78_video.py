# %% [markdown]
# # Exercise 78 · Films that go on
#
# Six parts on lesson 78: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch

from course_lib import checkpoint, plots
from course_lib.checks import hint
from course_lib.checks import video as check
from course_lib.claims import claim
from course_lib.data.moving import draw
from course_lib.device import seeded
from course_lib.video import centres, constancy, named, straight_on, velocity_error

films = draw(20, seeded(7), part="test")
model = checkpoint.load("video")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · All courses at once (3 points)
#
# A ball rolls in a corridor between walls at 0 and `far`, and turns round at each of them. Without walls it would be at
# `start + speed · j` in frame j = 0, 1, 2, ... A wall is a mirror, and after 2 · `far` pixels, there and back, everything
# repeats: `my_bounce` in the lesson folds such a way back into the corridor.
#
# **Given** whole numbers: `start` of shape (n,), from 0 to `far`; `speed` of shape (n,), of either sign, 0 among them; the
# numbers `T` and `far`. A speed may be larger than `far`. **Asked:** where each of the n balls is in each of T frames, a tensor
# of shape (n, T). **Checked:** the values, for several n, T and `far`.

# %% tags=["solution:courses"]
def courses(start, speed, T, far):
    """(n,), (n,), two numbers -> (n, T)"""
    ### BEGIN SOLUTION
    way = start[:, None] + speed[:, None] * torch.arange(T)       # (n, T), without walls
    m = way % (2 * far)                                           # in [0, 2 far), also for a negative way
    return torch.minimum(m, 2 * far - m)
    ### END SOLUTION

# %% tags=["test:check_courses:3"]
check.courses(courses)
### BEGIN HIDDEN TESTS
_start, _speed, _far, _rows = torch.tensor([0, 3, 5, 2]), torch.tensor([1, -2, 7, 0]), 5, []
for _place, _v in zip(_start.tolist(), _speed.tolist()):
    _way, _row = (1 if _v >= 0 else -1), [_place]
    for _ in range(8):
        for _ in range(abs(_v)):                                  # pixel by pixel
            _way = _way if 0 <= _place + _way <= _far else -_way
            _place += _way
        _row.append(_place)
    _rows.append(_row)
assert courses(_start.clone(), _speed.clone(), 9, _far).tolist() == _rows, "another course comes out"
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Continue a film by Euler's method (3 points)
#
# `model(x, t)` is a velocity: `x` are films of shape (n, T, C, H, W), `t` holds a time for each of their frames, (n, T). Make
# films that begin with known frames:
#
# - start at `noise`, with the first frames replaced by the known ones;
# - make `steps` equal steps from $t = 0$ to $t = 1$, each by the velocity at its start, divided by `steps`;
# - in every step the network is told the time $t$ for the frames that are new and 1 for those that are known;
# - known frames stay as they are, whatever the network says of them.
#
# **Given** `model`; `known` of shape (n, k, C, H, W) with 1 ≤ k < T; `noise` of shape (n, T, C, H, W); the number `steps`. **Asked:**
# the films, a tensor of shape (n, T, C, H, W). **Checked:** the values, for several sizes, k and steps.

# %% tags=["solution:go_on"]
def go_on(model, known, noise, steps):
    """A velocity, (n, k, C, H, W), (n, T, C, H, W), a number -> (n, T, C, H, W)"""
    ### BEGIN SOLUTION
    k = known.shape[1]
    x = torch.cat([known, noise[:, k:]], dim=1)
    for i in range(steps):
        t = torch.full(x.shape[:2], i / steps)                    # (n, T)
        t[:, :k] = 1
        v = model(x, t)
        new = x[:, k:] + v[:, k:] / steps
        x = torch.cat([known, new], dim=1)
    return x
    ### END SOLUTION

# %% tags=["test:check_go_on:3"]
check.go_on(go_on)
### BEGIN HIDDEN TESTS
_known, _noise = torch.randn(3, 2, 1, 2, 2), torch.randn(3, 5, 1, 2, 2)
_got = go_on(lambda x, t: (1 + t)[:, :, None, None, None] + 0 * x, _known.clone(), _noise.clone(), 4)
torch.testing.assert_close(_got[:, :2].float(), _known)
torch.testing.assert_close(_got[:, 2:].float(), _noise[:, 2:] + 1.375, rtol=1e-3, atol=1e-3)
_got = go_on(lambda x, t: x[:, :1] + t[:, :1, None, None, None] + 0 * x, _known.clone(), _noise.clone(), 3)
torch.testing.assert_close(_got[:, 2:].float(), _noise[:, 2:] + _known[:, :1] + 1, rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# For the blocks of the network, frames are a batch of shape (n · T, L, C): first the T frames of film 1, then those of film 2, ...;
# L places, C numbers each. To look along time, every place of every film needs its history, T vectors of C numbers. The function
# below shall make a batch (n · L, T, C) of them: the L histories of film 1, then those of film 2. It runs without an error, the
# shape is right, and the network that is trained with it gets a lower and lower loss. But its films flicker. There is **one bug**,
# in one line.

# %%
def histories_broken(frames, T):
    n, L, C = len(frames) // T, frames.shape[1], frames.shape[2]
    films = frames.view(n, T, L, C)
    return films.reshape(n * L, T, C)

# %%
frames = torch.zeros(2 * 3, 4, 1)                                 # 2 films of 3 frames with 4 places
for i in range(6):
    for place in range(4):
        frames[i, place] = 100 * (i // 3) + 10 * (i % 3) + place  # film, frame, place as three digits
print(histories_broken(frames, 3)[:3, :, 0])

# %% [markdown]
# **Given** `frames` of shape (n · T, L, C) and the number `T`. **Asked:** `histories`, the same function without the bug.
# **Checked:** the values, for several n, T, L and C.
#
# What did the network with the bug look at, in place of the same place in other frames?

# %% tags=["solution:histories"]
def histories(frames, T):
    """(n * T, L, C) -> (n * L, T, C)"""
    ### BEGIN SOLUTION
    n, L, C = len(frames) // T, frames.shape[1], frames.shape[2]
    films = frames.view(n, T, L, C)
    return films.transpose(1, 2).reshape(n * L, T, C)             # (n, L, T, C) before the last step
    ### END SOLUTION

# %% tags=["test:check_histories:3"]
check.histories(histories)
### BEGIN HIDDEN TESTS
_frames = torch.randn(2 * 5, 3, 4)
_got = histories(_frames.clone(), 5)
assert _got.shape == (6, 5, 4), "the shape should be (n * L, T, C)"
for _film in range(2):
    for _place in range(3):
        assert torch.equal(_got[3 * _film + _place], _frames[5 * _film:5 * _film + 5, _place]), "not its history"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: how often is a step right? (3 points)
#
# The mean error of velocity hides whether a few films are far off or all are a little. So count the steps that are right. 20 films
# are continued from their first three frames.

# %%
made = model.sample(20, known=films.x[:, :3], generator=seeded(1), steps=6)
places = centres(made)                                            # (20, 12)
true = films.place[:, :, 0].float()                               # (20, 12)
print("steps of the first real film:", true[0].diff().tolist())

# %%
# Figure: a real film and how the model continued it, in two strips of twelve frames, and moving.
plots.film(torch.stack([films.x[0], made[0]]), ["real", "continued"])

# %% [markdown]
# **Given** `places` and `true`, the column of the centre in each of twelve frames, each of shape (20, 12). A *step* is the
# difference of the places of two frames that follow each other. Frames are numbered from 0, so the known ones are 0, 1 and 2;
# the steps that end in a new frame, 3 to 11, count. A step is right if it differs from the true one, in either direction, by
# less than half a pixel. **Asked:** `good`, the share of right steps. **Checked:** your number, within 1 percent.

# %% tags=["solution:good"]
good = ...  # set it to your number at the end
### BEGIN SOLUTION
off = (places.diff(dim=1) - true.diff(dim=1)).abs()               # (20, 11): step t leads to frame t + 1
off = off[:, 2:]                                                  # those that end in frames 3 to 11
good = (off < 0.5).double().mean().item()
### END SOLUTION

# %% tags=["test:check_good:3"]
check.good(good, places, true)
### BEGIN HIDDEN TESTS
_films = draw(20, seeded(7), part="test")
_made = centres(checkpoint.load("video").sample(20, known=_films.x[:, :3], generator=seeded(1), steps=6)).tolist()
_true, _right = _films.place[:, :, 0].tolist(), []
for _a, _b in zip(_made, _true):
    for _t in range(3, 12):
        _right.append(abs((_a[_t] - _a[_t - 1]) - (_b[_t] - _b[_t - 1])) < 0.5)
assert abs(float(good) - sum(_right) / len(_right)) < 0.02, "another number comes out"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Memory (3 points)
#
# Three ways to make a film of 24 frames of which the first three are known: the model in pieces that keep one frame, the model in
# pieces that keep three, and "straight on" without a model.

# %% tags=["nbval-ignore-output"]
# not compared: measured errors
from course_lib.video import roll_out

long = draw(12, seeded(9), part="test", n_frame=24)
ways = {"keeps one": roll_out(model, long.x[:, :3], 24, seeded(0), keep=1),
        "keeps three": roll_out(model, long.x[:, :3], 24, seeded(0), keep=3),
        "straight on": straight_on(long.x[:, :3], 24)}
for name, film in ways.items():
    error = velocity_error(centres(film), long.place[:, :, 0], start=3)
    right = (named(film) == long.y).double().mean()
    print(f"{name:12} error of velocity {error:.2f}, right digit {right:.2f}, "
          f"one digit in all frames {constancy(named(film)):.2f}")

# %% [markdown]
# **Explain** in five to eight sentences. (i) Why is a piece that keeps one frame certain to lose the velocity, however well the model
# is trained? (ii) Pieces that keep three frames know all that is needed, and errors grow all the same: where do they come from, and
# why do they not go away again? (iii) "Straight on" only shifts one picture, so its digit never changes, even where
# the judge misreads it. What does this say about judging a model of films by one number?

# %% [markdown] tags=["manual:explain_memory:3"]
# (i) A single frame shows where the digit is, not where it goes. All four speeds are possible; the model samples one of them, and it
# is right only by luck. No training helps, because the information is not in the input. (ii) The kept frames of later pieces were made
# by the model and are not quite right: a little off their place, a stroke changed. In training all known frames were real, so the
# model takes what it gets for the truth and continues it: an error in the velocity becomes the velocity, a changed stroke becomes
# the digit. Nothing pulls the film back, since the first frames are out of sight. (iii) A film has several qualities, which can be
# had one without the other. A picture that is only shifted is perfectly constant, and stays at the wall; so each number needs
# another beside it that the cheap trick fails: constancy, velocity, bounces.
#
# **Rubric.** 1 point: (i) one frame holds no velocity, so it is sampled anew. 1 point: (ii) kept frames are the model's own, errors
# are taken for truth, and the real beginning is no longer seen. 1 point: (iii) constancy alone is won by a baseline; several
# measures, each with a baseline.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about films that the lesson does not answer, **write down your guess**, and find out with `model`, `draw` and
# the measures. Examples: can the model continue a film of two digits (`draw(n_digit=2)`), of which it has never seen one? What does it
# do with a film that runs backwards, or whose known frames stand still? How few sampling steps are enough? What if the *last*
# frames are known and the first are asked for: must it be trained anew? Does guidance make films more constant? Your code shall
# run in less than a minute.

# %% tags=["solution:own_experiment"]
backwards = films.x[:10].flip(1)                                  # lawful films too: the law does not know past and future
again = model.sample(10, known=backwards[:, :3], generator=seeded(2))
forwards = velocity_error(places[:10], true[:10], start=3)
error = velocity_error(centres(again), true[:10].flip(1), start=3)
claim("error of velocity, films that run backwards", error, "<", 2)
claim("error, backwards minus forwards", error - forwards, "<", 0.6)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** can the model continue films that run backwards? **Guess:** yes: a ball that bounces looks the
# same in both directions, and so do our films. **What I did:** I turned ten test films round, gave their first three frames, which
# were their last, and compared with the rest. **What came out:** the error of velocity is about the one of films that run forwards.
# **How sure:** ten films, one seed; the same films in both directions, so that they can be compared. **Next:** a world with
# gravity, in which backwards is not lawful: there the model should do worse.
#
# **Rubric.** 1 point: a question that the lesson does not answer, and a guess written before. 1 point: an experiment that can answer
# it, like compared with like. 1 point: a number or a figure with its uncertainty. 1 point: a conclusion that the result
# carries, and a next step.
