"""A plan as the keeper reads it, and the head of its answers. The layout itself is csrc/plan.h, read by cffi; the only
places that know offsets are this one, `_plan.requests`, `_plan.report` and `_plan.texts`."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pyjail._core.native import ffi, lib

from pyjail._base import lazy
from pyjail._base.errors import KeeperError
from pyjail._base.records import NamedTuple
from pyjail._plan.compile import Template
from pyjail._spec.jail import KEEPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._policy.ids import Ids

NONE = lib.PJ_NONE
U64 = 2**64 - 1
_KINDS = {"bind": lib.MOUNT_BIND, "fs": lib.MOUNT_FS, "dir": lib.MOUNT_DIR, "file": lib.MOUNT_FILE,
          "link": lib.MOUNT_LINK, "pipe": lib.MOUNT_PIPE, "rebind": lib.MOUNT_REBIND,
          "part": lib.MOUNT_PART, "overlay": lib.MOUNT_FS, "own": lib.MOUNT_DIR}  # fmt: skip
_FLAGS = {"overlay": lib.MOUNT_IS_ROOT, "own": lib.MOUNT_IS_OWN}
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_*
# The structs of csrc/plan.h that are packed row by row, or read at every run: cffi's conversions would be most of the
# cost, and to ask it for their fields 0.1 ms of a first run. That they are the same is what a test compares.
REPLY, MOUNT, LANDLOCK_RULE = struct.Struct("<4Ii"), struct.Struct("<2IQ4I"), struct.Struct("<2IQ")  # pj_reply, ...
STEPS: dict[int, str] = {
    number: name.removeprefix("STEP_").lower()
    for number, name in ffi.typeof("enum pj_step").elements.items()
    if name not in ("STEP_NONE", "STEP_COUNT")
}


class Blob:
    """A header struct, then tables and strings; the last byte is NUL."""

    def __init__(self, kind: str, magic: int) -> None:
        self.head = ffi.new(f"struct {kind} *")
        self.head.magic, self.head.version = magic, lib.PJ_VERSION
        self.tail = bytearray()
        self.base = ffi.sizeof(f"struct {kind}")
        self.refs: dict[bytes, int] = {}

    def data(self, value: bytes) -> int:
        """The offset of ``value``, NUL added."""
        ref = self.refs.get(value)
        if ref is None:
            ref = self.refs[value] = self.base + len(self.tail)
            self.tail += value
            self.tail.append(0)
        return ref

    def text(self, value: str) -> int:
        return self.data(value.encode("utf-8", "surrogateescape"))

    def table(self, field: str, raw: bytes, count: int) -> None:
        """Put a packed table in and point the header's field at it."""
        self.tail += bytes(-(self.base + len(self.tail)) % 8)
        table = getattr(self.head, field)
        table.off, table.count = self.base + len(self.tail), count
        self.tail += raw

    def rows(self, field: str, kind: struct.Struct, rows: Iterable[tuple[int, ...]]) -> None:
        packed = [kind.pack(*row) for row in rows]
        self.table(field, b"".join(packed), len(packed))

    def pack(self) -> bytes:
        self.tail.append(0)
        self.head.size = self.base + len(self.tail)
        return bytes(ffi.buffer(self.head)) + bytes(self.tail)


def pack_template(t: Template, ids: Ids | None = None) -> bytes:
    """The plan of one keeper; ``ids``: its own, where the root can be written to."""
    blob = Blob("pj_plan", lib.PJ_PLAN_MAGIC)
    head = blob.head
    jail = t.jail
    head.flags = (
        (lib.PLAN_KEYRING if t.keys else 0)
        | (lib.PLAN_SPLICE if t.filter.splice else 0)
        | (lib.PLAN_IPC_TOLD if t.filter.ipc_told else 0)
        | (lib.PLAN_IPC_KEPT if t.filter.ipc_kept else 0)
        | (lib.PLAN_SAME if jail.deterministic else 0)
        | (lib.PLAN_CLOCKS if t.clocks else 0)
        | (lib.PLAN_SLOTS | (lib.PLAN_LO if jail.network != "none" else 0) if t.slots else 0)
    )
    head.unshare_first, head.unshare_second, head.run_unshare = t.unshare_first, t.unshare_second, t.run_unshare
    head.uid, head.gid = jail.uid, jail.gid
    head.keeper_uid = KEEPER if t.own_ids else jail.uid
    head.keeper_gid = KEEPER if t.own_ids else jail.gid
    head.hostname = blob.text(jail.hostname)
    head.cgroups = len(t.cgroups.used)
    head.into = NONE if t.cgroups.into is None else t.cgroups.into
    head.port = t.port
    options = [("hidepid", "off" if t.slots else "ptraceable"), *([] if jail.proc == "full" else [("subset", "pid")])]
    head.proc = filesystem(blob, "proc", "proc" if jail.proc else "", options, RDONLY | NOSUID | NODEV | NOEXEC)
    head.landlock_fs, head.landlock_net, head.landlock_scoped = t.landlock.fs, t.landlock.net, t.landlock.scoped
    is_dirs, is_boxes = (0, lib.MOUNT_IS_DIR), (0, lib.MOUNT_IS_BOX)
    mounts = t.mounts
    if ids is not None and jail.writable_root is not None:
        with lazy.lock:
            from pyjail._policy import writable

        mounts = writable.shown(mounts, ids)
    for field, rows in (("mounts", mounts), ("run_mounts", t.run_mounts)):
        packed = [
            (_KINDS[kind], is_dirs[is_dir] | is_boxes[is_box] | _FLAGS.get(kind, 0), attr, blob.text(source),
             blob.text(target), blob.data(data), len(data))
            for kind, target, _, source, attr, data, is_dir, is_box in rows
        ]  # fmt: skip
        blob.rows(field, MOUNT, packed)
    blob.rows("landlock", LANDLOCK_RULE, [(blob.text(r.path), 0, r.access) for r in t.landlock.rules])
    blob.table("seccomp", t.filter.program, len(t.filter.program) // 8)
    return blob.pack()


def filesystem(
    blob: Blob, kind: str, target: str, options: Iterable[tuple[str, str]], attr: int, flags: int = 0
) -> tuple[int, ...]:
    """A MOUNT_FS row; ``target`` is below the root, without a leading slash."""
    raw = b"".join(part.encode() + b"\0" for pair in options for part in pair)
    return lib.MOUNT_FS, flags, attr, blob.text(kind), blob.text(target), blob.data(raw), len(raw)


class Failure(NamedTuple):
    """A step that failed: names from the one enum, the row's index or None."""

    step: str
    index: int | None  # type: ignore[assignment]  # a tuple's method of that name is not missed
    errno: int


def parse_reply(raw: bytes) -> tuple[int, Failure | None]:
    """(kind, failure or None) of any message from the keeper."""
    if len(raw) < REPLY.size:
        raise damaged(f"{len(raw)} bytes")
    kind, _, step, index, err = REPLY.unpack_from(raw)
    return kind, failure_of(step, index, err) if step else None


def damaged(what: str) -> KeeperError:
    """What is raised for a message that no keeper of this version sends."""
    return KeeperError(
        f"a message of the keeper makes no sense ({what}): is it another version's, or was it overwritten?"
    )


def failure_of(step: int, index: int, err: int) -> Failure:
    """The failure that such numbers tell of."""
    if step not in STEPS:
        raise damaged(f"step {step}")
    return Failure(STEPS[step], None if index == NONE else index, err)


def number_of(raw: bytes) -> int:
    """Of the message that this one answers."""
    return int.from_bytes(raw[4:8], "little")
