"""Builds the two native parts: the cffi extension, and the keeper as package data."""

import os
import shlex
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
KEEPER_FLAGS = shlex.split(
    "-std=c11 -Os -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wvla"
    " -ffreestanding -fno-stack-protector -fno-pie -fno-asynchronous-unwind-tables"
    " -static -nostdlib -no-pie -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,--build-id=none -s"
)


class Build(build_ext):
    """The extension as usual, and csrc/keeper.c as a static, freestanding program beside it."""

    def run(self) -> None:
        super().run()
        where = Path("src" if self.inplace or self.editable_mode else self.build_lib, "pyjail", "_core")
        where.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run(
            [*compiler, *KEEPER_FLAGS, "-o", str(where / "keeper"), str(HERE / "csrc" / "keeper.c")], check=True
        )

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), str(Path(self.build_lib, "pyjail", "_core", "keeper"))]


setup(
    cffi_modules=["csrc/ffi.py:builder"],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
