"""`pyjail.images.pull`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pyjail._base import lazy
from pyjail._images import platforms, reference
from pyjail._images.bounds import Bounds
from pyjail._images.record import Image
from pyjail.images._settings import Settings, bounds_of, store

Given = tuple[str, str] | str | os.PathLike[str] | None


def pull(
    ref: str,
    *,
    name: str | None = None,
    credentials: Given = None,
    platform: str | None = None,
    insecure: bool | None = None,
    ca: str | os.PathLike[str] | None = None,
    token_hosts: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    bounds: Bounds | None = None,
    settings: Settings | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Image:
    """Get an image from a registry, verify and unpack it into the store; the image. An unchanged one is not got again.

    Args:
        ref: HOST[:PORT]/NAME[:TAG][@DIGEST]; no registry is assumed. With a digest it is that very image for ever.
        name: in the store. Default: ``ref`` as it is.
        credentials: None: none, the registry is asked as anybody may, whatever the files of this machine say. A tuple
            (user, password); "config": what docker's and podman's files and helpers know of the host; or the Path of
            one such file. Who pulls for others must not lend them these.
        platform: such as "linux/arm64". Default: this machine's.
        insecure: speak http to this host. This machine itself is spoken to by http unless ``ca`` is given. Default of
            this and of the next two: what ``settings`` say of the host, else False, None and none.
        ca: a file of certificates (PEM) to check the registry's with instead of the system's.
        token_hosts: hosts, besides the registry's own, whose token servers may get the credentials.
        path: the store's directory. Default: see `load`.
        bounds: how large it may be. Default: those of ``settings``, else `Bounds()`.
        settings: of a configuration; its ``max_size`` is what all trees may take on disk then.
        progress: called with (bytes done, bytes in all, what) while layers come.

    Raises SpecError (a field makes no sense), ImageError (what the registry says or sends is not acceptable, or it
    cannot be reached), HostError (credentials that should be there are not, or this machine lacks something). Then the
    store is what it was.
    """
    where = reference.parse(ref)
    wanted = platforms.own() if platform is None else platforms.parse(platform)
    called = reference.local_name(ref if name is None else name)
    there, limits = store(path, settings), bounds_of(bounds, settings)
    with lazy.lock:  # with http and ssl, which nothing else here needs
        from pyjail._images.credentials import find
        from pyjail._images.registry import RegistrySource
    found = find(where.host, credentials, where.name)
    its = (settings or Settings()).host(where.host)
    certificates = its.ca if ca is None and not insecure else None if ca is None else os.fspath(ca)
    plain = its.insecure and ca is None if insecure is None else insecure
    hosts = its.token_hosts if token_hosts is None else token_hosts
    with RegistrySource(where, found, plain, certificates, limits, token_hosts=hosts) as source:
        return there.add(
            source, called, limits, platform=wanted, origin=source.origin, progress=progress,
            max_size=settings.max_size if settings is not None else None,
        )  # fmt: skip
