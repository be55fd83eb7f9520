"""The same program by each face, beside `/v1/runs`: what a translation costs."""

from __future__ import annotations

import json
import statistics
from typing import Any

from benchmarks.serve_client import Caller, Found, Sizes, quantile, repeated, request, served

MOST = 1.1  # times `/v1`
CODE = "print('hello')"
_CONFIG = "[faces.secure-sandbox]\nrate = 1000000\n"
_COMMAND = {"args": ["python3", "-c", CODE]}
_SOURCE = {"language": "python", "source": CODE}
_FILE = {"args": ["python3", "main.py"], "files": {"main.py": CODE}}
_JUDGED = {**_SOURCE, "precheck": "reject", "sanitize": "strip"}
_GO_JUDGE = {
    "args": ["/usr/bin/env", "python3", "-c", CODE], "env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
    "files": [{"content": ""}, {"name": "stdout", "max": 10240}, {"name": "stderr", "max": 10240}],
    "cpuLimit": 5_000_000_000, "clockLimit": 15_000_000_000, "memoryLimit": 64 << 20, "procLimit": 50,
}  # fmt: skip
# What a face is asked, and what `/v1` is asked that means the same.
ASKED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Boxer": ("/boxer/run", {"image": "python:3", "cmd": ["python3", "-c", CODE]}, _COMMAND),
    "Codebox": (
        "/codebox/execute",
        {"sources": {"main.py": CODE}, "commands": [{"command": "/venv/bin/python main.py", "timeout": 5}]},
        _FILE,
    ),
    "Secure-Sandbox": ("/secure-sandbox/execute", {"code": CODE}, _JUDGED),
    "go-judge": ("/go-judge/run", {"cmd": [_GO_JUDGE]}, {"args": _GO_JUDGE["args"]}),
    "Piston": (
        "/piston/api/v2/execute",
        {"language": "python", "version": "*", "files": [{"content": CODE}]},
        _SOURCE,
    ),
    "Judge0": ("/judge0/submissions?wait=true", {"source_code": CODE, "language_id": 71}, _SOURCE),
    "snekbox": ("/snekbox/eval", {"input": CODE}, _COMMAND),
    "SandboxFusion": ("/sandboxfusion/run_code", {"code": CODE, "language": "python"}, _SOURCE),
}
_HELLO = b"hello"


def faces(sizes: Sizes) -> list[Found]:
    """p50 of one client, beside `/v1/runs` that is asked for the same, in alternate turns."""
    with served(config=_CONFIG) as server, Caller(server.port) as caller:
        return [_face(name, caller, server.port, sizes) for name in ASKED]


def _face(name: str, caller: Caller, port: int, sizes: Sizes) -> Found:
    path, asked, native = ASKED[name]
    theirs = request(port, json.dumps(asked).encode(), path)
    ours = request(port, json.dumps(native).encode())
    rows = []
    for turn in range(sizes.rounds + 1):
        took = [repeated(lambda: _call(caller, data), sizes.seconds / 2 if turn else 0.3) for data in (ours, theirs)]  # noqa: B023
        if turn:
            rows.append([quantile(one, 0.5) * 1e3 for one in took])
    ratios = sorted(b / a for a, b in rows)
    ratio = statistics.median(ratios)
    own, other = (statistics.median(column) for column in zip(*rows, strict=True))
    said = f"{ratio:.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f}); {own:.2f} and {other:.2f} ms"
    return Found(f"Python hello world, p50: by /v1 and as {name}", said, f"<= {MOST} x", ratio <= MOST)


def _call(caller: Caller, data: bytes) -> None:
    status, body = caller.ask(data)
    assert status in (200, 201) and _HELLO in body, (status, body[:300])
