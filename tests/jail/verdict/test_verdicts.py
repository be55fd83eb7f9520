"""Each way to end gives the right verdict, exit code, signal and partial output, on the evidence of the kernel."""

from __future__ import annotations

import os
import signal

import pytest

import pyjail
from pyjail import Jail, Limits, SeccompPolicy, Verdict
from tests import place
from tests.conftest import QUICK, SLOW
from tests.scripts import script

MIB = 1 << 20
SHORT = Limits(cpu_time=0.3, wall_time=10 * SLOW, cpus=None)
NAP = Limits(cpu_time=5, wall_time=0.3 if SLOW == 1 else 6)  # emulated, execve alone takes a tenth of a second and more
SMALL = Limits(cpu_time=10 * SLOW, wall_time=20 * SLOW, memory=32 * MIB, disk=256 * MIB, file_size=256 * MIB)
PRELUDE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
"""


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, Verdict.OK), (1, Verdict.RUNTIME_ERROR), (137, Verdict.RUNTIME_ERROR), (255, Verdict.RUNTIME_ERROR)],
)
def test_exit_codes(sh, code, verdict):
    r = sh(f"echo out; echo err >&2; exit {code}")
    assert (r.verdict, r.exit_code, r.returncode, r.signal) == (verdict, code, code, None)
    assert (r.stdout, r.stderr, r.stdout_bytes, r.stderr_bytes) == (b"out\n", b"err\n", 4, 4)


HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


@pytest.mark.parametrize("number", range(1, 32), ids=lambda n: signal.Signals(n).name)
def test_signals_raised_at_itself(run_c, number):
    limits = NAP if number in STOPPING else QUICK
    r = run_c(
        PRELUDE + 'int main(int c, char **v) { write(1, "x", 1); kill(getpid(), atoi(v[1])); return 7; }',
        limits,
        args=(str(number),),
    )
    if number in HARMLESS:
        assert (r.verdict, r.exit_code) == (Verdict.RUNTIME_ERROR, 7)
    elif number == signal.SIGSTOP:
        assert (r.verdict, r.signal, r.usage.idle) == (Verdict.WALL_TIME, 9, True)
    elif number in STOPPING:  # of an orphaned process group they are ignored (POSIX)
        assert (r.verdict, r.exit_code) == (Verdict.RUNTIME_ERROR, 7)
    else:
        assert (r.verdict, r.signal, r.returncode, r.exit_code) == (Verdict.SIGNALED, number, -number, None)
    assert r.stdout == b"x"


CRASHES = {
    "segfault": ("int main() { *(volatile int *)0 = 1; }", signal.SIGSEGV),
    "stack_overflow": (
        "int f(volatile char *p) { char b[4096]; b[0] = *p; return f(b) + b[0]; } int main() { char c = 1; return f(&c); }",
        signal.SIGSEGV,
    ),
    "abort": ("int main() { abort(); }", signal.SIGABRT),
    "division": ("int main() { volatile int z = 0; return 100 / z; }", signal.SIGFPE),
    "illegal": ("int main() { __builtin_trap(); }", signal.SIGILL),
    "file_size": (
        'int main() { int f = open("big", O_CREAT | O_WRONLY, 0644); lseek(f, 1 << 30, SEEK_SET); write(f, "x", 1); return 3; }',
        signal.SIGXFSZ,
    ),
}


@pytest.mark.parametrize("name", CRASHES)
def test_crashes(run_c, name):
    source, number = CRASHES[name]
    r = run_c(PRELUDE + source)
    assert (r.verdict, r.signal) == (Verdict.SIGNALED, number)
    assert r.limits_hit == frozenset()


BUSY = {
    "loop": "int main() { for (;;); }",
    "four_threads": "void *f(void *p) { for (;;); } int main() { pthread_t t; for (int i = 0; i < 3; i++) pthread_create(&t, 0, f, 0); f(0); }",
    "four_processes": "int main() { for (int i = 0; i < 3; i++) if (!fork()) break; for (;;); }",
    "double_forked_orphans": "int main() { if (!fork()) { for (int i = 0; i < 4; i++) if (!fork()) { setsid(); if (!fork()) for (;;); _exit(0); } _exit(0); } for (;;) pause(); }",
    "ignores_all_signals": "int main() { for (int i = 1; i < 65; i++) signal(i, SIG_IGN); for (;;); }",
    "short_lived_children": "int main() { for (;;) { int p = fork(); if (!p) { for (volatile int i = 0; i < 3000000; i++); _exit(0); } waitpid(p, 0, 0); } }",
}


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("name", BUSY)
def test_cpu_time_of_the_whole_tree(run_c, name):
    r = run_c(PRELUDE + BUSY[name], SHORT)
    assert r.verdict is Verdict.CPU_TIME
    assert r.signal == signal.SIGKILL
    assert r.usage.cpu_time >= SHORT.cpu_time
    assert "cpu_time" in r.limits_hit


@pytest.mark.parametrize(
    "source", ["int main() { for (;;) sleep(100); }", "int main() { raise(SIGSTOP); }"], ids=["sleep", "stop"]
)
def test_wall_time(run_c, source):
    r = run_c(PRELUDE + source, NAP)
    assert (r.verdict, r.signal) == (Verdict.WALL_TIME, signal.SIGKILL)
    assert r.usage.idle or SLOW > 1  # emulated, its start alone may take a tenth of that time
    assert r.usage.wall_time >= NAP.wall_time


HUNGRY = {
    "malloc": "int main() { for (;;) { char *p = malloc(1 << 20); memset(p, 1, 1 << 20); } }",
    "fork_then_malloc": "int main() { if (!fork()) for (;;) { char *p = malloc(1 << 20); memset(p, 1, 1 << 20); } wait(0); return 0; }",
    "grandchildren": "int main() { for (int i = 0; i < 8; i++) if (!fork()) { char *p = malloc(16 << 20); memset(p, 1, 16 << 20); pause(); } sleep(100); }",
    "tmpfs": 'int main() { int f = open("/tmp/x", O_CREAT | O_RDWR, 0644); char *b = malloc(1 << 20); memset(b, 1, 1 << 20); for (int i = 0; i < 200; i++) if (write(f, b, 1 << 20) < 1) return 5; return 6; }',
    "memfd": 'int main() { int f = memfd_create("x", 0); char *b = malloc(1 << 20); memset(b, 1, 1 << 20); for (int i = 0; i < 200; i++) if (write(f, b, 1 << 20) < 1) return 5; return 6; }',
    "sysv_shm": "int main() { for (int i = 0; i < 30; i++) { char *p = shmat(shmget(IPC_PRIVATE, 4 << 20, 0600 | IPC_CREAT), 0, 0); if (p == (void *)-1) return 5; memset(p, 1, 4 << 20); } return 6; }",
    "shared_anonymous": "int main() { char *p = mmap(0, 128 << 20, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0); memset(p, 1, 128 << 20); return 6; }",
    "pipes": "int main() { char *b = calloc(1, 1 << 20); for (int i = 0; i < 120; i++) { int p[2]; if (pipe(p)) return 5; fcntl(p[1], F_SETPIPE_SZ, 1 << 20); fcntl(p[1], F_SETFL, O_NONBLOCK); write(p[1], b, 1 << 20); } return 6; }",
    "ignoring_signals": "int main() { for (int i = 1; i < 65; i++) signal(i, SIG_IGN); for (;;) { char *p = malloc(1 << 20); memset(p, 1, 1 << 20); } }",
}


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("name", HUNGRY)
def test_memory_of_the_whole_tree(run_c, name):
    r = run_c(PRELUDE + HUNGRY[name], SMALL)
    if name == "pipes" and r.verdict is not Verdict.MEMORY:
        # pipe-user-pages-soft caps what one user's pipes hold before the cgroup does
        assert (r.verdict, r.usage.memory_peak <= SMALL.memory) == (Verdict.RUNTIME_ERROR, True)
        return
    assert r.verdict is Verdict.MEMORY
    assert r.oom_kills >= 1
    assert "memory" in r.limits_hit
    assert r.usage.memory_peak <= SMALL.memory * 1.05


def test_bss_too_big_for_exec_is_memory(run_c):
    r = run_c(
        "char big[1L << 45]; int main() { return big[5]; }", SMALL, flags=("-mcmodel=large", "-fno-pie", "-no-pie")
    )
    assert (r.verdict, r.signal) == (Verdict.MEMORY, signal.SIGSEGV)


@pytest.mark.needs_cgroups
def test_memory_too_small_to_start_is_memory():
    for size in (4096, 65536):
        assert pyjail.run(["/bin/true"], Limits(memory=size)).verdict is Verdict.MEMORY


@pytest.mark.needs_cgroups
def test_fork_bomb_is_held(run_c):
    limits = Limits(cpu_time=0.5 * SLOW, wall_time=3 * SLOW, processes=20)
    r = run_c(PRELUDE + "int main() { for (;;) fork(); }", limits)
    assert r.verdict in (Verdict.CPU_TIME, Verdict.WALL_TIME)
    assert r.usage.processes_peak == 20
    assert "processes" in r.limits_hit


@pytest.mark.needs_cgroups
def test_thread_bomb_is_held(run_c):
    source = 'void *f(void *p) { pause(); return 0; } int main() { pthread_t t; int n = 0; while (!pthread_create(&t, 0, f, 0)) n++; printf("%d", n); return 0; }'
    r = run_c(PRELUDE + source, Limits(processes=20))
    assert (r.verdict, r.stdout, r.usage.processes_peak) == (Verdict.OK, b"19", 20)
    assert r.limits_hit == {"processes"}


@pytest.mark.parametrize("streams", ["1", "2", "12"])
def test_endless_output(run_c, streams):
    limits = Limits(output=100_000, cpu_time=5 * SLOW)
    source = "int main(int c, char **v) { char b[4096]; memset(b, 97, 4096); for (;;) { if (strchr(v[1], 49)) write(1, b, 4096); if (strchr(v[1], 50)) write(2, b, 4096); } }"
    r = run_c(PRELUDE + source, limits, args=(streams,))
    assert r.verdict is Verdict.OUTPUT
    assert r.signal == signal.SIGKILL
    kept = {"1": (100_000, 0), "2": (0, 100_000)}.get(streams)
    if kept:
        assert (len(r.stdout), len(r.stderr)) == kept
    assert max(r.stdout_bytes, r.stderr_bytes) > 100_000
    assert max(len(r.stdout), len(r.stderr)) == 100_000


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_output_around_the_cap(sh, extra):
    r = sh(f"head -c {5000 + extra} /dev/zero", Limits(output=5000))
    assert r.verdict is (Verdict.OUTPUT if extra > 0 else Verdict.OK)
    assert len(r.stdout) == min(5000, 5000 + extra)
    assert r.stdout_bytes == 5000 + extra


def test_a_daemon_that_holds_stdout_does_not_hold_the_caller(run_c):
    source = 'int main() { if (!fork()) { setsid(); if (!fork()) for (;;) sleep(100); _exit(0); } write(1, "done", 4); return 0; }'
    r = run_c(PRELUDE + source)
    assert (r.verdict, r.stdout) == (Verdict.OK, b"done")
    assert r.usage.wall_time < 20 * SLOW


def test_refused_syscall_gets_an_errno(run_c):
    r = run_c(PRELUDE + 'int main() { int a = unshare(CLONE_NEWUSER), e = errno; printf("%d %d", a, e); return 0; }')
    assert (r.verdict, r.stdout) == (Verdict.OK, b"-1 1")


def test_strict_profile_kills_and_names_the_syscall(run_c):
    r = run_c(
        PRELUDE + 'int main() { write(1, "x", 1); socket(1, 1, 0); return 0; }', jail=pyjail.Jail(seccomp="strict")
    )
    assert (r.verdict, r.syscall, r.signal, r.stdout) == (Verdict.SECURITY, "socket", 9, b"x")


def test_a_refusal_in_a_child_ends_the_whole_jail(run_c):
    source = "int main() { if (!fork()) { syscall(SYS_unshare, 0); _exit(0); } for (;;) sleep(100); }"
    r = run_c(PRELUDE + source, jail=pyjail.Jail(seccomp=pyjail.SeccompPolicy(kill=("unshare",))))
    assert (r.verdict, r.syscall) == (Verdict.SECURITY, "unshare")
    assert r.usage.wall_time < 20 * SLOW


def test_raising_sigsys_is_not_security(run_c):
    r = run_c(PRELUDE + "int main() { raise(SIGSYS); }", jail=pyjail.Jail(seccomp="strict"))
    assert (r.verdict, r.signal) == (Verdict.SIGNALED, signal.SIGSYS)


def test_foreign_architecture_is_security(run_c):
    source = 'int main() { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20)); return 0; }'
    r = run_c(PRELUDE + source)
    assert (r.verdict, r.syscall) == (Verdict.SECURITY, "i386 syscall 20")
    source = source.replace("return 0", "return r == -38 ? 7 : 8")  # ENOSYS
    r = run_c(PRELUDE + source, jail=Jail(seccomp=SeccompPolicy(foreign="ENOSYS")))
    assert (r.verdict, r.exit_code) == (Verdict.RUNTIME_ERROR, 7)


def test_disk_and_inodes_are_capped_and_reported(sh):
    r = sh("head -c 3000000 /dev/zero > /box/x; echo $?", Limits(disk="1M"))
    assert (r.verdict, r.stdout) == (Verdict.OK, b"1\n")
    assert "disk" in r.limits_hit
    r = sh("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do : > /tmp/$i || exit 9; done", Limits(inodes=10))
    assert r.exit_code in (2, 9)
    assert "inodes" in r.limits_hit


WIDEN = "cpu_set_t s; memset(&s, 255, sizeof s); sched_setaffinity(0, sizeof s, &s);"


@pytest.mark.needs_cgroups
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason=place.ELSEWHERE)
def test_a_program_that_widens_a_narrow_affinity_has_no_more_cpu_time(cc):
    """The clock is first looked at when the limit could be passed on all CPUs that it can be on."""
    source = "void *f(void *p) { for (;;); } int main() { pthread_t t; %s pthread_create(&t, 0, f, 0); f(0); }"
    code = """
    import os, pyjail, sys
    from pathlib import Path
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    limits = pyjail.Limits(cpu_time=2, wall_time=60, cpus=None)
    r = pyjail.run(["./a"], limits, files={"a": Path(sys.argv[1])})
    print(r.verdict, r.usage.cpu_time)
    """
    out = script(code, arguments=(str(cc(PRELUDE + source % WIDEN)),))
    verdict, used = out.stdout.split()
    assert verdict == "cpu_time", out
    assert float(used) < 2.5


@pytest.mark.needs_cgroups
def test_cpus_is_a_share_of_cores(run_c):
    r = run_c(PRELUDE + BUSY["four_processes"], Limits(cpu_time=None, wall_time=1.0, cpus=0.05))
    assert r.verdict is Verdict.WALL_TIME
    assert 0 < r.usage.cpu_time < 0.05 * r.usage.wall_time + 0.25  # a busy machine gives it that much, too
    assert r.usage.throttled_time > 0


@pytest.mark.needs_cgroups
def test_cpus_as_a_set(run_c):
    r = run_c(
        PRELUDE
        + 'int main() { cpu_set_t s; CPU_ZERO(&s); for (int i = 0; i < 64; i++) CPU_SET(i, &s); sched_setaffinity(0, sizeof s, &s); sched_getaffinity(0, sizeof s, &s); printf("%d %d", CPU_COUNT(&s), CPU_ISSET(1, &s)); return 0; }',
        Limits(cpus={1}),
    )
    assert (r.stdout, r.receipt["cpus"].value) == (b"1 1", "1")


def test_address_space_only_when_asked(run_c):
    source = "int main() { void *p = mmap(0, 8L << 30, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); return p == MAP_FAILED; }"
    assert run_c(PRELUDE + source).verdict is Verdict.OK
    assert run_c(PRELUDE + source, Limits(address_space="1G")).exit_code == 1


@pytest.mark.parametrize("stack", ["8M", "64M"])
def test_stack_is_what_was_asked(run_c, stack):
    source = "int main() { volatile char b[20 << 20]; for (int i = 0; i < (20 << 20); i += 4096) b[i] = 1; return 0; }"
    r = run_c(PRELUDE + source, Limits(stack=stack))
    assert r.verdict is (Verdict.OK if stack == "64M" else Verdict.SIGNALED)


def test_a_wall_limit_is_kept_without_any_other_clock():
    """Nothing but the keeper's own timer: no cgroup is looked at meanwhile."""
    limits = Limits(wall_time=0.3, cpu_time=None, memory=None, processes=None, cpus=None)
    for _ in range(3):
        r = pyjail.run(["sleep", "100"], limits)
        assert r.verdict is Verdict.WALL_TIME
        assert r.usage.wall_time < 20 * SLOW


@pytest.mark.needs_cgroups
def test_no_count_of_ticks_ends_a_run_before_its_cpu_clock_does(sh):
    """RLIMIT_CPU charges whole ticks to whom it finds running, which a neighbour can arrange to be somebody else."""
    assert sh("ulimit -St; ulimit -Ht", Limits(cpu_time=1)).stdout == b"unlimited\nunlimited\n"


@pytest.mark.skipif(os.geteuid() != 0, reason=place.ELSEWHERE)
def test_without_a_cpu_clock_each_process_has_a_limit_of_its_own_and_it_is_told_as_cpu_time():
    limit, shown = (0.25, 3) if SLOW == 1 else (2, 6)
    code = f"""
    import pyjail
    limits = pyjail.Limits(cpu_time={limit}, wall_time=60, memory=None, processes=None, cpus=None)
    for command in ("ulimit -St", "while :; do :; done", "kill -XCPU $$"):
        r = pyjail.run(["sh", "-c", command], limits, jail=pyjail.Jail(strict=False))
        print(r.verdict, r.stdout)
    """
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh")
    out = script(code, wrap=hide)
    assert out.stdout == f"ok b'{shown}\\n'\ncpu_time b''\nsignaled b''\n", out


@pytest.mark.parametrize(("hard", "refused"), [(21, True), (22, False)])
def test_a_hard_cpu_rlimit_of_the_embedder_that_could_end_a_run_before_its_limit_is_told(hard, refused):
    code = f"""
    import pyjail, resource
    resource.setrlimit(resource.RLIMIT_CPU, ({hard}, {hard}))
    limits = pyjail.Limits(cpu_time=10, memory=None, processes=None, cpus=None)
    r = pyjail.run(["true"], limits, jail=pyjail.Jail(strict=False))
    print(r.verdict, r.receipt["cpu_time"].value)
    """
    out = script(code)
    assert out.stdout.startswith("ok "), out
    assert (f"hard RLIMIT_CPU is {hard} s" in out.stdout) is refused


def test_the_receipt_says_that_a_wall_time_is_the_default_of_its_cpu_time():
    for limits, follows in ((Limits(), True), (Limits(cpu_time=1), True), (Limits(wall_time=29), False)):
        told = pyjail.run(["true"], limits).receipt["wall_time"].value
        assert told.endswith(", the default with this cpu_time") is follows, (limits, told)


def test_more_cpus_than_there_are_are_refused_at_every_door():
    there = float(os.cpu_count() or 1)
    assert pyjail.run(["true"], Limits(cpus=there)).ok
    for wrong in (Limits(cpus=there + 1), Limits(cpus={8191})):
        with pyjail.Session() as session, pyjail.Pool(1) as pool:
            for door in (pyjail.run, pyjail.start, session.run, session.start, pool.run, pyjail.learn, pyjail.measure):
                with pytest.raises(pyjail.SpecError, match=r"cpus|limits"):
                    door(["true"], wrong)
