"""Training and using a classifier: any model(x) -> logits (B, n_class) will do."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def classifier_loss(model, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Cross-entropy in nats per example, and the accuracy on the same batch (a fraction).  x (B, ...), y (B,) int64

    Raises ValueError for labels of a wrong shape or dtype, and on the CPU for a label that is no class of the model.
    """
    logits = model(x)                                             # (B, n_class)
    check_labels(y, *logits.shape)
    return {"loss": F.cross_entropy(logits, y), "accuracy": (logits.argmax(1) == y).float().mean()}


@torch.no_grad()
def predict(model, x: Tensor, batch_size: int = 500) -> Tensor:
    """Logits for a whole data set, in evaluation mode and in pieces.  x (N, ...) -> (N, n_class)

    `.argmax(1)` are the predicted labels, `.softmax(1)` the probabilities. The model is left in the mode it was in.
    Raises ValueError if there is nothing to predict.
    """
    if len(x) == 0 or batch_size < 1:
        raise ValueError(f"nothing to predict: {len(x)} inputs in batches of {batch_size}; both must be at least 1")
    training = isinstance(model, nn.Module) and model.training
    if training:
        model.eval()
    try:
        return torch.cat([model(part) for part in x.split(batch_size)])
    finally:
        if training:
            model.train()


def accuracy(model, x: Tensor, y: Tensor, batch_size: int = 500) -> float:
    """The fraction of inputs whose largest logit is the label's.  x (N, ...), y (N,) int64 -> a float in [0, 1]

    Raises ValueError if the labels do not fit the inputs, or there is nothing to predict."""
    logits = predict(model, x, batch_size)                        # (N, n_class)
    check_labels(y, *logits.shape)
    return (logits.argmax(1) == y).sum().item() / len(y)


def check_labels(y: Tensor, n: int, n_class: int) -> None:
    """Raise ValueError unless y is n int64 class numbers. Their range is checked on the CPU only: on a GPU that would
    wait for the device at every step."""
    if y.shape != (n,) or y.dtype != torch.int64:
        raise ValueError(f"{n} inputs need int64 labels of shape ({n},), got {y.dtype} of shape {tuple(y.shape)}")
    if y.device.type == "cpu" and ((y < 0) | (y >= n_class)).any():
        raise ValueError(f"labels from {y.min()} to {y.max()} do not fit {n_class} classes, 0 to {n_class - 1}")
