"""The checks of exercise 13: a log-density, Bayes' rule, a step of EM, samples from a covariance, a measurement."""

import math
from functools import cache

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, Mistake, Slip, conform, rand, wrong_sums

LOG_2PI = math.log(2 * math.pi)


def _near(g: torch.Generator, limit: float, *shape: int) -> Tensor:
    """Normal numbers without the rare large ones, for which a product of densities would be rounded to 0 early."""
    return rand(g, *shape).clamp(-limit, limit)


def _densities(g: torch.Generator) -> list[tuple]:
    """Small ones, and 2,000 coordinates, where a product of densities is rounded to 0."""
    sizes = ((1, 2, 1.0), (3, 1, 1.0), (2, 2, 1.0), (4, 5, 1.0), (3, 2000, 0.1))
    return [(_near(g, 2, n, d), _near(g, 1, d), scale * _near(g, 1, d).exp()) for n, d, scale in sizes]


def _each(x: Tensor, mu: Tensor, var: Tensor) -> Tensor:
    return -0.5 * ((x - mu) ** 2 / var + var.log() + LOG_2PI)                 # (N, D)


def _log_normal(x: Tensor, mu: Tensor, var: Tensor) -> Tensor:
    return _each(x, mu, var).sum(1)


def _quadratic(x: Tensor, mu: Tensor, var: Tensor) -> Tensor:
    return ((x - mu) ** 2 / var).sum(1)


log_normal = Implementation(
    "log_normal",
    right=_log_normal,
    cases=_densities,
    slips=[
        Slip(None,
             "right for a few coordinates, and wrong for 2,000: the product of so many numbers (densities, or "
             "variances) is rounded to 0 or to infinity before you take its logarithm",
             "The logarithm of a product is the sum of the logarithms: compute log N for each coordinate, then "
             ".sum(1).", only=(4,)),
        Slip(lambda x, mu, var: _log_normal(x, mu, var).exp(),
             "you return the density itself, and the task asks for its logarithm",
             "Leave out the exp: -(x - mu)**2 / (2 var) - log(2 pi var) / 2, summed over the coordinates."),
        Slip(lambda x, mu, var: -_log_normal(x, mu, var),
             "you return minus the log-density: the square belongs behind a minus, since points far from mu are less "
             "probable", "Change the sign of the whole result."),
        *wrong_sums(_each, "coordinates", "points", "densities of independent coordinates are multiplied, so their "
                    "logarithms are added"),
        Slip(lambda x, mu, var: _log_normal(x, mu, var**2),
             "you treat var as if it were the standard deviation: it is the variance, the square of it",
             "Divide the square by 2 * var, not by 2 * var**2; the logarithm belongs to 2 pi var. With "
             "torch.distributions.Normal, give var.sqrt()."),
        Slip(lambda x, mu, var: _log_normal(x, mu, var.sqrt()),
             "you use the standard deviation, var.sqrt(), where the formula has the variance",
             "Neither the square nor the logarithm needs a root: use var as it is."),
        Slip(lambda x, mu, var: -0.5 * ((x - mu) ** 2 / var.sqrt() + var.log() + LOG_2PI).sum(1),
             "you divide the square by the standard deviation: it must be divided by the variance",
             "(x - mu)**2 / var; or ((x - mu) / std)**2, where the division comes before the square."),
        Slip(lambda x, mu, var: -0.5 * ((x - mu) ** 2 * var + var.log() + LOG_2PI).sum(1),
             "you multiply the square by var and must divide by it: a / 2 * var is (a / 2) times var",
             "Write the brackets: (x - mu)**2 / (2 * var)."),
        Slip(lambda x, mu, var: -0.5 * (_quadratic(x, mu, var) + var.sum().log() + len(mu) * LOG_2PI),
             "you took the logarithm of the sum of the variances: the sum of their logarithms is needed",
             "var.log().sum()"),
        Slip(lambda x, mu, var: -0.5 * ((x - mu) ** 2 / var**2 + var.log() + LOG_2PI).sum(1),
             "you divide the square by var squared: var is the square of the standard deviation already",
             "The exponent is -0.5 * (x - mu)**2 / var."),
        Slip(lambda x, mu, var: -0.5 * (_quadratic(x, mu, var) + var.log().sum()),
             "you have left out the 2 pi: without it the density does not integrate to 1",
             "Subtract log(2 pi) / 2 for each of the D coordinates."),
        Slip(lambda x, mu, var: -0.5 * (_quadratic(x, mu, var) + var.log().sum() + LOG_2PI),
             "you subtract log(2 pi) / 2 once in all: every one of the D coordinates has it",
             "D * math.log(2 * math.pi) / 2, with D = x.shape[1]."),
        Slip(lambda x, mu, var: -0.5 * _quadratic(x, mu, var),
             "only the exponent is there: the factor in front of exp, 1 / sqrt(2 pi var), has a logarithm too",
             "Subtract log(2 pi var) / 2 for each coordinate."),
        Slip(lambda x, mu, var: -0.5 * (_quadratic(x, mu, var) + len(mu) * LOG_2PI),
             "the log-determinant is missing, log(var) / 2 for each coordinate: a wide bell curve must be lower than a "
             "narrow one", "Subtract 0.5 * var.log().sum()"),
        Slip(lambda x, mu, var: -0.5 * (_quadratic(x, mu, var) - var.log().sum() + len(mu) * LOG_2PI),
             "the log-determinant has the wrong sign: log(var) / 2 must be subtracted, as a wide bell curve is lower",
             "The factor in front of exp is 1 / sqrt(2 pi var), and the logarithm of 1 / a is minus that of a."),
        Slip(lambda x, mu, var: -0.5 * (_quadratic(x, mu, var) + len(mu) * LOG_2PI) - var.log().sum(),
             "you subtract log(var), and a half of it is right: the density has the root of var, and log sqrt(var) is "
             "log(var) / 2", "- 0.5 * var.log().sum()"),
        Slip(lambda x, mu, var: -0.5 * _quadratic(x, mu, var) - var.log().sum() - len(mu) * LOG_2PI,
             "the root in 1 / sqrt(2 pi var) is missing: its logarithm is half of log(2 pi var)",
             "- 0.5 * (2 * math.pi * var).log().sum()"),
        Slip(lambda x, mu, var: -0.5 * (_quadratic(x, mu, var) + var.log().sum()) - len(mu) * LOG_2PI,
             "you subtract log(2 pi) for each coordinate, and a half of it is right: it stands under a root",
             "- 0.5 * D * math.log(2 * math.pi)"),
        Slip(lambda x, mu, var: _log_normal(x, mu, var) - 0.5 * _quadratic(x, mu, var),
             "the 2 in exp(-(x - mu)^2 / (2 var)) is missing", "Divide the squares by 2 * var."),
        Slip(lambda x, mu, var: _log_normal(x, mu, var) + _quadratic(x, mu, var),
             "the square has the wrong sign: points far from mu are less probable", "- (x - mu)**2 / (2 * var)"),
        Slip(lambda x, mu, var: -0.5 * ((x - mu) / var + var.log() + LOG_2PI).sum(1),
             "you have forgotten to square x - mu", "(x - mu)**2 / (2 * var)"),
        Slip(lambda x, mu, var: _log_normal(x, 0 * mu, var),
             "mu is not used: the bell curve is centred at mu, not at 0", "Use (x - mu)**2 in place of x**2."),
    ],
    hint="For one coordinate: -0.5 * (x - mu)**2 / var - 0.5 * log(2 pi var). x - mu has shape (N, D), since mu of "
         "shape (D,) meets every row. Then .sum(1).",
    rtol=1e-3, atol=1e-4)


def _joints(g: torch.Generator) -> list[tuple]:
    """Moderate logs, one point alone, one class alone, and the logs of real images, up and down to some thousand."""
    cases = [(2 * rand(g, n, k), rand(g, k).log_softmax(0)) for n, k in ((1, 2), (3, 3), (1, 4), (5, 2), (2, 1))]
    far = torch.tensor([[-2000.0], [900.0], [-800.0], [3000.0]]).double()
    return [*cases, (far + 2 * rand(g, 4, 3).double(), rand(g, 3).double().log_softmax(0))]


def _plain(joint: Tensor, axes) -> Tensor:
    """The fraction as it is written, which large logarithms break."""
    return joint.exp() / joint.exp().sum(axes, keepdim=True)


SAFE = "Where you divide by a sum: keepdim=True, and subtract the maximum of each row before exp."
ADD = "log_likelihood + log_prior, then normalise."


posterior = Implementation(
    "posterior",
    right=lambda log_likelihood, log_prior: (log_likelihood + log_prior).softmax(1),
    cases=_joints,
    slips=[
        Slip(None,
             "right for moderate numbers, and wrong for logarithms such as -2000 or 900, of which exp is rounded to 0 "
             "or to infinity: subtract the maximum of each row before exp (a clamp or a small number added hides the "
             "problem, and does not repair it)",
             "A constant subtracted from a whole row cancels in the fraction. torch.logsumexp, .softmax and "
             ".log_softmax do it for you.", only=(5,)),
        Slip(lambda ll, lp: ll.softmax(1),
             "the prior is left out: this would be right if all classes were equally frequent",
             "Add log_prior to log_likelihood first."),
        Slip(lambda ll, lp: _plain(ll, 1),
             "the prior is left out; and exp is taken of numbers such as -2000 or 900, which it rounds to 0 or inf",
             "Add log_prior to log_likelihood, then use softmax or logsumexp over axis 1."),
        Slip(lambda ll, lp: (ll + lp.exp()).softmax(1),
             "you added the prior itself to a logarithm: add its logarithm, as it is given", ADD),
        Slip(lambda ll, lp: (ll + lp.log()).softmax(1),
             "log_prior is a logarithm already: the logarithm of a negative number is nan", ADD),
        Slip(lambda ll, lp: (ll - lp).softmax(1),
             "you subtracted the log-prior: likelihood and prior are multiplied, so their logarithms are added", ADD),
        Slip(lambda ll, lp: (ll * lp).softmax(1),
             "you multiplied two logarithms: to multiply the probabilities, add the logarithms", ADD),
        Slip(lambda ll, lp: ll.softmax(1) * lp.exp(),
             "the prior came after the division, so the rows no longer sum to 1: the prior belongs into the numerator "
             "and into the sum below it", ADD),
        Slip(lambda ll, lp: ll.softmax(1) * lp,
             "you multiplied the probabilities by the logarithm of the prior: it belongs to the logarithms, before you "
             "normalise", ADD),
        Slip(lambda ll, lp: ll.exp() * lp / (ll.exp() * lp).sum(1, keepdim=True),
             "you multiplied the densities by the logarithm of the prior: add log_prior to the logarithms instead",
             ADD),
        Slip(lambda ll, lp: ll.softmax(1) + lp,
             "you added the log-prior to the probabilities: it belongs to the logarithms, before you normalise", ADD),
        Slip((lambda ll, lp: (ll + lp).softmax(0), lambda ll, lp: _plain(ll + lp, 0)),
             "you normalised over the wrong axis: for each point, a row, the probabilities of the K classes sum to 1",
             f"The classes are axis 1. {SAFE}"),
        Slip((lambda ll, lp: (ll + lp).flatten().softmax(0).view(ll.shape), lambda ll, lp: _plain(ll + lp, (0, 1))),
             "you divided by the sum over all points and classes: each row must sum to 1 on its own",
             f"The classes are axis 1. {SAFE}"),
        Slip((lambda ll, lp: (ll + lp).log_softmax(1), lambda ll, lp: ll + lp - (ll + lp).exp().sum(1, True).log()),
             "you return log p(y | x): the task asks for the probabilities",
             "End with .exp(); and use logsumexp in place of .exp().sum().log(), which large logarithms break."),
        Slip(lambda ll, lp: ll + lp,
             "this is log p(x, y), the numerator of Bayes' rule: it is not yet divided by p(x), nor taken out of the "
             "logarithm", "Subtract the logsumexp over the classes (axis 1, keepdim=True), then .exp()."),
        Slip(lambda ll, lp: (ll + lp).exp(),
             "this is p(x, y), the numerator of Bayes' rule: divide by p(x), its sum over the classes",
             "Subtract the logsumexp over the classes (axis 1, keepdim=True) before .exp()."),
        Slip((lambda ll, lp: (ll + lp - (ll + lp).amax(1, keepdim=True)).exp(),
              lambda ll, lp: (ll - ll.amax(1, keepdim=True)).exp() * lp.exp()),
             "you subtracted the maximum and then did not divide by the sum: the rows do not sum to 1",
             "Divide by .sum(1, keepdim=True)."),
        Slip(lambda ll, lp: _plain(ll + lp - (ll + lp).amax(0), 1),
             "you subtracted the maximum of each column: only what is the same for a whole row cancels in the fraction",
             "joint - joint.amax(1, keepdim=True)"),
        Slip(lambda ll, lp: (ll + lp - (ll + lp).logsumexp(1)).exp(),
             "the sum over the classes has shape (N,), which meets the columns of an (N, K) tensor, and not its rows",
             "keepdim=True in the sum (or in logsumexp) leaves the shape (N, 1), which meets the rows."),
        Slip(lambda ll, lp: (ll + lp) / (ll + lp).sum(1, keepdim=True),
             "you divided the logarithms by their sum: take exp first, since Bayes' rule divides probabilities",
             "Subtract the maximum of the row, .exp(), then divide by the sum."),
        Slip(lambda ll, lp: (ll + lp).sigmoid(),
             "a sigmoid decides about each class alone: the K classes must share a sum of 1", "softmax over axis 1"),
        Slip(lambda ll, lp: (-(ll + lp)).softmax(1),
             "the sign is wrong: the most probable class has got the smallest probability",
             "No minus is needed: log_likelihood + log_prior."),
        Slip(lambda ll, lp: (ll + lp).argmax(1),
             "you return the most probable class: the task asks for the probabilities of all classes, shape (N, K)",
             "Leave out .argmax(1)."),
        Slip(lambda ll, lp: (ll + lp).logsumexp(1),
             "this is log p(x), the logarithm of the denominator: p(y | x) is p(x, y) divided by p(x)",
             "(joint - joint.logsumexp(1, keepdim=True)).exp()"),
    ],
    hint="joint = log_likelihood + log_prior is log p(x, y), shape (N, K). Bayes' rule divides exp(joint) by its sum "
         "over axis 1; in logarithms, subtract logsumexp over axis 1 with keepdim=True.",
    rtol=1e-3, atol=1e-4)


def _mixtures(g: torch.Generator) -> list[tuple]:
    return [(2 * _near(g, 2, n, d), rand(g, k).softmax(0), _near(g, 1, k, d), _near(g, 0.5, k, d).exp())
            for n, d, k in ((3, 1, 2), (6, 2, 3), (1, 2, 2), (9, 3, 2), (5, 3, 1))]


def _log_each(x: Tensor, mu: Tensor, var: Tensor) -> Tensor:
    return -0.5 * ((x[:, None] - mu) ** 2 / var + var.log() + LOG_2PI).sum(2)                   # (N, K)


def _right_joint(x, weights, mu, var):
    return weights.log() + _log_each(x, mu, var)


def _bug(x, weights, mu, var):
    return weights + _log_each(x, mu, var)


def _about(r: Tensor, x: Tensor, centre: Tensor) -> Tensor:
    return (r[:, :, None] * (x[:, None] - centre) ** 2).sum(0) / r.sum(0)[:, None]              # (K, D)


def _em(joint=_right_joint, r=lambda joint: joint.softmax(1), likelihood=lambda joint: joint.logsumexp(1).mean(),
        change=lambda x, r, mu, weights, new_mu, new_var: (weights, new_mu, new_var), seen=None):
    """A step of EM with one part exchanged."""
    def step(x, weights, mu, var):
        j = joint(x, weights, mu, var)
        resp = r(j)                                                           # (N, K)
        n = resp.sum(0)
        new_mu = resp.T @ x / n[:, None]
        shown = j if seen is None else seen(x, weights, mu, var)
        return (*change(x, resp, mu, n / len(x), new_mu, _about(resp, x, new_mu)), likelihood(shown))
    return step


def _after(x, weights, mu, var):
    new = _em()(x, weights, mu, var)[:3]
    return *new, _right_joint(x, *new).logsumexp(1).mean()


SAME = "Use the same repaired joint for r and for the log-likelihood."
KEEP = "joint.logsumexp(1).mean(), as it was."
LOGS = "weights.log() + log_density"

em_step = Implementation(
    "em_step",
    right=_em(),
    cases=_mixtures,
    returns=("weights", "means", "variances", "log-likelihood"),
    slips=[
        Slip(_em(_bug),
             "the bug is still there: test the E-step with two equal Gaussians whose weights are 0.9 and 0.1; every "
             "point must belong to them with 0.9 and 0.1",
             "log p(x, k) = log w_k + log N(x; mu_k, var_k). What is added in the code?"),
        Slip(_em(seen=_bug),
             "the responsibilities are right now, and the log-likelihood still adds a weight to a logarithm", SAME),
        Slip(_em(_bug, seen=_right_joint),
             "the log-likelihood is right now, and the responsibilities still come from a weight added to a logarithm",
             SAME),
        Slip(_em(lambda x, w, m, v: _log_each(x, m, v)),
             "you have removed the weights from the E-step: a frequent Gaussian must get more of a point that could "
             "come from either", "log p(x, k) = log w_k + log N(x; mu_k, var_k)"),
        Slip(_em(lambda x, w, m, v: w * _log_each(x, m, v)),
             "you multiply a logarithm by the weight: to multiply the density by w, add log w to its logarithm", LOGS),
        Slip(_em(lambda x, w, m, v: _log_each(x, m, v), seen=_right_joint),
             "r comes from the densities alone, without the weights: a frequent Gaussian must get more of a point that "
             "could come from either", "r = joint.softmax(1), with the joint that the log-likelihood uses."),
        Slip(_em(lambda x, w, m, v: w.log() * _log_each(x, m, v)),
             "you multiply two logarithms: the product of two densities has the sum of their logarithms", LOGS),
        Slip(_em(lambda x, w, m, v: w * _log_each(x, m, v).exp()),
             "joint is p(x, k) itself now, and logsumexp and softmax need its logarithm", LOGS),
        Slip(_em(lambda x, w, m, v: _log_each(x, m, v) - w.log()),
             "you subtract the logarithm of the weights: it must be added", LOGS),
        Slip(_em(lambda x, w, m, v: w.log() + _log_each(x, m, v) + 0.5 * v.log().sum(1)),
             "the log-density was right and has lost its log-determinant: the variances of the Gaussians differ",
             "Keep log_density as it was; the bug is in the next line."),
        Slip(_em(r=lambda joint: joint.softmax(0)),
             "r is normalised over the wrong axis: each point is shared out among the K Gaussians, so each row of r "
             "sums to 1", "joint.softmax(1), as it was."),
        Slip(_em(r=lambda joint: joint.exp()),
             "r is not normalised: each point is shared out among the K Gaussians, so each row of r sums to 1",
             "joint.softmax(1), as it was."),
        Slip(_em(change=lambda x, r, mu, w, m, v: (w, m, _about(r, x, mu))),
             "the variance is taken around the old mean now: the M-step needs it around the new one",
             "Compute mu first, and use the new one in the variance."),
        Slip(_em(change=lambda x, r, mu, w, m, v: (w, m, v * r.sum(0)[:, None] / len(x))),
             "the variance is divided by N: each Gaussian has n_k points, the sum of its column of r",
             "Divide by n[:, None], as it was."),
        Slip(_em(change=lambda x, r, mu, w, m, v: (w, m, v * (r.sum(0) / (r.sum(0) - 1))[:, None])),
             "the variance is divided by n_k - 1 now: EM takes the weighted average of the squares, divided by n_k",
             "Divide by n[:, None], as it was."),
        Slip(_em(change=lambda x, r, mu, w, m, v: (w, m, v.clamp(min=0).sqrt())),
             "you return the standard deviation: the variance is asked for", "Leave out the root."),
        Slip(_em(change=lambda x, r, mu, w, m, v: (r.sum(0), m, v)),
             "you return how many points each Gaussian has: its weight is its share of all N points",
             "weights = n / len(x)"),
        Slip(_em(change=lambda x, r, mu, w, m, v: (torch.full_like(w, 1 / len(w)), m, v)),
             "the weights are all equal now: the M-step gives each Gaussian its share of the points",
             "weights = n / len(x)"),
        Slip(_em(change=lambda x, r, mu, w, m, v: (w.log(), m, v)),
             "you return the logarithm of the weights: the next step takes it again, so return the weights themselves",
             "weights = n / len(x), and weights.log() only where it is added to log_density."),
        Slip(_em(likelihood=lambda joint: joint.logsumexp(1).sum()),
             "the log-likelihood is a sum over the points now: the mean was asked for", "Keep .mean()."),
        Slip(_em(likelihood=lambda joint: joint.sum(1).mean()),
             "the log-likelihood adds up logarithms of the K Gaussians: p(x) is the sum of their densities", KEEP),
        Slip(_em(likelihood=lambda joint: joint.logsumexp(0).mean()),
             "the log-likelihood is summed over the wrong axis: p(x) is a sum over the K Gaussians, for each point",
             KEEP),
        Slip(_em(likelihood=lambda joint: -joint.logsumexp(1).mean()), "the log-likelihood has the wrong sign", KEEP),
        Slip(_after,
             "this is the log-likelihood after the step: the one before it was asked for, of the parameters given",
             "Compute it from the joint of the E-step."),
    ],
    hint="The code was right but for one line. Write down log p(x, k) = log w_k + log N(x; mu_k, var_k) and compare it "
         "with the code, line by line: what is a probability there, and what is a logarithm?",
    rtol=1e-3, atol=1e-4)


def _covariances(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d in ((1, 2), (3, 1), (4, 3), (2, 3), (5, 4)):
        root = rand(g, d, d)
        cases.append((1 + rand(g, d).abs(), root @ root.T / d + 0.3 * torch.eye(d), rand(g, n, d)))
    return cases


def _law(fn, mu: Tensor, cov: Tensor, eps: Tensor) -> dict[str, Tensor]:
    """The mean and the covariance that samples have, exactly, if fn is eps -> shift + eps @ matrix: noise of zeros
    shows the shift, and the rows of the identity show the matrix."""
    def samples(noise: Tensor) -> Tensor:
        out, want = conform("sample_normal", fn(mu.clone(), cov.clone(), noise.clone()), noise)[""], tuple(noise.shape)
        if tuple(out.shape) != want:
            remedy = ("a column for each sample: let each row be one (transpose)" if out.shape == noise.T.shape else
                      f"one sample for each row of eps is asked for, here {want}")
            raise Mistake(f"the result has shape {tuple(out.shape)} for eps of shape {want}: {remedy}")
        return out.detach().to(noise.dtype)

    first = samples(eps)
    if not torch.equal(samples(eps).nan_to_num(), first.nan_to_num()):
        raise Mistake("two calls with the same eps give different samples: you draw noise of your own; use eps instead")
    shift = samples(torch.zeros_like(eps))                                    # (N, D)
    matrix = samples(torch.eye(len(mu))) - shift[:1]                          # (D, D)
    if not torch.allclose(first, shift + eps @ matrix, 1e-3, 1e-3, equal_nan=True):
        raise Mistake("each sample must be mu and a mixture of the numbers in its own row of eps, and nothing else: "
                      "do you clamp, rescale or square something, or use other rows?")
    return {"mean": shift, "covariance": matrix.T @ matrix}


def _eigen(cov: Tensor) -> tuple[Tensor, Tensor]:
    variance, axes = torch.linalg.eigh(cov)
    return variance.sqrt(), axes                                              # (D,), (D, D) columns


def _chol(cov: Tensor) -> Tensor:
    return torch.linalg.cholesky(cov)


MIX = "L = torch.linalg.cholesky(cov) mixes the coordinates of eps."

sample_normal = Implementation(
    "sample_normal",
    right=lambda mu, cov, eps: mu + eps @ _chol(cov).T,
    run=_law,
    cases=_covariances,
    slips=[
        Slip(lambda mu, cov, eps: mu + eps @ _chol(cov),
             "the Cholesky factor is the wrong way round: a sample in a column is L eps, so one in a row is eps L^T; "
             "yours have the covariance L^T L", "Samples in rows: eps @ L.T"),
        Slip(lambda mu, cov, eps: mu + eps @ cov,
             "you mixed the noise with the covariance itself: you need a root of it, as a standard deviation is the "
             "root of a variance", "L = torch.linalg.cholesky(cov)"),
        Slip(lambda mu, cov, eps: mu + eps * cov.diagonal().sqrt(),
             "each coordinate varies as it should, but on its own: what is beside the diagonal of cov is not used, so "
             "nothing varies together", MIX),
        Slip(lambda mu, cov, eps: mu + eps * cov.diagonal(),
             "you scaled each coordinate by its variance, the diagonal of cov: nothing varies together, and the root "
             "is missing too", MIX),
        Slip(lambda mu, cov, eps: mu + eps @ cov.sqrt(),
             "you took the root of each entry of cov (nan where it is negative): a matrix L with L L^T = cov is needed",
             "torch.linalg.cholesky(cov)"),
        Slip(lambda mu, cov, eps: eps @ _chol(cov).T,
             "mu is missing: the samples lie around 0", "Add mu: shape (D,) meets every row."),
        Slip(lambda mu, cov, eps: (mu + eps) @ _chol(cov).T,
             "you added mu before you multiplied by the root: so mu is stretched and turned as well", "mu + eps @ L.T"),
        Slip(lambda mu, cov, eps: eps @ _chol(cov).T - mu, "you subtracted mu: it must be added", "mu + eps @ L.T"),
        Slip(lambda mu, cov, eps: mu + eps,
             "the covariance of your samples is the identity: cov is not used, or its eigenvectors without the roots "
             "of the eigenvalues", "Multiply eps by a root of cov: eps @ L.T"),
        Slip(lambda mu, cov, eps: mu + torch.linalg.solve_triangular(_chol(cov), eps.T, upper=False).T,
             "you divided by the Cholesky factor: that turns samples into noise, and you need the way back",
             "Samples in rows: eps @ L.T"),
        Slip(lambda mu, cov, eps: mu + eps @ _chol(torch.linalg.inv(cov)).T,
             "you took the root of the inverse of cov", "torch.linalg.cholesky(cov), without an inverse."),
        Slip((lambda mu, cov, eps: mu + eps * _eigen(cov)[0], lambda mu, cov, eps: mu + eps * _eigen(cov)[0].flip(0)),
             "you scaled the noise by the roots of the eigenvalues, but have not turned it to the eigenvectors",
             "(eps * variance.sqrt()) @ vectors.T, since eigenvectors are columns."),
        Slip(lambda mu, cov, eps: mu + (eps * _eigen(cov)[0]) @ _eigen(cov)[1],
             "the eigenvectors are the wrong way round: torch.linalg.eigh has them in columns",
             "(eps * variance.sqrt()) @ vectors.T"),
        Slip(lambda mu, cov, eps: mu + (eps * _eigen(cov)[0]) @ _eigen(cov)[1].T @ _chol(cov).T,
             "the noise is multiplied by a root of cov twice: one root is enough",
             "eps @ L.T, or (eps * variance.sqrt()) @ vectors.T, not both."),
        Slip(lambda mu, cov, eps: mu.expand_as(eps),
             "all your samples are mu: the noise eps is not used", "mu + eps @ L.T"),
    ],
    hint="With L = torch.linalg.cholesky(cov), lower triangular, cov = L L^T. One sample as a column is mu + L eps. "
         "Here samples and noise are rows: transpose.",
    rtol=1e-3, atol=1e-3)


@cache
def _errors(labels: int, draws: int) -> float:
    """Share of the test digits that ClassGaussians gets wrong with so many labels for each class, the mean of draws."""
    from course_lib.data import load
    from course_lib.gaussians import ClassGaussians, principal_axes

    (x, y), (x_test, y_test) = load("digits")[:2]
    axes, wrong = principal_axes(x, 50), []
    for seed in range(draws):
        g = torch.Generator().manual_seed(seed)
        few = torch.cat([(y == c).nonzero()[:, 0][torch.randperm(400, generator=g)[:labels]] for c in range(10)])
        predicted = ClassGaussians.fit(x[few], y[few], axes=axes).predict(x_test)
        wrong.append((predicted != y_test).double().mean().item())
    return sum(wrong) / draws


def _few() -> float:
    return _errors(10, 20)


def _all() -> float:
    return _errors(400, 1)


RATIO = "(1 - accuracy with 10 labels) / (1 - accuracy with 400 labels)"

error_ratio = Measurement(
    "error_ratio",
    truth=lambda: _few() / _all(),
    tolerance=0.1,
    slips=[
        Slip(lambda: _all() / _few(),
             "the ratio is upside down: how many times as many errors are made with *few* labels?",
             "Divide the errors with 10 labels by those with 400."),
        Slip(lambda: (1 - _all()) / (1 - _few()),
             "this is the ratio of the accuracies: the task asks for that of the errors, 1 - accuracy", RATIO),
        Slip((lambda: (1 - _few()) / (1 - _all()), lambda: 1 - _all()),
             "this is an accuracy, or a ratio of two: the task asks for the ratio of the errors, 1 - accuracy", RATIO),
        Slip(_few, "this is the share of errors with 10 labels: divide it by the share of errors with 400", RATIO),
        Slip((lambda: _few() - _all(), lambda: 100 * (_few() - _all())),
             "this is the difference of the two accuracies: the task asks for the ratio of the errors", RATIO),
        Slip(lambda: 0.0,
             "with 10 labels you count no error at all: did you measure on the images that the model was fitted to?",
             "Predict x_test, and compare with y_test."),
        Slip(lambda: _errors(20, 20) / _all(),
             "this is what 20 labels of each class give, and 10 are asked for",
             "for c in range(10): ten random images with y == c."),
    ],
    hint="For ten seeds: choose ten random images of each class, fit ClassGaussians to these 100, and count the errors "
         "on x_test. Divide their mean by the errors of the model that is fitted to all 4,000.")
