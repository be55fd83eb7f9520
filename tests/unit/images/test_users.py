"""Whom an image wants to be: its own etc/passwd is read, and nothing else; nothing is taken for a name that is none."""

from __future__ import annotations

import os
import socket

import pytest

from pyjail._images.errors import ImageError
from pyjail._images.users import user


@pytest.fixture
def root(tmp_path):
    """A tree whose etc/passwd would give uid 0 and others to whatever is looked up."""
    (tmp_path / "etc").mkdir()
    names = [
        "root:x:0:0:",
        "1000:x:7:7:",
        "65533:x:7:7:",
        "4294967296:x:7:7:",
        "-1:x:7:7:",
        "+5:x:7:7:",
        ":x:7:7:",
        "0x5:x:7:7:",
    ]
    names += [
        "# comment",
        "short:x:7",
        "app:x:1001:1001:App:/home/app:/bin/sh",
        "app:x:0:0::/:/bin/sh",
        "admin:x:0:0:::",
    ]
    names += ["nobody:x:65534:65534::/:", "huge:x:4294967296:1::", "minus:x:-1:1::", "word:x:root:1::", "empty:x::1::"]
    names += ["wide:x:\u0665:1::", "a.b_c-d$:x:12:1::"]
    (tmp_path / "etc/passwd").write_text("\n".join(names))
    return tmp_path


@pytest.fixture
def uid(root):
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield lambda text: user(text, fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", None), ("root", None), ("root:root", None), (":5", None), ("0", 0), ("1000", 1000), ("1000:1000", 1000), ("65532", 65532),
     ("1000:no-such-group", 1000), ("007", 7), ("app", 1001), ("app:x", 1001), ("admin", 0), ("a.b_c-d$", 12)],
)  # fmt: skip
def test_a_user_is_a_number_or_a_name_of_the_image(uid, text, expected):
    assert uid(text) == expected


@pytest.mark.parametrize(
    "text",
    ["65533", "65534", "4294967295", "4294967296", "4294968296", "18446744073709551616", "9" * 5000, "-1", "+5", " 5", "5 ", "0x5", "1e3",
     "1000\n", "app\n", "\u0665", "a/../root", "../root", "app x", "x" * 300, "\x1b[2J", "a\0b", "1000app", "-app", "app#", "*"],
)  # fmt: skip
def test_what_is_neither_is_an_error_and_never_looked_up(uid, text):
    """CVE-2024-40635 and CVE-2026-46680: what does not fit 32 bits was looked up, or wrapped to root."""
    with pytest.raises(ImageError, match="config, user") as caught:
        uid(text)
    assert "etc/passwd" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", ["nobody", "huge", "minus", "word", "empty", "wide", "short", "absent", "Root", "comment"]
)
def test_a_name_without_a_usable_number_is_an_error(uid, text):
    with pytest.raises(ImageError, match=r"Jail\(uid=\)"):
        uid(text)


def _link(passwd, outside):
    passwd.symlink_to(outside)


def _relative(passwd, outside):
    passwd.symlink_to("shadow")
    (passwd.parent / "shadow").write_text(outside.read_text())


def _loop(passwd, outside):
    passwd.symlink_to("passwd")


def _fifo(passwd, outside):
    os.mkfifo(passwd)


def _socket(passwd, outside):
    with socket.socket(socket.AF_UNIX) as s:
        here = os.open(passwd.parent, os.O_RDONLY)
        s.bind(f"/proc/self/fd/{here}/passwd")
        os.close(here)


def _directory(passwd, outside):
    passwd.mkdir()


def _endless(passwd, outside):
    passwd.write_text("app:x:5:5::\n")
    os.truncate(passwd, 1 << 40)


def _large(passwd, outside):
    passwd.write_text("app:x:5:5::\n" * 100_000)


def _none(passwd, outside):
    pass


def _etc_is_a_link(passwd, outside):
    passwd.parent.rmdir()
    passwd.parent.symlink_to(outside.parent)


def _etc_is_a_file(passwd, outside):
    passwd.parent.rmdir()
    passwd.parent.touch()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "made",
    [_link, _relative, _loop, _fifo, _socket, _directory, _endless, _large, _none, _etc_is_a_link, _etc_is_a_file],
)
def test_an_etc_passwd_that_is_no_small_regular_file_of_the_image_is_an_error(root, uid, tmp_path_factory, made):
    """CVE-2024-9676 (a link, a FIFO), CVE-2026-47262 (an endless file)."""
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_text("app:x:0:0::\n")
    (root / "etc/passwd").unlink()
    made(root / "etc/passwd", outside)
    with pytest.raises(ImageError, match="etc/passwd"):
        uid("app")
    assert uid("5") == 5


def test_a_group_file_is_never_read(root, uid):
    """CVE-2026-47262."""
    os.mkfifo(root / "etc/group")
    assert uid("app:app") == 1001


def test_the_host_is_never_asked(root, uid):
    """CVE-2019-14271: nothing of the image is loaded for it, and the host's own names count for nothing."""
    (root / "etc/nsswitch.conf").write_text("passwd: files evil\n")
    with pytest.raises(ImageError, match="no such name"):
        uid("daemon")
