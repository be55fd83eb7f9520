"""The keeper's protocol as a state machine: any order of requests, good and bad, gets an answer that fits."""

from __future__ import annotations

import contextlib
import os
import struct

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pyjail._core.native import lib

import pyjail
from pyjail import Jail
from pyjail._base.fds import memfd
from pyjail._keeper import files
from pyjail._keeper.keeper import Keeper
from pyjail._plan import compile, prepare, report, requests, wire
from pyjail._spec.jail import Env
from tests.conftest import SLOW
from tests.examples import settings, st
from tests.host_side import alive, keepers_of

NAMES = st.sampled_from([b"a", b"b", b"d/a", b"d/b", b"..", b"../x", b"/etc/passwd", b"d/../a", b"", b"x" * 300])
INSIDE = {b"a", b"b", b"d/a", b"d/b"}


class Protocol(RuleBasedStateMachine):
    @initialize()
    def start(self):
        host = prepare.usable_host(os.getpid())
        template = compile.template(Jail(), host, False)
        self.keeper = Keeper(template, host)
        self.keeper.sock.settimeout(30 * SLOW)
        from pyjail._cgroups.tree import subtree

        files = subtree(template.cgroups).files if template.cgroups.used else ()
        self.limits = compile.run_limits(
            Jail(strict=False), pyjail.Limits(wall_time=20 * SLOW), host, template.cgroups, files
        )
        self.armed = self.held = self.rearm = False
        self.files: dict[bytes, bytes] = {}
        self.made: set[bytes] = set()  # directories

    def request(self, argv: tuple[bytes, ...], rearm: bool, hold: bool) -> bytes:
        command = compile.Request(
            argv, Env({"PATH": "/usr/bin:/bin"}), "/box", ("null", "captured", "captured"), 1000, rearm, hold
        )
        return requests.pack_limits(self.limits) + requests.pack_request(self.limits, command)

    def ask(self, op: int, blob: bytes, length: int | None = None) -> bytes:
        os.pwrite(self.keeper.request.number, blob, 0)
        self.keeper.send(op, length=len(blob) if length is None else length)
        return self.keeper.sock.recv(1 << 17)

    @rule(rearm=st.booleans())
    def arm(self, rearm):
        _, failure = wire.parse_reply(self.ask(lib.OP_ARM, self.request((b"/bin/true",), rearm, False)))
        assert (failure is not None) == self.held
        if not self.held:
            self.armed, self.rearm = True, rearm

    @rule(rearm=st.booleans(), hold=st.booleans(), code=st.integers(0, 255))
    def run(self, rearm, hold, code):
        raw = self.ask(lib.OP_RUN, self.request((b"/bin/sh", b"-c", b"ls; exit %d" % code), rearm, hold))
        kind, failure = wire.parse_reply(raw)
        if self.held:
            assert failure is not None
            return
        assert kind == lib.REPLY_REPORT
        assert failure is None
        facts = report.parse_report(raw)
        assert facts.status == code << 8
        out = self.keeper.output(0, facts.out_kept[0]).split()
        assert set(out) == {name.split(b"/")[0] for name in self.files} | self.made
        self.held, self.armed, self.rearm = hold, hold or rearm, rearm
        if not hold:
            self.files, self.made = {}, set()

    @rule()
    def release(self):
        self.keeper.send(lib.OP_RELEASE)
        self.held, self.armed = False, self.armed and self.rearm
        self.files, self.made = {}, set()

    @rule()
    def kill_nothing(self):
        if not self.armed:
            self.keeper.send(lib.OP_KILL)  # it may come just after the end of a run

    @rule(name=NAMES, data=st.binary(max_size=5000))
    def put(self, name, data):
        fd = memfd("content", data)
        try:
            if name.startswith(b"d/"):
                with contextlib.suppress(FileExistsError):
                    files.ask(self.keeper, lib.OP_MKDIR, b"d", mode=0o755)
                self.made = {b"d"}
            files.ask(self.keeper, lib.OP_PUT, name, mode=0o644, fd=fd.number)
        except OSError:
            assert not self.armed or name not in INSIDE or name in self.files or self.held
            return
        finally:
            fd.close()
        assert self.armed
        name = os.path.normpath(name)
        assert name in INSIDE
        self.files[name] = data

    @rule(name=NAMES)
    def read(self, name):
        try:
            fd = files.ask(self.keeper, lib.OP_OPEN, name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            assert name not in self.files
            return
        name = os.path.normpath(name)
        with fd, open(fd.number, "rb", closefd=False) as f:
            assert f.read() == self.files[name]

    @rule(
        op=st.integers(0, 2**32 - 1).filter(lambda op: op not in (lib.OP_ARM, lib.OP_RUN, lib.OP_KILL, lib.OP_RELEASE)),
        rest=st.binary(max_size=40),
    )
    def nonsense(self, op, rest):
        self.keeper.sock.send(struct.pack("<5I", op, 0, 0, 0, len(rest)) + rest)
        _, failure = wire.parse_reply(self.keeper.sock.recv(1 << 17))
        assert failure is not None

    @rule(op=st.sampled_from([lib.OP_ARM, lib.OP_RUN]), blob=st.binary(max_size=300), length=st.integers(0, 2**32 - 1))
    def bad_request(self, op, blob, length):
        _, failure = wire.parse_reply(self.ask(op, blob + b"\0" * 600, length))
        assert failure is not None

    @invariant()
    def lives(self):
        if hasattr(self, "keeper"):
            assert self.keeper.alive

    def teardown(self):
        if hasattr(self, "keeper"):
            below = [self.keeper.pid, *keepers_of(self.keeper.pid)]
            self.keeper.close()
            assert not any(map(alive, below))


Protocol.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_any_order_of_requests_gets_a_fitting_answer = Protocol.TestCase
