"""What a user's own strict type checker says about the public names."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail

ROOT = Path(__file__).resolve().parents[2]


def test_public_names_under_mypy_strict(tmp_path):
    pytest.importorskip("mypy", reason="mypy is missing: ./dev lint installs it")
    user = tmp_path / "user.py"
    user.write_text(
        "import pyjail\n"
        "from pyjail import Jail, Limits, Mount, Verdict\n"
        "r = pyjail.run(['true'], Limits(memory='64M'), jail=Jail(mounts=(Mount.bind('/usr', '/u'),)))\n"
        "reveal_type(r.verdict)\n"
        "reveal_type(r.usage.cpu_time)\n"
        "reveal_type(r.receipt['memory'].status)\n"
        "ok: bool = r.ok\n"
        "reveal_type(pyjail.lint('none')[0].why)\n"
        "reveal_type(pyjail.learn(['true']).policy.rules[0])\n"
        "pyjail.run('true')  # a shell string\n"
        "pyjail.run(['true'], timeout=[5])\n"
        "Verdict.NOPE\n"
        "async def main() -> None:\n"
        "    reveal_type(await pyjail.aio.run(['true']))\n"
        "    async with pyjail.aio.Pool(2) as apool:\n"
        "        reveal_type(await apool.map([['true']]))\n"
        "    async with await pyjail.aio.start(['true']) as p:\n"
        "        reveal_type(await p.wait())\n"
        "with pyjail.Pool(2) as pool, pyjail.JailExecutor(2) as executor:\n"
        "    reveal_type(pool.run(['true']).ok)\n"
        "    reveal_type(next(pool.map([['true'], {'args': ['true'], 'input': b''}])).ok)\n"
        "    reveal_type(executor.submit(['true'], input=b'x').result().ok)\n"
        "reveal_type(pyjail.judge_source('c', '', [('1', '2'), pyjail.Test('3')]).results[0].verdict)\n"
        "reveal_type(pyjail.languages.load('x.toml')['c'].package)\n"
        "reveal_type(pyjail.interact(pyjail.Party(['true']), ['true']).results['a'])\n"
        "reveal_type(pyjail.interact(['true'], ['true'], edges=[('a.stdout', 'b.stdin')]).first)\n"
    )
    out = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(user)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    lines = [line.partition("user.py:")[2] for line in out.stdout.splitlines() if "user.py:" in line]
    assert any(line.startswith("4: note") and "Verdict" in line for line in lines), out.stdout
    assert any(line.startswith("5: note") and "float | None" in line for line in lines)
    assert any(line.startswith("6: note") and "str" in line for line in lines)
    assert any(line.startswith("8: note") and "str" in line for line in lines)
    assert any(line.startswith("9: note") and "SeccompRule" in line for line in lines)
    kinds = {
        "14": "Result", "16": "list", "18": "int", "20": "bool", "21": "bool", "22": "bool", "23": "JudgeVerdict",
        "24": "str", "25": "Result", "26": "Happening",
    }  # fmt: skip
    for number, kind in kinds.items():
        assert any(line.startswith(f"{number}: note") and kind in line for line in lines), (number, out.stdout)
    errors = {line.split(":")[0] for line in lines if "error" in line}
    assert errors <= {"10", "11", "12"}, lines
    assert {"11", "12"} <= errors


def docstrings():
    """(module, name in it, docstring) of all that have examples, read from the source: doctest's own finder leaves out
    methods of classes that are exported under another module's name. Those of other frameworks are run where these are."""
    src = ROOT / "src" / "pyjail"
    for path in sorted(src.rglob("*.py")):
        module = ".".join(("pyjail", *path.relative_to(src).with_suffix("").parts)).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if (
                    text and ">>> " in text and module != "pyjail.cgroup" and ".integrations" not in module
                ):  # the first would move us
                    yield module, getattr(node, "name", ""), text


@pytest.mark.parametrize(("module", "name", "text"), [*docstrings()], ids=lambda v: "" if "\n" in v else v)
def test_docstrings_run(module, name, text):
    names = {n: getattr(pyjail, n) for n in pyjail.__all__} | vars(importlib.import_module(module))
    shown = []
    example = doctest.DocTestParser().get_doctest(text, names, f"{module}.{name}", None, 0)
    doctest.DocTestRunner(verbose=False).run(example, out=shown.append)
    assert not shown, "".join(shown)
