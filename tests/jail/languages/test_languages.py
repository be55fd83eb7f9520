"""Each language for real: compiled and run in jails, with the verdicts that its programs deserve."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import Limits, Test, languages
from tests import place
from tests.jail.cli.test_cli import cli
from tests.jail.languages.judging import compilers, judge, needed, verdicts
from tests.scripts import script

ROOT = Path(__file__).resolve().parents[3]


# ---- each language ----

SLOWEST = ("kotlin", "typescript")  # to compile: half of the time of all; ./dev test --all


@compilers
@pytest.mark.needs_cgroups
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOWEST else ()) for n in languages.table()]
)
def test_the_check_of_each_language(name):
    """hello, stdin, an exception, memory, threads, the CPUs that it counts: each gets the right verdict."""
    language = needed(name)
    assert re.fullmatch(r"\d+(\.\d+)+", languages.version(language))
    rows = languages.check(language)
    assert len(rows) == 6
    assert [(row.name, row.verdict.value, row.detail) for row in rows if not row.ok] == []


LEAST = {
    "java": 'public class Small { public static void main(String[] a) { System.out.println("x"); } }',
    "javascript": "console.log('x')",
    "go": 'package main\nimport "fmt"\nfunc main() { fmt.Println("x") }',
    "csharp": 'class P { static void Main() { System.Console.WriteLine("x"); } }',
}


@compilers
@pytest.mark.parametrize("name", LEAST)
def test_limits_below_what_a_runtime_starts_with_are_raised(name):
    needed(name)
    judged = judge(LEAST[name], [("", "x")], Limits(memory="4M" if name != "go" else "32M", processes=1), language=name)
    assert verdicts(judged) == ["ok"], judged.results[0].result
    assert judged.results[0].result.limits.processes >= 32


DEEP = {
    "java": "class Main { static int f(int n) { return f(n + 1) + 1; } public static void main(String[] a) { f(0); } }",
    "javascript": "function f(n) { return f(n + 1) + 1 }\nf(0)",
}


@compilers
@pytest.mark.parametrize("name", DEEP)
def test_endless_recursion_is_the_runtimes_own_error(name):
    needed(name)
    assert verdicts(judge(DEEP[name], [("", None)], language=name)) == ["runtime_error"]


# ---- CPUs ----

COUNT = "import os; print(os.cpu_count(), len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])"


@pytest.mark.needs_cgroups
def test_as_many_cpus_are_seen_as_there_are():
    there = len(os.sched_getaffinity(0))
    judged = judge(
        COUNT,
        [Test("", "1 1 1", limits=Limits(cpus=1)), Test("", f"{there} {there} {there}", limits=Limits(cpus=None))],
    )
    assert verdicts(judged) == ["ok", "ok"], [row.result.stdout for row in judged.results]
    row = judged.results[0].result.receipt["cpus"]
    assert (row.status, row.enforced_by) == ("enforced", "cpuset.cpus")


@pytest.mark.needs_cgroups
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason=f"one CPU: {place.ELSEWHERE}")
def test_runs_at_once_get_different_cpus():
    source = "import os, time; print(*os.sched_getaffinity(0)); time.sleep(0.3)"
    judged = judge(source, [("", None)] * 2, Limits(cpus=1), workers=2)
    assert judged.results[0].result.stdout != judged.results[1].result.stdout


def test_a_share_of_a_cpu_stays_a_share():
    judged = judge("", [("", "")], Limits(cpus=0.5))
    assert judged.results[0].result.limits.cpus == 0.5


# ---- the command line ----


def test_run_with_a_language(tmp_path):
    (tmp_path / "x.py").write_text("import sys; print(sys.argv[1], input()); sys.exit(3)")
    out = cli("run", "--language", "python", str(tmp_path / "x.py"), "arg", input="in\n")
    assert (out.returncode, out.stdout, out.stderr) == (3, "arg in\n", "")
    out = cli("run", "--language", "pyhton", str(tmp_path / "x.py"), stdin=subprocess.DEVNULL)
    assert (out.returncode, "did you mean 'python'" in out.stderr) == (125, True)
    out = cli("run", "--language", "python", str(tmp_path / "none.py"), stdin=subprocess.DEVNULL)
    assert (out.returncode, "none.py" in out.stderr) == (125, True)
    out = cli("run", "--language", "python", "--cwd", "/tmp", str(tmp_path / "x.py"), stdin=subprocess.DEVNULL)
    assert (out.returncode, "cwd" in out.stderr) == (125, True)


@compilers
def test_run_with_a_compiler(tmp_path):
    (tmp_path / "x.cpp").write_text(
        "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }"
    )
    out = cli("run", "--language", "cpp", "--json", str(tmp_path / "x.cpp"), input="3 4")
    assert pyjail.Result.from_dict(json.loads(out.stdout)).stdout == b"7"
    (tmp_path / "x.cpp").write_text("int main() { return undeclared; }")
    out = cli("run", "--language", "cpp", str(tmp_path / "x.cpp"), stdin=subprocess.DEVNULL)
    assert (out.returncode, out.stdout) == (1, "")
    assert "undeclared" in out.stderr
    assert out.stderr.endswith("pyjail: compile_error: main.cpp did not compile\n")


def test_a_config_file_with_a_language(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[limits]\nopen_files = 50\n[jail]\nhostname = "there"\n'
        '[languages.shell]\nrun = ["sh", "{source}"]\nsource = "a.sh"\ntools = { sh = "-c" }\n'
    )
    (tmp_path / "x").write_text("uname -n; ulimit -n")
    config = ("--config", str(tmp_path / "c.toml"))
    out = cli("run", *config, "--language", "shell", str(tmp_path / "x"), stdin=subprocess.DEVNULL)
    assert out.stdout == "there\n50\n", out.stderr
    if place.CGROUPS:  # a jail of a file is strict
        assert "shell" in cli("languages", *config, "shell").stdout


@pytest.mark.needs_cgroups
def test_the_list_of_languages(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[languages.gone]\nrun = ["gonec"]\nsource = "a"\ntools = { gonec = "-v" }\npackage = "gone-compiler"\n'
        '[languages.bad]\nrun = ["sh", "{source}"]\nsource = "a"\ntools = { sh = "-c" }\ncheck = "bad.sh"\n'
    )
    (tmp_path / "bad.sh").write_text("echo this is wrong >&2; exit 1")
    config = ("--config", str(tmp_path / "c.toml"))
    rows = json.loads(cli("languages", "--json", "bash", *config).stdout)["rows"]
    assert [(row["name"], row["package"], row["checks"]) for row in rows] == [("bash", "bash", [])]
    out = cli("languages", "gone", *config)
    assert (out.returncode, out.stdout.split()) == (1, ["gone", "missing", "apt-get", "install", "gone-compiler"])
    out = cli("languages", "--check", ".sh", *config)
    assert (out.returncode, out.stdout.count(" ok"), out.stderr) == (0, 6, ""), out.stdout
    out = cli("languages", "--check", "bad", *config)
    assert out.returncode == 1
    assert "hello: runtime_error instead of ok: this is wrong" in out.stdout
    out = cli("languages", "bahs")
    assert (out.returncode, "did you mean 'bash'" in out.stderr) == (125, True)


# ---- documents and examples ----


@compilers
@pytest.mark.needs_cgroups
def test_the_snippets_of_the_page_run(tmp_path):
    text = (ROOT / "docs/languages.md").read_text()
    (tmp_path / "mine.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1])
    snippets = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(snippets) >= 3
    for code in snippets:
        out = script(code, cwd=tmp_path)
        assert (out.returncode, out.stderr) == (0, ""), code


@compilers
@pytest.mark.needs_cgroups
def test_the_example_judges():
    out = subprocess.run([sys.executable, ROOT / "examples/judge.py"], capture_output=True, text=True, check=True)
    told = {line.split()[0]: line.split()[1:] for line in out.stdout.splitlines() if not line.startswith(" ")}
    assert told["python"] == told["c"] == told["cpp"] == ["ok", "100%"]
    assert (told["bash"], told["perl"]) == (["wrong_answer", "50%"], ["memory", "0%"])


def test_the_example_judges_files(tmp_path):
    (tmp_path / "a.py").write_text("print(int(input()) ** 2)")
    for n in (2, 3):
        (tmp_path / f"{n}.in").write_text(f"{n}\n")
        (tmp_path / f"{n}.out").write_text(f"{n * n}\n")
    out = script(
        f"import runpy, sys; sys.argv = ['judge', {str(tmp_path / 'a.py')!r}, {str(tmp_path)!r}]; runpy.run_path({str(ROOT / 'examples/judge.py')!r}, run_name='__main__')"
    )
    assert (out.returncode, out.stdout.count(" ok ")) == (0, 3), out.stderr
