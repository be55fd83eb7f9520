"""A unit of systemd for a machine: what it has to know of it, and of the configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyjail import Limits
from pyjail.serve import Config, unit
from pyjail.serve.config import Admission

GIB = 1 << 30
HERE = unit.Here(("/opt/pyjail/bin/pyjail",), ("/opt/pyjail/bin", "/usr/bin"), "pyjail", 64 * GIB, 1 << 20)


def keys(config=None, here=HERE, file=""):
    """{key: value}."""
    lines = unit.text(config or Config(), here, file).splitlines()
    return dict(line.split("=", 1) for line in lines if line and line[0] not in "#[")


def test_it_has_what_the_unit_in_the_repository_has():
    found = keys(Config(admission=Admission(concurrent=2)))
    assert found["ExecStart"] == "/opt/pyjail/bin/pyjail serve --state /var/lib/pyjail"
    assert (found["User"], found["Delegate"], found["Environment"]) == ("pyjail", "yes", "PYJAIL_ENTER_LEAF=1")
    assert (found["StateDirectory"], found["ProtectSystem"], found["ProtectHome"]) == ("pyjail", "strict", "yes")
    assert (found["PrivateTmp"], found["OOMPolicy"], found["KillMode"]) == ("yes", "continue", "mixed")
    assert found["MemoryMax"] == "5376M" and found["LimitNOFILE"] == "65536"
    assert not {"NoNewPrivileges", "RestrictNamespaces", "ProtectKernelTunables", "ProtectControlGroups"} & {*found}


def test_programs_have_as_much_as_they_may_have_and_a_machine_that_has_less_is_told():
    config = Config(admission=Admission(concurrent=8), maxima=Limits(memory="2G", processes=100), drain=7)
    found = keys(config)
    assert found["MemoryMax"] == f"{8 * 2048 + 3328}M"
    assert int(found["TasksMax"]) >= (8 + config.places.count) * 100 and int(found["TimeoutStopSec"]) >= 7 + 10
    small = replace(HERE, memory=10 * GIB, fds=1000)
    assert keys(config, small)["MemoryMax"] == f"{9 << 10}M" and keys(config, small)["LimitNOFILE"] == "1000"
    assert "lower serve.maxima.memory" in unit.text(config, small)
    free = Config(maxima=Limits(memory=None, processes=None))
    assert keys(free, small)["MemoryMax"] == f"{9 << 10}M" and int(keys(free)["TasksMax"]) > 10_000


@pytest.mark.parametrize(
    ("parts", "file", "home", "tmp"),
    [
        (("/home/me/venv/bin",), "", "read-only", "yes"),
        (("/root/venv/bin",), "", "read-only", "yes"),
        (("/opt/bin",), "/home/me/serve.toml", "read-only", "yes"),
        (("/opt/bin",), "/tmp/serve.toml", "yes", "no"),
        (("/homer/bin",), "/etc/serve.toml", "yes", "yes"),
    ],
)
def test_nothing_that_it_needs_is_hidden_from_it(parts, file, home, tmp):
    found = keys(here=replace(HERE, parts=parts), file=file)
    assert (found["ProtectHome"], found["PrivateTmp"]) == (home, tmp)
    assert file in found["ExecStart"]


def test_what_it_writes_to_can_be_written_to():
    found = keys(Config(state="/srv/runs", unix="/run/pyjail/serve.sock"))
    assert found["ReadWritePaths"] == "/srv/runs" and found["RuntimeDirectory"] == "pyjail"
    assert "install -d -m 700 -o pyjail /srv/runs" in unit.text(Config(state="/srv/runs"), HERE)
    assert keys(Config(state="/var/lib/a/b"))["StateDirectory"] == "a/b"


def test_what_has_to_be_done_is_a_comment_whatever_it_says():
    said = unit.text(Config(), replace(HERE, undone=("useradd x", "a\nUser=root\n[Service]")))
    assert "\n#   useradd x\n#   a User=root [Service]\n[Unit]\n" in said


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("a b", '"a b"'),
        ("", '""'),
        ("50%", "50%%"),
        ('"', '"\\""'),
        ("a\nb", '"a\\nb"'),
        ("a;b", '"a;b"'),
    ],
)
def test_a_word_stays_one(word, written):
    assert unit.quoted(word) == written
