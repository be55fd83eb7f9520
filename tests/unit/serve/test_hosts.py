"""Names that a request may call us by, and pages that it may come from."""

from __future__ import annotations

import pytest

from pyjail.serve.hosts import Host, Hosts, parse
from pyjail.serve.problem import Problem


@pytest.mark.parametrize(
    ("given", "name", "port"),
    [
        ("localhost", "localhost", None),
        ("LocalHost:8000", "localhost", 8000),
        ("localhost.", "localhost", None),
        ("localhost:", "localhost", None),
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("[::1]", "::1", None),
        ("[::1]:8000", "::1", 8000),
        ("[0:0:0:0:0:0:0:1]:8000", "::1", 8000),
        ("[FE80::1]", "fe80::1", None),
        ("example.org:65535", "example.org", 65535),
    ],
)
def test_a_host_header_is_read(given, name, port):
    assert parse(given) == Host(name, port)


@pytest.mark.parametrize(
    "given",
    ["", ".", ":8000", "::1", "[::1", "::1]", "[::1]8000", "[localhost]", "[::1%lo]", "a:b", "a:99999", "a:1:2", "a b",
     "user@localhost", "localhost/..", "localhost#", "localhost\t", " localhost", "lo\u0441alhost", "localhost:\u0661", "[1.2.3]",
     "localhost,evil", "%6cocalhost", "a" * 256],
)  # fmt: skip
def test_what_is_no_host_is_none(given):
    assert parse(given) is None


@pytest.mark.parametrize(
    "given", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "box.example:9", "only.example:8443"]
)
def test_the_loopback_and_configured_names_are_ours(given):
    assert Hosts(["Box.Example", "only.example:8443"]).check(given)


@pytest.mark.parametrize(
    "given",
    ["evil.example", "localhost.evil.example", "evil.localhost", "127.0.0.2", "0.0.0.0", "2130706433", "0x7f.1", "[::2]",
     "only.example", "only.example:1"],
)  # fmt: skip
def test_other_names_are_misdirected(given):
    with pytest.raises(Problem) as e:
        Hosts(["only.example:8443"]).check(given)
    assert e.value.status == 421 and given not in e.value.detail


def test_the_address_that_was_connected_to_is_ours():
    assert Hosts().check("10.0.0.5:8000", "10.0.0.5").name == "10.0.0.5"
    with pytest.raises(Problem):
        Hosts().check("10.0.0.6:8000", "10.0.0.5")


@pytest.mark.parametrize("given", [None, "", "a b"])
def test_a_request_without_a_host_is_malformed(given):
    with pytest.raises(Problem) as e:
        Hosts().check(given)
    assert e.value.status == 400


OURS = Host("localhost", 8000)


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        (None, None),  # no browser
        ("http://localhost:8000", None),
        ("http://localhost:8000", "same-origin"),
        (None, "same-origin"),
        (None, "none"),
        ("https://app.example", "cross-site"),  # configured
        ("https://app.example:443", None),
    ],
)
def test_our_own_page_and_configured_ones_may_change_things(origin, site):
    Hosts(origins=["https://app.example"]).check_origin(OURS, origin, site)


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("null", None),
        ("", None),
        ("http://evil.example", None),
        ("http://localhost", None),  # another port is another origin
        ("http://localhost:3000", "same-site"),
        ("http://localhost:8000.evil.example", None),
        ("http://localhost:8000@evil.example", None),
        ("http://localhost:8000/", None),
        ("file://", None),
        ("http://app.example", None),
        (None, "cross-site"),
        (None, "same-site"),
        (None, "anything"),
        ("http://localhost:8000", "cross-site"),
    ],
)
def test_other_pages_may_not(origin, site):
    with pytest.raises(Problem) as e:
        Hosts(origins=["https://app.example"]).check_origin(OURS, origin, site)
    assert e.value.status == 403


def test_behind_tls_a_host_without_a_port_has_the_one_of_its_page():
    Hosts(["box.example"]).check_origin(Host("box.example"), "https://box.example", None)
    with pytest.raises(Problem):
        Hosts(["box.example"]).check_origin(Host("box.example"), "https://box.example:444", None)
