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


wrong(check.ends, "right for points, and not for images")(both("x_t - t * v, x_t + (1 - t) * v", "t = t[:, None]"))
wrong(check.ends, "right for images, and not for points")(both(
    "x_t - t * v, x_t + (1 - t) * v", "t = t[:, None, None, None]"))

right(check.ends)(both("x_t - t * v, x_t + (1 - t) * v"))
right(check.ends)(both("[torch.lerp(x_t, x_t - v, t), x_t + v - t * v]"))


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


right(check.heun)(heun())
right(check.heun)(heun("guess = x + k1 * h; k2 = model(guess, t + h)", "x = 0.5 * x + 0.5 * (guess + h * k2)"))


# --- 3

HALF = """
scale, shift, gate = scale[:, None], shift[:, None], gate[:, None]
h = F.layer_norm(x, x.shape[-1:])
{enter}
{leave}"""
ENTER, LEAVE = "h = h * (1 + scale) + shift", "return x + gate * layer(h)"


def half(enter=ENTER, leave=LEAVE, change=("", "")):
    return written("x, layer, scale, shift, gate", HALF.format(enter=enter, leave=leave).strip().replace(*change))


right(check.half_block)(half())
right(check.half_block)(lambda x, layer, scale, shift, gate: x + gate.unsqueeze(1) * layer(
    dit.modulate(nn.LayerNorm(x.shape[2], elementwise_affine=False)(x), scale, shift)))


# --- 4

LOSS = """
each = t.view(-1, *[1] * (x.ndim - 1))
x_t = (1 - each) * eps + each * x
velocity = {velocity}
return {loss}"""
MEAN = "(model(x_t, t) - velocity).square().mean()"


def loss(velocity="x - eps", loss=MEAN, change=("", "")):
    return written("model, x, eps, t", LOSS.format(velocity=velocity, loss=loss).strip().replace(*change))


wrong(check.velocity_loss, "cannot be differentiated")(loss(loss=MEAN + ".item()"))

right(check.velocity_loss)(loss())
right(check.velocity_loss)(loss("(x - x_t) / (1 - each)"))


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


wrong(check.saved, "is in percent")(Later(lambda: 100 * share(*ways())))
wrong(check.saved, "is too small")(0.21)
wrong(check.saved, "is too large")(16)
right(check.saved)(steps(check.heun.right, 20))
right(check.saved)(steps(flow.euler, 50))
