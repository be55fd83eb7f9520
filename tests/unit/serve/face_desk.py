"""A desk that runs nothing: what a face asks of it is kept, what it answers is given. And results of each verdict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyjail import Jail, Limits, Result, Usage, Verdict
from pyjail.serve import Config, model
from pyjail.serve.face import Answer, Asked, Face, Kept, Load
from pyjail.serve.job import Group, Job, Outcome, Script
from pyjail.serve.problem import Problem

ENDS: Mapping[Verdict, Mapping[str, Any]] = {
    Verdict.OK: {"exit_code": 0}, Verdict.RUNTIME_ERROR: {"exit_code": 3}, Verdict.SIGNALED: {"signal": 11},
    Verdict.SECURITY: {"signal": 31}, Verdict.JAIL_ERROR: {"error": "/secret/path"},
}  # fmt: skip
KILLED = {"signal": 9}  # by a limit


def result(verdict: Verdict = Verdict.OK, stdout: bytes = b"", stderr: bytes = b"", **given: Any) -> Result:
    end = {**ENDS.get(verdict, KILLED), **given}
    code = end.get("exit_code")
    usage = Usage(wall_time=end.pop("wall", 0.25))
    return Result((), code if code is not None else -end.get("signal", 1), verdict, stdout, stderr, usage=usage, **end)


class Desk:
    """`pyjail.serve.face.Desk`. ``answers`` are outcomes, results or what is raised; ``jobs`` what was asked for."""

    def __init__(self, *answers: Any, config: Config | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self.config = config or Config()
        self.settings: Mapping[str, Any] = settings or {}
        self.answers, self.jobs, self.scripts, self.groups = list(answers), [], [], []
        self.files: dict[str, bytes] = {}
        self.images = {"alpine"}
        self.kept: dict[str, Kept] = {}
        self.held: list[int] = []
        self.ending = False

    async def run(self, job: Job, watcher: Any = None) -> Outcome:
        self.jobs.append(job)
        await asyncio.sleep(0)
        return self._next()

    async def steps(self, script: Script) -> Sequence[Outcome]:
        self.scripts.append(script)
        return [self._next() for _ in script.steps]

    async def together(self, group: Group, watchers: Sequence[Any]) -> Sequence[Outcome]:
        self.groups.append(group)
        return [self._next() for _ in group.jobs]

    def _next(self) -> Outcome:
        answer = self.answers.pop(0) if self.answers else result()
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Outcome) else Outcome(answer)

    async def image(self, name: str) -> Jail:
        if name not in self.images:
            raise Problem(400, "image", f"unknown image: {name}; known: {', '.join(sorted(self.images))}")
        return Jail(image=name, env={"PATH": "/image/bin"})

    async def submit(self, body: Mapping[str, Any], id: str, awaited: bool = False) -> str:
        self.awaited = awaited
        ended: dict[str, Any] = {"state": "done", "created": 1.5, "ended": 2.25}
        if self.answers and isinstance(self.answers[0], Kept):
            ended = {
                "state": self.answers[0].state,
                "reason": self.answers[0].reason,
                "result": self.answers.pop(0).result,
            }
        else:
            ended["result"] = model.told(self._next(), True)
        self.kept[id] = Kept(id, body=json.loads(json.dumps(body)), **ended)
        return id

    async def fetch(self, id: str, seconds: float) -> Kept | None:
        return self.kept.get(id)

    async def submitted(self, skip: int, most: int) -> tuple[Sequence[str], int]:
        return list(self.kept)[::-1][skip : skip + most], len(self.kept)

    def load(self) -> Load:
        return Load(4, 1, 3, 0, self.ending)

    async def forget(self, id: str) -> bool:
        return self.kept.pop(id, None) is not None

    async def languages(self, *names: str) -> Mapping[str, str]:
        every = {"python": "3.11.2", "c": "12.2.0", "cpp": "12.2.0", "bash": "5.2"}
        return {name: version for name, version in every.items() if not names or name in names}

    async def tools(self, language: str, jail: Jail) -> Jail:
        return jail

    async def put(self, path: str, data: bytes) -> None:
        self.files[path] = data

    async def get(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def host(self, path: str, directories: Sequence[str], most: int) -> bytes:
        return f"{path} of {directories}, {most} at most".encode()

    async def drop(self, path: str) -> bool:
        return self.files.pop(path, None) is not None

    async def names(self) -> Sequence[str]:
        return sorted(self.files)

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        yield self.held.append


def ask(face: Face, method: str, path: str, body: Any = None, desk: Desk | None = None, **given: Any) -> Answer:
    """The answer of that endpoint, problems told as the face tells them."""
    return asyncio.run(asking(face, method, path, body, desk, **given))


async def asking(
    face: Face, method: str, path: str, body: Any = None, desk: Desk | None = None, **given: Any
) -> Answer:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    (found,) = [e for e in face.endpoints() if (e.method, e.path) == (method, path)]
    try:
        return await found.handler(Asked(method, path, body=data, **given), desk or Desk())
    except Problem as e:
        return face.problem(e)


def limits(**given: Any) -> Limits:
    return Limits(**given)
