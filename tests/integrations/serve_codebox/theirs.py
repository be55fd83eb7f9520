"""``python -m tests.integrations.serve_codebox.theirs DIRECTORY``: Codebox's own tests, against the real service.

DIRECTORY is a checkout of andredias/codebox, which no package index has. It stays as it is: a copy gets a conftest.py
whose client has our URL. What it needs: flaky, httpx, loguru, pydantic, pytest-asyncio, python-dotenv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.jail.serve.served import served

CONFTEST = """
import os
from httpx import AsyncClient
from pytest import fixture

@fixture
async def client():
    async with AsyncClient(base_url=os.environ["CODEBOX_URL"], timeout=60) as client:
        yield client
"""
TESTS = ("python", "bash", "rust", "sqlite3", "main", "multiple_async_calls", "models", "utils")  # the other: its log


def main(directory: str) -> int:
    """The exit code of pytest."""
    with tempfile.TemporaryDirectory() as temporary, served() as service:
        copy = Path(shutil.copytree(directory, Path(temporary, "codebox"), ignore=shutil.ignore_patterns(".git")))
        (copy / "tests/conftest.py").write_text(CONFTEST)
        files = [f"tests/test_{name}.py" for name in TESTS]
        command = [sys.executable, "-m", "pytest", "-rsf", "--no-flaky-report", "-o", "asyncio_mode=auto", *files]
        return subprocess.run(command, cwd=copy, env={**os.environ, "CODEBOX_URL": service.url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
