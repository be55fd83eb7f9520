"""Whether runs would be done: /readyz says so when their worker is dead, or nothing can be kept."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from pyjail import serve
from pyjail.serve import Config
from pyjail.serve.config import Files, Observe
from tests.jail.serve.served import PATIENCE
from tests.jail.serve.small_disk import script


@asynccontextmanager
async def asked(config):
    """A client of such a service while the block lasts."""
    app = serve.app(config)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=PATIENCE) as client,
    ):
        yield client


def test_a_service_whose_worker_died_is_not_ready_and_says_why(tmp_path):
    async def main():
        async with asked(Config(state=str(tmp_path), files=Files(floor=0), observe=Observe(log=False))) as client:
            assert (await client.get("/readyz")).status_code == 200
            (worker,) = (task for task in asyncio.all_tasks() if task.get_name() == "pyjail-worker")
            worker.cancel()
            await asyncio.wait((worker,))
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["detail"]) == (503, "the worker of runs is dead")
            assert int(answer.headers["retry-after"]) >= 1
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(main())


@pytest.mark.needs_root
def test_a_service_that_cannot_write_its_store_is_not_ready_until_it_can(tmp_path):
    script(tmp_path, """
        import asyncio, os, sys
        from pathlib import Path
        from pyjail.serve import Config
        from pyjail.serve.config import Files, Jobs, Observe
        from tests.jail.serve.test_ready import asked

        async def until(client, status):
            async with asyncio.timeout(60):
                while (answer := await client.get("/readyz")).status_code != status:
                    await asyncio.sleep(0.05)
            return answer.json()

        async def main():
            config = Config(state=sys.argv[1], files=Files(floor=0), jobs=Jobs(lease=2), observe=Observe(log=False))
            async with asked(config) as client:
                await until(client, 200)
                full = Path(sys.argv[1], "full")
                with full.open("wb", buffering=0) as written:
                    try:
                        while True:
                            written.write(bytes(4096))
                    except OSError:
                        pass
                assert (await until(client, 503))["detail"] == "the store of runs fails"
                full.unlink()
                await until(client, 200)

        asyncio.run(main())
    """)  # fmt: skip
