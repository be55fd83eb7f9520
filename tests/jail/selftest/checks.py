"""How rows of a report are told, and where and with which options the tests of selftest run."""

from __future__ import annotations

import pytest

from pyjail._selftest.report import Status
from tests import place
from tests.conftest import SLOW

NAME = "pyjail-selftest-"
not_in_a_guest = pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)


def status_of(report) -> dict[str, Status]:
    return {row.name: row.status for row in (*report.rows, *report.probes)}


def escaped(report) -> set[str]:
    return {row.name for row in report.escaped}


OPTIONS = () if place.CGROUPS else ("--no-strict",)
