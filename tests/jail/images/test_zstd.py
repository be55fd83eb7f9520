"""Layers that are compressed by zstd, unpacked by the process without rights."""

from __future__ import annotations

import io
import sys

import pytest

from pyjail import HostError, images
from tests import images_archives as archives
from tests.images_made import archive, file
from tests.images_store import BASE, UPPER, layout, unfinished, whole
from tests.scripts import script


def test_an_image_of_zstd_layers_is_the_same_tree_as_one_of_gzip(home, tmp_path):
    big = archive(*(file(b"big/%d" % n, bytes([n]) * 3_000_000) for n in range(8)))
    made = [images.load(layout(tmp_path / form, BASE, UPPER, big, compress=form), form) for form in ("zstd", "gzip")]
    assert made[0].id == made[1].id and made[0].digest != made[1].digest
    assert whole() == ["gzip", "zstd"] and unfinished() == []
    assert made[0].layers[0]["media_type"].endswith("+zstd")
    images.remove("zstd")
    images.remove("gzip")
    assert images.load(layout(tmp_path / "again", BASE, UPPER, big, compress="zstd"), "again").id == made[0].id
    assert whole() == ["again"]


def test_the_tar_of_a_root_may_be_compressed_so(home, tmp_path):
    (tmp_path / "root.tar.zst").write_bytes(archives.stored_as("zstd", BASE))
    image = images.load(f"tar:{tmp_path}/root.tar.zst", "root")
    assert image.id == images.load(layout(tmp_path / "plain", BASE, compress=False), "plain").id
    assert whole() == ["plain", "root"]


def wide(data: bytes, log: int) -> bytes:
    """With a window of 2^log bytes, whatever ``data`` is: the compressor does not know its size."""
    zstd = archives.zstd()
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
    out = io.BytesIO()
    for at in range(0, len(data), 1000):
        out.write(packer.compress(data[at : at + 1000]))
    return out.getvalue() + packer.flush()


def test_a_window_beyond_its_bound_is_refused_and_a_larger_bound_has_the_memory(home, tmp_path):
    specs = {log: layout(tmp_path / str(log), BASE, compress="zstd", stored=(wide(BASE, log),)) for log in (22, 27, 28)}
    with pytest.raises(
        images.ImageError, match=r"bound zstd_window=1,048,576 allows; bounds=images\.Bounds\(zstd_window="
    ):
        images.load(specs[22], "w", bounds=images.Bounds(zstd_window="1M"))
    with pytest.raises(images.ImageError, match="bound zstd_window=134,217,728 allows"):
        images.load(specs[28], "w")
    assert images.list() == [] == unfinished()
    images.load(specs[27], "w")
    images.remove("w")
    images.load(specs[28], "w", bounds=images.Bounds(zstd_window="256M"))
    assert whole() == ["w"]


def test_a_damaged_stream_is_refused(home, tmp_path):
    packed = archives.stored_as("zstd", BASE)
    for number, stored in enumerate((packed[:-5], packed[:20] + b"\xff" * 30 + packed[50:], packed + b"x", b"")):
        with pytest.raises(images.ImageError, match="layer 1"):
            images.load(layout(tmp_path / str(number), BASE, compress="zstd", stored=(stored,)), "damaged")
    assert images.list() == [] == unfinished()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="proved in another place")
def test_without_a_module_for_it_the_error_says_what_to_install(home, tmp_path):
    specs = [layout(tmp_path / "one", BASE, compress="zstd")]
    (tmp_path / "root.tar.zst").write_bytes(archives.stored_as("zstd", BASE))
    specs.append(f"tar:{tmp_path}/root.tar.zst")
    code = """
        import sys
        sys.modules["backports"] = None  # as where it is not installed
        from pyjail import HostError, images
        for spec in sys.argv[1:]:
            try:
                images.load(spec, "none")
            except HostError as e:
                print(e.control, e.hint)
        assert images.list() == []
        """
    said = script(code, arguments=tuple(specs))
    line = "image pip install 'pyjail-linux[zstd]', or push the image with gzip layers"
    assert (said.stdout.splitlines(), said.stderr) == ([line, line], "")
    assert unfinished() == [] and HostError
