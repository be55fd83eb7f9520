"""Where an image comes from on this machine: `opened` takes a specification, and finds out what a bare path is."""

from __future__ import annotations

import os

from pyjail._base.errors import SpecError
from pyjail._images import documents, members, pack, platforms, spill, stream
from pyjail._images.bounds import Bounds
from pyjail._images.digests import Digest, digest
from pyjail._images.errors import ImageError
from pyjail._images.layouts import DockerArchive, Layout, Single, hashed

KINDS = ("oci", "oci-archive", "docker-archive", "dir", "tar")
NAMED = ("oci", "oci-archive", "docker-archive")  # those that may hold several images
_MEDIA = {"tar": documents.OCI_LAYER, "gzip": f"{documents.OCI_LAYER}+gzip", "zstd": f"{documents.OCI_LAYER}+zstd"}

Source = Layout | DockerArchive | Single


def opened(
    spec: str,
    staging: str | int,
    bounds: Bounds | None = None,
    platform: platforms.Platform | None = None,
) -> Source:
    """The image that ``spec`` means: oci:DIR, oci-archive:FILE, docker-archive:FILE, dir:DIR, tar:FILE, or a path.

    After the first three there may be :NAME, where they hold several; a bare path is whichever of the five it looks
    like. FILE may be a pipe. In the directory ``staging`` (a path or an fd) lie files without names while an image
    needs them. ``platform`` is what an image without a configuration is for; None: this machine.

    Errors: `SpecError` of ``image``, HostError for what is not there or may not be read, `ImageError` for the rest.
    """
    bounds, platform = bounds or Bounds(), platform or platforms.own()
    kind, path, name = split(spec)
    if not kind and os.path.isdir(path):
        kind = "oci" if name or os.path.lexists(os.path.join(path, "oci-layout")) else "dir"
    if kind == "dir":
        return _directory(path, staging, bounds, platform)
    if kind == "oci":
        return _layout(members.Directory(path), kind, name, bounds, spec)
    fd = spill.regular(members.opened(path), staging, bounds)
    if kind == "tar":
        return _root(fd, bounds, platform)
    guess = not kind and name is None
    found = members.Archive(fd, staging, bounds, guess)
    if found.has("oci-layout") and found.has("index.json"):  # since Engine 25 both; this one has digests of layers
        return _layout(found, "oci", name, bounds, spec)
    if guess and (found.is_root or not found.has("manifest.json")):
        return _root(found.file(), bounds, platform)
    return _layout(found, kind or "docker-archive", name, bounds, spec)


def split(spec: str) -> tuple[str, str, str | None]:
    """(kind or "", path, name or None) of ``spec``; a path may have a ":" in it if it is there."""
    if not isinstance(spec, (str, os.PathLike)) or not isinstance(spec := os.fspath(spec), str):
        raise SpecError("image", spec, "a str or a path is needed, such as oci-archive:FILE")
    head, colon, rest = spec.partition(":")
    kind = head if colon and head in KINDS and not os.path.lexists(spec) else ""
    path = rest if kind else spec
    if not path or "\0" in path:
        raise SpecError("image", spec, f"a path is needed, after {', '.join(k + ':' for k in KINDS)} or alone")
    if os.path.exists(path) or kind in ("dir", "tar"):
        return kind, path, None
    at = path.find(":")
    while at > 0:
        if os.path.exists(path[:at]):
            break
        at = path.find(":", at + 1)
    if at <= 0 or not path[at + 1 :]:
        return kind, path, None
    return kind, path[:at], path[at + 1 :]


def _layout(found: members.Members, kind: str, name: str | None, bounds: Bounds, spec: str) -> Layout | DockerArchive:
    try:
        made = DockerArchive if kind == "docker-archive" else Layout
        return made(found, name, bounds, os.fspath(spec))
    except BaseException:
        found.close()
        raise


def _root(fd: int, bounds: Bounds, platform: platforms.Platform) -> Single:
    """The tar of a root, compressed or not, as an image of one layer; ``fd`` is taken over."""
    try:
        size = os.fstat(fd).st_size
        if not size:
            raise ImageError("archive", "it is empty")
        if size > bounds.compressed:
            raise bounds.exceeded("compressed", "archive")
        form = members.form(fd)
        with members.window(fd, 0, size) as file:
            if form == "tar":
                named = inner = hashed(file, file.read(1 << 20))
            else:
                content = stream.opened(file, _MEDIA[form], bounds)
                content.drain()
                named, inner = digest(content.digest), digest(content.diff_id)
        return Single(fd, _MEDIA[form], named, inner, (platform.os, platform.architecture))
    except BaseException:
        os.close(fd)
        raise


def _directory(path: str, staging: str | int, bounds: Bounds, platform: platforms.Platform) -> Single:
    """A copy of the tree at ``path`` as an image of one layer."""
    hasher = Digest("sha256", "").hasher()
    root = members.opened(path, os.O_DIRECTORY)
    try:
        file = spill.Spill(staging, bounds, "compressed", "directory")
        try:

            def write(data: bytes) -> None:
                hasher.update(data)
                file.write(data)

            pack.layer(root, write, bounds)
            named = Digest("sha256", hasher.hexdigest())
            return Single(file.handed_over(), documents.OCI_LAYER, named, named, (platform.os, platform.architecture))
        finally:
            file.close()
    finally:
        os.close(root)
