"""Every failure path of the C core, seen to fail: one system call of a keeper after the other, in every kind of run.

What came of it is the run as it should be, or an error that names the step; nothing is left; the next run is fine.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import pyjail
from pyjail import Jail, Limits, Session, Verdict
from tests import place
from tests.conftest import SLOW
from tests.host_side import left_over
from tests.inside import Egress, idle_keepers
from tests.native.failing import KEEPER, PROGRAM, START, Failing, held_by, installed, settled

pytestmark = pytest.mark.timeout(3600)
ERRNOS = (errno.EPERM, errno.ENOMEM, errno.EMFILE)
OURS = [os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "pid", "ipc", "net", "uts", "cgroup")]
LIMITS = Limits(wall_time=20 * SLOW, cpu_time=10 * SLOW)
# Calls that are made for one thing only: the step that their failure must name.
STEPS = {
    "pivot_root": {"pivot"},
    "sethostname": {"hostname"},
    "pipe2": {"arm"},
    "socketpair": {"arm"},
    "clone3": {"namespaces", "fork"},
    "setsid": {"session"},
    "setresgid": {"gid", "keeper_ids"},
    "setresuid": {"uid", "keeper_ids"},
    "capset": {"caps", "open"},
    "sched_setaffinity": {"sched"},
    "landlock_create_ruleset": {"landlock"},
    "landlock_add_rule": {"landlock"},
    "landlock_restrict_self": {"landlock"},
    "close_range": {"close_rest"},
    "seccomp": {"seccomp"},
    "setgroups": {"groups"},
    "execve": {"exec"},
    "ioctl": {"net_lo"},
    "bind": {"port"},
    "listen": {"port"},
    "setsockopt": {"port"},
}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a program that prints all it sees of its jail."""
    where = tmp_path_factory.mktemp("view")
    where.chmod(0o755)
    subprocess.run(["gcc", "-static", "-O1", "-w", "-o", where / "view", Path(__file__).parent / "view.c"], check=True)
    (where / "root/bin").mkdir(parents=True)
    (where / "root/gone/deep").mkdir(parents=True)
    shutil.copy("/bin/busybox", where / "root/bin")
    for name in "sh", "cat", "ls", "rm":
        (where / "root/bin" / name).symlink_to("busybox")
    return where


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failing]:
    with installed(tmp_path_factory.mktemp("keeper")) as found:
        yield found


class Seen(NamedTuple):
    """What a run came to, without what differs from keeper to keeper."""

    verdict: Any
    lacks: frozenset[str]  # what its receipt says is not enforced
    rest: Any = None


def seen(result: pyjail.Result) -> Seen:
    lacks = frozenset(c.name for c in result.receipt or () if c.status not in ("enforced", "not_asked"))
    if result.uncollected:
        return Seen("uncollected", lacks, result.uncollected)
    found = re.sub(rb"[ug]id=\d+", b"", result.stdout or b"")
    return Seen(result.verdict, lacks, [found, sorted(result.files), result.stderr, result.error])


def run(view: Path, *mounts: pyjail.Mount, limits: Limits = LIMITS, more: Any = None, **jail: Any) -> Any:
    inside = Jail(mounts=(pyjail.Mount.bind(str(view), "/opt/view"), *mounts), **jail)
    return seen(pyjail.run(["/opt/view/view", *OURS], limits, jail=inside, **more or {}))


def live(view: Path) -> Any:
    with pyjail.start(["cat"], LIMITS) as p:
        said = p.communicate(b"hello")
    assert p.result is not None
    return seen(p.result)._replace(rest=said)


def session(view: Path) -> Any:
    jail = Jail(mounts=(pyjail.Mount.bind(str(view), "/opt/view"),))
    with Session(jail=jail, limits=LIMITS) as s:
        s.write("d/in", b"1")
        runs = [s.run(["/opt/view/view", *OURS], read_only=read_only) for read_only in (False, True)]
        found = [s.read("d/in"), s.list()]
        s.remove("d/in")
        s.clear()
        runs.append(s.run(["ls"]))
        return together(runs, found, s.list())


TOLD = f"cat /kept /in; echo kept >/kept && rm -r /gone && cat /kept; ls / /box; exec /opt/view/view {' '.join(OURS)}"


def rooted(view: Path, **jail: Any) -> Jail:
    """With a root that can be written to."""
    return Jail(rootfs=view / "root", writable_root="1M", mounts=(pyjail.Mount.bind(str(view), "/opt/view"),), **jail)


def written(view: Path, **jail: Any) -> Any:
    return seen(pyjail.run(["sh", "-c", TOLD], LIMITS, jail=rooted(view, **jail)))


def together(runs: list[pyjail.Result], *more: Any) -> Seen:
    """What runs of one session or box came to."""
    told = [r.verdict for r in runs if r.verdict in (Verdict.JAIL_ERROR, Verdict.MEMORY)]
    all_of = [seen(r) for r in runs]
    lacks = frozenset().union(*(one.lacks for one in all_of))
    for one in all_of:  # where numbers cannot be set back, who has files to lose goes on
        one.rest[0] = re.sub(rb"pid \d+ ppid 1 sid \d+ pgid \d+", b"", one.rest[0])
    return Seen(told[0] if told else Verdict.OK, lacks, [[one.rest for one in all_of], *more])


def written_session(view: Path) -> Any:
    with Session(jail=rooted(view), limits=LIMITS) as s:
        s.write("d/in", b"1")
        runs = [s.run(["sh", "-c", TOLD]) for _ in range(2)]
        return together(runs, s.read("d/in"))


def written_box(view: Path) -> Any:
    with pyjail.Box(jail=rooted(view), limits=LIMITS) as b:
        b.write("/in", b"1")
        runs = [b.run(["sh", "-c", TOLD]) for _ in range(2)]
        return together(runs, b.read("/kept"))


LIST = Egress(["allowed.test"])
ASK = """
import socket
with socket.create_connection(("127.0.0.1", 3128)) as s:
    s.sendall(b"CONNECT refused.test:443 HTTP/1.1\\r\\nHost: refused.test:443\\r\\n\\r\\n")
    print(s.recv(4096).split()[1].decode())
"""


def asking(view: Path) -> Any:
    r = pyjail.run([sys.executable, "-I", "-c", ASK], LIMITS, jail=Jail(network=LIST))
    return seen(r)._replace(rest=[seen(r).rest, [c.host for c in r.egress.rows] if r.egress else None])


def asking_session(view: Path) -> Any:
    with Session(jail=Jail(network=LIST), limits=LIMITS) as s:
        return together([s.run(argv) for argv in ([sys.executable, "-I", "-c", ASK], ["true"])])


BELOW = (pyjail.Mount.bind("/usr/share", "/tmp/deep/er"), pyjail.Mount.tmpfs("/box/t", "1M"))
FEW = Limits(cpus={0}, open_files=20, address_space="1G", wall_time=20 * SLOW)
KINDS: dict[str, Callable[[Path], Any]] = {
    "plain": run,
    "files": lambda v: run(v, more={"files": {"a": b"1", "d/b": b"2"}, "collect": ["**"], "input": b"x"}),
    "fds": lambda v: run(v, more={"stdin": pyjail.DEVNULL, "stderr": pyjail.STDOUT}),
    "loopback": lambda v: run(v, network="loopback"),
    "deterministic": lambda v: run(v, deterministic=True),
    "mounts in workspaces": lambda v: run(v, *BELOW),
    "few": lambda v: run(v, limits=FEW),
    "small memory": lambda v: run(v, limits=Limits(memory="20M", wall_time=20 * SLOW)),
    "rootfs": lambda v: run(v, rootfs="/usr"),
    "strict": lambda v: run(v, seccomp="strict"),
    "bare": lambda v: run(v, seccomp="none", landlock=False, proc=False),
    "fresh": lambda v: run(v, fresh=True),
    "live": live,
    "session": session,
    "writable root": written,
    "writable root, session": written_session,
    "writable root, box": written_box,
    "egress": lambda v: run(v, network=LIST),
    "egress, asked": asking,
    "egress, session": asking_session,
}


def outcome(kind: Callable[[Path], Any], view: Path) -> Any:
    try:
        return kind(view)
    except (pyjail.JailError, OSError) as e:
        return e


def difference(found: Any, like: Any) -> str:
    """Of two outcomes, for a reader."""
    lines = difflib.unified_diff(repr(like).split("\\n"), repr(found).split("\\n"), lineterm="", n=0)
    return " ".join(list(lines)[2:])[:1000]


def wrong(found: Any, like: Any, call: str, err: int) -> str | None:
    """What is not right with what a failed call has come to."""
    if isinstance(found, pyjail.SetupError):
        if found.errno != err or found.step not in STEPS.get(call, {found.step}):
            return f"it is told as {found.step}, {errno.errorcode[found.errno]}"
    elif isinstance(found, OSError) and not isinstance(found, pyjail.JailError):
        return None if found.errno == err else f"it is told as {found!r}"
    elif not isinstance(found, BaseException) and found != like:
        told = ("uncollected", Verdict.JAIL_ERROR, *((Verdict.MEMORY,) if err == errno.ENOMEM else ()))
        if found.verdict not in told and not found.lacks > like.lacks:
            return f"another run, and no word of it: {difference(found, like)}"
    return None


class Attempts:
    """One kind of run, with one call of one role after the other."""

    def __init__(self, failing: Failing, view: Path, kind: str, role: str, call: str | None = None) -> None:
        self.failing, self.view, self.kind, self.call = failing, view, KINDS[kind], call
        self.new, self.role = ROLES[role]
        self.times = 1 if self.new else 2  # a warm keeper has armed the first before
        if kind.startswith("egress"):
            self.kind(view)  # the proxy stays
        pyjail.close()
        failing.forget()
        self.before = left_over()
        self.like = self.kind(view)
        failing.rest()
        self.usual = self._usual()

    def _usual(self) -> Any:
        """What the keeper has when it is ready for the next run."""
        looks: list[Any] = []
        while len(looks) < 3 or len({repr(look) for look in looks[-3:]}) > 1:
            self.failing.rest()
            looks.append(held_by(idle_keepers()[-1]) if idle_keepers() else None)
        return looks[-1]

    def with_failing(self, nth: int, err: int) -> list[Any]:
        if self.new:
            pyjail.close()
            self.failing.forget()
        found = []
        with self.failing.one(self.role, nth, err, self.call):
            for _ in range(self.times):
                found.append(outcome(self.kind, self.view))
                self.failing.rest()
        return found

    def count(self) -> int:
        """Of the calls that could fail."""
        found = self.with_failing(2**31, errno.EIO)
        assert found == [self.like] * self.times
        return self.failing.counted(self.role)

    def attempt(self, nth: int, err: int) -> list[str]:
        """Have the nth call fail; what was wrong."""
        found = self.with_failing(nth, err)
        call = self.failing.failed()
        if call is None:  # some calls depend on the clock
            return []
        problems = [p for one in found if (p := wrong(one, self.like, call, err))]
        again = outcome(self.kind, self.view)
        if again != self.like and not (isinstance(again, Seen) and again.lacks > self.like.lacks):
            problems.append(f"the next run: {difference(again, self.like)}")
        self.failing.rest()
        if not settled(self._keeps_no_more, True):
            problems.append(f"the keeper has kept {held_by(idle_keepers()[-1])}, not {self.usual}")
            pyjail.close()
        self.failing.forget(keep=2)
        return [f"{nth}, {call}: {errno.errorcode[err]}: {p}" for p in problems]

    def _keeps_no_more(self) -> bool:
        """fds, mounts, leaves: of a keeper that lives on. It may have done without an fd."""
        now = held_by(idle_keepers()[-1]) if idle_keepers() else None
        return self.usual is None or now is None or (now[0] <= self.usual[0] and now[1:] == self.usual[1:])

    def left(self) -> Any:
        pyjail.close()
        self.failing.forget()
        return settled(left_over, self.before)


ROLES = {"start": (True, START), "new keeper": (True, KEEPER), "new program": (True, PROGRAM),
         "keeper": (False, KEEPER), "program": (False, PROGRAM)}  # fmt: skip
ALWAYS_NEW = (
    "session",
    "fresh",
    "writable root",
    "writable root, session",
    "writable root, box",
    "egress, session",
)  # nothing of them is used again


if not place.CGROUPS:
    KINDS.pop("writable root, box")
CASES = [(name, role) for name in KINDS for role in ROLES if ROLES[role][0] or name not in ALWAYS_NEW]
# What kinds differ in is mostly made by the keeper; their other roles are those of a plain run.
SOON = [(name, role) for name, role in CASES if name == "plain" or role in ("new keeper", "keeper")]


@pytest.mark.parametrize(
    ("name", "role"), [pytest.param(*case, marks=[] if case in SOON else pytest.mark.slow) for case in CASES]
)
def test_a_call_that_fails_is_told_and_leaves_nothing(failing, view, name, role, request):
    new, _ = ROLES[role]
    attempts = Attempts(failing, view, name, role)
    total = attempts.count()
    assert total > 3
    whole = request.config.getoption("--soak") or (name == "plain" and not new and os.geteuid() == 0)
    step = 1 if whole else max(1, total // (5 if os.geteuid() == 0 else 3))
    first = 1 + sum(name.encode()) % step  # the kinds together meet all of what they share
    errors = [
        problem
        for nth in range(first, total + 1, step)
        for err in (ERRNOS if request.config.getoption("--soak") else (ERRNOS[nth % 3],))
        for problem in attempts.attempt(nth, err)
    ]
    assert not errors, f"{len(errors)}:\n" + "\n".join(errors)
    left = attempts.left()
    open_now = subprocess.run(["ls", "-l", f"/proc/{os.getpid()}/fd"], capture_output=True, text=True, check=False)
    assert left == attempts.before, open_now.stdout


# Some of them had been passed over in silence, or waited for without an end.
ONCE_SILENT = [("plain", "start", "sendmsg"), ("plain", "new keeper", "prctl"), ("plain", "keeper", "getrusage"),
               ("deterministic", "new keeper", "fsopen"), ("deterministic", "new program", "prctl"),
               ("files", "keeper", "capget"), ("files", "keeper", "capset"), ("session", "new keeper", "kill"), ("strict", "keeper", "unlinkat")]  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "role", "call"), ONCE_SILENT)
def test_each_such_call_is_told_when_it_fails(failing, view, name, role, call):
    attempts = Attempts(failing, view, name, role, call)
    total = attempts.count()
    errors = [p for nth in range(1, min(total, 16) + 1) for p in attempts.attempt(nth, errno.ENOMEM)]
    assert total or not place.CGROUPS  # no leaf
    assert not errors, "\n".join(errors)
    assert attempts.left() == attempts.before


def test_no_file_is_opened_with_rights_that_could_not_be_given_up(failing, view):
    attempts = Attempts(failing, view, "files", "keeper", "capset")
    first = attempts.with_failing(1, errno.EPERM)[0]
    assert isinstance(first, (OSError, pyjail.SetupError))
    assert first.errno == errno.EPERM


def test_a_text_of_the_kernels_that_is_too_long_is_a_jail_error_not_another_answer(failing, view):
    """Cut where our room for it ends, io.stat of many disks would tell something else."""
    attempts = Attempts(failing, view, "plain", "keeper", "pread64")
    errors, told = [], 0
    for nth in range(1, attempts.count() + 1):
        for found in attempts.with_failing(nth, -4096):  # it says that it has read so many bytes
            if found != attempts.like:
                told += found.verdict is Verdict.JAIL_ERROR and "(File too large)" in str(found.rest[-1])
                errors += [] if found.verdict is Verdict.JAIL_ERROR else [f"{nth}: {difference(found, attempts.like)}"]
        again = outcome(attempts.kind, view)
        errors += [] if again == attempts.like else [f"{nth}, the next run: {difference(again, attempts.like)}"]
        failing.forget(keep=2)
    assert not errors, "\n".join(errors)
    assert told > 3 or not place.CGROUPS
    assert attempts.left() == attempts.before
