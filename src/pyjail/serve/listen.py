"""Sockets that a service listens on: an address, a path, or what systemd passes."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat

from pyjail.serve.config import Config
from pyjail.serve.trial import Refused

_BACKLOG = 2048
_FIRST = 3  # sd_listen_fds(3)


def sockets(config: Config) -> list[socket.socket]:
    """Listening: who connects waits. Raises `Refused` where one is taken, or reached from elsewhere without tokens."""
    found = passed() or [_unix(config.unix) if config.unix else _address(config.address, config.port)]
    exposed = [where(sock) for sock in found if not _own(sock)]
    if exposed and not config.tokens and not config.open:
        for sock in found:
            sock.close()
        raise Refused(
            f"{', '.join(exposed)} is reached from elsewhere, and without tokens anybody there could run programs",
            "pyjail serve token new --name NAME, and its table into the configuration; or --open",
        )
    for sock in found:
        try:
            sock.listen(_BACKLOG)
        except OSError as e:  # another one was quicker
            raise Refused(f"cannot listen on {where(sock)}: {e.strerror}") from None
    return found


def passed() -> list[socket.socket]:
    """Those of a .socket unit; the environment does not tell children of them."""
    ours = os.environ.get("LISTEN_PID") == str(os.getpid())
    count = os.environ.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if not ours or not count.isdigit():
        return []
    found = []
    for fd in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            raise Refused(f"the socket that was passed as fd {fd} is no stream socket of TCP or of a path")
        found.append(sock)
    return found


def where(sock: socket.socket) -> str:
    """A socket's address, as one types it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def _own(sock: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return sock.family == socket.AF_UNIX or ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback


def _address(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as e:
        raise Refused(f"there is no address {host!r} here: {e.strerror or e}") from None
    family, kind, proto, _, name = found[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
    except OSError as e:
        sock.close()
        if e.errno == errno.EADDRINUSE:
            why = f"port {port} of {host} is taken by another program"
            raise Refused(why, "--port N for another one, --port 0 for any that is free") from None
        raise Refused(f"cannot listen on {host}, port {port}: {e.strerror}") from None
    return sock


def _unix(path: str) -> socket.socket:
    """A socket there that nobody listens on is replaced; its group may connect, too."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        if _dead(path):
            os.unlink(path)
        before = os.umask(0o117)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
    except OSError as e:
        sock.close()
        taken = "another program listens there, or it is no socket"
        raise Refused(f"cannot listen on {path}: {taken if e.errno == errno.EADDRINUSE else e.strerror or e}") from None
    return sock


def _dead(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def remove(path: str) -> None:
    """The socket there, when nobody listens on it any more."""
    if _dead(path):
        os.unlink(path)
