"""Bytes -> entries: what a header says, what an extension header changes, what is refused."""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail._images import tar
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError
from tests.images_made import END, archive, file, folder, hard, header, link, long, padded, pax, reader, records


def read(data: bytes, most: int = 1 << 30, **bounds: int) -> list[tuple[bytes, str, bytes, bytes]]:
    """(name, kind, target, content) of each entry."""
    found = []
    for entry in tar.entries(reader(data, most), Bounds(**bounds)):
        content = b""
        while piece := entry.data(1000):
            content += piece
        found.append((entry.name, entry.kind, entry.target, content))
    return found


def refused(data: bytes, **bounds: int) -> str:
    with pytest.raises(ImageError) as e:
        read(data, **bounds)
    return str(e.value)


def test_each_kind_of_entry_is_told():
    data = archive(
        folder(b"a/"), file(b"a/b", b"x" * 600), link(b"l", b"/a"), hard(b"h", b"a/b"), header(b"n", b"3"),
        header(b"k", b"4"), header(b"f", b"6"), header(b"c", b"7", size=1) + padded(b"c"), header(b"old/", b"\0"),
    )  # fmt: skip
    expected = [
        (b"a/", "dir", b"", b""), (b"a/b", "file", b"", b"x" * 600), (b"l", "symlink", b"/a", b""),
        (b"h", "hardlink", b"a/b", b""), (b"n", "device", b"", b""), (b"k", "device", b"", b""),
        (b"f", "fifo", b"", b""), (b"c", "file", b"", b"c"), (b"old/", "dir", b"", b""),
    ]  # fmt: skip
    assert read(data) == expected
    assert read(data, most=7) == expected  # however small the pieces are


def test_content_that_nobody_reads_is_skipped():
    names = [entry.name for entry in tar.entries(reader(archive(file(b"a", b"x" * 5000), file(b"b"))), Bounds())]
    assert names == [b"a", b"b"]


def test_what_follows_the_end_is_not_read():
    file = io.BytesIO(archive(folder(b"a")) + b"anything")
    assert [e.name for e in tar.entries(file.read, Bounds())] == [b"a"]
    assert file.read() == b"anything"
    assert read(folder(b"a")) == read(archive(folder(b"a"))[:-512]) == [(b"a", "dir", b"", b"")]
    assert read(b"") == read(END) == []


def test_a_name_is_prefix_and_name_only_where_the_magic_says_so():
    assert read(file(b"b", prefix=b"a"))[0][0] == b"a/b"
    assert read(file(b"b", prefix=b"a", magic=b"ustar  \0"))[0][0] == b"b"
    assert read(file(b"n" * 100))[0][0] == b"n" * 100


def test_mode_and_mtime_are_taken_and_clamped():
    def one(data: bytes) -> tar.Entry:
        return next(tar.entries(reader(data), Bounds()))

    assert one(file(b"a", mode=0o104755)).mode == 0o4755
    assert one(file(b"a", mtime=5)).mtime_ns == 5 * 10**9
    assert one(file(b"a", mtime=-5)).mtime_ns == 0
    assert one(file(b"a", mtime=1 << 40)).mtime_ns == (1 << 33) * 10**9 - 1
    assert one(pax((b"mtime", b"12.0345")) + file(b"a")).mtime_ns == 12_034_500_000
    assert one(pax((b"mtime", b"1.99999999999")) + file(b"a")).mtime_ns == 1_999_999_999
    assert one(pax((b"mtime", b"1.5e-07")) + file(b"a")).mtime_ns == 150
    assert one(pax((b"mtime", b"1e999")) + file(b"a")).mtime_ns >= (1 << 33) * 10**9 - 1000
    assert one(pax((b"mtime", b"-7.5")) + file(b"a")).mtime_ns == 0
    assert one(file(b"a", uid=1 << 50)).name == b"a"  # who cares


def test_a_pax_header_is_for_the_next_entry_alone_and_its_size_wins():
    data = archive(
        pax((b"path", b"long" * 50), (b"size", b"3")) + file(b"short") + padded(b"abc"),
        pax((b"linkpath", b"t" * 300)) + link(b"l", b"t"),
        file(b"after", b"z"),
    )
    assert [(e[0], e[2], e[3]) for e in read(data)] == [
        (b"long" * 50, b"", b"abc"), (b"l", b"t" * 300, b""), (b"after", b"", b"z")
    ]  # fmt: skip


def test_gnu_names_are_for_the_next_entry_alone():
    data = archive(long(b"n" * 200), long(b"t" * 200, b"K"), link(b"n" * 100, b"t"), link(b"b", b"c"))
    assert [(e[0], e[2]) for e in read(data)] == [(b"n" * 200, b"t" * 200), (b"b", b"c")]
    assert read(header(b"n", b"L", size=4) + padded(b"name") + file(b"a"))[0][0] == b"name"
    assert read(header(b"n", b"L", size=512) + b"n" * 512 + file(b"a"))[0][0] == b"n" * 512
    assert read(archive(long(b"same"), pax((b"path", b"same")), file(b"x")))[0][0] == b"same"


def test_the_last_record_of_a_key_counts():
    assert read(pax((b"path", b"a"), (b"path", b"b")) + file(b"x"))[0][0] == b"b"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (file(b"a", checksum=1), "checksum"),
        (b"no archive at all".ljust(512), "checksum"),
        (file(b"a")[:300], "in the middle of a block"),
        (file(b"a", b"x" * 100)[:700], "before the end of its content"),
        (header(b"a", size=1 << 62), "before the end of its content"),
        (header(b"a", size=-1), "out of range"),
        (header(b"a", raw={124: b"\xc0" + bytes(11)}), "out of range"),
        (header(b"a", raw={124: b"00000000009\0"}), "no octal number"),
        (header(b"a", raw={124: b"-0000000001\0"}), "no octal number"),
        (header(b"a", b"S"), "sparse"),
        (header(b"a", b"M"), "another volume"),
        (header(b"a", b"Z"), "unknown kind"),
        (pax((b"GNU.sparse.major", b"1")) + file(b"a"), "sparse"),
        (pax((b"GNU.sparse.map", b"0,1," * 1000)) + file(b"a"), "sparse"),
        (pax((b"SCHILY.realsize", b"1")) + file(b"a"), "sparse"),
        (pax((b"path", b"x"), kind=b"g") + file(b"a"), "only comments"),
        (pax((b"path", b"x")) + pax((b"comment", b"x"), kind=b"g") + file(b"a"), "global header between"),
        (pax((b"path", b"x")) + pax((b"path", b"y")) + file(b"a"), "two extension headers"),
        (long(b"x") + long(b"y") + file(b"a"), "two extension headers"),
        (header(b"n", b"L", size=3) + padded(b"name") + file(b"a"), "goes on after its end"),
        (long(b"x") + pax((b"path", b"y")) + file(b"a"), "disagree which counts"),
        (archive(pax((b"path", b"x"))), "no entry after it"),
        (archive(long(b"x")), "no entry after it"),
        (pax((b"size", b"-1")) + file(b"a"), "out of range"),
        (pax((b"size", b"9" * 30)) + file(b"a"), "out of range"),
        (pax((b"size", b"")) + file(b"a"), "no usable 'size'"),
        (pax((b"path", b"a\0b")) + file(b"a"), "no usable 'path'"),
        (pax((b"mtime", b"nan")) + file(b"a"), "no number"),
        (pax((b"mtime", b"1e")) + file(b"a"), "no number"),
        (header(b"p", b"x", size=5) + padded(b"9 a=b") + file(b"a"), "no record at byte 0"),
        (header(b"p", b"x", size=6) + padded(b"-6 a=b") + file(b"a"), "no record at byte 0"),
        (header(b"p", b"x", size=6) + padded(b"6 a=bc") + file(b"a"), "no record at byte 0"),
        (header(b"p", b"x", size=9) + padded(b"3 a\n6 a=b") + file(b"a"), "no record at byte 0"),
        (header(b"p", b"x", size=9) + padded(b"6 a=b\nxyz") + file(b"a"), "no record at byte 6"),
        (header(b"p", b"x", size=11) + padded(b"6 a=b\n0 xyz") + file(b"a"), "no record at byte 6"),
        (header(b"p", b"x", size=1 << 40), "bound header=1,048,576"),
        (link(b"a", b""), "to nothing"),
        (header(b"a", b"2", target=b"b", size=512) + file(b"hidden"), "readers disagree"),
        (header(b"a", b"5", size=512) + file(b"hidden"), "readers disagree"),
        (header(b"a", b"1", target=b"b", size=512) + file(b"hidden"), "readers disagree"),
        (pax((b"size", b"512")) + header(b"a", b"2", target=b"b") + file(b"hidden"), "readers disagree"),
        (file(b"a") + bytes(512) + file(b"b"), "a block of zeros in the middle"),
        (header(b"a", raw={136: b"x" * 12}), "mtime"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_read_differently_by_others_is_refused(data, words):
    assert words in refused(data)


def test_an_error_names_the_entry_printably_and_briefly():
    text = refused(file(b"fine") + header(b"\x1b[31m\n" + b"z" * 90, b"S"))
    assert text.startswith("entry 2, '\\x1b[31m\\nz") and "\n" not in text
    assert len(text) < 250


def test_headers_are_bounded():
    many = pax((b"comment", b"x"), kind=b"g") * 30
    assert "bound entries=10" in refused(archive(many), entries=10)
    assert read(archive(many), entries=15) == []


NAMES = st.lists(st.text("abß~ .", min_size=1, max_size=80), min_size=1, max_size=6).map("/".join)


@st.composite
def items(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(NAMES))
    info.type = draw(
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    )
    info.mode = draw(st.integers(0, 0o7777))
    info.mtime = draw(st.integers(0, (1 << 33) - 1))
    info.uid = draw(st.sampled_from([0, 1000, 1 << 30]))
    if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = draw(NAMES)
    data = draw(st.binary(max_size=1500)) if info.type == tarfile.REGTYPE else b""
    info.size = len(data)
    return info, data


@given(
    st.lists(items(), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.sampled_from([1, 511, 9999]),
)
def test_what_tarfile_writes_is_read_as_tarfile_reads_it(content, form, most):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form) as out:
        for info, data in content:
            out.addfile(info, io.BytesIO(data))
    kinds = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink"}
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as back:
        theirs = [
            (m.name.encode(), kinds.get(m.type, "fifo"), m.linkname.encode(), back.extractfile(m).read() if m.isreg() else b"")
            for m in back.getmembers()
        ]  # fmt: skip
    ours = [(name.rstrip(b"/"), *rest) for name, *rest in read(written.getvalue(), most)]
    assert ours == [(name.rstrip(b"/"), *rest) for name, *rest in theirs]


@given(st.binary(max_size=3000), st.integers(0, 4096))
def test_damage_is_an_image_error_and_nothing_else(noise, at):
    good = archive(pax((b"path", b"p")), file(b"a", b"x" * 700), long(b"n" * 200), link(b"l", b"t"))
    damaged = good[:at] + noise + good[at + len(noise) :]
    for data in (noise, damaged):
        with contextlib.suppress(ImageError):
            read(data)


def test_records_of_a_pax_header_have_their_own_length():
    assert records((b"a", b"b")) == b"6 a=b\n"
    assert records((b"a", b"b" * 93)).startswith(b"99 a") and records((b"a", b"b" * 94)).startswith(b"101 a")
