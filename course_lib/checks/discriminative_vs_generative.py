"""The checks of exercise 13: a log-density, Bayes' rule, a step of EM, samples from a covariance, a measurement."""

import math
from functools import cache, partial

import torch
from torch import Tensor

from course_lib.checks import HELP, Implementation, Measurement, Mistake, conform, rand

LOG_2PI = math.log(2 * math.pi)


def _near(g: torch.Generator, limit: float, *shape: int) -> Tensor:
    """Normal numbers without the rare large ones, for which a product of densities would be rounded to 0 early."""
    return rand(g, *shape).clamp(-limit, limit)


# --- 1


def _log_normal(x, mu, var, exponent=lambda d, var: d**2 / (2 * var), factor=lambda var: (var.log() + LOG_2PI) / 2,
                reduce=lambda each: each.sum(1)) -> Tensor:
    return reduce(-exponent(x - mu, var) - factor(var))


def _densities(g: torch.Generator) -> list[tuple]:
    """Small ones, and 2,000 coordinates, where a product of densities is rounded to 0."""
    sizes = ((1, 2, 1.0), (3, 1, 1.0), (2, 2, 1.0), (4, 5, 1.0), (3, 2000, 0.1))
    return [(_near(g, 2, n, d), _near(g, 1, d), scale * _near(g, 1, d).exp()) for n, d, scale in sizes]


log_normal = Implementation(
    "log_normal",
    right=_log_normal,
    cases=_densities,
    slips=[
        ("right for a few coordinates, and wrong for 2,000: the product of so many numbers (densities, or variances) "
         "is rounded to 0 or to infinity before you take its logarithm", {4},
         "What is the logarithm of a product, without the product?"),
        ("the logarithm of the density is asked for: {}",
         ("you return the density itself", dict(reduce=lambda t: t.sum(1).exp())),
         ("you return minus it", dict(reduce=lambda t: -t.sum(1)))),
        ("you summed over the first axis, the points, and not over the D coordinates", dict(reduce=lambda t: t.sum(0))),
        ("var is the variance, sigma^2, wherever the formula has it: {}",
         ("you treat it as the standard deviation", lambda x, mu, var: _log_normal(x, mu, var**2)),
         ("you use its root", lambda x, mu, var: _log_normal(x, mu, var.sqrt()))),
        ("the exponent is minus (x - mu)^2 / (2 var): {}",
         ("you divide by var squared", dict(exponent=lambda d, var: d**2 / (2 * var**2))),
         ("you divide by the root of var", dict(exponent=lambda d, var: d**2 / (2 * var.sqrt()))),
         ("you multiply by var, since a / 2 * var is (a / 2) * var", dict(exponent=lambda d, var: d**2 / 2 * var)),
         ("your 2 is missing", dict(exponent=lambda d, var: d**2 / var)),
         ("yours has a plus, and grows far from mu", dict(exponent=lambda d, var: -d**2 / (2 * var))),
         ("you have forgotten the square", dict(exponent=lambda d, var: d / (2 * var))),
         ("mu is not used, where the bell curve is highest", lambda x, mu, var: _log_normal(x, 0 * mu, var))),
        ("the factor in front of exp, 1 / sqrt(2 pi var), has the logarithm -log(2 pi var) / 2 in each coordinate, and "
         "a wide bell curve is lower than a narrow one: {}",
         ("only the exponent is there", dict(factor=lambda var: 0 * var)),
         ("you have left out log(var) / 2, the log-determinant", dict(factor=lambda var: LOG_2PI / 2 + 0 * var)),
         ("you have left out the 2 pi", dict(factor=lambda var: var.log() / 2)),
         ("you subtract log(2 pi) / 2 once in all", dict(factor=lambda var: (var.log() + LOG_2PI / len(var)) / 2)),
         ("you add it, or log(var) / 2", dict(factor=lambda var: (LOG_2PI - var.log()) / 2),
          dict(factor=lambda var: -(LOG_2PI + var.log()) / 2)),
         ("the root is a half, and yours is missing in all of it or in a part",
          *(dict(factor=lambda var, a=a, b=b: a * LOG_2PI + b * var.log()) for a, b in ((1, 1), (0.5, 1), (1, 0.5)))),
         ("you added up before the logarithm", dict(factor=lambda var: (LOG_2PI + var.sum().log() / len(var)) / 2))),
    ],
    hints=("Take one coordinate, mu 0 and var 1. At 0 the log-density is -0.919, at 2 it is -2.919: is yours?",
           "The logarithm of one bell curve has two parts, the exponent, and minus half of log(2 pi var). As mu of "
           "shape (D,) meets every row of x, this gives one number for each coordinate, (N, D). Add up each row.",
           "log_each = -0.5 * (x - mu)**2 / var - 0.5 * torch.log(2 * torch.pi * var)\n"
           "log_each.sum(1)"),
    rtol=1e-3, atol=1e-4)

# --- 2


def _joints(g: torch.Generator) -> list[tuple]:
    """Moderate logs, one point alone, one class alone, and the logs of real images, up and down to some thousand."""
    cases = [(2 * rand(g, n, k), rand(g, k).log_softmax(0)) for n, k in ((1, 2), (3, 3), (1, 4), (5, 2), (2, 1))]
    far = torch.tensor([[-2000.0], [900.0], [-800.0], [3000.0]]).double()
    return [*cases, (far + 2 * rand(g, 4, 3).double(), rand(g, 3).double().log_softmax(0))]


def _posterior(log_likelihood, log_prior, put=torch.add, share=lambda joint: joint.softmax(1)) -> Tensor:
    return share(put(log_likelihood, log_prior))


def _plain(joint: Tensor, axes=1) -> Tensor:
    """The fraction as it is written, which large logarithms break."""
    return joint.exp() / joint.exp().sum(axes, keepdim=True)


def _safe_or_not(put) -> tuple[dict, dict]:
    return dict(put=put), dict(put=put, share=_plain)


posterior = Implementation(
    "posterior",
    right=_posterior,
    cases=_joints,
    slips=[
        ("right for moderate numbers, and wrong for logarithms such as -2000 or 900, of which exp is rounded to 0 or "
         "to infinity: subtract the maximum of each row before exp (a clamp or a small number added hides the problem, "
         "and does not repair it)", {5},
         "Subtract the same number from a whole row of the joint: what happens to the fraction?"),
        ("the prior is left out: this would be right if all classes were equally frequent",
         *_safe_or_not(lambda ll, lp: ll)),
        ("likelihood and prior are multiplied, so their logarithms are added, and log_prior is one already: {}",
         ("you added the prior itself", *_safe_or_not(lambda ll, lp: ll + lp.exp())),
         ("you took its logarithm once more (nan)", *_safe_or_not(lambda ll, lp: ll + lp.log())),
         ("you subtracted it", *_safe_or_not(torch.sub)),
         ("you subtracted both, so that the most probable class gets least", *_safe_or_not(lambda ll, lp: -ll - lp)),
         ("you multiplied two logarithms", *_safe_or_not(torch.mul)),
         ("you multiplied the densities by the logarithm of the prior",
          lambda ll, lp: ll.exp() * lp / (ll.exp() * lp).sum(1, keepdim=True))),
        ("your rows do not sum to 1, as the prior comes after the division: it belongs into the numerator and into the "
         "sum below it", *(lambda ll, lp, share=share, put=put: put(share(ll), lp) for share in (partial(
             torch.softmax, dim=1), _plain) for put in (torch.add, torch.mul, lambda p, lp: p * lp.exp()))),
        ("for each image, a row, the K classes share a sum of 1. {}",
         ("You normalised over the images", dict(share=lambda j: j.softmax(0)), dict(share=lambda j: _plain(j, 0))),
         ("You divided by the sum over all images and classes",
          dict(share=lambda j: j.flatten().softmax(0).view(j.shape)), dict(share=lambda j: _plain(j, (0, 1)))),
         ("A sigmoid decides about each class alone", dict(share=torch.sigmoid)),
         ("You divided by no sum", dict(share=lambda j: (j - j.amax(1, keepdim=True)).exp()),
          lambda ll, lp: (ll - ll.amax(1, keepdim=True)).exp() * lp.exp()),
         ("You subtracted the maximum of each column", dict(share=lambda j: _plain(j - j.amax(0)))),
         ("Your sum has the shape (N,), which meets the columns, and not the rows: keepdim=True leaves (N, 1)",
          dict(share=lambda j: (j - j.logsumexp(1)).exp()), dict(share=lambda j: j.exp() / j.exp().sum(1))),
         ("You divided the logarithms by their sum", dict(share=lambda j: j / j.sum(1, keepdim=True)))),
        ("the probabilities p(k | x) of all classes are asked for, shape (N, K): {}",
         ("this is their logarithm", dict(share=lambda j: j.log_softmax(1)),
          dict(share=lambda j: j - j.exp().sum(1, True).log())),
         ("this is log p(x, k), the logarithm of the numerator", dict(share=Tensor.clone)),
         ("this is p(x, k), the numerator: divide by p(x), its sum over the classes", dict(share=torch.exp)),
         ("this is log p(x), the logarithm of the denominator", dict(share=lambda j: j.logsumexp(1))),
         ("this is the most probable class", dict(share=lambda j: j.argmax(1)))),
    ],
    hints=("Print the sum of each row: is it 1? Then give all classes the same likelihood: is the answer the prior?",
           "The joint, log p(x, k), is the sum of the two logarithms, (N, K). Bayes' rule divides its exp by the sum "
           "of the exps of its row; in logarithms that is a subtraction, and exp comes at the end.",
           "joint = log_likelihood + log_prior\n"
           "(joint - joint.logsumexp(1, keepdim=True)).exp()"),
    rtol=1e-3, atol=1e-4)

# --- 3


def _mixtures(g: torch.Generator) -> list[tuple]:
    return [(2 * _near(g, 2, n, d), rand(g, k).softmax(0), _near(g, 1, k, d), _near(g, 0.5, k, d).exp())
            for n, d, k in ((3, 1, 2), (6, 2, 3), (1, 2, 2), (9, 3, 2), (5, 3, 1))]


def _joint(weights: Tensor, log_density: Tensor) -> Tensor:
    return weights.log() + log_density


def _em(x, weights, mu, var, joint=_joint, seen=None, density=_log_normal, r=lambda joint: joint.softmax(1),
        likelihood=lambda joint: joint.logsumexp(1).mean(), centre=lambda mu, old: mu, below=lambda n, x: n,
        share=lambda n, x: n / len(x), spread=lambda var: var):
    """A step of EM. `seen` is the joint of the log-likelihood, where it is not that of the responsibilities."""
    log_density = density(x[:, None], mu, var, reduce=lambda each: each.sum(2))               # (N, K)
    resp = r(joint(weights, log_density))
    n = resp.sum(0)                                                                           # (K,)
    new_mu = resp.T @ x / n[:, None]
    squares = (resp[:, :, None] * (x[:, None] - centre(new_mu, mu)) ** 2).sum(0)              # (K, D)
    return (share(n, x), new_mu, spread(squares / below(n, x)[:, None]),
            likelihood((seen or joint)(weights, log_density)))


def _after(*case):
    new = _em(*case)[:3]
    return *new, _em(case[0], *new)[3]


em_step = Implementation(
    "em_step",
    right=_em,
    cases=_mixtures,
    returns=("weights", "means", "variances", "log-likelihood"),
    slips=[
        ("the bug is still there: test the E-step with two equal Gaussians whose weights are 0.9 and 0.1; every point "
         "must belong to them with 0.9 and 0.1", dict(joint=torch.add)),
        ("use the same repaired joint for r and for the log-likelihood: {}",
         ("the responsibilities are right now, and the log-likelihood still adds a weight to a logarithm",
          dict(seen=torch.add)),
         ("the log-likelihood is right now, and r still adds a weight to one", dict(joint=torch.add, seen=_joint))),
        ("you have removed the weights from the E-step: a frequent Gaussian must get more of a point that could come "
         "from either", *(dict(joint=lambda w, log: log, seen=seen) for seen in (None, _joint))),
        ("log p(x, k) is the sum of two logarithms, that of the weight and that of the density: {}",
         ("you multiply a logarithm by the weight", dict(joint=torch.mul)),
         ("you multiply the two", dict(joint=lambda w, log: w.log() * log)),
         ("you subtract that of the weight", dict(joint=lambda w, log: log - w.log())),
         ("yours is no logarithm, and softmax needs one", dict(joint=lambda w, log: w * log.exp()))),
        ("the log-density was right and has lost its log-determinant: the variances of the Gaussians differ",
         dict(density=partial(_log_normal, factor=lambda var: LOG_2PI / 2 + 0 * var))),
        ("each point is shared out among the K Gaussians, so each row of r sums to 1: {}",
         ("you normalise over the wrong axis, the points", dict(r=lambda joint: joint.softmax(0))),
         ("you do not normalise", dict(r=torch.exp))),
        ("the variance was right, the average of the squares around the new mean, with the weights r: {}",
         ("it is taken around the old mean now", dict(centre=lambda mu, old: old)),
         ("it is divided by N now, and each Gaussian has n_k points", dict(below=lambda n, x: 0 * n + len(x))),
         ("it is divided by n_k - 1 now", dict(below=lambda n, x: n - 1)),
         ("you return its root now, the standard deviation", dict(spread=lambda var: var.clamp(min=0).sqrt()))),
        ("the weights were right, the share that each Gaussian has of all N points: {}",
         ("now they are its number of points", dict(share=lambda n, x: n)),
         ("now they are all equal", dict(share=lambda n, x: torch.full_like(n, 1 / len(n)))),
         ("now they are its logarithm, and the next step takes it again", dict(share=lambda n, x: (n / len(x)).log()))),
        ("the log-likelihood was right, the mean over the points of log p(x), and p(x) adds up the densities of the K "
         "Gaussians: {}",
         ("now it is a sum over the points", dict(likelihood=lambda joint: joint.logsumexp(1).sum())),
         ("now it adds up their logarithms", dict(likelihood=lambda joint: joint.sum(1).mean())),
         ("now it adds up over the wrong axis", dict(likelihood=lambda joint: joint.logsumexp(0).mean())),
         ("now its sign is wrong", dict(likelihood=lambda joint: -joint.logsumexp(1).mean()))),
        ("this is the log-likelihood after the step: the one before it was asked for, of the parameters given", _after),
    ],
    hints=("The code was right but for one line. Compare it with log p(x, k), written by hand: what is a probability "
           "there, and what is a logarithm?",
           "A density times a weight: in logarithms that is a sum of two. The code adds the weight itself to one.",
           "joint = weights.log() + log_density"),
    rtol=1e-3, atol=1e-4)

# --- 4


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
            raise Mistake(f"the result has shape {tuple(out.shape)} for eps of shape {want}: let each row be a sample, "
                          "one for each row of eps", HELP["shape"])
        return out.detach().to(noise.dtype)

    first = samples(eps)
    if not torch.equal(samples(eps).nan_to_num(), first.nan_to_num()):
        raise Mistake("two calls with the same eps give different samples: you draw noise of your own", HELP["noise"])
    shift = samples(torch.zeros_like(eps))                                    # (N, D)
    matrix = samples(torch.eye(len(mu))) - shift[:1]                          # (D, D)
    if not torch.allclose(first, shift + eps @ matrix, 1e-3, 1e-3, equal_nan=True):
        raise Mistake("each sample must be mu and a mixture of the numbers in its own row of eps, and nothing else: do "
                      "you clamp, rescale or square something, or use other rows?")
    return {"mean": shift, "covariance": matrix.T @ matrix}


def _chol(cov: Tensor) -> Tensor:
    return torch.linalg.cholesky(cov)


def _eigen(cov: Tensor) -> tuple[Tensor, Tensor]:
    variance, axes = torch.linalg.eigh(cov)
    return variance.sqrt().diag(), axes                                       # (D, D), and (D, D) columns


def _sample(mu, cov, eps, root=_chol) -> Tensor:
    return mu + eps @ root(cov).T


sample_normal = Implementation(
    "sample_normal",
    right=_sample,
    run=_law,
    cases=_covariances,
    slips=[
        ("a sample in a column is L eps, so one in a row is eps L^T: {}",
         ("yours have the covariance L^T L", dict(root=lambda cov: _chol(cov).T)),
         ("eigh has its vectors in columns", dict(root=lambda cov: _eigen(cov)[1].T @ _eigen(cov)[0]))),
        ("you need a root of cov, a matrix L with L L^T = cov, as a standard deviation is the root of a variance: {}",
         ("you mixed the noise with cov itself", dict(root=Tensor.clone)),
         ("you took the root of each entry of cov (nan where it is negative)", dict(root=torch.sqrt)),
         ("you took a root of the inverse of cov", dict(root=lambda cov: _chol(torch.linalg.inv(cov)))),
         ("you divided by one, the way from samples to noise", dict(root=lambda cov: torch.linalg.inv(_chol(cov)))),
         ("you multiplied by two of them", dict(root=lambda cov: _chol(cov) @ _eigen(cov)[1] @ _eigen(cov)[0]))),
        ("in your samples nothing varies together, as what is beside the diagonal of cov is not used: {}",
         ("each coordinate alone is as it should be", dict(root=lambda cov: cov.diagonal().sqrt().diag())),
         ("each is scaled by its variance, not the root", dict(root=lambda cov: cov.diagonal().diag()))),
        ("mu is what is added at the end: {}", ("you left it out", lambda mu, cov, eps: _sample(0 * mu, cov, eps)),
         ("you added it before you multiplied", lambda mu, cov, eps: (mu + eps) @ _chol(cov).T),
         ("you subtracted it", lambda mu, cov, eps: _sample(-mu, cov, eps))),
        ("the covariance of your samples is the identity: cov is not used, or its eigenvectors without the roots of "
         "the eigenvalues", dict(root=lambda cov: torch.eye(len(cov)))),
        ("you scaled the noise by the roots of the eigenvalues, but have not turned it to the eigenvectors",
         dict(root=lambda cov: _eigen(cov)[0]), dict(root=lambda cov: _eigen(cov)[0].flip(0, 1))),
        ("all your samples are mu: the noise eps is not used", dict(root=torch.zeros_like)),
    ],
    hints=("Take many rows of noise and compute the mean and the covariance of your samples: which of the two is not "
           "as it should be?",
           "There is a lower triangular matrix L with L L^T = cov, the Cholesky factor. A sample as a column is mu "
           "plus L times the noise. Here samples and noise are rows, so everything is transposed.",
           "L = torch.linalg.cholesky(cov)\n"
           "mu + eps @ L.T"),
    rtol=1e-3, atol=1e-3)

# --- 5


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


def _ratio(how=lambda few, all: few / all, labels: int = 10) -> float:
    return how(_errors(labels, 20), _errors(400, 1))


error_ratio = Measurement(
    "error_ratio", truth=_ratio,
    tolerance=0.1,
    slips=[
        ("the ratio is upside down: how many times as many errors are made with *few* labels?",
         dict(how=lambda few, all: all / few)),
        ("this is the ratio of the accuracies, or one of them: the task asks for the ratio of the errors, 1 - "
         "accuracy", dict(how=lambda few, all: (1 - all) / (1 - few)), dict(how=lambda few, all: (1 - few) / (1 - all)),
         dict(how=lambda few, all: 1 - all)),
        ("this is the share of errors with 10 labels: divide it by the share of errors with 400",
         dict(how=lambda few, all: few)),
        ("this is the difference of the two accuracies: the task asks for the ratio of the errors",
         dict(how=lambda few, all: few - all), dict(how=lambda few, all: 100 * (few - all))),
        ("with 10 labels you count no error at all: did you measure on the images that the model was fitted to?", 0.0),
        ("this is what 20 labels of each class give, and 10 are asked for", dict(labels=20)),
    ],
    hints=("Print both shares of errors, with 10 labels and with 400: which is far larger, and is the other one right?",
           "For each of ten seeds, draw ten random images of each class, fit to these 100 with the axes above, and "
           "count the errors on all test digits. The mean of these shares is divided by the share with all 4,000.",
           "few = torch.cat([(y_train == c).nonzero()[:, 0][torch.randperm(400)[:10]] for c in range(10)])\n"
           "model = ClassGaussians.fit(x_train[few], y_train[few], axes=axes)\n"
           "(model.predict(x_test) != y_test).double().mean()"))
