"""What programs, names and links say is text, whatever it says."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import expect

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "</div></main></body><script>alert(1)</script>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>click</a> javascript:alert(1) https://example.com/",
    "<style>*{display:none}</style><link rel=stylesheet href=//example.com/x.css>",
    "<meta http-equiv=refresh content='0;url=//example.com'>",
    "<base href=//example.com><form action=//example.com><input name=q>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "\x1b[31m<img src=x onerror=alert(1)>\x1b[0m",
    "\x1b]8;;javascript:alert(1)\x07<b>link</b>\x1b]8;;\x07",
    "\x1b[38;2;1;2;3;url(//example.com)m<i>x</i>",
    "\"><script>alert(1)</script>", "${alert(1)}{{constructor.constructor('alert(1)')()}}", "&lt;script&gt;&#60;b&#62;",
]  # fmt: skip
ELEMENTS = "script, img, svg, iframe, a, style, link, meta, base, form, input, math, table, b, i, object, embed, video"
ODD = [
    *PAYLOADS,
    "\x1b]0;title\x07shown",
    "\x1bPq#0~\x1b\\shown",
    "\x9b31mshown",
    "\x1b[2J\x1b[1;1Hshown",
    "\x1bcshown",
]


def check(v):
    assert v.page.locator("#output").locator(ELEMENTS).count() == 0
    assert v.page.evaluate(
        "[...document.querySelectorAll('#output *')].every(e => ['DIV', 'SPAN'].includes(e.tagName))"
    )
    assert v.page.title() == "pyjail playground"
    assert v.page.url.startswith(v.url)


def test_no_output_is_markup(visit):
    program = (
        "import sys\nfor text in "
        + repr(ODD)
        + ":\n    for f in (sys.stdout, sys.stderr): print(text, file=f, flush=True)\n"
    )
    v = visit().go().write(program).run()
    text = v.output
    for payload in PAYLOADS:
        if "\x1b" not in payload:
            assert text.count(payload) >= 2, payload
    assert "<img src=x onerror=alert(1)>" in text and "\x1b" not in text and "]8;;" not in text and "]0;" not in text
    assert text.count("shown") == 2 * 5
    check(v)


def test_a_line_that_is_cut_anywhere_is_no_markup_either(visit):
    text = "<img src=x onerror=alert(1)>\x1b[31mred\x1b]0;title\x07\n" * 3
    v = visit().go()
    v.write(
        f"import sys, time\nfor c in {text!r}:\n    sys.stdout.write(c); sys.stdout.flush(); time.sleep(0.004)\n"
    ).run()
    assert v.output.count("<img src=x onerror=alert(1)>red") == 3
    check(v)


def test_bytes_that_are_no_text_and_deceiving_characters_are_seen(visit):
    v = visit().go()
    v.write(
        "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe<b>\\x00\\x07 \\xe2\\x80\\xae gnp \\xf0\\x9f\\x98\\x80\\n')"
    ).run()
    assert "\ufffd\ufffd<b>\u2400\u2407 \u27e8U+202E\u27e9 gnp \U0001f600" in v.output
    check(v)


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>.txt", "a\u202egnp.txt", "x\x1b[31m\n.txt", "'\"&lt;b&gt;.txt"]
)
def test_no_file_s_name_is_markup(visit, name):
    v = visit().go()
    v.page.fill("#collect", "*.txt")
    v.write(f"open({name!r}, 'w').write('<script>alert(1)</script>')").run()
    button = v.page.locator("#collected button")
    expect(button).to_have_count(1)
    said = button.inner_text()
    assert "\u202e" not in said and "\x1b" not in said and "\n" not in said
    assert v.page.locator("#collected").locator("img, script, b").count() == 0
    with v.page.expect_download() as waited:
        button.click()
    assert Path(waited.value.path()).read_text() == "<script>alert(1)</script>"
    assert "\u202e" not in waited.value.suggested_filename
    check(v)


def link(program, level=9):
    packed = zlib.compressobj(level, wbits=-15)
    raw = packed.compress(program if isinstance(program, bytes) else json.dumps(program).encode()) + packed.flush()
    return "#s=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


GOOD = {
    "language": "python",
    "files": [{"name": "main.py", "text": "print(1)"}],
    "stdin": "",
    "args": "",
    "collect": "",
    "limits": {},
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_link_is_markup(visit, payload):
    bad = {**GOOD, "files": [{"name": "main.py", "text": payload}, {"name": "x" + payload.replace("/", "_"), "text": payload}],
        "language": payload, "stdin": payload, "args": payload, "collect": payload, "limits": {"memory": payload, payload: "1"}}  # fmt: skip
    v = visit().go(link(bad))
    expect(v.page.locator("#stdin")).to_have_value(payload)
    assert (
        v.page.locator("#files, .cm-content, #notices")
        .locator("script, img:not(.cm-widgetBuffer), svg, iframe, a, style, form")
        .count()
        == 0
    )
    check(v)


@pytest.mark.parametrize(
    "fragment",
    [
        link(b"[" * 100_000), link(b"no json"), link({"files": []}), link({"files": [{"name": "../x", "text": ""}]}), link(b" " * (64 << 20)),
        "#s=AAAA", "#s=" + "A" * 100_000, "#s=%00", link({"files": 3}), link(None), link({"files": [None]}),
        link({"files": {"__proto__": 1}, "__proto__": {"files": []}}),
    ],
    ids=range(12),
)  # fmt: skip
def test_a_link_that_makes_no_sense_is_said_to_be_so(visit, fragment):
    v = visit().go(fragment)
    if fragment != "#s=%00":
        expect(v.page.locator("#notices")).to_contain_text("no program that can be read")
    v.run()
    assert v.verdict.startswith("Ended well")


def test_names_in_a_link_that_leave_the_directory_are_left_out(visit):
    v = visit().go(
        link({**GOOD, "files": [*GOOD["files"], {"name": "/etc/x", "text": ""}, {"name": "a/../../b", "text": ""}]})
    )
    assert v.page.locator("#files [role=tab]").all_inner_texts() == ["main.py"]


def test_the_policy_stops_what_would_get_in_all_the_same(visit):
    """The page's own control, tried from inside."""
    v = visit().go()
    v.allowed.append("policy:|Content Security Policy|TrustedHTML|Trusted Type|requires")
    said = v.page.evaluate(
        """async () => {
            const tried = {};
            try { document.body.innerHTML = "<b>x</b>"; tried.html = "set"; } catch (e) { tried.html = e.name; }
            const script = document.createElement("script");
            try { script.textContent = "window.pwned = 1"; document.head.append(script); } catch (e) { /* as it should */ }
            tried.script = window.pwned ?? null;
            const style = document.createElement("style");
            style.textContent = "body { visibility: hidden }";
            document.head.append(style);
            tried.style = getComputedStyle(document.body).visibility;
            try { await fetch("https://example.com/"); tried.fetch = "sent"; } catch (e) { tried.fetch = e.name; }
            tried.nonce = document.querySelector("link[nonce]").getAttribute("nonce");
            return tried;
        }"""
    )
    assert said == {"html": "TypeError", "script": None, "style": "visible", "fetch": "TypeError", "nonce": ""}
