"""Who is measured: plain subprocess.run, pyjail, and every peer that is installed. Each runs the same program, /bin/true,
with stdout and stderr captured, and is given its cheapest configuration with the kinds of namespaces that a default `Jail`
has and, but for unshare, a root of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from machine import BUILD, compile_c
from sampling import Samples

import pyjail
from pyjail._cgroups import tree
from pyjail._plan import prepare

TRUE = "/bin/true"
BASE, OURS, FRESH = "subprocess.run", "pyjail.run", "pyjail.run fresh"
RELAY, FENCED = "relay", "fenced relay"  # no peers: the floor
NO_PEERS = (BASE, OURS, FRESH, RELAY, FENCED)
GO_JUDGE = "PYJAIL_BENCH_GO_JUDGE"
FIRST_BOX = 900  # isolate: sandboxes from this number on, one for each thread
SYSTEM = [d for d in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(d)]


@dataclass(frozen=True)
class Contender:
    name: str
    call: Callable[[int], object]  # with the number of the thread
    version: str
    note: str = ""
    begin: Callable[[int], object] | None = None  # before the first call in that thread
    end: Callable[[int], object] | None = None


def _spawn(command: list[str]) -> Callable[[int], object]:
    def call(thread: int) -> object:
        return subprocess.run(command, capture_output=True, check=True)

    return call


def _version(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return "?"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].split()[-1] if lines and done.returncode == 0 else "(version unknown)"


def bubblewrap() -> Contender:
    binds = [
        part
        for d in SYSTEM
        for part in (["--symlink", os.readlink(d), d] if os.path.islink(d) else ["--ro-bind", d, d])
    ]
    own = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--unshare-all", "--die-with-parent", "--new-session"]
    call = _spawn(["bwrap", *binds, *own, TRUE])
    return Contender("bubblewrap", call, _version("bwrap", "--version"), "namespaces; no limits, no filter")


def unshare() -> Contender:
    kinds = ["--user", "--map-root-user", "--mount", "--pid", "--ipc", "--net", "--uts", "--cgroup"]
    call = _spawn(["unshare", *kinds, "--fork", "--mount-proc", TRUE])
    return Contender(
        "unshare", call, _version("unshare", "--version"), "namespaces; the host's root, no limits, no filter"
    )


def nsjail() -> Contender:
    binds = [part for d in SYSTEM for part in ("-R", d)]
    call = _spawn(["nsjail", "-Mo", "--really_quiet", "-u", "65534", "-g", "65534", *binds, "-T", "/tmp", "--", TRUE])
    return Contender("nsjail", call, _version("nsjail", "--version"), "namespaces and rlimits; no cgroup, no filter")


def minijail() -> Contender:
    call = _spawn(["minijail0", "-T", "static", "-p", "-r", "-v", "-l", "-e", "-N", "--uts", "-n", "--", TRUE])
    return Contender("minijail0", call, "(version unknown)", "namespaces; the host's root, no limits, no filter")


def isolate() -> Contender:
    def box(thread: int, *action: str) -> object:
        return subprocess.run(["isolate", f"--box-id={FIRST_BOX + thread}", *action], capture_output=True, check=True)

    def clean(thread: int) -> object:
        return box(thread, "--cleanup")

    return Contender(
        "isolate",
        lambda thread: box(thread, "--processes=64", "--run", "--", TRUE),
        _version("isolate", "--version"),
        "namespaces and rlimits; the box is made before and kept, no cgroup",
        lambda thread: box(thread, "--init"),
        clean,
    )


class _Leaf:
    """A leaf in each hierarchy that a default jail has, with its limits; and the files that a run reads there."""

    def __init__(self) -> None:
        found = prepare.compiled(pyjail.Jail(), pyjail.Limits(), (), os.getpid())
        template, run = found.template, found.run
        self.tops = tree.KeeperCgroup()
        self.tops.make_home(template.cgroups)
        self.tops.make_rest(None)
        self.paths = [f"{top}/floor" for top in self.tops.paths]
        self.arguments = []
        for path in self.paths:
            os.mkdir(path)
            self.arguments.append(f"+{path}/{'tasks' if os.path.exists(f'{path}/tasks') else 'cgroup.procs'}")
        for row in run.cgroup:
            file = f"{self.paths[row.hierarchy]}/{row.file}"
            if row.when != "set":
                self.arguments.append(file)
            elif row.value is not None:
                with open(file, "w") as f:
                    f.write(row.value)
        self.landlock = str(template.landlock.fs & 0x1FFF)  # what the first version of Landlock knows
        self.filter = BUILD / "filter"
        new = BUILD / "filter.new"  # the relay before may be reading the other one
        new.write_bytes(template.filter.program)
        new.replace(self.filter)

    def remove(self) -> None:
        for path in self.paths:
            os.rmdir(path)
        self.tops.remove()


def relay(fenced: bool = False) -> Contender:
    """What any keeper needs with nothing of a jail; ``fenced``: or with what the kernel does for one. See floor.c."""
    program = compile_c("floor")
    ends: dict[int, tuple[socket.socket, subprocess.Popen[bytes], _Leaf | None]] = {}

    def begin(thread: int) -> object:
        leaf = _Leaf() if fenced else None
        more = [str(leaf.filter), leaf.landlock, *leaf.arguments] if leaf else []
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            number = its.fileno()
            ends[thread] = ours, subprocess.Popen([program, "relay", str(number), *more], pass_fds=[number]), leaf
        return None

    def call(thread: int) -> object:
        end = ends[thread][0]
        end.send(b"g")
        if end.recv(1) != b"g":
            raise OSError("the relay has ended")
        return None

    def end(thread: int) -> object:
        ours, process, leaf = ends.pop(thread)
        ours.close()
        code = process.wait(10)
        if leaf:
            time.sleep(0.05)  # its last exit is worked off
            leaf.remove()
        return code

    note = "the floor: a process that starts true, forked ahead, and says when it has ended; nothing of a jail, in C"
    if fenced:
        note = "the same with the kernel's part of a default jail: its leaves with their limits and counters, its filter, Landlock"
    return Contender(FENCED if fenced else RELAY, call, "", note, begin, end)


@contextlib.contextmanager
def ready(found: Iterable[Contender], threads: int) -> Iterator[None]:
    """What they need before, for so many threads, and its end."""
    with contextlib.ExitStack() as stack:
        for c in found:
            for number in range(threads):
                if c.begin:
                    c.begin(number)
                if c.end:
                    stack.callback(c.end, number)
        yield


PEERS = (
    ("bwrap", bubblewrap),
    ("unshare", unshare),
    ("nsjail", nsjail),
    ("isolate", isolate),
    ("minijail0", minijail),
)


def ours() -> list[Contender]:
    limits, jail, fresh = pyjail.Limits(), pyjail.Jail(), pyjail.Jail(fresh=True)
    return [
        Contender(BASE, _spawn([TRUE]), "", "no jail at all"),
        Contender(
            OURS, lambda thread: pyjail.run([TRUE], limits, jail=jail), pyjail.__version__, "default Jail and Limits"
        ),
        Contender(FRESH, lambda thread: pyjail.run([TRUE], limits, jail=fresh), pyjail.__version__, "Jail(fresh=True)"),
        relay(),
        *([relay(True)] if prepare.compiled(jail, limits, (), os.getpid()).template.cgroups.used else []),
    ]


def go_judge() -> Contender:
    """Its server takes requests over HTTP; one connection for each thread stays open."""
    import http.client
    import json

    url = os.environ[GO_JUDGE].removeprefix("http://").rstrip("/")
    talks: dict[int, http.client.HTTPConnection] = {}
    pipes = [{"content": ""}, {"name": "stdout", "max": 10240}, {"name": "stderr", "max": 10240}]
    limits = {"cpuLimit": 10**10, "clockLimit": 2 * 10**10, "memoryLimit": 256 << 20, "procLimit": 64}
    body = json.dumps({"cmd": [{"args": [TRUE], "env": ["PATH=/usr/bin:/bin"], "files": pipes, **limits}]})

    def begin(thread: int) -> object:
        talks[thread] = http.client.HTTPConnection(url, timeout=30)
        return None

    def call(thread: int) -> object:
        talks[thread].request("POST", "/run", body, {"Content-Type": "application/json"})
        answer = json.loads(talks[thread].getresponse().read())
        if answer[0]["status"] != "Accepted":
            raise OSError(f"go-judge: {answer}")
        return answer

    note = "a server with containers made before; cgroup limits, no filter"
    return Contender("go-judge", call, "", note, begin, lambda thread: talks.pop(thread).close())


def peers() -> tuple[list[Contender], dict[str, str]]:
    """Those that work here, and why others are missing."""
    found, missing = [], {}
    for program, make in (*PEERS, ("go-judge", go_judge)):
        if program == "go-judge" and GO_JUDGE not in os.environ:
            missing[program] = f"no server of it runs here ({GO_JUDGE}=http://127.0.0.1:5050 names one)"
            continue
        if program != "go-judge" and shutil.which(program) is None:
            missing[program] = "not installed"
            continue
        peer = make()
        try:
            with ready([peer], 1):
                peer.call(0)
            found.append(peer)
        except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as e:
            said = e.stderr.decode(errors="replace").strip() if isinstance(e, subprocess.CalledProcessError) else str(e)
            missing[program] = f"does not work here: {said[:150]}"
    return found, missing


def floors(by_name: Mapping[str, Samples]) -> str:
    """What the relays need, or reach, of `BASE`."""
    base = by_name[BASE].median
    found = f"a relay with nothing of a jail, in the same turns: {by_name[RELAY].median / base:.2f} x"
    if FENCED in by_name:
        found += f"; with the same leaves, filter and Landlock: {by_name[FENCED].median / base:.2f} x"
    return found
