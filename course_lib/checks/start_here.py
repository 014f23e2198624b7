"""The checks of exercise 00: broadcasting, a loss, a training step, a bug hunt, a measurement."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, filled, rand, trained

# --- 1


def _points(g: torch.Generator) -> list[tuple]:
    return [(rand(g, n, d), rand(g, m, d)) for n, m, d in ((1, 2, 2), (3, 1, 1), (3, 5, 4), (4, 4, 3))]


def _squared(x, y, size=Tensor.square, add=lambda table: table.sum(-1)) -> Tensor:
    return add(size(x[:, None] - y))


def _multiplied_out(x, y, factor):
    return x.square().sum(-1)[:, None] + y.square().sum(-1) + factor * x @ y.T


squared_distances = Implementation(
    "squared_distances",
    right=_squared,
    cases=_points,
    slips=[
        ("you took the square root: the task asks for the squared distance",
         dict(add=lambda table: table.sum(-1).sqrt())),
        ("you summed the absolute differences, and the distance needs their squares", dict(size=Tensor.abs)),
        ("you summed before you squared: differences of opposite sign cancel each other",
         dict(size=lambda d: d.sum(-1), add=Tensor.square)),
        ("the squares have shape (N, M, D), and the D coordinates, their last axis, are to be added up: {}",
         ("you took the mean of these", dict(add=lambda table: table.mean(-1))),
         ("you have not done so", dict(add=Tensor.clone)),
         ("you summed over another axis", dict(add=lambda table: table.sum(1)), dict(add=lambda table: table.sum(0))),
         ("you summed everything to one number", dict(add=Tensor.sum))),
        ("rows and columns are swapped: row i shall belong to x[i] and column j to y[j], shape (N, M)",
         lambda x, y: _squared(y, x)),
        ("x - y pairs row i of x with row i of y, or fails where they differ in number: every row of x must meet every "
         "row of y", lambda x, y: (x - y).square().sum(-1)),
        ("in |a - b|^2 = |a|^2 + |b|^2 - 2 ab {}",
         ("you have lost the factor 2", lambda x, y: _multiplied_out(x, y, -1)),
         ("the last sign is a minus", lambda x, y: _multiplied_out(x, y, 2))),
    ],
    hints=("Print the shape of each step for N = 3, M = 5, D = 4. Which shape must the differences have, so that every "
           "point of x meets every point of y?",
           "An axis of length 1 in x makes its shape (N, 1, D); with y of shape (M, D) broadcasting then gives a table "
           "of differences (N, M, D). Square each of them, and add up the last axis.",
           "(x[:, None] - y).square().sum(-1)"),
    rtol=1e-3, atol=1e-4)

# --- 2


def _logits(g: torch.Generator) -> list[tuple]:
    """Small logits, one alone, and very large ones of both signs, where the plain formula fails."""
    sizes = [(rand(g, n), torch.randint(2, (n,), generator=g)) for n in (3, 1, 7)]
    for _, y in sizes[::2]:
        y[:2] = torch.tensor([0, 1])                              # both classes, whatever was drawn
    return [*sizes, (torch.tensor([300.0, -400.0, 200.0, -1.0]) * (1 + rand(g, 4).abs()), torch.tensor([1, 0, 0, 1]))]


def _bce(a, y, one=F.logsigmoid, zero=lambda a: F.logsigmoid(-a), reduce=lambda logs: -logs.mean()) -> Tensor:
    return reduce(y * one(a) + (1 - y) * zero(a))


binary_cross_entropy = Implementation(
    "binary_cross_entropy",
    right=_bce,
    cases=_logits,
    slips=[
        ("right for small logits, and wrong for large ones, where the sigmoid is rounded to exactly 0 or 1 and its "
         "logarithm breaks (a clamp or a small number added inside hides that, and does not repair it)", {3},
         "Which function of a logit is the logarithm of its sigmoid, without ever computing the sigmoid?"),
        ("minus the mean of N logarithms is asked for: {}",
         ("your sign is wrong, as a loss is never below 0", dict(reduce=Tensor.mean)),
         ("you summed over the N examples", dict(reduce=lambda logs: -logs.sum())),
         ("you return one loss for each example", dict(reduce=Tensor.neg))),
        ("the two classes are swapped: sigmoid(a) is the probability of y = 1", lambda a, y: _bce(-a, y)),
        ("the examples with y = {} cost nothing in your loss: one of the two terms is missing",
         ("0", dict(zero=torch.zeros_like)), ("1", dict(one=torch.zeros_like))),
        ("the sigmoid is applied twice: the library's functions for logits apply it themselves",
         lambda a, y: _bce(a.sigmoid(), y)),
        ("log(1 - p) is not 1 - log p: for y = 0 you need the logarithm of 1 - p",
         dict(zero=lambda a: 1 - F.logsigmoid(a))),
        ("this is the squared error of the probability; the cross-entropy is minus its logarithm",
         lambda a, y: (a.sigmoid() - y).square().mean()),
        ("y is not used: this is the loss as if every example were of class 1", dict(zero=F.logsigmoid)),
    ],
    hints=("Take a single example with the logit 0: its loss must be 0.693, for y = 1 and for y = 0. Then logits of 1 "
           "and of 500, with both answers: which of the four losses are nearly 0?",
           "Minus log p where y is 1, minus log(1 - p) where y is 0, then the mean. Both logarithms are log-sigmoids: "
           "that of the logit, and that of minus the logit, as 1 - sigmoid(a) is sigmoid(-a).",
           "-torch.where(y == 1, F.logsigmoid(a), F.logsigmoid(-a)).mean()"),
    gradient=("a",), rtol=1e-3, atol=1e-4)

# --- 3


def _steps(g: torch.Generator) -> list[tuple]:
    return [(rand(g, d), rand(g), rand(g, n, d), torch.randint(2, (n,), generator=g).float(), eta)
            for n, d, eta in ((2, 1, 1.0), (1, 3, 0.5), (3, 2, 0.25), (9, 5, 2.0))]


def _step(w, b, x, y, eta, error=lambda a, y: a.sigmoid() - y, logit=lambda x, w, b: x @ w + b,
          for_w=lambda e, x: e @ x / len(x), for_b=lambda e, x: e.mean(),
          new=lambda old, slope, eta: old - eta * slope) -> tuple[Tensor, Tensor]:
    e = error(logit(x, w, b), y)                                  # (N,)
    return new(w, for_w(e, x), eta), new(b, for_b(e, x), eta)


SUM_W, SUM_B = dict(for_w=lambda e, x: e @ x), dict(for_b=lambda e, x: e.sum())
training_step = Implementation(
    "training_step",
    right=_step,
    cases=_steps,
    returns=("w", "b"),
    slips=[
        ("you went up: the step must go against the gradient, so that the loss falls",
         dict(new=lambda old, slope, eta: old + eta * slope)),
        ("the gradient of the mean loss has a factor 1/N, once in that for w and once in that for b: {}",
         ("yours has not, you summed over the examples", SUM_W | SUM_B), ("it is missing in that for w", SUM_W),
         ("it is missing in that for b", SUM_B),
         ("that for w is divided by N twice", dict(for_w=lambda e, x: e @ x / len(x) ** 2))),
        ("{} changed: both are parameters, and the new values are asked for",
         ("b has not", dict(for_b=lambda e, x: 0 * e.sum())), ("w has not", dict(for_w=lambda e, x: 0 * x[0])),
         ("neither w nor b has", dict(new=lambda old, slope, eta: old))),
        ("both gradients belong to the old parameters: you computed that for {}",
         ("b with the new w", lambda w, b, *rest: (_step(w, b, *rest)[0], _step(_step(w, b, *rest)[0], b, *rest)[1])),
         ("w with the new b", lambda w, b, *rest: (_step(w, _step(w, b, *rest)[1], *rest)[0], _step(w, b, *rest)[1]))),
        ("the error is p - y, where p is the sigmoid of the logit x @ w + b: {}",
         ("your sigmoid is missing", dict(error=torch.sub)),
         ("you have left out b", dict(logit=lambda x, w, b: x @ w)),
         ("you have left out y", dict(error=lambda a, y: a.sigmoid())),
         ("you multiplied by p (1 - p), the slope of the sigmoid, which cancels with the cross-entropy",
          dict(error=lambda a, y: (a.sigmoid() - y) * a.sigmoid() * (-a).sigmoid())),
         ("yours has a factor 2 too much, as the squared error has", dict(error=lambda a, y: 2 * (a.sigmoid() - y)))),
        ("the learning rate eta is not used", dict(new=lambda old, slope, eta: old - slope)),
        ("the new w and b are asked for: you return {}",
         ("the changes", dict(new=lambda old, slope, eta: eta * slope), dict(new=lambda old, slope, eta: -eta * slope)),
         ("the gradients", dict(new=lambda old, slope, eta: slope))),
    ],
    hints=("Print the shapes: the error has (N,), the gradient for w has (D,) like w itself. Which axis has gone, and "
           "by a sum or by a mean?",
           "Compute the error, p - y, once. The gradient for b is its mean; that for w is the mean over the examples "
           "of the error times x. Subtract eta times each from the old values, in new tensors.",
           "error = torch.sigmoid(x @ w + b) - y\n"
           "return w - eta * x.T @ error / len(x), b - eta * error.mean()"),
    rtol=1e-3)

# --- 4


def _fits(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, steps, eta in ((3, 2, 1, 0.1), (1, 2, 3, 0.1), (6, 3, 5, 0.05)):
        model = filled(nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, 1)), g)
        cases.append((model, rand(g, n, d), 1 + rand(g, n), steps, eta))
    return cases


def _descend(model, x, y, steps, eta, loss=lambda out, y: (out[:, 0] - y).square().mean(), clear=True,
             move=lambda p, step: p.sub_(step)):
    """The repaired loop, or with other `loss` a broken one."""
    losses = []
    for _ in range(steps):
        value = loss(model(x), y)
        if clear:
            model.zero_grad()
        value.backward()
        with torch.no_grad():
            for p in model.parameters():
                move(p, eta * p.grad)
        losses.append(value.detach())
    return losses


def _table(out, y):
    return (out - y).square().mean()


fit_curve = Implementation(
    "fit_curve",
    right=_descend,
    run=trained,
    cases=_fits,
    slips=[
        ("the bug is still there: look at the shape of prediction - y", dict(loss=_table)),
        ("backward() adds to the gradients of the step before, and you no longer clear them, {}",
         ("though the bug is gone", dict(clear=False)), ("with the bug still there", dict(clear=False, loss=_table))),
        ("the mean of the squared errors was asked for: {}",
         ("you add them up", dict(loss=lambda out, y: (out[:, 0] - y).square().sum())),
         ("you add them up, and prediction - y still is a table of shape (N, N)",
          dict(loss=lambda out, y: (out - y).square().sum(0).mean()),
          dict(loss=lambda out, y: (out - y).square().sum())),
         ("yours are absolute errors", dict(loss=lambda out, y: (out[:, 0] - y).abs().mean())),
         ("you take the mean before you square, so that errors of opposite sign cancel each other",
          dict(loss=lambda out, y: (out[:, 0] - y).mean().square()))),
        ("you average the predictions before you compare them: each must be compared with its own target",
         dict(loss=lambda out, y: (out.mean() - y).square().mean())),
        ("the step goes up: subtract eta times the gradient", dict(move=lambda p, step: p.add_(step))),
    ],
    hints=("The loop was right but for one line. Print the shapes of prediction, of y, and of their difference.",
           "The model returns (N, 1) and y has shape (N,): broadcasting makes a table (N, N) of their difference, in "
           "which each prediction is compared with every target. Take the last axis from the prediction. The list "
           "holds the losses, each computed before its step.",
           "prediction = model(x)[:, 0]"),
    rtol=1e-3, atol=1e-4)

# --- 5


def _border(loss, of=lambda flat, steep: 2 / steep) -> Tensor:
    """Of a loss of two parameters, from its second derivatives along the valley and across."""
    return of(*torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, torch.zeros(2))))


largest_eta = Measurement(
    "largest_eta",
    truth=_border,
    tolerance=0.03,
    slips=[
        ("this is half the border: with it the steep direction arrives in a single step, and twice as much still "
         "arrives, by jumping from side to side", dict(of=lambda flat, steep: 1 / steep),
         "Try 1.5 times your value: does the loss after 200 steps grow, or fall?"),
        ("{}, and the steep one leaves much earlier: look at both entries of w after 50 steps",
         ("this is the border of the flat direction alone", dict(of=lambda flat, steep: 2 / flat)),
         ("with this value the flat direction arrives in one step", dict(of=lambda flat, steep: 1 / flat))),
        ("this is twice the border: have you lost a factor 2 in the slope of a square?",
         dict(of=lambda flat, steep: 4 / steep), "Let autograd compute the slope, and walk again."),
        ("this belongs to the {} of the two curvatures: the larger one alone sets the border",
         ("sum", dict(of=lambda flat, steep: 2 / (flat + steep))),
         ("mean", dict(of=lambda flat, steep: 4 / (flat + steep)))),
    ],
    hints=("Walk 200 steps with your value, and with one that is 5 percent larger: does the loss fall with the first, "
           "and grow with the second?",
           "Write a function that walks 200 steps with a given eta and says whether the loss has fallen. Start with "
           "one value that arrives and one that leaves, and halve the interval between them ten times.",
           "low, high = 0.01, 10.0\n"
           "for _ in range(12):\n"
           "    middle = (low * high) ** 0.5\n"
           "    low, high = (middle, high) if arrives(middle) else (low, middle)"))
