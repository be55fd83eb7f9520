"""Files that all jails share with the host: hashed before and after, as no mount protects from CVE-2022-0847."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from pyjail import Jail, images

MOST_BYTES = 256 << 20
MOST_FILES = 200


def candidates(jail: Jail) -> Iterator[str]:
    """The interpreter and every library that it has loaded, the shell, some of /etc, our own keeper; of a rootfs, its
    programs and libraries."""
    if jail.rootfs is not None:
        for directory in ("bin", "usr/bin", "lib", "lib64", "usr/lib", "etc"):
            where = os.path.join(str(jail.rootfs), directory)
            with contextlib.suppress(OSError):
                yield from (os.path.join(where, name) for name in sorted(os.listdir(where)))
    yield from (sys.executable, "/bin/sh", "/usr/bin/env", "/etc/passwd", "/etc/ld.so.cache", "/etc/hosts")
    yield str(Path(__file__).resolve().parents[1] / "keeper")
    with contextlib.suppress(OSError), open("/proc/self/maps") as f:
        yield from (
            path
            for line in f
            if (path := line.rstrip("\n").partition("/")[2] and "/" + line.rstrip("\n").partition("/")[2])
        )


def hashes(jail: Jail) -> dict[str, str]:
    """{path: sha256}, of as many as fit the caller's patience."""
    found: dict[str, str] = {}
    if jail.image is not None:  # all of it: what it should be is known
        found[f"image {jail.image}"] = "; ".join(images.verify(str(jail.image))) or "as it was put into the store"
    size = 0
    for candidate in candidates(jail):
        path = os.path.realpath(candidate)
        if path in found or not os.path.isfile(path):
            continue
        size += os.path.getsize(path)
        if size > MOST_BYTES or len(found) >= MOST_FILES:
            break
        with contextlib.suppress(OSError), open(path, "rb") as f:
            found[path] = hashlib.file_digest(f, "sha256").hexdigest()
    return found
