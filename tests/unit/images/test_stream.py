"""A layer as it is stored -> its archive: digests on the way, bounds, and what is no gzip or zstd stream."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail import HostError
from pyjail._images import stream
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError
from tests.images_archives import zstd
from tests.images_made import archive, bomb, file, members

OCI = "application/vnd.oci.image.layer.v1.tar"
DATA = archive(file(b"a", b"content" * 1000))


def through(data: bytes, media_type: str = "", n: int = 1 << 20, **more: object) -> tuple[bytes, stream.Stream]:
    opened = stream.opened(io.BytesIO(data), media_type, Bounds(**more))  # type: ignore[arg-type]
    found = b""
    while piece := opened(n):
        assert len(piece) <= n
        found += piece
    opened.drain()
    return found, opened


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("media_type", [f"{OCI}+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip", ""])
@pytest.mark.parametrize("n", [1, 700, 1 << 20])
def test_gzip_gives_the_archive_and_both_digests(media_type: str, n: int):
    packed = gzip.compress(DATA)
    found, opened = through(packed, media_type, n)
    assert found == DATA and (opened.digest, opened.diff_id) == (sha(packed), sha(DATA))
    assert (opened.size, opened.unpacked) == (len(packed), len(DATA))


@pytest.mark.parametrize("media_type", [OCI, "application/vnd.docker.image.rootfs.diff.tar", ""])
def test_a_plain_archive_has_one_digest(media_type: str):
    found, opened = through(DATA, media_type)
    assert found == DATA and opened.digest == opened.diff_id == sha(DATA)


def test_digests_of_another_kind():
    packed = gzip.compress(DATA)
    opened = stream.opened(io.BytesIO(packed), "", Bounds(), algorithm="sha512")
    opened.drain()
    assert opened.digest == "sha512:" + hashlib.sha512(packed).hexdigest() and opened.diff_id == sha(DATA)
    plain = stream.opened(io.BytesIO(DATA), OCI, Bounds(), diff_algorithm="sha512")
    plain.drain()
    assert plain.digest == sha(DATA) and plain.diff_id == "sha512:" + hashlib.sha512(DATA).hexdigest()


def test_what_is_after_the_archive_belongs_to_the_digests():
    packed = members(DATA, b"after")
    opened = stream.opened(io.BytesIO(packed), "", Bounds())
    opened(10)
    opened.drain()
    assert (opened.digest, opened.diff_id) == (sha(packed), sha(DATA + b"after"))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20), st.integers(1, 1000), st.integers(0, 700))
def test_a_gzip_stream_may_have_several_members_and_zeros_after_them(parts: list[bytes], n: int, zeros: int):
    found, opened = through(members(*parts) + bytes(zeros), n=n)
    assert found == b"".join(parts) and opened.size == len(members(*parts)) + zeros


def test_many_tiny_members_cost_what_they_weigh():
    data = members(b"x") * 20_000
    found, _ = through(data)
    assert found == b"x" * 20_000


@pytest.mark.parametrize(
    ("data", "media_type", "words"),
    [
        (gzip.compress(DATA)[:-9], "", "ends in the middle"),
        (gzip.compress(DATA)[:100], "", "ends in the middle"),
        (gzip.compress(DATA)[:-8] + bytes(8), "", "damaged"),
        (gzip.compress(DATA) + b"garbage", "", "after its first member"),
        (gzip.compress(DATA) + bytes(9) + b"garbage", "", "after its gzip stream and zeros"),
        (DATA, f"{OCI}+gzip", "no gzip stream"),
        (b"", f"{OCI}+gzip", "empty"),
        (bytes(100), f"{OCI}+gzip", "no gzip stream"),
        (zlib.compress(DATA), f"{OCI}+gzip", "no gzip stream"),
        (lzma.compress(DATA), "", "compressed by xz"),
        (b"BZh91AY&SY", "", "compressed by bzip2"),
        (DATA, "application/vnd.docker.distribution.manifest.v1+json", "media type"),
        (DATA, "text/\x1b[2J", "media type 'text/\\x1b[2J'"),
        (DATA, f"{OCI}+gzip+encrypted", "media type"),
    ],
)
def test_what_is_no_layer_is_refused(data: bytes, media_type: str, words: str):
    with pytest.raises(ImageError) as e:
        through(data, media_type)
    assert words in str(e.value)


def test_bounds_are_those_of_both_sides_and_of_all_layers():
    packed = gzip.compress(os.urandom(5000))
    for bound in ("compressed", "unpacked"):
        with pytest.raises(ImageError, match=f"bound {bound}=4,000"):
            through(packed, **{bound: 4000})
    _, opened = through(packed)
    assert opened.so_far == (len(packed), 5000)


def test_a_bomb_is_unpacked_in_little_memory():
    data = bomb(64 << 20)
    tracemalloc.start()
    opened = stream.opened(io.BytesIO(data), "", Bounds())
    count = 0
    while piece := opened(1 << 20):
        count += len(piece)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 64 << 20 and most < 4 << 20


def test_zstd_without_a_module_for_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(stream.importlib, "import_module", missing)
    for media_type in (f"{OCI}+zstd", ""):
        with pytest.raises(HostError, match=r"pip install 'pyjail-linux\[zstd\]'"):
            through(b"\x28\xb5\x2f\xfd" + bytes(20), media_type)


@pytest.mark.parametrize("n", [1, 1 << 20])
def test_zstd_gives_the_archive_and_both_digests(n: int):
    packed = zstd().compress(DATA)
    found, opened = through(packed, n=n)
    assert found == DATA and (opened.digest, opened.diff_id) == (sha(packed), sha(DATA))
    assert through(packed, f"{OCI}+zstd")[0] == DATA


def test_zstd_frames_follow_each_other_also_such_without_content():
    skipped = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"index"
    packed = zstd().compress(DATA) + skipped + zstd().compress(b"more")
    found, opened = through(packed)
    assert found == DATA + b"more" and opened.digest == sha(packed)
    assert through(skipped + packed)[0] == DATA + b"more"


def test_zstd_is_bounded_and_checked():
    big = zstd().compress(bytes(8 << 20))
    with pytest.raises(ImageError, match="bound unpacked=1,000,000"):
        through(big, unpacked=1_000_000)
    wide = zstd().compress(os.urandom(4096) * 4096, options={zstd().CompressionParameter.window_log: 24})
    with pytest.raises(ImageError, match="zstd_window"):
        through(wide, zstd_window=1 << 20)
    for data, words in ((big[:-3], "ends in the middle"), (big[:9] + b"\xff" * 20, "damaged"), (big + b"x", "no zstd")):
        with pytest.raises(ImageError, match=words):
            through(data)
