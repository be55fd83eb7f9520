"""``python -m tests.integrations.serve_boxer.theirs DIRECTORY``: the tests of Boxer's TypeScript SDK, against the real service.

DIRECTORY is a checkout of theonekeyg/boxer: npm has not got the SDK. It stays as it is; in a copy, npm installs what the
tests need, and they are told our URL, at the root and under /boxer. It needs node and npm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.jail.serve.served import served

PACKAGES = ("vitest@^2", "typescript@^5.6", "@types/node@^22")


def main(directory: str) -> int:
    """The exit code of the first that failed."""
    with tempfile.TemporaryDirectory() as temporary, served() as service:
        copy = Path(shutil.copytree(Path(directory, "packages/sdk/typescript"), Path(temporary, "sdk")))
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save", *PACKAGES]
        subprocess.run(install, cwd=copy, check=True)
        ran = [
            subprocess.run(["npx", "vitest", "run"], cwd=copy, env={**os.environ, "BOXER_URL": url}, check=False)
            for url in (service.url, f"{service.url}/boxer")
        ]
        return next((one.returncode for one in ran if one.returncode), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
