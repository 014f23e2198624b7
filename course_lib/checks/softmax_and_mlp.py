"""The checks of exercise 11: a loss from logits, an MLP forward and backward by hand, a bug hunt, two measurements."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, Slip, filled, rand, trained


def _labelled(g: torch.Generator, *sizes: tuple[int, int]) -> list[tuple]:
    cases = [(2 * rand(g, n, k), torch.randint(k, (n,), generator=g)) for n, k in sizes]
    for logits, y in cases:
        if len(y) == logits.shape[1]:              # labels 0, 1, 2, ... would hide that rows and columns are mixed up
            y[0] = len(y) - 1
    return cases


def _surprise(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y, reduction="none")


def _true(values: Tensor, y: Tensor) -> Tensor:
    """The entry of the true class in each row.  (B, K), (B,) -> (B,)"""
    return values.gather(1, y[:, None])[:, 0]


cross_entropy = Implementation(
    "cross_entropy",
    right=_surprise,
    cases=lambda g: _labelled(g, (2, 3), (1, 3), (3, 4), (4, 4)),
    slips=[
        Slip(lambda a, y: -_surprise(a, y),
             "the sign is wrong: a surprise is minus the log of a probability, and never below 0",
             "log of the sum minus the logit of the true class, in this order."),
        Slip(lambda a, y: F.cross_entropy(a, y),
             "you took the mean over the images: the task asks for one loss per image, shape (B,)",
             "Leave out .mean(); with F.cross_entropy, say reduction=\"none\"."),
        Slip(lambda a, y: _surprise(a, y).sum(),
             "you summed over the images: the task asks for one loss per image, shape (B,)",
             "Sum over the K classes only, the last axis: dim=1."),
        Slip(lambda a, y: _surprise(a, y)[:, None],
             "the values are right, and the shape is (B, 1): (B,) is asked for",
             "keepdim=True, or y[:, None] in gather, left an axis of length 1. Take it away with .squeeze(1)."),
        Slip(lambda a, y: -a.log_softmax(1),
             "you return minus the log probability of all K classes, shape (B, K): only that of the true class counts",
             "values[torch.arange(len(y)), y] picks from each row the entry of its true class."),
        Slip(lambda a, y: -a.log_softmax(1)[:, y],
             "values[:, y] takes the columns y of every row, a table of shape (B, B): each row needs its own y alone",
             "values[torch.arange(len(y)), y]"),
        Slip(lambda a, y: -a.log_softmax(1).sum(1),
             "you summed over all K classes, as if every class were the true one: only the entry of class y counts",
             "values[torch.arange(len(y)), y]"),
        Slip(lambda a, y: _surprise(a.softmax(1), y),
             "softmax is applied twice: F.cross_entropy and F.log_softmax expect logits and apply it themselves",
             "Give them the logits as they are."),
        Slip(lambda a, y: -_true(a.log_softmax(0), y),
             "your softmax runs over the images (axis 0): the K probabilities of one image must sum to 1, so dim=1",
             "Every sum and every largest value is taken along dim=1."),
        Slip(lambda a, y: a.exp().sum().log() - _true(a, y),
             "your sum of exponentials runs over all images together: each image has a sum of its own, dim=1",
             "logits.exp().sum(dim=1) has shape (B,)."),
        Slip(lambda a, y: -_true((a.exp() / a.exp().sum(1)).log(), y),
             "you divide by sums of shape (B,), which broadcasting lays along the classes, not the images: keep "
             "the axis", "logits.exp().sum(dim=1, keepdim=True) has shape (B, 1): one sum for each row."),
        Slip(lambda a, y: (a - a.amax(1)).logsumexp(1) - _true(a - a.amax(1), y),
             "you subtract largest logits of shape (B,), which broadcasting lays along the classes: keep the axis, "
             "so that each row loses its own", "logits.max(dim=1, keepdim=True).values has shape (B, 1)."),
        Slip(lambda a, y: (a - a.amax(1, keepdim=True)).exp().sum(1).log() - _true(a, y),
             "you subtracted the largest logit inside the exponential, and not from the logit of the true class: the "
             "shift cancels only if it is in both",
             "Shift first, logits = logits - logits.max(dim=1, keepdim=True).values, then use the new logits only."),
        Slip(lambda a, y: -_true(a.softmax(1), y),
             "the logarithm is missing: the surprise is -log p, not -p",
             "Apply .log() to the probability; or use the second form of the formula."),
        Slip(lambda a, y: 1 - _true(a.softmax(1), y),
             "1 - p is not the surprise: it is -log p",
             "1 - p never exceeds 1, however wrong the model is. Use .log()."),
        Slip(lambda a, y: -_true(a, y),
             "the first term is missing: log of the sum of exp(logits)",
             "The surprise is the log of the sum minus the logit of the true class."),
        Slip(lambda a, y: a.exp().sum(1) - _true(a, y),
             "the logarithm of the sum is missing", "logits.exp().sum(dim=1).log()"),
        Slip(lambda a, y: a.sum(1).exp().log() - _true(a, y),
             "you summed before the exponential: log and exp then undo each other",
             "First .exp(), then .sum(dim=1), then .log()."),
        Slip(lambda a, y: a.exp().mean(1).log() - _true(a, y),
             "you took the mean of the exponentials, and softmax divides by their sum",
             "Replace .mean(dim=1) by .sum(dim=1)."),
        Slip(lambda a, y: _surprise(a, y) / torch.tensor(2.0).log(),
             "your logarithm has base 2: the task asks for nats, the natural logarithm",
             "Use .log() in place of .log2()."),
        Slip(lambda a, y: a.logsumexp(1) - a.amax(1),
             "y is not used: this is the surprise about the class with the largest logit, not about the true one",
             "Subtract logits[torch.arange(len(y)), y]."),
        Slip(lambda a, y: a.logsumexp(1),
             "the second term is missing: subtract the logit of the true class", "- logits[torch.arange(len(y)), y]"),
    ],
    hint="For each image: log(sum over k of exp(logit k)) minus the logit of its true class. The sum runs along dim=1; "
         "logits[torch.arange(len(y)), y] picks the true class of each row. Print the shapes: all are (B,) at the end.",
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
        Slip(None,
             "this is wrong for small logits already: bring the check above to its ok first",
             "It names the mistake more precisely.", only=(0, 1, 2)),
        Slip(None,
             "right for small logits, and wrong for large ones, where exp() gives infinity or exactly 0 and the "
             "logarithm breaks (a clamp or a small number added inside hides that, and does not repair it)",
             "Subtract from each row its largest logit, logits.max(dim=1, keepdim=True).values, before exp(); and stay "
             "with log(sum) - logit, since log(p) needs a p that is not rounded to 0.", only=(1, 2)),
        Slip(None,
             "you subtract one number from all images: where one image has far larger logits than another, the "
             "exponentials of the other all become 0. Each row needs its own largest logit",
             "logits.max(dim=1, keepdim=True).values has shape (B, 1).", only=(2,)),
    ],
    hint="A constant added to all logits of a row changes nothing: choose it so that the largest becomes 0. Then "
         "exp() is at most 1, and at least one term of the sum is exactly 1, so its logarithm exists.",
    gradient=("logits",), rtol=1e-3, atol=1e-3)


# --- the network, forward and backward ------------------------------------------------------------------------------

def _images(g: torch.Generator) -> list[tuple]:
    """The last case has as many pixels as hidden units as classes, so that a matrix fits the wrong way round too."""
    return [(rand(g, b, 1, h, w), rand(g, m, h * w), rand(g, m), rand(g, k, m), rand(g, k))
            for b, h, w, m, k in ((1, 2, 2, 3, 2), (3, 1, 4, 5, 3), (3, 2, 3, 5, 4), (4, 3, 3, 9, 9))]


def _network(bend=F.relu, end=lambda logits: logits):
    def forward(x, W1, b1, W2, b2):
        return end(bend(x.flatten(1) @ W1.T + b1) @ W2.T + b2)
    return forward


mlp_logits = Implementation(
    "mlp_logits",
    right=_network(),
    cases=_images,
    slips=[
        Slip(None,
             "right for several images, and wrong for a single one, B = 1: does a .squeeze() take away the axis of the "
             "batch too?", "x.flatten(1) needs no squeeze, whatever the batch size.", only=(0,)),
        Slip(_network(lambda h: h),
             "the ReLU is missing: without it two matrices are one, and the network is a straight line again",
             "h.clamp(min=0), h.relu() or torch.where(h > 0, h, 0), between the two matrices."),
        Slip(_network(end=F.relu),
             "you applied the ReLU to the logits too: they may be negative, only the hidden units may not",
             "Leave it out after the second matrix."),
        Slip(_network(lambda h: h, end=F.relu),
             "the ReLU stands after the second matrix: it belongs between the two",
             "Apply it to the hidden units, before W2."),
        Slip(_network(lambda h: h.clamp(max=0)),
             "you kept the negative part: ReLU is the larger of 0 and h, so it cuts off what is below 0",
             "h.clamp(min=0)"),
        Slip(_network(lambda h: (h > 0).to(h.dtype)),
             "your hidden units are only 0 or 1: above 0 the ReLU returns h itself",
             "(h > 0) is the slope of the ReLU; its value is h * (h > 0)."),
        Slip(_network(torch.abs),
             "you took the absolute value, and ReLU makes 0 of a negative number", "h.clamp(min=0)"),
        Slip(_network(torch.sigmoid), "you used the sigmoid: the network of the task has a ReLU", "h.clamp(min=0)"),
        Slip(_network(torch.tanh), "you used tanh: the network of the task has a ReLU", "h.clamp(min=0)"),
        Slip(_network(lambda h: F.leaky_relu(h)),
             "you used the leaky ReLU: the network of the task has the plain one, exactly 0 below 0", "h.clamp(min=0)"),
        Slip(lambda x, W1, b1, W2, b2: F.relu(x.flatten(1) @ W1.T) @ W2.T + b2,
             "b1 is missing: a hidden unit computes max(0, w · x + b)", "Add b1 before the ReLU."),
        Slip(lambda x, W1, b1, W2, b2: F.relu(x.flatten(1) @ W1.T + b1) @ W2.T,
             "b2 is missing: each class has a constant of its own", "Add b2 at the end."),
        Slip(lambda x, W1, b1, W2, b2: F.relu(x.flatten(1) @ W1.T) @ W2.T,
             "b1 and b2 are missing: each layer has its own constants",
             "x @ W1.T + b1, and the same for the second layer."),
        Slip(lambda x, W1, b1, W2, b2: (F.relu(x.flatten(1) @ W1.T) + b1) @ W2.T + b2,
             "you added b1 after the ReLU: it decides where the fold is, so it must be inside",
             "F.relu(x @ W1.T + b1)"),
        Slip((_network(end=lambda a: a.softmax(1)), _network(end=lambda a: a.log_softmax(1))),
             "you return probabilities, or their logarithms: the task asks for the logits, before any softmax",
             "Leave the softmax to the loss."),
        Slip(_network(end=lambda a: a.argmax(1)),
             "you return the predicted classes: the task asks for the K logits of each image", "Leave out the argmax."),
        Slip(lambda x, W1, b1, W2, b2: F.relu(x.flatten(1) @ W1.T + b1),
             "you return the hidden units: the second layer is missing", "h @ W2.T + b2"),
        Slip(lambda x, W1, b1, W2, b2: _network()(x.transpose(-1, -2), W1, b1, W2, b2),
             "you read the pixels column by column: the image is flattened row by row", "x.flatten(1) does it."),
        Slip(lambda x, W1, b1, W2, b2: _network()(x.reshape(-1, len(x)).T, W1, b1, W2, b2),
             "your reshape mixes the pixels of different images: one row of the result must be one image",
             "x.flatten(1), or x.reshape(len(x), -1); the number of images comes first."),
        Slip(lambda x, W1, b1, W2, b2: F.relu(x @ W1.T + b1) @ W2.T + b2,
             "the images are not flattened: (B, 1, H, W) must become (B, D) before the matrix product",
             "x.flatten(1) keeps the first axis and joins all others."),
        Slip(lambda x, W1, b1, W2, b2: F.relu(x.flatten(1) @ W1 + b1) @ W2 + b2,
             "both matrices are the wrong way round: W1 has shape (M, D), one row per hidden unit, so x @ W1.T",
             "(B, D) @ (D, M) -> (B, M), then (B, M) @ (M, K) -> (B, K)."),
        Slip(lambda x, W1, b1, W2, b2: F.relu(x.flatten(1) @ W1 + b1) @ W2.T + b2,
             "W1 is the wrong way round: it has shape (M, D), one row per hidden unit, so x @ W1.T",
             "(B, D) @ (D, M) -> (B, M)"),
        Slip(lambda x, W1, b1, W2, b2: F.relu(x.flatten(1) @ W1.T + b1) @ W2 + b2,
             "W2 is the wrong way round: it has shape (K, M), one row per class, so h @ W2.T",
             "(B, M) @ (M, K) -> (B, K)"),
    ],
    hint="x.flatten(1) is (B, D); times W1.T, plus b1: (B, M); ReLU; times W2.T, plus b2: (B, K). Print each shape.",
    rtol=1e-3, atol=1e-4)


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


def _backward(error=lambda a, Y: a.softmax(1) - Y, slope=lambda h, d: d * (h > 0),
              hidden=lambda h: h.relu(), forward=None, use=(1, 1)):
    """Both gradients by hand, with one step replaced. h is the hidden units before their ReLU, d what arrives there."""
    def gradients(x, y, W1, b1, W2, b2):
        h = x @ W1.T + use[0] * b1                                # (N, M)
        logits = (forward or F.relu)(h) @ W2.T + use[1] * b2      # (N, K)
        e = error(logits, F.one_hot(y, len(W2)).to(x.dtype)) / len(x)  # (N, K)
        into_hidden = slope(h, e @ W2)                            # (N, M)
        return into_hidden.T @ x, e.T @ hidden(h)
    return gradients


def _scaled(power1: int, power2: int, of=lambda x, W2: len(x)):
    def gradients(x, y, W1, b1, W2, b2):
        first, second = _backward()(x, y, W1, b1, W2, b2)
        return first * of(x, W2)**power1, second * of(x, W2)**power2
    return gradients


def _after_softmax(a: Tensor, Y: Tensor) -> Tensor:
    """P - Y, sent back through the softmax once more."""
    p, e = a.softmax(1), a.softmax(1) - Y
    return p * (e - (p * e).sum(1, keepdim=True))


mlp_gradients = Implementation(
    "mlp_gradients",
    right=_backward(),
    cases=_batches,
    returns=("gradient for W1", "gradient for W2"),
    slips=[
        Slip(lambda *given: tuple(g.T for g in _backward()(*given)),
             "both gradients are transposed: a gradient has the shape of its matrix, (M, D) for W1 and (K, M) for W2",
             "(...).T @ x has the rows of W1; e.T @ h has the rows of W2."),
        Slip(lambda *given: (_backward()(*given)[0].T, _backward()(*given)[1]),
             "the gradient for W1 is transposed: it must have the shape of W1, (M, D)", "Transpose it with .T"),
        Slip(lambda *given: (_backward()(*given)[0], _backward()(*given)[1].T),
             "the gradient for W2 is transposed: it must have the shape of W2, (K, M)", "Transpose it with .T"),
        Slip(lambda *given: tuple(-g for g in _backward()(*given)),
             "the sign is wrong: the gradient for the logits is P - Y, what the model said minus what was true",
             "Minus the gradient would be the step downhill; the task asks for the gradient."),
        Slip(_scaled(1, 1),
             "the gradient of the mean loss has a factor 1/N, and yours has not: you summed over the examples",
             "Divide P - Y by N once, at the beginning."),
        Slip(_scaled(1, 0),
             "the factor 1/N is missing in the gradient for W1, and right in that for W2",
             "Divide P - Y by N once, at the beginning: then both have it."),
        Slip(_scaled(0, 1),
             "the factor 1/N is missing in the gradient for W2, and right in that for W1",
             "Divide P - Y by N once, at the beginning: then both have it."),
        Slip(_scaled(-1, 0),
             "the gradient for W1 is divided by N twice",
             "If P - Y is divided by N already, what follows from it is too."),
        Slip(_scaled(-1, -1, lambda x, W2: len(W2)),
             "you took the mean over images and classes (N times K numbers): the loss is a mean over the N images only",
             "Divide P - Y by N."),
        Slip(_backward(slope=lambda h, d: d),
             "the gradient for W1 ignores the ReLU: where a hidden unit is silent, its slope is 0 and nothing may pass",
             "Multiply what arrives at the hidden units by (h > 0), before the product with x."),
        Slip(_backward(slope=lambda h, d: d.relu()),
             "you applied the ReLU to the gradient itself: what passes is decided by the hidden unit, not by the sign "
             "of the gradient", "Multiply by (h > 0), where h are the hidden units."),
        Slip(_backward(slope=lambda h, d: d * h.relu()),
             "you multiplied by the hidden units themselves: the slope of the ReLU is 1 where they are above 0, else 0",
             "Multiply by (h > 0)."),
        Slip(_backward(slope=lambda h, d: d * (h <= 0)),
             "your mask is the wrong way round: the gradient passes where the unit is active", "Multiply by (h > 0)."),
        Slip(_backward(hidden=lambda h: h),
             "the gradient for W2 uses the hidden units before their ReLU: W2 has seen them after it",
             "e.T @ h.relu()"),
        Slip(_backward(forward=lambda h: h, hidden=lambda h: h, slope=lambda h, d: d),
             "your network has no ReLU at all, neither forward nor backward", "h = (x @ W1.T + b1).relu()"),
        Slip(lambda x, y, W1, b1, W2, b2: _backward(lambda a, Y: a.softmax(1) - F.one_hot(y))(x, y, W1, b1, W2, b2),
             "F.one_hot(y) makes as many columns as the largest label in the batch asks for, which may be too few: say "
             "how many classes there are", "F.one_hot(y, len(W2))"),
        Slip(_backward(error=lambda a, Y: a.softmax(1)),
             "you have left out the labels: the gradient for the logits is P - Y",
             "Subtract F.one_hot(y, K) from the probabilities."),
        Slip(_backward(error=lambda a, Y: a - Y),
             "the softmax is missing: the gradient for the logits is P - Y, with probabilities, not logits, in P",
             "P = logits.softmax(dim=1)"),
        Slip(_backward(error=lambda a, Y: a.softmax(0) - Y),
             "your softmax runs over the images (axis 0): the K probabilities of one image must sum to 1, so dim=1",
             "P = logits.softmax(dim=1)"),
        Slip(_backward(error=_after_softmax),
             "you sent P - Y through the softmax once more: it is the gradient for the logits already",
             "The derivation in the lesson starts from the logits. Go on to W2 and the hidden units directly."),
        Slip(_backward(error=lambda a, Y: (a.softmax(1) - Y) * a.softmax(1) * (1 - a.softmax(1))),
             "you multiplied by p (1 - p): with the cross-entropy that factor cancels, leaving P - Y",
             "It belongs to the squared error."),
        Slip(_backward(error=lambda a, Y: 2 * (a.softmax(1) - Y)),
             "there is a factor 2 too much, as the squared error has: the gradient for the logits is P - Y",
             "Leave out the 2."),
        Slip(_backward(use=(0, 1)),
             "your network forgets b1: it is part of the hidden units", "h = (x @ W1.T + b1).relu()"),
        Slip(_backward(use=(1, 0)), "your network forgets b2: it is part of the logits", "logits = h @ W2.T + b2"),
        Slip(_backward(use=(0, 0)),
             "your network forgets b1 and b2", "h = (x @ W1.T + b1).relu(); logits = h @ W2.T + b2"),
    ],
    hint="Let e = (P - Y) / N, shape (N, K). For W2: e.T @ h, with h after the ReLU. What arrives at the hidden units: "
         "e @ W2, shape (N, M), and only where h > 0. For W1: that, transposed, @ x. Compare with torch.autograd.grad.",
    rtol=2e-3, atol=1e-4)


# --- a bug hunt -----------------------------------------------------------------------------------------------------

def _trainings(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, k, steps, lr in ((2, 2, 2, 1, 0.5), (1, 3, 3, 3, 0.3), (3, 3, 4, 5, 0.2), (4, 2, 3, 4, 0.5)):
        model = filled(nn.Sequential(nn.Flatten(), nn.Linear(d, 5), nn.Tanh(), nn.Linear(5, k)), g)
        cases.append((model, rand(g, n, 1, 1, d), torch.randint(k, (n,), generator=g), steps, lr))
    return cases


def _momentum(loss, keep=0.9, sign=-1, rate=1.0):
    """A repaired or broken version of the loop, for comparison."""
    def train(model, x, y, steps, lr):
        velocity, losses = [torch.zeros_like(w) for w in model.parameters()], []
        for _ in range(steps):
            value = loss(model(x), y)
            gradient = torch.autograd.grad(value, list(model.parameters()))
            with torch.no_grad():
                for w, v, g in zip(model.parameters(), velocity, gradient):
                    v.mul_(keep).add_(g, alpha=rate)
                    w += sign * lr * v
            losses.append(value.detach())
        return losses
    return train


def _picked(values: Tensor, y: Tensor) -> Tensor:
    return -_true(values, y).mean()


train_classifier = Implementation(
    "train_classifier",
    right=_momentum(F.cross_entropy),
    run=trained,
    cases=_trainings,
    slips=[
        Slip(_momentum(lambda a, y: F.cross_entropy(a.softmax(1), y)),
             "the bug is still there: what does F.cross_entropy expect, and what does it get?",
             "F.cross_entropy applies softmax itself. What does it say to a sure and right answer, p = (1, 0)?"),
        Slip(_momentum(lambda a, y: F.cross_entropy(a.softmax(0), y)),
             "the bug is still there, and the softmax now runs over the images instead of the classes",
             "The dim was right. What does F.cross_entropy expect, and what does it get?"),
        Slip(_momentum(lambda a, y: F.cross_entropy(a.sigmoid(), y)),
             "you put a sigmoid in place of the softmax: the loss still gets numbers between 0 and 1",
             "F.cross_entropy expects logits, any numbers at all."),
        Slip(_momentum(lambda a, y: _picked(a.softmax(1), y)),
             "this loss is -p, without the logarithm: F.nll_loss expects log probabilities",
             "F.nll_loss(p.log(), y), or better F.cross_entropy of the logits."),
        Slip(_momentum(lambda a, y: _picked(a, y)),
             "this loss is minus a logit, which can fall without limit: F.nll_loss expects log probabilities",
             "F.cross_entropy is log_softmax and F.nll_loss in one."),
        Slip(_momentum(lambda a, y: _picked(a.log_softmax(0), y)),
             "the log-softmax runs over the images (axis 0): the classes are the last axis",
             "F.log_softmax(logits, dim=1); or F.cross_entropy, which does it for you."),
        Slip(_momentum(lambda a, y: F.cross_entropy(a, y, reduction="sum")),
             "softmax is applied once now, but you sum the losses, and the mean was right",
             "Leave out reduction=\"sum\", or divide by the number of images."),
        Slip(_momentum(lambda a, y: (a.softmax(1) - F.one_hot(y, a.shape[1])).square().mean()),
             "the squared error is another loss: the cross-entropy was asked for",
             "Keep F.cross_entropy, and look at what it is given."),
        Slip(_momentum(lambda a, y: F.cross_entropy(-a, y)),
             "the sign of the logits is turned round: a large logit must stand for a likely class",
             "F.cross_entropy(model(x), y)"),
        Slip(_momentum(F.cross_entropy, keep=0.0),
             "the loss is right now, but the momentum is gone: it was no bug", "v.mul_(0.9).add_(g)"),
        Slip(_momentum(lambda a, y: F.cross_entropy(a.softmax(1), y), keep=0.0),
             "the momentum was no bug, and without it the bug is still there",
             "Put the momentum back. What does F.cross_entropy expect, and what does it get?"),
        Slip(_momentum(F.cross_entropy, rate=0.1),
             "the loss is right now, but the momentum has changed: the gradient was added in full, and you add a tenth",
             "v.mul_(0.9).add_(g)"),
        Slip(_momentum(lambda a, y: F.cross_entropy(a.softmax(1), y), rate=0.1),
             "the momentum was no bug, and with another one the bug is still there",
             "Put the momentum back. What does F.cross_entropy expect, and what does it get?"),
        Slip(_momentum(F.cross_entropy, sign=1), "the step goes up: subtract lr times the velocity", "w -= lr * v"),
    ],
    hint="The loop was right but for one line. Read the documentation of F.cross_entropy: which input does it expect? "
         "Return the list of the losses, one for each step, computed before that step.",
    rtol=1e-3, atol=1e-4)


# --- two measurements -----------------------------------------------------------------------------------------------

def _nearest(digits, sign: int = 1) -> float:
    """Test accuracy of the nearest neighbour, or with sign -1 of the farthest."""
    distance = sign * torch.cdist(digits.test.x.flatten(1), digits.train.x.flatten(1))  # (1000, 4000)
    return (digits.train.y[distance.argmin(1)] == digits.test.y).double().mean().item()


def _largest_product(digits) -> float:
    product = digits.test.x.flatten(1) @ digits.train.x.flatten(1).T
    return (digits.train.y[product.argmax(1)] == digits.test.y).float().mean().item()


def _to_the_means(digits) -> float:
    x, y = digits.train.x.flatten(1), digits.train.y
    means = torch.stack([x[y == k].mean(0) for k in range(10)])
    return (torch.cdist(digits.test.x.flatten(1), means).argmin(1) == digits.test.y).float().mean().item()


nearest_accuracy = Measurement(
    "nearest_accuracy",
    truth=_nearest,
    tolerance=0.002,
    slips=[
        Slip(lambda digits: 1 - _nearest(digits),
             "this is the share of wrong answers: the accuracy is the share of right ones",
             "Compare with ==, not with !=."),
        Slip(lambda digits: _nearest(digits) * len(digits.test.y),
             "this is the number of right answers, and their share is asked for",
             "Divide by the number of test digits."),
        Slip(lambda digits: 1.0,
             "every digit is right: you looked for the neighbours of digits among those same digits, and each found "
             "itself", "The distances are from test digits to training digits: torch.cdist(test, train)."),
        Slip(lambda digits: _nearest(digits, sign=-1),
             "you took the farthest training digit: the smallest distance is asked for", "argmin in place of argmax."),
        Slip(_largest_product,
             "you took the training digit with the largest product: that favours those with much ink; take the "
             "smallest distance", "torch.cdist(a, b).argmin(dim=1)"),
        Slip(_to_the_means,
             "you compared with the mean image of each class: the nearest single training digit is asked for",
             "Compute the distance to each of the 4,000 training digits."),
    ],
    hint="torch.cdist(test, train) has shape (1000, 4000), with both sets flattened to 784 numbers a digit. The argmin "
         "over the training digits, dim=1, is the place of the nearest; its label is the answer.")


def _error_of(accuracy: float, n: int) -> float:
    return (accuracy * (1 - accuracy) / n)**0.5


standard_error = Measurement(
    "standard_error",
    truth=lambda digits: _error_of(_nearest(digits), 1000),
    tolerance=0.06,
    slips=[
        Slip(lambda digits: _error_of(_nearest(digits), 1000)**2,
             "the square root is missing: this is the variance of the accuracy", "(q * (1 - q) / n) ** 0.5"),
        Slip(lambda digits: _error_of(_nearest(digits), 1),
             "this is the standard deviation of a single answer, right or wrong: that of a mean of n is smaller by the "
             "root of n", "(q * (1 - q) / n) ** 0.5"),
        Slip(lambda digits: _error_of(_nearest(digits), 1) / 1000,
             "you divided by n after the square root: the root goes over q (1 - q) / n", "(q * (1 - q) / n) ** 0.5"),
        Slip(lambda digits: _error_of(_nearest(digits), 4000),
             "n is the number of digits the accuracy was measured on, the 1,000 test digits, not the training digits",
             "With n = 4000 you would be twice as sure as you can be: put in n = 1000."),
        Slip(lambda digits: 2 * _error_of(_nearest(digits), 1000),
             "this is two standard errors: one is asked for",
             "Halve it: the interval of two standard errors on either side comes later."),
        Slip(lambda digits: 1000**-0.5,
             "this is about 1 / root of n: under the root, the factor q (1 - q) or a part of it is missing",
             "(q * (1 - q) / n) ** 0.5"),
    ],
    hint="With q the accuracy and n the number of test digits, the lesson has the formula under \"A number, a "
         "baseline, and how far to trust both\". Or draw 1,000 test digits with replacement, many times: how far "
         "spread are the accuracies?")
