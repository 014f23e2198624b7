"""Classifiers that see an image as a list of numbers: softmax regression (one linear layer) and the MLP.
Both return logits (B, n_class); `softmax` makes probabilities of them, and `cross_entropy` a loss."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from course_lib import expect


def softmax(logits: Tensor) -> Tensor:
    """Any numbers -> probabilities, in proportion to exp(logits) along the last axis.  (..., K) -> (..., K)

    Adding a constant to all logits changes nothing, so the highest is made 0 first and exp cannot overflow.
    """
    if logits.ndim == 0 or not logits.is_floating_point() or not logits.shape[-1]:
        raise ValueError(f"logits are floating-point numbers, shape (..., K); got {logits.dtype} {tuple(logits.shape)}")
    highest = logits.max(dim=-1, keepdim=True).values             # (..., 1)
    p = (logits - highest).exp()                                  # (..., K) all <= 1
    return p / p.sum(dim=-1, keepdim=True)                        # (..., K)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(logits)[y]: how surprised the model is by the true class, in nats per example.  (B, K), (B,) -> (B,)

    Its gradient with respect to the logits is softmax(logits) - onehot(y) (Bishop, 2006, eq. 4.109). The average over
    the batch is left to the caller.  Raises ValueError for a wrong shape or dtype, and for labels that are no class.
    """
    y = expect.indices("labels", y, expect.logits(logits).shape[1], len(logits))
    highest = logits.max(dim=1, keepdim=True).values.detach()     # (B, 1) any constant would cancel
    logits = logits - highest                                     # (B, K) all <= 0: exp cannot overflow
    log_sum = logits.exp().sum(dim=1).log()                       # (B,) log of the softmax's denominator
    return log_sum - logits.gather(1, y[:, None]).squeeze(1)      # (B,)


@dataclass
class MLPConfig:
    n_input: int = 784                         # numbers in one example; 28 x 28 pixels
    n_hidden: int = 128                        # units in each hidden layer
    n_layer: int = 1                           # hidden layers; with 0 the MLP is softmax regression
    n_class: int = 10


class MLP(nn.Module):
    """Multi-layer perceptron: linear, ReLU, ..., linear.  (B, ...) with n_input numbers each -> logits (B, n_class)"""

    def __init__(self, config: MLPConfig):
        super().__init__()
        expect.sizes(config)
        self.config = config
        widths = [config.n_input] + [config.n_hidden] * config.n_layer
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], config.n_class)

    def features(self, x: Tensor) -> Tensor:
        """What the last hidden layer says, after its ReLU.  (B, ...) -> (B, n_hidden)

        Raises ValueError where one example has not n_input floating-point numbers."""
        n = self.config.n_input
        if not isinstance(x, Tensor) or x.ndim < 2 or x[0:1].numel() != n or not x.is_floating_point():
            raise ValueError(f"this model takes float batches of {n} numbers an example; got {type(x).__name__} of "
                             f"{x.dtype} {tuple(x.shape)}")
        x = x.flatten(1).to(self.head.weight.dtype)               # (B, n_input)
        for layer in self.hidden:
            x = layer(x).relu()                                   # (B, n_hidden)
        return x

    def forward(self, x: Tensor) -> Tensor:                       # (B, ...)
        return self.head(self.features(x))                        # (B, n_class)


def softmax_regression(n_input: int = 784, n_class: int = 10) -> MLP:
    """An MLP without hidden layers, starting at zero: p(y | x) = softmax(W x + b) (Bishop, 2006, section 4.3.4).

    The loss is convex in W and b, so nothing is lost by starting where all classes are equally likely."""
    model = MLP(MLPConfig(n_input=n_input, n_layer=0, n_class=n_class))
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    return model
