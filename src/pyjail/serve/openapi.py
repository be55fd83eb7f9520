"""What ``/v1/openapi.json`` says besides the routes: bodies, answers, examples."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

import pyjail
from pyjail.serve.problem import TYPE

_STATUS = {
    400: "malformed: no JSON, or JSON that parsers disagree about",
    404: "there is no such thing, or it is another tenant's",
    422: "a field is wrong: which, and what is meant",
    429: "a share or a rate is used up; Retry-After says when to come again",
    500: "the jail failed, not the program",
    503: "no slot, or the machine cannot enforce what was asked for; Retry-After says when to come again",
}
_TEXT = (
    "Every verdict is an answer with status 200: that a program fails is no error of HTTP. What is no verdict is told "
    "as RFC 9457 says. A WebSocket at `/v1/terminal` gives a program a terminal. The tokens are those of the service's "
    "configuration; without any, none is needed."
)
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:pyjail:problem:KIND"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "of the request"},
        "hint": {"type": "string", "description": "the fix"},
        "retry": {"type": "integer", "description": "seconds after which it may work"},
        "request_id": {"type": "string"},
    },
    "examples": [
        {
            "type": "urn:pyjail:problem:limit", "title": "Unprocessable Entity", "status": 422,
            "detail": "at most 1073741824 is given here, not 2147483648", "field": "limits.memory",
        }
    ],
}  # fmt: skip
_DOCUMENT = {"type": ["object", "null"], "description": 'a "result" of pyjail: docs/data.md'}
_OUTCOME: dict[str, Any] = {
    "id": {"type": "string"},
    "queue_s": {"type": "number", "description": "seconds that it waited for a slot"},
    "fault": {"type": ["string", "null"], "description": "why there was nothing to run"},
    "compile": {**_DOCUMENT, "description": "of the compiler; null where there is none"},
    "result": _DOCUMENT,
}
_RAN = {
    "queue_s": 0.0, "fault": None, "compile": None,
    "result": {
        "verdict": "ok", "returncode": 0, "exit_code": 0, "signal": None, "stdout": {"bytes": "hello\n"},
        "stderr": {"bytes": ""}, "usage": {"wall_time": 0.0012, "cpu_time": 0.0008, "memory_peak": 536576},
    },
}  # fmt: skip
_ONE = "9f86d081884c7d659a2feaa0c55ad015"
_SNAPSHOT: dict[str, Any] = {
    "name": {"type": "string"},
    "size": {"type": "integer", "description": "bytes of its files; holes are none"},
    **{name: {"type": "integer"} for name in ("files", "directories", "links")},
    "skipped": {"type": "integer", "description": "what could not be taken, such as FIFOs"},
    "created": {"type": "number", "description": "seconds since the epoch"},
}


def _listed(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name],
        "properties": {name: {"type": "array", "items": {"type": "object", "properties": properties}}},
    }


SCHEMAS: dict[str, Any] = {
    "Problem": _PROBLEM,
    "Outcome": {"type": "object", "properties": _OUTCOME, "examples": [{"id": _ONE, **_RAN}]},
    "Place": {
        "type": "object",
        "required": ["id", "kind", "state", "steps", "running", "ttl", "expires_in"],
        "properties": {
            "id": {"type": "string"},
            "kind": {"type": "string", "enum": ["session", "box"]},
            "state": {"type": "string", "enum": ["open", "lost", "closed"]},
            "steps": {"type": "integer", "description": "programs that it has run"},
            "running": {"type": "integer", "description": "programs and file requests that are there now"},
            "ttl": {"type": "number", "description": "seconds that it may stay unused"},
            "expires_in": {"type": "number", "description": "seconds until it goes, if nobody uses it"},
            "cpu_time": {"type": "number", "description": "seconds, of all its programs and compilers that have ended"},
            "memory_peak": {"type": ["integer", "null"], "description": "bytes, of the program that had most"},
        },
        "examples": [
            {
                "id": _ONE,
                "kind": "session",
                "state": "open",
                "steps": 2,
                "running": 0,
                "ttl": 300.0,
                "expires_in": 298.5,
                "cpu_time": 0.0021,
                "memory_peak": 892928,
            }
        ],
    },
    "Processes": _listed(
        "processes",
        {
            "pid": {"type": "integer", "description": "inside"},
            "args": {"type": "array", "items": {"type": "string"}, "description": "at most 4096 bytes"},
            "command": {"type": "string", "description": "the name that the kernel has for it"},
            "kept": {"type": "boolean", "description": "whether a program that has ended left it behind"},
            "started": {"type": "number", "description": "seconds since the epoch"},
            "memory": {"type": "integer", "description": "resident bytes, roughly"},
        },
    ),
    "Receipt": _listed("receipt", {}),
    "Snapshot": {"type": "object", "properties": _SNAPSHOT},
    "Snapshots": _listed("snapshots", _SNAPSHOT),
    "Judgement": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "queue_s": {"type": "number"},
            "verdict": {"type": "string", "description": "that of the first test that failed, or ok"},
            "passed": {"type": "boolean"},
            "score": {"type": "number"},
            "points": {"type": "number"},
            "compile": _DOCUMENT,
            "results": {"type": "array", "items": {"type": "object"}, "description": "one for each test"},
            "subtasks": {"type": "array", "items": {"type": "object"}},
        },
        "examples": [
            {
                "id": "9f86d081884c7d659a2feaa0c55ad015",
                "queue_s": 0.0,
                "verdict": "wrong_answer",
                "passed": False,
                "score": 0.5,
                "points": 1.0,
                "compile": None,
                "subtasks": [],
                "results": [{"name": "1", "verdict": "ok"}, {"name": "2", "verdict": "wrong_answer"}],
            }
        ],
    },
    "Record": {
        "type": "object",
        "required": ["id", "state"],
        "properties": {
            **_OUTCOME,
            "state": {"type": "string", "enum": ["queued", "running", "done", "cancelled", "lost"]},
            "reason": {"type": "string", "description": "why it is lost"},
            "means": {"type": "object", "description": "of several runs (Judge0's face): runs, cpu_time, memory_peak"},
            "gone_ms": {"type": "number", "description": "until its jail was gone, after DELETE"},
            "problem": {"$ref": "#/components/schemas/Problem"},
        },
        "examples": [{"id": _ONE, "state": "running"}, {"id": _ONE, "state": "done", **_RAN}],
    },
}


def answer(name: str, text: str) -> dict[str, Any]:
    """A JSON answer of this schema."""
    return {"description": text, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


EVENTS = {
    "description": "events: state, stdout, stderr, usage, test, lagging, result",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_LIST = {"type": "array", "items": {"$ref": "#/components/schemas/Place"}}
PLACES: dict[str, Any] = {
    "description": "those that are open",
    "content": {"application/json": {"schema": {"type": "object", "properties": {"sessions": _LIST, "boxes": _LIST}}}},
}
RESULT = answer("Outcome", "what came of it; every verdict is one")
RECORD = answer("Record", "where it stands, and what came of it once it is done")
PROBLEMS: dict[int | str, Any] = {
    status: {"description": text, "content": {TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, text in _STATUS.items()
}
_models: dict[str, type[BaseModel]] = {}


def body(kind: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """The request's body is one of these."""
    _models[kind.__name__] = kind
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def install(made: FastAPI) -> None:
    """Have the application tell all of it."""

    def tell() -> dict[str, Any]:
        if made.openapi_schema is None:
            said = get_openapi(
                title=made.title, version=pyjail.__version__, routes=made.routes, openapi_version="3.1.0",
                summary="Programs that nobody trusts, each in a jail of its own", description=_TEXT,
            )  # fmt: skip
            schemas = said.setdefault("components", {}).setdefault("schemas", {})
            schemas |= SCHEMAS
            for name, kind in _models.items():
                schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= schema.pop("$defs", {})
                schemas[name] = schema
            _as_problems(said)
            made.openapi_schema = said
        return made.openapi_schema

    vars(made)["openapi"] = tell


def _as_problems(said: dict[str, Any]) -> None:
    """Every operation may be refused, as every other one is; none is by the framework's own words."""
    for name in ("HTTPValidationError", "ValidationError"):
        said["components"]["schemas"].pop(name, None)
    said["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    said["security"] = [{"token": []}, {}]
    for methods in said["paths"].values():
        for operation in methods.values():
            answers = operation["responses"]
            answers["default"] = PROBLEMS[500] | {"description": "any other refusal"}
            for status, found in list(answers.items()):
                if status.isdigit() and int(status) >= 400:
                    text = found.get("description") or _STATUS.get(int(status), "refused")
                    answers[status] = PROBLEMS[500] | {"description": text}
