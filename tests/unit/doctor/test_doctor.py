"""What `pyjail doctor` prints for given findings, and how it comes by them."""

from __future__ import annotations

import errno
import io
import json
import pickle
from dataclasses import FrozenInstanceError

import pytest

import pyjail
from pyjail import Finding, _doctor
from pyjail._doctor import machine
from pyjail._doctor.examination import Once, failed
from pyjail._doctor.finding import BESIDE
from pyjail.cli import doctor as text
from pyjail.cli.doctor import ran

GOOD = (
    Finding("kernel", "works", "Linux 6.1"),
    Finding("io_rate", "no", "no io\ncontroller", "boot otherwise"),
    Finding("landlock", "works partly", "ABI 2", "boot otherwise"),
    Finding("strict jail", "works", "it ran"),
)
BAD = (*GOOD[:-1], Finding("strict jail", "no", "memory: no cgroup", "one\n  two"))


def test_a_finding_is_frozen_picklable_and_public():
    assert pickle.loads(pickle.dumps(GOOD)) == GOOD
    with pytest.raises(FrozenInstanceError):
        GOOD[0].status = "no"
    assert pyjail.doctor.__module__ == pyjail.Finding.__module__ == "pyjail"


def test_only_the_strict_jail_decides():
    assert ran(GOOD)
    assert ran((Finding("strict jail", "works partly", "without landlock"),))
    assert not ran(BAD)
    assert not ran(())
    assert not ran((Finding("kernel", "works", ""),))


@pytest.mark.parametrize(("rows", "code"), [(GOOD, 0), (BAD, 1), ((), 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_exit_code(monkeypatch, capsys, rows, code, as_json):
    monkeypatch.setattr(text, "doctor", lambda: rows)
    assert text.main(as_json) == code
    out = capsys.readouterr().out
    assert not as_json or json.loads(out)["ok"] == (code == 0)


def test_json_has_every_row_and_field():
    assert json.loads(text.as_json(BAD)) == {
        "kind": "doctor",
        "version": 1,
        "ok": False,
        "rows": [{"layer": r.layer, "status": r.status, "why": r.why, "fix": r.fix} for r in BAD],
    }


def test_a_page_has_one_aligned_line_a_row_and_the_fix_below():
    lines = text.page(BAD).split("\n")
    assert lines == [
        "✓ works         kernel       Linux 6.1",
        "✗ no            io_rate      no io controller",
        "      fix: boot otherwise",
        "~ works partly  landlock     ABI 2",
        "      fix: as for io_rate",
        "✗ no            strict jail  memory: no cgroup",
        "      fix: one",
        "             two",
        "",
        "strict jails do not run here: memory: no cgroup",
    ]
    assert text.page(GOOD).endswith("\nstrict jails run here; not to be had: io_rate")
    assert text.page(GOOD, ascii_only=True).isascii()
    assert text.page(()).endswith("strict jails do not run here: nothing was tried")


def test_the_last_line_names_what_has_to_be_seen_to_first():
    """A run that is refused names what it looks at first, cgroups, whatever else stands before it."""
    rows = (
        Finding("landlock", "no", "not in the kernel"),
        Finding("clone3", "no", "a filter", "open it"),
        Finding("memory", "no", "read-only", "remount"),
        Finding("strict jail", "no", "memory: read-only"),
    )
    assert text.conclusion(rows) == "strict jails do not run here: clone3: a filter"
    assert text.conclusion(rows[::3]) == "strict jails do not run here: memory: read-only"
    layers = {name for name, _ in _doctor._layers()}
    assert set(BESIDE) < layers


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_a_terminal_only_and_never_with_no_color():
    assert text.colours(Terminal(), {"TERM": "xterm"})
    assert text.colours(Terminal(), {"NO_COLOR": ""})
    assert not text.colours(Terminal(), {"NO_COLOR": "1"})
    assert not text.colours(Terminal(), {"TERM": "dumb"})
    assert not text.colours(io.StringIO(), {})
    assert "\033[31m" in text.page(BAD, colour=True)
    assert "\033" not in text.page(BAD)


def test_symbols_only_where_they_can_be_written():
    assert text.encodable(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert not text.encodable(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))


def test_a_broken_installation_is_a_row(monkeypatch):
    def broken():
        raise ImportError("no _native")

    monkeypatch.setattr(_doctor, "_layers", broken)
    (row,) = _doctor.doctor()
    assert (row.layer, row.status, row.why) == ("installation", "no", "ImportError: no _native")


def test_a_probe_that_raises_is_a_row_and_the_others_go_on(monkeypatch):
    def broken(x):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(_doctor, "_layers", lambda: [("a", broken), ("python", machine.python)])
    first, second = _doctor.doctor()
    assert (first.layer, first.status, first.why) == ("a", "no", "ZeroDivisionError: oops")
    assert second.status == "works"


def test_errors_of_pyjail_keep_their_fix_apart():
    assert failed("x", pyjail.HostError("memory", "no cgroup", "make one")) == Finding(
        "x", "no", "memory: no cgroup", "make one"
    )
    row = failed("x", pyjail.SetupError("wait_go", None, "newuidmap: no", errno.EPERM, "check /etc/subuid"))
    assert (row.why, row.fix) == (
        "wait_go: newuidmap: no: EPERM (Operation not permitted)",
        "check /etc/subuid",
    )


def test_what_is_looked_at_once_is_kept_errors_too():
    calls = []

    class Looks:
        @Once
        def value(self):
            calls.append("value")
            return 7

        @Once
        def error(self):
            calls.append("error")
            raise KeyError("x")

    x = Looks()
    assert (x.value, x.value) == (7, 7)
    for _ in range(2):
        with pytest.raises(KeyError):
            _ = x.error
    assert calls == ["value", "error"]
