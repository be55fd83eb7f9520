"""`Turn`: one program's turn of one keeper, from its plan to its `Result`. Whoever runs something drives one."""

from __future__ import annotations

import os
import time

from pyjail._core.native import lib

from pyjail._base import lazy
from pyjail._base.errors import JailError, SetupError
from pyjail._base.fds import memfd
from pyjail._keeper.keeper import Keeper, Lease, to_end
from pyjail._keeper.store import Idle
from pyjail._keeper.talk import KEPT_OUTPUT, Gone, Late
from pyjail._plan import prepare as plan_prepare
from pyjail._plan.prepare import Plan
from pyjail._plan.wire import Failure
from pyjail._run.attempts import CGROUP_STEPS, IdleDeath, until_started
from pyjail._spec import commands
from pyjail._spec.commands import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyjail._plan.report import Facts
    from pyjail._result.contact import Contacts
    from pyjail._result.result import Result
    from pyjail._run import ahead, port
    from pyjail._run.attempts import T
    from pyjail._verdict import outcome

    # What it comes to: the result or what to raise, and whether the keeper can serve again.
    Outcome = tuple[Result | BaseException, bool]
    Gathered = outcome.Collected | None
    Told = Contacts | None


def _meanwhile(plan: Plan) -> None:
    """Pack the command, and load a part of `outcome`: it takes as long as the rest of a keeper's preparations."""
    _ = plan.blob
    with lazy.lock:
        from pyjail._plan import report

    del report


def _load_ahead() -> object:
    """The module that makes a jail before its program is started: most runs need none."""
    with lazy.lock:
        from pyjail._run import ahead

    return ahead


def _load_port() -> object:
    with lazy.lock:
        from pyjail._run import port

    return port


def load_outcome() -> object:
    """The module that makes results of facts; to load it takes as long as a program, which runs meanwhile."""
    global outcome
    with lazy.lock:
        from pyjail._verdict import outcome

    return outcome


if not TYPE_CHECKING:
    ahead = lazy.Unloaded(_load_ahead)
    port = lazy.Unloaded(_load_port)
    outcome = lazy.Unloaded(load_outcome)

KILL_PATIENCE_S = 10.0


class Turn:
    """One keeper and one program: `open`, `begin`, `wait`, `end`, in this order, and `abandon` at any time.

    A signal handler may raise at each step. What has come is kept then: who calls `wait` again loses nothing; who does
    not calls `abandon`, and nothing is left. ``deadline``: time.monotonic() when the caller's patience ends, if the
    command's timeout has begun already.
    """

    __slots__ = ("command", "deadline", "keeper", "keepers", "lease", "outcome", "plan", "report")

    keeper: Keeper
    plan: Plan

    def __init__(self, command: Command, keepers: Idle, deadline: float | None = None) -> None:
        self.command = command
        self.keepers = keepers
        self.deadline = deadline if deadline is not None or command.timeout is None else deadline_of(command)
        self.lease: Lease = []  # with what it has of the store, until that is given back
        self.report: list[bytes] = []  # as it came, filled by C alone
        self.outcome: Outcome | None = None

    def attempted(self, way: Callable[[], T]) -> T:
        """What ``way`` returns; it starts over as `Attempts.again` says. When it fails nothing is left of the turn."""
        try:
            return until_started(way)
        except BaseException:  # interrupted, or out of memory: nobody would know of it
            to_end[self] = self.abandon
            self.abandon()
            to_end.pop(self, None)
            raise

    def run(self) -> Result:
        """The whole way. Raises `IdleDeath`, and what came out instead of a result."""
        self.open()
        self.begin()
        if not self.wait(None if self.deadline is None else self.left()):
            self.expire()
        return self.end()

    # ---- a keeper ----

    def open(self) -> None:
        """Compile the plan, get a keeper. Raises what can be told before anything is started."""
        self.prepare()
        if not self.take():
            self.start()

    def prepare(self) -> None:
        """Compile the plan."""
        self.plan = plan_prepare.prepare(self.command)

    def take(self) -> bool:
        """Get a warm keeper, if there is one that may serve this command. Never waits."""
        if self.command.attach is None:
            plan = self.plan
            keeper = self.keepers.ready(plan.template, plan.run, self.lease)
            if keeper is not None:
                self.keeper = keeper
                return True
        return False

    def start(self) -> None:
        """Get a new keeper: some milliseconds, in which the command is packed."""
        plan = self.plan
        self.keeper = self.keepers.start(
            plan.template,
            plan.host,
            self.command.attach,
            meanwhile=lambda: _meanwhile(plan),
            lease=self.lease,
        )

    def make_ready(self) -> None:
        """Get a new keeper with a jail for the command's limits made: it starts a program at once."""
        self.attempted(self._make_ready)

    def _make_ready(self) -> None:
        self.abandon()  # what was made in vain
        self.prepare()
        self.start()
        try:
            failure = ahead.arm(self.keeper, self.plan)
        except Gone:
            raise self._idle_death() from None
        if failure is not None:
            raise outcome.failed(failure, self.plan.template, self.plan.run, self.command)
        self.keeper.served = True

    # ---- a program ----

    def begin(self) -> None:
        """Start the program; from here on there may be one. Waits for the keeper only where it `prepares` something."""
        command, keeper = self.command, self.keeper
        try:
            if self.prepares:
                failed = ahead.write_files(keeper, self.plan, command.files) if command.files else None
                if failed is None and self.plan.template.port:
                    failed = self._serve()
                if failed is not None:
                    told = self._came_out(outcome.not_started(failed)) if isinstance(failed, Failure) else failed
                    self.outcome = told, True
                    return
            if command.input is None:
                keeper.submit(lib.OP_RUN, self.plan.blob, command.fds)
            else:
                with memfd("pyjail-stdin", command.input, seal=True) as stdin:
                    keeper.submit(lib.OP_RUN, self.plan.blob, (stdin.number, *command.fds))
        except Gone:
            self.outcome = self._idle_death(), False
            return
        if keeper.served:
            outcome.load_results()
        else:
            outcome.memory_total()  # as `load_results` has it

    @property
    def prepares(self) -> bool:
        """Whether `begin` waits for its keeper, or copies much."""
        return bool(self.command.files) or self.plan.template.port != 0

    def _serve(self) -> Failure | JailError | OSError | None:
        return port.serve(self.keeper, self.plan)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended, by then: its report is here, or what it came to is known without one."""
        if self.outcome is None:
            try:
                self.keeper.receive(self.report, seconds)
            except Late:
                return False
            except Gone:
                self.outcome = self._unreported(), False
        return True

    def left(self) -> float | None:
        """Seconds of the caller's patience."""
        return None if self.deadline is None else max(0.001, self.deadline - time.monotonic())

    def _unreported(self) -> Result | Exception:
        """What a hang-up means for the program."""
        if self.keeper.started:
            return outcome.lost(self.command, self.keeper.how_it_died())
        return self._idle_death()

    def _idle_death(self) -> Exception:
        return IdleDeath(not self.keeper.served and not self.keeper.ended)

    def signal(self, number: int) -> None:
        """Send a signal to the program's main process."""
        self.keeper.send(lib.OP_SIGNAL, flags=number)

    def kill(self) -> None:
        """End the program and all that it has started. Its report will tell."""
        self.keeper.wake()
        self.keeper.send(lib.OP_KILL)

    def expire(self) -> None:
        """The caller's patience has ended: end the program; what comes out is `TimeoutExpired`, with what it wrote."""
        keeper, command = self.keeper, self.command
        out = err = b""
        try:
            self.kill()
            facts = outcome.facts(keeper.receive(self.report, KILL_PATIENCE_S))
        except (Gone, Late):
            reusable = False
        else:
            out, err = keeper.output(0, facts.out_kept[0]), keeper.output(1, facts.out_kept[1])
            self._contacts(facts)
            keeper.holds = bool(command.collect)
            reusable = True
        self.outcome = outcome.expired(command, out, err), reusable

    # ---- its end ----

    def end(self) -> Result:
        """The result, or raise what came out instead; the keeper goes back to its store, or ends."""
        if self.outcome is None:
            self.outcome = self._read()
        result, _ = self.outcome
        self.put_away()
        if isinstance(result, BaseException):
            self.outcome = None
            self.report.clear()
            try:
                raise result
            finally:
                del result  # else its traceback refers to itself
        return result

    def read(self) -> Result | BaseException:
        """What came out. The keeper stays."""
        if self.outcome is None:
            self.outcome = self._read()
        return self.outcome[0]

    def _read(self) -> Outcome:
        keeper, command = self.keeper, self.command
        facts = outcome.facts(self.report[0])
        if not facts.raw:
            keeper.hush()  # what is armed next may have another network
            return self._came_out(facts), True
        keeper.stuck = facts.left
        kept, more = facts.out_kept
        out = keeper.output(0, kept) if kept else b""
        err = keeper.output(1, more) if more else b""
        collected = None
        if command.collect:
            keeper.holds = True
            with lazy.lock:
                from pyjail._keeper import files

            try:
                collected = files.Collector(keeper, command.collect, command.limits).run()
            except Gone:
                return outcome.lost(command, keeper.how_it_died()), False
        keeper.armed = self.plan.run
        return self._came_out(facts, out, err, collected, self._contacts(facts)), not facts.left

    def _contacts(self, facts: Facts) -> Told:
        return port.contacts(self.keeper, facts) if self.plan.template.port else None

    def _came_out(
        self, facts: Facts, out: bytes = b"", err: bytes = b"", collected: Gathered = None, egress: Told = None
    ) -> Result | BaseException:
        keeper = self.keeper
        ids = keeper.ids.outside_uid, keeper.ids.outside_gid
        made = keeper.template, ids, keeper.above, keeper.ready, keeper.crowded
        return outcome.result(made, self.command, self.plan.run, facts, out, err, collected, egress)

    @property
    def bulky(self) -> bool:
        """Whether it takes long to read what came out."""
        outputs = self.keeper.outputs
        slow = self.command.collect or self.keeper.contact is not None
        return bool(slow) or any(os.fstat(fd.number).st_size > KEPT_OUTPUT for fd in outputs)

    @property
    def usable(self) -> bool:
        """Whether the keeper that brought this outcome may serve again."""
        assert self.outcome is not None
        result, reusable = self.outcome
        return (
            reusable
            and not self.command.jail.fresh
            and not (isinstance(result, SetupError) and result.step in CGROUP_STEPS)
        )  # fmt: skip

    def put_away(self) -> None:
        """Give the keeper back, or end it."""
        assert self.outcome is not None
        keeper, command = self.keeper, self.command
        keeper.served = True
        keeper.let_go()
        if self.usable:
            self.keepers.give(keeper)
        elif command.jail.fresh and command.attach is None and self.outcome[1]:
            with lazy.lock:
                from pyjail._run.fresh import spares

            nothing = commands.make(["true"], command.limits, command.jail)
            spares.replace(keeper, self.keepers, lambda: warm_up(nothing, self.keepers))
        else:
            self.keepers.drop(keeper)

    def rest(self) -> None:
        """Give the keeper back, as it is."""
        self.keepers.give(self.keeper)

    # ---- no end ----

    @property
    def ours(self) -> bool:
        """False in a child that was forked since."""
        return self.keeper.owner == os.getpid()

    @property
    def holds(self) -> bool:
        """Whether it has a keeper that is to be given back, or ended."""
        return self.keepers.lent(self.lease)

    def hang_up(self) -> None:
        """End the keeper, unless it is just being put away. From any thread; does not wait."""
        if self.outcome is None:
            self.keepers.hang_up(self.lease)

    def unwatched(self) -> None:
        """Have the keeper's socket closed with it again: no event loop has it in its set any more."""
        for keeper in self.lease:
            keeper.watched = False

    def abandon(self) -> None:
        """End the keeper, if it still has one. May be called twice, and from any thread."""
        self.keepers.abandon(self.lease)

    def finaliser(self) -> Callable[[], object]:
        """`abandon`, for whoever holds this to be called when he is gone."""
        return self.abandon


def warm_up(command: Command, keepers: Idle) -> None:
    """Put one more keeper into this store, with a jail for the command's limits made."""
    turn = Turn(command, keepers)
    turn.make_ready()
    turn.rest()


def deadline_of(command: Command) -> float | None:
    """When the caller's patience ends, if it begins now."""
    if command.timeout is None:
        return None
    load_errors()
    return time.monotonic() + command.timeout


def load_errors() -> None:
    """What may be raised: when it is, there may be no fd left to load it with."""
    with lazy.lock:
        from pyjail._result import subprocess_errors

    del subprocess_errors
