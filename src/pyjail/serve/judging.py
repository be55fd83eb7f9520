"""``/v1/judge``: a program is run on tests, and each gets a verdict."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from pyjail import HostError, Judgement, Limits, Subtask, Test, TestResult, aio
from pyjail.languages import find
from pyjail.serve import beforehand, bounds, events, faults, keeping, leaving, model, strict
from pyjail.serve.config import Token
from pyjail.serve.inputs import held
from pyjail.serve.job import Job, Outcome
from pyjail.serve.live import Live
from pyjail.serve.model import FILE, Asked
from pyjail.serve.openapi import EVENTS, PROBLEMS, RECORD, answer, body
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

MOST_TESTS = 1000
MOST_OUTPUT = 64 << 20  # bytes of all tests together, that are kept until the last one has ended
PROGRAMS, LONGEST = 10, 360.0  # all tests together keep a slot no longer than so many programs may
_OUTPUT = ("stdout", "stderr")
_HELD = ("receipt", "image")


class JudgeTest(Asked):
    """What a program gets, and what it has to answer."""

    input: str | dict[str, str] = Field("", description=FILE)
    expected: str | dict[str, str] | None = Field(None, description=f"{FILE}; null: it only has to end well")
    name: str | None = None
    limits: dict[str, Any] = Field(default_factory=dict)
    points: float = Field(1.0, ge=0, lt=1e15)


class JudgeSubtask(Asked):
    """Tests that earn points together."""

    name: str
    points: float = Field(ge=0, lt=1e15)
    tests: list[str]
    needs: list[str] = Field(default_factory=list)


class Judge(Asked):
    """A program, and tests for it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "language": "python",
                    "source": "print(sum(map(int, input().split())))",
                    "tests": [{"input": "3 4", "expected": "7"}, {"input": "1 1", "expected": "2"}],
                }
            ]
        }
    )
    language: str
    source: str | dict[str, str]
    tests: list[JudgeTest] = Field(min_length=1, max_length=MOST_TESTS)
    limits: dict[str, Any] = Field(default_factory=dict, description="of each run")
    files: dict[str, str | dict[str, str]] = Field(default_factory=dict, description=f"path below /box: {FILE}")
    entry: str | None = Field(None, description="the file that is run, such as a grader")
    checker: Literal["tokens", "lines", "exact"] = "tokens"
    stop_on_failure: bool = Field(False, description="tests after the first that fails are skipped")
    subtasks: list[JudgeSubtask] = Field(default_factory=list, max_length=MOST_TESTS)
    outputs: bool = Field(False, description="tell what the program wrote, too")
    receipts: bool = Field(False, description="tell what held each run, too")


@dataclass(frozen=True)
class Case:
    """What is asked for, checked. ``files``: all contents, of tests too, by the name of their field."""

    asked: Judge
    limits: Limits
    of_tests: tuple[Limits | None, ...]
    files: Mapping[str, Any]


def case_of(asked: Judge, service: Service) -> Case:
    """Raises `Problem` 422."""
    config = service.config
    bounds.check(Job(files=asked.files, source=asked.source))
    each = MOST_OUTPUT // (2 * len(asked.tests))
    usual = replace(config.limits, output=min(config.limits.output or each, each))
    most = replace(config.maxima, output=min(config.maxima.output or each, each))
    usual = model.limits(asked.limits, usual, most)
    files = {f"files.{path}": model.file(f"files.{path}", data) for path, data in asked.files.items()}
    of_tests: list[Limits | None] = []
    for i, test in enumerate(asked.tests):
        where = f"tests.{i}"
        of_tests.append(model.limits(test.limits, usual, most, f"{where}.limits") if test.limits else None)
        files[f"{where}.input"] = model.file(f"{where}.input", test.input)
        if test.expected is not None:
            files[f"{where}.expected"] = model.file(f"{where}.expected", test.expected)
    return Case(asked, usual, tuple(of_tests), files)


def router(service: Service) -> APIRouter:
    """Its route."""
    made = APIRouter(prefix="/v1", tags=["runs"])
    judged = answer("Judgement", "what it is worth, test by test")
    responses = {200: judged | {"content": judged["content"] | EVENTS["content"]}, 202: RECORD, **PROBLEMS}

    async def later(body: Mapping[str, Any], live: Live, token: Token | None) -> Mapping[str, Any]:
        return await _judged(service, token, case_of(Judge.model_validate(body), service), live, patient=True)

    service.doers["judge"] = later

    @made.post("/judge", openapi_extra=body(Judge), responses=responses, summary="Judge a program")
    async def judge(request: Request, receipt: bool = False) -> Response:
        """Compiles once, runs on each test in a fresh jail. ``Accept: text/event-stream``: a "test" event for each
        verdict once it is known. A client that goes takes it all along. ``Prefer: respond-async`` and
        ``Idempotency-Key`` as of a run: it is fetched, followed and cancelled as one."""
        text = await request.body()
        asked = strict.model(Judge, text)
        asked.receipts = asked.receipts or receipt
        case, token = case_of(asked, service), request.scope.get("token")
        live = Live(secrets.token_hex(16), str(request.scope.get("tenant", "")))
        headers = keeping.told_by(request, b"prefer", b"idempotency-key", b"accept")
        if keeping.wanted(headers):
            await asyncio.to_thread(_check, case, service)
            async with _held(service, live.tenant, case):
                service.files.room()
            return await keeping.keep(service, request, "judge", asked, text, False)
        if "text/event-stream" in headers.get(b"accept", ""):
            live = service.lives.make(live.id, live.tenant)
            return events.followed(live, lambda: _judged(service, token, case, live))
        said = await leaving.while_there(request.scope, _judged(service, token, case, live))
        return JSONResponse({"id": live.id, **said})

    return made


async def _judged(
    service: Service, token: Token | None, case: Case, live: Live, *, patient: bool = False
) -> dict[str, Any]:
    asked, loop = case.asked, asyncio.get_running_loop()
    longest = PROGRAMS * (service.config.maxima.wall_time or LONGEST)

    def progress(row: TestResult) -> None:
        loop.call_soon_threadsafe(live.row, _row(row.to_dict(), asked))

    async with (
        _held(service, live.tenant, case) as files,
        service.turns.slot(live.tenant, token, patient=patient) as queued,
    ):
        live.began("run")
        try:
            async with asyncio.timeout(longest):
                judgement = await _judgement(service, case, files, progress)
        except HostError as e:
            raise faults.missing(e, asked.language) from None
        except TimeoutError:
            why = f"the tests took longer than {longest:g} s together"
            raise Problem(422, "limit", why, field="tests", hint="send fewer at once, or stop_on_failure") from None
    for row in judgement.results:
        if row.result is not None:
            job = Job(language=asked.language, source=asked.source, label="judge")
            service.observer.ran(job, Outcome(row.result, queued=queued))
    said = judgement.to_dict()
    said["results"] = [_row(row, asked) for row in said["results"]]
    if said["compile"] is not None and not asked.receipts:
        said["compile"] = {name: value for name, value in said["compile"].items() if name not in _HELD}
    return {"queue_s": round(queued, 6), **said}


@asynccontextmanager
async def _held(service: Service, tenant: str, case: Case) -> AsyncIterator[Mapping[str, Any]]:
    """As `held`. One that is missing is told by the field that names it."""
    try:
        async with held(service.files, tenant, case.files) as files:
            yield files
    except Problem as e:
        e.field = e.field.removeprefix("files.") if e.kind == "file" else e.field
        raise


async def _judgement(
    service: Service, case: Case, files: Mapping[str, Any], progress: Callable[[TestResult], None]
) -> Judgement:
    asked = case.asked
    return await aio.judge_source(
        find(asked.language, service.config.languages or None), asked.source, _tests(case, files), case.limits,
        jail=service.config.jail, stop_on_failure=asked.stop_on_failure, checker=asked.checker,
        files={path: files[f"files.{path}"] for path in asked.files}, entry=asked.entry, progress=progress,
        subtasks=_subtasks(asked),
    )  # fmt: skip


def _check(case: Case, service: Service) -> None:
    """Raises what judging would, as far as that is known before."""
    asked, known = case.asked, service.config.languages or None
    files = beforehand.empty(asked.files)
    tests = _tests(case, beforehand.empty(case.files))
    beforehand.validate(
        asked.language, asked.source, service.config.jail, known, files, tests, asked.entry, _subtasks(asked)
    )


def _subtasks(asked: Judge) -> list[Subtask]:
    return [Subtask(one.name, one.points, tuple(one.tests), tuple(one.needs)) for one in asked.subtasks]


def _tests(case: Case, files: Mapping[str, Any]) -> list[Test]:
    return [
        Test(files[f"tests.{i}.input"], files.get(f"tests.{i}.expected"), test.name or str(i + 1), limits, test.points)
        for i, (test, limits) in enumerate(zip(case.asked.tests, case.of_tests, strict=True))
    ]


def _row(row: Mapping[str, Any], asked: Judge) -> dict[str, Any]:
    """Of one test, without what was not asked for: what held it, and what it wrote."""
    made = dict(row)
    untold = (*(() if asked.receipts else _HELD), *(() if asked.outputs else _OUTPUT))
    for name in ("result", "checker"):
        if made.get(name) is not None:
            made[name] = {key: value for key, value in made[name].items() if key not in untold}
    return made
