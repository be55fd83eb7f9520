"""The faces on the application: under /NAME and, as the configuration says, at the root; what a face may ask for."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from pyjail import Jail, JailError, Mount, SpecError, images, languages
from pyjail.serve import body, edge, errors, leaving, strict
from pyjail.serve.config import Config
from pyjail.serve.face import Answer, Asked, Desk, Endpoint, Face
from pyjail.serve.faces import boxer, codebox, secure_sandbox
from pyjail.serve.job import Job, Outcome, Script
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

SEEDS = ("boxer", "codebox", "secure-sandbox")
FACES: Mapping[str, Callable[[Mapping[str, Any]], Face]] = {
    "boxer": lambda _: boxer.Boxer(),
    "codebox": lambda _: codebox.Codebox(),
    "secure-sandbox": secure_sandbox.SecureSandbox,
}
MOST_PARTS = 2  # of a form: a file and its name


class Counter:
    """`pyjail.serve.face.Desk` of one face and one tenant."""

    def __init__(self, service: Service, face: str, tenant: str, token: Any) -> None:
        self.config = service.config
        self.settings: Mapping[str, Any] = service.config.faces.get(face, {})
        self._service, self._of, self._token = service, (tenant, face), token

    async def run(self, job: Job) -> Outcome:
        return await self._service.engine.run(job, self._of[0], self._token)

    async def steps(self, script: Script) -> Sequence[Outcome]:
        return await self._service.engine.steps(script, self._of[0], self._token)

    async def image(self, name: str) -> Jail:
        try:
            found = await asyncio.to_thread(images.get, name)
        except (JailError, OSError):
            raise Problem(400, "image", f"unknown image: {name}; known: {await self._known()}") from None
        return Jail(image=found)

    async def tools(self, language: str, jail: Jail) -> Jail:
        return await asyncio.to_thread(_with_tools, language, jail)

    async def _known(self) -> str:
        try:
            kept = [name for image in await asyncio.to_thread(images.list) if (name := image.name)]
        except (JailError, OSError):
            kept = []
        own = [boxer.HOST_VIEW, *self.settings.get("images", {})]
        return ", ".join(sorted({*own, *kept})[:50])

    async def put(self, path: str, data: bytes) -> None:
        await self._service.names.put(*self._of, path, data)

    async def get(self, path: str) -> bytes | None:
        return await self._service.names.get(*self._of, path)

    async def drop(self, path: str) -> bool:
        return await self._service.names.drop(*self._of, path)

    async def names(self) -> Sequence[str]:
        return await self._service.names.names(*self._of)


@lru_cache(maxsize=64)
def _with_tools(language: str, jail: Jail) -> Jail:
    if language == "python":
        return _with_scripts(jail)
    found = languages.table()[language]
    return languages.jail_for(found, jail) if languages.available(found, jail) else jail


def _with_scripts(jail: Jail) -> Jail:
    """``pip`` and ``pytest`` of the environment whose Python it is, which a jail does not have by itself."""
    there = {name: os.path.join(os.path.dirname(os.fspath(jail.python or "")), name) for name in ("pip", "pytest")}
    found = [
        Mount.bind(path, f"/venv/bin/{name}") for name, path in there.items() if jail.python and os.path.isfile(path)
    ]
    return replace(jail, mounts=(*jail.mounts, *found)) if found else jail


def mount(app: FastAPI, service: Service) -> Doors:
    """Add the routes of all faces that the configuration does not turn off."""
    config = service.config
    faces = made(config)
    routes: dict[tuple[str, str], list[tuple[Face, Endpoint]]] = {}
    for face in faces.values():
        for endpoint in face.endpoints():
            routes.setdefault((endpoint.method, f"/{face.name}{endpoint.path}"), []).append((face, endpoint))
            if face.name in at_root(config):
                routes.setdefault((endpoint.method, endpoint.path), []).append((face, endpoint))
    for (method, path), choices in routes.items():
        route = _route(service, choices)
        for form in (path, f"{path}/"):
            app.add_route(form, route, methods=[method], include_in_schema=False)
    return Doors(faces, config)


def made(config: Config) -> dict[str, Face]:
    """The faces by their names."""
    for name in config.faces:
        if name not in FACES:
            raise SpecError("faces", name, f"there is no such face: {', '.join(FACES)}")
    if config.root not in ("seeds", "none", *FACES):
        raise SpecError("root", config.root, f'"seeds", "none" or a face is needed: {", ".join(FACES)}')
    return {
        name: make(config.faces.get(name, {}))
        for name, make in FACES.items()
        if config.faces.get(name, {}).get("enabled", True)
    }


def at_root(config: Config) -> Sequence[str]:
    """Whose paths are at the root."""
    return SEEDS if config.root == "seeds" else (config.root,)


class Doors:
    """What stands before the routes asks by the path alone: how a problem is told there, whether forms are taken."""

    def __init__(self, faces: Mapping[str, Face], config: Config) -> None:
        self._faces = faces
        self._root = [faces[name] for name in at_root(config) if name in faces]

    def tell(self, scope: Scope, problem: Problem) -> edge.Told:
        """As the client of that path expects it."""
        found = self._at(str(scope.get("path", "")))
        if found is None:
            return edge.tell(scope, problem)
        answer = told(found[0].problem(problem))
        return answer.status_code, list(answer.raw_headers), bytes(answer.body)

    def forms(self, method: str, path: str) -> bool:
        """Whether a body there may be no JSON."""
        found = self._at(path)
        if found is None:
            return body.no_forms(method, path)
        return any(e.forms and e.method == method and _matches(e.path, found[1]) for e in found[0].endpoints())

    def _at(self, path: str) -> tuple[Face, str] | None:
        """The face, and the path in it."""
        path = path.rstrip("/")
        name, _, rest = path[1:].partition("/")
        if name in self._faces:
            return self._faces[name], f"/{rest}"
        for face in self._root:
            if any(_matches(endpoint.path, path) for endpoint in face.endpoints()):
                return face, path
        return None


def _matches(template: str, path: str) -> bool:
    head, brace, _ = template.partition("{")
    return path.startswith(head) if brace else path == template


def _route(service: Service, choices: Sequence[tuple[Face, Endpoint]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        face, endpoint = choices[0]
        try:
            asked = await _asked(request, any(e.forms for _, e in choices))
            face, endpoint = chosen(asked, choices)
            desk: Desk = Counter(service, face.name, asked.tenant, request.scope.get("token"))
            return told(await leaving.while_there(request.receive, _answered(endpoint, asked, desk)))
        except (Problem, JailError) as e:
            problem = errors.of(e)
            request.scope["problem"] = problem.kind
            return told(face.problem(problem))

    return answer


async def _answered(endpoint: Endpoint, asked: Asked, desk: Desk) -> Answer:
    return await endpoint.handler(asked, desk)


async def _asked(request: Request, forms: bool) -> Asked:
    scope = request.scope
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form, body = None, b""
    if forms and kind == "multipart/form-data":
        form = await _form(request)
    else:
        body = await request.body()
        strict.few(body)
    return Asked(
        request.method, scope["path"], dict(request.path_params), dict(request.query_params),
        {name.lower(): value for name, value in request.headers.items()}, body, form,
        scope.get("tenant", ""), request.client.host if request.client else "", scope.get("request_id", ""),
    )  # fmt: skip


async def _form(request: Request) -> Mapping[str, bytes]:
    try:
        async with request.form(max_files=1, max_fields=MOST_PARTS - 1, max_part_size=1 << 16) as form:
            return {
                name: await part.read() if isinstance(part, UploadFile) else part.encode()
                for name, part in form.multi_items()
            }
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
        return JSONResponse(answer.content, answer.status, headers)
    if answer.type == "application/octet-stream":
        headers["Content-Security-Policy"] = "sandbox"
        headers.setdefault("Content-Disposition", "attachment")
    return Response(answer.body, answer.status, headers, answer.type)
