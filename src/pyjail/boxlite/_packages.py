"""Packages for a box, fetched outside of it: wheels only, so that nothing of them runs on the host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import Sequence

from pyjail.boxlite._errors import ExecError, InvalidArgumentError, TimeoutError

# A name with extras and versions: no option of pip, no path or URL, whose setup.py would run here.
_VERSION = r"\s*(?:===?|~=|!=|<=?|>=?)\s*[\w.*+!-]+\s*"
_REQUIREMENT = re.compile(
    rf"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?\s*(?:\[[\w\s,.-]*\])?\s*(?:{_VERSION}(?:,{_VERSION})*)?", re.ASCII
)


async def install(packages: Sequence[str], directory: str, wheelhouse: str | None, timeout: float | None) -> str:
    """Fetch wheels of packages, and of what they need, into ``directory``; what pip said.

    Args:
        packages: names, with versions if wanted: "numpy==2.1". wheelhouse: a directory of wheels to take instead of
            what pip is configured for. timeout: s; None: no limit.

    Raises:
        InvalidArgumentError: what is no such name. ExecError: pip failed. TimeoutError.
    """
    for package in packages:
        if not isinstance(package, str) or not _REQUIREMENT.fullmatch(package):
            raise InvalidArgumentError(f"package {package!r}: a name, with versions if wanted, is needed: 'numpy==2.1'")
    if not packages:
        return ""
    where = [] if wheelhouse is None else ["--no-index", "--find-links", os.path.abspath(wheelhouse)]
    options = ["--only-binary", ":all:", "--no-compile", "--upgrade", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--no-warn-script-location", *where]
    process = await asyncio.create_subprocess_exec(
        *command, "--target", directory, "--", *packages,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate()
    except BaseException as e:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if timeout is not None and type(e) is asyncio.TimeoutError:
            raise TimeoutError(f"packages {', '.join(packages)}: not there within {timeout:g} s (timeout=)") from None
        raise
    said = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
    if process.returncode:
        raise ExecError(f"pip install {' '.join(packages)}", process.returncode, said[1] or said[0])
    return "".join(said)
