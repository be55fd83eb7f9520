"""Boxer's interface as it describes itself, for clients that are made of a description: Swagger 2.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TEXT: Mapping[str, Any] = {"type": "string"}
_TEXTS: Mapping[str, Any] = {"type": "array", "items": _TEXT}
_WHOLE: Mapping[str, Any] = {"type": "integer"}
_DEFINITIONS: Mapping[str, Mapping[str, Any]] = {
    "api.ErrorResponse": {"error": {**_TEXT, "example": "unknown image: nope"}},
    "api.UploadResponse": {"path": {**_TEXT, "example": "work/main.py"}},
    "api.RunRequest": {
        "image": {**_TEXT, "example": "python:3.12-slim"},
        "cmd": {**_TEXTS, "minItems": 1, "example": ["python3", "-c", "print(42)"]},
        "env": {**_TEXTS, "example": ["NAME=value"]}, "cwd": {**_TEXT, "default": "/"},
        "limits": {"$ref": "#/definitions/config.ResourceLimits"},
        "files": {**_TEXTS, "description": "Names of files that were uploaded before; each is at /NAME."},
        "persist": {"type": "boolean", "description": "Keep what was uploaded, and what is written to /output."},
        "network": {**_TEXT, "enum": ["none"], "default": "none"},
    },
    "api.RunResponse": {
        "exec_id": _TEXT, "exit_code": _WHOLE, "stdout": _TEXT, "stderr": _TEXT,
        "wall_ms": {**_WHOLE, "description": "Milliseconds that it ran."},
    },
    "config.ResourceLimits": {
        "cpu_cores": {"type": "number"}, "memory_mb": _WHOLE, "pids_limit": _WHOLE, "wall_clock_secs": _WHOLE,
        "nofile": _WHOLE,
    },
}  # fmt: skip
_SAID: Mapping[int, str] = {
    400: "The request is wrong, or names what is not there", 404: "There is no such file",
    408: "It took too long", 413: "It is too large", 500: "The jail failed, not the program",
    503: "Nothing is free: ask again later", 507: "It wrote more than is taken",
}  # fmt: skip


def description(base: str) -> dict[str, Any]:
    """Of the paths below ``base``."""
    path = {"name": "path", "required": True, **_TEXT}
    parts = [{"name": "file", "in": "formData", "required": True, "type": "file"}, {**path, "in": "formData"}]
    body = {"name": "request", "in": "body", "required": True, "schema": _one("api.RunRequest")}
    return {
        "swagger": "2.0", "basePath": base,
        "info": {"title": "Boxer API", "version": "1.0", "description": "Programs in jails, as Boxer's clients ask."},
        "paths": {
            "/run": {"post": _of("Run a command", [body], _one("api.RunResponse"), (400, 408, 413, 500, 503, 507))},
            "/files": {
                "post": {
                    **_of("Upload a file", parts, _one("api.UploadResponse"), (400, 413)),
                    "consumes": ["multipart/form-data"],
                },
                "get": {
                    **_of("Download a file", [{**path, "in": "query"}], {"type": "file"}, (400, 404)),
                    "produces": ["application/octet-stream", "application/json"],
                },
            },
            "/healthz": {"get": _of("Whether it is there", [], {"type": "object"}, ())},
        },
        "definitions": {
            name: {
                "type": "object", "properties": dict(fields),
                **({"required": ["cmd", "image"]} if name == "api.RunRequest" else {}),
            }
            for name, fields in _DEFINITIONS.items()
        },
    }  # fmt: skip


def _one(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}


def _of(summary: str, parameters: Sequence[Any], ok: Mapping[str, Any], wrong: Sequence[int]) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": "Done", "schema": dict(ok)}}
    for status in wrong:
        answers[str(status)] = {"description": _SAID[status], "schema": _one("api.ErrorResponse")}
    return {
        "summary": summary, "consumes": ["application/json"], "produces": ["application/json"],
        "parameters": list(parameters), "responses": answers,
    }  # fmt: skip
