"""``pyjail image``: the store of images."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pyjail.cli import complaint, image_build, image_pull, store
from pyjail.cli.ending import EXIT_BAD, printable
from pyjail.cli.progress import bar, console_of, text

if TYPE_CHECKING:
    from pyjail.images import Image

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SOURCES = "oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], dir:DIR, tar:FILE, or a path"
_CONFIG = "its [images] table: where the store is, how large it may be, how registries are spoken to"
_SHOWN = 12  # digits of a digest


def add_options(commands: Any) -> Any:
    """The command and its own commands; to add more of these to."""
    parser = commands.add_parser(
        "image", help="the images that jails can have as their root: load, build, list, verify, remove"
    )
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    parser.add_argument("--config", metavar="FILE.toml", help=_CONFIG)
    inner = parser.add_subparsers(dest="image_command", parser_class=type(parser), metavar="COMMAND")
    for name, what in (("load", "put an image of this machine into the store"), ("import", "the same, with --name")):
        one = _command(inner, name, what)
        one.add_argument("source", metavar="SOURCE", help=_SOURCES)
        one.add_argument("--name", required=name == "import", help="its name in the store")
        one.add_argument("--platform", metavar="OS/ARCH[/VARIANT]", help="which of several (default: this machine's)")
        image_pull.add_bounds(one)
    image_pull.add_options(_command(inner, "pull", "get an image from a registry, verify and unpack it"))
    image_build.add_options(
        _command(inner, "build", "make an image of a recipe (--file), or of Debian's packages by mmdebstrap")
    )
    _command(inner, "ls", "list the images")
    one = _command(inner, "inspect", "all that is known of images")
    one.add_argument("names", nargs="+", metavar="NAME", help="a name or a digest")
    one = _command(inner, "verify", "whether images are what was put into the store; reads every file of them")
    one.add_argument("names", nargs="*", metavar="NAME", help="a name or a digest (default: all)")
    one = _command(inner, "rm", "take names away, and images that have none left")
    one.add_argument("names", nargs="+", metavar="NAME", help="a name, or a digest: all its names")
    one = _command(inner, "gc", "remove what nothing leads to, and what killed processes left")
    one.add_argument("--max-size", metavar="SIZE", help="what was used longest ago goes until the rest takes so much")
    one.add_argument("--older", metavar="TIME", help="what was not used for so long goes: 30d, 12h, 5m or seconds")
    return inner


def _command(inner: Any, name: str, what: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = inner.add_parser(name, help=what)
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print what came of it as JSON")
    one.add_argument("--config", metavar="FILE.toml", default=argparse.SUPPRESS, help=_CONFIG)
    return one


def main(options: argparse.Namespace) -> int:
    """Do what ``image_command`` says; the exit code: 1 when an image differs from what it was."""
    command = {
        "load": _load, "import": _load, "pull": _pull, "ls": _list, "inspect": _inspect, "verify": _verify,
        "rm": _remove, "gc": _gc, "build": _build,
    }.get(options.image_command)  # fmt: skip
    if command is None:
        commands = "load, import, pull, build, commit, ls, inspect, verify, rm, gc"
        raise complaint.UsageError("pyjail image", f"name a command: {commands}")
    options.settings = store.configured(options.config)
    return command(options)


@contextlib.contextmanager
def progress(stream: Any) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar in MiB on a terminal, for what loads; None elsewhere."""
    with bar(stream) as shown:
        yield None if shown is None else lambda done, total, what: shown(done >> 20, max(total, done) >> 20, what)


def _load(options: argparse.Namespace) -> int:
    from pyjail import images

    with progress(sys.stderr) as tell:
        image = images.load(
            options.source, options.name, platform=options.platform, progress=tell,
            bounds=image_pull.bounds(options), settings=options.settings,
        )  # fmt: skip
    return tell_of(image, options.json)


def _pull(options: argparse.Namespace) -> int:
    with progress(None if options.json else sys.stderr) as tell:
        image = image_pull.pull(options, tell)
    return tell_of(image, options.json)


def _build(options: argparse.Namespace) -> int:
    from pyjail import images

    if options.file is not None:
        try:
            return tell_of(image_build.recipe(options), options.json)
        except images.StepError as e:
            return complaint.tell(e, options.json, EXIT_BAD)
    with progress(None if options.json else sys.stderr) as tell:
        image = image_build.build(options, tell)
    return tell_of(image, options.json)


def tell_of(image: Image, as_json: bool) -> int:
    """Say what is in the store now; 0."""
    if as_json:
        _print_json([image])
        return 0
    console = console_of(sys.stdout)
    console.print(text(f"{image.name}  {image.digest}"))
    layers = f"{len(image.layers)} layer{'s' if len(image.layers) != 1 else ''}"
    console.print(text(f"  {layers}, {image.entries:,} entries, {_size(image.size)}{_left_out(image)}"))
    return 0


def _left_out(image: Image) -> str:
    skipped = ", ".join(f"{count:,} {kind}" for kind, count in sorted(image.skipped.items()) if count)
    return f"; not made: {skipped}" if skipped else ""


def _print_json(found: list[Image]) -> None:
    from pyjail.records import head

    print(json.dumps({**head("images"), "rows": [image.to_dict() for image in found]}, indent=1))


def _list(options: argparse.Namespace) -> int:
    from pyjail import images

    found = images.list()
    if options.json:
        _print_json(found)
        return 0
    width = max((len(image.name) for image in found), default=0)
    console = console_of(sys.stdout)
    for image in found:
        digest = image.digest.partition(":")[2][:_SHOWN]
        console.print(text(f"{image.name:<{width}}  {digest}  {_size(image.size):>9}  {image.entries:>9,} entries"))
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from pyjail import images

    found = [images.get(name) for name in options.names]
    if options.json:
        _print_json(found)
        return 0
    for image in found:
        for key, value in _rows(image):
            print(f"{key:<12} {printable(value)}")
    return 0


def _rows(image: Image) -> Iterator[tuple[str, str]]:
    yield "name", image.name
    yield "digest", image.digest
    yield "tree", image.root
    yield "size", f"{_size(image.size)} in {image.entries:,} entries{_left_out(image)}"
    for layer in image.layers:
        yield "layer", f"{layer['digest']} {_size(layer['size'])}"
    config = image.config
    for key in ("entrypoint", "cmd"):
        if config.get(key):
            yield key, json.dumps(config[key], ensure_ascii=False)
    for row in config.get("env") or ():
        yield "env", row
    if image.working_dir:
        yield "working_dir", image.working_dir
    user = config.get("user") or ""
    yield "user", user if user not in ("", "root") else f"{user or 'none'}: programs have uid 1000"
    for key, value in sorted((config.get("labels") or {}).items()):
        yield "label", f"{key}={value}"
    for key, value in sorted(image.origin.items()):
        yield "from", f"{key}: {value}"


def _verify(options: argparse.Namespace) -> int:
    from pyjail import images
    from pyjail.records import head, plain

    found = [images.get(name) for name in options.names] if options.names else images.list()
    rows = [{"name": i.name, "digest": i.digest, "differences": images.verify(i.name)} for i in found]
    if options.json:
        print(json.dumps({**head("images_verified"), "rows": plain(rows)}, indent=1))
    else:
        console = console_of(sys.stdout)
        for row in rows:
            bad = len(row["differences"])
            said = text(f"{row['name']}: ").append(
                "as it was" if not bad else f"{bad:,} differ", "bold red" if bad else "green"
            )
            console.print(said)
            for line in row["differences"]:
                console.print(text(f"  {line}"))
    return EXIT_BAD if any(row["differences"] for row in rows) else 0


def _remove(options: argparse.Namespace) -> int:
    from pyjail import images

    for name in options.names:
        images.remove(name)
    return _gone(options.names, options.json)


def _gc(options: argparse.Namespace) -> int:
    from pyjail import images

    with complaint.of("--max-size", options.max_size):
        older = None if options.older is None else _seconds(options.older)
        gone = images.gc(options.max_size, older, settings=options.settings)
    return _gone(gone, options.json)


def _gone(names: list[str], as_json: bool) -> int:
    from pyjail.records import head, plain

    if as_json:
        print(json.dumps({**head("images_removed"), "gone": plain(names)}))
    else:
        for name in names:
            print(f"removed {name}")
    return 0


def _seconds(value: str) -> float:
    from pyjail import SpecError

    number, unit = (value[:-1], value[-1:]) if value[-1:] in _UNITS else (value, "s")
    if not (number.isascii() and number.isdigit()):
        raise SpecError("--older", value, "a time is needed: 30d, 12h, 5m or seconds")
    return int(number) * _UNITS[unit]


def _size(value: int) -> str:
    size = float(value)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
