"""What the checker finds good is used within its bounds: damaged blobs, under sanitizers and a fuzzer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail
from pyjail._host import machine
from pyjail._plan import compile, requests, wire
from pyjail._policy.mounts import MountRow
from pyjail._spec.jail import Env
from tests.native.failing import CSRC

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

static void maps(const void *blob, uint32_t at, uint32_t len) { /* as idmap_make reads them */
  const char *uids = (const char *)blob + at, *gids = uids + strlen(uids) + 1;
  if (gids + strlen(gids) >= uids + len) abort();
}

/* What was found good is used as the keeper uses it. */
static void use_plan(const struct pj_plan *blob) {
  if (blob->hostname != PJ_NONE) text(blob, blob->hostname);
  options(blob, blob->proc.data, blob->proc.data_len), text(blob, blob->proc.source);
  for (int run = 0; run < 2; run++) EACH(struct pj_mount, r, blob, run ? blob->run_mounts : blob->mounts) {
    text(blob, r->source), below(blob, r->target), text(blob, r->data), bytes(blob, r->data, r->data_len);
    if (r->kind == MOUNT_FS) options(blob, r->data, r->data_len);
    if (r->kind == MOUNT_BIND && r->data_len) maps(blob, r->data, r->data_len);
  }
  EACH(struct pj_landlock_rule, r, blob, blob->landlock) text(blob, r->path + 1);
  EACH(uint64_t, r, blob, blob->seccomp) sum += *r;
}
static void use_limits(const struct pj_limits *blob) {
  bytes(blob, blob->affinity, blob->affinity_len);
  if (blob->read_only != PJ_NONE) below(blob, blob->read_only);
  EACH(struct pj_cgroup_row, r, blob, blob->cgroup) {
    text(blob, r->file);
    if (r->value != PJ_NONE) text(blob, r->value);
    if (r->renew != PJ_NONE) text(blob, r->renew);
  }
  EACH(struct pj_mount, r, blob, blob->tmpfs) text(blob, r->source), below(blob, r->target), options(blob, r->data, r->data_len);
  EACH(struct pj_rlimit, r, blob, blob->rlimits) sum += r->soft + r->hard;
}
static void use_request(const struct pj_request *blob) {
  text(blob, blob->cwd);
  struct pj_table all[] = {blob->argv, blob->env, blob->path};
  for (int i = 0; i < 3; i++) {
    EACH(uint64_t, r, blob, all[i]) text(blob, *r);
    if (*ROW(blob, all[i], uint64_t, all[i].count)) abort();
  }
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
    host = machine.host()
    jail = Jail(strict=False)
    template = compile.template(jail, host, False)
    shown = (MountRow("bind", "shown", "", "/usr", data=b"0 1000 1\x000 1000 1\x00", is_dir=True),)
    template = template._replace(mounts=(*template.mounts, *shown))
    files = tuple(frozenset(["memory.limit_in_bytes", "pids.max", "cpu.stat"]) for _ in template.cgroups.used)
    run = compile.run_limits(jail, pyjail.Limits(), host, template.cgroups, files)
    command = compile.Request(
        (b"/bin/true", b"x"), Env({"A": "1"}), "/box", ("null", "captured", "captured"), 5, True, False
    )
    for name, blob in (
        ("plan", wire.pack_template(template)),
        ("limits", requests.pack_limits(run)),
        ("request", requests.pack_request(run, command)),
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


@pytest.mark.parametrize(
    ("maps", "fits"), [(b"", True), (b"0 1 1\0000 1 1\0", True), (b"0 1 1\0", False), (b"0 1 1\0000 1 1", False), (b"\0", False), (b"x", False)]
)  # fmt: skip
def test_who_a_mount_shows_its_owners_as_is_two_strings(tmp_path, maps, fits):
    """The last thing in a plan, its last byte but one: the second string would begin behind it."""
    template = compile.template(Jail(strict=False), machine.host(), False)
    row = MountRow("bind", "shown", "", "/usr", data=maps, is_dir=True)
    blob = wire.pack_template(template._replace(mounts=(row,), landlock=template.landlock._replace(rules=())))
    (tmp_path / "try.c").write_text(
        '#include "spawn.c"\n#include "check.c"\n#include <stdio.h>\nstatic uint64_t buf[8192];\n'
        "int main(void) { uint32_t row, n = fread(buf, 1, sizeof buf, stdin); return pj_check_plan(buf, n, &row) != 0; }"
    )
    binary = str(tmp_path / "check")
    subprocess.run(["gcc", "-std=gnu11", "-w", f"-I{CSRC}", "-o", binary, str(tmp_path / "try.c")], check=True)
    assert (subprocess.run([binary], input=blob, check=False).returncode == 0) == fits
