"""Where a box cannot be held, its program is not run, and that is no answer of the program."""

from __future__ import annotations

import pytest

import pyjail
from pyjail import boxlite
from tests import place
from tests.jail.boxlite.conftest import run


def test_a_machine_that_cannot_hold_a_box(default, monkeypatch):
    if place.CGROUPS:

        async def refused(box):
            raise pyjail.HostError("memory", "no cgroup", "have one")

        monkeypatch.setattr(pyjail.aio.Box, "__aenter__", refused)

    async def main():
        async with boxlite.SimpleBox(image="python:slim") as box:
            return await box.exec("true")

    with pytest.raises(boxlite.UnsupportedError, match="Fix: ") as caught:
        run(main())
    assert isinstance(caught.value.__cause__, pyjail.HostError) and caught.value.code == "unsupported"
    assert run(boxlite.Boxlite.default().list_info()) == []
