"""The C core as it is built: small, no undefined symbols, no surprises from analyzers and other machines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail
from pyjail._fds import memfd

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
    assert sum(len(p.read_text().splitlines()) for p in CSRC.glob("*.[ch]")) <= 2456


def test_c_never_calls_a_privileged_function_with_a_path_below_a_workspace():
    """Every lookup in a tree that a program could have touched is openat2 below an fd, without symlinks."""
    body = (CSRC / "files.c").read_text()
    assert "BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS" in (CSRC / "keeper.c").read_text()
    assert "IN_BOX = BENEATH | RESOLVE_NO_XDEV" in body
    assert all(
        "IN_BOX" in call for call in re.findall(r"(?:sys_open_beneath|parent_open)\((?:[^()]|\([^()]*\))*\)", body)
    )
    assert not re.search(r"__NR_(open|openat|chown|chmod|fchmodat|unlink|rename|link)\b", body)


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
