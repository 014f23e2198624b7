# %% [markdown]
# # 74 · From what is likely to what is wanted
#
# A model that has learned from people answers as people do: helpful, curt, rude, long-winded, and sometimes wrong. What
# is wanted can hardly be written down as examples, but it is easy to say of two answers which is the better one, or to
# let a program value an answer. This lesson turns such judgements into training, in the ways that made assistants out
# of language models. And it shows what goes wrong: a model that is paid by a judge learns to please the judge. At the
# end you will have made the picture below.
#
# **After this lesson you can**
# - train a reward model from pairs, and a policy by best-of-n, by DPO and by policy gradients in groups (GRPO);
# - prove on three tokens, by counting, that all of them aim at the same optimum;
# - recognise over-optimisation, measure it against the true reward, and stop it.
#
# **You need** lessons [00](00_start_here.ipynb) (the sigmoid), [31](31_vae.ipynb) (the KL divergence) and
# [54](54_gpt.ipynb) (GPT). **It takes** 90 minutes to read and a minute to run. **How hard:** •••. All symbols are in
# the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
from functools import partial
from random import Random

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.checkpoint import load, metadata
from course_lib.claims import claim

# %%
from course_lib import preferences as pr
from course_lib.data import counts
from course_lib.data.counts import END, N_ANSWER, N_PROMPT, REWARD
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, diagram
from course_lib.train import fit

policy = load("counts_policy")
made = metadata("counts_policy")

# %%
# Figure: two panels over 60 steps of training, five curves each, one for each seed. Left, what the judge
# gives: it rises. Right, what the same answers are worth: it rises for some steps, and then falls below
# where it began.
_, (judged, true) = plt.subplots(1, 2, figsize=(9, 3))
for run in metadata("counts_proxy")["trials"]["0"]:
    judged.plot(range(0, 61, 5), [row["proxy"] - run[0]["proxy"] for row in run], color=COLOURS[0])
    true.plot(range(0, 61, 5), [row["gold"] - run[0]["gold"] for row in run], color=COLOURS[3])
judged.set(xlabel="step", ylabel="change of the judge's reward")
true.set(xlabel="step", ylabel="change of the true reward")
true.axhline(0, color="#8C8C8C", ls=":");

# %% [markdown]
# A model is trained to please a judge that was trained on what people prefer. Left, what the judge says of its answers;
# right, what they are worth. First both rise; then the answers get worse, and the judge likes them better.
#
# ## What people write, and what it is worth
#
# Our world is small: three people have things, and somebody asks how many. The model of this lesson was trained on
# stories, then on 20,000 answers of kind, curt, rude and long-winded people, whom a program plays. What we want is known
# by another program, the **gold reward**: 1 for the right number (or for "I do not know" where nobody said), half a point
# for thanking exactly once, a point less for rudeness, a tenth less for each word beyond twelve (a full stop is one).
# With real models nobody has such a program.

# %%
questions = counts.questions(100, seed=11)
draw = Random(0)
print(questions[0].text)
for _ in range(5):
    answer = counts.demonstration(questions[0], draw)
    print(f"{counts.gold(answer, questions[0]):5.1f}   {answer}")

# %% [markdown]
# Those were people. Now the model, which we call the **policy**. It imitates them, faults and all: that is what it was
# trained to do.

# %%
def write(model, asked, n=1, number=0):
    """n answers to each question: tokens, mask of what belongs to the answers, and the texts."""
    idx, mask = pr.answers(model, counts.prompts(asked), n, N_ANSWER, END, generator=seeded(number))
    return idx, mask, [counts.decode(row) for row in idx[:, N_PROMPT:]]

def worth(texts, asked):
    """The gold reward of len(texts) / len(asked) answers to each question.  -> (P, n)"""
    n = len(texts) // len(asked)
    return torch.tensor([counts.gold(text, asked[k // n]) for k, text in enumerate(texts)]).view(-1, n)

def are_right(texts, asked):
    """Is the content right, whatever the manners?  -> (P, n) bool"""
    n = len(texts) // len(asked)
    return torch.tensor([counts.right(text, asked[k // n]) for k, text in enumerate(texts)]).view(-1, n)

_, _, texts = write(policy, questions[:5])
for asked, text in zip(questions, texts):
    print(f"{counts.gold(text, asked):5.1f}   right: {asked.right or 'nobody said':12} {text}")

_, mask, texts = write(policy, questions, n=16)
before = worth(texts, questions)                                  # (100, 16)
right_before = are_right(texts, questions)                        # (100, 16) bool
claim("mean gold reward of the policy, of at most 1.5", before.mean(), "<", 1)
claim("its answers that are right", right_before.double().mean(), "<", 0.9)

# %% [markdown]
# ## A world of three answers
#
# First, a world with three answers. The policy we start from, the **reference** $\pi_\text{ref}$, gives them with
# probabilities 0.6, 0.3, 0.1, and their rewards $r$ are 0, 1, 2. What is the best policy $\pi$? If only reward counts:
# always the third answer. But a policy far from the reference has forgotten how to speak. So distance has a price,
# $\beta$ for each nat:
#
# $$J(\pi) = \sum_y \pi(y)\, r(y) - \beta\, \mathrm{KL}(\pi \Vert \pi_\text{ref}).$$
#
# The best policy can be written down: $\pi^*(y) = \pi_\text{ref}(y)\, e^{r(y)/\beta} / Z$, where $Z$ makes the sum 1. Proof:
# solve this for $r(y)$, put it into $J$, and $\log \pi_\text{ref}$ cancels:
#
# $$r(y) = \beta \log \frac{\pi^*(y)}{\pi_\text{ref}(y)} + \beta \log Z, \qquad
# J(\pi) = \beta \log Z - \beta\, \mathrm{KL}(\pi \Vert \pi^*).$$
#
# A divergence is never below 0, and it is 0 for $\pi = \pi^*$. By hand, with $\beta = 1/\log 2$, so that $e^{r/\beta} = 2^r$:
# the weights are 0.6 · 1, 0.3 · 2, 0.1 · 4, their sum is $Z = 1.6$, and $\pi^* = (0.375,\, 0.375,\, 0.25)$.

# %%
ref = torch.tensor([0.6, 0.3, 0.1], dtype=torch.double)
r = torch.tensor([0.0, 1, 2], dtype=torch.double)
beta = 1 / torch.tensor(2.0).double().log()
best = ref * torch.exp(r / beta)
best = best / best.sum()
print(best)
assert_close(pr.tilted(ref.log(), r, beta.item()).exp(), best)

def objective(logits, r):
    """J of the policy softmax(logits)."""
    p = logits.softmax(0)
    return (p * r).sum() - beta * (p * (p / ref).log()).sum()

for other in (ref, torch.tensor([0.1, 0.2, 0.7]).double()):
    kl = (other * (other / best).log()).sum()
    assert_close(objective(other.log(), r), objective(best.log(), r) - beta * kl)

# %%
# Figure: three curves over beta from 0.1 to 10, on a logarithmic axis: the probabilities of the three
# answers under the best policy. At the left all is on the third answer, at the right they are those of
# the reference.
prices = torch.logspace(-1, 1, 100)
shares = torch.stack([pr.tilted(ref.log(), r, price.item()).exp() for price in prices])
_, ax = plt.subplots()
ax.plot(prices, shares, label=[f"answer {k + 1}, reward {k}" for k in range(3)])
ax.axvline(beta.item(), color="#8C8C8C", ls=":")
ax.set(xscale="log", xlabel="β, the price of distance", ylabel="probability", xticks=[0.1, 0.3, 1, 3, 10],
       xticklabels=["0.1", "0.3", "1", "3", "10"])
ax.legend();

# %% [markdown]
# At the right, distance is expensive, and little changes; at the left it is cheap, and the reward decides alone. The
# dotted line is our example.
#
# ### Policy gradient, exactly and by samples
#
# Where answers cannot be listed, $J$ has to be climbed with samples. **REINFORCE**: sample an answer, and push its
# log-probability up in proportion to its reward. In the mean over the samples, this is the gradient of the mean reward,
# since $\nabla \pi = \pi\, \nabla \log \pi$. Subtracting a **baseline** $b$ from the reward changes nothing in the mean,
# because the probabilities always sum to 1. But it changes how much the samples differ.

# %%
logits = ref.log().requires_grad_()
exact, = torch.autograd.grad((logits.softmax(0) * r).sum(), logits)

def one_draw(answer, b):
    """REINFORCE for one drawn answer: (reward - b) times the gradient of its log-probability."""
    gradient, = torch.autograd.grad(logits.log_softmax(0)[answer], logits)
    return (r[answer] - b) * gradient

for b in (0.0, 0.5, 5.0):
    draws = torch.stack([one_draw(answer, b) for answer in range(3)])          # (3, 3)
    mean = ref @ draws
    assert_close(mean, exact)
    variance = ref @ (draws - mean).square().sum(1)
    print(f"baseline {b}: the mean is the exact gradient, the variance {variance:.3f}")

# %% [markdown]
# The mean reward, 0.5, is a good baseline, and 5 a terrible one. In GRPO, below, it is the mean of a *group*: several
# answers to the same question.
#
# ### Two other ways to the same place
#
# People cannot give rewards as numbers, but they can compare. Bradley and Terry's model of a comparison: answer $y$ is
# preferred to $y'$ with probability $\sigma(r(y) - r(y'))$. One way, called **RLHF**: learn $r$ from comparisons, then
# climb $J$. Another, **DPO**: take the reward from the proof above, with the policy $\pi$ that we train in place of
# $\pi^*$, and put *that* into Bradley and Terry's model. The constant $\beta \log Z$ cancels, and what is left has no reward
# in it and needs no samples: a loss for the policy itself, as simple as that of a classifier.

# %%
first, second = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j]).T
preferred = (r[first] - r[second]).sigmoid()                      # how often people prefer the first, (6,)

def comparisons(rewards):                                         # how well they explain the choices
    return (preferred * F.logsigmoid(rewards[first] - rewards[second])).sum()

def dpo_objective(logits):                                        # the same, of implied rewards
    return comparisons(beta * (logits.log_softmax(0) - ref.log()))

def climb(start, what, steps=1000):
    """Gradient ascent from `start`; all numbers on the way, (steps + 1, 3)."""
    path = [start]
    for _ in range(steps):
        at = path[-1].clone().requires_grad_()
        path.append(path[-1] + 0.2 * torch.autograd.grad(what(at), at)[0])
    return torch.stack(path)

learned = climb(torch.zeros(3).double(), comparisons)[-1]         # the reward model of this small world
ways = {"policy gradient, true reward": climb(ref.log(), partial(objective, r=r)),
        "RLHF: policy gradient, learned reward": climb(ref.log(), partial(objective, r=learned)),
        "DPO": climb(ref.log(), dpo_objective)}
print("learned rewards, less that of the first:", learned - learned[0])
for name, path in ways.items():
    print(f"{name}: {path[-1].softmax(0)}")
    assert_close(path[-1].softmax(0), best, atol=1e-4, rtol=0)

# %%
# Figure: the plane of the probabilities of answer 1 and answer 3. Three paths from the reference, a dot
# at the lower right, to the best policy, a star further up and left: those with the true and the learned
# reward lie on each other, that of DPO is another, and all end at the star.
_, ax = plt.subplots(figsize=(5.2, 3.6))
for (name, path), style in zip(ways.items(), ("-", "--", "-.")):
    at = path.softmax(1)
    ax.plot(at[:, 0], at[:, 2], style, label=name)
ax.plot(ref[0], ref[2], "o", color="black", label="reference")
ax.plot(best[0], best[2], "*", color="black", ms=12, label="best policy")
ax.set(xlabel="probability of answer 1", ylabel="probability of answer 3")
ax.legend();

# %% [markdown]
# Three ways, one place. In practice they differ in what has to be sampled, and in what a wrong reward does.
#
# ### Best of n, and how far it goes
#
# The simplest way trains nothing: sample $n$ answers, keep the best. How far is that from the reference? Number the
# answers from worst to best, and let $F(y)$ be the probability of answer $y$ or a worse one. Then the best of $n$ is
# answer $y$ with probability $F(y)^n - F(y - 1)^n$. Its divergence is at most $\log n - (n-1)/n$ (Beirami et al., 2024),
# and close to that where the same answer hardly ever comes twice.

# %%
below = torch.cat([torch.zeros(1).double(), ref.cumsum(0)])       # F, and 0 before it
for n in (1, 2, 4, 16, 64):
    best_of = below[1:]**n - below[:-1]**n
    kl = torch.where(best_of > 0, best_of * (best_of / ref).log(), 0).sum()
    print(f"n = {n:2}: probabilities {best_of.numpy().round(3)}, KL {kl.abs():.3f}, "
          f"at most {pr.best_of_n_kl(n):.3f}")
    assert kl <= pr.best_of_n_kl(n) + 1e-9

# %% [markdown]
# ## What we will build

# %%
# Figure: a diagram. A question goes to the policy, which writes a group of 8 answers. A reward, from the
# program or from the reward model, and a price for the distance from the reference are taken from each;
# what is better than its group is made more probable. Pairs that people have compared train the reward
# model, or, by DPO, the policy itself.
prompt_box = "questions\n(8, 22)"
policy_box = "policy\nGPT, 0.16 M"
answers_box = "answers\n(8 × 8, 22)"
reward_box = "reward model\nGPT, 0.16 M"
reference_box = "reference\n= policy at first"
worth_box = "rewards − β · KL\n(8, 8)"
better_box = "advantages\n(8, 8)"
pairs_box = "pairs, compared\nby people"
boxes = {prompt_box: (0, 1), policy_box: (1.3, 1), answers_box: (2.6, 1), reward_box: (3.9, 1.6),
         reference_box: (3.9, 0.4), worth_box: (5.3, 1), better_box: (6.7, 1), pairs_box: (2.6, 2.3)}
arrows = [(prompt_box, policy_box), (policy_box, answers_box), (answers_box, reward_box),
          (answers_box, reference_box), (reward_box, worth_box), (reference_box, worth_box),
          (worth_box, better_box), (pairs_box, reward_box), (pairs_box, policy_box)]
networks = dict.fromkeys([policy_box, reward_box, reference_box], COLOURS[0])
diagram(boxes, arrows, networks | {better_box: COLOURS[1]}, size=(9, 3.4));

# %% [markdown]
# In blue, the networks; all three begin alike. The arrow from the pairs to the policy is DPO.
#
# ## What a model says of an answer
#
# Everything below needs one number: the log-probability of an answer $y = (y_1, \dots, y_T)$ to a question $x$, the sum
# of $\log \pi(y_t \mid x, y_1, \dots, y_{t-1})$. The question's own tokens do not count.

# %%
def my_answer_logp(model, idx, mask):
    logp = model(idx[:, :-1]).log_softmax(2)                      # (B, T - 1, words); row t: token t + 1
    each = logp.gather(2, idx[:, 1:, None])[:, :, 0]              # (B, T - 1)
    return (each * mask[:, 1:]).sum(1)                            # (B,)

asked = questions[:1] * 2
idx, mask = counts.rows(asked, [f"{asked[0].about} {asked[0].right} {asked[0].things} .", "Go away !"])
with torch.no_grad():
    logp = my_answer_logp(policy, idx, mask)
    assert_close(logp, pr.answer_logp(policy, idx, mask), atol=1e-4, rtol=1e-4)
claim("log-probability of the right answer, less that of 'Go away !'", logp[0] - logp[1], ">", 0)

# %% [markdown]
# ## A reward model, from pairs
#
# The policy answers a question twice, and somebody says which answer is better. Our people prefer $y$ to $y'$ with
# probability $\sigma(3\,(u(y) - u(y')))$, so that close calls go either way; and $u$ is the gold reward plus 0.05 points
# for every word, since a longer answer looks like more work.

# %%
def compare(model, asked, number):
    """Two answers to each question: better, mask, worse, mask; how often gold agrees."""
    idx, mask, texts = write(model, asked, n=2, number=number)
    gold = worth(texts, asked)                                    # (P, 2)
    liked = gold + 0.05 * mask.sum(1).view(-1, 2)
    chance = torch.sigmoid(3 * (liked[:, 0] - liked[:, 1]))
    second = (torch.rand(len(asked), generator=seeded(number)) > chance).long()
    better = 2 * torch.arange(len(asked)) + second                # the rows that are preferred
    worse = 2 * torch.arange(len(asked)) + 1 - second
    differ = gold[:, 0] != gold[:, 1]
    agree = (second == gold.argmax(1))[differ].double().mean()
    return idx[better], mask[better], idx[worse], mask[worse], agree

*pairs, agree = compare(policy, counts.questions(300, seed=12), number=77)
for k in range(3):
    one, other = [counts.decode(part[k, N_PROMPT:]) for part in (pairs[0], pairs[2])]
    print(f"better: {one:38} worse: {other}")
claim("labels that agree with the gold reward, where it differs", agree, "<", 0.95)

# %% [markdown]
# A **reward model** is the policy itself with another head: a number in place of the next word. We take the logit of a
# token that nobody ever writes, after the last token of the answer, and train with the surprise at each label,
# $-\log \sigma(r(y) - r(y'))$.

# %%
def my_preference_loss(model, better, better_mask, worse, worse_mask):
    high = pr.reward(model, better, better_mask, REWARD)          # (B,)
    low = pr.reward(model, worse, worse_mask, REWARD)
    return {"loss": -F.logsigmoid(high - low).mean()}

library = pr.preference_loss(policy, *pairs, token=REWARD)["loss"]
assert_close(my_preference_loss(policy, *pairs)["loss"], library)

# %% [markdown]
# The shipped one was trained on 500 pairs. How well does it judge the pairs above, which it has not seen?

# %%
judge = load("counts_reward")
told = metadata("counts_reward")
with torch.no_grad():
    high = pr.reward(judge, pairs[0], pairs[1], REWARD)
    low = pr.reward(judge, pairs[2], pairs[3], REWARD)
claim("new pairs that the judge orders as people do", (high > low).double().mean(), ">", 0.62)
for n in ("100", "500"):
    labels, truth = torch.tensor(told["trials"][n]).T             # (5,): one for each seed
    print(f"trained on {n} pairs, five seeds: as people {labels.mean():.2f} ({labels.min():.2f} to "
          f"{labels.max():.2f}), as the gold reward {truth.mean():.2f}")

# %% [markdown]
# It agrees with the gold reward (on pairs that differ in it) more often than with the people that it has learned from:
# their close calls are noise, and noise averages out. What all of them misjudge does not.

# %% [markdown]
# ## Best of n
#
# Let the policy answer $n$ times and keep what the judge likes best. From $N$ answers to a question we can compute the
# mean over *all* ways to choose $n$ of them: sorted by the judge, answer number $i$ is the best of the chosen in
# $\binom{i-1}{n-1}$ of $\binom{N}{n}$ ways. **Write down a guess:** what does a larger $n$ do to the judge's reward, and
# what to the gold reward?

# %%
idx, mask, texts = write(policy, questions[:40], n=16, number=1)
with torch.no_grad():
    proxy = pr.reward(judge, idx, mask, REWARD).view(40, 16)
gold = worth(texts, questions[:40])

by_hand = torch.stack([gold[:, [i, j]].gather(1, proxy[:, [i, j]].argmax(1, keepdim=True))[:, 0]
                       for i in range(16) for j in range(i)]).double().mean(0)
assert_close(pr.best_of_n(proxy, gold, 2), by_hand)
of_8 = pr.best_of_n(proxy, gold, 8).mean()
claim("gold reward of the judge's best of 8, less that of one answer", of_8 - gold.mean(), ">", 0.1)

sizes = told["best_of"]["n"]                                      # 1, 2, 4, ... 64, of 64 answers
runs = torch.tensor(told["best_of"]["runs"])                      # (5 judges, 7 sizes, 2 rewards)
judged, true = (runs[:, 6] - runs[:, 3]).T                        # best of 64 less best of 8, 2 x (5,)
claim("judge's reward, best of 64 less best of 8, the least of five", judged.min(), ">", 0)
claim("gold reward, best of 64 less best of 8, the most of five", true.max(), "<", -0.1)

# %%
# Figure: two panels over the bound on the KL divergence, log n - (n - 1) / n, from n = 1 to 64. Left:
# the judge's reward of the best of n, five curves for five judges. Right: the gold reward of the same
# answers, and above them a dashed curve for choosing by the gold reward itself.
distance = [pr.best_of_n_kl(n) for n in sizes]
_, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.plot(distance, runs[:, :, 0].T, color=COLOURS[0])
right.plot(distance, told["best_of"]["gold"], "--", color=COLOURS[1], label="chosen by the gold reward")
right.plot(distance, runs[:, :, 1].T, color=COLOURS[0], label=["chosen by one of 5 judges"] + [None] * 4)
left.set(xlabel="largest KL divergence, nats", ylabel="judge's reward of the best of n")
right.set(xlabel="largest KL divergence, nats", ylabel="gold reward of the best of n")
right.legend();

# %% [markdown]
# <details><summary>Answer</summary>
#
# The judge's reward rises with every doubling of $n$. The gold reward rises up to $n = 8$, then it falls: among 64
# answers there is one that the judge likes too much. This is **over-optimisation**.
# </details>
#
# ## Policy gradients in groups: GRPO
#
# To move the policy itself, let it write a group of answers to each question, give each a reward, and compare it with
# the others of its group. That is **GRPO** (Shao et al., 2024). The **advantage** of an answer is its reward less the mean
# of the group, divided by the group's standard deviation.

# %%
def my_advantages(rewards):                                       # (questions, answers)
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True, correction=0) + 1e-4)

rewards = torch.tensor([[0.0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
assert_close(my_advantages(rewards), pr.group_advantages(rewards))
print(my_advantages(rewards).numpy().round(2))

# %% [markdown]
# The second and the third group have no gradient: where all are right or all are wrong, there is nothing to compare. How
# many groups of 8 does our policy waste, if the only reward is to be right?

# %%
right_groups = right_before.view(-1, 8).double()                  # (200 groups, 8 answers)
wasted = (right_groups.mean(1) == 0) | (right_groups.mean(1) == 1)
claim("share of groups that are all right or all wrong", wasted.double().mean(), "<", 0.5)

# %% [markdown]
# The loss pushes each token's log-probability up in proportion to its answer's advantage. The ratio below has the same
# number above and below the line, so it is 1, and only its gradient counts: that of $\log \pi$. (If answers serve for
# several steps, the ratio is clipped: `clip` in the library.) The price for distance is taken from the reward,
# $r - \beta \log(\pi / \pi_\text{ref})$, so that the gradient is that of $J$.

# %%
def my_grpo_loss(model, idx, mask, advantages):
    logp = pr.token_logp(model, idx, mask)                        # (B, T - 1)
    ratio = (logp - logp.detach()).exp()
    return -(ratio * advantages[:, None] * mask[:, 1:]).sum(1).mean()

idx, mask, texts = write(policy, questions[:4], n=8)
advantages = pr.group_advantages(worth(texts, questions[:4])).flatten()
mine = torch.autograd.grad(my_grpo_loss(policy, idx, mask, advantages), policy.head.weight)[0]
library = torch.autograd.grad(pr.grpo_loss(policy, idx, mask, advantages)["loss"], policy.head.weight)[0]
assert_close(mine, library)

# %% [markdown]
# Now train. In each step, the loader `Rollouts` lets the present policy answer 8 questions 8 times. Here the reward is
# the gold one: a program that checks, as for mathematics or code (RLVR, reinforcement learning with verifiable rewards).

# %%
lessons = counts.questions(2_000, seed=10)                        # other questions than those above

def gold_reward(which, idx, mask):
    """Rewards (B,) of answers to the questions number `which` (B,)."""
    texts = [counts.decode(row) for row in idx[:, N_PROMPT:]]
    return torch.tensor([counts.gold(text, lessons[k]) for text, k in zip(texts, which.tolist())])

student = load("counts_policy")
seed(0)
rollouts = pr.Rollouts(student, counts.prompts(lessons), gold_reward, policy, end=END, n_new=N_ANSWER,
                       generator=seeded(0))
history = fit(student, pr.grpo_loss, rollouts, steps=40, lr=1e-3)

# %% tags=["nbval-ignore-figure"]
# not compared: the mean reward of a short training
# Figure: the mean gold reward of the 64 answers of each step, over 40 steps, and its mean over
# neighbours: it rises from about 0.8 to about 1.4.
history.plot("reward").set(ylabel="gold reward, mean of 64 answers");

# %%
_, _, texts = write(student, questions, n=16)
after_40 = worth(texts, questions)
wins = (after_40 > before).double() + 0.5 * (after_40 == before).double()
claim("mean gold reward after 40 steps, less that before", after_40.mean() - before.mean(), ">", 0.3)
claim("answers that beat the answer before (a tie counts half)", wins.mean(), ">", 0.65)

# %% [markdown]
# After 100 steps of the same training, from the shipped weights:

# %%
by_program = load("counts_gold")
_, _, texts = write(by_program, questions, n=16)
after = worth(texts, questions)
right_after = are_right(texts, questions)
wins = (after > before).double() + 0.5 * (after == before).double()
claim("answers that beat the answer before (a tie counts half)", wins.mean(), ">", 0.8)
worst = min(run[-1]["wins"] for run in metadata("counts_gold")["trials"])
claim("the same for the worst of five seeds", worst, ">=", 0.8)
for asked, text in zip(questions[:5], texts[::16]):
    print(f"{counts.gold(text, asked):5.1f}   right: {asked.right or 'nobody said':12} {text}")

# %% [markdown]
# Polite, short, and more often right. ("have have" costs nothing: the program sees no grammar.) Did it learn to count,
# or only to say first what it could say before? Let it answer $k$ times, and ask whether one answer is right: **pass@k**.

# %%
passed = {}
for name, right in (("before", right_before), ("after", right_after)):
    passed[name] = [pr.pass_at_k(right, k).mean() for k in (1, 8)]
    print(f"{name:7} pass@1 {passed[name][0]:.2f}   pass@8 {passed[name][1]:.2f}")
claim("pass@1 after, less before", passed["after"][0] - passed["before"][0], ">", 0.02)
claim("pass@8 after, less before", passed["after"][1] - passed["before"][1], "<", 0)
best_of_five = max(eight for _, eight in metadata("counts_gold")["passes"])
claim("pass@8 after, the best of five seeds", best_of_five, "<", 0.99)

# %% [markdown]
# Before, one of eight answers was right for *every* question. After, a single answer is right more often, and one of
# eight less often: where the policy is wrong it has become sure of it. The same has been found for large models (Yue et
# al., 2025).

# %% [markdown]
# ## DPO: no samples, no judge
#
# DPO (Rafailov et al., 2023) trains the policy on the pairs directly; the implied reward of an answer is
# $\beta \log(\pi / \pi_\text{ref})$. One pair by hand, $\beta = 0.5$: the better answer has log-probabilities −1.2 under the
# policy and −1.5 under the reference, the worse one −2.1 and −2.0. The rewards are 0.5 · 0.3 = 0.15 and 0.5 · (−0.1) = −0.05,
# the margin is 0.2, the loss $\log(1 + e^{-0.2}) = 0.598$. Its slopes are $-\beta\,\sigma(-0.2)$ and $\beta\,\sigma(-0.2)$.

# %%
high = torch.tensor([-1.2], requires_grad=True)
low = torch.tensor([-2.1], requires_grad=True)
loss = -F.logsigmoid(0.5 * (high - -1.5) - 0.5 * (low - -2.0))
loss.sum().backward()
print(f"loss {loss.item():.3f}, slopes {high.grad.item():.3f} and {low.grad.item():.3f}")
assert_close(loss, pr.dpo(high, low, torch.tensor([-1.5]), torch.tensor([-2.0]), beta=0.5))
assert_close(low.grad, 0.5 * torch.tensor([-0.2]).sigmoid())

# %% [markdown]
# The slopes are equal and opposite. So DPO makes better answers more probable and worse ones less. Or does it? **Write
# down a guess:** what happens to the probability of the *better* answers, in 100 steps on 500 pairs, at the learning
# rates 1e-4 and 5e-4?

# %%
direct = metadata("counts_dpo")["trials"]                         # three settings, five seeds each
for name, runs in direct.items():
    better_change = torch.tensor([run[-1]["better"] - run[0]["better"] for run in runs])
    worse_change = torch.tensor([run[-1]["worse"] - run[0]["worse"] for run in runs])
    wins = torch.tensor([run[-1]["wins"] for run in runs])
    print(f"{name:32} log p of better {better_change.mean():+6.1f}, of worse {worse_change.mean():+6.1f}, "
          f"wins {wins.mean():.2f} ({wins.min():.2f} to {wins.max():.2f})")

def change_of_better(name):
    """Change of the mean log-probability of the better answers from the first to the last look, (5,)."""
    return torch.tensor([run[-1]["better"] - run[0]["better"] for run in direct[name]])

claim("change of log p of the better answers, rate 5e-4, the mildest of five seeds",
      change_of_better("rate 5e-4").max(), "<", -5)
claim("the same, rate 1e-4", change_of_better("rate 1e-4").max(), "<", -0.5)
claim("the same, rate 5e-4, better kept likely, the worst of five seeds",
      change_of_better("rate 5e-4, better kept likely").min(), ">", -0.2)

# %%
# Figure: three panels over 100 steps of DPO, the mean of five seeds: the log-probability of better and
# of worse answers. At the rate 5e-4 both fall, the worse ones further; at 1e-4 both fall less; where the
# better ones are kept likely they stay, and the worse ones fall.
_, panels = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
for panel, (name, seeds) in zip(panels, direct.items()):
    for what, colour in (("better", COLOURS[2]), ("worse", COLOURS[3])):
        mean = torch.tensor([[row[what] for row in run] for run in seeds]).mean(0)
        panel.plot(range(0, 101, 20), mean, color=colour, label=what)
    panel.set(title=name.replace(", ", ",\n"), xlabel="step")
panels[0].set_ylabel("mean log p of an answer")
panels[0].legend();

# %% [markdown]
# <details><summary>Answer</summary>
#
# It falls, with every seed: at the rate 5e-4 the better answers end a few thousand times less probable than they began.
# The worse ones fall further, so the difference grows, and the loss asks for nothing else. What both lose goes to
# answers that nobody has compared, *likelihood displacement* (Razin et al., 2024), and the policy loses more often to
# the one it began as than it wins. A smaller rate delays it. A second term repairs it, the surprise at the better
# answers, as in instruction tuning (`likely=1.0`).
# </details>

# %% [markdown]
# ## Predict, then turn one knob: the price of a wrong number
#
# We chose the gold reward, and one of its numbers is worth a second look: a wrong number costs nothing, just as
# "I do not know" where the answer was told. Say that it costs $c$ points. A number that is right with probability $p$
# is then worth $p - (1 - p)\,c$, so it pays to say it only if $p > c / (1 + c)$: 0.5 for the price 1, 0.75 for 3, 0.9
# for 9. How sure is a policy? Let it answer 16 times: $p$ is the share of the number that is said most. **Write down a
# guess:** with rising price, how many questions are refused that have an answer, and how many numbers are wrong, before
# the training and after it?

# %%
from collections import Counter

def votes(model, asked, n=16):
    """The number that most of n answers say, and the share that say it, for each question."""
    _, _, texts = write(model, asked, n, number=5)
    found = []
    for k in range(len(asked)):
        words = " ".join(texts[n * k:n * (k + 1)]).split()
        said = [word for word in words if word in counts.NUMBERS]
        number, times = Counter(said).most_common(1)[0] if said else ("none", 0)
        found.append((number, times / n))
    return found

def refusals(found, asked, price):
    """Shares: refused of what was told; wrong of what was told; refused of what was not told."""
    refuses = torch.tensor([sure <= price / (1 + price) for _, sure in found])
    right = torch.tensor([number == one.right for (number, _), one in zip(found, asked)])
    told = torch.tensor([one.right is not None for one in asked])
    shares = refuses[told], (~refuses & ~right)[told], refuses[~told]
    return [share.double().mean().item() for share in shares]

# %% tags=["nbval-ignore-output"]
# not compared: shares of sampled answers, which may differ by one on another processor
sure = {"before": votes(policy, questions), "after": votes(by_program, questions)}
for name, found in sure.items():
    for price in (0, 1, 3, 9):
        wrongly, wrong, rightly = refusals(found, questions, price)
        print(f"{name:7} price {price}:  told: refused {wrongly:.2f}, wrong {wrong:.2f};  not told: "
              f"refused {rightly:.2f}")

# %%
wrongly, wrong, rightly = refusals(sure["before"], questions, 1)
claim("before, price 1: refused or wrong, of what was told", wrongly + wrong, "<", 0.05)
claim("before, price 9: refused, of what was told", refusals(sure["before"], questions, 9)[0], ">", 0.5)
claim("after, price 1: wrong, of what was told", refusals(sure["after"], questions, 1)[1], ">", 0.02)
trained_with = metadata("counts_gold")["prices"]                  # GRPO, the price in the reward
for price, seeds in trained_with.items():
    right, wrongly, rightly = torch.tensor(seeds).mean(0).tolist()
    print(f"trained, price {price}: right {right:.2f}, refused {wrongly:.2f}; not told: {rightly:.2f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Before the training, half of the votes is a good limit: what is said is right, and what was not told is refused. At
# the price 9 more than half of what was told is refused too: whoever sets $c$ chooses between two errors. After the
# training some wrong numbers get most of the votes, and only a price that refuses much finds them. Likelihood had
# trained the policy to be as sure as it is right; the reward did not, and this was lost. Putting the price into the
# reward of GRPO (the last three lines) does not help: of what was not told, even less is refused.
# </details>

# %% [markdown]
# ## Break it: paid by the judge
#
# Now the reward that one has in practice: the reward model. 60 steps of the same GRPO, without a price for distance.

# %%
pleased = metadata("counts_proxy")["trials"]                      # price -> five seeds, every 5 steps

def over_steps(runs, what):
    """One number of what was measured, for each seed and each look.  -> (seeds, looks)"""
    return torch.tensor([[row[what] for row in run] for run in runs])

steps = torch.arange(0, 61, 5)
free = {what: over_steps(pleased["0"], what) for what in ("gold", "proxy", "wins", "moved", "right")}
claim("judge's reward after 60 steps, less that before, the least of five seeds",
      (free["proxy"][:, -1] - free["proxy"][:, 0]).min(), ">", 3)
claim("highest gold reward on the way, less that before, mean of five seeds",
      (free["gold"].max(1).values - free["gold"][:, 0]).mean(), ">", 0.1)
claim("wins after 60 steps, the best of five seeds", free["wins"][:, -1].max(), "<", 0.35)

# %%
# Figure: three panels over 60 steps, the mean of five seeds with the band from the lowest to the
# highest. The judge's reward rises; the gold reward rises for some steps and then falls below where it
# began; the share of answers that are right falls to nearly 0.
_, panels = plt.subplots(1, 3, figsize=(9, 2.9))
lines = {"judge's reward, change": free["proxy"] - free["proxy"][:, :1], "gold reward": free["gold"],
         "share right": free["right"]}
for panel, (name, numbers) in zip(panels, lines.items()):
    panel.plot(steps, numbers.mean(0), color=COLOURS[0])
    low, high = numbers.aminmax(dim=0)
    panel.fill_between(steps, low, high, color=COLOURS[0], alpha=0.2, lw=0)
    panel.set(title=name, xlabel="step")
panels[1].axhline(free["gold"][:, 0].mean(), color="#8C8C8C", ls=":");

# %% [markdown]
# The judge likes the answers better and better. Their worth rises for five to ten steps, then it falls below where it
# began. Here is what the judge likes by then:

# %%
pleaser = load("counts_proxy")
_, _, texts = write(pleaser, questions[:6])
for asked, text in zip(questions, texts):
    print(f"{counts.gold(text, asked):5.1f}   {text}")

# %% [markdown]
# No pair held such answers, so the judge was never told that they are bad: the policy found the places where it is
# wrong. "When a measure becomes a target, it ceases to be a good measure": Goodhart's law, in Strathern's words.
#
# ### Two repairs
#
# The judge is right near the answers that it was trained on. So either stop early, or let distance have its price,
# $\beta = 1$ for each nat. In the figure below distance is the horizontal axis (for best of $n$, the bound).

# %%
priced = {what: over_steps(pleased["1"], what) for what in ("gold", "proxy", "wins", "moved", "right")}
early = free["wins"].mean(0).argmax()                             # the best look without a price
print(f"without a price, step {steps[early]}: wins {free['wins'][:, early].mean():.2f} "
      f"({free['wins'][:, early].min():.2f} to {free['wins'][:, early].max():.2f})")
claim("wins without a price, step 60, mean of five seeds", free["wins"][:, -1].mean(), "<", 0.35)
claim("wins with the price, step 60, mean of five seeds", priced["wins"][:, -1].mean(), ">", 0.68)
claim("wins with the price, step 60, the worst of five seeds", priced["wins"][:, -1].min(), ">=", 0.65)
claim("divergence with the price, step 60, in nats, mean of five seeds", priced["moved"][:, -1].mean(),
      "<", 2)

# %%
# Figure: gold reward over the square root of the divergence from the first policy. Five paths without a
# price rise a little, then fall and leave the figure at the right; five paths with the price stay at the
# left and end higher than they began; the curves of best of n rise at the left and turn down.
_, ax = plt.subplots(figsize=(6.4, 3.4))
for runs, colour in ((free, COLOURS[3]), (priced, COLOURS[0])):
    for moved, gold in zip(runs["moved"], runs["gold"]):
        ax.plot(moved.clamp(min=0).sqrt(), gold, ".-", lw=1, color=colour)
for run in told["best_of"]["runs"]:
    ax.plot(torch.tensor(distance).sqrt(), [row[1] for row in run], color=COLOURS[2], lw=1)
for name, colour in (("no price", COLOURS[3]), ("price 1", COLOURS[0]), ("best of n, bound", COLOURS[2])):
    ax.plot([], color=colour, label=name)
ax.set(xlabel="square root of the divergence from the first policy", ylabel="gold reward",
       xlim=(-0.1, 3.5), ylim=(0.3, 1.3))
ax.legend();

# %% [markdown]
# With its price the policy stays within two nats, where the judge has been trained, and takes from it what it does
# know: thank, do not be rude. It wins 0.70 of the comparisons, with the worst seed 0.65. Stopping early is worth less
# here, 0.55, and one must know when. Neither makes the judge better: for that, people label *new* pairs, of answers by
# the new policy.

# %%
repaired = load("counts_kl")
_, _, texts = write(repaired, questions[:6])
for asked, text in zip(questions, texts):
    print(f"{counts.gold(text, asked):5.1f}   {text}")

# %% [markdown]
# ## In the wild
#
# Assistants were made in this order: instruction tuning, a reward model from comparisons by paid labellers, policy
# gradients (PPO, with a learned baseline in place of the group) or DPO; and for mathematics and code, GRPO with a
# program as the reward. In the library `trl`, `beta` is our price for distance. On a GPU:
#
# ```python
# from datasets import load_dataset                                # pip install trl
# from trl import DPOConfig, DPOTrainer, GRPOTrainer
#
# pairs = load_dataset("trl-lib/ultrafeedback_binarized", split="train")
# DPOTrainer("Qwen/Qwen2.5-0.5B-Instruct", args=DPOConfig(beta=0.1), train_dataset=pairs).train()
#
# def short(completions, **more):                                  # a reward, one number for each answer
#     return [-len(answer[0]["content"]) / 100 for answer in completions]
#
# prompts = load_dataset("trl-lib/DeepMath-103K", split="train")
# GRPOTrainer("Qwen/Qwen2.5-0.5B-Instruct", reward_funcs=short, train_dataset=prompts).train()
# ```

# %% [markdown]
# ## Recap
#
# 1. The best policy under a price for distance is $\pi_\text{ref}\, e^{r/\beta}$, made to sum to 1. Policy gradients,
#    RLHF and DPO aim at it.
# 2. A reward model is a language model with a number for a head, trained by comparisons: a proxy.
# 3. Best of $n$ moves at most $\log n - (n-1)/n$ nats and trains nothing. GRPO compares a group with itself, so groups that
#    are all right or all wrong teach nothing; it raises pass@1, and pass@8 less or not at all.
# 4. DPO needs no sampling, but only the difference counts: it can make even the better answers improbable.
# 5. Whoever is paid by a judge pleases the judge. Look at the true reward while you train, or stay near the reference.
#
# **What we left out.** PPO's learned baseline. Rewards for single steps. People who disagree with each other: one reward
# is already a choice of whose taste counts.
#
# **Exercises:** [74_preferences](../exercises/74_preferences/74_preferences.ipynb). One more: train three judges on
# three sets of pairs, and let the *lowest* of their rewards count. Does it repair what one judge breaks? **Next**, [lesson
# 75](75_prompting.ipynb): learning without training.
#
# ## Read on
#
# - P. Christiano et al., *Deep reinforcement learning from human preferences* (2017),
#   [arXiv:1706.03741](https://arxiv.org/abs/1706.03741), and L. Ouyang et al., *Training language models to follow
#   instructions with human feedback* (2022), [arXiv:2203.02155](https://arxiv.org/abs/2203.02155).
# - L. Gao, J. Schulman & J. Hilton, *Scaling laws for reward model overoptimization* (2022),
#   [arXiv:2210.10760](https://arxiv.org/abs/2210.10760).
# - R. Rafailov et al., *Direct preference optimization* (2023), [arXiv:2305.18290](https://arxiv.org/abs/2305.18290),
#   and N. Razin et al., *Unintentional unalignment: likelihood displacement in direct preference optimization* (2024),
#   [arXiv:2410.08847](https://arxiv.org/abs/2410.08847).
# - Z. Shao et al., *DeepSeekMath* (2024), [arXiv:2402.03300](https://arxiv.org/abs/2402.03300): GRPO; and Z. Liu et al.,
#   *Understanding R1-zero-like training* (2025), [arXiv:2503.20783](https://arxiv.org/abs/2503.20783).
# - A. Beirami et al., *Theoretical guarantees on the best-of-n alignment policy* (2024),
#   [arXiv:2401.01879](https://arxiv.org/abs/2401.01879): the bound.
# - Y. Yue et al., *Does reinforcement learning really incentivize reasoning capacity in LLMs beyond the base model?*
#   (2025), [arXiv:2504.13837](https://arxiv.org/abs/2504.13837).
# - A. Kalai et al., *Why language models hallucinate* (2025), [arXiv:2509.04664](https://arxiv.org/abs/2509.04664).
# - In the library: `preferences.py` (`bradley_terry`, `best_of_n`, `dpo`, `grpo_loss`, `Rollouts`), `data/counts.py`.
