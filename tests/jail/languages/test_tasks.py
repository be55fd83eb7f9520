"""Tasks of every kind: several files, graders, files instead of streams, checkers in jails, points and subtasks."""

from __future__ import annotations

import json

import pytest

import pyjail
from pyjail import Judgement, Limits, SpecError, Subtask, Test, languages
from tests.jail.languages.judging import compilers, judge, needed, verdicts

SUM = "print(sum(map(int, input().split())))"


def test_tests_may_be_files(tmp_path):
    for name, given, wanted in (("1", "3 4", "7"), ("2", "1 1", "3"), ("empty", "", "")):
        (tmp_path / f"{name}.in").write_text(given)
        (tmp_path / f"{name}.out").write_text(wanted)
    pairs = [(tmp_path / f"{n}.in", tmp_path / f"{n}.out") for n in ("1", "2")]
    for checker in ("tokens", "lines", "exact"):
        source = "import sys; print(sum(map(int, input().split())), end='')"
        judged = judge(source, pairs, checker=checker)
        assert [(row.name, row.verdict) for row in judged.results] == [("1", "ok"), ("2", "wrong_answer")]
        assert judge("", [(tmp_path / "empty.in", tmp_path / "empty.out")], checker=checker).passed
    assert judge(SUM, pairs, workers=2).score == 0.5
    with pytest.raises(SpecError, match=r"tests\[0\]\.input"):
        judge(SUM, [(tmp_path / "none.in", "")])


def test_a_large_test_is_not_read_into_this_process(tmp_path):
    big = tmp_path / "big.in"
    with big.open("wb") as f:
        for _ in range(64):
            f.write(b"12345678 " * (1 << 17))
    from tests.scripts import script

    code = f"""
    import resource, pyjail
    from pathlib import Path
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    test = pyjail.Test(Path({str(big)!r}), Path({str(big)!r}))
    judged = pyjail.judge_source("bash", "wc -c", [test], pyjail.Limits(cpu_time=20, memory="128M"))
    print(judged.results[0].result.stdout.split()[0].decode(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40000)
    """
    out = script(code)
    assert out.stdout == f"{big.stat().st_size} True\n", out.stderr


def test_files_of_the_caller_are_there_and_are_his():
    files = {"data.txt": "hidden", "lib/tool.py": "def f(): return 'theirs'\n"}
    source = {
        "main.py": "from lib.tool import f\nprint(f(), open('data.txt').read())",
        "lib/tool.py": "def f(): return 'mine'\n",
        "x.txt": "",
    }
    assert judge(source, [("", "theirs hidden")], files=files).passed
    judged = judge("print(open('data.txt').read())", [("", "hidden")], files=files)
    assert judged.passed
    with pytest.raises(SpecError, match="files"):
        judge("x", [("", "")], files={"main.py": ""})
    with pytest.raises(SpecError, match="files"):
        judge("x", [("", "")], files={"../a": ""})
    with pytest.raises(pyjail.SetupError, match="ENOSPC"):
        judge("x", [("", "")], Limits(disk="1M"), files={"data": b"x" * (2 << 20)})


def test_a_directory_of_the_caller_s(tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("deep")
    assert judge("print(open('given/e/f').read())", [("", "deep")], files={"given": tmp_path / "d"}).passed


@pytest.mark.parametrize(
    "source",
    [
        {"../main.py": "print(1)"}, {"/main.py": ""}, {"a\0.py": ""}, {"a" * 300 + ".py": ""}, {"x.txt": "y"}, {},
        {"a.py": "", "a.py/b.py": ""}, {"given/x.py": ""}, {"given": "", "main.py": ""},
    ],
    ids=repr,
)  # fmt: skip
def test_names_that_are_no_names_are_a_compile_error(source):
    judged = judge(source, [("", "")], files={"given/data": "x"} if "x.py" not in str(source) else {"given": "x"})
    if source == {"given": "", "main.py": ""} or source == {"given/x.py": ""}:
        assert judged.verdict == "compile_error"
    assert judged.verdict == "compile_error" and judged.results[0].message, judged


def test_a_grader_in_python():
    grader = "import solution\nn = int(input())\nprint(solution.square(n))\n"
    source = {"solution.py": "def square(n): return n * n\n"}
    assert judge(source, [("3", "9")], files={"grader.py": grader}, entry="grader.py").passed
    bad = judge({"solution.py": "def square(:"}, [("3", "9")], files={"grader.py": grader}, entry="grader.py")
    assert bad.verdict == "compile_error"
    forged = {"solution.py": "def square(n): return 0\n", "grader.py": "print(9)\n"}
    assert judge(forged, [("3", "9")], files={"grader.py": grader}, entry="grader.py").verdict == "wrong_answer"
    with pytest.raises(SpecError, match="entry"):
        judge(source, [("3", "9")], entry="none.py")


GRADERS = {
    "c": ({"sol.c": "int square(int n) { return n * n; }"}, {
        "grader.h": "int square(int);", "grader.c": '#include "grader.h"\n#include <stdio.h>\nint main() { int n; scanf("%d", &n); printf("%d", square(n)); }'}),
    "cpp": ({"sol.cpp": '#include "grader.h"\nint square(int n) { return help(n); }', "help.cpp": "int help(int n) { return n * n; }"}, {
        "grader.h": "int square(int); int help(int);", "grader.cpp": '#include "grader.h"\n#include <iostream>\nint main() { int n; std::cin >> n; std::cout << square(n); }'}),
    "go": ({"sol.go": "package main\nfunc square(n int) int { return n * n }"}, {
        "grader.go": 'package main\nimport "fmt"\nfunc main() { var n int; fmt.Scan(&n); fmt.Print(square(n)) }'}),
    "java": ({"Sol.java": "public class Sol { static int square(int n) { return n * n; } }"}, {
        "Grader.java": "public class Grader { public static void main(String[] a) { System.out.print(Sol.square(new java.util.Scanner(System.in).nextInt())); } }"}),
    "csharp": ({"sol.cs": "public class Sol { public static int Square(int n) { return n * n; } }"}, {
        "grader.cs": "class G { static void Main() { System.Console.Write(Sol.Square(int.Parse(System.Console.ReadLine()))); } }"}),
}  # fmt: skip


@compilers
@pytest.mark.parametrize("name", GRADERS)
def test_a_grader_is_compiled_with_the_submission(name):
    needed(name)
    source, files = GRADERS[name]
    assert verdicts(judge(source, [("3", "9"), ("4", "15")], language=name, files=files)) == ["ok", "wrong_answer"]


@compilers
def test_a_grader_s_source_is_not_there_when_it_runs():
    files = {"grader.c": '#include <stdio.h>\nint f(void); int main() { printf("%d", f()); }', "data": "d"}
    source = {"a.c": '#include <stdlib.h>\nint f(void) { return system("ls"); }', "b.h": ""}
    judged = judge(source, [("", "a data 0")], language="c", files=files)
    assert judged.passed, judged.results[0].result.stdout


@compilers
def test_a_name_of_a_submission_is_no_option_of_the_compiler():
    for name in ("-DX.c", "@x.c", "--help.c"):
        judged = judge({"a.c": "int main() { return 0; }", name: ""}, [("", "")], language="c")
        assert judged.passed, judged.compile


def test_files_instead_of_streams(tmp_path):
    (tmp_path / "1.in").write_text("5 6")
    source = "open('sum.out', 'w').write(str(sum(map(int, open('sum.in').read().split()))))"
    tests = [("3 4", "7"), (tmp_path / "1.in", "11"), ("1", "2")]
    judged = judge(source, tests, input_file="sum.in", output_file="sum.out")
    assert verdicts(judged) == ["ok", "ok", "wrong_answer"]
    silent = judge("print(7)", tests[:1], input_file="sum.in", output_file="sum.out")
    assert (silent.verdict, silent.results[0].message) == ("wrong_answer", "sum.out: not found")
    for field in ("input_file", "output_file"):
        with pytest.raises(SpecError, match=field):
            judge("", [("", "")], **{field: "/etc/passwd"})


CHECKER = """
import sys
mode = open(sys.argv[1]).read().strip()
output, answer = open(sys.argv[2]).read(), open(sys.argv[3]).read()
print("mode", mode, output.strip(), answer, file=sys.stderr)
if mode == "points": print("points 1.5 of it", file=sys.stderr)
if mode == "signal": import os; os.kill(os.getpid(), 9)
if mode == "loop":
    while True: pass
sys.exit({"ok": 0, "wa": 1, "pe": 2, "fail": 3, "dirt": 4, "points": 7, "eof": 8, "nothing": 16, "half": 66, "all": 116, "odd": 41, "five": 5}.get(mode, 0))
"""


def test_a_checker_in_a_jail_of_its_own():
    modes = [
        "ok",
        "wa",
        "pe",
        "dirt",
        "eof",
        "fail",
        "points",
        "nothing",
        "half",
        "all",
        "odd",
        "five",
        "signal",
        "loop",
    ]
    checker = languages.prepare("python", CHECKER)
    tests = [Test(mode, "answer", points=3) for mode in modes]
    judged = judge("print('said')", tests, checker=checker, checker_limits=Limits(cpu_time=1))
    got = {mode: (row.verdict.value, row.points) for mode, row in zip(modes, judged.results, strict=True)}
    assert got == {
        "ok": ("ok", 3), "wa": ("wrong_answer", 0), "pe": ("wrong_answer", 0), "dirt": ("wrong_answer", 0), "eof": ("wrong_answer", 0),
        "fail": ("checker_error", 0), "points": ("partial", 1.5), "nothing": ("wrong_answer", 0), "half": ("partial", 1.5),
        "all": ("ok", 3), "odd": ("partial", 0.75), "five": ("checker_error", 0), "signal": ("checker_error", 0), "loop": ("checker_error", 0),
    }  # fmt: skip
    assert judged.results[0].message == "mode ok said answer"
    assert judged.results[0].checker.ok and judged.results[2].message.startswith("presentation error: ")
    assert Judgement.from_dict(json.loads(json.dumps(judged.to_dict()))).results == judged.results


def test_the_checker_is_where_the_submission_is_not(tmp_path):
    (tmp_path / "1.in").write_text("in")
    (tmp_path / "1.out").write_text("secret")
    spy = "import os; print(sorted(os.listdir('.')), os.path.exists('answer'))"
    checker = languages.prepare(
        "python",
        "import sys, os; sys.exit(0 if sorted(os.listdir('.')) == ['answer', 'input', 'main.py', 'output'] and open('answer').read() == 'secret' else 1)",
    )
    judged = judge(spy, [(tmp_path / "1.in", tmp_path / "1.out")], checker=checker)
    assert judged.passed and judged.results[0].result.stdout == b"['main.py'] False\n"
    with pytest.raises(SpecError, match="checker"):
        judge("", [("", "")], checker=languages.prepare("python", "def (:", syntax=True))


@compilers
def test_a_checker_in_c(tmp_path):
    needed("c")
    checker = languages.prepare("c", """
#include <stdio.h>
#include <math.h>
int main(int argc, char **argv) {
  double a, b;
  if (fscanf(fopen(argv[2], "r"), "%lf", &a) != 1) return 2;
  if (fscanf(fopen(argv[3], "r"), "%lf", &b) != 1) return 3;
  return fabs(a - b) < 1e-6 ? 0 : 1;
}""")  # fmt: skip
    tests = [("2", "1.4142136"), ("2", "1.5"), ("x", "1"), ("2", "")]
    source = "x = input()\nprint(float(x) ** 0.5 if x != 'x' else 'none')"
    assert verdicts(judge(source, tests, checker=checker)) == ["ok", "wrong_answer", "wrong_answer", "checker_error"]


def test_points_and_subtasks():
    tests = [Test(str(n), str(n * n), f"{1 + n // 3}-{n}") for n in range(6)]
    subtasks = [Subtask("small", 30, ("1-*",)), Subtask("large", 70, ("1-*", "2-*"))]
    assert judge("n = int(input()); print(n * n)", tests, subtasks=subtasks).points == 100
    part = judge("n = int(input()); print(n * n if n < 4 else 0)", tests, subtasks=subtasks)
    assert [(s.name, s.points, s.of, s.verdict) for s in part.subtasks] == [
        ("small", 30, 30, "ok"),
        ("large", 0, 70, "wrong_answer"),
    ]
    assert (part.points, part.score, part.verdict) == (30, 0.3, "wrong_answer")
    none = judge("n = int(input()); print(n * n if n != 1 else 0)", tests, subtasks=subtasks, stop_on_failure=True)
    assert verdicts(none) == ["ok", "wrong_answer", "skipped", "skipped", "skipped", "skipped"]
    apart = [Subtask("a", 1, ("1-*",)), Subtask("b", 2, ("2-*",)), Subtask("c", 4, ("2-*",), needs=("a",))]
    for workers in (1, 3):
        judged = judge(
            "n = int(input()); print(n * n if n != 1 else 0)",
            tests,
            subtasks=apart,
            stop_on_failure=True,
            workers=workers,
        )
        assert verdicts(judged) == ["ok", "wrong_answer", "skipped", "ok", "ok", "ok"]
        assert [s.points for s in judged.subtasks] == [0, 2, 0]
    assert Judgement.from_dict(judged.to_dict()).subtasks == judged.subtasks
    assert judge("x", [Test("", "", points=3), Test("", "1", points=1)]).points == 0


@pytest.mark.parametrize(
    "subtasks",
    [
        [Subtask("a", 1, ("none",))], [Subtask("a", 1, ("1",)), Subtask("a", 1, ("1",))],
        [Subtask("a", 1, ("1",), needs=("b",)), Subtask("b", 1, ("1",))], ["a"],
    ],
    ids=range(4),
)  # fmt: skip
def test_subtasks_that_make_no_sense_are_told(subtasks):
    with pytest.raises(SpecError, match="subtasks"):
        judge("", [("", "")], subtasks=subtasks)
    for make in (
        lambda: Subtask("a", -1, ("1",)),
        lambda: Subtask("a", 1, "1"),
        lambda: Subtask(1, 1, ("1",)),
        lambda: Test(points=-1),
    ):
        with pytest.raises(SpecError, match=r"subtasks|tests"):
            make()


def test_a_test_whose_files_are_not_there_is_told_by_number_and_field(tmp_path):
    there = tmp_path / "1.in"
    there.write_bytes(b"")
    for wrong, words in (
        ((there, tmp_path / "1.out"), "tests[1].expected={}: there is no such file"),
        ((tmp_path / "2.in", b""), "tests[1].input={}: there is no such file"),
        ({"input": tmp_path}, "tests[1].input={}: is no file"),
        ((b"", 3), "tests[1].expected=3: bytes, str or a Path is needed"),
        ({"limits": {"memory": 3}}, "tests[1].limits.memory=3: nothing can start"),
    ):
        with pytest.raises(SpecError) as e:
            pyjail.judge_source("python", "print(1)", [("", "1"), wrong])
        assert str(e.value).startswith(words.format(repr(str(e.value.value)))), e.value
