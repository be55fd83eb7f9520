"""What of the host a jail sees, by kind: rows of the receipt and of the plan."""

from __future__ import annotations

from collections.abc import Iterator

from pyjail._base import lazy
from pyjail._base.units import show_size
from pyjail._host.machine import SYSTEM_DIRS
from pyjail._plan.compile import Template
from pyjail._result.usage import Control
from pyjail._spec.jail import Jail
from pyjail._verdict import mountinfo as verdict_mountinfo

BIND, TMPFS = "bind mounts, read-only", "empty tmpfs over it"


def controls(template: Template, mountinfo: bytes) -> Iterator[Control]:
    """The rows "view system", "view python", "view hidden" and "view mounts". A directory that should be hidden and is
    not, by the kernel's list of mounts, is not enforced."""
    jail = template.jail
    if jail.rootfs is None:
        own = {m.dst for m in jail.mounts}
        binds = [row.target for row in template.mounts if row.kind in ("bind", "link") and f"/{row.target}" not in own]
        system = [f"/{t}" for t in binds if t in SYSTEM_DIRS] or ["parts of it"]
        etc = [t.removeprefix("etc/") for t in binds if t.startswith("etc/")]
        value = f"{' '.join(sorted(system))}; of /etc: {' '.join(sorted(etc))}"
        yield Control("view system", "by default; rootfs= takes it away", BIND, value, "enforced")
        yield _python(template)
        wrong = _not_hidden(template, mountinfo)
        value = f"seen: {', '.join(wrong)}" if wrong else ", ".join(_hidden(template)) or "nothing: a mount shows it"
        asked = "unless a mount or python= shows it"
        yield Control("view hidden", asked, TMPFS, value, "not_enforced" if wrong else "enforced")
    binds = [f"{m.dst}{'' if m.ro else ' (writable)'} <- {m.src}" for m in jail.mounts if m.kind == "bind"]
    if binds:
        yield Control("view mounts", "by mounts=", "bind mounts", ", ".join(binds), "enforced")
    else:
        yield Control("view mounts", "none", "", "", "not_asked")


def image(jail: Jail) -> Control:
    """The row "image" of a jail that has one: its digest, whatever its name comes to mean."""
    with lazy.lock:
        from pyjail._plan import image

    asked, digest, tree = image.told(jail)
    return Control("image", asked, f"read-only bind of {tree}", digest, "enforced")


def writable_root(template: Template, mountinfo: bytes) -> Control:
    """The row "writable_root" of a jail that has one: which file system its root is, by the kernel's list of mounts."""
    size = template.jail.writable_root
    assert isinstance(size, int)
    cause = next((m.cause for m in template.missing if m.control == "writable_root"), None)
    if cause is not None:
        return Control("writable_root", show_size(size), "", cause, "not_enforced")
    found = verdict_mountinfo.file_system(mountinfo, "")
    if not mountinfo:
        return Control(
            "writable_root", show_size(size), "overlayfs", "could not be read back: no /proc here", "enforced"
        )
    value = f"{found}, upper on a tmpfs of {size} bytes; what was there before stays as it is"
    return Control(
        "writable_root", show_size(size), "overlayfs", value, "enforced" if found == "overlay" else "not_enforced"
    )


def egress(template: Template) -> Control:
    """The row "egress": the list, and where its proxy is reached."""
    network = template.jail.network
    assert not isinstance(network, str)
    by = "proxy outside an empty network namespace"
    asked = ", ".join(network.rules) or "nothing"
    return Control(
        "egress", asked, by, f"127.0.0.1:{template.port}, {network.connections} connections at once", "enforced"
    )


def _python(template: Template) -> Control:
    """Which interpreters, what python3 is, and whose packages."""
    jail, seen = template.jail, template.seen
    shown = ", ".join(seen.sources) or "no more than the system's"
    if jail.python is None:
        asked, more = "the running one, without packages", ""
    else:
        asked = str(jail.python)
        more = f"; first in PATH: /python/bin; packages: {', '.join(seen.packages) or 'none'}"
    return Control("view python", asked, BIND, shown + more, "enforced")


def _hidden(template: Template) -> list[str]:
    """What is hidden, and not shown all the same by a mount of the user's over it or above it."""
    ours = {row.target for row in template.mounts if row.kind in ("fs", "dir")}
    return [path for path in template.seen.hidden if path[1:] in ours]


def _not_hidden(template: Template, mountinfo: bytes) -> list[str]:
    """Directories over which nothing is mounted, though the plan has it."""
    if not mountinfo:
        return []
    mounted = {m.target for m in verdict_mountinfo.parse(mountinfo)}
    planned = {row.target for row in template.mounts if row.kind == "fs"}
    return [path for path in template.seen.hidden if path[1:] in planned and path[1:] not in mounted]
