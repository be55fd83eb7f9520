"""Stores of a test's own, and images for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pyjail import images
from tests import images_archives as archives
from tests.images_made import archive, file, folder, hard, link

BASE = archive(
    folder(b"etc", mtime=1), file(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n"), file(b"etc/group", b"root:x:0:\n"),
    folder(b"usr", mtime=2), folder(b"usr/bin", mtime=3), file(b"usr/bin/tool", b"#!/bin/sh\n" * 5000, mode=0o4755),
    hard(b"usr/bin/again", b"usr/bin/tool"), link(b"bin", b"usr/bin"), file(b"usr/gone", b"x"),
)  # fmt: skip
UPPER = archive(
    file(b"usr/bin/new", b"new" * 1000), file(b"usr/.wh.gone"), file(b"etc/motd", b"hello\n"), folder(b"opt", mtime=4)
)


def layout(path: Path, *layers: bytes, compress: bool | str = True, **more: Any) -> str:
    """A layout of one image with these layers; what to load."""
    return f"oci:{archives.directory(path, archives.oci(*layers, compress=compress, **more))}"


def unfinished() -> list[str]:
    """What is left in the staging directory of the store that $PYJAIL_HOME names."""
    return os.listdir(f"{os.environ['PYJAIL_HOME']}/images/staging")


def whole() -> list[str]:
    """The names of all images of the store, each of which is as it was made."""
    found = images.list()
    assert {image.name: images.verify(image.name) for image in found} == {image.name: [] for image in found}
    return [image.name for image in found]
