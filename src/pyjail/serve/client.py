"""Who is at the other end: the address that counts, and the tenant that it is where there are no tokens."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

LOCAL = "local"  # over a unix socket
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address(given: str) -> _Address | None:
    """An address without port, zone or its dress as IPv6; None: it is none."""
    try:
        found = ipaddress.ip_address(given.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


class Proxies:
    """Addresses and networks, or "local" for a unix socket, whose X-Forwarded-For counts. Raises ValueError."""

    def __init__(self, given: Iterable[str] = ()) -> None:
        self._local = LOCAL in (given := tuple(given))
        self._networks = [ipaddress.ip_network(one, strict=False) for one in given if one != LOCAL]

    def trusts(self, peer: str) -> bool:
        """Whether it is one of them."""
        if peer == LOCAL:
            return self._local
        found = address(peer) if self._networks else None
        return found is not None and any(found in network for network in self._networks)

    def client(self, peer: str, forwarded: Sequence[str] = ()) -> str:
        """The rightmost address that is no proxy of ours: what is left of it, anybody may have written."""
        if not self.trusts(peer):
            return peer
        for given in reversed([part for line in forwarded for part in line.split(",")]):
            found = address(given)
            if found is None:
                return peer  # nobody knows what is left of this
            peer = str(found)
            if not self.trusts(peer):
                return peer
        return peer


@lru_cache(1024)
def tenant(client: str) -> str:
    """What shares are kept by: an address of IPv4, the /64 of one of IPv6, since one line has that many."""
    found = address(client)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return client if found is None else str(found)
