"""BoxLite's interface over `pyjail.aio.Box`: what is written for it runs with ``import pyjail.boxlite as boxlite``.

    import pyjail.boxlite as boxlite

    async with boxlite.CodeBox(memory_mb=256, timeout_seconds=10) as box:
        result = await box.run(code)

**A shared kernel is not a micro-VM.** BoxLite gives each box a kernel of its own; here a box is a jail of this host's
kernel: namespaces, cgroups, a filter of system calls, Landlock. A hole in the kernel that a program can reach is a way
out of a box of pyjail, and is none out of a micro-VM. SECURITY.md says what is promised. Who needs the other boundary,
too, runs all of this in a virtual machine. In exchange a box needs no /dev/kvm, and is there in milliseconds.

**Both spellings** run: that of BoxLite's pages (``memory_mb=``, ``timeout_seconds=``, ``ResourceError``,
``CodeBox.run(...).stdout``) and that of the package boxlite 0.10 (``memory_mib=``, ``ResourceExhaustedError``,
``CodeBox.run`` returns a str). An unknown keyword is a TypeError with the nearest one.

**Images** are not pulled by a box. A name stands for the first of these that there is:

- a directory: ``rootfs_path=DIR``, or ``Boxlite.init_default(Options(images={"alpine:latest": DIR}))``;
- an image of the store: ``pyjail image pull docker.io/library/python:slim`` makes ``python:slim`` that one;
- ``python``: the running Python, without the packages of its environment, over this host's system directories,
  read-only;
- ``node``, ``gcc``, ``rust``, ``golang``, ``openjdk``, ``eclipse-temurin``, ``ruby``, ``perl``, ``php``: the same with
  this host's, where it is installed (`pyjail.languages`);
- ``debian:12`` and the like: this host's system, where it is that one.

Any other is a `NotFoundError` that says how to make one. A tag that asks for another version than is here, or for
Alpine, is an `ImageWarning`; ``info().served`` says what a box has.

**Errors** are BoxLite's: `TimeoutError` (Python's, too) for ``timeout_seconds``, `ResourceError` for memory and output;
an exit code is none. What pyjail or this machine is to blame for is never told as the program's answer:
`InternalError`, `EngineError`, `UnsupportedError` with the fix.

Not to be had, and told so by an `UnsupportedError` or here: networks, ports, tunnels, volumes, a server of boxes, other
users than the box's, and the classes that need an image with a desktop or a browser. docs/boxlite.md has all of it in
tables, and the same in pyjail's own words.
"""

from __future__ import annotations

from pyjail.boxlite._box import Box
from pyjail.boxlite._codebox import CodeBox
from pyjail.boxlite._errors import (
    AlreadyExistsError,
    BoxliteError,
    ConfigError,
    DatabaseError,
    EngineError,
    ExecError,
    ExecutionError,
    ImageError,
    InternalError,
    InvalidArgumentError,
    InvalidStateError,
    MetadataError,
    NetworkError,
    NotFoundError,
    ParseError,
    ResourceError,
    ResourceExhaustedError,
    SessionReapedError,
    StoppedError,
    StorageError,
    TimeoutError,
    UnsupportedError,
    UpstreamUnavailableError,
)
from pyjail.boxlite._execution import ExecStderr, ExecStdin, ExecStdout, Execution
from pyjail.boxlite._images import ImageWarning
from pyjail.boxlite._info import BoxInfo, BoxMetrics, BoxStateInfo, RuntimeMetrics, SnapshotInfo
from pyjail.boxlite._interactivebox import InteractiveBox
from pyjail.boxlite._options import (
    BoxOptions,
    CopyOptions,
    InboundNetworkSpec,
    NetworkSpec,
    OutboundNetworkSpec,
    SnapshotOptions,
)
from pyjail.boxlite._results import ExecResult, RunResult
from pyjail.boxlite._runtime import Boxlite, Options
from pyjail.boxlite._simplebox import SimpleBox
from pyjail.boxlite._snapshots import SnapshotHandle
from pyjail.boxlite._sync import (
    SyncBox,
    SyncBoxlite,
    SyncCodeBox,
    SyncExecStderr,
    SyncExecStdout,
    SyncExecution,
    SyncSimpleBox,
)

__all__ = [
    "AlreadyExistsError",
    "Box",
    "BoxInfo",
    "BoxMetrics",
    "BoxOptions",
    "BoxStateInfo",
    "Boxlite",
    "BoxliteError",
    "CodeBox",
    "ConfigError",
    "CopyOptions",
    "DatabaseError",
    "EngineError",
    "ExecError",
    "ExecResult",
    "ExecStderr",
    "ExecStdin",
    "ExecStdout",
    "Execution",
    "ExecutionError",
    "ImageError",
    "ImageWarning",
    "InboundNetworkSpec",
    "InteractiveBox",
    "InternalError",
    "InvalidArgumentError",
    "InvalidStateError",
    "MetadataError",
    "NetworkError",
    "NetworkSpec",
    "NotFoundError",
    "Options",
    "OutboundNetworkSpec",
    "ParseError",
    "ResourceError",
    "ResourceExhaustedError",
    "RunResult",
    "RuntimeMetrics",
    "SessionReapedError",
    "SimpleBox",
    "SnapshotHandle",
    "SnapshotInfo",
    "SnapshotOptions",
    "StoppedError",
    "StorageError",
    "SyncBox",
    "SyncBoxlite",
    "SyncCodeBox",
    "SyncExecStderr",
    "SyncExecStdout",
    "SyncExecution",
    "SyncSimpleBox",
    "TimeoutError",
    "UnsupportedError",
    "UpstreamUnavailableError",
]

__version__ = "0.10.8"  # of the package whose interface this is
_ELSEWHERE = {
    "BrowserBox": "it needs an image with browsers, and a network",
    "ComputerBox": "it needs an image with a desktop, and a network",
    "SkillBox": "it needs an image of BoxLite's, and a network",
    "BoxGroup": "boxes do not reach each other: join programs by pyjail.interact",
    "BoxRuntime": "boxes do not reach each other: join programs by pyjail.interact",
    "Secret": "there is no network that a secret could be for",
    "BoxliteRestOptions": "there is no server of boxes",
    "ApiKeyCredential": "there is no server of boxes",
    "VolumeHandle": "there are no volumes: copy_in and copy_out, or auto_remove=False",
}


def __getattr__(name: str) -> object:
    why = f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{why}")


def __dir__() -> list[str]:
    return sorted(__all__)
