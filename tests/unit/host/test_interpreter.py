"""What an interpreter of the host is made of: from files that may be anything."""

from __future__ import annotations

import os
import struct
import sys
import time

from pyjail._host import interpreter, needed
from tests.examples import given, st


def test_the_running_interpreter_is_found_as_it_says_itself():
    python = interpreter.running()
    assert python is not None
    assert python.binary == os.path.realpath(sys.executable)
    assert python.name == f"python{sys.version_info[0]}.{sys.version_info[1]}"
    assert os.path.realpath(sys.base_prefix) in python.roots
    assert (python.venv == os.path.realpath(sys.prefix)) is (sys.prefix != sys.base_prefix)
    assert os.path.realpath(os.path.dirname(os.__file__)) in [p.path for p in python.parts if p.kind == "dir"]


def test_what_is_no_program_is_none_and_nobody_waits_for_it(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "python3")
    (tmp_path / "python").symlink_to("python")
    (tmp_path / "python3.11").mkdir()
    (tmp_path / "python3.12").write_text("#!/bin/sh\n")
    for name in ("python3", "python", "python3.11", "python3.12", "none"):
        assert interpreter.look(str(tmp_path / name)) is None
    for name in ("", None, str(tmp_path / "python3")):
        monkeypatch.setattr(sys, "executable", name)
        assert interpreter.running() is None
    bin_ = tmp_path / "v/bin"
    bin_.mkdir(parents=True)
    (bin_ / "python3").symlink_to(os.path.realpath("/proc/self/exe"))
    os.mkfifo(bin_ / "pyvenv.cfg")
    os.mkfifo(tmp_path / "v/pyvenv.cfg")
    python = interpreter.look(str(bin_ / "python3"))
    assert python is not None and python.venv == ""


def test_libraries_are_those_that_the_dynamic_section_names():
    assert any(n.startswith("libc.so") for n in needed.needed(os.path.realpath(sys.executable)))
    assert needed.needed("/etc/passwd") == needed.needed("/") == needed.needed("/no") == []


@given(st.binary(max_size=400), st.integers(0, 1 << 63), st.integers(0, 65535), st.integers(0, 65535))
def test_no_file_makes_it_fail(tmp_path_factory, data, start, size, count):
    path = tmp_path_factory.getbasetemp() / "elf"
    head = b"\x7fELF\2\1" + bytes(26) + struct.pack("<Q14xHH", start, size, count)
    for content in (data, head.ljust(64, b"\0") + data):
        path.write_bytes(content)
        assert isinstance(needed.needed(str(path)), list)


def test_a_file_that_asks_for_much_costs_little(tmp_path):
    names = 200_000
    segments = [(2, 64 + 112, 0, 16 * (names + 2)), (1, 0, 0, 1 << 40)]
    table = b"".join(struct.pack("<I4xQQ8xQ16x", *s) for s in segments)
    rows = struct.pack("<QQ", 5, 64) + struct.pack("<QQ", 10, 1 << 40) + struct.pack("<QQ", 1, 1) * names
    head = (b"\x7fELF\2\1" + bytes(26) + struct.pack("<Q14xHH", 64, 56, 2)).ljust(64, b"\0")
    (tmp_path / "elf").write_bytes(head + table + rows + b"x" * (8 << 20))
    start = time.process_time()
    assert len(needed.needed(str(tmp_path / "elf"))) <= needed.MOST_NAMES
    assert time.process_time() - start < 20
