"""How SandboxFusion runs some languages, where that is not as they are run here else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from pyjail import languages
from pyjail.serve.config import Config

# Its name: ours, whose tools are needed.
LANGUAGES: Mapping[str, str] = {
    "python": "python", "cpp": "cpp", "nodejs": "javascript", "go": "go", "java": "java", "php": "php",
    "csharp": "csharp", "bash": "bash", "typescript": "typescript", "rust": "rust", "perl": "perl", "ruby": "ruby",
    "pytest": "python", "kotlin_script": "kotlin",
}  # fmt: skip
UNKNOWN = (
    "go_test", "sql", "cuda", "lua", "R", "D_ut", "scala", "julia", "junit", "jest", "verilog", "python_gpu", "lean",
    "swift", "racket",
)  # fmt: skip
# Types are left out, not checked, as tsx does it. The compiler's library lies beside the program that PATH leads to.
_TRANSPILE = """
const fs = require("fs"), path = require("path");
const tsc = process.env.PATH.split(":").map((at) => path.join(at, "tsc")).find((at) => fs.existsSync(at));
const ts = require(path.join(path.dirname(fs.realpathSync(tsc)), "..", "lib", "typescript.js"));
for (const name of process.argv.slice(1)) {
  const compilerOptions = { module: "commonjs", target: "es2020", esModuleInterop: true };
  const made = ts.transpileModule(fs.readFileSync(name, "utf8"), { compilerOptions, fileName: name });
  fs.writeFileSync(name.replace(/\\.ts$/, ".js"), made.outputText);
}
"""
_SPACES = (
    "System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Threading", "System.Threading.Tasks",
)  # fmt: skip
_FIRST = re.compile(r"^\s*(#|extern\s+alias\b)", re.M)  # what nothing may stand before


def how(name: str, config: Config, files: Collection[str]) -> languages.Language | None:
    """None: as that language is run here. ``files`` come with the program."""
    made = _HOW.get(name)
    return None if made is None else made((config.languages or languages.table())[LANGUAGES[name]], files)


def source_of(name: str, code: str) -> str:
    """With what a project of .NET imports unasked, in the same line, so that errors are where they were."""
    if name != "csharp" or _FIRST.search(code):
        return code
    return "".join(f"using {space}; " for space in _SPACES) + code


def _java(base: languages.Language, files: Collection[str]) -> languages.Language:
    """With assertions, and the archives that came with it."""
    jars = sorted(name for name in files if name.endswith(".jar") and not set(name) & set(":{}"))
    path = ("-cp", ":".join([".", *jars])) if jars else ()
    compiler, runner = base.compile, base.run
    return replace(base, compile=(compiler[0], *path, *compiler[1:]), run=(runner[0], *path, "-ea", *runner[1:]))


def _typescript(base: languages.Language, files: Collection[str]) -> languages.Language:
    return replace(base, compile=("node", "-e", _TRANSPILE, "{sources}"))


def _csharp(base: languages.Language, files: Collection[str]) -> languages.Language:
    """Imports that come twice are no reason for a warning."""
    return replace(base, compile=(base.compile[0], "-nowarn:105", *base.compile[1:]))


def _pytest(base: languages.Language, files: Collection[str]) -> languages.Language:
    return languages.Language(
        "pytest", run=("python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "{source}"), source="main.py",
        extensions=(".py",), tools={"python3": "--version"},
    )  # fmt: skip


def _kotlin_script(base: languages.Language, files: Collection[str]) -> languages.Language:
    return languages.Language(
        "kotlin-script", run=("kotlinc", "-script", "{source}"), source="main.kts", extensions=(".kts",),
        tools=base.tools, prefix=base.prefix, mounts=base.mounts, overhead=base.overhead, least_memory="768M",
        least_processes=base.least_processes, out_of_memory=base.out_of_memory,
    )  # fmt: skip


_HOW: Mapping[str, Callable[[languages.Language, Collection[str]], languages.Language]] = {
    "java": _java, "typescript": _typescript, "csharp": _csharp, "pytest": _pytest, "kotlin_script": _kotlin_script,
}  # fmt: skip
