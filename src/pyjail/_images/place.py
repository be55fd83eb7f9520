"""Where the store lies, whose it is, and its locks.

names/<percent-encoded>   which digest a name means: replaced by rename
steps/<key>               which digest a step of a recipe made, as `Key` says
images/<digest>.json      an image: its config, sizes, layers, and the tree that it has
roots/<id>/               the tree as it is bound, put there by one rename; before it came <id>.json, what it is, and
                          <id>.sums, the list of its files
blobs/sha256/<hex>        manifests and configs, as they came
staging/<random>/         what is not finished: removed when its lock can be had, as its maker has ended then
locks/<id>                flock: exclusive while made or removed, shared by whoever uses the tree
locks/step-<key>          flock: while the step is done, so that who wants the same waits for it
locks/.names              flock: held for moments, by who changes names/ or images/, or makes a place in staging/
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from pyjail._base.errors import HostError, SpecError
from pyjail._base.fds import Fd, fill
from pyjail._images.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PARTS = ("names", "steps", "images", "roots", "blobs", "blobs/sha256", "staging", "locks")
STORE_ID = 65530  # neither systemd nor Debian gives it to anybody; below the ids of keepers
_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~")
_HALF = ".half-"  # a file that is being written, beside what it will replace


def default() -> str:
    """The store's directory: $PYJAIL_IMAGES, else $PYJAIL_HOME/images, else root's /var/lib/pyjail/images, else the
    user's own."""
    if path := os.environ.get("PYJAIL_IMAGES"):
        return os.path.abspath(path)
    if home := os.environ.get("PYJAIL_HOME"):
        return os.path.join(os.path.abspath(home), "images")
    if os.geteuid() == 0:
        return "/var/lib/pyjail/images"
    data = os.environ.get("XDG_DATA_HOME", "")
    return os.path.join(data if data.startswith("/") else os.path.expanduser("~/.local/share"), "pyjail", "images")


def identity() -> int | None:
    """The id that the store's trees belong to: root's is unprivileged (PYJAIL_STORE_ID); None: the user's own."""
    if os.geteuid() != 0:
        return None
    text = os.environ.get("PYJAIL_STORE_ID", str(STORE_ID))
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**32 - 1):
        raise SpecError("PYJAIL_STORE_ID", text, "a number from 1 to 4294967294 is needed, of nobody else")
    return int(text)


class _How:
    """What json's scanner is told by its decoder."""

    strict, object_hook, object_pairs_hook, parse_constant = True, None, None, float
    parse_float, parse_int = float, int


def _value(text: str) -> Any:
    """As json.loads, of what was written here: to load that module takes longer than all else of a lookup."""
    try:
        from _json import make_scanner

        how: Any = _How
        found, end = make_scanner(how)(text, 0)
        if end == len(text):
            return found
    except (ImportError, StopIteration, ValueError):
        pass
    import json  # which says what is wrong

    return json.loads(text)


def _delete(path: str) -> None:
    """All of it, as far as that can be."""
    import shutil  # which no run needs, and which takes as long to load as all of the store

    shutil.rmtree(path, ignore_errors=True)


def file_name(name: str) -> str:
    """The name of an image as that of a file, as `urllib.parse.quote` has it."""
    return "".join(chr(c) if c in _SAFE else f"%{c:02X}" for c in name.encode("utf-8", "surrogatepass"))


class Key(str):
    """In the place of a name, the key of a recipe's step: its image has no name, and goes when none is built on it.

    ``by``: what the history of the image says of the step.
    """

    by = ""


def entry(name: str) -> str:
    """The file that says which digest a name means, or a key."""
    return f"steps/{name}" if isinstance(name, Key) else f"names/{file_name(name)}"


class Place:
    """A store's directory, ``path`` (str): looked at when it is first used, and made by what adds to it."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = os.path.realpath(default() if path is None else os.fspath(path))
        self._checked = False

    def there(self) -> bool:
        """Whether it exists. Raises HostError when it is somebody else's, or open to others."""
        if self._checked:
            return True
        try:
            st = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError as e:
            raise self.unusable(e) from e
        if st.st_uid != os.geteuid():
            why = f"{self.path} belongs to uid {st.st_uid}"
            raise HostError("image store", why, "set PYJAIL_HOME to a place of yours")
        if st.st_mode & 0o077:
            raise HostError("image store", f"{self.path} is open to others", f"chmod 700 {self.path}")
        self._checked = True
        return True

    def make(self) -> None:
        """Make it where it is not there."""
        try:
            if not self.there():
                os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self.path, 0o700)
                self.there()
            for part in PARTS:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(f"{self.path}/{part}", 0o700)
        except OSError as e:
            raise self.unusable(e) from e

    def unusable(self, e: OSError) -> HostError:
        """The error that something could not be done with it."""
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "pyjail image gc, or set PYJAIL_HOME"
            return HostError("image store", f"there is no room left for it in {self.path}", fix)
        why = f"{e.filename or self.path}: {os.strerror(e.errno or 0)}"
        return HostError("image store", why, "set PYJAIL_HOME to a directory where this user may write")

    # ---- locks: each for a with-block, in which it is taken ----

    def names(self) -> Lock:
        """While it is taken nobody else changes names/ or images/, nor makes a place in staging/."""
        return Lock(f"{self.path}/locks/.names")

    def lock(self, id: str) -> Lock:
        """The lock of the tree ``id``."""
        return Lock(f"{self.path}/locks/{id}")

    # ---- what is not finished ----

    @contextlib.contextmanager
    def staging(self, lock: Lock) -> Iterator[str]:
        """A new directory, whose ``lock`` is taken; whatever is left in it goes at the end."""
        path = f"{self.path}/staging/{os.getpid()}-{os.urandom(8).hex()}"
        with self.names() as names:
            names.take()
            os.mkdir(path, 0o700)
            lock.path = f"{path}/lock"
            lock.take()
        try:
            yield path
        finally:
            _delete(path)

    def sweep(self) -> int:
        """Remove what killed processes left unfinished: how many places of them. `names` is held."""
        removed = 0
        for name in os.listdir(f"{self.path}/staging"):
            path = f"{self.path}/staging/{name}"
            with contextlib.suppress(BlockingIOError), Lock(f"{path}/lock") as lock:
                with contextlib.suppress(FileNotFoundError):  # its maker ended before it, or who removes it is at it
                    lock.take(fcntl.LOCK_EX | fcntl.LOCK_NB, create=False)
                _delete(path)
                removed += 1
        for part in ("names", "steps", "images", "blobs/sha256"):
            for name in os.listdir(f"{self.path}/{part}"):
                if name.startswith(_HALF):
                    os.unlink(f"{self.path}/{part}/{name}")
        return removed

    # ---- small files ----

    def write(self, part: str, data: bytes) -> None:
        """The file ``part`` is now ``data``, or what it was. `names` is held."""
        folder, _, name = part.rpartition("/")
        half = f"{self.path}/{folder}/{_HALF}{os.urandom(8).hex()}"
        try:
            with Fd(os.open, half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600) as file:
                fill(file, data, seal=False)
                os.fsync(file.number)
            os.rename(half, f"{self.path}/{folder}/{name}")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(half)
            raise

    def read(self, part: str) -> Any:
        """The JSON in the file ``part``; None where there is none, or can be none of this name."""
        path = f"{self.path}/{part}"
        try:
            with open(path, "rb") as f:
                return _value(f.read().decode())
        except ValueError as e:
            raise HostError("image store", f"{path} is damaged: {e}", f"rm '{path}', and load the image again") from e
        except OSError as e:
            if e.errno in (errno.ENOENT, errno.ENAMETOOLONG, errno.EISDIR):
                return None
            raise self.unusable(e) from e

    def remove(self, part: str) -> None:
        """The file ``part`` is gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.path}/{part}")
