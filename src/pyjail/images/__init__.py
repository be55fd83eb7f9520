"""Images: trees of files, such as Debian with Python, that jails use as their root; kept once, shared read-only.

An image comes from an archive, a directory or a registry, is verified and unpacked once into the store, and has a
name there.
"""

from __future__ import annotations

from pyjail._images.errors import ImageError

__all__ = ["ImageError"]

ImageError.__module__ = "pyjail.images"
