"""A keeper whose n-th system call fails (fail_nth.h), and what is left when it did."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyjail._core.native import lib

import pyjail
from pyjail._base.fds import Fd, memfd
from pyjail._core import program
from pyjail._keeper import keeper as keeper_module
from tests.host_side import keeper_below, keepers_of

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
START, KEEPER, PROGRAM = 0, 1, 2  # whose calls are counted
_HEAD = struct.Struct("<2Ii6I")  # struct fail: role, nth, err, only, nr, count[3], fds
NUMBERS = {
    int(number): name
    for name, number in re.findall(
        r"#define __NR_(\w+) (\d+)", Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    )
}  # fmt: skip


def _at_work(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "RD"
    return False


class Failing:
    """Makes calls of keepers fail, one at a time."""

    def __init__(self) -> None:
        self.marks: list[mmap.mmap] = []  # of the keepers since `watch`
        self.next: tuple[int, int, int, int] | None = None  # for the keeper that is started next

    def memfd(self, name: str, *args: Any, **more: Any) -> Fd:
        """In the place of the one that `Keeper` calls."""
        fd = memfd(name, *args, **more)
        if name == "pyjail-request":
            os.ftruncate(fd.number, lib.PJ_MAX_BLOB + 4096)
            self.marks.append(mmap.mmap(fd.number, 4096, offset=lib.PJ_MAX_BLOB))
            if self.next is not None:
                self._set(self.marks[-1], *self.next)
                self.next = None
        return fd

    @staticmethod
    def _set(mark: mmap.mmap, role: int, nth: int, err: int, only: int) -> None:
        mark[: _HEAD.size] = _HEAD.pack(role, nth, err, only, 0, 0, 0, 0, 0)

    @contextlib.contextmanager
    def one(self, role: int, nth: int, err: int, call: str | None = None) -> Iterator[None]:
        """Within: the nth call of that role fails, or the nth such call, in each keeper that there is, or in the next
        one when there is none."""
        only = 0 if call is None else 1 + next(number for number, name in NUMBERS.items() if name == call)
        if role == START or not self.marks:
            self.next = (role, nth, err, only)
        else:
            for mark in self.marks:
                self._set(mark, role, nth, err, only)
        try:
            yield
        finally:
            self.next = None
            for mark in self.marks:
                mark[4:8] = bytes(4)

    def counted(self, role: int) -> int:
        """Calls of that role since `one`, in the keeper that made most."""
        return max((_HEAD.unpack_from(mark)[5 + role] for mark in self.marks), default=0)

    def failed(self) -> str | None:
        """The call that has failed since."""
        number = next((nr for mark in self.marks if (nr := _HEAD.unpack_from(mark)[4])), None)
        return None if number is None else NUMBERS[number - 1]

    def rest(self, seconds: float = 10.0) -> None:
        """Wait until no keeper makes calls any more: the next run of each is armed, or could not be. Who waits for a CPU
        of a busy machine makes none either, so all of ours must be asleep."""
        end, last = time.monotonic() + seconds, b""
        while time.monotonic() < end:
            now = b"".join(mark[20 : _HEAD.size] for mark in self.marks)
            if now == last and not any(map(_at_work, keepers_of(os.getpid()))):
                return
            last = now
            time.sleep(0.004)

    def forget(self, keep: int = 0) -> None:
        """The keepers before the last ``keep``."""
        gone, self.marks = self.marks[: len(self.marks) - keep], self.marks[len(self.marks) - keep :]
        for mark in gone:
            mark.close()


def built(where: Path) -> Path:
    """csrc/keeper.c with fail_nth.h."""
    binary = where / "keeper"
    flags = ["-std=c11", "-Os", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-static", "-nostdlib", "-no-pie"]
    subprocess.run(
        ["gcc", *flags, f'-DFAIL_NTH="{HERE / "fail_nth.h"}"', "-o", str(binary), str(CSRC / "keeper.c")], check=True
    )
    return binary


@contextlib.contextmanager
def installed(where: Path) -> Iterator[Failing]:
    """Within, all keepers of this process are such."""
    before, failing = program.loaded, Failing()
    pyjail.close()
    program.loaded = memfd("pyjail-keeper-failing", built(where).read_bytes(), seal=True, execute=True)
    keeper_module.memfd = failing.memfd  # type: ignore[attr-defined]
    try:
        yield failing
    finally:
        pyjail.close()
        keeper_module.memfd = memfd  # type: ignore[attr-defined]
        program.loaded.close()
        program.loaded = before
        failing.forget()


def held_by(keeper: keeper_module.Keeper) -> tuple[int, int, list[int]] | None:
    """What an idle keeper has: open fds, mounts, cgroup leaves in each hierarchy."""
    if not keeper.alive:
        return None
    fds = _HEAD.unpack(os.pread(keeper.request.number, _HEAD.size, lib.PJ_MAX_BLOB))[-1]
    mounts = len(Path(f"/proc/{keeper_below(keeper.pid)}/mountinfo").read_text().splitlines())
    leaves = [len([e for e in os.scandir(path) if e.is_dir() and e.name[0] == "r"]) for path in keeper.cgroup.paths]
    return fds, mounts, leaves


def settled(look: Callable[[], Any], like: Any, seconds: float = 3.0) -> Any:
    """What ``look`` finds, as soon as it is like that."""
    from tests.scripts import until

    until(lambda: look() == like, seconds)
    return look()
