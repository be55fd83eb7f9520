"""What a machine executes of an image's variants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyjail import SpecError
from pyjail._images import documents, platforms
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError

V2 = frozenset(["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"])
V3 = V2 | frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"])


@pytest.mark.parametrize(
    ("machine", "flags", "architecture", "variants"),
    [
        ("x86_64", frozenset(), "amd64", ("", "v1")),
        ("x86_64", V2, "amd64", ("", "v1", "v2")),
        ("x86_64", V3, "amd64", ("", "v1", "v2", "v3")),
        ("x86_64", V3 - {"ssse3"}, "amd64", ("", "v1")),
        ("aarch64", V3, "arm64", ("", "v8")),
        ("armv7l", frozenset(), "arm", ("", "v7", "v6", "v5")),
        ("armv6l", frozenset(), "arm", ("", "v6", "v5")),
        ("riscv64", frozenset(), "riscv64", ("",)),
        ("new", frozenset(), "new", ("",)),
    ],
)
def test_a_machine_executes(machine, flags, architecture, variants):
    assert platforms.of(machine, flags) == ("linux", architecture, variants)


def test_this_machine_executes_what_its_kernel_says():
    own = platforms.own()
    assert own.os == "linux"
    assert own == platforms.of(os.uname().machine, frozenset(Path("/proc/cpuinfo").read_text().split()))


def test_a_platform_is_taken_apart():
    assert platforms.parse("linux/amd64") == ("linux", "amd64", ("", "v1"))
    assert platforms.parse("linux/amd64/v3") == ("linux", "amd64", ("v3",))
    assert platforms.parse("linux/arm64/v8") == ("linux", "arm64", ("", "v8"))
    assert platforms.parse("linux/arm/v6") == ("linux", "arm", ("v6",))
    assert str(platforms.parse("linux/arm64/v8")) == "linux/arm64"


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "linux/a/b/c", "linux/../x", "windows/amd64", "linux/AMD64", None, 5]
)
def test_what_is_no_platform_of_ours_is_refused(text):
    with pytest.raises(SpecError, match="platform="):
        platforms.parse(text)


def test_an_image_for_another_machine_is_refused_by_both_names():
    raw = b'{"os": "linux", "architecture": "arm64", "variant": "v8"}'
    its = documents.config(raw, Bounds())
    documents.fits(its, platforms.parse("linux/arm64"))
    with pytest.raises(ImageError, match="for 'linux/arm64/v8', not for linux/amd64"):
        documents.fits(its, platforms.parse("linux/amd64"))
