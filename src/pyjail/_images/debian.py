"""A Debian (or Ubuntu) with some packages, from where this host has its own: `install`, by mmdebstrap.

mmdebstrap runs in mount and pid namespaces of its own: what it mounts is seen by nobody else and goes with it, and so
does whatever it or a package's script starts. A user is its root in a user namespace, with subordinate ids for the
other owners that packages have. The host's packages, sources and settings are read and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from pyjail._base.errors import HostError

CONTROL = "image build"
PLACE = "/var/tmp"  # where the installation lies for mmdebstrap alone: nobody can look into the store
PATIENCE_S = 60  # of a look at this host
_TOLD = 12  # lines of what went wrong
_ESSENTIAL = "/usr/sbin:/usr/bin:/sbin:/bin"
_INSTALL = "apt-get install --no-install-recommends"
# What the host's apt is told of the way to its sources; what it is told of trust comes with the sources themselves.
_WAY = re.compile(
    r'Acquire::(?:https?|ftp|tor|mirror|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date)\b.* "[^"\n]*";',
    re.IGNORECASE,
)
_KEPT = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_STEP = re.compile(r"I: (.+?)\.*\s*")
_OWN = re.compile(r"E: (?:setup|mmdebstrap) failed")  # what it adds to what apt said
_SECRET = re.compile(r"//[^/\s@]+@")
Told = Callable[[str], None]


class Host:
    """What this host has for it. HostError: mmdebstrap is not there, or its user may not."""

    def __init__(self) -> None:
        self.path = f"{os.environ.get('PATH', '')}:{_ESSENTIAL}"
        tools = {"mmdebstrap": "mmdebstrap", "apt-config": "apt", "unshare": "util-linux", "setpriv": "util-linux"}
        missing = {package: tool for tool, package in tools.items() if self._which(tool) is None}
        if missing:
            raise _lacking(f"{' and '.join(missing.values())} cannot be found", f"{_INSTALL} {' '.join(missing)}")
        self.root = os.geteuid() == 0
        self.alone = [
            "unshare",
            *([] if self.root else ["--user", "--map-root-user", "--map-auto"]),
            "--mount",
            "--pid",
        ]
        self._may()
        self.sources = self._sources()
        self.options = self._options()

    def _which(self, tool: str) -> str | None:
        return shutil.which(tool, path=self.path)

    def _may(self) -> None:
        """HostError: no such namespaces."""
        tried = self.say(*self.alone, "--fork", "true")
        if tried is not None and tried.returncode == 0:
            return
        said = "" if tried is None else " ".join(tried.stderr.split())
        if self.root:
            raise _lacking(
                f"root has no namespaces of its own here ({said})",
                "give this container CAP_SYS_ADMIN; or build it elsewhere, and bring it with pyjail image load",
            )
        if self._which("newuidmap") is None:
            raise _lacking("newuidmap cannot be found, by which a user has more ids than one", f"{_INSTALL} uidmap")
        user = _user()
        for path in ("/etc/subuid", "/etc/subgid"):
            if not _named(path, user):
                raise _lacking(
                    f"{path} has no ids for {user}: files of packages have several owners",
                    f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}, as root; "
                    "or build it as root",
                )
        raise _lacking(f"a user has no namespaces here ({said})", "build it as root, or see pyjail doctor")

    def say(self, *command: str) -> subprocess.CompletedProcess[str] | None:
        """What came of a command; None: nothing, in time."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(
                command, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=PATIENCE_S, check=False,
            )  # fmt: skip
        return None

    def environment(self) -> dict[str, str]:
        """Of all that is started. SOURCE_DATE_EPOCH is not in it: Python's compiled files would be made such that each
        start has to read their sources, too."""
        kept = {key: value for key, value in os.environ.items() if key.lower() in _KEPT}
        return {**kept, "PATH": self.path, "LANG": "C.UTF-8", "HOME": "/", "TMPDIR": PLACE}

    def _config(self, *keys: str) -> dict[str, str]:
        """Paths of the host's apt, by their keys."""
        names = {key: f"v{n}" for n, key in enumerate(keys)}
        said = self.say("apt-config", "shell", *(part for key, name in names.items() for part in (name, key)))
        text = "" if said is None or said.returncode else said.stdout
        found = dict(word.partition("=")[::2] for word in shlex.split(text))
        return {key: found.get(name, "") for key, name in names.items()}

    def _sources(self) -> list[str]:
        main, parts = "Dir::Etc::sourcelist/f", "Dir::Etc::sourceparts/d"
        where = self._config(main, parts)
        found = [where[main]] if where[main] and os.path.isfile(where[main]) else []
        with contextlib.suppress(OSError):
            found += [
                os.path.join(where[parts], name)
                for name in sorted(os.listdir(where[parts]))
                if re.fullmatch(r"[A-Za-z0-9_.-]+\.(list|sources)", name)
            ]
        some = [path for path in found if _has_rows(path)]
        if not some:
            cause = f"apt has no sources in {where[main] or 'sources.list'} and {where[parts] or 'sources.list.d'}"
            raise _lacking(cause, "configure apt's sources, such that apt-get update works")
        return some

    def _options(self) -> str:
        """What mmdebstrap's apt is told: the way to the sources, and where the host's secrets and preferences lie."""
        said = self.say("apt-config", "dump")
        rows = [line for line in ("" if said is None else said.stdout).splitlines() if _WAY.fullmatch(line)]
        keys = ("netrc/f", "netrcparts/d", "preferences/f", "preferencesparts/d")
        for key, path in self._config(*(f"Dir::Etc::{key}" for key in keys)).items():
            if path and os.access(path, os.R_OK):
                rows.append(f'{key.rpartition("/")[0]} "{path}";')
        rows.append('Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";')
        return "\n".join((*rows, ""))


def _lacking(cause: str, fix: str) -> HostError:
    return HostError(CONTROL, cause, fix)


def _user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())


def _named(path: str, user: str) -> bool:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as f:
        return any(line.partition(":")[0] in (user, str(os.getuid())) for line in f)
    return False


def _has_rows(path: str) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as f:
        return any(line.strip() and not line.lstrip().startswith(b"#") for line in f)
    return False


def install(host: Host, packages: Sequence[str], staging: str, out: int, tell: Told | None = None) -> None:
    """The tar of a system with the essential packages and these goes to the file ``out``.

    Args:
        staging: a directory for it meanwhile; what is left in it goes by `removed`.
        tell: called with each step of mmdebstrap.

    Raises HostError with what apt said: a source that does not answer, a package that there is not.
    """
    os.mkdir(f"{staging}/build", 0o1777)
    os.chmod(f"{staging}/build", 0o1777)  # noqa: S103  nobody gets there but by the mount; apt has a user of its own
    with open(os.open(f"{staging}/build/apt.conf", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
        f.write(host.options)
    command = [
        *("setpriv", "--pdeathsig", "KILL"), *host.alone, "--fork", "--kill-child=KILL",
        *("sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", f"{staging}/build", PLACE),
        *("mmdebstrap", "--mode=root", "--format=tar", "--variant=essential", f"--aptopt={PLACE}/apt.conf"),
        "--dpkgopt=force-unsafe-io",  # what a crash leaves of it is removed, so none of its files has to be on the disk
        f"--include={','.join(packages)}", "", "-", *host.sources,
    ]  # fmt: skip
    with _started(host, command, out) as process:
        assert process.stderr is not None
        lines: deque[str] = deque(maxlen=_TOLD)
        for raw in process.stderr:
            line = _SECRET.sub("//", raw.decode("utf-8", "replace").rstrip())
            step = _STEP.fullmatch(line)
            if step is None:
                lines.append(line)
            elif tell is not None:
                tell(step[1])
        if process.wait() != 0:
            said = [line for line in lines if line.startswith(("E: ", "Err:")) and not _OWN.match(line)]
            cause = "; ".join(said or lines) or f"it ended with {process.returncode} and said nothing"
            raise _lacking(
                f"mmdebstrap failed: {cause}", "see that apt-get update works, and apt-cache show has each package"
            )


@contextlib.contextmanager
def _started(host: Host, command: Sequence[str], out: int) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with all that it started, whatever happens."""
    process = subprocess.Popen(
        command, env=host.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, cwd="/",
        start_new_session=True, umask=0o022,
    )  # fmt: skip
    try:
        with process:
            try:
                yield process
            except BaseException:
                process.kill()  # its child is the first process of its namespace: with it go all others
                raise
    finally:
        process.wait()


def removed(host: Host, path: str) -> None:
    """The directory is gone, whoever owns what is in it: a user's subordinate ids are nobody outside."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path) and not host.root:
        host.say(*host.alone, "--fork", "rm", "-rf", "--", path)
