"""Images: trees of files, such as Debian with Python, that jails use as their root; kept once, shared read-only.

An image comes from an archive, a directory or a registry, is verified and unpacked once into the store, and has a
name there. Nothing is ever fetched by a run: what is not in the store is an error that names the command.
"""

from __future__ import annotations

from pyjail._images.errors import ImageError
from pyjail._images.record import Image
from pyjail.images._pull import pull
from pyjail.images._store import gc, get, list, remove, verify

__all__ = ["Image", "ImageError", "gc", "get", "list", "pull", "remove", "verify"]

Image.__module__ = ImageError.__module__ = "pyjail.images"
for _call in (gc, get, list, pull, remove, verify):
    _call.__module__ = "pyjail.images"
del _call
