"""Where the tests run: "hybrid root", "hybrid user", "v2 root" or "v2 user". The same tests everywhere, the same verdicts.

A user of a hybrid machine has no cgroups: there the tests run with ``strict=False``, as such a user would, and those
of limits that only a cgroup can enforce are skipped by name.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

import pyjail
from pyjail import Jail
from pyjail._host import machine

EXPECTED = os.environ.get("PYJAIL_TEST_PLACE")  # what the caller says that this is; tests/vm/test_bring_up.py checks it
WITHOUT_CGROUPS = "this user has no cgroup here (hybrid machine, not root)"

ELSEWHERE = "proved in another place"
WITHOUT_ROOT = "root is missing: with a single mapping the program has the caller's own id"
WITHOUT_HELPER = "newuidmap is missing, or this user has no subordinate ids"
WITHOUT_TOOL = "is missing: install it to test its programs"


def is_v2() -> bool:
    """The memory controller is v2's."""
    try:
        with open("/sys/fs/cgroup/cgroup.controllers") as f:
            return "memory" in f.read().split()
    except OSError:
        return False


def name() -> str:
    return f"{'v2' if is_v2() else 'hybrid'} {'root' if os.geteuid() == 0 else 'user'}"


@functools.cache
def _has_cgroups() -> bool:
    if name() != "hybrid user":
        return True
    try:
        pyjail.run(["true"], jail=pyjail.Jail(strict=True))
    except pyjail.HostError as e:
        if e.control != "memory":
            raise
        return False
    return True


CGROUPS: bool
JAIL = Jail.__init__


def __getattr__(word: str) -> bool:
    """``CGROUPS``, once somebody asks: a user of a hybrid machine must run a program to know, and unit tests run none."""
    if word != "CGROUPS":
        raise AttributeError(word)
    return _has_cgroups()


def single_mapping() -> bool:
    """Programs have the caller's own id outside."""
    return os.geteuid() != 0 and machine.host().subuids is None


@functools.cache
def adapt() -> None:
    """For what runs programs: without cgroups, jails are made with strict=False; only a call that says strict=True
    still means it."""
    if os.environ.get("PYJAIL_ENTER_LEAF"):  # a delegated cgroup: what tests start is in our leaf, too
        pyjail.cgroup.enter_leaf()
    if _has_cgroups():
        return
    from pyjail._plan import prepare
    from pyjail._spec import commands

    made, strict = JAIL, Jail.__match_args__.index("strict")

    def not_strict(self, *args, **given):
        made(self, *args, **given if len(args) > strict else {"strict": False, **given})

    Jail.__init__ = not_strict

    commands._DEFAULT_JAIL = Jail()
    commands._made.clear()
    prepare.look_again()  # a script may change what it is before its first run


@contextlib.contextmanager
def as_it_is() -> Iterator[None]:
    """Within, what `adapt` has done to jails is undone."""
    adapted, Jail.__init__ = Jail.__init__, JAIL
    try:
        yield
    finally:
        Jail.__init__ = adapted


def expects(skip: str) -> bool:
    """Whether this skip is what the place is about."""
    return (
        (WITHOUT_CGROUPS in skip and EXPECTED == "hybrid user")
        or (WITHOUT_ROOT in skip and EXPECTED in ("hybrid user", "v2 user"))
        or (WITHOUT_HELPER in skip and EXPECTED == "v2 user")
        or (WITHOUT_TOOL in skip and EXPECTED == "hybrid user")  # a compiler in somebody's home directory
        or ELSEWHERE in skip
    )
