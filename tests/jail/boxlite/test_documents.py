"""What BoxLite's pages show runs as it stands, but for the import, whatever code it is given."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import pyjail
import pyjail.testing
from pyjail import boxlite
from tests import place
from tests.conftest import SLOW
from tests.jail.boxlite import documents
from tests.jail.boxlite.conftest import run

pytestmark = [
    pytest.mark.needs_cgroups,
    pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE),  # the pages' own times are those of a real machine
    pytest.mark.filterwarnings("ignore::pyjail.boxlite.ImageWarning"),  # another Python than 3.12, say
]
SECRET = "hunter2-of-the-embedder"
FORKS = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
FORKS_AND_ENDS = "import os\nfor _ in range(12):\n    try: os.fork()\n    except OSError: pass\n"
MEMORY = "x = []\nwhile True: x.append(bytearray(1 << 20))\n"
DISK = "f = open('/tmp/f', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()\n"
LOOP = "while True: pass\n"
SECRETS = """
import os, glob
seen = repr(dict(os.environ))
for path in glob.glob("/proc/[0-9]*/environ") + ["/etc/shadow", "{own}", "/root/.ssh/id_rsa", "/proc/1/environ"]:
    try: seen += open(path, errors="replace").read()
    except OSError as e: seen += f"{{path}}: {{e.strerror}}"
print(seen)
"""
NETWORK = """
import socket
try: print(socket.create_connection(("1.1.1.1", 53), 3))
except OSError as e: print("refused:", e.strerror)
"""


@pytest.fixture(autouse=True)
def as_it_is_imported_there(default, monkeypatch):
    monkeypatch.setitem(sys.modules, "boxlite", boxlite)


@pytest.fixture(autouse=True)
def nothing_is_left():
    with pyjail.testing.nothing_left():
        yield


def test_the_documents_have_no_other_code():
    for name, excerpts in documents.EXCERPTS.items():
        documents.taken(name, excerpts)


def judge(code: str, language: str = "python") -> dict[str, Any]:
    """The page's function, with the page's images."""
    names: dict[str, Any] = {"asyncio": asyncio}
    exec(documents.IMAGES + documents.JUDGE, names)
    names["get_image"] = names["LANGUAGE_IMAGES"].__getitem__
    return run(names["run_user_code"](code, language))


def asked(snippet: str, given: str, **names: Any) -> Any:
    """The page's snippet in a coroutine that has ``given`` as a variable: what it returns, or its ``result``."""
    code = textwrap.indent(documents.reindented(snippet), "    ")
    scope: dict[str, Any] = {"boxlite": boxlite}
    exec(f"async def main({given}):\n{code}\n    return result\n", scope)
    return run(scope["main"](**names))


def test_an_online_judge():
    assert judge("print(input.__name__)") == {"success": True, "output": "input\n", "error": ""}
    failed = judge("print(1, flush=True); raise SystemExit('no')")
    assert failed == {"success": False, "output": "1\n", "error": "no\n"}


PROGRAMS = {
    "python": "python -c 'print(6 * 7)'",
    "javascript": "node -e 'console.log(6 * 7)'",
    "rust": "echo 'fn main() { println!(\"{}\", 6 * 7); }' > a.rs; rustc a.rs && ./a",
    "go": "printf 'package main\\nfunc main() { println(6 * 7) }\\n' > a.go; GOCACHE=/tmp/go GO111MODULE=off go run a.go 2>&1",
    "java": "echo 'class A { public static void main(String[] a) { System.out.println(6 * 7); } }' > A.java; javac A.java && java A",
    "cpp": "printf '#include <cstdio>\\nint main() { std::printf(\"%%d\", 6 * 7); }' > a.cpp; g++ a.cpp && ./a.out",
}


def test_each_language_of_the_page_has_a_box_or_a_clear_refusal():
    names: dict[str, Any] = {}
    exec(documents.IMAGES, names)
    assert names["LANGUAGE_IMAGES"].keys() == PROGRAMS.keys()

    async def main(language: str, image: str) -> boxlite.ExecResult:
        async with boxlite.SimpleBox(image=image, memory_mb=2048, cpus=2) as box:
            return await box.exec("sh", "-c", PROGRAMS[language])

    for language, image in names["LANGUAGE_IMAGES"].items():
        try:
            result = run(main(language, image))
        except boxlite.NotFoundError as e:
            assert image in str(e) and "apt-get install" in str(e)
        else:
            assert (result.exit_code, result.stdout.strip()) == (0, "42"), (language, result)


@pytest.mark.parametrize("code", [LOOP, FORKS], ids=["infinite loop", "fork bomb"])
def test_an_online_judge_of_what_never_ends(code):
    assert judge(code) == {"success": False, "error": "Execution timed out"}


def test_an_online_judge_of_a_shell_s_fork_bomb():
    answer = judge(f"import subprocess; print(subprocess.run(['bash', '-c', {documents.BOMB!r}]).returncode)")
    assert answer["success"] or answer["error"] == "Execution timed out"  # it has ended, or it is still at it


def test_a_box_outlives_a_fork_bomb_in_its_background():
    async def main() -> None:
        async with boxlite.SimpleBox(image="python:slim", memory_mb=256) as box:
            assert (await box.exec("bash", "-c", documents.BOMB)).exit_code == 0
            assert (await box.exec("echo", "still there")).stdout == "still there\n"
            await box.jail.kill()
            assert await box.jail.processes() == []

    run(main())


def test_an_online_judge_of_what_takes_all_memory_or_disk():
    with pytest.raises(boxlite.ResourceError, match="memory"):
        judge(MEMORY)
    answer = judge(DISK)
    assert not answer["success"] and "No space left on device" in answer["error"]


def test_an_online_judge_of_a_thief(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_KEY", SECRET)
    own = tmp_path / "key"
    own.write_text(SECRET)
    answer = judge(SECRETS.format(own=own))
    assert answer["success"] and SECRET not in answer["output"]
    assert "/etc/shadow: " in answer["output"]
    assert judge(NETWORK)["output"].startswith("refused: ")


def test_an_agent_s_example(capsys):
    exec(compile(documents.reindented(documents.AGENT), "002", "exec"), {})
    assert capsys.readouterr().out == "Running in isolated environment\nCannot access host: True\n\n"


def test_a_box_with_limits():
    assert asked(documents.LIMITED, "code", code="print(6 * 7)").stdout == "42\n"
    assert asked(documents.LIMITED, "code", code="raise SystemExit(3)").exit_code == 3
    with pytest.raises(boxlite.ResourceError):
        asked(documents.LIMITED, "code", code=MEMORY)


def test_what_is_caught():
    def caught(code: str) -> str:
        return asked(documents.CAUGHT, "untrusted_code", untrusted_code=code)

    assert caught("print('hello')") == "hello\n"
    assert caught("1 / 0").endswith("ZeroDivisionError: division by zero\n")
    assert caught(MEMORY) == "Resource limit exceeded"
    assert caught("while True: print('x' * 99999)") == "Resource limit exceeded"
    assert caught(FORKS_AND_ENDS) == ""
    assert "No space left" in caught(DISK)


@pytest.mark.parametrize("code", [LOOP, FORKS], ids=["infinite loop", "fork bomb"])
def test_what_never_ends_is_caught(default, code):
    default(timeout_seconds=2)
    assert asked(documents.CAUGHT, "untrusted_code", untrusted_code=code) == "Execution timed out"


def test_the_embedder_s_own_files_are_where_they_were():
    before = sorted(os.listdir(Path.home()))
    assert (
        asked(documents.CAUGHT, "untrusted_code", untrusted_code="import os; os.system('rm -rf / 2>/dev/null')") == ""
    )
    assert sorted(os.listdir(Path.home())) == before
