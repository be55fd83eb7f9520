"""What nobody asks for any more goes, without anybody's asking for that."""

from __future__ import annotations

import asyncio
import hashlib

import httpx

from pyjail import serve
from pyjail.serve import service
from pyjail.serve.config import Config, Files, Jobs, Observe
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
