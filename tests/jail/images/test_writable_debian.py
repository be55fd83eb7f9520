"""Debian with Python, changed by its own tools without a network: pip and apt-get install, upgrade and remove, and what
they did is committed and run."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits, Session, images
from tests import images_debian
from tests.conftest import SLOW

NAME = "debian-apt"
LACKING = images_debian.lacking() or ("" if shutil.which("dpkg-deb") else "dpkg-deb is not installed")
LIMITS = Limits(
    memory="1G",
    wall_time=300 * SLOW,
    cpu_time=200 * SLOW,
    processes=200,
    file_size="256M",
    open_files=1024,
    address_space=None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACKING), reason=LACKING or "-"),
    pytest.mark.timeout(900 * SLOW),  # whoever is first makes the image
]


@pytest.fixture
def debian(monkeypatch):
    monkeypatch.setenv("PYJAIL_HOME", str(images_debian.home(NAME, ("python",), ("apt", "python3-pip"))))
    made: list[str] = []
    yield made
    pyjail.close()
    assert images.verify(NAME) == []
    for name in made:
        images.remove(name)
    images.gc()


def wheel(where: Path, version: str) -> Path:
    path = where / f"thing-{version}-py3-none-any.whl"
    meta = f"thing-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("thing/__init__.py", f"version = {version!r}\n")
        if version == "1.0":
            z.writestr("thing/old.py", "old = 1\n")
        z.writestr(f"{meta}/METADATA", f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n")
        z.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{meta}/RECORD", f"thing/__init__.py,,\n{meta}/METADATA,,\n{meta}/WHEEL,,\n{meta}/RECORD,,\n")
    return path


def package(where: Path) -> Path:
    root = where / "greeter"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "etc" / "greeter").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: greeter\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <a@example.org>\nDescription: greets\n"
    )
    (root / "DEBIAN" / "postinst").write_text("#!/bin/sh\nset -e\necho configured >/etc/greeter/state\n")
    (root / "DEBIAN" / "postinst").chmod(0o755)
    (root / "usr" / "bin" / "greet").write_text("#!/bin/sh\ncat /etc/greeter/state\n")
    (root / "usr" / "bin" / "greet").chmod(0o755)
    (root / "etc" / "greeter" / "conf").write_text("x\n")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(root), str(where / "greeter.deb")],
        check=True,
        capture_output=True,
    )
    return where / "greeter.deb"


PIP = "python3 -m pip --no-cache-dir --disable-pip-version-check"
OWN = "--break-system-packages --root-user-action=ignore"
APT = "DEBIAN_FRONTEND=noninteractive apt-get -y -q -o APT::Sandbox::User=root"


def test_pip_and_apt_get_do_what_they_do_anywhere(debian, tmp_path):
    jail = Jail(image=NAME, writable_root="256M", uid=0, gid=0)
    found = [secrets.token_hex(4) for _ in range(2)]

    def said(where: Session, command: str) -> str:
        result = where.run(["sh", "-c", f"{command} 2>&1"], text=True)
        assert result.ok, (result.verdict, result.stdout)
        return str(result.stdout)

    with Session(jail, limits=LIMITS) as s:
        for path in (wheel(tmp_path, "1.0"), wheel(tmp_path, "2.0"), package(tmp_path)):
            s.write(path.name, path)
        said(s, f"{PIP} install {OWN} --no-index /box/thing-1.0-py3-none-any.whl")
        assert said(s, "python3 -c 'import thing.old; print(thing.version)'") == "1.0\n"
        said(s, f"{PIP} install {OWN} --no-index -U /box/thing-2.0-py3-none-any.whl")
        assert said(s, "python3 -c 'import thing; print(thing.version)'") == "2.0\n"
        said(s, f"{APT} install /box/greeter.deb")
        assert said(s, "greet") == "configured\n"
        changed = {change.path: change.kind for change in s.root_changes()}
        assert changed["/usr/bin/greet"] == changed["/etc/greeter/state"] == "added"
        assert changed["/var/lib/dpkg/status"] == "changed"
        debian.append(s.commit(f"test-{found[0]}").name)
        said(s, f"{PIP} uninstall -y {OWN} thing; {APT} purge greeter")
        debian.append(s.commit(f"test-{found[1]}").name)
    root = Jail(image=debian[0])
    assert pyjail.run(["greet"], LIMITS, jail=root, text=True).stdout == "configured\n"
    assert (
        pyjail.run(["python3", "-c", "import thing; print(thing.version)"], LIMITS, jail=root, text=True).stdout
        == "2.0\n"
    )
    assert pyjail.run(["dpkg", "-s", "greeter"], LIMITS, jail=root).ok
    gone = Jail(image=debian[1])
    assert not pyjail.run(["python3", "-c", "import thing"], LIMITS, jail=gone).ok
    assert not os.path.lexists(f"{images.get(debian[1]).root}/usr/bin/greet")
    assert images.verify(debian[0]) == images.verify(debian[1]) == []
    assert len(images.get(debian[1]).layers) == len(images.get(NAME).layers) + 1
