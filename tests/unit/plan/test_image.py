"""What a jail's image comes to, with a store that is made up: root, user, environment, digest."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pyjail import HostError, Jail
from pyjail._plan import image
from pyjail._spec import commands

DIGESTS = {name: f"sha256:{number:064x}" for number, name in enumerate(("deb", "alp"), 1)}
ENV = ["PATH=/opt/bin:/bin", "JAVA_HOME=/opt/java", "nothing"]


class Store:
    """The part of a store that plans use."""

    def __init__(self, root: str) -> None:
        self.records = {
            name: SimpleNamespace(
                name=name, digest=digest, id=name * 2, root=f"{root}/{name}", config={"env": ENV, "user": ""}
            )
            for name, digest in DIGESTS.items()
        }
        self.asked: list[str] = []
        self.moved = 0

    def lookup(self, name: str) -> tuple[str, str, dict[str, object]]:
        self.asked.append(name)
        for record in self.records.values():
            if name in (record.name, record.digest) or name.endswith(f"@{record.digest}"):
                return record.digest, record.root, {"id": record.id, "config": record.config}
        raise HostError("image", f"no image {name!r} in the store", f"pyjail image pull {name}")

    def stamp(self, name: str) -> tuple[str, int]:
        return name, self.moved

    def current(self, stamp: tuple[str, int]) -> bool:
        return stamp[1] == self.moved


@pytest.fixture
def store(monkeypatch, tmp_path):
    made = Store(str(tmp_path))
    monkeypatch.setattr(image, "_store", lambda: made)
    monkeypatch.setattr(image, "_known", {})
    return made


def in_place(jail: Jail, **given) -> commands.Command:
    return image.in_place(commands.make(["true"], None, jail, **given))


def test_a_jail_gets_the_root_the_variables_and_the_digest_of_its_image(store, tmp_path):
    command = in_place(Jail(image="deb"))
    assert command.jail.rootfs == f"{tmp_path}/deb"
    assert image.told(command.jail) == ("deb", DIGESTS["deb"], "debdeb")
    assert dict(command.env) == {
        "PATH": "/opt/bin:/bin", "HOME": "/box", "LANG": "C.UTF-8", "JAVA_HOME": "/opt/java"
    }  # fmt: skip
    assert command.jail.uid == 1000
    assert image.in_place(command) is command


def test_a_command_without_an_image_stays_as_it_is_and_asks_no_store(monkeypatch):
    monkeypatch.setattr(image, "_store", lambda: pytest.fail("it was asked"))
    command = commands.make(["true"], None, Jail())
    assert image.in_place(command) is command
    assert image.pinned(command.jail) is command.jail


@pytest.mark.parametrize(
    ("jail_env", "env", "expected"),
    [
        (None, {"A": "1"}, {"A": "1"}),
        ({"PATH": "/bin"}, None, {"PATH": "/bin"}),
        (None, {**Jail().env, "A": "1"}, {"PATH": "/opt/bin:/bin", "A": "1", "JAVA_HOME": "/opt/java"}),
        ({**Jail().env, "PATH": "/mine"}, None, {"PATH": "/mine", "JAVA_HOME": "/opt/java"}),
    ],
)
def test_an_environment_of_the_callers_own_is_his_and_changes_of_the_default_one_win(store, jail_env, env, expected):
    jail = Jail(image="deb") if jail_env is None else Jail(image="deb", env=jail_env)
    found = dict(in_place(jail, env=env).env)
    usual = {"HOME": "/box", "LANG": "C.UTF-8"} if "JAVA_HOME" in expected else {}
    assert found == {**usual, **expected}


def test_a_name_that_comes_to_mean_another_image_is_that_one_from_the_next_run_on(store):
    jail = Jail(image="deb")
    first = in_place(jail).jail
    assert in_place(jail).jail is first
    assert len(store.asked) == 1
    store.records["deb"].digest, store.moved = DIGESTS["alp"], 1
    assert image.told(in_place(jail).jail)[1] == DIGESTS["alp"]


def test_a_pinned_jail_is_one_of_the_same_image_whatever_its_name_comes_to_mean(store):
    pinned = image.pinned(Jail(image="deb"))
    assert (pinned.image, pinned.rootfs) == (f"deb@{DIGESTS['deb']}", None)
    assert pinned.env["JAVA_HOME"] == "/opt/java"
    assert image.pinned(pinned) == pinned == image.pinned(in_place(pinned).jail)
    store.records["alp"].name, store.records["deb"].name = "deb", "old"
    store.moved = 1
    assert image.told(in_place(pinned).jail) == ("deb", DIGESTS["deb"], "debdeb")
    assert Jail.from_dict(pinned.to_dict()) == pinned


def test_a_digest_is_a_name(store):
    command = in_place(Jail(image=DIGESTS["alp"]))
    assert image.told(command.jail) == (DIGESTS["alp"], DIGESTS["alp"], "alpalp")
    assert in_place(Jail(image=SimpleNamespace(digest=DIGESTS["alp"]))).jail == command.jail


def test_what_is_not_in_the_store_is_refused_and_never_pulled(store):
    for name in ("none", f"none@sha256:{9:064x}"):
        with pytest.raises(HostError, match="no image") as e:
            in_place(Jail(image=name))
        assert "pyjail image pull" in e.value.hint
