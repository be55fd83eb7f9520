"""The corpus of tests/images_fuzz.py, and some archives more; its long runs are ``python -m tests.images_fuzz 1800``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests import images_fuzz
from tests.images_made import archive

CORPUS = sorted(images_fuzz.CORPUS.glob("*.tar"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus_holds(tmp_path: Path, path: Path):
    data = path.read_bytes()
    for under in ([], *images_fuzz.seeds()[:5]):
        assert images_fuzz.tried(tmp_path, data, archive(*under)) == ""
    assert images_fuzz.disagreed(data) == ""


@pytest.mark.parametrize("seed", range(4))
def test_mutated_archives_hold(tmp_path: Path, seed: int):
    r = random.Random(seed)
    pool = images_fuzz.seeds()
    for n in range(100):
        data = images_fuzz.mutated(r.choice(pool), r)
        assert images_fuzz.tried(tmp_path, data, archive(*r.choice(pool))) == "", data.hex()
        if not n % 20:
            assert images_fuzz.disagreed(data) == "", data.hex()


def test_the_harness_sees_what_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def escaping(root: Path, *_: bytes, **__: object) -> None:
        root.mkdir(parents=True)
        (tmp_path / "outside" / "secret").write_text("overwritten")

    monkeypatch.setattr(images_fuzz, "applied", escaping)
    assert images_fuzz.tried(tmp_path, b"", b"") == "something outside has changed"
