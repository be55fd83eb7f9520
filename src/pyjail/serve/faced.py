"""The faces on the application: under /NAME and, as the configuration says, at the root; what a face may ask for."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from pyjail import JailError, SpecError
from pyjail.serve import answers, body, client, entrance, errors, leaving, lines, strict
from pyjail.serve.config import Config
from pyjail.serve.counter import Counter
from pyjail.serve.crowd import Routes, Template
from pyjail.serve.direct import Endpoint as Ask
from pyjail.serve.direct import Endpoints
from pyjail.serve.face import Answer, Asked, Desk, Endpoint, Face
from pyjail.serve.faces import (
    boxer,
    codebox,
    go_judge,
    go_judge_stream,
    judge0,
    judge0_job,
    piston,
    piston_socket,
    sandboxfusion,
    secure_sandbox,
    snekbox,
)
from pyjail.serve.known import Known
from pyjail.serve.live import length
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

SEEDS = ("boxer", "codebox", "secure-sandbox")


class Made(NamedTuple):
    """How a face is made of its settings, and which it has besides ``enabled`` and ``limits``."""

    make: Callable[[Mapping[str, Any]], Face]
    settings: Sequence[str] = ()


FACES: Mapping[str, Made] = {
    "boxer": Made(lambda _: boxer.Boxer(), ("output", "upload", "images")),
    "codebox": Made(lambda _: codebox.Codebox(), ("timeout", "programs")),
    "secure-sandbox": Made(secure_sandbox.SecureSandbox, ("rate", "window", "concurrent", "code", "output")),
    "go-judge": Made(lambda _: go_judge.GoJudge(go_judge_stream.SOCKETS), ("src_prefix",)),
    "judge0": Made(lambda _: judge0.Judge0(), ("delete", "additional_files", "compiler_options")),
    "piston": Made(lambda _: piston.Piston(piston_socket.SOCKETS), ("compile_limits",)),
    "snekbox": Made(lambda _: snekbox.Snekbox(), ("executables",)),
    "sandboxfusion": Made(lambda _: sandboxfusion.SandboxFusion(), ("compile_limits",)),
}
MOST_PARTS = 2  # of a form: a file and its name


def mount(app: FastAPI, service: Service) -> Doors:
    """Add the routes of all faces that the configuration does not turn off."""
    config = service.config
    faces, languages = made(config), service.known
    service.makers["judge0"] = lambda body: judge0_job.job_of(body, config)
    routes: dict[tuple[str, str], list[tuple[Face, Endpoint]]] = {}
    for face in faces.values():
        for endpoint in face.endpoints():
            below = f"/{face.name}{endpoint.path}".rstrip("/")
            routes.setdefault((endpoint.method, below), []).append((face, endpoint))
            if face.name in at_root(config) and endpoint.path != "/":  # the page is there
                routes.setdefault((endpoint.method, endpoint.path), []).append((face, endpoint))
    direct: dict[tuple[str, str], tuple[Template, Ask]] = {}
    full: dict[tuple[str, str], Template] = {}
    for (method, path), choices in routes.items():
        template = Template(path)
        route = _route(service, languages, template, choices)
        for form in (path, f"{path}/"):
            app.add_route(form, route, methods=[method], include_in_schema=False)
            if "{" not in form:
                direct[method, form] = template, route
            if all(endpoint.runs for _, endpoint in choices):
                full[method, form] = template
    lines.mount(app, service, languages, faces, at_root(config))
    return Doors(faces, config, direct, full)


def made(config: Config) -> dict[str, Face]:
    """The faces by their names. Raises SpecError for settings that are none."""
    for name, given in config.faces.items():
        if name not in FACES:
            raise SpecError("faces", name, f"there is no such face: {', '.join(FACES)}")
        known = ("enabled", "limits", *FACES[name].settings)
        for key in given:
            if key not in known:
                raise SpecError(f"faces.{name}", key, f"there is no such setting: {', '.join(sorted(known))}")
        for table in ("limits", "compile_limits"):
            replace(config.limits, **given.get(table, {}))  # what is no limit is a SpecError
    if config.root not in ("seeds", "none", *FACES):
        raise SpecError("root", config.root, f'"seeds", "none" or a face is needed: {", ".join(FACES)}')
    return {
        name: face.make(config.faces.get(name, {}))
        for name, face in FACES.items()
        if config.faces.get(name, {}).get("enabled", True)
    }


def at_root(config: Config) -> Sequence[str]:
    """Whose paths are at the root."""
    return SEEDS if config.root == "seeds" else (config.root,)


class Doors:
    """What stands before the routes asks by the path alone: how a problem is told there, whether forms are taken.

    ``direct``: endpoints whose paths have no parts. ``full``: those of which nothing else comes than a program's run.
    """

    def __init__(self, faces: Mapping[str, Face], config: Config, direct: Endpoints, full: Routes) -> None:
        self._faces, self.direct, self.full = faces, direct, full
        self._endpoints = {name: tuple(face.endpoints()) for name, face in faces.items()}
        self._root = [faces[name] for name in at_root(config) if name in faces]
        firsts = {
            e.path.partition("{")[0][1:].partition("/")[0]
            for face in self._root
            for e in self._endpoints[face.name]
            if e.path != "/"
        }
        self._firsts = frozenset(firsts) if "" not in firsts else None  # what their paths begin with; None: anything

    def tell(self, scope: Scope, problem: Problem) -> entrance.Told:
        """As the client of that path expects it."""
        found = self._at(str(scope.get("path", "")))
        if found is None:
            return entrance.tell(scope, problem)
        answer = told(found[0].problem(problem))
        return answer.status_code, list(answer.raw_headers), bytes(answer.body)

    def refused(self, scope: Scope, problem: Problem) -> Response | None:
        """As `tell`, of a path that only looks like one of a face; None: it does not."""
        found = self._at(str(scope.get("path", "")))
        if found is None:
            return None
        scope["problem"] = problem.kind
        return told(found[0].problem(problem))

    def forms(self, method: str, path: str) -> bool:
        """Whether a body there may be no JSON."""
        found = self._at(path)
        if found is None:
            return body.no_forms(method, path)
        return any(
            e.forms and e.method == method and _matches(e.path, found[1]) for e in self._endpoints[found[0].name]
        )

    def _at(self, path: str) -> tuple[Face, str] | None:
        """The face, and the path in it."""
        path = path.rstrip("/")
        name, _, rest = path[1:].partition("/")
        if name in self._faces:
            return self._faces[name], f"/{rest}"
        if self._firsts is not None and name not in self._firsts:
            return None
        for face in self._root:
            if any(_matches(endpoint.path, path) for endpoint in self._endpoints[face.name]):
                return face, path
        return None


def _matches(template: str, path: str) -> bool:
    head, brace, _ = template.partition("{")
    return path.startswith(head) if brace else path == template


def _route(
    service: Service, languages: Known, template: Template, choices: Sequence[tuple[Face, Endpoint]]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        face, endpoint = choices[0]
        request.scope["route"] = template
        try:
            asked = await _asked(request, any(e.forms for _, e in choices))
            face, endpoint = chosen(asked, choices)
            desk: Desk = Counter(service, languages, face.name, asked.tenant, request.scope.get("token"))
            given = await leaving.while_there(request.scope, _answered(endpoint, asked, desk))
            if given.body is None and length(given.content) > answers.LONG:
                return answers.Long(given.content, given.status, given.headers, partial(_refused, face))
            return told(given)
        except (Problem, JailError) as e:
            return _told_wrong(face, request.scope, errors.of(e))

    return answer


def _told_wrong(face: Face, scope: Scope, problem: Problem) -> Response:
    scope["problem"] = problem.kind
    return _refused(face, problem)


def _refused(face: Face, problem: Problem) -> Response:
    return told(face.problem(problem))


async def _answered(endpoint: Endpoint, asked: Asked, desk: Desk) -> Answer:
    return await endpoint.handler(asked, desk)


async def _asked(request: Request, forms: bool) -> Asked:
    scope = request.scope
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form, filenames, said = None, dict[str, str](), b""
    if forms and kind == "multipart/form-data":
        form, filenames = await _form(request)
    else:
        said = await body.whole(request)
        strict.few(said)
    return Asked(
        request.method, scope["path"], dict(request.path_params), dict(request.query_params),
        {name.lower(): value for name, value in request.headers.items()}, said, form, filenames,
        scope.get("tenant", ""), client.tenant(request.client.host) if request.client else "",
        scope.get("request_id", ""),
    )  # fmt: skip


async def _form(request: Request) -> tuple[Mapping[str, bytes], dict[str, str]]:
    """What its parts hold, and the names of those that are files."""
    try:
        async with request.form(max_files=1, max_fields=MOST_PARTS - 1, max_part_size=1 << 16) as form:
            parts = form.multi_items()
            names = {name: part.filename or "" for name, part in parts if isinstance(part, UploadFile)}
            held = {name: await part.read() if isinstance(part, UploadFile) else part.encode() for name, part in parts}
            return held, names
    except MultiPartException as e:
        raise Problem(400, "form", e.message) from None


def chosen(asked: Asked, choices: Sequence[tuple[Face, Endpoint]]) -> tuple[Face, Endpoint]:
    """The one whose body this is: with ``code`` it is Secure-Sandbox's, else the first one's."""
    if len(choices) == 1:
        return choices[0]
    try:
        body = json.loads(asked.body)
    except (ValueError, RecursionError):
        return choices[0]
    ours = isinstance(body, dict) and "code" in body and not body.keys() & {"sources", "commands"}
    return next((c for c in choices if (c[0].name == secure_sandbox.NAME) == ours), choices[0])


def told(answer: Answer) -> Response:
    """As HTTP has it."""
    headers = dict(answer.headers)
    if answer.body is None:
        return answers.Json(answer.content, answer.status, headers)
    if answer.type == "application/octet-stream":
        headers["Content-Security-Policy"] = "sandbox"
        headers.setdefault("Content-Disposition", "attachment")
    return Response(answer.body, answer.status, headers, answer.type)
