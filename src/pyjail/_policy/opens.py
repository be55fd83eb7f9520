"""What a jail opens beyond the default one, and what of the embedder's own the default one shows: for `lint`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from pyjail._base.rare_errors import JailWarning
from pyjail._host.embedder import Around
from pyjail._host.interpreter import system
from pyjail._spec.jail import Jail, Mount

SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|PRIVATE_?KEY", re.IGNORECASE)
# Directories of a host that are not for programs, and what is in them.
PRIVATE = {
    "/": "the whole host",
    "/etc": "the host's configuration, private keys among it",
    "/root": "root's files",
    "/home": "the users' files",
    "/var": "the host's data, logs and spools",
    "/run": "sockets of the host's services: connect(2) is not stopped by a read-only mount",
    "/var/run": "sockets of the host's services: connect(2) is not stopped by a read-only mount",
    "/proc": "the host's processes: environments, descriptors, memory",
    "/sys": "the host's devices and cgroups",
    "/dev": "the host's devices",
}
KERNEL = ("/proc/", "/sys/", "/dev/")


def openings(jail: Jail, around: Around) -> Iterator[JailWarning]:
    """A warning for each. ``around``: with the sources of its binds looked up."""
    for mount in jail.mounts:
        if mount.kind == "bind":
            yield from _bind(mount, around)
    if jail.python is not None:
        shown = f"what is installed for {os.fspath(jail.python)}"
        yield JailWarning("python", shown, "programs read it and import it")
    for name in jail.env:
        if SECRET.search(name):
            yield JailWarning("env", name, "by its name a secret, which every program of the jail is given")
    if not jail.landlock:
        yield JailWarning("landlock", "files by path", "the second fence around them is down")
    if jail.proc == "full":
        yield JailWarning("proc", "/proc/stat, /proc/sys and the like", "what the host is and does can be read there")
    if not jail.strict:
        yield JailWarning("strict", "what cannot be enforced here", "runs start without it; look at the receipt")
    if jail.rootfs is None and jail.image is None:
        yield from _of_the_embedder(around)


def _bind(mount: Mount, around: Around) -> Iterator[JailWarning]:
    source = around.real[mount.src or ""]
    if not mount.ro:
        why = "what is written stays on the host, symlinks and setuid files included"
        yield JailWarning("mounts", f"{source} to write", why)
    reason = PRIVATE.get(source, "")
    if not reason and f"{around.home}/".startswith(source + "/"):
        reason = "the caller's home directory: keys, tokens, history"
    if not reason and source.startswith(KERNEL):
        reason = "an interface of the host's kernel"
    if not reason and source.endswith(".sock"):
        reason = "a socket of the host: connect(2) is not stopped by a read-only mount"
    for place in around.places:
        if not reason and f"{place}/".startswith(source + "/"):
            reason = f"the program that makes the jail lies in it ({place})"
    if reason:
        yield JailWarning("mounts", source, reason)


def _of_the_embedder(around: Around) -> Iterator[JailWarning]:
    """Its own files, when they lie in a system directory, which every jail of this host's files shows."""
    for place in around.places:
        installed = place.rpartition("/")[2] in ("bin", "sbin")  # and what it consists of is hidden as a package
        if system(f"{place}/") and not installed and not any(f"{place}/".startswith(h + "/") for h in around.hidden):
            fix = "every jail without rootfs= reads it: move it out of the system directories"
            yield JailWarning("rootfs", place, f"the program that makes the jail lies there; {fix}")
