"""Kernel specifications whose kernels run in jails: install, list, remove (extra ``jupyter``)."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

import pyjail
from pyjail import SpecError, Verdict
from pyjail.integrations.jupyter import PROVISIONER
from pyjail.integrations.kernels import settings

__all__ = ["Installed", "install", "installed", "remove"]

_LAUNCHER = "ipykernel_launcher"
_CHECK = f"import {_LAUNCHER.removesuffix('_launcher')}.kernelapp"


@dataclass(frozen=True)
class Installed:
    """A kernel specification of ours, which is in ``directory``. ``argv``, ``limits``, ``jail`` are what it says."""

    name: str
    directory: str
    display_name: str
    argv: tuple[str, ...]
    limits: Mapping[str, Any]
    jail: Mapping[str, Any]


def install(
    name: str = "python-jailed",
    *,
    display_name: str = "Python (jailed)",
    limits: Mapping[str, Any] | None = None,
    jail: Mapping[str, Any] | None = None,
    copy_directory: bool = False,
    prefix: str | None = sys.prefix,
    user: bool = False,
    replace_others: bool = False,
) -> Installed:
    """Write the specification of an ipykernel that runs in a jail, after trying whether it can.

    Args:
        name: by which clients start it: letters, digits, ``.``, ``_`` and ``-``.
        display_name: what notebooks show.
        limits, jail: tables of docs/configuration.md, as of `PyjailProvisioner`. ``jail["python"]`` is the Python whose
            ipykernel it is; by default this one.
        copy_directory: see `PyjailProvisioner`.
        prefix: of the environment that gets it, below share/jupyter/kernels; by default the running one. ``user``: this
            user's own directory instead. With neither, the system's.
        replace_others: a specification of this name may be there that is none of ours; it is replaced.

    Raises:
        SpecError: a name or a table that makes no sense; a name that is taken; a Python without ipykernel. HostError:
            the limits cannot be held here. OSError: it cannot be written.
    """
    view, held = settings(jail, limits)
    python = view.python
    if view.rootfs is view.image is python is None:
        python = sys.executable
        view = replace(view, python=python)
    manager = KernelSpecManager()
    taken = _found(manager, name)
    if taken is not None and not _ours(taken) and not replace_others:
        raise SpecError(
            "name", name, f"another kernel has this name, in {taken.resource_dir}: --replace takes its place"
        )
    tried = pyjail.run(["python3", "-c", _CHECK], replace(held, wall_time=60), jail=view, text=True)
    if tried.verdict in (Verdict.MEMORY, Verdict.CPU_TIME):
        limit = tried.verdict.value
        raise SpecError(limit, (limits or {}).get(limit), "ipykernel needs more even to start: 128M and 10s are enough")
    if not tried.ok:
        why = (tried.stderr or "").strip().rpartition("\n")[2] or tried.verdict.value
        fix = "install it into the rootfs or the image" if python is None else f"{python} -m pip install ipykernel"
        raise SpecError("python", python or "python3", f"no ipykernel starts with it in this jail ({why}): {fix}")
    config = {"limits": dict(limits or {}), "jail": dict(jail or {}), "copy_directory": copy_directory}
    document = {
        "argv": [str(python or "python3"), "-m", _LAUNCHER, "-f", "{connection_file}"],
        "display_name": display_name,
        "language": "python",
        "metadata": {"debugger": False, "kernel_provisioner": {"provisioner_name": PROVISIONER, "config": config}},
    }
    with tempfile.TemporaryDirectory() as made:
        _logos(Path(made))
        (Path(made) / "kernel.json").write_text(json.dumps(document, indent=1) + "\n")
        try:
            directory = manager.install_kernel_spec(made, name, user=user, prefix=None if user else prefix)
        except ValueError as e:
            raise SpecError("name", name, str(e)) from None
    return _installed(name, KernelSpec.from_resource_dir(directory))


def installed() -> list[Installed]:
    """All of ours that Jupyter finds here, by name."""
    manager = KernelSpecManager()
    found = ((name, _found(manager, name)) for name in sorted(manager.find_kernel_specs()))
    return [_installed(name, spec) for name, spec in found if spec is not None and _ours(spec)]


def remove(name: str) -> str:
    """Remove the specification of this name, which must be one of ours; the directory that it was in.

    Raises: SpecError: there is none, or it is another's. OSError.
    """
    manager = KernelSpecManager()
    spec = _found(manager, name)
    if spec is None or not _ours(spec):
        names = ", ".join(one.name for one in installed()) or "none"
        why = "no kernel of this name" if spec is None else f"not a jailed one, in {spec.resource_dir}"
        raise SpecError("name", name, f"{why}; jailed kernels here: {names}")
    shutil.rmtree(spec.resource_dir)
    return str(spec.resource_dir)


def _found(manager: Any, name: str) -> Any:
    try:
        return manager.get_kernel_spec(name)
    except NoSuchKernel:
        return None


def _stanza(spec: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (spec.metadata or {}).get("kernel_provisioner") or {}
    return found


def _ours(spec: Any) -> bool:
    return _stanza(spec).get("provisioner_name") == PROVISIONER


def _installed(name: str, spec: Any) -> Installed:
    config = _stanza(spec).get("config") or {}
    tables = (config.get("limits") or {}, config.get("jail") or {})
    return Installed(name, spec.resource_dir, spec.display_name, tuple(spec.argv), *tables)


def _logos(directory: Path) -> None:
    """Those of ipykernel, where it is in this environment, too."""
    try:
        from ipykernel.kernelspec import RESOURCES
    except ImportError:
        return
    for logo in Path(RESOURCES).glob("logo-*"):
        shutil.copy(logo, directory)
