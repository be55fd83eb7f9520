"""What a program may say to the proxy: each way around the list that texts could be, and what is forwarded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail._egress.request import END, RefusedError, answer, parse

TARGETS = {
    b"pypi.org:443": ("pypi.org", 443),
    b"PyPI.ORG:443": ("pypi.org", 443),
    b"10.1.2.3:5432": ("10.1.2.3", 5432),
    b"[::1]:443": ("::1", 443),
    b"[0:0:0:0:0:0:0:1]:443": ("::1", 443),
    b"[::ffff:127.0.0.1]:443": ("::ffff:7f00:1", 443),
    b"pypi.org": "port is missing",
    b"pypi.org:": "1 to 65535",
    b"pypi.org:0": "1 to 65535",
    b"pypi.org:00443": "1 to 65535",
    b"pypi.org:+443": "1 to 65535",
    b"pypi.org:65979": "1 to 65535",  # 443 + 65536
    b"pypi.org:443:443": "usual form",
    b"pypi.org:4e2": "1 to 65535",
    b"pypi.org.:443": "usual form",
    b".pypi.org:443": "usual form",
    b"2130706433:443": "usual form",
    b"0x7f000001:443": "usual form",
    b"017700000001:443": "usual form",
    b"127.1:443": "usual form",
    b"0177.0.0.1:443": "usual form",
    b"127.0.0.1.:443": "usual form",
    b"::1:443": "usual form",
    b"[::1:443": "usual form",
    b"::1]:443": "usual form",
    b"[127.0.0.1]:443": "usual form",
    b"[fe80::1%25eth0]:443": "usual form",
    b"[fe80::1%eth0]:443": "usual form",
    b"[pypi.org]:443": "usual form",
    b"user@pypi.org:443": "a user in it",
    b"pypi.org:443@evil.example:443": "a user in it",
    b"pypi.org%00.evil.example:443": "usual form",
    b"pypi.org\x00.evil.example:443": "usual form",
    b"pypi.org%2eevil.example:443": "usual form",
    b"pypi.org/:443": "usual form",
    b"pypi.org:443/": "1 to 65535",
    b"pypi.org#evil.example:443": "usual form",
    b"pypi.org\\evil.example:443": "usual form",
    b"evil.example,pypi.org:443": "usual form",
    "bücher.example:443".encode(): "usual form",
    "\uff50\uff59pi.org:443".encode(): "usual form",
    "pypi\u3002org:443".encode(): "usual form",
    b"https://pypi.org:443": "usual form",
    b"*.pypi.org:443": "usual form",
    b":443": "usual form",
    b"localhost\t:443": "usual form",
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_a_host_in_its_one_form_or_refused(target):
    """In a CONNECT, and as the host of a URL."""
    wanted = TARGETS[target]
    if isinstance(wanted, tuple):
        made = parse(b"CONNECT %s HTTP/1.1\r\n\r\n" % target)
        assert (made.host, made.port, made.tunnel) == (*wanted, True)
        return
    with pytest.raises(RefusedError, match=wanted) as e:
        parse(b"CONNECT %s HTTP/1.1\r\n\r\n" % target)
    assert e.value.status == 400
    if wanted == "usual form" and not set(target) & set(b"/?#"):
        with pytest.raises(RefusedError):
            parse(b"GET http://%s/ HTTP/1.1\r\n\r\n" % target.replace(b":443", b":80"))


REFUSED = {
    b"": 400,
    b"GET / HTTP/1.1": 400,
    b"GET https://pypi.org/ HTTP/1.1": 400,
    b"GET ftp://pypi.org/ HTTP/1.1": 400,
    b"GET http:/pypi.org/ HTTP/1.1": 400,
    b"GET http:///pypi.org/ HTTP/1.1": 400,
    b"GET http://pypi.org:443/ HTTP/1.1": 400,
    b"GET http://me@pypi.org/ HTTP/1.1": 400,
    b"GET http://pypi.org/a b HTTP/1.1": 400,
    b"GET http://pypi.org/#x HTTP/1.1": 400,
    b"GET http://pypi.org/\x00 HTTP/1.1": 400,
    b"GET http://pypi.org\\@evil.example/ HTTP/1.1": 400,
    b"GET  http://pypi.org/ HTTP/1.1": 400,
    b"GET http://pypi.org/ HTTP/2": 400,
    b"GET http://pypi.org/": 400,
    b"get http://pypi.org/ HTTP/1.1": 400,
    b"CONNECT pypi.org:443": 400,
    b"CONNECT pypi.org:443 HTTP/1.1\nX: y": 400,
    b"CONNECT pypi.org:443 HTTP/1.1\r\n folded: x": 400,
    b"CONNECT pypi.org:443 HTTP/1.1\r\nno colon": 400,
    b"GET http://pypi.org/ HTTP/1.1\r\nContent-Length : 5": 400,
    b"GET http://pypi.org/ HTTP/1.1\r\nA: b\nTransfer-Encoding: chunked": 400,
    b"GET http://pypi.org/ HTTP/1.1\r\nA: b\rB: c": 400,
    b"GET http://pypi.org/ HTTP/1.1\r\nA: b\x00": 400,
    b"POST http://pypi.org/ HTTP/1.1\r\nTransfer-Encoding: chunked": 411,
    b"POST http://pypi.org/ HTTP/1.1\r\ntransfer-encoding: identity": 411,
    b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked": 411,
    b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5": 400,
    b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length: 5, 5": 400,
    b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length: +5": 400,
    b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length: -1": 400,
    b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length: 0x5": 400,
    b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length:": 400,
    b"POST http://pypi.org/ HTTP/1.1\r\nConnection: content-length\r\nContent-Length: 5": 400,
}


@pytest.mark.parametrize("head", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(head):
    with pytest.raises(RefusedError) as e:
        parse(head + END)
    assert e.value.status == REFUSED[head]
    assert answer(e.value.status, e.value.why).startswith(b"HTTP/1.1 %d " % e.value.status)


def test_a_plain_request_is_written_anew():
    made = parse(
        b"POST HTTP://Plain.Example:8080?q=1 HTTP/1.1\r\nHost: evil.example\r\nAccept: */*\r\nconnection: X-Hop, keep-alive\r\n"
        b"X-Hop: 1\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: trailers\r\nContent-Length: 12\r\n\r\n"
    )
    assert (made.host, made.port, made.body, made.tunnel) == ("plain.example", 8080, 12, False)
    assert made.head == (
        b"POST /?q=1 HTTP/1.1\r\nHost: plain.example:8080\r\nAccept: */*\r\nContent-Length: 12\r\nConnection: close\r\n\r\n"
    )
    assert parse(b"GET http://plain.example HTTP/1.0\r\n\r\n").head.startswith(
        b"GET / HTTP/1.1\r\nHost: plain.example\r\n"
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data):
    for text in (
        data,
        b"CONNECT %s HTTP/1.1" % data,
        b"GET http://%s HTTP/1.1" % data,
        b"GET http://a/ HTTP/1.1\r\n%s" % data,
    ):
        try:
            made = parse(text + END)
        except RefusedError as e:
            assert e.status in (400, 411)
        else:
            assert 1 <= made.port <= 65535
            assert made.host == made.host.lower()
            assert made.host.isascii()
            assert made.head.count(END) == (0 if made.tunnel else 1)
            assert b"\n" not in made.head.replace(b"\r\n", b"")
