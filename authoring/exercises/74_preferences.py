# %% [markdown]
# # Exercise 74 · From what is likely to what is wanted
#
# Six parts on lesson 74: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import math

import torch
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib import preferences as pr
from course_lib.checks import hint
from course_lib.checks import preferences as check
from course_lib.claims import claim
from course_lib.data import counts
from course_lib.device import seeded

policy = checkpoint.load("counts_policy")
questions = counts.questions(100, seed=11)

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · The loss of DPO (3 points)
#
# The policy implies rewards: an answer's is $\beta$ times the log of how much more probable the policy makes it than the
# reference does. The loss of a pair is the surprise that the better answer was preferred, $-\log \sigma(\text{reward of the
# better} - \text{reward of the worse})$.
#
# **Given** `better`, `worse`, `better_ref` and `worse_ref` of shape (B,), the log-probabilities of the better and the worse
# answers of B pairs, under the policy and under the reference, and the number `beta`. **Asked:** the mean loss of the pairs, one
# number (a tensor of shape ()). **Checked:** the values, for B = 1 and 3 and more, also where the margin is -200; and the
# gradients with respect to `better` and `worse`.

# %% tags=["solution:dpo_loss"]
def dpo_loss(better, worse, better_ref, worse_ref, beta):
    """4 x (B,), a number -> ()"""
    ### BEGIN SOLUTION
    reward_better = beta * (better - better_ref)
    reward_worse = beta * (worse - worse_ref)
    return -F.logsigmoid(reward_better - reward_worse).mean()
    ### END SOLUTION

# %% tags=["test:check_dpo_loss:3"]
check.dpo_loss(dpo_loss)
### BEGIN HIDDEN TESTS
_b, _w, _br, _wr = torch.randn(4, 6)
_want = torch.log1p(torch.exp(-0.3 * ((_b - _br) - (_w - _wr)))).mean()
_got = dpo_loss(_b.clone(), _w.clone(), _br.clone(), _wr.clone(), 0.3)
torch.testing.assert_close(_got.float(), _want, rtol=1e-3, atol=1e-4)
assert abs(float(dpo_loss(_b[:1] - 300, _w[:1], _br[:1], _wr[:1], 1.0)) - 300) < 20
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Better than its group (3 points)
#
# In GRPO a group of answers to one question is compared with itself: the advantage of an answer is its reward, less the mean of
# its group, divided by (the standard deviation of its group + 0.0001). The standard deviation is the root of the mean square
# distance from the mean: divide by the number of answers.
#
# **Given** `rewards` of shape (P, G): G answers to each of P questions. **Asked:** the advantages, of the same shape.
# **Checked:** the values, also for groups whose rewards are all equal.

# %% tags=["solution:advantages"]
def advantages(rewards):
    """(P, G) -> (P, G)"""
    ### BEGIN SOLUTION
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    deviation = centred.square().mean(dim=1, keepdim=True).sqrt()
    return centred / (deviation + 1e-4)
    ### END SOLUTION

# %% tags=["test:check_advantages:3"]
check.advantages(advantages)
### BEGIN HIDDEN TESTS
_r = torch.tensor([[1.0, 2, 3, 6], [5, 5, 5, 5], [0, 0, 0, 1]])
_want = torch.tensor([[-2 / 3.5**0.5, -1 / 3.5**0.5, 0, 3 / 3.5**0.5], [0, 0, 0, 0], [-(1 / 3)**0.5] * 3 + [3**0.5]])
torch.testing.assert_close(advantages(_r.clone()).float(), _want, rtol=1e-2, atol=1e-2)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# Everything in the lesson rests on the log-probability of an answer. The function below computes it from the logits of a
# model. It runs, DPO can be trained with it, and its loss falls. But the policy that comes out repeats itself. There is **one
# bug**.

# %%
def answer_logp_broken(logits, idx, mask):
    logp = logits.log_softmax(dim=2)                              # (B, T, V)
    each = logp.gather(2, idx[:, :, None])[:, :, 0]               # (B, T)
    return (each * mask).sum(dim=1)

# %%
idx, mask = counts.rows(questions[:3], [f"{q.about} {q.right or 'not know'} ." for q in questions[:3]])
with torch.no_grad():
    logits = policy(idx)                                          # (3, 44, 74)
print("by the library:", [round(v, 2) for v in pr.answer_logp(policy, idx, mask).tolist()])
print("by this function:", [round(v, 2) for v in answer_logp_broken(logits, idx, mask).tolist()])

# %% [markdown]
# **Given** `logits` of shape (B, T, V), what a model says when it reads `idx` of shape (B, T): row t is computed from the tokens
# 0 to t. And `mask` of shape (B, T), bool: True where a token belongs to the answer. No answer begins with the first token.
# **Asked:** `answer_logp`, the log-probability of each answer given all before it, of shape (B,). **Checked:** the values, for
# several sizes, and the gradient with respect to `logits`.
#
# Why would a policy that was trained with the broken function repeat itself?

# %% tags=["solution:answer_logp"]
def answer_logp(logits, idx, mask):
    """(B, T, V), (B, T), (B, T) -> (B,)"""
    ### BEGIN SOLUTION
    logp = logits[:, :-1].log_softmax(dim=2)                      # (B, T - 1, V): row t is about token t + 1
    each = logp.gather(2, idx[:, 1:, None])[:, :, 0]              # (B, T - 1)
    return (each * mask[:, 1:]).sum(dim=1)
    ### END SOLUTION

# %% tags=["test:check_answer_logp:3"]
check.answer_logp(answer_logp)
### BEGIN HIDDEN TESTS
_z, _i = torch.randn(2, 5, 4), torch.tensor([[0, 1, 2, 3, 0], [3, 2, 1, 0, 1]])
_m = torch.tensor([[False, False, True, True, False], [False, False, False, True, True]])
_p = _z.log_softmax(-1)
_want = torch.stack([_p[0, 1, 2] + _p[0, 2, 3], _p[1, 2, 0] + _p[1, 3, 1]])
torch.testing.assert_close(answer_logp(_z.clone(), _i.clone(), _m.clone()), _want, rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: one of eight (3 points)
#
# pass@k is the probability that of $k$ answers to a question at least one is right. Here are 16 answers of the policy to each of
# 100 questions, and which of them are right. They were sampled at temperature 2, at which it makes many mistakes.

# %%
written, _ = pr.answers(policy, counts.prompts(questions), 16, counts.N_ANSWER, counts.END, temperature=2.0,
                        generator=seeded(0))
texts = [counts.decode(row) for row in written[:, counts.N_PROMPT:]]
right = torch.tensor([counts.right(text, questions[k // 16]) for k, text in enumerate(texts)]).view(100, 16)
print(texts[0], "->", right[0, 0].item())

# %% [markdown]
# **Given** `right` of shape (100, 16), bool. **Asked:** `pass_at_8`, the mean over the questions of the probability that eight
# *different* ones of the sixteen answers, chosen at random, hold a right one. If $w$ of the 16 are wrong, all eight are wrong
# in $\binom{w}{8}$ of $\binom{16}{8}$ ways (`math.comb`). **Checked:** your number, within 0.2 percent.

# %% tags=["solution:pass_at_8"]
pass_at_8 = ...  # set it to your number at the end
### BEGIN SOLUTION
wrong = (~right).sum(dim=1).tolist()
pass_at_8 = sum(1 - math.comb(w, 8) / math.comb(16, 8) for w in wrong) / len(wrong)
claim("pass@8, less the share of right answers", pass_at_8 - right.double().mean(), ">", 0.3)
### END SOLUTION

# %% tags=["test:check_pass_at_8:3"]
check.pass_at_8(pass_at_8, right)
### BEGIN HIDDEN TESTS
_asked, _policy = counts.questions(100, seed=11), checkpoint.load("counts_policy")
_idx, _ = pr.answers(_policy, counts.prompts(_asked), 16, counts.N_ANSWER, counts.END, temperature=2.0, generator=seeded(0))
_right = [counts.right(counts.decode(_row[counts.N_PROMPT:]), _asked[_k // 16]) for _k, _row in enumerate(_idx)]
_w = (~torch.tensor(_right).view(100, 16)).sum(1).tolist()
_want = 1 - sum(math.comb(_n, 8) for _n in _w) / 12870 / 100
assert abs(float(pass_at_8) - _want) < 0.005, "another number comes out when it is computed again"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · What the judge likes (3 points)
#
# The lesson trained the policy on a reward model, with five seeds, without and with a price for the distance from where it
# began. Here is what happened on the way, in the mean of the seeds.

# %%
pleased = checkpoint.metadata("counts_proxy")["trials"]
for name, runs in pleased.items():
    print(f"price {name} for each nat of distance")
    for look in (0, 1, 2, 4, 8, 12):
        mean = {what: sum(run[look][what] for run in runs) / len(runs) for what in runs[0][look]}
        print(f"  step {5 * look:3}: judge's reward {mean['proxy']:6.2f}   gold reward {mean['gold']:5.2f}   wins "
              f"{mean['wins']:.2f}   right {mean['right']:.2f}   KL {mean['moved']:5.1f}")

# %% [markdown]
# **Explain** in five to eight sentences. (i) The judge orders most new pairs as people do. How can a policy that pleases it be
# worse than the one it began as? Where do the answers of the last rows come from, and where did the pairs come from? (ii) What
# does the price for distance change, and what does it *not* repair? (iii) You have no gold reward, only the judge, and people
# who can compare a hundred more pairs. When would you stop, and what would you do then?

# %% [markdown] tags=["manual:explain_judge:3"]
# (i) The pairs were answers of the first policy, so the judge has learned to tell such answers apart, and nothing about
# others. Training looks for whatever the judge likes best, and the further it goes, the less the answers look like those of
# the pairs: the divergence in the last rows is above a hundred nats. There the judge's reward is a guess, and of all its
# errors training finds those that are too high. So the answers are repeated names and thanks, hardly one is right, and the
# judge's reward is higher than ever. (ii) The price keeps the policy near the first one, at one or two nats, where the judge
# was trained: it picks up what the judge is right about, thanks and no rudeness, and keeps the numbers. It does not make the
# judge better: what the judge cannot see near the first policy, it still cannot see, and the share of right answers falls a
# little even with the price. (iii) Without gold I would watch the divergence, stop at a few nats, and read answers. Then I
# would let the policy of that moment answer, have people compare a hundred of *those* pairs, train the judge on old and new
# pairs together, and go on: the judge must know the answers that it is asked about.
#
# **Rubric.** 1 point: (i) the judge is trained on other answers than those that it is asked about, and training selects its
# errors. 1 point: (ii) the price keeps answers where the judge is right, and does not repair the judge. 1 point: (iii) a rule
# for stopping that needs no gold (divergence, fresh labels, reading answers), and new pairs from the *new* policy.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about preferences that the lesson does not answer, **write down your guess**, and find out. Examples: Do the
# judges of two seeds like the same answers, and is the *minimum* of both a better judge? How good is best of 8 by the
# log-probability of the answer, without any judge? What does the policy do at temperature 0.5, compared with one that was
# trained? Does the judge like "Thanks" twice? What would you have to write to get the highest reward that the judge can give?
# Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
judge = checkpoint.load("counts_reward")
asked = [q for q in questions if q.right][:40]
endings = ["", "Thanks for asking .", "Thanks for asking . Thanks , Thanks .", "Go away !"]
likes = {}
with torch.no_grad():
    for ending in endings:
        answers = [" ".join(f"{q.about} {q.right} {q.things} . {ending}".split()) for q in asked]
        likes[ending] = pr.reward(judge, *counts.rows(asked, answers), counts.REWARD)
        print(f"{ending:40} judge's reward {likes[ending].mean():6.2f} +- {likes[ending].std() / 40**0.5:.2f}")
claim("reward of thanks, less that of 'Go away !'", (likes[endings[1]] - likes[endings[3]]).mean(), ">", 0)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** does the judge want thanks once, as the gold reward does, or does it like more
# thanks better? **Guess:** once, since the people who compared go by the gold reward. **Experiment:** forty questions with an
# answer, each answered rightly with four endings: none, thanks once, thanks three times, and rude. **Result:** thanks once
# 4.7, three times 3.2, none 2.1, rude -1.3. So the order is the right one. But three thanks are better to the judge than
# none, and to the gold reward a little worse: a policy that is pushed hard may find that out. **Sure?** The standard error of
# a mean is between 0.2 and 0.4, and the same questions are used for all endings. It holds for this judge; the other four
# seeds would have to be tried. **Next:** the same for wrong numbers: does the judge see them at all?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with
# the guess. 1 point: says how sure the result is (several draws, a standard error) or what might be wrong with it.
