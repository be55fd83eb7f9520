"""A run's way out is made before its program is asked for: what happens to it in between."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pyjail
from pyjail import Jail, Limits
from tests.conftest import SLOW
from tests.host_side import keeper_below
from tests.inside import Egress, Keeper, idle_keepers, lib
from tests.scripts import until

LIMITS = Limits(wall_time=30 * SLOW, cpu_time=10 * SLOW)
ASK = """
import socket
s = socket.create_connection(("127.0.0.1", 3128))
s.sendall(b"CONNECT refused.test:443 HTTP/1.1\\r\\nHost: refused.test:443\\r\\n\\r\\n")
print(s.recv(4096).split(b"\\r\\n")[0].decode())
"""


def ask() -> pyjail.Result:
    return pyjail.run([sys.executable, "-I", "-c", ASK], LIMITS, jail=Jail(network=Egress(["allowed.test"])), text=True)


def kill_armed(of: Keeper) -> None:
    """The process that waits to be the next program; whoever lacks memory may do the same."""
    keeper = keeper_below(of.pid)
    assert until(lambda: bool(_children(keeper)), 10 * SLOW)
    for pid in _children(keeper):
        os.kill(int(pid), signal.SIGKILL)
        assert until(lambda pid=pid: "State:\tZ" in _status(pid) or not _status(pid), 10 * SLOW)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _status(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""


def test_who_is_killed_while_it_waits_takes_no_way_out_with_it():
    """Its namespace went with it: the proxy is to accept in that of the program that is started in its place."""
    pyjail.close()
    for _ in range(3):
        r = ask()
        assert (r.ok, r.stdout) == (True, "HTTP/1.1 403 Forbidden\n"), r
        assert r.egress is not None and [c.host for c in r.egress.rows] == ["refused.test"]
        kill_armed(idle_keepers()[-1])


def test_who_is_killed_after_its_way_out_is_served_leaves_it_to_who_is_started_in_its_place(monkeypatch):
    """Nobody has used the network of the one that was killed, so the other has the same."""
    pyjail.close()
    assert ask().ok
    submit = Keeper.submit

    def killed_before(self, op, *args):
        if op == lib.OP_RUN:
            kill_armed(self)
            monkeypatch.undo()
        return submit(self, op, *args)

    monkeypatch.setattr(Keeper, "submit", killed_before)
    for _ in range(2):
        r = ask()
        assert (r.ok, r.stdout) == (True, "HTTP/1.1 403 Forbidden\n"), r
        assert r.egress is not None and [c.host for c in r.egress.rows] == ["refused.test"]
