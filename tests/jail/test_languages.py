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
from pyjail import Jail, JudgeVerdict, Limits, SpecError, Test, Verdict, languages
from pyjail.languages import Language
from tests import place
from tests.conftest import SLOW
from tests.host_side import left_over, programs
from tests.jail.test_cli import cli
from tests.scripts import script

ROOT = Path(__file__).resolve().parents[2]
QUICK = Limits(cpu_time=5 * SLOW, wall_time=15 * SLOW)
compilers = pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)  # in an emulated guest they take minutes


def needed(name):
    language = languages.find(name)
    if not languages.available(language):
        pytest.skip(f"{' or '.join(language.tools)} {place.WITHOUT_TOOL}")
    return language


def judge(source, tests, limits=QUICK, **options):
    return pyjail.judge_source(options.pop("language", "python"), source, tests, limits, **options)


def verdicts(judged):
    return [row.verdict.value for row in judged.results]


# ---- each language ----


@compilers
@pytest.mark.needs_cgroups
@pytest.mark.parametrize("name", languages.table())
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


# ---- verdicts ----


def test_each_test_has_its_verdict():
    source = """
import sys
mode = input()
if mode == "right": print("a  b")
if mode == "wrong": print("ab")
if mode == "raise": raise ValueError
if mode == "spin":
    while True: pass
if mode == "flood":
    while True: print("x" * 1000)
"""
    tests = [
        ("right", "a b\n"), Test("wrong", "a b", name="w"), {"input": "raise", "expected": "a b"},
        Test("spin", "a b", limits=Limits(cpu_time=0.3)), Test("flood", limits=Limits(output="4K")), ("other", None),
    ]  # fmt: skip
    judged = judge(source, tests)
    assert verdicts(judged) == ["ok", "wrong_answer", "runtime_error", "cpu_time", "output", "ok"]
    assert [row.name for row in judged.results] == ["1", "w", "3", "4", "5", "6"]
    assert (judged.compile, judged.passed, judged.verdict) == (None, False, JudgeVerdict.WRONG_ANSWER)
    assert judged.score == 2 / 6
    assert b"ValueError" in judged.results[2].result.stderr
    json.dumps(judged.to_dict())


@pytest.mark.parametrize("workers", [1, 3])
def test_after_a_failure_the_rest_is_skipped(workers):
    judged = judge("print(1)", [("", "1"), ("", "2"), ("", "1"), ("", "1")], stop_on_failure=True, workers=workers)
    assert verdicts(judged) == ["ok", "wrong_answer", "skipped", "skipped"]
    assert [row.result is None for row in judged.results] == [False, False, True, True]
    assert judged.score == 0.25


def test_results_of_tests_that_run_at_once_are_in_order():
    judged = judge(
        "import time; n = int(input()); time.sleep((5 - n) / 50); print(n)",
        [(str(n), str(n)) for n in range(6)],
        workers=3,
    )
    assert judged.passed


@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupt_ends_what_runs(workers):
    code = f"""
    import os, pyjail, signal, threading, time
    from tests.host_side import programs
    signal.signal(signal.SIGINT, signal.default_int_handler)
    def interrupt():
        while not programs(b"sleep"): time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    language = pyjail.languages.Language("shell", run=("sh", "{{source}}"), source="a", tools={{"sh": "-c"}})
    try: pyjail.judge_source(language, "exec sleep 1000", [("", None)] * 9, pyjail.Limits(wall_time=None), workers={workers})
    except KeyboardInterrupt: print("interrupted", programs(b"sleep"))
    """
    out = script(code)
    assert out.stdout == "interrupted []\n", out.stderr


def test_a_checker_of_the_callers_own():
    seen = []

    def close(test, output):
        seen.append(test.name)
        return abs(float(output) - float(test.expected)) < 0.1

    tests = [("1", "1.05"), ("1", "2"), ("x", "1")]
    assert verdicts(judge("print(float(input()))", tests, checker=close)) == ["ok", "wrong_answer", "runtime_error"]
    assert seen == ["1", "2"]
    assert verdicts(judge("print(' a')", [("", "a")], checker="exact")) == ["wrong_answer"]
    with pytest.raises(ZeroDivisionError):
        judge("print(1)", [("", "1")] * 4, checker=lambda test, output: 1 / 0, workers=2)


# ---- compiling ----


@compilers
def test_a_compile_error_is_a_result_with_the_compilers_words():
    judged = judge("int main() { return undeclared; }", [("", ""), ("", "")], language="c")
    assert (judged.verdict, judged.score, verdicts(judged)) == ("compile_error", 0, ["compile_error"] * 2)
    assert judged.compile.verdict is Verdict.RUNTIME_ERROR
    assert b"undeclared" in judged.compile.stderr
    assert [row.result for row in judged.results] == [None, None]


def shell(script, **limits):
    """(a language whose compiler is a shell script, the script as its source)"""
    compile_limits = Limits(**{**languages.COMPILE.to_dict(), **limits})
    made = Language(
        "shell", run=("sh", "{stem}"), source="main.sh", tools={"sh": "-c"}, compile=("sh", "{source}"),
        artefacts=("{stem}",), compile_limits=compile_limits,
    )  # fmt: skip
    return made, script


def test_a_compiler_that_meets_a_limit_is_a_compile_error():
    language, source = shell("while :; do :; done")
    judged = judge(source, [("", "")], language=language, compile_limits=Limits(cpu_time=0.2))
    assert (judged.verdict, judged.compile.verdict) == ("compile_error", Verdict.CPU_TIME)


def test_what_a_compiler_leaves_is_gone():
    language, source = shell("sleep 1000 & setsid sleep 1000 & trap '' TERM; echo 'echo made' > main")
    judge(source, [("", "made")], language=language)
    before = left_over()
    judged = judge(source, [("", "made")], language=language)
    assert judged.passed, judged.compile
    # No more than before: a warm keeper may just be making its next jail.
    left = left_over()
    assert all(now <= then for now, then in zip(left, before, strict=True)), (left, before)
    assert programs(b"sleep") == []


MANY = "mkdir junk; cd junk; seq 100000 | xargs touch 2>/dev/null; cd ..; echo 'ls | wc -l' > main"


@compilers
def test_a_compiler_that_makes_very_many_files_meets_the_limit_on_files():
    language, source = shell(MANY + "\n")
    judged = judge(source, [("", "1")], language=language)
    assert judged.verdict == "compile_error"
    assert "inodes" in judged.compile.limits_hit or judged.compile.uncollected


@compilers
def test_very_many_files_beside_the_artefact_do_no_harm():
    language, source = shell(MANY, inodes=200_000, disk="1G")
    judged = judge(source, [("", "1")], language=language)
    assert judged.passed, (judged.compile, judged.results)


def test_an_artefact_that_was_not_made_is_a_compile_error():
    language, source = shell("exit 0")
    judged = judge(source, [("", "")], language=language)
    assert (judged.verdict, judged.compile.verdict, judged.compile.uncollected) == (
        "compile_error",
        "ok",
        {"main": "not found"},
    )
    with pytest.raises(SpecError, match="did not compile"):
        languages.prepare(language, source).run()


def test_a_program_is_prepared_once_and_run_often(tmp_path):
    (tmp_path / "x.py").write_text("import sys; print(sys.argv[1:], open('data').read(), input())")
    program = languages.prepare("python", tmp_path / "x.py")
    for word in ("a", "b"):
        r = program.run(QUICK, [word], files={"data": "d"}, input=b"in\n")
        assert r.stdout == f"['{word}'] d in\n".encode()


# ---- tools ----


def test_a_missing_tool_is_told_with_its_package():
    gone = Language(
        "gone", run=("gonec", "{source}"), source="x", tools={"gonec": "-v", "sh": "-c"}, package="gone-compiler"
    )
    assert not languages.available(gone)
    assert languages.version(gone) is None
    with pytest.raises(pyjail.HostError) as e:
        judge("", [("", "")], language=gone)
    assert (e.value.control, e.value.hint) == ("language", "apt-get install gone-compiler")
    assert "gonec" in e.value.cause
    assert "sh" not in e.value.cause.split()


def test_an_installation_that_the_jail_does_not_see_is_mounted(tmp_path):
    tool = tmp_path / "inst/bin/mytool"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\n[ "$1" = --version ] && echo \'mytool 4.5.6\' || { echo mine; cat "$1"; }\n')
    tool.chmod(0o755)
    for directory in (tool.parent, tool.parents[1]):
        directory.chmod(0o755)
    mine = Language(
        "mine",
        run=("mytool", "{source}"),
        source="x",
        tools={"mytool": "--version"},
        prefix=("echo", str(tmp_path / "inst")),
    )
    assert languages.version(mine) == "4.5.6"
    assert judge("text", [("", "mine text")], language=mine).passed
    compiled = Language(
        "compiled", run=("sh", "-c", "ls " + str(tmp_path / "inst") + "; cat a"), source="x", tools={"mytool": "--version"},
        prefix=mine.prefix, compile=("sh", "-c", "mytool {source} > a"), artefacts=("a",),
    )  # fmt: skip
    judged = judge("text", [("", "mine text")], language=compiled)
    assert judged.passed
    assert b"No such file" in judged.results[0].result.stderr  # the program itself does not need it, nor see it


@pytest.mark.parametrize("where", ["~", "~/.local", "/", "~/..", "/no/such/place"])
def test_what_is_the_users_own_is_never_mounted(where):
    text = os.path.expanduser(where)
    mine = Language("mine", run=("notool", "{source}"), source="x", tools={"notool": "-v"}, prefix=("echo", text))
    assert not languages.available(mine)


def test_a_root_without_a_shell(tmp_path, cc):
    binary = cc("int main() { return 0; }", "-static")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/only").write_bytes(binary.read_bytes())
    (tmp_path / "bin/only").chmod(0o755)
    for directory in (tmp_path, tmp_path / "bin"):
        directory.chmod(0o755)
    jail = Jail(rootfs=tmp_path)
    only = Language("only", run=("only",), source="x", tools={"only": "-v"}, package="only")
    assert languages.available(only, jail)
    assert judge("", [("", "")], language=only, jail=jail).passed
    with pytest.raises(pyjail.HostError, match=re.escape(f"apt-get install python3 in {tmp_path}")):
        judge("", [("", "")], jail=jail)


def test_variables_and_files_of_the_callers_jail_are_there():
    jail = Jail(hostname="judge", env={"PATH": "/usr/bin:/bin", "MINE": "x"})
    judged = judge("import os, socket; print(os.environ['MINE'], os.uname().nodename)", [("", "x judge")], jail=jail)
    assert judged.passed, judged.results[0].result


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
    rows = json.loads(cli("languages", "--json", "bash", *config).stdout)
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
