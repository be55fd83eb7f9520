"""A program's turn of a slot, and of one of the places that a box has for those who wait."""

from __future__ import annotations

import time

from pyjail._base.errors import JailError, KeeperError
from pyjail._base.gate import Place, nobody, wait_in_turn
from pyjail._base.rare_errors import PoolClosedError
from pyjail._box import files
from pyjail._box.keeper import Slot
from pyjail._box.life import Life
from pyjail._result.result import Result
from pyjail._result.subprocess_errors import PoolExhaustedError
from pyjail._result.undecoded import OutputDecodeError
from pyjail._run.attempts import IdleDeath
from pyjail._run.turn import Turn, deadline_of
from pyjail._spec.commands import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._plan.report import Facts
    from pyjail._plan.wire import Failure
    from pyjail._run.turn import Gathered, Told

TRIES = 3  # against programs that kill
HINT = "Raise Box(concurrency=...) or the timeout, or lower Limits(wall_time=...) of the runs."


class BoxTurn(Turn):
    """As of a keeper of its own; what it comes to is the box's to tell."""

    __slots__ = ("box", "life", "tries")

    def __init__(self, command: Command, life: Life, deadline: float | None = None, box: object = None) -> None:
        super().__init__(command, life.slots, deadline)
        self.life = life
        self.box = box  # it ends when nobody has it: who has its program does
        self.tries = 0 if box is None else TRIES  # live streams may have been used

    def begin(self) -> None:
        given = self.command
        if given.files:
            failed = files.write_inputs(self.life, given.files)
            if failed is not None:
                self.outcome = failed, True
                return
            self.command = given._replace(files=())
        try:
            super().begin()
        finally:
            self.command = given
        if self.outcome is None and isinstance(self.keeper, Slot):
            self.keeper.asked = self.keeper.turn

    def _came_out(
        self, facts: Facts, out: bytes = b"", err: bytes = b"", collected: Gathered = None, egress: Told = None
    ) -> Result | BaseException:
        """One that was killed before its execve was killed by another program of the box, perhaps by one that had ended
        before it was asked for, when its process was there already: nothing of it has run, so it is started anew. Who
        goes on killing is told as who kills later."""
        if not facts.executed and _killed(facts):
            if self.tries < TRIES:
                self.tries += 1
                return IdleDeath(False)
            facts.executed = True
        return super()._came_out(facts, out, err, collected, egress)

    def _contacts(self, facts: Facts) -> Told:
        return None  # the box's, whose programs share its network

    @property
    def prepares(self) -> bool:
        return bool(self.command.files) or self.life.unserved

    def _serve(self) -> Failure | JailError | OSError | None:
        """The box is served as a whole, and anew when its proxy has ended."""
        return self.life.serve()

    def _idle_death(self) -> Exception:
        keeper = self.life.keeper
        if keeper is None or keeper.ended or keeper.hung_up:
            return self.life.lost()
        return super()._idle_death()

    def put_away(self) -> None:
        assert self.outcome is not None
        result, keeper = self.outcome[0], self.keeper
        if self.command.keep and isinstance(keeper, Slot):
            self.life.left(keeper)
        super().put_away()
        self.life.add(result.result if isinstance(result, OutputDecodeError) else result)


def _killed(facts: Facts) -> bool:
    """Whether a signal ended it, and nothing of ours, nor the kernel for want of memory."""
    ended = facts.status is not None and facts.status & 0x7F != 0
    return ended and facts.trip == "none" and facts.failure is None and facts.plain and not facts.left


def execute(command: Command, life: Life) -> Result:
    """Wait for a place, run, tell."""
    deadline = deadline_of(command)
    place = Place(life.gate, nobody)
    try:
        if not life.gate.enter_now(place):
            wait_in_turn(place, lambda: None if deadline is None else max(0.0, deadline - time.monotonic()))
            admitted(place, command, life)
        turn = BoxTurn(command, life, deadline)
        return turn.attempted(turn.run)
    except PoolClosedError as e:
        raise KeeperError(str(e)) from None
    finally:
        place.leave()


def admitted(place: Place, command: Command, life: Life) -> None:
    """Raise why it is not."""
    if place.refused:
        raise KeeperError(place.refused)
    if place.number is None:
        place.leave()
        raise PoolExhaustedError(command.args, command.timeout or 0.0, life.gate.size, len(life.gate.queue), HINT)
