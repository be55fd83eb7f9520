"""`learn`: one watched run, and the smallest policy and mounts that it needed (docs/adr/0006)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Unpack

from pyjail._base import records
from pyjail._base.errors import KeeperError, SpecError
from pyjail._base.shown import Document
from pyjail._host import machine as host_machine
from pyjail._learn import root as learn_root
from pyjail._learn.observe import Observer
from pyjail._learn.ptrace import Watch
from pyjail._plan import compile, image
from pyjail._plan.places import View
from pyjail._policy import filter, learned, seccomp
from pyjail._policy.filter import Reach
from pyjail._result.result import Result
from pyjail._result.verdict import Verdict
from pyjail._run import run
from pyjail._spec import commands
from pyjail._spec.jail import (
    Env,
    Jail,
    Limits,
    Mount,
    with_python,
)
from pyjail._spec.parameters import Args, Watched, only
from pyjail._spec.seccomp import SeccompPolicy


class Refused(NamedTuple):
    """A call that the filter refused while it was learned: an errno's name, "noop" (it got 0) or "kill", how often, and
    why."""

    call: str
    action: str
    times: int
    why: str

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes."""
        return self._asdict()

    def _repr_html_(self) -> str:
        from pyjail._base import brief

        return brief.html(self, self._table())

    def _table(self) -> tuple[tuple[str, Any], ...]:
        return tuple(self._asdict().items())


@dataclass(frozen=True, repr=False)
class Learned(Document):
    """What one run needed. Frozen, picklable, hashable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        policy: the smallest `SeccompPolicy` under which the same calls have the same outcome.
        mounts: read-only binds of the files that were used and the directories that were listed, each at its own
            path; writable mounts of the jail that was learned in are kept.
        skeleton: what the root must hold besides: {path: symlink's target (str), content (bytes), or None for an
            empty directory}. `jail` writes it.
        calls: {name: how often} of the calls that were allowed.
        refused: tuple of `Refused`; the program went on after each, but for action "kill".
        result: the `Result` of the run.
        learned_in: the `Jail` that it ran in.
    """

    policy: SeccompPolicy
    mounts: tuple[Mount, ...]
    skeleton: Mapping[str, str | bytes | None]
    calls: Mapping[str, int]
    refused: tuple[Refused, ...]
    result: Result
    learned_in: Jail

    __hash__ = records.hash_of

    def _words(self) -> Iterator[str]:
        yield "complete" if self.complete else f"incomplete: {self.result.verdict.value}"
        yield f"{len(self.calls)} calls on base {self.policy.base!r}"
        if self.refused:
            yield f"refused: {', '.join(sorted({row.call for row in self.refused}))}"
        yield f"{len(self.mounts)} mounts"

    @property
    def complete(self) -> bool:
        """Whether the program came to an end of its own: then nothing of what this run would have done is missing."""
        return self.result.verdict in (Verdict.OK, Verdict.RUNTIME_ERROR, Verdict.SIGNALED)

    def jail(self, root: str | os.PathLike[str]) -> Jail:
        """A `Jail` with just what was needed; ``root``, an empty or missing directory, becomes its rootfs.

        Raises SpecError when ``root`` is not empty, OSError when it cannot be written.
        """
        path = os.path.abspath(os.fspath(root))
        learn_root.make(path, self.skeleton)
        return replace(self._learned(), rootfs=path)

    def _learned(self) -> Jail:
        """For a root of its own, in which what `Jail.python` brought is as all else that was met."""
        jail = self.learned_in
        env = jail.env if jail.python is None else with_python(Env(jail.env))
        return replace(jail, mounts=self.mounts, seccomp=self.policy, python=None, image=None, env=env)

    def to_toml(self, root: str | os.PathLike[str] | None = None) -> str:
        """A configuration for ``pyjail run --config``: the ``[jail]`` table. ``root``: where `jail` wrote the root."""
        from pyjail._spec.config_file import dump

        jail = (
            self._learned() if root is not None else replace(self.learned_in, mounts=self.mounts, seccomp=self.policy)
        )
        return dump(jail if root is None else replace(jail, rootfs=os.path.abspath(os.fspath(root))))

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: a "learned" of docs/data.md."""
        from pyjail._base.plain import head, name_of, plain

        return {
            **head("learned"),
            "policy": plain(self.policy),
            "mounts": plain(self.mounts),
            "skeleton": {name_of(path): _entry(entry) for path, entry in self.skeleton.items()},
            "calls": dict(self.calls),
            "refused": [row.to_dict() for row in self.refused],
            "complete": self.complete,
            "result": self.result.to_dict(),
            "learned_in": self.learned_in.to_dict(),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Learned:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail._base.documents import (
            check,
            name_from,
            reading,
            unpack,
        )
        from pyjail._spec.document import mount, policy

        d = check(d, "learned")
        with reading("learned"):
            skeleton = {
                name_from(path): unpack(next(iter(entry.values()), None)) for path, entry in d["skeleton"].items()
            }
            refused = tuple(Refused(*(row[name] for name in Refused._fields)) for row in d["refused"])
            return cls(
                policy(d["policy"]), tuple(mount(Mount, m) for m in d["mounts"]), skeleton, dict(d["calls"]), refused,
                Result.from_dict(d["result"]), Jail.from_dict(d["learned_in"]),
            )  # fmt: skip


def _entry(entry: str | bytes | None) -> dict[str, Any]:
    """{"link": target}, {"file": content}, or {} for an empty directory."""
    from pyjail._base.plain import pack

    return {} if entry is None else {"file" if isinstance(entry, bytes) else "link": pack(entry)}


def learn(args: Args, limits: Limits | None = None, *, jail: Jail | None = None, **options: Unpack[Watched]) -> Learned:
    """Run a program once, in its jail, and tell which system calls and files it needed.

    The jail is a whole one: its filter, Landlock and limits are enforced as by `run`; what they refuse stays refused
    and is reported. The program is watched by ptrace(2) from outside, which costs it about 0.1 ms for each call:
    give it more time than otherwise. What is learned is what this run did; other inputs may need more.

    Args:
        args, limits, jail, input, stdin, stdout, stderr, env, cwd, files, timeout: as of `run`.

    Returns: `Learned`.

    Raises: what `run` raises; SpecError when the jail has no filter; HostError("learn") where ptrace(2) is forbidden.

    >>> import pyjail
    >>> found = pyjail.learn(["sh", "-c", "echo x | cat"])
    >>> found.policy.base, "pipe2" in found.policy.allow, "socket" in found.policy.allow
    ('strict', True, False)
    """
    return _learned(*watched(args, limits, jail, **options))


def watched(
    args: Args, limits: Limits | None, jail: Jail | None, **options: Unpack[Watched]
) -> tuple[Observer, compile.Template, str, Reach, Result]:
    """Run it and watch it: what was seen, its plan, the machine's kind, what its filter lets reach, what came of it."""
    only(options, Watched)
    command = image.in_place(commands.make(args, limits, jail, **options))
    chosen = command.jail
    if (chosen.seccomp.base if isinstance(chosen.seccomp, SeccompPolicy) else chosen.seccomp) == "none":
        raise SpecError("jail.seccomp", chosen.seccomp, "a program is learned under a filter, never without one")
    host = host_machine.host()
    reach = filter.reach(chosen)
    plan = compile.template(chosen, host, isinstance(command.limits.cpus, frozenset))
    rules, default = seccomp.rules(chosen.seccomp, *reach)
    attached: list[tuple[Watch, Observer]] = []

    def attach(keeper: int) -> None:  # once more, from nothing, should the run have to start over
        observer = Observer(rules, default, host.arch)
        attached[:] = [(Watch(observer.entered, observer.left, observer.executed), observer)]
        attached[0][0].attach(keeper)

    result = run.execute(command._replace(jail=replace(chosen, fresh=True), attach=attach))
    watch, seen = attached[0]
    watch.wait()
    if not watch.started:
        if result.verdict in (Verdict.OK, Verdict.RUNTIME_ERROR, Verdict.SIGNALED):
            raise KeeperError("the program ran, and ptrace(2) reported nothing of it")
        seen = Observer(rules, default, host.arch)
    return seen, plan, host.arch, reach, result


def _learned(seen: Observer, plan: compile.Template, machine: str, reach: Reach, result: Result) -> Learned:
    calls: Counter[str] = Counter()
    refused: Counter[tuple[str, str, str]] = Counter()
    for call, count in seen.counts.items():
        if call.action == "allow":
            calls[call.name] += count
        else:
            why = seccomp.decide(seen.rules, seen.default, call.name, call.all_args).why
            refused[call.name, call.action, why] += count
    needs = learn_root.needs(View(plan), seen)
    asked = plan.jail.mounts
    return Learned(
        policy=learned.smallest(seen.counts, seen.rules, machine, reach),
        mounts=needs.mounts(asked),
        skeleton=needs.skeleton(asked),
        calls=dict(sorted(calls.items())),
        refused=tuple(Refused(n, action, count, why) for (n, action, why), count in sorted(refused.items())),
        result=result,
        learned_in=image.pinned(plan.jail),
    )
