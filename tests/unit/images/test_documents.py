"""Manifests, indexes and configurations: what is taken, and what two readers could take for different things."""

from __future__ import annotations

import base64
import io
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyjail._images import documents, values
from pyjail._images.bounds import Bounds
from pyjail._images.digests import of
from pyjail._images.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from pyjail._images.errors import ImageError
from pyjail._images.platforms import Platform, parse

DOCKER = "application/vnd.docker.distribution.manifest."
AMD64 = parse("linux/amd64")
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def descriptor(media=OCI_LAYER, digest=A, size=5, **more):
    return {"mediaType": media, "digest": digest, "size": size, **more}


def manifest(**more):
    return {"schemaVersion": 2, "config": descriptor(OCI_CONFIG), "layers": [descriptor(), descriptor()], **more}


def index(*entries, **more):
    return {"schemaVersion": 2, "manifests": [*entries], **more}


def entry(os="linux", architecture="amd64", variant=None, **more):
    platform = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
    return descriptor(OCI_MANIFEST, platform=platform, **more)


def read(document, content_type=None, **bounds):
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return documents.manifest(raw, content_type, Bounds(**bounds))


def test_a_manifest_is_its_config_and_its_layers_and_the_same_layer_may_occur_twice():
    raw = json.dumps(manifest(mediaType=OCI_MANIFEST, subject=descriptor(), artifactType="x/y")).encode()
    found = documents.manifest(raw, f"{OCI_MANIFEST}; charset=utf-8", Bounds())
    assert isinstance(found, documents.Manifest)
    assert (found.config.media_type, str(found.config.digest), found.config.size) == (OCI_CONFIG, A, 5)
    assert found.layers[0] == found.layers[1]
    assert (found.raw, found.digest) == (raw, of(raw))


@pytest.mark.parametrize("media", sorted(documents.LAYERS))
def test_each_kind_of_layer_is_taken(media):
    assert read(manifest(layers=[descriptor(media)])).layers[0].media_type == media


@pytest.mark.parametrize(
    ("document", "content_type", "says"),
    [
        (index() | manifest(), None, "CVE-2021-41190"),
        (index(layers=[]), None, "CVE-2021-41190"),
        (index(config=descriptor(OCI_CONFIG)), OCI_INDEX, "CVE-2021-41190"),
        (manifest(Manifests=[]), None, "CVE-2021-41190"),
        (manifest(mediaType=OCI_INDEX), None, "contradict"),
        (manifest(), OCI_INDEX, "contradict"),
        (index(mediaType=OCI_MANIFEST), None, "contradict"),
        (index(), f"{DOCKER}v2+json", "contradict"),
        (manifest(mediaType=OCI_MANIFEST), f"{DOCKER}v2+json", "contradict"),
        (manifest(schemaVersion=1), None, "schema 1"),
        (manifest(), f"{DOCKER}v1+prettyjws", "schema 1"),
        (manifest(mediaType=f"{DOCKER}v1+json"), None, "schema 1"),
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, None, "schema 1"),
        (manifest(schemaVersion=True), None, "schemaVersion"),
        (manifest(schemaVersion="2"), None, "schemaVersion"),
        (manifest(schemaVersion=3), None, "schemaVersion"),
        (manifest(), "text/html", "no manifest"),
        (manifest(mediaType="a/b"), None, "no manifest"),
        (manifest(), "application/json", "no manifest"),
        ({"schemaVersion": 2}, None, "no image"),
        (manifest(config=None), None, "config"),
        (manifest(config=descriptor("application/vnd.oci.empty.v1+json")), None, "artifact"),
        (manifest(layers=[descriptor("application/x-xz")]), None, "layer 1"),
        (manifest(layers=[descriptor("x")]), None, "no media type"),
        (manifest(layers=[5]), None, "layer 1"),
        (manifest(layers={}), None, "list"),
        (manifest(layers=[descriptor(size=-1)]), None, "not negative"),
        (manifest(layers=[descriptor(size=True)]), None, "size"),
        (manifest(layers=[descriptor(size=1.5)]), None, "size"),
        (manifest(layers=[descriptor(size="5")]), None, "size"),
        (manifest(layers=[descriptor(size=10**17)]), None, "compressed"),
        (manifest(layers=[descriptor(size=3 << 30)] * 2), None, "compressed"),
        (manifest(layers=[descriptor(digest="sha256:../../../../etc/shadow")]), None, "digest"),
        (manifest(layers=[descriptor(digest="sha256:" + "A" * 64)]), None, "digest"),
        (manifest(layers=[descriptor(digest="blake3:" + "a" * 64)]), None, "digest"),
        (manifest(layers=[descriptor(digest=None)]), None, "digest"),
        (manifest(layers=[descriptor(data="%")]), None, "base64"),
        (manifest(layers=[descriptor(annotations=[])]), None, "annotations"),
        (manifest(layers=[descriptor(annotations={"a": 5})]), None, "annotations"),
        (manifest(config=descriptor(OCI_CONFIG, size=(8 << 20) + 1)), None, "bound config="),
        (manifest(layers=[descriptor()] * 257), None, "bound layers="),
        (index(*[entry()] * 1001), None, "bound index_entries="),
        (index({"digest": A}), None, "entry 1"),
        (b"[]", None, "object"),
        (b"", None, "JSON"),
        (b"\xff\xfe{\0}\0", None, "JSON"),
        (b"\xef\xbb\xbf{}", None, "JSON"),
        (b'{"a": "\xff"}', None, "UTF-8"),
        (b'{"schemaVersion": 2, "schemaVersion": 1}', None, "twice"),
        (b'{"a": [{"b": 1, "\\u0062": 2}]}', None, "twice"),
        (b'{"a": NaN}', None, "NaN"),
        (b'{"a": ' + b"9" * 5000 + b"}", None, "digits"),
        (b'{"a": 1e999}', None, "schemaVersion"),
        (b"{" + b'"a":{' * 70 + b"}" * 71, None, "64 deep"),
        (b"[" * (4 << 20), None, "values"),
    ],
)  # fmt: skip
def test_a_document_that_is_none_or_could_be_two_is_refused(document, content_type, says):
    with pytest.raises(ImageError, match=says):
        read(document, content_type)


def test_a_manifest_of_a_gigabyte_is_not_parsed():
    with pytest.raises(ImageError, match="bound manifest="):
        documents.manifest(bytes(1 << 26), None, Bounds())
    assert isinstance(read(json.dumps(manifest()).encode().ljust(4 << 20)), documents.Manifest)


@pytest.mark.parametrize(
    "raw",
    [b"[" + b"{}," * 10**6 + b"{}]", b'{"a":["' + b'","' * 10**6 + b'"]}', b'"' * (4 << 20), b'"' + b'\\"' * (2 << 20)],
)
def test_what_would_be_large_as_objects_is_refused_before_it_is_parsed(raw):
    start = time.monotonic()
    with pytest.raises(ImageError):
        values.document(raw, "manifest", 4 << 20, "manifest")
    assert time.monotonic() - start < 10


def test_brackets_in_strings_are_no_depth():
    text = "[{" * 500 + '\\"' * 3
    found = values.document(json.dumps({"a": text, text: "\\"}).encode(), "x", 1 << 20, "manifest")
    assert found == {"a": text, text: "\\"}


@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_what_json_writes_is_read_the_same(value):
    assert values.document(json.dumps({"v": value}).encode(), "x", 1 << 20, "manifest") == {"v": value}


BASE = json.dumps(index(entry(), mediaType=OCI_INDEX)).encode(), json.dumps(manifest(mediaType=OCI_MANIFEST)).encode()


@settings(max_examples=300)
@given(st.sampled_from(BASE), st.integers(0, 400), st.binary(max_size=6), st.integers(0, 20))
def test_a_mutated_document_is_read_or_refused_and_nothing_else(raw, at, put, cut):
    for reader in (lambda r: documents.manifest(r, None, Bounds()), lambda r: documents.config(r, Bounds())):
        try:
            reader(raw[:at] + put + raw[at + cut :])
        except ImageError as e:
            assert len(str(e)) < 600


def test_data_counts_only_if_size_and_digest_fit():
    good = base64.b64encode(b"hello").decode()
    fits = descriptor(digest=str(of(b"hello")), size=5, data=good)
    assert read(manifest(layers=[fits])).layers[0].data == b"hello"
    for wrong in (fits | {"size": 6}, fits | {"digest": A}, fits | {"data": base64.b64encode(b"hellO").decode()}):
        assert read(manifest(layers=[wrong])).layers[0].data is None


def test_urls_of_a_descriptor_are_not_even_kept():
    """CVE-2020-15157: a layer's own address got the registry's credentials."""
    foreign = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["https://evil/x"])
    assert "evil" not in repr(read(manifest(layers=[foreign])).layers)


def choose(*entries, platform=AMD64):
    found = read(index(*entries))
    return str(documents.choose(found, platform).digest)


def test_the_first_entry_that_fits_is_chosen():
    assert choose(entry("windows"), entry(architecture="arm64"), entry(digest=B), entry(digest=A)) == B
    assert choose(entry(variant="v3"), entry(digest=B)) == B
    assert choose(entry(variant="v3"), entry(digest=B), platform=Platform("linux", "amd64", ("", "v2", "v3"))) == A
    assert choose(entry(architecture="arm64", variant="v8"), platform=parse("linux/arm64")) == A
    assert choose(entry(architecture="arm64"), platform=parse("linux/arm64/v8")) == A


def test_an_entry_without_platform_is_chosen_only_if_it_is_alone():
    bare = descriptor(OCI_MANIFEST)
    seal = entry("unknown", "unknown", digest=B)
    assert choose(bare) == A
    assert choose(seal, bare) == A
    with pytest.raises(ImageError, match="no platform"):
        choose(bare, bare)


def test_attestations_and_artifacts_are_passed_over():
    seal = entry(digest=A, annotations={"vnd.docker.reference.type": "attestation-manifest"})
    other = {**entry(digest=A), "mediaType": "application/vnd.x+json"}
    assert choose(seal, other, entry(digest=B)) == B


def test_what_there_is_instead_is_listed():
    many = [entry(architecture=f"m{n}") for n in range(500)]
    with pytest.raises(ImageError, match="no image for linux/amd64; there is 'linux/arm64/v8', 'windows/amd64'"):
        choose(entry("windows"), entry(architecture="arm64", variant="v8"))
    with pytest.raises(ImageError) as caught:
        choose(*many)
    assert len(str(caught.value)) < 600
    with pytest.raises(ImageError, match="none at all"):
        choose()
    with pytest.raises(ImageError, match=r"\\x1b"):
        choose(entry("\x1b[2J"))


class Held:
    """A source of what is in a dict; it can lie."""

    media_type = None

    def __init__(self, top, *blobs):
        self.top = top
        self.blobs = {str(of(blob)): blob for blob in blobs}
        self.asked = 0

    def manifest(self):
        return self.top

    def blob(self, descriptor):
        self.asked += 1
        return io.BytesIO(self.blobs[str(descriptor.digest)])

    def names(self):
        return []

    def close(self):
        pass


def pointing(raw, media=OCI_MANIFEST, **more):
    return json.dumps(index({"mediaType": media, "digest": str(of(raw)), "size": len(raw), **more})).encode()


def test_indexes_are_followed_two_deep_and_no_deeper():
    last = json.dumps(manifest()).encode()
    one = pointing(last)
    two = pointing(one, OCI_INDEX)
    three = pointing(two, OCI_INDEX)
    assert documents.resolve(Held(two, one, last), AMD64, Bounds()).raw == last
    with pytest.raises(ImageError, match="index_depth"):
        documents.resolve(Held(three, two, one, last), AMD64, Bounds())


def test_what_is_pointed_to_has_to_be_of_the_kind_that_was_said():
    last = json.dumps(manifest(mediaType=OCI_MANIFEST)).encode()
    with pytest.raises(ImageError, match="contradict"):
        documents.resolve(Held(pointing(last, f"{DOCKER}v2+json"), last), AMD64, Bounds())
    with pytest.raises(ImageError, match="contradict"):
        documents.resolve(Held(pointing(last, OCI_INDEX), last), AMD64, Bounds())


def test_size_is_compared_first_then_the_digest():
    raw = json.dumps(manifest()).encode()
    told = documents.Descriptor(OCI_MANIFEST, of(raw), len(raw), {})
    source = Held(b"", raw)
    assert documents.read(source, told, 1 << 20, "manifest") == raw
    source.blobs[str(told.digest)] = raw[:-1] + b" "
    with pytest.raises(ImageError, match="its bytes are not those of"):
        documents.read(source, told, 1 << 20, "manifest")
    for wrong in (raw + b"x" * 10**6, raw[:-1], b""):
        source.blobs[str(told.digest)] = wrong
        with pytest.raises(ImageError, match=f"should have {len(raw)} bytes"):
            documents.read(source, told, 1 << 20, "manifest")
    before = source.asked
    with pytest.raises(ImageError, match="bound manifest="):
        documents.read(source, told, 5, "manifest")
    assert source.asked == before


def test_a_descriptor_of_size_0_switches_no_check_off():
    """boxlite-ai/boxlite#1487."""
    raw = b"x" * 100
    with pytest.raises(ImageError, match="0 bytes"):
        documents.read(Held(b"", raw), documents.Descriptor(OCI_MANIFEST, of(raw), 0, {}), 1 << 20, "manifest")
