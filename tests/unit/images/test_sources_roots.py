"""Roots, pipes, bombs and what is no image at all."""

from __future__ import annotations

import gzip
import io
import os
import threading
import tracemalloc

import pytest

from pyjail import HostError, SpecError
from pyjail._images import documents, platforms, sources, spill
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError
from tests import images_archives as made
from tests.images_archives import contents, written
from tests.images_made import file, folder, header, long

pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.mark.parametrize("magic", [b"\xfd7zXZ\0", b"BZh9", b"\x04\x22\x4d\x18"])
def test_other_compressions_are_refused_by_name(tmp_path, staging, magic):
    """CVE-2021-20291: xz."""
    own = written(tmp_path / "a", magic + bytes(1000))
    for spec in (str(own), f"tar:{own}", f"oci-archive:{own}"):
        with pytest.raises(ImageError, match="not taken: write it again with gzip or zstd"):
            sources.opened(spec, staging)
    members = made.docker(made.HELLO)
    members[f"{made.digest(made.HELLO)[7:]}.tar"] = own.read_bytes()
    with pytest.raises(ImageError, match="only gzip and zstd"):
        contents(str(written(tmp_path / "b", made.archive(members))), staging)


ROOT = made.layer(
    folder(b"./"), folder(b"./app"), file(b"./app/manifest.json", b"[]"), folder(b"./etc"), file(b"./etc/x", b"x")
)


def test_the_tar_of_a_root_is_an_image_of_one_layer(tmp_path, staging):
    plain, packed = written(tmp_path / "a", ROOT), written(tmp_path / "b", gzip.compress(ROOT))
    for spec in (f"tar:{plain}", f"tar:{packed}", str(plain), str(packed)):
        assert contents(spec, staging) == [ROOT]
        with sources.opened(spec, staging) as source:
            assert source.names() == []
    with pytest.raises(ImageError, match=r"tar:FILE"):
        sources.opened(f"docker-archive:{plain}", staging)
    with pytest.raises(ImageError, match="oci-layout"):
        sources.opened(f"oci-archive:{plain}", staging)


def test_it_says_what_it_is_for(tmp_path, staging):
    plain = written(tmp_path / "a", ROOT)
    with sources.opened(f"tar:{plain}", staging, platform=platforms.parse("linux/riscv64")) as source:
        manifest = documents.resolve(source, platforms.own(), Bounds())
        its = documents.config(documents.read(source, manifest.config, 1 << 20, "config"), Bounds())
    assert (its.os, its.architecture, its.env) == ("linux", "riscv64", ())


def test_a_pipe_is_read_once(tmp_path, staging):
    for data in (made.archive(made.oci(made.HELLO)), gzip.compress(made.archive(made.oci(made.HELLO)))):
        pipe = tmp_path / os.urandom(4).hex()
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(data,))
        writer.start()
        assert contents(f"oci-archive:{pipe}", staging) == [made.HELLO]
        writer.join()


def test_staging_may_be_an_fd(tmp_path, staging):
    fd = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert contents(str(written(tmp_path / "a", gzip.compress(ROOT))), fd) == [ROOT]
    finally:
        os.close(fd)


def bomb(first, mebibytes):
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as out:
        out.write(first)
        for _ in range(mebibytes):
            out.write(bytes(1 << 20))
    return packed.getvalue()


def test_an_archive_that_is_a_bomb_takes_little_memory_and_ends_at_its_bound(tmp_path, staging):
    """CVE-2017-14992."""
    path = written(tmp_path / "bomb", bomb(header(b"blobs/x", size=64 << 20), 64))
    small = Bounds(unpacked=32 << 20)
    tracemalloc.start()
    try:
        for spec in (f"oci-archive:{path}", f"tar:{path}", str(path)):
            with pytest.raises(ImageError, match="bound unpacked"):
                sources.opened(spec, staging, small)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_what_follows_the_end_of_an_archive_is_not_even_decompressed(tmp_path, staging):
    members = made.archive(made.oci(made.HELLO))
    path = written(tmp_path / "a", bomb(members, 64))
    small = Bounds(unpacked=2 << 20)
    assert contents(f"oci-archive:{path}", staging, small) == [made.HELLO]
    with pytest.raises(ImageError, match="bound unpacked"):
        sources.opened(f"tar:{path}", staging, small)


def test_zeros_take_no_room_on_disk_and_some_room_is_left(tmp_path, staging, monkeypatch):
    file = spill.Spill(staging, Bounds(), "unpacked", "x")
    for _ in range(100):
        file.write(bytes(1 << 20))
    file.write(b"end")
    fd = file.done()
    assert os.fstat(fd).st_size == (100 << 20) + 3
    assert os.fstat(fd).st_blocks * 512 < 1 << 20
    assert os.pread(fd, 5, (100 << 20) - 2) == b"\0\0end"
    file.close()
    archive = written(tmp_path / "a", gzip.compress(made.archive(made.oci(made.HELLO))))
    full = os.statvfs_result((4096, 4096, 1000, 49, 49, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda fd: full)
    with pytest.raises(HostError, match="pyjail image gc"):
        sources.opened(f"oci-archive:{archive}", staging)


@pytest.mark.parametrize("spec", ["oci-archive:{}", "tar:{}"])
def test_a_full_disk_is_the_hosts_fault_and_leaves_nothing(tmp_path, staging, monkeypatch, spec):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(made.archive(made.oci(made.HELLO)),))
    writer.start()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(HostError, match="No space left"):
        sources.opened(spec.format(pipe), staging)
    writer.join()


def test_a_huge_document_in_an_archive_is_not_read(tmp_path, staging):
    """CVE-2023-25153: a manifest.json of any size, here a sparse file."""
    tar = tmp_path / "a"
    with open(tar, "wb") as out:
        out.write(header(b"manifest.json", size=1 << 27))
        out.seek(512 + (1 << 27))
        out.write(made.END)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="bound manifest"):
            sources.opened(str(tar), staging)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_has_a_bound_of_members(tmp_path, staging):
    many = b"".join(file(b"%d" % n) for n in range(20_001))
    with pytest.raises(ImageError, match="20,000 members"):
        sources.opened(f"oci-archive:{written(tmp_path / 'a', made.layer(many))}", staging)


@pytest.mark.parametrize(("size", "says"), [(4000, "8,388,608 bytes"), (5000, "bound path")])
def test_names_of_an_archive_take_little_memory(tmp_path, staging, size, says):
    entries = (long(b"%05d" % n + b"x" * size) + file(b"x") for n in range(9000))
    path = written(tmp_path / "a", gzip.compress(b"".join(entries), 1))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=says):
            sources.opened(f"oci-archive:{path}", staging)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\necho hello\n" * 100, b"\x1f\x8b" + bytes(100), b"PK\3\4" + bytes(5000)]
)
def test_what_is_empty_or_no_archive_is_no_image(tmp_path, staging, data):
    path = written(tmp_path / "a", data)
    for kind in ("", "oci-archive:", "docker-archive:"):
        with pytest.raises(ImageError):
            sources.opened(f"{kind}{path}", staging)
    if not data:
        with pytest.raises(ImageError, match="empty"):
            sources.opened(f"tar:{path}", staging)


@pytest.mark.parametrize("spec", ["", "oci:", "tar:", "a\0b", 5, None, b"x"])
def test_what_is_no_specification_is_refused(staging, spec):
    with pytest.raises(SpecError, match="image="):
        sources.opened(spec, staging)


def test_what_is_not_there_is_told_with_the_way_to_pull(tmp_path, staging):
    for spec in (
        "ghcr.io/team/app:1",
        f"{tmp_path}/no",
        f"oci:{tmp_path}/no",
        f"dir:{tmp_path}/no",
        "docker://ghcr.io/x",
    ):
        with pytest.raises(HostError, match="pyjail image pull"):
            sources.opened(spec, staging)
    with pytest.raises(HostError, match="no directory"):
        sources.opened(f"dir:{written(tmp_path / 'f', b'x')}", staging)
    with pytest.raises(HostError, match="neither a file nor a pipe"):
        sources.opened("tar:/dev/zero", staging)
    with pytest.raises(HostError, match="neither a file nor a pipe"):
        sources.opened(f"oci-archive:{tmp_path}", staging)


def test_a_path_may_have_colons(tmp_path, staging):
    tar = written(tmp_path / "a:b", made.archive(made.oci(made.HELLO)))
    for spec in (str(tar), f"{tar}:app", f"oci-archive:{tar}", f"oci-archive:{tar}:app"):
        assert contents(spec, staging) == [made.HELLO]
    assert sources.split("tar:x:y") == ("tar", "x:y", None)
    assert sources.split("oci:x:y:z") == ("oci", "x:y:z", None)
    assert sources.split(tar) == ("", str(tar), None)
