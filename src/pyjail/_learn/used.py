"""`used`: one watched run, and what it used, file by file: for a tree that has nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Unpack

from pyjail._learn import root
from pyjail._learn.learn import watched
from pyjail._plan.places import View
from pyjail._policy.mounts import OWN
from pyjail._spec.jail import Jail, Limits
from pyjail._spec.parameters import Args, Watched

Used = dict[str, Path | str | bytes | None]  # path: a file of this host, a symlink's target, content, or a directory


def used(args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[Watched]) -> Used:
    """What a run used, by its real path inside: as by `learn`, but of a directory that it listed only the files that
    it used, too. What every jail has by itself is not told."""
    seen, plan, *_ = watched(args, limits, jail, **options)
    needs = root.needs(View(plan), seen)
    found: Used = dict(needs.entries)
    for path, place in needs.binds.items():
        try:
            mode = os.lstat(place.source).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode):
            found[path] = Path(place.source)
        elif stat.S_ISDIR(mode):
            found.setdefault(path, None)
    return {path: what for path, what in sorted(found.items()) if path.split("/")[1] not in OWN}
