"""Languages: the table and users' own, what is filled in, how outputs are compared. Nothing is run."""

from __future__ import annotations

import json
import pickle
import tomllib
import tracemalloc
from pathlib import Path

import pytest

from pyjail import Jail, Judgement, JudgeVerdict, Limits, Result, SpecError, Test, TestResult, Verdict, languages
from pyjail.languages import Language, _test
from pyjail.languages._classes import main_class
from pyjail.languages._test import make_checker, make_test
from pyjail.languages._values import THREADS, arguments, environment, fill, fitted, named, renamed, values, visible
from tests.examples import examples, given, st

ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20
NEW = '[languages.lua]\nrun = ["lua", "{source}"]\nsource = "main.lua"\ntools = { lua = "-v" }\n'


def load(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    return languages.load(tmp_path / "mine.toml")


# ---- which languages there are ----


def test_the_languages_of_the_issue_are_there():
    wanted = [
        "python",
        "c",
        "cpp",
        "rust",
        "go",
        "java",
        "javascript",
        "ruby",
        "perl",
        "php",
        "bash",
        "kotlin",
        "typescript",
        "csharp",
    ]
    assert set(languages.table()) == set(wanted)


@pytest.mark.parametrize("language", languages.table().values(), ids=lambda one: one.name)
def test_each_names_its_package_and_has_a_check(language):
    assert language.package
    assert Path(language.check).is_file()
    assert languages.find(language.title) is language
    for extension in language.extensions:
        assert (
            languages.find(extension[1:])
            is languages.find(f"some/where/x{extension}")
            is languages.find(extension)
            is language
        )
    assert pickle.loads(pickle.dumps(language)) == language


def test_what_is_needed_at_run_time_is_shipped():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    where = ROOT / "src/pyjail/languages"
    shipped = {p for pattern in patterns["pyjail.languages"] for p in where.glob(pattern)}
    assert {where / "languages.toml", *(Path(one.check) for one in languages.table().values())} <= shipped


@pytest.mark.parametrize(
    ("name", "near"), [("pyton", "'python'"), ("c++17", r"'c\+\+'"), (".xyz", "known are bash"), ("", "known are")]
)
def test_an_unknown_language_is_told_with_the_nearest(name, near):
    with pytest.raises(SpecError, match=near) as e:
        languages.find(name)
    assert e.value.field == "language"


def test_no_name_at_all_is_a_specerror():
    with pytest.raises(SpecError):
        languages.find(3)


# ---- a user's own file ----


def test_a_new_language_and_a_changed_one(tmp_path):
    mine = load(
        tmp_path,
        NEW + 'check = "c/x.lua"\n[languages.cpp]\nleast_memory = "32M"\ncompile_limits = { wall_time = "none" }\n',
    )
    assert (mine["lua"].run, mine["lua"].title, mine["lua"].check) == (
        ("lua", "{source}"),
        "lua",
        str(tmp_path / "c/x.lua"),
    )
    ours = languages.table()["cpp"]
    assert (mine["cpp"].least_memory, mine["cpp"].compile) == (32 * MIB, ours.compile)
    assert (mine["cpp"].compile_limits.wall_time, mine["cpp"].compile_limits.memory) == (None, 1 << 30)
    assert "lua" not in languages.table()
    assert languages.find("lua", mine) is mine["lua"]
    assert mine["python"] is languages.table()["python"]


def test_compile_limits_of_ours_stay_when_some_are_changed(tmp_path):
    mine = load(tmp_path, '[languages.go]\ncompile_limits = { memory = "3G" }\n')
    assert (mine["go"].compile_limits.cpu_time, mine["go"].compile_limits.memory) == (120, 3 << 30)


def test_jail_limits_and_languages_in_one_file(tmp_path):
    load(tmp_path, '[jail]\nhostname = "judge"\n[limits]\nmemory = "64M"\n' + NEW)
    assert Jail.from_toml(tmp_path / "mine.toml").hostname == "judge"


REFUSED = {
    "[languages.lua]\nrnu = ['x']\n": (r"languages\.lua\.rnu", "did you mean 'run'"),
    NEW.replace("run =", "compile ="): (r"languages\.lua\.run", "is missing"),
    NEW + "compile_limits = { memroy = 5 }\n": (r"languages\.lua\.compile_limits\.memroy", "did you mean 'memory'"),
    NEW + "compile_limits = 5\n": (r"languages\.lua\.compile_limits", "a table"),
    NEW + "env = { A = '{cpu}' }\n": (r"languages\.lua\.env\.cpu", "did you mean 'cpus'"),
    NEW + "compile = ['x', '{sorce}']\nartefacts = ['x']\n": (r"compile\.sorce", "did you mean 'source'"),
    NEW + "compile = ['x', '-s={sources}']\nartefacts = ['x']\n": (r"compile\.sources", "did you mean 'source'"),
    NEW + "compile = ['x']\n": ("artefacts", "belong together"),
    NEW + "extensions = ['lua']\n": ("extensions", "begins with a dot"),
    NEW + "extensions = '.lua'\n": ("extensions", "a list of texts"),
    NEW + "stem = '('\n": ("stem", "no regular expression"),
    NEW + "stem = 'x'\n": ("stem", "a group"),
    NEW + "rename = 'x'\n": ("rename", "a group"),
    NEW + "compile = ['x']\nartefacts = ['x']\nsyntax = ['x']\n": ("syntax", "without a compiler"),
    NEW + "syntax = ['x', '{sorce}']\n": (r"syntax\.sorce", "did you mean 'source'"),
    NEW + "title = 5\n": ("title", "text is needed"),
    NEW + "crash = 'memory'\n": ("crash", "runtime_error"),
    NEW + "mounts = ['x']\n": ("mounts", "absolute"),
    NEW + "overhead = '5X'\n": ("overhead", "sizes are"),
    NEW + "least_processes = -1\n": ("least_processes", "must be from 0"),
    NEW.replace("main.lua", "a/main.lua"): ("source", "without a directory"),
    NEW.replace("['lua', '{source}']", "[]").replace('["lua", "{source}"]', "[]"): ("run", "not be empty"),
    NEW.replace("[languages.lua]", "[languages.'L U A']"): ("name", "lower-case"),
    "languages = 5\n": ("languages", "table is needed"),
    "[languages]\nlua = 5\n": (r"languages\.lua", "table is needed"),
    "[language.lua]\n": (r"language", "did you mean 'languages'"),
    "[[[": ("config", "is not TOML"),
}


@pytest.mark.parametrize(("text", "told"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_makes_no_sense_is_refused_by_name(tmp_path, text, told):
    field, reason = told
    with pytest.raises(SpecError, match=rf"{field}.*{reason}"):
        load(tmp_path, text)


def test_a_language_in_python():
    lua = Language("lua", run=["lua", "{source}"], source="main.lua", tools={"lua": "-v"}, env={"A": "{cpus}"})
    assert (lua.run, dict(lua.env), hash(lua) == hash(lua)) == (("lua", "{source}"), {"A": "{cpus}"}, True)
    with pytest.raises(SpecError, match="compile_limits"):
        Language("lua", run=["lua"], source="main.lua", tools={"lua": "-v"}, compile_limits={})


# ---- what is filled in ----


def filled(name, **limits):
    language = languages.table()[name]
    given = fitted(language, Limits(**limits))
    known = values(language, given, visible(given.cpus, 8), language.source)
    return given, arguments(language.run, known), environment(language.env, known, Jail(), None)


def test_a_jvm_is_told_of_its_limits():
    limits, args, _ = filled("java", memory="1G", processes=16, cpus=2.0)
    assert limits.processes == 64
    for flag in ("-Xmx960m", "-Xss8m", "-XX:ActiveProcessorCount=2", "-XX:+UseSerialGC"):
        assert flag in args
    limits, args, _ = filled("java", memory="16M")
    assert (limits.memory, "-Xmx64m" in args) == (128 * MIB, True)


def test_without_a_limit_there_is_no_flag():
    limits, args, _ = filled("java", memory=None, processes=None, stack=None)
    assert (limits.memory, limits.processes) == (None, None)
    assert not [a for a in args if a.startswith(("-Xmx", "-Xss"))]
    assert "GOMEMLIMIT" not in filled("go", memory=None)[2]


def test_go_and_node_are_told_of_their_limits():
    _, _, env = filled("go", memory="256M", cpus=1.0)
    assert (env["GOMEMLIMIT"], env["GOMAXPROCS"]) == ("240MiB", "1")
    _, args, _ = filled("javascript", memory="256M")
    assert {"--max-old-space-size=192", "--stack-size=7168"} <= set(args)


@pytest.mark.parametrize("name", languages.table())
def test_libraries_start_as_many_threads_as_there_are_cpus(name):
    _, _, env = filled(name, cpus={1, 3, 5})
    assert {env[variable] for variable in THREADS} == {"3"}


@pytest.mark.parametrize(
    ("cpus", "count"), [(None, 8), (0.5, 1), (1.0, 1), (1.01, 2), (8.0, 8), (64.0, 8), ({2, 7}, 2)]
)
def test_visible_cpus(cpus, count):
    assert visible(Limits(cpus=cpus).cpus, 8) == count


def test_the_callers_variables_win_and_the_tools_are_in_path():
    known = dict.fromkeys(("cpus", "heap_mb"), "1")
    env = environment({"A": "{cpus}", "B": "b"}, known, Jail(env={"B": "mine", "OMP_NUM_THREADS": "4"}), "/opt/x/bin")
    assert (env["A"], env["B"], env["OMP_NUM_THREADS"], env["OPENBLAS_NUM_THREADS"]) == ("1", "mine", "4", "1")
    assert env["PATH"].startswith("/opt/x/bin:/usr/local/bin")


def test_braces_that_are_no_placeholder_stay():
    assert fill("{ print $1 } {x}{cpus}", {"cpus": "2"}) == "{ print $1 } {x}2"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (b"class A {}", "Main.java"),
        (b"import x;\npublic final  class Foo_1 {", "Foo_1.java"),
        (b"class B {} public record R(int a) {}", "R.java"),
        (b"class Main { public static class Inner {} }", "Main.java"),
        ("public class É {}".encode(), "É.java"),
        (b"public class A$B {", "A$B.java"),
        (b"public class " + b"A" * 5000, "Main.java"),  # no file can be called so: the compiler will say it
        (b"public class " + "é".encode() * 126, "Main.java"),
        (b"// public class Foo\n/* public class Foo\n */ class Bar {}", "Main.java"),
        (
            b'class A { String s = "public class Foo", t = "\\" public class Foo"; char c = \'"\'; } public class R {}',
            "R.java",
        ),
        (b'class A { String s = """\npublic class "Foo" """; }', "Main.java"),
        (b"/* public class Foo", "Main.java"),
        (b"public class \xff\xff {}", "Main.java"),
    ],
)
def test_the_file_is_named_after_the_public_class(source, name):
    assert named(languages.table()["java"], source) == name
    assert named(languages.table()["c"], source) == "main.c"


@pytest.mark.parametrize("text", ["/*", '"\\', "'\\", '"""', "public ", "public final ", "/*/", '\\"'])
def test_a_source_is_read_but_once_whatever_is_in_it(text):
    """A name that is looked for in a quadratic way would take hours."""
    assert named(languages.table()["java"], text.encode() * 300_000) == "Main.java"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b"x.java:1: error: class Foo is public, should be declared in a file named Foo.java\n", "Foo.java"),
        ("class Éa is public, should be declared in a file named Éa.java".encode(), "Éa.java"),
        (b"should be declared in a file named ../../x.java", "Main.java"),
        (b"should be declared in a file named " + b"A" * 300 + b".java", "Main.java"),
        (b"error: ';' expected", None),
    ],
)
def test_the_compiler_says_how_a_file_has_to_be_called(said, name):
    assert renamed(languages.table()["java"], said) == name
    assert renamed(languages.table()["c"], said) is None


CLASS = bytes.fromhex("cafebabe00000034")


@given(st.binary(max_size=400))
def test_a_class_file_of_any_bytes_is_one_or_none(data):
    assert main_class([data, CLASS + data]) in (None, "")


def test_a_class_file_made_to_be_read_for_ever_is_none():
    """Code without a length, in which attributes without a length are counted, again and again."""
    pool = b"\0\2" + b"\1\0\4Code"
    code = b"\0\1" + bytes(4) + bytes(4) + bytes(4) + b"\0\0" + b"\xff\xff"
    methods = b"\xff\xff" + (bytes(6) + b"\xff\xff" + code * 4096)
    assert main_class([CLASS + pool + bytes(6) + b"\0\0" + b"\0\0" + methods]) is None


# ---- tests and outputs ----


def test_a_test_from_whatever_there_is():
    assert make_test(("1", "2"), 0) == Test(b"1", b"2", "1")
    assert make_test([b"1", None], 4) == Test(b"1", None, "5")
    assert make_test({"input": "1", "limits": {"memory": "1M"}}, 0) == Test("1", None, "1", Limits(memory="1M"))
    assert make_test(Test("1", name="x"), 3).name == "x"


@pytest.mark.parametrize(
    "given",
    [5, "12", ("1",), ("1", "2", "3"), {"inptu": "1"}, (5, "1"), ("1", 5), {"name": 5}, {"limits": 5}, {"input": None}],
    ids=repr,
)
def test_what_is_no_test_is_refused(given):
    with pytest.raises(SpecError, match="tests"):
        make_test(given, 0)


@pytest.mark.parametrize(
    ("output", "right"),
    [
        (b"1 2\n3\n", {"tokens", "lines", "exact"}),
        (b"1 2 \r\n3\n\n \n", {"tokens", "lines"}),
        (b"1 2\n3", {"tokens", "lines"}),
        (b"1  2\n3\n", {"tokens"}),
        (b"\n1 2\n3\n", {"tokens"}),
        (b"1 23\n", set()),
        (b"", set()),
        (b"1 2\n3\n4\n", set()),
    ],
)
def test_how_outputs_are_compared(output, right):
    test = Test(expected=b"1 2\n3\n")
    assert {name for name in ("tokens", "lines", "exact") if make_checker(name)(test, output)} == right
    assert make_checker(None)(test, output) == ("tokens" in right)
    assert make_checker("exact")(Test(), output)  # nothing is expected


def test_an_unknown_checker_is_told_with_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'tokens'"):
        make_checker("token")
    with pytest.raises(SpecError, match="a compiled Program"):
        make_checker(["python3", "checker.py"])


def judgement(*verdicts):
    result = Result(["x"], 0, Verdict.OK, stdout=b"\xff", files={"a": b"x"})
    rows = tuple(TestResult(str(n), JudgeVerdict(v), result) for n, v in enumerate(verdicts))
    return Judgement("c", result, rows)


def test_a_judgement_tells_the_first_failure_and_the_score():
    judged = judgement("ok", "memory", "wrong_answer", "ok")
    assert (judged.verdict, judged.passed, judged.score) == (JudgeVerdict.MEMORY, False, 0.5)
    assert (judgement("ok").verdict, judgement("ok").passed, judgement("ok").score) == ("ok", True, 1.0)
    told = json.loads(json.dumps(judged.to_dict()))
    assert (told["verdict"], told["score"], told["results"][1]["verdict"]) == ("memory", 0.5, "memory")
    assert told["compile"]["files"] == {}
    assert Result.from_dict(told["results"][0]["result"]) == judged.results[0].result
    assert pickle.loads(pickle.dumps(judged)) == judged


def test_every_verdict_of_a_run_is_one_of_the_judge():
    assert {v.value for v in Verdict} <= {v.value for v in JudgeVerdict}
    assert JudgeVerdict.OK == Verdict.OK


@pytest.mark.parametrize(
    "wrong",
    [
        {"tests": []}, {"tests": "12"}, {"tests": {"input": "1"}}, {"limits": 5}, {"workers": 0}, {"workers": True},
        {"workers": 1.5}, {"checker": "x"}, {"language": "nope"}, {"jail": 5}, {"compile_limits": 5},
    ],
    ids=repr,
)  # fmt: skip
def test_judge_source_refuses_what_makes_no_sense(wrong):
    given = {"language": "python", "source": "", "tests": [("1", "1")], **wrong}
    with pytest.raises(SpecError, match=next(iter(wrong))):
        languages.judge_source(**given)


WORDS = st.lists(
    st.sampled_from([b"1", b"22", b" ", b"\n", b"\r\n", b"\t", b"\x0b", b"\x0c", b"\x1c"]), max_size=40
).map(b"".join)


@examples(300)
@given(WORDS, WORDS, st.integers(1, 8))
def test_outputs_are_compared_in_chunks_as_they_would_be_whole(expected, output, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_test, "CHUNK", chunk)
        for given_ in (output, expected + b"\n", expected.replace(b" ", b"  ")):
            assert _test.same_tokens(expected, given_) is (expected.split() == given_.split())
            lines = [[line.rstrip() for line in text.rstrip().split(b"\n")] for text in (expected, given_)]
            assert _test.same_lines(expected, given_) is (lines[0] == lines[1])


@pytest.mark.parametrize("compare", [_test.same_tokens, _test.same_lines])
def test_to_compare_an_output_takes_no_more_memory_than_it_does(compare):
    expected = b"1\n" * (4 << 20)
    tracemalloc.start()
    assert compare(expected, expected + b" ")
    assert not compare(expected, expected + b"1")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(expected)
