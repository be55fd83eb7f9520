"""`Where`: in which store an image is made, and how."""

from __future__ import annotations

from typing import NamedTuple

from pyjail._images.bounds import Bounds
from pyjail._images.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._images.unpack import Progress


class Where(NamedTuple):
    """The store, how large the image may be, and all trees together; who is told how far it is."""

    store: Store
    bounds: Bounds = Bounds()
    max_size: int | None = None
    progress: Progress | None = None

    def tell(self, step: str) -> None:
        """What is being done."""
        if self.progress is not None:
            self.progress(0, 0, step)
