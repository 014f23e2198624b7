"""Tests run without a network: nothing reaches another machine, and whoever tries is named."""

import os
import socket
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ELSEWHERE = "192.0.2.1"                            # an address that is kept for documentation


@pytest.fixture
def log(tmp_path, monkeypatch):
    """What this test tries on purpose is noted here, and not in the log that fails the session."""
    monkeypatch.setenv("COURSE_OFFLINE_LOG", str(tmp_path / "attempts"))
    return tmp_path / "attempts"


@pytest.mark.parametrize("attempt", [
    lambda: socket.create_connection((ELSEWHERE, 80), timeout=1),
    lambda: socket.socket().connect((ELSEWHERE, 80)),
    lambda: socket.socket().connect_ex((ELSEWHERE, 80)),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", (ELSEWHERE, 53)),
    lambda: socket.gethostbyname("example.org"),
    lambda: urllib.request.urlopen(f"http://{ELSEWHERE}/", timeout=1),
    lambda: urllib.request.urlopen("https://example.org/", timeout=1),
], ids=["create_connection", "connect", "connect_ex", "sendto", "name", "http", "https"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_another_machine_is_out_of_reach(attempt, log):
    with pytest.raises(OSError, match="network is switched off for tests"):
        attempt()
    assert ELSEWHERE in log.read_text() or "example.org" in log.read_text()


def test_this_machine_answers(log):
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for host in ("127.0.0.1", "localhost"):
            assert urllib.request.urlopen(f"http://{host}:{server.server_port}/").read() == b"hello"
        server.shutdown()
    assert not log.exists()


def test_every_python_that_a_test_starts_is_cut_off_too(log):
    program = f"import socket; socket.create_connection(('{ELSEWHERE}', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1 and "network is switched off" in done.stderr and ELSEWHERE in log.read_text()


def test_a_session_in_which_something_tried_fails(tmp_path):
    """Even if the program swallows the error, as a download with a fallback does."""
    (tmp_path / "test_it.py").write_text(
        "import contextlib, socket\n\ndef test_it():\n    with contextlib.suppress(OSError):\n"
        f"        socket.create_connection(('{ELSEWHERE}', 80), timeout=1)\n")
    env = {k: v for k, v in os.environ.items() if k != "COURSE_OFFLINE_LOG"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "conftest", tmp_path], env=env, cwd=tmp_path,
                          capture_output=True, text=True)
    assert "1 passed" in done.stdout and done.returncode == 1
    assert "something tried to reach the network" in done.stdout and ELSEWHERE in done.stdout
