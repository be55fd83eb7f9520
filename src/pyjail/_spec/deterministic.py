"""The environment of a program in a deterministic jail."""

from __future__ import annotations

from collections.abc import Mapping

from pyjail._base.errors import SpecError
from pyjail._spec.jail import Env

ENV = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def environment(env: Mapping[str, str]) -> Env:
    """``env`` with what it lacks of `ENV`. SpecError for a hash seed that is another one in every run."""
    if env.get("PYTHONHASHSEED") in ("", "random"):
        raise SpecError("env", "PYTHONHASHSEED", "random hashes and Jail(deterministic=True) exclude each other")
    return Env({**env, **{k: v for k, v in ENV.items() if k not in env}})
