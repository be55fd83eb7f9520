"""What a user's own strict type checker says about the public names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
        "pyjail.run(['true'], timeout='5')\n"
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


def test_docstrings_run():
    import doctest

    import pyjail
    from pyjail import (
        _areader,
        _astart,
        _awriter,
        _doctor,
        _errors,
        _executor,
        _interact,
        _learn,
        _parties,
        _pool,
        _process,
        _result,
        _run,
        _seccomp_spec,
        _session,
        _spec,
        _units,
        aio,
    )
    from pyjail._doctor import finding
    from pyjail._selftest import runner
    from pyjail.languages import _check, _judge, _language, _program, _table, _test, _tools, _values
    from pyjail.policy import cores, lint

    modules = (
        pyjail, _areader, _astart, _awriter, _doctor, finding, _errors, _executor, _interact, _learn, _parties, _pool, _process,
        _result, _run, _seccomp_spec, _session, _spec, _units, aio, cores, lint, runner, pyjail.languages, _check, _judge,
        _language, _program, _table, _test, _tools, _values,
    )  # fmt: skip
    for module in modules:
        result = doctest.testmod(module, extraglobs={n: getattr(pyjail, n) for n in pyjail.__all__})
        assert result.failed == 0, module
