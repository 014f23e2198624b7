"""The downloads, for real: a server on loopback sends small files in the original formats, well or badly."""

import contextlib
import gzip
import hashlib
import io
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, MNIST, FashionMNIST

from course_lib.data import downloads, load
from course_lib.data.downloads import DownloadError, fetch

BLOB = np.random.default_rng(0).bytes(200_000)        # does not compress; several network chunks
MD5 = hashlib.md5(BLOB).hexdigest()
MB = 1 << 20


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, name, wanted = self.server, self.path.strip("/"), self.headers.get("Range")
        server.log.append((name, wanted))
        content = server.files.get(name)
        if content is None:
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if server.cuts:                               # promise everything, send a part, hang up
            body = body[:server.cuts.pop(0)]
        for i in range(0, len(body), 20_000):
            with contextlib.suppress(OSError):        # the client was killed, or did not wait
                self.wfile.write(body[i:i + 20_000])
            server.gate.wait(30)
            time.sleep(server.pause)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        s.files, s.log, s.cuts, s.ranges, s.pause, s.gate = {"blob.gz": BLOB}, [], [], True, 0.0, threading.Event()
        s.gate.set()
        s.url = f"http://127.0.0.1:{s.server_port}/"
        threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield s
        s.gate.set()
        s.shutdown()


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of half a megabyte."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mounted = sys.platform == "linux" and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("mounting a small file system needs Linux and root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def failure(act):
    """The message of the DownloadError that act() raises: always one line that names the way out."""
    with pytest.raises(DownloadError) as error:
        act()
    message = str(error.value)
    assert "\n" not in message and 'load("digits")' in message
    return message


def idx(array):
    """MNIST's own format: two zero bytes, 8 for uint8, the number of axes, each size as 4 bytes, then the values."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes(), mtime=0)


def pickled(obj):
    """A pickle as NumPy wrote it in 2009: another module name, a dtype's flags as integers in place of booleans."""
    now = pickle.dumps(obj, protocol=2)
    return now.replace(b"numpy._core", b"numpy.core").replace(b"\x89\x88\x87", b"K\0K\1\x87")


def tarred(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def md5(content):
    return hashlib.md5(content).hexdigest()


def publish_mnist(server, monkeypatch, kind=MNIST):
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 256, (60, 28, 28), dtype=np.uint8), rng.integers(0, 10, 60, dtype=np.uint8),
              rng.integers(0, 256, (20, 28, 28), dtype=np.uint8), rng.integers(0, 10, 20, dtype=np.uint8)]
    files = {name: idx(array) for (name, _), array in zip(kind.resources, arrays)}
    server.files |= files
    monkeypatch.setattr(kind, "mirrors", [server.url])
    monkeypatch.setattr(kind, "resources", [(name, md5(content)) for name, content in files.items()])
    return arrays


def publish_cifar(server, monkeypatch, extra=()):
    rng = np.random.default_rng(2)
    data = {name: {"data": rng.integers(0, 256, (8, 3072), dtype=np.uint8), "labels": rng.integers(0, 10, 8).tolist()}
            for name, _ in CIFAR10.train_list + CIFAR10.test_list}
    files = {name: pickled(batch) for name, batch in data.items()}
    files["batches.meta"] = pickled({"label_names": [*"abcdefghij"]})
    archive = tarred({f"cifar-10-batches-py/{name}": content for name, content in files.items()} | dict(extra))
    server.files["cifar.tar.gz"] = archive
    monkeypatch.setattr(CIFAR10, "url", server.url + "cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, part, [[name, md5(files[name])] for name, _ in getattr(CIFAR10, part)])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(files["batches.meta"])})
    batches = list(data.values())
    return (np.concatenate([b["data"] for b in batches[:5]]), np.concatenate([b["labels"] for b in batches[:5]]),
            batches[5]["data"], np.array(batches[5]["labels"]))


# ---- whole sets

@pytest.mark.parametrize("kind, name", [(MNIST, "mnist"), (FashionMNIST, "fashion_mnist")])
def test_mnist_arrives_whole_and_stays(server, monkeypatch, tmp_path, kind, name):
    x_train, y_train, x_test, y_test = publish_mnist(server, monkeypatch, kind)
    images = load(name, tmp_path)
    for split, x, y in ((images.train, x_train, y_train), (images.test, x_test, y_test)):
        torch.testing.assert_close(split.x, torch.from_numpy(x)[:, None] / 255)
        assert torch.equal(split.y, torch.from_numpy(y).long())
        assert (split.x.dtype, split.y.dtype) == (torch.float32, torch.int64)
    assert images.classes[3] == {"mnist": "3", "fashion_mnist": "Dress"}[name]
    assert len(server.log) == 4
    monkeypatch.setattr(downloads, "urlopen", None)   # no network now
    assert torch.equal(load(name, tmp_path).test.x, images.test.x)


def test_cifar_arrives_whole_and_stays(server, monkeypatch, tmp_path):
    x_train, y_train, x_test, y_test = publish_cifar(server, monkeypatch)
    images = load("cifar10", tmp_path)
    for split, x, y in ((images.train, x_train, y_train), (images.test, x_test, y_test)):
        torch.testing.assert_close(split.x, torch.from_numpy(x).view(-1, 3, 32, 32) / 255)
        assert split.x.is_contiguous()
        assert torch.equal(split.y, torch.from_numpy(y).long())
    assert images.classes == tuple("abcdefghij")
    monkeypatch.setattr(downloads, "urlopen", None)
    assert torch.equal(load("cifar10", tmp_path).train.x, images.train.x)
    assert len(server.log) == 1


def test_the_warning_of_some_numpy_releases_about_old_pickles_stays_off_the_page(server, monkeypatch, tmp_path):
    """NumPy 2.4.0 to 2.4.4 give it when CIFAR's batches are opened; other releases say nothing, so it is given here."""
    publish_cifar(server, monkeypatch)
    as_before = CIFAR10._load_meta

    def warn(self):
        warnings.warn("dtype(): align should be passed as Python or NumPy boolean but got `align=0`.", stacklevel=2)
        as_before(self)

    monkeypatch.setattr(CIFAR10, "_load_meta", warn)
    with warnings.catch_warnings(record=True) as caught:
        load("cifar10", tmp_path)
    assert not caught


def test_the_cache_follows_the_environment(server, monkeypatch, tmp_path):
    publish_mnist(server, monkeypatch)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "elsewhere"))
    load("mnist")
    kept = {p.name for p in (tmp_path / "elsewhere" / "MNIST" / "raw").iterdir()} - {".lock"}
    assert kept == {name for name, _ in MNIST.resources}


def test_an_archive_cannot_write_outside_its_folder(server, monkeypatch, tmp_path):
    publish_cifar(server, monkeypatch, extra={"../escaped": b"x", "cifar-10-batches-py/../../escaped": b"x"})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    load("cifar10", tmp_path / "cache")
    assert not list(tmp_path.glob("**/escaped")) and not (tmp_path.parent / "escaped").exists()


def test_pickles_of_an_archive_with_the_wrong_hash_are_never_opened(server, monkeypatch, tmp_path):
    publish_cifar(server, monkeypatch)
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    server.files["cifar.tar.gz"] = tarred({f"cifar-10-batches-py/data_batch_{i}": trap for i in range(1, 6)})
    assert "wrong hash" in failure(lambda: load("cifar10", tmp_path / "cache"))
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)                                # it would have
    assert (tmp_path / "sprung").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# ---- connections that fail

def test_a_cut_connection_is_continued_where_it_stopped(server, tmp_path):
    server.cuts = [70_000]
    assert fetch(server.url + "blob.gz", tmp_path / "blob.gz", MD5).read_bytes() == BLOB
    assert server.log == [("blob.gz", None), ("blob.gz", "bytes=70000-")]


def test_what_a_failed_call_got_is_used_by_the_next(server, tmp_path):
    server.cuts = [70_000, 50_000]
    path = tmp_path / "blob.gz"
    message = failure(lambda: fetch(server.url + "blob.gz", path, MD5))
    assert "the connection closed after 120,000 of 200,000 bytes" in message
    assert not path.exists() and (tmp_path / "blob.gz.part").read_bytes() == BLOB[:120_000]
    fetch(server.url + "blob.gz", path, MD5)
    assert [wanted for _, wanted in server.log] == [None, "bytes=70000-", "bytes=120000-"]
    assert path.read_bytes() == BLOB and not (tmp_path / "blob.gz.part").exists()


def test_a_server_that_ignores_range_starts_over(server, tmp_path):
    server.cuts, server.ranges = [70_000], False
    assert fetch(server.url + "blob.gz", tmp_path / "blob.gz", MD5).read_bytes() == BLOB
    assert [wanted for _, wanted in server.log] == [None, "bytes=70000-"]


@pytest.mark.parametrize("left", [b"something else", BLOB + b"more", BLOB[:-1] + b"?"])
def test_a_part_of_another_file_is_thrown_away(server, tmp_path, left):
    (tmp_path / "blob.gz.part").write_bytes(left)
    assert fetch(server.url + "blob.gz", tmp_path / "blob.gz", MD5).read_bytes() == BLOB


def test_a_complete_part_needs_no_network(server, tmp_path):
    (tmp_path / "blob.gz.part").write_bytes(BLOB)
    assert fetch(server.url + "blob.gz", tmp_path / "blob.gz", MD5).read_bytes() == BLOB
    assert server.log == []


def test_the_wrong_content_is_refused_and_not_kept(server, tmp_path):
    server.files["blob.gz"] = BLOB[:-1] + b"?"
    message = failure(lambda: fetch(server.url + "blob.gz", tmp_path / "blob.gz", MD5))
    assert "cannot download blob.gz" in message and "wrong hash" in message
    assert {p.name for p in tmp_path.iterdir()} == {".lock"}
    assert len(server.log) == 1                       # the same server would send the same again


def test_size_is_checked_too(server, tmp_path):
    sha = hashlib.sha256(BLOB).hexdigest()
    message = failure(lambda: fetch(server.url + "blob.gz", tmp_path / "blob.gz", sha, size=199_999))
    assert "200,000 bytes, expected 199,999" in message
    assert fetch(server.url + "blob.gz", tmp_path / "blob.gz", sha, size=200_000).read_bytes() == BLOB


def test_a_missing_file_is_asked_for_once(server, tmp_path):
    assert "HTTP 404" in failure(lambda: fetch(server.url + "gone.gz", tmp_path / "gone.gz", MD5))
    assert len(server.log) == 1


def test_the_next_mirror_helps(server, tmp_path):
    server.files["good/blob.gz"] = BLOB
    mirrors = [closed_port() + "blob.gz", server.url + "bad/blob.gz", server.url + "good/blob.gz"]
    assert fetch(mirrors, tmp_path / "blob.gz", MD5).read_bytes() == BLOB
    failed = failure(lambda: fetch(mirrors[:2], tmp_path / "other.gz", MD5))
    assert "refused" in failed and "HTTP 404" in failed


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}/"


def test_no_server_at_all(monkeypatch, tmp_path):
    monkeypatch.setattr(MNIST, "mirrors", [closed_port()])
    message = failure(lambda: load("mnist", tmp_path))
    assert "train-images-idx3-ubyte.gz" in message and "refused" in message


def test_a_server_that_falls_silent_is_given_up(server, monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    server.gate.clear()
    start = time.monotonic()
    assert "timed out" in failure(lambda: fetch(server.url + "blob.gz", tmp_path / "blob.gz", MD5))
    assert time.monotonic() - start < 10
    assert (tmp_path / "blob.gz.part").stat().st_size == 40_000        # one piece from each of two tries


# ---- the cache

def test_a_damaged_file_is_noticed_and_fetched_again(server, monkeypatch, tmp_path):
    _, _, x_test, _ = publish_mnist(server, monkeypatch)
    load("mnist", tmp_path)
    path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for damaged in (whole[:-10], whole[:500] + b"?" + whole[501:], b""):
        path.write_bytes(damaged)
        torch.testing.assert_close(load("mnist", tmp_path).test.x, torch.from_numpy(x_test)[:, None] / 255)
    assert [name for name, _ in server.log[4:]] == [path.name] * 3


def test_a_file_in_the_place_of_the_cache_is_one_clear_line(server, monkeypatch, tmp_path):
    publish_mnist(server, monkeypatch)
    (tmp_path / "cache").write_text("not a folder")
    message = failure(lambda: load("mnist", tmp_path / "cache"))
    assert str(tmp_path / "cache") in message and "COURSE_DATA" in message
    assert server.log == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, where even root cannot make a folder")
def test_a_cache_that_cannot_be_written_is_one_clear_line(server, monkeypatch):
    publish_cifar(server, monkeypatch)
    assert "cannot keep cifar-10-python.tar.gz in /proc/course" in failure(lambda: load("cifar10", "/proc/course"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, on which every write finds the disk full")
def test_a_full_disk_leaves_nothing_behind(server, tmp_path):
    path, part = tmp_path / "blob.gz", tmp_path / "blob.gz.part"
    part.symlink_to("/dev/full")
    message = failure(lambda: fetch(server.url + "blob.gz", path, MD5))
    assert f"cannot keep blob.gz in {tmp_path} (No space left on device)" in message and "COURSE_DATA" in message
    assert {p.name for p in tmp_path.iterdir()} == {".lock"}
    assert fetch(server.url + "blob.gz", path, MD5).read_bytes() == BLOB


def test_a_disk_that_fills_up_half_way(server, small_disk):
    server.files["blob.gz"] = big = np.random.default_rng(0).bytes(MB)
    message = failure(lambda: fetch(server.url + "blob.gz", small_disk / "blob.gz", md5(big)))
    assert "No space left on device" in message and str(small_disk) in message
    assert {p.name for p in small_disk.iterdir()} == {".lock"}
    server.files["blob.gz"] = BLOB
    assert fetch(server.url + "blob.gz", small_disk / "blob.gz", MD5).read_bytes() == BLOB


def test_no_room_to_unpack(server, monkeypatch, tmp_path, small_disk):
    publish_mnist(server, monkeypatch)
    (small_disk / "other").write_bytes(bytes(500_000))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    message = failure(lambda: load("mnist", tmp_path / "cache"))
    assert f"cannot unpack mnist in {small_disk} (No space left on device)" in message and "TMPDIR" in message
    assert {p.name for p in small_disk.iterdir()} == {"other"}


def test_a_shared_cache_may_be_read_only(server, monkeypatch, small_disk):
    publish_mnist(server, monkeypatch)
    images = load("mnist", small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert torch.equal(load("mnist", small_disk).train.x, images.train.x)
    publish_cifar(server, monkeypatch)
    assert "Read-only file system" in failure(lambda: load("cifar10", small_disk))


# ---- several processes

def alone(*args):
    downloads.tqdm.set_lock(threading.RLock())        # the other is shared, and would stay closed after a kill
    fetch(*args)


def start(*args):
    """`fetch` in a process of its own. A fork, because importing torch again takes longer than all tests here."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    process = multiprocessing.get_context("fork").Process(target=alone, args=args)
    with warnings.catch_warnings():                   # Python 3.12 warns that the server's thread is not forked along
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    return process


def test_two_processes_share_one_download(server, tmp_path):
    server.pause = 0.05
    both = [start(server.url + "blob.gz", tmp_path / "blob.gz", MD5) for _ in range(2)]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "blob.gz").read_bytes() == BLOB
    assert server.log == [("blob.gz", None)]          # the other one waited, and found the file


def test_a_killed_download_is_continued_by_another_process(server, tmp_path):
    server.gate.clear()                               # the first piece only
    process, part = start(server.url + "blob.gz", tmp_path / "blob.gz", MD5), tmp_path / "blob.gz.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 0):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    got = part.stat().st_size
    server.gate.set()
    assert fetch(server.url + "blob.gz", tmp_path / "blob.gz", MD5).read_bytes() == BLOB
    assert server.log == [("blob.gz", None), ("blob.gz", f"bytes={got}-")]
