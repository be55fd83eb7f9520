"""Languages, whether their tools are here, and their versions, found out in jails and kept: `Known`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

from pyjail import languages
from pyjail.serve.config import Config

T = TypeVar("T")
_AT_ONCE = 2  # tools that tell their versions: some take seconds of CPU time for that
_PATIENCE = 20.0  # seconds after which a tool that has not told it is left out of lists
_CALM = 3.0  # seconds in which nobody has run anything before versions are found out that nobody has asked for
_LOOK = 0.25  # seconds between two looks whether anybody does


class Once:
    """What is found out when somebody asks first, and kept. Who asks meanwhile waits for the same."""

    def __init__(self, find: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._find = find
        self._found: asyncio.Task[Any] | None = None
        self.since = 0.0  # time.monotonic() of its beginning

    def begin(self) -> asyncio.Task[Any]:
        """Find it out, if nobody has. A failure is not kept."""
        if self._found is None or (self._found.done() and (self._found.cancelled() or self._found.exception())):
            self._found, self.since = asyncio.create_task(self._find()), time.monotonic()
        return self._found

    async def get(self) -> Any:
        """It, once it is found out."""
        return await asyncio.shield(self.begin())

    async def soon(self) -> Any:
        """It; None: it has not been found out in time, or not at all."""
        task = self.begin()
        await asyncio.wait((task,), timeout=max(0.0, self.since + _PATIENCE - time.monotonic()))
        return self.now()

    def now(self) -> Any:
        """It; None: it is not known yet."""
        found = self._found
        known = found is not None and found.done() and not found.cancelled() and not found.exception()
        return found.result() if found is not None and known else None


class Known:
    """The languages of one service."""

    def __init__(self, config: Config) -> None:
        self._table, self._jail = config.languages or languages.table(), config.jail
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._of = {name: Once(partial(self._ask, language)) for name, language in self._table.items()}
        self._here = Once(partial(_apart, self._look))

    def _look(self) -> frozenset[str]:
        return frozenset(name for name, it in self._table.items() if languages.available(it, self._jail))

    async def _ask(self, language: languages.Language) -> str | None:
        async with self._asking:
            return await _apart(partial(languages.version, language, self._jail))

    async def versions(self, names: Sequence[str]) -> Mapping[str, str]:
        """{name: version} of those whose tools are here; all, where none is named, but for those whose tools have not
        told it for too long."""
        asked = [name for name in names or self._of if name in self._of]
        told = Once.get if names else Once.soon
        found = await asyncio.gather(*(told(self._of[name]) for name in asked))
        return {name: version for name, version in zip(asked, found, strict=True) if version is not None}

    async def learn(self, busy: Callable[[], bool]) -> None:
        """Find out all versions, one after the other and only while it is not ``busy``, so that nobody waits for them
        who asks later."""
        await _calm(busy)
        for once in self._of.values():
            if busy():
                await _calm(busy)
            with suppress(Exception):
                await once.get()

    async def rows(self) -> list[dict[str, Any]]:
        """All of them for ``/v1/languages``. Whether tools are here is soon found out; which versions they are may take
        seconds, and is None as long as it is not known: nobody waits for that."""
        here = await self._here.get()
        for name in here:
            self._of[name].begin()
        return [_row(it, name in here, self._of[name].now()) for name, it in self._table.items()]


async def _calm(busy: Callable[[], bool]) -> None:
    """When it has not been busy for some time."""
    since = time.monotonic()
    while time.monotonic() - since < _CALM:
        await asyncio.sleep(_LOOK)
        if busy():
            since = time.monotonic()


async def _apart(call: Callable[[], T]) -> T:
    """What it gives, called by a thread that the end of the service does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(value: T | None, error: Exception | None) -> None:
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(cast(T, value))

    def work() -> None:
        value, error = None, None
        try:
            value = call()
        except Exception as e:
            error = e
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(tell, value, error)

    threading.Thread(target=work, name="pyjail-known", daemon=True).start()
    return await future


def _row(language: languages.Language, here: bool, version: str | None) -> dict[str, Any]:
    missing = f"needs {language.package or ' and '.join(language.tools)}"
    return {
        "name": language.name, "title": language.title, "extensions": list(language.extensions),
        "compiled": bool(language.compile), "available": here, "version": version if here else "",
        "reason": "" if here else missing,
    }  # fmt: skip
