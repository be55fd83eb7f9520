"""What is in the store: looking images up, leasing their trees. What a run with an image needs is here: light."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator

from pyjail._base.errors import HostError
from pyjail._images import place as places
from pyjail._images.lock import Lock
from pyjail._images.place import Place
from pyjail._images.record import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Shelf(Place):
    """Images on disk, shared by all processes of one user: each is one tree of files, complete, and never changed.

    ``path``: its directory; default: `place.default`.
    """

    def lookup(self, name: str) -> Image:
        """The image of this name, or of this digest, also behind a name and "@". Raises HostError where there is none:
        nothing is ever fetched."""
        found = self._found(name) if self.there() else None
        if found is None:
            fix = f"pyjail image pull {name}, or pyjail image load FILE --name {name}"
            raise HostError("image", f"there is no image {name} in the store {self.path}", fix)
        return found

    def _found(self, name: str) -> Image | None:
        for _ in range(3):  # the name may be another digest's before that is read
            digest, origin = name.rpartition("@")[2], {}
            known = self.read(f"images/{digest.partition(':')[2]}.json") if DIGEST.fullmatch(digest) else None
            if known is None:
                said = self.read(f"names/{places.file_name(name)}")
                if said is None:
                    return None
                digest, origin = said["digest"], said["origin"]
                known = self.read(f"images/{digest.partition(':')[2]}.json")
            if known is not None:
                return self.image(name, digest, known, origin or known["origin"])
        return None

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
            image = self._found(said["name"]) if said else None
            if image is not None:
                found.append(image)
        return sorted(found, key=lambda image: image.name)

    def tree(self, id: str) -> str:
        """The path of the tree ``id``."""
        return f"{self.path}/roots/{id}"

    def lease(self, id: str, lock: Lock) -> None:
        """With its ``lock``, keep the tree ``id`` from being removed for as long as that, or a copy of its fd, is open
        anywhere.

        Raises HostError when the tree is gone.
        """
        try:
            lock.take(fcntl.LOCK_SH, create=False)
        except FileNotFoundError:
            raise self._gone(id) from None
        if not os.path.isdir(self.tree(id)):
            raise self._gone(id)
        os.utime(lock.fileno())  # used now: `gc` goes by it

    def _gone(self, id: str) -> HostError:
        return HostError(
            "image", f"the tree {id} is no longer in the store {self.path}", "load or pull the image again"
        )

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """What goes wrong with its files is a HostError."""
        try:
            yield
        except OSError as e:
            raise self.unusable(e) from e
