"""`pyjail.images.build`: an image with languages, of the packages that their tables name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pyjail import Jail, SpecError
from pyjail._base import lazy
from pyjail._images import reference
from pyjail._images.bounds import Bounds
from pyjail._images.record import Image
from pyjail._images.store import Store
from pyjail._images.where import Where
from pyjail.images._settings import Settings, bounds_of, store

if TYPE_CHECKING:
    from pathlib import Path

    from pyjail.languages import Language

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?", re.ASCII)


def build(
    name: str,
    languages: Sequence[str | Language] = (),
    *,
    packages: Sequence[str] = (),
    learned: bool = False,
    run_only: bool = False,
    base: str | Image | None = None,
    keep: Sequence[str] = (),
    path: str | os.PathLike[str] | None = None,
    bounds: Bounds | None = None,
    settings: Settings | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Image:
    """Make an image of Debian's packages, by mmdebstrap, from where this host's own apt gets them; the image.

    It has the essential packages, the ``package`` of each language, and what these depend on, without documentation,
    translations, apt's settings and caches. Built from the same packages it is the same image, whoever builds it.

    Args:
        name: of the image in the store; what had it before loses it.
        languages: names for `pyjail.languages.find`, or a `Language` each.
        packages: more of Debian's packages, also as "NAME=VERSION".
        learned: keep only the files that the test programs of the languages use, watched one by one: tens of them.
            `pyjail languages --check` passes in it; what else a program needs is not there. Default False.
        run_only: with ``learned``, leave out what only compilers use: for a language's ``run_image``. Default False.
        base: with ``learned``, an image of the store to take the files from. Default: one that is built, and goes.
        keep: with ``learned``, absolute paths that stay with all that is below them, such as "/usr/lib/python3.11".
        path, bounds, settings: as of `load`. A learned image is made in the store that jails use.
        progress: called with (bytes done, bytes in all, what is being done); (0, 0, step) while packages come.

    Raises:
        SpecError: a name makes no sense, or a language names no package.
        HostError: mmdebstrap is missing, this user cannot have more ids than one, apt could not get a package, or a
            test program does not compile. ``hint`` is the fix. Then the store is what it was.
        ImageError: what was made is larger than an image may be.
    """
    with lazy.lock:
        from pyjail import languages as known
    reference.local_name(name)
    for field, value in (("languages", languages), ("packages", packages), ("keep", keep)):
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise SpecError(field, value, "a list is needed")
    chosen = [known.find(one) if isinstance(one, str) else one for one in languages]
    for one in chosen:
        if not isinstance(one, known.Language):
            raise SpecError("languages", one, "a name such as 'python' or a pyjail.languages.Language is needed")
    wanted = _packages(chosen, packages, base is None)
    most = settings.max_size if settings is not None else None
    there = Where(store(path, settings), bounds_of(bounds, settings), most, progress)
    if not learned:
        for field, given in (("run_only", run_only), ("base", base), ("keep", keep)):
            if given:
                raise SpecError(field, given, "is for an image with learned=True")
        return _whole(there, name, chosen, wanted)
    if not chosen:
        raise SpecError("languages", languages, "a language is needed, whose test program tells what is used")
    if there.store.path != Store().path:
        raise SpecError("path", there.store.path, "a learned image is made in the store of jails: set PYJAIL_IMAGES")
    if base is not None:
        whole = there.store.lookup(base.digest if isinstance(base, Image) else base)
        return _learned(there, name, chosen, whole, run_only, keep)
    whole = _whole(there, f"building-{os.getpid()}-{os.urandom(4).hex()}", chosen, wanted)
    try:
        return _learned(there, name, chosen, whole, run_only, keep)
    finally:
        with lazy.lock:
            from pyjail._images import collect
        collect.remove(there.store, whole.name)


def _packages(languages: Sequence[Language], more: Sequence[str], needed: bool) -> list[str]:
    found: list[str] = []
    for one in languages:
        if needed and not one.package:
            raise SpecError(f"languages.{one.name}.package", one.package, "Debian's package is needed to build it")
        found += one.package.split()
    found += more
    if needed and not found:
        raise SpecError("languages", languages, "a language or a package is needed")
    for package in found:
        if not isinstance(package, str) or not _PACKAGE.fullmatch(package):
            raise SpecError(
                "packages", package, "the name of a Debian package is needed, such as 'gcc' or 'gcc=4:12.2'"
            )
    return list(dict.fromkeys(found))


def _whole(there: Where, name: str, languages: Sequence[Language], packages: Sequence[str]) -> Image:
    with lazy.lock:
        from pyjail._images import build
    origin = {"source": "mmdebstrap", "languages": _names(languages), "packages": " ".join(packages)}
    return build.debian(there, name, packages, origin)


def _learned(
    there: Where,
    name: str,
    languages: Sequence[Language],
    whole: Image,
    run_only: bool,
    keep: Sequence[str],
) -> Image:
    from pyjail import languages as known

    with lazy.lock:
        from pyjail._images import build, pack
    jail = Jail(image=whole.digest, fresh=True, strict=False)  # of programs that are ours
    files: dict[str, Path | str | bytes | None] = {}
    for one in languages:
        there.tell(f"watching the test program of {one.title}")
        files |= known.used_files(one, jail=jail, run_only=run_only)
    for place in keep:
        files |= _kept(whole, place)
    config = {"Env": list(whole.config.get("env") or ())}
    origin = {"source": f"learned from {whole.digest}", "languages": _names(languages)}
    return build.files(there, name, partial(pack.chosen, files), config, origin)


def _names(languages: Sequence[Language]) -> str:
    return ",".join(one.name for one in languages)


def _kept(whole: Image, path: str) -> Mapping[str, Path | str | None]:
    """All that is at and below a path of the image. Its tree has no link that is followed."""
    from pathlib import Path

    parts = path.split("/") if isinstance(path, str) else []
    if len(parts) < 2 or parts[0] or not all(part not in ("", ".", "..") for part in parts[1:]):
        raise SpecError("keep", path, "an absolute path is needed, without . and ..")
    place = whole.root
    for part in parts[1:]:
        place = f"{place}/{part}"
        if os.path.islink(place):
            raise SpecError("keep", path, f"{place.removeprefix(whole.root)} is a symlink, to {os.readlink(place)}")
    if not os.path.lexists(place):
        raise SpecError("keep", path, f"is not in {whole.name}")
    found: dict[str, Path | str | None] = {}
    if not os.path.isdir(place):
        return {path: Path(place)}
    for top, directories, names in os.walk(place):
        inside = top.removeprefix(whole.root)
        found[inside] = None
        for each in [*directories, *names]:
            at = f"{top}/{each}"
            if os.path.islink(at):
                found[f"{inside}/{each}"] = os.readlink(at)
            elif each in names:
                found[f"{inside}/{each}"] = Path(at)
    return found
