"""Terminals: what a program has of its caller's, and what it can do with one."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

import pytest

import pyjail
from pyjail import Limits, SpecError, Terminal
from tests import place
from tests.conftest import SLOW

THIEF = """
import os, termios
for fd in (0, 1, 2):
    try:
        a = termios.tcgetattr(fd); a[3] &= ~(termios.ECHO | termios.ISIG | termios.ICANON); termios.tcsetattr(fd, 0, a)
    except termios.error: os.write(1, b"none;")
os.write(1, b"[ready]")
for fd in (1, 2):
    try: os.write(1, b"[stolen: %r]" % os.read(fd, 100))
    except OSError: os.write(1, b"[unreadable]")
"""


@contextlib.contextmanager
def terminal():
    """(ours, the program's end) of a new one."""
    ours, theirs = os.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def local_modes(fd):
    return termios.tcgetattr(fd)[3] & (termios.ECHO | termios.ISIG | termios.ICANON)


def typed(args, keys, wait_for):
    """Run a command at a terminal of its own and type: (what it showed, whether the settings stayed, its status)."""
    pid, master = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, *args])
    before, shown, end = local_modes(master), b"", time.monotonic() + 60 * SLOW
    try:
        while time.monotonic() < end and select.select([master], [], [], 30 * SLOW)[0]:
            try:
                data = os.read(master, 4096)
            except OSError:  # EIO: the other side is closed
                break
            shown += data
            if keys and wait_for in shown:
                os.write(master, keys)
                keys = b""
        _, status = os.waitpid(pid, 0)
        return shown, local_modes(master) == before, os.waitstatus_to_exitcode(status)
    finally:
        os.close(master)


COMMAND = ["-m", "pyjail", "run", *([] if place.CGROUPS else ["--no-strict"])]


@pytest.mark.parametrize("more", [[], ["--output", "1M"], ["--timings"], ["--learn"], ["--json"]], ids=" ".join)
def test_a_program_run_at_a_terminal_can_neither_read_nor_set_it(more):
    shown, unchanged, code = typed([*COMMAND, *more, "--", "/usr/bin/python3", "-c", THIEF], b"", b"")
    assert code == 0, shown
    if more == ["--json"]:
        shown = json.loads(shown)["stdout"]["bytes"].encode()
    assert shown.count(b"none;") == 3 and b"[unreadable]" in shown, shown
    assert b"stolen" not in shown
    assert unchanged


def test_what_is_typed_while_it_runs_stays_the_caller_s_and_ctrl_c_ends_it():
    shown, unchanged, code = typed([*COMMAND, "--", "sh", "-c", "echo [ready]; sleep 60"], b"secret\x03", b"[ready]")
    assert code == 130 and unchanged
    assert b"Traceback" not in shown


def test_both_streams_at_one_terminal_come_in_order():
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo out$i; echo err$i >&2; done"
    shown, _, code = typed([*COMMAND, "--", "sh", "-c", script], b"", b"")
    assert code == 0
    assert shown.split() == [f"{name}{i}".encode() for i in range(1, 10) for name in ("out", "err")]


def doors():
    yield "run", lambda **kw: pyjail.run(["true"], **kw)
    yield "start", lambda **kw: pyjail.start(["true"], **kw)
    yield "aio.run", lambda **kw: asyncio.run(pyjail.aio.run(["true"], **kw))
    yield "aio.start", lambda **kw: asyncio.run(pyjail.aio.start(["true"], **kw))
    yield "learn", lambda **kw: pyjail.learn(["true"], **kw)

    def session(call):
        def ask(**kw):
            with pyjail.Session() as s:
                return getattr(s, call)(["true"], **kw)

        return ask

    yield "Session.run", session("run")
    yield "Session.start", session("start")

    def pool(**kw):
        with pyjail.Pool(1) as p:
            return p.run(["true"], **kw)

    yield "Pool.run", pool


DOORS = dict(doors())


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_WRONLY, os.O_RDONLY], ids=["rw", "w", "r"])
@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_terminal_is_refused_whichever_way_it_was_opened(stream, flags):
    with terminal() as (_, theirs):
        fd = os.open(os.ttyname(theirs), flags | os.O_NOCTTY)
        try:
            with pytest.raises(SpecError, match="Terminal") as caught:
                pyjail.run(["true"], **{stream: fd})
            assert caught.value.field == stream
        finally:
            os.close(fd)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_it(door):
    with terminal() as (_, theirs), pytest.raises(SpecError, match="Terminal"):
        DOORS[door](stderr=theirs)


def test_who_asks_hands_it_over_and_has_its_settings_back():
    with terminal() as (ours, theirs):
        before, flags = termios.tcgetattr(theirs), os.get_blocking(theirs)
        with Terminal(theirs) as handed:
            r = pyjail.run(
                ["python3", "-c", THIEF.rpartition("for fd")[0] + "os.set_blocking(1, False)"],
                stdin=handed, stdout=handed, stderr=handed,
            )  # fmt: skip
            assert r.ok
            assert termios.tcgetattr(theirs) != before
        assert termios.tcgetattr(theirs) == before
        assert os.get_blocking(theirs) == flags
        assert b"[ready]" in os.read(ours, 1000)


def test_what_a_terminal_has_besides_its_settings_is_put_back_too():
    """Output that is stopped would hold up its owner for good, and one in exclusive mode opens for nobody but root."""
    spoil = """
import fcntl, struct, termios
fcntl.ioctl(0, termios.TIOCEXCL)
fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 1, 2, 3, 4))
termios.tcflow(0, termios.TCOOFF)
print("spoilt")
"""
    with terminal() as (ours, theirs):
        size = struct.pack("4H", 25, 81, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        with Terminal(theirs) as given:
            assert pyjail.run(["/usr/bin/python3", "-c", spoil], stdin=given).stdout == b"spoilt\n"
        assert fcntl.ioctl(theirs, termios.TIOCGWINSZ, bytes(8)) == size
        assert fcntl.ioctl(theirs, 0x80045440, bytes(4)) == bytes(4)  # TIOCGEXCL
        os.set_blocking(theirs, False)
        os.write(theirs, b"goes out")
        assert select.select([ours], [], [], 10 * SLOW)[0]
        assert os.read(ours, 100) == b"goes out"


def test_settings_are_put_back_after_an_exception_too_and_the_fd_stays_open():
    with terminal() as (_, theirs):
        before = termios.tcgetattr(theirs)
        with pytest.raises(pyjail.ProgramNotFoundError), Terminal(theirs) as handed:
            pyjail.run(["stty", "-echo"], stdin=handed)
            pyjail.run(["no-such-program"], stdin=handed)
        assert termios.tcgetattr(theirs) == before


@pytest.mark.parametrize("what", [-1, 10**9, "x", None, True])
def test_what_is_no_terminal_is_said_to_be_none(what):
    with pytest.raises(SpecError, match="a terminal is needed"):
        Terminal(what)
    with open("/dev/null") as null, pytest.raises(SpecError):
        Terminal(null)


def test_a_device_that_is_no_terminal_and_a_program_s_own_terminal_are_no_matter():
    with open("/dev/null", "r+b") as null:
        assert pyjail.run(["cat"], stdin=null, stdout=null).ok
    with pyjail.start(["sh", "-c", "test -t 0 && test -t 1 && echo all of it"], Limits(cpu_time=5), pty=True) as p:
        assert p.terminal.read(100) == b"all of it\r\n"
