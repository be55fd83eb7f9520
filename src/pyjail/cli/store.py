"""The store of images that a configuration names, for all that this command does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyjail.cli import complaint

if TYPE_CHECKING:
    from pyjail.images import Settings


def configured(path: str | None) -> Settings:
    """What the file says in ``[images]``; its ``path`` is the store from now on."""
    from pyjail import images

    if not path:
        return images.Settings()
    with complaint.of_file("--config", path):
        found = images.Settings.from_toml(path)
    if found.path is not None:
        os.environ["PYJAIL_IMAGES"] = found.path  # of the runs of this process, too
    return found


def configure(path: str) -> None:
    """The same, where the file has such a table at all."""
    with complaint.of_file("--config", path), open(path, "rb") as f:
        said = b"images" in f.read()
    if said:
        configured(path)
