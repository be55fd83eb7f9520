"""Which of an image's variants this machine can execute."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from pyjail._base.errors import SpecError

# What the kernel calls a machine -> what images call it.
_NAMES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386", "i386": "386",
    "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64", "loongarch64": "loong64",
}  # fmt: skip
# Flags of /proc/cpuinfo that a level adds to the one before; the x86-64 psABI has the list.
_LEVELS = (
    ("v2", "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"),
    ("v3", "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"),
    ("v4", "avx512f avx512bw avx512cd avx512dq avx512vl"),
)
_IMPLIED = {"amd64": ("", "v1"), "arm64": ("", "v8"), "arm": ("", "v7", "v6", "v5")}
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}", re.ASCII)


class Platform(NamedTuple):
    """What is looked for in an index: ``variants`` are all that do, "" is an entry that names none."""

    os: str
    architecture: str
    variants: tuple[str, ...] = ("",)

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"

    def takes(self, os: str, architecture: str, variant: str) -> bool:
        """Whether it can execute that."""
        return (os, architecture) == (self.os, self.architecture) and variant in self.variants


def parse(text: str) -> Platform:
    """``text``, OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as "linux/arm64/v8".

    Raises `SpecError` of the field ``platform``.
    """
    parts = text.split("/") if isinstance(text, str) else []
    if not 2 <= len(parts) <= 3 or not all(_WORD.fullmatch(part) for part in parts):
        raise SpecError("platform", text, "OS/ARCHITECTURE[/VARIANT] is needed, such as linux/amd64 or linux/arm64/v8")
    if parts[0] != "linux":
        raise SpecError("platform", text, "jails execute programs of Linux alone: linux/ARCHITECTURE is needed")
    implied = _IMPLIED.get(parts[1], ("",))
    if len(parts) == 2:
        return Platform(parts[0], parts[1], implied)
    same = parts[1] != "arm" and parts[2] in implied  # v8 is what arm64 means, v1 what amd64 means
    return Platform(parts[0], parts[1], implied if same else (parts[2],))


def of(machine: str, flags: frozenset[str]) -> Platform:
    """What a machine of that kernel's name and these flags of its CPU executes. Pure."""
    architecture = _NAMES.get(machine, machine)
    variants = _IMPLIED.get(architecture, ("",))
    if machine == "armv6l":
        variants = ("", "v6", "v5")
    if architecture == "amd64":
        for level, needed in _LEVELS:
            if not flags.issuperset(needed.split()):
                break
            variants += (level,)
    return Platform("linux", architecture, variants)


def own() -> Platform:
    """What this machine executes, by its kernel's name for it and, where that tells levels apart, its CPU's flags."""
    machine, flags = os.uname().machine, frozenset[str]()
    if machine == "x86_64":
        try:
            with open("/proc/cpuinfo") as file:
                for line in file:
                    if line.startswith("flags"):
                        flags = frozenset(line.split())
                        break
        except OSError:
            pass  # then only what every such CPU executes
    return of(machine, flags)
