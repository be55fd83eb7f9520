"""Boxes that outlive their process: one JSON file each, in the directory of their runtime."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyjail import Egress, Snapshot, SpecError
from pyjail.boxlite._errors import MetadataError
from pyjail.boxlite._options import UNSET, WORDS, BoxOptions, network

SUFFIX = ".box.json"


@dataclass
class Kept:
    """What is kept of a stopped box."""

    id: str
    name: str | None
    options: BoxOptions
    created: datetime
    files: Snapshot


def _options(told: dict[str, Any]) -> BoxOptions:
    asked = told.get("network")
    return BoxOptions(**{**told, "network": Egress(**asked) if isinstance(asked, dict) else asked})


def save(home: str, kept: Kept) -> None:
    """Write it; whoever reads meanwhile has all of it or what was there before. OSError."""
    os.makedirs(home, mode=0o700, exist_ok=True)
    options = {name: value for name in WORDS if (value := getattr(kept.options, name)) or name == "timeout_seconds"}
    if options["timeout_seconds"] is UNSET:
        del options["timeout_seconds"]
    asked = network(kept.options.network)
    options |= {"auto_remove": False, "network": asked if isinstance(asked, str) else asked.to_dict()}
    document = {
        "id": kept.id, "name": kept.name, "options": options, "created": kept.created.isoformat(),
        "files": kept.files.to_dict(),
    }  # fmt: skip
    fd, path = tempfile.mkstemp(dir=home)  # for its owner alone
    try:
        with open(fd, "w") as f:
            json.dump(document, f)
        os.replace(path, f"{home}/{kept.id}{SUFFIX}")
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise


def ids(home: str) -> list[str]:
    """Of all that are kept there."""
    try:
        return sorted(name.removesuffix(SUFFIX) for name in os.listdir(home) if name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def load(home: str, id_or_name: str) -> Kept | None:
    """The one of this id or name. MetadataError for a file that is none."""
    for one in ids(home):
        document = _read(f"{home}/{one}{SUFFIX}")
        if document is not None and id_or_name in (document["id"], document["name"]):
            try:
                return Kept(
                    document["id"], document["name"], _options(document["options"]),
                    datetime.fromisoformat(document["created"]), Snapshot.from_dict(document["files"]),
                )  # fmt: skip
            except (KeyError, TypeError, ValueError, SpecError) as e:
                raise MetadataError(f"{home}/{one}{SUFFIX} is no box: {e!r}") from e
    return None


def _read(path: str) -> dict[str, Any] | None:
    """None: somebody has removed it."""
    try:
        with open(path) as f:
            document = json.load(f)
        if isinstance(document, dict) and {"id", "name"} <= document.keys():
            return document
        why = "no object with id and name"
    except FileNotFoundError:
        return None
    except ValueError as e:
        why = str(e)
    raise MetadataError(f"{path} is no box: {why}")


def remove(home: str, one: str) -> None:
    """Forget the one of this id."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{home}/{one}{SUFFIX}")
