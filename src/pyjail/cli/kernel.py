"""``pyjail kernel``: Jupyter kernels that run in jails."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pyjail
from pyjail import Jail, Limits, Mount, SeccompPolicy
from pyjail.cli import complaint, ending
from pyjail.cli.complaint import UsageError
from pyjail.integrations import kernels

WITHOUT = ("collect", "collect_files")  # nothing comes out of a kernel's /box
_SIZES = ("memory", "output", "disk", "file_size", "stack", "core", "address_space", "io_rate")
MEANING = {
    "wall_time": "time from its start to its end",
    "output": "what it sends to its clients in all, and ends it",
    "disk": "/box, which is kept over restarts, and /tmp, each",
}
_EPILOG = "A kernel that a limit ended is told in the client's log. docs/jupyter.md has more."


def add(commands: Any, limits_and_jail: Callable[[argparse.ArgumentParser], None]) -> None:
    """The command. ``limits_and_jail`` adds their options to a parser."""
    parser = commands.add_parser("kernel", help="Jupyter kernels that run in jails", epilog=_EPILOG)
    actions = parser.add_subparsers(dest="action", parser_class=type(parser))
    made = actions.add_parser(
        "install", help="write a kernel specification, after trying whether it works", epilog=_EPILOG
    )
    made.add_argument("--name", default="python-jailed", help="by which clients start it; default python-jailed")
    made.add_argument("--display-name", default="Python (jailed)", metavar="TEXT", help="what notebooks show")
    where = made.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for this user, in every environment")
    where.add_argument("--sys-prefix", action="store_true", help="for the environment of this pyjail; the default")
    where.add_argument("--prefix", metavar="DIR", help="below DIR/share/jupyter/kernels")
    made.add_argument("--replace", action="store_true", help="also in the place of a kernel that is not a jailed one")
    made.add_argument(
        "--copy-directory",
        action="store_true",
        help="copy the directory of the notebook into /box at the kernel's start",
    )
    limits_and_jail(made)
    actions.add_parser("list", help="the jailed kernels that Jupyter finds here")
    gone = actions.add_parser("remove", help="remove the specification of a jailed kernel")
    gone.add_argument("name", metavar="NAME")


def main(asked: argparse.Namespace, jail: Callable[[Jail], Jail], limits: Callable[[Limits], Limits]) -> int:
    """Do it; ``jail`` and ``limits`` apply the options to what a configuration says."""
    if asked.action is None:
        raise UsageError("pyjail kernel", "name an action: install, list, remove")
    try:
        from pyjail.integrations import jupyter_kernels
    except ModuleNotFoundError as e:
        fix = f"{sys.executable} -m pip install 'pyjail-linux[jupyter]'"
        raise UsageError(
            f"pyjail kernel {asked.action}",
            f"there is no {(e.name or '').partition('.')[0]} in the environment of pyjail: {fix}",
        ) from None
    if asked.action == "list":
        return _list(jupyter_kernels.installed())
    if asked.action == "remove":
        print(f"removed {jupyter_kernels.remove(asked.name)}")
        return 0
    base = _configured(asked.config)
    held = limits(base[1])
    made = jupyter_kernels.install(
        asked.name,
        display_name=asked.display_name,
        limits=limits_table(held),
        jail=jail_table(jail(base[0])),
        copy_directory=asked.copy_directory,
        prefix=asked.prefix or sys.prefix,
        user=asked.user,
        replace_others=asked.replace,
    )
    print(f"installed {made.name} in {made.directory}")
    print(f"  try it: jupyter execute --kernel_name={made.name} NOTEBOOK.ipynb")
    return 0


def _configured(path: str | None) -> tuple[Jail, Limits]:
    """What a --config file says; where it says nothing, what a kernel gets."""
    tables: dict[str, Any] = {}
    if path:
        with complaint.of_file("--config", path):
            pyjail.from_toml(path)  # says what is wrong in it
            with open(path, "rb") as f:
                tables = tomllib.load(f)
    return kernels.settings(tables.get("jail"), tables.get("limits"))


def _list(found: list[Any]) -> int:
    for one in found:
        limits = " ".join(f"{name}={value}" for name, value in {**kernels.DEFAULTS, **one.limits}.items())
        print(f"{one.name}  {one.argv[0]}  {limits}\n    {one.directory}")
    if not found:
        print("no jailed kernels here: pyjail kernel install")
    return 0


def limits_table(limits: Limits) -> dict[str, Any]:
    """A ``[limits]`` table: what differs from what a kernel gets."""
    usual, table = kernels.settings()[1].to_dict(), {}
    for name, value in limits.to_dict().items():
        if value != usual[name]:
            table[name] = "none" if value is None else ending.size(value) if name in _SIZES else value
    return table


def jail_table(jail: Jail) -> dict[str, Any]:
    """A ``[jail]`` table: what differs from the default."""
    usual, table = Jail(), {}
    for field in fields(Jail):
        value = getattr(jail, field.name)
        if value == getattr(usual, field.name):
            continue
        if isinstance(value, SeccompPolicy):
            value = _policy(value)
        elif field.name == "mounts":
            value = [_mount(mount) for mount in value]
        table[field.name] = dict(value) if field.name == "env" else value
    return table


def _mount(mount: Mount) -> dict[str, Any]:
    if mount.kind == "tmpfs":
        size = "none" if mount.size is None else mount.size
        return {"dst": mount.dst, "size": size, **({"ro": True} if mount.ro else {})}
    if mount.kind == "link":
        return {"dst": mount.dst, "target": mount.target}
    return {"src": mount.src, "dst": mount.dst, "ro": mount.ro}


def _policy(policy: SeccompPolicy) -> dict[str, Any]:
    given = {f.name: getattr(policy, f.name) for f in fields(policy) if f.name != "rules"}
    rules = [{"name": rule.name, "action": rule.action, "tests": rule.tests} for rule in policy.rules]
    return {**given, "rule": rules} if rules else given
