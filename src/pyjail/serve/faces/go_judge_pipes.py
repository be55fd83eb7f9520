"""go-judge's ``pipeMapping``: which commands of a request are joined, and run at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pyjail.serve.face import Desk
from pyjail.serve.faces.go_judge_answers import Refused, Wanted, told_of
from pyjail.serve.job import Group, Job, Outcome, Pipe
from pyjail.serve.problem import Problem

Part = Sequence[int]  # numbers of commands that pipes join
_WRITTEN = {1: "stdout", 2: "stderr"}


@dataclass(frozen=True)
class Request:
    """Attributes: ``names``: of files that what is kept of a pipe comes back as, by the end that writes to it."""

    commands: Sequence[tuple[Job, Wanted]]
    pipes: Sequence[Pipe] = ()
    names: Mapping[tuple[int, str], str] | None = None


def joined(given: Any, commands: Sequence[Mapping[str, Any]], made: Sequence[tuple[Job, Wanted]], most: int) -> Request:
    """The request whose ``cmd`` these are, and whose ``pipeMapping`` is given. Raises `Refused`."""
    if not isinstance(given, list):
        raise Refused("pipeMapping is to be a list")
    pipes, names, ends = list[Pipe](), dict[tuple[int, str], str](), set[tuple[int, int]]()
    for i, one in enumerate(given):
        where = f"pipeMapping[{i}]"
        if not isinstance(one, dict):
            raise Refused(f"{where} is to be an object")
        writer, reader = (_end(one, way, where, commands) for way in ("in", "out"))
        for at, fd in (writer, reader):
            if (at, fd) in ends:
                raise Refused(f"pipe: mapping to existing file descriptor: {at}/{fd}")
            ends.add((at, fd))
        if writer[1] not in _WRITTEN or reader[1]:
            raise Refused(f"{where}: from fd 1 or 2 to fd 0 alone, as programs have no other fds here")
        source = (writer[0], _WRITTEN[writer[1]])
        drained, name, kept = _kept(one, where, most)
        if name:
            names[source] = name
        pipes.append(Pipe(source, (reader[0], "stdin"), drained, kept))
    return Request(made, pipes, names)


def _end(one: Mapping[str, Any], way: str, where: str, commands: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    given = one.get(way)
    at, fd = (given.get("index", 0), given.get("fd", 0)) if isinstance(given, dict) else (None, None)
    if not isinstance(at, int) or not isinstance(fd, int) or isinstance(at, bool) or isinstance(fd, bool):
        raise Refused(f"{where}.{way}: index and fd are needed")
    if not 0 <= at < len(commands):
        raise Refused(f"pipe: index out of range {at}")
    files = commands[at].get("files") or []
    if 0 <= fd < len(files) and files[fd] is not None:
        raise Refused(f"pipe: fd already occupied {at} {fd}")
    if commands[at].get("tty"):
        raise Refused(f"cmd[{at}].tty: the terminal takes the place of all its streams, and no pipe leads there")
    return at, fd


def _kept(one: Mapping[str, Any], where: str, most: int) -> tuple[bool, str, int]:
    """(whether it is carried, the name of what is kept, bytes of it); only what is carried is kept."""
    name, size = one.get("name") or "", one.get("max") or 0
    if not isinstance(name, str) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Refused(f"{where}: a name is text, max a whole number")
    if not one.get("proxy"):
        return False, "", 0
    if name and size > most:
        raise Refused(f"{where}.max: at most {most} bytes are kept of a pipe here, not {size}")
    return True, name, size if name else 0


async def results(request: Request, desk: Desk, watchers: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """What is answered to it: those that are joined run at the same time or not at all, the others as they have their
    turns. Cancelled, or where one cannot be run, all end. ``watchers``: of each command, as `Desk.run` takes one."""
    parts = _parts(len(request.commands), request.pipes)
    work = partial(_run, request=request, desk=desk, watchers=watchers)
    found = await work(parts[0]) if len(parts) == 1 else await _all(parts, work, desk.config.admission.concurrent)
    names = request.names or {}
    answer = []
    for at, (_, wanted) in enumerate(request.commands):
        kept = {name: found[at].kept.get(stream, b"") for (i, stream), name in names.items() if i == at}
        answer.append(await told_of(found[at], wanted, desk, kept))
    return answer


async def _all(
    parts: Sequence[Part], run: Callable[[Part], Awaitable[dict[int, Outcome]]], most: int
) -> dict[int, Outcome]:
    """Of all parts, at the same time as far as there are turns. Those for which the queue had no room have theirs one
    after the other, once those that had one are done: a request needs no more of it than one command does."""
    found, left = dict[int, Outcome](), list[tuple[Part, Problem]]()
    gate = asyncio.Semaphore(most)  # more would but wait

    async def one(part: Part) -> None:
        async with gate:
            try:
                found.update(await run(part))
            except Problem as e:
                if e.status not in (429, 503):
                    raise
                left.append((part, e))

    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(one(part))
    except BaseExceptionGroup as e:
        raise e.exceptions[0] from None
    if not found:
        raise left[0][1]
    for part, _ in left:
        found |= await run(part)
    return found


async def _run(part: Part, request: Request, desk: Desk, watchers: Sequence[Any]) -> dict[int, Outcome]:
    own = {at: i for i, at in enumerate(part)}
    pipes = tuple(
        replace(p, source=(own[p.source[0]], p.source[1]), target=(own[p.target[0]], p.target[1]))
        for p in request.pipes
        if p.source[0] in own
    )
    jobs = tuple(request.commands[at][0] for at in part)
    see = [watchers[at] if watchers else None for at in part]
    if not pipes:
        return {part[0]: await desk.run(jobs[0], see[0])}
    return dict(zip(part, await desk.together(Group(jobs, pipes), see), strict=True))


def _parts(count: int, pipes: Sequence[Pipe]) -> list[list[int]]:
    """All numbers below ``count``, those together that pipes join."""
    of = list(range(count))  # the lowest number of its part
    for pipe in pipes:
        one, other = of[pipe.source[0]], of[pipe.target[0]]
        of = [min(one, other) if part in (one, other) else part for part in of]
    return [[at for at in range(count) if of[at] == part] for part in dict.fromkeys(of)]
