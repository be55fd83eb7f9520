"""The keeper is killed, or another thread closes all, at every step of a call: what it came to or an error that says so."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from pathlib import Path

import pytest

import pyjail
from pyjail import (
    JailError,
    KeeperError,
    Limits,
    Verdict,
)
from pyjail._keeper import id_maps
from tests.conftest import SLOW
from tests.host_side import keeper_below, keepers_of
from tests.instants import Instant, Unharmed, every
from tests.scripts import script

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # see `Unharmed`
LIMITS = Limits(cpu_time=10 * SLOW, wall_time=20 * SLOW)


def kill_keepers() -> None:
    for pid in keepers_of(os.getpid()):
        with contextlib.suppress(OSError, ValueError):
            os.kill(keeper_below(pid), signal.SIGKILL)


class Elsewhere:
    """By another thread; when it waits for what this one holds, this one goes on."""

    def __init__(self, call) -> None:
        self.thread = threading.Thread(target=call, daemon=True)

    def __call__(self) -> None:
        self.thread.start()
        self.thread.join(0.2)

    def over(self) -> bool:
        if self.thread.ident is not None:
            self.thread.join(20 * SLOW)
        return not self.thread.is_alive()


def talk(start) -> bytes:
    with start(["cat"], LIMITS) as p:
        out, _ = p.communicate(b"x")
    assert p.result.ok or p.result.verdict is Verdict.JAIL_ERROR
    return out if p.result.ok else b""


def output(result) -> bytes:
    assert result.ok or result.verdict is Verdict.JAIL_ERROR
    return result.stdout if result.ok else b""


def joined() -> bytes:
    i = pyjail.interact(["sh", "-c", "echo x; read y; echo $y >&2"], ["sh", "-c", "read z; echo $z"])
    return i.results["a"].stderr.strip() if i.ok else b""


CALLS = {
    "run": lambda: output(pyjail.run(["printf", "x"], LIMITS)),
    "files": lambda: output(pyjail.run(["cat", "f"], LIMITS, files={"f": "x"}, collect=["f"])),
    "start": lambda: talk(pyjail.start),
    "interact": joined,
}
IN_SESSION = {
    "read": lambda s: s.read("f"),
    "write": lambda s: s.write("g", b"x") or b"x",
    "list": lambda s: s.list("f")[0].replace("f", "x").encode(),
    "run": lambda s: output(s.run(["cat", "f"], collect=["f"])),
    "start": lambda s: talk(s.start),
}


@pytest.mark.parametrize("how", ["killed", "closed"])
@pytest.mark.parametrize("name", CALLS)
def test_at_every_step_of_a_call(name, how):
    call, seen = CALLS[name], 0
    with Unharmed():
        for n in every(call, 40):
            other = Elsewhere(kill_keepers if how == "killed" else pyjail.close)
            with contextlib.suppress(JailError), Instant(n, other):
                out = call()
                seen += out == b"x"
                assert out in (b"x", b""), n
            assert other.over()
            assert pyjail.run(["echo", "x"]).stdout == b"x\n"
    assert seen


@pytest.mark.parametrize("how", ["killed", "closed", "all closed"])
@pytest.mark.parametrize("name", IN_SESSION)
def test_at_every_step_of_a_sessions_call(name, how):
    call = IN_SESSION[name]

    def session() -> pyjail.Session:
        s = pyjail.Session()
        s.write("f", b"x")
        return s

    with Unharmed():
        for n in every(lambda: call(session()), 25):
            s = session()
            other = Elsewhere({"killed": kill_keepers, "closed": s.close, "all closed": pyjail.close}[how])
            with contextlib.suppress(JailError), Instant(n, other) as instant:
                assert call(s) in (b"x", b""), n
            assert other.over()
            if instant.come:
                with pytest.raises(JailError):
                    s.read("f")
            s.close()
        del s


def test_a_keeper_that_is_killed_while_it_starts_is_told_as_that_however_late_its_guard_is(monkeypatch):
    real = id_maps.pid_of

    def killed(pidfd: int) -> int:
        pid = real(pidfd)
        guard = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guard, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (guard, signal.SIGCONT)).start()
        os.kill(pid, signal.SIGKILL)
        select.select([pidfd], [], [], 5)  # it is dead, and nobody has reaped it
        return real(pidfd)

    monkeypatch.setattr(id_maps, "pid_of", killed)
    with pytest.raises(KeeperError, match="died while it prepared the jail: signal SIGKILL"):
        pyjail.run(["true"], LIMITS, jail=pyjail.Jail(fresh=True, hostname="dies"))
    monkeypatch.undo()
    assert pyjail.run(["true"], LIMITS).ok


@pytest.mark.needs_root
def test_who_has_the_dead_keepers_number_keeps_its_own_exit_status():
    """Somebody else's wait() has taken the guard's, and the number was given out again."""
    code = """
    import os, pyjail, signal
    from pathlib import Path
    from tests.host_side import keepers_of
    with pyjail.Session() as s:
        s.run(["true"])
        guard = keepers_of(os.getpid())[0]
        os.kill(guard, signal.SIGKILL)
        while keepers_of(os.getpid()):  # they are orphans here, in its session: the number is free when all are gone
            os.waitpid(-1, os.WNOHANG)
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(guard - 1))
        child = os.fork()
        if not child:
            os._exit(7)
        try:
            s.run(["true"])
        except pyjail.KeeperError as e:
            print(e)
        print(child == guard, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    out = script(code, wrap=("unshare", "--pid", "--fork", "--mount-proc"))
    assert out.stdout, out.stderr
    told, child = out.stdout.splitlines()
    assert "somebody else's wait()" in told, (out.stdout, out.stderr)
    assert child == "True 7"
