"""The row about the store of images."""

from __future__ import annotations

import collections
import os

import pytest

from pyjail._doctor import images

Usage = collections.namedtuple("Usage", "free")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "deep" / "home"))
    monkeypatch.setattr(images.shutil, "disk_usage", lambda path: Usage(5 << 30))
    return tmp_path


def test_a_store_that_can_be_made_works_and_is_not_made(home):
    row = images.store(None)
    assert (row.layer, row.status, row.fix, row.required) == ("images", "works", "", False)
    assert f"{home}/deep/home/images, made by the first image; 5.0 GiB are free" in row.why
    assert not (home / "deep").exists()


def test_a_store_without_room_works_partly(home, monkeypatch):
    monkeypatch.setattr(images.shutil, "disk_usage", lambda path: Usage(5 << 20))
    row = images.store(None)
    assert row.status == "works partly"
    assert "pyjail image gc" in row.fix


def test_a_store_that_is_open_to_others_is_none(home):
    (home / "deep/home/images").mkdir(parents=True)
    os.chmod(home / "deep/home/images", 0o755)
    row = images.store(None)
    assert row.status == "no"
    assert row.fix == f"chmod 700 {home}/deep/home/images"


def test_a_place_where_nothing_can_be_written_is_none(home, monkeypatch):
    monkeypatch.setattr(images.os, "access", lambda path, mode: False)
    row = images.store(None)
    assert row.status == "no"
    assert "PYJAIL_HOME" in row.fix


def test_a_missing_decompressor_is_told(home, monkeypatch):
    monkeypatch.setattr(images, "ZSTD", ("nothing.zstd", "json"))
    assert "zstd" not in images.store(None).why
    monkeypatch.setattr(images, "ZSTD", ("nothing.zstd", "json.nothing"))
    assert "pyjail-linux[zstd]" in images.store(None).why
