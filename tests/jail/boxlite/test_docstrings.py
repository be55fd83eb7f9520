"""The examples of the real package's docstrings run as they stand, but for the import, and the directory /local of the
host, which is one of the test's."""

from __future__ import annotations

import doctest
import io
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest

import pyjail.testing
from pyjail import boxlite
from pyjail.boxlite import _runtime
from tests import place
from tests.conftest import SLOW
from tests.jail.boxlite.conftest import PATIENCE, run
from tests.jail.boxlite.docstrings import ASYNC, CODE, CODE_BOX, SYNC

pytestmark = [pytest.mark.needs_cgroups, pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)]


def wheel(directory: Path, name: str, version: str) -> None:
    """One of a package that has its version."""
    record = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as z:
        z.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\n")
        z.writestr(f"{record}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        z.writestr(f"{record}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(
            f"{record}/RECORD", f"{name}/__init__.py,,\n{record}/METADATA,,\n{record}/WHEEL,,\n{record}/RECORD,,\n"
        )


@pytest.fixture(autouse=True)
def as_it_is_imported_there(default, monkeypatch, alpine, tmp_path):
    """The images and packages that the examples name: pip's configuration names the only place of the latter."""
    default(images={"alpine:latest": alpine}, timeout_seconds=PATIENCE)
    monkeypatch.setitem(sys.modules, "boxlite", boxlite)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, version in (("requests", "2.32.3"), ("numpy", "2.1.0"), ("pandas", "2.2.3")):
        wheel(wheels, name, version)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pyjail.testing.nothing_left():
        yield


def names() -> dict[str, Any]:
    return {name: getattr(boxlite, name) for name in boxlite.__all__} | {"boxlite": boxlite}


def coroutine(body: str, given: str = "") -> Any:
    scope = names()
    exec(f"async def main({given}):\n    result = None\n{textwrap.indent(body, '    ')}\n    return locals()", scope)
    return scope["main"]


@pytest.mark.parametrize("name", CODE)
def test_examples_of_a_code_box(name, capsys):
    examples = doctest.DocTestParser().get_examples(CODE[name])
    left = run(coroutine("".join(e.source for e in examples))())
    assert capsys.readouterr().out.strip() == "".join(e.want for e in examples).strip()
    if "print" in examples[0].source:
        assert left["result"] == ("2.32.3\n" if "requests" in name or "package" in name else "Hello, World!\n")


@pytest.mark.parametrize("name", [name for name in ASYNC if name.startswith("SimpleBox.exec")])
def test_examples_of_exec(name):
    async def main():
        async with boxlite.SimpleBox(image="python:slim") as box:
            return (await coroutine(ASYNC[name], "box")(box))["result"]

    if "user" in name:
        with pytest.raises(boxlite.UnsupportedError, match="every program of a box is user 1000"):
            run(main())
    else:
        result = run(main())
        assert result.exit_code == 0 and result.stdout == ("/tmp\n" if "directory" in name else result.stdout) != ""


def test_the_example_of_start():
    async def main():
        left = await coroutine(ASYNC["SimpleBox.start"])()
        await left["box"].stop()

    run(main())


def test_the_example_of_an_interactive_box():
    run(coroutine(ASYNC["InteractiveBox"])())


def test_examples_of_copies(tmp_path):
    local = tmp_path / "local"
    (local / "data").mkdir(parents=True)
    (local / "config.json").write_text("{}")
    (local / "data/one").write_text("1")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.add(local / "data/one", "from_tar")

    async def main():
        async with boxlite.SimpleBox(image="python:slim") as box:

            async def example(name):
                body = ASYNC[name].replace("/local/", f"{local}/")
                return await coroutine(body, "box, tar_bytes")(box, tar.getvalue())

            async def there(*paths):
                return (await box.exec("cat", *paths)).stdout

            await example("SimpleBox.copy_in, file")
            await example("SimpleBox.copy_in, directory")
            assert await there("/app/config.json", "/app/data/one") == "{}1"
            await box.exec("rm", "-r", "/app/data")
            await example("SimpleBox.copy_in, contents")
            assert await there("/app/data/one") == "1"
            assert (await example("SimpleBox.copy_in, tar"))["result"].exit_code == 0
            assert await there("/tmp/from_tar") == "1"
            await box.exec("sh", "-c", "echo log > /app/output.log; mkdir /app/results; echo r > /app/results/r")
            await example("SimpleBox.copy_out, file")
            await example("SimpleBox.copy_out, directory")
            await example("SimpleBox.copy_out, contents")

    run(main())
    assert (local / "output.log").read_text() == "log\n" and (local / "results/r").read_text() == "r\n"


@pytest.mark.parametrize("name", [name for name in SYNC if not name.startswith(("SyncExec", "SyncBox.exec"))])
def test_programs_without_await(name, capsys, monkeypatch):
    scope = names()
    if "init_default" in name:
        monkeypatch.setattr(_runtime, "_default", [])
    exec(compile(SYNC[name], name, "exec"), scope)
    out = capsys.readouterr().out
    if "Hello" in SYNC[name]:
        assert "Hello" in out
    elif "print" in SYNC[name]:
        assert "total" in out
    if "manual" in name or "stop" in name:
        scope["box"].stop()
    assert not Path("/custom/path").exists()


@pytest.mark.parametrize("name", [name for name in SYNC if name.startswith(("SyncExec", "SyncBox.exec"))])
def test_parts_of_programs_without_await(name, capsys):
    with boxlite.SyncBoxlite.default().create(boxlite.BoxOptions(image="alpine")) as box:
        execution = box.exec("sh", ["-c", "cat; echo err >&2" if "tdin" in name else "echo Hello; echo Hello >&2"])
        exec(compile(SYNC[name], name, "exec"), names() | {"box": box, "execution": execution})
        assert execution.wait().exit_code == 0
        if "tdin" in name:
            assert list(execution.stdout()) == ["hello\n"]
        else:
            assert "Hello" in capsys.readouterr().out


@pytest.mark.parametrize("name", CODE_BOX)
def test_parts_of_programs_with_a_code_box(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_script.py").write_text("print('script')")
    with boxlite.SyncCodeBox() as box:
        scope = names() | {"box": box}
        exec(compile(CODE_BOX[name], name, "exec"), scope)
        if name.endswith("packages"):
            assert box.run("import numpy, pandas; print(numpy.__version__)") == "2.1.0\n"
        else:
            wanted = {"SyncCodeBox.run_script": "script\n", "SyncCodeBox.install_package": "2.32.3\n"}
            assert scope["result"] == wanted.get(name, scope["result"])
