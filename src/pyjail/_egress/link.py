"""The embedder's side of the egress proxy: started when a run needs it, given sockets, asked what came of them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from itertools import starmap

from pyjail._base import endings, lazy
from pyjail._base.errors import HostError
from pyjail._base.fds import Fd, by, identity, itself, memfd, readable, until
from pyjail._egress.answer import ANSWER_S, Answer
from pyjail._result.contact import GONE, Contacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail._spec.egress import Egress

START_S = 20.0
MOST_POLICIES = 256  # that the proxy remembers
_END_MS, _DYING_MS = 2000, 100
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


def _gone(why: str) -> Contacts:
    return Contacts.gone(f"{GONE} ({why})" if why and why != GONE else GONE)


def _writable_by(fd: int, end: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    return bool(poller.poll(until(end)))


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
        self.spawned: list[subprocess.Popen[Any]] = []  # which has no pidfd yet
        self.most = 0  # runs that this proxy has fds for
        self.runs: set[int] = set()  # that this proxy has
        self.asked: dict[int, Answer] = {}  # of runs that have ended
        self.lost: dict[int, Contacts] = {}  # of runs whose proxy ended before them
        self.policies: dict[Egress, int] = {}
        self.number = 0

    @property
    def started(self) -> bool:
        """Whether there is a proxy: else `serve` takes the time to start one."""
        return self.sock is not None

    def serves(self, number: int) -> bool:
        """Whether the proxy that has this run lives."""
        with self.lock:
            if number in self.runs and readable(self.pidfd.number, 0):
                self._lost()
            return number in self.runs

    def fresh(self) -> int:
        """A number for a run: who has it before `serve` can `drop` it, should that be interrupted."""
        with self.lock:
            self.number += 1
            return self.number

    def serve(self, listening: int, egress: Egress, number: int | None = None) -> int:
        """Have the proxy accept on this listening socket by these rules; the number of the run, a fresh one if none is
        given. The fd stays the caller's, who closes it.

        HostError: no proxy can be started, or it has as many runs as it has fds for. OSError: this process lacks fds or
        memory.
        """
        number = self.fresh() if number is None else number
        with self.lock:
            if len(self.runs) >= self.most > 0:
                cause = f"its proxy has {self.most} runs, a quarter of the fds that it may have"
                raise HostError("egress", cause, "have fewer runs at once, or raise the hard limit of fds (ulimit -Hn)")
            try:
                self._hand(number, listening, egress)
            except ConnectionError:  # it has ended since: nobody saw it until now
                self._lost()
                try:
                    self._hand(number, listening, egress)
                except ConnectionError as e:
                    self._lost()
                    raise HostError("egress", f"its proxy ends at once ({e})", "find out what kills it") from e
            return number

    def _hand(self, number: int, listening: int, egress: Egress) -> None:
        """With the rules when they are new."""
        if self.sock is None:
            self._start()
        self.runs.add(number)  # before it has it: what it does not have may be dropped
        try:
            self._tell(number, listening, egress)
        except OSError:
            self.runs.discard(number)
            raise

    def _tell(self, number: int, listening: int, egress: Egress) -> None:
        if len(self.policies) >= MOST_POLICIES and egress not in self.policies:
            self.policies.clear()
        policy = self.policies.get(egress, len(self.policies))
        message: dict[str, Any] = {"run": number, "policy": policy}
        if egress not in self.policies:
            message["egress"] = egress.to_dict()
        self._send(message, listening)
        self.policies[egress] = policy

    def end(self, number: int) -> Contacts:
        """The run has ended: close its connections and its socket, and tell what came of them. Once for each number.

        Of a proxy that has ended meanwhile, a row says so.
        """
        return self.ask(number).wait()

    def look(self, number: int) -> Contacts:
        """What came of the connections of a run that goes on, those that are open among them."""
        return self.ask(number, ended=False).wait()

    def ask(self, number: int, *, ended: bool = True) -> Answer:
        """`end`, or `look`, without the wait: for who has an event loop, or something to do meanwhile.
        An answer that is not taken to its end is to be closed, or the run dropped.

        Asked once more, because the first one was interrupted, the end of a run has the same answer.
        """
        with self.lock:
            if (asked := self.asked.get(number)) is not None:
                return asked
            answer = self._asked(number, ended)
            if ended:
                self.runs.discard(number)
                self.lost.pop(number, None)
                if answer.fileno() >= 0:
                    self.asked[number] = answer
            return answer

    def _asked(self, number: int, ended: bool) -> Answer:
        told, pid = None, self.pid
        if number in self.runs:
            try:
                return Answer(self, number, pid, self._request({"end" if ended else "look": number}), None)
            except ConnectionError as e:
                self._lost(str(e))
            except OSError as e:
                told = self._unasked(number, ended, e)
        return Answer(self, number, pid, None, told or self.lost.get(number) or Contacts.gone())

    def _request(self, message: dict[str, Any]) -> socket.socket:
        """Where it is answered."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._send(message, theirs.fileno())
            except BaseException:
                ours.close()
                raise
        return ours

    def _unasked(self, number: int, ended: bool, why: OSError) -> Contacts:
        """This process has no fd to be answered by: end the run nevertheless."""
        try:
            if ended:
                self._send({"end": number})
        except ConnectionError as e:
            self._lost(str(e))
        return Contacts.gone(f"the egress proxy could not be asked: {os.strerror(why.errno or 0)}")

    def drop(self, number: int) -> None:
        """The run has ended, and nobody asks what came of it, or not any more. May be called twice."""
        with self.lock:
            if (asked := self.asked.get(number)) is not None:
                asked.close()
            self.asked.pop(number, None)
            self.lost.pop(number, None)
            if number in self.runs:
                self.runs.discard(number)
                try:
                    self._send({"end": number})
                except ConnectionError as e:
                    self._lost(str(e))

    def told(self, answer: Answer) -> None:
        """Nobody waits for it any more."""
        with self.lock:
            if self.asked.get(answer.number) is answer:
                del self.asked[answer.number]

    def silent(self, answer: Answer, why: str) -> Contacts:
        """What is told of a run about which the proxy says nothing."""
        with self.lock:
            if answer.pid == self.pid and (why or readable(self.pidfd.number, _DYING_MS)):
                self._lost(why)
            elif answer.pid == self.pid:
                why = "it has no fd to answer by"
                return Contacts.gone(f"what came of its connections is unknown: {why}")
        return _gone(why)

    def _ours(self) -> socket.socket:
        """The socket, if it is still what it was."""
        if self.sock is None or identity(self.sock.fileno()) != self.identity:
            raise ConnectionResetError("its control socket is closed")
        return self.sock

    def _send(self, message: dict[str, Any], *fds: int) -> None:
        data, end = [json.dumps(message).encode()], time.monotonic() + ANSWER_S
        with_it = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd)) for fd in fds]
        while True:
            try:
                self._ours().sendmsg(data, with_it, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
                return
            except BlockingIOError:
                if not _writable_by(self._ours().fileno(), end):
                    raise ConnectionResetError("it takes no messages") from None

    def _ready(self) -> None:
        """What it says first."""
        sock = self._ours()
        if not by(sock.fileno(), time.monotonic() + START_S):
            raise ConnectionResetError("it does not answer")
        data = sock.recv(4096)
        if not data:
            raise ConnectionResetError(GONE)
        self.most = json.loads(data)["runs"]

    def _start(self) -> None:
        said = memfd("pyjail-egress-said")
        try:
            with lazy.lock:  # no child that is forked now has them
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs, itself() as us:
                    self.sock, self.identity = ours, identity(ours.fileno())
                    self._spawn(theirs.fileno(), us.number, said.number)
            self._ready()
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
        spawn = functools.partial(
            subprocess.Popen,
            _command(control, embedder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd="/",
            env={"LC_ALL": "C.UTF-8", "RES_OPTIONS": "timeout:3 attempts:2", "MALLOC_ARENA_MAX": "2", **kept},
            pass_fds=(control, embedder),
            start_new_session=True,
        )
        self.spawned.extend(starmap(spawn, ((),)))  # by C code alone: who is interrupted has it
        self.pid = self.spawned[0].pid
        self.pidfd = Fd(os.pidfd_open, self.pid)
        self.pidfd.remember()
        self.spawned.pop().returncode = 0  # it is waited for by its pidfd

    def _lost(self, why: str = "") -> None:
        """It has ended, or is of no use: end it, and keep that for the runs that it had."""
        runs = self.runs
        self._close()
        self.runs, self.policies, self.most = set(), {}, 0
        self.lost.update(dict.fromkeys(runs, _gone(why)))

    def _close(self) -> None:
        if self.pidfd.ours:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.pidfd.number, signal.SIGKILL)
            if readable(self.pidfd.number, _END_MS):
                with contextlib.suppress(OSError):
                    os.waitid(os.P_PIDFD, self.pidfd.number, os.WEXITED)
        while self.spawned:  # its start was interrupted; where its pidfd has waited for it, this sees that
            process = self.spawned.pop()
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_MS / 1000)
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
        asked = list(self.asked.values())
        self._reset()
        for answer in asked:
            answer.close()


_all: weakref.WeakSet[Link] = weakref.WeakSet()
link = Link()


def _after_fork() -> None:
    for one in list(_all):
        one.disown()


def _close() -> None:
    for one in list(_all):
        one.close()


endings.calls.append(_close)
os.register_at_fork(after_in_child=_after_fork)
