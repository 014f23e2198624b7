"""A network and the sampler that it was trained for, together in one checkpoint: `load("flow").sample(10, y=7)`.
Networks know no sampler and samplers no network; here is the one place where they meet."""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import diffusion, flow
from course_lib.device import device_of
from course_lib.dit import DiT, DiTConfig
from course_lib.expect import between, classes, finite, probabilities, whole
from course_lib.unet import UNet, UNetConfig

NETWORKS = {"unet": (UNet, UNetConfig), "dit": (DiT, DiTConfig)}
PATHS = ("flow", "eps", "x0", "v")


@dataclass
class PipelineConfig:
    network: str = "unet"                      # or "dit"
    sizes: dict = field(default_factory=dict)  # what the network's own configuration shall be, where not the default
    path: str = "flow"                         # what the network predicts: the velocity, or eps, x0 or v of diffusion
    steps: int = 15                            # of the midpoint method for "flow", of DDIM for the others
    guidance: float = 1.0                      # with labels or a weak network; see diffusion.guided and autoguided
    weak: bool = False                         # is there a second network, whose guess is the one to walk away from?
    T: int = 1000                              # steps of the noise schedule (cosine), where there is one
    eta: float = 1.0                           # of DDIM: 1 adds fresh noise in every step, as DDPM does, 0 none


class Pipeline(nn.Module):
    """Noise -> images in [0, 1].  The network works on images in [-1, 1].

    A weak network (see `beside`) is asked without a label, so that labels and training push the same way."""

    def __init__(self, config: PipelineConfig):
        super().__init__()
        if config.network not in NETWORKS:
            raise ValueError(f"unknown network {config.network!r}: choose one of {', '.join(NETWORKS)}")
        if config.path not in PATHS:
            raise ValueError(f"unknown path {config.path!r}: choose one of {', '.join(PATHS)}")
        between(0, 1, eta=config.eta)
        finite(guidance=config.guidance)
        whole(1, steps=config.steps, T=config.T)
        network, its_config = NETWORKS[config.network]
        self.config = config
        self.network = network(its_config(**config.sizes))
        self.weak = network(its_config(**config.sizes)) if config.weak else None

    def sample(self, n: int, y: int | Tensor | None = None, generator: torch.Generator | None = None, *,
               context: Tensor | None = None, null: Tensor | None = None, guidance: float | None = None,
               steps: int | None = None, batch_size: int = 100) -> Tensor:
        """n images -> (n, *network.config.shape).  y: labels, one for all or (n,); None for the unconditional model.

        context (n or 1, L, n_context), and `null`, of such a shape too: what guidance leads away from.
        guidance, steps: those of the configuration, if None. The noise that is added on the way (eta > 0) depends on
        batch_size.  Raises ValueError for n < 1 and for labels that the network does not know."""
        whole(1, n=n, batch_size=batch_size)
        device, c, K = device_of(self), self.config, self.network.config.n_class
        if y is not None:
            if not K:
                raise ValueError("this network was trained with no labels and cannot be asked for a class: leave y out")
            y = classes(y, n, K, device)
        x = torch.randn(n, *self.network.config.shape, generator=generator, device=device)
        if context is not None:
            context = diffusion.for_each(context, x)
        if null is not None:
            if context is None:
                raise ValueError(f"null of shape {tuple(null.shape)} leads away from a context, and there is none")
            null = diffusion.for_each(null, x)
        guidance, steps = c.guidance if guidance is None else guidance, c.steps if steps is None else steps
        parts = [self._draw(x[i], *(c if c is None else c[i] for c in (y, context, null)), guidance, steps, generator)
                 for i in torch.arange(n).split(batch_size)]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)

    def _draw(self, x: Tensor, y: Tensor | None, context: Tensor | None, null: Tensor | None, guidance: float,
              steps: int, generator) -> Tensor:
        model = partial(self.network, y=y, context=context)
        if self.weak is not None:
            model = diffusion.autoguided(model, self.weak, guidance)
        elif context is not None:
            if null is None and guidance != 1:
                raise ValueError(f"guidance={guidance} leads away from something: say from what context, null=...")
            model = diffusion.guided(partial(self.network, y=y), context, null, guidance)
        elif y is not None:
            model = diffusion.guided(self.network, y, self.network.config.n_class, guidance)
        if self.config.path == "flow":
            return flow.midpoint(model, x, steps)
        alphas_cumprod = diffusion.cosine_alphas_cumprod(self.config.T)
        model = diffusion.predicts_eps(diffusion.in_steps(model, self.config.T), alphas_cumprod, self.config.path)
        return diffusion.ddim(model, x, alphas_cumprod, steps, self.config.eta, clip=1.0, generator=generator)


def beside(pipeline: Pipeline, weak: nn.Module, guidance: float) -> Pipeline:
    """The pipeline with a second network of the same sizes to be guided away from, usually an early state of its own:
    see diffusion.autoguided.  Raises ValueError for a network of other sizes."""
    if weak.config != pipeline.network.config:
        raise ValueError(f"the weak network must have the sizes of the other, {pipeline.network.config}, and has "
                         f"{weak.config}")
    both = Pipeline(replace(pipeline.config, weak=True, guidance=guidance))
    both.network.load_state_dict(pipeline.network.state_dict())
    both.weak.load_state_dict(weak.state_dict())
    return both.to(next(pipeline.parameters()).device).eval()


def pipeline_loss(model: Pipeline, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
    """What a pipeline's network is trained with: the loss of its path.  x (B, C, H, W) images in [0, 1]
    and, if the network has classes, labels y (B,), of which one in ten is replaced by the empty one."""
    c, network, x = model.config, model.network, 2 * probabilities(x) - 1
    if y is not None:
        network = partial(network, y=diffusion.drop_labels(y, network.config.n_class))
    if c.path == "flow":
        return flow.flow_loss(network, x)
    a_bar = diffusion.cosine_alphas_cumprod(c.T)
    return diffusion.diffusion_loss(diffusion.in_steps(network, c.T), x, a_bar, c.path)
