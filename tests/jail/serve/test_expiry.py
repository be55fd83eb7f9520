"""What nobody asks for any more goes, without anybody's asking for that."""

from __future__ import annotations

import asyncio
import hashlib

import httpx

from pyjail import serve
from pyjail.serve import service
from pyjail.serve.config import Admission, Config, Files, Jobs, Observe
from tests.conftest import SLOW
from tests.jail.serve.served import PATIENCE


def test_runs_and_files_go_when_their_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "TIDY", 0.05)
    script = "head -c 100000 /dev/zero | tr '\\0' x"
    where = f"/v1/files/{hashlib.sha256(b'x').hexdigest()}"

    async def main():
        app = serve.app(
            Config(
                state=str(tmp_path),
                files=Files(floor=0, keep=2 * SLOW),
                jobs=Jobs(keep=2 * SLOW),
                observe=Observe(log=False),
            )
        )
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE) as client,
        ):
            assert (await client.put(where, content=b"x")).status_code == 201
            asked = {"args": ["sh", "-c", script]}
            run = await client.post("/v1/runs", json=asked, headers={"Prefer": "respond-async", "Idempotency-Key": "k"})
            found = await client.get(run.headers["location"], params={"wait": 50})
            assert len(found.json()["result"]["stdout"]["bytes"]) == 100_000
            async with asyncio.timeout(PATIENCE):
                while left():
                    await asyncio.sleep(0.05)
            assert (await client.get(where)).status_code == 404
            again = await client.post("/v1/runs", json={"args": ["true"]}, headers={"Idempotency-Key": "k"})
            assert again.status_code == 200 and again.json()["id"] != run.json()["id"]

    def left():
        return [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path]

    asyncio.run(main())


def test_a_file_that_a_waiting_run_names_stays_until_the_run_has_had_it(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "TIDY", 0.05)
    named, other = ({"sha256": hashlib.sha256(text).hexdigest()} for text in (b"named", b"other"))

    async def main():
        config = Config(
            state=str(tmp_path), files=Files(floor=0, keep=2 * SLOW), observe=Observe(log=False),
            admission=Admission(concurrent=1),
        )  # fmt: skip
        app = serve.app(config)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE) as client,
        ):
            for text, file in ((b"named", named), (b"other", other)):
                assert (await client.put(f"/v1/files/{file['sha256']}", content=text)).status_code == 201
            later = {"Prefer": "respond-async"}
            await client.post("/v1/runs", json={"args": ["sleep", str(4 * SLOW)]}, headers=later)
            asked = {"args": ["cat", "a"], "files": {"a": named}}
            run = await client.post("/v1/runs", json=asked, headers=later)
            found = await client.get(run.headers["location"], params={"wait": 50})
            assert found.json()["result"]["stdout"] == {"bytes": "named"}
            assert (await client.head(f"/v1/files/{other['sha256']}")).status_code == 404
            async with asyncio.timeout(PATIENCE):
                while [path for path in (tmp_path / "files").rglob("*") if path.is_file()]:
                    await asyncio.sleep(0.05)

    asyncio.run(main())
