"""Sound, and pictures of it. A sound is (n, T) in [-1, 1]; its spectrogram is a picture, so whatever draws pictures can
make sounds: here the flow of lesson 64, told which instrument plays which note, or which digit is said.

    x = load_sounds("notes").train.x                   # (n, 4096) at RATE samples a second, of course_lib.data.sounds
    griffin_lim(magnitude_of(picture_of(x)))           # (n, 4096): the way there, and back without the phases
    load("notes_flow").sample([[3, 7], [16, 0]], seeded(0))        # instrument 3 plays note 7, 16 plays note 0

Frequencies are in Hz, times in seconds, T in samples. A spectrogram has a row for each frequency, the lowest first, and
a column for each moment.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.expect import above, between, same_shape, whole

RATE = 8_000                                   # samples a second, as on a telephone: nothing above 4,000 Hz
N_FFT, HOP = 512, 128                          # samples of a window, and from one window to the next
FLOOR = -60.0                                  # decibels: what is softer counts as silence

# ----------------------------------------------------------------------------------------------- samples and their bits

def low_pass(x: Tensor, share: float, taps: int = 32) -> Tensor:
    """Keep the lowest `share` of all frequencies: a sinc under a Hann window, reaching over `taps` of its zeros on
    either side.  (n, T) -> (n, T)"""
    same_shape(2, x=x)
    between(1e-3, 1, share=share)
    whole(1, taps=taps)
    half = math.ceil(taps / share)
    t = torch.arange(-half, half + 1, device=x.device, dtype=x.dtype)                          # (2 half + 1,)
    kernel = share * torch.sinc(share * t) * (math.pi * t / (half + 1) / 2).cos().square()
    return F.conv1d(x[:, None], (kernel / kernel.sum())[None, None], padding=half)[:, 0]


def downsample(x: Tensor, factor: int, taps: int = 32) -> Tensor:
    """Keep one sample in `factor`, after what the new rate cannot hold was taken away.  (n, T) -> (n, T / factor)

    The cut lies a little below half of the new rate, since no filter is a wall. x[:, ::factor] alone would fold it
    back: a tone of f Hz would sound at |f - rate| for the new rate (aliasing)."""
    whole(1, factor=factor)
    return low_pass(x, 1 / factor * (1 - 1 / taps) if factor > 1 else 1.0, taps)[:, ::factor]


def alias(f: float, rate: float) -> float:
    """The frequency at which a tone of f Hz is heard after it was sampled `rate` times a second: the distance from f to
    the nearest multiple of the rate."""
    above(0, rate=rate)
    return float(abs(f - rate * round(f / rate)))


def mu_law(x: Tensor, mu: int = 255) -> Tensor:
    """Sounds in [-1, 1] as whole numbers from 0 to mu, finer where it is soft (ITU-T G.711, without its segments):
    sign(x) ln(1 + mu |x|) / ln(1 + mu), in mu + 1 steps.  -> uint8 for mu <= 255, else int64"""
    whole(1, mu=mu)
    same_shape(x=x)
    if x.is_cpu and not x.abs().max() <= 1 + 1e-4:
        raise ValueError(f"sounds lie in [-1, 1], and these reach {x.abs().max().item():.4g}: divide by that")
    y = x.sign() * (mu * x.abs().clamp(max=1)).log1p() / math.log1p(mu)
    return ((y + 1) / 2 * mu + 0.5).floor().to(torch.uint8 if mu <= 255 else torch.int64)


def from_mu_law(code: Tensor, mu: int = 255) -> Tensor:
    """The inverse, up to rounding.  Whole numbers from 0 to mu -> float32 in [-1, 1]"""
    whole(1, mu=mu)
    if code.is_floating_point() or code.is_cpu and code.numel() and not 0 <= code.min() <= code.max() <= mu:
        raise ValueError(f"codes are whole numbers from 0 to mu={mu}, got {code.dtype} up to {code.max().item()}")
    y = 2 * code.float() / mu - 1
    return y.sign() * (y.abs() * math.log1p(mu)).expm1() / mu


# ------------------------------------------------------------------------------------------------------- spectrograms

def stft(x: Tensor, n_fft: int = N_FFT, hop: int = HOP) -> Tensor:
    """Short-time Fourier transform: each column is the spectrum of n_fft samples under a Hann window.

    (n, T) -> (n, n_fft / 2 + 1, T / hop) complex. Row k belongs to k * rate / n_fft Hz, column j is centred on sample
    (j + 1/2) * hop; outside the sound is silence.  Raises ValueError unless hop divides T and n_fft."""
    same_shape(2, x=x)
    window, side = _window(n_fft, hop, x)
    if x.shape[1] % hop:
        raise ValueError(f"hop={hop} must divide the length of the sounds, {x.shape[1]} samples")
    frames = F.pad(x, (side, side)).unfold(1, n_fft, hop)                     # (n, T / hop, n_fft)
    return torch.fft.rfft(frames * window).transpose(1, 2)


def istft(z: Tensor, hop: int = HOP) -> Tensor:
    """The inverse of `stft`, exact: windows are laid over each other, and the sum is divided by that of their squares.
    Of a z that belongs to no sound, it is the sound whose `stft` is nearest (Griffin & Lim, 1984, eq. 6).

    (n, n_fft / 2 + 1, T / hop) complex -> (n, T)"""
    if z.ndim != 3 or not z.is_complex() or z.shape[1] < 2 or not z.numel():
        raise ValueError(f"expected complex numbers (n, n_fft / 2 + 1, T / hop), got {z.dtype} {tuple(z.shape)}")
    n_fft = 2 * (z.shape[1] - 1)
    window, side = _window(n_fft, hop, z.real)
    frames = torch.fft.irfft(z.transpose(1, 2), n=n_fft) * window             # (n, T / hop, n_fft)
    squares = window.square().expand(1, z.shape[2], n_fft)
    return (_overlap_add(frames, hop) / _overlap_add(squares, hop))[:, side: side + z.shape[2] * hop]


def _window(n_fft: int, hop: int, like: Tensor) -> tuple[Tensor, int]:
    """The Hann window, and how much silence is put on either side of a sound."""
    whole(2, n_fft=n_fft)
    whole(1, n_fft // 2, hop=hop)
    if n_fft % hop or (n_fft - hop) % 2:
        raise ValueError(f"hop={hop} must divide n_fft={n_fft}, and their difference must be even")
    return torch.hann_window(n_fft, device=like.device, dtype=like.dtype), (n_fft - hop) // 2


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """(n, J, n_fft) -> (n, (J - 1) * hop + n_fft): frame j is added from sample j * hop on."""
    n_fft, length = frames.shape[2], (frames.shape[1] - 1) * hop + frames.shape[2]
    return F.fold(frames.transpose(1, 2), (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0]


def picture_of(x: Tensor, n_fft: int = N_FFT, hop: int = HOP, floor: float = FLOOR) -> Tensor:
    """The log-magnitude of a sound as a picture: 1 for a sine of full loudness, 0 for `floor` decibels or less.

    (n, T) -> (n, 1, n_fft / 2, T / hop) in [0, 1]. The highest row of `stft`, at half the rate, is left out."""
    loudness = 20 * (stft(x, n_fft, hop)[:, :-1].abs() / (n_fft / 4)).clamp(min=1e-10).log10()    # decibels
    return (1 - loudness / floor).clamp(0, 1)[:, None]


def magnitude_of(picture: Tensor, floor: float = FLOOR) -> Tensor:
    """The inverse of `picture_of` as far as there is one.  (n, 1, n_fft / 2, J) in [0, 1] -> (n, n_fft / 2 + 1, J)"""
    if picture.ndim != 4 or picture.shape[1] != 1 or not picture.is_floating_point():
        raise ValueError(f"pictures of sounds have the shape (n, 1, n_fft / 2, T / hop), got {tuple(picture.shape)}")
    loudness = floor * (1 - picture[:, 0])                                    # decibels
    magnitude = 10 ** (loudness / 20) * (picture[:, 0] > 0) * picture.shape[2] / 2
    return F.pad(magnitude, (0, 0, 0, 1))                                     # silence in the highest row


def mel(f: Tensor) -> Tensor:
    """Hz -> mel, in which equal distances sound about equally far: 2595 log10(1 + f / 700)."""
    return 2595 * (1 + f / 700).log10()


def mel_filters(n_mel: int, n_fft: int = N_FFT, rate: int = RATE) -> Tensor:
    """Triangles that gather the rows of a spectrogram into n_mel bands of equal width in mel: (n_mel, n_fft / 2 + 1).

    Neighbours overlap by half, so that between the first and the last peak all bands together have weight 1."""
    whole(1, n_mel=n_mel, n_fft=n_fft, rate=rate)
    top = mel(torch.tensor(rate / 2, dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(0, 1, n_mel + 2, dtype=torch.float64) * top / 2595) - 1)           # Hz
    f = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rise = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0).float()


def griffin_lim(magnitude: Tensor, rounds: int = 60, momentum: float = 0.99, generator: torch.Generator | None = None,
                hop: int = HOP) -> Tensor:
    """A sound whose spectrogram has these magnitudes, as nearly as found. In turn: take the sound nearest to what we
    have (`istft`), keep the phases of its own spectrogram, put the magnitudes back.  (n, F, J) >= 0 -> (n, T)

    rounds=0: random phases as they are.  momentum: 0 is Griffin & Lim (1984); more goes beyond each step, as in
    Perraudin, Balazs & Søndergaard (2013), written as librosa and torchaudio do: a share m / (1 + m) of the spectrogram
    before is taken off."""
    whole(0, rounds=rounds)
    between(0, 1, momentum=momentum)
    if magnitude.ndim != 3 or not magnitude.is_floating_point():
        raise ValueError(f"magnitudes have the shape (n, n_fft / 2 + 1, T / hop), got {tuple(magnitude.shape)}")
    n_fft, before = 2 * (magnitude.shape[1] - 1), 0.0
    turn = 2 * math.pi * torch.rand(magnitude.shape, generator=generator, device=magnitude.device)
    phase = torch.polar(torch.ones_like(turn), turn)
    for _ in range(rounds):
        now = stft(istft(magnitude * phase, hop), n_fft, hop)
        phase = now - momentum / (1 + momentum) * before
        phase, before = phase / phase.abs().clamp(min=1e-12), now
    return istft(magnitude * phase, hop)


def convergence(x: Tensor, magnitude: Tensor, hop: int = HOP) -> Tensor:
    """How far the spectrogram of x (n, T) is from the magnitudes that were wanted (n, F, J), as a share of these: 0 is
    perfect. The spectral convergence of Sturmel & Daudet (2011), not in decibels.  -> (n,)"""
    found = stft(x, 2 * (magnitude.shape[1] - 1), hop).abs()
    same_shape(spectrogram=found, magnitude=magnitude)
    return (found - magnitude).flatten(1).norm(dim=1) / magnitude.flatten(1).norm(dim=1).clamp(min=1e-12)


# -------------------------------------------------------------------------------------------------------------- pitch

def pitch(x: Tensor, rate: int = RATE, low: float = 100.0, high: float = 1_500.0, fine: int = 8) -> Tensor:
    """How often a second each sound repeats itself, by autocorrelation: the shortest lag at which it is nearly as like
    itself as at the best one. Then the peak is followed to its multiples, which measures it ever more finely.

    (n, T) -> (n,) Hz between low and high.  fine: points of the autocorrelation for each sample."""
    same_shape(2, x=x)
    whole(1, fine=fine)
    between(1, rate / 2, low=low, high=high)
    T = x.shape[1]
    shortest, longest = int(fine * rate / high), math.ceil(fine * rate / low)
    if not shortest < longest <= fine * T // 2:
        raise ValueError(f"{T} samples are too short for low={low:g} Hz, or high={high:g} Hz is not above it")
    power = torch.fft.rfft(x.double() - x.double().mean(1, keepdim=True), 2 * T).abs().square()
    r = torch.fft.irfft(power, 2 * T * fine)[:, : T * fine // 2]              # (n, lags)
    r = r / (1 - torch.arange(r.shape[1], device=x.device) / (T * fine))      # fewer samples meet at long lags
    part = r[:, shortest - 1: longest + 2]
    peak = (part[:, 1:-1] >= part[:, :-2]) & (part[:, 1:-1] > part[:, 2:])    # (n, lags)
    value = part[:, 1:-1].where(peak, torch.zeros_like(part[:, 1:-1]))
    good = value >= 0.9 * value.amax(1, keepdim=True)
    lag = (shortest + good.double().argmax(1)).double()                       # (n,) the first of the good ones
    near = torch.arange(-fine, fine + 1, device=x.device)
    periods = torch.ones_like(lag)
    for k in range(2, 65):                                                    # the peak of k periods
        there = (lag * k / (k - 1)).round().long()[:, None] + near            # (n, 2 fine + 1)
        best = there.gather(1, r.gather(1, there.clamp(0, r.shape[1] - 1)).argmax(1, keepdim=True))[:, 0].double()
        inside = there[:, -1] < r.shape[1]
        lag, periods = torch.where(inside, best, lag), periods + inside
    return (rate * fine * periods / lag).where(peak.any(1), math.nan).float()


def cents(f: Tensor, wanted: Tensor) -> Tensor:
    """How far frequencies are from the wanted ones, in hundredths of a semitone: 1,200 to the octave."""
    return 1200 * (f / wanted).log2()


def note_frequency(number: Tensor) -> Tensor:
    """The frequency of a key, in Hz: key 69 is 440 Hz, twelve keys more are twice as much (MIDI)."""
    return 440 * 2 ** ((torch.as_tensor(number).double() - 69) / 12)
