"""Whose address counts."""

from __future__ import annotations

import pytest

from pyjail.serve.client import Proxies, tenant


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ([], "1.2.3.4", ["9.9.9.9"], "1.2.3.4"),  # nobody is trusted: what it says is what it says
        (["10.0.0.1"], "10.0.0.1", ["9.9.9.9"], "9.9.9.9"),
        (["10.0.0.1"], "10.0.0.1", ["8.8.8.8, 9.9.9.9"], "9.9.9.9"),  # what is left of it, anybody may have written
        (["10.0.0.1"], "10.0.0.1", ["8.8.8.8", "9.9.9.9"], "9.9.9.9"),
        (["10.0.0.0/8"], "10.0.0.1", ["8.8.8.8, 9.9.9.9, 10.2.3.4"], "9.9.9.9"),
        (["10.0.0.0/8"], "10.0.0.1", [], "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["10.0.0.7"], "10.0.0.7"),
        (["10.0.0.0/8"], "10.0.0.1", ["9.9.9.9, unknown"], "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["127.0.0.1\r\nX: y"], "10.0.0.1"),
        (["::1"], "::1", ["2001:db8::7"], "2001:db8::7"),
        (["127.0.0.1"], "::ffff:127.0.0.1", ["9.9.9.9"], "9.9.9.9"),
        (["local"], "local", ["9.9.9.9"], "9.9.9.9"),
        ([], "local", ["9.9.9.9"], "local"),
    ],
)
def test_the_rightmost_address_that_is_no_proxy_of_ours_is_the_client(proxies, peer, forwarded, client):
    assert Proxies(proxies).client(peer, forwarded) == client


@pytest.mark.parametrize("given", ["proxy.example", "10.0.0.1/33", ""])
def test_a_proxy_is_an_address_or_a_network(given):
    with pytest.raises(ValueError, match="does not appear"):
        Proxies([given])


def test_a_tenant_is_an_address_of_ipv4_and_64_bits_of_ipv6():
    assert tenant("9.9.9.9") == tenant("::ffff:9.9.9.9") == "9.9.9.9"
    assert tenant("2001:db8::1") == tenant("2001:db8::ffff:1") == "2001:db8::/64" != tenant("2001:db8:0:1::1")
    assert tenant("local") == "local"
