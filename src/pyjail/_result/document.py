"""A `Result` as a JSON document, and the fields of one from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyjail._base.documents import (
    check,
    name_from,
    reading,
    taken,
    unpack,
    unpacked,
)
from pyjail._base.plain import (
    head,
    name_of,
    pack,
    plain,
)
from pyjail._result.contact import Contact, Contacts
from pyjail._result.usage import Control, Receipt, Usage
from pyjail._result.verdict import Verdict
from pyjail._spec.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._result.completed import Completed


def document(r: Completed, receipt: bool = True) -> dict[str, Any]:
    """See `Result.to_dict`."""
    made = {
        **head("result"),
        "args": [pack(a) for a in r.args] if isinstance(r.args, (list, tuple)) else pack(r.args),
        "returncode": r.returncode,
        "verdict": r.verdict.value,
        "stdout": pack(r.stdout),
        "stderr": pack(r.stderr),
        "exit_code": r.exit_code,
        "signal": r.signal,
        "usage": plain(r.usage),
        "limits": r.limits.to_dict(),
        "receipt": [],
        "files": {name_of(name): pack(data) for name, data in r.files.items()},
        "uncollected": {name_of(name): pack(why) for name, why in r.uncollected.items()},
        "stdout_bytes": r.stdout_bytes,
        "stderr_bytes": r.stderr_bytes,
        "oom_kills": r.oom_kills,
        "limits_hit": sorted(r.limits_hit),
        "syscall": r.syscall,
        "error": pack(r.error),
        "egress": plain(r.egress),
        "image": None,
    }
    if not receipt:
        del made["receipt"], made["image"]
        return made
    made["receipt"] = [plain(row) for row in r.receipt]
    made["image"] = next((row.value for row in r.receipt if row.name == "image"), None)
    return made


def fields(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """See `Result.from_dict`."""
    d = check(given, "result")
    with reading("result"):
        usage = taken(Usage, d["usage"])
        if usage.get("context_switches") is not None:
            usage["context_switches"] = tuple(usage["context_switches"])
        usage["noise"] = tuple(map(unpack, usage.get("noise", ())))
        args = d["args"]
        return {
            **taken(cls, d),
            "args": [unpack(a) for a in args] if isinstance(args, list) else unpack(args),
            "verdict": Verdict(d["verdict"]),
            "stdout": unpack(d.get("stdout")),
            "stderr": unpack(d.get("stderr")),
            "usage": Usage(**usage),
            "limits": Limits(**taken(Limits, d["limits"])),
            "receipt": Receipt(Control(**unpacked(Control, row)) for row in d.get("receipt", ())),
            "files": {name_from(name): unpack(data) for name, data in d.get("files", {}).items()},
            "uncollected": {name_from(name): unpack(why) for name, why in d.get("uncollected", {}).items()},
            "limits_hit": frozenset(d.get("limits_hit", ())),
            "error": unpack(d.get("error")),
            "egress": _contacts(d.get("egress")),
        }


def _contacts(given: Mapping[str, Any] | None) -> Contacts | None:
    if given is None:
        return None
    rows = tuple(Contact(**unpacked(Contact, row)) for row in given.get("rows", ()))
    return Contacts(rows, given.get("omitted", 0))
