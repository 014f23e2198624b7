"""For tests of networks: weights that start at zero, as the last ones of many branches do, would hide what they
multiply."""

import torch
from torch import nn

from course_lib.device import seeded


@torch.no_grad()
def awake(model: nn.Module, size: float = 0.2) -> nn.Module:
    """Change every weight a little, always alike.  -> the model, in evaluation mode"""
    for p in model.parameters():
        p.add_(size * torch.randn(p.shape, generator=seeded(p.numel())))
    return model.eval()
