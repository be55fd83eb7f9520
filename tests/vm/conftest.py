"""These tests are about cgroup v2 itself: they are collected where it is the only hierarchy (`./dev test-vm`)."""

from __future__ import annotations

from tests import place

if not place.is_v2():
    collect_ignore_glob = ["test_*.py"]
