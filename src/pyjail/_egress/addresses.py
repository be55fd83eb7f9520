"""Names become addresses, once for each connection; and which addresses are this machine's own."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._spec.egress import Address

MOST = 16  # answers that are looked at: who has more is refused
THREADS = 64  # a run has four lookups at most: some whose servers never answer leave others theirs
_NOBODYS = {4: "192.0.2.1", 6: "2001:db8::1"}  # of documents: no machine has it


class Resolver:
    """The host's resolver, in threads of its own: it may wait for seconds."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lookup")

    async def __call__(self, host: str) -> list[Address]:
        """All addresses of this name. OSError: there is none, or no answer."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self.threads, _look_up, host)
        if len(found) > MOST:
            raise OSError(f"{len(found)} addresses, more than {MOST}")
        return found


def _look_up(host: str) -> list[Address]:
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys([ipaddress.ip_address(str(row[4][0])) for row in rows]))


def own(address: Address) -> bool:
    """Whether this machine has the address: who connects to it reaches what listens here."""
    if _binds(address.version, str(address)):
        # With net.ipv4.ip_nonlocal_bind every address can be bound.
        return not _binds(address.version, _NOBODYS[address.version]) or _leads_here(address)
    return False


def _udp(version: int) -> socket.socket:
    return socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)


def _binds(version: int, address: str) -> bool:
    with contextlib.suppress(OSError), _udp(version) as sock:
        sock.bind((address, 0))
        return True
    return False


def _leads_here(address: Address) -> bool:
    """The kernel would send from the address itself. (Nothing is sent.)"""
    with contextlib.suppress(OSError), _udp(address.version) as sock:
        sock.connect((str(address), 9))
        return bool(ipaddress.ip_address(sock.getsockname()[0]) == address)
    return False
