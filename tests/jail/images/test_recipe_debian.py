"""Recipes on Debian with Python: the example, a wheel that is copied and installed, a package from an index."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import pyjail
from pyjail import images
from tests import images_debian, place
from tests.conftest import SLOW
from tests.jail.egress.test_jails_index import BUNDLES, asked, reached, rules
from tests.jail.images.test_writable_debian import NAME, OWN, PIP, wheel

LACKING = images_debian.lacking()
LOOSE = () if place.CGROUPS else ("--no-strict",)  # limits of the whole tree need them
EXAMPLE = Path(__file__).parents[3] / "examples" / "image"
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=LACKING or "-"),
    pytest.mark.timeout(900 * SLOW),  # whoever is first makes the image
]


@pytest.fixture
def named(monkeypatch):
    """A name for an image of this test; what else is in the store stays as it is."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    pyjail.close()
    if any(image.name == name for image in images.list()):
        images.remove(name)


def command(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyjail", *words], capture_output=True, text=True, timeout=300 * SLOW, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_is_built_and_run(monkeypatch, named, tmp_path):
    monkeypatch.setenv("PYJAIL_HOME", str(images_debian.home()))
    shutil.copytree(EXAMPLE, tmp_path / "image")
    recipe = tmp_path / "image" / "image.toml"
    recipe.write_text(recipe.read_text().replace('from = "python"', f'from = "{images_debian.NAME}"'))
    command("image", "build", "-f", str(recipe), *LOOSE, named)
    assert command("run", *LOOSE, "--image", named) == "hello, world\n"
    assert (
        command("run", *LOOSE, "--image", named, "--", "sh", "-c", "id -u; ls /opt/app")
        == "1234\n__pycache__\ngreet.py\n"
    )
    image = images.get(named)
    assert image.working_dir == tomllib.loads(recipe.read_text())["workdir"]


@pytest.fixture
def debian(monkeypatch):
    monkeypatch.setenv("PYJAIL_HOME", str(images_debian.home(NAME, ("python",), ("apt", "python3-pip"))))


@pytest.mark.slow
def test_a_wheel_is_installed_without_a_network(debian, named, tmp_path):
    file = wheel(tmp_path, "1.0")
    recipe = {
        "from": NAME,
        "copy": [{"src": file.name, "dst": f"/tmp2/{file.name}"}],
        "run": [f"{PIP} install {OWN} --no-index /tmp2/{file.name}", "rm -r /tmp2"],
        "cmd": ["python3", "-c", "import thing; print(thing.version)"],
    }
    told: list[str] = []
    for _ in range(2):
        images.build_recipe(
            named, recipe, directory=tmp_path, strict=not LOOSE, progress=lambda n, m, what: told.append(what)
        )
    assert command("run", *LOOSE, "--image", named) == "1.0\n"
    assert [what.endswith(": cached") for what in told[1::2]] == [False] * 3 + [True] * 3
    assert not os.path.exists(f"{images.get(named).root}/tmp2")
    assert images.verify(named) == images.verify(NAME) == []


@pytest.mark.slow
def test_pip_installs_from_the_hosts_that_the_recipe_names_alone(debian, named, tmp_path):
    own = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    index = os.environ.get("PIP_INDEX_URL") or asked(sys.executable, "-c", own)
    bundle = next((path for path in BUNDLES if os.path.exists(path)), None)
    if not index.startswith("https://") or bundle is None:
        pytest.skip("no index that is spoken to by https, or no bundle of certificates")
    page = reached(f"{index.rstrip('/')}/six/")
    hosts = {urlsplit(url).hostname for url in [index, *re.findall(r'href="(https://[^"]+)"', page)]}
    shutil.copy(os.path.realpath(bundle), tmp_path / "ca.crt")
    recipe = {
        "from": NAME,
        "copy": [{"src": "ca.crt", "dst": "/etc/ssl/certs/ca-certificates.crt"}],
        "run": [f"{PIP} install {OWN} --retries 1 --index-url {index} six"],
        "env": {"PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"},
        "cmd": ["python3", "-c", "import six; print(six.__name__)"],
    }
    with pytest.raises(images.StepError, match=r"No matching distribution|Could not find a version"):
        images.build_recipe(named, {**recipe, "egress": ["allowed.test"]}, directory=tmp_path, strict=not LOOSE)
    with pytest.raises(images.StepError, match=r"No matching distribution|Could not find a version"):
        images.build_recipe(named, recipe, directory=tmp_path, strict=not LOOSE)
    made = images.build_recipe(
        named,
        {**recipe, "egress": rules(*sorted(host for host in hosts if host))},
        directory=tmp_path,
        strict=not LOOSE,
    )
    assert command("run", *LOOSE, "--image", made.name) == "six\n"
