"""What a request passes before it reaches a route, and in which order; in process, without sockets."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from pyjail.serve import auth
from pyjail.serve.body import Bodies, Reading
from pyjail.serve.config import Admission, Config
from pyjail.serve.config import Edge as Bounds
from tests.unit.serve.before import JSON, PASS, SECRET, TOKEN, Before


def test_what_passes_reaches_its_route_with_who_asked():
    before = Before(Config(tokens=(TOKEN,)))
    assert before.ask(headers=PASS, body=b"{}").status == 200
    scope = before.route.scopes[0]
    assert (scope["tenant"], scope["token"], scope["client"][0]) == ("team", TOKEN, "9.9.9.9")
    assert before.route.bodies == [b"{}"]


# From the first check to the last one: whatever else is wrong, the first that is wrong is told.
WRONG: list[tuple[str, int, dict[str, str]]] = [
    ("host-header", 421, {"host": "evil.example"}),
    ("origin", 403, {"origin": "http://evil.example"}),
    ("token", 401, {"authorization": "Bearer wrong"}),
    ("rate", 429, {}),
    ("body", 413, {"content-length": "99999999999"}),
    ("content-type", 415, {"content-type": "text/plain"}),
]


def test_checks_come_in_order_and_the_cheapest_first():
    limited = replace(TOKEN, rate="1/hour")
    for n, (kind, status, _) in enumerate(WRONG):
        before = Before(Config(tokens=(limited,)))
        headers = {**PASS}
        for _, _, wrong in WRONG[n:]:
            headers.update(wrong)
        if kind in ("token", "rate"):
            assert before.ask(headers=PASS).status == 200  # the one that this hour has
        answer = before.ask(headers=headers, body=b"{}")
        assert (answer.kind, answer.status) == (kind, status)
        assert len(before.route.bodies) == (kind in ("token", "rate"))
        assert before.unread, "a body was read before all was checked"


def test_without_a_token_nothing_but_what_is_listed_is_answered():
    before = Before(Config(tokens=(TOKEN,)))
    for path in (
        "/v1/runs",
        "/v1/limits",
        "/run",
        "/execute",
        "/nowhere",
        "/metrics",
        "/healthz/",
        "//",
        "/v1/openapi.json/x",
    ):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"):
            answer = before.ask(method, path)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="pyjail"'), (method, path)
    assert before.route.bodies == []
    for path in auth.OPEN:
        assert before.ask("GET", path).status == 200
        assert before.ask("POST", path).status == 401


def test_a_token_in_the_query_is_none():
    before = Before(Config(tokens=(TOKEN,)))
    for query in (
        f"token={SECRET}",
        f"access_token={SECRET}",
        f"authorization=Bearer%20{SECRET}",
        f"X-Auth-Token={SECRET}",
    ):
        assert before.ask("GET", "/v1/limits", query=query).status == 401
    for name in ("X-Auth-Token", "Authorization"):
        assert before.ask("GET", "/v1/limits", {name: SECRET}).status == 200


def test_an_expired_token_is_none():
    before = Before(Config(tokens=(replace(TOKEN, expires=time.time() - 1),)))
    assert before.ask(headers=PASS).status == 401


def test_without_tokens_a_tenant_is_an_address():
    before = Before(Config())
    for peer, tenant in (("9.9.9.9", "9.9.9.9"), ("2001:db8::5", "2001:db8::/64")):
        before.ask(peer=peer)
        assert before.route.scopes[-1]["tenant"] == tenant


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]
)  # fmt: skip
def test_a_page_of_another_site_changes_nothing(method, headers):
    before = Before(Config())
    assert before.ask(method, headers=headers).status == 403
    assert before.route.bodies == []


def test_a_request_of_no_browser_passes_and_so_do_multipart_clients():
    config = Config()
    for headers in ({}, {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}):
        assert Before(config).ask(headers=headers, body=b"{}").status == 200
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert Before(config).ask("POST", "/v1/files", form, b"--x--").status == 200
    assert Before(config).ask("PUT", "/v1/files/00", {"content-type": "application/octet-stream"}, b"x").status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "text/json",
             "application/jsonp", "text/plain; application/json", "application/octet-stream"],
)  # fmt: skip
def test_what_a_form_of_another_site_can_send_is_not_taken_as_json(kind):
    before = Before(Config())
    assert before.ask(headers={"content-type": kind}, body=b'{"args": ["true"]}').status == 415
    assert before.route.bodies == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
def test_a_compressed_body_is_not_taken(encoding):
    before = Before(Config())
    assert before.ask(headers={"content-encoding": encoding}, body=b"{}").status == 415
    assert before.route.bodies == []
    assert before.ask(headers={"content-encoding": "identity"}, body=b"{}").status == 200


def test_other_origins_are_told_nothing_unless_they_are_configured():
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    for origins, status in (((), 200), (("https://app.example",), 204)):
        before = Before(Config(edge=Bounds(origins=origins)))
        answer = before.ask("OPTIONS", headers=asked)
        assert answer.status == status
        assert ("access-control-allow-origin" in answer.headers) == bool(origins)
        assert "access-control-allow-credentials" not in answer.headers
    assert before.ask(headers={**asked, "origin": "https://other.example"}).status == 403
    answer = before.ask(headers={**asked, "sec-fetch-site": "cross-site"})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert "retry-after" in answer.headers["access-control-expose-headers"]
    assert before.ask("OPTIONS", headers={**asked, "host": "evil.example"}).status == 421


def test_a_length_that_is_too_much_is_refused_before_any_of_it_is_read():
    before = Before(Config(edge=Bounds(body=1000)))
    assert before.ask(body=b" " * 1000).status == 200
    answer = before.ask(body=b" " * 1001)
    assert answer.status == 413 and "1000" in answer.body.decode() and before.unread
    for length in ("9" * 30, "-1", "1e3", "+5", "0x10", "٣"):
        given = length if length.isascii() else "\xb2"
        assert before.ask(headers={"content-length": given}, body=b"x").status in (400, 413)
    assert len(before.route.bodies) == 1


def test_a_body_is_counted_while_it_is_read_whatever_length_it_says():
    before = Before(Config(edge=Bounds(body=1000)))
    for headers in ({"transfer-encoding": "chunked"}, {"content-length": "5"}):
        answer = before.ask(headers={**JSON, **headers}, chunks=[b" " * 400] * 9)
        assert answer.status == 413
        assert len(before.unread) == 6  # three were read
    assert before.route.bodies == []


def test_a_route_that_makes_something_else_of_a_body_that_is_too_long_is_not_heard():
    async def route(scope: Any, receive: Any, send: Any) -> None:
        try:
            while True:
                await receive()
        except Exception:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"all is well"})

    before = Before(Config(edge=Bounds(body=1000)), route)
    answer = before.ask(headers={**JSON, "transfer-encoding": "chunked"}, chunks=[b" " * 400] * 9)
    assert answer.status == 413 and b"well" not in answer.body


def test_bytes_that_are_held_are_bounded_over_all_requests():
    config = Config(admission=Admission(inflight=1500))
    met: list[int] = []

    async def route(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if not met:  # while this one is held, another one comes
            met.append(0)
            sent: list[Any] = []

            async def answer(message: Any) -> None:
                sent.append(message)

            async def body() -> Any:
                return {"type": "http.request", "body": b" " * 1000}

            scope = dict(scope, headers=[(n, v) for n, v in scope["headers"] if n != b"content-length"])
            scope["headers"].append((b"transfer-encoding", b"chunked"))
            await edge.edge(scope, body, answer)
            met.append(sent[0]["status"])
            assert (b"retry-after", b"1") in sent[0]["headers"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    edge = Before(config, route)
    assert edge.ask(body=b" " * 1000).status == 200
    assert met == [0, 503]
    assert edge.ask(body=b" " * 1000).status == 200  # what is answered is not held


def test_a_length_that_would_be_too_many_bytes_at_once_is_refused_before_any_of_it_is_read():
    before = Before(Config(admission=Admission(inflight=1500)))
    answer = before.ask(body=b" " * 2000)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1") and before.unread
    assert before.route.bodies == []


@pytest.mark.parametrize(
    ("first", "more", "held"),
    [(b'{"a":"', b"x", 106), (b'{"a":"', "\U0001f600".encode(), 4 * 109), (b'{"a":"', b"\\u00e9", 4 * 111), (b" ", b"\\", 4 * 101),
     (b"\0", b"\xff", 101), (b"--x", b"\xff", 103), (b"", b"", 99)],
)  # fmt: skip
def test_text_that_takes_more_memory_than_it_is_long_counts_as_what_it_takes(first, more, held):
    async def read():
        bodies = Bodies(1000, 1000)
        chunks = [first, b"x" * 99, more]
        messages = iter([{"type": "http.request", "body": chunk} for chunk in chunks if chunk])

        async def receive():
            return next(messages)

        reading = Reading(bodies, receive)
        for _ in range(len([chunk for chunk in chunks if chunk])):
            await reading.receive()
        found = bodies.held
        reading.done()
        return found, bodies.held

    assert asyncio.run(read()) == (held, 0)


def test_one_body_by_itself_is_read_however_wide_it_is():
    before = Before(Config(admission=Admission(inflight=1500)))
    assert before.ask(body='{"a": "é"}'.encode() + b" " * 1000).status == 200


def test_a_client_that_asks_too_often_is_told_when_to_come_back():
    before = Before(Config(admission=Admission(rate="2/minute")))
    assert before.ask(body=b"{}").headers["ratelimit"] == '"default";r=1;t=60'
    assert before.ask(body=b"{}").status == 200
    answer = before.ask(body=b"{}")
    assert answer.status == 429 and 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["ratelimit-policy"] == '"default";q=2;w=60'
    assert before.ask(peer="8.8.8.8").status == 200
    for _ in range(5):
        assert before.ask("GET", "/healthz").status == 200  # what needs no token costs nothing


def test_a_token_has_its_own_rate_whatever_address_it_comes_from():
    before = Before(Config(tokens=(replace(TOKEN, rate="1/hour"),), admission=Admission(rate="100/minute")))
    assert before.ask(headers=PASS, peer="1.1.1.1").status == 200
    assert before.ask(headers=PASS, peer="2.2.2.2").status == 429


def test_only_a_proxy_that_is_known_says_who_is_behind_it():
    for proxies, tenant in (((), "10.0.0.1"), (("10.0.0.1",), "7.7.7.7")):
        before = Before(Config(edge=Bounds(proxies=proxies)))
        before.ask(headers={"x-forwarded-for": "6.6.6.6, 7.7.7.7"}, peer="10.0.0.1")
        assert before.route.scopes[0]["tenant"] == tenant


@pytest.mark.parametrize(
    "name", ["host", "origin", "sec-fetch-site", "authorization", "x-auth-token", "content-length", "content-type",
             "content-encoding", "transfer-encoding"],
)  # fmt: skip
def test_what_decides_comes_once(name):
    before = Before(Config())
    assert before.ask(headers={name: "localhost"}, again=[(name, "localhost")]).status == 400
    assert before.route.bodies == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a-B_c.9", True), ("x" * 64, True), ("x" * 65, False), ("", False), ("a b", False), ("a\r\nX: y", False),
     ("\xe9", False), ("${jndi:x}", False), ("../..", False)],
)  # fmt: skip
def test_an_id_of_the_client_is_kept_only_if_it_is_plain(given, kept):
    before = Before(Config())
    answer = before.ask(headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) == kept
    assert before.route.scopes[0]["request_id"] == answer.headers["x-request-id"]
    assert before.ask().headers["x-request-id"] != answer.headers["x-request-id"]


def test_nobody_is_given_a_part_of_an_answer():
    before = Before(Config())
    before.ask("GET", headers={"range": "bytes=0-0,1-1", "if-range": "x"})
    assert not {b"range", b"if-range"} & {name for name, _ in before.route.scopes[0]["headers"]}


def test_what_goes_wrong_inside_is_told_to_nobody(caplog):
    async def route(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError(f"/etc/passwd {SECRET}")

    answer = Before(Config(), route).ask()
    assert (answer.status, answer.kind) == (500, "internal")
    for text in (answer.body.decode(), caplog.text):
        assert SECRET not in text and "/etc" not in text
    assert "ValueError < test_edge.py:" in caplog.text and answer.headers["x-request-id"] in caplog.text
