"""A root that can be written to: what it is made of stays as it was and out of reach, whatever is done in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import pyjail
from pyjail import Box, Jail, Limits, Session, SpecError, Verdict
from tests import place
from tests.conftest import SLOW
from tests.host_side import left_over

LIMITS = Limits(wall_time=30 * SLOW, cpu_time=20 * SLOW)
TOOLS = ("sh", "cat", "ls", "mkdir", "rm", "mv", "dd", "echo", "ln", "mkfifo", "chmod", "touch")
HOSTILE = (".:box", ":box", ",upperdir=x", "tmp/upper", "tmp/work", "box:", "\\", "a\nb", "\\040", " ")


def tree(where: Path) -> Path:
    """A root with the tools, files of every kind and names that are options of a mount."""
    (where / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", where / "bin")
    for name in TOOLS:
        (where / "bin" / name).symlink_to("busybox")
    for name in ("etc", "home", "sub/deep"):
        (where / name).mkdir(parents=True)
    (where / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (where / "sub/file").write_text("lower\n")
    (where / "sub/deep/file").write_text("deep\n")
    os.mkfifo(where / "fifo")
    (where / "out").symlink_to("/etc")
    for name in HOSTILE:
        (where / "hostile" / name).mkdir(parents=True)
        (where / name).mkdir(parents=True, exist_ok=True)
    return where


def state(root: Path) -> list[tuple[Any, ...]]:
    """All that there is of it."""
    found: list[tuple[Any, ...]] = []
    for path, dirs, files in os.walk(root):
        for name in sorted([*dirs, *files]):
            at = os.path.join(path, name)
            s = os.lstat(at)
            content = ""
            if os.path.isfile(at) and not os.path.islink(at):
                content = hashlib.sha256(Path(at).read_bytes()).hexdigest()
            attributes = [
                (n, os.getxattr(at, n, follow_symlinks=False)) for n in os.listxattr(at, follow_symlinks=False)
            ]
            found.append((at, s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns, content, attributes))
    return sorted(found)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "root")


def nothing_left() -> tuple[int, ...]:
    """When all is loaded that a run needs."""
    pyjail.run(["true"], LIMITS)
    pyjail.close()
    return left_over()


def jail(root: Path, size: str = "16M", **more: Any) -> Jail:
    return Jail(rootfs=root, writable_root=size, **more)


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("attack") / "attack"
    source = Path(__file__).with_name("writable.c")
    subprocess.run(["gcc", "-static", "-w", "-O1", "-o", made, source], check=True)
    return made


POLICIES: dict[str, dict[str, Any]] = {
    "usual": {},
    "uid 0": {"uid": 0, "gid": 0},
    "without a filter": {"seccomp": "none"},
    "without a filter, Landlock and with all of /proc": {"seccomp": "none", "landlock": False, "proc": "full"},
    "all of this": {"seccomp": "none", "landlock": False, "proc": "full", "uid": 0, "gid": 0},
}


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_that_the_root_is_made_of_is_reached(root, attack, policy):
    before, left = state(root), nothing_left()
    r = pyjail.run(["./attack"], LIMITS, jail=jail(root, **POLICIES[policy]), files={"attack": attack})
    assert (r.verdict, r.stdout, r.stderr) == (Verdict.OK, b"", b"")
    assert state(root) == before
    pyjail.close()
    assert left_over() == left


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b", "lowerdir=x", " ", "a\nb"])
def test_a_root_may_have_any_name_that_an_option_of_a_mount_has_a_use_for(tmp_path, name):
    where = tree(tmp_path / name)
    before = state(where)
    r = pyjail.run(
        ["sh", "-c", "echo x > /sub/file && cat /sub/file && ls /hostile"], LIMITS, jail=jail(where), text=True
    )
    assert r.ok, r.stderr
    assert r.stdout.startswith("x\n") and ",upperdir=x" in r.stdout
    assert state(where) == before


def test_what_the_root_has_at_our_places_is_not_looked_at(root):
    """Links, pipes and files at /dev, /proc, /tmp and /box."""
    (root / "box").symlink_to("/etc")
    (root / "proc").write_text("x")
    (root / "dev").mkdir()
    os.mkfifo(root / "dev/null")
    (root / "dev/shm").symlink_to("/home")
    shutil.rmtree(root / "tmp")
    (root / "tmp").symlink_to("/home")
    show = "echo 1 >/dev/null; echo 2 >/dev/shm/f; echo 3 >/tmp/f; echo 4 >/box/f; ls /home /etc; cat /proc/self/comm"
    before = state(root)
    r = pyjail.run(["sh", "-c", show], LIMITS, jail=jail(root), text=True)
    assert (r.ok, r.stdout, r.stderr) == (True, "/etc:\npasswd\n\n/home:\ncat\n", "")
    assert state(root) == before


def test_what_a_mount_hides_is_not_shown(root):
    """An overlay has no mounts of what is below it: it would show a directory as it was before something was put there."""
    if os.geteuid():
        pytest.skip(place.WITHOUT_ROOT)
    subprocess.run(["mount", "-t", "tmpfs", "none", root / "home"], check=True)
    try:
        with pytest.raises(SpecError, match=r"home is a mount.*Unmount it"):
            pyjail.run(["ls", "/home"], LIMITS, jail=jail(root))
        assert pyjail.run(["ls", "/home"], LIMITS, jail=Jail(rootfs=root)).ok
    finally:
        subprocess.run(["umount", root / "home"], check=True)
    assert pyjail.run(["ls", "/home"], LIMITS, jail=jail(root)).ok


FILL = {
    "bytes": "dd if=/dev/zero of=/big bs=65536",
    "a copy": "dd if=/dev/zero of=/home/a bs=1000000 count=15 2>/dev/null; mv /bin /home/bin",
    "names": "i=0; while echo >/home/$i; do i=$((i + 1)); done",
    "directories": "i=0; while mkdir /home/$i; do i=$((i + 1)); done",
    "links": "i=0; while ln -s x /home/$i; do i=$((i + 1)); done",
    "whiteouts": "i=0; while echo >/sub/x && rm /sub/x && mkdir /home/$i; do i=$((i + 1)); done; rm -r /sub /etc /hostile",
}


@pytest.mark.parametrize("how", FILL)
def test_who_fills_the_root_fills_his_own(root, how):
    before = state(root)
    small = jail(root, "2M")
    with Session(jail=small, limits=LIMITS) as s:
        full = s.run(["sh", "-c", FILL[how]])
        assert full.verdict in (Verdict.RUNTIME_ERROR, Verdict.OK)
        assert b"No space left" in full.stderr
        assert s.run(["sh", "-c", "echo 1 > /box/f && cat /box/f"]).stdout == b"1\n"
        assert s.read("f") == b"1\n"
    again = pyjail.run(
        ["sh", "-c", "ls /home; cat /sub/file; dd if=/dev/zero of=/f bs=65536 count=16"], LIMITS, jail=small
    )
    assert (again.ok, again.stdout) == (True, b"lower\n"), again.stderr
    assert state(root) == before


@pytest.mark.skipif(not place.CGROUPS, reason=place.WITHOUT_CGROUPS)
def test_memory_of_the_root_is_the_programs(root):
    """What it writes there counts as its own, and ends it as its own does."""
    r = pyjail.run(
        ["dd", "if=/dev/zero", "of=/big", "bs=65536"],
        Limits(memory="24M", wall_time=30 * SLOW),
        jail=jail(root, "256M"),
    )
    assert r.verdict is Verdict.MEMORY


def test_two_jails_of_one_root_see_nothing_of_each_other(root):
    before = state(root)
    with Session(jail=jail(root), limits=LIMITS) as one, Session(jail=jail(root), limits=LIMITS) as two:
        assert one.run(["sh", "-c", "echo one >/mine; echo one >/sub/file; rm /etc/passwd; mkfifo /sub/pipe"]).ok
        seen = two.run(["sh", "-c", "cat /sub/file; ls / /etc /sub; rm -rf /bin/ls /sub; echo two >/mine"])
        assert seen.ok and b"mine" not in seen.stdout and b"pipe" not in seen.stdout
        assert seen.stdout.startswith(b"lower\n") and b"passwd" in seen.stdout
        assert one.run(["sh", "-c", "cat /mine /sub/file; ls /etc"]).stdout == b"one\none\n"
    assert pyjail.run(["sh", "-c", "ls /mine; cat /sub/file"], LIMITS, jail=jail(root)).stdout == b"lower\n"
    assert state(root) == before


REPLACED = {
    "the shell by a pipe": "rm /bin/busybox; mkfifo /bin/busybox",
    "the shell by a directory": "echo >/bin/x; rm /bin/busybox; exit",
    "all": "rm -rf / 2>/dev/null; exit 0",
    "a parent of a mount": "mv /data /elsewhere",
    "a parent of a mount by a link": "mv /data /elsewhere; ln -s /elsewhere /data",
    "a parent of a mount by a pipe": "mv /data /elsewhere; mkfifo /data",
}


@pytest.mark.parametrize(
    "kind", [Session, pytest.param(Box, marks=pytest.mark.skipif(not place.CGROUPS, reason=place.WITHOUT_CGROUPS))]
)
@pytest.mark.parametrize("what", REPLACED)
def test_what_a_program_leaves_in_the_place_of_something_hangs_nothing(root, tmp_path, kind, what):
    """A later run of the same session is a run, or an error that says what is missing; what was bound stays as it is."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "f").write_text("1")
    mounts = (pyjail.Mount.bind(shared, "/data/in"), pyjail.Mount.tmpfs("/data/t", "1M")) if kind is Session else ()
    left = nothing_left()
    with kind(jail=jail(root, mounts=mounts), limits=LIMITS) as s:
        s.run(["sh", "-c", REPLACED[what]])
        for argv in (["sh", "-c", "echo 1"], ["/sub/file"]):
            try:
                assert s.run(argv).verdict in (Verdict.OK, Verdict.RUNTIME_ERROR)
            except (pyjail.JailError, OSError) as e:
                assert str(e)
    assert (shared / "f").read_text() == "1"
    pyjail.close()
    assert left_over() == left
    assert pyjail.run(["cat", "/sub/file"], LIMITS, jail=jail(root)).stdout == b"lower\n"
