"""`pyjail.images.build_recipe`: an image of a recipe, step by step, each in a jail of the image before it."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyjail import Egress, Jail, Limits, Session, SetupError, SpecError
from pyjail._base import lazy
from pyjail._images import reference
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError, StepError
from pyjail._images.lock import Lock
from pyjail._images.place import Key
from pyjail._images.record import Image
from pyjail._images.store import Store
from pyjail._spec import config, toml
from pyjail.images._settings import Settings, bounds_of, store

if TYPE_CHECKING:
    from pyjail._images.commit import How
    from pyjail._images.recipe import Copy, Recipe, Step

LIMITS = Limits(
    cpu_time=1800, wall_time=3600, memory="1G", processes=256, output="16M", disk="1G", inodes=100_000,
    file_size="4G", open_files=1024, cpus=None,
)  # fmt: skip
EGRESS: dict[str, Any] = {"connections": 64, "size": "4G", "idle": 300}  # of one step
CONTROL = "pyjail image build"
_SHOWN, _TAIL = 200, 2000  # characters of a step, and of what it wrote


def build_recipe(
    name: str,
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    *,
    directory: str | os.PathLike[str] | None = None,
    cache: bool = True,
    strict: bool = True,
    bounds: Bounds | None = None,
    settings: Settings | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Image:
    """Make an image of another one: copy files into it, run commands in it, each step on what the one before made.

    Commands run as uid 0 of a jail whose root can be written to, without a network unless the recipe has ``egress``. A
    step that was done before, on the same image, with the same files, is not done again. docs/images.md has the keys.

    Args:
        name: of the image in the store; what had it before loses it.
        recipe: the path of a TOML file, or its tables, as `tomllib` reads them.
        directory: that ``src`` of its copies are in. Default: that of the file; of tables, the current one.
        cache: False: do every step again. Default True.
        strict: False: run commands where a control cannot be enforced here, as of `Jail`. Default True.
        bounds: how large the image may be. Default: those of ``settings``, else `Bounds()`.
        settings: of a configuration; its ``max_size`` is what all trees may take on disk.
        progress: called with (step from 1, steps in all, what it does), and with the same and "cached" or how long it
            took when it is done.

    Returns the `Image`, which is in the store that jails use. Raises:
        SpecError: what makes no sense in the recipe, before anything is run.
        StepError: a command failed; no image has the name because of it.
        HostError: the base is not in the store, or this machine cannot. ImageError: what no image can be.
        OSError: the recipe cannot be read.

    >>> from pyjail import images
    >>> images.build_recipe("app", {"form": "debian"})
    Traceback (most recent call last):
    pyjail.SpecError: recipe='form': there is no such key; did you mean 'from'?
    """
    with lazy.lock:
        from pyjail._images import recipe as recipes
    reference.local_name(name)
    found = store(None, settings)
    if found.path != Store().path:
        raise SpecError("path", found.path, "commands run in images of the store of jails: set PYJAIL_IMAGES")
    if isinstance(recipe, Mapping):
        tables, where = recipe, os.curdir if directory is None else directory
    else:
        tables = toml.read(recipe)
        where = os.path.dirname(os.fspath(recipe)) or os.curdir if directory is None else directory
    with config.of_file(recipe):
        made = recipes.parse(tables)
        with toml.of("limits."):
            toml.known("", dict(made.limits), [*vars(LIMITS)])
            limits = replace(_limits(made.writable_root), **made.limits)
        with toml.of("egress.", "rules."):
            network: Any = Egress(made.egress, **EGRESS) if made.egress else "none"
    jail = Jail(
        image=made.base, writable_root=made.writable_root, network=network, uid=0, gid=0, strict=strict,
        env={**Jail().env, **made.env},
    )  # fmt: skip
    most = settings.max_size if settings is not None else None
    how: How = {"bounds": bounds_of(bounds, settings), "max_size": most}
    with contextlib.ExitStack() as leases:
        building = _Building(found, made, jail, limits, how, leases, os.fspath(where), cache, progress)
        return building.all(name)


def _limits(space: int) -> Limits:
    """What a step may use that writes so much: that is memory."""
    return replace(LIMITS, memory=(LIMITS.memory or 0) + space)


class _Building:
    """One recipe on its way to an image."""

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        jail: Jail,
        limits: Limits,
        how: How,
        leases: contextlib.ExitStack,
        directory: str,
        cache: bool,
        progress: Callable[[int, int, str], None] | None,
    ) -> None:
        self.store, self.recipe, self.jail, self.limits, self.how = store, recipe, jail, limits, how
        self.leases, self.directory, self.cache, self.progress = leases, directory, cache, progress
        self.steps = recipe.steps()
        self.number = 0

    def all(self, name: str) -> Image:
        with lazy.lock:
            from pyjail._images import commit, steps
        base = image = self.store.lookup(self.recipe.base)
        steps.hold(self.store, image, self.leases.enter_context(Lock()))
        with self._opened() as directory:
            for number, step in enumerate(self.steps, 1):
                self.number = number
                image = self._step(step, image, directory)
        how: How = {**self.how, "env": self.recipe.env, "working_dir": self.recipe.workdir, "user": self.recipe.user}
        how |= {"cmd": self.recipe.cmd, "entrypoint": self.recipe.entrypoint}
        with commit.layer(self.store, self.how["bounds"] or Bounds()) as nothing:
            origin = {
                "source": "recipe",
                "from": base.digest if base.name == base.digest else f"{base.name}@{base.digest}",
            }
            return commit.put(self.store, image, name, nothing, how, origin, by=CONTROL)

    @contextlib.contextmanager
    def _opened(self) -> Any:
        """The directory that files are copied from; -1 where none are."""
        if not self.recipe.copy:
            yield -1
            return
        fd = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def _tell(self, what: str) -> None:
        if self.progress is not None:
            self.progress(self.number, len(self.steps), what)

    def _step(self, step: Step, before: Image, directory: int) -> Image:
        """The image that the step makes, or has made."""
        what = _words(step)
        self._tell(what)
        since = time.monotonic()
        try:
            if step.kind == "copy":
                image, cached = self._copy(step, before, directory)
            else:
                image, cached = self._run(step, before)
        except ImageError as e:
            raise ImageError(f"step {self.number} of {len(self.steps)}, {what}, {e.what}", e.why) from e
        self._tell(f"{what}: {'cached' if cached else f'{time.monotonic() - since:.1f} s'}")
        return image

    def _copy(self, step: Step, before: Image, directory: int) -> tuple[Image, bool]:
        with lazy.lock:
            from pyjail._images import commit, copies
        one: Copy = self.recipe.copy[self.number - 1]
        bounds = self.how["bounds"] or Bounds()
        with commit.layer(self.store, bounds, copies.TIME) as layer:
            with toml.of(f"copy[{self.number - 1}]."):
                copies.tell(layer, directory, one.src, before.root, one.dst, bounds)
            done = layer.done()  # what is in it is of its key: read once, whoever writes to the files meanwhile
            key = self._key(step, before, str(done[0]))
            origin = {"commit": before.digest}
            return self._made(key, lambda: commit.put(self.store, before, key, layer, self.how, origin, done))

    def _run(self, step: Step, before: Image) -> tuple[Image, bool]:
        key = self._key(step, before)
        return self._made(key, lambda: self._ran(step, before, key))

    def _ran(self, step: Step, before: Image, key: Key) -> Image:
        jail, limits = replace(self.jail, image=before.digest), self.limits
        with Session(jail, limits=limits, disk=limits.disk, inodes=limits.inodes) as session:
            try:
                result = session.run(step.says["args"], cwd=self.recipe.workdir or before.working_dir or "/")
            except SetupError as e:
                raise StepError(self.number, len(self.steps), _words(step), str(e)) from e
            if not result.ok:
                raise StepError(self.number, len(self.steps), _words(step), _why(result), result)
            return session.commit(key, **self.how)

    def _key(self, step: Step, before: Image, content: str = "") -> Key:
        key = Key(step.key(before.digest, content))
        key.by = f"{CONTROL}: {_words(step)}"
        return key

    def _made(self, key: Key, do: Callable[[], Image]) -> tuple[Image, bool]:
        """(the image of this key, whether it was there). Of several that want it one does it, and the others wait."""
        with lazy.lock:
            from pyjail._images import steps
        lease = self.leases.enter_context(Lock())
        with steps.doing(self.store, key):
            if self.cache and (image := steps.found(self.store, key, lease)) is not None:
                return image, True
            lease.close()
            image = do()
            steps.hold(self.store, image, lease)
            return image, False


def _words(step: Step) -> str:
    """What it does, on one line."""
    says = step.says
    if step.kind == "copy":
        text = f"copy {says['src']} to {says['dst']}"
    else:
        args = says["args"]
        text = f"run {args[2] if args[:2] == ['sh', '-c'] and len(args) == 3 else shlex.join(args)}"
    text = " ".join(text.split())
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _why(result: Any) -> str:
    """The verdict, and the end of what it wrote."""
    ended = f"exit code {result.returncode}" if result.signal is None else f"signal {result.signal}"
    hit = ", ".join(sorted(result.limits_hit))
    said = result.stderr.strip() or result.stdout.strip()
    text = "".join(c if c.isprintable() or c == "\n" else "?" for c in said[-4 * _TAIL :].decode(errors="replace"))
    shown = text[-_TAIL:] if len(text) > _TAIL or len(said) > 4 * _TAIL else text
    words = f"{result.verdict.value}, {ended}{f', limits {hit}' if hit else ''}"
    return f"{words}\n{shown}" if shown else words
