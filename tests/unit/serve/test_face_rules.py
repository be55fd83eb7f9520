"""Faces are pure translations: what they import says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pyjail

FACES = sorted((Path(pyjail.__file__).parent / "serve" / "faces").glob("*.py"))
ALLOWED = {
    "pyjail", "pyjail.serve.config", "pyjail.serve.face", "pyjail.serve.job", "pyjail.serve.problem",
}  # fmt: skip
NEVER = {"fastapi", "starlette", "uvicorn", "subprocess", "socket", "sqlite3", "pathlib", "shutil", "tempfile", "http"}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.stem)
def test_a_face_imports_no_engine_and_no_web_framework(path):
    names = imported(path)
    ours = {name for name in names if name.partition(".")[0] == "pyjail" and not name.startswith("pyjail.serve.faces")}
    assert ours <= ALLOWED
    assert {name.partition(".")[0] for name in names} & NEVER == set()
    assert len(path.read_text().splitlines()) < 300
