"""Run a notebook that nobody trusts: only its kernel enters the sandbox, and only messages come out.

bubblewrap gives the kernel an empty network, a read-only system, its own process tree and small file systems in memory;
rlimits bound what one process may use; `Kernel.watch` looks from outside at what rlimits cannot bound (all processes
together, wall-clock time, the folder of sockets) and kills the whole sandbox. What this does not stop is said in
solutions/README.md.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import zmq
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from nbformat.v4 import new_output, output_from_msg
from zmq.utils.monitor import recv_monitor_message

import course_lib

TMP = "/tmp" if os.name == "posix" else None
HOME = "/home/student"                               # in the sandbox: home and working directory, in memory


@dataclass(frozen=True)
class Limits:
    """What one submission may use. A cell may use at most half of the time that is left for its notebook."""
    seconds: float = 120                             # wall clock
    memory_mb: int = 4096                            # each process, and all together
    processes: int = 32
    file_mb: int = 64                                # one file; and each of the three places that can be written to
    output_mb: float = 4                             # what one cell prints and draws


def sweep() -> None:
    """Remove the folders of sockets that a killed program left behind."""
    for path in Path(TMP or tempfile.gettempdir()).glob("course-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


class Stopped(Exception):
    """The teacher stopped the grading; nothing is known about this submission."""


stopping = threading.Event()                         # set by the command when it is interrupted


# --- the sandbox ----------------------------------------------------------------------------------------------------

def visible() -> list[Path]:
    """The folders of this machine that a kernel in the sandbox can read: programs, Python and course_lib."""
    python = Path(sys.executable).resolve().parents[1]
    found = {Path("/usr"), Path(sys.prefix), Path(sys.base_prefix), python, Path(course_lib.__file__).resolve().parent}
    return sorted(found)                             # a parent is mounted before what lies in it


def command(run: Path, files: list[Path], limits: Limits) -> list[str]:
    """The bubblewrap command line before the program. `run` is the only folder of this machine that can be written to;
    `files` are shown, read-only, in the working directory."""
    small = ["--size", str(limits.file_mb << 20), "--tmpfs"]
    line = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session",
            "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"]
    if b"--disable-userns" in subprocess.run([line[0], "--help"], capture_output=True).stdout:
        line += ["--disable-userns"]                 # bubblewrap 0.8
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
    line += ["--bind", str(run), str(run)]
    for path in files:
        line += ["--ro-bind", str(path), f"{HOME}/{path.name}"]
    line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
    for name, value in environment(HOME).items():
        line += ["--setenv", name, value]
    return line


def environment(home: str) -> dict[str, str]:
    return {"HOME": home, "USER": "student", "LANG": "C.UTF-8", "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1",
            "COURSE_DEVICE": "cpu", "COURSE_PROFILE": "cpu", "NBGRADER_EXECUTION": "autograde",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def unavailable() -> str | None:
    """Why the sandbox cannot be used on this machine, with a remedy; None if it can."""
    if not shutil.which("bwrap"):
        return "bubblewrap is missing: on Debian and Ubuntu run `apt-get install bubblewrap` (it needs Linux)"
    with tempfile.TemporaryDirectory() as run:
        program = [sys.executable, "-c", "import ipykernel, course_lib"]
        tried = subprocess.run([*command(Path(run), [], Limits()), *program], capture_output=True, text=True, env={})
    said = (tried.stderr.strip().splitlines() or ["no message"])[-1]
    if "No module named" in said:                    # it was found by PYTHONPATH, or lies in another clone
        return (f"Python finds less in the sandbox than outside ({said}): run `make setup` in this folder, and grade "
                "with its .venv/bin/course")
    if tried.returncode:
        return f"bubblewrap does not work here ({said}): allow user namespaces, or grade on another machine"
    return None


LAUNCH = """
import os, sys, threading
try:
    import resource
    for name, most in {rlimits}:
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
except ImportError:                                  # Windows, with trusted submissions
    pass
if {leash}:
    leash = os.dup(0)                                # the grader holds the other end; when it is gone, so is the kernel
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=lambda: os._exit(len(os.read(leash, 1))), daemon=True).start()
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


def launcher(limits: Limits, leash: bool = True) -> str:
    """The first program in the sandbox: it gives up resources for good, then becomes the kernel.

    leash: it ends when its standard input is closed. Bubblewrap's own --die-with-parent misses a parent that is killed
    while the sandbox is being set up."""
    rlimits = [("DATA", limits.memory_mb << 20), ("CPU", int(limits.seconds) + 5), ("FSIZE", limits.file_mb << 20),
               ("NPROC", 8 * limits.processes),      # threads count too; the kernel does not enforce it for root
               ("NOFILE", 256), ("CORE", 0), ("MEMLOCK", 0)]
    return LAUNCH.format(rlimits=rlimits, leash=leash)


# --- a kernel -------------------------------------------------------------------------------------------------------

class Kernel:
    """An IPython kernel, in the sandbox unless `trusted`.  `with Kernel(limits) as k: outputs, failed = k.run("1/0")`

    When the kernel is gone, `dead` says why, in words for the student; it never comes back.
    """

    def __init__(self, limits: Limits, files: list[Path] = (), trusted: bool = False):
        self.limits, self.dead = limits, None
        self.deadline = time.monotonic() + limits.seconds
        self.watched = 0.0
        posix = os.name == "posix"
        self.folder = Path(tempfile.mkdtemp(prefix=f"course-{os.getpid()}-", dir=TMP))             # short, for sockets
        where = dict(transport="ipc", ip=str(self.folder / "k")) if posix else {}
        connection, _ = write_connection_file(str(self.folder / "connection.json"), key=os.urandom(16).hex().encode(),
                                              **where)
        program = [sys.executable, "-c", launcher(limits, leash=not trusted), "-f", connection,
                   "--HistoryManager.hist_file=:memory:"]
        quiet = dict(stdin=subprocess.DEVNULL if trusted else subprocess.PIPE,                     # see launcher
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if trusted:
            work = self.folder / "work"
            work.mkdir()
            for path in files:
                shutil.copy(path, work)
            mine = {k: v for k, v in environment(str(work)).items() if k not in ("HOME", "PATH", "LANG")}
            mine["JPY_PARENT_PID"] = str(os.getpid())                                  # the kernel ends when this does
            self.process = subprocess.Popen(program, cwd=work, env=os.environ | mine, start_new_session=True, **quiet)
        else:                                        # env={}: what this process was told must not be seen in /proc/1
            self.process = subprocess.Popen(command(self.folder, list(files), limits) + program, env={}, **quiet)
        self.context = zmq.Context()
        self.context.setsockopt(zmq.MAXMSGSIZE, int(4 * limits.output_mb * 2**20))     # who sends more is cut off
        self.context.setsockopt(zmq.RCVHWM, 100)
        self.context.setsockopt(zmq.LINGER, 0)
        self.client = BlockingKernelClient(connection_file=connection, context=self.context)
        self.client.load_connection_file()
        self.client.start_channels(stdin=False, hb=False)
        self.client.control_channel.start()
        self.cut = self.client.iopub_channel.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        for _ in range(60):                          # until a reply and its output have both arrived
            outputs, failed = self.run("print('ready')", seconds=1, start_up=True)
            if self.dead or (outputs and not failed):
                break
        else:
            self.kill("the kernel did not start")

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *error) -> None:
        self.kill("the grading is over")
        self.client.stop_channels()
        self.context.destroy(linger=0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self, reason: str) -> None:
        """End every process of the kernel. In the sandbox the first child is the init of its own process tree: when it
        dies, the system kills all others at once, however many there are."""
        self.dead = self.dead or reason
        with contextlib.suppress(psutil.Error):
            mine = psutil.Process(self.process.pid)
            for process in [*mine.children(recursive=True), mine]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def watch(self) -> None:
        """Kill the kernel if it uses, all processes together, more than it may. Looks five times a second."""
        if stopping.is_set():
            raise Stopped("the grading was stopped")
        now = time.monotonic()
        if self.dead or now < self.watched + 0.2:
            return
        self.watched = now
        if self.process.poll() is not None:
            return self.kill("the kernel died: it was told to exit, or it ran out of memory or processor time")
        if now > self.deadline:
            return self.kill(f"the time limit of {self.limits.seconds:g} seconds for the whole notebook was reached")
        with contextlib.suppress(psutil.Error):
            processes = psutil.Process(self.process.pid).children(recursive=True)
            if len(processes) > self.limits.processes:
                return self.kill(f"it started more than {self.limits.processes} processes")
            memory = 0
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    memory += process.memory_info().rss
            if memory > self.limits.memory_mb << 20:
                return self.kill(f"its processes used more than {self.limits.memory_mb} MB of memory")
        written = [p.lstat() for p in self.folder.iterdir() if p.name != "work"]
        if len(written) > 100 or sum(s.st_size for s in written) > self.limits.file_mb << 20:
            self.kill("it wrote files where only its sockets belong")

    def reconnect(self) -> None:
        """Hear the kernel's outputs again, after the connection was cut."""
        socket = self.client.iopub_channel.socket
        url = socket.LAST_ENDPOINT.decode().rstrip("\0")
        socket.disconnect(url)
        socket.connect(url)

    def run(self, source: str, seconds: float | None = None, silent: bool = False, start_up: bool = False):
        """Run one cell.  -> (its outputs, None or what went wrong in words).  When its time is up it is interrupted,
        and killed if that does not help within five seconds. An error is always among the outputs, whoever hid it."""
        if self.dead:
            return [failure("NotRun", self.dead)], self.dead
        end = time.monotonic() + (seconds or (self.deadline - time.monotonic()) / 2)
        message = self.client.execute(source, silent=silent, store_history=not silent, stop_on_error=False)
        outputs, size, reply, idle, wrong, last = [], 0, None, False, None, None
        most = self.limits.output_mb * 2**20
        poller = zmq.Poller()
        channels = {c.socket: c for c in (self.client.iopub_channel, self.client.shell_channel)}
        for socket in (*channels, self.cut):
            poller.register(socket, zmq.POLLIN)
        while not (reply and (idle or time.monotonic() > last)):
            self.watch()
            if self.dead:
                return [*outputs, failure("NotFinished", self.dead)], self.dead
            now = time.monotonic()
            if now > end and start_up:
                return outputs, "no answer yet"
            if wrong is None and size > most:        # a second of grace: the reply may be under way
                end = min(end, now + 1)
            if wrong is None and now > end:
                wrong = ("the cell took too long and was stopped" if size <= most else
                         f"the cell put out more than {self.limits.output_mb:g} MB and was stopped")
                self.client.session.send(self.client.control_channel.socket, "interrupt_request", {})
                end = now
            elif wrong and now > end + 5:
                self.kill(f"{wrong}, and it ignored that")
            for socket, _ in poller.poll(100):
                try:
                    if socket is self.cut:           # a message larger than any that is received
                        recv_monitor_message(socket)
                        self.reconnect()
                        size = 2 * most
                        continue
                    got = channels[socket].get_msg(timeout=0)
                    if got["parent_header"].get("msg_id") != message:
                        continue
                    kind, content = got["msg_type"], got["content"]
                    if kind == "execute_reply":
                        reply, last = content, time.monotonic() + 2
                    elif kind == "status":
                        idle |= content["execution_state"] == "idle"
                    elif kind in ("stream", "display_data", "execute_result", "error"):
                        size += len(repr(content))
                        if size <= most:
                            outputs.append(output_from_msg(got))
                except Exception as e:               # a message that no honest kernel sends
                    self.kill(f"the kernel sent a message that cannot be read ({type(e).__name__})")
                    break
        if size > most:
            wrong = f"the cell put out more than {self.limits.output_mb:g} MB"
        if wrong:
            outputs.append(failure("Stopped", wrong))
        elif reply.get("status") != "ok" and not any(o.output_type == "error" for o in outputs):
            outputs.append(failure(reply.get("ename", "Error"), reply.get("evalue", "")))
        return outputs, wrong or (None if reply.get("status") == "ok" else "an error")


def failure(name: str, words: str):
    """The output of a cell that failed in a way that the kernel did not tell."""
    return new_output("error", ename=str(name), evalue=str(words), traceback=[f"{name}: {words}"])


# --- a notebook -----------------------------------------------------------------------------------------------------

PROBE = r"""
import functools, json, os, sys, types
from IPython import get_ipython

def foreign(x):
    if issubclass(type(x), type):
        return x.__module__ == "__main__"
    if type(x) in (types.FunctionType, types.MethodType):
        return "ipykernel_" in x.__code__.co_filename
    return type(x).__module__ == "__main__"

def form(x, depth=9):                                # what a thing does, as values that can be compared
    def down(y):
        return form(y, depth - 1)
    if depth == 0:
        return None
    if type(x) in (str, bytes, int, float, bool):
        return x
    if type(x) is types.FunctionType:
        held = [cell.cell_contents for cell in x.__closure__ or ()]
        return x.__code__, down(x.__defaults__), down(x.__kwdefaults__), down(held)
    if isinstance(x, (tuple, list)):
        return [down(y) for y in x]
    if type(x) is dict:
        return {str(k): down(v) for k, v in x.items()}
    if type(x) is functools.partial:
        return down((x.func, x.args, x.keywords))
    if type(x) is functools._lru_cache_wrapper:
        return "cache", down(x.__wrapped__)
    if issubclass(type(x), type) and x.__module__.startswith("course_lib.checks"):
        made_by_a_look = {k for k in vars(x) if k.startswith("__annot")}          # typing and inspect leave them there
        return x.__qualname__, down({k: v for k, v in vars(x).items() if k not in made_by_a_look})
    if type(x).__name__ in ("Implementation", "Measurement"):
        return type(x), down(vars(x))
    return type(x).__qualname__, getattr(x, "__qualname__", "")

def changes(name, module):                           # what a module of ours is, and what its file says
    path = os.path.join(ROOT, *name.split("."))
    path = path + ".py" if os.path.isfile(path + ".py") else os.path.join(path, "__init__.py")
    new = {"__name__": name, "__file__": path}
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), new)
    for key in {*new, *vars(module)}:
        mine, right = vars(module).get(key), new.get(key)
        if not (key.startswith("__") or key in ("_last", "_output") or type(mine) is types.ModuleType) and (
                form(mine) != form(right)):
            yield f"{name}.{key}"

shell, found = get_ipython(), set()
for name, module in list(sys.modules.items()):
    if issubclass(type(module), types.ModuleType) and vars(module) is not shell.user_ns:
        for key, value in list(vars(module).items()):
            if foreign(value) and key not in ("last_type", "last_value", "last_exc"):   # of sys: a student's own error
                found.add(f"{name}.{key}")
            if issubclass(type(value), type) and value.__module__ == name:
                found.update(f"{name}.{key}.{k}" for k, v in list(vars(value).items()) if foreign(v))
        if name.startswith("course_lib.checks"):
            found.update(changes(name, module))
for name, thing in {"get_ipython()": shell, "get_ipython().kernel": shell.kernel}.items():
    found.update(f"{name}.{k}" for k, v in list(vars(thing).items()) if foreign(v))
for name in ("ast_transformers", "input_transformers_cleanup", "input_transformers_post"):
    entries = getattr(shell, name)
    if any(not (getattr(f, "__module__", None) or type(f).__module__).startswith("IPython.") for f in entries):
        found.add(f"get_ipython().{name}")
found.update(f"get_ipython().events, {k}" for k, v in shell.events.callbacks.items() if any(map(foreign, v)))
if sys.gettrace() or sys.getprofile():
    found.add("sys.settrace or sys.setprofile")
for key, value in shell.user_ns.items():             # the right answers stand in the checks
    if type(value) is types.FunctionType and value.__module__.startswith("course_lib.checks") and key != "hint":
        found.add(f"{key}, which is taken from the checks")
print("PROBE" + json.dumps(sorted(found)[:20]))
"""


def changed(kernel: Kernel) -> list[str]:
    """What the submission has changed in IPython or in a library, as far as it can be seen from inside."""
    root = str(Path(course_lib.__file__).resolve().parents[1])
    outputs, _ = kernel.run(f"exec({PROBE!r}, {{'ROOT': {root!r}}})", seconds=10, silent=True)
    text = "".join(o.text for o in outputs if o.output_type == "stream")
    found = re.search(r"PROBE\[(.*)\]", text)
    if not found:
        return [] if kernel.dead else ["the check for changed hooks gave no answer"]
    return [f"changed: {name}" for name in re.findall(r'"(.*?)"', found[1])]


def execute(nb, limits: Limits, files: list[Path] = (), trusted: bool = False) -> tuple[list[str], list[str]]:
    """Run every code cell of a notebook in place.  -> (what went wrong, for the student; what looks like deception, for
    the teacher).  Whatever happens, a cell that did not finish has an error among its outputs."""
    remarks, look = [], []
    with Kernel(limits, files, trusted) as kernel:
        for number, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), start=1):
            cell.outputs, cell.execution_count = [], number
            if not cell.source.strip():
                continue
            gone = kernel.dead
            cell.outputs, wrong = kernel.run(cell.source)
            if wrong not in (None, "an error") and not gone:
                remarks.append(f"code cell {number}: {wrong}" + ("; later cells were not run" if kernel.dead else ""))
            if cell.metadata.get("nbgrader", {}).get("grade") and not kernel.dead and not look:
                look = changed(kernel)
        if kernel.dead and not remarks:
            remarks.append(kernel.dead)
    return remarks, look
