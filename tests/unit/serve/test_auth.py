"""Tokens, roles, and routes that need none."""

from __future__ import annotations

import hashlib
import hmac
import time

import pytest

from pyjail.serve import auth
from pyjail.serve.auth import Guard
from pyjail.serve.config import Token
from pyjail.serve.problem import Problem


def token(name: str, secret: str, **more: object) -> Token:
    return Token(name, hashlib.sha256(secret.encode()).hexdigest(), **more)  # type: ignore[arg-type]


KNOWN = (token("a", "secret-a"), token("b", "secret-b"), token("old", "secret-old", expires=time.time() - 1))


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({"authorization": "Bearer abc"}, "abc"),
        ({"authorization": "bearer  abc "}, "abc"),
        ({"authorization": "abc"}, "abc"),
        ({"x-auth-token": "abc"}, "abc"),
        ({"authorization": "Basic abc"}, ""),
        ({"authorization": "Bearer"}, "Bearer"),  # the scheme alone is a token that nobody has
        ({"cookie": "token=abc"}, ""),
        ({}, ""),
    ],
)
def test_a_token_comes_in_a_header_of_one_of_three_forms(headers, secret):
    assert auth.secret(headers) == secret


@pytest.mark.parametrize(
    "given", ["", "secret", "secret-a ", "secret-A", "secret-old", "a", KNOWN[0].sha256, "x" * 10_000]
)
def test_another_secret_is_nobodys(given):
    assert Guard(KNOWN).find(given) is None


def test_every_entry_is_compared_whichever_it_was(monkeypatch):
    """No early exit, and no comparison that stops at the first byte that differs."""
    compared: list[object] = []
    really = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return really(one, other)

    monkeypatch.setattr(auth.hmac, "compare_digest", compare)
    for given in ("secret-a", "secret-b", "secret-old", "wrong", ""):
        compared.clear()
        Guard(KNOWN).find(given)
        assert compared == [t.sha256.encode() for t in KNOWN], given


def test_a_token_is_found_by_its_digest_in_either_case():
    upper = Token("a", KNOWN[0].sha256.upper())
    assert Guard([upper]).find("secret-a") is upper


def test_missing_unknown_and_expired_are_told_alike():
    told = set()
    for given in ("", "wrong", "secret-old"):
        with pytest.raises(Problem) as e:
            Guard(KNOWN).enter(given, "POST", "/v1/runs")
        told.add((e.value.status, e.value.detail, tuple(e.value.headers.items())))
    assert told == {(401, "a valid token is needed", (("WWW-Authenticate", 'Bearer realm="pyjail"'),))}


@pytest.mark.parametrize(
    ("role", "method", "path", "allowed"),
    [
        ("run", "POST", "/v1/runs", True),
        ("run", "CONNECT", "/v1/terminal", True),
        ("run", "GET", "/metrics", False),
        ("read", "GET", "/v1/runs/1", True),
        ("read", "POST", "/v1/runs", False),
        ("read", "DELETE", "/v1/runs/1", False),
        ("read", "CONNECT", "/v1/terminal", False),
        ("read", "GET", "/metrics", False),
        ("metrics", "GET", "/metrics", True),
        ("metrics", "GET", "/v1/runs/1", False),
        ("admin", "GET", "/metrics", True),
        ("admin", "POST", "/v1/runs", True),
        ("other", "GET", "/v1/runs/1", False),
    ],
)
def test_roles(role, method, path, allowed):
    assert auth.allows(role, method, path) is allowed
    guard = Guard([token("t", "s", role=role)])
    if allowed:
        assert guard.enter("s", method, path).name == "t"
    else:
        with pytest.raises(Problem) as e:
            guard.enter("s", method, path)
        assert e.value.status == 403


@pytest.mark.parametrize(
    "path",
    ["/v1/runs", "/v1", "//healthz", "/healthz/", "/HEALTHZ", "/healthz/../v1/runs", "/static/../v1/runs", "/static//x/y",
     "/docs/../v1/runs", "/static", "/metrics", "/run", "/execute", "/boxer/files", "/v1/healthz", "", "/%2e", "/static/a/../../x"],
)  # fmt: skip
def test_what_is_not_listed_is_not_open(path):
    assert not auth.is_open("GET", path)


def test_what_is_open_is_open_for_reading_alone():
    for path in (*auth.OPEN, "/static/app.js"):
        assert auth.is_open("GET", path) and auth.is_open("HEAD", path)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "get"):
            assert not auth.is_open(method, path)


@pytest.mark.parametrize(
    ("text", "token", "rest"),
    [
        ('{"token": "abc", "args": ["sh"]}', "abc", '{"args": ["sh"]}'),
        ('{"args": []}', "", '{"args": []}'),
        ('{"token": 5}', "", "{}"),
        ('["token"]', "", '["token"]'),
        ("token", "", "token"),
        ('{"token": "abc", "args": [1], "args": [2]}', "", '{"token": "abc", "args": [1], "args": [2]}'),
        ("[" * 100_000, "", "[" * 100_000),
    ],
)
def test_the_first_message_of_a_websocket_loses_its_token(text, token, rest):
    assert auth.first_message(text) == (token, rest)
