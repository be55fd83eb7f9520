"""The C core by itself: no undefined symbols, no surprises from analyzers and sanitizers, hostile bytes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from pyjail._native import ffi, lib

import pyjail
from pyjail import Jail, SetupError, _cgroup, _host, _plan, _wire
from pyjail._fds import memfd
from pyjail._spec import Env
from pyjail.policy.cgroup import CgroupRow

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
KEEPER = ROOT / "src" / "pyjail" / "keeper"
FLAGS = [
    "-std=c11",
    "-Os",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wvla",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pie",
    "-static",
    "-nostdlib",
    "-no-pie",
]


def test_the_keeper_needs_no_symbol_of_anyone(tmp_path):
    subprocess.run(["gcc", *FLAGS, "-c", "-o", str(tmp_path / "k.o"), str(CSRC / "keeper.c")], check=True)
    assert subprocess.run(["nm", "-u", str(tmp_path / "k.o")], capture_output=True, text=True, check=True).stdout == ""
    headers = subprocess.run(["readelf", "-lW", str(KEEPER)], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers
    assert re.search(r"GNU_STACK.* RW +0x", headers)
    assert KEEPER.stat().st_size < 64 << 10


def test_gcc_analyzer_has_nothing_to_say(tmp_path):
    out = subprocess.run(
        ["gcc", *FLAGS, "-fanalyzer", "-O1", "-c", "-o", str(tmp_path / "k.o"), str(CSRC / "keeper.c")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (out.returncode, out.stderr) == (0, "")


def test_the_folder_is_read_in_one_sitting():
    assert sum(len(p.read_text().splitlines()) for p in CSRC.glob("*.[ch]")) < 2450


def test_c_never_calls_a_privileged_function_with_a_path_below_a_workspace():
    """Every lookup in a tree that a program could have touched is openat2 below an fd, without symlinks."""
    body = (CSRC / "files.c").read_text()
    assert "BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS" in (CSRC / "keeper.c").read_text()
    assert "IN_BOX = BENEATH | RESOLVE_NO_XDEV" in body
    assert all(
        "IN_BOX" in call for call in re.findall(r"(?:sys_open_beneath|parent_open)\((?:[^()]|\([^()]*\))*\)", body)
    )
    assert not re.search(r"__NR_(open|openat|chown|chmod|fchmodat|unlink|rename|link)\b", body)


FUZZ = r"""
#include "spawn.c"
#include "check.c"
#include <stdlib.h>
static volatile long sum; /* what is used below must be read */
static void text(const void *blob, uint32_t ref) { sum += strlen((const char *)blob + ref); }
static void below(const void *blob, uint32_t ref) {
  if (((const char *)blob)[ref] == '/') abort();
  text(blob, ref);
}
static void options(const void *blob, uint32_t at, uint32_t len) { /* as fs_make reads them */
  const char *key = (const char *)blob + at, *end = key + len;
  while (key < end) {
    const char *value = key + strlen(key) + 1;
    if (value >= end) break;
    key = value + strlen(value) + 1;
  }
}
static void bytes(const void *blob, uint32_t at, uint32_t len) {
  for (uint32_t i = 0; i < len; i++) sum += ((const char *)blob)[at + i];
}
#define EACH(table, type) \
  for (const type *r = ROW(blob, (table), type, 0); r < ROW(blob, (table), type, (table).count); r++)

/* What was found good is used as the keeper uses it. */
static void use_plan(const struct pj_plan *blob) {
  if (blob->hostname != PJ_NONE) text(blob, blob->hostname);
  options(blob, blob->proc_options, blob->proc_options_len);
  for (int run = 0; run < 2; run++) EACH(run ? blob->run_mounts : blob->mounts, struct pj_mount) {
    text(blob, r->source), below(blob, r->target), text(blob, r->data), bytes(blob, r->data, r->data_len);
    if (r->kind == MOUNT_FS) options(blob, r->data, r->data_len);
  }
  EACH(blob->landlock, struct pj_landlock_rule) text(blob, r->path + 1);
  EACH(blob->seccomp, uint64_t) sum += *r;
}
static void use_limits(const struct pj_limits *blob) {
  bytes(blob, blob->affinity, blob->affinity_len);
  if (blob->read_only != PJ_NONE) below(blob, blob->read_only);
  EACH(blob->cgroup, struct pj_cgroup_row) {
    text(blob, r->file);
    if (r->value != PJ_NONE) text(blob, r->value);
    if (r->renew != PJ_NONE) text(blob, r->renew);
  }
  EACH(blob->tmpfs, struct pj_tmpfs) below(blob, r->target), options(blob, r->data, r->data_len);
  EACH(blob->rlimits, struct pj_rlimit) sum += r->soft + r->hard;
}
static void use_request(const struct pj_request *blob) {
  text(blob, blob->cwd);
  EACH(blob->argv, uint32_t) text(blob, *r);
  EACH(blob->env, uint32_t) text(blob, *r);
  EACH(blob->path, uint32_t) text(blob, *r);
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint32_t row;
  if (size > 1 << 16) return 0;
  uint8_t *copy = malloc(size); /* exact size: one byte too far is seen (test_the_harness_sees_one_byte_too_far) */
  memcpy(copy, data, size);
#ifdef TOO_FAR
  sum += copy[size];
#endif
  if (pj_check_plan(copy, size, &row) == 0) use_plan((void *)copy);
  if (pj_check_limits(copy, size, 4, &row) == 0) use_limits((void *)copy);
  if (pj_check_request(copy, size, &row) == 0) use_request((void *)copy);
  free(copy);
  return 0;
}
#ifdef STANDALONE
#include <stdio.h>
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    FILE *f = fopen(argv[i], "rb");
    static uint8_t buf[1 << 16];
    size_t n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    for (size_t cut = 0; cut <= n && cut < 600; cut++) LLVMFuzzerTestOneInput(buf, cut);
    srand(i);
    for (int round = 0; round < 20000; round++) {
      static uint8_t bad[1 << 16];
      memcpy(bad, buf, n);
      for (int k = rand() % 5; k >= 0; k--) bad[8 + rand() % (n - 8)] = rand() % 3 ? rand() : 255;
      LLVMFuzzerTestOneInput(bad, n);
    }
  }
  return 0;
}
#endif
"""


def corpus(where: Path) -> list[str]:
    host = _host.host()
    jail = Jail(strict=False)
    template = _plan.template(jail, host, False)
    files = tuple(frozenset(["memory.limit_in_bytes", "pids.max", "cpu.stat"]) for _ in template.cgroups.used)
    run = _plan.run_limits(jail, pyjail.Limits(), host, template.cgroups, files)
    command = _plan.Command((b"/bin/true", b"x"), Env({"A": "1"}), "/box", (0, 1, 1), 5, True, False)
    for name, blob in (
        ("plan", _wire.pack_template(template)),
        ("limits", _wire.pack_limits(run)),
        ("request", _wire.pack_request(run, command)),
    ):
        (where / name).write_bytes(blob)
    return [str(where / n) for n in ("plan", "limits", "request")]


def sanitized(where: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The harness, built with gcc's sanitizers, over good blobs: cut, and with random bytes in them."""
    (where / "fuzz.c").write_text(FUZZ)
    flags = ["-std=gnu11", "-O1", "-g", "-w", "-DSTANDALONE", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    binary = str(where / "fuzz")
    subprocess.run(["gcc", *flags, *more, f"-I{CSRC}", "-o", binary, str(where / "fuzz.c")], check=True)
    return subprocess.run([binary, *corpus(where)], capture_output=True, text=True, check=False)


def test_checker_under_address_and_ub_sanitizer(tmp_path):
    out = sanitized(tmp_path)
    assert (out.returncode, out.stderr) == (0, "")


def test_the_harness_sees_one_byte_too_far(tmp_path):
    out = sanitized(tmp_path, "-DTOO_FAR")
    assert out.returncode != 0
    assert "heap-buffer-overflow" in out.stderr


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is missing: apt-get install clang libclang-rt-dev")
def test_libfuzzer_over_the_checker(tmp_path):
    (tmp_path / "fuzz.c").write_text(FUZZ)
    (tmp_path / "corpus").mkdir()
    corpus(tmp_path / "corpus")
    subprocess.run(
        [
            "clang",
            "-std=gnu11",
            "-O1",
            "-g",
            "-w",
            "-fsanitize=fuzzer,address,undefined",
            f"-I{CSRC}",
            "-o",
            str(tmp_path / "fuzz"),
            str(tmp_path / "fuzz.c"),
        ],
        check=True,
    )
    out = subprocess.run(
        [str(tmp_path / "fuzz"), "-max_total_time=8", "-max_len=8192", str(tmp_path / "corpus")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert out.returncode == 0, out.stderr[-2000:]


@pytest.fixture
def keeper():
    """A live keeper, spoken to directly."""
    jail = Jail()
    host = _host.host()
    from pyjail._keeper import Keeper

    k = Keeper(_plan.template(jail, host, False), host)
    yield k
    k.close()


def ask(keeper, message: bytes, request: bytes = b""):
    os.pwrite(keeper.request.number, request or b"\0" * 16, 0)
    keeper.sock.settimeout(10)
    keeper.sock.send(message)
    return _wire.parse_reply(keeper.sock.recv(1 << 17))


def test_malformed_requests_are_answered_with_an_error(keeper):
    bad = [
        (struct.pack("<5I", op, 0, 0, 0, length), data)
        for op in (lib.OP_ARM, lib.OP_RUN)
        for length in (0, 1, 15, 4096, lib.PJ_MAX_BLOB, lib.PJ_MAX_BLOB + 1, 2**32 - 1)
        for data in (b"", b"\xff" * 64)
    ]
    bad += [(struct.pack("<5I", op, 0, 0, 0, 0), b"") for op in (lib.OP_GO, 99, 2**32 - 1)]
    bad += [
        (struct.pack("<5I", lib.OP_OPEN, 0, 0, 0, 5) + b"abcd\0", b""),
        (struct.pack("<5I", lib.OP_OPEN, 0, 0, 0, 99) + b"a\0", b""),
    ]
    bad += [
        (struct.pack("<5I", lib.OP_MKDIR, 0, 0, 0, 0), b""),
        (struct.pack("<5I", lib.OP_OPEN, 0, 0xFFFFFFFF, 0, 2) + b"a\0", b""),
        (struct.pack("<5I", lib.OP_PUT, 0, 0, 0, 2) + b"a\0", b""),
    ]
    for message, data in bad:
        _, failure = ask(keeper, message, data)
        assert failure is not None, message
        assert failure.step in ("request", "open")
    assert keeper.alive


def test_files_that_were_written_are_never_silently_dropped_with_their_init(keeper):
    def request(limits):
        run = _plan.run_limits(Jail(strict=False), limits, host, template.cgroups, files)
        command = _plan.Command((b"/bin/ls",), Env({}), "/box", (0, 1, 1), 1000, True, False)
        return _wire.pack_limits(run) + _wire.pack_request(run, command)

    template, host = keeper.template, _host.host()
    files = _cgroup.subtree(template.cgroups).files if template.cgroups.used else ()
    one, other = request(pyjail.Limits(open_files=50)), request(pyjail.Limits(open_files=51))
    _, failure = ask(keeper, struct.pack("<5I", lib.OP_ARM, 0, 0, 0, len(one)), one)
    assert failure is None
    with memfd("x", b"content") as content:
        keeper.file(lib.OP_PUT, b"a", mode=0o644, fd=content.number)
    _, failure = ask(keeper, struct.pack("<5I", lib.OP_RUN, 0, 0, 0, len(other)), other)
    assert (failure.step, failure.errno) == ("arm", errno.ESRCH)
    kind, failure = ask(keeper, struct.pack("<5I", lib.OP_RUN, 0, 0, 0, len(other)), other)
    assert (kind, failure) == (lib.REPLY_REPORT, None)


def changed_plan(monkeypatch, change):
    """The plans of this test are changed behind Python's back, as a fault of ours would."""

    def changed(template):
        blob = bytearray(_wire.pack_template(template))
        change(ffi.cast("struct pj_plan *", ffi.from_buffer(blob)), blob)
        return bytes(blob)

    pyjail.close()  # a spare keeper was made before
    monkeypatch.setattr("pyjail._keeper.pack_template", changed)


def without(bit):
    def change(plan, blob):
        plan.unshare_first &= ~bit
        plan.unshare_second &= ~bit

    return change


def empty_landlock_path(plan, blob):
    rule = ffi.cast("struct pj_landlock_rule *", ffi.cast("char *", plan) + plan.landlock.off)
    rule.path = len(blob) - 1  # the last NUL


@pytest.mark.parametrize(
    "change",
    [without(_plan.NEWUSER), without(_plan.NEWNS), without(_plan.NEWPID), empty_landlock_path],
    ids=["no user namespace", "no mount namespace", "no pid namespace", "a Landlock path of nothing"],
)
def test_a_plan_that_would_reach_outside_is_refused(monkeypatch, change):
    changed_plan(monkeypatch, change)
    with pytest.raises(SetupError) as e:
        pyjail.run(["true"], jail=Jail(fresh=True))
    assert (e.value.step, e.value.errno) == ("plan", errno.EINVAL)


def test_a_directory_that_took_the_place_of_a_given_fd_never_gets_inside(monkeypatch, tmp_path):
    """Its number was checked when the request was made."""
    from pyjail import _prepare

    prepare = _prepare.prepare
    number = os.open("/dev/null", os.O_RDONLY)

    def swapped(request):
        directory = os.open(tmp_path, os.O_RDONLY)
        os.dup2(directory, number)
        os.close(directory)
        return prepare(request)

    monkeypatch.setattr(_prepare, "prepare", swapped)
    try:
        with pytest.raises(SetupError) as e:
            pyjail.run(["ls", "/proc/self/fd/0"], stdin=number)
        assert (e.value.step, e.value.errno) == ("fd", errno.EISDIR)
    finally:
        os.close(number)
    monkeypatch.undo()
    assert pyjail.run(["echo", "x"]).stdout == b"x\n"


@pytest.mark.skipif(not Path("/sys/fs/cgroup/memory/memory.stat").exists(), reason="proved in another place: v1 only")
@pytest.mark.needs_cgroups
def test_a_leaf_with_a_long_text_that_counts_up_is_used_again(keeper):
    """As io.stat is with many disks; here memory.stat."""
    template, host = keeper.template, _host.host()
    run = _plan.run_limits(Jail(), pyjail.Limits(), host, template.cgroups, tuple(_files_of(keeper)))
    h = template.cgroups.where["memory"]
    run = run._replace(cgroup=(*run.cgroup, CgroupRow(h, "memory.stat", "read", "", counts_up=True)))
    command = _plan.Command((b"/bin/true",), Env({}), "/box", (0, 1, 1), 5, True, False)
    blob = _wire.pack_limits(run) + _wire.pack_request(run, command)
    for _ in range(2):
        os.pwrite(keeper.request.number, blob, 0)
        keeper.submit(lib.OP_RUN, blob)
        keeper.sock.settimeout(10)
        facts = _wire.parse_report(keeper.sock.recv(1 << 17))
    text = facts.before[len(run.cgroup) - 1]
    assert 512 < len(text) < 2048
    assert text.startswith("cache ")


def test_a_short_message_is_a_hang_up(keeper):
    keeper.sock.send(b"x")
    keeper.sock.settimeout(10)
    assert keeper.sock.recv(100) == b""


def test_paths_of_file_requests_stay_in_the_workspace(keeper):
    host = _host.host()
    files = tuple(_files_of(keeper))
    run = _plan.run_limits(Jail(), pyjail.Limits(), host, keeper.template.cgroups, files)
    blob = _wire.pack_limits(run) + _wire.pack_request(
        run, _plan.Command((b"/bin/true",), Env({}), "/box", (0, 1, 1), 5, False, False)
    )
    assert ask(keeper, _wire.pack_message(lib.OP_ARM, length=len(blob)), blob)[1] is None
    for path in (b"..", b"../etc/passwd", b"/etc/passwd", b"/", b"a/../../x", b"\xff" * 4090):
        with pytest.raises(OSError) as e:
            keeper.file(lib.OP_OPEN, path, os.O_RDONLY)
        assert e.value.errno in (2, 18, 20, 22, 36, 40), path
        with pytest.raises(OSError):
            keeper.file(lib.OP_MKDIR, path, mode=0o755)
        with open(__file__, "rb") as source, pytest.raises(OSError):
            keeper.file(lib.OP_PUT, path, mode=0o644, fd=source.fileno())
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND):
        with pytest.raises(OSError):  # an fd open for writing outside would make execve fail with ETXTBSY
            keeper.file(lib.OP_OPEN, b"f", flags)
    with open(__file__, "rb") as source:
        keeper.file(lib.OP_PUT, b"f", mode=0o640, fd=source.fileno())
        fd = keeper.file(lib.OP_OPEN, b"f", os.O_RDONLY)
        with fd, open(fd.number, "rb", closefd=False) as copy:
            st = os.fstat(fd.number)
            assert (st.st_uid, st.st_mode & 0o7777) == (keeper.ids.outside_uid, 0o640)
            assert copy.read() == source.read()


def _files_of(keeper):
    from pyjail._cgroup import subtree

    return subtree(keeper.template.cgroups).files


def test_the_keeper_ends_with_its_socket(keeper):
    pid = keeper.pid
    keeper.sock.shutdown(socket.SHUT_RDWR)
    assert os.waitpid(pid, 0)[1] == 0
    keeper.pid = -1


def test_aarch64_cross_compiles(tmp_path):
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("aarch64-linux-gnu-gcc is missing: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
    subprocess.run(
        ["aarch64-linux-gnu-gcc", *FLAGS, "-o", str(tmp_path / "keeper"), str(CSRC / "keeper.c")], check=True
    )
    subprocess.run(
        [
            "aarch64-linux-gnu-gcc",
            "-std=gnu11",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-c",
            "-o",
            str(tmp_path / "s.o"),
            str(CSRC / "spawn.c"),
        ],
        check=True,
    )
    assert b"\xb7\x00" in (tmp_path / "keeper").read_bytes()[:20]


def test_a_wheel_holds_the_keeper_and_the_abi3_extension(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(
        ROOT,
        copy,
        ignore=shutil.ignore_patterns(
            ".git", ".venv*", "build", "*.so", "keeper", "*.egg-info", ".*_cache", "__pycache__", ".hypothesis"
        ),
    )
    out = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--disable-pip-version-check",
            "-w",
            str(tmp_path),
            str(copy),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stderr[-2000:]
    wheel = next(tmp_path.glob("pyjail_linux-*-cp311-abi3-*.whl"))
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    assert {"pyjail/keeper", "pyjail/_native.abi3.so", "pyjail/py.typed"} <= set(names)


def test_runs_with_a_keeper_built_to_trap_on_undefined_behaviour(tmp_path, monkeypatch):
    """Freestanding code has no sanitizer runtime: UBSan's checks become traps, so a finding is a dead keeper."""
    from pyjail import _elf

    binary = tmp_path / "keeper"
    flags = ["-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    subprocess.run(["gcc", *FLAGS, *flags, "-o", str(binary), str(CSRC / "keeper.c")], check=True)
    fd = memfd("pyjail-keeper-ubsan", binary.read_bytes(), seal=True, execute=True)
    monkeypatch.setattr(_elf, "loaded", fd)
    fresh = Jail(fresh=True, network="loopback", mounts=(pyjail.Mount.bind("/usr/share", "/tmp/deep/er"),))
    small = pyjail.Limits(memory="16M", output=1000, wall_time=1, cpu_time=1)
    try:
        runs = [
            (["sh", "-c", "cat a; echo b > c"], {"files": {"a": b"x", "d/e": b"y"}, "collect": ["**"]}, "ok"),
            (["sh", "-c", "head -c 5000 /dev/zero"], {}, "output"),
            (["sh", "-c", "head -c 50000000 /dev/zero > /tmp/x"], {}, "memory"),
            (["sh", "-c", "while :; do :; done"], {}, "cpu_time|wall_time"),
            (["sleep", "9"], {}, "wall_time"),
            (["sh", "-c", "kill -11 $$"], {}, "signaled"),
            (["sh", "-c", "sleep 9 & sleep 9 & exit 3"], {}, "runtime_error"),
        ]
        for args, kw, expected in runs:
            r = pyjail.run(args, small, jail=fresh, **kw)
            assert r.verdict.value in expected.split("|"), (args, r)
    finally:
        fd.close()
