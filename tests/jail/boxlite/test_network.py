"""A box with `NetworkSpec(mode="enabled", allow_net=[...])` reaches these hosts, and no other."""

from __future__ import annotations

import asyncio

import pytest

from pyjail import boxlite
from tests import place

pytestmark = pytest.mark.skipif(not place.CGROUPS, reason=place.WITHOUT_CGROUPS)
ASK = "import urllib.request as u\ntry: u.urlopen('https://refused.test/')\nexcept OSError as e: print(e)"


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_not_allowed_is_refused(kept, tmp_path):
    spec = boxlite.NetworkSpec(mode="enabled", allow_net=["pypi.org"])

    async def main() -> list[str]:
        said = []
        async with boxlite.SimpleBox("python:3.11-slim", network=spec, auto_remove=not kept) as box:
            result = await box.exec("python3", "-c", ASK)
            said.append(result.stdout)
        return said

    assert asyncio.run(main()) == ["<urlopen error Tunnel connection failed: 403 Forbidden>\n"]
