"""Names of registries' images, names in the store, digests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail import SpecError
from pyjail._images.digests import Digest, digest, of, shown
from pyjail._images.errors import ImageError
from pyjail._images.reference import Reference, local_name, parse

A = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost/app", ("localhost", "app", "latest", None)),
        ("localhost:5000/team/app:1", ("localhost:5000", "team/app", "1", None)),
        ("ghcr.io/a/b/c@" + A, ("ghcr.io", "a/b/c", None, digest(A))),
        ("ghcr.io/a:t@" + A, ("ghcr.io", "a", "t", digest(A))),
        ("[::1]:5000/a-b__c.d_e--f:V_1.2-3", ("[::1]:5000", "a-b__c.d_e--f", "V_1.2-3", None)),
        ("127.0.0.1:65535/x", ("127.0.0.1:65535", "x", "latest", None)),
        ("docker.io/python:3", ("docker.io", "library/python", "3", None)),
        ("docker.io/team/app", ("docker.io", "team/app", "latest", None)),
        ("GHCR.io/a", ("ghcr.io", "a", "latest", None)),
        ("h.x/" + "a" * 251, ("h.x", "a" * 251, "latest", None)),
        ("h.x/a:" + "t" * 128, ("h.x", "a", "t" * 128, None)),
    ],
)
def test_a_reference_is_taken_apart_and_written_again(text, expected):
    assert tuple(parse(text)) == expected
    assert parse(str(parse(text))) == parse(text)


def test_docker_answers_under_another_name():
    assert parse("docker.io/python").registry == "registry-1.docker.io"
    assert parse("ghcr.io/x").registry == "ghcr.io"
    assert parse("ghcr.io/x:1").wanted == "1"
    assert parse("ghcr.io/x:1@" + A).wanted == A


@pytest.mark.parametrize(
    "text",
    [
        "python", "python:3", "team/app", "team/app:1", "", "/", "localhost", "localhost/", "ghcr.io/", "ghcr.io",
        "ghcr.io//a", "ghcr.io/a/", "ghcr.io/A", "ghcr.io/a..b", "ghcr.io/a___b", "ghcr.io/../a", "ghcr.io/a/../../v2/b",
        "ghcr.io/a:", "ghcr.io/a:.x", "ghcr.io/a:x/y", "ghcr.io/a:" + "t" * 129, "ghcr.io/a\n", "ghcr.io/a:1\n", "ghcr.io/a?x",
        "ghcr.io/a#x", "ghcr.io/a%2e", "user@ghcr.io/a", "user:pw@ghcr.io/a", "https://ghcr.io/a", "docker://ghcr.io/a",
        "ghcr.io:0/a", "ghcr.io:65536/a", "ghcr.io:/a", "ghcr.io:99999/a", "ghcr.io:٨٠/a", "-x.io/a", "x-.io/a", ".io/a", "a..b/c",
        "ghcr.io/a@", "ghcr.io/a@sha256:" + "A" * 64, "ghcr.io/a@sha256:" + "a" * 63, "ghcr.io/a@md5:" + "a" * 32,
        "ghcr.io/a@blake3:" + "a" * 64, "ghcr.io/a@sha256:../../x", "ghcr.io/a@" + A + "@" + A, "ghcr.io/a@" + A + ":1",
        "h.x/" + "a" * 252, "gh\u0441r.io/a", "ghcr.io/\u0430", "x" * 5000, "[::1/a", "[]:1/a",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(SpecError, match="image=") as caught:
        parse(text)
    assert caught.value.field == "image"


def test_an_unqualified_name_is_told_the_form():
    with pytest.raises(SpecError, match=r"HOST\[:PORT\]/NAME\[:TAG\]\[@DIGEST\]"):
        parse("python:3.12")


@pytest.mark.parametrize("value", [None, 5, b"ghcr.io/a", ["ghcr.io/a"]])
def test_other_types_are_refused(value):
    for function in (parse, local_name):
        with pytest.raises(SpecError):
            function(value)


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_a_spec_error(text):
    try:
        found = parse(text)
    except SpecError:
        return
    assert isinstance(found, Reference)
    assert not set(found.host + found.name + found.wanted) - set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/[]"
    )


@pytest.mark.parametrize("text", ["app", "python:3.12", "ghcr.io/a/b:1@" + A, "a..b", "A+b"])
def test_names_of_the_store(text):
    assert local_name(text) == text


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "../x", "/x", "-x", "a b", "a\n", "a\0", "ä", "a%2f", A, "sha256:ab", "a" * 256, "a" + "/" * 85],
)
def test_what_is_no_name_of_the_store_is_refused(text):
    with pytest.raises(SpecError):
        local_name(text)


def test_digests_have_exactly_two_forms():
    assert digest(A) == Digest("sha256", "a" * 64)
    assert str(digest("sha512:" + "0" * 128)) == "sha512:" + "0" * 128
    assert str(of(b"")) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest("sha512:" + "0" * 128).hasher().digest_size == 64


@pytest.mark.parametrize(
    "text",
    [None, 5, b"sha256:" + b"a" * 64, "", "a" * 64, "sha256:" + "A" * 64, A + "\n", A + "/../x", "sha256:../../../../etc/passwd",
     "sha256:" + "a" * 62 + "..", "sha256:" + "a" * 128, "sha512:" + "a" * 64, "SHA256:" + "a" * 64, "sha1:" + "a" * 40,
     "sha256+b64:" + "a" * 64, "blake3:" + "a" * 64, "sha256:" + "\u0663" * 64],
)  # fmt: skip
def test_what_is_no_digest_is_refused_before_it_is_part_of_a_path(text):
    with pytest.raises(ImageError, match="sha256: and 64"):
        digest(text)


def test_what_an_image_says_is_shown_without_control_characters():
    assert shown("a\x1b[31m\n\u202e") == r"'a\x1b[31m\n\u202e'"
    assert shown(b"\xff/x") == r"'\udcff/x'"
    assert len(shown("x" * 10**6)) == 100
    assert shown(None) == "a value of type NoneType"
