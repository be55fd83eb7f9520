"""The head of a request to the proxy: CONNECT, or plain http with the whole address. Pure, and strict: what two
readers could understand in two ways is refused."""

from __future__ import annotations

import re

from pyjail._base.records import NamedTuple
from pyjail._spec.egress import HTTPS, is_name, literal

MOST_HEAD = 8192  # bytes
END = b"\r\n\r\n"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_PATH = re.compile(rb"(?:[/?][\x21\x22\x24-\x7e]*)?")  # no "#": a fragment is not for servers
_METHOD = re.compile(rb"[A-Z]{1,16}")
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_LENGTH = re.compile(rb"[0-9]{1,15}")
# Of this hop alone, or ours to say (RFC 9110, 7.6.1).
_DROPPED = frozenset(b"host connection proxy-connection keep-alive te trailer upgrade proxy-authorization".split())


class RefusedError(Exception):
    """What the client is told: the status, and why."""

    def __init__(self, status: int, why: str) -> None:
        self.status, self.why = status, why
        super().__init__(status, why)


class Request(NamedTuple):
    """``host`` in lower case, a name or an address; ``head`` is what the server is sent, b"" of a tunnel; ``body``:
    so many bytes follow of it."""

    host: str
    port: int
    head: bytes = b""
    body: int = 0

    @property
    def tunnel(self) -> bool:
        """Whether it is a CONNECT."""
        return not self.head


def parse(data: bytes) -> Request:
    """The request of a head, which ends with an empty line. `RefusedError` of what is none.

    >>> parse(b"CONNECT pypi.org:443 HTTP/1.1\\r\\n\\r\\n")
    Request(host='pypi.org', port=443, head=b'', body=0)
    """
    lines = data.removesuffix(END).split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not _METHOD.fullmatch(words[0]):
        raise RefusedError(400, "no request line of HTTP/1.1")
    fields = [_field(line) for line in lines[1:]]
    method, target = words[0], words[1]
    if method == b"CONNECT":
        host, port = _authority(target, None)
        return Request(host, port)
    if target[:7].lower() != b"http://":
        what = "https goes by CONNECT" if target[:8].lower() == b"https://" else "this is a proxy"
        raise RefusedError(400, f"{what}: CONNECT HOST:PORT, or http:// and the whole address, is needed")
    rest = target[7:]
    cut = min([rest.find(c) for c in (b"/", b"?") if c in rest], default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    if not _PATH.fullmatch(path):
        raise RefusedError(400, "the path has characters that are to be escaped")
    host, port = _authority(authority, 80)
    if port == HTTPS:
        raise RefusedError(400, "plain http is not spoken to port 443: use CONNECT")
    if path[:1] != b"/":
        path = b"/" + path
    head, body = _forwarded(fields, authority.lower())
    return Request(host, port, b"%s %s HTTP/1.1\r\n%s" % (method, path, head), body)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise RefusedError(400, "a header is malformed")
    return name, value.strip(b" \t")


def _authority(text: bytes, port: int | None) -> tuple[str, int]:
    """The host, in lower case, and the port, which ``port`` is where none is told."""
    if b"@" in text:
        raise RefusedError(400, "an address with a user in it")
    name, colon, number = text.rpartition(b":") if not text.endswith(b"]") else (text, b"", b"")
    if not colon:
        name = text
    if colon and (not _PORT.fullmatch(number) or int(number) > 65535):
        raise RefusedError(400, "a port is a number from 1 to 65535")
    if not colon and port is None:
        raise RefusedError(400, "the port is missing: CONNECT HOST:PORT")
    host = name.decode("latin-1").lower()
    bracketed = host[:1] == "[" and host[-1:] == "]"
    address = literal(host[1:-1] if bracketed else host)
    if address is not None and bracketed == (address.version == 6):
        return str(address), int(number) if colon else port or 0
    if bracketed or not is_name(host):
        raise RefusedError(400, "no name of a host, and no address in its usual form")
    return host, int(number) if colon else port or 0


def _forwarded(fields: list[tuple[bytes, bytes]], authority: bytes) -> tuple[bytes, int]:
    """The head's lines for the server, and the length of the body."""
    named = {token.strip().lower() for name, value in fields if name.lower() == b"connection"
             for token in value.split(b",")}  # fmt: skip
    if b"content-length" in named:
        raise RefusedError(400, "Content-Length is not of this hop alone")
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    if any(name.lower() == b"transfer-encoding" for name, _ in fields):
        raise RefusedError(411, "a body needs Content-Length here: chunks are not forwarded")
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise RefusedError(400, "Content-Length is one number")
    kept = [(name, value) for name, value in fields if name.lower() not in _DROPPED | named]
    kept = [(b"Host", authority), *kept, (b"Connection", b"close")]
    return b"".join([b"%s: %s\r\n" % pair for pair in kept]) + b"\r\n", int(lengths[0]) if lengths else 0


_REASONS = {400: "Bad Request", 403: "Forbidden", 411: "Length Required", 431: "Request Header Fields Too Large",
            502: "Bad Gateway", 504: "Gateway Timeout"}  # fmt: skip


def answer(status: int, why: str) -> bytes:
    """The proxy's own response, with the reason as its text."""
    text = f"pyjail: {why}\n".encode()
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text


CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
