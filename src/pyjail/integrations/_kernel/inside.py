"""Runs in the jail: ``inside.py MODULE [ARGUMENT]...`` becomes a kernel, which a child joins to the host's socket.

Nothing in the jail can be reached from outside, so every connection is made from here: one is always open and idle; its
first byte says which of the kernel's sockets somebody wants, and the next idle one is opened. Standard library only.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import socket
import sys
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
KERNEL = "/tmp/.kernel"  # where the kernel binds its sockets: KERNEL-1 and so on
PATIENCE_S = 0.01  # between two looks for a socket that the kernel has not bound yet


def main(arguments: list[str]) -> None:
    """Become the kernel. A module that is not there is told on stderr."""
    module = arguments[0]
    try:
        there = importlib.util.find_spec(module) is not None
    except ImportError:
        there = False
    if not there:
        sys.exit(f"{sys.executable} has no module {module}")
    host = connected(f"{HERE}/host")
    if os.fork() == 0:
        relay(host)
    host.close()
    local()
    startup()
    sys.argv = arguments
    sys.path[0] = ""  # as python -m has it
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def local() -> None:
    """ZeroMQ's TCP to 127.0.0.1 goes by sockets of files where the jail has no network.

    ipykernel takes what forked children print from there, and libzmq aborts the process when it gets no TCP socket.
    """
    try:
        socket.socket(socket.AF_INET).close()
    except OSError:
        import errno

        import zmq

        def by_file(call: Any) -> Any:
            def called(self: Any, address: Any) -> Any:
                address = os.fsdecode(address)
                port = address.removeprefix("tcp://127.0.0.1:")
                if port.isdigit():
                    address = f"ipc://{KERNEL}-tcp-{port}"
                elif address.startswith(("tcp:", "udp:")):
                    raise zmq.ZMQError(errno.EAFNOSUPPORT)
                return call(self, address)

            return called

        def to_random_port(self: Any, address: str, *range: Any, **given: Any) -> int:
            port = 49152 + int.from_bytes(os.urandom(2), "big") % 16384  # those that nobody is given
            self.bind(f"{address}:{port}")
            return port

        zmq.Socket.bind, zmq.Socket.connect = by_file(zmq.Socket.bind), by_file(zmq.Socket.connect)
        zmq.Socket.bind_to_random_port = to_random_port


def startup() -> None:
    """IPython, if the kernel has it, runs startup.py."""
    place = os.environ.get("IPYTHONDIR")
    if place:
        os.makedirs(f"{place}/profile_default/startup", exist_ok=True)
        os.symlink(f"{HERE}/startup.py", f"{place}/profile_default/startup/00-pyjail.py")


def connected(path: str) -> socket.socket:
    """A connection to this socket."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(path)
    return made


def relay(host: socket.socket) -> None:
    """Join whoever asks to the kernel, for ever: the jail ends when the kernel does."""
    import signal

    sys.path[0] = HERE
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    pump = importlib.import_module("pump").Pump()
    wanted: list[tuple[int, socket.socket]] = []

    def asked() -> None:
        nonlocal host
        pump.forget(host)
        number = host.recv(1)
        if not number:
            os._exit(0)
        wanted.append((number[0], host))
        host = connected(f"{HERE}/host")
        pump.watch(host, asked)

    pump.watch(host, asked)
    while True:
        pump.turn(PATIENCE_S if wanted else None)
        for number, outside in wanted[:]:
            try:
                kernel = connected(f"{KERNEL}-{number}")
            except OSError:  # not yet
                continue
            wanted.remove((number, outside))
            pump.join(kernel, outside)


if __name__ == "__main__":
    main(sys.argv[1:])
