"""The first message of a TLS client, as far as it names the server that it wants (RFC 8446, RFC 6066). Pure."""

from __future__ import annotations

MOST = 1 << 15  # bytes of a ClientHello with its records; those of today have up to 2 KiB
_HANDSHAKE, _SERVER_NAME, _ENCRYPTED = 22, 0, 0xFE0D
_MOST_RECORD, _MOST_RECORDS = 1 << 14, 16
_LONG = f"the ClientHello has more than {MOST} bytes"


class NotTlsError(ValueError):
    """What has come is no ClientHello, or none that names its server openly: why."""


def server_name(data: bytes) -> str | None:
    """The name of the server that a ClientHello asks for, in lower case; None: more bytes are needed.

    What follows the records of the ClientHello is not looked at. Raises `NotTlsError` as soon as it cannot become one.

    >>> server_name(b"GET / HTTP/1.1")
    Traceback (most recent call last):
    pyjail._egress.hello.NotTlsError: the first bytes are no TLS handshake
    """
    message = _message(data)
    if message is None:
        if len(data) >= MOST:
            raise NotTlsError(_LONG)
        return None
    try:
        return _name(message)
    except IndexError:
        raise NotTlsError("the ClientHello is malformed") from None


def _message(data: bytes) -> bytes | None:
    """The body of the ClientHello, out of its records; None: it is not complete."""
    found, at, records = b"", 0, 0
    while at < len(data):
        if data[at] != _HANDSHAKE or data[at + 1 : at + 2] not in (b"", b"\x03"):
            raise NotTlsError("the first bytes are no TLS handshake")
        head = data[at : at + 5]
        if len(head) < 5:
            return None
        length, records = int.from_bytes(head[3:], "big"), records + 1
        if not 0 < length <= _MOST_RECORD or records > _MOST_RECORDS:
            raise NotTlsError("a TLS record is empty or too long, or they are too many")
        found += data[at + 5 : at + 5 + length]
        at += 5 + length
        if found[0:1] not in (b"", b"\x01"):
            raise NotTlsError("the first TLS message is no ClientHello")
        if len(found) < 4:
            continue
        whole = 4 + int.from_bytes(found[1:4], "big")
        if whole > MOST:
            raise NotTlsError(_LONG)
        if len(found) > whole:
            raise NotTlsError("something follows the ClientHello in its record")
        if len(found) == whole:
            return found[4:]
    return None


class _Reader:
    """Takes parts off the front, each within what is there."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        if count > len(self.data):
            raise IndexError
        part, self.data = self.data[:count], self.data[count:]
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        return _Reader(self.take(self.number(size)))


def _name(hello: bytes) -> str:
    reader = _Reader(hello)
    reader.take(34)  # version and random
    for size in (1, 2, 1):  # session, ciphers, compression
        reader.vector(size)
    if not reader.data:
        raise NotTlsError("the ClientHello names no server (SNI)")
    extensions = reader.vector(2)
    if reader.data:
        raise IndexError
    names: list[_Reader] = []
    while extensions.data:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind == _ENCRYPTED:  # what it hides may be another server
            raise NotTlsError("the ClientHello is encrypted in part (ECH): the server that it names may not be the one")
        if kind == _SERVER_NAME:
            names.append(body)
    if not names:
        raise NotTlsError("the ClientHello names no server (SNI)")
    return _one(names)


def _one(names: list[_Reader]) -> str:
    listed = names[0].vector(2)
    kind, name = listed.number(1), listed.vector(2).data
    if len(names) > 1 or names[0].data or listed.data or kind != 0 or not name.isascii():
        raise NotTlsError("the ClientHello does not name one server (SNI)")
    return name.decode("ascii").lower()
