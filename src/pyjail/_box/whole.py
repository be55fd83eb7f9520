"""What holds a box as a whole, read back: a receipt."""

from __future__ import annotations

from collections.abc import Iterator

from pyjail._base.units import show_size
from pyjail._box.life import Life
from pyjail._result.usage import Control, Receipt

_OF_ALL = ("memory", "processes", "cpus")


def receipt(life: Life) -> Receipt:
    """See `Box.receipt`."""
    return Receipt([*(_row(life, name) for name in _OF_ALL), *_disk(life)])


def _row(life: Life, name: str) -> Control:
    keeper, asked = life.ready(), getattr(life.limits, name)
    if asked is None:
        return Control(name, "none", "", "", "not_asked")
    shown = ",".join(map(str, sorted(asked))) if isinstance(asked, frozenset) else str(asked)
    if name == "memory":
        shown = show_size(asked)
    held = {row.file: text for row, text in keeper.cgroup.read() if row.limit == name}
    if held:
        fine = all(held.values())
        return Control(name, shown, ", ".join(held), ", ".join(held.values()), "enforced" if fine else "not_enforced")
    why = next((m.cause for m in life.missing if m.control == name), "")
    return Control(name, shown, "", why or "all that there are", "not_enforced" if why else "enforced")


def _disk(life: Life) -> Iterator[Control]:
    for name, by in (("disk", "tmpfs size"), ("inodes", "tmpfs nr_inodes")):
        asked = getattr(life.limits, name)
        shown = show_size(asked) if name == "disk" else str(asked)
        yield Control(name, shown if asked else "none", by if asked else "", "", "enforced" if asked else "not_asked")
