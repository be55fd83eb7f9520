"""The cgroups of a box: its programs' leaves lie in one directory, whose limits hold for all of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyjail._base.errors import HostError
from pyjail._base.fds import not_ours
from pyjail._cgroups import tree
from pyjail._cgroups.tree import KeeperCgroup
from pyjail._host import machine
from pyjail._policy.cgroup import CgroupRow

NEAR = 1 << 18  # what a charge of several pages may miss the limit by
_MARKS = ("memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes")


class BoxCgroup(KeeperCgroup):
    """A keeper's directories, and in each of them "box", where the leaves are made. ``rows``: the limits of the whole,
    that are written before there is anybody in it; they stay the caller's."""

    leaves = b"/box"

    def __init__(self, rows: Sequence[CgroupRow]) -> None:
        super().__init__()
        self.rows = rows

    @property
    def boxes(self) -> tuple[str, ...]:
        """The directories of the leaves, in the order of the plan's hierarchies."""
        return tuple(f"{path}/box" for path in self.paths)

    def make_rest(self, owner: tuple[int, int] | None) -> None:
        super().make_rest(owner)
        if self.tree is None:
            return
        cgroups = self.tree.cgroups
        for i, (h, path) in enumerate(zip(cgroups.used, self.boxes, strict=True)):
            self.tree.make(h, path)
            wanted = frozenset(name for name, j in cgroups.where.items() if j == i and name != "v2")
            if h.version == 2 and wanted:
                tree.files().directory(path).enable(wanted)
            for row in self.rows:
                if row.hierarchy == i:
                    _write(f"{path}/{row.file}", row)
            self.hand(i, path, owner)

    def read(self) -> Iterator[tuple[CgroupRow, str]]:
        """The limits of the whole, and what the kernel says of each now."""
        for row in self.rows:
            yield row, machine.read(f"{self.boxes[row.hierarchy]}/{row.file}").strip()

    def memory_was_met(self) -> bool:
        """Whether all together have ever been at the limit of the whole: then who was killed for memory without having
        reached his own was killed for this one."""
        for row in self.rows:
            if row.limit == "memory" and row.value is not None:
                path = self.boxes[row.hierarchy]
                events = dict(line.split(" ", 1) for line in machine.read(f"{path}/memory.events.local").splitlines())
                if events:
                    return events.get("oom", "0") != "0"
                marks = [machine.read(f"{path}/{name}").strip() for name in _MARKS]
                return max(int(mark) for mark in (*marks, "0") if mark.isdigit()) >= int(row.value) - NEAR
        return False


def limits(rows: Sequence[CgroupRow], more: int) -> tuple[CgroupRow, ...]:
    """Of the rows of one program's leaf, those that hold for the whole of a box, too; ``more``: processes that are none
    of the programs', armed for the next ones."""
    kept = [row for row in rows if row.when == "set" and row.value is not None and _is_of_all(row)]
    return tuple(
        row._replace(value=str(int(row.value or "") + more), renew=None) if row.file == "pids.max" else row
        for row in kept
    )


def _is_of_all(row: CgroupRow) -> bool:
    return row.limit in ("memory", "processes", "cpus") or row.file.startswith("memory.kmem.")


def _write(path: str, row: CgroupRow) -> None:
    try:
        with open(path, "w") as f:
            f.write(row.value or "")
    except OSError as e:
        not_ours(e)
        cause = f"{path} = {row.value}, of the whole of a box: {e.strerror}"
        raise HostError("cgroup", cause, "make it writable: see docs/cgroups.md") from e
