# %% [markdown]
# # Exercise 77 · Sounds
#
# Six parts on lesson 77: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch

from course_lib import checkpoint, plots
from course_lib.audio import RATE, griffin_lim, magnitude_of, note_frequency, pitch, stft
from course_lib.checks import audio as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data.sounds import INSTRUMENTS, load_sounds
from course_lib.device import seeded
from course_lib.listener import hear

notes = load_sounds("notes")
model = checkpoint.load("notes_flow")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Where is it heard? (2 points)
#
# A tone of $f$ Hz that is measured `rate` times a second is heard at the distance from $f$ to the nearest multiple of the
# rate, 0 among them.
#
# **Given** `f` of shape (n,), frequencies in Hz, at least 0, and a number `rate`. **Asked:** the frequencies at which they are
# heard, a tensor of shape (n,). **Checked:** the values, also for tones far above the rate.

# %% tags=["solution:alias"]
def alias(f, rate):
    """(n,), a number -> (n,)"""
    ### BEGIN SOLUTION
    nearest = rate * (f / rate).round()                           # (n,)
    return (f - nearest).abs()
    ### END SOLUTION

# %% tags=["test:check_alias:2"]
check.alias(alias)
### BEGIN HIDDEN TESTS
for _f, _rate in ((440.0, 2_000), (1_300.0, 2_000), (2_100.0, 2_000), (7_700.0, 2_000)):
    _tone = torch.cos(2 * torch.pi * _f * torch.arange(2_000) / _rate)
    _heard = torch.fft.rfft(_tone).abs().argmax() * _rate / 2_000
    torch.testing.assert_close(alias(torch.tensor([_f]), float(_rate)).float(), _heard[None].float(), rtol=0, atol=1.0)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · A picture of loudness (3 points)
#
# A magnitude $m$ has $20 \log_{10}(m / \text{full})$ decibels, where `full` is the magnitude of the loudest sine. The picture
# shows 0 decibels as 1, `floor` decibels as 0, and what lies between on a straight line. What is softer than the floor, and
# silence among it, is 0; what is louder than full is 1.
#
# **Given** `magnitude` of any shape, at least 0, a number `full` > 0, and `floor` < 0. **Asked:** the picture, a tensor of the
# same shape. **Checked:** the values.

# %% tags=["solution:picture"]
def picture(magnitude, full, floor=-60.0):
    """The same shape, in [0, 1]"""
    ### BEGIN SOLUTION
    decibels = 20 * (magnitude / full).clamp(min=1e-10).log10()
    return (1 - decibels / floor).clamp(0, 1)
    ### END SOLUTION

# %% tags=["test:check_picture:3"]
check.picture(picture)
### BEGIN HIDDEN TESTS
_m = torch.tensor([[0.0, 0.05, 0.5], [5.0, 50.0, 500.0]])
_want = torch.tensor([[0.0, 0.0, 1 / 3], [2 / 3, 1.0, 1.0]])
torch.testing.assert_close(picture(_m.clone(), 50.0).float(), _want, rtol=0, atol=1e-3)
torch.testing.assert_close(picture(_m.clone(), 50.0, -40.0).float()[:, 2], torch.tensor([0.0, 1.0]), rtol=0, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# The function below lays the pieces of a sound over each other. The pieces have come from `torch.fft.irfft`, so each is a part
# of the sound *times the window*. It runs, and gives a sound of the right length that one can recognise. But something
# flutters in it, 62 times a second. There is **one bug**, in one line.

# %%
def overlap_add_broken(frames, window, hop):
    n, J, n_fft = frames.shape
    total = torch.zeros(n, (J - 1) * hop + n_fft)
    norm = torch.zeros((J - 1) * hop + n_fft)
    for j in range(J):
        total[:, j * hop:j * hop + n_fft] += frames[:, j] * window
        norm[j * hop:j * hop + n_fft] += window
    return total / norm

# %%
window = torch.hann_window(512)
sound = notes.train.x[1:2]                                        # a piano
frames = torch.fft.irfft(stft(sound).transpose(1, 2), n=512)      # (1, 32, 512): each under the window
broken = overlap_add_broken(frames, window, 128)[:, 192:-192]     # without the silence on either side
claim("largest difference from the sound", (broken - sound).abs().max(), ">", 0.1)

# %%
# Figure: two spectrograms side by side, of the sound and of what came back; below them two players.
plots.player([sound[0], broken[0].clamp(-1, 1)], RATE, ["the sound", "what came back"])

# %% [markdown]
# **Given** `frames` of shape (n, J, n_fft), a `window` of shape (n_fft,), nowhere 0 in the checks, and a number `hop`; piece j
# begins at sample j · hop. **Asked:** `overlap_add`, the same function without the bug, a tensor of shape (n, (J - 1) · hop +
# n_fft). Pieces are multiplied by the window once more before they are added, as above. **Checked:** the values.

# %% tags=["solution:overlap_add"]
def overlap_add(frames, window, hop):
    """(n, J, n_fft), (n_fft,), a number -> (n, (J - 1) * hop + n_fft)"""
    ### BEGIN SOLUTION
    n, J, n_fft = frames.shape
    total = torch.zeros(n, (J - 1) * hop + n_fft)
    norm = torch.zeros((J - 1) * hop + n_fft)
    for j in range(J):
        total[:, j * hop:j * hop + n_fft] += frames[:, j] * window
        norm[j * hop:j * hop + n_fft] += window**2                # the sound has met the window twice
    return total / norm
    ### END SOLUTION

# %% tags=["test:check_overlap_add:3"]
check.overlap_add(overlap_add)
### BEGIN HIDDEN TESTS
_x, _w = torch.randn(2, 40), 0.2 + torch.rand(10)
_pieces = _x.unfold(1, 10, 5) * _w
torch.testing.assert_close(overlap_add(_pieces.clone(), _w.clone(), 5).float(), _x, rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: right in every respect (3 points)
#
# We ask the model for 22 notes that are in no training sound, one for each instrument, played loudly. `found` are the pitches that were measured,
# `wanted` those that were asked for, both in Hz; `heard` is the number of the instrument that the listener hears, `asked` that
# of the one that should play.

# %%
what = notes.test.what[1::4]                                      # (22, 3): instrument, note, loudness
sounds = model.sample(what, seeded(0))
found = pitch(sounds)                                             # (22,)
wanted = note_frequency(60 + what[:, 1])                          # (22,)
heard, asked = hear(sounds), what[:, 0]
print(f"{list(INSTRUMENTS)[asked[0]]}: {found[0]:.1f} Hz, wanted {wanted[0]:.1f} Hz, heard: number {heard[0]}")

# %% [markdown]
# **Asked:** `both_right`, the share of the 22 notes that are less than 20 cents away from the wanted pitch *and* played by the
# instrument that was asked for. There are 1,200 cents in an octave, a factor of two. **Checked:** your number, within one
# percent.

# %% tags=["solution:both_right"]
both_right = ...  # set it to your number at the end
### BEGIN SOLUTION
in_tune = 1200 * (found / wanted).log2().abs() < 20
both_right = (in_tune & (heard == asked)).double().mean().item()
claim("share right in pitch and instrument", both_right, ">", 0.5)
### END SOLUTION

# %% tags=["test:check_both_right:3"]
check.both_right(both_right, found, wanted, heard, asked)
### BEGIN HIDDEN TESTS
_what = load_sounds("notes").test.what[1::4]
_sounds = checkpoint.load("notes_flow").sample(_what, seeded(0))
_off = 1200 * torch.log2(pitch(_sounds) / (440 * 2 ** ((_what[:, 1] - 9) / 12)))
_share = ((_off.abs() < 20) & (hear(_sounds) == _what[:, 0])).double().mean().item()
assert abs(float(both_right) - _share) < 0.05, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · What a picture of sound can hold (3 points)
#
# **Explain** in five to eight sentences. (i) The lesson's transform of 4,096 samples has 257 × 32 complex numbers, and its
# picture 256 × 32 real ones. Which half of the information is missing, and why can Griffin–Lim find most of it again? Why is
# the sound that it finds not the same, sample by sample? (ii) With 32 mel bands fewer than half of the real notes came back in
# tune. Why could no training of the flow have repaired that, and what would? (iii) Why should one measure real sounds through
# picture and Griffin–Lim before one trains anything?

# %% [markdown] tags=["manual:explain_picture:3"]
# (i) The phases are missing. Pieces overlap by three quarters, so each sample is in four of them, and the magnitudes of
# neighbouring columns must belong to one sound: there are twice as many magnitudes as samples, and few choices of phases fit
# them all. Something stays open: turn all phases by the same angle, or a tone's that nothing else overlaps, and the magnitudes
# hardly change. We hear no difference, but the samples are others. (ii) A band of 32 is wider than a semitone, and says only
# how much energy is in it. Two notes a semitone apart can have the same bands, so even the perfect flow would draw a picture
# from which the pitch cannot be read. More bands, or a row for each frequency, would help, or a vocoder that is told the note
# or has learned where tones usually lie. (iii) It is the ceiling. If real sounds come back out of tune, the flow's will too,
# and one would look for the mistake in the wrong place, after hours of training.
#
# **Rubric.** 1 point: (i) phases; overlapping pieces must agree; a sound is found only up to turns of the phase. 1 point: (ii)
# different pitches have the same bands, so the information is gone before the flow sees it; finer bands or a vocoder. 1 point:
# (iii) a ceiling that separates what the picture loses from what the model does badly.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about generated sounds that the lesson does not answer, **write down your guess**, and find out with `model`,
# `pitch` and `hear`. Examples: Which instruments are confused most, and are they of one family? Are soft notes less in tune
# than loud ones? How few steps, or rounds of Griffin–Lim, are enough? What does guidance 0 sound like, and what guidance 5?
# What lies between two instruments, if their vectors in `model.things` are averaged? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
drawn = model.pictures(what, seeded(0))                           # (22, 1, 256, 32), the same for all
shares = {}
for rounds in (0, 5, 60):
    again = griffin_lim(magnitude_of(drawn), rounds, generator=seeded(1))
    off = 1200 * (pitch(again) / wanted).log2().abs()
    shares[rounds] = (off < 20).double().mean().item()
    print(f"{rounds} rounds: {shares[rounds]:.2f} within 20 cents")
claim("within 20 cents after 60 rounds, less that after none", shares[60] - shares[0], ">", 0)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** does the pitch need Griffin–Lim at all, or are the lines of the picture enough?
# **Guess:** random phases are enough for the pitch, since the lines are where they should be. **Experiment:** the same 22
# pictures with 0, 5 and 60 rounds. **Result:** without any round clearly fewer notes are within 20 cents, and
# after five nearly as many as after sixty. So the guess was wrong: with random phases the tone beats and drifts within the half
# second. **Sure?** With 22 notes the standard error of a share of one half is 0.11, and the difference is larger. **Next:** is it
# so for all instruments, or for those whose notes are short?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed, the noise among it. 1 point: a number or a figure with labelled axes, described truthfully, whether
# or not it agrees with the guess. 1 point: says how sure the result is (several draws, a standard error) or what might be wrong
# with it.
