"""Our cgroups over time: what a dead owner left is removed and nothing else, foreign processes live, memory returns."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyjail
from pyjail import Limits, Verdict, testing
from pyjail._cgroups import bring_up
from pyjail._cgroups import tree as cgroups_tree
from pyjail._cgroups.tree import remove_tree
from tests.host_side import alive, cgroups_of, janitors_of, keepers_of, kill_below, leaves_of
from tests.inside import host, idle_keepers, look_again, owner_name
from tests.jail.keeper.test_dead_embedder import BUSY
from tests.scripts import PRELUDE, script, until

pytestmark = pytest.mark.needs_cgroups


def subtree() -> cgroups_tree.Subtree:
    """This process's own directories, made by a run when there were none."""
    assert pyjail.run(["true"]).ok
    return next(tree for (pid, _), tree in cgroups_tree._subtrees.items() if pid == os.getpid())


def tops() -> list[Path]:
    return [Path(p) for p in subtree().paths]


def memory_directory() -> Path:
    tree = subtree()
    return Path(tree.paths[tree.cgroups.where["memory"]])


def sleeper_in(*directories: Path) -> subprocess.Popen[bytes]:
    """A process of this test's own, moved into cgroups."""
    enter = "".join(f"echo 0 > {d}/cgroup.procs; " for d in directories)
    p = subprocess.Popen(["sh", "-c", enter + "exec sleep 1000"])
    assert until(lambda: Path(f"/proc/{p.pid}/comm").read_text() == "sleep\n")
    return p


def test_after_a_sigkill_of_embedder_and_keepers_together_the_next_start_removes_what_they_left():
    p = subprocess.Popen([sys.executable, "-c", PRELUDE + BUSY], stdout=subprocess.PIPE)
    living = subprocess.Popen([sys.executable, "-c", PRELUDE + BUSY], stdout=subprocess.PIPE)
    try:
        assert (p.stdout.readline(), living.stdout.readline()) == (b"go\n", b"go\n")
        assert until(lambda: leaves_of(p.pid) and leaves_of(living.pid))
        os.kill(p.pid, signal.SIGSTOP)  # no keeper is born meanwhile, and none is dropped
        below = [*keepers_of(p.pid), *janitors_of(p.pid)]
        for pid in (*below, p.pid):  # nobody is left to clean up
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        p.wait()
        assert until(lambda: not any(map(alive, below)))
        assert script("import pyjail; assert pyjail.run(['true']).ok").returncode == 0
        assert cgroups_of(p.pid) == []
        assert cgroups_of(living.pid)  # its owner lives
        assert living.poll() is None
    finally:
        for process in (p, living):
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.mark.parametrize("how", ["assert pyjail.run(['true']).ok", "print(*pyjail.cgroup.clean())"])
def test_only_directories_of_dead_owners_of_this_machine_and_pid_namespace_are_removed(how):
    own = owner_name(os.getpid())
    pid, start, namespace, boot = own.removeprefix("pyjail-").split("-")
    dead = subprocess.Popen(["true"])
    dead.wait()
    goes = [
        f"pyjail-{dead.pid}-{start}-{namespace}-{boot}",  # no such process
        f"pyjail-{pid}-{int(start) + 2}-{namespace}-{boot}",  # the pid is somebody else's by now
        f"pyjail-{pid}-{start}-{namespace}-{'0' * 7}1",  # another boot of the machine
    ]
    stays = [
        f"pyjail-{dead.pid}-{start}-{int(namespace) + 1}-{boot}",  # a pid of another pid namespace says nothing
        "pyjail-of-somebody-else",
        f"pyjail-{dead.pid}-{start}-{namespace}-{boot}-kept",
    ]
    parents = [top.parent for top in tops()]
    try:
        for parent in parents:
            for name in goes + stays:
                (parent / name).mkdir()
        out = script(f"import pyjail; {how}")
        assert out.returncode == 0, out.stderr
        assert set(out.stdout.split()) <= set(goes)  # any other pyjail may have been there first
        for parent in parents:
            assert [name for name in goes + stays if (parent / name).exists()] == stays
    finally:
        for parent in parents:
            for name in goes + stays:
                if (parent / name).exists():
                    (parent / name).rmdir()


@pytest.mark.parametrize(
    "hidden",
    [
        "mount -t tmpfs none /proc/sys",  # no boot id
        "mount -t tmpfs none /proc/%d",  # no start time
    ],
)
def test_a_host_that_hides_the_owner_does_not_make_it_a_dead_one(hidden):
    before = subtree()
    keepers = testing.idle()
    mask = hidden.replace("%d", str(os.getpid()))
    wrap = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mask + ' && exec "$@"', "sh")
    out = script("import pyjail; pyjail.run(['true'], jail=pyjail.Jail(strict=False, proc=False))", wrap=wrap)
    assert out.returncode == 0, out.stderr
    assert all(map(os.path.exists, before.paths))
    assert all(map(alive, keepers))


def test_start_times_are_compared_across_time_namespaces():
    before = subtree()
    keepers = testing.idle()
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    wrap = ("unshare", *user, "--time", "--boottime", "86400")
    out = script(
        """
        import os, pyjail
        pyjail.run(["true"], jail=pyjail.Jail(strict=False))
        from pyjail._cgroups import stale; from tests.inside import owner_name
        print(open('/proc/self/timens_offsets').read().split()[4], stale.is_dead(owner_name(os.getpid())))
        """,
        wrap=wrap,
    )
    assert out.stdout == "86400 False\n", out.stderr
    assert all(map(os.path.exists, before.paths))
    assert all(map(alive, keepers))


def test_a_foreign_process_in_a_keepers_cgroup_hinders_nobody_and_is_not_killed_on_close():
    tree = subtree()
    keeper = idle_keepers()[0]
    where = [Path(p) for p in keeper.cgroup.paths]
    foreign = [w / "foreign" for w in where]
    for f in foreign:
        f.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):  # v1: inherited from the parent only where clone_children says so
            if (f / name).exists() and "cpuset" in str(f):
                (f / name).write_text((f.parent / name).read_text())
    p = sleeper_in(*foreign)
    try:
        assert pyjail.run(["echo", "x"]).stdout == b"x\n"
        pyjail.close()  # rmdir is EBUSY
        assert p.poll() is None
        assert all(f.exists() for f in foreign)
        assert pyjail.run(["echo", "x"]).stdout == b"x\n"
    finally:
        p.kill()
        p.wait()
    pyjail.close()
    assert until(lambda: all(cgroups_tree.remove_tree(path) for path in tree.paths))
    assert pyjail.run(["true"]).ok


def test_directories_that_vanished_between_runs_are_made_again():
    for limits in (Limits(), Limits(memory="32M")):
        tree = subtree()
        assert pyjail.run(["true"], limits).ok
        for keeper in idle_keepers():
            kill_below(keeper.pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(keeper.pid, signal.SIGKILL)
        assert until(lambda tree=tree: all(cgroups_tree.remove_tree(path) for path in tree.paths))
        assert not any(map(os.path.exists, tree.paths))
        assert pyjail.run(["echo", "x"], limits).stdout == b"x\n"
        assert pyjail.run(["sh", "-c", "head -c 60000000 /dev/zero > /tmp/x"], limits).verdict is (
            Verdict.MEMORY if limits.memory == 32 << 20 else Verdict.OK
        )


@pytest.mark.parametrize("umask", [0o777, 0o177])
def test_an_umask_that_takes_rights_from_the_owner_does_not_take_them_from_the_keeper(umask):
    code = f"""
    import os, pyjail
    os.umask({umask})
    with pyjail.Session() as s:
        s.write("d/a", b"x")
        print(pyjail.run(["echo", "x"]).stdout, s.run(["cat", "d/a"]).stdout, s.list())
    """
    out = script(code)
    assert out.stdout == "b'x\\n' b'x' ['d', 'd/a']\n", out.stderr


SHM = """
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
int main() { char *p = shmat(shmget(IPC_PRIVATE, 1 << 20, 0600 | IPC_CREAT), 0, 0); memset(p, 1, 1 << 20); return 0; }
"""


def test_runs_leave_the_memory_of_the_parent_where_it_was(run_c):
    """SysV segments are charged to the leaf until their ipc namespace ends (nsjail#231); so would be page cache."""
    charged = memory_directory() / "memory.current"
    if not charged.exists():
        charged = charged.with_name("memory.usage_in_bytes")

    def settled() -> int:
        """Charges are given back in batches by CPU, and by a worker after a rmdir: the least of a while."""
        end, least = time.monotonic() + 1, 1 << 62
        while time.monotonic() < end:
            least = min(least, int(charged.read_text()))
            time.sleep(0.05)
        return least

    for _ in range(30):
        assert run_c(SHM).ok
    before = settled()
    for _ in range(100):
        assert run_c(SHM).ok
    assert until(lambda: settled() - before < 4 << 20, 20), (before, settled())


def test_what_was_made_to_see_whether_it_works_is_used_or_gone():
    """One directory of ours in each hierarchy that runs use, none in the others; none at all after close."""
    code = """
    import os, pyjail
    from tests.inside import host, owner_name, usable_host, used_hierarchies
    usable_host()
    ours = lambda: {h.own for h in host().hierarchies if os.path.exists(f"{h.own}/{owner_name(os.getpid())}")}
    first = ours()
    used = used_hierarchies()
    print(first == used, pyjail.run(["true"]).ok, ours() == used)
    pyjail.close()
    print(ours(), pyjail.run(["true"]).ok, ours() == used)
    """
    out = script(code)
    assert out.stdout == "True True True\nset() True True\n", (out.stdout, out.stderr)


@pytest.mark.needs_root
def test_what_a_killed_owner_left_is_removed_when_it_is_in_the_way():
    """In a cgroup that may not have more below it."""
    v2 = next((h for h in host().hierarchies if h.version == 2 and h.writable), None)
    assert v2 is not None
    mine = f"{v2.own}/pyjail-test-{os.getpid()}"
    count = lambda: sum(len(names) for _, names, _ in os.walk(mine))  # noqa: E731
    enter = ("sh", "-c", f'echo 0 > {mine}/cgroup.procs; exec "$@"', "sh")
    run = "import pyjail; print(pyjail.run(['true'], jail=pyjail.Jail(strict=False)).ok, flush=True)"
    os.mkdir(mine)
    try:
        for room in (1, 2, 3, 4):
            janitor = "os.kill(pyjail._cgroups.janitor._current.pid, 9)"  # it would take it away
            killed = script(f"import os, signal; {run}; {janitor}; os.kill(os.getpid(), signal.SIGKILL)", wrap=enter)
            assert killed.stdout == "True\n", killed.stderr
            left = count()
            assert left > 1
            Path(f"{mine}/cgroup.max.descendants").write_text(str(left + room))
            found = script(run, wrap=enter)
            Path(f"{mine}/cgroup.max.descendants").write_text("max")
            assert (found.stdout, count()) == ("True\n", 0), (room, found.stderr)
    finally:
        assert remove_tree(mine, 5)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("times", [1, 2, 3, 5])
def test_a_full_hierarchy_is_no_refusal_for_good(strict, times):
    """ENOSPC where this process makes its first directory."""
    code = f"""
    import errno, os, pyjail
    real, left = os.mkdir, [{times}]
    def mkdir(path, *args, **kw):
        if left[0] and "/sys/fs/cgroup" in str(path) and left.__setitem__(0, left[0] - 1) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return real(path, *args, **kw)
    os.mkdir = mkdir
    for _ in range(6):
        try: r = pyjail.run(["true"], jail=pyjail.Jail(strict={strict}))
        except pyjail.HostError: continue
        if r.receipt["memory"].status == r.receipt["processes"].status == "enforced": break
    print(r.verdict, r.receipt["memory"].status, r.receipt["processes"].status)
    """
    out = script(code)
    assert out.stdout == "ok enforced enforced\n", (out.stdout, out.stderr)


def test_what_was_refused_is_looked_at_again(monkeypatch):
    """Who follows the advice of an error need not start anew."""
    above, tight = bring_up._above, [bring_up.Above("pids", 1, "pids.max")]
    monkeypatch.setattr(bring_up, "_above", lambda h: tight or above(h))
    look_again()
    for _ in range(2):
        with pytest.raises(pyjail.HostError) as e:
            pyjail.run(["true"])
        assert e.value.control == "processes"
    tight.clear()
    assert pyjail.run(["true"]).ok
    monkeypatch.undo()
    look_again()
