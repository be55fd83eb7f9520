"""What no Python of ours would send: a live keeper refuses it, hands out nothing, and stays in the workspace."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

import pytest
from pyjail._core.native import ffi, lib

import pyjail
from pyjail import Jail, SetupError
from pyjail._base.fds import memfd
from pyjail._cgroups import tree
from pyjail._core import program
from pyjail._host import machine
from pyjail._keeper import files as workspace
from pyjail._plan import compile, report, requests, wire
from pyjail._policy.cgroup import CgroupRow
from pyjail._spec.jail import Env


@pytest.fixture
def keeper():
    """A live keeper, spoken to directly."""
    jail = Jail()
    host = machine.host()
    from pyjail._keeper.keeper import Keeper

    k = Keeper(compile.template(jail, host, False), host)
    yield k
    k.close()


def ask(keeper, message: bytes, request: bytes = b""):
    os.pwrite(keeper.request.number, request or b"\0" * 16, 0)
    keeper.sock.settimeout(10)
    keeper.sock.send(message)
    return wire.parse_reply(keeper.sock.recv(1 << 17))


def test_malformed_requests_are_answered_with_an_error(keeper):
    bad = [
        (struct.pack("<5I", op, 0, 0, 0, length), data)
        for op in (lib.OP_ARM, lib.OP_RUN)
        for length in (0, 1, 15, 4096, lib.PJ_MAX_BLOB, lib.PJ_MAX_BLOB + 1, 2**32 - 1)
        for data in (b"", b"\xff" * 64)
    ]
    bad += [(struct.pack("<5I", op, 0, 0, 0, 0), b"") for op in (lib.OP_GO, 99, 2**32 - 1)]
    bad += [
        (struct.pack("<5I", lib.OP_OPEN, 0, 0, 0, 5) + b"abcd\0", b""),
        (struct.pack("<5I", lib.OP_OPEN, 0, 0, 0, 99) + b"a\0", b""),
    ]
    bad += [
        (struct.pack("<5I", lib.OP_MKDIR, 0, 0, 0, 0), b""),
        (struct.pack("<5I", lib.OP_OPEN, 0, 0xFFFFFFFF, 0, 2) + b"a\0", b""),
        (struct.pack("<5I", lib.OP_PUT, 0, 0, 0, 2) + b"a\0", b""),
    ]
    for message, data in bad:
        _, failure = ask(keeper, message, data)
        assert failure is not None, message
        assert failure.step in ("request", "open")
    assert keeper.alive


def test_files_that_were_written_are_never_silently_dropped_with_their_init(keeper):
    def request(limits):
        run = compile.run_limits(Jail(strict=False), limits, host, template.cgroups, files)
        command = compile.Request((b"/bin/ls",), Env({}), "/box", ("null", "captured", "captured"), 1000, True, False)
        return requests.pack_limits(run) + requests.pack_request(run, command)

    template, host = keeper.template, machine.host()
    files = tree.subtree(template.cgroups).files if template.cgroups.used else ()
    one, other = request(pyjail.Limits(open_files=50)), request(pyjail.Limits(open_files=51))
    _, failure = ask(keeper, struct.pack("<5I", lib.OP_ARM, 0, 0, 0, len(one)), one)
    assert failure is None
    with memfd("x", b"content") as content:
        workspace.ask(keeper, lib.OP_PUT, b"a", mode=0o644, fd=content.number)
    _, failure = ask(keeper, struct.pack("<5I", lib.OP_RUN, 0, 0, 0, len(other)), other)
    assert (failure.step, failure.errno) == ("arm", errno.ESRCH)
    kind, failure = ask(keeper, struct.pack("<5I", lib.OP_RUN, 0, 0, 0, len(other)), other)
    assert (kind, failure) == (lib.REPLY_REPORT, None)


def changed_plan(monkeypatch, change):
    """The plans of this test are changed behind Python's back, as a fault of ours would."""

    def changed(template, ids):
        blob = bytearray(wire.pack_template(template))
        change(ffi.cast("struct pj_plan *", ffi.from_buffer(blob)), blob)
        return bytes(blob)

    pyjail.close()  # a spare keeper was made before
    monkeypatch.setattr("pyjail._keeper.keeper.pack_template", changed)


def without(bit):
    def change(plan, blob):
        plan.unshare_first &= ~bit
        plan.unshare_second &= ~bit

    return change


def empty_landlock_path(plan, blob):
    rule = ffi.cast("struct pj_landlock_rule *", ffi.cast("char *", plan) + plan.landlock.off)
    rule.path = len(blob) - 1  # the last NUL


@pytest.mark.parametrize(
    "change",
    [without(compile.NEWUSER), without(compile.NEWNS), without(compile.NEWPID), empty_landlock_path],
    ids=["no user namespace", "no mount namespace", "no pid namespace", "a Landlock path of nothing"],
)
def test_a_plan_that_would_reach_outside_is_refused(monkeypatch, change):
    changed_plan(monkeypatch, change)
    with pytest.raises(SetupError) as e:
        pyjail.run(["true"], jail=Jail(fresh=True))
    assert (e.value.step, e.value.errno) == ("plan", errno.EINVAL)


def test_a_directory_that_took_the_place_of_a_given_fd_never_gets_inside(monkeypatch, tmp_path):
    """Its number was checked when the request was made."""
    from pyjail._plan import prepare as plan_prepare

    prepare = plan_prepare.prepare
    number = os.open("/dev/null", os.O_RDONLY)

    def swapped(request):
        directory = os.open(tmp_path, os.O_RDONLY)
        os.dup2(directory, number)
        os.close(directory)
        return prepare(request)

    monkeypatch.setattr(plan_prepare, "prepare", swapped)
    try:
        with pytest.raises(SetupError) as e:
            pyjail.run(["ls", "/proc/self/fd/0"], stdin=number)
        assert (e.value.step, e.value.errno) == ("fd", errno.EISDIR)
    finally:
        os.close(number)
    monkeypatch.undo()
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


@pytest.mark.skipif(not Path("/sys/fs/cgroup/memory/memory.stat").exists(), reason="proved in another place: v1 only")
@pytest.mark.needs_cgroups
def test_a_leaf_with_a_long_text_that_counts_up_is_used_again(keeper):
    """As io.stat is with many disks; here memory.stat."""
    template, host = keeper.template, machine.host()
    run = compile.run_limits(Jail(), pyjail.Limits(), host, template.cgroups, tuple(_files_of(keeper)))
    h = template.cgroups.where["memory"]
    run = run._replace(cgroup=(*run.cgroup, CgroupRow(h, "memory.stat", "read", "", counts_up=True)))
    command = compile.Request((b"/bin/true",), Env({}), "/box", ("null", "captured", "captured"), 5, True, False)
    blob = requests.pack_limits(run) + requests.pack_request(run, command)
    for _ in range(2):
        os.pwrite(keeper.request.number, blob, 0)
        keeper.submit(lib.OP_RUN, blob)
        keeper.sock.settimeout(10)
        facts = report.parse_report(keeper.sock.recv(1 << 17))
    text = facts.before[len(run.cgroup) - 1]
    assert 512 < len(text) < 2048
    assert text.startswith("cache ")


def test_a_short_message_is_a_hang_up(keeper):
    keeper.sock.send(b"x")
    keeper.sock.settimeout(10)
    assert keeper.sock.recv(100) == b""


def test_paths_of_file_requests_stay_in_the_workspace(keeper):
    host = machine.host()
    files = tuple(_files_of(keeper))
    run = compile.run_limits(Jail(), pyjail.Limits(), host, keeper.template.cgroups, files)
    blob = requests.pack_limits(run) + requests.pack_request(
        run, compile.Request((b"/bin/true",), Env({}), "/box", ("null", "captured", "captured"), 5, False, False)
    )
    assert ask(keeper, program.pack_head(lib.OP_ARM, 0, 0, 0, len(blob)), blob)[1] is None
    for path in (b"..", b"../etc/passwd", b"/etc/passwd", b"/", b"a/../../x", b"\xff" * 4090):
        with pytest.raises(OSError) as e:
            workspace.ask(keeper, lib.OP_OPEN, path, os.O_RDONLY)
        assert e.value.errno in (2, 18, 20, 22, 36, 40), path
        with pytest.raises(OSError):
            workspace.ask(keeper, lib.OP_MKDIR, path, mode=0o755)
        with open(__file__, "rb") as source, pytest.raises(OSError):
            workspace.ask(keeper, lib.OP_PUT, path, mode=0o644, fd=source.fileno())
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND):
        with pytest.raises(OSError):  # an fd open for writing outside would make execve fail with ETXTBSY
            workspace.ask(keeper, lib.OP_OPEN, b"f", flags)
    with open(__file__, "rb") as source:
        workspace.ask(keeper, lib.OP_PUT, b"f", mode=0o640, fd=source.fileno())
        fd = workspace.ask(keeper, lib.OP_OPEN, b"f", os.O_RDONLY)
        with fd, open(fd.number, "rb", closefd=False) as copy:
            st = os.fstat(fd.number)
            assert (st.st_uid, st.st_mode & 0o7777) == (keeper.ids.outside_uid, 0o640)
            assert copy.read() == source.read()


def _files_of(keeper):
    from pyjail._cgroups.tree import subtree

    return subtree(keeper.template.cgroups).files


def test_the_keeper_ends_with_its_socket(keeper):
    pid = keeper.pid
    keeper.sock.shutdown(socket.SHUT_RDWR)
    assert os.waitpid(pid, 0)[1] == 0
    keeper.pid = -1
