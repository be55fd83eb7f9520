"""What FastAPI would say of three of the other services, for clients that are made of a description: OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyjail.serve.faces import sandboxfusion_languages as languages

_TEXT: Mapping[str, Any] = {"type": "string"}
_NUMBER: Mapping[str, Any] = {"type": "number"}
_NO_TEXT: Mapping[str, Any] = {"type": ["string", "null"]}


def _object(needed: Sequence[str] = (), **fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, **({"required": list(needed)} if needed else {})}


def _list(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _texts(of: Mapping[str, Any] = _TEXT, **more: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of, **more}


_COMMAND = _object(
    ("command",), command={**_TEXT, "examples": ["/venv/bin/python hello.py"]}, stdin=_NO_TEXT,
    timeout={"type": ["number", "null"], "description": "seconds; null: as many as are given at most"},
)  # fmt: skip
_STAGE = _object(
    (), status={**_TEXT, "enum": ["Finished", "Error", "TimeLimitExceeded"]}, execution_time=_NUMBER,
    return_code={"type": ["integer", "null"]}, stdout=_TEXT, stderr=_TEXT,
)  # fmt: skip
# Of a face, its paths: (method, what it does, the body, the answer).
_PATHS: Mapping[str, Mapping[str, tuple[str, str, Any, Any]]] = {
    "codebox": {
        "/execute": (
            "post", "Run commands, one after the other, in /sandbox",
            _object(
                ("sources", "commands"), sources=_texts(examples=[{"hello.py": "print('Hello World!')"}]),
                commands=_list(_COMMAND),
            ),
            _list(_object((), stdout=_TEXT, stderr=_TEXT, exit_code={"type": "integer"}, elapsed_time=_NUMBER)),
        ),
        "/languages": ("get", "Which there are, in which versions", None, _texts()),
    },
    "secure-sandbox": {
        "/execute": (
            "post", "Run a Python program that passes the check",
            _object(("code",), code={**_TEXT, "examples": ["print(input())"]}, input=_NO_TEXT),
            _object((), stdout=_TEXT, stderr=_TEXT, returncode={"type": "integer"}, execution_time=_NUMBER),
        )
    },
    "sandboxfusion": {
        "/run_code": (
            "post", "Run a program",
            _object(
                ("code", "language"), code={**_TEXT, "examples": ["print(1)"]}, stdin=_NO_TEXT,
                language={**_TEXT, "enum": [*languages.LANGUAGES, *languages.UNKNOWN]},
                compile_timeout={**_NUMBER, "default": 10}, run_timeout={**_NUMBER, "default": 10},
                memory_limit_MB={"type": "integer", "default": -1},
                files=_texts(_NO_TEXT, description="base64 by path"), fetch_files=_list(_TEXT),
            ),
            _object(
                (), status={**_TEXT, "enum": ["Success", "Failed", "SandboxError"]}, message=_TEXT,
                compile_result={"anyOf": [_STAGE, {"type": "null"}]}, run_result={"anyOf": [_STAGE, {"type": "null"}]},
                files=_texts(), executor_pod_name=_NO_TEXT,
            ),
        ),
        "/v1/ping": ("get", "Whether it is there", None, _TEXT),
    },
}  # fmt: skip
FACES = tuple(_PATHS)
_WRONG = {"description": "What is wrong, field by field", "content": {"application/json": {"schema": _object(
    (), detail=_list(_object((), loc=_list({}), msg=_TEXT, type=_TEXT))
)}}}  # fmt: skip
_LATER = {"description": "Nothing is free: ask again later"}


def description(face: str) -> dict[str, Any]:
    """Of its paths below /NAME."""
    paths = {path: {given[0]: _of(*given[1:])} for path, given in _PATHS[face].items()}
    info = {"title": face, "version": "1.0", "description": "Programs in jails, as its clients ask."}
    return {"openapi": "3.1.0", "info": info, "servers": [{"url": f"/{face}"}], "paths": paths}


def _of(summary: str, body: Any, answer: Any) -> dict[str, Any]:
    ok = {"200": {"description": "Done", "content": {"application/json": {"schema": answer}}}}
    if body is None:
        return {"summary": summary, "responses": ok}
    sent = {"required": True, "content": {"application/json": {"schema": body}}}
    return {"summary": summary, "requestBody": sent, "responses": {**ok, "422": _WRONG, "503": _LATER}}
