"""The row about the store of images: whether this user can keep some, and where."""

from __future__ import annotations

import importlib.util
import os
import shutil

from pyjail._base.errors import HostError
from pyjail._doctor.examination import Examination
from pyjail._doctor.finding import NO, PARTLY, WORKS, Finding
from pyjail._images.store import Store

LEAST_FREE = 1 << 30  # bytes; an image of a distribution takes some hundred MiB
ZSTD = ("compression.zstd", "backports.zstd")


def store(x: Examination) -> Finding:
    """Images are kept in a directory of this user's own; it is made when the first one comes."""
    place = Store()
    try:
        there = place.there()
    except HostError as e:
        return Finding("images", NO, e.cause, e.hint)
    nearest = place.path
    while not os.path.lexists(nearest):
        nearest = os.path.dirname(nearest)
    if not os.path.isdir(nearest) or not os.access(nearest, os.W_OK | os.X_OK):
        why = f"the store would be {place.path}, and this user cannot write to {nearest}"
        return Finding("images", NO, why, "set PYJAIL_HOME to a directory where this user may write")
    free = shutil.disk_usage(nearest).free
    said = f"{place.path}{'' if there else ', made by the first image'}; {free / (1 << 30):.1f} GiB are free"
    if free < LEAST_FREE:
        return Finding("images", PARTLY, said, "make room, pyjail image gc, or set PYJAIL_HOME to another file system")
    if not any(map(_there, ZSTD)):
        said += "; layers that zstd has compressed need pip install 'pyjail-linux[zstd]'"
    return Finding("images", WORKS, said)


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor the package that it would be in
        return False
