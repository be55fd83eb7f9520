"""How many bytes of files sessions and boxes may have together: they lie in memory, also while nothing runs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from pyjail import Jail, Limits, aio
from pyjail.serve.config import Config
from pyjail.serve.config import Places as Bounds
from pyjail.serve.kept import Places
from pyjail.serve.problem import Problem


@pytest.fixture(autouse=True)
def unmade(monkeypatch):
    for name in ("Session", "Box"):
        monkeypatch.setattr(aio, name, lambda *_, **__: None)


@pytest.mark.parametrize(
    ("tenants", "disks", "status"),
    [("aa", "64M 64M", 0), ("aaa", "64M 64M 64M", 429), ("a", "129M", 429), ("abc", "128M 128M 1M", 503),
     ("aab", "64M 64M 128M", 0), ("a", None, 429)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["session", "box"])
def test_files_of_all_and_of_one_tenant_are_bounded(kind, tenants, disks, status):
    async def opened():
        places = Places(Config(places=Bounds(disk=256 << 20)), SimpleNamespace(turns=SimpleNamespace(draining=False)))
        for tenant, disk in zip(tenants, disks.split() if disks else [None], strict=True):
            places.open(kind, tenant, Jail(), Limits(disk=disk), 60)
        places._tending.cancel()

    if not status:
        asyncio.run(opened())
        return
    with pytest.raises(Problem) as e:
        asyncio.run(opened())
    assert (e.value.status, e.value.field) == (status, "limits.disk")
