"""The checks of exercise 00: broadcasting, a loss, a training step, a bug hunt, a measurement."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, Slip, filled, rand, trained


def _points(g: torch.Generator) -> list[tuple]:
    return [(rand(g, n, d), rand(g, m, d)) for n, m, d in ((1, 2, 2), (3, 1, 1), (3, 5, 4), (4, 4, 3))]


squared_distances = Implementation(
    "squared_distances",
    right=lambda x, y: (x[:, None] - y).square().sum(-1),
    cases=_points,
    slips=[
        Slip(lambda x, y: (x[:, None] - y).square().sum(-1).sqrt(),
             "you took the square root: the task asks for the squared distance",
             "Leave out the root (.sqrt(), ** 0.5, .norm(), torch.cdist): sum the squares of the differences."),
        Slip(lambda x, y: (x[:, None] - y).abs().sum(-1),
             "you summed the absolute differences, and the distance needs their squares",
             "Replace .abs() by .square(), or by ** 2, before you sum over the D coordinates."),
        Slip(lambda x, y: (x[:, None] - y).sum(-1).square(),
             "you summed before you squared: differences of opposite sign cancel each other",
             "First (...).square(), then .sum(-1)."),
        Slip(lambda x, y: (x[:, None] - y).square().mean(-1),
             "you took the mean over the D coordinates, and a distance needs their sum",
             "Replace .mean(-1) by .sum(-1)."),
        Slip(lambda x, y: (y[:, None] - x).square().sum(-1),
             "rows and columns are swapped: row i shall belong to x[i] and column j to y[j], shape (N, M)",
             "x[:, None] has shape (N, 1, D) and goes with y of shape (M, D); or transpose your result with .T"),
        Slip(lambda x, y: (x[:, None] - y).square(),
             "you have not summed over the D coordinates: the differences have shape (N, M, D), the result (N, M)",
             "The coordinates are the last axis: .sum(-1)"),
        Slip(lambda x, y: (x[:, None] - y).square().sum(1),
             "you summed over the wrong axis: the differences have shape (N, M, D), and the D coordinates are the last",
             "Replace the axis by -1."),
        Slip(lambda x, y: (x[:, None] - y).square().sum(0),
             "you summed over the first axis, the N points of x, and not over their D coordinates, the last axis",
             "Replace the axis by -1."),
        Slip(lambda x, y: (x[:, None] - y).square().sum(),
             "you summed everything to one number: sum over the D coordinates only",
             ".sum(-1) sums over the last axis and keeps the others."),
        Slip(lambda x, y: (x - y).square().sum(-1),
             "x - y pairs row i of x with row i of y, or fails where they differ in number: every row of x must meet "
             "every row of y", "x[:, None] has shape (N, 1, D). What shape has x[:, None] - y?"),
        Slip(lambda x, y: x.square().sum(-1)[:, None] + y.square().sum(-1) - x @ y.T,
             "in |a - b|^2 = |a|^2 + |b|^2 - 2 ab you have lost the factor 2", "Subtract 2 * x @ y.T"),
        Slip(lambda x, y: x.square().sum(-1)[:, None] + y.square().sum(-1) + 2 * x @ y.T,
             "in |a - b|^2 = |a|^2 + |b|^2 - 2 ab the last sign is a minus", "Subtract 2 * x @ y.T"),
    ],
    hint="Insert an axis of length 1 with x[:, None], so that broadcasting pairs every row of x with every row of y. "
         "Print the shape of each step for N = 3, M = 5, D = 4: (3, 1, 4), (3, 5, 4), (3, 5).",
    rtol=1e-3, atol=1e-4)


def _logits(g: torch.Generator) -> list[tuple]:
    """Small logits, one alone, and very large ones of both signs, where the plain formula fails."""
    sizes = [(torch.tensor([1.0]) * rand(g, n), torch.randint(2, (n,), generator=g)) for n in (3, 1, 7)]
    return [*sizes, (torch.tensor([300.0, -400.0, 200.0, -1.0]) * (1 + rand(g, 4).abs()), torch.tensor([1, 0, 0, 1]))]


def _bce(a: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(a, y.to(a.dtype))


binary_cross_entropy = Implementation(
    "binary_cross_entropy",
    right=_bce,
    cases=_logits,
    slips=[
        Slip(None,
             "right for small logits, and wrong for large ones, where the sigmoid is rounded to exactly 0 or 1 and its "
             "logarithm breaks (a clamp or a small number added inside hides that, and does not repair it)",
             "F.logsigmoid(a) is log sigmoid(a) without ever computing the sigmoid; and log(1 - sigmoid(a)) is "
             "log sigmoid(-a).", only=(3,)),
        Slip(lambda a, y: -_bce(a, y),
             "the sign is wrong: a loss is minus the log of the probability, and never below 0",
             "Put a minus in front."),
        Slip(lambda a, y: _bce(a, y) * len(a),
             "you summed over the N examples, and the task asks for their mean",
             "Replace .sum() by .mean(), or divide by N."),
        Slip(lambda a, y: F.binary_cross_entropy_with_logits(a, y.to(a.dtype), reduction="none"),
             "you return one loss per example: the task asks for their mean, one number", "End with .mean()."),
        Slip(lambda a, y: _bce(-a, y),
             "the two classes are swapped: sigmoid(a) is the probability of y = 1",
             "F.logsigmoid(a) belongs to the examples with y == 1, F.logsigmoid(-a) to those with y == 0."),
        Slip(lambda a, y: -(y * F.logsigmoid(a)).mean(),
             "the examples with y = 0 cost nothing in your loss: the term (1 - y) log(1 - p) is missing",
             "Add (1 - y) * F.logsigmoid(-a)."),
        Slip(lambda a, y: -((1 - y) * F.logsigmoid(-a)).mean(),
             "the examples with y = 1 cost nothing in your loss: the term y log p is missing",
             "Add y * F.logsigmoid(a)."),
        Slip(lambda a, y: _bce(torch.sigmoid(a), y),
             "the sigmoid is applied twice: the library's function for logits applies it itself",
             "Give the logits a themselves to F.binary_cross_entropy_with_logits or F.logsigmoid."),
        Slip(lambda a, y: -(y * F.logsigmoid(a) + (1 - y) * (1 - F.logsigmoid(a))).mean(),
             "log(1 - p) is not 1 - log p: for y = 0 you need the logarithm of 1 - p",
             "1 - sigmoid(a) is sigmoid(-a), so log(1 - p) is F.logsigmoid(-a)."),
        Slip(lambda a, y: _bce(a, y) / torch.tensor(2.0).log(),
             "your logarithm has base 2: the task asks for nats, the natural logarithm",
             "Use .log() in place of .log2()."),
        Slip(lambda a, y: (torch.sigmoid(a) - y).square().mean(),
             "this is the squared error of the probability; the cross-entropy is minus its logarithm",
             "-F.logsigmoid(a) where y is 1, -F.logsigmoid(-a) where y is 0."),
        Slip(lambda a, y: -F.logsigmoid(a).mean(),
             "y is not used: this is the loss as if every example were of class 1",
             "torch.where(y == 1, F.logsigmoid(a), F.logsigmoid(-a))"),
    ],
    hint="-log p where y is 1, -log(1 - p) where y is 0, then the mean. Both logarithms are F.logsigmoid, of the "
         "logits a and of -a.",
    gradient=("a",), rtol=1e-3, atol=1e-4)


def _steps(g: torch.Generator) -> list[tuple]:
    return [(rand(g, d), rand(g), rand(g, n, d), torch.randint(2, (n,), generator=g).float(), eta)
            for n, d, eta in ((2, 1, 1.0), (1, 3, 0.5), (3, 2, 0.25), (9, 5, 2.0))]


def _step(w: Tensor, b: Tensor, x: Tensor, y: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    error = torch.sigmoid(x @ w + b) - y                          # (N,)
    return w - eta * x.T @ error / len(x), b - eta * error.mean()


def _step_twice(w, b, x, y, eta):
    new = _step(w, b, x, y, eta)[0]
    return new, _step(new, b, x, y, eta)[1]


def _step_of(error):
    def step(w, b, x, y, eta):
        e = error(x @ w + b, y)
        return w - eta * x.T @ e / len(x), b - eta * e.mean()
    return step


training_step = Implementation(
    "training_step",
    right=_step,
    cases=_steps,
    returns=("w", "b"),
    slips=[
        Slip(lambda w, b, x, y, eta: (2 * w - _step(w, b, x, y, eta)[0], 2 * b - _step(w, b, x, y, eta)[1]),
             "you went up: the step must go against the gradient, so that the loss falls",
             "The gradient is x.T @ (p - y) / N: subtract eta times it."),
        Slip(lambda w, b, x, y, eta: _step(w, b, x, y, eta * len(x)),
             "the gradient of the mean loss has a factor 1/N, and yours has not: you summed over the examples",
             "x.T @ error / N for w, and error.mean() for b."),
        Slip(lambda w, b, x, y, eta: (_step(w, b, x, y, eta * len(x))[0], _step(w, b, x, y, eta)[1]),
             "the factor 1/N is missing in the gradient for w, and right in that for b",
             "x.T @ error sums over the N examples: divide by N = len(x)."),
        Slip(lambda w, b, x, y, eta: (_step(w, b, x, y, eta)[0], _step(w, b, x, y, eta * len(x))[1]),
             "the factor 1/N is missing in the gradient for b, and right in that for w",
             "error.mean(), in place of error.sum()."),
        Slip(lambda w, b, x, y, eta: (_step(w, b, x, y, eta / len(x))[0], _step(w, b, x, y, eta)[1]),
             "the gradient for w is divided by N twice",
             "Either x.T @ error / N, or a mean over the examples; not both."),
        Slip(lambda w, b, x, y, eta: (_step(w, b, x, y, eta)[0], b),
             "b has not changed: it is a parameter too, with the gradient mean(p - y)", "b - eta * error.mean()"),
        Slip(lambda w, b, x, y, eta: (w, _step(w, b, x, y, eta)[1]), "w has not changed", "w - eta * x.T @ error / N"),
        Slip(lambda w, b, x, y, eta: (w, b),
             "neither w nor b has changed: return the new values", "return w - eta * ..., b - eta * ..."),
        Slip(_step_twice,
             "you computed the gradient for b with the new w: both gradients belong to the old parameters",
             "Compute error once, before anything changes, and use it for both."),
        Slip(_step_of(lambda a, y: a - y),
             "the sigmoid is missing: the model's answer is p = sigmoid(a), not the logit a",
             "error = torch.sigmoid(x @ w + b) - y"),
        Slip(lambda w, b, x, y, eta: (w - eta * x.T @ (torch.sigmoid(x @ w) - y) / len(x),
                                      b - eta * (torch.sigmoid(x @ w) - y).mean()),
             "the logit is x @ w + b, and you have left out b", "error = torch.sigmoid(x @ w + b) - y"),
        Slip(_step_of(lambda a, y: torch.sigmoid(a)),
             "the error is p - y, and you have left out y", "error = torch.sigmoid(x @ w + b) - y"),
        Slip(_step_of(lambda a, y: (torch.sigmoid(a) - y) * torch.sigmoid(a) * torch.sigmoid(-a)),
             "you multiplied by p (1 - p), the slope of the sigmoid: with the cross-entropy it cancels, leaving p - y",
             "It belongs to the squared error. The lesson derives p - y under \"From a number to a probability\"."),
        Slip(_step_of(lambda a, y: 2 * (torch.sigmoid(a) - y)),
             "there is a factor 2 too much, as the squared error has: the gradient of the cross-entropy is p - y",
             "error = torch.sigmoid(x @ w + b) - y"),
        Slip(lambda w, b, x, y, eta: _step(w, b, x, y, 1.0),
             "the learning rate eta is not used", "Subtract eta times the gradient."),
        Slip(lambda w, b, x, y, eta: (w - _step(w, b, x, y, eta)[0], b - _step(w, b, x, y, eta)[1]),
             "you return the changes, and the task asks for the new w and b",
             "Subtract the changes from w and b, and return both."),
        Slip(lambda w, b, x, y, eta: (w - _step(w, b, x, y, 1.0)[0], b - _step(w, b, x, y, 1.0)[1]),
             "you return the gradients, and the task asks for the new w and b", "w - eta * gradient"),
    ],
    hint="a = x @ w + b has shape (N,). error = sigmoid(a) - y. The gradients are x.T @ error / N, of shape (D,), and "
         "error.mean(). Subtract eta times each from the old values.",
    rtol=1e-3)


def _fits(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, steps, eta in ((3, 2, 1, 0.1), (1, 2, 3, 0.1), (6, 3, 5, 0.05)):
        model = filled(nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, 1)), g)
        cases.append((model, rand(g, n, d), 1 + rand(g, n), steps, eta))
    return cases


def _descend(loss, clear=True, sign=-1):
    """A repaired or broken version of the loop, for comparison."""
    def fit(model, x, y, steps, eta):
        losses = []
        model.zero_grad()
        for _ in range(steps):
            value = loss(model(x), y)
            if clear:
                model.zero_grad()
            if value.dim():
                value.sum().backward()
            else:
                value.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p += sign * eta * p.grad
            losses.append(value.detach())
        return losses
    return fit


def _mse(out, y):
    return (out[:, 0] - y).square().mean()


def _table(out, y):
    return (out - y).square().mean()


fit_curve = Implementation(
    "fit_curve",
    right=_descend(_mse),
    run=trained,
    cases=_fits,
    slips=[
        Slip(_descend(_table),
             "the bug is still there: look at the shape of prediction - y",
             "The model returns (N, 1) and y has shape (N,): broadcasting makes a table of shape (N, N), in which each "
             "prediction is compared with every target, and the best for all is the mean of y."),
        Slip(_descend(_mse, clear=False),
             "the gradients are no longer cleared: backward() adds to those of the step before",
             "Keep model.zero_grad() in each step, before backward()."),
        Slip(_descend(_table, clear=False),
             "the bug is still there, and the gradients are no longer cleared either",
             "Look at the shape of prediction - y, and keep model.zero_grad() in each step."),
        Slip(_descend(lambda out, y: (out[:, 0] - y).square().sum()),
             "the shapes are right now, but you sum the squared errors, and the mean was asked for", "Keep .mean()."),
        Slip(_descend(lambda out, y: (out - y).square().sum(0).mean()),
             "you have changed the mean into a sum, and prediction - y still is a table of shape (N, N)",
             "Look at the shapes of prediction and of y."),
        Slip(_descend(lambda out, y: (out.mean() - y).square().mean()),
             "you average the predictions before you compare them: each must be compared with its own target",
             "prediction[:, 0] has the shape (N,), like y."),
        Slip(_descend(lambda out, y: (out[:, 0] - y).abs().mean()),
             "the absolute error is another loss: the squared one was asked for",
             "(prediction[:, 0] - y).square().mean()"),
        Slip(_descend(lambda out, y: (out[:, 0] - y).mean().square()),
             "you take the mean before you square: errors of opposite sign cancel each other",
             "First .square(), then .mean()."),
        Slip(_descend(_mse, sign=1), "the step goes up: subtract eta times the gradient", "p -= eta * p.grad"),
    ],
    hint="The loop was right but for one line. Print prediction.shape, y.shape and (prediction - y).shape. Return the "
         "list of the losses, one for each step, computed before that step.",
    rtol=1e-3, atol=1e-4)


def _curvatures(loss) -> Tensor:
    """The eigenvalues of the second derivatives of a loss of two parameters, in ascending order."""
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, torch.zeros(2)))


largest_eta = Measurement(
    "largest_eta",
    truth=lambda loss: 2 / _curvatures(loss)[-1],
    tolerance=0.03,
    slips=[
        Slip(lambda loss: 1 / _curvatures(loss)[-1],
             "this is half the border: with it the steep direction arrives in a single step, and twice as much still "
             "arrives, by jumping from side to side",
             "Try 1.5 times your value: does the loss after 200 steps grow, or fall?"),
        Slip(lambda loss: 2 / _curvatures(loss)[0],
             "this is the border of the flat direction alone: in the steep one the walk leaves much earlier",
             "Look at both entries of w after 50 steps with your value."),
        Slip(lambda loss: 1 / _curvatures(loss)[0],
             "with this value the flat direction arrives in one step, and the steep one leaves: look at both of them",
             "The steepest direction sets the border."),
        Slip(lambda loss: 4 / _curvatures(loss)[-1],
             "this is twice the border: have you lost a factor 2 in the slope of a square?",
             "Let autograd compute the slope, or differentiate the mean of the squares again by hand."),
        Slip(lambda loss: 2 / _curvatures(loss).sum(),
             "the curvatures of both directions do not add up: the larger one alone sets the border",
             "It is 2 / (largest curvature); or halve the interval between a rate that arrives and one that leaves."),
        Slip(lambda loss: 2 / _curvatures(loss).mean(),
             "this belongs to the mean of the two curvatures: the larger one alone sets the border",
             "It is 2 / (largest curvature); or halve the interval between a rate that arrives and one that leaves."),
    ],
    hint="Write a function that walks 200 steps with a given eta and says whether the loss has fallen. Start with one "
         "value that arrives and one that leaves, and halve the interval between them ten times.")
