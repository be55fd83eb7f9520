"""Which hosts a program may reach: `Egress`, a list of rules, checked. No I/O here, and nothing is resolved."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.records import NamedTuple, dataclass
from pyjail._base.shown import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

HTTPS = 443  # of a rule that names no port
MOST_RULES = 256
MOST_IDLE = 3600.0
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_FORMS = '"HOST", "HOST:PORT", "*.HOST", "*.HOST:PORT" or a network such as "10.1.0.0/16:5432"'


class Rule(NamedTuple):
    """One rule: ``text`` as it is shown; ``host`` without "*.", or "" of a network; the port."""

    text: str
    host: str
    below: bool  # "*.HOST": names below it, of any depth, and not HOST itself
    network: Network | None
    port: int


@dataclass(frozen=True, repr=False)
class Egress(Shown):
    """What a program may reach by the proxy of its jail: nothing but what a rule names.

    Attributes:
        rules: "HOST" is port 443 of that very name; "HOST:PORT" another port; "*.HOST" all names below HOST, not HOST
            itself; "10.1.0.0/16:5432" addresses, and the only way to anything private, local or of this machine. Names
            are spoken to by TLS whose server name is the name, or by plain http on a port that a rule tells; addresses
            of a network rule by any TCP. An empty list refuses all.
        connections: at once, of one run. Default 32; more wait.
        size: bytes each way, of one run. Default "64M"; what exceeds it is cut by a reset.
        idle: seconds without a byte after which a connection is reset. Default 30, at most an hour.

    Raises:
        SpecError: a rule that makes no sense: which, why, and what was meant.

    >>> from pyjail._spec.egress import Egress
    >>> Egress(["PyPI.org", "*.pythonhosted.org:443"]).rules
    ('pypi.org', '*.pythonhosted.org')
    """

    rules: tuple[str, ...] = ()
    connections: int = 32
    size: int = 64 << 20
    idle: float = 30.0

    if TYPE_CHECKING:

        def __init__(
            self, rules: Sequence[str] = (), connections: int = 32, size: int | str = "64M", idle: float | str = 30.0
        ) -> None: ...

    def __post_init__(self) -> None:
        given: Any = self.rules
        if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
            raise SpecError("rules", given, f"a list of rules is needed, each of them {_FORMS}")
        if len(given) > MOST_RULES:
            raise SpecError("rules", len(given), f"more than {MOST_RULES} rules")
        made = dict.fromkeys([parse(rule).text for rule in given])
        limits = {
            "connections": units.count("connections", self.connections, most=1024),
            "size": units.size("size", self.size),
            "idle": units.seconds("idle", self.idle),
        }
        for name, value in limits.items():
            if value is None:
                raise SpecError(name, getattr(self, name), "a bound is needed: what has none can stay for ever")
        if limits["idle"] is not None and limits["idle"] > MOST_IDLE:
            raise SpecError("idle", self.idle, f"at most {MOST_IDLE:.0f} seconds")
        for name, checked in {**limits, "rules": tuple(made)}.items():
            object.__setattr__(self, name, checked)

    @property
    def parsed(self) -> tuple[Rule, ...]:
        """The rules, taken apart."""
        return tuple([parse(rule) for rule in self.rules])


@lru_cache(4096)
def _parsed(text: str) -> Rule:
    if "@" in text:
        raise SpecError("rules", text, "a rule names hosts, no users: leave out what is before the @")
    if "://" in text:
        raise SpecError("rules", text, f"a rule is no URL: {_FORMS} is needed")
    if "/" in text:
        return _network(text)
    below = text.startswith("*.")
    name, colon, port = text.removeprefix("*.").partition(":")
    if is_literal(text) or is_literal(text.rpartition(":")[0]) or text.startswith("["):
        raise SpecError("rules", text, f"an address is written as a network, {_as_network(text)}")
    if below and "." not in name:
        raise SpecError("rules", text, f'"*.{name}" is too wide: name two labels at least, as in "*.example.org"')
    if reason := _wrong(name):
        raise SpecError("rules", text, reason)
    number = _port(text, port) if colon else HTTPS
    name = name.lower()
    shown = f"{'*.' * below}{name}" + (number != HTTPS) * f":{number}"
    return Rule(shown, name, below, None, number)


def parse(rule: object) -> Rule:
    """One rule, taken apart. SpecError: which, and why.

    >>> parse("*.Example.org:8443")
    Rule(text='*.example.org:8443', host='example.org', below=True, network=None, port=8443)
    """
    if not isinstance(rule, str):
        raise SpecError("rules", rule, f"a text is needed: {_FORMS}")
    return _parsed(rule)


def _as_network(text: str) -> str:
    """How an address would have to be written, as well as can be told."""
    bare, _, port = text.rpartition(":") if is_literal(text.rpartition(":")[0]) else (text, "", "")
    for address, rest in ((text.strip("[]"), ""), (bare.strip("[]"), port and f":{port}")):
        if is_literal(address):
            return f'"{address}/{32 if "." in address and ":" not in address else 128}{rest}"'
    return 'as in "10.1.2.3/32" or "fd00::1/128:5432"'


def _wrong(name: str) -> str:
    """Why this is no name of a host; "" when it is."""
    if not name.isascii():
        try:
            return f'a name of other letters is written as "{name.encode("idna").decode("ascii")}"'
        except UnicodeError:
            return "a name of other letters is written in its ASCII form, xn--..."
    if not name:
        return f"the host is missing: {_FORMS} is needed"
    if name.endswith("."):
        return f'leave out the dot at the end: "{name.rstrip(".")}"'
    if "*" in name:
        return 'a "*" stands at the beginning alone, for whole labels: "*.example.org"'
    if not is_name(name.lower()):
        return 'a host is labels of letters, digits, "-" and "_", the last one no number, with dots between'
    return ""


def is_name(host: str) -> bool:
    """Whether this is a host's name, in lower case, that no resolver takes for an address.

    >>> is_name("pypi.org"), is_name("pypi.org."), is_name("127.1"), is_name("0x7f000001")
    (True, False, False, False)
    """
    labels = host.split(".")
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not _NUMBER.fullmatch(labels[-1])


def literal(host: str) -> Address | None:
    """The address that this is, in the one strict form of each kind (IPv6 without brackets or zone); None: none.

    >>> literal("127.0.0.1"), literal("127.1"), literal("2130706433"), literal("fe80::1%eth0")
    (IPv4Address('127.0.0.1'), None, None, None)
    """
    try:
        return None if "%" in host or not host.isascii() else ipaddress.ip_address(host)
    except ValueError:
        return None


def is_literal(host: str) -> bool:
    """Whether this is an address, with or without brackets."""
    return literal(host.strip("[]")) is not None


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535) or port[0] == "0":
        raise SpecError("rules", text, "a port is a number from 1 to 65535")
    return int(port)


def _network(text: str) -> Rule:
    address, _, rest = text.partition("/")
    bits, colon, port = rest.partition(":")
    address = address.strip("[]")
    if not is_literal(address) or not (bits.isascii() and bits.isdecimal() and len(bits) <= 3):
        raise SpecError("rules", text, 'a network is an address and a number of bits, as in "10.1.0.0/16:5432"')
    number = _port(text, port) if colon else HTTPS
    try:
        network = ipaddress.ip_network(f"{address}/{int(bits)}", strict=False)
    except ValueError:
        raise SpecError("rules", text, "more bits than the address has") from None
    if network.network_address != literal(address):
        raise SpecError("rules", text, f'the address has bits beyond the network\'s: did you mean "{network}"?')
    return Rule(str(network) + (number != HTTPS) * f":{number}", "", False, network, number)
