"""The host's side of a kernel's jail: sockets for its clients, a socket for the jail, and the thread between them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pyjail import JailError, Process, TimeoutExpired
from pyjail.integrations._kernel.pump import Pump

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")  # number 1 and so on
TAIL = 1000  # bytes kept of what the kernel printed last on its own stdout and stderr
PATIENCE_S = 2.0  # for the jail's end when its last connection has ended; its keeper needs milliseconds
OUTPUT, LOST = "output", "lost"  # why the relay ended the kernel


class Relay:
    """What stands between one kernel and its clients, from its start to its end.

    Clients connect to ``clients`` and a number, below a directory that no jail sees. The jail connects to
    ``inside``/host, in a directory that it sees read-only. Both are bound here: nothing that the jail can make, replace
    or link is ever opened on the host.

    Args:
        clients: prefix of the sockets for clients. inside: the directory that the jail sees.
        output: bytes that the kernel may send in all, or None.
        ended: called in the relay's thread when the kernel has ended.

    Attributes:
        linked: set when the jail has connected. why: what it ended the kernel for: `OUTPUT` or `LOST`; until then None.
    """

    def __init__(self, clients: str, inside: Path, output: int | None, ended: Callable[[], None]) -> None:
        self.linked, self._tail = threading.Event(), b""
        self._left, self._limited, self._ended = output or 0, output is not None, ended
        self._pump = Pump()
        self._waiting: deque[tuple[int, socket.socket]] = deque()
        self._idle: socket.socket | None = None
        self._over, self._stopped = False, False
        self.why: str | None = None
        self._thread: threading.Thread | None = None
        self._opened: list[socket.socket] = []
        try:
            self._wake, self._woken = socket.socketpair()
            self._opened += [self._wake, self._woken]
            self._host = self._listen(os.fspath(inside), "host", 0o666)
            base, prefix = os.path.split(clients)
            self._doors = [self._listen(base, f"{prefix}-{n}", 0o600) for n in range(1, len(CHANNELS) + 1)]
        except BaseException:
            self._close()
            raise

    def _listen(self, directory: str, name: str, mode: int) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        self._opened.append(made)
        made.setblocking(False)
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            # By way of the fd: however long the directory's path is, and the jail's getpeername(2) does not tell it.
            path = f"/proc/self/fd/{fd}/{name}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            made.bind(path)
            os.chmod(path, mode)
        finally:
            os.close(fd)
        made.listen()
        return made

    @property
    def said(self) -> str:
        """What the kernel, which has ended, printed last on stdout and stderr, on one line: a hostile one's words."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE_S)  # it may be about to read the last of it
        text = self._tail.decode("utf-8", "replace").strip().replace("\n", " | ")
        return "".join(c if c.isprintable() else "?" for c in text) or "it printed nothing"

    def begin(self, process: Process) -> None:
        """Serve it, in a thread, until it ends or `stop` is called."""
        self._thread = threading.Thread(target=self._serve, args=(process,), name="pyjail-kernel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and close all; ``ended`` is not called after that. Twice is fine."""
        self._stopped = True
        if self._thread is None:
            self._close()
            return
        with contextlib.suppress(OSError):
            self._wake.send(b".")
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self, process: Process) -> None:
        pump, said = self._pump, process.stdout.fileno()
        os.set_blocking(said, False)
        try:
            pump.watch(self._woken, partial(self._end, None))
            pump.watch(self._host, self._link)
            pump.watch(said, partial(self._listen_to, said))
            for number, door in enumerate(self._doors, 1):
                pump.watch(door, partial(self._client, number, door))
            while not self._over:
                pump.turn()
        finally:
            self._close()
        if not self._stopped:
            self._see_off(process)
            self._drain(said)
            self._ended()

    def _see_off(self, process: Process) -> None:
        """Until it is gone: by itself, or by us."""
        with contextlib.suppress(JailError):  # told by who polls it
            if self.why is None:
                try:
                    process.wait(PATIENCE_S)
                    return
                except TimeoutExpired:  # it lives, and nobody can reach it any more
                    self.why = LOST
            process.kill()
            process.wait()

    def _end(self, why: str | None) -> None:
        self._over, self.why = True, why

    def _link(self) -> None:
        """The jail has opened a connection, which is idle. One is enough: the next one has to wait."""
        with contextlib.suppress(OSError):
            self._idle, _ = self._host.accept()
            self._pump.forget(self._host)
            self._pump.watch(self._idle, partial(self._end, None))  # it says nothing: this is its end
            self.linked.set()
            self._match()

    def _client(self, number: int, door: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it has left already
            self._waiting.append((number, door.accept()[0]))
            self._match()

    def _match(self) -> None:
        """Join who waits longest to the idle connection."""
        if self._idle is None or not self._waiting:
            return
        number, client = self._waiting.popleft()
        idle, self._idle = self._idle, None
        self._pump.forget(idle)
        self._pump.watch(self._host, self._link)
        with contextlib.suppress(OSError):  # its end: then the next one does not come either
            idle.send(bytes([number]))
        self._pump.join(idle, client, self._count if self._limited else None)

    def _count(self, n: int) -> None:
        self._left -= n
        if self._left < 0:
            self._end(OUTPUT)

    def _listen_to(self, said: int) -> None:
        try:
            data = os.read(said, 1 << 16)
        except BlockingIOError:
            return
        self._tail = (self._tail + data)[-TAIL:]
        if not data:
            self._pump.forget(said)

    def _drain(self, said: int) -> None:
        """What it has left in the pipe."""
        with contextlib.suppress(OSError):
            while data := os.read(said, 1 << 16):
                self._tail = (self._tail + data)[-TAIL:]

    def _close(self) -> None:
        self._pump.close()
        for sock in (*self._opened, *(client for _, client in self._waiting), *([self._idle] if self._idle else [])):
            sock.close()
