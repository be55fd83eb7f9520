"""Every failure path of csrc/spawn.c, which runs in the embedder's own process, seen to fail."""

from __future__ import annotations

import ctypes
import errno
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyjail._core.native import ffi

import pyjail
from pyjail import Limits
from pyjail._cgroups import janitor
from pyjail._keeper import keeper
from tests.conftest import SLOW
from tests.host_side import left_over
from tests.native.failing import CSRC, HERE, settled

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=20 * SLOW)


class Fail(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("nth", "err", "interrupt", "count")]


class Failing:
    """In the place of `pyjail._core.native.lib`."""

    def __init__(self, lib: Any, path: Path) -> None:
        self._lib, self._other = lib, ctypes.CDLL(str(path))
        self.fail = Fail.in_dll(self._other, "pj_fail")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lib, name)

    def pj_spawn(self, exe: int, fds: list[int], count: int, pidfd: Any, error: Any) -> int:
        pointers = (ctypes.c_void_p(int(ffi.cast("uintptr_t", p))) for p in (pidfd, error))
        return int(self._other.pj_spawn(exe, (ctypes.c_int * count)(*fds), count, *pointers))


@pytest.fixture
def failing(tmp_path, monkeypatch):
    flags = ["-shared", "-fPIC", "-O1", "-w", f"-I{CSRC}", f'-DFAIL_NTH="{HERE / "fail_spawn.h"}"']
    subprocess.run(["gcc", *flags, "-o", tmp_path / "spawn.so", CSRC / "spawn.c"], check=True)
    return Failing(keeper.lib, tmp_path / "spawn.so")


def test_a_call_that_fails_is_told_and_leaves_nothing(failing, monkeypatch):
    assert pyjail.run(["true"], LIMITS).ok
    pyjail.close()
    before = left_over()
    monkeypatch.setattr(keeper, "lib", failing)
    assert pyjail.run(["true"], LIMITS).ok
    pyjail.close()
    total = failing.fail.count
    assert total > 12  # clone3, two for each fd, two more, execveat
    for nth in range(1, total + 1):
        for number in (errno.ENOMEM, errno.EMFILE, errno.EPERM):
            failing.fail.count, failing.fail.nth, failing.fail.err, failing.fail.interrupt = 0, nth, number, 1
            with pytest.raises(pyjail.JailError) as e:
                pyjail.run(["true"], LIMITS)
            if isinstance(e.value, pyjail.SetupError):
                assert (e.value.step, e.value.errno) == ("clone" if nth == 1 else "keeper_exec", number)
            pyjail.close()
            assert settled(left_over, before) == before, (nth, number)
    failing.fail.nth = 0
    assert pyjail.run(["true"], LIMITS).ok


def test_a_janitor_that_cannot_be_started_is_done_without(failing, monkeypatch):
    pyjail.close()
    before = left_over()
    monkeypatch.setattr(janitor, "lib", failing)
    for nth in range(1, 8):
        failing.fail.count, failing.fail.nth, failing.fail.err, failing.fail.interrupt = 0, nth, errno.EMFILE, 1
        assert pyjail.run(["true"], LIMITS).ok
        pyjail.close()
        assert settled(left_over, before) == before, nth
