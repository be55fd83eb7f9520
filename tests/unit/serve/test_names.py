"""Files by names of clients: each tenant's and face's own, gone with their names, never a path of this machine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from pyjail.serve.config import Files
from pyjail.serve.files import FileStore
from pyjail.serve.names import Names
from pyjail.serve.problem import Problem

LIMITS = Files(floor=0)


@asynccontextmanager
async def named(directory, limits=LIMITS, **more):
    names = Names(directory, FileStore(directory, limits, **more))
    yield names
    await names.close()


def left(directory):
    return [path for path in directory.rglob("*") if path.is_file() and "names.sqlite3" not in path.name]


def test_each_tenant_and_face_has_its_own_names(tmp_path):
    async def main():
        async with named(tmp_path) as names:
            await names.put("a", "boxer", "x/y", b"1")
            await names.put("a", "judge0", "x/y", b"2")
            await names.put("b", "boxer", "x/y", b"3")
            assert await names.get("a", "boxer", "x/y") == b"1"
            assert await names.get("a", "judge0", "x/y") == b"2"
            assert await names.get("c", "boxer", "x/y") is None
            assert await names.names("a", "boxer") == ["x/y"]
            assert not await names.drop("c", "boxer", "x/y")

    asyncio.run(main())


def test_a_file_goes_with_its_last_name_and_one_that_was_uploaded_stays(tmp_path):
    async def main():
        async with named(tmp_path) as names:
            names._files.put("a", b"1")
            uploaded = len(left(tmp_path))
            await names.put("a", "boxer", "x", b"1")
            await names.put("a", "boxer", "y", b"1")
            await names.put("a", "boxer", "z", b"other")
            await names.put("a", "boxer", "z", b"1")
            assert await names.drop("a", "boxer", "x")
            assert await names.get("a", "boxer", "y") == b"1"
            assert await names.names("a", "boxer") == ["y", "z"]
            assert await names.drop("a", "boxer", "y") and await names.drop("a", "boxer", "z")
            assert not await names.drop("a", "boxer", "y")
            assert len(left(tmp_path)) == uploaded

    asyncio.run(main())


def test_names_outlive_the_service_and_go_with_files_that_expire(tmp_path):
    now = [1000.0]

    async def main():
        async with named(tmp_path, replace(LIMITS, keep=100), now=lambda: now[0]) as names:
            await names.put("a", "boxer", "x", b"1")
            await names.put("a", "boxer", "y", b"2")
        async with named(tmp_path, replace(LIMITS, keep=100), now=lambda: now[0]) as names:
            now[0] += 90
            assert await names.get("a", "boxer", "x") == b"1"
            now[0] += 90
            assert names._files.expire() == 1
            assert await names.get("a", "boxer", "y") is None
            assert not await names.drop("a", "boxer", "y")
            assert await names.names("a", "boxer") == ["x"]
            await names.put("a", "boxer", "w", b"3")
            names._files.drop("named\0a", await names.digest("a", "boxer", "w"))
            assert await names.prune() == 1

    asyncio.run(main())


def test_names_of_one_content_are_bounded_too(tmp_path):
    async def main():
        async with named(tmp_path, replace(LIMITS, count=2)) as names:
            for path in "xyy":
                await names.put("a", "boxer", path, b"1")
            with pytest.raises(Problem) as e:
                await names.put("a", "boxer", "z", b"1")
            assert e.value.status == 507
            await names.drop("a", "boxer", "x")
            await names.put("a", "boxer", "z", b"1")
            await names.put("b", "boxer", "x", b"1")

    asyncio.run(main())


@pytest.mark.parametrize(
    "path", ["", "/x", "../x", "x/..", "x//y", "x/", "./x", "x/./y", "a\0b", "\ud800", "x" * 256, "x/" * 2000 + "x"]
)
def test_a_path_that_leads_elsewhere_or_is_none_is_refused(path, tmp_path):
    async def main():
        async with named(tmp_path) as names:
            with pytest.raises(Problem) as e:
                await names.put("a", "boxer", path, b"1")
            assert e.value.status == 422
            assert await names.names("a", "boxer") == []

    asyncio.run(main())
    assert left(tmp_path) == []


def test_odd_names_are_names(tmp_path):
    odd = ["-rf", "x'; DROP TABLE names; --", "é\u202e\n", "...", "x" * 255, "%2e%2e"]

    async def main():
        async with named(tmp_path) as names:
            for path in odd:
                await names.put("a", "boxer", path, path.encode())
            assert await names.names("a", "boxer") == sorted(odd)
            assert [await names.get("a", "boxer", path) for path in odd] == [path.encode() for path in odd]

    asyncio.run(main())
