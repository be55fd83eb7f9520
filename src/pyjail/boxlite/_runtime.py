"""All boxes that belong together: `Boxlite`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyjail import Jail
from pyjail.boxlite import _kept
from pyjail.boxlite._box import Box
from pyjail.boxlite._errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    NotFoundError,
    StoppedError,
    UnsupportedError,
    ours,
)
from pyjail.boxlite._info import BoxInfo, RuntimeMetrics
from pyjail.boxlite._options import BoxOptions, positive

TIMEOUT_S = 30.0  # of a program whose box says nothing


@dataclass
class Options:
    """Options of a runtime.

    Args:
        home_dir: where boxes that are kept lie, one file each, for other processes, too. None, the default: in memory,
            for as long as this process lives.
        image_registries: none: nothing is pulled.
        images: directories that are the roots for names of images: ``{"alpine:latest": "/srv/alpine"}``. Default none.
        timeout_seconds: that each program of a box may take whose box says nothing, in s. Default 30; None: no limit.
        jail: the `pyjail.Jail` of boxes; its root is replaced by that of the image. Default `pyjail.Jail()`.
    """

    home_dir: str | None = None
    image_registries: Any = ()
    images: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = TIMEOUT_S
    jail: Jail = field(default_factory=Jail)

    def __post_init__(self) -> None:
        if self.image_registries:
            raise UnsupportedError("image_registries=: nothing is pulled; images= names directories for images")
        positive("timeout_seconds", self.timeout_seconds)
        if not self.jail.rootfs is self.jail.image is None:
            raise InvalidArgumentError("jail=: a root of its own is for images={name: directory}, or an image's name")


class Boxlite:
    """The boxes of one runtime, by id and name.

    Args:
        options: `Options`; default those.

    >>> import asyncio
    >>> async def main():
    ...     runtime = Boxlite.default()
    ...     box = await runtime.create(BoxOptions(image="python:slim"))
    ...     execution = await box.exec("echo", ["hello"])
    ...     lines = [line async for line in execution.stdout()]
    ...     await box.stop()
    ...     return lines
    >>> asyncio.run(main())
    ['hello\\n']
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self._boxes: dict[str, Box] = {}
        self._over = False
        self.created = self.failed = 0
        self._gone = [0, 0]  # programs of boxes that are gone, and those of them that did not end by themselves

    @staticmethod
    def default() -> Boxlite:
        """The runtime of this process that is used where none is given."""
        if not _default:
            _default.append(Boxlite())
        return _default[0]

    @staticmethod
    def init_default(options: Options) -> None:
        """What `default` will return. InvalidStateError when there is one already."""
        if _default:
            raise InvalidStateError("the default runtime is in use: call init_default() before anything else")
        _default.append(Boxlite(options))

    @staticmethod
    def rest(options: Any) -> Boxlite:
        """UnsupportedError: boxes are those of this host."""
        raise UnsupportedError("there is no server of boxes: Boxlite.default() has those of this host")

    async def create(self, options: BoxOptions, name: str | None = None) -> Box:
        """A new box, which its first program or `Box.start` starts. AlreadyExistsError: the name is taken."""
        if self._over:
            raise StoppedError("this runtime was shut down")
        if name is not None and await self.get(name) is not None:
            raise AlreadyExistsError(f"box {name!r} is there already: reuse_existing=True, or remove({name!r}) first")
        box = Box(self, options, name)
        self._boxes[box.id] = box
        self.created += 1
        return box

    async def get_or_create(self, options: BoxOptions, name: str | None = None) -> tuple[Box, bool]:
        """The box of this name and False; or a new one and True. Of one that is there the options stay."""
        found = None if name is None else await self.get(name)
        return (found, False) if found is not None else (await self.create(options, name), True)

    async def get(self, id_or_name: str) -> Box | None:
        """The box that runs, or was kept, by its id or name; or None."""
        for box in self._boxes.values():
            if id_or_name in (box.id, box.name):
                return box
        if self.options.home_dir is None:
            return None
        kept = await asyncio.to_thread(_kept.load, self.options.home_dir, id_or_name)
        if kept is None:
            return None
        box = Box(self, kept.options, kept.name)
        box._adopt(kept)
        return self._boxes.setdefault(box.id, box)

    async def get_info(self, id_or_name: str) -> BoxInfo | None:
        """What the box of this id or name is, or None."""
        box = await self.get(id_or_name)
        return None if box is None else await box.info()

    async def list_info(self) -> list[BoxInfo]:
        """What there is of boxes, those that were kept included."""
        if self.options.home_dir is not None:
            for one in await asyncio.to_thread(_kept.ids, self.options.home_dir):
                await self.get(one)
        return [await box.info() for box in self._boxes.values()]

    async def remove(self, id_or_name: str, force: bool = False) -> None:
        """Remove a box and its files. NotFoundError; InvalidStateError: it runs, and ``force`` is False."""
        box = await self.get(id_or_name)
        if box is None:
            raise NotFoundError(f"no box {id_or_name!r}")
        if box.running:
            if not force:
                raise InvalidStateError(f"box {id_or_name!r} runs: stop() it, or force=True")
            await box.stop()
        box._forget()
        self._boxes.pop(box.id, None)
        if self.options.home_dir is not None:
            await asyncio.to_thread(_kept.remove, self.options.home_dir, box.id)

    async def metrics(self) -> RuntimeMetrics:
        """What was done so far."""
        each = [await box.metrics() for box in self._boxes.values()]
        running = sum(box.running for box in self._boxes.values())
        programs, errors = self._gone
        return RuntimeMetrics(
            self.created, self.failed, running,
            programs + sum(m.commands_executed_total for m in each), errors + sum(m.exec_errors_total for m in each),
        )  # fmt: skip

    async def shutdown(self, timeout: int | None = None) -> None:
        """Stop all boxes, at once; ``timeout`` changes nothing. The runtime makes no more."""
        self._over = True
        for box in list(self._boxes.values()):
            await box.stop()

    def close(self) -> None:
        """The runtime makes no more boxes; those that run go on until they are stopped."""
        self._over = True

    @property
    def volumes(self) -> Any:
        """UnsupportedError."""
        raise UnsupportedError("a box has no volumes: use copy_in and copy_out, or auto_remove=False")

    @property
    def images(self) -> Any:
        """UnsupportedError."""
        raise UnsupportedError("there is no store of images: Options(images={name: directory}) says what one is")

    async def _stopped(self, box: Box) -> None:
        """Called by a box at its end."""
        if not box.kept:
            self._boxes.pop(box.id, None)
            metrics = await box.metrics()
            self._gone[0] += metrics.commands_executed_total
            self._gone[1] += metrics.exec_errors_total
        elif self.options.home_dir is not None:
            with ours(files=True):
                await asyncio.to_thread(_kept.save, self.options.home_dir, box._record())


_default: list[Boxlite] = []
os.register_at_fork(after_in_child=_default.clear)
