"""What the kernel says was mounted (/proc/PID/mountinfo of the keeper), held against the plan: a row of the receipt."""

from __future__ import annotations

import re

from pyjail._base.records import NamedTuple
from pyjail._plan.compile import Template
from pyjail._policy.asked_for import under
from pyjail._policy.mounts import (
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
)
from pyjail._result.usage import Control

_FLAGS = {RDONLY: "ro", NOSUID: "nosuid", NODEV: "nodev", NOEXEC: "noexec"}


class Mounted(NamedTuple):
    """One line: where, and its own flags (not those of the file system)."""

    target: str
    options: frozenset[str]


def parse(text: bytes) -> list[Mounted]:
    """The lines of mountinfo, proc_pid_mountinfo(5): octal escapes undone, ``target`` without a leading slash."""
    found = []
    for line in text.decode(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        target = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])
        found.append(Mounted(target.strip("/"), frozenset(fields[5].split(","))))
    return found


def file_system(text: bytes, target: str) -> str:
    """The type of what is mounted there, "" for none."""
    found = ""
    for line in text.decode(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[4].strip("/") == target:
            found = fields[fields.index("-") + 1]
    return found


def control(template: Template, text: bytes, asked: str) -> Control:
    """The receipt's row "root": every mount is there with the flags that the plan gave it, or which one is not."""
    by = "pivot_root, mount_setattr"
    if not text:
        return Control("root", asked, by, "could not be read back: no /proc here", "enforced")
    mounted = parse(text)
    rows = template.mounts[under(template.mounts) :]
    planned = {row.target: row.attr for row in rows if row.kind in ("bind", "fs")}
    planned |= {row.target: NOSUID | NODEV for row in rows if row.kind == "part"}
    if not template.jail.proc:
        planned.pop("proc", None)  # the caller's, there for a moment only
    planned[""] = NOSUID | NODEV | (RDONLY if template.jail.writable_root is None else 0)
    wrong = [f"/{target} is not there" for target in planned if target not in {m.target for m in mounted}]
    for m in mounted:
        attr = planned[max((t for t in planned if _is_below(m.target, t)), key=len)]
        lacks = [name for flag, name in _FLAGS.items() if attr & flag and name not in m.options]
        if lacks:
            wrong.append(f"/{m.target} is not {', '.join(lacks)}")
    if wrong:
        return Control("root", asked, by, "; ".join(wrong), "not_enforced")
    writable = [f"/{m.target}" for m in mounted if "ro" not in m.options]
    value = f"{len(mounted)} mounts, read-only"
    return Control("root", asked, by, f"{value} but {', '.join(writable)}" if writable else value, "enforced")


def _is_below(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")
