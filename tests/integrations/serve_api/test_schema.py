"""What Schemathesis makes of ``/v1/openapi.json``: requests within the schema and beside it, and no answer that it does not tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.jail.serve.typed import PATIENCE, serving

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection",
)  # fmt: skip
QUICK = ("limits.wall_time=1", "limits.cpu_time=1", "serve.maxima.wall_time=1", "serve.maxima.cpu_time=1")
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = ["400", "404", "409", "413", "415", "422"]

[[operations]]
include-path-regex = "^/v1/boxes/"
parameters = {{ "path.id" = "{box}" }}

[[operations]]
include-path-regex = "^/v1/sessions/"
parameters = {{ "path.id" = "{session}" }}

[[operations]]
include-name = "DELETE /v1/boxes/{{id}}"
enabled = false

[[operations]]
include-name = "DELETE /v1/sessions/{{id}}"
enabled = false
"""


def opened(url: str, kind: str) -> str:
    request = urllib.request.Request(f"{url}/v1/{kind}", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return str(json.load(answer)["id"])


@pytest.mark.timeout(600)
def test_every_answer_is_one_that_the_schema_tells(tmp_path: Path):
    options = [word for value in QUICK for word in ("--set", value)]
    with serving(*options, log=tmp_path / "log") as (process, url):
        config = tmp_path / "schemathesis.toml"
        config.write_text(CONFIG.format(box=opened(url, "boxes"), session=opened(url, "sessions")))
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "--config-file", config, "run", f"{url}/v1/openapi.json",
                "--include-path-regex", "^/v1/", "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing",
                "--max-examples", "10", "--request-timeout", "30", "--seed", "1", "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert process.poll() is None
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", done.stdout)
    assert found and int(found[1]) == int(found[2]) - 2 == int(found[3]) > 40, done.stdout[-2000:]
