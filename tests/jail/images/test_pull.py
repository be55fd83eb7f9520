"""Images come from registries into the store: ours that does as it is told, and Debian's docker-registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from pyjail import HostError, SpecError, images
from pyjail.images import ImageError
from tests import images_docker as docker
from tests import images_registry as fake
from tests import place
from tests.conftest import SLOW

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
needs_docker = pytest.mark.skipif(not docker.HERE, reason=place.ELSEWHERE if SLOW > 1 else docker.WITHOUT)


def layer(**files):
    """A tar of these files."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(text), 1_000_000_000
            tar.addfile(info, io.BytesIO(text))
    return held.getvalue()


def packed(tar):
    return gzip.compress(tar, mtime=0)


def config(*tars, **more):
    diff_ids = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
    return {"os": "linux", "architecture": MACHINE, "rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": more}


BASE, UPPER = layer(a=b"1", b=b"2" * 100_000), layer(c=b"3")


@pytest.fixture
def there():
    """A registry that has team/app:1."""
    with fake.registry() as made:
        made.add(packed(BASE), packed(UPPER), config=config(BASE, UPPER, Env=["X=1"]))
        yield made


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def content(image):
    return {path.name: path.read_bytes() for path in Path(image.root).iterdir() if path.is_file()}


def test_an_image_is_pulled_verified_and_known_by_its_reference(there, store):
    ref, seen = f"{there.host}/team/app:1", []
    image = images.pull(ref, path=store, progress=lambda *told: seen.append(told))
    assert content(image) == {"a": b"1", "b": b"2" * 100_000, "c": b"3"}
    assert image.digest == fake.digest(there.manifests["1"][1])
    assert image.origin == {"reference": ref, "host": there.host, "secret_used": False}
    assert image.config["env"] == ["X=1"]
    assert images.get(ref, path=store) == image
    assert seen
    assert images.verify(ref, path=store) == []


def test_a_tag_that_did_not_change_costs_one_request_and_one_that_did_its_own_layers(there, store):
    there.add(packed(BASE), config=config(BASE), tag="base")
    images.pull(f"{there.host}/team/app:base", path=store)
    ref = f"{there.host}/team/app:1"
    first = images.pull(ref, path=store)
    there.asked.clear()
    assert images.pull(ref, path=store) == first
    assert len(there.asked) == 1
    there.asked.clear()
    other = layer(c=b"4")
    there.add(packed(BASE), packed(other), config=config(BASE, other))
    second = images.pull(ref, path=store)
    assert content(second) == {"a": b"1", "b": b"2" * 100_000, "c": b"4"}
    assert [asked.path.split("/")[4] for asked in there.asked] == ["manifests", "blobs", "blobs"]  # no base layer
    assert images.get(ref, path=store).digest == second.digest != first.digest


def test_an_image_has_the_name_that_it_is_given(there, store):
    image = images.pull(f"{there.host}/team/app@{fake.digest(there.manifests['1'][1])}", name="app", path=store)
    assert image.name == "app"
    assert [found.name for found in images.list(path=store)] == ["app"]


@pytest.mark.parametrize("ref", ["app", "team/app", "http://h.x/a", "localhost/../a", "h.x/a:b:c", "", 5])
def test_no_registry_is_assumed(ref, store):
    with pytest.raises(SpecError):
        images.pull(ref, path=store)
    assert not store.exists()


@pytest.mark.parametrize(
    "given",
    [
        {"credentials": "s3cret"},
        {"platform": "windows/amd64"},
        {"platform": 5},
        {"name": "../x"},
        {"insecure": True, "ca": "x"},
    ],
)
def test_what_makes_no_sense_is_said_before_anybody_is_asked(there, store, given):
    with pytest.raises(SpecError):
        images.pull(f"{there.host}/team/app:1", path=store, **given)
    assert there.asked == []


def other_machine(there):
    there.add(packed(BASE), config={**config(BASE), "architecture": "s390x" if MACHINE != "s390x" else "arm64"})


def wrong_diff_id(there):
    there.add(packed(BASE), config=config(UPPER))


def too_few_diff_ids(there):
    there.add(packed(BASE), packed(UPPER), config=config(BASE))


def changed_layer(there):
    data = packed(UPPER)
    there.blobs[fake.digest(data)] = bytes([data[0] ^ 1]) + data[1:]


def shorter_layer(there):
    data = packed(UPPER)
    there.blobs[fake.digest(data)] = data[:-1]


def changed_config(there):
    for name, data in there.blobs.items():
        if data.startswith(b"{"):
            there.blobs[name] = data.replace(b"X=1", b"X=2")


def both_kinds(there):
    kind, raw = there.manifests["1"]
    there.manifests["1"] = (kind, json.dumps({**json.loads(raw), "manifests": []}).encode())


def another_type(there):
    there.manifests["1"] = (fake.OCI + "index.v1+json", there.manifests["1"][1])


def web_page(there):
    there.manifests["1"] = ("text/html", b"<html>log in</html>")


def lies_about_size(there):
    kind, raw = there.manifests["1"]
    document = json.loads(raw)
    document["layers"][0]["size"] = 0
    there.manifests["1"] = (kind, json.dumps(document).encode())


def path_as_digest(there):
    kind, raw = there.manifests["1"]
    document = json.loads(raw)
    document["layers"][0]["digest"] = "sha256:../../../../etc/passwd"
    there.manifests["1"] = (kind, json.dumps(document).encode())


def schema_1(there):
    there.manifests["1"] = (
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        b'{"schemaVersion": 1, "fsLayers": []}',
    )


@pytest.mark.parametrize(
    "fault",
    [other_machine, wrong_diff_id, too_few_diff_ids, changed_layer, shorter_layer, changed_config, both_kinds, another_type, web_page, lies_about_size, path_as_digest, schema_1],
)  # fmt: skip
def test_what_is_not_right_leaves_the_store_as_it_was(there, store, fault):
    ref = f"{there.host}/team/app:1"
    images.pull(ref, name="good", path=store)
    images.remove("good", path=store)
    images.gc(path=store)
    fault(there)
    with pytest.raises(ImageError):
        images.pull(ref, path=store)
    assert images.list(path=store) == []
    assert os.listdir(store / "roots") == []
    assert os.listdir(store / "staging") == []


def test_urls_of_a_manifest_are_not_used(there, store):
    with fake.registry() as elsewhere:
        kind, raw = there.manifests["1"]
        document = json.loads(raw)
        for row in document["layers"]:
            row["urls"] = [f"{elsewhere.url}/v2/team/app/blobs/{row['digest']}"]
            row["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        there.manifests["1"] = (kind, json.dumps(document).encode())
        images.pull(f"{there.host}/team/app:1", path=store)
        assert elsewhere.asked == []


def test_nobody_lends_credentials_that_were_not_asked_for(there, store, tmp_path, monkeypatch):
    there.password = ("tester", "s3cret")
    (tmp_path / ".docker").mkdir()
    entry = {"auths": {there.host: {"username": "tester", "password": "s3cret"}}}
    (tmp_path / ".docker/config.json").write_text(json.dumps(entry))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    ref = f"{there.host}/team/app:1"
    with pytest.raises(ImageError, match="it wants a user and a password"):
        images.pull(ref, path=store)
    assert there.secrets == []
    assert images.pull(ref, path=store, credentials="config").origin["secret_used"] is True
    with pytest.raises(ImageError):  # and what was pulled with a secret is no answer to who has none
        images.pull(ref, path=store)
    with pytest.raises(HostError, match="absent"):
        images.pull(ref, path=store, credentials=tmp_path / "absent")


def blobs(there):
    return [asked.path.rpartition("/")[2] for asked in there.asked if "/blobs/" in asked.path]


def test_what_was_pulled_with_a_secret_is_had_by_who_has_its_layers_alone(there, store):
    """An image may name the contents of another's layers: that alone is no way to its files."""
    there.add(packed(BASE), config=config(BASE), tag="1")
    there.password = ("tester", "s3cret")
    mine = images.pull(f"{there.host}/team/app:1", path=store, credentials=there.password)
    made = os.stat(mine.root).st_ino
    others = ((BASE,), (BASE, layer(d=b"4")))  # its very tree, and one upon its first layer
    with fake.registry() as strange:
        for tars in others:
            strange.add(*map(packed, tars), config=config(*tars, Env=["Y=1"]))
            sent = dict(strange.blobs)
            del strange.blobs[fake.digest(packed(BASE))]
            with pytest.raises(ImageError, match="404"):
                images.pull(f"{strange.host}/team/app:1", path=store)
            strange.blobs = {
                d: data if d != fake.digest(packed(BASE)) else data[:-1] + b"x" for d, data in sent.items()
            }
            with pytest.raises(ImageError, match="its digest is"):
                images.pull(f"{strange.host}/team/app:1", path=store)
            assert [image.name for image in images.list(path=store)] == [mine.name]
            assert os.listdir(store / "staging") == []
            strange.blobs = sent
        theirs = images.pull(f"{strange.host}/team/app:1", path=store)  # who has them, has them: and shares the files
        assert content(theirs) == {"a": b"1", "b": b"2" * 100_000, "d": b"4"}
        assert os.stat(f"{theirs.root}/b").st_ino == os.stat(f"{mine.root}/b").st_ino
        assert images.verify(theirs.name, path=store) == [] == images.verify(mine.name, path=store)
    with fake.registry() as third:
        third.add(*map(packed, others[1]), config=config(*others[1], Env=["Z=1"]))
        images.pull(f"{third.host}/team/app:1", path=store)
        assert len(blobs(third)) == 1  # its configuration: what was given to anybody is not sent again
    there.asked.clear()
    images.pull(f"{there.host}/team/app:1", name="again", path=store, credentials=there.password)
    assert len(blobs(there)) == 1  # by the repository that it came from neither
    assert os.stat(mine.root).st_ino == made


def typed(store, *words, stdin="", **env):
    """(code, stdout, stderr) of `pyjail image pull`."""
    command = [sys.executable, "-m", "pyjail", "image", "pull", *words]
    env = {**os.environ, "PYJAIL_HOME": str(store.parent), "HOME": str(store.parent), **env}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env)
    return done.returncode, done.stdout, done.stderr


def test_pull_is_typed(there, store):
    there.password = ("tester", "s3cret")
    ref = f"{there.host}/team/app:1"
    code, _, err = typed(store, ref)
    assert code != 0
    assert "it wants a user and a password" in err
    code, out, err = typed(store, ref, "--user", "tester", "--name", "app", "--json", stdin="s3cret\n")
    assert code == 0, err
    assert json.loads(out)["rows"][0]["name"] == "app"
    (store.parent / "auth.json").write_text(
        json.dumps({"auths": {there.host: {"username": "tester", "password": "s3cret"}}})
    )
    for words, env in (
        (("--auth-file", str(store.parent / "auth.json")), {}),
        ((), {"REGISTRY_AUTH_FILE": str(store.parent / "auth.json")}),
    ):
        code, out, err = typed(store, ref, *words, **env)
        assert code == 0, err
        assert fake.digest(there.manifests["1"][1]) in out
    code, _, err = typed(store, ref, "--anonymous", REGISTRY_AUTH_FILE=str(store.parent / "auth.json"))
    assert code != 0
    assert "s3cret" not in out + err


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """(directory of a docker-registry, digest of its team/app:1)."""
    directory = tmp_path_factory.mktemp("registry")
    with docker.docker_registry(directory) as running:
        pushed = running.push("team/app", "1", config(BASE, UPPER), packed(BASE), packed(UPPER))
    return directory, pushed


@needs_docker
@pytest.mark.parametrize("auth", ["", "password", "token"])
def test_a_docker_registry_is_pulled_from(pushed, store, auth):
    directory, digest = pushed
    with docker.docker_registry(directory, auth) as running:
        ref, right = f"{running.host}/team/app:1", (docker.USER, docker.PASSWORD)
        image = images.pull(ref, credentials=right, path=store)
        assert image.digest == digest
        assert content(image) == {"a": b"1", "b": b"2" * 100_000, "c": b"3"}
        assert image.origin["secret_used"] is bool(auth)
        if auth:
            with pytest.raises(ImageError, match="it refuses the credentials of 'tester'"):
                images.pull(ref, name="other", credentials=(docker.USER, "wrong"), path=store)
        if auth == "password":
            with pytest.raises(ImageError, match="it wants a user and a password"):
                images.pull(ref, name="other", path=store)
        if auth == "token":
            assert [asked.authorization is not None for asked in running.tokens] == [True, True]
            assert images.pull(ref, name="other", path=store).digest == digest  # a token for anybody
        with pytest.raises(ImageError, match="there is no team/app/manifests/2"):
            images.pull(f"{running.host}/team/app:2", credentials=right, path=store)
