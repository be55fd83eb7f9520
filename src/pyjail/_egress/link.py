"""The embedder's side of the egress proxy: started when a run needs it, given sockets, asked what came of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref

from pyjail._base import lazy
from pyjail._base.errors import HostError
from pyjail._base.fds import Fd, by, identity, itself, memfd, readable
from pyjail._egress.contact import GONE, Contact, Contacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail._spec.egress import Egress

START_S = 20.0
ANSWER_S = 10.0  # for a proxy that somebody has stopped
MOST_POLICIES = 256  # that the proxy remembers
_END_MS = 2000
_MESSAGE = 1 << 18
# Of pyjail nothing but what the proxy is made of: not the C core, nor what that needs of site-packages.
_CODE = """import sys, types
pyjail = sys.modules["pyjail"] = types.ModuleType("pyjail")
pyjail.__path__, pyjail.__distribution__ = [sys.argv.pop(1)], "pyjail-linux"
from pyjail._egress.__main__ import main
main(sys.argv[1:])"""


def _interpreter() -> str:
    """This process's; of a program that embeds Python, that of its installation."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (sys.executable, f"{sys.base_exec_prefix}/bin/{version}"):
        if path and os.path.basename(path).startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return path
    cause = f"its proxy is a Python process, and there is no interpreter at {sys.executable or version!r}"
    raise HostError("egress", cause, f"install {version} below {sys.base_exec_prefix}/bin, or use network='none'")


def _command(control: int, embedder: int) -> list[str]:
    """Neither the environment nor site-packages say what is imported; pyjail is what this process has."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [_interpreter(), "-I", "-S", "-c", _CODE, package, str(control), str(embedder)]


class Link:
    """One proxy process of this embedder, and what it said of runs. All methods may be called by any thread."""

    def __init__(self) -> None:
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self.lock = threading.RLock()
        self.sock: socket.socket | None = None
        self.identity: tuple[int, int] | None = None
        self.pidfd = Fd()
        self.pid = -1
        self.runs: dict[int, bool] = {}  # that this proxy has; whether they are ended
        self.parts: dict[int, list[Contact]] = {}
        self.reports: dict[int, Contacts] = {}
        self.policies: dict[Egress, int] = {}
        self.number = 0

    def serve(self, listening: int, egress: Egress) -> int:
        """Have the proxy accept on this listening socket by these rules; the number of the run. The fd stays the
        caller's, who closes it.

        HostError: no proxy can be started. OSError: this process lacks fds or memory.
        """
        with self.lock:
            self.number += 1
            try:
                self._hand(listening, egress)
            except ConnectionError:  # it has ended since: nobody saw it until now
                self._lost()
                try:
                    self._hand(listening, egress)
                except ConnectionError as e:
                    self._lost()
                    raise HostError("egress", f"its proxy ends at once ({e})", "find out what kills it") from e
            self.runs[self.number] = False
            return self.number

    def _hand(self, listening: int, egress: Egress) -> None:
        """With the rules when they are new."""
        if self.sock is None:
            self._start()
        if len(self.policies) >= MOST_POLICIES and egress not in self.policies:
            self.policies.clear()
        policy = self.policies.get(egress, len(self.policies))
        message: dict[str, Any] = {"run": self.number, "policy": policy}
        if egress not in self.policies:
            message["egress"] = egress.to_dict()
        self._send(message, listening)
        self.policies[egress] = policy

    def end(self, number: int) -> Contacts:
        """The run has ended: close its connections and its socket, and tell what came of them. Once for each number.

        Of a proxy that has ended meanwhile, a row says so.
        """
        with self.lock:
            try:
                if self.runs.get(number) is False:
                    self._send({"end": number})
                    self.runs[number] = True  # who is interrupted may come again
                if number in self.runs:
                    self._answer(number)
            except ConnectionError as e:
                self._lost(str(e))
            self.runs.pop(number, None)
            return self.reports.pop(number, None) or Contacts.gone()

    def _answer(self, number: int) -> None:
        end = time.monotonic() + ANSWER_S
        while number not in self.reports:
            self._file(self._receive(end))

    def _file(self, message: dict[str, Any]) -> None:
        run = message["run"]
        rows = self.parts.setdefault(run, [])
        rows += [Contact(*row) for row in message["rows"]]
        if message["last"]:
            self.reports[run] = Contacts(tuple(self.parts.pop(run)), message["omitted"])

    def _ours(self) -> socket.socket:
        """The socket, if it is still what it was."""
        if self.sock is None or identity(self.sock.fileno()) != self.identity:
            raise ConnectionResetError("its control socket is closed")
        return self.sock

    def _send(self, message: dict[str, Any], fd: int = -1) -> None:
        data = json.dumps(message).encode()
        try:
            if fd < 0:
                self._ours().send(data, socket.MSG_NOSIGNAL)
            else:
                socket.send_fds(self._ours(), [data], [fd], socket.MSG_NOSIGNAL)
        except TimeoutError:
            raise ConnectionResetError("it takes no messages") from None

    def _receive(self, end: float) -> dict[str, Any]:
        sock = self._ours()
        if not by(sock.fileno(), end):
            raise ConnectionResetError("it does not answer")
        data = sock.recv(_MESSAGE)
        if not data:
            raise ConnectionResetError(GONE)
        found: dict[str, Any] = json.loads(data)
        return found

    def _start(self) -> None:
        said = memfd("pyjail-egress-said")
        try:
            with lazy.lock:  # no child that is forked now has them
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs, itself() as us:
                    self.sock, self.identity = ours, identity(ours.fileno())
                    ours.settimeout(ANSWER_S)
                    self._spawn(theirs.fileno(), us.number, said.number)
            self._receive(time.monotonic() + START_S)
        except ConnectionError as e:
            self._lost()
            last = os.pread(said.number, 4096, 0).decode(errors="replace").strip().rpartition("\n")[2] or str(e)
            fix = f"let {_interpreter()} start as this user, with fds, memory and processes to be had"
            raise HostError("egress", f"its proxy did not start: {last[:500]}", fix) from e
        except BaseException:
            self._lost()
            raise
        finally:
            said.close()

    def _spawn(self, control: int, embedder: int, said: int) -> None:
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        process = subprocess.Popen(
            _command(control, embedder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd="/",
            env={"LC_ALL": "C.UTF-8", "RES_OPTIONS": "timeout:3 attempts:2", "MALLOC_ARENA_MAX": "2", **kept},
            pass_fds=(control, embedder),
            start_new_session=True,
        )
        self.pid = process.pid
        self.pidfd = Fd(os.pidfd_open, process.pid)
        self.pidfd.remember()
        process.returncode = 0  # it is waited for by its pidfd

    def _lost(self, why: str = "") -> None:
        """It has ended, or is of no use: end it, and keep that for the runs that it had."""
        runs = [number for number in self.runs if number not in self.reports]
        self._close()
        self.runs, self.parts, self.policies = {}, {}, {}
        told = Contacts.gone(f"{GONE} ({why})" if why and why != GONE else GONE)
        self.reports.update(dict.fromkeys(runs, told))

    def _close(self) -> None:
        if self.pidfd.ours:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.pidfd.number, signal.SIGKILL)
            if readable(self.pidfd.number, _END_MS):
                with contextlib.suppress(OSError):
                    os.waitid(os.P_PIDFD, self.pidfd.number, os.WEXITED)
        self.pid = -1
        self.forget()

    def forget(self) -> None:
        """Close our ends: in a forked child those are copies."""
        if self.sock is not None:
            if identity(self.sock.fileno()) == self.identity:
                self.sock.close()
            else:
                self.sock.detach()  # somebody else's by now
        self.sock = None
        self.pidfd.close()

    def close(self) -> None:
        """End the proxy, and wait for that. Runs that it still has are told as those of one that was killed."""
        with self.lock:
            self._lost()

    def disown(self) -> None:
        """After os.fork, in the child: the proxy and its runs are the parent's, and a thread may have held the lock."""
        self.forget()
        self._reset()


_all: weakref.WeakSet[Link] = weakref.WeakSet()
link = Link()


def _after_fork() -> None:
    for one in list(_all):
        one.disown()


os.register_at_fork(after_in_child=_after_fork)
