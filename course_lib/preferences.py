"""From what is likely to what is wanted: reward models, best of n, DPO, and policy gradients with a group as baseline.

A model is anything that maps tokens (B, T) to logits (B, T, vocab_size), as a GPT does. What it wrote is a pair: tokens
idx (B, T), and a mask (B, T) that is True where they belong to the answer. Rewards are numbers, one an answer, from a
program or from a model. All logarithms are natural, so divergences are in nats.

    idx, mask = answers(policy, prompts, 8, n_new=20, end=3)              # 8 answers to each prompt
    fit(policy, grpo_loss, Rollouts(policy, prompts, reward, ...), steps=60)
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.decoding import generate
from course_lib.device import device_of
from course_lib.expect import finite, indices, same_shape, whole

# ----------------------------------------------------------------------------------------- what a model says of answers


def token_logp(model: nn.Module, idx: Tensor, mask: Tensor) -> Tensor:
    """Log-probability of each token of the answers, given all before it; 0 elsewhere.  (B, T), (B, T) -> (B, T - 1)

    Column t belongs to token t + 1."""
    mask = _mask(mask, idx)
    scores = model(idx[:, :-1])                                                # (B, T - 1, vocab_size)
    logp = -F.cross_entropy(scores.transpose(1, 2), idx[:, 1:], reduction="none")
    return logp * mask[:, 1:]


def answer_logp(model: nn.Module, idx: Tensor, mask: Tensor) -> Tensor:
    """Log-probability of whole answers: the sum over their tokens.  (B, T), (B, T) -> (B,)"""
    return token_logp(model, idx, mask).sum(1)


def answers(model: nn.Module, prompts: Tensor, n: int, n_new: int, end: int, pad: int = 0, temperature: float = 1.0,
            generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Write n answers to each prompt, of at most n_new tokens; `end` closes one, and `pad` fills what is left.

    prompts (P, T) -> tokens (P * n, T + n_new), answers to one prompt one after the other, and their mask."""
    whole(1, n=n)
    prompts = indices("prompts", prompts, None, "P", "T").to(device_of(model)).repeat_interleave(n, 0)
    written = generate(model, list(prompts), n_new, temperature, generator=generator).clone()  # (P * n, n_new)
    kept = F.pad((written == end).cumsum(1), (1, 0))[:, :-1] == 0              # up to the first `end`, which is kept
    idx = torch.cat([prompts, written.where(kept, torch.full_like(written, pad))], 1)
    return idx, F.pad(kept, (prompts.shape[1], 0))


# -------------------------------------------------------------------------------------------------------- reward models

def bradley_terry(better: Tensor, worse: Tensor) -> Tensor:
    """How surprising it is that the first of two answers was preferred, if P = sigmoid(difference of their rewards).

    (B,), (B,) -> (B,), in nats.  Bradley & Terry (1952)"""
    same_shape(1, better=better, worse=worse)
    return -F.logsigmoid(better - worse)


def reward(model: nn.Module, idx: Tensor, mask: Tensor, token: int) -> Tensor:
    """A reward by a language model: the logit of a token that nobody writes, after the last token of each answer.

    (B, T), (B, T) -> (B,)"""
    last = (_mask(mask, idx) * torch.arange(idx.shape[1], device=idx.device)).argmax(1)        # (B,)
    return model(idx)[torch.arange(len(idx), device=idx.device), last, token]


def preference_loss(model: nn.Module, better: Tensor, better_mask: Tensor, worse: Tensor, worse_mask: Tensor, *,
                    token: int) -> dict[str, Tensor]:
    """Train a reward model on pairs: `bradley_terry`, mean over the pairs, and the share that it orders as labelled.

    Ouyang et al. (2022), eq. 1"""
    high, low = (reward(model, idx, mask, token) for idx, mask in ((better, better_mask), (worse, worse_mask)))
    return {"loss": bradley_terry(high, low).mean(), "accuracy": (high > low).float().mean()}


# ------------------------------------------------------------------------------------------------------------ best of n

def best_of_n(proxy: Tensor, gold: Tensor, n: int) -> Tensor:
    """What is gained, in `gold`, by taking of n answers the one with the highest `proxy`: the mean over all ways to
    choose n of the N answers that are there.  (P, N), (P, N) -> (P,)

    Sorted by proxy, answer i = 1 ... N is the best of those chosen in C(i - 1, n - 1) of the C(N, n) ways."""
    same_shape(2, proxy=proxy, gold=gold)
    N = proxy.shape[1]
    whole(1, N, n=n)
    ways = torch.tensor([math.comb(i, n - 1) / math.comb(N, n) for i in range(N)], dtype=torch.float64)
    return gold.gather(1, proxy.argsort(1)).double() @ ways.to(gold.device)


def best_of_n_kl(n: int) -> float:
    """The most that best-of-n can move away from its policy: KL <= log n - (n - 1) / n, equal where no two rewards are.

    Beirami et al. (2024), section 3"""
    whole(1, n=n)
    return math.log(n) - (n - 1) / n


def pass_at_k(right: Tensor, k: int) -> Tensor:
    """The probability that of k answers at least one is right, from N of which it is known: an estimate without bias.

    right (P, N) bool -> (P,).  Chen et al. (2021), eq. 1"""
    if right.ndim != 2 or right.dtype != torch.bool:
        raise ValueError(f"right must be bool of shape (P, N), got {right.dtype} {tuple(right.shape)}")
    N = right.shape[1]
    whole(1, N, k=k)
    missed = torch.tensor([math.comb(wrong, k) / math.comb(N, k) for wrong in range(N + 1)], dtype=torch.float64)
    return 1 - missed.to(right.device)[(~right).sum(1)]


# ------------------------------------------------------------------------------------------------------------------ DPO

def tilted(logp: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """The best policy under a KL penalty, where all answers can be listed: ref * exp(reward / beta), made to sum to 1.

    logp (..., K) of the reference, rewards (..., K) -> (..., K) log-probabilities.  Rafailov et al. (2023), eq. 4"""
    same_shape(None, logp=logp, rewards=rewards)
    _positive(beta)
    return (logp + rewards / beta).log_softmax(-1)


def dpo(better: Tensor, worse: Tensor, better_ref: Tensor, worse_ref: Tensor, beta: float = 0.1) -> Tensor:
    """Direct preference optimisation: `bradley_terry` of the rewards that a policy implies, beta * log(policy / ref).

    Log-probabilities (B,) of whole answers, under the policy and under the reference -> (B,).
    Rafailov et al. (2023), eq. 7"""
    same_shape(1, better=better, worse=worse, better_ref=better_ref, worse_ref=worse_ref)
    _positive(beta)
    return bradley_terry(beta * (better - better_ref), beta * (worse - worse_ref))


def dpo_loss(model: nn.Module, better: Tensor, better_mask: Tensor, worse: Tensor, worse_mask: Tensor,
             better_ref: Tensor, worse_ref: Tensor, *, beta: float = 0.1, likely: float = 0.0) -> dict[str, Tensor]:
    """`dpo`, mean over the pairs, plus `likely` times the surprise at each token of the better answer, which keeps its
    probability from falling; and the mean log-probabilities of both.  Ref: `answer_logp` of the reference, (B,)."""
    finite(0, likely=likely)
    high, low = answer_logp(model, better, better_mask), answer_logp(model, worse, worse_mask)
    cost = dpo(high, low, better_ref, worse_ref, beta).mean()
    surprise = -(high / better_mask.sum(1)).mean()
    return {"loss": cost + likely * surprise, "better": high.mean(), "worse": low.mean()}


# ------------------------------------------------------------------------------------------------------ policy gradient

def group_advantages(rewards: Tensor, scale: bool = True) -> Tensor:
    """How much better than the others of its group each answer is: less the mean of the group, and over its deviation.

    (P, G) -> (P, G). All equal: all 0, there is nothing to learn.  Shao et al. (2024), section 4.1.2; without the scale
    Liu et al. (2025)"""
    same_shape(2, rewards=rewards)
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True).sqrt() + 1e-4) if scale else centred


def grpo_loss(model: nn.Module, idx: Tensor, mask: Tensor, advantages: Tensor, *more: Tensor,
              old: Tensor | None = None, clip: float = 0.2) -> dict[str, Tensor]:
    """The policy gradient: minus advantage times ratio of new to old probability, summed over the tokens of an answer,
    mean over answers. Where a ratio has left 1 +- clip to the side that its advantage wants, there is no gradient.

    idx, mask (B, T), advantages (B,); old (B, T - 1): `token_logp` when the answers were written, if that is not now.
    more: numbers (B,) whose means are recorded with it, as `Rollouts` gives them.
    Shao et al. (2024), eq. 3, without its KL term, which `Rollouts` takes from the reward."""
    logp = token_logp(model, idx, mask)                                        # (B, T - 1)
    if advantages.shape != (len(idx),):
        raise ValueError(f"advantages of shape {tuple(advantages.shape)} are not one number for each of {len(idx)} "
                         f"answers")
    ratio = (logp - (logp.detach() if old is None else old)).exp()
    gain = torch.minimum(ratio * advantages[:, None], ratio.clamp(1 - clip, 1 + clip) * advantages[:, None])
    noted = dict(zip(("reward", "kl"), (numbers.mean() for numbers in more)))
    return {"loss": -(gain * mask[:, 1:]).sum(1).mean()} | noted


class Rollouts:
    """Batches for `fit(model, grpo_loss, ...)`: in each, the model as it is now answers some of the prompts, each
    several times, and a reward is taken from every answer.

    reward(which, idx, mask): numbers (B,) for answers to the prompts of these numbers (B,).
    With beta > 0 an answer pays beta * log(model / reference): then the gradient is that of the mean reward less beta
    times the KL divergence.  Batches: idx, mask, advantages, rewards before they pay, log(model / reference)."""

    def __init__(self, model: nn.Module, prompts: Tensor, reward: Callable[..., Tensor], reference: nn.Module, *,
                 end: int, n_new: int, beta: float = 0.0, groups: int = 8, size: int = 8, scale: bool = True,
                 generator: torch.Generator | None = None):
        finite(0, beta=beta)
        whole(1, groups=groups, n_new=n_new)
        whole(2, size=size)
        self.model, self.reference, self.reward, self.generator = model, reference, reward, generator
        self.prompts = indices("prompts", prompts, None, "P", "T")
        self.end, self.n_new, self.beta, self.groups, self.size, self.scale = end, n_new, beta, groups, size, scale

    def __iter__(self):
        while True:
            yield self.batch()

    @torch.no_grad()
    def batch(self) -> tuple[Tensor, ...]:
        which = torch.randint(len(self.prompts), (self.groups,), generator=self.generator)
        idx, mask = answers(self.model, self.prompts[which], self.size, self.n_new, self.end, generator=self.generator)
        rewards = self.reward(which.repeat_interleave(self.size), idx, mask).to(idx.device)
        moved = answer_logp(self.model, idx, mask) - answer_logp(self.reference, idx, mask)    # (groups * size,)
        paid = (rewards - self.beta * moved).view(self.groups, self.size)
        return idx, mask, group_advantages(paid, self.scale).flatten(), rewards, moved


def _mask(mask: Tensor, idx: Tensor) -> Tensor:
    if mask.dtype != torch.bool or mask.shape != idx.shape:
        raise ValueError(f"the mask must be bool of the shape {tuple(idx.shape)} of the tokens, got {mask.dtype} "
                         f"{tuple(mask.shape)}")
    return mask


def _positive(beta: float) -> None:
    if not 0 < beta < math.inf:
        raise ValueError(f"beta={beta} must be a finite number greater than 0")
