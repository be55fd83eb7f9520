"""What `mypy --strict` says of what the documents show, and of what each door returns."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import pyjail
from pyjail._spec import parameters

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def mypy(directory: Path) -> str:
    pytest.importorskip("mypy", reason="mypy is missing: ./dev lint installs it")
    files = sorted(map(str, directory.glob("*.py")))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *files]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False).stdout


def test_the_snippets_of_the_documents_pass_strict_type_checking(tmp_path):
    for page in PAGES:
        found = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
        snippets = ["".join(found)] if page.name == "README.md" else found  # those go on one from the other
        for number, code in enumerate(snippets):
            (tmp_path / f"{page.stem.replace('-', '_')}_{number}.py").write_text(code)
    assert len(list(tmp_path.glob("*.py"))) > 20
    assert mypy(tmp_path) == ""


DOORS = {
    "pyjail.run({})": "Result[{}]",
    "pyjail.Pool(1).run({})": "Result[{}]",
    "pyjail.Session().run({})": "Result[{}]",
    "pyjail.JailExecutor(1).submit({}).result()": "Result[{}]",
    "await pyjail.aio.run({})": "Result[{}]",
    "await pyjail.aio.Pool(1).run({})": "Result[{}]",
}
ASKED = {
    "['a']": "bytes",
    "['a'], pyjail.Limits(), files={'a': b''}, check=True, capture_output=True": "bytes",
    "['a'], text=True": "str",
    "['a'], text=True, errors='strict', input='x'": "str",
    "['a'], encoding='latin-1'": "str",
    "['a'], stdout=pyjail.DEVNULL": "Any",
    "['a'], stderr=pyjail.STDOUT, text=True": "Any",
    "['a'], universal_newlines=True": "Any",
}
WRONG = ["5", "['a'], nope=1", "['a'], timeout=[5]", "['a'], text='yes'", "['a'], capture_output=False"]


def test_every_door_says_whether_its_output_is_text_and_refuses_what_it_does_not_take(tmp_path):
    calls = [(door.format(asked), kind) for door in DOORS for asked, kind in ASKED.items()]
    wrong = [door.format(given) for door in DOORS for given in WRONG]
    lines = [f"    reveal_type(({call}).stdout)" for call, _ in calls] + [f"    {call}" for call in wrong]
    (tmp_path / "user.py").write_text("import pyjail\nasync def main() -> None:\n" + "\n".join(lines) + "\n")
    said = re.findall(r"user\.py:(\d+): (note: Revealed type is \"(.*)\"|error)", mypy(tmp_path))
    told = {int(line): kind for line, _, kind in said}
    for number, (call, kind) in enumerate(calls, 3):
        assert told.get(number, "no type").removeprefix("builtins.") == kind, call
    for number, call in enumerate(wrong, 3 + len(calls)):
        assert told.get(number) == "", call


def test_fields_have_the_type_that_they_have_when_they_are_made(tmp_path):
    (tmp_path / "user.py").write_text(
        "import pyjail\n"
        "l = pyjail.Limits(memory='64M', cpu_time='2s', cpus={0})\n"
        "x: int | None = l.memory\n"
        "y: float | None = l.cpu_time\n"
        "z: float | frozenset[int] | None = l.cpus\n"
        "def f(r: pyjail.Result) -> pyjail.Result: return r\n"
        "def g() -> pyjail.Result[str]: return pyjail.run(['a'], text=True)\n"
        "f(g()), f(pyjail.run(['a']))\n"
        "with pyjail.start(['a']) as p: pass\n"
        "p.result.usage.cpu_time\n"
        "pyjail.Jail(network='host')\n"
        "pyjail.Jail(seccomp='off')\n"
    )
    said = re.findall(r"user\.py:(\d+): error", mypy(tmp_path))
    assert said == ["11", "12"]


def test_what_type_checkers_are_told_is_what_a_door_takes():
    taken = set(inspect.signature(pyjail.run).parameters) - {"args", "limits", "jail"}
    for kind in (parameters.AsText, parameters.Encoded, parameters.AsBytes, parameters.Options):
        assert set(typing.get_type_hints(kind)) == taken
    for door in (pyjail.aio.run, pyjail.Pool.run, pyjail.aio.Pool.run, pyjail.Session.run):
        assert inspect.get_annotations(door)["options"] == "Unpack[Options]"


def test_a_result_can_be_named_with_its_type_when_it_runs():
    assert typing.get_origin(pyjail.Result[bytes]) is pyjail.Result
    made = inspect.signature(pyjail.Limits).parameters
    assert list(made) == [f.name for f in dataclasses.fields(pyjail.Limits)]
