"""Packages for a box, fetched outside of it as `pyjail.interpreter` does: wheels only, nothing of them runs here."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import os
import re
import shutil
import tempfile

from pyjail import Jail, SpecError, interpreter
from pyjail.boxlite._errors import ExecError, InvalidArgumentError, TimeoutError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


class Packages:
    """What one box has, in a directory that it sees.

    Attributes:
        directory: of the host; what is in it is replaced.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._wanted: dict[str, str] = {}  # by name: what was asked for last

    async def install(self, packages: tuple[str, ...], wheelhouse: str | None, timeout: float | None) -> str:
        """Have these, too, and what they need; what there is now, in pip's words.

        Args:
            packages: names, with versions if wanted. wheelhouse: a directory of wheels to take instead of what pip is
                configured for. timeout: s; None: no limit.

        Raises:
            InvalidArgumentError: what has no name. ExecError: they cannot be had. TimeoutError.
        """
        wanted = {**self._wanted, **{_key(package): package for package in packages}}
        if not packages:
            return ""
        resolving = asyncio.to_thread(interpreter.with_packages, Jail(), list(wanted.values()), wheelhouse)
        try:
            async with asyncio.timeout(timeout):
                jail = await resolving
        except SpecError as e:
            raise ExecError(f"pip install {' '.join(packages)}", 1, e.reason) from e
        except builtins.TimeoutError:
            raise TimeoutError(f"packages {', '.join(packages)}: not there within {timeout} s (timeout=)") from None
        found = next(mount.src for mount in jail.mounts if mount.dst == "/packages")
        await asyncio.to_thread(_replace, str(found), self.directory)
        self._wanted = wanted
        return f"Successfully installed {' '.join(_installed(self.directory))}\n"


def _key(package: str) -> str:
    """The name, as packages compare theirs."""
    match = _NAME.match(package) if isinstance(package, str) else None
    if match is None:
        raise InvalidArgumentError(f"package {package!r}: a name, with versions if wanted, is needed: 'numpy==2.1'")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def _replace(source: str, target: str) -> None:
    """Make ``target`` a copy of a directory, of the same files where the file system can."""
    new = tempfile.mkdtemp(dir=os.path.dirname(target))
    shutil.copytree(source, f"{new}/new", copy_function=_same)
    os.rename(target, f"{new}/old")
    os.rename(f"{new}/new", target)
    shutil.rmtree(new)


def _same(source: str, target: str) -> None:
    with contextlib.suppress(OSError):  # another file system, or too many names
        os.link(source, target)
        return
    shutil.copy2(source, target)


def _installed(directory: str) -> list[str]:
    """name-version of all that is there."""
    suffix = ".dist-info"
    return sorted(name.removesuffix(suffix) for name in os.listdir(directory) if name.endswith(suffix))
