"""What is found in a source, and that every source has an answer. Nothing of a source is ever executed."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import pytest

from pyjail import SpecError, precheck
from pyjail.precheck import _constructs, _jailed
from tests.examples import examples, given, st


def found(source, **given):
    return [(c.rule, c.text) for c in precheck.check(source, **given)]


def test_the_lists_are_those_of_secure_sandbox():
    assert precheck.MODULES == ("os", "sys", "subprocess", "socket", "ctypes", "importlib")
    assert precheck.CALLS == ("eval", "exec", "compile")
    assert precheck.MOST_BYTES == 65536


@pytest.mark.parametrize("module", precheck.MODULES)
@pytest.mark.parametrize(
    "source",
    ["import {}", "import  {}", "import {} as x", "import math, {}", "from {} import *", "import {}.path", "from {}.path import join",
     "from . import {}", "from .{} import x", "def f():\n  if 1:\n    import {}", "__import__('{}')", "__import__('{}.path')"],
)  # fmt: skip
def test_an_import_is_found(module, source):
    assert [rule for rule, _ in found(source.format(module))] == ["import"]


@pytest.mark.parametrize("call", precheck.CALLS)
@pytest.mark.parametrize(
    "source", ["{}('1')", "x = [{} ('1')]", "builtins.{}('1')", "__builtins__.{}('1')", "@{}('')\ndef f(): 0"]
)
def test_a_call_is_found(call, source):
    assert found(source.format(call)) == [("call", f"call of {call}")]


def test_a_name_taken_from_builtins_is_found():
    assert found("from builtins import eval as e") == [("import", "import of builtins.eval")]


@pytest.mark.parametrize(
    "source",
    ["", "import math", "import osx, xos", "from math import os", "x.eval('')", "eval", "def eval(): 0", "'import os'", "# import os",
     "import collections.os", "re.compile('a')"],
)  # fmt: skip
def test_what_is_none_is_not_found(source):
    assert found(source) == []


@pytest.mark.parametrize(
    "source",
    ["e = eval\ne('1')", "getattr(__builtins__, 'ev' + 'al')('1')", "().__class__.__mro__", "__import__('o' + 's')"],
)
def test_what_the_page_says_passes_does(source):
    assert found(source) == []


def test_places_are_counted_from_one_and_in_order():
    places = [(c.line, c.column) for c in precheck.check("eval('')\nif 1:\n    import os\nx = exec('')\n")]
    assert places == [(1, 1), (3, 5), (4, 5)]


def test_lists_of_yours():
    assert found("import math, os\nopen('x')", modules=["math"], calls=["open"]) == [
        ("import", "import of math"), ("call", "call of open"),
    ]  # fmt: skip


def test_another_language_is_refused():
    with pytest.raises(SpecError, match="only python"):
        precheck.check("int main;", language="c")


@pytest.mark.parametrize(
    ("source", "said"),
    [("import os", "Import(names=[alias(name='os')])"),
     ("import os as x", "Import(names=[alias(name='os', asname='x')])"),
     ("from os.path import join", "ImportFrom(module='os.path', names=[alias(name='join')], level=0)"),
     ("eval('1')", "Call(func=Name(id='eval', ctx=Load()), args=[Constant(value='1')], keywords=[])")],
)  # fmt: skip
def test_messages_are_those_of_secure_sandbox(source, said):
    assert [c.message for c in precheck.check(source)] == [f"Forbidden construct detected: {said}"]
    assert precheck.check("x = =")[0].message == "Syntax error: invalid syntax (line 1)"


@pytest.mark.parametrize(
    "source",
    ["import os", "eval(f(1, *a, **{'b': None}), c=[...])", "exec(lambda x: (yield))", "eval(b'x', 1.5, -1, True)"],
)
def test_a_dump_is_that_of_ast_when_it_is_short(source):
    statement = ast.parse(source).body[0]
    node = statement if isinstance(statement, ast.Import) else statement.value
    assert _constructs.dump(node, 10_000) == ast.dump(node)


@pytest.mark.parametrize(
    "argument",
    [
        "'" + "a" * 50000 + "'",
        "0x" + "f" * 50000,
        "[" * 80 + "]" * 80,
        ",".join("a" * 20000),
        "-" * 80 + "1",
        "{" * 90 + "}" * 90,
    ],
)
def test_a_dump_is_bounded(argument):
    (one,) = precheck.check(f"eval({argument})")
    assert len(one.dump) <= 200 and one.dump.startswith("Call(func=Name(id='eval'")


# each was found to end a parser in another way
HOSTILE = {
    "minus": "-" * 60000 + "1", "not": "not " * 15000 + "1", "attributes": "a" + ".a" * 30000, "sum": "1" + "+1" * 30000,
    "ternaries": "1 if 1 else " * 5000 + "1", "calls": "a" + "()" * 30000, "lambda": "lambda:" * 8000 + "1", "powers": "1" + "**1" * 20000,
    "elif": "if 1:\n pass\n" + "elif 1:\n pass\n" * 4000, "tilde": "~" * 60000 + "1",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_too_deep_is_said_to_be_too_complex(name):
    (one,) = precheck.check(HOSTILE[name])
    assert one.rule in ("complex", "syntax")
    assert one.message.startswith("Syntax error: ")


@pytest.mark.parametrize(
    "source",
    ["x=" * 30000 + "1", "(" * 60000, "f'{" * 5000, "import os\0", "\ufeffimport os", "# coding: zork\nimport os", "\ud800", "\x00", "9" * 60000,
     "\\\n" * 30000, "# coding: utf-7\nimport o+AHM-", "# coding: rot13\nvzcbeg bf", "# coding: punycode\n" + "a" * 60000, "# coding: idna\n" + "a" * 60000,
     b"\xff\xfe", b"\xef\xbb\xbf# coding: latin-1\n1"],
)  # fmt: skip
def test_every_source_has_an_answer(source):
    assert all(isinstance(c, precheck.Construct) for c in precheck.check(source))


def test_a_file_is_read_as_its_interpreter_reads_it():
    assert found("\ufeffimport os") == [("import", "import of os")]
    assert found("# coding: utf-7\nimport o+AHM-") == [("import", "import of os")]
    assert found("# coding: zork\nimport os")[0][0] == "syntax"
    assert found("import os\0")[0][0] == "syntax"


def test_a_large_source_is_not_parsed(monkeypatch):
    monkeypatch.setattr(_constructs.ast, "parse", None)
    assert found("a" * 65537) == [("complex", "too large to check: 65537 bytes, at most 65536 are")]


def test_no_more_than_a_hundred_are_told():
    assert len(precheck.check("import os\n" * 2000)) == 100
    assert len(precheck.check("import " + ",".join(["os"] * 8000))) == 100


def test_nothing_is_executed():
    assert found("raise SystemExit") == found("import this") == []
    tree = ast.parse(Path(_constructs.__file__).read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"eval", "exec", "compile", "__import__"}


def test_a_strange_escape_is_no_matter_of_the_caller():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert found(r"x = '\z'") == []
    assert said == []


@examples(300)
@given(source=st.one_of(st.text(max_size=60), st.binary(max_size=60)))
def test_any_source_has_an_answer(source):
    assert all(c.rule in ("import", "call", "syntax", "complex") for c in precheck.check(source))


def test_what_runs_in_the_jail_needs_nothing_of_pyjail():
    text = _jailed.command()[-1]
    assert {n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom)} <= {"__future__", "ast", "warnings", "json", "collections.abc"}  # fmt: skip


@pytest.mark.parametrize(
    "line", [b"", b"null", b"[1]", b"[[1, 1, 1, 1, 1]]", b'[[true, 1, "a", "b", "c"]]', b"{}", b"[" * 10000]
)
def test_an_answer_that_is_none_is_not_believed(line):
    assert _jailed._read(line) == _jailed.too_complex()
