"""Jupyter kernels in jails: `PyjailProvisioner`, for every client that starts kernels by name (extra ``jupyter``).

``pyjail kernel install --name python-jailed`` writes a kernel specification that names it; nbclient, papermill,
nbgrader and JupyterLab then run that kernel in a jail. docs/jupyter.md says what it sees, and what is promised.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Bool, Dict

from pyjail import DEVNULL, STDOUT, Jail, JailError, Limits, Mount, Process, Session, Verdict
from pyjail.integrations._kernel.place import INSIDE, Place
from pyjail.integrations._kernel.relay import CHANNELS, LOST, Relay
from pyjail.integrations.kernels import DEFAULTS, settings

__all__ = ["PROVISIONER", "PyjailProvisioner"]

PROVISIONER = "pyjail"  # its name in kernel specifications
ENV = {"IPYTHONDIR": "/tmp/.ipython", "MPLCONFIGDIR": "/tmp/.matplotlib"}
FAILED = 125  # of `poll`: nothing can be said of the kernel
PATIENCE_S = 60.0  # until a kernel's jail has connected; Python's start, on a machine that has much to do
_NOT_ITS_OWN = (Verdict.MEMORY, Verdict.CPU_TIME, Verdict.WALL_TIME, Verdict.SECURITY, Verdict.JAIL_ERROR)
_RAISE = "`pyjail kernel install --{} MORE`, or limits in its kernel.json, raise it"
_ABOUT = {
    LOST: "us: the process that joins it to its clients had ended, as it does when a cell kills it",
    Verdict.SECURITY.value: "its seccomp policy",
}


class PyjailProvisioner(KernelProvisionerBase):
    """Runs a kernel in a jail of its own; one object for each kernel, made by Jupyter.

    The kernel's command must be ``PYTHON [FLAG]... -m MODULE [ARGUMENT]...``, as that of ipykernel; PYTHON's
    environment is seen inside, read-only. Nothing of the caller's environment, network or files is. /box is kept
    over restarts. The kernel is reached by sockets that are bound on the host, in a directory that no jail can write.

    Attributes:
        limits, jail: the tables of docs/configuration.md. ``output`` is of what the kernel sends to its clients in all.
            Limits that are not given are `kernels.DEFAULTS`.
        copy_directory: copy the directory that the kernel is started in (the notebook's) into /box at its first start.

    ``launch_kernel`` raises what `pyjail.Session.start` raises, such as HostError where a limit cannot be held, and
    RuntimeError with what the kernel said when it ended at once.
    """

    limits = Dict(help="limits of the kernel, as a [limits] table of pyjail's configuration").tag(config=True)
    jail = Dict(help="its jail, as a [jail] table of pyjail's configuration").tag(config=True)
    copy_directory = Bool(False, help="copy the notebook's directory into /box").tag(config=True)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._busy, self._telling = threading.RLock(), threading.Lock()
        self._process: Process | None = None
        self._relay: Relay | None = None
        self._place: Place | None = None
        self._session: Session | None = None
        self._held: list[Relay | Place] = []
        self._leave = weakref.finalize(self, _leave, self._held)  # also before the interpreter ends
        self._cancelled = False
        self._told = False
        self._end: dict[str, Any] = {}

    # ---- what Jupyter asks for ----

    @property
    def has_process(self) -> bool:
        """Whether there is a kernel, running or to be waited for."""
        return self._process is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose where the sockets are, write the connection files; what `launch_kernel` gets."""
        manager: Any = self.parent
        if manager is None:
            raise RuntimeError("a kernel in a jail needs a KernelManager, whose key its messages are signed with")
        kwargs.pop("transport_encryption", None)  # nothing leaves this machine, or passes anybody else
        if self._place is None:
            self._place = Place()
            self._held.append(self._place)
        manager.transport, manager.ip = "ipc", self._place.clients
        for number, channel in enumerate(CHANNELS, 1):
            setattr(manager, f"{channel}_port", number)
        manager.write_connection_file()
        self.connection_info = manager.get_connection_info()
        session = {
            "key": manager.session.key.decode(),
            "signature_scheme": manager.session.signature_scheme,
            "kernel_name": manager.kernel_name,
        }
        path = self._place.tell(session)
        outside = os.path.realpath(manager.connection_file)
        cmd = manager.format_kernel_cmd(extra_arguments=kwargs.pop("extra_arguments", []))
        cmd = [argument.replace(outside, path) for argument in cmd]
        return await super().pre_launch(cmd=cmd, **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Start it, and wait until its jail has connected; its connection information."""
        env = {name: kwargs["env"][name] for name in self.kernel_spec.env}
        self._cancelled = False
        try:
            await _apart(self._launch, cmd, env, kwargs.get("cwd"))
        except BaseException:
            self._cancelled = True
            await asyncio.shield(_apart(self._clean, False))
            raise
        return self.connection_info

    async def poll(self) -> int | None:
        """None while it runs; else its exit code, -N after signal N; 125 when it cannot be told."""
        process = self._process
        if process is None:
            return 0
        try:
            code = process.poll()
        except JailError:
            code = FAILED
        if code is not None:
            self._tell()
        return code

    async def wait(self) -> int | None:
        """Wait for its end: what `poll` says then."""
        while (code := await self.poll()) is None:
            await asyncio.sleep(0.05)
        await _apart(self._put_away)
        return code

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel's own process; SIGINT interrupts a cell. SIGKILL ends all of the jail."""
        if self._process is not None:
            self._process.send_signal(signum)

    async def kill(self, restart: bool = False) -> None:
        """End it and all that it has started."""
        if self._process is not None:
            self._process.kill()

    async def terminate(self, restart: bool = False) -> None:
        """Send SIGTERM to the kernel's own process."""
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        """Nothing is left after this; before a restart, /box and the directory of the sockets."""
        await _apart(self._clean, restart)

    async def get_provisioner_info(self) -> dict[str, Any]:
        """Besides the usual, ``pyjail``: how the last kernel ended, once it has.

        ``ended_by``: the limit that did, "security", "lost" (nobody could reach it any more), "jail_error" (pyjail's or
        the machine's fault: nothing can be said of it), or None; ``verdict``, ``returncode``, ``error``.
        """
        return {**await super().get_provisioner_info(), "pyjail": {**self._end}}

    # ---- in threads: what takes longer than a look ----

    def _launch(self, cmd: list[str], env: Mapping[str, str], directory: str | None) -> None:
        with self._busy:
            self._put_away()
            assert self._place is not None
            self._told, self._end = False, {}
            jail, limits = settings(self.jail, self.limits)
            session = self._opened(jail, limits, cmd[0], directory)
            tell = weakref.WeakMethod(self._tell)  # a thread must not keep what nobody else wants
            self._relay = Relay(self._place.clients, self._place.inside, limits.output, lambda: (tell() or _nothing)())
            self._held.insert(0, self._relay)
            self._process = process = session.start(
                _program(cmd), env={**session.jail.env, **ENV, **env}, stdin=DEVNULL, stderr=STDOUT
            )
            self._relay.begin(process)
            self._link(process, self._relay)

    def _opened(self, jail: Jail, limits: Limits, python: str, directory: str | None) -> Session:
        """The session that keeps /box; a new one where there is none, or the last one is lost."""
        assert self._place is not None
        if self._session is not None:
            try:
                self._session.list("*")
                return self._session
            except JailError as e:
                self.log.warning("kernel %s: /box is a new one: %s", self.kernel_id, e)
                self._session.close()
        if jail.rootfs is jail.image is jail.python is None:
            jail = replace(jail, python=shutil.which(python) or python)
        jail = replace(jail, mounts=(*jail.mounts, Mount.bind(self._place.inside, INSIDE)))
        self._session = session = Session(jail, limits=limits, disk=limits.disk, inodes=limits.inodes)
        if self.copy_directory and directory:
            for path in sorted(Path(directory).iterdir()):
                session.write(path.name, path)
        return session

    def _link(self, process: Process, relay: Relay) -> None:
        """Wait until it has connected. RuntimeError with what it said, when it does not."""
        end = time.monotonic() + PATIENCE_S
        while not relay.linked.wait(0.02):
            if process.poll() is not None:
                relay.stop()
                raise RuntimeError(f"the kernel ended at once ({process.result.verdict.value}): {relay.said}")
            if self._cancelled or time.monotonic() > end:
                raise RuntimeError(f"the kernel's jail did not connect within {PATIENCE_S:g} s: {relay.said}")

    def _put_away(self) -> None:
        """The last kernel, whether it runs or not."""
        with self._busy:
            process, relay = self._process, self._relay
            if process is not None:
                process.kill()
                try:
                    process.wait()
                except JailError as e:
                    self.log.debug("kernel %s: %s", self.kernel_id, e)
                self._tell()
            if relay is not None:
                relay.stop()
                self._held.remove(relay)
            if process is not None:
                process.close()
            self._process = self._relay = None

    def _clean(self, restart: bool) -> None:
        with self._busy:
            self._put_away()
            if restart:
                return
            if self._session is not None:
                self._session.close()
            _leave(self._held)
            self._session = self._place = None

    def _tell(self) -> None:
        """Note how the kernel has ended, once, and log it when that was not its own doing or the manager's."""
        with self._telling:
            process, relay = self._process, self._relay
            if self._told or process is None or relay is None:
                return
            self._told = True
        try:
            process.wait()
        except JailError as e:
            self._end = {"ended_by": "jail_error", "verdict": None, "returncode": FAILED, "error": str(e)}
        else:
            result = process.result
            by = relay.why or (result.verdict.value if result.verdict in _NOT_ITS_OWN else None)
            told = {"verdict": result.verdict.value, "returncode": result.returncode, "error": result.error}
            self._end = {"ended_by": by, **told}
        by, error = self._end["ended_by"], self._end["error"]
        if by == "jail_error":
            self.log.error("kernel %s: pyjail failed, nothing can be said of it: %s", self.kernel_id, error)
        elif by is not None:
            limit = {**DEFAULTS, **self.limits}.get(by)
            about = _ABOUT.get(by) or f"its limit {by} ({limit}): {_RAISE.format(by.replace('_', '-'))}"
            self.log.error("kernel %s was ended by %s", self.kernel_id, about)
        elif self._end["verdict"] == Verdict.RUNTIME_ERROR.value:
            self.log.warning("kernel %s has ended with %s: %s", self.kernel_id, self._end["returncode"], relay.said)


async def _apart(do: Callable[..., None], *given: Any) -> None:
    """Do it in a thread; in this one when the interpreter ends, which is when nbclient cleans up, and starts none."""
    try:
        waiting = asyncio.get_running_loop().run_in_executor(None, do, *given)
    except RuntimeError:
        do(*given)
    else:
        await waiting


def _nothing() -> None:
    pass


def _leave(held: list[Relay | Place]) -> None:
    """The end of the threads and directories that are there still."""
    while held:
        held.pop(0).stop()


def _program(cmd: list[str]) -> list[str]:
    """What runs inside, for ``PYTHON [FLAG]... -m MODULE [ARGUMENT]...``."""
    at = cmd.index("-m") if "-m" in cmd[1:-1] else 0
    if not at:
        raise RuntimeError(
            f"{cmd} cannot run in a jail: argv in its kernel.json must be PYTHON [FLAG]... -m MODULE [ARGUMENT]..., as "
            "`pyjail kernel install` writes it"
        )
    return ["python3", *cmd[1:at], f"{INSIDE}/inside.py", *cmd[at + 1 :]]
