"""The table verdict x face, whole: each cell as the services' own clients meet it."""

from __future__ import annotations

import pytest

from pyjail import Verdict
from pyjail.serve.faces.verdicts import FACES, TABLE, told
from tests.unit.serve.face_desk import result

# As docs/faces.md has it: (HTTP status, its word for it, exit code).
EXPECTED = {
    "boxer": {
        "ok": (200, "", 0), "runtime_error": (200, "", 3), "signaled": (200, "", 139), "wall_time": (408, "", 137),
        "cpu_time": (408, "", 137), "memory": (200, "", 137), "output": (507, "", 137), "security": (200, "", 159),
        "jail_error": (500, "", 137),
    },
    "codebox": {
        "ok": (200, "", 0), "runtime_error": (200, "", 3), "signaled": (200, "", 139), "wall_time": (200, "", -1),
        "cpu_time": (200, "", 137), "memory": (200, "", 137), "output": (200, "", 137), "security": (200, "", 159),
        "jail_error": (500, "", 137),
    },
    "secure-sandbox": {
        "ok": (200, "", 0), "runtime_error": (200, "", 3), "signaled": (200, "", 139), "wall_time": (200, "", -1),
        "cpu_time": (200, "", -1), "memory": (200, "", 137), "output": (200, "", 137), "security": (200, "", 159),
        "jail_error": (500, "", 137),
    },
    "go-judge": {
        "ok": (200, "Accepted", 0), "runtime_error": (200, "Nonzero Exit Status", 3), "signaled": (200, "Signalled", 11),
        "wall_time": (200, "Time Limit Exceeded", 9), "cpu_time": (200, "Time Limit Exceeded", 9),
        "memory": (200, "Memory Limit Exceeded", 9), "output": (200, "Output Limit Exceeded", 9),
        "security": (200, "Dangerous Syscall", 31), "jail_error": (200, "Internal Error", 9),
    },
    "piston": {
        "ok": (200, "", 0), "runtime_error": (200, "RE", 3), "signaled": (200, "SG", None), "wall_time": (200, "TO", None),
        "cpu_time": (200, "TO", None), "memory": (200, "SG", None), "output": (200, "OL", None),
        "security": (200, "SG", None), "jail_error": (200, "XX", None),
    },
    "judge0": {
        "ok": (200, 3, 0), "runtime_error": (200, 11, 3), "signaled": (200, 12, 139), "wall_time": (200, 5, 137),
        "cpu_time": (200, 5, 137), "memory": (200, 12, 137), "output": (200, 8, 137), "security": (200, 12, 159),
        "jail_error": (200, 13, 137),
    },
    "snekbox": {
        "ok": (200, "", 0), "runtime_error": (200, "", 3), "signaled": (200, "", 139), "wall_time": (200, "", 137),
        "cpu_time": (200, "", 137), "memory": (200, "", 137), "output": (200, "", 143), "security": (200, "", 159),
        "jail_error": (500, "", 137),
    },
    "sandboxfusion": {
        "ok": (200, "Finished", 0), "runtime_error": (200, "Finished", 3), "signaled": (200, "Finished", -11),
        "wall_time": (200, "TimeLimitExceeded", -9), "cpu_time": (200, "TimeLimitExceeded", -9),
        "memory": (200, "Finished", -9), "output": (200, "Finished", -9), "security": (200, "Finished", -31),
        "jail_error": (200, "SandboxError", None),
    },
}  # fmt: skip


def test_the_table_has_every_verdict_and_every_face():
    assert set(TABLE) == set(Verdict)
    assert all(set(row) == set(FACES) == set(EXPECTED) for row in TABLE.values())


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("verdict", list(Verdict), ids=str)
def test_each_cell(face, verdict):
    cell, code = told(face, result(verdict))
    assert (cell.http, cell.word, code) == EXPECTED[face][verdict]
