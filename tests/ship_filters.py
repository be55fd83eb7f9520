"""Writes src/pyjail/_policy/shipped.py: the filters of the profiles as they are. Run by ./dev filters."""

from __future__ import annotations

import itertools
from pathlib import Path

from pyjail._policy import bpf, seccomp

PLACE = Path(__file__).resolve().parents[1] / "src/pyjail/_policy/shipped.py"
HEAD = '''"""What compiling the profiles gives, 8 bytes for each instruction; written by ./dev filters, never by hand."""

from __future__ import annotations

# (profile, machine, whether the jail has a network to use, whether something of the host can be written) -> program
PROGRAMS: dict[tuple[str, str, bool, bool], bytes] = {
'''
WIDTH = 96


def text() -> str:
    """The whole module."""
    out = [HEAD]
    both = (False, True)
    keys = itertools.product(("default",), bpf.AUDIT_ARCH, both, both)
    for key in (*keys, *(("strict", machine, False, False) for machine in bpf.AUDIT_ARCH)):
        digits = seccomp.compile_policy(*key).program.hex()
        out.append(f"    {key!r}: bytes.fromhex(\n".replace("'", '"'))
        out += [f'        "{digits[i : i + WIDTH]}"\n' for i in range(0, len(digits), WIDTH)]
        out.append("    ),\n")
    return "".join([*out, "}\n"])


if __name__ == "__main__":
    PLACE.write_text(text())
