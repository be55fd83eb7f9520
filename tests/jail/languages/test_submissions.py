"""Whatever a submission is, `judge_source` judges it: nothing that it contains is an exception of the caller's."""

from __future__ import annotations

import pytest

import pyjail
from pyjail import Limits, Verdict, languages
from pyjail.languages import Language
from tests.conftest import SLOW
from tests.examples import HealthCheck, given, settings, st
from tests.jail.languages.judging import compilers, judge, needed, shell, verdicts

# What a compiler accepts, and makes no program of; what it never ends; what no /box holds.
NO_PROGRAM = {
    "a Rust library": ("rust", '#![crate_type="lib"]'),
    "a static library": ("rust", '#![crate_type="staticlib"]'),
    "a package of Go": ("go", "package foo"),
    "a test package of Go": ("go", "package main_test"),
    "a program of 65 MiB": ("c", "char a[65 << 20] = {1}; int main() { return a[0] - 1; }"),
    "a program of 200 MiB": ("c", "char a[200 << 20] = {1}; int main() { return a[0] - 1; }"),
    "a program of 65 MiB in C++": ("cpp", "char a[65 << 20] = {1}; int main() { return a[0] - 1; }"),
    "a source without end": ("c", '#include "/dev/zero"'),
    "a source that includes itself": ("c", '#include "main.c"'),
    "templates without end": ("cpp", "template<int N> struct A { A<N + 1> a; }; A<0> x; int main() {}"),
    "a module of Java": ("java", "module x {}"),
    "nothing in Java": ("java", "package p;"),
    "two public classes": ("java", "public class A {} public class B {}"),
    "a class with a name longer than a file's": ("java", f"public class {'A' * 300} {{}}"),
    "and not in ASCII": ("java", f"public class {'é' * 130} {{}}"),
    "a package deeper than a path": ("java", f"package {'.'.join(['p' * 200] * 20)}; class A {{}}"),
    "no Main in C#": ("csharp", "class A {}"),
    "no main in Haskell's place": ("c", "int x;"),
    "a module that is not there": ("typescript", "import x from 'nope'"),
}


@compilers
@pytest.mark.parametrize("name", NO_PROGRAM)
def test_what_is_no_program_is_a_compile_error(name):
    language, source = NO_PROGRAM[name]
    needed(language)
    judged = judge(source, [("", "1"), ("", None)], language=language)
    assert verdicts(judged) == ["compile_error"] * 2, judged
    row = judged.results[0]
    compiled = judged.compile
    assert row.result is None
    assert row.message or not compiled.ok or compiled.uncollected, "nobody says why"
    assert pyjail.Judgement.from_dict(judged.to_dict()).results == judged.results


UNREADABLE = {
    "python": "def (:", "javascript": "let let = (", "ruby": "def (", "perl": "{", "php": "<?php if (", "bash": "if",
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_an_interpreter_cannot_read_is_a_compile_error_with_its_words(name):
    needed(name)
    judged = judge(UNREADABLE[name], [("", ""), ("", None)], language=name)
    assert verdicts(judged) == ["compile_error"] * 2
    assert judged.compile.verdict is Verdict.RUNTIME_ERROR
    assert judged.compile.stderr + judged.compile.stdout
    assert not languages.prepare(name, UNREADABLE[name], syntax=True).ok


def test_every_language_without_a_compiler_has_a_word_for_it():
    assert {one.name for one in languages.table().values() if not one.compile} == set(UNREADABLE)


def test_an_error_of_the_run_is_no_compile_error():
    for source in ("raise ValueError", "exec('def (')", "import sys; sys.exit(3)", "import nothing"):
        judged = judge(source, [("", "")])
        assert (verdicts(judged), judged.compile) == (["runtime_error"], None)
    assert languages.prepare("python", "raise ValueError", syntax=True).ok


@pytest.mark.parametrize(
    "source", ["\0", "\ud800", "\udcff", "#!/no/such\n", "é", "\ufeffx", "x" * 70_000_000, b"\xff\xfe"]
)
@pytest.mark.parametrize("name", ["python", "bash"])
def test_any_text_is_judged(name, source):
    judged = judge(source, [("", "no such answer")], language=name)
    assert not judged.passed and judged.verdict != "jail_error"


def test_a_source_that_no_compiler_s_box_holds_is_a_compile_error():
    language, _ = shell("true", disk="1M")
    judged = judge("#" * (2 << 20), [("", "")], language=language)
    assert (judged.verdict, judged.compile) == ("compile_error", None)
    assert "the compiler cannot be given it: open: files['main.sh']: ENOSPC" in judged.results[0].message


def test_a_tool_that_cannot_be_started_is_no_fault_of_the_submission(tmp_path):
    """Only what the compiler made can be no program."""
    mine = Language("mine", run=("./tool",), source="main", tools={"./tool": "-v", "sh": "-c"})
    with pytest.raises(pyjail.HostError):
        judge("x", [("", "")], language=mine)


def test_files_of_the_caller_s_that_do_not_fit_are_the_caller_s():
    program = languages.prepare("python", "print(1)")
    with pytest.raises(pyjail.SetupError) as e:
        program.run(Limits(disk="1M"), files={"data": b"x" * (2 << 20)})
    assert program.blames(e.value) == ""


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300))
def test_a_compiler_may_make_what_it_likes(made):
    """The artefact is the submission itself."""
    language = Language(
        "copied", run=("./main",), source="main.in", tools={"cp": "--version"}, compile=("cp", "{source}", "main"),
        artefacts=("main",),
    )  # fmt: skip
    judged = judge(made, [("", "no such answer")], Limits(cpu_time=1 * SLOW, wall_time=5 * SLOW), language=language)
    assert judged.verdict in ("compile_error", "wrong_answer", "runtime_error", "signaled", "memory")


ODD = ("#!/no/such/interpreter\n", "#!", "#!" + "x" * 300, "\x7fELF", "\x7fELF" + "\2\1\1" + "\0" * 9 + "\2\0\x3e\0" + "\0" * 40, "", "MZ", "#!./main\n")  # fmt: skip


@pytest.mark.parametrize("made", ODD)
def test_odd_programs_are_compile_errors(made):
    language = Language(
        "copied", run=("./main",), source="main.in", tools={"cp": "--version"}, compile=("cp", "{source}", "main"),
        artefacts=("main",),
    )  # fmt: skip
    judged = judge(made, [("", "no such answer")], language=language)
    assert judged.verdict in ("compile_error", "wrong_answer", "signaled"), judged


def test_names_that_no_path_holds_are_a_compile_error():
    source = "d=$(printf 'd%.0s' $(seq 200)); for i in $(seq 30); do mkdir $d && cd $d; done; echo x > a; cd /box; echo true > main"
    made = Language(
        "deep", run=("sh", "main"), source="main.sh", tools={"sh": "-c"}, compile=("sh", "{source}"),
        artefacts=("**/a", "main"),
    )  # fmt: skip
    judged = judge(source, [("", "")], language=made)
    assert judged.verdict == "compile_error" and "longer than a path can be" in judged.results[0].message
