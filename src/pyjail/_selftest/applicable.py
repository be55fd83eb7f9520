"""Whether an attempt means anything in this jail on this machine; if not, why. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pyjail import Jail, Receipt
from pyjail._selftest.attacks.toolkit import Attack

LIMITS = ("memory", "processes", "cpu_time", "cpus")


def reasons(jail: Jail, receipt: Receipt, missing: Mapping[str, str]) -> dict[str, str]:
    """{need: why it cannot be had}, for `Attack.needs`; a need that is not in it is there."""
    found = dict(missing)
    for name in LIMITS:
        row = receipt[name]
        if row.status != "enforced":
            found[name] = f"{name} is not enforced here: {row.value}"
    if all(name in found for name in ("memory", "processes")):
        found["cgroups"] = "there are no cgroups here"
    own = {m.dst for m in jail.mounts}
    if not jail.proc:
        found["proc"] = "this jail has no /proc"
    if "/box" in own:
        found["box"] = found["own_tmp"] = "/box is a mount of the user's"
    if "/tmp" in own:
        found["own_tmp"] = "/tmp is a mount of the user's"
    if jail.network == "none":
        found["loopback"] = "this jail has no network"
    else:
        asked = f'network="{jail.network}"' if isinstance(jail.network, str) else "an Egress"
        found["no_network"] = f"the jail asks for {asked}"
    if isinstance(jail.network, str):
        found["egress"] = "this jail has no Egress"
    if any(m.kind == "bind" and not m.ro for m in jail.mounts):
        found["no_disk"] = "the jail has a writable bind, and what is written there may be flushed"
    if jail.writable_root is not None:
        found["read_only"] = "the jail's root is to be written to"
    if jail.uid & 0xFF in (0, 254):
        found["uid"] = f"the jail asks for uid {jail.uid}"
    if os.geteuid() != 0:
        found["root"] = "only root can make a setuid-root file"
    machine = os.uname().machine
    if machine != "x86_64":
        found["x86_64"] = f"{machine} has no such numbers"
    if machine not in ("x86_64", "aarch64"):
        found["machine"] = f"no program was made for {machine}"
    return found


def why_not(attack: Attack, found: Mapping[str, str]) -> str:
    """ "" when the attempt can be made."""
    return next((found[need] for need in attack.needs if need in found), "")
