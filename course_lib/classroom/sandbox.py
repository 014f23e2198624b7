"""Run code that nobody trusts: only its kernel enters the sandbox, and only bounded messages come out, through a pipe.

bubblewrap gives the kernel an empty network, a read-only system, its own process tree and small file systems in memory:
nothing of this machine can be written to. A filter takes away the system calls that only attacks need, rlimits bound
what one process may use, a control group (where systemd offers one) what all use together; and `Kernel.watch` looks
from outside at what is left, and kills the whole sandbox. What this does not stop is said in solutions/README.md.
"""

import base64
import binascii
import contextlib
import functools
import itertools
import json
import os
import platform
import queue
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from nbformat.v4 import new_output

import course_lib

HOME = "/home/student"                               # in the sandbox: home and working directory, in memory
TMP = "/tmp" if os.name == "posix" else tempfile.gettempdir()                          # short, for the names of sockets
KERNEL = Path(__file__).with_name("kernel.py")
START_SECONDS = 300                                  # for the kernel to answer; a busy machine needs long
ASLEEP = 10                                          # so much slower may a busy machine make a submission
MOST_OUTPUTS = 1_000                                 # of a cell


@dataclass(frozen=True)
class Limits:
    """What one submission may use. A cell may use at most half of the time that is left for its notebook."""
    seconds: float = 120                             # of its own clock: see Kernel.tick
    memory_mb: int = 4096                            # each process, and all together
    processes: int = 32
    file_mb: int = 64                                # one file; and each of the three places that can be written to
    output_mb: float = 4                             # what one cell prints and draws; a notebook five times that


class Stopped(Exception):
    """The teacher stopped the grading; nothing is known about this submission."""


class Fault(Exception):
    """The grading failed, and not the submission: nothing is known about it."""


stopping = threading.Event()                         # set by the command when it is interrupted


# --- the sandbox ----------------------------------------------------------------------------------------------------

def visible() -> list[Path]:
    """The folders of this machine that a kernel in the sandbox can read: programs, Python and course_lib."""
    python = Path(sys.executable).resolve().parents[1]
    found = {Path("/usr"), Path(sys.prefix), Path(sys.base_prefix), python, Path(course_lib.__file__).resolve().parent}
    return sorted(found)                             # a parent is mounted before what lies in it


def command(files: list[Path], limits: Limits, rules: int | None = None) -> list[str]:
    """The bubblewrap command line before the program: no folder of this machine can be written to. `files` are shown,
    read-only, in the working directory; `rules` is a descriptor of the filter for system calls."""
    small = ["--size", str(limits.file_mb << 20), "--tmpfs"]
    line = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session",
            "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"]
    if b"--disable-userns" in bubblewrap_help():
        line += ["--disable-userns"]                 # bubblewrap 0.8
    if rules is not None:
        line += ["--seccomp", str(rules)]
    for name in ("bin", "lib", "lib32", "lib64", "sbin"):
        if Path("/", name).is_symlink():
            line += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif Path("/", name).exists():
            line += ["--ro-bind", f"/{name}", f"/{name}"]
    for path in ("/etc/ld.so.cache", "/etc/fonts", "/etc/alternatives"):
        line += ["--ro-bind-try", path, path]
    line += ["--proc", "/proc", "--dev", "/dev", *small, "/dev/shm", *small, "/tmp", *small, HOME]
    for path in visible():
        line += ["--ro-bind", str(path), str(path)]
    for path in files:
        line += ["--ro-bind", str(path), f"{HOME}/{path.name}"]
    for path in ("/proc", "/dev", "/"):              # in /proc/sys, root could change the machine
        line += ["--remount-ro", path]
    line += ["--chdir", HOME]
    for name, value in environment(HOME).items():
        line += ["--setenv", name, value]
    return line


@functools.cache
def bubblewrap_help() -> bytes:
    return subprocess.run(["bwrap", "--help"], capture_output=True).stdout


def environment(home: str) -> dict[str, str]:
    return {"HOME": home, "USER": "student", "LANG": "C.UTF-8", "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1",
            "COURSE_DEVICE": "cpu", "COURSE_PROFILE": "cpu", "NBGRADER_EXECUTION": "autograde",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def unavailable() -> str | None:
    """Why the sandbox cannot be used on this machine, with a remedy; None if it can."""
    if not shutil.which("bwrap"):
        return "bubblewrap is missing: on Debian and Ubuntu run `apt-get install bubblewrap` (it needs Linux)"
    program = [sys.executable, "-c", "import ipykernel, course_lib"]
    with rules() as fd:
        tried = subprocess.run([*command([], Limits(), fd), *program], capture_output=True, text=True, env={},
                               pass_fds=[fd] if fd else [])
    said = (tried.stderr.strip().splitlines() or ["no message"])[-1]
    if "No module named" in said:                    # it was found by PYTHONPATH, or lies in another clone
        return (f"Python finds less in the sandbox than outside ({said}): run `make setup` in this folder, and grade "
                "with its .venv/bin/course")
    if tried.returncode:
        return f"bubblewrap does not work here ({said}): allow user namespaces, or grade on another machine"
    return None


@functools.cache
def control_group() -> list[str]:
    """The start of a command line that runs a program in a control group of its own, where systemd offers one."""
    line = ["systemd-run", "--scope", "--quiet", "--collect", *["--user"] * bool(os.getuid())]
    try:
        tried = subprocess.run([*line, "-p", "MemoryMax=1G", "-p", "TasksMax=99", "true"], timeout=10,
                               capture_output=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return line if tried.returncode == 0 else []


# --- system calls ---------------------------------------------------------------------------------------------------

CALLS = {                                            # what is refused: name -> number on x86_64, on aarch64
    # keys, tracing, and large parts of the kernel that no notebook needs
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438), "kcmp": (312, 272), "userfaultfd": (323, 282),
    "fanotify_init": (300, 262), "open_by_handle_at": (304, 265), "lookup_dcookie": (212, 18),
    # memory that belongs to no process and to no file system of the sandbox
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180),
    # new namespaces and mounts, modules, another kernel
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "quotactl": (179, 60), "swapon": (167, 224), "acct": (163, 89), "syslog": (103, 116),
}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}                    # column of CALLS, AUDIT_ARCH_...
SOCKET, CLONE, CLONE3 = (41, 198), (56, 220), (435, 435)
FAMILIES = 1, 2, 10, 16                              # sockets: unix, IPv4, IPv6, netlink; AF_VSOCK would reach the host
NEW_USER = 0x10000000                                # a flag of clone
EPERM, ENOSYS = 1, 38


def filter_program(machine: str) -> bytes:
    """The filter as bubblewrap wants it: Linux's `struct sock_filter`s, (operation, jump if true, if false, number)."""
    column, architecture = MACHINES[machine]
    LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
    refuse, missing, kill, allow = (RETURN, 0, 0, 0x50000 | EPERM), (RETURN, 0, 0, 0x50000 | ENOSYS), (
        RETURN, 0, 0, 0x80000000), (RETURN, 0, 0, 0x7FFF0000)
    number, first = (LOAD, 0, 0, 0), (LOAD, 0, 0, 16)
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), kill, number]
    if machine == "x86_64":
        program += [(AT_LEAST, 0, 1, 0x40000000), missing]                            # the calls of x32
    for call in CALLS.values():
        program += [(EQUAL, 0, 1, call[column]), refuse]
    program += [(EQUAL, 0, 1, CLONE3[column]), missing]                               # its flags lie in memory
    program += [(EQUAL, 0, 4, CLONE[column]), first, (ANY_BIT, 0, 1, NEW_USER), refuse, allow]
    program += [(EQUAL, 0, 2 + len(FAMILIES), SOCKET[column]), first,
                *((EQUAL, len(FAMILIES) - i, 0, family) for i, family in enumerate(FAMILIES)), refuse, allow]
    return b"".join(struct.pack("HBBI", *line) for line in program)


@contextlib.contextmanager
def rules():
    """A descriptor from which bubblewrap reads the filter; None on a machine that has none here."""
    if platform.machine() not in MACHINES:
        yield None
        return
    end, begin = os.pipe()
    with os.fdopen(begin, "wb") as file:
        file.write(filter_program(platform.machine()))
    try:
        yield end
    finally:
        os.close(end)


# --- a kernel -------------------------------------------------------------------------------------------------------

MARK = ".course-grading"                             # a file that only our folders hold


def remove(folder: Path) -> None:
    """Remove a folder, whatever is in it. Python's own way does it by recursion."""
    with contextlib.suppress(OSError, RecursionError):
        if os.name == "posix":
            subprocess.run(["rm", "-rf", "--", folder], stderr=subprocess.DEVNULL)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove the folders that a killed program left behind."""
    for path in Path(TMP).glob("course-*-*"):
        pid = path.name.split("-")[1]
        with contextlib.suppress(OSError, OverflowError):
            if pid.isdigit() and not path.is_symlink() and (path / MARK).is_file() and not psutil.pid_exists(int(pid)):
                remove(path)


class Kernel:
    """An IPython kernel, in the sandbox unless `trusted`.  `with Kernel(limits) as k: outputs, failed = k.run("1/0")`

    When the kernel is gone, `dead` says why, in words for the student; it never comes back.
    """

    def __init__(self, limits: Limits, files: list[Path] = (), trusted: bool = False):
        self.limits, self.files, self.trusted = limits, list(files), trusted
        self.dead: str | None = None
        self.used = self.processor = 0.0             # seconds of its clock; of processors
        self.watched = self.rested = time.monotonic()                                 # when last; since when idle
        self.heard, self.most = 0, int(limits.output_mb * 2**20)
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self.number = 0
        self.folder = self.process = self.listener = None

    def __enter__(self) -> "Kernel":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error) -> None:
        self.kill("the grading is over")
        if self.listener:
            self.listener.join(timeout=5)
            if not self.listener.is_alive():         # else a process that left its tree holds the pipe
                self.process.stdout.close()
        if self.folder:
            remove(self.folder)

    def start(self) -> None:
        """Raises Fault if the kernel does not come: nothing of the student's has run so far."""
        limits = self.limits
        rlimits = {"DATA": limits.memory_mb << 20, "CPU": int(limits.seconds) + 5, "FSIZE": limits.file_mb << 20,
                   "NPROC": 8 * limits.processes,    # threads count too; the system does not enforce it for root
                   "NOFILE": 256, "MEMLOCK": 0, "CORE": 1} if os.name == "posix" else {}     # 1: nor for a program
        place = "/tmp"
        if self.trusted:
            self.folder = Path(tempfile.mkdtemp(prefix=f"course-{os.getpid()}-", dir=TMP))
            (self.folder / MARK).touch()
            work = self.folder / "work"
            work.mkdir()
            for path in self.files:
                shutil.copy(path, work)
            place = str(self.folder)
        program = [sys.executable, "-c", KERNEL.read_text(encoding="utf-8"),
                   json.dumps({"rlimits": rlimits, "folder": place})]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if self.trusted:
            mine = {k: v for k, v in environment(str(work)).items() if k not in ("HOME", "PATH", "LANG")}
            self.process = subprocess.Popen(program, cwd=work, env=os.environ | mine, start_new_session=True, **pipes)
        else:                                        # env={}: what this process was told must not be seen in /proc/1
            with rules() as fd:
                line, told = command(self.files, limits, fd) + program, {}
                if group := control_group():
                    line = [*group, "-p", f"MemoryMax={limits.memory_mb}M", "-p", "MemorySwapMax=0", "-p",
                            f"TasksMax={8 * limits.processes}", "env", "-i", *line]
                    told = os.environ
                self.process = subprocess.Popen(line, env=told, pass_fds=[fd] if fd else [], **pipes)
        if os.name == "posix":
            os.set_blocking(self.process.stdin.fileno(), False)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:                # until a reply and its output have both arrived
            outputs, failed = self.run("print('ready')", start_up=True, store_history=False)
            if self.dead:
                raise Fault("the kernel ended before it answered: is memory or disk space short?")
            if outputs and not failed:
                self.used = 0.0
                return
        raise Fault(f"the kernel did not answer within {START_SECONDS} seconds: is the machine overloaded?")

    def kill(self, reason: str) -> None:
        """End every process of the kernel. In the sandbox the first child is the init of its own process tree: when it
        dies, the system kills all others at once, however many there are."""
        self.dead = self.dead or reason
        if not self.process:
            return
        for process in [*self.family(), self.process]:
            with contextlib.suppress(psutil.Error, OSError):
                process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def listen(self) -> None:
        """Put what comes out of the sandbox into the inbox: bytes, or the size of what is too large; None ends it."""
        pipe = self.process.stdout
        while len(head := pipe.read(4)) == 4:
            size = int.from_bytes(head)
            self.heard += max(size, 200)
            if self.heard > 5 * self.most:
                break
            if size <= self.most:
                self.inbox.put(pipe.read(size))
                continue
            left = size
            while left and (part := pipe.read(min(left, 2**20))):
                left -= len(part)
            self.inbox.put(size)
        self.inbox.put(None)

    def tick(self, seconds: float, family: list[psutil.Process]) -> None:
        """Move the clock of the submission. While its processes sleep, that is the clock on the wall; while they work,
        or wait for a core or the disk, it is the processor time they get: a busy machine costs nobody points."""
        processor, working = 0.0, False
        for process in family:
            with contextlib.suppress(psutil.Error, OSError):
                processor += sum(process.cpu_times()[:4])                             # its ended children included
                working |= process.status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
        wall = seconds / ASLEEP if working else min(seconds, 1)                       # this very program may be late
        self.used += max(processor - self.processor, wall)
        self.processor = processor

    def watch(self) -> None:
        """Kill the kernel if it uses, all processes together, more than it may. Looks five times a second."""
        if stopping.is_set():
            raise Stopped("the grading was stopped")
        now = time.monotonic()
        if self.dead or now < self.watched + 0.2:
            return
        if self.process.poll() is not None:
            return self.kill(DIED)
        family = self.family()
        self.tick(now - self.watched, family)
        self.watched = now
        if self.used > self.limits.seconds:
            return self.kill(f"the time limit of {self.limits.seconds:g} seconds for the whole notebook was reached")
        if len(family) > self.limits.processes:
            return self.kill(f"it started more than {self.limits.processes} processes")
        memory = 0
        for process in family:
            with contextlib.suppress(psutil.Error, OSError):
                memory += process.memory_info().rss
        if memory > self.limits.memory_mb << 20:
            self.kill(f"its processes used more than {self.limits.memory_mb} MB of memory")

    def send(self, request) -> None:
        """A kernel that reads nothing does not hold the grader up."""
        data = json.dumps(request).encode()
        data = memoryview(len(data).to_bytes(4) + data)
        while data and not self.dead:
            try:
                data = data[os.write(self.process.stdin.fileno(), data):]
            except BlockingIOError:
                time.sleep(0.05)
                self.watch()
            except OSError:                          # it is gone, which `watch` will see
                return

    def request(self, source: str, start_up: bool = False, **more):
        """Let the kernel run something.  -> (its outputs, its reply, None or what went wrong in words)"""
        outputs, size, reply, idle, wrong = [], 0, None, False, None
        begin = time.monotonic()
        self.watched += begin - self.rested          # what the grader did since then is not the submission's time
        end = self.used + (self.limits.seconds - self.used) / 2
        self.number += 1
        self.send([self.number, {"code": source, **more}])
        while not self.dead and not (reply and (idle or time.monotonic() > begin + 2)):
            self.watch()
            if start_up and time.monotonic() > begin + 1:
                wrong = "no answer yet"
                break
            if wrong and self.used > end + 5:
                self.kill(f"{wrong}, and it ignored that")
            elif not wrong and self.used > end:
                wrong = ("the cell took too long and was stopped" if size <= self.most else
                         f"the cell put out more than {self.limits.output_mb:g} MB and was stopped")
                self.send(None)                      # an interrupt
                end = self.used
            try:
                got = self.inbox.get(timeout=0.1)
            except queue.Empty:
                continue
            if got is None and self.heard > 5 * self.most:
                self.kill(f"the notebook put out more than {5 * self.limits.output_mb:g} MB")
            elif got is None:
                self.kill(DIED)
            elif isinstance(got, int):               # a message larger than any that is received
                size += got
            else:
                try:
                    number, kind, content = clean(got)
                    if number != self.number:
                        continue
                    if kind == "execute_reply":
                        reply, begin = dict(content), time.monotonic()                # its output is soon here
                    elif kind == "status":
                        idle |= content["execution_state"] == "idle"
                    elif kind in ("stream", "display_data", "execute_result", "error"):
                        size += len(got)
                        outputs += [output(kind, content)] if size <= self.most else []
                except Exception as e:               # a message that no honest kernel sends
                    self.kill(f"the kernel sent a message that cannot be read ({type(e).__name__})")
            if size > self.most and not wrong:       # a second of grace: the reply may be under way
                end = min(end, self.used + 1)
        outputs = merged(outputs)
        if size > self.most:
            wrong = f"the cell put out more than {self.limits.output_mb:g} MB"
        elif len(outputs) > MOST_OUTPUTS:
            wrong = f"the cell put out more than {MOST_OUTPUTS:,} things"
        self.rested = time.monotonic()
        return outputs[:MOST_OUTPUTS], reply, wrong

    def run(self, source: str, **more):
        """Run one cell.  -> (its outputs, None or what went wrong in words).  When its time is up it is interrupted,
        and killed if that does not help within five seconds. An error is always among the outputs, whoever hid it."""
        if self.dead:
            return [failure("NotRun", self.dead)], self.dead
        outputs, reply, wrong = self.request(source, **more)
        if self.dead:
            return [*outputs, failure("NotFinished", self.dead)], self.dead
        if wrong:
            outputs.append(failure("Stopped", wrong))
        elif reply.get("status") != "ok" and not any(o.output_type == "error" for o in outputs):
            outputs.append(failure(reply.get("ename", "Error"), reply.get("evalue", "")))
        return outputs, wrong or (None if reply.get("status") == "ok" else "an error")

    def ask(self, expression: str) -> bytes | None:
        """The value of an expression that makes a base64 text, as bytes; None if it makes none."""
        if self.dead:
            return None
        _, reply, wrong = self.request("", silent=True, user_expressions={"asked": expression})
        with contextlib.suppress(KeyError, TypeError, AttributeError, binascii.Error):
            text = reply["user_expressions"]["asked"]["data"]["text/plain"]
            return None if wrong else base64.b64decode(text.strip("'"), validate=True)
        return None


DIED = "the kernel died: it was told to exit, or it ran out of memory or processor time"


def clean(data: bytes):
    """What a message says. Half of a surrogate pair, which no file can hold, becomes a question mark."""
    said = json.loads(data)
    if re.search(rb"\\u[dD][89a-fA-F]", data):
        said = json.loads(json.dumps(said, ensure_ascii=False).encode("utf-8", "replace"))
    return said


def output(kind: str, content: dict):
    """An output of a cell, of nothing but texts, whatever the kernel sent."""
    if kind == "stream":
        return new_output(kind, name="stderr" if content["name"] == "stderr" else "stdout", text=str(content["text"]))
    if kind == "error":
        return new_output(kind, ename=str(content["ename"]), evalue=str(content["evalue"]),
                          traceback=["\n".join(str(line) for line in content["traceback"])])
    return new_output("display_data", data={k: v for k, v in content["data"].items() if isinstance(v, str)
                                            and k in ("text/plain", "image/png", "image/jpeg")})


def merged(outputs: list) -> list:
    """What a cell printed in many pieces is one output."""
    found = []
    for (kind, name), group in itertools.groupby(outputs, lambda o: (o.output_type, o.get("name"))):
        pieces = list(group)
        found += [new_output(kind, name=name, text="".join(o.text for o in pieces))] if kind == "stream" else pieces
    return found


def failure(name: str, words: str):
    """The output of a cell that failed in a way that the kernel did not tell."""
    return new_output("error", ename=str(name), evalue=str(words), traceback=[f"{name}: {words}"])
