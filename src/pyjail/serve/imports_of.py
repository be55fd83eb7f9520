"""The names of five other services, and what each is here."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from pyjail import SpecError
from pyjail.serve import imports
from pyjail.serve.imports import Imported, Rule
from pyjail.serve.job import MOST_UNPACKED

FILES = ("boxer",)
ENVIRONMENTS = ("secure-sandbox", "codebox", "piston", "judge0")
_NO_CONTAINER = "there is no container here; a jail is made of the kernel's own means"
_NO_NETWORK = "programs here have no network"
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def file(service: str, path: str) -> Imported:
    """Of a configuration's file. SpecError, OSError."""
    if service not in FILES:
        raise SpecError("--import", service, f"known are {', '.join(FILES)}")
    return imports.of_mapping(f"{path} of {service}", _BOXER, imports.read_json(path))


def environment(service: str, environ: Mapping[str, str]) -> Imported:
    """Of the variables that are its."""
    if service not in ENVIRONMENTS:
        raise SpecError("--compat-env", service, f"known are {', '.join(ENVIRONMENTS)}")
    return imports.of_environment(f"the environment of {service}", _VARIABLES[service], environ)


def _is(name: str, of: Callable[[Any], Any], note: str = "") -> Rule:
    return Rule(lambda value: {name: of(value)}, note=note)


def _not(why: str) -> Rule:
    return Rule(unused=why)


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number) or number < 0:
        raise ValueError("a whole number is needed")
    return int(number)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError("a number is needed") from None
    if not math.isfinite(found):
        raise ValueError("a number is needed")
    return found


def _positive(value: Any) -> float:
    if (found := _number(value)) <= 0:
        raise ValueError("a number above 0 is needed")
    return found


def _bytes(value: Any) -> int:
    """As Docker types memory."""
    found = re.fullmatch(r"(\d+)([bkmg]?)", str(value).strip().lower())
    if not found:
        raise ValueError("a size such as 100m is needed")
    return int(found[1]) * _UNITS[found[2]]


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda value: _positive(value) * factor


def _sized(factor: int) -> Callable[[Any], Any]:
    return lambda value: int(_positive(value) * factor)


def _or_none(of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """-1 is no limit of their own."""
    return lambda value: "none" if _number(value) == -1 else of(value)


def _path(value: Any) -> str:
    path = os.path.expanduser(str(value))
    path.encode()  # UnicodeEncodeError is a ValueError
    return path


def _true(value: Any) -> bool:
    return value is True or str(value).strip().lower() in ("true", "1", "yes")


def _on(why: str, unused: str) -> Rule:
    """A switch that has to be off."""
    return Rule(refused=lambda value: why if _true(value) else "", unused=unused)


def _listens(value: Any) -> dict[str, Any]:
    """HOST:PORT; no host is every address, which is not what one gets by accident here."""
    host, colon, port = str(value).rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("HOST:PORT is needed")
    host = host.strip("[]")
    given: dict[str, Any] = {"serve.port": int(port)}
    return given if host in ("", "0.0.0.0", "::") else {"serve.address": host, **given}  # noqa: S104  # it is not taken


_ADDRESS = Rule(
    _listens, note="every address is not taken over: serve.address is 127.0.0.1 until it is set, with tokens"
)


def _token(value: Any) -> dict[str, Any]:
    if not str(value):
        return {}
    return {"serve.tokens": [{"name": "imported", "sha256": hashlib.sha256(str(value).encode()).hexdigest()}]}


_BOXER = {
    "home": _is("serve.state", _path),
    "runsc_path": _not("pyjail has no gVisor"),
    "platform": _not("pyjail has no gVisor"),
    "listen_addr": _ADDRESS,
    "ignore_cgroups": _on(
        "without cgroups limits would be accepted and not enforced; this service does not start then",
        "limits are enforced by cgroups, always",
    ),
    "output_limit_bytes": _is("faces.boxer.output", _whole),
    "upload_limit_bytes": _is("faces.boxer.upload", _whole),
    "dns_servers": _not(_NO_NETWORK),
    "defaults.cpu_cores": _is("faces.boxer.limits.cpus", _positive),
    "defaults.memory_mb": _is("faces.boxer.limits.memory", _sized(1 << 20)),
    "defaults.wall_clock_secs": _is("faces.boxer.limits.wall_time", _positive),
    "defaults.pids_limit": _is("faces.boxer.limits.processes", _whole),
    "defaults.nofile": _is("faces.boxer.limits.open_files", _whole),
}
_SECURE_SANDBOX = {
    "RATE_LIMIT": _is("faces.secure-sandbox.rate", _whole),
    "WINDOW_SECONDS": _is("faces.secure-sandbox.window", _positive),
    "EXECUTION_TIMEOUT": _is("faces.secure-sandbox.limits.wall_time", _positive),
    "MEMORY_LIMIT": _is("faces.secure-sandbox.limits.memory", _bytes),
    "CPU_LIMIT": _is("faces.secure-sandbox.limits.cpus", _positive),
    "PIDS_LIMIT": _is("faces.secure-sandbox.limits.processes", _whole),
    "MAX_CONCURRENT": _is("faces.secure-sandbox.concurrent", _whole),
    "MAX_CODE_SIZE": _is("faces.secure-sandbox.code", _whole),
}
_CODEBOX = {
    "TIMEOUT": _is("faces.codebox.timeout", _positive),
    "ENV": _not("there is one way to run it"),
    "LOG_LEVEL": _not("the log has one line for each request and each run"),
    "REQUEST_ID_LENGTH": _not("X-Request-ID is taken from the request, or has 16 digits"),
    "NSJAIL_PATH": _not("there is no NsJail here"),
    "NSJAIL_CFG": _not("there is no NsJail here: its limits are [faces.codebox.limits]"),
}
_PISTON = {
    "PISTON_BIND_ADDRESS": _ADDRESS,
    "PISTON_LOG_LEVEL": _not("the log has one line for each request and each run"),
    "PISTON_DATA_DIRECTORY": _not("languages are those that are installed here"),
    "PISTON_REPO_URL": _not("languages are those that are installed here"),
    **{
        f"PISTON_RUNNER_{name}": _not("each jail has ids of its own")
        for name in ("UID_MIN", "UID_MAX", "GID_MIN", "GID_MAX")
    },
    "PISTON_DISABLE_NETWORKING": Rule(
        refused=lambda value: "" if _true(value) else f"{_NO_NETWORK}: only true is offered", unused=_NO_NETWORK
    ),
    "PISTON_OUTPUT_MAX_SIZE": _is("faces.piston.limits.output", _sized(1)),
    "PISTON_MAX_PROCESS_COUNT": _is("faces.piston.limits.processes", _whole),
    "PISTON_MAX_OPEN_FILES": _is("faces.piston.limits.open_files", _whole),
    "PISTON_MAX_FILE_SIZE": _is("faces.piston.limits.file_size", _sized(1)),
    "PISTON_RUN_TIMEOUT": _is("faces.piston.limits.wall_time", _times(0.001)),
    "PISTON_RUN_CPU_TIME": _is("faces.piston.limits.cpu_time", _times(0.001)),
    "PISTON_RUN_MEMORY_LIMIT": _is("faces.piston.limits.memory", _or_none(_sized(1))),
    "PISTON_COMPILE_TIMEOUT": _is("faces.piston.compile_limits.wall_time", _times(0.001)),
    "PISTON_COMPILE_CPU_TIME": _is("faces.piston.compile_limits.cpu_time", _times(0.001)),
    "PISTON_COMPILE_MEMORY_LIMIT": _is("faces.piston.compile_limits.memory", _or_none(_sized(1))),
    "PISTON_MAX_CONCURRENT_JOBS": _is("serve.admission.concurrent", _whole),
    "PISTON_LIMIT_OVERRIDES": _not("limits of one language are those of its request"),
}
_EXTRACT = MOST_UNPACKED >> 10
_LIMITS_OF_JUDGE0 = {
    "CPU_TIME_LIMIT": ("cpu_time", _positive), "WALL_TIME_LIMIT": ("wall_time", _positive),
    "MEMORY_LIMIT": ("memory", _sized(1 << 10)), "STACK_LIMIT": ("stack", _sized(1 << 10)),
    "MAX_PROCESSES_AND_OR_THREADS": ("processes", _whole), "MAX_FILE_SIZE": ("file_size", _sized(1 << 10)),
}  # fmt: skip
_JUDGE0 = {
    **{name: _is(f"faces.judge0.limits.{here}", of) for name, (here, of) in _LIMITS_OF_JUDGE0.items()},
    **{f"MAX_{name}": _is(f"serve.maxima.{here}", of) for name, (here, of) in _LIMITS_OF_JUDGE0.items()},
    "MAX_QUEUE_SIZE": _is("serve.admission.queue", _whole),
    "COUNT": _is("serve.admission.concurrent", _whole),
    "ENABLE_SUBMISSION_DELETE": _is("faces.judge0.delete", _true),
    "ENABLE_ADDITIONAL_FILES": _is("faces.judge0.additional_files", _true),
    "ENABLE_COMPILER_OPTIONS": _is("faces.judge0.compiler_options", _true),
    "MAX_EXTRACT_SIZE": Rule(
        refused=lambda value: "" if _whole(value) >= _EXTRACT else f"{_EXTRACT} KiB are what is unpacked here at most",
        unused=f"{_EXTRACT} KiB of files are unpacked at most",
    ),
    "MAX_SUBMISSION_BATCH_SIZE": _not("20 submissions are taken at once"),
    "AUTHN_HEADER": _not("Authorization and X-Auth-Token are taken"),
    "AUTHN_TOKEN": Rule(_token, note="its digest alone is kept"),
    "AUTHZ_HEADER": _not("a token has a role"),
    "AUTHZ_TOKEN": _not("a token has a role: pyjail serve token new --role admin"),
    "ALLOW_ORIGIN": Rule(
        lambda value: {"serve.edge.origins": str(value).split()} if value else {},
        refused=lambda value: "any page in a browser could run programs: name its origins" if "*" in value else "",
    ),
    "ENABLE_CALLBACKS": _on("the service connects to nobody: results are fetched", "results are fetched"),
    "ALLOW_ENABLE_NETWORK": _on(_NO_NETWORK, _NO_NETWORK),
    "ENABLE_NETWORK": _on(_NO_NETWORK, _NO_NETWORK),
    "RAILS_ENV": _not("there is one way to run it"),
    **{f"REDIS_{name}": _not("there is no Redis: jobs are in the state directory")
       for name in ("HOST", "PORT", "PASSWORD")},
    **{f"POSTGRES_{name}": _not("jobs are in the state directory; for PostgreSQL see serve.jobs.postgres")
       for name in ("HOST", "PORT", "DB", "USER", "PASSWORD")},
}  # fmt: skip
_VARIABLES: Mapping[str, Mapping[str, Rule]] = {
    "secure-sandbox": _SECURE_SANDBOX, "codebox": _CODEBOX, "piston": _PISTON, "judge0": _JUDGE0,
}  # fmt: skip


def variables(service: str) -> Mapping[str, Rule]:
    """What is known of a service's environment."""
    return _VARIABLES[service]
