"""A script that has a disk of four MiB at ``sys.argv[1]``, in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from tests.jail.serve.served import ROOT


def script(directory: Path, source: str) -> None:
    """Run it to its end; AssertionError with what it said, when it fails."""
    mounted = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", mounted, "sh", directory, sys.executable, textwrap.dedent(source)],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
