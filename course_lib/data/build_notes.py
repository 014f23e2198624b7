"""How `notes.npz` was made.   python -m course_lib.data.build_notes

Twenty-two instruments of the sound font FluidR3 (mono) play 13 notes, softly and loudly, through fluidsynth. Needs
both, which nobody needs who only loads the notes:

    apt install fluidsynth fluidr3mono-gm-soundfont

Each note is rendered at 48,000 samples a second, brought down to 8,000 by `audio.downsample`, cut to 4,096 samples,
and faded out. It is then put to the proof: it must be in tune, and heard to its end. `sounds_sources.json` has versions
and licences.
"""

import io
import struct
import subprocess
import tempfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import torch

from course_lib.audio import RATE, cents, downsample, mu_law, note_frequency, pitch
from course_lib.data.sounds import INSTRUMENTS, LENGTH, NOTES, VELOCITIES

TARGET = Path(__file__).with_name("notes.npz")
FONT = "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3"
FINE = 48_000                                          # samples a second of the rendering
HELD, APART = 0.46, 2.0                                # seconds that a key is down, and from one note to the next


def midi(program: int, keys: list[tuple[int, int]]) -> bytes:
    """A MIDI file: the programme plays each (key, velocity) for HELD seconds, one every APART seconds."""
    def event(seconds: float, *data: int) -> bytes:
        ticks, bytes_ = round(1_000 * seconds), []             # a tick is a millisecond
        while True:
            bytes_.insert(0, ticks & 127 | (128 if bytes_ else 0))
            ticks >>= 7
            if not ticks:
                return bytes(bytes_) + bytes(data)

    track = event(0, 0xFF, 0x51, 3, *(500_000).to_bytes(3, "big")) + event(0, 0xC0, program)
    for key, velocity in keys:
        track += event(0, 0x90, key, velocity) + event(HELD, 0x80, key, 0) + event(APART - HELD, 0xB0, 7, 100)
    track += event(0, 0xFF, 0x2F, 0)
    return struct.pack(">4sIHHH", b"MThd", 6, 0, 1, 500) + struct.pack(">4sI", b"MTrk", len(track)) + track


def render(program: int, keys: list[tuple[int, int]]) -> torch.Tensor:
    """(n, LENGTH) in [-1, 1], not yet made louder."""
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "notes.mid"), Path(folder, "notes.wav")
        score.write_bytes(midi(program, keys))
        subprocess.run(["fluidsynth", "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.6", "-r", str(FINE), "-T", "wav",
                        "-F", str(sound), FONT, str(score)], check=True, capture_output=True)
        with wave.open(str(sound)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).mean(1) / 2**15
    x = downsample(torch.from_numpy(pcm)[None].float(), FINE // RATE)[0]
    starts = [round(k * APART * RATE) for k in range(len(keys))]
    return torch.stack([x[start: start + LENGTH] for start in starts])


def fade(x: torch.Tensor, samples: int = 160) -> torch.Tensor:
    """The last 20 ms fall to 0, so that nothing clicks."""
    x = x.clone()
    x[:, -samples:] *= torch.linspace(1, 0, samples)
    return x


def keep(path: Path, **arrays: np.ndarray) -> None:
    """An .npz that NumPy reads as any other, with the denser compression of zip (LZMA) and no date: the same bytes for
    the same arrays."""
    with zipfile.ZipFile(path, "w") as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)


def main() -> None:
    codes, what = [], []
    for number, program in enumerate(INSTRUMENTS.values()):
        keys = [(key, velocity) for key in NOTES for velocity in VELOCITIES]
        x = fade(render(program, keys))
        x = 0.9 * x / x.abs().max()
        off = cents(pitch(x), note_frequency(torch.tensor([key for key, _ in keys]))).abs()
        quiet = x[:, LENGTH // 8: LENGTH // 2].square().mean(1).sqrt()
        if off.max() > 10 or quiet.min() < 0.01:
            raise ValueError(f"programme {program}: {off.max():.1f} cents out of tune, or as soft as {quiet.min():.4f}")
        codes.append(mu_law(x))
        what += [(number, NOTES.index(key), VELOCITIES.index(velocity)) for key, velocity in keys]
    keep(TARGET, x=torch.cat(codes).numpy(), what=np.array(what, np.uint8))
    print(f"{TARGET.name}: {len(what)} notes, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
