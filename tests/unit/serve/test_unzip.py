"""What takes a zip apart in a jail, as a function: which names it takes, which it does not."""

from __future__ import annotations

import contextlib
import io
import stat
import zipfile

import pytest

from pyjail.serve.inside.unzip import Unfit, unpack


def zipped(*members, **given):
    """Of (name, data) or (ZipInfo, data)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **given) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def info(name, mode):
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr = 3, mode << 16
    return made


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "box").mkdir()
    monkeypatch.chdir(tmp_path / "box")
    return tmp_path / "box"


def files(place):
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_files_are_written_the_first_of_each_name(here):
    (here / "there").write_bytes(b"mine")
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped(("a/b", "1"), ("d/", ""), ("a/b", "2"), ("there", "3"), (info("run.sh", 0o100755), "x"))
    assert unpack(data, 100, 5) == ["run.sh"]
    assert files(here) == {"a/b": b"1", "there": b"mine", "run.sh": b"x"}
    assert (here / "d").is_dir()


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ("/etc/x", "no path below"), ("../x", "no path below"), ("a/../../x", "no path below"), ("a/..", "no path below"), ("a\\..\\x", "no path below"),
        (info("link", stat.S_IFLNK | 0o777), "a link, or no file"), (info("pipe", stat.S_IFIFO | 0o666), "a link, or no file"), (info("disk", stat.S_IFBLK | 0o666), "a link, or no file"),
    ],
)  # fmt: skip
def test_what_would_lead_elsewhere_is_refused_before_anything_is_written(here, member, why):
    with pytest.raises(Unfit, match=why):
        unpack(zipped(("first", "x"), (member, "/etc/passwd")), 100, 5)
    assert files(here) == {}
    assert files(here.parent) == {}


def test_it_is_bounded(here):
    with pytest.raises(Unfit, match="3 entries, at most 2"):
        unpack(zipped(*[(name, "") for name in "abc"]), 100, 2)
    assert unpack(zipped(("a", bytes(60)), ("b", bytes(40)), compression=zipfile.ZIP_DEFLATED), 100, 2) == []
    with pytest.raises(Unfit, match="more than 100 bytes"):
        unpack(zipped(("c", bytes(10**6)), compression=zipfile.ZIP_DEFLATED), 100, 2)


def test_a_size_that_is_a_lie_is_not_believed(here):
    data = zipped(("a", bytes(1000)), compression=zipfile.ZIP_DEFLATED)
    lie = data.replace((1000).to_bytes(4, "little"), (1).to_bytes(4, "little"))
    assert lie != data
    with contextlib.suppress(Unfit, zipfile.BadZipFile):
        unpack(lie, 100, 2)
    assert sum(map(len, files(here).values())) <= 100


def test_what_is_encrypted_or_packed_otherwise_is_refused(here):
    data = bytearray(zipped(("a", "x")))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(Unfit, match="is encrypted"):
        unpack(bytes(data), 100, 2)
    with pytest.raises(Unfit, match="neither stored nor deflated"):
        unpack(zipped(("a", "x"), compression=zipfile.ZIP_LZMA), 100, 2)
