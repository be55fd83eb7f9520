"""``python -m tests.integrations.serve_snekbox.theirs DIRECTORY [OPTION...]``: snekbox's own tests, against the real service.

DIRECTORY is a checkout of python-discord/snekbox, which no package index has; options are pytest's. It stays as it is:
in a copy, what starts nsjail in the process of the test is replaced by what asks our URL. Where its tests replace nsjail
by something that always writes "output", so is Python in the jail of a second service. Tests of what is no part of its
interface are left out, each with why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pyjail import Jail, Mount
from pyjail.serve import Config
from tests.jail.serve.served import served

LEFT_OUT = {
    "log_parser": "its own log", "timeout_returns_137": "its own log", "nsjail_args": "nsjail's command line",
    "NsJailArgsTests": "nsjail's command line", "py_args": "nsjail's command line",
    "large_output_is_truncated": "a part of its inside", "alternate_executable": "Pythons of its image",
    "gil_status": "Pythons of its image", "jit_status": "Pythons of its image", "numpy": "packages of its image",
}  # fmt: skip
SIZE = 2 << 20  # of /home, as its tests have it
API = """
import os, unittest
import httpx

class Answer:
    def __init__(self, answer):
        self.status_code, self.headers = answer.status_code, answer.headers
        self.json = answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else None

class SnekAPITestCase(unittest.TestCase):
    def ask(self, method, path, json=None, body=None, headers=None):
        given = {"json": json} if json is not None else {"content": body} if body is not None else {}
        with httpx.Client(base_url=os.environ["SNEKBOX_MOCKED_URL"], timeout=60) as client:
            return Answer(client.request(method, path, headers=headers, **given))
    def simulate_post(self, path, **given):
        return self.ask("POST", path, **given)
    def simulate_get(self, path):
        return self.ask("GET", path)
    def simulate_options(self, path):
        return self.ask("OPTIONS", path)
"""
NSJAIL = """
import os, types, unittest
from base64 import b64decode
import httpx
from snekbox.result import EvalResult
from snekbox.snekio import FileAttachment

DEFAULT_EXECUTABLE_PATH = "/snekbin/python/default/bin/python"
DEBUG = False
SIZE = int(os.environ["SNEKBOX_SIZE"])

class NsJail:
    def __init__(self, *args, memfs_instance_size=SIZE, files_timeout=5, **given):
        self.memfs_instance_size, self.files_timeout, self.read_chunk_size, self.max_output_size = (
            memfs_instance_size, files_timeout, 10_000, 1_000_000)
        self.config = types.SimpleNamespace(cgroup_mem_max=73400320, cgroup_pids_max=15)
    def python3(self, py_args, files=(), nsjail_args=(), executable_path=DEFAULT_EXECUTABLE_PATH):
        if nsjail_args or self.memfs_instance_size != SIZE or self.files_timeout != 5:
            raise unittest.SkipTest("what is no part of a request: nsjail's arguments, sizes and times of its own")
        body = {"args": list(py_args), "files": [file.as_dict for file in files]}
        said = httpx.post(os.environ["SNEKBOX_URL"] + "/eval", json=body, timeout=60).json()
        files = [FileAttachment(file["path"], b64decode(file["content"])) for file in said["files"]]
        return EvalResult([], said["returncode"], said["stdout"], None, files)
"""
SERVER = """
import contextlib, os, urllib.request

class Request(urllib.request.Request):
    def __init__(self, url, *args, **given):
        super().__init__(url.replace("http://localhost:8060", os.environ["SNEKBOX_URL"]), *args, **given)

urllib.request.Request = Request

@contextlib.contextmanager
def run_gunicorn(*args, **given):
    yield
"""
FILES = {
    "snekbox/__init__.py": "", "snekbox/nsjail.py": NSJAIL, "tests/api/__init__.py": API,
    "tests/gunicorn_utils.py": SERVER,
}  # fmt: skip
TESTS = ("tests/api/test_eval.py", "tests/test_integration.py", "tests/test_nsjail.py")


def main(directory: str, options: list[str]) -> int:
    """The exit code of pytest."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(shutil.copytree(directory, Path(temporary, "snekbox"), ignore=shutil.ignore_patterns(".git")))
        for name, text in FILES.items():
            (copy / name).write_text(text)
        stand_in = Path(temporary, "bin", "python3")
        stand_in.parent.mkdir()
        stand_in.write_text("#!/bin/sh\nprintf output\n")
        stand_in.chmod(0o755)
        path = "/stand-in:/usr/bin:/bin"
        mocked = Config(jail=Jail(env={"PATH": path}, mounts=(Mount.bind(str(stand_in.parent), "/stand-in"),)))
        names = {"/snekbin/python/default/bin/python": "/usr/bin/python3"}
        real = Config(faces={"snekbox": {"executables": names, "limits": {"disk": SIZE}}})
        with served(real) as service, served(mocked) as other:
            env = {
                "SNEKBOX_URL": f"{service.url}/snekbox", "SNEKBOX_MOCKED_URL": f"{other.url}/snekbox",
                "SNEKBOX_SIZE": str(SIZE),
            }  # fmt: skip
            left_out = " and ".join(f"not {name}" for name in LEFT_OUT)
            command = [sys.executable, "-m", "pytest", "-q", "-rsf", "-k", left_out, *TESTS, *options]
            return subprocess.run(command, cwd=copy, env={**os.environ, **env}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
