"""Images of layouts and archives: what is found in them, and what is not believed."""

from __future__ import annotations

import gzip
import json
import os

import pytest

from pyjail import SpecError
from pyjail._images import sources
from pyjail._images.errors import ImageError
from tests import images_archives as made
from tests.images_archives import contents, written
from tests.images_made import file, hard, link

pytestmark = pytest.mark.usefixtures("nothing_stays_open")

LAYERS = [made.HELLO, made.SECOND, made.HELLO]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", ["app", None])
def test_a_layout_is_read_in_a_directory_and_in_an_archive(tmp_path, staging, compress, name):
    members = made.oci(*LAYERS, name=name, compress=compress)
    layout = made.directory(tmp_path / "layout", members)
    tar = written(tmp_path / "a.tar", made.archive(members))
    for spec in (
        f"oci:{layout}",
        str(layout),
        f"oci-archive:{tar}",
        str(tar),
        f"oci-archive:{written(tmp_path / 'b', gzip.compress(tar.read_bytes()))}",
    ):
        assert contents(spec, staging) == LAYERS
        if name:
            assert contents(f"{spec}:app", staging) == LAYERS
            with sources.opened(spec, staging) as source:
                assert source.names() == ["app"]
        with pytest.raises(SpecError, match="no image is named"):
            sources.opened(f"{spec}:other", staging)


def test_a_docker_archive_is_read(tmp_path, staging):
    tar = written(tmp_path / "a.tar", made.archive(made.docker(*LAYERS, tags=("team/app:1", "x:2"))))
    for spec in (f"docker-archive:{tar}", str(tar), f"docker-archive:{tar}:team/app:1", f"{tar}:x:2"):
        assert contents(spec, staging) == LAYERS
    with sources.opened(str(tar), staging) as source:
        assert source.names() == ["team/app:1", "x:2"]
    with pytest.raises(SpecError, match="there is 'team/app:1', 'x:2'"):
        sources.opened(f"docker-archive:{tar}:team/app", staging)


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        (("docker.io/team/app:1", "x:1"), "team/app:1"),
        (("docker.io/library/app:latest",), "app"),
        (("docker.io/library/app:1",), "app:1"),
        (("app:latest",), "app"),
    ],
)
def test_a_short_name_is_what_docker_writes_out(tmp_path, staging, tags, name):
    tar = written(tmp_path / "a", made.archive(made.docker(made.HELLO, tags=tags)))
    assert contents(f"docker-archive:{tar}:{name}", staging) == [made.HELLO]
    exact = made.docker(made.HELLO, tags=tags) | made.docker(made.SECOND, tags=(name,))
    exact["manifest.json"] = made.encoded(
        [
            json.loads(made.docker(layer, tags=t)["manifest.json"])[0]
            for layer, t in ((made.HELLO, tags), (made.SECOND, (name,)))
        ]
    )
    other = written(tmp_path / "b", made.archive(exact))
    assert contents(f"docker-archive:{other}:{name}", staging) == [made.SECOND]


def test_layers_of_a_docker_archive_may_be_compressed_and_its_config_have_other_names(tmp_path, staging):
    packed = gzip.compress(made.HELLO)
    own = made.config(made.HELLO)
    for name in ("config.json", f"sha256:{made.digest(own)[7:]}", f"blobs/sha256/{made.digest(own)[7:]}"):
        row = {"Config": name, "RepoTags": None, "Layers": ["a.tar.gz"]}
        members = {"manifest.json": made.encoded([row]), name: own, "a.tar.gz": packed}
        assert contents(str(written(tmp_path / "a", made.archive(members))), staging) == [made.HELLO]


def test_old_layers_are_links_to_others_resolved_one_step_in_the_archive(tmp_path, staging):
    members = made.docker(made.HELLO, made.SECOND)
    row = json.loads(members["manifest.json"])[0]
    first, second = row["Layers"]
    row["Layers"] = ["old/layer.tar", "other.tar"]
    members["manifest.json"] = made.encoded([row])
    links = [link(b"old/layer.tar", f"../{first}".encode()), hard(b"other.tar", second.encode())]
    assert contents(str(written(tmp_path / "a", made.archive(members, *links))), staging) == [made.HELLO, made.SECOND]
    for target in ("../../" + first, "/etc/passwd", "old/second", "layer.tar", first, "nowhere"):
        links = [link(b"old/layer.tar", target.encode()), link(b"old/old/second", b"../../" + first.encode())]
        with pytest.raises(ImageError, match="not in the archive"):
            contents(str(written(tmp_path / "a", made.archive(members, *links))), staging)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "../x", "a/../../x", "", ".", "layers\0x", "x" * 5000])
def test_names_of_layers_are_keys_and_no_paths(tmp_path, staging, name):
    """CVE-2014-9356, CVE-2014-9358."""
    (tmp_path / "x").write_bytes(made.HELLO)
    members = made.docker(made.HELLO)
    row = json.loads(members["manifest.json"])[0]
    for key, value in (("Layers", [name]), ("Config", name)):
        members["manifest.json"] = made.encoded([{**row, key: value}])
        with pytest.raises(ImageError):
            contents(str(written(tmp_path / "a.tar", made.archive(members))), staging)


def test_members_are_never_made_under_their_own_names(tmp_path, staging):
    canary = tmp_path / "canary"
    hostile = [
        file(name, b"evil") for name in (b"../canary", str(canary).encode(), b"../../../../../../tmp/canary-of-pyjail")
    ]
    hostile += [
        link(b"d", str(tmp_path).encode()),
        file(b"d/canary", b"evil"),
        hard(b"h", b"/etc/passwd"),
        link(b"oci", b"/"),
    ]
    tar = written(tmp_path / "a.tar", made.archive(made.oci(made.HELLO), *hostile))
    assert contents(str(tar), staging) == [made.HELLO]
    assert not canary.exists()
    assert not os.path.exists("/tmp/canary-of-pyjail")


def test_what_has_both_forms_is_a_layout(tmp_path, staging):
    """As Docker writes it since Engine 25; go-containerregistry#1879."""
    members = made.docker(made.SECOND) | made.oci(made.HELLO, name="1")
    index = json.loads(members["index.json"])
    index["manifests"][0]["annotations"]["io.containerd.image.name"] = "docker.io/team/app:1"
    members["index.json"] = made.encoded(index)
    tar = written(tmp_path / "a.tar", made.archive(members))
    for spec in (str(tar), f"docker-archive:{tar}", f"docker-archive:{tar}:docker.io/team/app:1", f"{tar}:1"):
        assert contents(spec, staging) == [made.HELLO]
    with sources.opened(str(tar), staging) as source:
        assert source.names() == ["docker.io/team/app:1"]


def test_of_several_images_one_has_to_be_named(tmp_path, staging):
    members = made.both(made.oci(made.HELLO, name="a"), made.oci(made.SECOND, name="b"))
    layout = made.directory(tmp_path / "layout", members)
    with pytest.raises(SpecError, match="2 images: say which as KIND:PATH:NAME; there is 'a', 'b'"):
        sources.opened(str(layout), staging)
    assert contents(f"oci:{layout}:b", staging) == [made.SECOND]
    twice = made.both(made.oci(made.HELLO, name="a"), made.oci(made.SECOND, name="a"))
    with pytest.raises(SpecError, match="2 different images are named"):
        sources.opened(f"oci:{made.directory(tmp_path / 'twice', twice)}:a", staging)
    same = made.both(made.oci(made.HELLO, name="a"), made.oci(made.HELLO, name="b"))
    assert contents(str(made.directory(tmp_path / "same", same)), staging) == [made.HELLO]
    with pytest.raises(SpecError, match="no image in it"):
        sources.opened(
            str(
                made.directory(
                    tmp_path / "none",
                    made.both(made.oci(), {"index.json": b'{"schemaVersion": 2, "manifests": []}'})
                    | {"index.json": b'{"schemaVersion": 2, "manifests": []}'},
                )
            ),
            staging,
        )


def test_nameless_images_for_several_platforms_are_one(tmp_path, staging):
    members = made.both(made.oci(made.HELLO, name=None), made.oci(made.SECOND, name=None))
    index = json.loads(members["index.json"])
    index["manifests"][0]["platform"] = {"os": "linux", "architecture": "other"}
    index["manifests"][1]["platform"] = made.PLATFORM
    members["index.json"] = made.encoded(index)
    assert contents(str(made.directory(tmp_path / "l", members)), staging) == [made.SECOND]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"oci-layout": b"{}"}, "version"),
        ({"oci-layout": b'{"imageLayoutVersion": "2.0.0"}'}, "2.0.0"),
        ({"oci-layout": b""}, "JSON"),
        ({"index.json": b"[]"}, "object"),
        ({"index.json": made.encoded({"schemaVersion": 2, "config": {}, "layers": []})}, "config"),
        ({"index.json": bytes((4 << 20) + 1)}, "bound manifest"),
    ],
)  # fmt: skip
def test_a_layout_that_is_none_is_refused(tmp_path, staging, change, says):
    members = made.oci(made.HELLO) | change
    for spec in (
        f"oci:{made.directory(tmp_path / 'l', members)}",
        f"oci-archive:{written(tmp_path / 'a', made.archive(members))}",
    ):
        with pytest.raises(ImageError, match=says):
            sources.opened(spec, staging)


def test_blobs_that_are_missing_short_or_changed_are_errors(tmp_path, staging):
    members = made.oci(made.HELLO)
    for blob in [name for name in members if name.startswith("blobs/")]:
        for wrong, says in (
            (None, "missing"),
            (members[blob][:-1], "bytes"),
            (members[blob][:-1] + b"\xff", "changed or damaged"),
            (b"", "bytes"),
        ):
            rest = {name: data for name, data in members.items() if name != blob} | (
                {} if wrong is None else {blob: wrong}
            )
            layout = made.directory(tmp_path / os.urandom(4).hex(), rest)
            for spec in (str(layout), str(written(tmp_path / "a", made.archive(rest)))):
                with pytest.raises(ImageError, match=says):
                    contents(spec, staging)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("at", ["oci-layout", "index.json", "blob", "blobs", "blobs/sha256"])
@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_nothing_of_a_layout_is_a_link_or_a_pipe(tmp_path, staging, at, kind):
    members = made.oci(made.HELLO)
    layout = made.directory(tmp_path / "l", members)
    name = at if at != "blob" else f"blobs/sha256/{made.digest(made.HELLO)[7:]}"
    (layout / name).rename(tmp_path / "moved")
    if kind == "link":
        (layout / name).symlink_to(tmp_path / "moved")
    elif kind == "fifo":
        os.mkfifo(layout / name)
    elif at.startswith("blobs"):
        (layout / name).write_bytes(b"")
    else:
        (layout / name).mkdir()
    with pytest.raises(ImageError) as caught:
        contents(f"oci:{layout}", staging)
    assert kind != "link" or "cp -rL" in str(caught.value)


@pytest.mark.parametrize("twice", ["index.json", "oci-layout", "manifest.json"])
def test_a_document_that_is_there_twice_is_refused(tmp_path, staging, twice):
    members = made.oci(made.HELLO) | made.docker(made.HELLO)
    for other in (file(f"./{twice}".encode(), members[twice]), link(twice.encode(), b"x")):
        with pytest.raises(ImageError, match="twice"):
            sources.opened(str(written(tmp_path / "a", made.archive(members, other))), staging)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({}, "list"), ([5], "objects"), ([{}], "in the archive"), ([{"Config": 5}], "Config"), ([{"Config": "a", "Layers": "b"}], "list"),
        ([{"Config": "a", "Layers": ["b"] * 257}], "bound layers"), ([{"Config": "a"}] * 1001, "bound index_entries"),
    ],
)  # fmt: skip
def test_a_docker_archive_that_is_none_is_refused(tmp_path, staging, rows, says):
    tar = written(tmp_path / "a", made.archive({"manifest.json": made.encoded(rows)}))
    with pytest.raises(ImageError, match=says):
        contents(f"docker-archive:{tar}", staging)


def test_the_name_of_a_config_is_its_digest(tmp_path, staging):
    members = made.docker(made.HELLO)
    (name,) = [name for name in members if name.endswith(".json") and name != "manifest.json"]
    members[name] += b" "
    with pytest.raises(ImageError, match="another digest than its name"):
        contents(str(written(tmp_path / "a", made.archive(members))), staging)


def test_a_layer_of_a_docker_archive_is_compared_with_its_diff_id(tmp_path, staging):
    members = made.docker(made.HELLO)
    members[f"{made.digest(made.HELLO)[7:]}.tar"] = made.HELLO[:-512] + bytes([1]) * 512
    with pytest.raises(ImageError, match="changed or damaged"):
        contents(str(written(tmp_path / "a", made.archive(members))), staging)
