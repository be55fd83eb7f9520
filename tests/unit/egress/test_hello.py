"""Which server a ClientHello asks for: of real ones, in pieces, and of those that would hide it."""

from __future__ import annotations

import contextlib
import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail._egress.hello import MOST, NotTlsError, server_name


def real(host: str | None = "pypi.org", version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=host).do_handshake()
    return out.read()


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + vector(2, data)


def name(host: bytes, kind: int = 0) -> bytes:
    return bytes([kind]) + vector(2, host)


def sni(*names: bytes) -> bytes:
    return extension(0, vector(2, b"".join(names)))


def message(*extensions: bytes, rest: bytes = b"") -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    return b"\x01" + vector(3, body + vector(2, b"".join(extensions)) + rest)


def records(handshake: bytes, size: int = 1 << 14) -> bytes:
    parts = [handshake[n : n + size] for n in range(0, len(handshake), size)]
    return b"".join([b"\x16\x03\x01" + vector(2, part) for part in parts])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_real_hello_is_understood_in_pieces_of_any_size(version):
    data = real("PyPI.org".lower(), version)
    for cut in range(len(data)):
        assert server_name(data[:cut]) is None
    assert server_name(data) == "pypi.org"
    assert server_name(data + b"\x14\x03\x03\x00\x01\x01") == "pypi.org"  # what follows in records of its own


def test_a_hello_in_several_records_is_one():
    made = message(extension(43, b"\x02\x03\x04"), sni(name(b"pypi.org")))
    assert server_name(records(made)) == "pypi.org"
    assert server_name(records(made, 10)) == "pypi.org"
    assert server_name(records(made, 10)[:-1]) is None
    with pytest.raises(NotTlsError, match="too many"):
        server_name(records(made, 2))


HIDING = {
    "no SNI": (records(message(extension(43, b""))), "names no server"),
    "no extensions": (records(b"\x01" + vector(3, b"\x03\x03" + bytes(32) + b"\0\0\2\x13\1\1\0")), "names no server"),
    "an empty list": (records(message(sni())), "malformed"),
    "two names": (records(message(sni(name(b"pypi.org"), name(b"evil.example")))), "one server"),
    "two lists": (records(message(sni(name(b"pypi.org")), sni(name(b"evil.example")))), "one server"),
    "another kind of name": (records(message(sni(name(b"pypi.org", 1)))), "one server"),
    "bytes behind the list": (records(message(extension(0, vector(2, name(b"pypi.org")) + b"x"))), "one server"),
    "a name that is no text": (records(message(sni(name(b"pypi.org\xff")))), "one server"),
    "ECH": (records(message(sni(name(b"pypi.org")), extension(0xFE0D, b"\0"))), "ECH"),
    "bytes behind the extensions": (records(message(sni(name(b"pypi.org")), rest=b"x")), "malformed"),
    "two hellos in a record": (records(message(sni(name(b"pypi.org"))) * 2), "follows"),
    "a list that is longer than it is": (records(message(b"\0\0\0\x05\0\xff")), "malformed"),
    "http": (b"GET / HTTP/1.1\r\n", "no TLS"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "no TLS"),
    "SSL 2": (b"\x80\x2e\x01\x03\x01", "no TLS"),
    "an alert first": (b"\x15\x03\x01\0\2\1\0", "no TLS"),
    "a ServerHello": (records(b"\x02" + vector(3, bytes(40))), "no ClientHello"),
    "an empty record": (b"\x16\x03\x01\0\0", "empty"),
    "a huge record": (b"\x16\x03\x01\xff\xff", "too long"),
    "a huge hello": (records(b"\x01\x01\x00\x00"), str(MOST)),
    "a record of another kind between": (records(message(sni(name(b"pypi.org"))), 20)[:25] + b"\x17\x03\x03\0\1x", "no TLS"),
}  # fmt: skip


@pytest.mark.parametrize("what", HIDING)
def test_a_hello_that_hides_its_server_is_refused(what):
    data, why = HIDING[what]
    with pytest.raises(NotTlsError, match=why):
        server_name(data)


@given(st.data())
def test_any_bytes_are_a_hello_or_not(data):
    """No other exception, and a changed hello has a name of its own or none."""
    made = bytearray(records(message(sni(name(b"pypi.org")), extension(43, b"\x02\x03\x04"))))
    for _ in range(data.draw(st.integers(0, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    for text in (bytes(made), data.draw(st.binary(max_size=100)), b"\x16\x03\x01" + data.draw(st.binary(max_size=100))):
        with contextlib.suppress(NotTlsError):
            found = server_name(text)
            assert found is None or found.isascii()
