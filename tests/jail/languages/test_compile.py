"""Compilers in jails: what they say, what they leave, what limits they meet."""

from __future__ import annotations

import os

import pytest

from pyjail import Limits, SpecError, Verdict, languages
from tests.host_side import left_over, programs
from tests.jail.languages.judging import QUICK, compilers, judge, shell, verdicts


@compilers
def test_a_compile_error_is_a_result_with_the_compilers_words():
    judged = judge("int main() { return undeclared; }", [("", ""), ("", "")], language="c")
    assert (judged.verdict, judged.score, verdicts(judged)) == ("compile_error", 0, ["compile_error"] * 2)
    assert judged.compile.verdict is Verdict.RUNTIME_ERROR
    assert b"undeclared" in judged.compile.stderr
    assert [row.result for row in judged.results] == [None, None]


def test_compilers_have_all_cpus():
    assert {one.compile_limits.cpus for one in languages.table().values()} == {None}
    language, source = shell('echo "echo $(nproc)" > main')
    judged = judge(source, [("", str(len(os.sched_getaffinity(0))))], language=language)
    assert judged.passed, judged


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
