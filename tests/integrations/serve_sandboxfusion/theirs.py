"""``python -m tests.integrations.serve_sandboxfusion.theirs DIRECTORY [OPTION...]``: SandboxFusion's own tests of its
runners, against the real service.

DIRECTORY is a checkout of bytedance/SandboxFusion; options are pytest's. It stays as it is: in a copy, the client of its
tests has our URL, and what of its inside they import without using it is nothing. Languages that are not here are left
out, each with why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from pyjail import Jail
from pyjail.serve import Config
from tests.jail.serve.served import PATIENCE, served

LEFT_OUT = {
    "lua": "no runtime", "r": "no runtime", "julia": "no runtime", "racket": "no runtime", "scala": "no runtime",
    "swift": "no runtime", "lean": "no runtime", "verilog": "no runtime", "d_ut": "no runtime", "jest": "packages of Node",
    "junit": "a jar of its image", "cuda": "no GPU", "python_gpu": "no GPU", "jupyter": "another interface of it",
    "isolation": "its own network namespaces",
}  # fmt: skip
CONFTEST = """
import os
import fastapi.testclient
import httpx

def pytest_configure(config):
    config.addinivalue_line("markers", "minor: of a language that few have")

fastapi.testclient.TestClient = lambda app: httpx.Client(base_url=os.environ["SANDBOXFUSION_URL"], timeout=120)
"""
RUNNERS = """
from sandbox.runners.types import *
from sandbox.runners.types import CellRunResult, CodeRunArgs, CodeRunResult, CommandRunResult, CommandRunStatus, Language
from sandbox.runners.types import RunJupyterRequest
CODE_RUNNERS, run_jupyter = {}, None
"""
FILES = {
    "sandbox/tests/conftest.py": CONFTEST, "sandbox/runners/__init__.py": RUNNERS, "sandbox/server/server.py": "app = None\n",
    "structlog.py": "class stdlib:\n    get_logger = staticmethod(lambda: None)\n",
}  # fmt: skip


def main(directory: str, options: list[str]) -> int:
    """The exit code of pytest."""
    with tempfile.TemporaryDirectory() as temporary, served(Config(jail=Jail(python=sys.executable))) as service:
        copy = Path(temporary, "theirs")
        shutil.copytree(Path(directory, "sandbox"), copy / "sandbox")
        for name, text in FILES.items():
            (copy / name).write_text(text)
        httpx.get(f"{service.url}/judge0/languages", timeout=PATIENCE)  # which asks all compilers for their versions
        left_out = [f"--ignore=sandbox/tests/runners/test_{name}.py" for name in LEFT_OUT]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rsf",
            "-p",
            "no:cacheprovider",
            "sandbox/tests/runners",
            "--ignore=sandbox/tests/runners/samples",
        ]
        env = {**os.environ, "SANDBOXFUSION_URL": f"{service.url}/sandboxfusion", "PYTHONPATH": str(copy)}
        return subprocess.run([*command, *left_out, *options], cwd=copy, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
