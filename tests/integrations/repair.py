"""A scripted engineer who repairs buggy programs: what each adapter for agents is tried with, end to end, without a model.

The programs are of the kind of QuixBugs: one line is wrong. The engineer decides by what he is shown.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

RIGHT = "all is right"


@dataclass(frozen=True)
class Program:
    """A module with a bug, the script that tests it, what the engineer sees of the bug, and the line that he changes."""

    name: str
    source: str
    test: str
    symptom: str
    wrong: str
    right: str

    @property
    def files(self) -> dict[str, str]:
        return {f"{self.name}.py": self.source, f"test_{self.name}.py": self.test}


def _test(name: str, cases: str) -> str:
    return f"from {name} import {name}\nfor given, wanted in {cases}:\n    got = {name}(*given)\n    assert got == wanted, (given, got)\nprint({RIGHT!r})\n"


PROGRAMS = (
    Program(
        "merged",
        "def merged(spans):\n    out = []\n    for start, end in sorted(spans):\n        if out and start < out[-1][1]:\n"
        "            out[-1] = (out[-1][0], max(end, out[-1][1]))\n        else:\n            out.append((start, end))\n    return out\n",
        _test("merged", "[(([],), []), (([(5, 6), (1, 3), (2, 4)],), [(1, 4), (5, 6)]), (([(1, 2), (2, 3)],), [(1, 3)])]"),
        "AssertionError",
        "start < out[-1][1]",
        "start <= out[-1][1]",
    ),
    Program(
        "ones",
        "def ones(number):\n    count = 0\n    while number:\n        number ^= number - 1\n        count += 1\n    return count\n",
        _test("ones", "[((0,), 0), ((128,), 1), ((127,), 7), ((3005,), 9)]"),
        "killed: more than",
        "number ^= number - 1",
        "number &= number - 1",
    ),
    Program(
        "flat",
        "def flat(tree):\n    for one in tree:\n        if isinstance(one, list):\n            yield from flat(one)\n        else:\n            yield flat(one)\n",
        "import flat as module\ngot = list(module.flat([1, [2, [], [3, 'four']]]))\nassert got == [1, 2, 3, 'four'], got\n"
        f"print({RIGHT!r})\n",
        "AssertionError: [<generator object",
        "yield flat(one)",
        "yield one",
    ),
)  # fmt: skip


def commands(program: Program) -> Generator[str, str, None]:
    """Shell commands; each is answered by what was shown. Ends when the test passes, raises when it does not."""
    name = program.name
    shown = yield f"ls; python3 test_{name}.py"
    assert f"{name}.py" in shown and program.symptom in shown and RIGHT not in shown, shown
    shown = yield f"cat {name}.py"
    assert program.wrong in shown, shown
    edit = f"import pathlib as p; f = p.Path('{name}.py'); f.write_text(f.read_text().replace({program.wrong!r}, {program.right!r}))"
    shown = yield f'python -c "{edit}" && echo changed: $(grep -c "{program.right.split("[")[0]}" {name}.py)'
    assert "changed: 1" in shown, shown
    shown = yield f"python3 test_{name}.py"
    assert RIGHT in shown, shown


BEATING = "(while sleep 0.05; do echo x >> /tmp/beat; done) &"  # a program that stays behind
GROWS = "n=$(cat /tmp/beat | wc -c); until [ $(cat /tmp/beat | wc -c) -gt $n ]; do sleep 0.05; done; echo lives"
