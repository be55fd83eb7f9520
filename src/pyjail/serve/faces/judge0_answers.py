"""Judge0's answers: what has become of a submission, in its fields."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pyjail import Result, Verdict
from pyjail.serve.face import Kept
from pyjail.serve.faces.common import text
from pyjail.serve.faces.judge0_tables import (
    ENCODED,
    EXTRA_TIME,
    FIELDS,
    LANGUAGES,
    LATER,
    LIMITS,
    NAME,
    NO_VERSION,
    OF_SIGNALS,
    OFF,
    STATUSES,
)
from pyjail.serve.faces.verdicts import told
from pyjail.serve.problem import Problem

TOO_LATE = "Compilation time limit exceeded."
_NO_TEXT = "some attributes for this submission cannot be converted to UTF-8, use base64_encoded=true query parameter"


def submission(kept: Kept, fields: Sequence[str], encoded: bool, version: str = "") -> dict[str, Any]:
    """These of its fields. ``version``: of its language."""
    whole = {
        **dict.fromkeys((*FIELDS, *LATER)),
        **dict.fromkeys(OFF, False),
        "cpu_extra_time": EXTRA_TIME,
        "number_of_runs": 1,
        **kept.body,
        **_ended(kept),
        "token": str(uuid.UUID(kept.id)),
    }
    for name, (_, _, default, _, _) in LIMITS.items():
        whole[name] = kept.body.get(name, default)
    status = whole["status_id"]
    whole["status"] = {"id": status, "description": STATUSES[status]}
    whole["language"] = {"id": kept.body["language_id"], "name": named(kept.body["language_id"], version)}
    whole["created_at"] = whole["queued_at"] = _date(kept.created)
    whole["finished_at"], whole["updated_at"] = _date(kept.ended), _date(kept.ended or kept.created)
    if "additional_files" in fields and kept.body.get("additional_files"):
        whole["additional_files"] = _lines(base64.b64decode(kept.body["additional_files"]))
    return {name: _text(whole[name], encoded) if name in ENCODED else whole[name] for name in fields}


def named(number: int, version: str) -> str:
    """The language of that id, as clients show it."""
    name = LANGUAGES[number][1]
    return name if number in NO_VERSION or not version else f"{name} ({version})"


def _date(seconds: float) -> str | None:
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _text(value: Any, encoded: bool) -> str | None:
    if value is None:
        return None
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    if encoded:
        return _lines(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Problem(400, "text", _NO_TEXT) from None


def _lines(data: bytes) -> str:
    plain = base64.b64encode(data).decode()
    return "".join(f"{plain[i : i + 60]}\n" for i in range(0, len(plain), 60))


def _ended(kept: Kept) -> dict[str, Any]:
    """What is known by how it ended."""
    if kept.state in ("queued", "running"):
        return {"status_id": 1 if kept.state == "queued" else 2}
    given = kept.result or {}
    if "problem" in given or kept.state != "done":
        return {"status_id": 13, "message": given.get("problem", {}).get("detail") or kept.reason or "it was lost"}
    compiled = None if given.get("compile") is None else _read(given["compile"])
    said = {"compile_output": _output(compiled)}
    if given.get("result") is None:
        if compiled is not None and compiled.verdict is Verdict.JAIL_ERROR:
            return {"status_id": 13, "message": "the jail failed, not the program"}
        return {**said, "status_id": 6 if compiled is not None else 14, "message": given.get("fault")}
    said |= _of_result(_read(given["result"]), kept.body.get("expected_output"))
    return said | _means(given["means"]) if "means" in given else said


def _read(given: Mapping[str, Any]) -> Result[Any]:
    """The result, without what held the program: that is most of it, and is not told here."""
    return Result.from_dict({**given, "receipt": []})


def accepted(result: Result[Any], expected: str | None) -> bool:
    """Whether its status is 3."""
    return bool(_of_result(result, expected)["status_id"] == 3)


def _means(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of all runs; what else is told is the last one's, as there."""
    return {"time": f"{given['cpu_time']:.3f}", "memory": given["memory_peak"] // 1024}


def _output(compiled: Result[Any] | None) -> bytes | None:
    if compiled is not None and compiled.verdict in (Verdict.CPU_TIME, Verdict.WALL_TIME):
        return TOO_LATE.encode()
    return None if compiled is None else (compiled.stdout or b"") + (compiled.stderr or b"") or None


def _of_result(result: Result[Any], expected: str | None) -> dict[str, Any]:
    cell, _ = told(NAME, result)
    status = int(cell.word)
    if status == 12 and result.verdict is Verdict.SIGNALED:
        status = OF_SIGNALS.get(result.signal or 0, 12)
    if status == 3 and expected is not None and _plain(text(result.stdout)) != _plain(expected):
        status = 4
    usage = result.usage
    message = cell.text or ("the jail failed, not the program" if status == 13 else None)
    if status == 11:
        message = f"Exited with error status {result.exit_code}"
    return {
        "status_id": status, "stdout": result.stdout or None, "stderr": result.stderr or None, "message": message,
        "time": f"{usage.cpu_time or 0:.3f}", "wall_time": f"{usage.wall_time or 0:.3f}",
        "memory": (usage.memory_peak or 0) // 1024, "exit_code": result.exit_code, "exit_signal": result.signal,
    }  # fmt: skip


def _plain(given: str) -> str:
    return "\n".join(line.rstrip() for line in given.rstrip().split("\n"))
