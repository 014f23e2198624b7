"""The checks of exercise 11: a loss from logits, an MLP forward and backward by hand, a bug hunt, two measurements."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, filled, rand, trained

# --- 1


def _labelled(g: torch.Generator, *sizes: tuple[int, int]) -> list[tuple]:
    cases = [(2 * rand(g, n, k), torch.randint(k, (n,), generator=g)) for n, k in sizes]
    for logits, y in cases:
        if len(y) == logits.shape[1]:              # labels 0, 1, 2, ... would hide that rows and columns are mixed up
            y[0] = len(y) - 1
    return cases


def _true(values: Tensor, y: Tensor) -> Tensor:
    """The entry of the true class in each row.  (B, K), (B,) -> (B,)"""
    return values.gather(1, y[:, None])[:, 0]


def _surprise(logits, y, log_p=lambda a: a.log_softmax(1), pick=_true, loss=Tensor.neg) -> Tensor:
    return loss(pick(log_p(logits), y))


cross_entropy = Implementation(
    "cross_entropy",
    right=_surprise,
    cases=lambda g: _labelled(g, (2, 3), (1, 3), (3, 4), (4, 4)),
    slips=[
        ("one loss for each image is asked for, shape (B,): {}",
         ("you took the mean over the images", dict(loss=lambda log: -log.mean())),
         ("you summed over the images", dict(loss=lambda log: -log.sum())),
         ("yours is (B, 1), by a keepdim or a [:, None]", dict(loss=lambda log: -log[:, None]))),
        ("from each row, its own entry y counts and no other: {}",
         ("you return minus the log probabilities of all K classes", dict(pick=lambda log, y: log)),
         ("you return a table (B, B), as [:, y] takes the columns y of every row", dict(pick=lambda log, y: log[:, y])),
         ("you summed over all K classes", dict(pick=lambda log, y: log.sum(1))),
         ("y is not used, you take the class with the largest logit", dict(pick=lambda log, y: log.amax(1)))),
        ("softmax is applied twice: F.cross_entropy and F.log_softmax expect logits and apply it themselves",
         lambda a, y: _surprise(a.softmax(1), y)),
        ("each image has a softmax of its own, over its K classes, dim=1: {}",
         ("yours runs over the images, axis 0", dict(log_p=lambda a: a.log_softmax(0))),
         ("your sum of exponentials runs over everything", dict(log_p=lambda a: a - a.exp().sum().log())),
         ("sums of shape (B,) are laid along the classes. Keep the axis", dict(log_p=lambda a: a - a.logsumexp(1))),
         ("the largest logits, of shape (B,), are laid along the classes. Keep the axis",
          dict(log_p=lambda a: (a - a.amax(1)).log_softmax(1)))),
        ("you subtracted the largest logit inside the exponential, and not from the logit of the true class: the shift "
         "cancels only if it is in both", dict(log_p=lambda a: a - (a - a.amax(1, True)).logsumexp(1, True))),
        ("the surprise is -log p: {}",
         ("your sign is wrong, as a surprise is never below 0", dict(loss=Tensor.clone)),
         ("the logarithm is missing", dict(log_p=lambda a: a.softmax(1))),
         ("1 - p is something else, and never above 1", dict(log_p=lambda a: a.softmax(1), loss=lambda p: 1 - p))),
        ("log of the sum of exp(logits), minus the logit of the true class: {}",
         ("the first term is missing", dict(log_p=Tensor.clone)),
         ("the second term is missing", dict(log_p=lambda a: -a.logsumexp(1, True).expand_as(a))),
         ("the logarithm of the sum is missing", dict(log_p=lambda a: a - a.exp().sum(1, True))),
         ("you summed first, so that log and exp undo each other", dict(log_p=lambda a: a - a.sum(1, True))),
         ("you took the mean of the exponentials", dict(log_p=lambda a: a - a.exp().mean(1, True).log()))),
    ],
    hints=("Print the shape after each line: all are (B,) at the end. Then take one image with three equal logits: its "
           "surprise is the logarithm of 3, whatever its class.",
           "For each image: the logarithm of the sum of exp over its K logits, dim=1, minus the logit of its true "
           "class. An index of two parts, the numbers of the rows and y, picks that from each row.",
           "logits.exp().sum(dim=1).log() - logits[torch.arange(len(y)), y]"),
    gradient=("logits",), rtol=1e-3, atol=1e-4)


def _heights(g: torch.Generator) -> list[tuple]:
    """Small logits; one image with very large ones; images of very different heights, the middle one all very low."""
    tall = torch.tensor([[10_000.0, -3_000.0, 200.0, 5_000.0]]) * (1 + 0.1 * rand(g, 1, 4).abs())
    mixed = torch.tensor([[10_000.0, 0, -500], [-9_000, -9_001, -9_002], [300, 1, -800]]) + rand(g, 3, 3)
    return [*_labelled(g, (3, 4)), (tall, torch.tensor([1])), (mixed, torch.tensor([2, 0, 1]))]


large_logits = Implementation(
    "cross_entropy",
    right=_surprise,
    cases=_heights,
    slips=[
        ("this is wrong for small logits already: bring the check above to its ok first", {0, 1, 2},
         "Run that check again: it names the mistake more precisely."),
        ("right for small logits, and wrong for large ones, where exp() gives infinity or exactly 0 and the logarithm "
         "breaks (a clamp or a small number added inside hides that, and does not repair it)", {1, 2}),
        ("you subtract one number from all images: where one image has far larger logits than another, the "
         "exponentials of the other all become 0. Each row needs its own largest logit", {2}),
    ],
    hints=("Take one image with the logits 100, 0 and 0, and print each step. Which is the first that is no longer an "
           "ordinary number? What may you subtract from all logits of a row?",
           "A constant added to all logits of a row changes nothing: subtract the largest of each row first. Then exp "
           "is at most 1, and one term of the sum is exactly 1. From there, take the logarithm of the sum minus the "
           "logit, and never the logarithm of a probability, which may be rounded to 0.",
           "logits = logits - logits.max(dim=1, keepdim=True).values\n"
           "return logits.exp().sum(dim=1).log() - logits[torch.arange(len(y)), y]"),
    gradient=("logits",), rtol=1e-3, atol=1e-3)

# --- 2


def _images(g: torch.Generator) -> list[tuple]:
    """The last case has as many pixels as hidden units as classes, so that a matrix fits the wrong way round too."""
    return [(rand(g, b, 1, h, w), rand(g, m, h * w), rand(g, m), rand(g, k, m), rand(g, k))
            for b, h, w, m, k in ((1, 2, 2, 3, 2), (3, 1, 4, 5, 3), (3, 2, 3, 5, 4), (4, 3, 3, 9, 9))]


def _transposed(x, W):
    return x @ W.T


def _network(x, W1, b1, W2, b2, bend=F.relu, end=lambda logits: logits, flat=lambda x: x.flatten(1), first=_transposed,
             second=_transposed) -> Tensor:
    return end(second(bend(first(flat(x), W1) + b1), W2) + b2)


mlp_logits = Implementation(
    "mlp_logits",
    right=_network,
    cases=_images,
    slips=[
        ("right for several images, and wrong for a single one, B = 1: does a .squeeze() take away the axis of the "
         "batch too?", {0}),
        ("the ReLU stands between the two matrices, and nowhere else: {}",
         ("yours is missing, so that they are one and the network is a straight line again", dict(bend=Tensor.clone)),
         ("you applied it to the logits too, which may be negative", dict(end=F.relu)),
         ("yours comes after the second", dict(bend=Tensor.clone, end=F.relu))),
        ("the ReLU is the larger of 0 and h: {}",
         ("you kept the negative part", dict(bend=lambda h: h.clamp(max=0))),
         ("your hidden units are only 0 or 1, which is its slope", dict(bend=lambda h: (h > 0).to(h.dtype))),
         ("you took the absolute value", dict(bend=torch.abs)), ("you used tanh", dict(bend=torch.tanh)),
         ("you used the sigmoid", dict(bend=torch.sigmoid)), ("yours is the leaky one", dict(bend=F.leaky_relu))),
        ("each layer has constants of its own, which are added to its product, before any ReLU: {}",
         ("b1 is missing", lambda x, W1, b1, W2, b2: _network(x, W1, 0 * b1, W2, b2)),
         ("b2 is missing", lambda x, W1, b1, W2, b2: _network(x, W1, b1, W2, 0 * b2)),
         ("b1 and b2 are missing", lambda x, W1, b1, W2, b2: _network(x, W1, 0 * b1, W2, 0 * b2)),
         ("you added b1 after the ReLU", lambda x, W1, b1, W2, b2: _network(
             x, W1, 0 * b1, W2, b2, bend=lambda h: F.relu(h) + b1))),
        ("the K logits of each image are asked for, before any softmax: {}",
         ("you return probabilities", dict(end=lambda a: a.softmax(1))),
         ("you return log probabilities", dict(end=lambda a: a.log_softmax(1))),
         ("you return the predicted classes", dict(end=lambda a: a.argmax(1))),
         ("you return the hidden units", lambda x, W1, b1, W2, b2: _network(x, W1, b1, torch.eye(len(b1)), 0 * b1))),
        ("each image must become one row of (B, D), its pixels row by row: {}",
         ("yours are read column by column", dict(flat=lambda x: x.mT.flatten(1))),
         ("your reshape mixes the pixels of different images", dict(flat=lambda x: x.reshape(-1, len(x)).T)),
         ("you have not flattened them", dict(flat=lambda x: x))),
        ("{} the wrong way round: a matrix has one row for each unit, so x @ W1.T and h @ W2.T",
         ("both matrices are", dict(first=torch.matmul, second=torch.matmul)), ("W1 is", dict(first=torch.matmul)),
         ("W2 is", dict(second=torch.matmul))),
    ],
    hints=("Print the shape after each step: (B, D), then (B, M), then (B, K). Which hidden units are negative?",
           "Join all axes of x but the first. Times the transposed first matrix, plus its constants: the hidden units. "
           "Cut off what is below 0. Times the transposed second matrix, plus its constants.",
           "h = (x.flatten(1) @ W1.T + b1).clamp(min=0)\n"
           "return h @ W2.T + b2"),
    rtol=1e-3, atol=1e-4)

# --- 3


def _batches(g: torch.Generator) -> list[tuple]:
    """In the first case the label is 0, so that one_hot without K finds one class, and the units are active, so that it
    matters; elsewhere the largest label occurs. In the third case a matrix fits the wrong way round too."""
    cases = []
    for n, d, m, k in ((1, 2, 3, 2), (3, 4, 7, 3), (6, 4, 4, 4), (5, 2, 6, 4)):
        y = torch.randint(k, (n,), generator=g)
        y[-1] = 0 if n == 1 else k - 1
        b1 = rand(g, m) + 5 * (n == 1)
        cases.append((rand(g, n, d), y, rand(g, m, d), b1, rand(g, k, m), rand(g, k)))
    return cases


def _backward(x, y, W1, b1, W2, b2, error=lambda a, Y: a.softmax(1) - Y, share=lambda e: e / len(e), one_hot=F.one_hot,
              slope=lambda h, d: d * (h > 0), hidden=F.relu, forward=F.relu, put=lambda g1, g2: (g1, g2)):
    """Both gradients by hand. h is the hidden units before their ReLU, d what arrives there."""
    h = x @ W1.T + b1                                             # (N, M)
    logits = forward(h) @ W2.T + b2                               # (N, K)
    e = share(error(logits, one_hot(y, len(W2)).to(x.dtype)))     # (N, K)
    return put(slope(h, e @ W2).T @ x, e.T @ hidden(h))


def _times_n(power1: int, power2: int):
    return lambda x, *rest: tuple(g * len(x)**power for g, power in zip(_backward(x, *rest), (power1, power2)))


def _after_softmax(a: Tensor, Y: Tensor) -> Tensor:
    """P - Y, sent back through the softmax once more."""
    p, e = a.softmax(1), a.softmax(1) - Y
    return p * (e - (p * e).sum(1, keepdim=True))


mlp_gradients = Implementation(
    "mlp_gradients",
    right=_backward,
    cases=_batches,
    returns=("gradient for W1", "gradient for W2"),
    slips=[
        ("a gradient has the shape of its matrix, (M, D) for W1 and (K, M) for W2: {} transposed",
         ("both are", dict(put=lambda g1, g2: (g1.T, g2.T))), ("that for W1 is", dict(put=lambda g1, g2: (g1.T, g2))),
         ("that for W2 is", dict(put=lambda g1, g2: (g1, g2.T)))),
        ("the gradient of the mean loss has a factor 1/N, which comes in once, with P - Y: {}",
         ("yours has none, you summed over the examples", _times_n(1, 1)),
         ("it is missing in that for W1, and right in that for W2", _times_n(1, 0)),
         ("it is missing in that for W2, and right in that for W1", _times_n(0, 1)),
         ("that for W1 is divided by N twice", _times_n(-1, 0)),
         ("you took the mean over examples and classes, N times K numbers", dict(share=lambda e: e / e.numel()))),
        ("the gradient for W1 passes, unchanged, where a hidden unit is above 0, and nothing passes a silent one: {}",
         ("yours ignores the ReLU", dict(slope=lambda h, d: d)),
         ("you applied the ReLU to the gradient itself", dict(slope=lambda h, d: d.relu())),
         ("you multiplied by the hidden units themselves", dict(slope=lambda h, d: d * h.relu())),
         ("your mask is the wrong way round", dict(slope=lambda h, d: d * (h <= 0)))),
        ("the gradient for W2 uses the hidden units before their ReLU: W2 has seen them after it",
         dict(hidden=Tensor.clone)),
        ("your network has no ReLU at all, neither forward nor backward",
         dict(forward=Tensor.clone, hidden=Tensor.clone, slope=lambda h, d: d)),
        ("F.one_hot(y) makes as many columns as the largest label in the batch asks for, which may be too few: say how "
         "many classes there are", dict(one_hot=lambda y, K: F.one_hot(y))),
        ("the gradient for the logits is P - Y, what the model said minus what was true: {}",
         ("your sign is wrong, that of a step downhill", dict(error=lambda a, Y: Y - a.softmax(1))),
         ("you have left out the labels", dict(error=lambda a, Y: a.softmax(1))),
         ("your softmax is missing, and P are probabilities, not logits", dict(error=torch.sub)),
         ("your softmax runs over the examples, axis 0", dict(error=lambda a, Y: a.softmax(0) - Y)),
         ("you sent it through the softmax once more", dict(error=_after_softmax)),
         ("you multiplied it by p (1 - p)", dict(error=lambda a, Y: (p := a.softmax(1)) * (1 - p) * (p - Y))),
         ("yours has a factor 2, as the squared error has", dict(error=lambda a, Y: 2 * (a.softmax(1) - Y)))),
        ("your network forgets {}: constants are part of the hidden units and of the logits",
         ("b1", lambda x, y, W1, b1, W2, b2: _backward(x, y, W1, 0 * b1, W2, b2)),
         ("b2", lambda x, y, W1, b1, W2, b2: _backward(x, y, W1, b1, W2, 0 * b2)),
         ("b1 and b2", lambda x, y, W1, b1, W2, b2: _backward(x, y, W1, 0 * b1, W2, 0 * b2))),
    ],
    hints=("Let autograd compute both gradients for three examples: does that for W2 differ, or only that for W1?",
           "Divide P - Y by N, shape (N, K). For W2: that, transposed, times the hidden units after the ReLU. What "
           "arrives at the hidden units is the same (N, K) times W2; it passes where a unit is above 0. For W1: that, "
           "transposed, times x.",
           "e = ((h.relu() @ W2.T + b2).softmax(dim=1) - F.one_hot(y, len(W2))) / len(x)    # h = x @ W1.T + b1\n"
           "return ((e @ W2) * (h > 0)).T @ x, e.T @ h.relu()"),
    rtol=2e-3, atol=1e-4)

# --- 4


def _trainings(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, k, steps, lr in ((2, 2, 2, 1, 0.5), (1, 3, 3, 3, 0.3), (3, 3, 4, 5, 0.2), (4, 2, 3, 4, 0.5)):
        model = filled(nn.Sequential(nn.Flatten(), nn.Linear(d, 5), nn.Tanh(), nn.Linear(5, k)), g)
        cases.append((model, rand(g, n, 1, 1, d), torch.randint(k, (n,), generator=g), steps, lr))
    return cases


def _momentum(model, x, y, steps, lr, loss=F.cross_entropy, keep=0.9, add=1.0, move=lambda w, step: w.sub_(step)):
    """The repaired loop, or with other `loss` a broken one."""
    velocity, losses = [torch.zeros_like(w) for w in model.parameters()], []
    for _ in range(steps):
        value = loss(model(x), y)
        gradient = torch.autograd.grad(value, list(model.parameters()))
        with torch.no_grad():
            for w, v, g in zip(model.parameters(), velocity, gradient):
                v.mul_(keep).add_(g, alpha=add)
                move(w, lr * v)
        losses.append(value.detach())
    return losses


def _twice(a, y):
    return F.cross_entropy(a.softmax(1), y)


train_classifier = Implementation(
    "train_classifier",
    right=_momentum,
    run=trained,
    cases=_trainings,
    slips=[
        ("the bug is still there{}: what does F.cross_entropy expect, and what does it get?", ("", dict(loss=_twice)),
         (", and the softmax now runs over the images", dict(loss=lambda a, y: F.cross_entropy(a.softmax(0), y))),
         (", with a sigmoid in place of the softmax", dict(loss=lambda a, y: F.cross_entropy(a.sigmoid(), y)))),
        ("F.nll_loss expects log probabilities, over the classes: {}",
         ("you give it probabilities, so that the loss is -p", dict(loss=lambda a, y: F.nll_loss(a.softmax(1), y))),
         ("you give it logits, so that the loss can fall without limit", dict(loss=F.nll_loss)),
         ("your log-softmax runs over the images, axis 0", dict(loss=lambda a, y: F.nll_loss(a.log_softmax(0), y)))),
        ("the mean cross-entropy was right, given the logits: {}",
         ("you sum it over the images", dict(loss=partial(F.cross_entropy, reduction="sum"))),
         ("the squared error is another loss",
          dict(loss=lambda a, y: (a.softmax(1) - F.one_hot(y, a.shape[1])).square().mean())),
         ("you turn their sign round", dict(loss=lambda a, y: F.cross_entropy(-a, y)))),
        ("the momentum was no bug, the velocity keeps nine tenths of itself and adds the whole gradient: {}",
         ("now it is gone, though the loss is right", dict(keep=0.0)),
         ("now it is gone, and the bug is still there", dict(keep=0.0, loss=_twice)),
         ("now it adds a tenth, though the loss is right", dict(add=0.1)),
         ("now it adds a tenth, and the bug is still there", dict(add=0.1, loss=_twice))),
        ("the step goes up: subtract lr times the velocity", dict(move=lambda w, step: w.add_(step))),
    ],
    hints=("The loop was right but for one line. Which loss does it give to a model that is certain and right?",
           "The documentation of F.cross_entropy says which input it expects: logits, of which it takes the softmax "
           "itself. The list holds the losses, each computed before its step.",
           "loss = F.cross_entropy(model(x), y)"),
    rtol=1e-3, atol=1e-4)

# --- 5


def _nearest(digits, of=lambda q: q, among=lambda x, y: (x, y), choose=lambda a, b: torch.cdist(a, b).argmin(1)):
    """What `of` makes of the test accuracy of the nearest neighbour."""
    x, y = among(digits.train.x.flatten(1), digits.train.y)
    return of((y[choose(digits.test.x.flatten(1), x)] == digits.test.y).double().mean().item())


nearest_accuracy = Measurement(
    "nearest_accuracy",
    truth=_nearest,
    tolerance=0.002,
    slips=[
        ("the share of right answers is asked for: {}", ("this is that of wrong answers", dict(of=lambda q: 1 - q)),
         ("this is their number", dict(of=lambda q: 1000 * q))),
        ("every digit is right: you looked for the neighbours of digits among those same digits, and each found itself",
         dict(of=lambda q: 1.0), "From which digits to which others do the distances go?"),
        ("take the training digit with the smallest distance: {}",
         ("yours has the largest", dict(choose=lambda a, b: torch.cdist(a, b).argmax(1))),
         ("yours has the largest product, which favours those with much ink",
          dict(choose=lambda a, b: (a @ b.T).argmax(1)))),
        ("you compared with the mean image of each class: the nearest single training digit is asked for",
         dict(among=lambda x, y: (torch.stack([x[y == k].mean(0) for k in range(10)]), torch.arange(10)))),
    ],
    hints=("Show a few test digits beside the training digit that you found for each. Do they look alike?",
           "The table of distances from 1,000 test digits to 4,000 training digits, 784 numbers each, has shape (1000, "
           "4000). In each row, the place of the smallest is the nearest neighbour; its label is the answer.",
           "nearest = torch.cdist(x_test.flatten(1), x_train.flatten(1)).argmin(dim=1)\n"
           "(y_train[nearest] == y_test).double().mean()"))

standard_error = Measurement(
    "standard_error",
    truth=partial(_nearest, of=lambda q: (q * (1 - q) / 1000) ** 0.5),
    tolerance=0.06,
    slips=[
        ("the square root goes over q (1 - q) / n, all of it: {}",
         ("this is the variance of the accuracy", dict(of=lambda q: q * (1 - q) / 1000)),
         ("you divided by n after the root", dict(of=lambda q: (q * (1 - q)) ** 0.5 / 1000)),
         ("the factor q (1 - q) or a part of it is missing", dict(of=lambda q: 1000**-0.5))),
        ("this is the standard deviation of a single answer, right or wrong: that of a mean of n is smaller by the "
         "root of n", dict(of=lambda q: (q * (1 - q)) ** 0.5)),
        ("n is the number of digits the accuracy was measured on, the 1,000 test digits, not the training digits",
         dict(of=lambda q: (q * (1 - q) / 4000) ** 0.5)),
        ("this is two standard errors: one is asked for", dict(of=lambda q: 2 * (q * (1 - q) / 1000) ** 0.5)),
    ],
    hints=("Draw 1,000 test digits with replacement, many times, and look at the accuracies: how far do they spread?",
           "With q the accuracy and n the number of test digits, the lesson has the formula under \"A number, a "
           "baseline, and how far to trust both\": the root of the variance of one answer, divided by n.",
           "(q * (1 - q) / n) ** 0.5"))
