"""An environment of mini-swe-agent that is a `pyjail.Box`: ``pip install 'pyjail-linux[mini-swe-agent]'``.

In a configuration file of the agent::

    environment:
      environment_class: pyjail.integrations.minisweagent.PyjailEnvironment
      timeout: 60
      limits: {memory: 2G, processes: 512}
      jail: {network: loopback}  # or {network: {rules: [pypi.org, files.pythonhosted.org]}}
"""

from __future__ import annotations

import errno
import platform
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from minisweagent.exceptions import Submitted
from minisweagent.utils.serialize import recursive_merge
from pydantic import BaseModel

from pyjail import STDOUT, Box, CwdNotFoundError, Limits, Result, SetupError, Verdict
from pyjail.integrations import shared

__all__ = ["SUBMIT", "PyjailEnvironment", "PyjailEnvironmentConfig"]

SUBMIT = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


class PyjailEnvironmentConfig(BaseModel):
    """What `PyjailEnvironment` takes, as JSON or YAML has it.

    Attributes:
        cwd: where commands start. env: variables besides those of the jail. timeout: seconds for a command.
        interpreter: what a command is given to, as its last argument.
        jail: fields of `pyjail.Jail`; what is not given has its default; `python` is found where root and programs are
            left alone.
        limits: fields of `pyjail.Limits`; those that are not given are of `pyjail.integrations.shared.AGENT_LIMITS`.
        disk: bytes of all that is written, text such as "1G" or a number.
        copy_in: {directory or file of this machine: path inside}, copied before the first command.
    """

    cwd: str = "/box"
    env: dict[str, str] = {}
    timeout: float = 30
    interpreter: list[str] = ["/bin/bash", "-c"]
    jail: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    disk: str | int = "256M"
    copy_in: dict[str, str] = {}


class PyjailEnvironment:
    """A box for one agent: mini-swe-agent's `Environment`, which its commands cannot leave.

    Files stay from command to command, and what a command leaves behind in the background lives on, until `cleanup`.
    A command that exceeds its timeout or another limit is killed, and the agent is told which. Takes the fields of
    `PyjailEnvironmentConfig`.

    Raises:
        HostError, SetupError, KeeperError: from `execute`, when the machine or pyjail failed: the agent's run ends with
            that as its exit status. It is never an observation.
        Submitted: from `execute`, for a command that ended with 0 and printed the agreed first line.

    >>> with PyjailEnvironment(timeout=10) as env:
    ...     env.execute({"command": "echo $(( 6 * 7 ))"})
    {'output': '42\\n', 'returncode': 0, 'exception_info': ''}
    """

    def __init__(self, *, config_class: type[PyjailEnvironmentConfig] = PyjailEnvironmentConfig, **kwargs: Any) -> None:
        self.config = config_class(**kwargs)
        jail = shared.configured(self.config.jail)
        limits = Limits(**{**shared.AGENT_LIMITS.to_dict(), **self.config.limits})
        self.box = Box(jail, shared.patience(limits, self.config.timeout), disk=self.config.disk)
        self._env = {**jail.env, **self.config.env}
        self._to_copy = dict(self.config.copy_in)

    def execute(self, action: Mapping[str, Any], cwd: str = "", *, timeout: float | None = None) -> dict[str, Any]:
        """Run ``action["command"]``: {"output", "returncode", "exception_info"}, stdout and stderr as one text.

        ``exception_info`` says which limit ended it; the return code is then -1, as in the agent's other environments.

        Args:
            cwd: default, the configuration's. timeout: seconds; default, the configuration's.
        """
        while self._to_copy:
            source, inside = next(iter(self._to_copy.items()))
            self.box.copy_in(source, inside)
            del self._to_copy[source]
        args = [*self.config.interpreter, str(action.get("command", ""))]
        limits = shared.patience(self.box.limits, timeout or None)
        where = cwd or self.config.cwd
        try:
            result = self.box.run(args, limits, cwd=where, env=self._env, stderr=STDOUT, text=True, orphans="keep")
        except CwdNotFoundError as e:
            return _refused(e)
        except SetupError as e:
            if e.errno != errno.E2BIG:
                raise
            return _refused(e)
        output = _observation(result)
        _check_finished(output)
        return output

    def get_template_vars(self, **kwargs: Any) -> dict[str, Any]:
        """The configuration, what `uname` says inside, and ``kwargs``; nothing of this process's environment."""
        system = {**platform.uname()._asdict(), "node": self.box.jail.hostname}
        merged: dict[str, Any] = recursive_merge(self.config.model_dump(), system, kwargs)
        return merged

    def serialize(self) -> dict[str, Any]:
        """The configuration and this class's name, for the trajectory."""
        name = f"{type(self).__module__}.{type(self).__name__}"
        return {"info": {"config": {"environment": self.config.model_dump(mode="json"), "environment_type": name}}}

    def cleanup(self) -> None:
        """End all that runs; the box is gone with its files. Twice is fine."""
        self.box.close()

    def __enter__(self) -> PyjailEnvironment:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.cleanup()


def _observation(result: Result[str]) -> dict[str, Any]:
    shared.check(result)
    killed = shared.ending(result)
    if not killed:
        return {"output": result.stdout, "returncode": result.returncode, "exception_info": ""}
    kind = "TimeoutExpired" if result.verdict is Verdict.WALL_TIME else result.verdict.value
    return {
        "output": result.stdout,
        "returncode": -1,
        "exception_info": f"An error occurred while executing the command: {killed}",
        "extra": {"exception_type": kind, "exception": killed},
    }


def _refused(error: SetupError) -> dict[str, Any]:
    """The answer to a command that could not be started by its own fault: its directory, or its length."""
    return {
        "output": "",
        "returncode": -1,
        "exception_info": f"An error occurred while executing the command: {error}",
        "extra": {"exception_type": type(error).__name__, "exception": str(error)},
    }


def _check_finished(output: Mapping[str, Any]) -> None:
    """Raise `Submitted` with all that comes after the agreed first line."""
    lines = output["output"].lstrip().splitlines(keepends=True)
    if lines and lines[0].strip() == SUBMIT and output["returncode"] == 0:
        answer = "".join(lines[1:])
        extra = {"exit_status": "Submitted", "submission": answer}
        raise Submitted({"role": "exit", "content": answer, "extra": extra})
