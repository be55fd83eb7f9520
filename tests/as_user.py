"""Run a command as an ordinary user: ``python tests/as_user.py COMMAND...``, started by root.

The user (uid 1000, no groups, no capabilities) could not reach an interpreter or a checkout below somebody's closed
home directory, so those are made reachable, at their own paths, in a mount namespace of this command only. On a pure
cgroup v2 machine the user gets a delegated cgroup, as `systemd-run --user --scope -p Delegate=yes` gives one. With
AS_USER_SUBORDINATE=FIRST it also gets subordinate ids; AS_USER_GROUP is its group instead of 1000.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

UID = 1000
V2 = Path("/sys/fs/cgroup")
DELEGATED = ("", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control")  # what systemd chowns


def mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True)


def closed_parent(path: Path) -> Path | None:
    """The outermost directory on the way to ``path`` that others may not pass."""
    return next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None)


def open_the_way(paths: list[Path]) -> None:
    """Bind each path over itself, below open directories where there were closed ones."""
    todo = [(p, c) for p in paths if (c := closed_parent(p))]
    with tempfile.TemporaryDirectory() as made:
        for i, (path, _) in enumerate(todo):
            held = Path(made, str(i))
            held.mkdir()
            mount("--bind", str(path), str(held))
        for closed in {c for _, c in todo}:
            mount("-t", "tmpfs", "-o", "mode=755", "open", str(closed))
        for i, (path, _) in enumerate(todo):
            path.mkdir(parents=True, exist_ok=True)
            mount("--move", str(Path(made, str(i))), str(path))


def give_subordinate_ids(first: str) -> None:
    """65536 of them, as useradd would write it, seen by this command only."""
    with tempfile.NamedTemporaryFile("w") as f:
        f.write(f"{UID}:{first}:65536\n")
        f.flush()
        os.chmod(f.name, 0o644)
        for name in ("/etc/subuid", "/etc/subgid"):
            mount("--bind", f.name, name)


def delegate() -> bool:
    """A cgroup of the user's own with this process in it; False where v2 has no controllers to give."""
    if not (V2 / "cgroup.controllers").exists() or "memory" not in (V2 / "cgroup.controllers").read_text().split():
        return False
    own = V2 / f"user-{UID}-{os.getpid()}"
    own.mkdir()
    for name in DELEGATED:
        os.chown(f"{own}{name}", UID, UID)
    (own / "cgroup.procs").write_text(str(os.getpid()))
    return True


def main() -> None:
    if os.environ.get("_AS_USER") != "inside":
        os.environ["_AS_USER"] = "inside"
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, __file__, *sys.argv[1:]]
        os.execvp(command[0], command)
    del os.environ["_AS_USER"]
    wanted = {Path(p).resolve() for p in (os.getcwd(), sys.prefix, sys.base_prefix)}
    open_the_way(sorted(p for p in wanted if not any(q in p.parents for q in wanted)))
    if first := os.environ.get("AS_USER_SUBORDINATE"):
        give_subordinate_ids(first)
    os.chdir(os.getcwd())  # the mount over the old directory
    home = f"/tmp/pyjail-user-{UID}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(home)
        os.chown(home, UID, UID)
    os.environ |= {"HOME": home, "USER": "user", "LOGNAME": "user", "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{home}/hypothesis"
    if delegate():
        os.environ["PYJAIL_ENTER_LEAF"] = "1"
    user = [
        "setpriv",
        "--reuid",
        str(UID),
        "--regid",
        os.environ.get("AS_USER_GROUP", str(UID)),
        "--clear-groups",
        "--inh-caps=-all",
    ]
    os.execvp(user[0], [*user, *sys.argv[1:]])


if __name__ == "__main__":
    main()
