"""The keeper is under the filter and passes it by 64 random bits (docs/adr/0011): no program has them, or what they open."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

import pyjail
from pyjail import Jail, Limits, SeccompPolicy, SeccompRule, Verdict
from tests.conftest import QUICK, SLOW
from tests.host_side import keeper_below
from tests.scripts import until

REGISTERS = r"""
/* The registers that a program finds at its first instruction, and what lies above and below its stack pointer. */
__asm__(".globl _start\n_start:\n"
#ifdef __x86_64__
        "push %rax\npush %rbx\npush %rcx\npush %rdx\npush %rsi\npush %rdi\npush %rbp\n"
        "push %r8\npush %r9\npush %r10\npush %r11\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov $1, %edi\nmov %rsp, %rsi\nmov $120, %edx\nmov $1, %eax\nsyscall\n"
        "xor %edi, %edi\nmov $231, %eax\nsyscall\n"
#else
        "sub sp, sp, #256\nstp x0, x1, [sp]\nstp x2, x3, [sp, #16]\nstp x4, x5, [sp, #32]\nstp x6, x7, [sp, #48]\n"
        "stp x8, x9, [sp, #64]\nstp x10, x11, [sp, #80]\nstp x12, x13, [sp, #96]\nstr x14, [sp, #112]\n"
        "mov x0, #1\nmov x1, sp\nmov x2, #120\nmov x8, #64\nsvc 0\nmov x0, #0\nmov x8, #94\nsvc 0\n"
#endif
);
"""


def test_no_register_holds_anything_when_a_program_starts(cc):
    program = cc(REGISTERS, "-nostdlib", "-static")
    for _ in range(3):
        r = pyjail.run(["/box/p"], QUICK, files={"p": program})
        assert (r.verdict, len(r.stdout)) == (Verdict.OK, 120)
        assert r.stdout == bytes(120)


GUESS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/mount.h>
#include <unistd.h>
#include <stdint.h>
int main(void) {
  static uint64_t junk[512]; /* never written: what was here before us would be seen */
  long tried = 0, opened = 0;
  for (int i = 0; i < 20000; i++) {
    uint64_t guess = i < 512 ? junk[i] : i < 1024 ? (uint64_t)i * 0x100000001 : (uint64_t)rand() << 33 ^ (uint64_t)rand() << 11 ^ rand();
    if (i == 600) guess = 0x7373615073736150;
    tried++;
    errno = 0;
    long rc = syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0, guess);
    if (rc == 0 || (errno != EPERM && errno != ENOSYS)) opened++;
    errno = 0;
    rc = syscall(SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0, guess);
    if (rc == 0 || (errno != EPERM && errno != ENOSYS)) opened++;
    errno = 0;
    rc = syscall(SYS_io_uring_setup, 0, 0, 0, 0, 0, guess); /* EFAULT or EINVAL behind the filter */
    if (rc >= 0 || (errno != EPERM && errno != ENOSYS)) opened++;
  }
  printf("%ld %ld\n", tried, opened);
}
"""


def test_twenty_thousand_guesses_open_nothing(run_c):
    r = run_c(GUESS)
    assert (r.verdict, r.stdout) == (Verdict.OK, b"20000 0\n")


def test_a_guess_in_the_strict_profile_ends_the_run(cc):
    program = cc(
        "#include <sys/syscall.h>\n#include <unistd.h>\nint main() { syscall(SYS_mount, 0, 0, 0, 0, 0, 7L); }",
        "-static",
    )
    r = pyjail.run(["/box/p"], QUICK, jail=Jail(seccomp="strict"), files={"p": program})
    assert (r.verdict, r.syscall) == (Verdict.SECURITY, "mount")


MAKER = r"""
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>
int main(int n, char **v) {
  char name[64] = {0};
  if (readlink("/proc/self/ns/ipc", name, 63) < 0) return 1;
  int seg = -2, set = -2, queue = -2;
  if (n > 1) seg = shmget(7, 4096, IPC_CREAT | IPC_EXCL | 0666), set = semget(7, 3, IPC_CREAT | IPC_EXCL | 0666), queue = msgget(7, IPC_CREAT | IPC_EXCL | 0666);
  int there = -1; /* to look is to use it */
  if (n > 1) there = (shmget(7, 0, 0) >= 0) + (semget(7, 0, 0) >= 0) + (msgget(7, 0) >= 0);
  printf("%s %d %d %d %d\n", name, seg, set, queue, there);
}
"""


@pytest.mark.parametrize(
    "policy",
    [
        "default",
        "none",
        SeccompPolicy(refuse=("fork",)),
        SeccompPolicy(kill=("semctl",)),
        SeccompPolicy(kill=("mq_open",)),
    ],
    ids=["default", "none", "told", "kills another", "kills one of them"],
)
def test_who_uses_the_ipc_namespace_is_the_last_one_in_it(cc, policy):
    program = cc(MAKER, "-static")
    jail = Jail(seccomp=policy)

    def run(*args):
        r = pyjail.run(["/box/p", *args], QUICK, jail=jail, files={"p": program})
        assert r.verdict is Verdict.OK, r
        name, *ids = r.stdout.decode().split()
        assert [c.value for c in r.receipt if c.name == "namespace ipc"] == [name]
        return name, ids

    for _ in range(3):
        _, ids = run("make")
        assert ids == ["0", "0", "0", "3"]  # the first of each kind that this namespace has ever had


def test_an_ipc_namespace_that_nobody_has_used_serves_again(cc):
    program = cc(MAKER, "-static")
    with pyjail.Pool(1) as pool:
        names = [pool.run(["/box/p"], QUICK, files={"p": program}).stdout.split()[0] for _ in range(4)]
    assert len(set(names)) == 1


def test_arguments_larger_than_the_memory_limit_end_their_run_and_not_the_keeper():
    """Below 64 MiB a program does not share the keeper's memory before execve: the OOM killer would take both."""
    from pyjail.testing import idle

    many = ["x" * 100_000] * 40
    small, large = Limits(memory="2M", stack="64M"), Limits(memory="64M", stack="64M")
    for limits in (small, large, small):
        pyjail.run(["/bin/true"], limits)
        guards = set(idle())
        keepers = {keeper_below(pid) for pid in guards}
        r = pyjail.run(["/bin/true", *many], limits)
        if limits is large:
            assert r.verdict is Verdict.OK
        else:
            assert r.verdict in (Verdict.MEMORY, Verdict.OK), r
        assert pyjail.run(["/bin/echo", "alive"], limits).stdout == b"alive\n"
        assert until(lambda keepers=keepers: keepers & {keeper_below(pid) for pid in idle()})


def test_calls_that_are_told_of_cannot_keep_a_cpu_of_the_host_busy(run_c):
    """Each wakes the keeper, whose time no cgroup of the run is charged with: after some they wait for it."""
    source = """
    #include <stdio.h>
    #include <sys/shm.h>
    #include <time.h>
    #include <unistd.h>
    int main() {
      for (int i = 0; i < 8; i++) if (!fork()) break;
      for (long n = 0;; n++) shmget(1, 0, 0);
    }
    """
    pyjail.close()  # keepers of other tests are not counted
    before = os.times()
    r = run_c(source, Limits(wall_time=1 * SLOW, cpu_time=20))
    assert r.verdict is Verdict.WALL_TIME
    assert r.usage.cpu_time < 0.25 * SLOW
    pyjail.close()  # so that the keeper's time is told of
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent - r.usage.cpu_time < 0.3 * SLOW


def test_splice_under_a_condition_is_not_the_keepers():
    """It has no argument left for the pass: the keeper would wait for its own answer."""
    policy = SeccompPolicy(kill=("splice",), rules=(SeccompRule("splice", "allow", ((0, 9, 0xFFFFFFFF),)),))
    for seccomp in (policy, "strict", SeccompPolicy(kill=("splice",))):
        r = pyjail.run(["/bin/head", "-c", "300000", "/dev/zero"], QUICK, jail=Jail(seccomp=seccomp))
        assert (r.verdict, r.stdout) == (Verdict.OK, bytes(300000))
        capped = replace(QUICK, output=1000)
        r = pyjail.run(["/bin/head", "-c", "300000", "/dev/zero"], capped, jail=Jail(seccomp=seccomp))
        assert (r.verdict, r.stdout, r.stdout_bytes) == (Verdict.OUTPUT, bytes(1000), r.stdout_bytes)


def test_who_is_killed_while_such_a_call_waits_was_not_refused(run_c):
    """Its notification is gone when the keeper looks: in the default profile that is no refusal."""
    source = """
    #include <signal.h>
    #include <sys/shm.h>
    #include <sys/time.h>
    #include <unistd.h>
    void nothing(int sig) {}
    int main() {
      for (int i = 0; i < 40; i++) {
        if (fork()) continue;
        struct sigaction a = {.sa_handler = nothing};
        struct itimerval often = {{0, 200}, {0, 200}};
        if (i % 2) sigaction(SIGALRM, &a, 0), setitimer(ITIMER_REAL, &often, 0);
        for (;;) shmget(1, 0, 0);
      }
      usleep(30000);
    }
    """
    for _ in range(40):  # without care, one in twenty
        r = run_c(source)
        assert (r.verdict, r.syscall) == (Verdict.OK, None)
