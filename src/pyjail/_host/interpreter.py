"""Which files of the host a Python needs to run, found by the rules by which it finds them itself.

The rules are those of CPython's getpath.py and site.py. Nothing is executed, and `sys` is asked only where the running
interpreter is: what PYTHONHOME or a program that embeds it made of the running one does not hold in a jail.
"""

from __future__ import annotations

import os
import stat
import sys

from pyjail._base import lazy
from pyjail._base.fds import not_ours
from pyjail._base.records import NamedTuple

MOST_LINKS = 40  # on one way, as the kernel has it
LIBRARIES = ("lib", "lib64")
PACKAGES = ("site-packages", "dist-packages")
SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/")
DISTRIBUTION = ("/usr/lib/", "/usr/lib64/")  # its packages there are the package manager's, so the system's
_KEPT = ("home", "include-system-site-packages", "version", "version_info", "implementation")  # of pyvenv.cfg


class Part(NamedTuple):
    """One thing that is shown. ``kind``: "dir" or "file" of the host at its own path, "link", "text", "made" (an empty
    directory that a path leads through)."""

    path: str
    kind: str
    data: bytes = b""


class Python(NamedTuple):
    """An interpreter of the host: what it needs, and where it imports packages from."""

    executable: str
    binary: str  # real file
    name: str  # of its version's directory: python3.11; "" when none was found
    parts: tuple[Part, ...]
    packages: tuple[str, ...]  # that it sees outside, real directories: hidden, or shown where they are asked for
    roots: tuple[str, ...]  # the directories of the environment and of the installation
    beside: tuple[str, ...]  # real directories of packages inside of its standard library
    venv: str = ""  # real directory; "" when it is none


class Way:
    """Collects what paths lead through, as the kernel passes it."""

    def __init__(self, known: dict[str, str | None] | None = None) -> None:
        self.parts: dict[str, Part] = {}
        self.targets = {} if known is None else known  # of what was looked at: a symlink's, None of anything else

    def walk(self, path: str) -> str:
        """The real path; each symlink on the way, and each directory that ".." leaves, becomes a part."""
        todo, real, links = _names(path), "", 0
        while todo:
            name = todo.pop()
            if name == "..":
                if real:
                    self.parts.setdefault(real, Part(real, "made"))
                real = os.path.dirname(real).rstrip("/")
                continue
            at = f"{real}/{name}"
            target = self._target(at)
            if target is None:
                real = at
                continue
            links += 1
            if links > MOST_LINKS:
                return at
            self.parts[at] = Part(at, "link", os.fsencode(target))
            real = "" if target.startswith("/") else real
            todo += _names(target)
        return real or "/"

    def real(self, path: str) -> str:
        """The real path, nothing shown."""
        return Way(self.targets).walk(path)

    def _target(self, path: str) -> str | None:
        if path not in self.targets:
            try:
                # Most are none: what readlink raises of them takes longer than a look.
                self.targets[path] = os.readlink(path) if stat.S_ISLNK(os.lstat(path).st_mode) else None
            except OSError as e:
                not_ours(e)
                self.targets[path] = None
        return self.targets[path]

    def show(self, path: str, kind: str) -> str:
        """Show what is at ``path``; its real path."""
        real = self.walk(path)
        self.parts[real] = Part(real, kind)
        return real

    def interpreter(self, path: str) -> str | None:
        """Show it, if it is one by its name."""
        way = Way(self.targets)
        real = way.walk(path)
        known = self.parts.get(real)
        if not (known is not None and known.kind == "file") and not (
            _is_name(os.path.basename(real)) and _is_program(real)
        ):
            return None
        self.parts = {**way.parts, **self.parts, real: Part(real, "file")}
        return real


def _is_name(name: str) -> bool:
    return name in ("python", "python3") or _is_version(name)


def _is_version(name: str) -> bool:
    """As that of a standard library's directory: python3.11, or python3.13t without the interpreter's lock."""
    return name.startswith("python3.") and name[8:].removesuffix("t").isdecimal()


def _is_program(path: str) -> bool:
    """No script that looks for an interpreter, as pyenv's shims are."""
    return _head(path, 4) == b"\x7fELF"


def _head(path: str, size: int) -> bytes:
    """The beginning of a regular file, which nobody waits for; b"" of anything else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as e:
        not_ours(e)
        return b""
    try:
        return os.read(fd, size) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def _names(path: str) -> list[str]:
    return [p for p in reversed(path.split("/")) if p not in ("", ".")]


def system(path: str) -> bool:
    """Whether it lies in a system directory, which every jail of this host's own files sees."""
    return path.startswith(SYSTEM) or f"{path}/" in SYSTEM


def running() -> Python | None:
    """The interpreter of this process; None when it is none by its name, such as a program that embeds Python."""
    flags = "t" if "t" in getattr(sys, "abiflags", "") else ""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}{flags}"
    return look(sys.executable, name, sys.base_prefix) if sys.executable else None


def look(executable: str, name: str = "", prefix: str = "") -> Python | None:
    """The interpreter at this absolute path of the host; None when there is none. ``name`` and ``prefix``: of its
    standard library's directory and of its installation, where they are known."""
    way = Way()
    binary = way.interpreter(executable)
    if binary is None:
        return None
    directory = os.path.dirname(executable)
    place, configuration = _configuration(directory)
    version = configuration.get("version", configuration.get("version_info", "")).split(".")
    for candidate in (os.path.basename(binary), f"python{'.'.join(version[:2])}"):
        name = name or (candidate if _is_version(candidate) else "")
    home = configuration.get("home", "")
    starts = [home] if home.startswith("/") else []
    base, name = _installation([*starts, os.path.dirname(binary), *([f"{prefix}/bin"] if prefix else [])], name)
    for bin_ in dict.fromkeys((directory, *starts, os.path.dirname(binary))):
        for other in ("python", "python3", name):
            if other:
                way.interpreter(f"{bin_}/{other}")
    packages = _library(way, base, name) if base else []
    venv = ""
    if home:
        venv = way.walk(os.path.dirname(directory))
        real = way.walk(place)
        text = "".join(f"{key} = {value}\n" for key, value in configuration.items() if key in _KEPT)
        way.parts[f"{real}/pyvenv.cfg"] = Part(f"{real}/pyvenv.cfg", "text", text.encode("utf-8", "surrogateescape"))
        own = [f"{venv}/{lib}/{name}/site-packages" for lib in LIBRARIES]
        with_base = configuration.get("include-system-site-packages", "").lower() == "true"
        packages = [*map(way.real, filter(os.path.isdir, own)), *(packages if with_base else [])]
    libraries = [p.path for p in way.parts.values() if p.kind == "dir"]
    beside = [way.real(f"{d}/{p}") for d in libraries for p in PACKAGES if os.path.isdir(f"{d}/{p}")]
    roots = [venv, base and way.real(base)]
    return Python(
        executable=executable,
        binary=binary,
        name=name,
        parts=tuple(way.parts.values()),
        packages=tuple(dict.fromkeys(packages)),
        beside=tuple(dict.fromkeys(beside)),
        roots=tuple(r for r in dict.fromkeys(roots) if len(r) > 1),
        venv=venv,
    )


def _configuration(directory: str) -> tuple[str, dict[str, str]]:
    """(where pyvenv.cfg is, what it says): beside the interpreter or one above."""
    for place in (directory, os.path.dirname(directory)):
        text = _head(f"{place}/pyvenv.cfg", 1 << 16).decode("utf-8", "surrogateescape")
        if not text:
            continue
        pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
        return place, {key.strip().lower(): value.strip() for key, _, value in pairs}
    return "", {}


def _installation(starts: list[str], name: str) -> tuple[str, str]:
    """(the directory above an interpreter's that holds a standard library, that library's name); "" for none."""
    for start in starts:
        at = start
        while at not in ("/", ""):
            at = os.path.dirname(at)
            for lib in LIBRARIES:
                where = f"{at.rstrip('/')}/{lib}"
                for candidate in [name] if name else _versions(where):
                    zipped = f"{where}/{candidate.replace('.', '')}.zip"
                    if os.path.isfile(f"{where}/{candidate}/os.py") or os.path.isfile(zipped):
                        return at, candidate
    return "", name


def _versions(directory: str) -> list[str]:
    try:
        return sorted([n for n in os.listdir(directory) if _is_version(n)])
    except OSError as e:
        not_ours(e)
        return []


def _library(way: Way, base: str, name: str) -> list[str]:
    """Show the standard library and the shared objects beside it; the directories of its packages."""
    directories = []
    for lib in LIBRARIES:
        where = f"{base.rstrip('/')}/{lib}"
        if os.path.isdir(f"{where}/{name}"):
            directories.append(way.show(f"{where}/{name}", "dir"))
        if os.path.isfile(f"{where}/{name.replace('.', '')}.zip"):
            way.show(f"{where}/{name.replace('.', '')}.zip", "file")
        if not system(where):
            for shared in _shared_objects(where, way, directories, name):
                way.show(shared, "file")
    places = [f"{d}/{p}" for d in dict.fromkeys(directories) for p in PACKAGES]
    if base in ("/usr", "/"):  # what Debian and Fedora give the system's Python
        places += [f"/usr/local/{lib}/{name}/{p}" for lib in LIBRARIES for p in PACKAGES]
        places += [f"/usr/lib/python3/{p}" for p in PACKAGES]
    return [way.real(p) for p in places if os.path.isdir(p)]


def _shared_objects(directory: str, way: Way, libraries: list[str], name: str) -> list[str]:
    """Those in the directory itself that the interpreter and the modules of its library link to. Where there are none
    but Python's own, its name tells, and no program has to be read for it."""
    try:
        names = [n for n in os.listdir(directory) if ".so" in n]
    except OSError as e:
        not_ours(e)
        return []
    if all(n.startswith("libpython") for n in names):
        return [
            f"{directory}/{n}" for n in names if n.startswith(f"lib{name}.so.") and os.path.isfile(f"{directory}/{n}")
        ]
    with lazy.lock:
        from pyjail._host import needed

    files = [p.path for p in way.parts.values() if p.kind == "file"]
    files += needed.extensions(libraries)
    return [p for p in (f"{directory}/{n}" for n in needed.libraries(files, directory, names)) if os.path.isfile(p)]


def hidden(python: Python | None) -> tuple[str, ...]:
    """Directories inside of what every jail sees that none sees unless it is asked for: packages that were installed
    beside the system's own or for the running interpreter, and sources."""
    places = ["/usr/src", "/usr/local/src"]
    for lib in LIBRARIES:
        for name in _versions(f"/usr/local/{lib}"):
            places += [f"/usr/local/{lib}/{name}/{p}" for p in PACKAGES]
    found = [os.path.realpath(p) for p in places if os.path.isdir(p)]
    found += [p for p in python.packages if not p.startswith(DISTRIBUTION)] if python else []
    found += [p for p in python.beside if not p.startswith(DISTRIBUTION)] if python else []
    return tuple(dict.fromkeys(found))
