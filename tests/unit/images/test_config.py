"""What an image says of how it is to be run."""

from __future__ import annotations

import json

import pytest

from pyjail._images import documents
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def read(inner=None, **more):
    document = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [A]}} | more
    return documents.config(json.dumps(document | ({} if inner is None else {"config": inner})).encode(), Bounds())


def test_a_config_is_read_and_is_plain_data_again():
    found = read(
        {"Env": ["PATH=/bin", "A=1=2", "PATH=/usr/bin", "E="], "Entrypoint": ["python3"], "Cmd": ["-V"], "WorkingDir": "/opt",
         "User": "1000:1000", "Labels": {"a": "\x1b[31m"}, "Volumes": {"/etc": {}}, "ExposedPorts": {"22/tcp": {}}, "Shell": ["x"]},
        history=[{"created_by": "RUN x", "empty_layer": True}, {"comment": "c"}],
        variant="v1",
    )  # fmt: skip
    assert found.env == ("PATH=/usr/bin", "A=1=2", "E=")
    assert (found.entrypoint, found.cmd, found.working_dir, found.user) == (("python3",), ("-V",), "/opt", "1000:1000")
    assert found.history == (("RUN x", "", True), ("", "c", False))
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["diff_ids"] == [A]
    assert plain["labels"] == {"a": "\x1b[31m"}
    assert plain["history"][0]["empty_layer"] is True


def test_a_config_may_say_nothing():
    for inner in (
        None,
        {},
        {"Env": None, "Cmd": None, "Entrypoint": None, "Labels": None, "User": None, "WorkingDir": ""},
    ):
        found = read(inner)
        assert (found.env, found.entrypoint, found.cmd, found.working_dir, found.user, found.labels) == (
            (),
            (),
            (),
            "",
            "",
            {},
        )


@pytest.mark.parametrize(("said", "meant"), [("", ""), ("app", "/app"), ("//app", "/app"), ("/a/../b", "/a/../b")])
def test_a_working_directory_is_absolute(said, meant):
    assert read({"WorkingDir": said}).working_dir == meant


def test_empty_layers_of_the_history_do_not_count_but_diff_ids_have_to_be_as_many_as_layers():
    layer = {"mediaType": documents.OCI_LAYER, "digest": A, "size": 1}
    config = layer | {"mediaType": documents.OCI_CONFIG}
    raw = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer, layer]}).encode()
    manifest = documents.manifest(raw, None, Bounds())
    two = read(rootfs={"type": "layers", "diff_ids": [A, B]}, history=[{"empty_layer": True}] * 5)
    assert [str(diff_id) for _, diff_id in documents.paired(manifest, two)] == [A, B]
    with pytest.raises(ImageError, match="1 diff_ids for 2 layers"):
        documents.paired(manifest, read())


@pytest.mark.parametrize(
    ("inner", "more", "says"),
    [
        ({"Env": ["A"]}, {}, "NAME=value"),
        ({"Env": ["=x"]}, {}, "NAME=value"),
        ({"Env": ["A=\0"]}, {}, "NUL"),
        ({"Env": ["A=\ud800"]}, {}, "text"),
        ({"Env": [5]}, {}, "Env"),
        ({"Env": "A=1"}, {}, "list"),
        ({"Env": ["A=1"] * 1001}, {}, "bound env="),
        ({"Entrypoint": "sh -c x"}, {}, "list"),
        ({"Cmd": ["a\0"]}, {}, "NUL"),
        ({"Cmd": ["a"] * 10_001}, {}, "bound"),
        ({"WorkingDir": 5}, {}, "WorkingDir"),
        ({"User": ["root"]}, {}, "User"),
        ({"Labels": [1]}, {}, "Labels"),
        ({"Labels": {"a": 1}}, {}, "Labels"),
        ([], {}, "config"),
        (None, {"rootfs": []}, "rootfs"),
        (None, {"rootfs": {"type": "merged", "diff_ids": []}}, "merged"),
        (None, {"rootfs": {"type": "layers", "diff_ids": [A] * 257}}, "bound layers="),
        (None, {"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}}, "diff_id 1"),
        (None, {"history": [5]}, "history"),
        (None, {"os": ["linux"]}, "os"),
        (None, {"x": "y" * (8 << 20)}, "bound config="),
    ],
)  # fmt: skip
def test_a_config_that_is_not_as_the_specification_says_is_refused(inner, more, says):
    with pytest.raises(ImageError, match=says):
        read(inner, **more)
