"""What the rules of an `Egress` allow: a host by its name, and the addresses that it turned out to have. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from pyjail._spec.egress import Egress, Rule, literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._spec.egress import Address, Network

# What is not the public internet, and what embeds an address that may not be: IANA's registries of special addresses,
# and the public address at which Azure answers its guests. The first that fits has the name. (`is_private` of Python
# means something else in each version.)
_SPECIAL = """
127.0.0.0/8 loopback
0.0.0.0/8 this network
10.0.0.0/8 private
172.16.0.0/12 private
192.168.0.0/16 private
100.64.0.0/10 shared by carriers
169.254.0.0/16 link-local, a cloud's metadata
168.63.129.16/32 a cloud's metadata
192.0.0.0/24 special
192.0.2.0/24 for documents
192.88.99.0/24 6to4
198.18.0.0/15 for benchmarks
198.51.100.0/24 for documents
203.0.113.0/24 for documents
224.0.0.0/4 multicast
240.0.0.0/4 reserved
::1/128 loopback
::/128 unspecified
::ffff:0:0/96 an IPv4 address, mapped
::/96 an IPv4 address, mapped
::ffff:0:0:0/96 an IPv4 address, translated
64:ff9b::/96 an IPv4 address, translated
64:ff9b:1::/48 an IPv4 address, translated
2002::/16 an IPv4 address, 6to4
2001::/23 special
2001:db8::/32 for documents
3fff::/20 for documents
fc00::/7 private
fe80::/10 link-local
fec0::/10 site-local
ff00::/8 multicast
::/3 reserved
4000::/2 reserved
8000::/1 reserved
"""
SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    [(ipaddress.ip_network(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in _SPECIAL.strip().splitlines()]
)


def allows(egress: Egress, host: str, port: int) -> Rule | None:
    """The rule that lists this host, a name in lower case or an address, and port; None: none does.

    >>> allows(Egress(["*.pypi.org"]), "test.pypi.org", 443).text
    '*.pypi.org'
    """
    address = literal(host)
    for rule in egress.parsed:
        if rule.port != port or (address is None) != (rule.network is None):
            continue
        if _covers(rule, address) if address is not None else _names(rule, host):
            return rule
    return None


def _names(rule: Rule, host: str) -> bool:
    return host.endswith(f".{rule.host}") if rule.below else host == rule.host


def _covers(rule: Rule, address: Address) -> bool:
    return rule.network is not None and address.version == rule.network.version and address in rule.network


def special(address: Address) -> tuple[Network, str] | None:
    """The range of addresses beyond the public internet in which this one lies, and what it is; None: it is public."""
    return next(((n, name) for n, name in SPECIAL if n.version == address.version and address in n), None)


def address_allowed(
    egress: Egress, addresses: Sequence[Address], port: int, own: Callable[[Address], bool] = lambda _: False
) -> str:
    """Why a host with these addresses is not connected to; "" when it may be. One that is refused refuses all.

    What is special, and what is this machine's own (``own``), is opened by a network rule for this port that lies
    within the same range: "10.1.0.0/16" opens 10.1.2.3, "0.0.0.0/0" opens neither that nor 127.0.0.1.

    >>> address_allowed(Egress(["0.0.0.0/0"]), [ipaddress.ip_address("127.0.0.1")], 443)
    'an address is loopback (127.0.0.0/8): a network rule for port 443 within that range would open it'
    """
    if not addresses:
        return "it has no address"
    rules = [rule for rule in egress.parsed if rule.port == port]
    for address in addresses:
        found = special(address)
        if found is None and own(address):
            found = ipaddress.ip_network(address), "of this machine"
        if found is not None and not any(_covers(rule, address) and _within(rule, found[0]) for rule in rules):
            fix = f"a network rule for port {port} within that range would open it"
            return f"an address is {found[1]} ({found[0]}): {fix}"
    return ""


def _within(rule: Rule, network: Network) -> bool:
    """``network`` is of the same version."""
    return rule.network is not None and rule.network.prefixlen >= network.prefixlen
