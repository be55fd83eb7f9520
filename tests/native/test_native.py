"""The C core as it is built: small, no undefined symbols, no surprises from sanitizers. (Analyzers, and other machines: ./dev lint.)"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyjail
from pyjail import Jail
from pyjail._base.fds import memfd
from tests.c_code import functions

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
KEEPER = ROOT / "src" / "pyjail" / "_core" / "keeper"
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


def test_the_folder_is_read_in_one_sitting():
    assert sum(len(p.read_text().splitlines()) for p in CSRC.glob("*.[ch]")) <= 2910


def test_the_way_from_clone_to_execve_is_one_short_file():
    """`program_main` needs of other files only how to call the kernel, what the keeper holds, texts and messages."""
    assert len((CSRC / "program.c").read_text().splitlines()) <= 250
    found = functions()
    reached, wanted = set(), ["program_main", "filter_install", "exec_rights_drop"]
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached.add(name)
            wanted += [call for call in re.findall(r"\b(\w+)\(", found[name].body) if call in found]
    assert {found[name].file for name in reached} == {"program.c", "keeper.c", "sys.h"}
    assert {name for name in reached if found[name].file == "keeper.c"} == {
        "limits", "limits_str", "request", "fail", "error_of", "text_add", "namespaces_note", "message_send",
        "message_receive", "fds_close",
    }  # fmt: skip


def test_every_function_fits_a_screen(tmp_path):
    found = functions()
    assert {name: f.lines for name, f in found.items() if f.lines > 40} == {}
    compiled = ""
    for source, standard in (("keeper.c", "c11"), ("spawn.c", "gnu11")):
        flags = [f"-std={standard}", "-O0", "-ffreestanding", "-fno-stack-protector"]
        subprocess.run(["gcc", *flags, "-c", "-o", str(tmp_path / "o"), str(CSRC / source)], check=True)
        compiled += subprocess.run(["nm", tmp_path / "o"], capture_output=True, text=True, check=True).stdout
    symbols = set(re.findall(r" [tT] (\w+)$", compiled, re.M)) - {"_start"}
    assert len(symbols) > 100
    assert symbols <= set(found)  # none has gone uncounted


def test_the_keeper_knows_few_system_calls():
    code = "".join(p.read_text() for p in CSRC.glob("*.[ch]"))
    only_compared = {"shmget", "semget", "msgget", "mq_open"}
    assert len(set(re.findall(r"__NR_(\w+)", code)) - only_compared) <= 94
    assert not re.search(r"\bSYS\(\s*\d", code)  # by name, so that they are counted


READS = re.compile(
    r"__NR_(read|pread64|recvmsg|getdents64|readlinkat|wait4|fstatfs|statx|getrusage|prlimit64|splice|shmctl)\b|NOTIF_RECV"
    r"|sys_open_beneath|parent_open|__NR_(\w+at2?|open_tree|move_mount|chdir|chroot|pivot_root|u?mount2?)\b"  # looks up
)


def test_who_touches_what_a_hostile_program_controls_is_marked_and_audited():
    """The marks in the code and the table of csrc/README.md are the same; whoever reads something or looks up a name is
    in one of them, or in the table of those that find nothing of a program's."""
    audit = (CSRC / "README.md").read_text().split("## What a hostile program controls")[1]
    first, second = audit.split("These read something or look up names, too")
    lines = [line.split("|") for line in first.splitlines() if line.startswith("| `")]
    listed = [line[1].strip(" `") for line in lines]
    assert len(listed) == len(set(listed))
    assert all(len(line) == 5 and line[2].strip() and line[3].strip() for line in lines)
    found = functions()
    marked = {name for name, f in found.items() if "HOSTILE" in f.comment}
    assert marked == set(listed)
    assert "".join(p.read_text() for p in CSRC.glob("*.[ch]")).count("HOSTILE") == len(marked)
    rows = [line.split("|")[1] for line in second.splitlines() if line.startswith("| `")]
    harmless = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    reads = {name for name, f in found.items() if READS.search(f.body)}
    assert reads - marked == harmless


def test_c_never_calls_a_privileged_function_with_a_path_below_a_workspace():
    """Every lookup in a tree that a program could have touched is openat2 below an fd, without symlinks."""
    body = (CSRC / "files.c").read_text()
    again = functions()["file_reopen"].body  # what an fd is of, after a look at that: of a box's
    assert "BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS" in (CSRC / "keeper.c").read_text()
    assert "IN_BOX = BENEATH | RESOLVE_NO_XDEV" in body
    assert "IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS" in body
    calls = re.findall(r"(?:sys_open_beneath|parent_open)\((?:[^()]|\([^()]*\))*\)", body)
    assert all("IN_BOX" in call or ("IN_ROOT" in call and ("parent" in call or "O_PATH" in call)) for call in calls)
    opened = re.findall(r"__NR_openat\b[^;]*", again)
    assert opened == ["__NR_openat, K.proc, end, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)"]
    body = body.replace(again, "")
    assert not re.search(r"__NR_(open|openat|chown|chmod|fchmodat|unlink|rename|link)\b", body)


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
    assert {"pyjail/_core/keeper", "pyjail/_core/native.abi3.so", "pyjail/py.typed"} <= set(names)


def test_runs_with_a_keeper_built_to_trap_on_undefined_behaviour(tmp_path, monkeypatch):
    """Freestanding code has no sanitizer runtime: UBSan's checks become traps, so a finding is a dead keeper."""
    from pyjail._core import program

    binary = tmp_path / "keeper"
    flags = ["-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    subprocess.run(["gcc", *FLAGS, *flags, "-o", str(binary), str(CSRC / "keeper.c")], check=True)
    fd = memfd("pyjail-keeper-ubsan", binary.read_bytes(), seal=True, execute=True)
    monkeypatch.setattr(program, "loaded", fd)
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
