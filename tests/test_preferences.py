import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.checkpoint import load, metadata
from course_lib.checkpoints.part7_preferences import Judge, labelled
from course_lib.data.counts import REWARD
from course_lib.device import seed, seeded
from course_lib.gpt import GPT, fast
from course_lib.preferences import (
    Rollouts,
    answer_logp,
    answers,
    best_of_n,
    best_of_n_kl,
    bradley_terry,
    dpo,
    dpo_loss,
    group_advantages,
    grpo_loss,
    pass_at_k,
    preference_loss,
    reward,
    tilted,
    token_logp,
)

END = 3


class Bandit(nn.Module):
    """One table of logits (K,), whatever was read: a model of which everything can be listed."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits, dtype=torch.float64).clone())

    def forward(self, idx):
        return self.logits.expand(*idx.shape, -1)


def small_gpt(n: int = 0) -> GPT:
    seed(n)
    model = GPT(fast(n_layer=1, n_head=2, n_embd=8, vocab_size=7, block_size=12))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=seeded(n)))
    return model.eval()


def pairs(n: int = 5):
    draw = seeded(n)
    idx = torch.randint(7, (n, 9), generator=draw)
    mask = torch.arange(9) >= torch.randint(3, 7, (n, 1), generator=draw)
    mask[:, 8] = torch.rand(n, generator=draw) < 0.5
    return idx, mask


# ----------------------------------------------------------------------------------------- what a model says of answers

def test_the_probability_of_an_answer_is_the_product_over_its_tokens():
    model, (idx, mask) = small_gpt(), pairs()
    each = token_logp(model, idx, mask)
    for row in range(len(idx)):
        logp = 0.0
        for t in range(1, 9):
            p = model(idx[row:row + 1, :t])[0, -1].softmax(0)[idx[row, t]]
            assert_close(each[row, t - 1], p.log() if mask[row, t] else torch.tensor(0.0), atol=1e-5, rtol=1e-4)
            logp = logp + each[row, t - 1]
        assert_close(answer_logp(model, idx, mask)[row], logp)


def test_answers_end_where_they_say_so():
    model, prompts = small_gpt(), torch.tensor([[1, 2, 4], [5, 3, 6]])
    idx, mask = answers(model, prompts, 50, 6, END, generator=seeded(1))
    assert idx.shape == mask.shape == (100, 9) and torch.equal(idx[:, :3], prompts.repeat_interleave(50, 0))
    lengths = set()
    for row, kept in zip(idx[:, 3:].tolist(), mask[:, 3:].tolist()):
        n = row.index(END) + 1 if END in row else 6
        assert kept == [True] * n + [False] * (6 - n) and row[n:] == [0] * (6 - n)
        lengths.add(n)
    assert len(lengths) > 3 and not mask[:, :3].any()


def test_answers_are_drawn_from_the_model():
    model = small_gpt()
    idx, _ = answers(model, torch.tensor([[1, 2]]), 4_000, 1, END, generator=seeded(0))
    share = idx[:, 2].bincount(minlength=7) / 4_000
    assert_close(share, model(torch.tensor([[1, 2]]))[0, -1].softmax(0), atol=0.03, rtol=0)


# -------------------------------------------------------------------------------------------------------- reward models

def test_bradley_terry_is_minus_the_log_of_a_logistic():
    better, worse = torch.tensor([1.0, -2.0, 300.0]), torch.tensor([0.0, 1.0, -300.0])
    assert_close(bradley_terry(better, worse), torch.tensor([math.log(1 + math.exp(-1)), math.log(1 + math.exp(3)), 0]))


def test_a_reward_is_read_at_the_last_token_of_the_answer_and_padding_changes_nothing():
    model, (idx, mask) = small_gpt(), pairs()
    for row, kept, found in zip(idx, mask, reward(model, idx, mask, 5)):
        last = int(kept.nonzero()[-1])
        assert_close(found, model(row[None, :last + 1])[0, -1, 5], atol=1e-5, rtol=1e-4)
    other = torch.where(mask.flip(1).cumsum(1).flip(1) > 0, idx, 6)
    assert_close(reward(model, other, mask, 5), reward(model, idx, mask, 5))


def test_a_reward_model_learns_from_pairs():
    model, (better, mask), (worse, other) = small_gpt(), pairs(6), pairs(7)
    worse, other = worse[:6], other[:6]
    terms = preference_loss(model, better, mask, worse, other, token=5)
    gap = reward(model, better, mask, 5) - reward(model, worse, other, 5)
    assert_close(terms["loss"], (1 + (-gap).exp()).log().mean())
    assert terms["accuracy"] == (gap > 0).float().mean()


# ------------------------------------------------------------------------------------------------------------ best of n

@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_n_is_the_mean_over_all_ways_to_choose(n):
    proxy, gold = torch.randn(4, 5, generator=seeded(0)), torch.randn(4, 5, generator=seeded(1))
    ways = [list(way) for way in itertools.combinations(range(5), n)]
    found = torch.stack([gold[:, way].gather(1, proxy[:, way].argmax(1, keepdim=True))[:, 0] for way in ways])
    assert_close(best_of_n(proxy, gold, n), found.double().mean(0))


@pytest.mark.parametrize("n", [1, 2, 8, 100])
def test_best_of_n_moves_no_further_than_its_bound(n):
    """Listed: of K tokens with different rewards the best of n is k with probability F(k)^n - F(k-1)^n."""
    for K in (3, 400):
        ref = (torch.rand(K, generator=seeded(K)) if K == 3 else torch.ones(K)).double()
        total = (ref / ref.sum()).cumsum(0)
        best = total**n - F.pad(total, (1, 0))[:-1]**n
        kl = (best * (best / (ref / ref.sum())).log()).nansum().item()
        assert kl <= best_of_n_kl(n) + 1e-9
        assert K == 3 or kl == pytest.approx(best_of_n_kl(n), abs=0.05)                # many tokens: nearly equal
    assert best_of_n_kl(1) == 0


@pytest.mark.parametrize("k", [1, 2, 4])
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(k):
    right = torch.tensor([[True, False, False, True], [False] * 4, [True] * 4, [False, True, False, False]])
    ways = [list(way) for way in itertools.combinations(range(4), k)]
    assert_close(pass_at_k(right, k), torch.stack([right[:, way].any(1) for way in ways]).double().mean(0))


# ----------------------------------------------------------------------------------------- one optimum, on three tokens

REF = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
REWARDS = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
BETA = 1 / math.log(2)                                             # exp(reward / beta) is 1, 2, 4


def optimise(model, loss):
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=800, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    return model.logits.detach().softmax(0)


def objective(model, rewards):
    logp = model.logits.log_softmax(0)
    return (logp.exp() * (rewards - BETA * (logp - REF))).sum()


def test_the_optimum_is_the_reference_times_exp_of_reward_over_beta():
    best = tilted(REF, REWARDS, BETA).exp()
    assert_close(best, torch.tensor([0.6, 0.6, 0.4], dtype=torch.float64) / 1.6)              # by hand
    model = Bandit(REF)
    assert_close(optimise(model, lambda: -objective(model, REWARDS)), best, atol=1e-5, rtol=0)
    exact = BETA * (REF + REWARDS / BETA).logsumexp(0)                                        # beta log Z
    assert_close(objective(Bandit(best.log()), REWARDS), exact)


def every_pair():
    """Both orders of all pairs of different tokens, and how often each order is preferred under `REWARDS`."""
    first, second = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j]).T
    return first, second, (REWARDS[first] - REWARDS[second]).sigmoid()


def test_dpo_reaches_it_from_preferences_alone():
    (first, second, weight), model = every_pair(), Bandit(REF)

    def loss():
        logp = model.logits.log_softmax(0)
        return (weight * dpo(logp[first], logp[second], REF[first], REF[second], BETA)).sum()

    assert_close(optimise(model, loss), tilted(REF, REWARDS, BETA).exp(), atol=1e-5, rtol=0)


def test_a_learned_reward_reaches_it_too_whatever_constant_it_adds():
    (first, second, weight), learned, model = every_pair(), Bandit([5.0, 5.0, 5.0]), Bandit(REF)
    optimise(learned, lambda: (weight * bradley_terry(learned.logits[first], learned.logits[second])).sum())
    found = learned.logits.detach()
    assert_close(found - found[0], REWARDS, atol=1e-4, rtol=0)
    assert found[0] > 1
    assert_close(optimise(model, lambda: -objective(model, found)), tilted(REF, REWARDS, BETA).exp(), atol=1e-4, rtol=0)


# ------------------------------------------------------------------------------------------------------------------ DPO

def test_dpo_and_its_gradient_by_hand():
    """beta 0.5, log ratios 0.3 and -0.1: the margin is 0.5 * 0.4 = 0.2."""
    high, low = torch.tensor([-1.2], requires_grad=True), torch.tensor([-2.1], requires_grad=True)
    loss = dpo(high, low, torch.tensor([-1.5]), torch.tensor([-2.0]), beta=0.5)
    assert_close(loss, torch.tensor([math.log(1 + math.exp(-0.2))]))
    loss.sum().backward()
    slope = 0.5 / (1 + math.exp(0.2))                                          # beta * sigmoid(-margin)
    assert_close(high.grad, torch.tensor([-slope]))
    assert_close(low.grad, torch.tensor([slope]))


def test_dpo_is_the_sigmoid_loss_of_trl():
    """As huggingface/trl writes it, trl/trainer/dpo_trainer.py: the two log-ratios of chosen to rejected, of the policy
    and of the reference, subtracted; minus logsigmoid of beta times that, mean."""
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = torch.randn(4, 20, generator=seeded(0)).mul(5).unbind()
    pi_logratios, ref_logratios = policy_chosen - policy_rejected, ref_chosen - ref_rejected
    theirs = -F.logsigmoid(0.1 * (pi_logratios - ref_logratios))
    assert_close(dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, 0.1), theirs)


def test_the_dpo_loss_of_a_model_is_that_of_its_answers():
    model, ref, (better, mask), (worse, other) = small_gpt(0), small_gpt(1), pairs(6), pairs(7)
    worse, other = worse[:6], other[:6]
    given = [answer_logp(ref, better, mask).detach(), answer_logp(ref, worse, other).detach()]
    terms = dpo_loss(model, better, mask, worse, other, *given, beta=0.3)
    high, low = answer_logp(model, better, mask), answer_logp(model, worse, other)
    assert_close(terms["loss"], dpo(high, low, *given, beta=0.3).mean())
    assert_close(terms["better"], high.mean())
    assert_close(terms["worse"], low.mean())
    kept = dpo_loss(model, better, mask, worse, other, *given, beta=0.3, likely=2.0)
    assert_close(kept["loss"] - terms["loss"], -2 * (high / mask.sum(1)).mean())


# ------------------------------------------------------------------------------------------------------ policy gradient

def one_token(model, token, advantage, **more):
    """The gradient of grpo_loss for an answer of one token, (K,)."""
    idx, mask = torch.tensor([[0, token]]), torch.tensor([[False, True]])
    loss = grpo_loss(model, idx, mask, torch.tensor([advantage], dtype=torch.float64), **more)["loss"]
    return torch.autograd.grad(loss, model.logits)[0]


def test_the_mean_of_the_policy_gradient_is_the_exact_one_and_a_baseline_lowers_its_variance():
    model = Bandit(REF)
    p = REF.exp()
    exact = torch.autograd.grad(-(model.logits.softmax(0) * REWARDS).sum(), model.logits)[0]
    variances = []
    for baseline in (0.0, (p * REWARDS).sum().item(), 5.0):
        each = torch.stack([one_token(model, k, REWARDS[k].item() - baseline) for k in range(3)])
        mean = p @ each
        assert_close(mean, exact)
        variances.append((p @ (each - mean).square().sum(1)).item())
    assert variances[1] < 0.8 * variances[0] < 0.1 * variances[2]


def test_a_gradient_stops_where_the_ratio_has_gone_far_enough():
    model, logp = Bandit(REF), REF[1]
    cases = [(0.3, 1, True), (0.3, -1, False), (-0.3, -1, True), (-0.3, 1, False), (0.1, 1, False)]
    for moved, advantage, stops in cases:
        gradient = one_token(model, 1, advantage, old=(logp - moved).view(1, 1), clip=0.2)
        assert (gradient.abs().max() == 0) == stops, (moved, advantage)


def test_a_group_that_is_all_right_or_all_wrong_teaches_nothing():
    rewards = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 2.0]])
    found = group_advantages(rewards)
    assert_close(found, torch.tensor([[0.0] * 4, [0.0] * 4, [-2**0.5, 0, 0, 2**0.5]]), atol=1e-3, rtol=0)
    assert_close(group_advantages(rewards, scale=False)[2], torch.tensor([-1.0, 0, 0, 1]))
    assert_close(group_advantages(rewards[2:] * 7 + 3), found[2:], atol=1e-3, rtol=0)


def test_rollouts_charge_for_leaving_the_reference():
    model, ref, prompts = small_gpt(0), small_gpt(1), torch.tensor([[1, 2], [4, 5], [6, 1]])
    seen = []

    def priced(which, idx, mask):
        seen.append(which)
        return mask.sum(1).float()

    made = Rollouts(model, prompts, priced, ref, end=END, n_new=5, beta=0.7, groups=4, size=6, scale=False,
                    generator=seeded(2))
    idx, mask, advantages, rewards, moved = next(iter(made))
    assert idx.shape == (24, 7) and torch.equal(idx[:, :2], prompts[seen[0]])
    assert_close(moved, answer_logp(model, idx, mask) - answer_logp(ref, idx, mask))
    assert_close(rewards, mask.sum(1).float())
    assert_close(advantages, group_advantages((rewards - 0.7 * moved).view(4, 6), scale=False).flatten())
    terms = grpo_loss(model, idx, mask, advantages, rewards, moved)
    assert terms["reward"] == rewards.mean() and terms["kl"] == moved.mean()
    assert_close(terms["loss"], -(advantages * mask.sum(1)).mean(), atol=1e-4, rtol=1e-4)     # all ratios are 1


def test_the_loss_of_a_group_is_that_of_its_answers():
    model, (idx, mask) = small_gpt(), pairs(4)
    advantages = torch.tensor([1.0, -2.0, 0.5, 3.0])
    wanted = torch.autograd.grad(-(advantages * answer_logp(model, idx, mask)).mean(), list(model.parameters()))
    found = torch.autograd.grad(grpo_loss(model, idx, mask, advantages)["loss"], list(model.parameters()))
    for a, b in zip(wanted, found):
        assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("call, words", [
    (lambda: pass_at_k(torch.zeros(2, 4), 2), "torch.float32"),
    (lambda: dpo(*torch.zeros(4, 2), beta=0), "beta=0"),
    (lambda: token_logp(small_gpt(), *pairs()[:1], torch.ones(5, 4).bool()), "(5, 4)"),
    (lambda: Rollouts(small_gpt(), torch.ones(2, 3).long(), reward, small_gpt(), end=END, n_new=3, size=1), "size=1")])
def test_what_cannot_be_is_one_clear_line(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------ what is shipped

@pytest.fixture(scope="module")
def judge():
    return Judge(load("counts_policy"), load("counts_reward"))


@pytest.mark.parametrize("name", ["counts_gold", "counts_proxy", "counts_kl", "counts_dpo"])
def test_shipped_policies_are_worth_what_their_files_say(judge, name):
    found, said = judge(load(name)), metadata(name)["metrics"]
    for what, margin in (("gold", 0.1), ("wins", 0.05), ("right", 0.06), ("length", 0.8)):
        assert found[what] == pytest.approx(said[what], abs=margin), (what, found, said)


def test_the_shipped_judge_orders_pairs_as_its_file_says():
    pairs = labelled(load("counts_policy"), 200, 77)
    with torch.no_grad():
        high, low = (reward(load("counts_reward"), *part, REWARD) for part in (pairs[:2], pairs[2:4]))
    assert (high > low).double().mean().item() == pytest.approx(metadata("counts_reward")["metrics"]["labels"], abs=0.1)
