"""The same check where it can neither crash nor stall the caller: in a jail, with a deadline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from importlib import resources
from typing import Any

import pyjail
from pyjail import Jail, Limits, aio
from pyjail.precheck._check import CALLS, MODULES, MOST_BYTES, encoded, told
from pyjail.precheck._construct import Construct

SECONDS = 5.0
OFTEN = 1000  # sources after which a jail is replaced by a new one
LIMITS = Limits(memory="256M", processes=4, output="4M", disk="1M", cpu_time=None, wall_time=None)
LOOP = """
import json, sys
for line in sys.stdin.buffer:
    job = json.loads(line)
    source = sys.stdin.buffer.read(job["size"])
    found = constructs(source, job["modules"], job["calls"], job["most_bytes"])
    sys.stdout.write(json.dumps(found) + "\\n")
    sys.stdout.flush()
"""


def command() -> list[str]:
    """A Python that reads sources and writes what it finds."""
    text = resources.files("pyjail.precheck").joinpath("_constructs.py").read_text("utf-8")
    return ["python3", "-I", "-S", "-B", "-W", "ignore", "-c", text + LOOP]


def request(source: bytes, modules: Collection[str], calls: Collection[str], most_bytes: int) -> bytes:
    """One source, as that Python reads it; of one that is too large, nothing but its size would be looked at."""
    about = {"size": len(source), "modules": [*modules], "calls": [*calls], "most_bytes": most_bytes}
    return json.dumps(about).encode() + b"\n" + source


def too_complex() -> list[Construct]:
    """Of a source that the check did not come to the end of."""
    return [Construct(1, 1, "complex", "too complex to check")]


def too_large(size: int, most_bytes: int) -> list[Construct]:
    """Of a source that is not parsed."""
    return [Construct(1, 1, "complex", f"too large to check: {size} bytes, at most {most_bytes} are")]


def check_jailed(
    source: str | bytes,
    *,
    language: str = "python",
    modules: Collection[str] = MODULES,
    calls: Collection[str] = CALLS,
    most_bytes: int = MOST_BYTES,
    seconds: float = SECONDS,
    jail: Jail | None = None,
) -> list[Construct]:
    """As `check`, in a jail of its own and with a deadline: it costs a run, and a source that crashes or stalls the
    parser is "too complex to check".

    Raises: as `check`, and what `pyjail.run` raises when there is no jail or no ``python3`` in it.

    >>> from pyjail import precheck
    >>> precheck.check_jailed("import os.path")[0].line
    1
    """
    data = encoded(source, language)
    if len(data) > most_bytes:
        return too_large(len(data), most_bytes)
    limits = Limits(memory="256M", processes=4, output="4M", disk="1M", cpu_time=seconds, wall_time=2 * seconds)
    result = pyjail.run(command(), limits, jail=jail or Jail(), input=request(data, modules, calls, most_bytes))
    return _read(result.stdout or b"") if result.verdict is pyjail.Verdict.OK else too_complex()


class Checker:
    """Checks one source after the other in a jail that stays: about a millisecond each. For event loops.

    A source that crashes or stalls the parser ends the jail, is "too complex to check", and the next one has a new
    jail. The jail is made when the first source comes.

    >>> import asyncio
    >>> from pyjail import precheck
    >>> async def both():
    ...     async with precheck.Checker() as checker:
    ...         return await checker.check("import os"), await checker.check("-" * 60000)
    >>> [found[0].text for found in asyncio.run(both())]
    ['import of os', 'too complex to check']
    """

    def __init__(
        self,
        *,
        modules: Collection[str] = MODULES,
        calls: Collection[str] = CALLS,
        most_bytes: int = MOST_BYTES,
        seconds: float = SECONDS,
        jail: Jail | None = None,
    ) -> None:
        self._modules, self._calls, self._most_bytes, self._seconds = modules, calls, most_bytes, seconds
        self._jail = jail or Jail()
        self._process: aio.AsyncProcess | None = None
        self._served = 0
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Checker:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the jail; the next source would have a new one."""
        async with self._turn:
            await self._end()

    async def check(self, source: str | bytes, *, language: str = "python") -> list[Construct]:
        """As `precheck.check`. Raises: what `pyjail.start` raises when there is no jail."""
        data = encoded(source, language)
        if len(data) > self._most_bytes:
            return too_large(len(data), self._most_bytes)
        async with self._turn:
            used = self._served > 0 and self._process is not None
            try:
                found = await self._ask(data)
            except pyjail.KeeperError:
                found = None
            if found is None and used:  # what came before may have been its end
                found = await self._ask(data)
            return too_complex() if found is None else found

    async def _ask(self, data: bytes) -> list[Construct] | None:
        """None: the jail is gone, or did not answer in time."""
        if self._served >= OFTEN:
            await self._end()
        if self._process is None:
            self._process = await aio.start(command(), LIMITS, jail=self._jail, stderr=pyjail.DEVNULL)
            self._served = 0
        process = self._process
        try:
            async with asyncio.timeout(self._seconds + (0 if self._served else 5)):  # the first one waits for its start
                process.stdin.write(request(data, self._modules, self._calls, self._most_bytes))
                await process.stdin.drain()
                line = await process.stdout.readline()
            self._served += 1
            return _parsed(line)
        except (TimeoutError, OSError, ValueError):
            await self._end()
            return None
        except BaseException:
            await self._end()  # an answer that nobody waits for would be the next one's
            raise

    async def _end(self) -> None:
        process, self._process, self._served = self._process, None, 0
        if process is not None:
            process.kill()
            async with process:  # raises what it could not be started for
                pass


def _parsed(line: bytes) -> list[Construct]:
    """Raises ValueError for what is no answer."""
    try:
        rows: Any = json.loads(line)
    except RecursionError as e:
        raise ValueError(str(e)) from None
    if not isinstance(rows, list) or not all(_row(row) for row in rows):
        raise ValueError(line[:100])
    return told(rows)


def _row(row: object) -> bool:
    return isinstance(row, list) and [type(value) for value in row] == [int, int, str, str, str]


def _read(line: bytes) -> list[Construct]:
    try:
        return _parsed(line)
    except ValueError:
        return too_complex()
