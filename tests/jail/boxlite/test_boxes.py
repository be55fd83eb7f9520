"""Boxes by BoxLite's interface: what each word of it does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

import pyjail
import pyjail.testing
from pyjail import boxlite
from pyjail.boxlite import _store
from tests.conftest import SLOW
from tests.jail.boxlite.conftest import PATIENCE, run

pytestmark = pytest.mark.needs_cgroups
PYTHON = "python:slim"


@pytest.fixture(autouse=True)
def runtime(default):
    return default(timeout_seconds=PATIENCE)


async def here(*command: str, **options):
    async with boxlite.SimpleBox(image=PYTHON) as box:
        return await box.exec(*command, **options)


def test_a_program_s_end_is_told_and_no_exception():
    async def main():
        async with boxlite.SimpleBox(image=PYTHON, memory_mb=128) as box:
            assert box.jail.limits.memory == 128 << 20
            return [
                await box.exec("sh", "-c", "echo out; echo err >&2; exit 3"),
                await box.exec("sh", "-c", "kill -9 $$"),
                await box.exec("python", "-c", "import sys; print(sys.version_info[:2])"),
                await box.exec("pwd", cwd="/tmp", env={"A": "b"}),
            ]

    failed, killed, python, where = run(main())
    assert (failed.exit_code, failed.stdout, failed.stderr, failed.error_message) == (3, "out\n", "err\n", None)
    assert killed.exit_code == -9 and killed.result.verdict is pyjail.Verdict.SIGNALED
    assert python.exit_code == 0 and where.stdout == "/tmp\n"


def test_both_spellings_are_one():
    for words in ({"memory_mb": 96}, {"memory_mib": 96}):

        async def main(words=words):
            async with boxlite.CodeBox(**words, cpus=0.5, timeout_seconds=PATIENCE) as box:
                return box.jail.limits

        limits = run(main())
        assert (limits.memory, limits.cpus, limits.wall_time) == (96 << 20, 0.5, PATIENCE)


def test_timeout_seconds_kills_the_program_and_ends_the_box():
    async def main():
        async with boxlite.SimpleBox(image=PYTHON, timeout_seconds=1.5 * SLOW) as box:
            started = time.monotonic()
            with pytest.raises(boxlite.TimeoutError, match="timeout_seconds") as caught:
                await box.exec("sh", "-c", "echo begun; (sleep 1000 &) ; sleep 1000")
            assert time.monotonic() - started < PATIENCE
            assert isinstance(caught.value, TimeoutError) and isinstance(caught.value, asyncio.TimeoutError)
            assert caught.value.result.stdout == "begun\n"
            with pytest.raises(boxlite.TimeoutError, match="are over"):
                await box.exec("true")

    run(main())


def test_what_a_box_s_programs_left_behind_ends_with_its_time():
    async def main():
        async with boxlite.SimpleBox(image=PYTHON, timeout_seconds=2 * SLOW) as box:
            await box.exec("sh", "-c", "sleep 1000 > /dev/null 2>&1 &")
            assert [p for p in await box.jail.processes() if p.kept]
            async with asyncio.timeout(PATIENCE):
                while [p for p in await box.jail.processes() if p.kept]:
                    await asyncio.sleep(0.1)

    run(main())


def test_timeout_of_one_call():
    async def main():
        async with boxlite.SimpleBox(image=PYTHON) as box:
            with pytest.raises(boxlite.TimeoutError):
                await box.exec("sleep", "1000", timeout=0.3)
            assert (await box.exec("echo", "on")).stdout == "on\n"

    run(main())


def test_cancelling_kills_the_program_and_waits():
    async def main():
        async with boxlite.SimpleBox(image=PYTHON) as box:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(box.exec("sh", "-c", "sleep 1000 & sleep 1000"), 0.5)
            assert [p for p in await box.jail.processes() if "sleep" in p.args] == []
            assert (await box.exec("echo", "on")).stdout == "on\n"

    run(main())


def test_limits_that_end_a_program_are_resource_errors():
    async def main():
        async with boxlite.CodeBox(memory_mb=64) as box:
            with pytest.raises(boxlite.ResourceError, match="memory") as caught:
                await box.run("print('begun', flush=True); x = bytearray(200 << 20)")
            assert caught.value.result.stdout == "begun\n" and caught.value.code == "resource_exhausted"
            with pytest.raises(boxlite.ResourceExhaustedError, match="output"):
                await box.run("while True: print('x' * 9999)")
            return await box.run("print('on')")

    assert run(main()) == "on\n"


def test_a_program_that_is_not_there_raises():
    with pytest.raises(boxlite.ExecutionError, match="no-such-program"):
        run(here("no-such-program"))
    with pytest.raises(boxlite.ExecutionError):
        run(here("true", cwd="/no/such/directory"))


@pytest.mark.parametrize("user", ["root", "nobody", 0])
def test_another_user_is_refused(user):
    with pytest.raises(boxlite.UnsupportedError, match="every program of a box is user 1000"):
        run(here("id", user=user))
    assert run(here("id", "-u", user="1000")).stdout == "1000\n"


def test_the_code_s_result_is_a_text_that_has_the_rest():
    async def main():
        async with boxlite.CodeBox() as box:
            long = await box.run(f"x = {'1' * 200_000!r}\nprint(len(x))")
            return long, await box.run("import sys; print('a'); print('b', file=sys.stderr); sys.exit(4)")

    long, result = run(main())
    assert long == "200000\n"
    assert isinstance(result, str) and result == result.stdout == "a\n"
    assert (result.stderr, result.exit_code, result.result.verdict) == ("b\n", 4, pyjail.Verdict.RUNTIME_ERROR)


def test_a_script_of_the_host(tmp_path):
    (tmp_path / "script.py").write_text("print('from the host')")

    async def main():
        async with boxlite.CodeBox() as box:
            return await box.run_script(str(tmp_path / "script.py"))

    assert run(main()) == "from the host\n"


def test_several_programs_at_once_share_files_and_one_lives_on():
    async def main():
        async with boxlite.SimpleBox(image=PYTHON) as box:
            await box.exec(
                "sh", "-c", "(while :; do [ -e /tmp/go ] && echo went > /home/done && break; sleep 0.05; done) &"
            )
            many = await asyncio.gather(*(box.exec("sh", "-c", f"echo {i} > /tmp/{i}; sleep 0.2") for i in range(6)))
            assert {r.exit_code for r in many} == {0}
            await box.exec("touch", "/tmp/go")
            async with asyncio.timeout(PATIENCE):
                while not (await box.exec("cat", "/home/done")).stdout:
                    await asyncio.sleep(0.05)
            return (await box.exec("sh", "-c", "cat /tmp/[0-9]")).stdout.split()

    assert run(main()) == list("012345")


def test_information():
    async def main():
        box = boxlite.SimpleBox(image=PYTHON, name="known", cpus=1, memory_mib=100)
        assert box.created is None
        with pytest.raises(RuntimeError, match="Box not started"):
            box.id  # noqa: B018
        assert await box.start() is box and box.created
        await box.exec("true")
        info, metrics = await box.info(), await box.metrics()
        listed = await boxlite.Boxlite.default().list_info()
        await box.stop()
        await box.shutdown()
        with pytest.raises(boxlite.StoppedError):
            await box.exec("true")
        return box, info, metrics, listed

    _, info, metrics, listed = run(main())
    assert (info.name, info.state.running, info.cpus, info.memory_mib) == ("known", True, 1.0, 100)
    assert "Python" in info.served and info.image == PYTHON
    assert metrics.commands_executed_total == 1 and metrics.memory_usage_bytes > 0
    assert [one.id for one in listed] == [info.id]


def test_copies(tmp_path):
    tree = tmp_path / "data"
    (tree / "below").mkdir(parents=True)
    (tree / "a").write_text("A")
    (tree / "below/b").write_text("B")
    (tree / "link").symlink_to("a")
    out = tmp_path / "out"
    out.mkdir()

    async def main():
        async with boxlite.SimpleBox(image=PYTHON) as box:
            await box.copy_in(tree / "a", "/app/config.json")
            await box.copy_in(f"{tree}/", "/app/data/")
            await box.copy_in(str(tree), "/app/data")  # it is there: into it
            await box.copy_in(f"{tree}/.", "/workspace")
            await box.copy_in(f"{tree}/.", "followed", follow_symlinks=True)
            found = await box.exec(
                "sh", "-c", "cat /app/config.json; cd /app/data; find . | sort; ls -l /box/followed/link"
            )
            assert found.stdout.startswith("A.\n./a\n./below\n./below/b\n./data\n./data/a\n")
            assert "->" not in found.stdout
            assert (await box.exec("cat", "/workspace/below/b")).stdout == "B"
            with pytest.raises(boxlite.AlreadyExistsError):
                await box.copy_in(tree / "a", "/app/config.json", overwrite=False)
            with pytest.raises(boxlite.AlreadyExistsError):
                await box.copy_in(f"{tree}/.", "/app/data", overwrite=False)
            with pytest.raises(boxlite.NotFoundError):
                await box.copy_in(tree / "none", "/app/none")
            with pytest.raises(boxlite.StorageError):
                await box.copy_in(tree / "a", "/usr/a")
            await box.copy_out("/app/data", out)
            await box.copy_out("/app/data/.", str(out / "contents"))
            await box.copy_out("/app/config.json", str(out / "config"))
            with pytest.raises(boxlite.AlreadyExistsError):
                await box.copy_out("/app/config.json", str(out / "config"), overwrite=False)
            with pytest.raises(boxlite.NotFoundError):
                await box.copy_out("/app/none", out)

    run(main())
    assert (out / "data/below/b").read_text() == (out / "contents/below/b").read_text() == "B"
    assert (out / "config").read_text() == "A" and (out / "data/link").is_symlink()


def test_snapshots():
    async def main():
        async with boxlite.SimpleBox(image=PYTHON) as box:
            await box.exec("sh", "-c", "echo before > /box/a; echo before > /tmp/b")
            taken = await box.snapshot.create("first")
            assert taken.box_id == box.id and taken.size_bytes == 14
            with pytest.raises(boxlite.AlreadyExistsError):
                await box.snapshot.create("first")
            await box.exec("sh", "-c", "echo after > /box/a; rm /tmp/b; sleep 1000 > /dev/null 2>&1 &")
            await box.snapshot.restore("first")
            assert (await box.exec("cat", "/box/a", "/tmp/b")).stdout == "before\n" * 2
            assert [one.name for one in await box.snapshot.list()] == ["first"]
            await box.snapshot.remove("first")
            assert await box.snapshot.get("first") is None
            with pytest.raises(boxlite.NotFoundError, match="first"):
                await box.snapshot.restore("first")

    run(main())


@pytest.mark.parametrize("where", [None, "home"])
def test_a_box_that_is_kept_has_its_files_again(default, tmp_path, where):
    default(timeout_seconds=PATIENCE, home_dir=where and str(tmp_path / where))
    options = {"image": PYTHON, "name": "kept", "auto_remove": False, "env": {"A": "b"}, "timeout_seconds": None}

    async def main():
        async with boxlite.SimpleBox(**options) as box:
            await box.exec("sh", "-c", "echo data > /home/file; chmod 600 /home/file")
            first = box.id
        if where:  # as another process would have it
            default(timeout_seconds=PATIENCE, home_dir=str(tmp_path / where))
        with pytest.raises(boxlite.AlreadyExistsError, match="reuse_existing"):
            await boxlite.SimpleBox(**options).start()
        async with boxlite.SimpleBox(**options, reuse_existing=True) as box:
            assert box.id == first and box.created is False
            assert (await box.exec("cat", "/home/file")).stdout == "data\n"
            assert (await box.exec("sh", "-c", "echo $A")).stdout == "b\n" and box.jail.limits.wall_time is None
        runtime = boxlite.Boxlite.default()
        assert [one.name for one in await runtime.list_info()] == ["kept"]
        await runtime.remove("kept")
        assert await runtime.get("kept") is None
        async with boxlite.SimpleBox(**options, reuse_existing=True) as box:
            assert box.created and (await box.exec("cat", "/home/file")).exit_code == 1
        await runtime.remove("kept")

    run(main())


def test_a_box_that_is_not_kept_is_gone_with_all_it_had():
    async def main():
        async with boxlite.CodeBox(name="passing") as box:
            await box.run("print(1)")
            directory = Path(box.box.packages.directory)
            assert directory.is_dir()
        assert await boxlite.Boxlite.default().get("passing") is None
        return directory

    with pyjail.testing.nothing_left():
        directory = run(main())
    assert not directory.exists()
    assert not [path for path in directory.parents if "pyjail-boxlite-" in path.name and path.exists()]


@pytest.mark.parametrize(
    "image",
    [
        "windows:11",
        "alpine",
        "ghcr.io/somebody/python:3.11",
        "python@sha256:0",
        "python:2.7",
        "debian:1",
        "pythonx",
        "php:8-apache",
    ],
)
def test_an_image_that_is_not_here_is_refused(image):
    with pytest.raises(boxlite.NotFoundError, match="rootfs_path="):
        run(boxlite.SimpleBox(image=image).start())


def test_another_version_than_the_image_s_is_told():
    async def main(image):
        async with boxlite.SimpleBox(image=image) as box:
            return (await box.info()).served

    with pytest.warns(boxlite.ImageWarning, match=r"Python 3\.\d+\.\d+, not 3\.99"):
        assert "Python 3." in run(main("python:3.99-slim"))
    with pytest.warns(boxlite.ImageWarning, match="not alpine"):
        run(main("docker.io/library/python:alpine"))


def test_a_directory_is_an_image(default, alpine):
    async def main(**given):
        async with boxlite.SimpleBox(**given) as box:
            with pytest.raises(boxlite.ExecutionError):
                await box.exec("python3", "-c", "1")
            return (await box.exec("ls", "/bin")).stdout.split()

    assert "busybox" in run(main(rootfs_path=alpine))
    default(images={"alpine:latest": alpine}, timeout_seconds=PATIENCE)
    assert "busybox" in run(main(image="alpine"))
    with pytest.raises(boxlite.NotFoundError):
        run(main(image="alpine:3.19"))
    with pytest.raises(boxlite.NotFoundError, match="no directory"):
        run(main(rootfs_path=f"{alpine}/none"))


def test_what_the_image_has_in_a_place_is_not_hidden(alpine):
    import pathlib

    (pathlib.Path(alpine) / "opt").mkdir()
    (pathlib.Path(alpine) / "opt/tool").write_text("of the image")

    async def main():
        async with boxlite.SimpleBox(rootfs_path=alpine) as box:
            return await box.exec("sh", "-c", "cat /opt/tool; echo x > /srv/x; cat /srv/x")

    assert run(main()).stdout == "of the imagex\n"


def test_no_packages_of_the_embedder_are_seen():
    async def main():
        async with boxlite.CodeBox() as box:
            return await box.run("import pytest")

    assert "ModuleNotFoundError" in run(main()).stderr


def test_a_lost_box_is_an_engine_error():
    async def main():
        async with boxlite.SimpleBox(image=PYTHON) as box:
            await box.jail.close()
            await box.exec("true")

    with pytest.raises(boxlite.EngineError):
        run(main())


def test_a_start_that_is_cancelled_leaves_nothing():
    async def main():
        for seconds in (0, 0.002, 0.005, 0.01, 0.02, 0.05):
            box = boxlite.CodeBox(name="once")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await box.start()
            await box.shutdown()
            assert await boxlite.Boxlite.default().list_info() == []

    run(main())  # what a first box opens for good
    with pyjail.testing.nothing_left():
        run(main())
    assert not any(path and os.path.exists(path) for _, path in _store._made)
