"""``python -m tests.integrations [NAME...] [OPTION...]``: the suites that need other frameworks, or only those named.

Each has a virtual environment of its own, .venvs/NAME, made once. Options, behind the names, are pytest's. Two run at once; what each
printed, and its closing line, is shown when it has ended. Fails when one does, or skips what is not expected.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import sys

from tests import together
from tests.integrations import environments

AT_ONCE = "2"
WITHIN_S = "900"  # a suite, with what it installs: the longest takes four minutes


def run(name: str, options: list[str]) -> int:
    """Replace this process by pytest on one suite."""
    python = str(environments.python(name))
    # Warnings are errors in our own tests; what frameworks say of themselves and each other is theirs.
    command = [python, "-m", "pytest", "-W", "default", "--disable-warnings", *options, f"tests/integrations/{name}"]
    os.chdir(environments.ROOT)
    os.execve(python, command, {**os.environ, "PYJAIL_TEST_INTEGRATION": name, "PYJAIL_CI": "1"})


def main(arguments: list[str]) -> int:
    """The exit code of the first that failed."""
    there = environments.names()
    asked = list(itertools.takewhile(lambda word: not word.startswith("-"), arguments))
    options = arguments[len(asked) :]
    if unknown := set(asked) - set(there):
        print(f"no such suite: {' '.join(sorted(unknown))}; there are: {' '.join(there)}", file=sys.stderr)
        return os.EX_USAGE
    if not there:
        print("no suites")
        return os.EX_OK
    if len(asked) == 1:
        return run(asked[0], options)
    words: list[str] = ["--at-once", AT_ONCE, "--within", WITHIN_S, "--again", os.environ.get("PYJAIL_TEST_AGAIN", "0")]
    for name in asked or there:
        words += [name, sys.executable, "-m", "tests.integrations", name, *options, together.SEPARATOR]
    return together.together(words[:-1])


if __name__ == "__main__":
    faulthandler.enable()  # of what is installed, before there is a pytest
    together.stoppable()
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
