"""The playground's page: its policy, its files as they are listed, and what its sources may not do. (Browsers:
tests/integrations/playground.)"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest

from pyjail.serve import Config, app
from pyjail.serve.config import Edge
from tests import web_build

ROOT = Path(__file__).resolve().parents[3]
WEB = ROOT / "web"
SOURCES = sorted((WEB / "src").glob("*.ts"))
STATIC = ROOT / "src/pyjail/serve/static"
MANIFEST = json.loads((STATIC / "manifest.json").read_text())
FIRST_LOAD = 250 << 10


async def get(path, config=None, **headers):
    transport = httpx.ASGITransport(app(config or Config()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers) as client:
        return await client.get(path)


def policy(answer):
    return dict(row.strip().partition(" ")[::2] for row in answer.headers["content-security-policy"].split(";"))


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_the_page_is_where_secure_sandbox_s_was_unless_that_is_turned_off():
    transport = httpx.ASGITransport(app(Config()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", follow_redirects=True) as client:
        answer = await client.get("/secure-sandbox/")
        assert (answer.status_code, answer.url.path) == (200, "/secure-sandbox")
        assert "playground" in answer.text and "'none'" in answer.headers["content-security-policy"]
        (script,) = re.findall(r'src="([^"]+)"', answer.text)
        assert (await client.get(str(answer.url.join(script)))).status_code == 200
    off = Config(faces={"secure-sandbox": {"enabled": False}})
    assert [(await get(path, off)).status_code for path in ("/secure-sandbox", "/secure-sandbox/")] == [404, 404]


@pytest.mark.anyio
async def test_the_page_lets_in_nothing_but_its_own_files():
    answer = await get("/")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    (nonce,) = re.findall(r'nonce="([^"]+)"', answer.text)
    assert policy(answer) == {
        "default-src": "'none'", "script-src": "'self'", "style-src": f"'self' 'nonce-{nonce}'", "connect-src": "'self'",
        "img-src": "'self' data:", "font-src": "'self'", "base-uri": "'none'", "form-action": "'none'",
        "frame-ancestors": "'none'", "require-trusted-types-for": "'script'", "trusted-types": "'none'",
    }  # fmt: skip
    for name, value in {
        "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer", "x-content-type-options": "nosniff", "cache-control": "no-store",
        "x-frame-options": "DENY",
    }.items():  # fmt: skip
        assert answer.headers[name] == value, name
    assert set(re.findall(r"=\(([^)]*)\)", answer.headers["permissions-policy"])) == {""}
    assert "set-cookie" not in answer.headers


@pytest.mark.anyio
async def test_each_answer_has_a_nonce_of_its_own():
    answers = [await get("/") for _ in range(5)]
    nonces = {re.search(r"nonce-([\w-]+)'", a.headers["content-security-policy"])[1] for a in answers}
    assert len(nonces) == 5 and all(len(nonce) >= 22 for nonce in nonces)
    assert "__" not in re.sub(r"\w*-[A-Z0-9]{8}", "", answers[0].text)  # each place is filled


@pytest.mark.anyio
async def test_only_who_is_configured_may_frame_it():
    answer = await get("/", Config(edge=Edge(embed=("https://course.example",))))
    assert policy(answer)["frame-ancestors"] == "https://course.example"
    assert "x-frame-options" not in answer.headers


@pytest.mark.anyio
async def test_without_a_playground_there_is_no_page():
    for path in ("/", "/static/" + MANIFEST["script"]):
        assert (await get(path, Config(playground=False))).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(MANIFEST["files"]))
async def test_a_listed_file_is_sent_for_ever_as_it_was_built(name):
    plain = await get(f"/static/{name}", **{"accept-encoding": "identity"})
    row = MANIFEST["files"][name]
    assert hashlib.sha256(plain.content).hexdigest() == row["sha256"] and len(plain.content) == row["bytes"]
    assert plain.headers["content-type"].split(";")[0] == row["type"]
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["x-content-type-options"] == "nosniff" and "content-encoding" not in plain.headers
    packed = await get(f"/static/{name}", **{"accept-encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip" and packed.content == plain.content


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["index.html", "manifest.json", "nope.js", "..%2fpage.py", "../page.py", "%2e%2e/page.py", "", "a/b"]
)
async def test_no_other_file_is_sent(name):
    assert (await get(f"/static/{name}")).status_code == 404


@pytest.mark.anyio
async def test_a_range_is_not_looked_at():
    name = MANIFEST["script"]
    answer = await get(f"/static/{name}", range="bytes=0-0,0-1,0-2", **{"accept-encoding": "identity"})
    assert answer.status_code in (200, 416) or len(answer.content) == MANIFEST["files"][name]["bytes"]
    assert "content-range" not in answer.headers and "accept-ranges" not in answer.headers


def test_what_lies_there_is_what_is_listed():
    assert {p.name for p in STATIC.iterdir()} == {*MANIFEST["files"], "index.html", "manifest.json"}
    for name in {*MANIFEST["first"], MANIFEST["script"], MANIFEST["style"], MANIFEST["licences"]}:
        assert name in MANIFEST["files"]
        assert re.search(r"-[A-Z0-9]{8}\.\w+$", name)


def test_the_first_load_is_small():
    size = sum(len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in [*MANIFEST["first"], "index.html"])
    assert size <= FIRST_LOAD


def test_the_page_names_no_other_server():
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"(src|href)=.?(https?:|//)", page)
    assert not re.search(r"\son\w+=|style=|<style|<script(?! type=.module. src=.static/)", page)


def test_every_package_that_is_in_it_has_its_licence_listed():
    text = (STATIC / MANIFEST["licences"]).read_text()
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        if name != "codemirror":  # the name of a bundle, of which its parts are used
            assert f"{name} {version}\n" in text
    assert set(re.findall(r"^Licence: (.*)$", text, re.MULTILINE)) <= {"MIT"}
    assert "no text of it" not in text


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.name)
def test_no_source_makes_markup_of_text(source):
    text = source.read_text()
    sinks = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML|srcdoc|"
        r"\beval\(|new Function|[\x22'`]javascript:|trustedTypes|createElementNS|window\.open|\.cookie\b"
    )
    assert not re.findall(sinks, text)
    assert not re.findall(r"\bhref: (?!url\b)", text)  # of a download, and nothing else


def test_the_sources_are_few():
    assert sum(len(source.read_text().splitlines()) for source in SOURCES) < 2500


def test_the_lock_file_names_no_registry():
    assert "http" not in re.sub(r'"(url|funding)": "[^"]*"', "", (WEB / "package-lock.json").read_text())


def test_what_is_built_anew_differs_by_name(tmp_path):
    for path in STATIC.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert web_build.differences(tmp_path) == []
    (tmp_path / "index.html").write_text("")
    (tmp_path / "more.js").write_text("")
    assert web_build.differences(tmp_path) == ["index.html", "more.js"]
