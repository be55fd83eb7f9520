"""The same cells in an `Interpreter` and in a Jupyter kernel give the same results: figures, tables, pictures, errors."""

from __future__ import annotations

import io
import queue
import sys

import pytest
from jupyter_client.manager import start_new_kernel
from PIL import Image

import pyjail
from pyjail import Interpreter, Jail, Limits
from pyjail.interpreter import Display

MIMES = {"text/plain": "text", "text/html": "html", "image/png": "png", "image/svg+xml": "svg", "text/latex": "latex",
         "text/markdown": "markdown", "application/json": "json", "image/jpeg": "jpeg"}  # fmt: skip
SETUP = "import matplotlib.pyplot as plt, numpy as np, pandas as pd"


@pytest.fixture(scope="module")
def python():
    limits = Limits(cpu_time=None, wall_time=None, memory="1G", processes=128)
    with Interpreter(Jail(python=sys.executable), limits) as made:
        r = made.run(SETUP, timeout=300)
        assert r.ok, r.error
        yield made


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(startup_timeout=120)
    try:
        assert cell(client, SETUP) == ([], "", "", None)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def cell(client, code):
    """(results as {format: data}, stdout, stderr, error) of a cell in a Jupyter kernel."""
    asked = client.execute(code)
    results, streams, error = [], {"stdout": "", "stderr": ""}, None
    while True:
        try:
            message = client.get_iopub_msg(timeout=120)
        except queue.Empty:
            raise AssertionError(f"no answer to {code!r}") from None
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind in ("execute_result", "display_data"):
            results.append({MIMES[mime]: data for mime, data in content["data"].items()})
        elif kind == "stream":
            streams[content["name"]] += content["text"]
        elif kind == "error":
            error = content["ename"], content["evalue"]
        elif kind == "status" and content["execution_state"] == "idle":
            return results, streams["stdout"], streams["stderr"], error


def ours(r):
    forms = [{name: getattr(one, name) for name in one.formats() if name != "data"} for one in r.results]
    return forms, "".join(r.logs.stdout), "".join(r.logs.stderr), r.error and (r.error.name, r.error.value)


def pixels(text):
    image = Image.open(io.BytesIO(Display(png=text).raw("png")))
    return image.size, image.convert("RGBA").tobytes()


@pytest.mark.parametrize(
    "code",
    ["1 + 1", "'text'", "None", "print('a'); 5", "x = 3", "x;", "import sys; print('e', file=sys.stderr)", "_ = 3", "[1, 2, {'a': (1,)}]",
     "pd.DataFrame({'a': [1, 2, 3], 'b': list('xyz')})", "pd.DataFrame(np.arange(300).reshape(100, 3))", "pd.DataFrame(np.ones((3, 80)))",
     "pd.DataFrame({'<b>': ['<script>', None]}, index=pd.date_range('2026-01-01', periods=2))", "pd.Series([1.5, None], name='s')",
     "pd.DataFrame({'a': [1]}).style.to_html()[:6]", "np.arange(12).reshape(3, 4)", "pd.DataFrame({'a': [1]}).groupby('a').sum()",
     "1 / 0", "int('x')", "nope", "assert False, 'no'", "{}['é']", "import nowhere_at_all",
     "display(1, 'two'); 3", "from IPython.display import HTML, Markdown, Latex, JSON; HTML('<b>x</b>')", "display(Markdown('**x**'), Latex('$x$'))",
     "display(JSON({'a': [1, None]}))", "from PIL import Image; Image.new('RGB', (3, 2), 'red')",
     "class A:\n    def _repr_html_(self): return '<i>'\n    def __repr__(self): return 'A'\nA()",
     "class B:\n    def _repr_mimebundle_(self, include=None, exclude=None): return {'text/markdown': '*', 'text/plain': 'p'}\nB()"],
)  # fmt: skip
def test_the_same_cell_gives_the_same(python, kernel, code):
    expected, got = cell(kernel, code), ours(python.run(code))
    for results in (expected[0], got[0]):
        for forms in results:
            if "png" in forms:
                forms["png"] = pixels(forms["png"])
            forms.pop("jpeg", None)  # of pillow's pictures, which an encoder may write in more than one way
    assert got == expected


FIGURES = {
    "plot": "plt.plot([1, 2, 3]);",
    "two": "plt.plot([1, 2]); plt.figure(); plt.bar([1, 2], [3, 4]);",
    "show": "plt.scatter([1, 2], [3, 1]); plt.title('é'); plt.show()\nplt.hist([1, 1, 2]); plt.show()",
    "axes": "fig, axes = plt.subplots(2, 2, figsize=(5, 3), dpi=80)\naxes[0][0].imshow(np.eye(5))\nNone",
    "pandas": "pd.DataFrame({'a': [1, 3, 2]}).plot();",
    "face": "fig = plt.figure(facecolor='lightblue'); plt.pie([1, 2]); None",
}


@pytest.mark.parametrize("code", FIGURES.values(), ids=FIGURES)
def test_figures_are_the_same_pictures(python, kernel, code):
    expected, r = cell(kernel, code), python.run(code)
    drawn = [forms for forms in expected[0] if "png" in forms]
    assert r.ok and expected[3] is None and r.logs.stderr == (), (r, expected)
    assert [pixels(one.png) for one in r.results] == [pixels(forms["png"]) for forms in drawn] != []
    assert [one.text for one in r.results] == [forms["text"] for forms in drawn]
    assert python.run("plt.get_fignums()").text == "[]"


def test_a_figure_that_is_the_result_is_shown_once(python):
    r = python.run("fig, ax = plt.subplots(); ax.plot([1]); fig")
    assert [(one.formats(), one.is_main_result) for one in r.results] == [(("text", "png"), True)]


def test_svg_and_pdf_on_request():
    with Interpreter(
        Jail(python=sys.executable),
        pyjail.Limits(cpu_time=None, wall_time=None, memory="1G"),
        figures=("png", "svg", "pdf"),
    ) as python:
        (shown,) = python.run("import matplotlib.pyplot as plt\nplt.plot([1, 2]);", timeout=300).results
        assert shown.formats() == ("text", "svg", "png", "pdf")
        assert "<svg" in shown.svg and shown.raw("pdf").startswith(b"%PDF")


def test_a_tables_columns_are_data(python):
    r = python.run("pd.DataFrame({'a': [1, None], 'b': ['x', 'é'], 'c': pd.to_datetime(['2026-01-01', None])})")
    assert r.results[0].data == {"a": [1.0, None], "b": ["x", "é"], "c": ["2026-01-01T00:00:00.000", None]}
    assert python.run("pd.DataFrame(np.zeros((1000, 50)))").results[0].data is None
    assert python.run("pd.DataFrame([[1, 2]], columns=['a', 'a'])").results[0].data is None


def test_a_table_beyond_the_bound_is_cut_and_says_so(python):
    r = python.run("pd.set_option('display.max_rows', None)\npd.DataFrame({'a': range(100_000)})")
    (shown,) = r.results
    assert "bytes" in shown.cut["html"] and shown.html is None and len(shown.text) <= 1 << 20, shown.cut
    python.run("pd.reset_option('display.max_rows')")
