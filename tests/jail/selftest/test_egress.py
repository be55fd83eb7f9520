"""The selftest of a jail with an `Egress`: nothing but the list is reached; a proxy that would reach more is seen."""

from __future__ import annotations

import os
import socket

import pytest

import pyjail
from pyjail import Egress, Jail
from pyjail._selftest.report import Status
from tests import place
from tests.inside import egress_link
from tests.jail.egress.world import World, careless
from tests.jail.selftest.checks import escaped

ONLY = ["egress", "network", "pairs.proxies", "pairs.ports"]


@pytest.mark.parametrize("rules", [[], ["pypi.org", "0.0.0.0/0:80", "10.1.0.0/16:443"]], ids=["nothing", "some"])
def test_nothing_but_the_list_is_reached(rules):
    report = pyjail.selftest(Jail(network=Egress(rules), strict=place.CGROUPS), only=ONLY)
    assert report.ok, [row for row in report.rows if row.status is not Status.CONTAINED]
    found = {row.name: row.status for row in report.rows}
    assert found["network.listen"] is Status.NOT_APPLICABLE
    assert {name for name, status in found.items() if status is Status.CONTAINED} >= {
        "egress.host", "egress.special", "egress.relay", "egress.smuggled", "egress.port", "pairs.proxies.at_once",
    }  # fmt: skip


def test_a_proxy_that_reaches_this_machine_is_red(monkeypatch):
    """One that takes every host for listed, and every address for public."""
    careless(monkeypatch, Egress(["anything.test"]).parsed[0])
    jail = Jail(network=Egress([]), strict=place.CGROUPS)
    with World(Egress([])) as world:

        def serve(listening: int, egress: Egress, number: int) -> int:
            world.call(world.proxy.serve, number, socket.socket(fileno=os.dup(listening)), egress)
            return number

        monkeypatch.setattr(egress_link(), "serve", serve)
        monkeypatch.setattr(egress_link(), "drop", lambda number: world.call(world.proxy.end, number))
        assert "egress.host" in escaped(pyjail.selftest(jail, only=["egress.host"]))
