"""Images: trees of files, such as Debian with Python, that jails use as their root; kept once, shared read-only.

An image comes from an archive, a directory or a registry, is verified and unpacked once into the store, and has a
name there. Nothing is ever fetched by a run: what is not in the store is an error that names the command.

>>> import os, tempfile
>>> from pyjail import images
>>> with tempfile.TemporaryDirectory() as d:
...     os.environ["PYJAIL_HOME"] = f"{d}/home"  # where the store is
...     os.makedirs(f"{d}/tree/etc")
...     made = images.load(f"dir:{d}/tree", "mine")
...     found = images.get("mine") == made, images.verify("mine"), images.gc()
...     images.remove("mine")
...     found, images.list(), os.environ.pop("PYJAIL_HOME") == f"{d}/home"
((True, [], []), [], True)
"""

from __future__ import annotations

from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError, StepError
from pyjail._images.record import Image
from pyjail.images._build import build
from pyjail.images._pull import pull
from pyjail.images._recipe import build_recipe
from pyjail.images._settings import Registry, Settings
from pyjail.images._store import check_name, gc, get, list, load, remove, verify

__all__ = [
    "Bounds", "Image", "ImageError", "Registry", "Settings", "StepError", "build", "build_recipe", "check_name", "gc",
    "get", "list", "load", "pull", "remove", "verify",
]  # fmt: skip

for _call in (
    Bounds,
    Image,
    ImageError,
    Registry,
    Settings,
    StepError,
    build,
    build_recipe,
    check_name,
    gc,
    get,
    list,
    load,
    pull,
    remove,
    verify,
):
    _call.__module__ = "pyjail.images"
del _call
