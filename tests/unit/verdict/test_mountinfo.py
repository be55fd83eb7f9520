"""The receipt's row of mounts: what the kernel mounted, held against the plan."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pyjail._policy.mounts import (
    NODEV,
    NOSUID,
    RDONLY,
    MountRow,
)
from pyjail._verdict import mountinfo

ROWS = (
    MountRow("fs", "", "root", "tmpfs", RDONLY | NOSUID | NODEV),
    MountRow("dir", "usr", ""),
    MountRow("bind", "usr", "", "/usr", RDONLY | NOSUID | NODEV),
    MountRow("bind", "out put", "", "/srv/out put", NOSUID | NODEV),
    MountRow("link", "bin", ""),
)
TEMPLATE = SimpleNamespace(mounts=ROWS, jail=SimpleNamespace(proc=True, writable_root=None))
FINE = rb"""40 30 0:50 / / ro,nosuid,nodev - tmpfs pyjail rw
41 40 8:1 /usr /usr ro,nosuid,nodev,relatime - ext4 /dev/sda1 rw
42 41 8:2 / /usr/local ro,nosuid,nodev - ext4 /dev/sda2 rw
43 40 8:1 /srv /out\040put rw,nosuid,nodev - ext4 /dev/sda1 rw
"""


def test_what_was_planned_is_enforced_and_writable_places_are_named():
    row = mountinfo.control(TEMPLATE, FINE, "host view")
    assert (row.status, row.value) == ("enforced", "4 mounts, read-only but /out put")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"/usr ro,nosuid", b"/usr rw,nosuid", "/usr is not ro"),
        (b"/usr/local ro,nosuid,nodev", b"/usr/local rw,nodev", "/usr/local is not ro, nosuid"),
        (b" / ro,", b" / rw,", "/ is not ro"),
        (b"nosuid,nodev - ext4 /dev/sda1 rw\n", b"nosuid - ext4 /dev/sda1 rw\n", "/out put is not nodev"),
        (b"/usr ro,nosuid,nodev,relatime", b"/usrr ro,nosuid,nodev,relatime", "/usr is not there"),
    ],
)
def test_a_mount_that_lacks_a_flag_is_not_enforced_and_named(old, new, says):
    assert old in FINE
    row = mountinfo.control(TEMPLATE, FINE.replace(old, new), "host view")
    assert row.status == "not_enforced"
    assert says in row.value
