"""Memory: of the service, and of the programs that it may run at once."""

from __future__ import annotations

from pyjail import Limits
from pyjail.serve import Config, room
from pyjail.serve.config import Admission

CONFIG = Config(admission=Admission(concurrent=4), maxima=Limits(memory="1G"))


def test_what_fits_is_not_mentioned():
    assert room.lacking(CONFIG, (7424 << 20)) == ""


def test_what_does_not_fit_is_told_in_numbers():
    assert "may need 7424 MiB, and there are 7423 MiB" in room.lacking(CONFIG, (7423 << 20))


def test_no_limit_is_not_judged():
    assert room.lacking(Config(maxima=Limits(memory=None)), 0) == ""


def test_the_least_of_all_cgroups_on_the_way_up_counts(tmp_path):
    v1, v2 = tmp_path / "v1", tmp_path / "v2"
    for path, text in (("v2/a/b", "max"), ("v2/a", "5000"), ("v1/x/y", "9000"), ("v1/x", "7000")):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        name = "memory.max" if path.startswith("v2") else "memory.limit_in_bytes"
        (tmp_path / path / name).write_text(text + "\n")
    assert [*room._bounds("0::/a/b\n", v1, v2)] == [5000]
    assert [*room._bounds("5:cpu:/x/y\n4:memory,hugetlb:/x/y\n0::/none\n", v1, v2)] == [9000, 7000]


def test_this_machine_has_some():
    assert room.available() > 1 << 20
