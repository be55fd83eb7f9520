"""``pyjail run --learn``: what was learned, as a configuration file with comments."""

from __future__ import annotations

from pyjail import Learned
from pyjail.cli.ending import printable


def text(found: Learned, root: str | None) -> str:
    """TOML for ``--config``; what it rests on, and what else is to be known, in comments."""
    result = found.result
    lines = [f"verdict {result.verdict.value}, {sum(found.calls.values())} calls of {len(found.calls)} kinds"]
    if not found.complete:
        why = f" ({result.syscall})" if result.syscall else ""
        lines.append(
            f"NOT COMPLETE: {result.verdict.value}{why} ended the run; what it would have done later is missing"
        )
    for row in found.refused:
        then = "the run ended" if row.action == "kill" else "the program went on"
        lines.append(f"refused: {row.call}, {row.action}, {row.times} times; {then}. Why: {row.why}")
    lines += ["", "In Python:", repr(found.policy), ""]
    if root is None:
        lines.append("These mounts are all that it needs, in a root of its own: --learn-root DIR makes one, with")
        for path, entry in found.skeleton.items():
            lines.append(f"  {path}" + (f" -> {entry}" if isinstance(entry, str) else "/" if entry is None else ""))
    comments = "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines)  # a name cannot end its comment
    return f"{comments}\n{found.to_toml(root)}"
