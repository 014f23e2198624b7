"""What a sample costs: operations, bytes, seconds, joules and grams of CO2; and one lever, weights of 8 bits.

Operations and bytes are counted, seconds are measured. Joules and grams need assumptions, which are arguments: the
watts of the machine, and the grams of CO2 for a kilowatt-hour of its grid."""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from course_lib.expect import above, finite, whole


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_, **__) -> int:
    """Fused attention on a CPU, which PyTorch's counter does not know. Places that are masked count as well."""
    return sdpa_flop_count(query, key, value)


UNKNOWN = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def operations(call: Callable[[], object]) -> int:
    """Multiplications and additions in the matrix products, convolutions and attentions of call(), counted by PyTorch.

    A product of (m, k) and (k, n) has 2 m k n of them. Sums, norms and activations are not counted: they cost little
    arithmetic, though they take time."""
    with FlopCounterMode(display=False, custom_mapping=UNKNOWN) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def operations_by_layer(model: nn.Module, call: Callable[[], object]) -> dict[str, int]:
    """The same by hand, for the linear layers and convolutions of a model while call() runs it: name -> operations.

    Every output number of a layer is a sum of products, one for each weight that it sees, and two operations each."""
    counted: dict[str, int] = {}

    def counting(name):
        def hook(layer, inputs, output):
            sees = layer.in_features if isinstance(layer, nn.Linear) else layer.weight[0].numel()
            counted[name] = counted.get(name, 0) + 2 * output.numel() * sees
        return hook

    hooks = [layer.register_forward_hook(counting(name)) for name, layer in model.named_modules()
             if isinstance(layer, nn.Linear | nn.Conv2d)]
    try:
        with torch.no_grad():
            call()
    finally:
        for hook in hooks:
            hook.remove()
    return counted


def n_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])


def seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """The median of several timings, after one that warms up. Work on a GPU is waited for."""
    whole(1, repeats=repeats)
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return sorted(times[1:])[repeats // 2]


def joules(seconds: float, watts: float) -> float:
    """Energy of a machine that takes so many watts, an assumption, for so long."""
    finite(0, seconds=seconds)
    above(0, watts=watts)
    return seconds * watts


def grams_of_co2(joules: float, grams_per_kwh: float) -> float:
    """With a grid of so many grams of CO2 a kilowatt-hour, an assumption; a kilowatt-hour has 3.6 million joules."""
    finite(0, joules=joules, grams_per_kwh=grams_per_kwh)
    return joules / 3.6e6 * grams_per_kwh


def pareto(cost: list[float], loss: list[float]) -> list[int]:
    """Which of n points no other beats: none costs at most as much and loses less, or costs less and loses as much.

    -> their numbers, from the cheapest on.  Raises ValueError for lists of two lengths."""
    if len(cost) != len(loss) or not cost:
        raise ValueError(f"{len(cost)} costs and {len(loss)} losses do not belong to the same points")
    finite(**{f"cost {i}": c for i, c in enumerate(cost)}, **{f"loss {i}": x for i, x in enumerate(loss)})
    front, best = [], float("inf")
    for i in sorted(range(len(cost)), key=lambda i: (cost[i], loss[i])):
        if loss[i] < best:
            front.append(i)
            best = loss[i]
    return front


# --------------------------------------------------------------------------------------------------- weights of 8 bits

def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as whole numbers from -127 to 127 and one scale: (n, ...) -> int8 (n, ...), scale (n, 1, ...).

    The largest number of a row becomes 127 or -127, and none moves by more than half a scale."""
    if weight.ndim < 2 or not weight.is_floating_point() or not weight.numel():
        raise ValueError(f"weights of shape {tuple(weight.shape)} and {weight.dtype} have no rows to be rounded")
    scale = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-12) / 127    # (n,)
    scale = scale.view(-1, *[1] * (weight.ndim - 1))
    return (weight.detach() / scale).round().clamp(-127, 127).to(torch.int8), scale


def from_int8(q: Tensor, scale: Tensor) -> Tensor:
    """The weights that such numbers stand for.  int8 (n, ...), scale (n, 1, ...) -> (n, ...)"""
    return q.to(scale.dtype) * scale


class Int8(nn.Module):
    """A linear layer or convolution that keeps its weights in 8 bits and computes as before: a quarter of the memory,
    and no faster, because they are made floats again for each call."""

    def __init__(self, layer: nn.Linear | nn.Conv2d):
        super().__init__()
        if not isinstance(layer, nn.Linear | nn.Conv2d) or getattr(layer, "padding_mode", "zeros") != "zeros":
            raise ValueError(f"{type(layer).__name__} is neither a linear layer nor a convolution padded with zeros")
        q, scale = to_int8(layer.weight)
        self.register_buffer("q", q)
        self.register_buffer("scale", scale)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.options = None if isinstance(layer, nn.Linear) else (
            layer.stride, layer.padding, layer.dilation, layer.groups)

    @property
    def weight(self) -> Tensor:
        return from_int8(self.q, self.scale)

    @property
    def in_features(self) -> int:
        """How many numbers an output is a sum over, as of `nn.Linear`."""
        return self.q[0].numel()

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        if self.options is None:
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, *self.options)


def in_int8(model: nn.Module) -> nn.Module:
    """A copy of a model whose linear layers and convolutions are `Int8`.  Raises ValueError if it has none."""
    model = copy.deepcopy(model)
    found = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()
             if isinstance(child, nn.Linear | nn.Conv2d)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear layer and no convolution inside")
    for parent, name, child in found:
        setattr(parent, name, Int8(child))
    return model
