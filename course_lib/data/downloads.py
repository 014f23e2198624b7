"""The large image sets: fetched once, checked, kept as the archives their authors publish, read through torchvision.

Addresses and checksums are torchvision's own class attributes, so a newer torchvision repairs a dead link. The cache
holds archives only. Every call checks their hash and unpacks them into a temporary folder: a half-unpacked or edited
copy cannot exist, and a cache that a class shares may be read-only.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from torchvision.datasets import CIFAR10, MNIST, FashionMNIST
from tqdm.auto import tqdm

from course_lib.data import Images, Split

try:
    import fcntl
except ImportError:                            # Windows
    import msvcrt

TIMEOUT = 20                                   # seconds without a byte before a server counts as gone
TRIES = 2                                      # per mirror and call; the second continues where the first was cut off
INSTEAD = 'load("digits") needs no download'


class DownloadError(RuntimeError):
    """A data set could not be fetched, kept or unpacked. One line: the file, the reason, and what works instead."""


def torchvision_set(name: str, cache: str | Path | None = None) -> Images:
    """`mnist`, `fashion_mnist` or `cifar10`: train and test x (N, C, H, W) float32 in [0, 1], y (N,) int64.

    The archives are kept in `cache` (default: the environment variable COURSE_DATA, or ~/.cache/course_lib), in
    torchvision's own layout; a second call needs no network. CIFAR-10's batches are Python pickles, which can run any
    code when they are opened: they are opened only after the archive's hash was found to be the published one.
    Raises ValueError for an unknown name, DownloadError when the files cannot be fetched, kept or unpacked.
    """
    kinds = {"mnist": MNIST, "fashion_mnist": FashionMNIST, "cifar10": CIFAR10}
    if name not in kinds:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(kinds)}")
    kind = kinds[name]
    cache = Path(cache or os.environ.get("COURSE_DATA") or "~/.cache/course_lib").expanduser()
    if kind is CIFAR10:
        archives = [fetch(kind.url, cache / kind.filename, kind.tgz_md5)]
    else:
        raw = cache / kind.__name__ / "raw"
        archives = [fetch([m + file for m in kind.mirrors], raw / file, md5) for file, md5 in kind.resources]
    try:
        with tempfile.TemporaryDirectory() as folder:
            for archive in archives:
                _unpack(archive, Path(folder), kind)
            with warnings.catch_warnings():    # NumPy 2.4.0 to 2.4.4 deprecates how CIFAR's old pickles spell a dtype
                warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
                train, test = (kind(folder, train=train, download=False) for train in (True, False))
    except OSError as e:
        raise DownloadError(f"cannot unpack {name} in {tempfile.gettempdir()} ({_line(e)}): set the environment "
                            f"variable TMPDIR to a folder with room that you may write to; {INSTEAD}") from e
    return Images(_split(train), _split(test), tuple(c.split(" - ")[0] for c in train.classes))    # "3 - three" -> "3"


def fetch(url: str | Sequence[str], path: str | Path, digest: str, size: int | None = None) -> Path:
    """The file `path`, downloaded from `url` (or the first of several mirrors that works) unless it is there already.

    `digest` is the md5 or sha256 in hexadecimal, `size` the length in bytes if that is known. Bytes go to `path`.part,
    which gets the final name only when it is complete, on disk and of the right hash. A .part that a lost connection
    left is continued by the next try, one with the wrong content is deleted. Processes that download into one folder
    take turns.  Raises ValueError for a digest that is neither, DownloadError for whatever goes wrong on the way.
    """
    path, mirrors = Path(path), [url] if isinstance(url, str) else list(url)
    if len(digest) not in (32, 64):
        raise ValueError(f"digest={digest!r} of {path.name} is neither an md5 (32 digits) nor a sha256 (64 digits)")
    part = path.with_name(path.name + ".part")
    reasons = {}                                                       # mirror -> what went wrong there last
    try:
        if _is(path, digest, size):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            if _is(path, digest, size):                                # another process was faster
                return path
            for mirror in mirrors * TRIES:
                if mirror in reasons and not reasons[mirror].again:
                    continue
                try:
                    if not _is(part, digest, size):                    # it is after a crash just before the rename
                        _complete(part, mirror, digest, size)
                    os.replace(part, path)
                    return path
                except _Failed as e:
                    reasons[mirror] = e
    except OSError as e:                                               # the disk's: those of the network are _Failed
        with suppress(OSError):
            part.unlink()                                              # do not leave a disk full
        raise DownloadError(f"cannot keep {path.name} in {path.parent} ({_line(e)}): set the environment variable "
                            f"COURSE_DATA to a folder with room that you may write to; {INSTEAD}") from e
    tried = "; ".join(f"{urlsplit(mirror).netloc}: {reason}" for mirror, reason in reasons.items())
    raise DownloadError(f"cannot download {path.name} ({tried}): check the network and try again; {INSTEAD}")


class _Failed(Exception):
    """A mirror failed. `again` says whether it is worth another try."""

    def __init__(self, reason: str, again: bool = True):
        super().__init__(reason)
        self.again = again


def _complete(part: Path, url: str, digest: str, size: int | None) -> None:
    """Fetch what `part` lacks, and check the whole."""
    start = part.stat().st_size if part.exists() else 0
    response = _ask(url, start)
    with response, open(part, "ab") as f:
        if start and response.status != 206:                           # the whole file: this server ignores Range
            start = 0
            f.truncate(0)
        total = size or (None if response.length is None else start + response.length)
        with tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, leave=False) as bar:
            for chunk in _chunks(response):
                f.write(chunk)
                bar.update(len(chunk))
        f.flush()
        os.fsync(f.fileno())
    length = part.stat().st_size
    if total is not None and length < total:
        raise _Failed(f"the connection closed after {length:,} of {total:,} bytes")
    if not _is(part, digest, size):
        part.unlink()
        reason = f"{length:,} bytes, expected {size:,}" if size not in (None, length) else "content with the wrong hash"
        raise _Failed(f"the server sent {reason}", again=start > 0)    # perhaps only the part of an earlier try was bad


def _ask(url: str, start: int) -> HTTPResponse:
    headers = {"User-Agent": "course_lib"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as e:
        e.close()
        if e.code == 416 and start:                                    # nothing follows: the .part is not of this file
            return _ask(url, 0)
        raise _Failed(f"HTTP {e.code} {e.reason}", again=e.code >= 500) from e
    except (OSError, HTTPException) as e:
        raise _Failed(_line(e)) from e


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read1(1 << 16):                        # what has arrived: a cut loses nothing
            yield chunk
    except (OSError, HTTPException) as e:
        raise _Failed(_line(e)) from e


def _is(path: Path, digest: str, size: int | None) -> bool:
    """Is this file there, complete and unharmed?"""
    if not path.is_file() or size not in (None, path.stat().st_size):
        return False
    new = hashlib.md5 if len(digest) == 32 else hashlib.sha256
    with open(path, "rb") as f:
        return hashlib.file_digest(f, lambda: new(usedforsecurity=False)).hexdigest() == digest.lower()


@contextmanager
def _alone(folder: Path):
    """Wait until no other process downloads into this folder; the system lifts the lock even of a process that died."""
    with open(folder / ".lock", "w") as f:
        if os.name != "nt":
            fcntl.flock(f, fcntl.LOCK_EX)
            yield
        else:
            while True:
                with suppress(OSError):                                # it gives up after ten seconds
                    msvcrt.locking(f.fileno(), msvcrt.LK_LOCK, 1)
                    break
            try:
                yield
            finally:
                msvcrt.locking(f.fileno(), msvcrt.LK_UNLCK, 1)


def _unpack(archive: Path, folder: Path, kind: type) -> None:
    """Put the contents where torchvision's `kind` looks for them. Of a tar only regular files with the names it knows
    are read, so no path inside an archive can lead elsewhere."""
    if kind is CIFAR10:
        wanted = {f"{kind.base_folder}/{file}" for file, _ in kind.train_list + kind.test_list}
        wanted.add(f"{kind.base_folder}/{kind.meta['filename']}")
        (folder / kind.base_folder).mkdir()
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and member.name in wanted:
                    with tar.extractfile(member) as packed, open(folder / member.name, "wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked)
    else:
        raw = folder / kind.__name__ / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        with gzip.open(archive) as packed, open(raw / archive.stem, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)


def _split(data) -> Split:
    x = torch.as_tensor(data.data)                                     # uint8 (N, H, W), or (N, H, W, 3)
    x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)       # (N, C, H, W)
    return Split(x.contiguous().float().div(255), torch.as_tensor(data.targets))


def _line(e: BaseException) -> str:
    """The reason alone, on one line."""
    reason = getattr(e, "reason", e)                                   # URLError wraps what happened
    return " ".join(str(getattr(reason, "strerror", None) or reason).split()) or type(reason).__name__
