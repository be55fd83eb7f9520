"""What the filter alone keeps away: the host's disk, its module loader, and what sockets and files tell of the machine."""

from __future__ import annotations

import errno
import subprocess

import pytest

import pyjail
from pyjail import Jail, Limits, Mount, SeccompPolicy, SeccompRule, Verdict
from tests.conftest import QUICK, SLOW

FLUSHES = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
/* A kernel that is asked says EBADF, EINVAL and ENOMEM. */
#define say(x) do { errno = 0; long r_ = x; printf("%ld:%d ", r_, errno); } while (0)
int main() {
  int p[2];
  pipe(p);
  say(fsync(p[0])); say(fdatasync(p[0])); say(fsync(-1));
  say(syscall(SYS_sync_file_range, -1, 0L, 0L, 7));
  say(msync((void *)4096, 4096, MS_SYNC));
  say(msync((void *)4096, 4096, MS_SYNC | MS_INVALIDATE));
  say(msync((void *)4096, 4096, MS_ASYNC)); /* flushes nothing, and tells a program whether its memory is there */
}
"""
KERNEL = f"-1:{errno.EINVAL} -1:{errno.EINVAL} -1:{errno.EBADF} -1:{errno.EBADF} " + f"-1:{errno.ENOMEM} " * 3
NOTHING = "0:0 " * 6 + f"-1:{errno.ENOMEM} "


@pytest.mark.parametrize("network", ["none", "loopback"])
def test_the_hosts_disk_is_not_flushed_where_nothing_on_it_can_be_written(run_c, network):
    """fsync(2) and msync(2) of a file that is only read flush the disk below it, for whoever reads it."""
    assert run_c(FLUSHES, jail=Jail(network=network)).stdout.decode() == NOTHING


def test_what_is_written_into_a_bind_reaches_its_disk(run_c, tmp_path):
    for ro, said in (True, NOTHING), (False, KERNEL):
        r = run_c(FLUSHES, jail=Jail(mounts=(Mount.bind(tmp_path, "/data", ro=ro),)))
        assert r.stdout.decode() == said
    policy = SeccompPolicy(refuse=("mount",))  # a policy of one's own is compiled, none that is shipped is taken
    assert run_c(FLUSHES, jail=Jail(seccomp=policy)).stdout.decode() == NOTHING


def test_a_policy_can_answer_without_the_call_too(run_c, tmp_path):
    policy = SeccompPolicy(rules=tuple(SeccompRule(name, "noop") for name in ("fsync", "fdatasync")))
    jail = Jail(seccomp=policy, mounts=(Mount.bind(tmp_path, "/data", ro=False),))
    assert run_c(FLUSHES, jail=jail).stdout.decode().split()[:4] == ["0:0", "0:0", "0:0", f"-1:{errno.EBADF}"]


def test_a_database_in_box_works_without_a_flush(py):
    r = py("""
        import sqlite3
        db = sqlite3.connect("/box/db")
        db.execute("pragma synchronous=extra"); db.execute("pragma journal_mode=wal")
        db.execute("create table t (x)"); db.execute("insert into t values (7)"); db.commit(); db.close()
        print(sqlite3.connect("/box/db").execute("select x from t").fetchone())
    """)
    assert (r.verdict, r.stdout) == (Verdict.OK, b"(7,)\n"), r.stderr


REQUESTS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
char buf[8192];
int main() {
  int s = socket(AF_UNIX, SOCK_STREAM, 0), d = open("/usr/bin/env", O_RDONLY), p = syscall(434, getpid(), 0);
  struct { int fd; uint64_t request; } try[] = {
    /* run modprobe(8) before they ask for a capability: bridge, 8021q, dlci */
    {s, 0x8940}, {s, 0x8941}, {s, 0x8980}, {s, 0x8981}, {s, 0x8982}, {s, 0x8983},
    {s, 0x89a0}, {s, 0x89a1}, {s, 0x89a2}, {s, 0x89a3},
    {s, 0x8946}, {s, 0x89f0}, {s, 0x89e0},                            /* drivers' own */
    {d, 0x80111500}, {d, 0x80811501}, {d, 0x8008662c}, {d, 0x40086610}, /* UUID and device of the file system */
    {d, 0x8400941f}, {d, 0x8100587e}, {d, 0x801c581f}, {d, 0x80087601},  /* the same of btrfs and xfs; generations */
    {d, 0x9408}, {d, 0x80089418}, {d, 0x40089416},                    /* btrfs: sync, without a capability */
    {d, 0xc020660b}, {d, 1}, {d, 0xc0189436},                         /* where on the disk; comparing files */
    {p, 0xff01}, {p, 0xff04}, {p, 0xc050ff0b}, {p, 0xc040ff0b},       /* namespaces and cgroup of a pidfd */
    {d, 0xb701}, {d, 0xb70a}, {d, 0xc0686611}, {d, 0xc0606610},
  };
  for (int i = 0; i < sizeof try / sizeof *try; i++)
    for (int high = 0; high < 2; high++) {
      errno = 0;
      long r = syscall(SYS_ioctl, try[i].fd, try[i].request | (uint64_t)high << 32, buf);
      if (r >= 0 || errno != ENOTTY) printf("%lx: %ld %d\n", try[i].request, r, errno);
      errno = 0; /* a file descriptor that nobody has: the kernel would say EBADF */
      if (syscall(SYS_ioctl, -1, try[i].request, buf) >= 0 || errno != ENOTTY) printf("%lx asked\n", try[i].request);
    }
}
"""


@pytest.mark.parametrize("network", ["none", "loopback"])
def test_requests_that_reach_beyond_the_file_get_what_a_file_says_that_knows_none(run_c, network):
    r = run_c(REQUESTS, jail=Jail(network=network))
    assert (r.verdict, r.stdout) == (Verdict.OK, b"")


USUAL = r"""
#define _GNU_SOURCE
#include <asm/termios.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int ioctl(int, unsigned long, ...);
int main() {
  int p[2], n = -1, s = socket(AF_UNIX, SOCK_STREAM, 0);
  struct winsize w;
  struct termios2 t;
  pipe(p); write(p[1], "abc", 3);
  int r0 = ioctl(p[0], FIONREAD, &n);
  printf("%d %d ", r0, n);
  n = 1;
  printf("%d ", ioctl(p[0], FIONBIO, &n));
  printf("%d ", ioctl(p[0], 0x5451 /* FIOCLEX */));
  r0 = ioctl(0, TIOCGWINSZ, &w);
  printf("%d %d ", r0, w.ws_col);
  printf("%d ", ioctl(0, TCGETS2, &t));
  struct ifreq r = {0};
  strcpy(r.ifr_name, "lo");
  r0 = ioctl(s, 0x8933 /* SIOCGIFINDEX */, &r);
  printf("%d %d ", r0, r.ifr_ifindex);
  printf("%d\n", ioctl(s, 0x8905 /* SIOCATMARK */, &n));
}
"""


def test_requests_that_programs_make_are_answered(run_c):
    import fcntl
    import os
    import struct
    import termios

    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 77, 0, 0))
        r = run_c(USUAL, stdin=pyjail.Terminal(theirs))
    finally:
        os.close(ours)
        os.close(theirs)
    assert r.stdout.decode().split()[:9] == ["0", "3", "0", "0", "0", "77", "0", "0", "1"]


def test_files_are_copied_as_always(sh):
    assert (
        sh("cp /usr/bin/env a && cp --reflink=auto a b && cmp a b && stat -c %s b >/dev/null && echo same").stdout
        == b"same\n"
    )


COOKIES = r"""
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
int main(int c, char **v) {
  int sv[2], options[] = {57 /* SO_COOKIE */, 71 /* SO_NETNS_COOKIE */};
  socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
  for (int i = 0; i < 2; i++)
    for (int fd = -1; fd < 4; fd += 4) {
      uint64_t n = 0;
      socklen_t l = sizeof n;
      errno = 0;
      if (getsockopt(fd, SOL_SOCKET, options[i], &n, &l) >= 0 || errno != EPERM) printf("%d: %d\n", options[i], errno);
    }
  int n = 0;
  socklen_t l = sizeof n;
  if (getsockopt(sv[0], SOL_SOCKET, SO_TYPE, &n, &l) || n != SOCK_STREAM) puts("no type");
}
"""


def test_no_socket_tells_a_number_that_counts_for_the_whole_machine(run_c):
    r = run_c(COOKIES)
    assert (r.verdict, r.stdout) == (Verdict.OK, b"")


KEYS = r"""
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
int main() {
  int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  int options[] = {14, 31, 32, 38, 39, 40, 41, 63}; /* TCP_MD5SIG, TCP_ULP, TCP_MD5SIG_EXT, TCP_AO_... */
  for (int i = 0; i < 8; i++) {
    char b[512] = {2};
    errno = 0;
    if (setsockopt(-1, IPPROTO_TCP, options[i], b, sizeof b) >= 0 || errno != EPERM)
      printf("%d: %d\n", options[i], errno);
  }
  if (setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) puts("no TCP_NODELAY");
  if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one)) puts("no SO_REUSEADDR");
}
"""


def test_keys_of_tcp_are_refused(run_c):
    """Each is kernel memory that no cgroup is charged for."""
    r = run_c(KEYS, jail=Jail(network="loopback"))
    assert (r.verdict, r.stdout) == (Verdict.OK, b"")


GROUPS = r"""
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
int main() {
  int u = socket(AF_INET6, SOCK_DGRAM, 0), n = 0, one = 1, ttl = 1;
  for (; n < 5000; n++) {
    struct ipv6_mreq m = {.ipv6mr_interface = 1};
    m.ipv6mr_multiaddr.s6_addr[0] = 0xff, m.ipv6mr_multiaddr.s6_addr[1] = 1;
    m.ipv6mr_multiaddr.s6_addr[14] = n >> 8, m.ipv6mr_multiaddr.s6_addr[15] = n;
    if (setsockopt(u, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &m, sizeof m)) break;
  }
  printf("%d %d ", n, errno == EPERM);
  printf("%d %d\n", setsockopt(u, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one),
         setsockopt(u, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &ttl, sizeof ttl));
}
"""


def test_groups_of_multicast_are_not_joined(run_c):
    """128 KiB of kernel memory for each socket, of which the run's limit knows nothing."""
    r = run_c(GROUPS, jail=Jail(network="loopback"))
    assert (r.verdict, r.stdout) == (Verdict.OK, b"0 1 0 0\n")


MERGED = r"""
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
int main() {
  void *m = mmap(0, 1 << 22, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 2; i++) {
    errno = 0;
    if (madvise(m, 1 << 22, i ? 12 : 25) >= 0 || errno != EINVAL) printf("MADV %d: %d\n", i ? 12 : 25, errno);
  }
  if (madvise(m, 1 << 22, MADV_DONTNEED) || madvise(m, 1 << 22, MADV_HUGEPAGE) && errno != EINVAL) puts("refused");
}
"""


@pytest.mark.parametrize("seccomp", ["default", "strict"])
def test_pages_are_not_merged_with_those_of_others(run_c, seccomp):
    """A write to a merged page takes longer: that tells what other programs, and virtual machines, have in memory."""
    r = run_c(MERGED, flags=("-static",), jail=Jail(seccomp=seccomp))
    assert (r.verdict, r.stdout) == (Verdict.OK, b"")


LOCKS = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>
int main() {
  int f = open("/usr/bin/env", O_RDONLY);
  struct flock l = {.l_type = F_RDLCK};
  printf("%d %d %d\n", flock(f, LOCK_EX | LOCK_NB), fcntl(f, F_SETLK, &l), fcntl(f, F_OFD_SETLK, &l));
  fflush(stdout);
  char c;
  read(0, &c, 1);
}
"""


def test_a_policy_that_takes_locks_away_keeps_programs_of_the_host_from_waiting(cc):
    """SECURITY.md: by default a lock on a system file stops who locks it on the host, as long as the run lasts."""
    no_locks = SeccompPolicy(
        rules=(
            SeccompRule("flock", "ENOSYS"),
            *(SeccompRule("fcntl", "ENOLCK", ((1, command),)) for command in (6, 7, 37, 38)),
        )
    )
    program = cc(LOCKS, "-D_GNU_SOURCE")
    limits = Limits(cpu_time=QUICK.cpu_time, wall_time=60 * SLOW)
    for seccomp, said, stopped in ("default", b"0 0 0\n", True), (no_locks, b"-1 -1 -1\n", False):
        with pyjail.start(["./p"], limits, jail=Jail(seccomp=seccomp), files={"p": program}) as p:
            assert p.stdout.readline() == said
            held = subprocess.run(["flock", "-n", "/usr/bin/env", "true"], check=False).returncode
            assert bool(held) == stopped
            p.stdin.close()
