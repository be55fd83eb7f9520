"""Names of images: those of registries, and those in the store. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

from pyjail._base.errors import SpecError
from pyjail._images.digests import Digest, digest
from pyjail._images.errors import ImageError

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"((?:{_LABEL}(?:\.{_LABEL})*)|\[[0-9A-Fa-f:.]{{2,45}}\])(?::([0-9]{{1,5}}))?", re.ASCII)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", re.ASCII)
MOST = 255  # characters of host and name together, and bytes of a file's name
FORM = "HOST[:PORT]/NAME[:TAG][@DIGEST]"
DOCKER = ("docker.io", "index.docker.io")


class Reference(NamedTuple):
    """An image in a registry; ``str()`` is its whole name.

    ``host`` is in lower case and has the port, if given; ``tag`` is None where the digest alone says it.
    """

    host: str
    name: str
    tag: str | None
    digest: Digest | None

    @property
    def registry(self) -> str:
        """The host to speak to: ``host``, but for Docker's, which answers under another name."""
        return "registry-1.docker.io" if self.host in DOCKER else self.host

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest, else the tag."""
        return str(self.digest or self.tag)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.name}{tag}{f'@{self.digest}' if self.digest else ''}"


def _host(text: str) -> tuple[str, int | None] | None:
    """(host, port) of what may be one; None: it is none."""
    found = _HOST.fullmatch(text)
    if found is None or len(found[1]) > 253 or (found[2] is not None and not 1 <= int(found[2]) <= 65535):
        return None
    return found[1], None if found[2] is None else int(found[2])


def parse(text: str) -> Reference:
    """``text`` taken apart: HOST[:PORT]/NAME[:TAG][@DIGEST]; without tag and digest the tag is "latest".

    HOST has a "." or a ":", or is localhost: there is no default registry. NAME is as the distribution specification
    says; Docker's images of one word lie in its library/. Raises `SpecError` of the field ``image``.

    >>> parse("localhost:5000/team/app:1").tag
    '1'
    """
    if not isinstance(text, str):
        raise SpecError("image", text, f"a str is needed: {FORM}")
    if len(text) > 1024:
        raise SpecError("image", text, f"at most 1,024 characters are taken: {FORM}")
    host, slash, rest = text.partition("/")
    if not slash or not (set(".:[") & set(host) or host == "localhost"):
        raise SpecError("image", text, f"{FORM} is needed, HOST with a '.' or ':' or localhost: no registry is assumed")
    if _host(host) is None:
        raise SpecError("image", text, f"{host!r} is no host with an optional port from 1 to 65535: {FORM}")
    rest, at, after = rest.partition("@")
    try:
        pinned = digest(after) if at else None
    except ImageError as e:
        raise SpecError("image", text, e.why) from None
    name, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise SpecError("image", text, f"{tag!r} is no tag: 1 to 128 letters, digits and '_.-', not '.-' first")
    if not _NAME.fullmatch(name):
        raise SpecError("image", text, f"{name!r} is no name: a-z, 0-9, between them '.', '_', '__', '-' or '/'")
    host = host.lower()
    if host in DOCKER and "/" not in name:
        name = f"library/{name}"
    if len(host) + 1 + len(name) > MOST:
        raise SpecError("image", text, f"host and name have more than {MOST} characters")
    return Reference(host, name, tag if colon else None if pinned else "latest", pinned)


def local_name(text: str) -> str:
    """``text`` if it may name an image in the store: letters, digits and "._:/@+-", a letter or digit first.

    It is a file's name there, percent-encoded, so that at most 255 bytes are left after that. What is a digest is no
    name. Raises `SpecError` of the field ``image``.

    >>> local_name("python:3.12")
    'python:3.12'
    """
    if not isinstance(text, str) or not _LOCAL.fullmatch(text):
        raise SpecError("image", text, "a name of letters, digits and '._:/@+-' is needed, a letter or digit first")
    if len(quote(text, safe="")) > MOST:
        raise SpecError("image", text, f"too long: at most {MOST} bytes, of which '/', ':', '@', '+' take three")
    if re.match(r"(sha256|sha512):[0-9a-fA-F]*\Z", text):
        raise SpecError("image", text, "a digest is no name for an image: it would be taken for another one's")
    return text
