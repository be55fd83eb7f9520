"""An image comes from a registry: by few requests, and byte for byte what its descriptors say."""

from __future__ import annotations

import socket
import threading

import pytest

from pyjail import SpecError
from pyjail._images.bounds import Bounds
from pyjail._images.digests import of
from pyjail._images.documents import Index, choose, manifest, read
from pyjail._images.errors import ImageError
from pyjail._images.platforms import Platform
from pyjail._images.reference import parse
from pyjail._images.registry import RegistrySource, home
from tests import images_registry as fake
from tests.images_registry import CERTIFICATE, LAYER, QUICK, TESTER, always, got, layer, source


def test_an_image_comes_by_one_request_for_each_part_over_one_connection(there):
    with source(there) as it:
        raw = it.manifest()
        assert it.media_type == fake.OCI + "manifest.v1+json"
        found = manifest(raw, it.media_type, Bounds())
        assert got(it, found.layers[0]) == LAYER
        read(it, found.config, 1000, "config")
    assert [asked.path.split("/")[4] for asked in there.asked] == ["manifests", "blobs", "blobs"]
    assert there.secrets == []
    assert fake.OCI + "index.v1+json" in there.asked[0].headers["Accept"]
    assert it.origin == {"reference": f"{there.host}/team/app:1", "host": there.host, "secret_used": False}


def test_connections_are_kept(there):
    connections = set()
    there.faults.append(lambda to, asked: connections.add(to.client_address) and False)
    with source(there) as it:
        it.manifest()
        got(it)
        got(it)
    assert len(there.asked) == 3
    assert len(connections) == 1


def test_a_digest_is_asked_for_and_checked(there):
    raw = there.manifests["1"][1]
    with source(there, f"team/app:other@{of(raw)}") as it:
        assert it.manifest() == raw
    there.manifests[str(of(raw))] = (fake.OCI + "manifest.v1+json", raw + b" ")
    with source(there, f"team/app@{of(raw)}") as it, pytest.raises(ImageError, match="not the one that was asked for"):
        it.manifest()


def test_an_index_leads_to_a_manifest_of_its_type(there):
    inner = there.manifests["1"][1]
    row = {
        "mediaType": fake.OCI + "manifest.v1+json",
        "digest": str(of(inner)),
        "size": len(inner),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    document = {"schemaVersion": 2, "mediaType": fake.OCI + "index.v1+json", "manifests": [row]}
    there.name(__import__("json").dumps(document).encode(), fake.OCI + "index.v1+json", "multi")
    with source(there, "team/app:multi") as it:
        index = manifest(it.manifest(), it.media_type, Bounds())
        assert isinstance(index, Index)
        chosen = choose(index, Platform("linux", "amd64", ""))
        assert read(it, chosen, 10_000, "manifest") == inner
        there.manifests[str(of(inner))] = (fake.OCI + "index.v1+json", inner)
        with pytest.raises(ImageError, match="registry calls it"):
            read(it, chosen, 10_000, "manifest")


def test_a_blob_of_another_algorithm_and_an_empty_one(there):
    import hashlib

    from pyjail._images.digests import Digest

    long = Digest("sha512", hashlib.sha512(LAYER).hexdigest())
    there.blobs |= {str(long): LAYER, str(of(b"")): b""}
    with source(there) as it:
        assert got(it, layer()._replace(digest=long)) == LAYER
        assert got(it, layer(b"")) == b""


# Bytes that are not those of the descriptor


@pytest.mark.parametrize(
    ("sent", "headers", "why"),
    [(LAYER[:-1] + b"?", {}, "its digest is sha256:"),
     (LAYER + b"?", {}, "there are 256001 bytes, and 256000 in its descriptor"),
     (LAYER[:-1], {}, "there are 255999 bytes"),
     (LAYER, {"Content-Encoding": "gzip"}, "it encodes as 'gzip'"),
     (b"<html>log in</html>", {"Content-Type": "text/html"}, "there are 19 bytes")],
)  # fmt: skip
def test_other_bytes_are_refused_and_the_last_ones_not_given_out(there, sent, headers, why):
    there.faults.append(always(lambda to, _: to.send(200, sent, headers)))
    came = []
    with source(there) as it, it.blob(layer()) as file, pytest.raises(ImageError, match=why):
        while piece := file.read(100_000):
            came.append(piece)
    assert len(b"".join(came)) < len(LAYER)


@pytest.mark.parametrize("how", ["chunked", "until the end"])
@pytest.mark.parametrize("size", [len(LAYER), len(LAYER) - 1, 0])
def test_bytes_are_counted_where_no_length_is_told(there, how, size):
    def answer(to, _):
        to.send(
            200,
            b"",
            {
                "Content-Length": "",
                **({"Transfer-Encoding": "chunked"} if how == "chunked" else {"Connection": "close"}),
            },
        )
        to.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(LAYER), LAYER) if how == "chunked" else LAYER)
        if how != "chunked":
            to.end()

    there.faults.append(always(answer))
    with source(there) as it:
        if size == len(LAYER):
            assert got(it) == LAYER
        else:
            with pytest.raises(ImageError, match="more bytes than"):
                got(it, layer(size=size))


def test_a_descriptor_of_size_0_does_not_switch_the_check_off(there):
    with source(there) as it, pytest.raises(ImageError, match="256000 bytes, and 0 in its descriptor"):
        got(it, layer(size=0))


def test_sizes_above_the_bound_are_not_even_asked_for(there):
    with source(there, bounds=Bounds(compressed=1000)) as it, pytest.raises(ImageError, match="bound compressed=1,000"):
        it.blob(layer())
    assert there.asked == []


@pytest.mark.parametrize("how", ["told", "chunked"])
def test_a_huge_manifest_is_not_read(there, how):
    def endless(to, _):
        to.send(
            200,
            b"",
            {"Content-Length": str(1 << 30)}
            if how == "told"
            else {"Content-Length": "", "Transfer-Encoding": "chunked"},
        )
        for _ in range(1 << 10):
            to.wfile.write(b"100000\r\n" + b" " * (1 << 20) + b"\r\n" if how == "chunked" else b" " * (1 << 20))

    there.faults.append(always(endless, "/manifests/"))
    with source(there) as it, pytest.raises(ImageError, match="document of"):
        it.manifest()


def test_a_digest_that_the_registry_tells_has_to_be_right(there):
    raw = there.manifests["1"][1]
    for told in (str(of(b"x")), "sha256:../../x", "md5:1"):
        there.faults[:] = [
            always(lambda to, _, told=told: to.send(200, raw, {"Docker-Content-Digest": told}), "/manifests/")
        ]
        with source(there) as it, pytest.raises(ImageError):
            it.manifest()


def test_what_is_not_there_is_said(there):
    with (
        source(there, "team/app:2") as it,
        pytest.raises(ImageError, match="there is no team/app/manifests/2: 404 unknown"),
    ):
        it.manifest()
    with source(there) as it, pytest.raises(ImageError, match="there is no team/app/blobs/sha256"):
        got(it, layer(b"x"))
    assert len(there.asked) == 2


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b'{"errors": 1}', b'{"errors": []}', b'{"errors": [[]]}', b"[" * 8000, b"\xff", b"x" * 100_000],
)
def test_what_a_registry_says_of_an_error_may_be_nonsense(there, body):
    there.faults.append(always(lambda to, _: to.send(404, body), "/manifests/"))
    with source(there) as it, pytest.raises(ImageError, match="404"):
        it.manifest()


@pytest.mark.parametrize("line", [b"\x00\x01\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 " + b"x" * 70000,
                                  b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])  # fmt: skip
def test_what_is_no_http_is_an_error(there, line):
    def answer(to, _):
        to.wfile.write(line)
        to.end()

    there.faults.append(always(answer))
    with source(there) as it, pytest.raises(ImageError):
        got(it)


# Who is spoken to, and how


@pytest.mark.parametrize(
    ("host", "insecure", "ca", "expected"),
    [("ghcr.io", False, None, ("https", "ghcr.io", 443)), ("ghcr.io:80", False, None, ("https", "ghcr.io", 80)), ("h.x:5000", True, None, ("http", "h.x", 5000)),
     ("localhost", False, None, ("http", "localhost", 80)), ("127.0.0.1:5000", False, None, ("http", "127.0.0.1", 5000)), ("[::1]:5000", False, None, ("http", "::1", 5000)),
     ("localhost:443", False, None, ("https", "localhost", 443)), ("localhost:5000", False, "ca.pem", ("https", "localhost", 5000)),
     ("127.0.0.1.evil.example", False, None, ("https", "127.0.0.1.evil.example", 443)), ("localhost.evil.example", False, None, ("https", "localhost.evil.example", 443))],
)  # fmt: skip
def test_http_is_for_this_machine_alone(host, insecure, ca, expected):
    assert tuple(home(host, insecure, ca)) == expected


def test_insecure_and_a_ca_exclude_each_other():
    with pytest.raises(SpecError, match="either insecure=True or ca="):
        RegistrySource(parse("h.x/a"), None, True, "ca.pem")


def test_a_name_that_is_only_called_localhost_gets_no_http(there, monkeypatch):
    reached = []

    class Far(socket.socket):
        def getpeername(self):
            return ("192.0.2.1", 80)

    def connect(address, *rest, **options):
        reached.append(address)
        made = Far(socket.AF_INET)
        made.connect(address)
        return made

    monkeypatch.setattr(socket, "create_connection", connect)
    with (
        source(there) as it,
        pytest.raises(ImageError, match=r"http is spoken to this machine only, and this is 192\.0\.2\.1"),
    ):
        it.manifest()
    assert len(reached) == 1
    assert there.asked == []


def test_tls_is_checked_against_the_ca_that_is_named():
    with fake.registry(CERTIFICATE) as there:
        there.add(LAYER)
        with source(there, ca=str(CERTIFICATE)) as it:
            it.manifest()
            assert got(it) == LAYER
        there.asked.clear()
        reference = parse(f"localhost:{there.port}/team/app:1")  # not a name of this certificate
        with (
            RegistrySource(reference, TESTER, ca=str(CERTIFICATE), patience=QUICK) as it,
            pytest.raises(ImageError, match=r"certificate is refused.*ca=FILE"),
        ):
            it.manifest()
        assert there.asked == []


def test_https_stays_https(elsewhere):
    with fake.registry(CERTIFICATE) as there:
        there.add(LAYER)
        there.faults.append(
            always(lambda to, asked: to.complain(307, headers={"Location": elsewhere.url + asked.path}))
        )
        with (
            source(there, ca=str(CERTIFICATE)) as it,
            pytest.raises(ImageError, match=r"it redirects to .* without https"),
        ):
            got(it)
    assert elsewhere.asked == []


def test_a_token_server_has_to_speak_https_where_the_registry_does(elsewhere):
    with fake.registry(CERTIFICATE) as there:
        there.realm = f"{elsewhere.url}/token"
        for credentials in (None, TESTER):
            with (
                source(there, credentials=credentials, ca=str(CERTIFICATE)) as it,
                pytest.raises(ImageError, match="https is needed"),
            ):
                it.manifest()
    assert elsewhere.asked == []


def test_a_registry_without_tls_a_ca_that_is_none_and_nobody_at_all(there, tmp_path):
    with source(there, ca=str(CERTIFICATE)) as it, pytest.raises(ImageError, match="does not speak TLS"):
        it.manifest()
    (tmp_path / "no.pem").write_text("nothing")
    for path in (tmp_path / "no.pem", tmp_path / "absent.pem"):
        with source(there, ca=str(path)) as it, pytest.raises(ImageError, match="cannot be used"):
            it.manifest()
    there.close()
    with source(there) as it, pytest.raises(ImageError, match="nobody listens there"):
        it.manifest()


def test_several_threads_read_at_once(tokens):
    datas = [bytes([n]) * 300_000 for n in range(8)]
    tokens.blobs |= {str(of(data)): data for data in datas}
    came = {}
    with source(tokens) as it:
        threads = [
            threading.Thread(target=lambda data=data: came.__setitem__(data[0], got(it, layer(data)) == data))
            for data in datas
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert came == dict.fromkeys(range(8), True)
    assert len([asked for asked in tokens.asked if asked.path.startswith("/token")]) == 1


def test_two_that_are_read_in_turns_have_a_connection_each(tokens):
    datas = [bytes([n]) * 300_000 for n in range(3)]
    tokens.blobs |= {str(of(data)): data for data in datas}
    with source(tokens) as it:
        it.manifest()
        files = [it.blob(layer(data)) for data in datas]
        pieces = [[file.read(100) for file in files] for _ in range(3000)]
        for file in files:
            file.close()
    assert [b"".join(column) for column in zip(*pieces, strict=True)] == datas
