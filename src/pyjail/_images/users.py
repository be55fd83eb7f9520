"""Which user an image wants to be: a number, or a name in its own etc/passwd, read by fds alone.

Nothing of the host is asked (no NSS), nothing of the image is loaded, and its group file is never read: programs have
no supplementary groups. What is not plainly a name is never looked up as one: etc/passwd is the image's to write.
"""

from __future__ import annotations

import os
import re
import stat

from pyjail._images.digests import shown
from pyjail._images.errors import ImageError

MOST = 65532  # as `Jail(uid=)` takes
SIZE = 1 << 20  # bytes of etc/passwd
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}\$?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)


def user(text: str, root_fd: int) -> int | None:
    """The uid that a configuration's ``User`` means, from 0 to 65532; None for "" and "root": the jail's own is kept.

    A group after ":" is left out. ``root_fd`` is the directory of the image's tree. Raises `ImageError`: a number that
    is too large, what is neither a number nor a name, a name that is not in etc/passwd.
    """
    name = text.partition(":")[0]
    what = f"config, user {shown(text)}"
    if name in ("", "root"):
        return None
    if _DIGITS.fullmatch(name):
        return _bounded(name, what)
    if not _NAME.fullmatch(name):
        raise ImageError(what, f"a number from 0 to {MOST} or a name is needed; say which by Jail(uid=)")
    for line in _passwd(root_fd, what).split(b"\n"):
        fields = line.split(b":", 4)
        if len(fields) == 5 and fields[0] == name.encode():
            digits = fields[2].decode("ascii", "replace")
            if not _DIGITS.fullmatch(digits):
                raise ImageError(what, f"{shown(digits)} in the image's etc/passwd is no uid; say one by Jail(uid=)")
            return _bounded(digits, what)
    raise ImageError(what, "the image's etc/passwd has no such name; say a uid by Jail(uid=)")


def _bounded(digits: str, what: str) -> int:
    if int(digits) > MOST:
        raise ImageError(what, f"uid {digits} is more than {MOST}; say another one by Jail(uid=)")
    return int(digits)


def _passwd(root_fd: int, what: str) -> bytes:
    """The bytes of etc/passwd: a regular file in a real directory, or an error."""
    safe = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        etc = os.open("etc", safe | os.O_DIRECTORY, dir_fd=root_fd)
        try:
            fd = os.open("passwd", safe, dir_fd=etc)
        finally:
            os.close(etc)
    except OSError as e:
        raise ImageError(
            what, f"the image's etc/passwd cannot be read ({e.strerror}); say a uid by Jail(uid=)"
        ) from None
    found = bytearray()
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ImageError(what, "the image's etc/passwd is no regular file; say a uid by Jail(uid=)")
        while len(found) <= SIZE and (piece := os.read(fd, SIZE + 1 - len(found))):
            found += piece
    finally:
        os.close(fd)
    if len(found) > SIZE:
        raise ImageError(what, f"the image's etc/passwd has more than {SIZE:,} bytes; say a uid by Jail(uid=)")
    return bytes(found)
