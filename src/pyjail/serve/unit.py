"""A unit of systemd for ``pyjail serve`` on a machine: `text`, of what is `Here`."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyjail.serve import kept, room
from pyjail.serve.config import Config

USER, STATE = "pyjail", "/var/lib/pyjail"
_FDS = 65536
_OWN_TASKS = 256  # of the service: threads, helpers
_PROCESSES, _BESIDES = 1024, 8  # of a jail that has no limit; of each, beside its program
_ANSWERS = 30  # seconds more than programs have
_FIRST, _SUBIDS = 100_000, 1 << 16
_HOMES, _TMP = ("/home", "/root", "/run/user"), ("/tmp", "/var/tmp")


@dataclass(frozen=True)
class Here:
    """What a unit has to know of a machine.

    Attributes:
        command: that starts pyjail. parts: directories of the interpreter and of pyjail. user: whose service it is.
        memory: bytes of the machine; fds: the most that a process may have. undone: what has to be done before.
    """

    command: Sequence[str]
    parts: Sequence[str]
    user: str
    memory: int
    fds: int
    undone: Sequence[str] = ()

    @classmethod
    def found(cls, undone: Sequence[str] = ()) -> Here:
        """This one; for this user, or for one of its own where this is root."""
        user = getpass.getuser() if os.geteuid() else USER
        script = os.path.abspath(sys.argv[0])
        own = os.path.basename(script) == "pyjail" and os.access(script, os.X_OK)
        command = [script] if own else [sys.executable, "-m", "pyjail"]
        real = os.path.realpath(sys.executable)
        parts = {os.path.dirname(command[0]), os.path.dirname(real), os.path.dirname(os.path.dirname(kept.__file__))}
        fds = int(Path("/proc/sys/fs/nr_open").read_text())
        return cls(command, sorted(parts), user, room.available(), fds, [*_undone(user, sorted(parts)), *undone])


def _undone(user: str, parts: Sequence[str]) -> Iterator[str]:
    try:
        pwd.getpwnam(user)
    except KeyError:
        yield f"useradd --system --home {STATE} --shell /usr/sbin/nologin {user}"
    given = [line.split(":") for line in _lines("/etc/subuid") + _lines("/etc/subgid") if line.count(":") == 2]
    if shutil.which("newuidmap") is None:
        yield "apt-get install uidmap   # jails have ids of their own then"
    elif user != "root" and user not in [name for name, *_ in given]:
        first = max([_FIRST, *(int(start) + int(count) for _, start, count in given)])
        ids = f"{first}-{first + _SUBIDS - 1}"
        yield f"usermod --add-subuids {ids} --add-subgids {ids} {user}   # jails have ids of their own then"
    for part in parts:
        if user != "root" and os.geteuid() == 0 and (closed := _closed(part)):
            yield f"{user} does not get to {part}: {closed} is closed to others. Install pyjail elsewhere, as in /opt"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _closed(directory: str) -> str:
    """The first on the way there that others may not pass; "": there is none."""
    way = [*reversed(Path(directory).parents), Path(directory)]
    return next((str(at) for at in way if at.exists() and not at.stat().st_mode & 0o001), "")


_UNIT = """\
# pyjail serve as a service of this machine, printed by `pyjail doctor --unit`. As root:
#   pyjail doctor --unit > /etc/systemd/system/pyjail.service && systemctl daemon-reload
#   systemctl enable --now pyjail
{undone}[Unit]
Description=pyjail: runs programs in jails for whoever may ask by HTTP
After=network.target

[Service]
Type=notify
ExecStart={command}
User={user}
{places}
UMask=0077

# Limits are cgroups below that of the service, which it enters a leaf of.
Delegate=yes
Environment=PYJAIL_ENTER_LEAF=1
{memory}
TasksMax={tasks}
LimitNOFILE={fds}
# A program that meets its memory limit is no reason to stop the service.
OOMPolicy=continue

# The first SIGTERM goes to the service alone: what runs has serve.drain seconds, and some are for its answers.
KillMode=mixed
TimeoutStartSec=60
TimeoutStopSec={stop}
Restart=on-failure

ProtectSystem=strict
ProtectHome={home}
PrivateTmp={tmp}
# Left out, as each takes what jails are made of: NoNewPrivileges=, RestrictNamespaces=, SystemCallFilter=,
# ProtectControlGroups=, ProtectKernelTunables=, ProtectKernelLogs=, ProtectProc=, ProcSubset=, PrivateDevices=,
# MemoryDenyWriteExecute=.

[Install]
WantedBy=multi-user.target"""


def text(config: Config, here: Here, file: str = "") -> str:
    """The unit. ``file``: of the configuration."""
    state = os.path.abspath(config.state) if config.state else STATE
    file = file and os.path.abspath(file)
    command = [*here.command, "serve", *(["--config", file] if file else []), "--state", state]
    places = _places(state, config.unix)
    undone = [*here.undone, *([f"install -d -m 700 -o {here.user} {state}"] if "ReadWritePaths" in places else [])]
    hidden = [*here.parts, *filter(None, [file, config.unix]), state]
    processes = (config.maxima.processes or _PROCESSES) + _BESIDES
    return _UNIT.format(
        undone="".join(f"#   {' '.join(line.split())}\n" for line in ["to be done before:", *undone] if undone),
        command=" ".join(quoted(word).replace("$", "$$") for word in command),
        user=here.user, places="\n".join(f"{key}={quoted(value)}" for key, value in places.items()),
        memory="\n".join(_memory(config, here)), fds=min(_FDS, here.fds),
        tasks=(config.admission.concurrent + config.places.count) * processes + _OWN_TASKS,
        stop=int(config.drain) + _ANSWERS,
        home="read-only" if _below(hidden, _HOMES) else "yes", tmp="no" if _below(hidden, _TMP) else "yes",
    )  # fmt: skip


def _memory(config: Config, here: Here) -> list[str]:
    """Lines that say how much, and why so much."""
    most, there = config.maxima.memory, here.memory // 10 * 9
    if most is None:
        return ["# Nine tenths of this machine: serve.maxima.memory is no limit.", f"MemoryMax={there >> 20}M"]
    own = room.own(config)
    needed = config.admission.concurrent * most + own
    said = f"{config.admission.concurrent} programs of serve.maxima.memory, and {own >> 20} MiB for the service"
    if needed <= there:
        return [f"# {said}.", f"MemoryMax={needed >> 20}M"]
    return [
        f"# Nine tenths of this machine. {said}, may need {needed >> 20} MiB:",
        "# lower serve.maxima.memory or serve.admission.concurrent, or the kernel ends some of them when all take it.",
        f"MemoryMax={there >> 20}M",
    ]


def _places(state: str, unix: str) -> dict[str, str]:
    """What it may write to, by systemd's keys."""
    made: dict[str, str] = {}
    if state.startswith("/var/lib/"):
        made |= {"StateDirectory": state.removeprefix("/var/lib/"), "StateDirectoryMode": "0700"}
    else:
        made["ReadWritePaths"] = state
    directory = os.path.dirname(os.path.abspath(unix)) if unix else ""
    if directory.startswith("/run/"):
        made["RuntimeDirectory"] = directory.removeprefix("/run/")
    return made


def _below(paths: Sequence[str], above: Sequence[str]) -> bool:
    real = [os.path.realpath(path) for path in paths] + list(paths)
    return any(path == top or path.startswith(f"{top}/") for path in real for top in above)


def quoted(word: str) -> str:
    """As systemd reads it as one word, and no part of it as more than text."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{word}"' if not word or set(word) & set(" \t\\\"';#") else word
