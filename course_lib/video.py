"""Films by flow matching. The one U-Net (or DiT) draws all frames of a film at once, and between its blocks every place
looks at the other frames. A frame that is known is a frame at time 1, without noise: so films can be continued.

    model = load("video")
    model.sample(8, 3, seeded(0))                                  # eight films of a 3: (8, 12, 1, 16, 32) in [0, 1]
    model.sample(8, known=films.x[:8, :3], generator=seeded(0))    # the first three frames are given

Networks here are called with films x (n, T, C, H, W), and with one time for all frames, for each film (n,), or for each
frame (n, T)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import flow
from course_lib.data.moving import FASTEST, FREE, SMALL, bounce, enlarge, paste
from course_lib.device import device_of
from course_lib.diffusion import drop_labels, guided
from course_lib.expect import above, between, classes, finite, floats, probabilities, same_shape, sizes, whole
from course_lib.metrics import the_judge
from course_lib.muon import OUTSIDE, muon_unet
from course_lib.pipeline import NETWORKS
from course_lib.transformer import Block

# ----------------------------------------------------------------------------------------------------------- the model

class AcrossFrames(nn.Module):
    """A block of a network that draws frames one by one, and after it two looks along time: every place is mixed with
    the same place one frame before and after (a convolution of width three), then all places of all frames of a film
    talk to each other (`n_layer` blocks of a transformer). It starts as the block alone.

    Frames are a batch here: (n * T, C, H, W), (n * T, L, C) or one vector a frame, (n * T, C) -> the same shape.
    n_place: H * W, L, or 1; n_layer: 0 leaves the second look out.  Ho et al. (2022) let each place look along time,
    Singer et al. (2022) put a convolution before it."""

    def __init__(self, block: nn.Module, n_channel: int, n_frame: int, n_place: int, n_head: int = 4, n_layer: int = 1):
        super().__init__()
        whole(1, n_frame=n_frame, n_place=n_place)
        whole(0, n_layer=n_layer)
        self.block, self.n_frame, self.n_place = block, n_frame, n_place
        self.near_norm, self.near = nn.LayerNorm(n_channel), nn.Conv1d(n_channel, n_channel, 3, padding=1)
        self.look = nn.ModuleList(Block(n_channel, n_head) for _ in range(n_layer))
        if n_layer:
            self.when = nn.Parameter(torch.randn(n_frame, 1, n_channel) / 2)                  # which frame it is
            self.where = nn.Parameter(torch.randn(n_place, n_channel) / 2)                    # and which place
        for layer in (self.near, *(last for each in self.look for last in (each.attn.proj, each.mlp.proj))):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, *condition) -> Tensor:
        x = self.block(x, *condition)
        places = x.transpose(1, 2) if x.ndim == 3 else x.flatten(2) if x.ndim == 4 else x[:, :, None]    # (n*T, C, L)
        if len(x) % self.n_frame or places.shape[2] != self.n_place:
            raise ValueError(f"{len(x)} frames of {places.shape[2]} places are no films of n_frame={self.n_frame} "
                             f"frames of n_place={self.n_place}")
        film = places.unflatten(0, (-1, self.n_frame)).transpose(2, 3)                       # (n, T, L, C)
        old = F.silu(self.near_norm(film)).permute(0, 2, 3, 1).flatten(0, 1)                 # (n*L, C, T)
        film = film + self.near(old).unflatten(0, (len(film), -1)).permute(0, 3, 1, 2)
        if self.look:
            told = (film + self.when + self.where).flatten(1, 2)                             # (n, T*L, C)
            heard = told
            for block in self.look:
                heard = block(heard)
            film = film + (heard - told).view(film.shape)
        places = film.transpose(2, 3).flatten(0, 1)                                          # (n*T, C, L)
        return places.transpose(1, 2) if x.ndim == 3 else places.reshape(x.shape)


def across_frames(network: nn.Module, n_frame: int, n_head: int = 4) -> nn.Module:
    """Let a network that draws single frames look along time: after each block of a DiT; after each block of a U-Net,
    among all places where maps are smallest, and, three times, at the vector of its overview. The network is changed in
    place, and draws at first what it drew."""
    def wrapped(block: nn.Module, n_channel: int, n_place: int, n_layer: int = 1) -> AcrossFrames:
        with torch.device(device_of(network)):
            return AcrossFrames(block, n_channel, n_frame, n_place, n_head, n_layer)

    (_, H, W), c = network.config.shape, network.config
    if hasattr(network, "blocks"):
        for i, block in enumerate(network.blocks):
            network.blocks[i] = wrapped(block, c.n_embd, H * W // c.patch**2)
        return network
    n_place = H * W // (2 * c.patch) ** 2                         # of the smallest maps
    for name in ("down1", "up1"):
        setattr(network, name, wrapped(getattr(network, name), c.n_channel, 4 * n_place, 0))
    for name in ("down2", "middle", "up2"):
        setattr(network, name, wrapped(getattr(network, name), 2 * c.n_channel, n_place))
    network.overview.press = wrapped(network.overview.press, c.n_embd, 1, 3)
    return network


@dataclass
class VideoConfig:
    network: str = "unet"                      # or "dit"
    sizes: dict = field(default_factory=dict)  # of the network's own configuration, where not the default of `Video`
    n_frame: int = 12
    across: bool = True                        # False: the same network draws each frame alone
    guidance: float = 1.0                      # towards the label; see diffusion.guided
    hold: float = 1.0                          # towards known frames; see holding
    steps: int = 8                             # of the midpoint method


class Video(nn.Module):
    """Films from noise: model(x, t, y) -> the velocity of x (n, T, C, H, W).  y: a label for all, (n,), or None.

    The network's default is a U-Net for 16x32 whose squares of 4x4 pixels become channels, so that its maps are 4x8 and
    2x4.  Raises ValueError for a network that is unknown or knows no labels, and for films of another length."""

    def __init__(self, config: VideoConfig):
        super().__init__()
        sizes(config)
        if config.network not in NETWORKS:
            raise ValueError(f"unknown network {config.network!r}: choose one of {', '.join(NETWORKS)}")
        kind, its_config = NETWORKS[config.network]
        its = its_config(**dict(n_class=10, shape=(1, 16, 32), patch=4) | config.sizes)
        whole(1, n_class=its.n_class)
        self.config = config
        self.network = kind(its)
        if config.across:
            across_frames(self.network, config.n_frame, its.n_head)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a film: (T, C, H, W)"""
        return self.config.n_frame, *self.network.config.shape

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        if x.shape[1:] != self.shape:
            raise ValueError(f"films must have the shape (n, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        n, T = x.shape[:2]
        t = torch.as_tensor(t, device=x.device)
        if t.shape not in ((), (n,), (n, T)):
            raise ValueError(f"times t of {n} films of {T} frames are one number, ({n},) or ({n}, {T}), got "
                             f"{tuple(t.shape)}")
        t = (t[:, None] if t.ndim == 1 else t).expand(n, T).flatten()                        # (n*T,), as the frames
        y = classes(self.network.config.n_class if y is None else y, n, self.network.config.n_class + 1, x.device)
        return self.network(x.flatten(0, 1), t, y.repeat_interleave(T)).unflatten(0, (n, T))

    @torch.no_grad()
    def sample(self, n: int, y: int | Tensor | None = None, generator: torch.Generator | None = None, *,
               known: Tensor | None = None, guidance: float | None = None, hold: float | None = None,
               steps: int | None = None, batch_size: int = 50) -> Tensor:
        """n films -> (n, T, C, H, W) in [0, 1].  y: labels, one for all or (n,); None: any digit.

        known (1 or n, k, C, H, W) in [0, 1]: the first k frames, which the film keeps.  guidance, hold, steps: those of
        the configuration, if None.  Raises ValueError for unknown labels and as many known frames as a film has."""
        whole(1, n=n, batch_size=batch_size)
        guidance, hold, steps = (getattr(self.config, name) if value is None else value for name, value in
                                 (("guidance", guidance), ("hold", hold), ("steps", steps)))
        finite(guidance=guidance)
        null, device = self.network.config.n_class, device_of(self)
        y = y if y is None else classes(y, n, null, device)
        known = None if known is None else 2 * self._checked(known, n).to(device) - 1
        x = torch.randn(n, *self.shape, generator=generator, device=device)
        for i in torch.arange(n, device=device).split(batch_size):
            model = self if y is None else guided(self, y[i], null, guidance)
            if known is not None:
                model = holding(model, known[i], hold)
            x[i] = flow.midpoint(model, x[i], steps)
        if known is not None:
            x[:, :known.shape[1]] = known
        return (x / 2 + 0.5).clamp(0, 1)

    def _checked(self, known: Tensor, n: int) -> Tensor:
        if known.ndim != 5 or known.shape[2:] != self.shape[1:] or len(known) not in (1, n) \
                or not 1 <= known.shape[1] < self.config.n_frame:
            raise ValueError(f"known frames of {n} films of {self.config.n_frame} frames have the shape ({n}, k, "
                             f"{', '.join(map(str, self.shape[1:]))}) with k from 1 to {self.config.n_frame - 1}, got "
                             f"{tuple(known.shape)}")
        return probabilities(known, "known frames").expand(n, -1, -1, -1, -1)


def holding(model, known: Tensor, scale: float = 1.0):
    """A model of films some of whose first frames are known, as a wrapper: returns f(x, t), so that every sampler
    accepts it. Known frames are seen as they are, at time 1, in place of the first frames of x.

    known (n, k, C, H, W), in the scale of x.  scale: guidance by the known frames, away from what the model draws when
    the first frames of x are at time t like all others. They then become a beginning of their own: put the known ones
    in their place at the end. With scale 1 they stay as they are.  Höppe et al. (2022): known frames have no noise;
    Song et al. (2025): guidance by them."""
    finite(scale=scale)

    def velocity(x: Tensor, t: Tensor) -> Tensor:                 # x (n, T, ...), t (n,)
        k, new = known.shape[1], x[:, known.shape[1]:]
        if len(known) != len(x) or known.shape[2:] != x.shape[2:] or not new.numel():
            raise ValueError(f"known frames {tuple(known.shape)} are no beginning of films {tuple(x.shape)}")
        times = torch.cat([torch.ones_like(t)[:, None].expand(-1, k), t[:, None].expand(-1, new.shape[1])], 1)
        told = model(torch.cat([known, new], 1), times)[:, k:]
        free = model(x, t) if scale != 1 else torch.zeros_like(x)
        return torch.cat([free[:, :k], free[:, k:] + scale * (told - free[:, k:])], 1)

    return velocity


def video_loss(model, x: Tensor, y: Tensor, drop: float = 0.3, share: float = 0.7, most: int = 6,
               shift: tuple[float, float] = (3.0, 30.0)) -> dict[str, Tensor]:
    """Flow matching of films x (n, T, C, H, W) in [0, 1] with labels y (n,): squared error of the velocity, mean over
    pixels and over the frames that are not known.

    Of a share of the films the first frames are known, from 1 to `most` of them, and stand at time 1 without noise. A
    share `drop` of the labels is left out. Times are logit-normal, with the odds t : 1 - t divided by shift[0]: twelve
    frames that agree show through more noise than one does, so more is decided early (Esser et al., 2024, shift times
    of large pictures so). In half of the films with known frames they are divided by shift[1]: new frames show so
    little then that only the known ones tell where they will be."""
    between(0, 1, drop=drop, share=share)
    above(0, **{f"shift[{i}]": s for i, s in enumerate(shift)})
    whole(2, 2, n_shift=len(shift))
    n, T = x.shape[:2]
    whole(1, T - 1, most=most)
    x, y = 2 * x - 1, drop_labels(y, model.network.config.n_class, drop)
    many = torch.randint(1, most + 1, (n, 1), device=x.device) * (torch.rand(n, 1, device=x.device) < share)
    known = torch.arange(T, device=x.device) < many                                          # (n, T)
    dark = (many > 0) & (torch.rand(n, 1, device=x.device) < 0.5)
    eps, t = torch.randn_like(x), flow.logit_normal(n, x)[:, None]                           # (n, 1)
    t = (t / (t + torch.where(dark, shift[1], shift[0]) * (1 - t))).expand(n, T).where(~known, 1.0)
    at = flow.interpolate(x.flatten(0, 1), eps.flatten(0, 1), t.flatten()).view_as(x)
    error = (model(at, t, y) - (x - eps)).square().mean((2, 3, 4))                           # (n, T)
    return {"loss": (error * ~known).sum() / (~known).sum()}


def muon_video(model: nn.Module) -> torch.optim.Optimizer:
    """Muon inside the U-Net and its attention across frames, AdamW for times, labels and both ends. For `fit`."""
    return muon_unet(model, outside=(*OUTSIDE, "when", "where", "position", "modulation"))


def roll_out(model: Video, known: Tensor, n_frame: int, generator: torch.Generator | None = None, *,
             keep: int = 3) -> Tensor:
    """A film longer than the model's, in pieces: each begins with the last `keep` frames of the one before.

    known (n, k, C, H, W) with k >= keep -> (n, n_frame, C, H, W).  Raises ValueError for fewer known frames."""
    whole(1, model.config.n_frame - 1, keep=keep)
    whole(keep, known_frames=known.shape[1])
    film = known
    while film.shape[1] < n_frame:
        film = torch.cat([film, model.sample(len(film), generator=generator, known=film[:, -keep:])[:, keep:]], 1)
    return film[:, :n_frame]


# -------------------------------------------------------------------------------------------------------- two baselines

def copy_last(known: Tensor, n_frame: int) -> Tensor:
    """The film stands still: (n, k, C, H, W) -> (n, n_frame, C, H, W)"""
    whole(known.shape[1], n_frame=n_frame)
    return torch.cat([known, known[:, -1:].expand(-1, n_frame - known.shape[1], -1, -1, -1)], 1)


def straight_on(known: Tensor, n_frame: int) -> Tensor:
    """Linear extrapolation: the last frame moves on as it did from the one before, until its ink touches a wall.

    (n, k, 1, 16, 32) with k >= 2 -> (n, n_frame, 1, 16, 32)"""
    whole(2, known_frames=known.shape[1])
    whole(known.shape[1], n_frame=n_frame)
    step = centres(known).diff(dim=1)[:, -1:]                     # (n, 1)
    ink = (known[:, -1, 0] > 0.3).any(1).int()                    # (n, 32): columns with ink
    least, most = -ink.argmax(1)[:, None], ink.flip(1).argmax(1)[:, None]                    # how far it can go
    ahead = torch.arange(1, n_frame - known.shape[1] + 1, device=known.device)
    return torch.cat([known, paste(known[:, -1], (ahead * step).round().long().clamp(least, most))], 1)


# ------------------------------------------------------------------------------------------- what is seen in a film

def centres(films: Tensor) -> Tensor:
    """The column of the centre of the ink in each frame, in pixels from the left side; what is paler than 0.3 does not
    count.  (n, T, 1, H, W) in [0, 1] -> (n, T)     A frame without ink has its centre in its middle."""
    ink = probabilities(_films(films), "films")[:, :, 0]
    ink = (ink * (ink > 0.3) + 1e-6).sum(2)                       # (n, T, W)
    return ink @ (torch.arange(ink.shape[2], device=films.device) + 0.5) / ink.sum(2)


def cut(films: Tensor) -> Tensor:
    """The digit in each frame, cut out at its centre and as large as those of lesson 12.

    (n, T, 1, 16, 32) -> (n, T, 1, 28, 28)"""
    return enlarge(_windows(films).flatten(0, 1)).unflatten(0, films.shape[:2])


@torch.no_grad()
def named(films: Tensor, judge: nn.Module | None = None) -> Tensor:
    """Which digit the judge of lesson 12 sees in each frame.  (n, T, 1, 16, 32) -> (n, T) int64"""
    judge = the_judge() if judge is None else judge
    digits = cut(films).flatten(0, 1).to(device_of(judge))
    return torch.cat([judge(part).argmax(1) for part in digits.split(500)]).view(films.shape[:2]).to(films.device)


def constancy(names: Tensor) -> float:
    """The share of films in which all frames have one name.  (n, T), from `named`"""
    return (names == names[:, :1]).all(1).double().mean().item()


def velocity_error(places: Tensor, true: Tensor, start: int = 0) -> float:
    """How far velocities, differences of places from frame to frame, are from the true ones: the mean distance, in
    pixels a frame. Both (n, T). Steps that end before frame `start` do not count."""
    same_shape(2, places=places, true=true.to(places.dtype))
    return (places - true).diff(dim=1)[:, max(start - 1, 0):].abs().mean().item()


def bounces(places: Tensor) -> Tensor:
    """The steps in which something has turned round: which way it goes now, -1 or 1, where its last movement had the
    other sign; 0 elsewhere.  (n, T) -> (n, T - 1)     Less than half a pixel is no movement."""
    way = places.diff(dim=1)
    way = way.sign() * (way.abs() > 0.5)                          # (n, T-1)
    turns, last = [], torch.zeros_like(way[:, 0])
    for step in way.unbind(1):
        turns.append(step * (step * last < 0))
        last = step.where(step != 0, last)
    return torch.stack(turns, 1)


def bounces_obeyed(places: Tensor, true: Tensor, start: int = 0) -> float:
    """Of the true bounces from frame `start` on: the share in which the film goes the right way in the same step.
    Both (n, T). nan if there is no bounce."""
    turn, way = bounces(true.to(places.dtype)), places.diff(dim=1)
    there = turn != 0
    there[:, :max(start - 1, 0)] = False
    return (way * turn > 0.5)[there].double().mean().item()


def nearest_course(places: Tensor) -> Tensor:
    """The lawful course that is nearest to these places: of all starts and speeds, that of the smallest squared
    distance.  (n, T) -> (n, T)"""
    start, speed = torch.arange(FREE + 1), torch.tensor([v for v in range(-FASTEST, FASTEST + 1) if v])
    lawful = bounce(start[:, None, None] + speed[:, None] * torch.arange(places.shape[1])).flatten(0, 1) + SMALL // 2
    lawful = lawful.to(places)                                    # (68, T)
    return lawful[torch.cdist(places, lawful).argmin(1)]


def _films(films: Tensor) -> Tensor:
    if not isinstance(films, Tensor) or films.ndim != 5 or films.shape[2] != 1 or not films.numel():
        raise ValueError(f"films of one colour have the shape (n, T, 1, H, W), got "
                         f"{tuple(films.shape) if isinstance(films, Tensor) else type(films).__name__}")
    return floats(films.flatten(0, 1), *films.shape[2:], like=torch.empty(0), what="films").view_as(films)


def _windows(films: Tensor) -> Tensor:
    """What is around the centre of each frame.  -> (n, T, 1, 16, 16)"""
    n, T, at = *films.shape[:2], torch.arange(SMALL, device=films.device)
    left = (centres(films) - SMALL / 2).round().long().clamp(0, FREE)                        # (n, T)
    columns = (left[..., None] + at)[:, :, None, None].expand(n, T, 1, films.shape[3], SMALL)
    return films.gather(4, columns)
