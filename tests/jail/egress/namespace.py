"""What a keeper will do: a network namespace with lo and one listening socket, whose fd goes out, and a program in it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

PORT = 3128
PROXY = f"http://127.0.0.1:{PORT}"
_INSIDE = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:  # SIOCSIFFLAGS: IFF_UP
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))
out = socket.socket(fileno=int(sys.argv[1]))
with socket.create_server(("127.0.0.1", 3128), backlog=128) as listening:
    socket.send_fds(out, [b"x"], [listening.fileno()])
out.recv(1)  # it is served
out.close()
os.execvp(sys.argv[2], sys.argv[2:])
"""


def unshare() -> list[str]:
    """As root a network namespace, as a user one of a user namespace."""
    return ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]


@contextlib.contextmanager
def program(*args: str, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], int, socket.socket]]:
    """A program that starts in it once b"x" is sent: (the process, the listening socket's fd, where to send)."""
    ours, theirs = socket.socketpair()
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), PROXY)
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with ours:
        with theirs:
            process = subprocess.Popen(
                [*unshare(), sys.executable, "-I", "-c", _INSIDE, str(theirs.fileno()), *args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**kept, **proxies, "no_proxy": "", "NO_PROXY": "", **env},
                pass_fds=(theirs.fileno(),),
            )
        with process:
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
            try:
                yield process, fds[0], ours
            finally:
                for fd in fds:
                    os.close(fd)
                if process.poll() is None:
                    process.kill()
