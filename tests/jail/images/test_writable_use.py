"""A root that can be written to, through every door: what is in it, for how long, and what is told of it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import pyjail
from pyjail import HostError, Jail, Limits, Mount, Session, SpecError, Verdict, aio, images
from tests import images_made as made
from tests import images_writable as writable
from tests import place
from tests.conftest import SLOW
from tests.host_side import fds, keepers_of, left_over, mounts
from tests.images_made import walked
from tests.images_store import unfinished, whole
from tests.images_writable import done, jail, sh
from tests.inside import idle_keepers
from tests.scripts import until

LOOSE = Limits(memory=None, processes=None, cpu_time=None, cpus=None)  # what a user without cgroups is given
READ = "cat /etc/a; cat /new 2>/dev/null"
WRITE = f"{READ}; echo x >/new; echo more >>/etc/a; rm -r /gone"


@pytest.fixture
def base(home):
    image = writable.load(home / "base")
    before = state(image.root)
    yield image
    pyjail.close()
    assert state(image.root) == before and images.verify("base") == []


def state(root: str) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in walked(Path(root)):
        s = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(s.st_mode) else b""
        found[str(path)] = (s.st_ino, s.st_mode, s.st_uid, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns, content)
    return found


def runs(count: int = 2):
    """Each way to run a program in a jail of its own."""
    yield lambda: [pyjail.run(sh(WRITE), jail=jail()) for _ in range(count)]
    with pyjail.Pool(2, jail()) as pool:
        yield lambda: pool.map([sh(WRITE)] * count)

    async def at_once():
        return await asyncio.gather(*(aio.run(sh(WRITE), jail=jail()) for _ in range(count)))

    async def pooled():
        async with aio.Pool(2, jail()) as pool:
            return await pool.map([sh(WRITE)] * count)

    yield lambda: asyncio.run(at_once())
    yield lambda: asyncio.run(pooled())
    with pyjail.JailExecutor(2, jail()) as executor:
        yield lambda: [executor.submit(sh(WRITE)).result() for _ in range(count)]

    def started():
        with pyjail.start(sh(WRITE), jail=jail()) as process:
            out = process.stdout.read()
            process.wait()
        assert out == b"hello\n"
        return []

    yield started


def test_each_run_begins_with_the_image_whatever_starts_it(base):
    for way in runs():
        for result in way():
            assert result.ok and result.stdout in (b"hello\n", b""), (result.verdict, result.stderr)


@pytest.mark.parametrize(
    "more",
    [
        {"proc": False}, {"proc": "full"}, {"landlock": False}, {"uid": 0, "gid": 0}, {"network": "loopback"},
        {"seccomp": "none"}, {"deterministic": True}, {"hostname": "x"}, {"fresh": False},
    ],
    ids=str,
)  # fmt: skip
def test_it_goes_with_every_other_wish(base, more):
    for _ in range(2):
        result = pyjail.run(sh(WRITE), jail=jail(**more))
        assert (result.stdout, result.stderr) == (b"hello\n", b"") and result.ok
    with Session(jail(**more)) as s:
        done(s, WRITE)
        assert done(s, READ) == "hello\nmore\nx\n"


def test_parties_of_an_interaction_have_roots_of_their_own(base):
    one = pyjail.Party(sh("[ ! -e /new ] && echo x >/new && echo done"), jail=jail())
    other = pyjail.Party(sh("read said && [ $said = done ] && [ ! -e /new ] && echo y >/new"), jail=jail())
    found = pyjail.interact(one, other, edges=["a.stdout -> b.stdin"])
    assert [result.returncode for result in found.results.values()] == [0, 0], found.results


def test_a_session_keeps_it_over_runs_and_a_box_over_programs_at_once(base):
    with Session(jail()) as s:
        assert done(s, WRITE) == "hello\n" and done(s, READ) == "hello\nmore\nx\n"
        s.clear()
        s.restore(s.snapshot())
        assert done(s, READ) == "hello\nmore\nx\n", "that is of /box"
    if not place.CGROUPS:
        return
    with pyjail.Box(jail()) as box:
        with box.start(sh("echo there >/there; while ! [ -e /stop ]; do sleep 0.05; done; echo stopped")) as waiting:
            done(box, "while ! [ -e /there ]; do sleep 0.05; done; echo x >/stop")
            assert waiting.stdout.read() == b"stopped\n"
        assert box.read("/there") == b"there\n"
        box.write("/etc/from-outside", "y")
        assert done(box, "cat /etc/from-outside") == "y"
        assert {one.path for one in box.root_changes()} == {"/there", "/stop", "/etc/from-outside"}


def test_two_sessions_of_one_image_see_nothing_of_each_other(base):
    with Session(jail()) as one, Session(jail()) as two:
        done(one, "echo one >/mine; rm /etc/a; mkfifo /etc/p")
        assert done(two, "ls / | grep mine; cat /etc/a; ls /etc") == "hello\na\npasswd\n"
        assert two.root_changes() == []


def test_the_receipt_and_the_plan_say_what_the_root_is(base):
    result = pyjail.run(["true"], jail=jail())
    (row,) = [row for row in result.receipt if row.name == "writable_root"]
    assert (row.asked, row.enforced_by) == ("8M", "overlayfs") and "overlay" in row.value and row.status == "enforced"
    assert result.to_dict()["image"] == base.digest
    assert pyjail.Result.from_dict(result.to_dict()) == result
    without = pyjail.run(["true"], jail=Jail(image="base", strict=False))
    assert not [row for row in without.receipt if row.name == "writable_root"]
    steps = str(pyjail.plan(["true"], jail=jail()).to_dict())
    assert "overlay" in steps and "root read-only" not in steps


def test_no_mount_of_the_host_is_seen(base):
    seen = pyjail.run(["cat", "/proc/self/mountinfo"], jail=jail(), text=True).stdout.splitlines()
    rows = {line.split()[4]: line.partition(" - ")[2].split()[0] for line in seen}
    assert rows.pop("/") == "overlay" and len(rows) == len(seen) - 1
    assert set(rows.values()) <= {"tmpfs", "proc", "devtmpfs"} and set(rows) <= {
        "/box", "/tmp", "/proc", "/dev/shm", *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
    }  # fmt: skip
    assert base.root not in "\n".join(seen) and os.environ["PYJAIL_HOME"] not in "\n".join(seen)


def test_what_was_written_is_gone_with_its_keeper(base):
    pyjail.run(["true"], jail=jail())
    pyjail.close()
    before, there = left_over(), mounts()
    for _ in range(3):
        with Session(jail(size="64M"), limits=Limits(memory="256M")) as s:
            done(s, "dd if=/dev/zero of=/big bs=1M count=60 2>/dev/null")
        assert pyjail.run(sh("dd if=/dev/zero of=/big bs=1M count=60 2>/dev/null; cat /etc/a"), Limits(memory="256M"), jail=jail(size="64M")).stdout == b"hello\n"  # fmt: skip
    pyjail.close()
    assert until(lambda: left_over() == before), (before, left_over())
    assert mounts() == there


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_an_embedder_that_is_killed(base, how):
    code = """
        import pyjail
        s = pyjail.Session(pyjail.Jail(image="base", writable_root="8M", strict=False))
        s.run(["sh", "-c", "echo x >/new"])
        print("ready", flush=True)
        s.run(["sleep", "600"])
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as embedder:
        assert embedder.stdout is not None and embedder.stdout.readline() == "ready\n"
        below = keepers_of(embedder.pid)
        assert below
        embedder.send_signal(how)
        embedder.wait(60 * SLOW)
    assert until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it may come out of a destructor
def test_an_interrupt_of_a_look_or_a_commit_leaves_nothing(home):
    """At some point of the walk, of the packing, of the unpacking; the session goes on, or says that it is lost."""

    class Stopped(Exception):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    writable.load(home / "base")
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with Session(jail(size="16M")) as s:
            done(s, "for i in $(seq 2000); do echo $i >/etc/f$i; done")
            s.root_changes(), s.commit("first")  # an import that is interrupted is no matter of theirs
            open_before = fds()
            for delay in (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4):
                for call in (s.root_changes, lambda: s.commit("stopped")):
                    try:  # it may come when the call has ended just now
                        signal.setitimer(signal.ITIMER_REAL, delay)
                        try:
                            call()
                        finally:
                            signal.setitimer(signal.ITIMER_REAL, 0)
                    except Stopped:
                        pass
            assert until(lambda: fds() <= open_before), (open_before, fds())
            assert len(s.root_changes()) == 2000
            assert images.verify(s.commit("whole").name) == []
    finally:
        signal.signal(signal.SIGALRM, before)
    assert unfinished() == [] and {"base", "whole"} <= set(whole())
    pyjail.close()


def test_who_fills_it_is_told_and_the_memory_is_the_programs(base):
    result = pyjail.run(sh("dd if=/dev/zero of=/big bs=1M"), Limits(memory="64M", file_size=None), jail=jail(size="4M"))
    assert result.verdict is Verdict.RUNTIME_ERROR and b"No space left" in result.stderr
    result = pyjail.run(sh("i=0; while : >/home$i; do i=$((i + 1)); done"), jail=jail(size="128K"))
    assert b"No space left" in result.stderr
    if place.CGROUPS:
        result = pyjail.run(
            sh("dd if=/dev/zero of=/big bs=1M"), Limits(memory="32M", file_size=None), jail=jail(size="512M")
        )
        assert result.verdict is Verdict.MEMORY


EVIL = {
    "links": (made.link(b"dev", b"/etc"), made.link(b"proc", b"etc"), made.link(b"tmp", b"/"), made.link(b"box", b"..")),
    "files": tuple(made.file(name, b"x") for name in (b"dev", b"proc", b"tmp", b"box")),
    "what is in them": (
        made.folder(b"dev"), made.link(b"dev/null", b"/etc/a"), made.link(b"dev/shm", b"/etc"), made.link(b"dev/fd", b"/etc"),
        made.folder(b"proc"), made.file(b"proc/self", b"x"), made.folder(b"tmp"), made.file(b"tmp/x", b"x"), made.folder(b"box"),
        made.file(b"box/x", b"x"),
    ),
    "etc": (made.file(b".wh.etc"), made.link(b"etc", b"/proc/self")),
}  # fmt: skip


@pytest.mark.parametrize("what", EVIL)
def test_what_an_image_has_at_our_places_is_not_looked_at(home, what):
    """CVE-2026-41579, CVE-2025-31133, CVE-2025-52565."""
    image = writable.load(home / "evil", "evil", layers=(made.archive(*EVIL[what]),))
    before, outside = state(image.root), state("/etc/alternatives") if os.path.isdir("/etc/alternatives") else {}
    command = "echo 1 >/dev/null; echo 2 >/dev/shm/f; echo 3 >/tmp/f; echo 4 >/box/f; cat /proc/self/comm; ls /tmp /box /dev/shm"
    for kind in (lambda s: pyjail.run(sh(s), jail=jail("evil"), text=True), None):
        if kind is None:
            with Session(jail("evil")) as s:
                said = done(s, command)
                assert s.root_changes() == []
        else:
            said = kind(command).stdout
        assert said == "cat\n/box:\nf\n\n/dev/shm:\nf\n\n/tmp:\nf\n"
    pyjail.close()
    assert state(image.root) == before
    assert not outside or state("/etc/alternatives") == outside


def test_mounts_lie_where_they_are_named_in_places_that_are_there_or_not(base, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_text("mine")
    (tmp_path / "one").write_text("file")
    for at in ("/etc", "/new/deep/place", "/lib/x", "/box/in"):
        given = (
            Mount.bind(str(source), at),
            Mount.tmpfs("/srv/t", "64K"),
            Mount.bind(str(tmp_path / "one"), "/lib/one"),
        )
        command = f"cat {at}/f /lib/one; echo x >/srv/t/x; echo y >{at}/f; true"
        result = pyjail.run(sh(command), jail=jail(mounts=given), text=True)
        assert (result.stdout, result.ok) == ("minefile", True) and "Read-only" in result.stderr, result.stderr
    for at, why in (("/sl", "symlink"), ("/sl/x", "symlink"), ("/etc/a", "file"), ("/etc/a/x", "file")):
        with pytest.raises(SpecError, match=why):
            pyjail.run(["true"], jail=jail(mounts=(Mount.bind(str(source), at),)))
    with pytest.raises(SpecError):
        pyjail.run(["true"], jail=jail(mounts=(Mount.bind(str(tmp_path / "one"), "/lib"),)))
    assert (source / "f").read_text() == "mine" and sorted(os.listdir(source)) == ["f"]
    if os.geteuid() == 0:
        os.chmod(source, 0o777)
    shared = Mount.bind(str(source), "/srv/rw", False)
    assert pyjail.run(sh("echo z >/srv/rw/g"), jail=jail(mounts=(shared,))).ok
    assert (source / "g").read_text() == "z\n"


def test_a_user_whose_root_is_roots_is_refused_with_the_cause(base):
    if os.geteuid() == 0:
        pytest.skip(place.ELSEWHERE)
    theirs = Jail(rootfs="/usr", writable_root="1M", strict=False)
    with pytest.raises(HostError, match="uid 0") as e:
        pyjail.run(["/bin/true"], LOOSE, jail=replace(theirs, strict=True))
    assert e.value.control == "writable_root" and "own" in e.value.hint
    result = pyjail.run(["/bin/touch", "/bin/new"], jail=theirs)
    (row,) = [row for row in result.receipt if row.name == "writable_root"]
    assert row.status == "not_enforced" and "uid 0" in row.value and not result.ok


LOCK = """
import fcntl, os, time
fcntl.flock(os.open("/etc/a", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
print("got", flush=True)
time.sleep(%d)
"""


def test_locks_on_files_of_the_image_are_each_jails_own(host_python):
    command = ["/usr/bin/python3", "-I", "-S", "-c"]
    own = jail(host_python.image, mounts=host_python.mounts)
    with Session(own) as one, Session(own) as two, one.start([*command, LOCK % 600]) as holder:
        assert holder.stdout.readline() == b"got\n"
        assert two.run([*command, LOCK % 0]).stdout == b"got\n"
        holder.kill()


@pytest.mark.parametrize("size", [0, 100, "1K", -1, "x", True])
def test_a_size_that_is_none_is_refused(base, size):
    with pytest.raises(SpecError, match="writable_root"):
        jail(size=size)


def test_the_hosts_own_root_is_never_one(base):
    with pytest.raises(SpecError, match="image="):
        Jail(writable_root="1M")


def test_many_at_once_from_many_threads(base):
    found: list[bytes] = []

    def one() -> None:
        found.extend(pyjail.run(sh(WRITE), jail=jail()).stdout for _ in range(5))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert found == [b"hello\n"] * 30


def test_a_jail_without_it_keeps_its_warm_keepers(base):
    """The jail with it has one of its own each time."""
    plain = Jail(image="base", strict=False)
    pyjail.run(["true"], jail=plain)
    kept = idle_keepers()
    pyjail.run(["true"], jail=jail())
    assert kept and [keeper for keeper in kept if keeper not in idle_keepers()] == []
    assert pyjail.run(["true"], jail=plain).ok
    assert [keeper for keeper in kept if keeper not in idle_keepers()] == []
