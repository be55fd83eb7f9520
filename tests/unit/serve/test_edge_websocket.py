"""WebSockets before the edge: where they come from, and how they bring their token; in process, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from pyjail.serve.config import Config
from pyjail.serve.config import Edge as Bounds
from pyjail.serve.edge import Edge
from pyjail.serve.entrance import Entrance
from tests.unit.serve.before import PASS, SECRET, TOKEN

Say = Callable[..., Any]


def websocket(
    config: Config, messages: list[Any], headers: Mapping[str, str] | None = None, say: Say | None = None
) -> list[Any]:
    """All that is sent to the client, and what the application got as ("got", text)."""
    done: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if say is not None:
            await say(send)
        while (message := await receive())["type"] == "websocket.receive":
            done.append(("got", message.get("text"), scope["tenant"]))

    async def receive() -> Any:
        if not messages:
            await asyncio.sleep(60)
        return messages.pop(0)

    async def send(message: Any) -> None:
        done.append((message["type"], message.get("status", message.get("code"))))

    messages.insert(0, {"type": "websocket.connect"})
    scope = {
        "type": "websocket", "path": "/v1/terminal", "query_string": b"", "client": ("9.9.9.9", 1),
        "server": ("127.0.0.1", 8000), "extensions": {"websocket.http.response": {}},
        "headers": [(n.encode(), v.encode()) for n, v in {"host": "localhost:8000", **(headers or {})}.items()],
    }  # fmt: skip
    asyncio.run(Edge(application, Entrance(config), config.edge.head_time)(scope, receive, send))
    return done


def text(said: str) -> dict[str, str]:
    return {"type": "websocket.receive", "text": said}


GONE = {"type": "websocket.disconnect"}


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:3000"},
                {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}, {"authorization": "Bearer wrong"}],
)  # fmt: skip
def test_a_websocket_of_another_site_is_never_one(headers):
    told = websocket(Config(tokens=(TOKEN,)), [text("{}"), GONE], {**PASS, **headers})
    assert told[0] in [("websocket.http.response.start", status) for status in (401, 403, 421)]
    assert [one[0] for one in told[1:]] == ["websocket.http.response.body"]


def test_a_websocket_brings_its_token_in_a_header_or_in_its_first_message():
    config = Config(tokens=(TOKEN,))
    accepted = ("websocket.accept", None)
    assert websocket(config, [text('{"a": 1}'), GONE], PASS) == [accepted, ("got", '{"a": 1}', "team")]
    first = json.dumps({"token": SECRET, "a": 1})
    assert websocket(config, [text(first), text(first), GONE]) == [
        accepted, ("got", '{"a": 1}', "team"), ("got", first, "team")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "first", ["{}", '{"token": "wrong"}', '{"token": null}', "x", json.dumps({"a": {"token": SECRET}})]
)
def test_a_websocket_without_a_good_token_gets_nothing_done(first):
    told = websocket(Config(tokens=(TOKEN,)), [text(first), text(json.dumps({"token": SECRET})), GONE])
    assert told == [("websocket.accept", None), ("websocket.close", 1008)]


def test_a_token_of_another_role_opens_no_websocket():
    told = websocket(Config(tokens=(replace(TOKEN, role="read"),)), [text(json.dumps({"token": SECRET})), GONE])
    assert told[-1] == ("websocket.close", 1008)


def test_a_websocket_that_says_nothing_is_closed():
    told = websocket(Config(tokens=(TOKEN,), edge=Bounds(head_time=0.05)), [])
    assert told == [("websocket.accept", None), ("websocket.close", 1008)]


def test_nothing_is_told_to_a_websocket_before_it_is_known_who_is_there():
    async def say(send: Any) -> None:
        await send({"type": "websocket.send", "text": "welcome"})

    with pytest.raises(RuntimeError):
        websocket(Config(tokens=(TOKEN,)), [GONE], say=say)
    assert ("websocket.send", None) in websocket(Config(), [GONE], say=say)
