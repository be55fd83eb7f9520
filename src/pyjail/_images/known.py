"""Whether a tree of the store may be had by who does not send its layers: `free`.

An image that names the contents of another one's layers has its tree. That must not be a way to files that somebody
else got with a password, or had on a disk: so the layers of such a tree are sent and verified again, if only to show
that whoever gives the image has them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pyjail._base.errors import SpecError
from pyjail._images import reference
from pyjail._images.shelf import Shelf

Origin = dict[str, Any]


def records(store: Shelf) -> Iterator[tuple[str, dict[str, Any]]]:
    """(digest, what is known of it) of all images."""
    for file in os.listdir(f"{store.path}/images"):
        known = store.read(f"images/{file}") if file.endswith(".json") else None
        if known:
            yield f"sha256:{file.removesuffix('.json')}", known


def free(store: Shelf, id: str, origin: Origin) -> bool:
    """Whether a registry gave an image of the tree ``id`` to anybody, or the repository that it comes from now did."""
    now = _repository(origin)
    for _, record in records(store):
        there = _repository(record["origin"]) if record["id"] == id else None
        if there is not None and (not record["origin"]["secret_used"] or there == now):
            return True
    return False


def _repository(origin: Origin) -> tuple[str, str] | None:
    """(host, name) of an image that a registry gave."""
    if "secret_used" not in origin:
        return None
    try:
        found = reference.parse(origin["reference"])
    except SpecError:
        return None
    return found.host, found.name
