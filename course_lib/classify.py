"""Training and using a classifier: any model(x) -> logits (B, n_class) will do."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.device import evaluating
from course_lib.expect import indices, logits, whole


def classifier_loss(model, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Cross-entropy in nats per example, and the accuracy on the same batch (a fraction).  x (B, ...), y (B,) whole

    Raises ValueError for labels of a wrong shape or dtype, and on the CPU for a label that is no class of the model.
    """
    scores = logits(model(x))                                     # (B, n_class)
    y = indices("labels", y, scores.shape[1], len(scores))
    return {"loss": F.cross_entropy(scores, y), "accuracy": (scores.argmax(1) == y).float().mean()}


@torch.no_grad()
def predict(model, x: Tensor, batch_size: int = 500) -> Tensor:
    """Logits for a whole data set, in evaluation mode and in pieces.  x (N, ...) -> (N, n_class)

    `.argmax(1)` are the predicted labels, `.softmax(1)` the probabilities. The model is left in the mode it was in.
    Raises ValueError if there is nothing to predict.
    """
    whole(1, batch_size=batch_size)
    if not isinstance(x, Tensor) or len(x) == 0:
        raise ValueError(f"nothing to predict: {len(x)} inputs in a {type(x).__name__}")
    with evaluating(model):
        return torch.cat([model(part) for part in x.split(batch_size)])


def accuracy(model, x: Tensor, y: Tensor, batch_size: int = 500) -> float:
    """The fraction of inputs whose largest logit is the label's.  x (N, ...), y (N,) whole -> a float in [0, 1]

    Raises ValueError if the labels do not fit the inputs, or there is nothing to predict."""
    scores = logits(predict(model, x, batch_size))                # (N, n_class)
    y = indices("labels", y, scores.shape[1], len(scores))
    return (scores.argmax(1) == y).sum().item() / len(y)
