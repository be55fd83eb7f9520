"""Problems in HumanEval's shape, of our own writing: each with its right completion and a wrong one.

Fields: prompt, test, as HumanEval has them; ``solution`` and ``wrong`` are completions of the prompt; ``entry_point`` is
the table's name where it is not given.
"""

from __future__ import annotations

import tomllib
from pathlib import Path


def load() -> dict[str, dict[str, str]]:
    """{task_id: problem}."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for name, task in tomllib.loads(path.read_text(encoding="utf-8")).items():
            assert name not in found, name
            found[name] = {"task_id": f"ours/{name}", "entry_point": name, **task}
    return found


TASKS = load()
