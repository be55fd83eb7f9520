"""Images of this machine, in every form: the same tree; what is refused leaves the store, and all beside it, as it was."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, images
from tests import images_archives as made
from tests import images_made, images_use
from tests.images_made import file, folder, hard, link
from tests.images_store import unfinished, whole

LAYERS = [
    made.layer(
        folder(b"./etc"), file(b"./etc/motd", b"hello\n"), folder(b"./bin"), file(b"./bin/tool", b"#!", mode=0o755)
    ),
    made.layer(hard(b"bin/again", b"bin/tool"), link(b"sh", b"bin/tool"), file(b"etc/.wh.motd")),
]


@pytest.fixture
def canary(tmp_path, home):
    """What lies beside: it stays as it is, and nothing comes to it."""
    place = tmp_path / "beside"
    place.mkdir()
    (place / "canary").write_bytes(b"canary")
    yield place
    pyjail.close()
    assert [p.name for p in place.iterdir()] == ["canary"]
    assert (place / "canary").read_bytes() == b"canary"
    assert not any(p.name == "canary" for p in images_made.walked(home))


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_every_form_is_the_same_tree(home, tmp_path):
    layout = made.oci(*LAYERS, name="app", compress=True)
    docker = made.archive(made.docker(*LAYERS, tags=("docker.io/library/app:1",)))
    specs = [
        f"oci:{made.directory(tmp_path / 'layout', layout)}:app",
        f"oci-archive:{written(tmp_path / 'a.tar', made.archive(layout))}",
        f"docker-archive:{written(tmp_path / 'd.tar', docker)}:app:1",
        str(written(tmp_path / "d.tar.gz", gzip.compress(docker))),
    ]
    loaded = [images.load(spec, f"form-{n}") for n, spec in enumerate(specs)]
    assert len({image.id for image in loaded}) == 1
    assert {image.config["env"][0] for image in loaded} == {"A=1"}
    tree = images_made.listed(Path(loaded[0].root))
    flat = tmp_path / "flat"
    subprocess.run(["cp", "-a", loaded[0].root, flat], check=True)
    roots = [f"dir:{flat}", str(flat)]
    subprocess.run(["tar", "-cf", tmp_path / "r.tar", "-C", flat, "."], check=True)
    roots += [
        f"tar:{tmp_path / 'r.tar'}",
        str(tmp_path / "r.tar"),
        f"tar:{written(tmp_path / 'r.gz', gzip.compress((tmp_path / 'r.tar').read_bytes()))}",
    ]
    for n, spec in enumerate(roots):
        image = images.load(spec, f"root-{n}")
        again = images_made.listed(Path(image.root))
        assert {name: row[:4] for name, row in again.items() if name != "."} == {
            name: row[:4] for name, row in tree.items() if name != "."
        }
        assert image.config["env"] == []
    assert len(whole()) == len(specs) + len(roots)
    assert unfinished() == []


def changed(change, layers=(made.HELLO,)) -> dict[str, bytes]:
    """A layout whose manifest was changed, and whose index fits it."""
    members = made.oci(*layers)
    index = json.loads(members["index.json"])
    row = index["manifests"][0]
    manifest = json.loads(members[f"blobs/sha256/{row['digest'][7:]}"])
    raw = change(manifest)
    raw = raw if isinstance(raw, bytes) else made.encoded(manifest if raw is None else raw)
    row |= {"digest": made.digest(raw), "size": len(raw)}
    return members | {f"blobs/sha256/{made.digest(raw)[7:]}": raw, "index.json": made.encoded(index)}


def docker(**row) -> dict[str, bytes]:
    members = made.docker(made.HELLO)
    return members | {"manifest.json": made.encoded([json.loads(members["manifest.json"])[0] | row])}


def first_layer(**said):
    return lambda m: m["layers"][0].update(said)


REFUSED = {
    "CVE-2021-41190": (changed(lambda m: m.update(manifests=[])), "CVE-2021-41190"),
    "CVE-2024-3727, dots": (changed(first_layer(digest="sha256:../../../../beside/canary")), "digest"),
    "CVE-2024-3727, slash": (changed(first_layer(digest="sha256:" + "a/" * 32)), "digest"),
    "CVE-2024-3727, capitals": (changed(lambda m: m["layers"][0].update(digest=m["layers"][0]["digest"].upper())), "digest"),
    "blake3": (changed(first_layer(digest="blake3:" + "a" * 64)), "digest"),
    "CVE-2014-9356": (docker(Layers=["../../beside/canary"]), "not in the archive"),
    "CVE-2014-9358": (docker(Config="../../beside/canary"), "not in the archive"),
    "BoxLite 1487": (changed(first_layer(size=0)), "bytes"),
    "larger than said": (changed(first_layer(size=len(made.HELLO) - 1)), "bytes"),
    "smaller than said": (changed(first_layer(size=len(made.HELLO) + 1)), "bytes"),
    "of no layer": (changed(lambda m: m["layers"].append(m["layers"][0])), "1 diff_ids for 2 layers"),
    "two keys": (changed(lambda m: made.encoded(m)[:-1] + b',"layers":[]}'), "twice"),
    "schema 1": (changed(lambda m: {"schemaVersion": 1, "fsLayers": [], "history": []}), "schema 1"),
    "artifact": (changed(lambda m: m["config"].update(mediaType="application/vnd.oci.empty.v1+json")), "artifact"),
    "another machine": (made.oci(made.HELLO, architecture="pdp11"), "pdp11"),
    "diff_id": (made.oci(made.HELLO, rootfs={"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}), "diff"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_document_that_is_refused_leaves_the_store_as_it_was(canary, tmp_path, name):
    members, says = REFUSED[name]
    images.load(f"tar:{written(tmp_path / 'root.tar', LAYERS[0])}", "before")
    specs = [f"oci-archive:{written(tmp_path / 'a.tar', made.archive(members))}"]
    if "oci-layout" in members:
        specs.append(f"oci:{made.directory(tmp_path / 'layout', members)}")
    else:
        specs = [specs[0].replace("oci-", "docker-")]
    for spec in specs:
        with pytest.raises(images.ImageError, match=says) as caught:
            images.load(spec, "hostile")
        assert str(caught.value).isprintable()
        assert whole() == ["before"]
        assert unfinished() == []


@pytest.mark.parametrize(
    ("name", "data"),
    [("xz", lzma.compress(made.HELLO)), ("bzip2", bz2.compress(made.HELLO)), ("lz4", b"\x04\x22\x4d\x18" + bytes(64))],
)
def test_other_compressions_are_refused(canary, tmp_path, name, data):
    """CVE-2021-20291: by the media type of a layer, and by the first bytes."""
    members = made.oci(made.HELLO, compress=name, stored=(data,))
    disguised = made.oci(made.HELLO, compress="gzip", stored=(data,))
    specs = [f"oci:{made.directory(tmp_path / str(n), m)}" for n, m in enumerate((members, disguised))]
    for spec in (*specs, f"tar:{written(tmp_path / 'root.tar', data)}"):
        with pytest.raises(images.ImageError, match=rf"{name}|no gzip stream"):
            images.load(spec, "hostile")
    assert images.list() == [] == unfinished()


def test_members_of_an_archive_are_made_nowhere(canary, tmp_path):
    out = str(canary).encode()
    hostile = [
        file(out + b"/evil", b"x"),
        file(b"../" * 20 + out[1:] + b"/evil", b"x"),
        link(b"in", out),
        file(b"in/evil", b"x"),
    ]
    hostile += [link(b"staging", b"/"), hard(b"evil", out + b"/canary"), link(b"blobs/sha256", out)]
    for n, members in enumerate((made.oci(made.HELLO), made.docker(made.HELLO))):
        image = images.load(str(written(tmp_path / "a.tar", made.archive(members, *hostile))), f"image-{n}")
        assert sorted(os.listdir(image.root)) == ["etc"]


def test_what_a_config_asks_for_beyond_its_command_is_not_there(canary, tmp_path):
    """CVE-2022-23648, CVE-2019-16884: volumes were taken from, or put over, what is the host's."""
    asked = {
        "Volumes": {str(canary): {}, "/../../beside": {}, "/proc": {}, "/": {}}, "ExposedPorts": {"22/tcp": {}}, "OnBuild": ["RUN evil"],
        "Healthcheck": {"Test": ["CMD", "evil"]}, "StopSignal": "SIGKILL", "Shell": ["evil"], "User": "", "Env": ["PATH=/bin"],
    }  # fmt: skip
    image = images_use.load(tmp_path / "i", "mine", **asked)
    assert not {word for word in ("evil", "beside", "SIGKILL", "22/tcp") if word in json.dumps(image.config)}
    result = pyjail.run(
        ["sh", "-c", "cat /proc/mounts; cat /canary /beside/canary"], jail=Jail(image="mine", strict=False), text=True
    )
    assert result.verdict is not None
    assert "beside" not in result.stdout
    assert "canary" not in result.stdout


@pytest.mark.parametrize("kind", ["link", "link to a directory", "fifo", "directory", "large"])
def test_the_name_of_a_user_is_read_from_a_small_file_of_the_image_alone(canary, tmp_path, kind):
    """CVE-2024-9676 and CVE-2026-47262."""
    (canary / "canary").write_bytes(b"app:x:0:0::/:/bin/sh\n")
    path = str(canary / "canary").encode()
    parts = {
        "link": (folder(b"etc"), link(b"etc/passwd", path)),
        "link to a directory": (link(b"etc", str(canary).encode()),),
        "fifo": (folder(b"etc"), images_made.header(b"etc/passwd", b"6")),
        "directory": (folder(b"etc"), folder(b"etc/passwd")),
        "large": (folder(b"etc"), file(b"etc/passwd", b"app:x:77:77::/:\n" * 70_000)),
    }[kind]
    images_use.load(tmp_path / "i", "mine", *parts, User="app", Env=["PATH=/bin"])
    with pytest.raises(images.ImageError, match="etc/passwd"):
        pyjail.run(["true"], jail=Jail(image="mine", strict=False))
    assert pyjail.run(["sh", "-c", "exit 5"], jail=Jail(image="mine", strict=False, uid=1001)).exit_code == 5
    (canary / "canary").write_bytes(b"canary")


def test_nothing_of_an_image_is_loaded_outside(canary, tmp_path):
    """CVE-2019-14271: the host's docker cp loaded libnss of the container."""
    evil = [
        folder(b"etc"),
        file(b"etc/passwd", b"app:x:77:77::/:/bin/sh\n"),
        file(b"etc/nsswitch.conf", b"passwd: evil\n"),
    ]
    evil += [folder(b"opt"), file(b"opt/libnss_evil.so.2", b"\x7fELF" + bytes(500), mode=0o755)]
    image = images_use.load(tmp_path / "i", "mine", *evil, User="app", Env=["PATH=/bin", "LD_LIBRARY_PATH=/opt"])
    result = pyjail.run(["sh", "-c", "id -u || echo $?"], jail=Jail(image="mine", strict=False), text=True)
    assert result.stdout == "77\n"
    assert image.root not in Path("/proc/self/maps").read_text()
    assert os.environ.get("LD_LIBRARY_PATH") != "/opt"


def test_a_label_is_shown_escaped_and_nothing_else(canary, tmp_path):
    """CVE-2026-53488: a label became a host command."""
    label = f"$(touch {canary}/evil)`touch {canary}/evil`;\n\x1b[2J\x9b\u202e"
    images_use.load(tmp_path / "i", "mine", Labels={"run": label, "\x1b]0;x\x07": "x"})
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "pyjail", "image", "inspect", "mine", *more],
            capture_output=True,
            text=True,
            check=True,
        )
        shown = io.StringIO(done.stdout).read()
        assert {c for c in shown if not c.isprintable()} <= {"\n"}
        assert "touch" in shown
