"""Typed cgroup interface files: cgroupspy's own controllers for v1, ours for v2 on the same base."""

from __future__ import annotations

import os

from cgroupspy.controllers import Controller, CpuSetController
from cgroupspy.interfaces import ListFile


class _Node:
    """What a cgroupspy controller needs of its node: a path. (Its own Node belongs to a Tree of all cgroups.)"""

    def __init__(self, full_path: str) -> None:
        self.full_path = full_path


class V2Controller(Controller):  # type: ignore[misc]
    """The interface files of a v2 directory that we set up; cgroupspy itself knows v1 only."""

    controllers = ListFile("cgroup.controllers")
    subtree_control = ListFile("cgroup.subtree_control")

    def enable(self, names: frozenset[str]) -> None:
        """Give these controllers to the children of this directory."""
        missing = sorted(names - set(self.subtree_control))
        if missing:
            self.set_property(b"cgroup.subtree_control", " ".join(f"+{n}" for n in missing))

    def filepath(self, filename: bytes | str) -> str:
        return f"{self.node.full_path}/{os.fsdecode(filename)}"


class V1Cpuset(CpuSetController):  # type: ignore[misc]
    """cgroupspy's cpuset, with paths as str."""

    filepath = V2Controller.filepath


def directory(path: str) -> V2Controller:
    """The v2 directory at ``path``."""
    return V2Controller(_Node(path))


def fill_cpuset(parent: str, path: str) -> None:
    """A v1 cpuset starts empty and takes no process: give it what its parent has; its children copy that."""
    above, ours = V1Cpuset(_Node(parent)), V1Cpuset(_Node(path))
    for name in (b"cpuset.cpus", b"cpuset.mems"):
        ours.set_property(name, above.get_property(name))
    ours.set_property(b"cgroup.clone_children", "1")
