"""Runs that give a lot back, while others ask for little."""

from __future__ import annotations

import base64
import threading
import time

import httpx
import pytest

from pyjail.serve import Config
from tests.conftest import SLOW
from tests.jail.serve.served import PATIENCE, served

SIZE = 60_000_000
TEXT = f"head -c {SIZE} /dev/zero | tr '\\0' x > big"
NONE = f"head -c {SIZE} /dev/zero | tr '\\0' '\\377' > big"


@pytest.fixture(scope="module")
def service():
    with served(Config()) as made:
        yield made


@pytest.fixture
def waits(service):
    """How long others have waited for little, in seconds, while the test lasted."""
    found, over = [], threading.Event()

    def ask():
        with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
            while not over.is_set():
                began = time.monotonic()
                assert client.get("/healthz").status_code == 200
                found.append(time.monotonic() - began)
                time.sleep(0.005)

    thread = threading.Thread(target=ask)
    thread.start()
    yield found
    over.set()
    thread.join()


@pytest.mark.parametrize("way", ["waits", "later", "step"])
@pytest.mark.parametrize("script", [TEXT, NONE])
def test_60_mb_of_files_come_whole_and_nobody_waits_for_them(service, waits, script, way):
    asked = {"args": ["sh", "-c", script], "collect": ["big"]}
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        if way == "later":
            where = client.post("/v1/runs", json=asked, headers={"Prefer": "respond-async"}).headers["location"]
            said = client.get(where, params={"wait": 50}).json()
        elif way == "step":
            kept = client.post("/v1/boxes", json={"limits": {"disk": "128M"}}).json()
            said = client.post(f"/v1/boxes/{kept['id']}/steps", json=asked).json()
            client.delete(f"/v1/boxes/{kept['id']}")
        else:
            said = client.post("/v1/runs", json=asked).json()
    big = said["result"]["files"]["big"]
    if script is TEXT:
        assert big == {"bytes": "x" * SIZE}
    else:
        assert base64.b64decode(big["base64"]) == b"\xff" * SIZE
    assert len(waits) > 3 and max(waits) < 5 * SLOW
    print(way, f"{max(waits):.3f}")
