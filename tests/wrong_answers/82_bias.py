import torch

from course_lib.checks import bias as check
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.tilted)
def _(prior, says, scale):
    return (prior.log() + scale * says.log()).softmax(0)


@right(check.tilted)
def _(prior, says, scale):
    weights = [p * q**scale for p, q in zip(prior, says)]
    total = sum(weights)
    return torch.stack([w / total for w in weights])


equivalent(check.tilted, "weigh(prior, power(says, scale)) -> weigh(power(says, scale), prior)", "a product")

# --- 2


@right(check.weights)
def _(job, hat):
    both = (job[:, None] == job) & (hat[:, None] == hat)
    return 1 / (4 * both.float().mean(1))


@right(check.weights)
def _(job, hat):
    found = []
    for j, h in zip(job.tolist(), hat.tolist()):
        found.append(len(job) / 4 / sum(a == j and b == h for a, b in zip(job.tolist(), hat.tolist())))
    return torch.tensor(found)


equivalent(check.weights, "2 * job -> 3 * job", "any numbers that tell four pairs apart")
equivalent(check.weights, "pair.bincount(minlength=4) -> pair.bincount(minlength=5)", "one count that nobody reads")

# --- 3: shares 0.55, 0.75, 0.85, 0.7, 0.9, 0.95; of 40 pictures, 0.8 is held from 0.675 to 0.9

SCALES, HITS, N = [0.5, 1.0, 1.5, 1.7, 2.0, 3.0], [22, 30, 34, 28, 36, 39], 40

right(check.largest_scale, SCALES, HITS, N)(2.0)
# as measured: 1.0 is the first scale that passes, the nearest to 0.8, and the last that is not above it
wrong(check.largest_scale, "a larger scale passes too",
      [0.5, 1.0, 1.25, 1.75, 2.25, 3.0], [39, 48, 51, 56, 60, 60], 60)(1.0)
