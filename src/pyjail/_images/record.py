"""`Image`: an image of the store, as data."""

from __future__ import annotations

from collections.abc import Iterator

from pyjail._base import lazy
from pyjail._base.records import dataclass, hash_of
from pyjail._base.shown import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, repr=False)
class Image(Shown):
    """An image that is in the store. Frozen, hashable, picklable; `to_dict` gives JSON-able types.

    Attributes:
        name: the one that it was asked for by; the digest where that was asked for.
        digest: "sha256:..." of its manifest: what to pin.
        id: of its tree, by the content of its layers; images that differ in their configuration alone share one.
        root: the absolute path of that tree.
        config: what it says of how to run: ``architecture``, ``os``, ``env`` (a list of "NAME=value"), ``entrypoint``,
            ``cmd``, ``working_dir``, ``user``, ``labels``, ``history`` and ``diff_ids``.
        size: bytes of its files, unpacked.
        entries: of its layers, as many as were made.
        skipped: what was not made of them, and how often: {"device": 8}.
        layers: of each layer {"digest", "size", "media_type", "diff_id"}; the size is that of its compressed bytes.
        origin: where it came from: {"source": "oci:DIR"}; of a registry the reference, the host, and whether a secret
            was used.
    """

    name: str
    digest: str
    id: str
    root: str
    config: dict[str, Any]
    size: int
    entries: int
    skipped: dict[str, int]
    layers: tuple[dict[str, Any], ...]
    origin: dict[str, Any]

    __hash__ = hash_of

    @property
    def working_dir(self) -> str:
        """The directory that it says its own command starts in; "" where it says none."""
        return str(self.config.get("working_dir") or "")

    def _words(self) -> Iterator[str]:
        with lazy.lock:
            from pyjail._base import units

        yield self.name
        if self.name != self.digest:
            yield self.digest[:19]
        yield f"{units.show_size(self.size)} in {self.entries:,} entries"
