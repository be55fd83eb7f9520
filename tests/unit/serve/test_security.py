"""The table of docs/serve-security.md is true: its tests are there, and what it says of the whole service holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pyjail.serve import protocol
from pyjail.serve.config import Edge

ROOT = Path(__file__).resolve().parents[3]
SERVE = ROOT / "src/pyjail/serve"
PAGE = (ROOT / "docs/serve-security.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.partition("## Risks")[2].splitlines() if line.startswith("| ")][
    1:
]
READERS = {"zipfile", "tarfile", "bz2", "lzma", "zlib", "pickle", "shelve", "marshal", "dill", "yaml", "xml"}


def test_there_are_rows():
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_risk_has_a_control_and_tests_that_are_there(row: list[str]):
    _, held, tests = row
    assert held
    file = ""
    named = re.findall(r"`([\w/]+\.py)?::(test_\w+)`", tests)
    assert named and len(named) == tests.count("`") // 2
    for path, test in named:
        file = path or file
        assert re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / file).read_text(), re.M), (file, test)


def test_the_service_opens_no_archive_and_reads_no_pickle():
    found = set()
    for path in SERVE.rglob("*.py"):
        if path.parent.name == "inside":  # what is sent into jails; that nothing else imports it is seen below
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {(path.name, name) for name in names if name.split(".")[0] in READERS or "inside" in name}
    assert found == set()
    assert "decompress" not in "".join(path.read_text() for path in SERVE.rglob("*.py"))


def test_websockets_are_neither_compressed_nor_long():
    options = protocol.options(Edge())
    assert options["ws_per_message_deflate"] is False
    assert options["ws_max_size"] == 256 << 10
    assert options["proxy_headers"] is options["server_header"] is options["access_log"] is False
