"""Executes a notebook in a jail, by the name of its kernel; needs the extra `jupyter`, and nbclient.

`python examples/notebook.py` makes one, with a last cell that takes too much memory.
"""

from __future__ import annotations

import logging
import os
import tempfile

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook

from pyjail.integrations import jupyter_kernels

CELLS = (
    "import os, sys\nx = 6 * 7",
    "print(x, os.getcwd(), os.path.exists(os.path.expanduser('~/.ssh')))",
    "!echo {x * 2} by $(id -un)",
    "import socket\ntry:\n    socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError as e:\n    print('no network:', e)",
    "data = bytearray(1 << 30)",
)


def main() -> None:
    """Make the notebook, execute it, and tell what became of each cell."""
    logging.basicConfig(format="log: %(message)s", level=logging.ERROR)
    with tempfile.TemporaryDirectory() as prefix:
        jupyter_kernels.install("python-jailed", prefix=prefix, limits={"memory": "256M", "cpu_time": "60s"})
        os.environ["JUPYTER_PATH"] = f"{prefix}/share/jupyter"
        notebook = new_notebook(cells=[new_code_cell(cell) for cell in CELLS])
        try:
            NotebookClient(notebook, kernel_name="python-jailed", timeout=60).execute()
        except DeadKernelError as e:
            print("dead kernel:", e)
        for cell in notebook.cells:
            said = "".join(output.get("text", "") for output in cell.outputs).strip()
            if said:
                print(f"[{cell.execution_count}] {said}")
        nbformat.validate(notebook)


if __name__ == "__main__":
    main()
