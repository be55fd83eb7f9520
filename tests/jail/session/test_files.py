"""Hands in a session's /box from outside, while nothing runs and while something does."""

from __future__ import annotations

import errno
import os
import sys
import textwrap
import threading

import pytest

import pyjail
from pyjail import File, Limits, Session, SpecError, Verdict
from tests.conftest import SLOW
from tests.jail.session.programs import LIMITS, PYTHON


def test_files_from_outside(s):
    s.write("a/b/c.txt", "text")
    s.write("a/x", File(b"#!/bin/sh\necho $1", 0o755))
    s.write("a/b/c.txt", b"other")
    assert s.read("a/b/c.txt") == b"other"
    assert s.run(["./a/x", "hi"]).stdout == b"hi\n"
    assert s.list() == ["a", "a/b", "a/b/c.txt", "a/x"]
    assert s.list("a/*") == ["a/b", "a/x"]
    s.remove("a/b/c.txt")
    with pytest.raises(OSError, match="not empty"):
        s.remove("a")
    s.remove("a", recursive=True)
    assert s.list() == []
    with pytest.raises(FileNotFoundError):
        s.read("a/b/c.txt")
    assert s.run(["sh", "-c", "ls -ln; id -u; touch mine"], text=True).stdout == "total 0\n1000\n"
    for bad in ("", "/etc/passwd", "../x", "a/../../x"):
        with pytest.raises(SpecError):
            s.read(bad)
        with pytest.raises(SpecError):
            s.write(bad, "x")


def test_no_symlink_leads_out(s):
    s.run(["sh", "-c", "ln -s /etc/passwd p; ln -s /etc d; ln -s p q; mkfifo f"])
    for path in ("p", "q", "d/passwd", "f"):
        with pytest.raises(OSError):
            s.read(path)
    s.write("p", "mine")  # the link itself is replaced
    assert s.read("p") == b"mine"
    with pytest.raises(OSError):
        s.write("d/x", "x")


def test_a_live_program_gets_files_and_what_it_made_is_collected(s):
    with s.start(["sh", "-c", "cat a; cat > b"], files={"a": "given"}, collect=["b"]) as p:
        assert p.communicate(b"made") == (b"given", b"")
    assert p.result.files == {"b": b"made"}
    with pytest.raises(SpecError):
        s.start(["true"], files={"../a": "b"})
    assert s.run(["cat", "a"]).stdout == b"given"


def test_files_while_something_runs(s):
    with s.start(
        ["sh", "-c", "cat; while [ ! -e go ]; do sleep 0.05; done; cat go; rm go; echo z > made"], text=True
    ) as p:
        p.stdin.write("first\n")
        p.stdin.flush()
        assert p.stdout.readline() == "first\n"
        p.stdin.close()
        s.write("other", "x" * 100_000)
        assert s.read("other") == b"x" * 100_000
        s.remove("other")
        with pytest.raises(SpecError, match="runs already"):
            s.run(["true"])
        with pytest.raises(SpecError, match="runs already"):
            s.snapshot()
        s.write("go", "went\n")
        assert p.stdout.readline() == "went\n"
        assert p.wait() == 0
    assert s.list() == ["made"]


def test_files_of_a_program_that_fights_back(s):
    code = """
import os, time
end = time.monotonic() + 3
while time.monotonic() < end:
    for make in (lambda: os.symlink("/etc/passwd", "f"), lambda: os.mkdir("f"), lambda: open("f", "w").close()):
        try: make()
        except OSError: pass
        try: os.unlink("f")
        except OSError:
            try: os.rmdir("f")
            except OSError: pass
"""
    with s.start([sys.executable, "-c", code]) as p:
        for _ in range(200):
            try:
                s.write("f", "mine")
                assert b"root" not in s.read("f")
            except OSError:
                pass
        p.kill()


def test_many_threads_ask_while_one_runs(s):
    errors = []

    def ask(i: int) -> None:
        try:
            for k in range(20):
                s.write(f"{i}/{k}", f"{i} {k}")
                assert s.read(f"{i}/{k}") == f"{i} {k}".encode()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    with s.start(["sh", "-c", "sleep 0.3; echo end"]) as p:
        for t in threads:
            t.start()
        assert p.communicate()[0] == b"end\n"
    for t in threads:
        t.join()
    assert errors == []
    assert len(s.list("*/*")) == 120


def test_to_remove_what_a_program_makes_again_and_again_ends_before_the_program_does():
    make = """
    import os
    while True:
        try:
            for i in range(100): os.makedirs(f"d/{i}/x", exist_ok=True); open(f"d/{i}/x/f", "w").close()
        except OSError: pass
    """
    with Session(limits=LIMITS, inodes=500) as s:
        s.run(["mkdir", "d"])
        with s.start([*PYTHON, textwrap.dedent(make)]) as p:
            for _ in range(5):
                try:
                    s.remove("d", recursive=True)
                except FileNotFoundError:
                    pass
                except OSError as e:
                    assert e.errno == errno.ENOTEMPTY
            assert p.poll() is None
            p.kill()


def test_a_box_that_is_full_is_told_and_keeps_no_half_of_a_file(s):
    s.write("kept", b"k")
    s.write("big", b"small")
    for write in (lambda: s.write("big", b"x" * (9 << 20)), lambda: s.run(["true"], files={"big": b"x" * (9 << 20)})):
        with pytest.raises(OSError, match=r"No space left in the session's /box: raise Session\(disk=\)") as e:
            write()
        assert (e.value.errno, e.value.filename, s.list()) == (errno.ENOSPC, "big", ["kept"])
    with pytest.raises(OSError, match=r"Session\(inodes=\)"):
        for n in range(600):
            s.write(str(n), b"")
    assert s.run(["cat", "kept"]).stdout == b"k"


def test_limits_hold_while_a_long_file_is_written():
    with Session(limits=LIMITS, disk="300M") as s, s.start(["sleep", "100"], Limits(wall_time=0.3, memory="512M")) as p:
        s.write("a", b"x" * 200_000_000)
        p.wait()
    assert p.result.verdict is Verdict.WALL_TIME
    assert p.result.usage.wall_time < 20 * SLOW


def test_what_the_program_may_not_open_no_more_may_the_session(s):
    s.write("secret", "x")
    s.write("kept", "old", mode=0o400)
    s.write("closed/inside", "x")
    s.run(["sh", "-c", "mkdir sealed; echo x > sealed/f; ln -s f closed/link; chmod 0 secret closed; chmod 555 sealed"])
    assert s.run(["sh", "-c", "cat secret || echo y > kept || rm -r sealed || ls closed"]).exit_code != 0
    for refused in (
        lambda: s.read("secret"),
        lambda: s.read("closed/inside"),
        lambda: s.write("kept", "new"),
        lambda: s.write("sealed/new", "x"),
        lambda: s.write("closed/new", "x"),
        lambda: s.remove("sealed/f"),
        lambda: s.remove("sealed", recursive=True),
        lambda: s.remove("closed", recursive=True),
    ):
        with pytest.raises(PermissionError):
            refused()
    assert s.read("kept") == b"old"
    assert s.list() == ["closed", "kept", "sealed", "sealed/f", "secret"]
    snap = s.snapshot()  # a copy is of all there is
    s.clear()
    s.restore(snap)
    assert s.snapshot().files == snap.files
    assert s.snapshot().directories == snap.directories
    assert snap.files["secret"] == (0, b"x")
    unseen = {} if os.geteuid() == 0 else {"closed/link": "cannot be read: Permission denied"}
    assert snap.skipped == unseen
    s.run(["sh", "-c", "chmod 700 closed sealed; chmod 600 secret kept"])
    s.write("kept", "new")
    s.remove("sealed", recursive=True)
    s.remove("closed", recursive=True)
    assert (s.read("kept"), s.read("secret")) == (b"new", b"x")


def test_what_the_program_has_closed_is_not_collected():
    r = pyjail.run(["sh", "-c", "echo x > a; echo x > b; chmod 0 b"], collect=["a", "b"])
    assert r.files == {"a": b"x\n"}
    assert r.uncollected == {"b": "cannot be opened: Permission denied"}
