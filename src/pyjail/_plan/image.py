"""The image of a jail: what its name in the store stands for now becomes the root, the user, the environment.

Loaded by the first jail that has one. It never pulls: what is not in the store is an error.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping

from pyjail._base import lazy
from pyjail._base.fds import Fd
from pyjail._base.records import NamedTuple, replace
from pyjail._spec.commands import Command
from pyjail._spec.jail import DEFAULT_ENV, Env, Jail, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UID = 1000  # of a jail that was given none
MOST = 256  # jails whose images are remembered
_JAIL, _ENV = Command._fields.index("jail"), Command._fields.index("env")


class _Known(NamedTuple):
    """What a jail's image was found to be. ``asked`` is kept, so that its id stays its own."""

    asked: Jail
    stamp: Any
    resolved: Jail
    resolved_env: Env
    pinned: bool
    env: Mapping[str, str]


_known: dict[int, _Known] = {}


def in_place(command: Command) -> Command:
    """The command with what its jail's image stands for now: the root, the user, the environment. One whose jail has
    none as it is.

    HostError: there is no such image in the store, or its user is none that a jail can have. SpecError: no name.
    """
    jail = command.jail
    if jail.image is None or jail.rootfs is not None:
        return command
    known = _look_up(jail)
    env = known.resolved_env if command.env is jail.env else _environment(command.env, known.env)
    values: list[Any] = [*command]  # quicker than _replace, and every run comes here
    values[_JAIL], values[_ENV] = known.resolved, env
    return tuple.__new__(Command, values)


def pinned(jail: Jail) -> Jail:
    """A jail of the same image whatever its name comes to mean, its user and environment written out; one without an
    image as it is. Errors as of `in_place`."""
    if jail.image is None:
        return jail
    return replace(jail if jail.rootfs is not None else _look_up(jail).resolved, rootfs=None)


def told(jail: Jail) -> tuple[str, str, str]:
    """(what was asked for, the digest, the id) of the image of such a jail as `in_place` makes."""
    asked, _, digest = str(jail.image).rpartition("@")
    return asked or digest, digest, jail.rootfs.id if isinstance(jail.rootfs, Tree) else ""


def lease(jail: Jail, into: Fd) -> None:
    """Hold the tree of the jail's image while this fd is open. HostError: it was removed meanwhile."""
    _store().lease(told(jail)[2], into)


@functools.cache
def _store() -> Any:
    with lazy.lock:
        from pyjail._images import used

    return used


def _look_up(jail: Jail) -> _Known:
    found = _known.get(id(jail))
    if found is not None and (found.pinned or (found.stamp is not None and _store().current(found.stamp))):
        return found
    name = str(jail.image)
    known = _found(jail, name, _store().stamp(name))
    if len(_known) >= MOST:
        _known.clear()
    _known[id(jail)] = known
    return known


def _found(jail: Jail, name: str, stamp: Any) -> _Known:
    digest, root, record = _store().lookup(name)
    config = record["config"]
    tree = Tree(os.path.realpath(root))
    tree.id = record["id"]
    variables = {**DEFAULT_ENV, **_variables(config.get("env") or ())}
    env = _environment(Env(jail.env), variables)
    given: dict[str, Any] = {
        "image": name if name.endswith(digest) else f"{name}@{digest}",
        "rootfs": tree,
        "env": env,
    }
    if jail.uid == UID and config.get("user"):
        uid = _user(config["user"], tree)
        given["uid"] = UID if uid is None else uid
    return _Known(jail, stamp, replace(jail, **given), env, given["image"] == name, variables)


def _user(name: str, root: str) -> int | None:
    with lazy.lock:
        from pyjail._images import users

    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found: int | None = users.user(name, fd)
    finally:
        os.close(fd)
    return found


def _variables(given: Iterable[str] | Mapping[str, str]) -> dict[str, str]:
    """Of an image's NAME=VALUE texts; what no program could be given is left out."""
    if isinstance(given, Mapping):
        return dict(given)
    pairs = (text.partition("=") for text in given)
    return {name: value for name, equals, value in pairs if name and equals}


def _environment(own: Env, image: Mapping[str, str]) -> Env:
    """A caller's environment as it is; one that is the default one, changed or added to, over the image's."""
    if not DEFAULT_ENV.keys() <= {*own}:
        return own
    changed = {name: value for name, value in own.items() if DEFAULT_ENV.get(name) != value}
    return Env({**image, **changed}, "image")
