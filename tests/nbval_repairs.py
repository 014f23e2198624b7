"""A pytest plugin that makes nbval 0.11 strict. Notebooks are run and compared with what they store, and

- figures and moving pictures are compared: as many, of the same shape, and no further apart than an RMS of 5 of 255
  grey levels, unless the cell is tagged nbval-ignore-figure (their number and nominal size are compared even then);
- sounds are compared: as many, of the same rate and length, their spectrograms no further apart than a tenth;
- a dead kernel is reported at once, not after the time-out of the cell;
- a notebook that was not run from top to bottom is an error: execution counts are 1, 2, ... n;
- a trailing ; keeps the value of a cell off the page, as it does in JupyterLab;
- what the claims of a lesson have measured is masked (nbval_sanitize.cfg);
- kernels run as they do for the builder, without any personal configuration.
"""

import base64
import io
import os
import re
import tempfile
import time
import wave
from pathlib import Path
from queue import Empty

import nbval.plugin
import numpy as np
import pytest
from nbval.kernel import RunningKernel, start_new_kernel
from PIL import Image, ImageSequence

from authoring.build import KERNEL_ENV, pixels

RMS = 5                                            # of 255: lets another version of a font pass, not another curve
SOUND = 0.1                                        # of its size: lets rounding pass, not another sound


def pytest_configure(config):
    """Nbval's options, so that a plain `pytest notebooks/31_vae.ipynb` has them too."""
    config.option.nbval = False                                                       # it would collect a second time
    config.option.nbval_current_env = True
    config.option.nbval_sanitize_with = Path(__file__).with_name("nbval_sanitize.cfg")
    config.option.nbval_cell_timeout = min(config.option.nbval_cell_timeout, 300)


def pytest_collect_file(file_path, parent):
    return Notebook.from_parent(parent, path=file_path) if file_path.suffix == ".ipynb" else None


class Kernel(RunningKernel):
    def __init__(self, kernel_name, cwd=None, startup_timeout=60):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)        # instead of ~/.ipython
        with open(os.devnull, "w") as silent:
            self.km, self.kc = start_new_kernel(startup_timeout, kernel_name, stderr=silent, cwd=cwd,
                                                env=os.environ | KERNEL_ENV | {"IPYTHONDIR": self.profile.name})
        self._ensure_iopub_up()

    def stop(self):
        super().stop()
        self.profile.cleanup()

    def execute_cell_input(self, cell_input, allow_stdin=None):
        return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def await_reply(self, msg_id, timeout=None):
        end = time.monotonic() + (timeout or float("inf"))
        while True:
            try:
                message = self.get_message(stream="shell", timeout=0.5)
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died while it ran this cell") from None
                if time.monotonic() > end:
                    raise
                continue
            if message["parent_header"].get("msg_id") == msg_id:
                if message["content"]["status"] == "aborted":
                    raise RuntimeError("the kernel aborted this cell")
                return


class Cell(nbval.plugin.IPyNbCell):
    def compare_outputs(self, test, ref, skip_compare=None):
        if not super().compare_outputs(test, ref, skip_compare):
            return False
        if "nbval-ignore-figure" in self.cell.metadata.get("tags", []):
            return True
        difference = compare_figures(figures(ref), figures(test)) or compare_sounds(sounds(ref), sounds(test))
        self.comparison_traceback += [difference] if difference else []
        return not difference


class TopToBottom(pytest.Item):
    def runtest(self):
        counts = [c.execution_count for c in self.parent.nb.cells if c.cell_type == "code" and c.source.strip()]
        assert counts == list(range(1, len(counts) + 1)), f"not run from top to bottom: execution counts {counts}"

    def repr_failure(self, excinfo, style=None):
        return str(excinfo.value)

    def reportinfo(self):
        return self.path, 0, f"{self.path.name}::top to bottom"


class Notebook(nbval.plugin.IPyNbFile):
    def collect(self):
        for cell in super().collect():
            yield Cell.from_parent(self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options)
        yield TopToBottom.from_parent(self, name="top to bottom")

    def teardown(self):
        super().teardown()
        if self.kernel is not None and hasattr(self.kernel, "km"):                     # it died, or did not stop
            self.kernel.stop()


def in_pages(outputs, kind: str) -> list[bytes]:
    """The files of one kind that the outputs hold in their HTML."""
    return [base64.b64decode(data) for o in outputs for data in re.findall(
        rf'data:{kind};base64,([^"]*)', o.get("data", {}).get("text/html", ""))]


def figures(outputs) -> list[np.ndarray]:
    """Pictures (H, W, 3), and the frames (T, H, W, 3) of moving ones, which course_lib.plots.film puts into a page."""
    pngs = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    found = [np.asarray(pixels(base64.b64decode(png)), dtype=float) for png in pngs]  # stored ones have a palette
    for data in in_pages(outputs, "image/gif"):
        with Image.open(io.BytesIO(data)) as gif:
            frames = [np.asarray(frame.convert("RGB"), dtype=float) for frame in ImageSequence.Iterator(gif)]
        found.append(np.stack(frames))
    return found


def compare_figures(stored: list[np.ndarray], computed: list[np.ndarray]) -> str:
    """What is different, in one line; nothing if nothing is."""
    if len(stored) != len(computed):
        return f"the notebook stores {len(stored)} figures, the cell drew {len(computed)}"
    for i, (a, b) in enumerate(zip(stored, computed)):
        if a.shape != b.shape:
            return f"figure {i} is stored with shape {a.shape} and was drawn with shape {b.shape}"
        if (rms := float(np.sqrt(((a - b) ** 2).mean()))) > RMS:
            return f"figure {i} differs from the stored one: RMS {rms:.1f} > {RMS} of 255"
    return ""


def sounds(outputs) -> list[tuple[int, np.ndarray]]:
    """Rate and samples of each sound that course_lib.plots.listen has put into a page."""
    found = []
    for data in in_pages(outputs, "audio/wav"):
        with wave.open(io.BytesIO(data)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
            found.append((file.getframerate(), samples.astype(float)))
    return found


def compare_sounds(stored: list, computed: list) -> str:
    """As compare_figures. How loud each frequency is at each time counts, not its phase: no ear hears that."""
    if len(stored) != len(computed):
        return f"the notebook stores {len(stored)} sounds, the cell made {len(computed)}"
    for i, ((rate, a), (new_rate, b)) in enumerate(zip(stored, computed)):
        if (rate, len(a)) != (new_rate, len(b)):
            return f"sound {i} is stored with {len(a)} samples at {rate} Hz and was made with {len(b)} at {new_rate}"
        a, b = loudness(a), loudness(b)
        if (apart := float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1))) > SOUND:
            return f"sound {i} differs from the stored one: its spectrogram by {apart:.2f} > {SOUND} of its size"
    return ""


def loudness(x: np.ndarray) -> np.ndarray:
    pieces = np.lib.stride_tricks.sliding_window_view(np.pad(x, 256), 256)[::64]
    return np.abs(np.fft.rfft(pieces * np.hanning(256)))


nbval.plugin.RunningKernel = Kernel                # which IPyNbFile.setup starts
