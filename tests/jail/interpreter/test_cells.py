"""Cells: state, results, output, errors, and the words of what is replaced in Python for them."""

from __future__ import annotations

import json

import pytest

from pyjail import Execution, Verdict


def test_a_cell_knows_what_those_before_it_have_defined(python):
    assert python.run("import math\nx = 2").results == ()
    r = python.run("print('hi')\nx * 21")
    assert (r.text, r.logs.stdout, r.execution_count, r.verdict) == ("42", ("hi\n",), 2, Verdict.OK)
    assert r.results[0].is_main_result and r.results[0].formats() == ("text",)
    assert python.run("_ + 1").text == "43"
    assert python.run("None").results == python.run("x;").results == ()
    assert python.run("__name__").text == "'__main__'" and python.run("import sys; sys.argv").text == "['']"
    assert Execution.from_dict(json.loads(json.dumps(r.to_dict()))) == r


def test_state_over_a_thousand_cells(python):
    python.run("n = 0")
    for _ in range(1000):
        assert python.run("n += 1").ok
    assert python.run("n").text == "1000" and python.history[-1] == "n" and len(python.history) == 1002


def test_classes_of_a_cell_are_mains_and_can_be_pickled(python):
    assert python.run("import pickle\nclass A: pass\npickle.loads(pickle.dumps(A())).__class__ is A").text == "True"
    assert python.run("from __future__ import annotations").ok
    assert python.run("def f(x: nowhere): return 1\nf(0)").text == "1"


def test_all_forms_of_a_value_come_and_display_shows_more(python):
    python.run("""
class Rich:
    def __repr__(self): return "Rich()"
    def _repr_html_(self): return "<b>"
    def _repr_markdown_(self): return "**"
    def _repr_svg_(self): return "<svg/>"
    def _repr_png_(self): return b"\\x89PNG"
    def _repr_jpeg_(self): return b"\\xff\\xd8"
    def _repr_pdf_(self): return b"%PDF"
    def _repr_latex_(self): return "$x$"
    def _repr_json_(self): return {"a": [1, None]}
    def _repr_javascript_(self): return "1"
    def _repr_mimebundle_(self, include=None, exclude=None): return {"x/y": "z", "application/vnd.pyjail.data+json": {"c": [1]}}
""")
    r = python.run("display(1)\ndisplay({'text/html': '<i>'}, raw=True)\nRich()")
    first, second, main = r.results
    assert (first.text, first.is_main_result, second.html) == ("1", False, "<i>")
    assert main.formats() == (
        "text",
        "html",
        "markdown",
        "svg",
        "png",
        "jpeg",
        "pdf",
        "latex",
        "json",
        "javascript",
        "data",
    )
    assert (main.raw("png"), main.raw("pdf"), main.json, main.data) == (
        b"\x89PNG",
        b"%PDF",
        {"a": [1, None]},
        {"c": [1]},
    )
    assert main.extra == {"x/y": "z"} and r.text == "Rich()" and main.cut == {}


def test_ipythons_display_works_where_there_is_no_ipython(python):
    r = python.run(
        "from IPython.display import HTML, JSON, display\ndisplay(HTML('<b>'), JSON({'a': 1}))\nimport IPython"
    )
    assert [shown.formats() for shown in r.results] == [("text", "html"), ("text", "json")] and r.ok


def test_what_children_write_counts_and_whatever_is_written_to_the_fd(python):
    r = python.run(
        "import os, subprocess\nprint('a')\nos.system('echo b')\nsubprocess.run('echo c; echo d >&2', shell=True)\nos.write(1, b'e');"
    )
    assert ("".join(r.logs.stdout), "".join(r.logs.stderr)) == ("a\nb\nc\ne", "d\n")
    assert (
        "".join(python.run("print('é', end=''); os.write(1, b'\\xff'); import sys; sys.stdout.write('x');").logs.stdout)
        == "\ufffdéx"
    )
    assert python.run("!echo $HOME\n!exit 3").logs == type(r.logs)(("/box\n",), ("exit: exit code 3\n",))


def test_output_and_results_are_told_as_they_come(python):
    told = []
    hear = {
        f"on_{name}": lambda value, name=name: told.append((name, value)) for name in ("stdout", "stderr", "result")
    }
    code = "import sys, time\nfor i in range(3):\n    print(i); print(i, file=sys.stderr); display(i); time.sleep(0.05)"
    r = python.run(code, **hear)
    assert (
        [shown.text for shown in r.results]
        == [shown.text for name, shown in told if name == "result"]
        == ["0", "1", "2"]
    )
    for name in ("stdout", "stderr"):
        assert "".join(getattr(r.logs, name)) == "".join(text for n, text in told if n == name) == "0\n1\n2\n"
        for i in range(3):  # what was printed before a result is told before it
            at = next(k for k, (n, value) in enumerate(told) if n == "result" and value.text == str(i))
            assert f"{i}\n" in "".join(text for n, text in told[:at] if n == name)


def test_an_exception_is_told_without_our_frames_and_state_stays(python):
    python.run("x = 1\ndef f(n):\n    return 1 / n")
    r = python.run("x = 2\n\nf(0)")
    assert (r.verdict, r.error.name, r.error.value) == (Verdict.RUNTIME_ERROR, "ZeroDivisionError", "division by zero")
    assert r.error.traceback.splitlines()[:5] == [
        "Traceback (most recent call last):", '  File "<cell 2>", line 3, in <module>', "    f(0)",
        '  File "<cell 1>", line 3, in f', "    return 1 / n",
    ]  # fmt: skip
    assert python.run("x").text == "2" and len(python.history) == 2
    r = python.run("display(type('A', (), {'__repr__': lambda self: 1 / 0})())")
    assert r.error.name == "ZeroDivisionError" and "pyjail" not in r.error.traceback
    r = python.run("def f(:")
    assert r.error.name == "SyntaxError" and r.error.traceback.startswith('  File "<cell 5>", line 1\n    def f(:')


@pytest.mark.parametrize(
    ("code", "name", "value"),
    [("exit(3)", "SystemExit", "3"), ("import sys; sys.exit()", "SystemExit", ""), ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
     ("raise GeneratorExit", "GeneratorExit", ""), ("input('name? ')", "EOFError", "input() has nobody to ask here: write the value into the code"),
     ("import sys; sys.stdin.readline() + 1", "TypeError", None), ("def f(): f()\nf()", "RecursionError", None), ("[0] * (1 << 60)", "MemoryError", ""),
     ("raise type('E', (BaseException,), {'__str__': lambda s: 1})", "E", None), ("'\\ud800' + None", "TypeError", None),
     ("return 1", "SyntaxError", None), ("raise ExceptionGroup('g', [ValueError(1)])", "ExceptionGroup", "g (1 sub-exception)")],
)  # fmt: skip
def test_whatever_is_raised_is_the_cells_error_and_state_stays(python, code, name, value):
    python.run("x = 5")
    r = python.run(code)
    assert r.error.name == name and value in (None, r.error.value) and "pyjail" not in r.error.traceback, r.error
    assert python.run("x").text == "5"


def test_await_works_at_the_top_level_and_tasks_live_from_cell_to_cell(python):
    python.run("import asyncio\nasync def f(x):\n    await asyncio.sleep(0.01)\n    return x")
    assert python.run("y = await f(1)\nawait f(y + 1)").text == "2"
    python.run(
        "task = asyncio.create_task(f(3)) if False else asyncio.ensure_future(f(3), loop=asyncio.get_event_loop())"
    )
    assert python.run("await task").text == "3"
    assert python.run("[x async for x in (i async for i in aiter([]))]").error.name == "TypeError"
    assert python.run("asyncio.run(f(4))").text == "4" and python.run("await f(5)").text == "5"
    assert python.run("await f(1 / 0)").error.name == "ZeroDivisionError"


def test_a_displayhook_of_the_cells_own_has_the_value_and_there_is_no_result(python):
    r = python.run("import sys\ndef hook(value): print('mine:', value)\nsys.displayhook = hook\n5")
    assert ("".join(r.logs.stdout), r.text) == ("mine: 5\n", None)
    r = python.run("sys.displayhook = None\n5")
    assert r.error.name == "TypeError" and r.text is None
    python.run("sys.displayhook = sys.__displayhook__")
    assert "".join(python.run("5").logs.stdout) == "5\n"


def test_a_forked_child_that_comes_out_of_its_cell_ends_there(python):
    r = python.run("import os\nx = os.fork()\nif x: os.waitpid(x, 0)\nprint(x > 0)\nx > 0")
    assert (sorted("".join(r.logs.stdout).split()), r.text) == (["False", "True"], "True") and len(r.results) == 1
    r = python.run("if not os.fork(): raise ValueError('in the child')\nos.wait()[1]")
    assert r.text == "256" and "ValueError: in the child" in "".join(r.logs.stderr)
    assert python.run("import multiprocessing as m\nm.get_context('fork').Pool(2).map(abs, [-1, -2])").text == "[1, 2]"


def test_what_is_printed_between_cells_is_the_next_ones(python):
    python.run(
        "import threading, time\nt = threading.Thread(target=lambda: (time.sleep(0.2), print('late')))\nt.start()"
    )
    assert "".join(python.run("t.join()").logs.stdout) == "late\n"


def test_too_much_is_cut_and_told(python):
    r = python.run("'x' * 3_000_000")
    assert len(r.text) == 1 << 20 and r.results[0].cut == {"text": "3000002 bytes, of which the first 1048576 are here"}
    r = python.run("for i in range(40): display('x' * 1_000_000)")
    assert len(r.results) == 16 and r.cut[0].startswith("results: 24, of 240"), r.cut
    r = python.run("print('a' * (17 << 20)); print('b', file=__import__('sys').stderr)")
    assert sum(map(len, r.logs.stdout)) == 16 << 20 and r.cut == (
        f"stdout: {(1 << 20) + 1} bytes, after the first {16 << 20}",
    )
    assert r.ok and r.logs.stderr == ("b\n",)
    r = python.run("raise ValueError('x' * 10_000_000)")
    assert "characters are cut here" in r.error.value and len(r.error.traceback) < 300_000
    assert python.run("1").cut == ()


def test_a_gigabyte_of_output_is_read_and_not_kept(python):
    r = python.run(
        "import os\nb = b'x' * (1 << 20)\nfor _ in range(1024):\n    n = 0\n    while n < len(b): n += os.write(1, b[n:])\n'done'"
    )
    assert r.text == "'done'" and sum(map(len, r.logs.stdout)) == 16 << 20
    assert r.cut == (f"stdout: {(1 << 30) - (16 << 20)} bytes, after the first {16 << 20}",)
