"""The user and password for a registry: as given, or from the files and helpers of docker and of podman.

No secret is ever in an error, in a repr, or among the arguments of a program.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, final

from pyjail._base.errors import HostError, SpecError
from pyjail._images import helpers

FILE_BYTES = 1 << 20
HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
HUB_KEY = "https://index.docker.io/v1/"  # what docker calls its own registry, in its file and to helpers
_LOG_IN = "log in again, or pull with credentials=None"


@final
class Credentials:
    """A user and a secret: a password, or with ``identity`` a token that gets other tokens. Never shown."""

    __slots__ = ("identity", "secret", "user")

    def __init__(self, user: str, secret: str, identity: bool = False) -> None:
        self.user, self.secret, self.identity = user, secret, identity

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, ...)"


def find(host: str, given: object, name: str = "", environ: Mapping[str, str] | None = None) -> Credentials | None:
    """What to tell ``host``; None: nothing, so it is asked as anybody may.

    ``given``: None (nothing, whatever this machine's files say), a (user, password), a `Credentials`, the Path of a
    file like docker's config.json, or "config": the first that knows the host of ``$REGISTRY_AUTH_FILE``,
    ``$DOCKER_CONFIG/config.json``, ``~/.docker/config.json`` and podman's auth.json. ``name`` is the repository, for
    files with secrets for a part of a registry. SpecError: ``given`` is something else. HostError: a file or a helper
    that should know fails; the registry is not asked without it then.
    """
    if given is None or isinstance(given, Credentials):
        return given
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, str) and part for part in given):
        return Credentials(*given)
    if isinstance(given, os.PathLike):
        return _of_file(os.fsdecode(given), True, host, name)
    if not isinstance(given, str) or given != "config":
        raise SpecError(
            "credentials",
            f"<{type(given).__name__}>",  # it may be a secret
            'None, "config", a tuple (user, password) or the Path of a file like docker\'s config.json',
        )
    for path, must in _files(os.environ if environ is None else environ):
        if found := _of_file(path, must, host, name):
            return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """(path, whether it has to be there) in the order in which they are asked."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if given := environ.get("REGISTRY_AUTH_FILE"):
        yield given, True
    if given := environ.get("DOCKER_CONFIG"):
        yield os.path.join(given, "config.json"), False
    yield os.path.join(home, ".docker", "config.json"), False
    if given := environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(given, "containers", "auth.json"), False
    yield (
        os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json"),
        False,
    )


def _of_file(path: str, must: bool, host: str, name: str) -> Credentials | None:
    config = _read(path, must, host)
    keys = (*HUB_NAMES, HUB_KEY) if host in HUB_NAMES else (host,)
    server = HUB_KEY if host in HUB_NAMES else host
    own = _table(config, "credHelpers", path, host)
    helper = next((own[key] for key in keys if key in own), None)
    if helper is not None:  # it alone is asked for this host
        return _asked(helper, server, host, path)
    if config.get("credsStore") and (found := _asked(config["credsStore"], server, host, path)):
        return found
    entries = {_plain(key): entry for key, entry in _table(config, "auths", path, host).items()}
    parts = [f"{host}/{name}".rsplit("/", n)[0] for n in range(name.count("/") + 1)] if name else []
    for key in (*parts, *keys):
        if key in entries:
            return _entry(entries[key], path, host)
    return None


def _asked(helper: object, server: str, host: str, path: str) -> Credentials | None:
    told = helpers.ask(helper, server, f"credentials of {host}", path)
    if told is None:
        return None
    user, secret = told
    return Credentials(user, secret, user == "<token>")


def _plain(key: str) -> str:
    """The host, and what may follow, that a key of "auths" means: old ones are URLs of the API."""
    if key == HUB_KEY:
        return key
    for scheme in ("https://", "http://"):
        if key.startswith(scheme):
            host, _, rest = key.removeprefix(scheme).partition("/")
            return host if rest.strip("/") in ("", "v1", "v2") else f"{host}/{rest}"
    return key.rstrip("/")


def _entry(entry: object, path: str, host: str) -> Credentials | None:
    if not isinstance(entry, dict):
        raise _unfit(path, host, "its entry is no object")
    user, secret = entry.get("username"), entry.get("password")
    token, auth = entry.get("identitytoken"), entry.get("auth")
    if auth:
        try:
            user, colon, secret = base64.b64decode(auth, validate=True).decode().partition(":")
        except (ValueError, TypeError):
            raise _unfit(path, host, "its auth is no base64 of text") from None
        if not colon:
            raise _unfit(path, host, "its auth is no user:password")
        secret = secret.rstrip("\0")
    if token:
        if not isinstance(token, str):
            raise _unfit(path, host, "its identitytoken is no text")
        return Credentials(str(user or "<token>"), token, True)
    if not user and not secret:
        return None
    if not (user and secret and isinstance(user, str) and isinstance(secret, str)):
        raise _unfit(path, host, "its entry has no user, or no password")
    return Credentials(user, secret)


def _table(config: dict[str, Any], key: str, path: str, host: str) -> dict[str, Any]:
    table = {} if config.get(key) is None else config[key]
    if not isinstance(table, dict):
        raise _unfit(path, host, f"its {key} is no object")
    return table


def _read(path: str, must: bool, host: str) -> dict[str, Any]:
    """The object in that file; an empty one where there is no file and none is needed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError) as e:
        if must:
            raise _unfit(path, host, str(e.strerror)) from None
        return {}
    except (OSError, ValueError) as e:
        raise _unfit(path, host, getattr(e, "strerror", None) or str(e)) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _unfit(path, host, "it is no file")
    with open(fd, "rb") as file:
        text = file.read(FILE_BYTES + 1)
    if len(text) > FILE_BYTES:
        raise _unfit(path, host, f"it is larger than {FILE_BYTES} bytes")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise _unfit(path, host, "it is no JSON object")
    return config


def _unfit(path: str, host: str, cause: str) -> HostError:
    return HostError(f"credentials of {host}", f"{path}: {cause}", _LOG_IN)
