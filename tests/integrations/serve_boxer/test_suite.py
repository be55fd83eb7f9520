"""boxer-sdk's own tests, from its source distribution, unchanged but for the URL, against the real service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from boxer import BoxerAPIError, BoxerClient, BoxerOutputLimitError, BoxerTimeoutError, ResourceLimits

from tests.jail.serve.served import Served, served

SDK = "boxer-sdk==0.1.0"
# Their tests import it, and the archive has none. With it nothing can be skipped.
CONFTEST = """
import os
import pytest
needs_server = pytest.mark.usefixtures("boxer_url")
@pytest.fixture
def boxer_url():
    return os.environ["BOXER_URL"]
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("sdk")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(place), SDK]
    subprocess.run(pip, check=True, timeout=300)
    (archive,) = place.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(place, filter="data")
    (tests,) = place.glob("*/tests")
    (tests / "conftest.py").write_text(CONFTEST)
    return tests


@pytest.mark.parametrize("prefix", ["", "/boxer"])
def test_all_of_their_tests_pass(service, theirs, prefix):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", str(theirs)]
    env = {**os.environ, "BOXER_URL": service.url + prefix}
    ran = subprocess.run(command, cwd=theirs, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert re.search(r"^16 passed(?:, \d+ warnings?)? in", ran.stdout, re.M), ran.stdout + ran.stderr


def test_the_client_raises_what_it_has_for_each_end(service):
    with BoxerClient(base_url=service.url) as client:
        loop = ["python3", "-c", "while True: print('y' * 10000)"]
        with pytest.raises(BoxerOutputLimitError):
            client.run(image="python:3.12-slim", cmd=loop)
        with pytest.raises(BoxerTimeoutError):
            client.run(image="python:3.12-slim", cmd=["sleep", "9"], limits=ResourceLimits(wall_clock_secs=1))
        with pytest.raises(BoxerAPIError, match="unknown image: nope"):
            client.run(image="nope", cmd=["true"])
