"""Muon (Jordan et al., 2024) beside AdamW: `fit(model, ..., optimizer=muon)`.

A gradient of a weight matrix usually pushes hard in a few directions and hardly at all in the others. Muon takes the
momentum of the gradients and makes all its singular values nearly 1, so that every direction is learned at one rate.
Here it is put together with AdamW for everything else, for transformers (`muon`) and for U-Nets (`muon_unet`).

PyTorch has torch.optim.Muon. It takes matrices only, one after the other, and always in bfloat16: a processor that does
not multiply that itself then spends most of a training on it.
"""

import torch
from torch import Tensor, nn

from course_lib.device import bfloat16_is_fast
from course_lib.expect import finite, whole

COEFFICIENTS = 3.4445, -4.7750, 2.0315         # chosen by Jordan for speed: singular values end between 0.7 and 1.2


def orthogonalise(G: Tensor, steps: int = 5) -> Tensor:
    """The matrices with the singular vectors of G and singular values near 1, by Newton-Schulz iteration.

    G (..., m, n) -> the same shape. Each step maps every singular value s to
    3.4445 s - 4.7750 s^3 + 2.0315 s^5, with matrix products only: no singular vector is ever computed.
    What torch.optim.Muon does to its momentum.
    """
    if G.ndim < 2 or not G.is_floating_point():
        raise ValueError(f"only matrices have singular values, got {G.dtype} {tuple(G.shape)}")
    a, b, c = COEFFICIENTS
    X = G.mT if G.shape[-2] > G.shape[-1] else G                             # wide, so that X X^T is small
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)               # no singular value above 1
    for _ in range(steps):
        A = X @ X.mT
        X = a * X + (b * A + c * A @ A) @ X
    return X.mT if G.shape[-2] > G.shape[-1] else X


class Together:
    """Several optimisers, each with parameters of its own, behind the face of one."""

    def __init__(self, *optimizers: torch.optim.Optimizer):
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict]:
        return [group for o in self.optimizers for group in o.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for o in self.optimizers:
            o.zero_grad(set_to_none)

    def step(self) -> None:
        for o in self.optimizers:
            o.step()

    def state_dict(self) -> dict:
        """As one optimiser writes it: the parameters are counted on from one to the next."""
        state, groups, first = {}, [], 0
        for o in self.optimizers:
            part = o.state_dict()
            state |= {first + i: s for i, s in part["state"].items()}
            groups += [g | {"params": [first + i for i in g["params"]]} for g in part["param_groups"]]
            first += sum(len(g["params"]) for g in part["param_groups"])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict) -> None:
        first, groups = 0, list(saved["param_groups"])
        for o in self.optimizers:
            own = [groups.pop(0) for _ in o.param_groups]
            n = sum(len(g["params"]) for g in own)
            o.load_state_dict({
                "state": {i - first: s for i, s in saved["state"].items() if first <= i < first + n},
                "param_groups": [g | {"params": [i - first for i in g["params"]]} for g in own]})
            first += n


def muon(model: nn.Module, lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.1, adam_lr: float = 5e-3,
         adam_betas: tuple[float, float] = (0.9, 0.95)) -> Together:
    """Muon for the matrices inside `model.blocks`, AdamW without weight decay for embeddings, logits, biases and norms.

    For `fit(..., optimizer=muon)`, which scales both rates by its schedule.  Raises ValueError for a model without
    matrices in blocks."""
    inside = {id(p) for p in model.blocks.parameters() if p.ndim == 2} if hasattr(model, "blocks") else set()
    if not inside:
        raise ValueError(f"{type(model).__name__} has no matrix in a part called `blocks`: use the default optimiser")
    matrices = [p for p in model.parameters() if id(p) in inside]
    others = [p for p in model.parameters() if id(p) not in inside]
    return Together(Muon(matrices, lr, momentum, weight_decay),
                    torch.optim.AdamW(others, lr=adam_lr, betas=adam_betas, weight_decay=0.0))


class Muon(torch.optim.Optimizer):
    """Muon for matrices, and for the kernels of convolutions, each taken as the matrix (C_out, C_in * k * k).

    The steps of torch.optim.Muon: Nesterov momentum, longer for tall matrices, weight decay apart from the gradient.
    Equal shapes are made orthogonal together, in `steps` Newton-Schulz steps, in bfloat16 where the device is fast at
    it.  Raises ValueError for parameters that are no matrices."""

    def __init__(self, params, lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0, steps: int = 5):
        finite(0, lr=lr, weight_decay=weight_decay)
        whole(1, steps=steps)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum} must be at least 0 and less than 1")
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, steps=steps))
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"] if p.ndim < 2]
        if shapes:
            raise ValueError(f"only matrices and kernels have singular values, got shape {shapes[0]}: use AdamW")

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}    # shape -> parameters and their updates
            for p in (p for p in group["params"] if p.grad is not None):
                if p not in self.state:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                mean = self.state[p]["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(mean, group["momentum"]).reshape(len(p), -1)             # (m, n)
                alike.setdefault(tuple(update.shape), []).append((p, update))
            for (m, n), pairs in alike.items():
                updates = torch.stack([update for _, update in pairs])                        # (., m, n)
                precision = torch.bfloat16 if bfloat16_is_fast(updates.device) else updates.dtype
                directions = orthogonalise(updates.to(precision), group["steps"]).to(updates.dtype)
                for (p, _), direction in zip(pairs, directions):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(direction.view(p.shape), alpha=group["lr"] * max(1, m / n) ** 0.5)


OUTSIDE = "embed", "film", "enter", "leave"    # parts of a UNet: time and label, what they do to a block, both ends


def muon_unet(model: nn.Module, lr: float = 0.01, momentum: float = 0.95, adam_lr: float = 2e-3,
              adam_betas: tuple[float, float] = (0.9, 0.99), outside: tuple[str, ...] = OUTSIDE) -> Together:
    """Muon for the kernels and matrices inside a U-Net (in 3 Newton-Schulz steps: 5 teach it no more and take longer);
    AdamW for the parts named in `outside`, for biases and norms. For `fit(..., optimizer=muon_unet)`.

    model: a `UNet`, what holds one, or another network whose parts are named in `outside`.  Raises ValueError if it has
    none of these parts, or nothing but them."""
    names = {name: set(name.split(".")) & set(outside) for name, _ in model.named_parameters()}    # where it is outside
    inside = {name for name, p in model.named_parameters() if p.ndim >= 2 and not names[name]}
    if not inside or not any(names.values()):
        raise ValueError(f"{type(model).__name__} needs kernels or matrices, and parts called {' or '.join(outside)}: "
                         "name those that AdamW shall have (outside=...), or use the default optimiser")
    mine, others = ([p for name, p in model.named_parameters() if (name in inside) == here] for here in (True, False))
    return Together(Muon(mine, lr, momentum, steps=3),
                    torch.optim.AdamW(others, lr=adam_lr, betas=adam_betas, weight_decay=0.0))
