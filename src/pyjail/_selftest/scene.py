"""All that is put up on the host, what attempts are told of it, and what only a successful escape could show."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import site
import sys
import sysconfig
from typing import Any

from pyjail import Jail
from pyjail._selftest.attacks.toolkit import identity, quietly
from pyjail._selftest.canaries import SHOWN, WRITTEN, Files, Process
from pyjail._selftest.host_ipc import Ipc, Listeners

PRIVATE = (
    "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ed25519_key",
    "/etc/krb5.keytab", "/root/.ssh/id_rsa", "/root/.ssh/id_ed25519", "/root/.bash_history", "~/.ssh/id_rsa",
    "~/.ssh/id_ed25519", "~/.bash_history", "~/.netrc", "~/.aws/credentials",
    "/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/secrets",
)  # fmt: skip
SYSTEM = (
    "/", "/usr", "/usr/bin", "/usr/lib", "/usr/local/bin", "/etc", "/bin", "/sbin", "/lib", "/dev", "/proc", "/sys",
    "/root", "/home", "/var", "/var/tmp", "/run", "/opt", "/srv", "/mnt",
)  # fmt: skip

# Every jail of this host's own files sees these, but for packages that are not the package manager's.
EVERYBODYS = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/")
PACKAGE_MANAGERS = ("/usr/lib/", "/usr/lib64/")


class Scene:
    """A context: made at the start of a selftest, removed at its end, whatever happens in between."""

    def __init__(self, jail: Jail) -> None:
        self.name = f"pyjail-selftest-{os.getpid()}-{secrets.token_hex(3)}"  # so that it can be told whose it is
        self.secret = f"pyjail-canary-{secrets.token_hex(16)}".encode()
        self.jail = jail
        self.missing: dict[str, str] = {}
        self.files = Files(self.name, self.secret, self._forbidden(), self._beside())
        self.process = Process(self.secret)
        self.listeners = Listeners(self.name, f"{self.files.directory}/socket")
        self.ipc = Ipc(self.name, self.secret)
        self.parts = (self.files, self.process, self.listeners, self.ipc)

    def __enter__(self) -> Scene:
        with contextlib.ExitStack() as stack:  # each part is taken away again, wherever we are interrupted
            for part in self.parts:
                stack.callback(part.close)
                part.make()
            self._stack = stack.pop_all()
        for found in (self.files, self.listeners, self.ipc):
            self.missing.update(found.missing)
        self.handle = self._handle()
        self.identities = self._identities()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _read_only(self) -> list[str]:
        """Directories inside in which nothing may be made, unless the user's jail says so."""
        if self.jail.writable_root is not None:
            return []
        ours = [m.dst for m in self.jail.mounts if not m.ro]
        bound = [m.dst for m in self.jail.mounts if m.kind == "bind" and m.ro and os.path.isdir(m.src or "")]
        return [d for d in (*SYSTEM, *bound) if not any(d == o or d.startswith(o + "/") for o in ours)]

    def _forbidden(self) -> list[str]:
        """Where an attempt that makes files would have made them on the host."""
        root = "" if self.jail.rootfs is None else str(self.jail.rootfs)
        bound = [str(m.src) for m in self.jail.mounts if m.kind == "bind" and m.ro]
        places = dict.fromkeys([*(root + d for d in SYSTEM), *SYSTEM, *bound])
        return [f"{d.rstrip('/')}/{self.name}" for d in places]

    def _beside(self) -> list[str]:
        """Directories of the embedder's interpreter, its environment and its project that this jail does not show."""
        prefixes = [sys.prefix, sys.base_prefix]
        imported = [os.path.realpath(d) for d in site.getsitepackages()]
        installed = [f"{sysconfig.get_path('stdlib')}/{p}" for p in ("site-packages", "dist-packages")]
        packages = [*imported, *map(os.path.realpath, installed)]
        project = [] if sys.prefix == sys.base_prefix else [os.path.dirname(sys.prefix)]
        places = [*map(os.path.realpath, prefixes), *packages, *map(os.path.realpath, project)]
        shown = [m.src or "" for m in self.jail.mounts] + ([] if self.jail.python is None else imported)
        hidden = [
            p for p in packages if self.jail.rootfs is self.jail.image is None and not p.startswith(PACKAGE_MANAGERS)
        ]
        return [
            place
            for place in dict.fromkeys(places)
            if os.path.isdir(place)
            and (not f"{place}/".startswith(EVERYBODYS) or place in hidden)
            and not any(f"{place}/".startswith(s + "/") for s in shown)
        ]

    def _handle(self) -> str:
        buffer, mount = ctypes.create_string_buffer((128).to_bytes(4, "little"), 256), ctypes.c_int()
        if quietly("name_to_handle_at", -100, self.files.canary.encode() + b"\0", buffer, ctypes.byref(mount), 0) < 0:
            self.missing["handle"] = "this host's file system gives no handles"
            return ""
        return buffer.raw[: 8 + int.from_bytes(buffer.raw[:4], "little")].hex()

    def _identities(self) -> dict[bytes, str]:
        found = {}
        paths = [self.files.canary, self.files.directory, *map(os.path.expanduser, PRIVATE)]
        if self.jail.rootfs is self.jail.image is None:
            paths.append("/")
        for path in [*paths, self.files.home, *self.files.beside]:
            with contextlib.suppress(OSError):
                found[identity(path)] = path
        return found

    def leaked(self, data: bytes) -> str:
        """What of the host is in it; "" when nothing is."""
        if self.secret in data:
            return "the secret of the host"
        return next((f"the host's {path}" for mark, path in self.identities.items() if mark in data), "")

    def inside(self, program: str) -> dict[str, Any]:
        """What attempts are told. The secret is not in it."""
        real = os.path.realpath(program)
        return {
            "name": self.name,
            "canary": self.files.canary,
            "home": "" if "home" in self.missing else self.files.home,
            "beside": self.files.beside,
            "bound": SHOWN,
            "written": WRITTEN,
            "private": list(dict.fromkeys(map(os.path.expanduser, PRIVATE))),
            "read_only": self._read_only(),
            "shared": list(
                dict.fromkeys((program, real, "/bin/sh", "/usr/bin/env", "/etc/passwd", "/etc/ld.so.cache"))
            ),
            "program": real,
            "disk": os.stat("/").st_dev,
            "embedder": os.getpid(),
            "parent": os.getppid(),
            "ids": sorted({0, os.getuid(), os.getgid()}),
            "network": self.jail.network if isinstance(self.jail.network, str) else "egress",
            "rules": () if isinstance(self.jail.network, str) else self.jail.network.rules,
            "port": 20000 + secrets.randbelow(10000),
            "nameservers": _nameservers(),
            "cgroups": _cgroups(),
            "handle": self.handle,
            **self.process.inside(),
            **self.listeners.inside(),
            **self.ipc.inside(),
        }

    def changes(self) -> list[str]:
        """What happened to the host since the last call; it is put right again."""
        return [c for part in self.parts for c in part.changes()]


def _nameservers() -> list[str]:
    try:
        with open("/etc/resolv.conf") as f:
            found = [line.split()[1].partition("%")[0] for line in f if line.startswith("nameserver ")]
    except (OSError, IndexError, UnicodeDecodeError):
        return []
    return [a for a in found if not a.startswith("127.") and a != "::1"][:2]


def _cgroups() -> list[str]:
    found = []
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as f:
        for line in f:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            found.append(f"/sys/fs/cgroup{'/' + controllers if controllers else ''}{path.rstrip('/')}")
    return [p for p in found if p != "/sys/fs/cgroup"] if sys.platform == "linux" else []
