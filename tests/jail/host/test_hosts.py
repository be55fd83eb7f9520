"""Hosts that are in the way: each is handled, or refused with a cause that is right and a fix that helps."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Mount
from tests import place
from tests.conftest import QUICK
from tests.inside import ASKED_FOR, host, remove_tree
from tests.scripts import script

USERNS = ("unshare", "--user", "--map-root-user")
REPORT = """
import pyjail
from pyjail import HostError, Jail, Limits
def attempt(jail=Jail(strict=False)):
    try: r = pyjail.run(["sh", "-c", "echo ran"], jail=jail)
    except HostError as e: print(e.control, "|", e.cause, "|", e.hint)
    else: print(r.verdict, r.stdout)
"""


def shell(*commands: str) -> tuple[str, ...]:
    """Run these, then what follows."""
    return ("sh", "-c", " && ".join([*commands, 'exec "$@"']), "sh")


def tried(code: str = "attempt()", *wrap: str) -> list[str]:
    out = script(REPORT + textwrap.dedent(code), wrap=wrap)
    assert out.returncode == 0, out.stderr
    return out.stdout.splitlines()


RAN = "ok b'ran\\n'"


@pytest.mark.parametrize("mask", ["mount -t tmpfs none /proc/sys", "mount --bind /dev/null /proc/version"])
def test_a_masked_proc_is_named_and_can_be_done_without(mask):
    lines = tried("attempt(); attempt(Jail(proc=False, strict=False))", *USERNS, "--mount", *shell(mask))
    assert lines[0].startswith("proc | the /proc here is masked")
    assert "Jail(proc=False)" in lines[0]
    assert lines[1] == RAN


@pytest.mark.skipif(os.geteuid() != 0, reason=place.ELSEWHERE)
def test_where_process_numbers_cannot_be_set_back_no_keeper_serves_two_runs():
    seal = ("mount --bind /proc/sys /proc/sys", "mount -o remount,bind,ro /proc/sys")
    code = """
    from pyjail.testing import idle
    jail = Jail(proc=False, strict=False)
    for i in range(3):
        seen = set(idle())
        r = pyjail.run(["sh", "-c", "true & echo $$ $!"], jail=jail)
        print(r.verdict, r.stdout, not seen & set(idle()))
    with pyjail.Session(jail=jail) as s:
        s.write("a", "kept")
        for i in range(3): print(s.run(["cat", "a"]).stdout)
    """
    lines = tried(code, "unshare", "--mount", *shell(*seal))
    assert lines == ["ok b'2 3\\n' True"] * 3 + ["b'kept'"] * 3


@pytest.mark.parametrize("kind", ["user", "net", "uts", "mnt", "pid"])
def test_namespaces_switched_off_by_sysctl(kind):
    lines = tried("attempt()", *USERNS, *shell(f"echo 0 > /proc/sys/user/max_{kind}_namespaces"))
    assert lines[0].startswith(
        f"{kind} namespaces | they are switched off: sysctl user.max_{kind}_namespaces is 0 | sysctl -w"
    )


def test_user_namespaces_used_up():
    lines = tried(
        "attempt()",
        *USERNS,
        *shell("echo 1 > /proc/sys/user/max_user_namespaces"),
        *("unshare", "--user"),
    )
    assert "is used up, or they are nested too deeply" in lines[0]


FILTER = """
import errno, pyseccomp
def refuse(number, *names):
    f = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in names: f.add_rule(pyseccomp.ERRNO(number), name)
    f.load()
"""


@pytest.mark.parametrize(
    ("refused", "number", "control"),
    [
        ("clone3", "ENOSYS", "clone3"),
        ("clone3", "EPERM", "clone3"),
        ("unshare", "EPERM", "user namespaces"),
        ("mount_setattr", "EPERM", "mounts"),
        ("fsopen", "EACCES", "mounts"),
        ("fsopen", "ENOSYS", "mounts"),
        ("move_mount", "EPERM", "mounts"),
        ("pivot_root", "EPERM", "mounts"),
        ("open_tree", "EPERM", "mounts"),
        ("umount2", "EPERM", "mounts"),
        ("sethostname", "EPERM", "hostname"),
        ("close_range", "EPERM", "keeper"),
        ("close_range", "ENOSYS", "keeper"),
        ("signalfd4", "EPERM", "keeper"),
        ("seccomp", "ENOSYS", "seccomp"),
    ],
)
def test_a_seccomp_filter_around_us(refused, number, control):
    lines = tried(FILTER + f"refuse(errno.{number}, '{refused}'); attempt()")
    assert lines[0].startswith(f"{control} | a seccomp filter around this process refuses")
    assert "seccomp=unconfined" in lines[0]


# What Docker's own profile leaves out for a container without CAP_SYS_ADMIN, as far as the kernel has it.
LEFT_OUT = (
    "acct add_key bpf chroot clock_settime clone3 delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick "
    "get_mempolicy init_module ioperm iopl io_uring_setup kcmp kexec_load keyctl lookup_dcookie mbind migrate_pages mount "
    "mount_setattr move_mount move_pages open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root "
    "process_madvise quotactl reboot request_key set_mempolicy setdomainname sethostname setns settimeofday swapon swapoff "
    "syslog umount2 unshare userfaultfd vhangup"
)


def test_the_calls_that_a_filter_around_us_is_asked_to_allow_are_enough_and_none_is_too_many():
    """The list goes into engines' profiles (docs/doctor.md)."""
    left_out = set(LEFT_OUT.split())
    assert set(ASKED_FOR) <= left_out
    code = """
    import sys
    filtered = FILTERED - set(sys.argv[1:])
    refuse(errno.EPERM, *filtered)
    attempt(); attempt(Jail(strict=False, fresh=True, network="loopback")); attempt(Jail(strict=False, seccomp="none"))
    with pyjail.Session(jail=Jail(strict=False)) as s:
        s.write("a", "kept")
        print(s.run(["cat", "a"]).stdout)
    """.replace("FILTERED", repr(left_out)).replace("sys.argv[1:]", repr(ASKED_FOR))
    assert tried(FILTER + textwrap.dedent(code)) == [RAN] * 3 + ["b'kept'"]
    for name in ASKED_FOR:
        refused = [*left_out.difference(ASKED_FOR), name]
        (line,) = tried(FILTER + f"refuse(errno.EPERM, *{refused!r}); attempt()")
        assert "a seccomp filter around this process refuses" in line, (name, line)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_seccomp_filter_that_refuses_network_namespaces_only(ignored):
    """The keeper makes them while its id maps are written, or it is attached to: what it says is told all the same."""
    code = f"""
    import errno, pyseccomp, signal
    if {ignored}: signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what has failed: its pid is free
    f = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    f.add_rule(pyseccomp.ERRNO(errno.EPERM), "unshare", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, 0x40000000, 0x40000000))
    f.load()
    for _ in range(10): attempt()
    for _ in range(10):
        try: pyjail.learn(["true"])
        except HostError as e: print(e.control, "|", e.cause)
    """
    lines = tried(code)
    assert len(lines) == 20
    for line in lines:
        assert line.startswith("network namespace | a seccomp filter around this process refuses unshare(CLONE_NEWNET)")


LANDLOCK = """
import ctypes, struct
def landlock():
    libc = ctypes.CDLL(None, use_errno=True)
    handled = struct.pack("<Q", 1 << 12)  # MAKE_SYM; any ruleset at all forbids mounts
    fd = libc.syscall(444, handled, 8, 0)
    assert fd >= 0 and libc.prctl(38, 1, 0, 0, 0) == 0 and libc.syscall(446, fd, 0) == 0
"""


def test_namespaces_can_be_made_but_no_mounts_in_them():
    """As AppArmor does it in Ubuntu 24.04 (`tests/unit/policy/test_obstacles.py`); Landlock can be had anywhere."""
    lines = tried(LANDLOCK + "landlock(); attempt()")
    assert lines[0].startswith("mounts | the user namespace could be made, but no mounts in it")


@pytest.mark.needs_root
def test_root_without_sys_admin_as_in_a_default_container():
    wrap = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    code = """
    r = pyjail.run(["id", "-u"])
    print(r.stdout, r.receipt.not_enforced, r.receipt["ids"].value)
    """
    line = tried(code, *wrap)[0]
    assert line.startswith("b'1000\\n' () uid 1000 gid 1000; outside uid 18")


def test_nested_in_a_container_with_one_id():
    wrap = (*USERNS, "--mount", "--pid", "--fork", "--mount-proc", "--ipc", "--uts")
    assert tried("attempt()", *wrap) == [RAN]


@pytest.mark.needs_cgroups
def test_nested_in_a_jail_of_our_own_the_filter_around_is_named():
    package = str(Path(pyjail.__file__).parents[1])
    site = next(p for p in sys.path if p.endswith("site-packages"))
    code = f"import sys; sys.path[:0] = [{package!r}, {site!r}]\n" + REPORT + "attempt()"
    mounts = tuple(Mount.bind(p) for p in dict.fromkeys((package, site)))
    r = pyjail.run([sys.executable, "-c", code], QUICK, jail=Jail(mounts=mounts), text=True)
    assert r.stdout.startswith("clone3 | a seccomp filter around this process refuses clone3"), r.stderr


@pytest.mark.parametrize(
    ("wrap", "cause"),
    [
        (("--pid", "--fork"), "/proc is of another pid namespace"),
        (("--mount", *shell("mount -t tmpfs none /proc")), "there is no /proc"),
    ],
    ids=["another's", "none"],
)
def test_a_proc_that_does_not_show_this_process(wrap, cause):
    """What it shows under our own keeper's pid is another process: its maps must not be written."""
    lines = tried("attempt(); attempt(Jail(strict=False, proc=False))", *USERNS, *wrap)
    assert [line.startswith(f"proc | {cause} | mount one in") for line in lines] == [True, True]
    mended = (*USERNS, "--pid", "--fork", "--mount-proc")
    assert tried("attempt()", *mended) == [RAN]


@pytest.mark.needs_root
def test_cgroups_that_are_covered_are_not_taken_for_removed_ones():
    cover = shell("mount -t tmpfs none /sys/fs/cgroup")
    (line,) = tried("attempt(Jail())", "unshare", "--mount", *cover)
    assert "is covered by another mount" in line
    assert "umount what is over it" in line


def test_a_noexec_dev_shm_does_not_matter():
    assert tried("attempt()", *USERNS, "--mount", *shell("mount -t tmpfs -o noexec none /dev/shm")) == [RAN]


@pytest.mark.needs_root
@pytest.mark.parametrize("value", [1, 2])
def test_memfd_noexec(value):
    if not os.path.exists("/proc/sys/vm/memfd_noexec"):
        pytest.skip("vm.memfd_noexec is missing: Linux before 6.3")
    wrap = (*USERNS, "--mount", "--pid", "--fork", "--mount-proc")
    assert tried("attempt()", *wrap, *shell(f"echo {value} > /proc/sys/vm/memfd_noexec")) == [RAN]


@pytest.mark.skipif(not place.CGROUPS or place.is_v2() or os.geteuid() != 0, reason=place.ELSEWHERE)
def test_a_v1_limit_above_that_is_smaller_is_refused_and_its_kill_is_no_memory_verdict():
    own = next(h.own for h in host().hierarchies if h.version == 1 and "memory" in h.controllers)
    cell = Path(own, f"cell-{os.getpid()}")
    cell.mkdir()
    try:
        (cell / "memory.limit_in_bytes").write_text(str(80 << 20))
        code = """
        import sys
        attempt(Jail(strict=True))
        r = pyjail.run([sys.executable, "-c", "x = b'x' * 90000000"], jail=Jail(strict=False))
        print(r.verdict, "|", r.error)
        r = pyjail.run(["sh", "-c", "head -c 90000000 /dev/zero > /tmp/x"], Limits(memory="24M"))
        print(r.verdict, r.error)
        """
        lines = tried(code, *shell(f"echo 0 > {cell}/tasks"))
        assert lines[0].startswith(f"memory | {cell}/memory.limit_in_bytes is {80 << 20}, below what was asked")
        assert lines[1].startswith("jail_error | the kernel's out-of-memory killer took")
        assert f"{cell}/memory.limit_in_bytes = {80 << 20}" in lines[1]
        assert lines[2] == "memory None"
    finally:
        remove_tree(str(cell), 2)


@pytest.mark.needs_root
def test_the_keeper_is_not_in_proc_for_a_caller_of_group_0():
    """hidepid=invisible makes an exception for the group 0 of the host."""
    code = """
    import os, pyjail
    jail = pyjail.Jail(strict=False)
    print(pyjail.run(["sh", "-c", "ls -d /proc/1 /proc/1/stat; echo /proc/[0-9]*"], jail=jail, text=True).stdout, end="")
    """
    out = script(code, wrap=(sys.executable, "tests/as_user.py"), env=os.environ | {"AS_USER_GROUP": "0"})
    assert out.stdout.startswith("/proc/2"), (out.stdout, out.stderr)


@pytest.mark.needs_root
def test_the_guard_keeps_no_directory_of_the_caller_busy():
    code = """
    import os, pyjail
    pyjail.run(["true"])
    from pyjail.testing import idle
    print({os.readlink(f"/proc/{pid}/cwd") for pid in idle()})
    """
    out = script(code, cwd="/usr/share")
    assert "/usr/share" not in out.stdout, (out.stdout, out.stderr)
    assert out.stdout, out.stderr


@pytest.mark.needs_root
def test_the_same_pids_in_two_pid_namespaces_are_not_the_same_users():
    """Two containers in one user namespace: quotas, and files in what both may write, are counted by user."""
    code = """
    import pyjail, sys
    ids = pyjail.run(["true"]).receipt["ids"].value
    print(pyjail.testing.idle(), ids.partition("outside ")[2], sep="; ", flush=True)
    sys.stdin.read()
    """
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", textwrap.dedent(code)]
    containers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [container.stdout.readline().split("; ") for container in containers]
    for container in containers:
        container.communicate()
    assert said[0][0] == said[1][0] != "[]"
    assert said[0][1] != said[1][1]
