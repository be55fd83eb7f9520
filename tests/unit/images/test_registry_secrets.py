"""Who gets a secret, and who never does: passwords, tokens, redirects."""

from __future__ import annotations

import socket
import time

import pytest

from pyjail._images.authorization import challenges
from pyjail._images.credentials import Credentials
from pyjail._images.errors import ImageError
from pyjail._images.reference import parse
from pyjail._images.registry import RegistrySource
from tests import images_registry as fake
from tests.images_registry import LAYER, QUICK, TESTER, always, cut, got, once, source

# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_secret_goes_to_where_a_registry_redirects(there, elsewhere, status):
    there.password = ("tester", "s3cret")
    there.faults.append(
        lambda to, asked: (
            asked.authorization
            and "/blobs/" in asked.path
            and not to.complain(status, headers={"Location": elsewhere.url + asked.path})
        )
    )
    with source(there, credentials=TESTER) as it:
        it.manifest()
        assert got(it) == LAYER
        assert it.origin["secret_used"] is True
    assert len(there.secrets) == 2
    assert len(elsewhere.asked) == 1
    assert elsewhere.secrets == []


def test_a_secret_does_not_come_back_with_a_redirect_back(there, elsewhere):
    there.password = ("tester", "s3cret")
    elsewhere.faults.append(lambda to, asked: not to.complain(302, headers={"Location": f"{there.url}/back"}))
    there.faults.append(
        lambda to, asked: (
            asked.authorization
            and "/blobs/" in asked.path
            and not to.complain(302, headers={"Location": elsewhere.url + "/x"})
        )
    )
    with source(there, credentials=TESTER) as it, pytest.raises(ImageError):
        got(it)
    assert next(asked for asked in there.asked if asked.path == "/back").authorization is None
    assert elsewhere.secrets == []


def test_a_host_that_is_redirected_to_cannot_ask_for_the_secret(there, elsewhere):
    there.password = elsewhere.password = ("tester", "s3cret")
    there.faults.append(
        lambda to, asked: asked.authorization and not to.complain(302, headers={"Location": elsewhere.url + asked.path})
    )
    with source(there, credentials=TESTER) as it, pytest.raises(ImageError, match=f"{elsewhere.host}: it refuses"):
        got(it)
    assert elsewhere.secrets == []


def test_a_resume_over_a_redirect_takes_its_range_along(there, elsewhere):
    there.faults.append(always(lambda to, asked: to.complain(307, headers={"Location": elsewhere.url + asked.path})))
    elsewhere.faults.append(once(cut))
    with source(there) as it:
        assert got(it) == LAYER
    assert [asked.headers["Range"] for asked in elsewhere.asked] == [None, "bytes=128000-"]


def test_five_redirects_are_followed_and_no_more(there):
    def on(most):
        def answer(to, asked):
            number = int(asked.path.rpartition("?")[2]) if "?" in asked.path else 0
            return number < most and not to.complain(307, headers={"Location": f"?{number + 1}"})

        return answer

    there.faults.append(lambda to, asked: on(5)(to, asked) or to.send(200, LAYER) or True)
    with source(there) as it:
        assert got(it) == LAYER
    assert len(there.asked) == 6
    there.faults[:] = [lambda to, asked: on(99)(to, asked)]
    with source(there) as it, pytest.raises(ImageError, match="redirects more than 5 times"):
        got(it)


@pytest.mark.parametrize(
    "target",
    ["http://192.0.2.1/x", "file:///etc/passwd", "ftp://127.0.0.1/", "http://user:secret@127.0.0.1/", "http://", "//", "http://a b/", "http://127.0.0.1:99999/",
     "http://\u2100/", "javascript:1", "http://[::1", "http://localhost.evil.example/"],
)  # fmt: skip
def test_a_redirect_to_elsewhere_than_http_of_this_machine_or_https_is_refused(there, target):
    there.faults.append(always(lambda to, _: to.complain(302, headers={"Location": target.encode().decode("latin-1")})))
    with source(there) as it, pytest.raises(ImageError, match=r"redirect"):
        got(it)


def test_a_path_cannot_smuggle_a_request(there):
    there.faults.append(once(lambda to, _: to.complain(302, headers={"Location": "/v2/x y\x00\x7fGET /\xe9?a b#c"})))
    with source(there) as it, pytest.raises(ImageError, match="404"):
        got(it)
    assert there.asked[1].path.startswith("/v2/x%20y")
    assert len(there.asked) == 2


# Passwords and tokens


def test_a_password_is_sent_when_it_is_asked_for_and_only_then(there):
    there.password = ("tester", "s3cret")
    with source(there, credentials=TESTER) as it:
        it.manifest()
        got(it)
    assert [asked.authorization is not None for asked in there.asked] == [False, True, True]
    there.password = None
    there.asked.clear()
    with source(there, credentials=TESTER) as it:
        it.manifest()
        assert it.origin["secret_used"] is False
    assert there.secrets == []


def test_without_credentials_a_password_is_an_error_that_says_what_to_do(there):
    there.password = ("tester", "s3cret")
    with source(there) as it, pytest.raises(ImageError, match='credentials="config"'):
        it.manifest()
    with (
        source(there, credentials=Credentials("tester", "s3cret-wrong")) as it,
        pytest.raises(ImageError, match="refuses the credentials of 'tester'") as e,
    ):
        it.manifest()
    assert "s3cret" not in str(e.value)
    assert len(there.secrets) == 1


def test_a_token_is_had_by_nobody_by_password_and_by_identity(tokens):
    with source(tokens) as it:
        it.manifest()
        assert got(it) == LAYER
    assert [asked.path.split("?")[0] for asked in tokens.asked][:3] == [
        "/v2/team/app/manifests/1",
        "/token",
        "/v2/team/app/manifests/1",
    ]
    assert len(tokens.asked) == 4
    assert tokens.secrets == ["Bearer a.good-token"] * 2
    tokens.password = ("tester", "s3cret")
    for credentials in (TESTER, Credentials("<token>", "identity", True)):
        with source(tokens, credentials=credentials) as it:
            it.manifest()
            assert it.origin["secret_used"] is True
    with source(tokens) as it, pytest.raises(ImageError, match="refuses who has no credentials"):
        it.manifest()


def test_a_token_that_ends_is_renewed_once(tokens):
    with source(tokens) as it:
        it.manifest()
        tokens.token = "another"
        assert got(it) == LAYER
        tokens.faults.append(
            always(
                lambda to, _: to.complain(
                    401, headers={"WWW-Authenticate": f'Bearer realm="{tokens.realm}",service="the, \\"service\\""'}
                )
            )
        )
        before = len(tokens.asked)
        with pytest.raises(ImageError, match="it refuses"):
            got(it)
    assert len(tokens.asked) - before == 3


@pytest.mark.parametrize("credentials", [TESTER, Credentials("<token>", "identity", True)])
def test_a_token_server_on_another_host_gets_no_secret(there, credentials):
    with fake.registry() as other:
        there.realm = f"http://localhost:{other.port}/token"
        with (
            source(there, credentials=credentials) as it,
            pytest.raises(ImageError, match=r"would get your secret: token_hosts=\('localhost',\)"),
        ):
            it.manifest()
        assert other.asked == []
        with source(there) as it:  # nobody's token may come from anywhere
            it.manifest()
        assert other.secrets == []
        assert len(other.asked) == 1
        with source(there, credentials=credentials, token_hosts=("localhost",)) as it:
            it.manifest()
    assert all("s3cret" not in secret and "identity" not in secret for secret in there.secrets)


@pytest.mark.parametrize(
    "realm", ["http://192.0.2.1/token", "", "file:///x", "https://user@127.0.0.1/", "http://evil.example/token"]
)
def test_a_token_server_without_https_or_address_is_refused(there, realm):
    there.faults.append(lambda to, _: not to.complain(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'}))
    for credentials in (TESTER, None):
        with source(there, credentials=credentials) as it, pytest.raises(ImageError, match="its token server"):
            it.manifest()


def test_a_token_server_that_redirects_is_refused(tokens, elsewhere):
    tokens.faults.append(
        always(lambda to, _: to.complain(307, headers={"Location": f"{elsewhere.url}/token"}), "/token")
    )
    with (
        source(tokens, credentials=TESTER) as it,
        pytest.raises(ImageError, match="it redirects, and a secret is not taken along"),
    ):
        it.manifest()
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"x"',
        b"{}",
        b'{"token": ""}',
        b'{"token": 1}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": "\\u00e9"}',
        b'{"token": null}',
        b"[" * 60000,
        b"x" * 100_000,
    ],
)
def test_a_token_that_cannot_be_sent_is_an_error(tokens, body):
    tokens.faults.append(always(lambda to, _: to.send(200, body), "/token"))
    with source(tokens) as it, pytest.raises(ImageError):
        it.manifest()
    assert tokens.secrets == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [('Bearer realm="https://a/b",service="x y", scope="a:b:c,d"', [("bearer", {"realm": "https://a/b", "service": "x y", "scope": "a:b:c,d"})]),
     ("BASIC Realm=x", [("basic", {"realm": "x"})]),
     ('Basic realm="a\\"b", Bearer realm="c",error="d"', [("basic", {"realm": 'a"b'}), ("bearer", {"realm": "c", "error": "d"})]),
     ("Negotiate, Basic", [("negotiate", {}), ("basic", {})]),
     ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
     ("=,=", []), ('realm="x"', []), ("", []), ('Bearer realm="open', [("bearer", {"realm": ""})])],
)  # fmt: skip
def test_challenges_are_taken_apart(header, expected):
    assert challenges([header])[: len(expected) or None] == expected


def test_challenges_of_any_length_are_read_in_linear_time():
    begun = time.monotonic()
    for text in ('Bearer realm="' + "\\" * 60000, "a " * 30000, 'a="' * 20000, "," * 60000):
        challenges([text])
    assert time.monotonic() - begun < 5


def test_what_is_neither_basic_nor_bearer_is_said(there):
    there.faults.append(lambda to, _: not to.complain(401, headers={"WWW-Authenticate": "Negotiate\x1b, NTLM"}))
    with source(there, credentials=TESTER) as it, pytest.raises(ImageError, match="it wants negotiate"):
        it.manifest()
    there.faults[:] = [lambda to, _: not to.complain(401)]
    with source(there, credentials=TESTER) as it, pytest.raises(ImageError, match="it wants nothing"):
        it.manifest()


@pytest.mark.parametrize("kind", ["redirect", "token server"])
def test_a_registry_elsewhere_cannot_send_us_to_this_machine(there, elsewhere, monkeypatch, kind):
    create = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda _, *rest, **options: create(("127.0.0.1", there.port), *rest)
    )
    if kind == "redirect":
        there.faults.append(lambda to, asked: not to.complain(307, headers={"Location": f"{elsewhere.url}/x"}))
    else:
        there.realm = f"{elsewhere.url}/token"
    reference = parse(f"registry.example:{there.port}/team/app:1")
    with RegistrySource(reference, insecure=True, patience=QUICK) as it, pytest.raises(ImageError, match="https"):
        it.manifest()
    assert len(there.asked) == 1
    assert elsewhere.asked == []
