"""What of an installed system becomes a layer, and that it is the same layer whenever it was installed."""

from __future__ import annotations

import pytest

from pyjail._images import reduced, tar
from pyjail._images.bounds import Bounds
from tests import images_made as made

NOW = 2_000_000_000  # when the installation began
KEPT = (b"usr/bin/gcc", b"usr/share/doc/gcc/copyright", b"var/lib/dpkg/status", b"usr/lib/locale/C.utf8/LC_CTYPE", b"etc/passwd", b"etc/ld.so.cache",
        b"usr/share/zoneinfo/UTC", b"etc/apt", b"tmp", b"dev", b"usr/share/man", b"etc/ssl/certs/x.pem", b"usr/share/perl5/help.pm")  # fmt: skip
LEFT_OUT = (
    b"etc/apt/sources.list", b"etc/apt/auth.conf", b"etc/apt/auth.conf.d/x.conf", b"etc/apt/apt.conf.d/99mmdebstrap", b"etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    b"etc/shadow", b"etc/shadow-", b"etc/gshadow", b"etc/passwd-", b"etc/hostname", b"etc/resolv.conf", b"etc/machine-id", b"etc/.pwd.lock",
    b"etc/ssl/private", b"etc/ssl/private/key.pem", b"root/.bashrc", b"home/x", b"tmp/x", b"var/tmp/x", b"run/lock", b"dev/null", b"var/log/dpkg.log",
    b"var/cache/apt/archives/x.deb", b"var/lib/apt/lists/x", b"var/lib/dpkg/status-old", b"var/lib/dpkg/lock-frontend", b"usr/share/man/man1/x.1.gz",
    b"usr/share/locale/de/LC_MESSAGES/x.mo", b"usr/share/info/dir", b"usr/share/doc/gcc/README", b"usr/share/doc/gcc/copyright.old",
)  # fmt: skip


def reduce(data: bytes, began: int = NOW) -> bytes:
    out: list[bytes] = []
    reduced.layer(lambda: made.reader(data), out.append, began * 10**9, Bounds())
    return b"".join(out)


def entries(data: bytes) -> dict[bytes, tuple]:
    return {
        e.name: (e.kind, e.mode, e.mtime_ns // 10**9, e.data(1 << 20), e.target)
        for e in tar.entries(made.reader(data), Bounds())
    }


@pytest.mark.parametrize("name", KEPT)
def test_what_programs_use_stays(name):
    assert not reduced.dropped(name)
    assert name in entries(reduce(made.archive(made.file(b"./" + name, b"x"))))


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_tells_of_the_host_or_is_for_people_is_left_out(name):
    assert reduced.dropped(name)
    assert entries(reduce(made.archive(made.file(b"./" + name, b"secret"), made.file(b"./kept", b"")))).keys() == {
        b"kept"
    }


def installed(when: int, uid: int) -> bytes:
    """One system, made at some time by somebody."""
    return made.archive(
        made.folder(b"./", mtime=when),
        made.folder(b"./etc/", mtime=when + 5),
        made.file(b"./etc/ld.so.cache", b"cache", mtime=when + 9, uid=uid),
        made.folder(b"./usr/bin/", mtime=1_500_000_000),
        made.file(b"./usr/bin/perl", b"#!", mode=0o755, mtime=1_600_000_000, uid=uid),
        made.hard(b"./usr/bin/perl5.36.0", b"./usr/bin/perl", mtime=1_600_000_000),
        made.link(b"./bin", b"usr/bin", mtime=when),
        made.file(b"./etc/resolv.conf", b"nameserver", mtime=when - 1000),
    )


def test_who_installed_it_and_when_is_not_in_it():
    first = reduce(installed(NOW, 0))
    assert reduce(installed(NOW + 12345, 100000), NOW + 12345) == first
    found = entries(first)
    assert found[b"etc/ld.so.cache"] == ("file", 0o644, 1_600_000_000, b"cache", b"")  # as old as the newest package
    assert found[b"usr/bin/"][2] == 1_500_000_000
    assert found[b"usr/bin/perl5.36.0"][0] == "hardlink" and found[b"usr/bin/perl5.36.0"][4] == b"usr/bin/perl"
    assert found[b"bin"] == ("symlink", 0o777, 1_600_000_000, b"", b"usr/bin")


def test_a_file_stays_as_long_as_one_of_its_names_does():
    data = made.archive(
        made.file(b"./usr/share/man/a", b"content"),
        made.hard(b"./usr/lib/b", b"./usr/share/man/a"),
        made.file(b"./usr/share/man/c", b"x"),
    )
    assert {name: row[0] for name, row in entries(reduce(data)).items()} == {
        b"usr/share/man/a": "file", b"usr/lib/b": "hardlink",
    }  # fmt: skip


def test_devices_are_not_in_it():
    data = made.archive(made.header(b"./usr/null", b"3"), made.header(b"./usr/pipe", b"6"), made.file(b"./usr/x", b""))
    assert entries(reduce(data)).keys() == {b"usr/x"}
