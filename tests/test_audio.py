"""Signals against SciPy, PyTorch and formulas that give the answer another way; the shipped sounds."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
from torch.testing import assert_close

from course_lib.audio import (
    HOP,
    N_FFT,
    RATE,
    alias,
    cents,
    convergence,
    downsample,
    from_mu_law,
    griffin_lim,
    istft,
    low_pass,
    magnitude_of,
    mel,
    mel_filters,
    mu_law,
    note_frequency,
    picture_of,
    pitch,
    stft,
)
from course_lib.data import build_notes, build_spoken, sounds
from course_lib.data.sounds import INSTRUMENTS, LENGTH, NOTES, VOICES, kept_apart, load_sounds
from course_lib.device import seeded

FOLDER = Path(sounds.__file__).parent


def tone(f, rate=RATE, T=LENGTH, phase=0.3):
    return torch.sin(2 * math.pi * f * torch.arange(T, dtype=torch.float64) / rate + phase)[None]


def noise(n=3, T=1_024):
    return torch.randn(n, T, dtype=torch.float64, generator=seeded(0))


def loudest(x, rate):
    """The frequency with the most energy, in Hz."""
    return torch.fft.rfft(x * torch.hann_window(x.shape[1])).abs().argmax(1) * rate / x.shape[1]


# ----------------------------------------------------------------------------------------------- samples and their bits

@pytest.mark.parametrize("f, rate", [(3_000, 4_000), (3_100, 4_000), (1_200, 4_000), (5_500, 4_000), (3_900, 2_000)])
def test_a_tone_that_is_too_high_is_heard_at_its_alias(f, rate):
    factor = 16_000 // rate
    sampled = tone(f, 16_000, 16_384)[:, ::factor]
    assert_close(loudest(sampled, rate).item(), alias(f, rate), atol=2.0, rtol=0)


def test_what_the_new_rate_cannot_hold_is_taken_away_and_the_rest_is_kept():
    inside, outside = (downsample(tone(f), 2)[:, 200:-200] for f in (1_500, 3_000))
    assert_close(inside, tone(1_500)[:, ::2][:, 200:-200], atol=2e-3, rtol=0)
    assert outside.abs().max() < 2e-3
    assert_close(downsample(noise(), 1), noise(), atol=1e-6, rtol=0)
    assert downsample(noise(T=1_000), 3).shape == (3, 334)


def test_the_filter_has_the_response_of_a_windowed_sinc_of_scipy():
    taps = 2 * 32 * 4 + 1
    expected = scipy.signal.firwin(taps, 0.25, window="boxcar") * scipy.signal.windows.hann(taps + 2)[1:-1]
    impulse = torch.zeros(1, 2 * taps, dtype=torch.float64)
    impulse[0, taps] = 1
    found = low_pass(impulse, 0.25)[0, taps - taps // 2: taps + taps // 2 + 1]
    assert_close(found, torch.from_numpy(expected / expected.sum()), atol=1e-9, rtol=0)


def test_mu_law_is_the_formula_and_comes_back_to_half_a_step():
    x = torch.linspace(-1, 1, 4_001)
    code = mu_law(x)
    by_hand = [math.floor((math.copysign(math.log(1 + 255 * abs(v)) / math.log(256), v) + 1) / 2 * 255 + 0.5)
               for v in x.tolist()]
    assert code.dtype == torch.uint8 and (code.long() - torch.tensor(by_hand)).abs().max() <= 1        # rounding
    assert (code.long() == torch.tensor(by_hand)).double().mean() > 0.999
    assert_close(mu_law(from_mu_law(torch.arange(256))), torch.arange(256, dtype=torch.uint8))
    step = (1 + 255 * x.abs()) / 255 * math.log(256) * 2 / 255                # the derivative of the inverse, one code
    assert ((from_mu_law(code) - x).abs() <= 0.51 * step * 1.02).all()


def test_more_than_256_steps_need_more_than_a_byte():
    code = mu_law(torch.tensor([-1.0, 0.0, 1.0]), mu=1_023)
    assert code.tolist() == [0, 512, 1_023] and code.dtype == torch.int64


# ------------------------------------------------------------------------------------------------------- spectrograms

@pytest.mark.parametrize("n_fft, hop", [(128, 32), (128, 64), (256, 64)])
def test_the_transform_is_torch_s_on_a_padded_sound(n_fft, hop):
    x, side = noise(), (n_fft - hop) // 2
    padded = torch.nn.functional.pad(x, (side, side))
    expected = torch.stft(padded, n_fft, hop, window=torch.hann_window(n_fft, dtype=x.dtype), center=False,
                          return_complex=True)
    assert_close(stft(x, n_fft, hop), expected)
    assert stft(x, n_fft, hop).shape == (3, n_fft // 2 + 1, 1_024 // hop)
    _, _, scipys = scipy.signal.stft(padded.numpy(), window="hann", nperseg=n_fft, noverlap=n_fft - hop, boundary=None,
                                     padded=False)                            # divides by the sum of the window
    assert_close(stft(x, n_fft, hop) / (n_fft / 2), torch.from_numpy(scipys))


@pytest.mark.parametrize("n_fft, hop", [(128, 32), (128, 64), (256, 64), (512, 128)])
def test_the_inverse_is_exact(n_fft, hop):
    assert_close(istft(stft(noise(), n_fft, hop), hop), noise())


def test_the_inverse_gives_the_nearest_sound():
    z = torch.randn(2, 33, 16, dtype=torch.complex128, generator=seeded(0))
    z[:, [0, -1]] = z[:, [0, -1]].real + 0j
    x = istft(z, 16)
    weight = torch.full((1, 33, 1), 2.0)
    weight[:, [0, -1]] = 1                                                    # the rows that stand for one frequency

    def distance(x):
        return ((stft(x, 64, 16) - z).abs().square() * weight).sum((1, 2))

    for k in range(4):
        assert (distance(x + 0.01 * noise(2, 256).roll(k, 1)) > distance(x)).all()


@pytest.mark.parametrize("call, words", [
    (lambda: stft(noise(), 100, 30), "n_fft=100"), (lambda: stft(noise(), 64, 64), "hop=64"),
    (lambda: istft(torch.zeros(1, 9, 4)), "float32"), (lambda: magnitude_of(torch.zeros(2, 128, 32)), "(2, 128, 32)"),
    (lambda: low_pass(noise(), 0.0), "share=0.0"), (lambda: pitch(noise(), low=2), "low=2"),
    (lambda: griffin_lim(torch.ones(1, 65, 8), momentum=2), "momentum=2"),
    (lambda: from_mu_law(torch.tensor([256])), "256")])
def test_what_cannot_be_is_one_clear_line(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_picture_is_in_decibels_and_comes_back():
    x = torch.cat([tone(1_000), 0.1 * tone(1_000), 0 * tone(1_000)])
    picture = picture_of(x)
    assert picture.shape == (3, 1, N_FFT // 2, LENGTH // HOP)
    assert_close(picture[:, 0, 64, 16], torch.tensor([1, 1 - 20 / 60, 0.0], dtype=torch.float64), atol=1e-4, rtol=0)
    expected = stft(x).abs()
    expected[:, -1] = 0
    expected[expected < 10 ** (-60 / 20) * N_FFT / 4] = 0
    assert_close(magnitude_of(picture), expected, atol=1e-6, rtol=1e-6)


def test_mel_bands_are_triangles_that_share_every_frequency():
    assert mel(torch.tensor(1_000.0)).item() == pytest.approx(1_000, abs=0.1)          # so mel was defined
    filters = mel_filters(20)
    assert filters.shape == (20, N_FFT // 2 + 1) and filters.min() >= 0
    peaks = mel(filters.argmax(1) * RATE / N_FFT)
    assert ((peaks.diff() - peaks.diff().mean()).abs() < 30).all()                     # a row is 15.6 Hz
    first, last = filters[0].argmax(), filters[-1].argmax()
    assert_close(filters.sum(0)[first + 1: last], torch.ones(last - first - 1))


def test_griffin_lim_finds_a_sound_and_momentum_helps():
    x = load_sounds("notes").test.x[:4]
    magnitude = stft(x).abs()
    error = {(rounds, momentum): convergence(griffin_lim(magnitude, rounds, momentum, seeded(0)), magnitude).mean()
             for rounds, momentum in ((0, 0.0), (30, 0.0), (30, 0.99))}
    assert error[0, 0.0] > 0.5 > 2.5 * error[30, 0.0] > 2.5 * error[30, 0.99]
    assert convergence(x, magnitude).max() < 1e-5
    three, four = (griffin_lim(magnitude, rounds, 0.0, seeded(0)) for rounds in (3, 4))
    assert (convergence(four, magnitude) <= convergence(three, magnitude)).all()         # no round makes it worse


def test_momentum_is_written_as_librosa_and_torchaudio_do():
    x, m = noise(1, 512), 0.9
    magnitude = stft(x, 64, 16).abs()
    turn = 2 * math.pi * torch.rand(magnitude.shape, generator=seeded(1))
    phase, before = torch.exp(1j * turn), 0
    for _ in range(5):
        now = stft(istft(magnitude * phase, 16), 64, 16)
        angles = now - m / (1 + m) * before
        phase, before = angles / angles.abs(), now
    assert_close(griffin_lim(magnitude, 5, m, seeded(1), hop=16), istft(magnitude * phase, 16), atol=1e-4, rtol=0)


# -------------------------------------------------------------------------------------------------------------- pitch

@pytest.mark.parametrize("f", [131.0, 261.6, 440.0, 523.25, 987.8])
def test_pitch_is_right_to_a_cent_for_a_tone_with_overtones(f):
    x = sum(tone(k * f, phase=k) / k for k in range(1, int(4_000 / f) + 1)) / 3
    assert cents(pitch(x), torch.tensor(f)).abs() < 1
    missing = x - tone(f, phase=1) / 3                                        # without its lowest partial
    assert cents(pitch(missing), torch.tensor(f)).abs() < 2
    assert cents(pitch(0.9 * x + 0.05 * noise(1, LENGTH)), torch.tensor(f)).abs() < 5


def test_silence_has_no_pitch_and_each_sound_its_own():
    found = pitch(torch.cat([tone(440), torch.zeros(1, LENGTH), tone(300)]))
    assert_close(found, torch.tensor([440, math.nan, 300]), atol=0.2, rtol=0, equal_nan=True)


def test_an_octave_is_1200_cents_and_key_69_is_440_hz():
    assert_close(note_frequency(torch.tensor([57, 69, 60])).float(), torch.tensor([220, 440, 261.6256]))
    assert_close(cents(torch.tensor([220.0, 440.0]), torch.tensor(440.0)), torch.tensor([-1200.0, 0]))


# ------------------------------------------------------------------------------------------------------------- sounds

@pytest.mark.parametrize("name, columns", [("notes", (22, 13, 2)), ("spoken", (10, 4))])
def test_the_sounds_are_the_recorded_ones_and_the_files_are_small(name, columns):
    with np.load(FOLDER / f"{name}.npz") as d:
        digest = hashlib.sha256(d["x"].tobytes() + d["what"].tobytes()).hexdigest()
        assert (d["x"].shape[1], d["x"].dtype) == (LENGTH, np.uint8) and tuple(d["what"].max(0) + 1) == columns
    recorded = json.loads((FOLDER / "sounds_sources.json").read_text(encoding="utf-8"))[name]
    assert digest == recorded["arrays_sha256"] and (FOLDER / f"{name}.npz").stat().st_size <= 2e6
    assert recorded["licence"] and len(recorded["licence_text"]) > 500 and recorded["version"]


def test_every_note_is_in_tune_and_heard():
    notes = load_sounds("notes")
    x, what = (torch.cat([getattr(part, field) for part in notes]) for field in ("x", "what"))
    assert len(x) == 572 and len({tuple(row) for row in what.tolist()}) == 572
    off = cents(pitch(x), note_frequency(NOTES[0] + what[:, 1])).abs()
    assert off.max() < 10.5 and off.median() < 3
    assert x[:, 512:2048].square().mean(1).sqrt().min() > 0.01
    loudness = x.square().mean(1).sqrt()
    loud, soft = (loudness[what[:, 2] == k].mean() for k in (1, 0))
    assert loud > 3 * soft


def test_a_note_that_is_tested_is_in_no_training_sound():
    notes = load_sounds("notes")
    seen, tested = ({(i, n) for i, n, _ in part.what.tolist()} for part in notes)
    assert len(notes.train.x) == 484 and len(notes.test.x) == 88 and not seen & tested
    assert {i for i, _ in tested} == set(range(22)) and {n for _, n in tested} == {n for _, n in seen}
    assert kept_apart(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 5])).tolist() == [True, False, True]
    assert repr(notes.test) == "Sounds(x=(88, 4096), what=(88, 3))"


def test_words_begin_together_and_end_before_the_sound_does():
    spoken = load_sounds("spoken")
    assert [len(part.x) for part in spoken] == [800, 200]
    x = torch.cat([part.x for part in spoken])
    silence = from_mu_law(mu_law(torch.zeros(1)))
    assert (x[:, : build_spoken.BEGINS] == silence).all() and (x[:, -64:] == silence).all()
    assert x.abs().amax(1).min() > 0.85
    counts = torch.stack([(part.what[:, 0] * 4 + part.what[:, 1]).bincount() for part in spoken])
    assert (counts == torch.tensor([[20], [5]])).all()                        # of each digit by each voice
    assert len(VOICES) == 4 and len(build_spoken.STRETCHES) * len(build_spoken.HEIGHTS["slt"]) == sounds.VARIANTS


def test_a_score_is_a_midi_file_that_says_what_to_play():
    score = build_notes.midi(73, [(60, 50), (72, 115)])
    assert score[:14] == b"MThd\0\0\0\6\0\0\0\1\1\xf4" and score[14:18] == b"MTrk"
    assert int.from_bytes(score[18:22], "big") == len(score) - 22 and score.endswith(b"\0\xff\x2f\0")
    assert score.count(bytes([0xC0, 73])) == 1
    assert bytes([0x90, 60, 50, 0x83, 0x4C, 0x80, 60, 0]) in score           # 0.46 s: 460 = 3 * 128 + 76 ticks


def test_archives_are_the_same_bytes_each_time(tmp_path):
    for name in ("a.npz", "b.npz"):
        build_notes.keep(tmp_path / name, x=np.arange(20, dtype=np.uint8))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert np.load(tmp_path / "a.npz")["x"].tolist() == list(range(20))


def test_the_end_of_a_note_falls_to_silence():
    x = build_notes.fade(torch.ones(2, 1_000))
    assert (x[:, :840] == 1).all() and (x[:, -1] == 0).all() and (x[:, 840:].diff() < 0).all()
    assert len(INSTRUMENTS) == 22
