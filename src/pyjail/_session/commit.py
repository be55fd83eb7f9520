"""What has been written of a root -> an image of the store, on top of the one that it began as."""

from __future__ import annotations

import os
import stat
from functools import partial

from pyjail._base.errors import SpecError
from pyjail._images.commit import How as How
from pyjail._images.commit import Layer
from pyjail._images.commit import commit as committed
from pyjail._images.record import Image as Image
from pyjail._images.store import Store
from pyjail._keeper.shared import SharedKeeper as Keeper
from pyjail._session import changes, upper


def commit(keeper: Keeper, name: str, how: How) -> Image:
    """See `Session.commit`. Who calls it knows that nothing runs."""
    jail = keeper.template.jail
    if jail.image is None:
        why = "a layer goes on top of an image: pyjail image load dir:DIR --name NAME makes one of a rootfs"
        raise SpecError("rootfs" if jail.rootfs else "image", jail.rootfs, why)
    return committed(Store(), str(jail.image), name, partial(_fill, keeper), how)


def _fill(keeper: Keeper, layer: Layer) -> None:
    for found in upper.walk(keeper):
        _tell(keeper, layer, found)


def _tell(keeper: Keeper, layer: Layer, found: upper.Found) -> None:
    path, now, was = os.fsencode(found.path), found.now, found.was
    if now is None:
        if not found.hidden:
            layer.removed(path)
    elif stat.S_ISDIR(now.st_mode):
        if (
            found.hides
            or was is None
            or found.hidden
            or now.st_mode != was.st_mode
            or now.st_mtime_ns != was.st_mtime_ns
        ):
            layer.directory(path, now)
        if found.hides:
            layer.hides(path)
    elif not found.hidden and changes.is_as_it_was(keeper, found):
        return
    elif stat.S_ISLNK(now.st_mode):
        layer.symlink(path, now, os.fsencode(upper.target(keeper, found.path)))
    elif stat.S_ISREG(now.st_mode):
        with upper.opened(keeper, found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as fd:
            layer.file(path, fd.number)
    elif stat.S_ISFIFO(now.st_mode):
        layer.fifo(path, now)
