"""``pyjail languages``, and ``pyjail run --language``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyjail import Jail
from pyjail.cli import store
from pyjail.cli.ending import EXIT_BAD
from pyjail.cli.progress import Progress, bar, console_of, text, working

if TYPE_CHECKING:
    from pyjail.languages import Language, Program


def add_options(commands: Any, run: argparse.ArgumentParser) -> None:
    """The command, and what ``run`` gets."""
    parser = commands.add_parser(
        "languages",
        help="languages and their versions here; --check tries each",
        epilog="Exit code: 1 when a check failed or a language that was named is missing, else 0.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (a name, or an extension such as .cpp)")
    parser.add_argument("--check", action="store_true", help="compile and run the test program of each")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--no-strict", action="store_true", help="look even if a control cannot be enforced here")
    parser.add_argument("--image", metavar="NAME", help="look in this image of the store instead of this host")
    parser.add_argument(
        "--config", metavar="FILE.toml", help="[languages.NAME] tables of yours; [jail] is what they run in"
    )
    run.add_argument(
        "--language", metavar="NAME", help="PROGRAM is a source file of this language: compile it, then run it"
    )


def _table(config: str | None) -> Mapping[str, Language]:
    from pyjail import languages

    if config:
        store.configure(config)
    return languages.load(config) if config else languages.table()


def prepare(options: argparse.Namespace, source: str, jail: Jail) -> Program:
    """Compile the source file of ``run --language``."""
    from pathlib import Path

    from pyjail import languages

    language = languages.find(options.language, _table(options.config))
    with working(sys.stderr, f"compiling {source}" if language.compile else f"looking for {language.title}"):
        return languages.prepare(language, Path(source), jail=jail, syntax=True)


def not_compiled(program: Program, as_json: bool, sanitize: str | None = None) -> int:
    """Tell why, in a mode of `pyjail.sanitize`; the compiler's exit code."""
    from pyjail.cli import ending

    result = program.compile
    if result is None:  # the compiler could not even be given it
        if as_json:
            _print_not_compiled({"error": program.fault})
        else:
            ending.say(f"compile_error: {program.source}: {program.fault}")
        return EXIT_BAD
    if as_json:
        _print_not_compiled({"compile": result.to_dict()})
    else:
        said = result.stdout + result.stderr
        if sanitize is not None:
            from pyjail.sanitize import clean

            said = clean(said, sanitize)
        ending.say(said.decode("utf-8", "replace").removesuffix("\n"), "")
        lost = "; ".join(f"{name}: {why}" for name, why in result.uncollected.items())
        why = "" if result.returncode > 0 else f": {lost or program.fault if result.ok else ending.explain(result)}"
        ending.say(f"compile_error: {program.source} did not compile{why}")
    return ending.exit_code(result) or EXIT_BAD


def _print_not_compiled(why: dict[str, Any]) -> None:
    """A "not_compiled" of docs/data.md."""
    from pyjail.records import head, plain

    print(json.dumps({**head("not_compiled"), "verdict": "compile_error", **plain(why)}))


def main(options: argparse.Namespace) -> int:
    """List or check them."""
    from pyjail import languages

    known = _table(options.config)
    jail = Jail.from_toml(options.config) if options.config else Jail()
    if options.no_strict:
        jail = replace(jail, strict=False)
    if options.image:
        from pyjail import images

        jail = replace(jail, image=images.get(options.image).digest)
    chosen = list(dict.fromkeys(languages.find(name, known) for name in options.names)) or list(known.values())
    with bar(sys.stderr) as progress:
        rows = [_row(one, jail, options.check, _shown(progress, n, len(chosen))) for n, one in enumerate(chosen)]
    if options.json:
        from pyjail.records import head, plain

        print(json.dumps({**head("languages"), "rows": plain(rows)}, indent=1))
    else:
        _print(rows, options.image)
    bad = any(not check["ok"] for row in rows for check in row["checks"])
    return EXIT_BAD if bad or (options.names and any(row["version"] is None for row in rows)) else 0


def _shown(progress: Progress | None, done: int, total: int) -> Any:
    return lambda name: progress(done, total, name) if progress is not None else None


def _row(language: Language, jail: Jail, check: bool, tell: Any) -> dict[str, Any]:
    from pyjail import languages

    tell(language.title)
    version = languages.version(language, jail)
    checks: list[dict[str, Any]] = []
    if check and version is not None and language.check:
        checks = [one.to_dict() for one in languages.check(language, jail=jail)]
    return {
        "name": language.name,
        "title": language.title,
        "extensions": list(language.extensions),
        "version": version,
        "package": language.package,
        "image": language.image or language.compile_image or language.run_image or None,
        "checks": checks,
    }


def _print(rows: list[dict[str, Any]], image: str | None) -> None:
    console = console_of(sys.stdout)
    for row in rows:
        line = text(f"{row['name']:<12} ")
        if row["version"] is None:
            fix = f"apt-get install {row['package']}" if row["package"] else "install its tools"
            if image is not None:
                fix = f"not in {image}; {row['package'] or 'its tools'} would be needed in it"
            elif row["image"]:
                fix = f"pyjail image pull {row['image']}"
            console.print(line.append(f"{'missing':<12} ", "yellow").append(fix))
            continue
        extensions = " ".join(row["extensions"])
        line = line.append(f"{row['version'] or '?':<12} {extensions:<{16 if row['checks'] else 0}}")
        for check in row["checks"]:
            line = line.append(f" {check['name']} ").append("ok" if check["ok"] else check["verdict"], _style(check))
        console.print(line)
        for check in row["checks"]:
            if not check["ok"]:
                told = f": {check['detail']}" if check["detail"] else ""
                console.print(f"    {check['name']}: {check['verdict']} instead of {check['expected']}{told}")


def _style(check: dict[str, Any]) -> str:
    return "green" if check["ok"] else "bold red"
