# %% [markdown]
# # Exercise 81 · Models that learn from models
#
# Five parts on lesson 81: a function, a bug, a measurement, a short text and a question of your own. They take about an
# hour and a half of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 3 are graded by a program, which also runs your functions on inputs that you do not see here; 4 and 5 are
#   read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import matplotlib.pyplot as plt
import torch

from course_lib.checkpoint import metadata
from course_lib.checks import hint
from course_lib.checks import synthetic_data as check
from course_lib.claims import claim
from course_lib.data import load
from course_lib.device import seeded
from course_lib.masked import few_labels
from course_lib.metrics import mean_interval

(x_train, y_train), (x_test, y_test) = load("digits")[:2]         # 4,000 and 1,000 images (N, 1, 28, 28)

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · One round (3 points)
#
# B rows of models side by side, each a Gaussian that learns from its own numbers by maximum likelihood. One round: fit
# mean and variance, draw n numbers, and hand on the data of the next round.
#
# **Given** `data` (B, N), N numbers for each row; standard normal noise `eps` (B, n); and `keep`, True or False.
# **Asked:** the data of the next round: a number is the mean of its row plus its deviation times the noise. If `keep`
# is False, these n numbers take the place of the old ones, (B, n). If it is True, they come after them, (B, N + n).
#
# **Checked:** the values, for several sizes.

# %% tags=["solution:next_data"]
def next_data(data, eps, keep):
    """(B, N), (B, n), bool -> (B, n) or (B, N + n)"""
    ### BEGIN SOLUTION
    mean = data.mean(1, keepdim=True)                             # (B, 1)
    deviation = data.std(1, correction=0, keepdim=True)           # maximum likelihood divides by N
    samples = mean + deviation * eps
    return torch.cat([data, samples], dim=1) if keep else samples
    ### END SOLUTION

# %% tags=["test:check_next_data:3"]
check.next_data(next_data)
### BEGIN HIDDEN TESTS
_data = torch.tensor([[1.0, 3.0, 5.0], [-4.0, -4.0, 2.0]])        # means 3 and -2, variances 8/3 and 8
_eps = torch.tensor([[0.0, 1.0], [-1.0, 0.5]])
_want = torch.tensor([[3.0, 3 + (8 / 3) ** 0.5], [-2 - 8 ** 0.5, -2 + 2 ** 0.5]])
torch.testing.assert_close(next_data(_data.clone(), _eps.clone(), False), _want, rtol=1e-4, atol=1e-4)
torch.testing.assert_close(next_data(_data.clone(), _eps.clone(), True), torch.cat([_data, _want], 1), rtol=1e-4, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Find the bug (3 points)
#
# A hundred labelled digits, and one Gaussian for each pixel of each class to make more of them. Below are all 5,000 digits in
# one tensor, as they often are, the last 1,000 of them the test set. The function makes what a classifier is given. It runs
# without an error, and the result is better than it should be. There is **one bug**, in one line.

# %%
def given_broken(x, y, few, eps, asked):
    made = torch.zeros_like(eps)
    for k in asked.unique():
        own = x[y == k]
        made[asked == k] = own.mean(0) + own.std(0) * eps[asked == k]
    return torch.cat([x[few], made]), torch.cat([y[few], asked])

# %%
x_all = torch.cat([x_train, x_test]).flatten(1)                   # (5000, 784)
y_all = torch.cat([y_train, y_test])

def right_by_distance(images, labels):
    """Each test digit gets the label of the class mean that is nearest: the share that is right."""
    means = torch.stack([images[labels == k].mean(0) for k in range(10)])
    return (torch.cdist(x_test.flatten(1), means).argmin(1) == y_test).double().mean().item()

def compare(make):
    """What generated digits add to the accuracy of labelled ones alone, for ten draws of the labels."""
    gains = []
    for number in range(10):
        few = few_labels(y_train, 100, seeded(number))
        asked = torch.arange(1000) % 10
        images, labels = make(x_all, y_all, few, torch.randn(1000, 784, generator=seeded(number)), asked)
        gains.append(right_by_distance(images, labels) - right_by_distance(x_all[few], y_all[few]))
    return mean_interval(gains)

# %%
mean, low, high = compare(given_broken)
print(f"with the bug, generated digits add {100 * mean:.1f} points, between {100 * low:.1f} and {100 * high:.1f}")
claim("smallest gain that is plausible", low, ">", 0.02)

# %% [markdown]
# **Given** examples `x` (N, D), labelled and unlabelled ones and the test set; their labels `y` (N,); the numbers `few` (n,)
# of those that are labelled; noise `eps` (M, D) and the classes `asked` (M,) of the digits to be made. Each class that is asked
# for has at least two labelled examples. **Asked:** `given`, the same function without the bug: images (n + M, D) and labels
# (n + M,), the real ones first. **Checked:** the values.

# %% tags=["solution:given"]
def given(x, y, few, eps, asked):
    """(N, D), (N,), (n,), (M, D), (M,) -> (n + M, D), (n + M,)"""
    ### BEGIN SOLUTION
    x_few, y_few = x[few], y[few]                                 # from here on nothing else is looked at
    made = torch.zeros_like(eps)
    for k in asked.unique():
        own = x_few[y_few == k]                                   # the bug: all examples of the class
        made[asked == k] = own.mean(0) + own.std(0) * eps[asked == k]
    return torch.cat([x_few, made]), torch.cat([y_few, asked])
    ### END SOLUTION

# %% tags=["test:check_given:3"]
check.given(given)
### BEGIN HIDDEN TESTS
_x, _y = torch.tensor([[0.0], [9.0], [2.0], [100.0], [5.0]]), torch.tensor([0, 1, 0, 0, 1])
_few = torch.tensor([2, 0, 1, 4])                                 # all but the fourth
_images, _labels = given(_x.clone(), _y.clone(), _few, torch.tensor([[0.0], [1.0]]), torch.tensor([0, 0]))
torch.testing.assert_close(_images.float(), torch.tensor([[2.0], [0.0], [9.0], [5.0], [1.0], [1 + 2 ** 0.5]]), rtol=1e-4, atol=1e-4)
assert _labels.tolist() == [0, 0, 1, 1, 0, 0]
_mean, _low, _high = compare(given)
assert _high < 0.02, "with this function generated digits still add more than they can"
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Measure: the half-life of a typical model (2 points)
#
# In the lesson, the *mean* variance of many rows of models was multiplied by $1 - 1/n$ a round. A single row does worse.
# Guess first: with $n = 50$, how many rounds does it take until the **median** variance of 5,000 rows is half of what it was?
#
# **Asked:** `half_life`, the number of rounds: each model is fitted to 50 numbers by maximum likelihood (variance divided by
# $n$), and its samples replace them; the first learns from 50 standard normal numbers. **Checked:** your number, within 10
# percent.

# %% tags=["solution:half_life"]
half_life = ...  # set it to your number at the end
### BEGIN SOLUTION
g = seeded(0)
data, half_life = torch.randn(5000, 50, generator=g), 1           # the first model
while data.var(1, correction=0).median() > 0.5:
    data = next_data(data, torch.randn(5000, 50, generator=g), keep=False)
    half_life += 1
print(half_life, "rounds; for the mean", round(torch.tensor(0.5).log().item() / torch.tensor(1 - 1 / 50).log().item(), 1))
### END SOLUTION

# %% tags=["test:check_half_life:2"]
check.half_life(half_life)
### BEGIN HIDDEN TESTS
assert 14 < float(half_life) < 21, "not near a second measurement"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Explain: a report (4 points)
#
# A company trains a classifier of X-ray pictures and reports: "We have 500 labelled pictures. With 50,000 pictures that an
# openly available model drew for us, the share of right answers on our test set rose from 81 to 88 percent. Synthetic data
# replace expensive labels." The classifier was trained for ten passes through the data in both cases. Pictures of the drawing
# model "that our classifier, trained on all labelled pictures and the test set, did not recognise" were thrown away. A rare
# disease is 1 % of the 500. Below is what the lesson found with digits.

# %%
trials = metadata("hundred_labels")["trials"] | metadata("generated_hundred")["trials"]

def points(name, n="100"):
    mean, low, high = mean_interval(100 * torch.tensor(trials[name][n]))
    return f"{mean:.1f}, between {low:.1f} and {high:.1f}"

print("100 labels:                        ", points("supervised"))
print("100 labels, augmented:             ", points("supervised, augmented"))
print("100 labels, Gaussians of the same: ", points("Gaussians"))
print("100 labels, flow that saw 4,000:   ", points("shipped flow"))
print("4,000 labels:                      ", points("supervised", "4000"))

# %% [markdown]
# **Explain** in six to ten sentences. Name **four** reasons for which the number 88 may not mean what the report says, each
# with the experiment or the number that you would ask for. Say for one of them how the lesson's numbers above show that it
# matters. What do you expect of the rare disease, and why?

# %% [markdown] tags=["manual:explain_report:4"]
# (1) What has the drawing model seen? If it learned from thousands of X-rays, with their reports, the gain is theirs: ask for
# its training data, and compare with training on real pictures from there. In the lesson the flow that saw 4,000 labels seemed
# to help a hundred labels, and the 4,000 themselves help more. (2) The filter saw the test set: whatever was kept was chosen by
# the answers, so the test is spoiled; filter with a classifier that knows the 500 alone, and test on fresh pictures. (3) Ten
# passes through 50,500 pictures are a hundred times as many steps as ten through 500: give both the same number of steps. (4)
# The baseline is no baseline: distorting the 500 costs nothing, and in the lesson that alone was worth more than any generator.
# (5) One number without an interval: five seeds and splits, differences by seed. The rare disease: five pictures among the
# 500. A generator that learned from them has little to draw from, and what the filter does not recognise is thrown away, so it
# may even be lost among the 50,000; ask for the accuracy on it alone, on a test set that has enough of it.
#
# **Rubric.** 1 point: the drawing model has seen other data, and a comparison with these, or with a generator of the 500 alone,
# is asked for. 1 point: the filter leaks the test set, and a repair. 1 point: two of these: unequal steps, no augmentation as a
# rival, no interval or seeds; each with what to do. 1 point: the rare disease is likely to become rarer or to be lost, with a
# reason (few to learn from, the filter), and is to be measured alone.

# %% [markdown]
# ## 5 · Your own question (4 points)
#
# Ask a question about generated data or about models that learn from models that the lesson does not answer, **write down
# your guess**, and find out. Examples: What if each round keeps the real numbers, but only the newest samples? What if
# everything is kept, but each model may read only $n$ numbers of it? What if a tenth of each round's data is fresh and real? Do
# models that are too wide (variance times 1.1) escape? Is it better to draw samples at a lower temperature? Your code shall run
# in less than a minute.

# %% tags=["solution:own_experiment"]
def last_variances(ways_to_keep, rounds=60, n=20, rows=2000):
    g = seeded(0)
    real = torch.randn(rows, n, generator=g)
    data, history = real, []
    for _ in range(rounds):
        history.append(data.var(1, correction=0))
        samples = next_data(data, torch.randn(rows, n, generator=g), keep=False)
        data = ways_to_keep(real, data, samples)
    return torch.stack(history)                                   # (rounds, rows)

ways = {"samples alone": lambda real, data, samples: samples,
        "real and newest": lambda real, data, samples: torch.cat([real, samples], 1),
        "everything": lambda real, data, samples: torch.cat([data, samples], 1)}
variances = {name: last_variances(way) for name, way in ways.items()}
fig, ax = plt.subplots(figsize=(5, 2.8))
for name, runs in variances.items():
    ax.plot(range(1, 61), runs.mean(1), label=name)
ax.set(xlabel="round", ylabel="mean variance", ylim=(0, 1))
ax.legend()
claim("variance after 60 rounds, real and newest samples", variances["real and newest"][-1].mean(), ">", 0.85)
claim("variance after 60 rounds, samples alone", variances["samples alone"][-1].mean(), "<", 0.1)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it,
# and what you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** is it enough to keep the real numbers, if all samples but the newest are thrown
# away? **Guess:** yes, but with less variance than when everything is kept. **Experiment:** Gaussians with $n = 20$, 60
# rounds, 2,000 rows, three ways to keep. **Result:** see the figure: my guess was wrong. Real and newest samples stay near
# 0.95 for ever, a little *above* "everything" (0.92), and each round reads 40 numbers only, while "everything" reads 1,200 at
# the end: there half of what is read is always real. **Sure?** 2,000 rows, and both curves are flat; but it is a
# Gaussian, whose model is right. **Next:** the same with digits, where the model errs by itself.
#
# **Rubric.** 1 point: a question with a guess that could be wrong. 1 point: an experiment in which one thing changes. 1 point:
# a number or figure with an interval, several seeds or rows, or a word on how sure one can be. 1 point: a conclusion that the
# result supports, and what it does not show.
