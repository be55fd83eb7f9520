"""Boxes whose image is one of the store."""

from __future__ import annotations

import pytest

import pyjail
from pyjail import boxlite
from tests import images_use
from tests.jail.boxlite.conftest import run


def test_an_image_of_the_store_is_an_image(tmp_path, monkeypatch):

    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))
    opt = images_use.made.file(b"opt/tool", b"of the image")
    stored = images_use.load(tmp_path / "i", "docker.io/library/mine:1", opt, Env=["PATH=/bin", "FOO=bar"])

    async def main(image):
        async with boxlite.SimpleBox(image=image) as box:
            said = await box.exec("sh", "-c", "cat /opt/tool; echo $FOO; echo x > /srv/x; cat /srv/x")
            return said.stdout, (await box.info()).served

    for image in ("mine:1", "docker.io/library/mine:1", stored.digest):
        said, served = run(main(image))
        assert said == "of the imagebar\nx\n"
        assert stored.digest in served
    with pytest.raises(boxlite.NotFoundError, match="pyjail image pull mine:2"):
        run(main("mine:2"))
    pyjail.close()
