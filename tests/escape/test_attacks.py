"""One attack each: the program tries, says what it got, and must have got nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import threading
import time

import pytest

import pyjail
from pyjail import Jail, Limits, Mount, Verdict
from tests import place
from tests.conftest import QUICK, SLOW

HEAD = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
/* got(n, x): attack n returned x; below 0 is a refusal */
static int bad;
#define got(name, x) do { errno = 0; long r_ = (long)(x); if (r_ >= 0) { bad++; printf("GOT %s = %ld\n", name, r_); } } while (0)
#define done return bad
"""

SYSCALLS = {
    "unshare_user": "got(\"user\", unshare(CLONE_NEWUSER)); got(\"net\", unshare(CLONE_NEWNET)); got(\"ns\", unshare(CLONE_NEWNS)); got(\"pid\", unshare(CLONE_NEWPID));",
    "clone_new_namespaces": "int f[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWTIME}; for (int i = 0; i < 8; i++) { long p = syscall(SYS_clone, f[i] | SIGCHLD, 0, 0, 0, 0); if (!p) _exit(0); got(\"clone\", p); }",
    "clone3": "char a[88] = {0}; got(\"clone3\", syscall(SYS_clone3, a, 88)); if (errno != ENOSYS) bad++;",
    "setns": "int f = open(\"/proc/self/ns/mnt\", O_RDONLY); got(\"setns\", setns(f, 0));",
    "mount_api": "got(\"mount\", mount(\"x\", \"/tmp\", \"tmpfs\", 0, 0)); got(\"remount\", mount(0, \"/usr\", 0, MS_REMOUNT | MS_BIND, 0)); got(\"umount\", umount2(\"/proc\", MNT_DETACH)); got(\"pivot\", syscall(SYS_pivot_root, \".\", \".\")); got(\"chroot\", chroot(\"/tmp\")); got(\"open_tree\", syscall(428, -100, \"/\", 1)); got(\"fsopen\", syscall(430, \"tmpfs\", 0)); got(\"fspick\", syscall(433, -100, \"/\", 0)); char a[32] = {0}; got(\"setattr\", syscall(442, -100, \"/\", 0, a, 32));",
    "bpf_perf_userfaultfd": "char a[128] = {0}; got(\"bpf\", syscall(SYS_bpf, 0, a, 128)); got(\"perf\", syscall(SYS_perf_event_open, a, 0, -1, -1, 0)); got(\"uffd\", syscall(SYS_userfaultfd, 1)); got(\"uffd0\", syscall(SYS_userfaultfd, 0));",
    "io_uring": "char p[120] = {0}; got(\"setup\", syscall(425, 1, p)); got(\"enter\", syscall(426, 0, 0, 0, 0, 0, 0)); got(\"register\", syscall(427, -1, 0, 0, 0));",
    "keyring": "got(\"add\", syscall(SYS_add_key, \"user\", \"a\", \"b\", 1, KEY_SPEC_USER_KEYRING)); got(\"ctl\", syscall(SYS_keyctl, 0, KEY_SPEC_USER_KEYRING, 1)); got(\"request\", syscall(SYS_request_key, \"user\", \"a\", 0, 0));",
    "machine": "got(\"reboot\", syscall(SYS_reboot, 0xfee1dead, 672274793, 0)); got(\"swapon\", syscall(SYS_swapon, \"/tmp/x\", 0)); got(\"acct\", syscall(SYS_acct, \"/tmp/x\")); got(\"init_module\", syscall(SYS_init_module, 0, 0, \"\")); got(\"kexec\", syscall(SYS_kexec_load, 0, 0, 0, 0)); struct timeval t = {0}; got(\"time\", settimeofday(&t, 0)); got(\"hostname\", sethostname(\"x\", 1)); got(\"syslog\", syscall(SYS_syslog, 3, 0, 0)); got(\"iopl\", syscall(SYS_iopl, 3)); got(\"modify_ldt\", syscall(SYS_modify_ldt, 0, 0, 0)); got(\"quotactl\", syscall(SYS_quotactl, 0, 0, 0, 0));",
    "handles": "char h[136] = {8}; int m; got(\"name_to\", syscall(SYS_name_to_handle_at, -100, \"/usr\", h, &m, 0)); got(\"open_by\", syscall(SYS_open_by_handle_at, -100, h, 0));",
    "sockets": "int f[] = {AF_NETLINK, AF_PACKET, 38, 40, 31, 29, 21, 30, 44, 9, 3, AF_KEY}; for (int i = 0; i < 12; i++) got(\"socket\", socket(f[i], SOCK_RAW, 0)); int sv[2]; for (int i = 2; i < 46; i++) { if (socketpair(i, SOCK_STREAM, 0, sv) >= 0 || errno != EAFNOSUPPORT) { bad++; printf(\"socketpair %d: %d\\n\", i, errno); } } got(\"raw\", socket(AF_INET, SOCK_RAW, 1)); got(\"raw6\", socket(AF_INET6, SOCK_RAW, 58));",
    "personality": "got(\"read_implies_exec\", syscall(SYS_personality, 0x400000)); got(\"mmap_page_zero\", syscall(SYS_personality, 0x100000));",
    "scheduling": "struct sched_param p = {1}; got(\"fifo\", sched_setscheduler(0, SCHED_FIFO, &p)); got(\"rr\", sched_setscheduler(0, SCHED_RR, &p)); got(\"nice\", setpriority(PRIO_PROCESS, 0, -5)); got(\"nice1\", setpriority(PRIO_PROCESS, 1, 5)); got(\"ioprio\", syscall(SYS_ioprio_set, 1, 0, 0x2000));",
    "limits_up": "struct rlimit r = {1 << 20, 1 << 20}; got(\"nofile\", setrlimit(RLIMIT_NOFILE, &r)); r.rlim_cur = r.rlim_max = RLIM_INFINITY; got(\"fsize\", setrlimit(RLIMIT_FSIZE, &r)); got(\"stack\", setrlimit(RLIMIT_STACK, &r)); got(\"core\", setrlimit(RLIMIT_CORE, &r));",
    "leases_and_dnotify": "int f = open(\"/usr/bin/env\", O_RDONLY); got(\"lease\", fcntl(f, F_SETLEASE, F_RDLCK)); int d = open(\"/usr\", O_RDONLY); got(\"notify\", fcntl(d, F_NOTIFY, DN_CREATE)); got(\"fanotify\", syscall(SYS_fanotify_init, 0, 0));",
    "devices": "got(\"mknod\", mknod(\"/box/d\", S_IFCHR | 0666, 0x103)); got(\"mknod_b\", mknod(\"/tmp/d\", S_IFBLK | 0666, 0x800)); got(\"kmsg\", open(\"/dev/kmsg\", O_RDONLY)); got(\"mem\", open(\"/dev/mem\", O_RDONLY)); got(\"tty\", open(\"/dev/tty\", O_RDWR)); got(\"ptmx\", open(\"/dev/ptmx\", O_RDWR));",
    "read_only_places": "char *p[] = {\"/x\", \"/usr/x\", \"/etc/x\", \"/dev/x\", \"/proc/x\", \"/usr/bin/x\", \"/root/x\"}; for (int i = 0; i < 7; i++) got(p[i], open(p[i], O_CREAT | O_WRONLY, 0644)); got(\"passwd\", open(\"/etc/passwd\", O_WRONLY)); got(\"env\", open(\"/usr/bin/env\", O_WRONLY)); got(\"chmod\", chmod(\"/usr/bin/env\", 0777)); got(\"chmod_null\", chmod(\"/dev/null\", 0)); got(\"link\", link(\"/usr/bin/env\", \"/usr/bin/env2\"));",
    "init": "got(\"ptrace\", ptrace(PTRACE_ATTACH, 1, 0, 0)); got(\"seize\", ptrace(PTRACE_SEIZE, 1, 0, 0)); char b[8]; struct iovec v = {b, 8}, w = {(void *)0x400000, 8}; got(\"readv\", process_vm_readv(1, &v, 1, &w, 1, 0)); struct rlimit r = {0, 0}; got(\"prlimit\", prlimit(1, RLIMIT_NOFILE, &r, 0)); got(\"kcmp\", syscall(SYS_kcmp, 1, getpid(), 0, 0, 0)); int f = syscall(SYS_pidfd_open, 1, 0); got(\"getfd\", syscall(438, f, 0, 0)); char *n[] = {\"mem\", \"environ\", \"maps\", \"exe\", \"root\", \"cwd\", \"fd\", \"status\", \"stat\", \"io\"}; for (int i = 0; i < 10; i++) { char p[64]; sprintf(p, \"/proc/1/%s\", n[i]); got(p, open(p, O_RDONLY)); got(p, readlink(p, b, 8)); }",
    "tty_ioctls": "int cmds[] = {0x5412, 0x541C, 0x5423}; for (int i = 0; i < 3; i++) for (uint64_t hi = 0; hi < 2; hi++) { errno = 0; long r = syscall(SYS_ioctl, 0, cmds[i] | hi << 32, \"x\"); if (r >= 0 || errno != EPERM) bad++; }",
    "ptrace_a_stranger": "got(\"traceme\", ptrace(PTRACE_TRACEME, 0, 0, 0)); int p = fork(); if (!p) { pause(); _exit(0); } got(\"attach\", ptrace(PTRACE_ATTACH, p, 0, 0)); kill(p, 9);",
    "oom_score": "got(\"adj\", open(\"/proc/self/oom_score_adj\", O_WRONLY)); got(\"coredump_filter\", open(\"/proc/self/coredump_filter\", O_WRONLY)); got(\"uid_map\", open(\"/proc/self/uid_map\", O_WRONLY)); got(\"sysctl\", open(\"/proc/sys/kernel/core_pattern\", O_RDONLY)); got(\"sysrq\", open(\"/proc/sysrq-trigger\", O_WRONLY)); got(\"kcore\", open(\"/proc/kcore\", O_RDONLY)); got(\"keys\", open(\"/proc/keys\", O_RDONLY)); got(\"cmdline\", open(\"/proc/cmdline\", O_RDONLY));",
    "setuid": "got(\"root\", setuid(0)); got(\"resuid\", setresuid(0, 0, 0)); got(\"groups\", setgroups(0, 0)); got(\"gid\", setgid(0));",
}  # fmt: skip


@pytest.mark.parametrize("name", SYSCALLS)
def test_refused(run_c, name):
    r = run_c(HEAD + "int main() { " + SYSCALLS[name] + " done; }")
    assert (r.verdict, r.stdout) == (Verdict.OK, b"")


def test_nothing_but_three_fds_is_open_and_none_leads_outside(run_c):
    source = 'int main() { for (int i = 3; i < 4096; i++) if (fcntl(i, F_GETFD) >= 0) { bad++; printf("%d", i); } char b[4096]; puts(getcwd(b, 4096)); done; }'
    assert run_c(HEAD + source).stdout == b"/box\n"


def test_no_capability_and_no_new_privs(sh):
    status = dict(
        line.split(":\t")
        for line in sh("grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status", text=True).stdout.splitlines()
    )
    assert {v for k, v in status.items() if k.startswith("Cap")} == {"0000000000000000"}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_a_setuid_root_copy_gains_nothing(sh, tmp_path):
    jail = Jail(mounts=(Mount.bind(tmp_path, "/s"),))
    os.chmod(tmp_path, 0o755)
    copy = tmp_path / "id"
    shutil.copy("/usr/bin/id", copy)
    os.chmod(copy, 0o6755)
    r = sh("/s/id -u; cp /usr/bin/id x && chmod 6755 x && ./x -u", jail=jail)
    assert r.stdout == b"1000\n1000\n"


def test_signals_to_everyone_reach_only_the_jail(run_c):
    source = 'int main() { signal(SIGTERM, SIG_IGN); signal(SIGHUP, SIG_IGN); for (int s = 1; s < 65; s++) { kill(1, s); if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33) { signal(s, SIG_IGN); kill(-1, s); kill(0, s); } } kill(-1, SIGSTOP); puts("alive"); fflush(stdout); return 5; }'
    r = run_c(HEAD + source)
    assert (r.verdict, r.exit_code, r.stdout) == (Verdict.RUNTIME_ERROR, 5, b"alive\n")


def test_signals_to_init_do_nothing_without_landlock_too(run_c):
    source = 'int main() { for (int i = 0; i < 100; i++) for (int s = 1; s < 65; s++) kill(1, s); usleep(50000); puts("alive"); return 5; }'
    for limits in (Limits(), Limits(wall_time=30)):
        r = run_c(HEAD + source, limits, jail=Jail(landlock=False))
        assert (r.verdict, r.exit_code, r.stdout) == (Verdict.RUNTIME_ERROR, 5, b"alive\n")


def test_killing_its_own_group_is_signaled(run_c):
    r = run_c(HEAD + "int main() { kill(0, SIGKILL); return 0; }")
    assert (r.verdict, r.signal) == (Verdict.SIGNALED, signal.SIGKILL)


def test_stopping_everything_only_costs_wall_time(run_c):
    r = run_c(
        HEAD + "int main() { if (!fork()) { for (;;) { kill(-1, SIGSTOP); kill(1, SIGSTOP); } } for (;;) pause(); }",
        Limits(wall_time=0.5 * SLOW, cpu_time=10 * SLOW),
    )
    assert r.verdict is Verdict.WALL_TIME


def test_fds_closed_flooded_and_duplicated_change_no_verdict(run_c):
    source = 'int main() { for (int i = 0; i < 256; i++) close(i); for (int i = 0; i < 300; i++) { int p[2]; if (pipe(p)) break; write(p[1], "forged", 6); } return 9; }'
    r = run_c(HEAD + source)
    assert (r.verdict, r.exit_code, r.stdout) == (Verdict.RUNTIME_ERROR, 9, b"")


STATE = {
    "box": ("echo x > /box/left", "ls /box/left"),
    "tmp": ("echo x > /tmp/left", "ls /tmp/left"),
    "shm": ("echo x > /dev/shm/left", "ls /dev/shm/left"),
    "process": ("sleep 100 & echo", "grep -l sleep /proc/[0-9]*/comm"),
}


@pytest.mark.parametrize("what", STATE)
def test_no_files_or_processes_pass_from_run_to_run(sh, what):
    leave, look = STATE[what]
    for _ in range(3):
        assert sh(leave).ok
        assert sh(look).stdout == b""


IPC = r"""
int main(int c, char **v) {
  if (v[1][0] == 'w') {
    shmget(77, 4096, 0666 | IPC_CREAT); semget(77, 1, 0666 | IPC_CREAT); msgget(77, 0666 | IPC_CREAT);
    syscall(SYS_mq_open, "q", O_CREAT | O_RDWR, 0666, 0);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = {AF_UNIX, "\0jail"};
    bind(s, (void *)&a, 7); listen(s, 1);
    int f = open("/usr/bin/env", O_RDONLY); flock(f, LOCK_EX);
    if (v[1][1] == 'w') { puts("ready"); fflush(stdout); sleep(2); }
    return 0;
  }
  got("shm", shmget(77, 0, 0)); got("sem", semget(77, 0, 0)); got("msg", msgget(77, 0));
  got("mq", syscall(SYS_mq_open, "q", O_RDWR, 0, 0));
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un a = {AF_UNIX, "\0jail"};
  got("abstract", connect(s, (void *)&a, 7));
  done;
}
"""


def test_no_ipc_passes_from_run_to_run(run_c):
    for _ in range(3):
        assert run_c(HEAD + IPC, args=("w",)).ok
        r = run_c(HEAD + IPC, args=("r",))
        assert (r.verdict, r.stdout) == (Verdict.OK, b"")


def test_no_ipc_passes_between_two_jails_at_once(run_c):
    results = []
    t = threading.Thread(target=lambda: results.append(run_c(HEAD + IPC, args=("ww",))))
    t.start()
    time.sleep(0.5 * SLOW)
    r = run_c(HEAD + IPC, args=("r",))
    t.join()
    assert (r.verdict, r.stdout) == (Verdict.OK, b"")
    assert results[0].stdout == b"ready\n"


def test_two_jails_at_once_have_different_outside_ids():
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(pyjail.start(["cat"], pyjail.Limits(wall_time=None))) for _ in range(4)]
        for program in programs:
            program.stdin.write(b"x\n")
            program.stdin.flush()
            assert program.stdout.readline() == b"x\n"  # it runs: what it is was read
            program.kill()
            program.wait()
        found = [program.result.receipt["ids"].value for program in programs]
    assert len(set(found)) == (1 if place.single_mapping() else 4)


def test_the_host_cannot_be_reached_over_loopback(py):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"import socket\ntry:\n  socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)\n  print('reached')\nexcept OSError: print('no')"
        for network in ("none", "loopback"):
            assert py(source, jail=Jail(network=network)).stdout == b"no\n"


def test_ports_in_time_wait_do_not_pass_between_runs(py):
    source = """
    import socket
    a = socket.socket(); a.bind(('127.0.0.1', 5555)); a.listen()
    b = socket.create_connection(('127.0.0.1', 5555)); c, _ = a.accept(); c.close(); b.close(); a.close()
    print(open('/proc/self/ns/net') and 'bound')
    """
    for _ in range(3):
        assert py(source, jail=Jail(network="loopback")).stdout == b"bound\n"


def test_a_host_file_with_mode_0600_is_unreadable_even_where_it_is_bound(sh, tmp_path):
    os.chmod(tmp_path, 0o755)
    (tmp_path / "secret").write_text("canary")
    os.chmod(tmp_path / "secret", 0o600)
    r = sh("cat /s/secret", jail=Jail(mounts=(Mount.bind(tmp_path, "/s"),)))
    if os.getuid() == 0:
        assert b"canary" not in r.stdout


def test_a_bind_source_swapped_for_a_symlink_is_not_followed(sh, tmp_path):
    os.chmod(tmp_path, 0o755)
    good, secret = tmp_path / "good", tmp_path / "secret"
    good.mkdir()
    secret.mkdir()
    (secret / "canary").write_text("canary")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            os.rename(good, tmp_path / "away")
            os.symlink(secret, good)
            os.unlink(good)
            os.rename(tmp_path / "away", good)

    t = threading.Thread(target=swap)
    t.start()
    try:
        for _ in range(25):
            try:
                r = sh("ls -A /m", jail=Jail(mounts=(Mount.bind(good, "/m"),), fresh=True))
            except (pyjail.SpecError, pyjail.SetupError):
                continue
            # realpath may have seen the link in time: then it is what the caller named
            assert r.stdout in (b"", b"canary\n")
            if r.stdout:
                assert r.ok
    finally:
        stop.set()
        t.join()


def test_a_symlink_that_a_run_leaves_in_the_way_of_the_next_ones_mount_is_not_followed(sh, tmp_path):
    tree = tmp_path / "tree"
    (tree / "in/here").mkdir(parents=True)
    for path in (tmp_path, tree, tree / "in", tree / "in/here"):
        path.chmod(0o777)
    jail = Jail(mounts=(Mount.bind(tree, "/tree", ro=False), Mount.tmpfs("/tree/in/here", "1M")))
    assert sh("grep -c /tree/in/here /proc/self/mounts", jail=jail).stdout == b"1\n"
    assert sh("mkdir -p /tmp/here && mv /tree/in /tree/out && ln -s /tmp /tree/in", jail=jail).ok
    try:  # the plan is made anew, and has directories of ours there, where others have taken our cgroups away meanwhile
        assert sh("grep -c ' /tmp/here' /proc/self/mounts", jail=jail).stdout == b"0\n"
    except pyjail.SetupError as e:
        assert (e.step in ("tmpfs", "mount"), e.errno) == (True, errno.ELOOP)


def test_nor_is_one_in_the_way_of_a_mount_that_is_put_back_into_a_fresh_tmpfs(sh, tmp_path):
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "in/share/misc").mkdir(parents=True)
    other.mkdir()
    for path in (tmp_path, tree, tree / "in", tree / "in/share", other):
        path.chmod(0o777)
    inner = (Mount.tmpfs("/tree/in/share", "1M"), Mount.bind(other, "/tree/in/share/misc"))
    jail = Jail(mounts=(Mount.bind(tree, "/tree", ro=False), *inner))
    assert sh("ls /tree/in/share", jail=jail).stdout == b"misc\n"
    assert sh("mv /tree/in /tree/out && ln -s /usr /tree/in", jail=jail).ok  # the jail's own has share/misc, too
    try:  # as above
        assert sh("grep -c ' /usr/share' /proc/self/mounts", jail=jail).stdout == b"0\n"
    except pyjail.SetupError as e:
        assert (e.step in ("run_mount", "mount"), e.errno) == (True, errno.ELOOP)  # the latter of a new keeper


@pytest.mark.needs_root
def test_unix_sockets_of_the_host_below_a_bind_take_no_connections_from_strangers(py, tmp_path):
    """connect(2) needs write permission, which an id of the keeper's own has only where everybody has it."""
    import socket

    os.chmod(tmp_path, 0o755)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()
    server.setblocking(False)
    try:
        py(
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/m/s'); s.send(b'x')",
            jail=Jail(mounts=(Mount.bind(tmp_path, "/m"),)),
        )
        try:
            server.accept()
            reached = True
        except BlockingIOError:
            reached = False
        assert not reached
    finally:
        server.close()


def test_core_files_are_not_written(run_c):
    r = run_c(HEAD + "int main() { abort(); }", collect=["*core*"])
    assert (r.files, r.signal) == ({}, signal.SIGABRT)


@pytest.mark.needs_cgroups
def test_cpu_time_cannot_be_hidden_in_children_nobody_waits_for(run_c):
    source = "int main() { signal(SIGCHLD, SIG_IGN); for (int i = 0; i < 40; i++) if (!fork()) { for (volatile long j = 0; j < 20000000; j++); _exit(0); } sleep(1); for (int i = 0; i < 100; i++) wait(0); return 0; }"
    r = run_c(HEAD + source, Limits(cpu_time=20 * SLOW, wall_time=40 * SLOW, cpus=None))
    assert r.usage.cpu_time > 0.1
    assert r.usage.cpu_time == pytest.approx(r.usage.user_time + r.usage.system_time)


@pytest.mark.needs_cgroups
def test_a_fork_bomb_that_changes_sessions_is_gone_at_once(run_c):
    source = "int main() { for (;;) { if (!fork()) { setsid(); signal(SIGTERM, SIG_IGN); } } }"
    r = run_c(HEAD + source, Limits(wall_time=0.7 * SLOW, cpu_time=20 * SLOW, processes=50))
    assert r.verdict is Verdict.WALL_TIME
    assert r.usage.processes_peak <= 50
    assert r.usage.teardown_time < 20 * SLOW


@pytest.mark.needs_cgroups
def test_twenty_bombs_in_parallel(run_c):
    source = "int main() { for (;;) fork(); }"
    run_c(HEAD + "int main() { for (;;) fork(); }", Limits(wall_time=0.1, processes=2))  # compile it once
    found = []
    limits = Limits(wall_time=1.5 * SLOW, cpu_time=20 * SLOW, processes=10, cpus=0.2)
    threads = [threading.Thread(target=lambda: found.append(run_c(HEAD + source, limits).verdict)) for _ in range(20)]
    start = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [Verdict.WALL_TIME] * 20
    assert time.monotonic() - start < 30 * SLOW


def test_compile_time_inclusion_reads_nothing(sh):
    files = {"a.c": '#include "/etc/shadow"\n', "b.s": '.incbin "/etc/shadow"\n', "c.c": "int main() { return 0; }\n"}
    r = sh("gcc a.c; gcc b.s; gcc c.c && ./a.out; echo $?", Limits(memory="512M", cpu_time=20 * SLOW), files=files)
    assert b"root:" not in r.stdout + r.stderr
    assert r.stdout == b"0\n"


def test_quick_limits_of_the_tests_themselves():
    assert QUICK.cpu_time >= 5
