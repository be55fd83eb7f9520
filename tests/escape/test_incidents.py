"""Incidents of the field that have no test elsewhere (docs/incidents.md has the whole list)."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys

import pytest

import pyjail
from pyjail import Jail, Limits, Verdict
from tests import place
from tests.conftest import SLOW
from tests.examples import HealthCheck, given, settings, st
from tests.scripts import PRELUDE


def test_no_cgroup_file_system_is_visible_or_can_be_made(py):
    """nsjail#199; CVE-2022-0492: release_agent."""
    code = """
    import os
    print([line.split()[1] for line in open("/proc/self/mounts") if "cgroup" in line])
    found = []
    for top, directories, names in os.walk("/"):
        if top == "/":
            directories[:] = sorted({*directories} - {"usr", "opt", "root", "home", "proc"})
        found += {*names} & {"cgroup.procs", "tasks", "release_agent", "memory.max", "notify_on_release"}
    print(found)
    for path in ("/sys/fs/cgroup", "/sys", "/proc/1/root/sys/fs/cgroup"):
        try: os.mkdir(path + "/x"); print("made", path)
        except OSError: pass
    print(open("/proc/self/cgroup").read().split())
    """
    out = py(code).stdout.decode().splitlines()
    assert out[:2] == ["[]", "[]"]
    assert len(out) == 3
    assert all(entry.endswith(":/") for entry in re.findall(r"'([^']*)'", out[2]) if entry.startswith("0::"))


def test_python_tricks_run_and_reach_nothing(py):
    """Lists of forbidden words are not a jail: what such tools refuse runs here, and finds nothing."""
    r = py(
        """
        import ctypes, marshal, os.path
        secret = __import__("os").path.exists("/etc/shadow")
        subclasses = ().__class__.__base__.__subclasses__()
        popen = next(c for c in subclasses if c.__name__ == "_wrap_close")
        code = marshal.loads(marshal.dumps(compile("1 + 1", "", "eval")))
        print(secret, popen.__init__.__globals__["system"]("true"), ctypes.CDLL(None).getuid(), eval(code))
        """
    )
    assert r.stdout == b"False 0 1000 2\n"


def test_a_jail_started_from_a_real_terminal_does_not_have_it(tmp_path):
    """CVE-2017-5226: TIOCSTI types on the caller's terminal."""
    attack = """
import fcntl, os, termios
for fd in (0, 1, 2):
    for request in (termios.TIOCSTI, 0x541C, termios.TIOCSETD, termios.TIOCCONS, termios.TIOCSTI | 1 << 32):
        try: fcntl.ioctl(fd, request & (1 << 64) - 1, b"x"); print("GOT", fd, request)
        except (OSError, OverflowError): pass
    try: os.tcsetpgrp(fd, os.getpgrp()); print("GOT tcsetpgrp", fd)
    except OSError: pass
try: os.open("/dev/tty", os.O_RDWR); print("GOT /dev/tty")
except OSError: pass
print("tried", os.isatty(0))
"""
    code = f"{PRELUDE}import pyjail, sys; r = pyjail.run([sys.executable, '-I', '-c', {attack!r}]); print(r.stdout, r.stderr)"
    pid, master = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    seen = b""
    while select.select([master], [], [], 30 * SLOW)[0]:
        try:
            data = os.read(master, 4096)
        except OSError:  # EIO: the other side is closed
            break
        if not data:
            break
        seen += data
    os.waitpid(pid, 0)
    os.close(master)
    assert b"tried False" in seen
    assert b"GOT" not in seen


@pytest.mark.parametrize("cwd", ["/proc/self/fd/7", "/proc/self/fd/3/..", "/proc/1/cwd", "/proc/self/root/.."])
def test_a_working_directory_cannot_lead_outside(cwd):
    """CVE-2024-21626: a leaked directory fd as working directory."""
    held = os.open("/", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        r = pyjail.run(["pwd"], cwd=cwd, text=True)
        assert r.stdout == "/\n"  # of the jail
        assert "etc/shadow" not in pyjail.run(["ls", "etc/shadow"], cwd=cwd, text=True).stdout
    except (pyjail.SetupError, pyjail.SpecError):
        pass
    finally:
        os.close(held)


def test_proc_and_sys_have_nothing_of_the_machine(py):
    """What container runtimes mask by name, one CVE after the other, is not there at all."""
    r = py(
        """
        import os
        names = ("sys", "sysrq-trigger", "kcore", "keys", "key-users", "timer_list", "sched_debug", "kallsyms", "kmsg",
                 "acpi", "scsi", "interrupts", "bus", "irq", "fs", "cmdline", "mounts", "modules", "version", "config.gz",
                 "partitions", "diskstats", "vmallocinfo", "slabinfo", "iomem", "ioports", "cpuinfo", "meminfo", "tty")
        print([n for n in names if os.path.lexists("/proc/" + n) and n != "mounts"])
        print([n for n in ("firmware", "power", "kernel", "class", "devices", "fs") if os.path.exists("/sys/" + n)])
        print(sorted(n for n in os.listdir("/proc") if n.isdigit() and int(n) not in (1, os.getpid())))
        """,
        Limits(cpu_time=10 * SLOW, wall_time=20 * SLOW),
    )
    assert r.stdout.decode().splitlines() == ["[]", "[]", "[]"]


@pytest.mark.needs_root
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: apt-get install strace")
def test_no_privileged_path_operation_happens_below_a_workspace(tmp_path):
    """judge0 (CVE-2024-28185, -28189): the service followed what the program had put on its path."""
    log = tmp_path / "log"
    code = (
        PRELUDE
        + """
import pyjail
plant = "mkdir -p d; ln -s /etc d/etc; ln -sf /etc/shadow out; ln -s / root; echo x > d/f; mkfifo p; echo MARK"
r = pyjail.run(["/bin/sh", "-c", plant], files={"a/b": b"1", "c": b"2"}, collect=["**", "out", "d/etc/shadow"])
print(sorted(r.files))
"""
    )
    strace = ["strace", "-f", "-y", "-s", "200", "-o", str(log), "-e", "trace=%file,openat2,mkdirat,unlinkat,execve"]
    out = subprocess.run([*strace, sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert out.stdout == "['a/b', 'c', 'd/f']\n", out.stderr
    lines = log.read_text().splitlines()
    program = {line.split()[0] for line in lines if 'execve("/bin/sh"' in line}
    assert len(program) == 1
    children = {line.split()[0] for line in lines if re.search(r'execve\("/(usr/)?bin/(mkdir|ln|mkfifo)"', line)}
    ours = [line for line in lines if line.split()[0] not in program | children]
    inside = [line for line in ours if re.search(r'"(?:/box/|box/)?(?:a/b|a|c|d|d/f|d/etc\S*|out|root|p)"', line)]
    assert any("openat2" in line for line in inside)  # the trace does show our work
    for line in inside:
        assert re.search(r"\b(openat2|mkdirat|newfstatat|unlinkat)\(\d+<", line), line  # below an fd, never AT_FDCWD
        if "openat2(" in line:
            assert "RESOLVE_BENEATH" in line or "RESOLVE_NO_SYMLINKS" in line, line


LIMIT = st.fixed_dictionaries(
    {
        "cpu_time": st.floats(0.05, 2),
        "wall_time": st.floats(0.05, 2),
        "memory": st.integers(1 << 20, 64 << 20),
        "processes": st.integers(1, 30),
        "output": st.integers(1, 100_000),
        "disk": st.integers(4096, 8 << 20),
        "open_files": st.integers(4, 200),
        "file_size": st.integers(1, 4 << 20),
    }
)
WORK = """
(while :; do :; done) & head -c 3000000 /dev/zero > /tmp/a; head -c 20000 /dev/zero; for i in 1 2 3 4; do sleep 0.01 & done; wait 2>/dev/null
exit 3
"""


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(LIMIT, st.sampled_from(["true", "exit 3", WORK, "kill -9 $$", "cat /dev/zero", "sleep 5"]))
def test_results_under_random_limits_are_consistent(given_limits, work):
    limits = Limits(
        **given_limits | {"wall_time": given_limits["wall_time"] * SLOW, "cpu_time": given_limits["cpu_time"] * SLOW}
    )
    try:
        r = pyjail.run(["sh", "-c", work], limits)
    except pyjail.SetupError as e:  # so few files or processes that not even the start is possible
        assert e.errno in (11, 12, 24), e
        return
    u = r.usage
    if u.wall_time is None:  # no program was started: too little memory even for that
        assert r.verdict is Verdict.MEMORY
        return
    assert u.wall_time >= 0
    if r.verdict is not Verdict.JAIL_ERROR and u.cpu_time is not None:
        assert u.cpu_time <= (u.wall_time + 0.1 * SLOW) * (os.cpu_count() or 1) + 0.1 * SLOW
    assert len(r.stdout) <= limits.output
    assert len(r.stdout) <= r.stdout_bytes
    assert (r.exit_code is None) != (r.signal is None)
    assert r.ok == (r.verdict is Verdict.OK)
    if place.CGROUPS:
        assert u.memory_peak <= limits.memory + (1 << 20)
        assert u.processes_peak <= limits.processes
    if r.verdict is Verdict.MEMORY:
        assert r.oom_kills > 0 or not u.memory_peak or u.memory_peak < limits.memory
    if r.verdict is Verdict.OUTPUT:
        assert max(r.stdout_bytes, r.stderr_bytes) > limits.output
    if r.verdict is Verdict.OK:
        assert (r.exit_code, r.signal) == (0, None)


LOWER_CORE = """
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() {
  struct rlimit l = {0, 1}, now;
  printf("%d %d", setrlimit(RLIMIT_CORE, &l), (int)syscall(SYS_prlimit64, 0, RLIMIT_CORE, &l, 0));
#ifdef SYS_setrlimit
  printf(" %d", (int)syscall(SYS_setrlimit, RLIMIT_CORE, &l));
#endif
  getrlimit(RLIMIT_CORE, &now);
  printf(" %d %d", (int)now.rlim_cur, (int)now.rlim_max);
}
"""


@pytest.mark.parametrize("seccomp", ["default", "strict"])
def test_a_program_cannot_turn_the_hosts_core_handler_on_again(run_c, seccomp):
    """A piped core_pattern is skipped for a soft limit of exactly 1 (core(5)); lowering it needs no right."""
    r = run_c(LOWER_CORE, jail=Jail(seccomp=seccomp))
    if seccomp == "strict":  # setrlimit ends the run there, prlimit64 is what libc uses
        assert r.stdout in (b"-1 -1 1 1", b"") and (r.stdout or r.syscall == "setrlimit")
    else:
        assert r.stdout == b"-1 -1 -1 1 1"


def test_queued_signals_of_a_jail_leave_the_hosts_alone(run_c):
    """RLIMIT_SIGPENDING counts for the user that made the namespace: the whole host's root, otherwise."""
    source = """
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() {
  sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0);
  int n = 0;
  while (n < 1000000 && syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 40) == 0) n++;
  printf("%d", n);
}
"""
    assert int(run_c(source).stdout) <= 1024


def test_the_hosts_disks_cannot_be_flushed(run_c):
    source = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() {
  int a = syscall(SYS_sync), b = errno, c = syncfs(open("/usr/bin/env", O_RDONLY)), d = errno;
  printf("%d %d %d %d %d", a, b, c, d, posix_fadvise(open("/usr/bin/env", O_RDONLY), 0, 0, POSIX_FADV_DONTNEED));
}
"""
    assert run_c(source).stdout == b"-1 1 -1 1 1"


@pytest.mark.needs_cgroups
def test_a_program_that_ended_in_time_is_not_late_because_of_what_it_leaves(run_c):
    """Killing the rest counts against no wall limit: whether the program was late is decided when it ends."""
    source = """
#include <sys/mman.h>
#include <unistd.h>
int main() {
  for (int i = 0; i < 20; i++) if (!fork()) { /* each takes its time to be killed */
    char *p = mmap(0, 1ul << 32, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (long k = 0; k < 40000; k++) if (mprotect(p + k * 8192, 4096, PROT_NONE)) break;
    pause();
  }
  sleep(1); return 0;
}
"""
    limit = 1.2 * SLOW
    r = run_c(source, Limits(memory="1G", wall_time=limit, cpu_time=60 * SLOW))
    assert r.verdict is (Verdict.OK if r.usage.wall_time < limit else Verdict.WALL_TIME)
