"""`pyjail.images.Settings`: the ``[images]`` table of a configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.records import dataclass, field, hash_of, names
from pyjail._base.shown import Shown
from pyjail._images import reference
from pyjail._images.bounds import Bounds
from pyjail._images.store import Store
from pyjail._spec import config
from pyjail._spec.toml import known, of


@dataclass(frozen=True, repr=False)
class Registry(Shown):
    """How one registry is spoken to. Frozen, hashable.

    Attributes:
        ca: the absolute path of a file of certificates (PEM) to check the registry's with. None: the system's.
        insecure: speak http to it.
        token_hosts: hosts, besides its own, whose token servers may get the credentials.

    Raises SpecError.

    >>> from pyjail import images
    >>> images.Registry(token_hosts=["gitlab.com"]).token_hosts
    ('gitlab.com',)
    """

    ca: str | None = None
    insecure: bool = False
    token_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ca is not None:
            _absolute("ca", self.ca)
        if not isinstance(self.insecure, bool):
            raise SpecError("insecure", self.insecure, "true or false is needed")
        if self.insecure and self.ca is not None:
            raise SpecError("insecure", True, "http has no certificates: either insecure or ca")
        hosts = self.token_hosts
        if not isinstance(hosts, (list, tuple)) or not all(isinstance(host, str) and host for host in hosts):
            raise SpecError("token_hosts", hosts, "a list of hosts is needed")
        object.__setattr__(self, "token_hosts", tuple(hosts))


@dataclass(frozen=True, repr=False)
class Settings(Shown):
    """What an ``[images]`` table says: where the store is, how large it may be, how registries are spoken to. Frozen.

    Attributes:
        path: the store's directory, absolute. None: see `list`.
        max_size: bytes on disk (or "20G") that all trees may take: `gc` goes by it, and what would exceed it is not
            added. None: any.
        hosts: `Registry` by HOST[:PORT], as it stands in references.
        bounds: of each image.

    Raises SpecError.

    >>> from pyjail import images
    >>> images.Settings.from_toml({"images": {"max_size": "20G"}}).max_size
    21474836480
    """

    path: str | None = None
    max_size: int | None = None
    hosts: Mapping[str, Registry] = field(default_factory=dict)
    bounds: Bounds = Bounds()

    __hash__ = hash_of

    def __post_init__(self) -> None:
        if self.path is not None:
            _absolute("path", self.path)
        object.__setattr__(self, "max_size", units.size("max_size", self.max_size))
        if not isinstance(self.bounds, Bounds):
            raise SpecError("bounds", self.bounds, "images.Bounds(...) is needed")
        if not isinstance(self.hosts, Mapping):
            raise SpecError("hosts", self.hosts, 'a table for each host is needed: [images.hosts."HOST"]')
        for host, value in self.hosts.items():
            _is_host(host)
            if not isinstance(value, Registry):
                raise SpecError(f"hosts.{host}", value, "images.Registry(...) is needed")
        object.__setattr__(self, "hosts", {host.lower(): value for host, value in self.hosts.items()})

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str] | Mapping[str, Any]) -> Settings:
        """The ``[images]`` table of a configuration file (docs/configuration.md), defaults where it says nothing.

        Args:
            path: of a TOML file, or its tables, as `tomllib` reads them.

        Raises SpecError for what is wrong in it, with file and table; OSError: it cannot be read.
        """
        found = config.tables(path)["images"]
        with config.of_file(path), of("images."):
            known("", found, names(cls()))
            given = dict(found)
            if "hosts" in given:
                given["hosts"] = _hosts(given["hosts"])
            if "bounds" in given:
                given["bounds"] = _bounds(given["bounds"])
            return cls(**given)

    def host(self, name: str) -> Registry:
        """What is known of HOST[:PORT]; nothing: as by default."""
        return self.hosts.get(name.lower()) or Registry()


def store(path: str | os.PathLike[str] | None, settings: Settings | None) -> Store:
    """The one at ``path``, else that of ``settings``, else this user's."""
    if settings is not None and not isinstance(settings, Settings):
        raise SpecError("settings", settings, "images.Settings is needed, such as images.Settings.from_toml(FILE)")
    return Store(settings.path if path is None and settings is not None else path)


def bounds_of(bounds: Bounds | None, settings: Settings | None) -> Bounds:
    """These, else those of ``settings``, else the usual ones."""
    if bounds is not None and not isinstance(bounds, Bounds):
        raise SpecError("bounds", bounds, "images.Bounds(...) is needed")
    return bounds or (settings or Settings()).bounds


def _absolute(field: str, value: object) -> None:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise SpecError(field, value, "an absolute path is needed")


def _is_host(text: object) -> None:
    try:
        if not isinstance(text, str) or "/" in text:
            raise SpecError("image", text, "")
        reference.parse(f"{text}/name")
    except SpecError:
        raise SpecError("hosts", text, "HOST[:PORT] is needed, with a '.' or ':' or localhost") from None


def _hosts(table: Any) -> dict[str, Registry]:
    if not isinstance(table, dict):
        raise SpecError("hosts", table, 'a table for each host is needed: [images.hosts."HOST"]')
    made = {}
    for host, given in table.items():
        if not isinstance(given, dict):
            raise SpecError(f'hosts."{host}"', given, "a table is needed: ca, insecure, token_hosts")
        with of(f'hosts."{host}".'):
            known("", given, names(Registry()))
            made[host] = Registry(**given)
    return made


def _bounds(table: Any) -> Bounds:
    if not isinstance(table, dict):
        raise SpecError("bounds", table, "an [images.bounds] table is needed")
    with of("bounds."):
        known("", table, names(Bounds()))
        return Bounds(**table)
