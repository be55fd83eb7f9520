"""Clients that know nothing of jails run a notebook in one, by the name of its kernel."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from jupyter_client.multikernelmanager import AsyncMultiKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook

from tests.integrations.jupyter.conftest import NAME

ROOT = Path(__file__).resolve().parents[3]


def notebook(*cells):
    return new_notebook(cells=[new_code_cell(cell) for cell in cells])


def said(made):
    return ["".join(out.get("text", "") for out in cell.outputs) for cell in made.cells]


def test_nbclient_executes_a_notebook(jupyter, tmp_path):
    made = notebook(
        "import os, sys\nx = 21",
        "print(os.getcwd(), sys.executable)",
        "x * 2",
        f"print(os.path.exists({str(tmp_path)!r}))",
    )
    NotebookClient(made, kernel_name=NAME, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert said(made) == ["", "/box /python/bin/python3\n", "", "False\n"]
    assert made.cells[2].outputs[0].data["text/plain"] == "42"
    nbformat.validate(made)


def test_a_cell_that_takes_too_long_is_interrupted_and_the_next_one_runs(jupyter):
    made = notebook("x = 1", "while True: pass", "print(x)")
    client = NotebookClient(made, kernel_name=NAME, timeout=2, interrupt_on_timeout=True, allow_errors=True)
    client.execute()
    assert made.cells[1].outputs[0].ename == "KeyboardInterrupt"
    assert said(made)[2] == "1\n"
    with pytest.raises(CellTimeoutError):
        NotebookClient(notebook("import time; time.sleep(1000)"), kernel_name=NAME, timeout=1).execute()


def test_a_dead_kernel_is_one_to_nbclient(jupyter, log):
    with pytest.raises(DeadKernelError):
        NotebookClient(notebook("b = bytearray(1 << 31)"), kernel_name=NAME, timeout=60).execute()
    assert "was ended by its limit memory (1G)" in log.text


def test_a_kernel_that_cannot_start_says_why(jupyter):
    from pyjail.integrations import jupyter_kernels

    jupyter_kernels.install("small", prefix=str(jupyter), limits={"memory": "128M"})
    path = jupyter / "share/jupyter/kernels/small/kernel.json"
    path.write_text(path.read_text().replace("ipykernel_launcher", "no_such_kernel"))
    with pytest.raises(RuntimeError, match=r"ended at once.*has no module no_such_kernel"):
        NotebookClient(notebook("1"), kernel_name="small").execute()
    path.write_text(path.read_text().replace('"-m"', '"-c"'))
    with pytest.raises(RuntimeError, match=r"must be PYTHON .* -m MODULE .* as `pyjail kernel install` writes it"):
        NotebookClient(notebook("1"), kernel_name="small").execute()
    path.write_text(path.read_text().replace("128M", "128X"))
    with pytest.raises(ValueError, match=r"limits.memory"):
        NotebookClient(notebook("1"), kernel_name="small").execute()


def test_papermill_passes_parameters(jupyter, tmp_path):
    made = notebook("n = 1", "print(n * 2)")
    made.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(made, tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        parameters={"n": 21},
        kernel_name=NAME,
        language="python",
        progress_bar=False,
    )
    assert said(done)[-1] == "42\n"


def test_jupyter_execute_by_its_command_line(jupyter, tmp_path):
    nbformat.write(notebook("import os", "print(os.getcwd())"), tmp_path / "n.ipynb")
    command = [sys.executable, "-m", "jupyter", "execute", f"--kernel_name={NAME}", "--inplace", "n.ipynb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=100)
    assert said(nbformat.read(tmp_path / "n.ipynb", 4))[1] == "/box\n"


def test_outputs_are_those_of_a_kernel_without_a_jail(jupyter, monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it, ipykernel leaves out what children print
    cells = (
        "class R:\n    def __repr__(self): return 'r'\n    def _repr_html_(self): return '<b>r</b>'\n    def _repr_png_(self): return b'\\x89PNG'\nR()",
        "from IPython.display import display, JSON, Latex\ndisplay(JSON({'a': 1}), Latex('$x$')); 1/0",
        "%%bash\necho out; echo err >&2",
        "import sys\nprint('é' * 3); print('e', file=sys.stderr)",
        "!printf 'a\\nb'; echo $((1 + 2))",
        "lines = !echo x; echo y\nlines",
        "import os, time; os.system('echo of a child'); time.sleep(1)",
        "%timeit -n1 -r1 pass\n%who_ls",
    )

    def outputs(name):
        made = notebook(*cells)
        NotebookClient(made, kernel_name=name, allow_errors=True, timeout=60).execute()
        rows = []
        for cell in made.cells:
            texts = {}
            for out in cell.outputs:
                if out.output_type == "stream":
                    texts[out.name] = texts.get(out.name, "") + out.text.replace("\r\n", "\n")
                else:
                    rows.append(dict(out.get("data", {})) or out.ename)
            rows.append(texts)
        return rows[:-1]  # times differ

    assert outputs(NAME) == outputs("python3")


def test_the_example(jupyter):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    out = subprocess.run(
        [sys.executable, ROOT / "examples/notebook.py"],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert out.stdout.splitlines() == [
        "dead kernel: Kernel died", "[2] 42 /box False", "[3] 84 by box", "[4] no network: [Errno 97] Address family not supported by protocol",
    ]  # fmt: skip
    assert "was ended by its limit memory (256M)" in out.stderr


def test_a_server_s_manager_starts_a_killed_kernel_again(jupyter, log, tmp_path):
    """As JupyterLab does: many kernels by one manager, which looks after them."""

    async def main():
        manager = AsyncMultiKernelManager(
            kernel_manager_class="jupyter_client.ioloop.AsyncIOLoopKernelManager",
            connection_dir=str(tmp_path),
            kernel_name=NAME,
        )
        first, second = [await manager.start_kernel(kernel_name=NAME) for _ in range(2)]
        client = manager.get_kernel(first).client()
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        await client.execute_interactive("open('kept', 'w').close()", timeout=60)
        restarted = asyncio.Event()
        manager.add_restart_callback(first, restarted.set)
        client.execute("b = bytearray(1 << 31)")
        await asyncio.wait_for(restarted.wait(), 60)
        await client.wait_for_ready(timeout=60)
        said = []
        hook = lambda m: said.append(m["content"].get("text"))  # noqa: E731
        await client.execute_interactive("import os; print(os.listdir())", timeout=60, output_hook=hook)
        assert "['kept']\n" in said
        assert await manager.is_alive(second)
        assert log.text.count("was ended by its limit memory") == 1
        client.stop_channels()
        await manager.shutdown_all()

    asyncio.run(main())
