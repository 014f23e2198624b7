"""Python imports this file by itself when its folder is on PYTHONPATH: from then on sockets reach this machine only.

The root conftest.py puts it there for pytest, its workers, the kernels of notebooks and every other Python they start.
An attempt to reach another machine raises OSError, as it would with no network, and is noted in the file that
COURSE_OFFLINE_LOG names, so that a program which swallows the error is found all the same.
"""

import os
import socket
import sys


def this_machine(host) -> bool:
    host = host.decode(errors="replace") if isinstance(host, bytes) else host
    return host in (None, "", "localhost", "::1", "0.0.0.0", "::", socket.gethostname()) or str(host).startswith("127.")


def refuse_other_machines(event: str, args: tuple) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        host = args[1][0] if isinstance(args[1], tuple) else None                     # a path stays here
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if not this_machine(host):
        if log := os.environ.get("COURSE_OFFLINE_LOG"):
            with open(log, "a") as f:
                f.write(f"{event} {host} by {' '.join(sys.argv)[:200]}\n")
        raise OSError(f"the network is switched off for tests: {event} {host}")


sys.addaudithook(refuse_other_machines)
