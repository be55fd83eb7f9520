"""What a submission of Judge0's asks to be run: a source in a language, or files with scripts of their own."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pyjail import Limits, languages
from pyjail.serve.config import Config
from pyjail.serve.faces.common import bounded
from pyjail.serve.faces.judge0_answers import accepted
from pyjail.serve.faces.judge0_tables import LANGUAGES, LIMITS, NAME, PROJECT
from pyjail.serve.job import Job

# Those that are no language of ours.
HOW: Mapping[int, languages.Language] = {
    43: languages.Language("text", run=("cat", "text.txt"), source="text.txt", tools={"cat": "--version"}),
    44: languages.Language(
        "executable", run=("bash", "-c", 'chmod +x a.out && exec ./a.out "$@"', "a.out"), source="a.out",
        tools={"bash": "--version"},
    ),
}  # fmt: skip
_END = b"PK\5\6"  # of a zip, in its last bytes
_LAST = 22 + 65535
_SOURCES = ("{sources}", "{source}")
_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")
_COMPILE = 'for script in compile.sh compile; do if [ -f "$script" ]; then exec bash "./$script"; fi; done'
_RUN = "if [ -f run.sh ]; then exec bash ./run.sh; else exec bash ./run; fi"


def archive_of(encoded: str) -> bytes:
    """The zip. Raises ValueError for what is none at first sight; what is in it is looked at in a jail."""
    try:
        data = base64.b64decode(encoded, validate=False)
    except (binascii.Error, ValueError):
        raise ValueError("is no base64") from None
    if _END not in data[-_LAST:]:
        raise ValueError("is no zip archive")
    return data


def options_of(text: str, language: languages.Language | None) -> tuple[str, ...]:
    """The words. Raises ValueError where there is no compiler to give them to."""
    if language is None or not language.compile:
        raise ValueError("setting compiler options is only allowed for compiled languages")
    if found := _PLACEHOLDER.search(text):
        raise ValueError(f"{found[0]} cannot be in compiler options here")
    return tuple(shlex.split(text))


def language_of(number: int, config: Config) -> languages.Language | None:
    """None for programs of several files, which say themselves how they are run."""
    if number == PROJECT:
        return None
    name = LANGUAGES[number][0]
    return HOW.get(number) or (config.languages or languages.table())[name]


def job_of(body: Mapping[str, Any], config: Config) -> Job:
    """What a submission that is kept asks for. Raises `Problem` 400 for a limit above the service's, ValueError for
    what cannot be split into words."""
    number = body["language_id"]
    language, options = language_of(number, config), body.get("compiler_options")
    archive = archive_of(body["additional_files"]) if body.get("additional_files") else b""
    job = Job(
        stdin=(body.get("stdin") or "").encode("utf-8", "surrogateescape"), limits=_limits(body, config),
        jail=config.jail, merged=bool(body.get("redirect_stderr_to_stdout")), label=NAME, archive=archive,
        times=int(body.get("number_of_runs") or 1), good=partial(accepted, expected=body.get("expected_output")),
    )  # fmt: skip
    if language is None:
        return _project(job, config)
    if options:
        language = _with_options(language, options_of(options, language))
    if archive:
        language = _alone(language)
    return replace(
        job, args=tuple(shlex.split(body.get("command_line_arguments") or "")), language=LANGUAGES[number][0],
        source=body["source_code"], how=language if number in HOW or options or archive else None,
    )  # fmt: skip


def _project(job: Job, config: Config) -> Job:
    jail = replace(job.jail, env={"HOME": "/tmp", **job.jail.env})
    build = Job(("bash", "-c", _COMPILE), limits=_most(job.limits, config), merged=True)
    return replace(job, args=("bash", "-c", _RUN), jail=jail, build=build)


def _most(run: Limits, config: Config) -> Limits:
    """Of its compile script: what a submission may ask for at most."""
    own = {ours: _whole(ours, most * factor) for ours, factor, _, _, most in LIMITS.values()}
    return replace(bounded(config, {}, own, {}), disk=run.disk, inodes=run.inodes, cpus=run.cpus)


def _limits(body: Mapping[str, Any], config: Config) -> Limits:
    own = {ours: _whole(ours, factor * default) for ours, factor, default, _, _ in LIMITS.values()}
    asked = {
        ours: _whole(ours, body[name] * factor)
        for name, (ours, factor, *_) in LIMITS.items()
        if body.get(name) is not None
    }
    return bounded(config, config.faces.get(NAME, {}), own, asked)


def _whole(ours: str, value: float) -> float:
    return value if ours.endswith("_time") else int(value)


def _with_options(language: languages.Language, options: Sequence[str]) -> languages.Language:
    """Behind its own, before the sources."""
    at = next(i for i, word in enumerate(language.compile) if word in _SOURCES)
    return replace(language, compile=(*language.compile[:at], *options, *language.compile[at:]))


def _alone(language: languages.Language) -> languages.Language:
    """The source is compiled, and no file beside it, unless it asks for one; all of them are there when it runs."""
    return replace(
        language, extensions=(), compile=tuple("{source}" if word in _SOURCES else word for word in language.compile)
    )
