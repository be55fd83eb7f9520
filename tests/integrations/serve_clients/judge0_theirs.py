"""``python -m tests.integrations.serve_clients.judge0_theirs DIRECTORY``: the tests of Judge0's client, against the real
service.

DIRECTORY is a checkout of judge0/judge0-python. It stays as it is: in a copy, the client of its tests has our URL, and
there is no other, so nothing is asked of services elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from tests.integrations import environments
from tests.jail.serve.served import PATIENCE, served

CONFTEST = """
import os
import pytest
from judge0.clients import Client

@pytest.fixture(scope="session")
def ce_client():
    return Client(os.environ["JUDGE0_URL"], {})
"""
TESTS = ("submission", "api_test_cases")  # the others: hosted services, and which of them is taken


def main(directory: str) -> int:
    """The exit code of pytest."""
    python = environments.python("serve_clients")
    with tempfile.TemporaryDirectory() as temporary, served() as service:
        copy = Path(shutil.copytree(Path(directory, "tests"), Path(temporary, "tests")))
        (copy / "conftest.py").write_text(CONFTEST)
        httpx.get(f"{service.url}/judge0/languages", timeout=PATIENCE)
        files = [str(copy / f"test_{name}.py") for name in TESTS]
        command = [str(python), "-m", "pytest", "-q", "-rsf", "-p", "no:cacheprovider", *files]
        env = {**os.environ, "JUDGE0_URL": f"{service.url}/judge0"}
        return subprocess.run(command, cwd=copy, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
