"""What a sandbox of Inspect is made of: `PyjailConfig`, from Python, from a TOML file, or back out of a log."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pyjail import Jail, Limits, SpecError, from_toml

Tables = Mapping[str, Any]

# What differs from `Jail()` and `Limits()`: agents start servers and ask them, build things, wait, and run ldd(1)
# and ps(1). Inspect's own tools read /proc/stat.
SECCOMP: Tables = {"foreign": "ENOSYS"}
JAIL: Tables = {"network": "loopback", "proc": "full", "seccomp": SECCOMP}
LIMITS: Tables = {"memory": "1G", "processes": 512, "cpus": "none"}
EXEC_LIMITS: Tables = {"cpu_time": "none", "wall_time": "none", "file_size": "none", "open_files": 1024}
DOCKER = ("compose.yaml", "compose.yml", "dockerfile")


class _Settings(BaseModel):
    """Of one environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jail: dict[str, Any] = Field(default_factory=dict)
    limits: dict[str, Any] = Field(default_factory=dict)
    exec_limits: dict[str, Any] = Field(default_factory=dict)
    disk: int | str = "512M"
    inodes: int = 65536
    writable: tuple[str, ...] = ("/tmp", "/var/tmp", "/home")
    concurrency: int = 64

    def __hash__(self) -> int:  # Inspect keeps the specifications of tasks in a set
        return hash(self.model_dump_json())

    def made(self) -> tuple[Jail, Limits, Limits]:
        """The jail, the limits of the box, those of each program. SpecError."""
        wanted = {**JAIL, **self.jail}
        if isinstance(wanted["seccomp"], dict):
            wanted["seccomp"] = {**SECCOMP, **wanted["seccomp"]}
        jail, limits = from_toml({"jail": wanted, "limits": {**LIMITS, **self.limits}})
        shared = {name: getattr(limits, name) for name in ("memory", "processes", "cpus")}
        try:
            _, programs = from_toml({"limits": {**EXEC_LIMITS, **shared, **self.exec_limits}})
        except SpecError as e:
            raise SpecError(e.field.replace("limits.", "exec_limits.", 1), e.value, e.reason) from None
        return jail, limits, programs

    @model_validator(mode="after")
    def _check(self) -> _Settings:
        self.made()
        return self


class PyjailConfig(_Settings):
    """What the boxes of a task's samples are: tables and keys of docs/inspect.md, as in a TOML file.

    Attributes:
        jail: the fields of `pyjail.Jail`, as in ``[jail]`` of docs/configuration.md. Default: network "loopback",
            proc "full", and calls of another architecture get ENOSYS.
        limits: of the whole box, as in ``[limits]``. Default: memory 1 GiB, 512 processes, all CPUs.
        exec_limits: of each program. Default: no time limits (``timeout`` of `exec` is one), files of any size, 1024
            open files. ``output`` is Inspect's own: INSPECT_SANDBOX_MAX_EXEC_OUTPUT_SIZE.
        disk, inodes: of /box and all that is writable together. Default 512 MiB, 65536.
        writable: directories that programs may write to beside /box. Default /tmp, /var/tmp, /home.
        concurrency: programs at once in one box; one more waits for its turn. Default 64.
        environments: {name: the same keys, which win over those of the whole}. The first one is the default
            sandbox. Without: one, "default".

    Raises:
        pydantic.ValidationError: with what is wrong, and the right key that is nearest to an unknown one.

    >>> PyjailConfig(limits={"memory": "2G"}).made()[1].memory
    2147483648
    """

    environments: dict[str, dict[str, Any]] = Field(default_factory=dict)

    __hash__ = _Settings.__hash__

    def each(self) -> dict[str, _Settings]:
        """{name: the settings of that environment}; at least one."""
        own = self.model_dump(exclude={"environments"}, exclude_unset=True)
        if not self.environments:
            return {"default": _Settings(**own)}
        return {name: _Settings(**_over(own, given)) for name, given in self.environments.items()}

    @model_validator(mode="after")
    def _check_each(self) -> PyjailConfig:
        self.each()
        return self


def _over(own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Those of an environment over those of all: tables by their keys."""
    merged = {**own, **given}
    for name in ("jail", "limits", "exec_limits"):
        if isinstance(own.get(name), dict) and isinstance(given.get(name), dict):
            merged[name] = {**own[name], **given[name]}
    return merged


def resolve(config: BaseModel | str | None) -> PyjailConfig:
    """What Inspect hands over: nothing, a path of a TOML file, or a `PyjailConfig`.

    Raises ValueError (SpecError among them) for what is none, OSError for a file that cannot be read.
    """
    if config is None:
        return PyjailConfig()
    if isinstance(config, PyjailConfig):
        return config
    if isinstance(config, str) and not os.path.basename(config).lower().endswith(DOCKER):
        with open(config, "rb") as file:
            try:
                return PyjailConfig(**tomllib.load(file))
            except ValueError as e:
                raise ValueError(f"{config}: {e}") from e
    shown = repr(config) if isinstance(config, str) else type(config).__name__
    raise ValueError(
        f"{shown} is a configuration of another sandbox: pyjail has no images or services. "
        "It takes a TOML file or a PyjailConfig (docs/inspect.md)"
    )
