"""What tests touch of pyjail's inside: the only place that knows the rooms' modules and the private attributes of public things.

A test that can says it with `pyjail.testing`; this is for those that need a keeper's own fds or pid, or that lose one, or
that make this machine another one. Tests of a room may import that room's own modules beside it
(`tests/unit/test_rooms.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

from pyjail._core.native import lib

import pyjail
from pyjail import aio
from pyjail._base.endings import end_all as end_beside_keepers
from pyjail._base.loops import current as current_loop
from pyjail._cgroups import janitor, tree
from pyjail._cgroups.tree import remove_tree
from pyjail._egress.link import Link, link
from pyjail._host import machine, owner
from pyjail._host.machine import host
from pyjail._keeper import keeper, store
from pyjail._keeper.files import open_source
from pyjail._keeper.keeper import Keeper
from pyjail._live.process import Process
from pyjail._plan import prepare
from pyjail._plan.prepare import cpus, look_again
from pyjail._plan.wire import Failure
from pyjail._policy import bpf, choice, obstacles, seccomp
from pyjail._run import ahead, run
from pyjail._run.turn import Turn
from pyjail._spec import commands, trees
from pyjail._spec.egress import Egress
from pyjail._spec.inputs import check_inputs
from pyjail.aio._flight import Flight
from tests.simulate import simulate

__all__ = [
    "ASKED_FOR", "Egress", "HOLDERS", "STARTS", "Turn", "aio_gate", "allowed_by", "another_host", "audit_arch", "busy_keepers", "call_number", "check_inputs", "cpus",
    "current_loop", "decision", "egress_link", "end_beside_keepers", "few_entries", "host", "host_says", "idle_keepers", "janitor_watches", "keeper_of", "look_again", "never_look_again",
    "no_keepers", "no_more_processes", "open_source", "outdated_cgroups", "owed_by", "owner_name", "packed", "pool_of", "remove_tree",
    "size_of_kept_plans", "size_of_the_default_filter", "turn_of", "usable_host", "used_hierarchies",
]  # fmt: skip

ASKED_FOR = obstacles.CALLS  # what a filter around a jail is asked to allow
HOLDERS = (Turn, Process, Flight)  # what has a keeper while a program runs

STARTS = {"program": (Turn, "begin"), "keeper": (Keeper, "_ready")}  # what a start may be interrupted in


# ---- keepers, and what has one ----


def _kept(pool: Any) -> store.Idle:
    return run.idle if pool is None else pool._warm.keepers


def idle_keepers(pool: Any = None) -> list[Keeper]:
    """The warm ones of `pyjail.run`, or of a pool, that nobody uses now; the one used last is the last one."""
    return list(_kept(pool).keepers)


def busy_keepers(pool: Any = None) -> list[Keeper]:
    """Those at work, or being ended."""
    return list(_kept(pool).leased)


def turn_of(process: Any) -> Turn:
    """The turn of a program that `start` has started, under an event loop, too."""
    turn: Turn = process._turn
    return turn


def keeper_of(session: pyjail.Session | pyjail.Box) -> Keeper:
    """The one keeper of a session or a box, made by what was called last."""
    kept: Keeper | None = session._life.keeper if isinstance(session, pyjail.Box) else session._keeper
    assert kept is not None
    return kept


def egress_link() -> Link:
    """This process's side of its egress proxy: ``runs`` that it serves, ``asked``, ``pid``."""
    return link


def pool_of(executor: pyjail.JailExecutor) -> Any:
    return executor._pool


def owed_by(executor: pyjail.JailExecutor) -> set[Any]:
    """Results that are not there yet, of what was submitted."""
    owed: set[Any] = executor._pool._threads.owed
    return owed


def aio_gate() -> Any:
    """How many may run at once under event loops, who does and who waits."""
    return aio._source.gate


@contextlib.contextmanager
def no_keepers() -> Iterator[None]:
    """Within, whoever starts one fails."""

    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("a pure test has run a program: it belongs in tests/jail")

    with mock.patch.object(store.Idle, "start", start):
        yield


@contextlib.contextmanager
def no_more_processes() -> Iterator[None]:
    """Within, clone3(2) of a keeper fails as at a limit of the caller's."""

    class NoMore:
        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def pj_spawn(self, *args: Any) -> int:
            args[-1].step, args[-1].index, args[-1].err = lib.STEP_CLONE, lib.PJ_NONE, errno.EAGAIN
            return -1

    with mock.patch.object(keeper, "lib", NoMore()):
        yield


# ---- this machine ----


@contextlib.contextmanager
def another_host(**changes: Any) -> Iterator[None]:
    """Within, this machine is one that differs in these fields of `Host`."""
    other = host()._replace(**changes)
    with mock.patch.object(machine, "host", lambda: other):
        look_again()
        try:
            yield
        finally:
            pyjail.close()
    look_again()


def host_says(end: str, text: str) -> None:
    """From now on the host's file of a path that ends so says this to our process."""
    read = machine.read
    machine.read = lambda path: text if path.endswith(end) else read(path)


@contextlib.contextmanager
def outdated_cgroups(step: str) -> Iterator[list[None]]:
    """Within, somebody has taken cgroups away, until it is looked at the machine again: a new keeper has none
    ("cgroup"), or a jail that it makes ahead ("cgroup_enter"). One more in the list for each look."""
    looks: list[None] = []
    real, home, arm = prepare.look_again, tree.KeeperCgroup.make_home, ahead.arm

    def look() -> None:
        looks.append(None)
        real()

    def make_home(cgroup: tree.KeeperCgroup, *args: Any) -> None:
        if step == "cgroup" and not looks:
            raise pyjail.HostError("cgroup", "/sys/fs/cgroup: Read-only file system", "make it writable")
        home(cgroup, *args)

    def armed(*args: Any) -> Failure | None:
        return Failure(step, None, errno.ENODEV) if step == "cgroup_enter" and not looks else arm(*args)

    with (
        mock.patch.object(prepare, "look_again", look),
        mock.patch.object(tree.KeeperCgroup, "make_home", make_home),
        mock.patch.object(ahead, "arm", armed),
    ):
        yield looks


def never_look_again() -> None:
    """From now on this process knows of the machine what it knows now."""
    host()
    prepare.look_again = lambda: None


def usable_host() -> machine.Host:
    """This machine with the cgroups that this process may use: it makes some to find out."""
    return prepare.usable_host(os.getpid())


def used_hierarchies() -> set[str]:
    """Where a default jail has its leaves: directories of this process's own cgroups."""
    made = prepare.compiled(pyjail.Jail(), pyjail.Limits(), (), os.getpid())
    return {h.own for h in made.template.cgroups.used}


def owner_name(pid: int) -> str:
    """What the cgroup directories of this process are called."""
    return owner.owner_name(pid)


def janitor_watches(path: str) -> None:
    """Tell the janitor of a directory, as if it were ours."""
    assert janitor._current is not None
    janitor._current.say(path)


# ---- what a command comes to ----


def packed(args: list[str], **options: Any) -> bytes:
    """The bytes that a keeper gets."""
    return prepare.prepare(commands.make(args, **options)).blob


def size_of_kept_plans() -> int:
    return sum(len(plan.blob) for *_, plan in prepare._plans.values())


@contextlib.contextmanager
def few_entries(most: int) -> Iterator[None]:
    """Within, a directory of ``files`` may have no more than so many."""
    with mock.patch.object(trees, "MOST_ENTRIES", most):
        yield


def size_of_the_default_filter() -> int:
    """Instructions."""
    return len(choice.filter_of("default", host().arch, inet=False, disk=False).program) // 8


def decision(policy: Any, name: str, *args: int) -> str:
    """What the filter of a policy does with a call: "allow", "errno EPERM", "kill" ..."""
    program = seccomp.compile_policy(policy, host().arch, False).program
    return seccomp.describe(simulate(program, audit_arch(), call_number(name), args)[0])


def audit_arch() -> int:
    """This machine's number, as filters see it."""
    return bpf.AUDIT_ARCH[host().arch]


def call_number(name: str) -> int:
    return seccomp.number(host().arch, name)


def allowed_by(policy: Any) -> int:
    """How many calls of the default profile a policy lets through with arguments of 0."""
    names = {r.name for r in seccomp.rules("default")[0] if call_number(r.name) >= 0}
    return sum(decision(policy, name) == "allow" for name in names)
