"""The first program in the sandbox. It gives up resources for good, then becomes an IPython kernel. Two threads beside
it carry messages, each a length of four bytes and JSON: requests come in on standard input, what the kernel answers
goes out on what was standard output. Nothing else connects the kernel with the grader. When the input ends, because the
grader is gone, so is the kernel.

The grader runs this text by `python -c`, with {"rlimits": {name: most}, "folder": for its sockets} as the argument.
"""

import gc
import importlib
import json
import os
import sys
import tempfile
import threading
import types

import zmq
from ipykernel.kernelapp import launch_new_instance
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

INSIDE = "inproc://requests"                         # from the thread that waits for a pipe to the one that polls


def listen(door: zmq.Socket, pipe: int) -> None:
    """Pass on each request."""
    def read(n: int) -> bytes:
        data = b""
        while len(data) < n:
            if not (part := os.read(pipe, n - len(data))):
                os._exit(0)
            data += part
        return data

    while True:
        door.send(read(int.from_bytes(read(4))))


def carry(door: zmq.Socket, client: BlockingKernelClient, pipe: int) -> None:
    """Run what is asked for, one request at a time, and pass on what belongs to it: [id, kind, content]."""
    out, number, message = os.fdopen(pipe, "wb"), None, None
    channels = {c.socket: c for c in (client.iopub_channel, client.shell_channel)}
    poller = zmq.Poller()
    for socket in (door, *channels):
        poller.register(socket, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            if socket is not door:
                got = channels[socket].get_msg(timeout=0)
                if got["parent_header"].get("msg_id") == message:
                    data = json.dumps([number, got["msg_type"], got["content"]]).encode()
                    out.write(len(data).to_bytes(4) + data)
                    out.flush()
                continue
            request = json.loads(door.recv())
            if request is None:
                client.session.send(client.control_channel.socket, "interrupt_request", {})
            else:
                number, arguments = request
                message = client.execute(**arguments, allow_stdin=False, stop_on_error=False)


class Compiler(types.ModuleType):
    """In place of torch._dynamo. Every optimiser imports it, for half a second of each submission, to say that nothing
    is compiled here. Whoever wants anything else of it gets the real one."""

    __module__ = "course_lib.classroom.kernel"       # and not of the student

    @staticmethod
    def graph_break(*args, **more) -> None:
        pass

    @staticmethod
    def disable(fn, *args, **more):
        return fn

    def __getattr__(self, name):
        if name.startswith("__") and name != "__path__":                              # somebody looks at all modules
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def main() -> None:
    given = json.loads(sys.argv.pop())
    gc.set_threshold(50_000, 20, 100)                # the million objects of torch need not be searched all the time
    if given["rlimits"]:
        import resource
        for name, most in given["rlimits"].items():
            which = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(which)[1]      # which nobody can raise
            resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard),) * 2)
    sys.modules["torch._dynamo"] = Compiler("torch._dynamo")
    requests, answers, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    folder = tempfile.mkdtemp(dir=given["folder"])
    path, _ = write_connection_file(f"{folder}/k.json", key=os.urandom(16).hex().encode(), **(
        {} if os.name == "nt" else {"transport": "ipc", "ip": f"{folder}/k"}))
    client = BlockingKernelClient(connection_file=path)
    client.load_connection_file()
    client.start_channels(stdin=False, hb=False)
    there, here = (client.context.socket(zmq.PAIR) for _ in range(2))
    here.bind(INSIDE)
    there.connect(INSIDE)
    threading.Thread(target=listen, args=(there, requests), daemon=True).start()
    threading.Thread(target=carry, args=(here, client, answers), daemon=True).start()
    launch_new_instance(argv=["-f", path, "--HistoryManager.hist_file=:memory:"])


if __name__ == "__main__":
    main()
