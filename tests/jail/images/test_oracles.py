"""What skopeo writes is read, in every form that it has; what we unpack is what umoci unpacks."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from pyjail import images
from tests import images_archives as made
from tests import images_made, place
from tests.conftest import SLOW
from tests.images_made import file, folder, hard, link
from tests.images_store import unfinished, whole

NEEDED = ("skopeo", "umoci")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)),
    reason=place.ELSEWHERE if SLOW > 1 else "skopeo and umoci are not installed: apt-get install skopeo umoci",
)
LAYERS = (
    made.layer(
        folder(b"etc", mtime=1), file(b"etc/gone", b"x"), file(b"etc/kept", b"kept"), folder(b"usr", mtime=2), folder(b"usr/bin", mtime=3),
        file(b"usr/bin/tool", b"#!/bin/sh\n" * 5000, mode=0o755), hard(b"usr/bin/again", b"usr/bin/tool"), link(b"bin", b"usr/bin"),
        folder(b"opt", mtime=4), file(b"opt/old", b"old"), folder(b"opt/deep", mtime=5), file(b"opt/deep/old", b"old"),
    ),
    made.layer(
        file(b"etc/.wh.gone"), folder(b"opt", mtime=6), file(b"opt/.wh..wh..opq"), file(b"opt/new", b"new"),
        file("etc/ünï".encode(), b"u"), file(b"usr/bin/tool", b"other", mode=0o755),
    ),
)  # fmt: skip


def skopeo(tmp_path: Path, *words: str) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    subprocess.run(["skopeo", "--policy", policy, "copy", "-q", *words], check=True, cwd=tmp_path)


def layout(tmp_path: Path) -> str:
    """An image of ours in the layout "img"."""
    made.directory(tmp_path / "img", made.oci(*LAYERS, compress=True, config={"User": "7", "Env": ["A=1"]}))
    return "oci:img:app"


def test_what_skopeo_writes_is_the_same_image_in_every_form(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = layout(tmp_path)
    first = images.load(ours, "ours")
    forms = {
        "docker-archive:d.tar:docker.io/team/app:1": ("docker-archive:d.tar:docker.io/team/app:1", "docker-archive:d.tar:team/app:1", "d.tar"),
        "oci-archive:o.tar:1": ("oci-archive:o.tar:1", "o.tar"),
        "oci:copy:other": ("oci:copy:other", "copy"),
    }  # fmt: skip
    for target, specs in forms.items():
        skopeo(tmp_path, ours, target)
        for n, spec in enumerate(specs):
            image = images.load(spec, f"{target.partition(':')[0]}-{n}")
            assert (image.id, image.config["user"], image.config["env"]) == (first.id, "7", ["A=1"])
    assert len(whole()) == 8
    assert unfinished() == []


def seen(root: Path) -> dict[str, tuple]:
    """All that both have to agree on: owners are not kept, and what the owner may do everybody may."""
    found = {}
    for path in images_made.walked(root):
        s, name = path.lstat(), os.fsdecode(os.path.relpath(path, root))
        content = (
            path.read_bytes() if stat.S_ISREG(s.st_mode) else os.readlink(path) if stat.S_ISLNK(s.st_mode) else None
        )
        found[name] = (stat.S_IFMT(s.st_mode), s.st_mode & 0o500, s.st_mtime_ns, content)
    return found


def test_a_tree_is_what_umoci_unpacks(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = images.load(layout(tmp_path), "ours")
    rootless = ["--rootless"] if os.geteuid() else []
    subprocess.run(["umoci", "unpack", *rootless, "--image", "img:app", "bundle"], check=True, capture_output=True)
    theirs, ours = seen(tmp_path / "bundle/rootfs"), seen(Path(image.root))
    for added in ("etc", "."):  # its time, when an account was added; the root itself is in no layer
        theirs.pop(added, None), ours.pop(added, None)
    assert ours == theirs
    assert json.loads((tmp_path / "bundle/umoci.json").read_text())
