"""Marks that tell where something comes from, and how sure one can be of it.

A text that prefers a secret green list of tokens (Kirchenbauer et al., 2023); a picture whose noise, found again by
running the flow backwards, holds rings (Wen et al., 2023); and a signature under a file, whatever it was made by. The
first two are statistics: each comes with its rate of false alarms. Nothing here knows a network."""

import io
import json
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.expect import above, between, finite, indices, probabilities, whole

# ----------------------------------------------------------------------------------------------------------------- text

def green_lists(vocab_size: int, share: float = 0.5, key: int = 0) -> Tensor:
    """After each token, which tokens are green: a secret that the key makes.  -> (vocab_size, vocab_size) bool

    Row i belongs to the token i before; every row has round(share * vocab_size) green tokens (algorithm 2).  Raises
    ValueError for a share that leaves no token green, or none red."""
    whole(2, vocab_size=vocab_size)
    between(0, 1, share=share)
    whole(0, key=key)
    n_green = round(share * vocab_size)
    if not 0 < n_green < vocab_size:
        raise ValueError(f"share={share} of vocab_size={vocab_size} makes {n_green} tokens green: not all, and not 0")
    order = torch.rand(vocab_size, vocab_size, generator=torch.Generator().manual_seed(key)).argsort(1)
    return order < n_green


def list_numbers(tokens: Tensor, n_list: int, width: int = 1) -> Tensor:
    """Which list holds for the token after each `width` neighbours: (..., T) -> (..., T - width + 1), 0 to n_list - 1.

    With width 1 it is the token itself. With more, it is the number that they write to the base 31, modulo n_list: text
    of few letters then uses all lists, and one token before it does not give a list away."""
    whole(1, width=width, n_list=n_list)
    if tokens.is_floating_point():
        raise ValueError(f"tokens are whole numbers, got {tokens.dtype}")
    if tokens.shape[-1] < width:
        raise ValueError(f"{tokens.shape[-1]} tokens have no {width} neighbours: write on from a longer beginning")
    number = torch.zeros_like(tokens[..., width - 1:])
    for k in range(width):
        number = (31 * number + tokens[..., k:tokens.shape[-1] - width + 1 + k]) % n_list
    return number


def favouring(green: Tensor, delta: float, width: int = 1):
    """What `generate(..., processor=...)` needs to write with a mark: delta is added to the logits of green tokens.

    green: of `green_lists`; delta in nats, 0 leaves the text as it is; width: how many tokens before decide which list
    holds.  -> f(logits (B, V), tokens so far (B, T))"""
    finite(0, delta=delta)
    whole(1, width=width)

    def processor(logits: Tensor, idx: Tensor) -> Tensor:
        last = list_numbers(idx[:, -width:], len(green), width)[:, 0]          # (B,)
        return logits + delta * green.to(logits.device)[last]                  # (B, V)

    return processor


def count_green(tokens: Tensor, green: Tensor, width: int = 1) -> tuple[int, int]:
    """How many tokens are green, and of how many: (T,) -> (n_green, n).

    A list with a token counts once, however often the two meet: a text that repeats itself would otherwise repeat the
    same toss of the coin, and be no evidence (section 4.1).  Raises ValueError for a text of at most width tokens."""
    tokens = indices("tokens", tokens, len(green), "T")
    if len(tokens) <= width:
        raise ValueError(f"a text of {len(tokens)} has no token after {width}: at least {width + 1} are needed")
    before = list_numbers(tokens[:-1], len(green), width)                      # (T - width,)
    pairs = torch.stack([before, tokens[width:]], 1).unique(dim=0)             # (n, 2)
    return int(green.to(pairs.device)[pairs[:, 0], pairs[:, 1]].sum()), len(pairs)


def z_score(n_green: int, n: int, share: float) -> float:
    """How many standard deviations more green tokens than by chance (eq. 3)."""
    _check_counts(n_green, n, share)
    return (n_green - share * n) / (n * share * (1 - share)) ** 0.5


def false_alarm(n_green: int, n: int, share: float) -> float:
    """The probability that a text which knows nothing of the key has at least so many green tokens: the tail of the
    binomial distribution, exactly."""
    _check_counts(n_green, n, share)
    k = torch.arange(n_green, n + 1, dtype=torch.float64)
    n = torch.tensor(float(n), dtype=torch.float64)
    ways = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
    log_p = ways + k * math.log(share) + (n - k) * math.log1p(-share)
    return min(1.0, log_p.logsumexp(0).exp().item())


def _check_counts(n_green: int, n: int, share: float) -> None:
    whole(1, n=n)
    whole(0, n, n_green=n_green)
    above(0, share=share, rest=1 - share)


# -------------------------------------------------------------------------------------------------------------- picture

def rings(height: int, width: int, low: float, high: float) -> Tensor:
    """The frequencies at a distance from low to high of the middle: (height, width) bool, frequency 0 in the middle."""
    whole(2, height=height, width=width)
    between(0, min(height, width) / 2 - 1, low=low, high=high)
    y, x = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    distance = (y[:, None] ** 2 + x**2) ** 0.5
    chosen = (distance >= low) & (distance <= high)
    if not chosen.any():
        raise ValueError(f"no frequency lies between low={low} and high={high}")
    return chosen


def ring_key(where: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One real number for each whole distance from the middle, as large as white noise has there: the rings of a tree.

    where (H, W) bool, of `rings`  ->  (H, W), 0 elsewhere.  Equal all around, so that a turned picture keeps it; but a
    handful of numbers is no secret: pictures with another such key often look marked with this one."""
    H, W = where.shape
    y, x = torch.arange(H) - H // 2, torch.arange(W) - W // 2
    distance = ((y[:, None] ** 2 + x**2) ** 0.5).round().long()                # (H, W)
    values = torch.randn(int(distance.max()) + 1, generator=generator) * (H * W / 2) ** 0.5
    return torch.where(where, values[distance], torch.zeros(()))


def free_key(where: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A real number of its own for each frequency and its mirror image ("rand" in the paper's table 1).

    where (H, W) bool, of `rings`  ->  (H, W), 0 elsewhere.  Other keys are nothing like it; turning destroys it."""
    spectrum = torch.fft.fft2(torch.randn(where.shape, generator=generator)).real
    return torch.where(where, torch.fft.fftshift(spectrum), torch.zeros(()))


def with_ring(noise: Tensor, key: Tensor, where: Tensor) -> Tensor:
    """Noise (n, C, H, W) whose first channel has these numbers as real parts at these frequencies (section 3.2).

    The imaginary parts stay what they were: without them every marked picture would look a little like every key. key
    is equal at opposite frequencies, so that the noise stays real."""
    spectrum = _spectrum(noise, where)                                         # (n, H, W)
    key, where = key.to(noise.device), where.to(noise.device)
    changed = torch.complex(torch.where(where, key, spectrum.real), spectrum.imag)
    first = torch.fft.ifft2(torch.fft.ifftshift(changed, dim=(-2, -1))).real
    return torch.cat([first[:, None], noise[:, 1:]], 1)


def ring_p_value(noise: Tensor, key: Tensor, where: Tensor) -> Tensor:
    """How probable it is that noise without the mark comes as near to the key: (n, C, H, W) -> (n,) in [0, 1].

    The squared distances of the real parts at half of the frequencies (the others are their mirror images), divided by
    the variance of white noise, have a non-central chi-squared distribution (section 3.3). The variance is measured on
    the noise itself: of white noise nearly a share alpha lies below alpha. Noise that was found behind a spoilt picture
    is not white, and may come near to any key: see `key_p_value`."""
    from scipy.stats import ncx2

    spectrum, (H, W) = _spectrum(noise, where).cpu(), where.shape
    i, j = _half(where)
    variance = noise[:, 0].float().var((-2, -1)).cpu()[:, None] * H * W / 2    # (n, 1) of a real part
    apart = (spectrum.real[:, i, j] - key.cpu()[i, j]).square() / variance     # (n, m)
    offset = key.cpu()[i, j].square() / variance                               # (n, m)
    return torch.from_numpy(ncx2.cdf(apart.sum(1).double().numpy(), len(i), offset.sum(1).double().numpy()))


def key_p_value(noise: Tensor, key: Tensor, where: Tensor) -> Tensor:
    """How probable it is that a key of free numbers, drawn at random, fits so well to this noise: (n, C, H, W) -> (n,)

    Fit is the correlation of the real parts with the key. A key of free numbers is a random direction, so that among
    all such keys the correlation with *any* noise, white or not, has Student's distribution: no picture is accused by
    more than its share of keys. It does not matter how loud the noise is. (For `ring_key` this holds in part.)"""
    from scipy.stats import t

    if key.shape != where.shape:
        raise ValueError(f"a key of {tuple(key.shape)} does not fit to frequencies {tuple(where.shape)}")
    i, j = _half(where)
    parts, numbers = _spectrum(noise, where).cpu().real[:, i, j].double(), key.cpu()[i, j].double()
    if not (parts.norm(dim=1).all() and numbers.norm()):
        raise ValueError("noise or key is 0 at all of these frequencies: 0 points nowhere, and has no correlation")
    r = parts @ numbers / (parts.norm(dim=1) * numbers.norm())                 # (n,)
    free = len(i) - 1
    return torch.from_numpy(t.sf((r * (free / (1 - r**2).clamp(min=1e-12)).sqrt()).numpy(), free))


def _half(where: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of one frequency of each pair of mirror images, without the middle."""
    H, W = where.shape
    i, j = where.cpu().nonzero(as_tuple=True)
    half = (i > H // 2) | ((i == H // 2) & (j > W // 2))
    return i[half], j[half]


def _spectrum(noise: Tensor, where: Tensor) -> Tensor:
    """The first channel's frequencies, 0 in the middle.  (n, C, H, W) -> (n, H, W) complex"""
    if where.dtype != torch.bool or where.ndim != 2:
        raise ValueError(f"where is {where.dtype} {tuple(where.shape)}: expected bool (H, W), of `rings`")
    if noise.ndim != 4 or not noise.numel() or not noise.is_floating_point() or noise.shape[-2:] != where.shape:
        raise ValueError(f"noise of shape {tuple(noise.shape)} does not fit to frequencies {tuple(where.shape)}")
    return torch.fft.fftshift(torch.fft.fft2(noise[:, 0].float()), dim=(-2, -1))


def spoil(pictures: Tensor, how: str, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """What may befall pictures (n, C, H, W) in [0, 1] on their way, often without ill will.  -> the same shape

    noise: normal numbers of this deviation are added;  blur: by a Gaussian of this deviation in pixels;  crop: so many
    pixels are cut off on each side and the rest is enlarged;  turn: by so many degrees to the left, black comes in;
    levels: so many grey levels are left;  jpeg: written and read by Pillow with this quality, 1 to 95."""
    pictures = probabilities(pictures, "pictures")
    if pictures.ndim != 4 or how == "jpeg" and pictures.shape[1] not in (1, 3):
        raise ValueError(f"pictures have the shape (n, C, H, W), for jpeg with 1 or 3 colours: {tuple(pictures.shape)}")
    n, C, H, W = pictures.shape
    if how == "noise":
        finite(0, strength=strength)
        noise = torch.randn(pictures.shape, generator=generator, device=pictures.device)
        return (pictures + strength * noise).clamp(0, 1)
    if how == "blur":
        above(0, strength=strength)
        reach = torch.arange(-math.ceil(3 * strength), math.ceil(3 * strength) + 1, device=pictures.device)
        weights = (-0.5 * (reach / strength) ** 2).softmax(0)                  # (2 r + 1,)
        r, x = len(reach) // 2, pictures.reshape(n * C, 1, H, W)
        x = F.conv2d(F.pad(x, (r, r, 0, 0), "replicate"), weights.view(1, 1, 1, -1))
        return F.conv2d(F.pad(x, (0, 0, r, r), "replicate"), weights.view(1, 1, -1, 1)).view(n, C, H, W).clamp(0, 1)
    if how == "crop":
        whole(1, (min(H, W) - 1) // 2, strength=strength)
        inside = pictures[..., strength:H - strength, strength:W - strength]
        return F.interpolate(inside, (H, W), mode="bilinear", align_corners=False)
    if how == "turn":
        between(-360, 360, strength=strength)
        c, s = math.cos(math.radians(strength)), math.sin(math.radians(strength))
        theta = torch.tensor([[c, -s * H / W, 0.0], [s * W / H, c, 0.0]], device=pictures.device).expand(n, 2, 3)
        places = F.affine_grid(theta, list(pictures.shape), align_corners=False)
        return F.grid_sample(pictures, places, align_corners=False)
    if how == "levels":
        whole(2, strength=strength)
        return (pictures * (strength - 1)).round() / (strength - 1)
    if how == "jpeg":
        whole(1, 95, quality=strength)
        return torch.stack([_through_jpeg(picture, strength) for picture in pictures])
    raise ValueError(f"unknown how={how!r}: choose one of noise, blur, crop, turn, levels, jpeg")


def _through_jpeg(picture: Tensor, quality: int) -> Tensor:
    """One picture (1 or 3, H, W) -> the same, as it comes out of the file"""
    from PIL import Image

    levels = (picture.cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()            # (H, W, C)
    file = io.BytesIO()
    Image.fromarray(levels[..., 0] if len(picture) == 1 else levels).save(file, "JPEG", quality=quality)
    read = torch.from_numpy(np.array(Image.open(file))).view(levels.shape)
    return (read.permute(2, 0, 1).float() / 255).to(picture.device)


# ------------------------------------------------------------------------------------------------------------ signature

def new_keys() -> tuple[bytes, bytes]:
    """A secret key and the public one that belongs to it, 32 bytes each (Ed25519, by the library cryptography)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def sign(picture: Tensor, claims: dict, secret_key: bytes) -> bytes:
    """A signature (64 bytes) under the pixels of a picture, floats in [0, 1], together with what is claimed of it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(secret_key).sign(_message(picture, claims))


def verify(picture: Tensor, claims: dict, signature: bytes, public_key: bytes) -> bool:
    """Whether who holds the secret key has signed exactly these pixels and these claims."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _message(picture, claims))
    except InvalidSignature:
        return False
    return True


def _message(picture: Tensor, claims: dict) -> bytes:
    """Pixels of 8 bits, their shape, and the claims in one order: what is signed, byte for byte."""
    pixels = (probabilities(picture, "pictures").detach().cpu() * 255).round().to(torch.uint8).contiguous()
    head = json.dumps({"claims": claims, "shape": list(pixels.shape)}, sort_keys=True).encode()
    return len(head).to_bytes(8, "big") + head + pixels.numpy().tobytes()
