"""Which names a request may call us by, and which pages it may come from: against DNS rebinding and other sites."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from pyjail.serve.problem import Problem

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_.-]{1,255}))(?::(?P<port>[0-9]{0,5}))?")
_LONGEST = 300
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Host:
    """A name in lower case, or an address as `ipaddress` writes it; ``port`` is None where there is none."""

    name: str
    port: int | None = None


def parse(given: str) -> Host | None:
    """What a Host header says; None: it is none."""
    return _parsed(given) if len(given) <= _LONGEST else None


@lru_cache(256)
def _parsed(given: str) -> Host | None:
    match = _HOST.fullmatch(given)
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > 0xFFFF:
        return None
    if match["v6"] is not None:
        try:
            return Host(str(ipaddress.IPv6Address(match["v6"])), port)
        except ValueError:
            return None
    name = match["name"].lower().removesuffix(".")
    return Host(name, port) if name else None


def origin(given: str) -> tuple[str, Host] | None:
    """(scheme, host with its port) of an Origin header; None: it is none that could be told apart, such as "null"."""
    scheme, found, rest = given.partition("://")
    host = parse(rest)
    if not found or host is None or scheme.lower() not in _PORTS:
        return None
    return scheme.lower(), Host(host.name, host.port or _PORTS[scheme.lower()])


class Hosts:
    """The names that we go by, and the pages that may call us.

    ``names``: besides those of the loopback, "name" or "name:port". ``origins``: besides our own.
    """

    def __init__(self, names: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._known = {parse(name) for name in (*LOOPBACK, *names)} - {None}
        self._origins = {found for given in origins if (found := origin(given))}

    def check(self, given: str | None, server: str = "") -> Host:
        """The host that was meant: one of ours, or the address ``server`` that was connected to. Raises `Problem` 421.

        A page that rebinds its own name to our address still sends that name.
        """
        host = None if given is None else parse(given)
        if host is None:
            raise Problem(400, "host-header", "a Host header with a name or an address is needed")
        if host in self._known or Host(host.name) in self._known or (server and host.name == server):
            return host
        raise Problem(
            421, "host-header", "this service is not known by that name", hint="its own names are hosts in [serve.edge]"
        )

    def allows(self, given: str) -> bool:
        """Whether that Origin is of a page that is configured."""
        return origin(given) in self._origins

    def check_origin(self, host: Host, given: str | None, site: str | None) -> None:
        """Nothing, for a request that changes something: it comes from no browser, from our own page, or from a page
        that is configured. ``given`` and ``site`` are its Origin and Sec-Fetch-Site. Raises `Problem` 403."""
        if given is not None:
            if self.allows(given):
                return
            found = origin(given)
            if found is None or found[1] != Host(host.name, host.port or _PORTS[found[0]]):
                raise Problem(403, "origin", "pages of other origins may not ask for that")
        if site is not None and site not in ("same-origin", "none"):
            raise Problem(403, "origin", "pages of other sites may not ask for that")
