"""What is in the store, as `Image`s: `used` has what runs need of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from pyjail._images import used
from pyjail._images.lock import Lock
from pyjail._images.place import Place
from pyjail._images.record import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Shelf(Place):
    """Images on disk, shared by all processes of one user: each is one tree of files, complete, and never changed.

    ``path``: its directory; default: `place.default`.
    """

    def lookup(self, name: str) -> Image:
        """The image of this name, or of this digest, also behind a name and "@". Raises HostError where there is none:
        nothing is ever fetched."""
        return self.image(name, *used.record(self, name))

    def image(self, name: str, digest: str, known: dict[str, Any], origin: dict[str, Any]) -> Image:
        """The image that ``known``, what images/ has of ``digest``, tells of."""
        return Image(
            name=name, digest=digest, id=known["id"], root=self.tree(known["id"]), config=known["config"],
            size=known["size"], entries=known["entries"], skipped=known["skipped"], layers=tuple(known["layers"]),
            origin=origin,
        )  # fmt: skip

    def images(self) -> list[Image]:
        """All that have a name, by name."""
        if not self.there() or not os.path.isdir(f"{self.path}/names"):
            return []
        found = []
        for file in os.listdir(f"{self.path}/names"):
            said = self.read(f"names/{file}") if not file.startswith(".") else None
            if said and (known := used.find(self, said["name"])):
                found.append(self.image(said["name"], *known))
        return sorted(found, key=lambda image: image.name)

    def tree(self, id: str) -> str:
        """The path of the tree ``id``."""
        return used.tree(self, id)

    def lease(self, id: str, lock: Lock) -> None:
        """With its ``lock``, keep the tree ``id`` from being removed: `used.keep`."""
        used.keep(self, id, lock)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """What goes wrong with its files is a HostError."""
        try:
            yield
        except OSError as e:
            raise self.unusable(e) from e
