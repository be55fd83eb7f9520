"""The examples of Codebox's page, each as it stands there but for its 0.1 s, on a machine that others use, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from pyjail import Jail
from pyjail.serve import Config
from tests.jail.serve.served import PATIENCE, Served, served

ECHO = "import sys\n\nfor line in sys.stdin.readlines():\n    sys.stdout.write(line)\n"
TESTED = {
    "main.py": "def double(x: int) -> int:\n    return 2 * x\n",
    "test_main.py": "from main import double\n\ndef test_double() -> None:\n    assert double(2) == 4\n",
}  # fmt: skip
LONG = 30  # seconds


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    settings = {"limits": {"memory": "256M"}}  # of pytest in a cold cache
    with served(Config(jail=Jail(python=sys.executable), faces={"codebox": settings})) as found:
        yield found


def execute(service: Served, sources: dict[str, str], *commands: dict[str, Any]) -> list[dict[str, Any]]:
    body = {"sources": sources, "commands": list(commands)}
    answer = httpx.post(f"{service.url}/execute", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_hello_world(service):
    (told,) = execute(
        service, {"hello.py": "print('Hello World!')"}, {"command": "/venv/bin/python hello.py", "timeout": LONG}
    )
    assert (told["stdout"], told["exit_code"]) == ("Hello World!\n", 0)


def test_reading_from_stdin(service):
    sources = {"app/__init__.py": "", "app/main.py": ECHO}
    (told,) = execute(
        service, sources, {"command": "/venv/bin/python app/main.py", "timeout": LONG, "stdin": "1\n2\n3"}
    )
    assert (told["stdout"], told["exit_code"]) == ("1\n2\n3", 0)


def test_sleep(service):
    (told,) = execute(service, {}, {"command": "/bin/sleep 1", "timeout": 0.1})
    assert (told["stderr"], told["exit_code"]) == ("Timeout Error. Exceeded 0.1s", -1)


def test_available_packages(service):
    (told,) = execute(service, {}, {"command": "/venv/bin/pip freeze", "timeout": LONG})
    assert told["exit_code"] == 0, told
    assert "fastapi==" in told["stdout"]


def test_rust(service):
    code = 'fn main() {\n    println!("Hello World!");\n}\n'
    compiler, program = execute(
        service, {"code.rs": code}, {"command": "/usr/local/cargo/bin/rustc code.rs", "timeout": LONG},
        {"command": "./code", "timeout": LONG},
    )  # fmt: skip
    assert (compiler["exit_code"], program["stdout"]) == (0, "Hello World!\n"), compiler


def test_unit_test(service):
    (told,) = execute(service, TESTED, {"command": "/venv/bin/pytest", "timeout": LONG})
    assert told["exit_code"] == 0, told
    assert "1 passed" in told["stdout"]
