"""How `spoken.npz` was made.   python -m course_lib.data.build_spoken

Four voices of flite say the ten digits, each in five lengths and at five heights. Needs flite, which nobody needs who
only loads the digits:

    apt install flite

Silence before and after is cut off; the word begins after 32 ms, is made equally loud, and what is longer than half a
second is said again, faster. `sounds_sources.json` has versions and licences.
"""

import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
import torch

from course_lib.audio import RATE, downsample, mu_law
from course_lib.data.build_notes import keep
from course_lib.data.sounds import LENGTH, VOICES

TARGET = Path(__file__).with_name("spoken.npz")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STRETCHES = (0.6, 0.7, 0.8, 0.9, 1.0)                  # lengths, as shares of the usual one
HEIGHTS = {"kal16": (80, 92, 105, 120, 135), "awb": (90, 105, 120, 138, 155), "rms": (78, 88, 100, 115, 130),
           "slt": (140, 160, 180, 200, 220)}           # mean pitch, Hz
BEGINS = 256                                           # samples of silence before the word


def say(word: str, voice: str, stretch: float, height: float) -> torch.Tensor:
    """One word at RATE samples a second, without the silence around it.  -> (T,)"""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder, "word.wav")
        subprocess.run(["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "--setf",
                        f"int_f0_target_mean={height}", "-t", word, "-o", str(sound)], check=True, capture_output=True)
        with wave.open(str(sound)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15
            factor = file.getframerate() // RATE
    x = downsample(torch.from_numpy(pcm)[None].float(), factor)[0]
    loud = (x.abs() > 0.03 * x.abs().max()).nonzero()[:, 0]
    return x[loud[0]: loud[-1] + 1]


def fitting(word: str, voice: str, stretch: float, height: float) -> torch.Tensor:
    """The word in LENGTH samples, from BEGINS on.  -> (LENGTH,)"""
    x, room = say(word, voice, stretch, height), LENGTH - BEGINS - 64
    while len(x) > room:
        stretch *= 0.98 * room / len(x)
        x = say(word, voice, stretch, height)
    return torch.nn.functional.pad(0.9 * x / x.abs().max(), (BEGINS, LENGTH - BEGINS - len(x)))


def main() -> None:
    codes, what = [], []
    for voice_number, voice in enumerate(VOICES):
        for digit, word in enumerate(DIGITS):
            for stretch in STRETCHES:
                for height in HEIGHTS[voice]:
                    codes.append(mu_law(fitting(word, voice, stretch, height)))
                    what.append((digit, voice_number))
    keep(TARGET, x=torch.stack(codes).numpy(), what=np.array(what, np.uint8))
    print(f"{TARGET.name}: {len(what)} digits, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
