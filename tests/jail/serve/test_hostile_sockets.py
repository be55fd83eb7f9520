"""What is sent to hurt over WebSockets: each is closed by its code, its program is gone, and the service has no fault."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest
import websockets

from pyjail.serve import Config
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

PISTON, GO_JUDGE = "/piston/api/v2/connect", "/go-judge/ws"
INIT = json.dumps({"type": "init", "language": "bash", "version": "*", "files": [{"content": "cat"}]})


@pytest.fixture(scope="module")
def service():
    with served(Config()) as found:
        httpx.get(f"{found.url}/piston/api/v2/runtimes", timeout=PATIENCE)  # Piston's clients have a second
        yield found
        assert until(lambda: found.programs() == [])
        log = found.log()
        assert "Traceback" not in log and "Exception in ASGI" not in log and '"problem": "internal"' not in log


async def talk(service, path, *messages, answers=0, drop=False):
    """(code that it was closed by, what came); ``answers``: after so many it is closed from here."""
    heard: list[str] = []
    with contextlib.suppress(websockets.ConnectionClosed):
        async with websockets.connect(f"ws://127.0.0.1:{service.port}{path}") as socket:
            for message in messages:
                await socket.send(message)
            if drop:
                socket.transport.abort()
                return 0, heard
            async with asyncio.timeout(PATIENCE):
                while not answers or len(heard) < answers:
                    heard.append(await socket.recv())
    return socket.close_code, heard


FIRST = ["", "x", "[]", b"\xff", '{"type":["init"]}', '{"type":' * 30_000, "x" * 300_000]
LATER = {
    '{"type":"signal","signal":["x"]}': 4005, '{"type":"signal","signal":{"a":1}}': 4005, '{"type":"signal","signal":9}': 4005,
    '{"type":"signal","signal":"SIG"}': 4005, '{"type":"data","stream":["stdin"],"data":"x"}': 4004, '{"type":"data","stream":"stdout","data":"x"}': 4004, INIT: 4000,
}  # fmt: skip


def test_piston_s_connection(service):
    async def all_of_them():
        for first in FIRST:
            assert (await talk(service, PISTON, first))[0] in (4003, 1009), str(first)[:40]
        for wrong in ({"language": "nope"}, {"version": "\u00b2"}, {"files": [1]}, {"args": ["\0"]}):
            asked = json.dumps({**json.loads(INIT), **wrong})
            assert (await talk(service, PISTON, asked))[0] == 4002, wrong
        for message, code in LATER.items():
            assert (await talk(service, PISTON, INIT, message))[0] == code, message
        data = json.dumps({"type": "data", "stream": "stdin", "data": "x" * 200_000})
        assert (await talk(service, PISTON, INIT, data, data, data))[0] == 4004
        empty = json.dumps({"type": "data", "stream": "stdin", "data": ""})
        kill = json.dumps({"type": "signal", "signal": "SIGKILL"})
        _, heard = await talk(service, PISTON, INIT, *[empty] * 2000, answers=2)
        assert [json.loads(one)["type"] for one in heard] == ["runtime", "stage"]
        for one in (INIT, kill):
            await talk(service, PISTON, INIT, one, drop=True)

    asyncio.run(all_of_them())
    assert until(lambda: service.programs() == [])


def test_go_judge_s_connection(service):
    run = {"cmd": [{"args": ["/bin/true"]}]}
    sleep = json.dumps({"requestId": "a", "cmd": [{"args": ["/bin/sleep", "9"], "clockLimit": 9_000_000_000}]})

    async def all_of_them():
        for message in ("", "x", "[]", "{}", b"\xff", '{"cmd":' * 30_000, '{"requestId":["a"],"cmd":[]}'):
            _, heard = await talk(service, GO_JUDGE, message, answers=1)
            assert "error" in json.loads(heard[0]), str(message)[:40]
        nul = json.dumps({"cmd": [{"args": ["\0"]}]})
        assert "NUL" in (await talk(service, GO_JUDGE, nul, answers=1))[1][0]
        half = '{"requestId":"\\ud800","cmd":[{"args":["/bin/true"]}]}'
        odd = ['{"cancelRequestId":["a"]}', '{"cancelRequestId":"nobody"}', half]
        assert "Accepted" in (await talk(service, GO_JUDGE, *odd, answers=1))[1][0]
        many = [json.dumps({"requestId": str(i), **run}) for i in range(100)]
        _, heard = await talk(service, GO_JUDGE, *many, answers=100)
        assert {json.loads(one)["requestId"] for one in heard} == {str(i) for i in range(100)}
        _, heard = await talk(service, GO_JUDGE, sleep, sleep, '{"cancelRequestId":"a"}', answers=2)
        assert {json.loads(one)["error"] for one in heard} == {"requestId is in use", "cancelled"}
        await asyncio.gather(*(talk(service, GO_JUDGE, sleep, drop=True) for _ in range(8)))

    asyncio.run(all_of_them())
    assert until(lambda: service.programs() == [])
