"""What an image's name stands for here: a jail with that language, a directory, or a refusal. Never something else."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyjail import HostError, Jail, SpecError, images, languages
from pyjail.boxlite import _store
from pyjail.boxlite._errors import ImageError, NotFoundError, UnsupportedError

LANGUAGES = {  # official images, by their names without a tag
    "python": "python", "node": "javascript", "gcc": "cpp", "rust": "rust", "golang": "go", "openjdk": "java",
    "eclipse-temurin": "java", "ruby": "ruby", "perl": "perl", "php": "php",
}  # fmt: skip
_NAME = re.compile(r"(?:docker\.io/)?(?:library/)?(?P<name>[a-z0-9-]+)(?::(?P<tag>[\w][\w.-]{0,127}))?")
WRITABLE = ("/tmp", "/var/tmp", "/home", "/root", "/app", "/data", "/mnt", "/opt", "/srv", "/workspace")
_MORE = ("apache", "fpm", "nanoserver", "onbuild", "windows")  # in a tag: not just the language
_RELEASES = {
    "bookworm", "bullseye", "buster", "focal", "jammy", "noble", "sid", "stretch", "trixie",
}  # fmt: skip
_versions: dict[tuple[str, Jail], str] = {}


class ImageWarning(UserWarning):
    """A box has the language that its image's name says, in another version or on another system than that image has.

    ``warnings.simplefilter("error", boxlite.ImageWarning)`` makes it an error.
    """


@dataclass(frozen=True)
class View:
    """What a box has instead of an image.

    Attributes:
        jail: its root. served: what that is, for people. writable: the directories that can be written to.
        python: whether it gets an environment of the running Python, into which packages can be installed.
    """

    jail: Jail
    served: str
    writable: tuple[str, ...]
    python: bool = False


def view(image: str | None, rootfs: str | None, named: Mapping[str, str], jail: Jail) -> View:
    """What ``image`` or ``rootfs`` stands for. It may run a program that tells its version.

    Args:
        named: directories for names, which go before all else. jail: around the programs; its root is replaced.

    Raises:
        NotFoundError: nothing here is that image. ImageError: the directory is none that can be a root.
    """
    if rootfs:
        return _directory(os.fspath(rootfs), jail)
    assert image
    found = named.get(image) or named.get(f"{image}:latest") or named.get(image.removesuffix(":latest"))
    if found:
        return _directory(os.fspath(found), jail)
    stored = _stored(image)
    if stored is not None:
        served = f"the image {stored.name}, {stored.digest}"
        return View(replace(jail, image=stored, python=None), served, _writable(stored.root))
    match = _NAME.fullmatch(image)
    name, tag = (match["name"], match["tag"] or "latest") if match else ("", "")
    if name in LANGUAGES and not any(word.startswith(_MORE) for word in tag.split("-")):
        return _language(image, name, tag, jail)
    if name and name == _system().get("ID"):
        return _distribution(image, name, tag, jail)
    raise NotFoundError(f"image {image!r} is not here, and nothing is pulled: {_fix(image)}")


def _stored(image: str) -> images.Image | None:
    """What the store has under this name, written as BoxLite takes it."""
    plain = image.removesuffix(":latest")
    for name in dict.fromkeys((image, f"{plain}:latest" if ":" not in plain.rpartition("/")[2] else plain, plain)):
        for prefix in ("", "docker.io/library/", "docker.io/"):
            with contextlib.suppress(SpecError):
                try:
                    return images.get(prefix + name)
                except HostError as e:
                    if e.control != "image":
                        raise
    return None


def _writable(root: str) -> tuple[str, ...]:
    return tuple(place for place in WRITABLE if place in WRITABLE[:2] or _empty(root + place))


def _fix(image: str) -> str:
    return (
        f"`pyjail image pull {image}` puts it into the store; "
        f"`docker export $(docker create {image}) | tar -x -C DIR` makes a directory of it, for rootfs_path=DIR or "
        f"Options(images={{{image!r}: DIR}}); names that need none: {', '.join(sorted(LANGUAGES))}"
    )


def _directory(path: str, jail: Jail) -> View:
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        raise NotFoundError(f"rootfs_path={path!r} is no directory of this host")
    if os.path.exists(f"{path}/oci-layout"):
        fix = "unpack it (umoci unpack --rootless --image DIR:TAG BUNDLE) and give BUNDLE/rootfs"
        raise ImageError(f"rootfs_path={path!r} is an OCI layout, not a root: {fix}")
    return View(replace(jail, rootfs=path, python=None), f"the directory {path}", _writable(path))


def _free(jail: Jail) -> tuple[str, ...]:
    """Of the places that can be written to, those in which nothing lies that programs need: such as this Python."""
    needed = [mount.dst for mount in jail.mounts]
    needed += [sys.base_prefix, os.path.realpath(sys.base_prefix), _store.real()]
    return tuple(place for place in WRITABLE if not any(f"{path}/".startswith(f"{place}/") for path in needed))


def _empty(path: str) -> bool:
    """Whether it is not there, or an empty directory: what an image has there is not hidden."""
    try:
        return not os.listdir(path)
    except FileNotFoundError:
        return not os.path.islink(path)
    except OSError:
        return False


def _language(image: str, name: str, tag: str, jail: Jail) -> View:
    if name == "python":
        if tag.startswith("2"):
            raise NotFoundError(f"image {image!r} is not here: Python 2 is another language. {_fix(image)}")
        _compare(image, "Python", tag, ".".join(map(str, sys.version_info[:3])))
        served = f"this host's system and Python {sys.version.split()[0]}"
        if jail.python is not None:
            return View(jail, f"{served}, that of the runtime's jail", _free(jail))
        return View(jail, f"{served}, without its packages", _free(jail), python=True)
    language = languages.find(LANGUAGES[name])
    try:
        found = languages.jail_for(language, jail)
    except HostError as e:
        if e.control != "language":
            raise
        raise NotFoundError(f"image {image!r} is not here: {e.cause}. Fix: {e.hint}; or {_fix(image)}") from e
    version = _versions.get((language.name, jail)) or languages.version(language, jail) or ""
    _versions[language.name, jail] = version
    _compare(image, language.title, tag, version)
    return View(found, f"this host's system and {language.title} {version}".rstrip(), _free(found))


def _compare(image: str, title: str, tag: str, version: str) -> None:
    """Warn where the tag asks for what is not what is here."""
    other = []
    asked = re.match(r"\d+(?:\.\d+)*", tag)
    if asked and f"{version}.".find(f"{asked[0]}.") != 0:
        other.append(f"{title} {version or 'of some version'}, not {asked[0]}")
    words = [word for word in tag.split("-") if word in _RELEASES or word.startswith("alpine")]
    if words and words[0] != _system().get("VERSION_CODENAME"):
        other.append(f"the system is this host's, not {words[0]}")
    if other:
        text = f"image {image!r} is served by this host: {' and '.join(other)}"
        warnings.warn(text, ImageWarning, stacklevel=2)


def _distribution(image: str, name: str, tag: str, jail: Jail) -> View:
    system = _system()
    own = {system.get("VERSION_ID"), system.get("VERSION_CODENAME")}
    if tag.removesuffix("-slim") not in own:
        here = f"this host is {name} {system.get('VERSION_ID', '')}"
        raise NotFoundError(f"image {image!r} is not here ({here}): {_fix(image)}")
    return View(jail, f"this host's system, {name} {system.get('VERSION_ID')}", _free(jail))


def _system() -> dict[str, str]:
    """/etc/os-release."""
    import platform

    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def checked(user: str | int | None, jail: Jail) -> None:
    """UnsupportedError unless ``user`` is the one that programs of the jail are."""
    if user is not None and str(user) not in (str(jail.uid), f"{jail.uid}:{jail.gid}"):
        raise UnsupportedError(
            f"user={user!r}: every program of a box is user {jail.uid}, who cannot become another one"
        )
