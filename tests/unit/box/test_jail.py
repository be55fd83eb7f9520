"""What makes no box is said before anything is made."""

from __future__ import annotations

import pytest

from pyjail import Box, Jail, Limits, Mount, SpecError


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("jail", {"jail": "x"}),
        ("jail", {"jail": Jail(deterministic=True)}),
        ("jail", {"jail": Jail(mounts=(Mount.tmpfs("/scratch", "1M"),))}),
        ("jail", {"jail": Jail(mounts=(Mount.bind("/usr", "/box/usr"),))}),
        ("jail", {"jail": Jail(mounts=(Mount.bind("/usr", "/tmp"),))}),
        ("limits", {"limits": 3}),
        ("disk", {"disk": "much"}),
        ("inodes", {"inodes": -1}),
        ("writable", {"writable": "/tmp"}),
        ("writable", {"writable": ("tmp",)}),
        ("writable", {"writable": ("/",)}),
        ("writable", {"writable": ("/proc/x",)}),
        ("writable", {"writable": ("/dev",)}),
        ("writable", {"writable": ("/dev/pts",)}),
        ("writable", {"writable": ("/box/sub",)}),
        ("writable", {"writable": ("/home", "/home/me")}),
        ("writable", {"writable": ("/a/../b",)}),
        ("concurrency", {"concurrency": 0}),
        ("concurrency", {"concurrency": 201}),
        ("concurrency", {"concurrency": True}),
        ("idle_timeout", {"idle_timeout": "soon"}),
        ("idle_timeout", {"idle_timeout": -1}),
    ],
)
def test_a_box_that_makes_no_sense_names_the_argument(field, options):
    with pytest.raises(SpecError) as e:
        Box(**options)
    assert e.value.field == field


def test_an_unused_box_costs_nothing_and_shows_itself():
    box = Box(limits=Limits(memory="1G"), disk="1G")
    assert repr(box) == "<Box of 1G, 0 runs: new>"
    assert box.limits.disk == 1 << 30 and box.limits.memory == 1 << 30
    d = box.to_dict()
    assert d["kind"] == "box" and d["state"] == "new" and d["results"] == []
    box.close()
    assert "closed" in repr(box)


def test_the_same_place_twice_is_one():
    box = Box(writable=("/tmp", "/tmp/", "/box", "/dev/shm"))
    assert [m.dst for m in box.jail.mounts] == ["/box", "/tmp", "/dev/shm"]
