"""The files of a zip that a request has, unpacked in a jail: this process reads no archive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from pyjail import File, Jail, JailError, Limits, Verdict, aio
from pyjail.serve.job import MOST_UNPACKED

MOST_ENTRIES = 1024
_ALL = "**"
_BLOCK = 4096
# A file takes whole blocks of /box, and so does each directory of its path.
LIMITS = Limits(
    memory="256M", processes=1, cpu_time=4, wall_time=20, output=MOST_ENTRIES * 4096, file_size=MOST_UNPACKED + _BLOCK,
    disk=2 * MOST_UNPACKED + 8 * MOST_ENTRIES * _BLOCK, inodes=8 * MOST_ENTRIES, collect=2 * MOST_UNPACKED,
    collect_files=MOST_ENTRIES,
)  # fmt: skip


class Unfit(Exception):
    """Why it is not unpacked, for who sent it."""


async def unpacked(archive: bytes, jail: Jail) -> Mapping[str, File]:
    """{path below /box: file}, executable where the archive says so. Directories that hold nothing are left out.

    ``jail``: whose strictness the other one has. Raises `Unfit`; what `pyjail.run` raises where there can be no jail.
    """
    place = Jail(strict=jail.strict)
    result = await aio.run(_command(), LIMITS, jail=place, input=archive, collect=(_ALL,))
    if result.verdict is Verdict.RUNTIME_ERROR:
        raise Unfit(f"the archive: {result.stderr.decode('utf-8', 'replace')[:400]}")
    if result.verdict is Verdict.JAIL_ERROR:
        raise JailError(result.error)
    if not result.ok or result.uncollected.keys() - {_ALL}:  # which finds nothing where there is nothing
        raise Unfit("the archive: it takes too much to unpack")
    executable = set(json.loads(result.stdout))
    return {path: File(data, 0o755 if path in executable else 0o644) for path, data in result.files.items()}


@lru_cache(maxsize=1)
def _command() -> tuple[str, ...]:
    text = resources.files("pyjail.serve.inside").joinpath("unzip.py").read_text("utf-8")
    return "python3", "-I", "-S", "-B", "-c", text, str(MOST_UNPACKED), str(MOST_ENTRIES)
