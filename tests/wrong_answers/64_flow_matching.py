import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import dit, flow
from course_lib.checks import flow_matching as check
from course_lib.data import toys
from course_lib.device import seeded
from wrong_answers import right, wrong


def written(first, lines, **names):
    """A function as a learner writes it, from its first line and its lines."""
    names |= {"torch": torch, "F": F, "nn": nn, "flow": flow}
    exec(f"def answer({first}):\n    " + lines.replace("\n", "\n    "), names)
    return names["answer"]


# --- 1: the lines after t has been given as many axes as v

def both(line, reshape="t = t.view(-1, *[1] * (v.ndim - 1))"):
    return written("x_t, v, t", f"{reshape}\nreturn {line}")


wrong(check.ends, "noise and image have changed places")(both("x_t + (1 - t) * v, x_t - t * v"))
wrong(check.ends, "at t = 0 all of it is left")(both("x_t - (1 - t) * v, x_t + t * v"))
wrong(check.ends, "you walk the wrong way")(both("x_t + t * v, x_t - (1 - t) * v"))
wrong(check.ends, "you walk a whole road")(both("x_t - v, x_t + v"))
wrong(check.ends, "meets the last axis of v")(both("x_t - t * v, x_t + (1 - t) * v", "pass"))
wrong(check.ends, "the first time for all")(both("x_t - t[0] * v, x_t + (1 - t[0]) * v", "pass"))
wrong(check.ends, "nan comes from 0 / 0")(both("(x_t - t * (x_t + (1 - t) * v)) / (1 - t), x_t + (1 - t) * v"))
wrong(check.ends, "the image of ends should be")(both("x_t - t * v, x_t + v"))
wrong(check.ends, "in this order")(both("torch.stack([x_t - t * v, x_t + (1 - t) * v])"))
wrong(check.ends, "has shape (1, 1, 1, 2)")(both("x_t - t * v, x_t + (1 - t) * v", "t = t[:, None, None, None]"))

right(check.ends)(both("x_t - t * v, x_t + (1 - t) * v"))
right(check.ends)(both("[torch.lerp(x_t, x_t - v, t), x_t + v - t * v]"))


@right(check.ends)
def _(x_t, v, t):
    eps = torch.stack([x_t[i] - t[i] * v[i] for i in range(len(t))])
    return eps, eps + v


@right(check.ends)
def _(x_t, v, t):
    eps = x_t - torch.einsum("b,b...->b...", t, v)
    return eps, v + eps


# --- 2

HEUN = """
h = 1 / steps
for i in range(steps):
    t = torch.full((len(x),), i / steps)
    k1 = model(x, t)
    {second}
    {move}
return x"""
SECOND, MOVE = "k2 = model(x + h * k1, t + h)", "x = x + h * (k1 + k2) / 2"


def heun(second=SECOND, move=MOVE, change=("", "")):
    return written("model, x, steps", HEUN.format(second=second, move=move).strip().replace(*change))


@wrong(check.heun, "torch.linspace(0, 1, steps) has")
def _(model, x, steps):
    times = torch.linspace(0, 1, steps)
    for t, after in zip(times[:-1], times[1:]):
        k1 = model(x, t.expand(len(x)))
        k2 = model(x + (after - t) * k1, after.expand(len(x)))
        x = x + (after - t) * (k1 + k2) / 2
    return x


@wrong(check.heun, "your clock runs from 1 to 0")
def _(model, x, steps):
    for i in reversed(range(steps)):
        t, after = torch.full((len(x),), (i + 1) / steps), torch.full((len(x),), i / steps)
        k1 = model(x, t)
        x = x + (k1 + model(x + k1 / steps, after)) / (2 * steps)
    return x


@wrong(check.heun, "this is Euler's method")
def _(model, x, steps):
    return flow.euler(model, x, steps)


@wrong(check.heun, "this is the midpoint method")
def _(model, x, steps):
    return flow.midpoint(model, x, steps)


@wrong(check.heun, "only one of the steps is made")
def _(model, x, steps):
    h = 1 / steps
    for i in range(steps):
        t = torch.full((len(x),), i * h)
        k1 = model(x, t)
        k2 = model(x + h * k1, t + h)
        x = x + h * (k1 + k2) / 2
        return x


wrong(check.heun, "the later time, but the old place")(heun("k2 = model(x, t + h)"))
wrong(check.heun, "the new place, but the old time")(heun("k2 = model(x + h * k1, t)"))
wrong(check.heun, "the sum of both slopes")(heun(move="x = x + h * (k1 + k2)"))
wrong(check.heun, "that was a trial")(heun("x = x + h * k1; k2 = model(x, t + h)"))
wrong(check.heun, "the second slope alone")(heun(move="x = x + h * k2"))
wrong(check.heun, "with a time of type float")(heun(change=("torch.full((len(x),), i / steps)", "i / steps")))
wrong(check.heun, "with a time of shape ()")(heun(
    change=("torch.full((len(x),), i / steps)", "torch.tensor(i / steps)")))
wrong(check.heun, "the result of heun should be")(heun(change=("h = 1 / steps", "h = 1")))
wrong(check.heun, "returns nothing (None)")(heun(change=("return x", "pass")))

right(check.heun)(heun())
right(check.heun)(heun("guess = x + k1 * h; k2 = model(guess, t + h)", "x = 0.5 * x + 0.5 * (guess + h * k2)"))


@right(check.heun)
def _(model, x, steps):
    times = torch.linspace(0, 1, steps + 1)
    for t, after in zip(times[:-1], times[1:]):
        k1 = model(x, t.repeat(len(x)))
        k2 = model(x + (after - t) * k1, after.repeat(len(x)))
        x = x + (after - t) * torch.stack([k1, k2]).mean(0)
    return x


@right(check.heun)
@torch.no_grad()
def _(model, x, steps):
    t, h = torch.zeros(x.shape[0]), 1.0 / steps
    for _ in range(steps):
        k1 = model(x, t)
        t = t + h
        x += h / 2 * (k1 + model(x + h * k1, t))
    return x


# --- 3

HALF = """
scale, shift, gate = scale[:, None], shift[:, None], gate[:, None]
h = F.layer_norm(x, x.shape[-1:])
{enter}
{leave}"""
ENTER, LEAVE = "h = h * (1 + scale) + shift", "return x + gate * layer(h)"


def half(enter=ENTER, leave=LEAVE, change=("", "")):
    return written("x, layer, scale, shift, gate", HALF.format(enter=enter, leave=leave).strip().replace(*change))


wrong(check.half_block, "meet the tokens in place of the examples")(half(change=("[:, None]", "")))
wrong(check.half_block, "by 1 + scale is asked for")(half("h = h * scale + shift"))
wrong(check.half_block, "norm(x) is missing")(half("h = x * (1 + scale) + shift"))
wrong(check.half_block, "after you have scaled and shifted")(half(
    "h = F.layer_norm(x * (1 + scale) + shift, x.shape[-1:])"))
wrong(check.half_block, "scale and shift have changed places")(half("h = h * (1 + shift) + scale"))
wrong(check.half_block, "what comes out of the layer")(half(
    "h = layer(h)", "return x + gate * (h * (1 + scale) + shift)"))
wrong(check.half_block, ".std() divides by C - 1")(half(
    "h = (x - x.mean(-1, True)) / x.std(-1, keepdim=True)\n" + ENTER))
wrong(check.half_block, ".std() divides by C - 1")(half(
    "h = (x - x.mean(-1, True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()\n" + ENTER))
wrong(check.half_block, "all tokens of an example together")(half(change=("x.shape[-1:]", "x.shape[1:]")))
wrong(check.half_block, "x itself is missing")(half(leave="return gate * layer(h)"))
wrong(check.half_block, "gate has no effect")(half(leave="return x + layer(h)"))
wrong(check.half_block, "you multiply by 1 + gate")(half(leave="return x + (1 + gate) * layer(h)"))
wrong(check.half_block, "closes the way past the layer")(half(leave="return gate * (x + layer(h))"))
wrong(check.half_block, "the result of half_block should be")(half(leave="return x + layer(gate * h)"))
wrong(check.half_block, "stopped with RuntimeError")(half("h = nn.LayerNorm(len(x))(x)"))

right(check.half_block)(half())
right(check.half_block)(lambda x, layer, scale, shift, gate: x + gate.unsqueeze(1) * layer(
    dit.modulate(nn.LayerNorm(x.shape[2], elementwise_affine=False)(x), scale, shift)))
right(check.half_block)(half(
    "h = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0)\n"
    "h = torch.addcmul(shift, h, 1 + scale)"))


@right(check.half_block)
def _(x, layer, scale, shift, gate):
    h = torch.zeros_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            token = x[b, t]
            h[b, t] = (token - token.mean()) / (token.var(unbiased=False) + 1e-6) ** 0.5 * (1 + scale[b]) + shift[b]
    return x + torch.einsum("bc,btc->btc", gate, layer(h))


# --- 4

LOSS = """
each = t.view(-1, *[1] * (x.ndim - 1))
x_t = (1 - each) * eps + each * x
velocity = {velocity}
return {loss}"""
MEAN = "(model(x_t, t) - velocity).square().mean()"


def loss(velocity="x - eps", loss=MEAN, change=("", "")):
    return written("model, x, eps, t", LOSS.format(velocity=velocity, loss=loss).strip().replace(*change))


wrong(check.velocity_loss, "the bug is still there")(loss("x - x_t"))
wrong(check.velocity_loss, "the bug is still there")(loss("(1 - each) * (x - eps)"))
wrong(check.velocity_loss, "this target is the way behind x_t")(loss("x_t - eps"))
wrong(check.velocity_loss, "this has the right minimum")(loss(
    "x - x_t", "(model(x_t, t) * (1 - each) - velocity).square().mean()"))
wrong(check.velocity_loss, "the sign is wrong")(loss("eps - x"))
wrong(check.velocity_loss, "now your road begins at x")(loss(
    change=("(1 - each) * eps + each * x", "(1 - each) * x + each * eps")))
wrong(check.velocity_loss, "the model is shown x in place")(loss(loss=MEAN.replace("x_t", "x")))
wrong(check.velocity_loss, "this target is the image")(loss("x"))
wrong(check.velocity_loss, "this is a sum")(loss(loss="F.mse_loss(model(x_t, t), velocity, reduction='sum')"))
wrong(check.velocity_loss, "one number for each example")(loss(
    loss="(model(x_t, t) - velocity).square().flatten(1).mean(1)"))
wrong(check.velocity_loss, "the result of velocity_loss should be")(loss(
    loss="(model(x_t, t) - velocity).abs().mean()"))
wrong(check.velocity_loss, "cannot be differentiated")(loss(loss=MEAN + ".item()"))
wrong(check.velocity_loss, "cannot be differentiated")(loss(loss="F.mse_loss(model(x_t, t).detach(), velocity)"))
wrong(check.velocity_loss, "is a dict of 1")(loss(loss='{"loss": ' + MEAN + "}"))

right(check.velocity_loss)(loss())
right(check.velocity_loss)(loss("(x - x_t) / (1 - each)"))
right(check.velocity_loss)(loss(loss="F.mse_loss(model(x_t, t), velocity)"))


@right(check.velocity_loss)
def _(model, x, eps, t):
    with torch.no_grad():
        x_t = flow.interpolate(x, eps, t)
    guess, total = model(x_t, t), 0
    for i in range(len(x)):
        total = total + ((guess[i] - x[i] + eps[i]) ** 2).sum()
    return total / x.numel()


# --- 5

class Later:
    """A number that is computed when it is looked at."""

    def __init__(self, f):
        self.f = f

    def __float__(self):
        return float(self.f())


def ways(solve=lambda eps: flow.midpoint(check.exact_velocity, eps, 20)):
    """Mean squared way of random pairs and of the flow, as a learner measures them."""
    eps, x = torch.randn(5_000, 2, generator=seeded(5)), toys.ring().sample(5_000, seeded(6))
    return (x - eps).square().sum(1).mean(), (solve(eps) - eps).square().sum(1).mean()


def share(before, after):
    return 1 - after / before


def steps(method, n):
    return Later(lambda: share(*ways(lambda eps: method(check.exact_velocity, eps, n))))


wrong(check.saved, "this is the share that is left")(Later(lambda: 1 - share(*ways())))
wrong(check.saved, "is in percent")(Later(lambda: 100 * share(*ways())))
wrong(check.saved, "this is a difference")(Later(lambda: ways()[0] - ways()[1]))
wrong(check.saved, "how many times more")(Later(lambda: ways()[0] / ways()[1]))
wrong(check.saved, "you compare lengths")(Later(lambda: 1 - (ways()[1] / ways()[0]) ** 0.5))
wrong(check.saved, "mean of the paths alone")(Later(lambda: ways()[1]))
wrong(check.saved, "mean of the roads alone")(Later(lambda: ways()[0]))
wrong(check.saved, "followed in a single step")(steps(check.heun.right, 1))
wrong(check.saved, "is too small")(steps(flow.euler, 1))
wrong(check.saved, "is too large")(steps(check.heun.right, 2))
right(check.saved)(steps(check.heun.right, 20))
right(check.saved)(steps(flow.euler, 50))
right(check.saved)(Later(lambda: np.float64(share(6.02, ways()[1]))))
