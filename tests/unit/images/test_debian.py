"""What a host has for building an image: what is missing is told with its fix; of apt the way is taken, and no more."""

from __future__ import annotations

import os
import pwd

import pytest

from pyjail import HostError, SpecError, images
from pyjail._images import debian

PARTS = """#!/bin/sh
if [ "$1" = dump ]; then cat "$HERE/dump"; exit; fi
shift
while [ $# -gt 0 ]; do
    case $2 in
        *sourcelist*) echo "$1='$HERE/sources.list'" ;;
        *sourceparts*) echo "$1='$HERE/sources.list.d'" ;;
        *netrc/*) echo "$1='$HERE/auth.conf'" ;;
        *) echo "$1='$HERE/none'" ;;
    esac
    shift 2
done
"""
DUMP = """APT::Architecture "amd64";
Acquire::http::Proxy "http://user:secret@proxy:3128";
Acquire::http::Proxy::own.example "DIRECT";
Acquire::https::CaInfo "/etc/ca.pem";
Acquire::Retries "5";
Acquire::Check-Valid-Until "false";
Acquire::AllowInsecureRepositories "1";
Acquire::IndexTargets::deb::Packages::Optional "0";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
APT::Get::AllowUnauthenticated "1";
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A host with these tools, sources and settings alone."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {
        "apt-config": PARTS,
        "mmdebstrap": "#!/bin/sh\n",
        "unshare": "#!/bin/sh\n",
        "setpriv": "#!/bin/sh\n",
    }.items():
        (tools / name).write_text(text.replace("$HERE", str(tmp_path)))
        (tools / name).chmod(0o755)
    for name in ("sh", "cat"):
        (tools / name).symlink_to(f"/bin/{name}")
    monkeypatch.setattr(debian, "_ESSENTIAL", str(tools))
    monkeypatch.setenv("PATH", str(tools))
    (tmp_path / "dump").write_text(DUMP)
    (tmp_path / "sources.list").write_text("# nothing\n\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text("Types: deb\n")
    (tmp_path / "sources.list.d/old.list.disabled").write_text("deb http://old x main\n")
    return tmp_path


@pytest.mark.parametrize(
    ("tool", "package"),
    [("mmdebstrap", "mmdebstrap"), ("apt-config", "apt"), ("unshare", "util-linux"), ("setpriv", "util-linux")],
)
def test_a_tool_that_is_missing_is_told_with_the_line_that_installs_it(here, tool, package):
    (here / "bin" / tool).unlink()
    with pytest.raises(HostError, match=f"{tool} cannot be found") as e:
        debian.Host()
    assert e.value.control == "image build"
    assert e.value.hint == f"apt-get install --no-install-recommends {package}"


def test_sources_that_say_nothing_are_not_given_on(here):
    assert debian.Host().sources == [f"{here}/sources.list.d/debian.sources"]
    (here / "sources.list").write_text("deb http://mirror bookworm main\n")
    assert debian.Host().sources == [f"{here}/sources.list", f"{here}/sources.list.d/debian.sources"]


def test_a_host_without_sources_is_told(here):
    (here / "sources.list.d/debian.sources").unlink()
    with pytest.raises(HostError, match="apt has no sources") as e:
        debian.Host()
    assert "apt-get update" in e.value.hint


def test_apt_is_told_of_the_way_and_of_nothing_that_lowers_trust(here):
    (here / "auth.conf").write_text("machine x login y password z\n")
    rows = debian.Host().options.splitlines()
    assert rows == [
        'Acquire::http::Proxy "http://user:secret@proxy:3128";', 'Acquire::http::Proxy::own.example "DIRECT";',
        'Acquire::https::CaInfo "/etc/ca.pem";', 'Acquire::Retries "5";', 'Acquire::Check-Valid-Until "false";',
        f'Dir::Etc::netrc "{here}/auth.conf";', 'Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";',
    ]  # fmt: skip


def test_what_is_started_does_not_know_of_reproducible_times_but_of_proxies(here, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.setenv("https_proxy", "http://proxy")
    monkeypatch.setenv("APT_CONFIG", "/x")
    assert debian.Host().environment().keys() == {"PATH", "LANG", "HOME", "TMPDIR", "https_proxy"}


def refusing(here, monkeypatch, uid: int, said: str = "unshare failed: Operation not permitted") -> HostError:
    (here / "bin/unshare").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    with pytest.raises(HostError) as e:
        debian.Host()
    return e.value


def test_a_container_that_has_no_namespaces_is_told(here, monkeypatch):
    e = refusing(here, monkeypatch, 0)
    assert "Operation not permitted" in e.cause and "CAP_SYS_ADMIN" in e.hint and "pyjail image load" in e.hint


def test_a_user_without_the_helper_is_told(here, monkeypatch):
    e = refusing(here, monkeypatch, 1234567)
    assert "newuidmap" in e.cause and e.hint == "apt-get install --no-install-recommends uidmap"


def test_a_user_without_subordinate_ids_is_told_how_to_get_some(here, monkeypatch):
    (here / "bin/newuidmap").write_text("#!/bin/sh\n")
    (here / "bin/newuidmap").chmod(0o755)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    e = refusing(here, monkeypatch, 1234567)
    assert "/etc/subuid has no ids for 1234567" in e.cause
    assert e.hint.startswith("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 1234567")


def test_secrets_are_taken_out_of_what_apt_says(here, tmp_path):
    (here / "bin/mmdebstrap").write_text("#!/bin/sh\n")
    (here / "bin/setpriv").write_text(
        "#!/bin/sh\necho 'I: running apt-get update...' >&2\necho 'E: http://user:secret@proxy/x failed' >&2\n"
        "echo 'E: setup failed: E: x' >&2\nexit 25\n"
    )
    steps: list[str] = []
    (tmp_path / "staging").mkdir()
    with (tmp_path / "out").open("wb") as out, pytest.raises(HostError) as e:
        debian.install(debian.Host(), ["gcc"], str(tmp_path / "staging"), out.fileno(), steps.append)
    assert e.value.cause == "mmdebstrap failed: E: http://proxy/x failed"
    assert steps == ["running apt-get update"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "a b", "languages": ["c"]}, "image"),
        ({"name": "x"}, "languages"),
        ({"name": "x", "languages": "c"}, "languages"),
        ({"name": "x", "languages": [3]}, "languages"),
        ({"name": "x", "languages": ["pyhton"]}, "language"),
        ({"name": "x", "packages": ["gcc", "-oX=1"]}, "packages"),
        ({"name": "x", "packages": ["?narrow(x)"]}, "packages"),
        ({"name": "x", "packages": ["a,b"]}, "packages"),
        ({"name": "x", "packages": [None]}, "packages"),
        ({"name": "x", "languages": ["c"], "run_only": True}, "run_only"),
        ({"name": "x", "languages": ["c"], "base": "y"}, "base"),
        ({"name": "x", "languages": ["c"], "keep": ["/usr"]}, "keep"),
        ({"name": "x", "packages": ["gcc"], "learned": True}, "languages"),
        ({"name": "x", "languages": ["c"], "learned": True, "path": "/x"}, "path"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_started(here, monkeypatch, given, field):
    monkeypatch.setenv("PYJAIL_HOME", str(here / "home"))
    with pytest.raises(SpecError) as e:
        images.build(**given)
    assert e.value.field == field
    assert not (here / "home").exists()


def test_a_language_that_names_no_package_is_told(here, monkeypatch):
    from pyjail.languages import Language

    monkeypatch.setenv("PYJAIL_HOME", str(here / "home"))
    lua = Language("lua", run=("lua", "{source}"), source="main.lua", tools={"lua": "-v"})
    with pytest.raises(SpecError, match="package") as e:
        images.build("x", [lua])
    assert e.value.field == "languages.lua.package"
