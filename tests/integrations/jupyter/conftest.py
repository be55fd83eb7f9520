"""A jailed kernel by name, in a Jupyter of its own; and what must not be left of it."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import threading
import time

import pytest
from jupyter_client.manager import KernelManager

import pyjail
from pyjail.integrations import jupyter_kernels
from tests.conftest import SLOW
from tests.host_side import keepers_of

NAME = "python-jailed"
PATIENCE = 60 * SLOW


class Kernel:
    """A kernel and a client of it."""

    def __init__(self, name, **given):
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(**given)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    @property
    def provisioner(self):
        return self.manager.provisioner

    def run(self, code, timeout=PATIENCE, when_it_prints=lambda: None):
        """What the cell printed; an error is raised with its name and text."""
        said, errors = [], []

        def take(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
                when_it_prints()
            elif message["msg_type"] == "error":
                errors.append(f"{content['ename']}: {content['evalue']}")

        self.client.execute_interactive(code, timeout=timeout, output_hook=take)
        if errors:
            raise RuntimeError(errors[0])
        return "".join(said)

    def begin(self, code):
        """Send a cell, and do not wait for it."""
        return self.client.execute(code)

    def poll(self):
        return asyncio.run(self.provisioner.poll())

    def info(self):
        return asyncio.run(self.provisioner.get_provisioner_info())["pyjail"]

    def dead(self):
        """Wait until it is: its return code. A limit may be far off on a busy machine."""
        assert until(lambda: self.poll() is not None, 60)
        return self.poll()

    def end(self):
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


def until(done, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory):
    """A Jupyter whose only files are here. The jailed kernel is installed in it."""
    root = tmp_path_factory.mktemp("jupyter")
    runtime = root / "run"
    runtime.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("config", "data"):
            patch.setenv(f"JUPYTER_{name.upper()}_DIR", str(root / name))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(root / "runtime"))
        patch.setenv("JUPYTER_PATH", str(root / "share/jupyter"))
        patch.setenv("HOME", str(root))
        with tempfile.TemporaryDirectory(dir="/tmp") as short:  # of no other tests that run here
            patch.setenv("XDG_RUNTIME_DIR", short)
            jupyter_kernels.install(NAME, prefix=str(root))
            yield root


def sockets():
    """Directories of kernels of these tests."""
    return sorted(os.listdir(os.environ["XDG_RUNTIME_DIR"]))


@pytest.fixture(autouse=True)
def nothing_left(jupyter):
    """Neither processes of ours nor directories, threads or sockets."""
    pyjail.close()  # the warm keepers of the runs that install tried
    before = sockets(), sorted(keepers_of(os.getpid()))
    yield
    pyjail.close()
    assert until(lambda: sorted(keepers_of(os.getpid())) == before[1], 10 * SLOW)
    assert sockets() == before[0]
    assert not [t for t in threading.enumerate() if t.name == "pyjail-kernel"]


@pytest.fixture
def start(jupyter, tmp_path_factory):
    """Starts kernels with limits and a jail of their own."""
    made = []

    def begin(limits=None, jail=None, **options):
        name = NAME
        given = options.pop("given", {})
        if limits or jail or options:
            name = f"k{len(made)}"
            jupyter_kernels.install(name, prefix=str(jupyter), limits=limits, jail=jail, **options)
        made.append(Kernel(name, **given))
        return made[-1]

    yield begin
    for kernel in made:
        kernel.end()


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "traitlets")
    return caplog
