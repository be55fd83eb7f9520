"""Where a user and a password come from: what is given, files of docker and of podman, helpers that may be hostile."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest

from pyjail import HostError, SpecError
from pyjail._images import helpers
from pyjail._images.credentials import HUB_KEY, Credentials, find

HOST = "registry.example:5000"


def auth(user="tester", password="s3cret"):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def told(found):
    return found and (found.user, found.secret, found.identity)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An environment with nothing in it, and a directory of helpers in $PATH."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def write(path, config):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def helper(home, script, name="test"):
    path = write(home / "bin" / f"docker-credential-{name}", f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def docker(home, **config):
    return write(home / ".docker/config.json", config)


def test_what_is_given_is_taken_and_nothing_given_is_nobody(home):
    docker(home, auths={HOST: auth()})
    assert find(HOST, None) is None
    assert told(find(HOST, ("me", "p:w"))) == ("me", "p:w", False)
    given = Credentials("me", "pw")
    assert find(HOST, given) is given
    assert told(find(HOST, "config")) == ("tester", "s3cret", False)
    assert told(find(HOST, home / ".docker/config.json")) == ("tester", "s3cret", False)
    assert find("other.example", "config") is None
    with pytest.raises(HostError, match="absent"):
        find(HOST, home / "absent.json")


@pytest.mark.parametrize(
    "given", ["s3cret", ("s3cret",), ("a", ""), ("a", 5), ["a", "s3cret"], 5, b"s3cret", {"user": "s3cret"}]
)
def test_what_cannot_be_credentials_is_refused_and_not_shown(home, given):
    with pytest.raises(SpecError) as e:
        find(HOST, given)
    assert "s3cret" not in str(e.value) + repr(e.value.to_dict())


def test_a_secret_is_not_shown():
    assert repr(Credentials("me", "s3cret")) == str(Credentials("me", "s3cret")) == "Credentials('me', ...)"


def test_the_first_file_that_knows_the_host_is_taken(home, monkeypatch):
    places = [
        home / ".config/containers/auth.json",
        home / "run/containers/auth.json",
        home / ".docker/config.json",
        home / "docker/config.json",
        home / "auth.json",
    ]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "docker"))
    for path in places[:-1]:
        write(path, {"auths": {HOST: auth(password=path.parent.name)}})
        assert find(HOST, "config").secret == path.parent.name
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(places[-1]))
    with pytest.raises(HostError, match=r"auth\.json: No such file"):
        find(HOST, "config")
    write(places[-1], {"auths": {"other.example": auth()}})
    assert find(HOST, "config").secret == "docker"
    write(places[-1], {"auths": {HOST: auth(password="first")}})
    assert find(HOST, "config").secret == "first"
    monkeypatch.delenv("REGISTRY_AUTH_FILE")
    monkeypatch.delenv("DOCKER_CONFIG")
    assert find(HOST, "config").secret == ".docker"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    for path in places[1:3]:
        path.unlink()
    assert find(HOST, "config") is None
    write(home / "xdg/containers/auth.json", {"auths": {HOST: auth(password="xdg")}})
    assert find(HOST, "config").secret == "xdg"


@pytest.mark.parametrize(
    "key",
    [
        HOST,
        f"https://{HOST}",
        f"https://{HOST}/v1/",
        f"http://{HOST}/v2/",
        f"{HOST}/",
        f"{HOST}/team",
        f"{HOST}/team/app",
    ],
)
def test_a_host_has_several_names_in_files(home, key):
    docker(home, auths={key: auth()})
    assert find(HOST, "config", "team/app").secret == "s3cret"
    assert find("registry.example", "config", "team/app") is None
    assert find("registry.example:50001", "config", "team/app") is None


@pytest.mark.parametrize(
    "key",
    [
        f"{HOST}/team/ap",
        f"{HOST}/other",
        f"{HOST}/team/app/more",
        f"evil.example/{HOST}",
        f"https://{HOST}.evil.example/v1/",
        f"https://{HOST}@evil.example",
    ],
)
def test_what_only_looks_like_the_host_is_not_it(home, key):
    docker(home, auths={key: auth()})
    assert find(HOST, "config", "team/app") is None


def test_the_longest_part_of_a_registry_wins(home):
    docker(
        home,
        auths={
            HOST: auth(password="all"),
            f"{HOST}/team": auth(password="team"),
            f"{HOST}/team/app": auth(password="app"),
        },
    )
    assert [find(HOST, "config", name).secret for name in ("team/app", "team/other", "x")] == ["app", "team", "all"]


@pytest.mark.parametrize("key", [HUB_KEY, "docker.io", "index.docker.io", "https://docker.io/v2/"])
def test_dockers_own_registry_has_its_own_names(home, key):
    docker(home, auths={key: auth()})
    assert find("docker.io", "config").secret == "s3cret"
    assert find("quay.io", "config") is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [(auth("u", "p:w"), ("u", "p:w", False)), (auth("u", "p\0\0"), ("u", "p", False)), ({"username": "u", "password": "p"}, ("u", "p", False)),
     ({**auth("u", ""), "identitytoken": "t"}, ("u", "t", True)), ({"identitytoken": "t"}, ("<token>", "t", True)), ({}, None), ({"auth": ""}, None)],
)  # fmt: skip
def test_entries_of_all_kinds(home, entry, expected):
    docker(home, auths={HOST: entry})
    assert told(find(HOST, "config")) == expected


@pytest.mark.parametrize(
    "config",
    ["", "{", "[]", '"x"', "[" * 100_000, '{"auths": []}', '{"auths": {"HOST": []}}', '{"auths": {"HOST": {"auth": "s3cret!"}}}', '{"auths": {"HOST": {"auth": 5}}}',
     '{"auths": {"HOST": {"auth": "czNjcmV0"}}}', '{"auths": {"HOST": {"auth": "/////w=="}}}', '{"auths": {"HOST": {"identitytoken": 5}}}',
     '{"auths": {"HOST": {"username": "u"}}}', '{"auths": {"HOST": {"username": ["u"], "password": "s3cret"}}}', '{"credHelpers": 5}', '{"credHelpers": {"HOST": 5}}', '{"credsStore": {"a": 1}}',
     " " * (1 << 20) + "{}", "\xff\xfe"],
)  # fmt: skip
def test_a_file_that_is_unfit_is_an_error_that_names_it_and_shows_nothing_of_it(home, config):
    path = home / ".docker/config.json"
    write(path, "")
    path.write_bytes(config.replace("HOST", HOST).encode("latin-1"))
    with pytest.raises(HostError) as e:
        find(HOST, "config")
    assert str(path) in str(e.value)
    assert "s3cret" not in str(e.value)
    assert e.value.hint


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_what_is_no_file_is_not_waited_for(home, kind):
    path = home / ".docker/config.json"
    path.parent.mkdir()
    {"fifo": os.mkfifo, "directory": os.mkdir, "device": lambda p: os.symlink("/dev/zero", p)}[kind](path)
    with pytest.raises(HostError):
        find(HOST, "config")


ANSWER = json.dumps({"ServerURL": HOST, "Username": "helped", "Secret": "by a helper"})


def test_a_hosts_own_helper_wins_over_the_store_and_over_the_entry(home):
    helper(home, f"cat > {home}/asked; echo \"$@\" >> {home}/words; echo '{ANSWER}'")
    helper(home, 'echo \'{"Username": "store", "Secret": "x"}\'', "store")
    docker(home, auths={HOST: auth()}, credsStore="store", credHelpers={HOST: "test", "other.example": "test-2"})
    assert told(find(HOST, "config")) == ("helped", "by a helper", False)
    assert (home / "asked").read_text() == HOST
    assert (home / "words").read_text() == "get\n"
    assert told(find("third.example", "config")) == ("store", "x", False)
    docker(home, auths={HOST: auth()}, credsStore="store")
    assert told(find(HOST, "config")) == ("store", "x", False)


def test_a_helper_may_have_an_identity_token_and_is_asked_for_docker_by_its_own_name(home):
    helper(home, f'cat > {home}/asked; echo \'{{"Username": "<token>", "Secret": "t"}}\'')
    docker(home, credsStore="test")
    assert told(find("docker.io", "config")) == ("<token>", "t", True)
    assert (home / "asked").read_text() == HUB_KEY


def test_a_helper_that_knows_nobody_is_no_fault(home):
    helper(home, "echo credentials not found in native keychain; exit 1")
    docker(home, auths={HOST: auth()}, credsStore="test")
    assert find(HOST, "config").secret == "s3cret"  # of its entry
    docker(home, auths={HOST: auth()}, credHelpers={HOST: "test"})
    assert find(HOST, "config") is None  # it alone is asked for this host


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "Test", "test;id", "", "x" * 65, "test\n", "/bin/sh", "tést"])
def test_a_helpers_name_is_a_word(home, name):
    docker(home, credHelpers={HOST: name})
    with pytest.raises(HostError, match="other characters"):
        find(HOST, "config")


@pytest.mark.parametrize("where", ["credHelpers", "credsStore"])
@pytest.mark.parametrize(
    "script",
    ["exit 1", "echo s3cret; exit 1", "echo credentials not found in native keychain s3cret >&2; exit 1", "kill -9 $$", ":", "echo s3cret", "echo '[]'", "echo '{\"Username\": \"s3cret\"}'",
     "echo '{\"Username\": \"\", \"Secret\": \"s3cret\"}'", "echo '{\"Username\": \"u\", \"Secret\": \"\"}'", "echo '{\"Username\": 1, \"Secret\": \"s3cret\"}'",
     "echo '{\"ServerURL\": \"evil.example\", \"Username\": \"u\", \"Secret\": \"s3cret\"}'", "yes s3cret", "head -c 70000 /dev/zero", "head -c 60000 /dev/zero | tr '\\0' '['"],
)  # fmt: skip
def test_a_helper_that_fails_is_an_error_and_never_nobody_or_another_host(home, where, script):
    helper(home, script)
    docker(home, auths={HOST: auth("other", "one")}, **{where: {HOST: "test"} if where == "credHelpers" else "test"})
    with pytest.raises(HostError, match="docker-credential-test: ") as e:
        find(HOST, "config")
    assert "s3cret" not in str(e.value) + str(e.value.to_dict())


def test_a_helper_that_is_not_there_or_cannot_run_is_an_error(home):
    docker(home, credHelpers={HOST: "test"})
    with pytest.raises(HostError, match="no such program"):
        find(HOST, "config")
    helper(home, "").chmod(0o644)
    with pytest.raises(HostError, match="no such program"):
        find(HOST, "config")
    (home / "bin/docker-credential-test").chmod(0o755)
    (home / "bin/docker-credential-test").write_bytes(b"\x7fELF")
    with pytest.raises(HostError, match="Exec format"):
        find(HOST, "config")


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "trap '' TERM INT HUP; while :; do :; done",
        "sleep 60 & sleep 60",
        "kill -STOP $$",
        f"echo '{ANSWER}'; exec sleep 60",
        "exec >&-; sleep 60",
    ],
)
def test_a_helper_that_hangs_is_killed_with_what_it_started(home, monkeypatch, script):
    monkeypatch.setattr(helpers, "SECONDS", 0.3)
    helper(home, f"echo $$ > {home}/pid; {script}")
    docker(home, credsStore="test")
    begun = time.monotonic()
    with pytest.raises(HostError, match=r"longer than 0\.3 s"):
        find(HOST, "config")
    assert time.monotonic() - begun < 20
    with pytest.raises(ProcessLookupError):  # its whole group, but for zombies that init has not taken yet
        for _ in range(500):
            os.killpg(int((home / "pid").read_text()), 0)
            time.sleep(0.01)


def test_what_a_helper_leaves_running_does_not_hold_us(home):
    helper(home, f"(echo; exec sleep 5) & echo '{ANSWER}'")
    docker(home, credsStore="test")
    begun = time.monotonic()
    assert find(HOST, "config").user == "helped"
    assert time.monotonic() - begun < 4


def test_a_helper_that_does_not_listen_is_asked_all_the_same(home):
    helper(home, f"exec <&-; echo '{ANSWER}'")
    docker(home, credsStore="test")
    assert find(HOST, "config").user == "helped"
