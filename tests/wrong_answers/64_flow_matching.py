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


wrong(check.ends, "noise and data have changed places")(both("x_t + (1 - t) * v, x_t - t * v"))
wrong(check.ends, "at t = 0 all of it is left")(both("x_t - (1 - t) * v, x_t + t * v"))
wrong(check.ends, "you walk the wrong way")(both("x_t + t * v, x_t - (1 - t) * v"))
wrong(check.ends, "you walk a whole road")(both("x_t - v, x_t + v"))
wrong(check.ends, "meets the last axis of v")(both("x_t - t * v, x_t + (1 - t) * v", "pass"))
wrong(check.ends, "one time for all")(both("x_t - t[0] * v, x_t + (1 - t[0]) * v", "pass"))
wrong(check.ends, "one time for all")(both("x_t - t * v, x_t + (1 - t) * v", "t = t.mean()"))
wrong(check.ends, "nan comes from 0 / 0")(both("(x_t - t * (x_t + (1 - t) * v)) / (1 - t), x_t + (1 - t) * v"))
for noise in ("x_t + t * v", "x_t - (1 - t) * v", "x_t - v"):
    wrong(check.ends, "right, and not the noise")(both(f"{noise}, x_t + (1 - t) * v"))
for data in ("x_t - (1 - t) * v", "x_t + t * v", "x_t + v", "(x_t - t * v) + t * v"):
    wrong(check.ends, "right, and not the data")(both(f"x_t - t * v, {data}"))
wrong(check.ends, "right for points, and not for images")(both("x_t - t * v, x_t + (1 - t) * v", "t = t[:, None]"))
wrong(check.ends, "in this order")(both("torch.stack([x_t - t * v, x_t + (1 - t) * v])"))
wrong(check.ends, "right for images, and not for points")(both(
    "x_t - t * v, x_t + (1 - t) * v", "t = t[:, None, None, None]"))

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
wrong(check.heun, "h = 1 / steps is missing")(heun(change=("h = 1 / steps", "h = 1")))
wrong(check.heun, "h = 1 / steps is missing")(heun("k2 = model(x + k1, t + h)"))
wrong(check.heun, "h = 1 / steps is missing")(heun("k2 = model(x + h * k1, t + 1)"))
wrong(check.heun, "h = 1 / steps is missing")(heun(move="x = x + (k1 + k2) / 2"))
wrong(check.heun, "h = 1 / steps is missing")(heun(change=("i / steps)", "float(i))")))
wrong(check.heun, "h = 1 / steps is missing")(written("model, x, steps", HEUN.format(
    second="k2 = model(x + k1, t + 1)", move="x = x + (k1 + k2) / 2").strip().replace("i / steps", "float(i)")))
wrong(check.heun, "k1 counts in full and k2 by half")(heun(move="x = x + h * (k1 + k2 / 2)"))
wrong(check.heun, "k1 counts in full and k2 by half")(heun(move="x = x + h * k1 + k2 / 2"))
wrong(check.heun, "k1 counts in full and k2 by half")(heun(
    "trial = x + h * k1; k2 = model(trial, t + h)", "x = trial + h * k2 / 2"))
wrong(check.heun, "one step too few")(heun(change=("range(steps)", "range(steps - 1)")))
wrong(check.heun, "one step too few")(heun(change=("range(steps)", "range(1, steps)")))
wrong(check.heun, "one step too many")(heun(change=("range(steps)", "range(steps + 1)")))
wrong(check.heun, "one step ahead")(heun(change=("range(steps)", "range(1, steps + 1)")))
wrong(check.heun, "your clock stands still, or goes twice")(heun(change=("i / steps)", "0.0)")))
wrong(check.heun, "torch.linspace(0, 1, steps) has")(heun(
    change=("for i in range(steps):", "for i in torch.linspace(0, steps, steps).tolist():")))
wrong(check.heun, "you walk backwards")(heun(move="x = x - h * (k1 + k2) / 2"))
wrong(check.heun, "you walk backwards")(heun("k2 = model(x - h * k1, t + h)", "x = x - h * (k1 + k2) / 2"))
wrong(check.heun, "your clock runs from 1 to 0")(written("model, x, steps", HEUN.format(
    second="k2 = model(x - h * k1, t - h)", move="x = x - h * (k1 + k2) / 2").strip().replace("i / s", "1 - i / s")))
wrong(check.heun, "only one of the steps is made")(heun(move="end = x + h * (k1 + k2) / 2",
                                                        change=("return x", "return end")))
wrong(check.heun, "you return the noise as it was")(heun(move="x_new = x + h * (k1 + k2) / 2"))
wrong(check.heun, "your last step is Euler's")(heun(
    "k2 = model(x + h * k1, t + h) if i < steps - 1 else k1"))
for after in ("k1 = k2", "pass"):
    wrong(check.heun, "k1 is not that of the step")(written("model, x, steps", f"""h = 1 / steps
k1 = model(x, torch.zeros(len(x)))
for i in range(steps):
    k2 = model(x + h * k1, torch.full((len(x),), (i + 1) / steps))
    x = x + h * (k1 + k2) / 2
    {after}
return x"""))


@wrong(check.heun, "your clock stands still, or goes twice")
def _(model, x, steps):
    h, t = 1 / steps, torch.zeros(len(x))
    for _ in range(steps):
        k1 = model(x, t)
        t = t + h
        x = x + h * (k1 + model(x + h * k1, t)) / 2
        t = t + h
    return x


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
for axes in ("1, 2", "0, 1, 2", "1", "0", "0, 1"):
    wrong(check.half_block, "over other axes than the last")(half(
        f"h = (x - x.mean(({axes},), True)) / (x.var(({axes},), False, keepdim=True) + 1e-5).sqrt()\n" + ENTER))
wrong(check.half_block, "over other axes than the last")(half(
    "h = (x - x.mean(1, True)) / x.std(1, False, keepdim=True)\n" + ENTER))
for norm in ("x - x.mean(-1, True)", "x / x.square().mean(-1, True).sqrt()", "F.normalize(x, dim=-1)",
             "x / x.std(-1, False, keepdim=True)", "(x - x.mean(-1, True)) / x.var(-1, keepdim=True)"):
    wrong(check.half_block, "your norm is another")(half(f"h = {norm}\n" + ENTER))
wrong(check.half_block, "your brackets stand in another place")(half("h = h * 1 + scale + shift"))
wrong(check.half_block, "your brackets stand in another place")(half("h = h * (1 + scale + shift)"))
wrong(check.half_block, "your brackets stand in another place")(half("h = (h + shift) * (1 + scale)"))
wrong(check.half_block, "scale has no effect")(half("h = h + shift"))
wrong(check.half_block, "shift has no effect")(half("h = h * (1 + scale)"))
wrong(check.half_block, "gate and another of the three")(half(
    "h = h * (1 + gate) + shift", "return x + scale * layer(h)"))
wrong(check.half_block, "gate and another of the three")(half(
    "h = h * (1 + scale) + gate", "return x + shift * layer(h)"))
wrong(check.half_block, "the layer is missing")(half(leave="return x + gate * h"))
wrong(check.half_block, "the same scale, shift and gate for all images")(half(change=("[:, None]", "[0]")))
wrong(check.half_block, "the same scale, shift and gate for all images")(half(change=("[:, None]", ".mean(0)")))
wrong(check.half_block, "stands on the way past the layer")(half(leave="return gate * x + layer(h)"))
wrong(check.half_block, "stands on the way past the layer")(half(leave="return torch.lerp(x, layer(h), gate)"))
wrong(check.half_block, "to x itself, as it came")(half(leave="return h + gate * layer(h)"))
wrong(check.half_block, "to x itself, as it came")(half(change=("h = F", "h = x = F")))
wrong(check.half_block, "are taken as they are")(half(leave="return x + gate.sigmoid() * layer(h)"))
wrong(check.half_block, "are taken as they are")(half("h = h * scale.exp() + shift"))
wrong(check.half_block, "what comes out of the layer")(half(
    "h = F.layer_norm(layer(x), x.shape[-1:])", "return x + gate * (h * (1 + scale) + shift)"))
wrong(check.half_block, "x itself is missing")(half(leave="return gate * layer(h)"))
wrong(check.half_block, "gate has no effect")(half(leave="return x + layer(h)"))
wrong(check.half_block, "you multiply by 1 + gate")(half(leave="return x + (1 + gate) * layer(h)"))
wrong(check.half_block, "stands on the way past the layer")(half(leave="return gate * (x + layer(h))"))
wrong(check.half_block, "the gate stands before the layer")(half(leave="return x + layer(gate * h)"))
wrong(check.half_block, "the result of half_block should be")(half("h = h * (1 + scale) - shift"))
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
wrong(check.velocity_loss, "the bug is still there")(loss("x_t - x"))
wrong(check.velocity_loss, "the bug is still there")(loss("(x - x_t) * (1 - each)"))
wrong(check.velocity_loss, "the bug is still there")(loss("(x - x_t) / each"))
wrong(check.velocity_loss, "the bug is still there")(loss(
    "x - x_t", "((model(x_t, t) - velocity) / (1 - each)).square().mean()"))
wrong(check.velocity_loss, "this target is the way behind x_t")(loss("x_t - eps"))
wrong(check.velocity_loss, "this has the right minimum")(loss(
    "x - x_t", "(model(x_t, t) * (1 - each) - velocity).square().mean()"))
wrong(check.velocity_loss, "the sign is wrong")(loss("eps - x"))
wrong(check.velocity_loss, "now your road begins at x")(loss(
    change=("(1 - each) * eps + each * x", "(1 - each) * x + each * eps")))
for velocity in ("eps - x", "x - x_t"):
    wrong(check.velocity_loss, "now your road begins at x")(loss(
        velocity, change=("(1 - each) * eps + each * x", "(1 - each) * x + each * eps")))
wrong(check.velocity_loss, "is shown an end of the road")(loss(loss=MEAN.replace("x_t", "x")))
wrong(check.velocity_loss, "is shown an end of the road")(loss(loss=MEAN.replace("x_t", "eps")))
wrong(check.velocity_loss, "is told the time 1 - t")(loss(loss=MEAN.replace(", t)", ", 1 - t)")))
wrong(check.velocity_loss, "with a time of shape (1, 1)")(loss(loss=MEAN.replace(", t)", ", each)")))
for velocity in ("x", "eps", "x + eps"):
    wrong(check.velocity_loss, "this target is no velocity")(loss(velocity))
wrong(check.velocity_loss, "this is a sum")(loss(loss="F.mse_loss(model(x_t, t), velocity, reduction='sum')"))
wrong(check.velocity_loss, "this is a sum")(loss(loss=MEAN.replace(".mean()", ".flatten(1).sum(1).mean()")))
wrong(check.velocity_loss, "this is a sum")(loss(loss=MEAN.replace(".mean()", ".sum(1).mean()")))
wrong(check.velocity_loss, "one number for each example")(loss(
    loss="(model(x_t, t) - velocity).square().flatten(1).mean(1)"))
for reduce in ("mean()", "abs().mean()", "mean().square()", "square().mean().sqrt()", "flatten(1).norm(dim=1).mean()"):
    wrong(check.velocity_loss, "square each error first")(loss(loss=MEAN.replace("square().mean()", reduce)))
wrong(check.velocity_loss, "the result of velocity_loss should be")(loss(loss=MEAN + " / 2"))
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


def pairs(ratio):
    """The mean of a ratio of the squared lengths of each path and of the road from the same noise."""
    eps, x = torch.randn(5_000, 2, generator=seeded(5)), toys.ring().sample(5_000, seeded(6))
    end = flow.midpoint(check.exact_velocity, eps, 20)
    return ratio((end - eps).square().sum(1), (x - eps).square().sum(1)).mean()


def from_start(start, goal):
    """Mean squared distance from the noise (0) or the data (1) to the ends of paths that begin at one of them."""
    both = torch.randn(5_000, 2, generator=seeded(5)), toys.ring().sample(5_000, seeded(6))
    return (flow.midpoint(check.exact_velocity, both[start], 20) - both[goal]).square().sum(1).mean()


def share(before, after):
    return 1 - after / before


def steps(method, n):
    return Later(lambda: share(*ways(lambda eps: method(check.exact_velocity, eps, n))))


wrong(check.saved, "this is the share that is left")(Later(lambda: 1 - share(*ways())))
wrong(check.saved, "is in percent")(Later(lambda: 100 * share(*ways())))
wrong(check.saved, "this is a difference")(Later(lambda: ways()[0] - ways()[1]))
wrong(check.saved, "this is a difference")(Later(lambda: (ways()[0] - ways()[1]) / 2))
wrong(check.saved, "you divide by the mean of the paths")(Later(lambda: ways()[0] / ways()[1]))
wrong(check.saved, "you divide by the mean of the paths")(Later(lambda: 1 - ways()[0] / ways()[1]))
wrong(check.saved, "you divide by the mean of the paths")(Later(lambda: (ways()[0] - ways()[1]) / ways()[1]))
wrong(check.saved, "a mean of 5,000 ratios")(Later(lambda: 1 - pairs(lambda way, road: way / road)))
wrong(check.saved, "a mean of 5,000 ratios")(Later(lambda: 1 - pairs(lambda way, road: (way / road).sqrt())))
wrong(check.saved, "your paths begin at the data")(Later(lambda: share(ways()[0], from_start(1, 1))))
wrong(check.saved, "your paths begin at the data")(Later(lambda: share(ways()[0], from_start(1, 0))))
wrong(check.saved, "how far the ends are from the data")(Later(lambda: share(ways()[0], from_start(0, 1))))
wrong(check.saved, "you compare lengths")(Later(lambda: 1 - (ways()[1] / ways()[0]) ** 0.5))
wrong(check.saved, "mean of the paths alone")(Later(lambda: ways()[1]))
wrong(check.saved, "mean of the roads alone")(Later(lambda: ways()[0]))
wrong(check.saved, "mean of the paths alone")(Later(lambda: ways()[1] / 2))
for n in (1, 2):
    wrong(check.saved, "in only one or two steps")(steps(check.heun.right, n))
wrong(check.saved, "in only one or two steps")(steps(flow.euler, 1))
wrong(check.saved, "in only one or two steps")(Later(lambda: share(ways()[0], ways()[1] / 2)))
wrong(check.saved, "in only one or two steps")(Later(lambda: share(ways()[0], ways()[1] * 2)))
wrong(check.saved, "is too small")(0.21)
wrong(check.saved, "is too large")(16)
right(check.saved)(steps(check.heun.right, 20))
right(check.saved)(steps(flow.euler, 50))
right(check.saved)(Later(lambda: np.float64(share(6.02, ways()[1]))))
