"""An image with something to change at every kind of place, and jails whose root is a copy of it that can be written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyjail
from pyjail import Jail, images
from tests import images_made as made
from tests import images_use

TOOLS = (
    "chmod",
    "cp",
    "dd",
    "find",
    "ln",
    "mkdir",
    "mkfifo",
    "mknod",
    "mount",
    "mv",
    "rm",
    "rmdir",
    "stat",
    "umount",
    "wc",
    "seq",
)
TREE = (
    made.folder(b"etc"), made.file(b"etc/a", b"hello\n"), made.file(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    made.folder(b"gone"), made.file(b"gone/f", b"f"), made.folder(b"lib"), made.folder(b"lib/x"),
    made.file(b"lib/x/1", b"1"), made.folder(b"op"), made.file(b"op/one", b"1"), made.folder(b"op/sub"),
    made.file(b"op/sub/two", b"2"), made.link(b"sl", b"etc"), made.file(b"opened", b"x"), made.file(b"tofile/x", b"x"),
    made.file(b"todir", b"x"), made.file(b"tool", b"t", mode=0o755), made.hard(b"tool2", b"tool"),
)  # fmt: skip
# What a program can do to a root, each kind of change once, with modes that close things to whoever is not root.
CHANGES = """
set -e
echo new >/etc/new; echo more >>/etc/a; ln /etc/new /etc/new2; mkfifo /etc/fifo
rm -r /gone /lib/x
rm -r /op; mkdir /op /op/sub; echo 3 >/op/sub/three
rm /sl; mkdir /sl; echo n >/sl/n
rm -r /tofile; echo h >/tofile
rm /todir; mkdir /todir; echo i >/todir/i
echo more >>/tool
true >>/opened
mkdir /came; rmdir /came
mkdir -p /deep/er; echo s >/deep/er/s; ln -s /etc/passwd /deep/er/l; chmod 0 /deep/er/s /deep/er
mkdir -p /closed/in; echo q >/closed/q; chmod 0 /closed
chmod 700 /lib
"""
CHANGED = [
    ("added", "/closed", "directory"), ("added", "/closed/in", "directory"), ("added", "/closed/q", "file"),
    ("added", "/deep", "directory"), ("added", "/deep/er", "directory"), ("added", "/deep/er/l", "symlink"),
    ("added", "/deep/er/s", "file"), ("changed", "/etc/a", "file"), ("added", "/etc/fifo", "fifo"),
    ("added", "/etc/new", "file"), ("added", "/etc/new2", "file"), ("removed", "/gone", "directory"),
    ("changed", "/lib", "directory"), ("removed", "/lib/x", "directory"), ("removed", "/op/one", "file"),
    ("added", "/op/sub/three", "file"), ("removed", "/op/sub/two", "file"), ("changed", "/sl", "directory"),
    ("added", "/sl/n", "file"), ("changed", "/todir", "directory"), ("added", "/todir/i", "file"),
    ("changed", "/tofile", "file"), ("changed", "/tool", "file"),
]  # fmt: skip


def load(where: Path, name: str = "base", *more: bytes, **config: Any) -> images.Image:
    """That image in the store, with more tools and ``more`` entries."""
    links = [made.link(b"bin/" + tool.encode(), b"busybox") for tool in TOOLS]
    return images_use.load(where, name, *links, *TREE, *more, **config)


def jail(image: object = "base", size: object = "8M", **given: Any) -> Jail:
    """One of it whose root can be written to."""
    return Jail(**{"image": image, "writable_root": size, "strict": False, **given})


def sh(command: str) -> list[str]:
    return ["sh", "-c", command]


def done(where: pyjail.Session | pyjail.Box, command: str) -> str:
    """What it says; it has to succeed."""
    result = where.run(sh(command), text=True)
    assert result.ok, (result.verdict, result.stderr)
    return str(result.stdout)
