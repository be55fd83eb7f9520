"""Ways around limits and evidence, each found by attacking and closed since."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits, Verdict
from tests.conftest import SLOW
from tests.escape.test_attacks import HEAD
from tests.host_side import keeper_below
from tests.scripts import PRELUDE, script

# A process whose first thread has exited is a zombie leader: cgroup.kill signals tasks one by one and misses it.
LEADERLESS = (
    HEAD
    + "void *f(void *x) { BODY } int main() { for (int i = 0; i < 5; i++) if (!fork()) break; pthread_t t; pthread_create(&t, 0, f, 0); syscall(SYS_exit, 0); }"
)


@pytest.mark.parametrize(
    ("body", "limits", "verdict"),
    [
        pytest.param(
            "for (;;);",
            Limits(cpu_time=0.3 * SLOW, wall_time=60 * SLOW, cpus=None),
            Verdict.CPU_TIME,
            marks=pytest.mark.needs_cgroups,
        ),
        ("for (;;) pause();", Limits(wall_time=0.3 * SLOW), Verdict.WALL_TIME),
        ('for (;;) write(1, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 32);', Limits(output=1000), Verdict.OUTPUT),
    ],
    ids=["cpu", "wall", "output"],
)
def test_a_process_without_its_first_thread_is_killed_at_once(run_c, body, limits, verdict):
    start = time.monotonic()
    r = run_c(LEADERLESS.replace("BODY", body), limits)
    assert r.verdict is verdict
    assert time.monotonic() - start < 20 * SLOW
    assert r.usage.teardown_time is not None
    assert (r.stdout_bytes or 0) < 4 << 20


@pytest.mark.parametrize(
    ("end", "verdict"),
    [
        ("kill(getpid(), SIGKILL);", Verdict.SIGNALED),
        ("raise(SIGSEGV);", Verdict.SIGNALED),
        ("for (;;);", Verdict.CPU_TIME),
        ("for (;;) pause();", Verdict.WALL_TIME),
    ],
    ids=["kill", "segv", "cpu", "wall"],
)
def test_a_program_cannot_forge_memory_by_replacing_itself(run_c, end, verdict):
    source = """
    #include <elf.h>
    int main() {
      Elf64_Ehdr e = {.e_ident = "\\177ELF\\2\\1\\1", .e_phoff = 64, .e_phnum = 1, .e_phentsize = 56};
      Elf64_Phdr p = {.p_type = 1, .p_memsz = 1L << 50};
      unlink("./a");
      int f = open("./a", O_CREAT | O_WRONLY, 0755);
      write(f, &e, 64); write(f, &p, 56); close(f);
      END
    }"""
    patience = 0.5 if verdict is Verdict.WALL_TIME else 30
    r = run_c(HEAD + source.replace("END", end), Limits(cpu_time=0.2 * SLOW, wall_time=patience * SLOW))
    assert r.verdict is verdict


PT_LOAD, READ, WRITE = 1, 4, 2


def with_segments(program: bytes, more: list[tuple[int, int, int, int]]) -> bytes:
    """A copy of this ELF program with more PT_LOADs: (flags, address, bytes of the file, bytes of memory)."""
    head = bytearray(program)
    (at,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<2H", head, 54)
    table = program[at : at + size * count]
    table += b"".join(struct.pack("<2I6Q", PT_LOAD, how, 0, a, a, disk, memory, 4096) for how, a, disk, memory in more)
    struct.pack_into("<Q", head, 32, len(program))
    struct.pack_into("<H", head, 56, count + len(more))
    return bytes(head) + table


@pytest.mark.parametrize(
    "more",
    [
        [(READ | WRITE, 1 << 30, 4096, 1 << 30)] * 40,
        [(READ | WRITE, n << 30, 4096, 1 << 30) for n in range(1, 41)],
        [(READ, 1 << 30, 1 << 40, 1 << 40)],
    ],
    ids=["one GiB forty times", "forty GiB, each of them less than there is", "a TiB that is only read"],
)
def test_a_program_cannot_forge_memory_by_segments_that_take_none(cc, more):
    source = """
    void _start(void) {
      long n = 1;
      asm volatile("syscall" : "+a"(n) : "D"(1), "S"("ran"), "d"(3) : "rcx", "r11", "memory");
      for (;;) *(volatile int *)8 = 1;
    }"""
    plain = cc(source, "-static-pie", "-nostdlib", "-fno-stack-protector", "-O1").read_bytes()
    r = pyjail.run(["./a"], files={"a": pyjail.File(with_segments(plain, more), 0o755)})
    assert (r.verdict, r.signal, r.stdout) == (Verdict.SIGNALED, signal.SIGSEGV, b"ran"), r


@pytest.mark.parametrize("count", [1, 40])
def test_segments_beyond_the_address_space_are_memory(cc, count):
    source = "void _start(void) { for (;;) *(volatile int *)8 = 1; }"
    plain = cc(source, "-static-pie", "-nostdlib", "-fno-stack-protector", "-O1").read_bytes()
    more = [(READ, n << 30, 1 << 30, 1 << 30) for n in range(1, count + 1)]
    program = pyjail.File(with_segments(plain, more), 0o755)
    found = [pyjail.run(["./a"], Limits(address_space=n), files={"a": program}).verdict for n in ("900M", "100G")]
    assert found == [Verdict.MEMORY, Verdict.SIGNALED]


def test_kernel_memory_that_no_cgroup_pays_for_is_refused(run_c):
    source = """
    #include <linux/filter.h>
    #include <netinet/in.h>
    int main() {
      struct sock_filter i = {6, 0, 0, 1}; struct sock_fprog p = {1, &i};
      int s = socket(AF_UNIX, SOCK_DGRAM, 0);
      got("filter", setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p));
      got("reuseport", setsockopt(s, SOL_SOCKET, 51, &p, sizeof p));
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      got("seccomp", syscall(SYS_seccomp, 1, 0, &p)); got("prctl", prctl(PR_SET_SECCOMP, 2, &p));
      got("hugetlb", (long)mmap(0, 2 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
      done;
    }"""
    assert run_c(HEAD + source).stdout == b""


def test_flow_labels_do_not_outlive_a_run(run_c):
    source = """
    #include <netinet/in.h>
    int main() {
      struct { struct in6_addr d; unsigned label; unsigned char act, share; unsigned short fl, exp, linger; unsigned pad; } f = {.share = 255, .fl = 3, .linger = 100, .exp = 100, .label = 0x345};
      f.d.s6_addr[0] = 0x20; f.d.s6_addr[15] = 1;
      got("label", setsockopt(socket(AF_INET6, SOCK_DGRAM, 0), IPPROTO_IPV6, 32, &f, sizeof f));
      done;
    }"""
    assert run_c(HEAD + source).stdout == b""


@pytest.mark.parametrize("policy", ["default", "strict"])
@pytest.mark.parametrize(("size", "cap", "verdict"), [(1, "1M", Verdict.OK), (4096, 600000, Verdict.OUTPUT)])
def test_a_last_burst_of_packets_is_counted_and_kept_whole(run_c, policy, size, cap, verdict):
    """O_DIRECT makes a pipe give one packet for one read(2). After a byte the keeper rests for a millisecond."""
    source = """
    int main(int c, char **v) {
      static char b[4096];
      int wrote = 1;
      fcntl(1, F_SETPIPE_SZ, 1 << 20);
      fcntl(1, F_SETFL, O_DIRECT | O_WRONLY | O_NONBLOCK);
      write(1, "x", 1);
      for (volatile int i = 0; i < 300000; i++);
      for (int i = 0; i < 250; i++) { int n = write(1, b, atoi(v[1])); if (n > 0) wrote += n; }
      char m[20];
      write(2, m, sprintf(m, "%d", wrote));
      _exit(0);
    }"""
    for _ in range(3):
        r = run_c(HEAD + source, Limits(output=cap), args=(str(size),), jail=Jail(seccomp=policy))
        if r.stderr or r.verdict is not Verdict.OUTPUT:  # else it was ended in the midst of its writing
            assert r.stdout_bytes == int(r.stderr)
        assert len(r.stdout) == min(r.stdout_bytes, r.limits.output)
        assert r.verdict is (verdict if r.stdout_bytes > r.limits.output else Verdict.OK)


def test_orphans_by_the_thousand_do_not_wake_the_keeper_for_each(run_c):
    from pyjail.testing import idle

    def woken(pid: int) -> int:
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.partition("voluntary_ctxt_switches:")[2].split()[0])

    source = """
    int main() {
      for (;;) {
        int p = vfork();
        if (!p) { if (!vfork()) _exit(0); _exit(0); }
        waitpid(p, 0, 0);
      }
    }"""
    pyjail.close()
    run_c(HEAD + source, Limits(cpu_time=0.1 * SLOW))
    keeper = keeper_below(idle()[-1])
    before = woken(keeper)
    r = run_c(HEAD + source, Limits(cpu_time=1 * SLOW, wall_time=60 * SLOW))
    orphans = r.usage.context_switches[0] / 2
    # Once in each ms at most; an emulated machine makes few orphans in one.
    assert woken(keeper) - before < max(orphans / 15, r.usage.wall_time * 1000) + 1000


def test_one_byte_writes_do_not_keep_the_keeper_busy(run_c):
    from pyjail.testing import idle

    def burnt(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    source = HEAD + 'int main() { for (;;) write(1, "x", 1); }'
    run_c(source, Limits(cpu_time=0.1 * SLOW, output="1G"))
    before = {pid: burnt(pid) for pid in idle()}
    r = run_c(source, Limits(cpu_time=1.0, wall_time=30 * SLOW, output="1G"))
    assert r.verdict is Verdict.CPU_TIME
    after = sum(burnt(pid) - before.get(pid, 0) for pid in idle())
    assert after < 0.75  # of the second that the program had


def test_a_character_cut_by_the_cap_is_no_exception(py):
    r = py(
        "import sys; sys.stdout.buffer.write('ééé'.encode()); sys.stdout.flush(); sys.stdin.read()",
        Limits(output=3),
        text=True,
    )
    assert (r.verdict, r.stdout) == (Verdict.OUTPUT, "é")


def test_dev_stdout_can_be_opened(sh):
    r = sh("echo a > /dev/stdout; echo b > /dev/stderr; echo c | tee /dev/stderr >/dev/null; echo d > /proc/self/fd/1")
    assert (r.stdout, r.stderr) == (b"a\nd\n", b"b\nc\n")


def test_a_probe_with_a_negative_number_gets_enosys(run_c):
    r = run_c(HEAD + 'int main() { long r = syscall(-1), e = errno; printf("%ld %ld", r, e); return 0; }')
    assert r.stdout == b"-1 38"


def test_no_core_handler_of_the_host_runs(run_c):
    r = run_c(
        HEAD
        + 'int main() { struct rlimit r; getrlimit(RLIMIT_CORE, &r); printf("%d %d", (int)r.rlim_cur, (int)r.rlim_max); fflush(stdout); abort(); }'
    )
    assert (r.stdout, r.signal) == (b"1 1", signal.SIGABRT)  # at exactly 1 the kernel aborts piped dumps, too: core(5)


def test_threads_that_start_runs_at_interpreter_exit_stop_without_noise():
    code = """
import pyjail, threading, time, sys
def loop():
    while True:
        try: pyjail.run(["true"])
        except pyjail.KeeperError: return
for _ in range(3): threading.Thread(target=loop, daemon=True).start()
time.sleep(1)
"""
    start = time.monotonic()
    out = subprocess.run(
        [sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, timeout=60 * SLOW, check=False
    )
    assert (out.returncode, out.stderr) == (0, "")
    assert time.monotonic() - start < 10 * SLOW


def test_output_is_counted_while_the_pipe_rests():
    found = []

    def one():
        found.append(len(pyjail.run(["sh", "-c", "i=0; while [ $i -lt 500 ]; do echo; i=$((i+1)); done"]).stdout))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [500] * 4


def test_output_cannot_be_read_back_to_escape_the_count(py):
    source = """
    import os
    for flags in (os.O_RDONLY, os.O_RDWR):
        for fd in (1, 2):
            try: os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK); print("opened")
            except PermissionError: pass
    """
    assert py(source).stdout == b""


def test_network_counters_do_not_carry_numbers_to_the_next_run(py):
    source = """
    import socket
    try:
        for _ in range(1234): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("10.0.0.1", 5))
    except OSError: pass
    print(open("/proc/self/net/snmp").read())
    """
    first, second = py(source).stdout, py(source).stdout
    assert first == second
    assert b"1234" not in second


def test_a_receipt_does_not_claim_to_bound_what_is_not_captured():
    r = pyjail.run(["true"], stdout=pyjail.DEVNULL, stderr=pyjail.DEVNULL)
    assert r.receipt["output"].status == "not_asked"


def test_each_run_has_a_session_and_a_session_keyring_of_its_own(cc):
    """Without a filter, too: the embedder's keys would otherwise be the program's."""
    source = """
    int main() {
      if (getsid(0) != getpid()) return 2;
      got("found", syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "secret", 0));
      done;
    }"""
    code = f"""
import ctypes, os, pathlib, pyjail
call = ctypes.CDLL(None, use_errno=True).syscall
add_key, keyctl = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
assert call(keyctl, 1, None) > 0
assert call(add_key, b"user", b"secret", b"x", 1, -3) > 0, ctypes.get_errno()
assert call(keyctl, 10, -3, b"user", b"secret", 0) > 0
r = pyjail.run(["./a"], files={{"a": pathlib.Path({str(cc(HEAD + source))!r})}}, jail=pyjail.Jail(seccomp="none"))
print(r.exit_code, r.stdout)
"""
    out = script(code)
    assert out.stdout == "0 b''\n", out.stderr


def test_no_user_namespace_can_be_made_even_without_the_filter(sh):
    r = sh("unshare --user true", jail=Jail(seccomp="none"))
    assert b"No space left on device" in r.stderr  # ENOSPC: user.max_user_namespaces(7) is 0
    row = r.receipt["nested user namespaces"]
    assert (row.value, row.status) == ("0", "enforced")
