"""``pyjail check``: lines or JSON, and exit codes that say which."""

from __future__ import annotations

import io
import json
import sys

import pytest

from pyjail import cli, precheck, records


def test_lines_and_exit_codes(tmp_path, capsys):
    source = tmp_path / "a.py"
    source.write_text("print(1)\n")
    assert cli.main(["check", str(source)]) == 0
    assert capsys.readouterr() == ("", "")
    source.write_text("import os\n\nx = eval('1')\n")
    assert cli.main(["check", str(source)]) == 1
    assert capsys.readouterr().out == f"{source}:1:1: import: import of os\n{source}:3:5: call: call of eval\n"


def test_a_document(tmp_path, capsys):
    source = tmp_path / "a.py"
    source.write_text("import os")
    assert cli.main(["check", "--json", str(source)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert records.check(document, "precheck") is document
    assert document["ok"] is False
    assert document["constructs"] == [c.to_dict() for c in precheck.check("import os")]
    source.write_text("")
    assert cli.main(["check", str(source), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["constructs"] == []


def test_a_file_that_cannot_be_read_is_no_finding(tmp_path, capsys):
    for path in (tmp_path / "none", tmp_path):
        assert cli.main(["check", str(path)]) == 125
        assert f"FILE='{path}'" in capsys.readouterr().err
    assert cli.main(["check"]) == 125


def test_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"exec('')")))
    assert cli.main(["check", "-"]) == 1
    assert capsys.readouterr().out == "<stdin>:1:1: call: call of exec\n"


@pytest.mark.parametrize("source", ["-" * 60000, "a" * (1 << 20), "x = \0", "x = '\x1b[2J", "import os.\x1b[2J"])
def test_no_source_crashes_it_or_reaches_the_terminal(tmp_path, capsys, source):
    path = tmp_path / "\x1b[2J.py"
    path.write_text(source)
    assert cli.main(["check", str(path)]) == 1
    assert "\x1b" not in capsys.readouterr().out
