"""The parts that run inside, tried here: what is shown of a value, what a cell is made of."""

from __future__ import annotations

import ast
import base64
import marshal

import pytest

from pyjail.interpreter import _sent
from pyjail.interpreter.inside import raised, rich, shell
from pyjail.interpreter.inside.cells import Cells
from pyjail.interpreter.inside.values import PLAIN, Shower, fitting, forms, text_of


class Rich:
    def _repr_html_(self):
        return "<b>"

    def _repr_png_(self):
        return b"\x89", {"width": 3}  # with metadata

    def _repr_json_(self):
        return {"a": 1}

    def _repr_svg_(self):
        return None

    def _repr_latex_(self):
        raise ValueError("no latex")

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": "<i>", "a/b": "c"}

    def __repr__(self):
        return "Rich()"


class Everything:
    """Has any attribute, as a mock does."""

    def __getattr__(self, name):
        return lambda *a, **k: name


def shower(most=1000, together=4000):
    sent = []
    return Shower(sent.append, most, together, ("png",)), sent


def test_a_value_is_shown_in_all_its_forms_and_a_form_that_fails_is_told_on_stderr(capsys):
    found = forms(Rich(), ())
    assert found == {
        PLAIN: "Rich()",
        "text/html": "<i>",
        "image/png": b"\x89",
        "application/json": {"a": 1},
        "a/b": "c",
    }
    assert "ValueError: no latex" in capsys.readouterr().err
    assert list(forms(Rich, ())) == list(forms(Everything(), ())) == [PLAIN]


def test_data_is_sent_as_text_and_what_is_no_such_data_says_so():
    show, sent = shower()
    show.display(Rich(), exclude=("a/b",))
    show.display({"image/png": "abcde", "text/html": 5, PLAIN: "x", "application/json": float("nan")}, raw=True)
    assert sent[0]["data"] == {PLAIN: "Rich()", "image/png": "iQ==", "text/html": "<i>", "application/json": '{"a": 1}'}
    assert sent[1]["data"] == {PLAIN: "x"} and sent[1]["cut"].keys() == {"image/png", "text/html", "application/json"}
    assert text_of("image/png", base64.b64encode(b"hi").decode()) == text_of("image/png", b"hi") == "aGk="
    assert text_of("x/y+json", [1]) == "[1]" and text_of("image/svg+xml", b"<svg/>") == "<svg/>"


def test_a_result_is_cut_to_its_bound_plain_text_first():
    cut = {}
    kept, total = fitting({PLAIN: "é" * 400, "text/html": "h" * 600, "image/png": "p" * 300}, cut, 1000)
    assert {mime: len(text) for mime, text in kept.items()} == {PLAIN: 250, "image/png": 300}
    assert cut == {
        PLAIN: "800 bytes, of which the first 500 are here",
        "text/html": "600 bytes, where 1000 are room for a result",
    }
    assert fitting({PLAIN: "x" * 2000}, {}, 1000)[0] == {PLAIN: "x" * 1000}
    assert total == 500 + 300 + 1024


def test_results_of_a_cell_are_bounded_together_and_the_main_result_says_that_it_is_cut():
    show, sent = shower()
    for _ in range(100):
        show.display("x" * 800)
    show.displayhook("y" * 800)
    assert len(sent) < 10 and (show.dropped, sent[-1]["main"], sent[-1]["data"]) == (100 - len(sent) + 2, True, {})
    assert "after results of 4000 bytes" in sent[-1]["cut"][PLAIN]
    show.begin()
    show.displayhook(5)
    assert sent[-1]["data"] == {PLAIN: "5"}


def test_what_an_exception_says_has_none_of_our_frames_and_is_bounded():
    code = compile("def call(f): f()", "<pyjail cells>", "exec")
    space = {}
    exec(code, space)

    def fail():
        try:
            space["call"](lambda: {}["a"])
        except KeyError as e:
            raise ExceptionGroup("both", [ValueError("v"), e]) from e

    try:
        space["call"](fail)
    except ExceptionGroup as e:
        told = raised.described(e)
    assert (
        told["name"] == "ExceptionGroup" and "KeyError: 'a'" in told["traceback"] and "<pyjail" not in told["traceback"]
    )

    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    assert raised.described(Odd())["value"] == "<its __str__ raised RuntimeError>"
    long = raised.described(ValueError("x" * 10**6))
    assert "characters are cut here" in long["value"] and len(long["traceback"]) < 1 << 19


class Pretty:
    def __init__(self, *inner):
        self.inner = inner

    def _repr_pretty_(self, p, cycle):
        if cycle:
            p.text("...")
            return
        with p.group(2, "P(", ")"), p.indent(2):
            for one in self.inner:
                p.pretty(one)
                p.breakable()
            p.break_()

    def __repr__(self):
        return "repr"


def test_a_value_that_is_printed_in_a_way_of_its_own():
    value = Pretty()
    value.inner = ("x", value)
    assert forms(value, ()) == {PLAIN: "P('x' ... \n)"}
    odd = type("Odd", (Pretty,), {"_repr_pretty_": lambda self, p, cycle: p.nope()})
    assert forms(odd(), ()) == {PLAIN: "repr"}


class NoChannel:
    ours = True


@pytest.fixture
def cells():
    return Cells(NoChannel(), shower()[0], {"__name__": "__main__"})


@pytest.mark.parametrize(
    ("source", "body", "last"),
    [("x = 1", True, False), ("1", False, True), ("x = 1\nx", True, True), ("1;", True, False), ("(\n1\n)", False, True), ("(1) ; # c", True, False),
     ("1 # a;", False, True), ("'é';", True, False), ("", False, False), ("if 1:\n  2", True, False), ("await x", False, True),
     ("x = 1\r\nx\r\n", True, True), ("x = 1\rx;", True, False), ("'\x0c\u2028'\n1", True, True)],
)  # fmt: skip
def test_the_last_expression_is_a_result_unless_a_semicolon_follows(cells, source, body, last):
    assert tuple(code is not None for code in cells.compiled("<cell 1>", source)) == (body, last)


def test_a_future_annotation_holds_for_later_cells(cells):
    cells.compiled("<cell 1>", "from __future__ import annotations")
    body, _ = cells.compiled("<cell 2>", "def f(x: nowhere): pass")
    exec(body, cells.namespace)
    assert cells.namespace["f"].__annotations__ == {"x": "nowhere"}


def test_lines_of_the_shell_are_calls_and_other_errors_stay(cells):
    body, _ = cells.compiled("<cell 1>", "for i in range(2):\n    !echo {i}\n%pip install x")
    assert body.co_names.count("modules") and "echo {i}" in body.co_consts
    with pytest.raises(SyntaxError):
        cells.compiled("<cell 2>", "1 +% 2 !")
    assert shell.translated("x = '!a'") == "x = '!a'"


def test_tracebacks_know_the_lines_of_a_cell(cells):
    import linecache

    cells.compiled("<cell 7>", "1 /\\\n0")
    assert linecache.getline("<cell 7>", 2) == "0\n"
    linecache.checkcache()
    assert linecache.getline("<cell 7>", 1) == "1 /\\\n"


def test_ipythons_names_show_what_they_show(tmp_path):
    assert rich.HTML("<b>")._repr_mimebundle_() == {"text/html": "<b>"}
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    assert rich.Image(filename=tmp_path / "a.jpg")._repr_mimebundle_() == {"image/jpeg": b"\xff\xd8\xff"}
    assert rich.Math("$x$")._repr_mimebundle_() == {"text/latex": "$\\displaystyle x$"}
    with pytest.raises(ValueError, match="no network"):
        rich.Image(url="http://x")


def test_what_is_sent_needs_no_module_that_python_has_not_loaded():
    """Those that every start executes: what else they need is imported in functions."""
    _, sources = _sent._modules()
    early = {"os", "sys", "builtins", "_thread", "_signal", "_ast", "_json", "__future__", "json.encoder"}
    for name, text in marshal.loads(sources).items():
        if name.rpartition(".")[2] in ("main", "cells", "channel", "values", "mimes", "hooks", "_pyjail"):
            tree = ast.parse(text)
            told = [n for n in tree.body if not (isinstance(n, ast.If))]
            for node in [n for top in told for n in ([top] if isinstance(top, (ast.Import, ast.ImportFrom)) else [])]:
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
                assert (isinstance(node, ast.ImportFrom) and node.level) or set(names) <= early, (name, names)


def test_it_is_sent_compiled_and_as_source_for_another_python():
    compiled, sources = _sent._modules()
    greeting = _sent.greeting(1, 2, ("png",), ())
    assert b"def main" in sources and sources in greeting and compiled in greeting
    assert len(greeting) < 180_000, "it has to fit into a socket's buffer at once"
