"""The environment of a program whose jail has an `Egress`: where its proxy is, in all words that programs know."""

from __future__ import annotations

from collections.abc import Mapping

from pyjail._spec.jail import PORT, Env

ADDRESS = f"http://127.0.0.1:{PORT}"
# What the jail's own programs serve to each other is not asked of the proxy. Node looks at these when it is told to.
OWN = "localhost,127.0.0.1,::1"
ENV = {
    **{name: ADDRESS for word in ("http_proxy", "https_proxy") for name in (word, word.upper())},
    **dict.fromkeys(("no_proxy", "NO_PROXY"), OWN),
    "NODE_USE_ENV_PROXY": "1",
}


def environment(env: Mapping[str, str]) -> Env:
    """``env`` with what it lacks of `ENV`."""
    return Env({**env, **{name: value for name, value in ENV.items() if name not in env}})
