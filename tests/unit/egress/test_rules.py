"""What may be written into an `Egress`, and what its rules allow."""

from __future__ import annotations

import ipaddress
import pickle

import pytest

from pyjail import SpecError
from pyjail._egress.rules import SPECIAL, address_allowed, allows, special
from pyjail._spec.egress import MOST_RULES, Egress, is_name, literal, parse

WRONG = {
    "": "host is missing",
    ":443": "host is missing",
    "bücher.example": '"xn--bcher-kva.example"',
    "пример.испытание": '"xn--e1afmkfd.xn--80akhbyknj4f"',
    "a" * 64 + "é.org": "ASCII form",
    "pypi.org.": '"pypi.org"',
    "pypi.org..": '"pypi.org"',
    "pypi.org.:443": '"pypi.org"',
    "me@pypi.org": "no users",
    "me:secret@pypi.org:443": "no users",
    "https://pypi.org": "no URL",
    "http://pypi.org/": "no URL",
    "pypi.org/simple": "a network",
    "pypi.org:0": "1 to 65535",
    "pypi.org:65536": "1 to 65535",
    "pypi.org:+443": "1 to 65535",
    "pypi.org:0443": "1 to 65535",
    "pypi.org: 443": "1 to 65535",
    "pypi.org:": "1 to 65535",
    "pypi.org:https": "1 to 65535",
    "pypi.org:\u0664\u0664\u0663": "1 to 65535",
    "pypi.org:443:443": "1 to 65535",
    "*": "labels",
    "*.": "too wide",
    "*.org": "too wide",
    "*.*.org": "whole labels",
    "py*.org": "whole labels",
    "*pypi.org": "whole labels",
    "-pypi.org": "labels",
    "pypi-.org": "labels",
    "py pi.org": "labels",
    "pypi..org": "labels",
    "pypi.org\n": "labels",
    "pypi.org\0": "labels",
    "a" * 64 + ".org": "labels",
    ".".join(["a" * 60] * 5): "labels",
    "127.0.0.1": '"127.0.0.1/32"',
    "10.1.2.3:5432": '"10.1.2.3/32:5432"',
    "::1": '"::1/128"',
    "[::1]": '"::1/128"',
    "[fd00::1]:5432": '"fd00::1/128:5432"',
    "127.1": "no number",
    "2130706433": "no number",
    "0x7f000001": "no number",
    "1.2.3.0x4": "no number",
    "*.1.2": "no number",
    "10.1.2.3/8": '"10.0.0.0/8"',
    "10.0.0.0/33": "more bits",
    "10.0.0.0/": "number of bits",
    "10.0.0.0/255.0.0.0": "number of bits",
    "10.0.0/8": "an address",
    "010.0.0.0/8": "an address",
    "fe80::1%eth0/128": "an address",
    "10.0.0.0/8:99999": "1 to 65535",
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_rule_that_makes_no_sense_is_refused_with_what_was_meant(rule):
    with pytest.raises(SpecError) as e:
        Egress(["pypi.org", rule])
    assert e.value.field == "rules"
    assert e.value.value == rule
    assert WRONG[rule] in e.value.reason


@pytest.mark.parametrize(
    "rules", ["pypi.org", b"pypi.org", None, 5, {"pypi.org": 1}, [b"pypi.org"], [None], ["a.b"] * (MOST_RULES + 1)]
)
def test_what_is_no_list_of_texts_is_refused(rules):
    with pytest.raises(SpecError):
        Egress(rules)


@pytest.mark.parametrize(
    "given",
    [
        {"connections": 0},
        {"connections": None},
        {"connections": 2000},
        {"size": "none"},
        {"size": 0},
        {"idle": 0},
        {"idle": None},
        {"idle": "2h"},
        {"idle": "soon"},
    ],
)
def test_every_bound_is_one(given):
    with pytest.raises(SpecError) as e:
        Egress(["pypi.org"], **given)
    assert e.value.field in given


def test_rules_are_kept_in_one_form_and_an_egress_is_data():
    made = Egress(
        ["PyPI.org", "pypi.org:443", "*.Files.example:8443", "10.0.0.0/8:5432", "FD00::/8"], size="1M", idle="5s"
    )
    assert made.rules == ("pypi.org", "*.files.example:8443", "10.0.0.0/8:5432", "fd00::/8")
    assert (made.connections, made.size, made.idle) == (32, 1 << 20, 5.0)
    assert pickle.loads(pickle.dumps(made)) == made
    assert hash(made) == hash(Egress(tuple(made.rules), 32, 1 << 20, 5))
    assert Egress(**made.to_dict()) == made
    assert [rule.text for rule in made.parsed] == list(made.rules)
    assert [parse(rule).port for rule in made.rules] == [443, 8443, 5432, 443]


EGRESS = Egress(["pypi.org", "*.pythonhosted.org", "plain.example:80", "10.1.0.0/16:5432", "fd00:1::/32"])
ALLOWED = {
    ("pypi.org", 443): "pypi.org",
    ("files.pythonhosted.org", 443): "*.pythonhosted.org",
    ("a.b.pythonhosted.org", 443): "*.pythonhosted.org",
    ("plain.example", 80): "plain.example:80",
    ("10.1.2.3", 5432): "10.1.0.0/16:5432",
    ("fd00:1::5", 443): "fd00:1::/32",
    ("pypi.org", 80): "",
    ("pypi.org", 4430): "",
    ("pypi.org.", 443): "",
    ("www.pypi.org", 443): "",
    ("evilpypi.org", 443): "",
    ("pypi.org.evil.example", 443): "",
    ("pythonhosted.org", 443): "",
    ("evilpythonhosted.org", 443): "",
    ("plain.example", 443): "",
    ("10.1.2.3", 443): "",
    ("10.2.0.1", 5432): "",
    ("::ffff:10.1.2.3", 5432): "",
    ("151.101.0.223", 443): "",
}


@pytest.mark.parametrize("host, port", ALLOWED)
def test_a_rule_allows_what_it_names_and_nothing_else(host, port):
    rule = allows(EGRESS, host, port)
    assert (rule.text if rule else "") == ALLOWED[host, port]
    assert allows(Egress(), host, port) is None


NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::7f00:1",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "8000::1",
    "5f00::1",
    "3fff::1",
    "100::1",
]
PUBLIC = [
    "8.8.8.8",
    "151.101.0.223",
    "172.15.255.255",
    "172.32.0.1",
    "11.0.0.1",
    "168.63.129.17",
    "223.255.255.255",
    "2a04:4e42::223",
    "2606:4700::1111",
    "2620::1",
]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_address_beyond_the_public_internet_needs_a_network_rule_within_its_range(text):
    address = ipaddress.ip_address(text)
    network, _ = special(address)
    whole = "0.0.0.0/0" if address.version == 4 else "::/0"
    for rules in ([], ["pypi.org"], [whole], [f"{address}/{address.max_prefixlen}:80"]):
        assert str(network) in address_allowed(Egress(rules), [address], 443)
    for rule in (f"{network}:443", f"{address}/{address.max_prefixlen}"):
        assert address_allowed(Egress([rule]), [address], 443) == ""


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_allowed_unless_it_is_this_machines_own(text):
    address = ipaddress.ip_address(text)
    assert special(address) is None
    assert address_allowed(Egress(), [address], 443) == ""
    wide = ipaddress.ip_network((address, address.max_prefixlen - 8), strict=False)
    for rules in ([], [str(wide)]):
        assert "of this machine" in address_allowed(Egress(rules), [address], 443, lambda _: True)
    assert address_allowed(Egress([f"{address}/{address.max_prefixlen}"]), [address], 443, lambda _: True) == ""


def test_one_answer_that_is_refused_refuses_all():
    public, private = ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("10.1.0.1")
    for answers in ([public, private], [private, public], [private]):
        assert "private" in address_allowed(Egress(["pypi.org"]), answers, 443)
        assert address_allowed(Egress(["pypi.org", "10.1.0.0/16"]), answers, 443) == ""
    assert "no address" in address_allowed(Egress(), [], 443)


def test_what_python_knows_to_be_special_is_in_the_table():
    for network, _ in SPECIAL:
        assert special(network[0]) is not None is not special(network[-1])
    for high in range(1 << 12):
        address = ipaddress.ip_address((high << 20) + 1)
        assert special(address) is not None or address.is_global
    for high in range(1 << 14):
        address = ipaddress.ip_address((high << 114) + 1)
        assert special(address) is not None or address.is_global


@pytest.mark.parametrize(
    "text",
    ["127.1", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "127.0.0.1.", "::1%lo", "1.2.3", "\u0661.2.3.4", "[::1]"],
)
def test_an_address_has_one_form(text):
    assert literal(text) is None
    assert not is_name(text)
