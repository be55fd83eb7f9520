"""What lies beside the tree and must stay as it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pyjail import Mount, images
from tests import images_made as made
from tests import images_writable, place
from tests.images_made import walked


class Outside:
    """A directory beside the tree ``root``, with things worth changing."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "staging" / "root"
        self.path = base / "outside"
        for name in ("sub/deep", "empty"):
            (self.path / name).mkdir(parents=True)
        (self.path / "secret").write_text("canary")
        (self.path / "sub" / "secret").write_text("canary")
        (self.path / "secret").chmod(0o600)
        (self.path / "link").symlink_to("secret")
        self.root.mkdir(parents=True)
        self.before = self.seen()

    def seen(self) -> dict[str, Any]:
        """All that can be seen of what is not the tree."""
        found = {}
        for path in walked(self.base, but=self.root.parent):
            s = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(s.st_mode) else b""
            found[str(path)] = (s.st_ino, s.st_mode, s.st_uid, s.st_nlink, s.st_mtime_ns, s.st_ctime_ns, content)
        return found

    @property
    def name(self) -> bytes:
        """Its absolute path."""
        return os.fsencode(self.path)


def held(root: Path) -> None:
    """What is true of each tree, whatever it was made of."""
    for path in walked(root):
        s = path.lstat()
        assert stat.S_IFMT(s.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK), path
        if stat.S_ISLNK(s.st_mode):
            continue
        assert not s.st_mode & 0o7000, path
        if stat.S_IMODE(s.st_mode) == (0o700 if stat.S_ISDIR(s.st_mode) else 0o600):
            continue  # what an error left unfinished: nothing else has these modes
        assert s.st_mode >> 6 & 0o5 == s.st_mode >> 3 & s.st_mode & 0o5 & s.st_mode >> 6, path
        assert s.st_uid == os.geteuid(), path
        assert not os.listxattr(path, follow_symlinks=False), path


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """Checked at the end: nothing of it has changed, and the tree is as each has to be."""
    made = Outside(tmp_path)
    fds = len(os.listdir("/proc/self/fd"))
    yield made
    assert made.seen() == made.before
    assert sorted(p.name for p in made.root.parent.iterdir()) == ["root"]
    assert len(os.listdir("/proc/self/fd")) == fds
    held(made.root)


class HostPython(NamedTuple):
    """An image in which the Python of this host's distribution runs, by these mounts."""

    image: images.Image
    mounts: tuple[Mount, ...]


@pytest.fixture
def host_python(home: Path) -> HostPython:
    """Of tests/images_writable.py, with mount points for this host's /usr and links to it."""
    if not os.path.exists("/usr/bin/python3"):
        pytest.skip(f"/usr/bin/python3 {place.WITHOUT_TOOL}")
    links = [made.link(name.encode(), b"usr/" + name.encode()) for name in ("lib64",) if os.path.islink(f"/{name}")]
    image = images_writable.load(home / "with-python", "with-python", made.folder(b"usr"), *links)
    return HostPython(image, (Mount.bind("/usr", "/usr"), Mount.bind(os.path.realpath("/lib"), "/lib")))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$PYJAIL_HOME, in which a store of the test's own will be."""
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
