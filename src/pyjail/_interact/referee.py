"""The loop of an interaction: carries the bytes, notes who did what, ends it when that is due."""

from __future__ import annotations

import select
import time

from pyjail._base.fds import until
from pyjail._interact import waits
from pyjail._interact.interaction import Happening
from pyjail._interact.relay import Relay, ready
from pyjail._interact.scene import Player, Scene, noted
from pyjail._result.verdict import Verdict
from pyjail._run.turn import KILL_PATIENCE_S

TICK_S = 0.01  # between looks for what poll(2) cannot tell
SAME_S = 0.005  # a stream that was seen closed not longer before the estimated end was closed by that end


class Referee:
    """``deadline``: time.monotonic() at which all are killed. ``patience``: s without a byte before a deadlock.

    ``stopped`` is why all were killed, "" when they were not; ``deadlock`` is who waited for what then.
    """

    def __init__(self, scene: Scene, began: float, deadline: float | None, patience: float | None) -> None:
        self.scene, self.began, self.deadline, self.patience = scene, began, deadline, patience
        self.live = dict(scene.players)
        self.happenings: list[Happening] = []
        self.closes: dict[str, list[tuple[float, str]]] = {name: [] for name in self.live}
        self.stopped = ""
        self.deadlock: dict[str, tuple[str, ...]] = {}
        self.moved = time.monotonic()  # when something happened last
        self.seen: dict[str, frozenset[waits.Thread]] | None = None
        self.look_at = float("inf")
        self._stir()

    def run(self) -> None:
        """Until all parties have ended. Raises what one of them could not be started for."""
        while self.live:
            self._pass_time(quiet=not self._carry())
        for relay in self.scene.relays:  # nobody reads any more; what was written belongs to the transcript
            relay.target_awaited = False
            relay.no_reader(self._now())
            while relay.source >= 0 and not relay.pull(self._now()) and ready(relay.source, select.POLLIN):
                pass

    def _now(self) -> float:
        return time.monotonic() - self.began

    def _stir(self) -> None:
        """Something moved: what was seen of a deadlock is void."""
        self.moved = time.monotonic()
        self.seen = None
        if self.patience is not None and not self.stopped:
            self.look_at = self.moved + self.patience / 2

    # ---- bytes ----

    def _carry(self) -> bool:
        """Wait for something to do, and do it. False: there was nothing."""
        poller = select.poll()
        sources: dict[int, Relay] = {}
        targets: dict[int, Relay] = {}
        ends: dict[int, Player] = {}
        due = min(self.look_at, self.deadline or float("inf"))
        now = self._now()
        for relay in self.scene.relays:
            if relay.rests_until > now:
                due = min(due, self.began + relay.rests_until)
            for fd, events in relay.wants(now):
                poller.register(fd, events)
                (sources if fd == relay.source else targets)[fd] = relay
            if relay.needs_a_look():
                relay.look()
                due = min(due, time.monotonic() + TICK_S)
        for player in list(self.live.values()):
            assert player.process is not None and player.turn is not None
            fd = player.turn.keeper.sock.fileno()
            if player.process.ended or fd < 0:  # it never began; or another thread has closed all
                self._end(player)
                return True
            poller.register(fd, select.POLLIN)
            ends[fd] = player
        found = poller.poll(until(None if due == float("inf") else due))
        for fd, events in found:
            if fd in sources:
                self._pull(sources[fd])
            elif fd in targets:
                self._push(targets[fd], bool(events & select.POLLERR))
        for fd, _ in found:
            if fd in ends:
                self._end(ends[fd])
        for relay in self.scene.relays:
            relay.finish()
        return bool(found)

    def _pull(self, relay: Relay) -> None:
        self._stir()
        for other in self.scene.relays:
            if other is not relay:
                other.small = 0  # it is a conversation
        if relay.pull(self._now()):
            self.closes[relay.edge.writer].append((self._now(), relay.edge.source.split(".")[1]))
        elif relay.waiting:
            self._push(relay, False)

    def _push(self, relay: Relay, broken: bool) -> None:
        self._stir()
        if broken and relay.target >= 0:
            relay.no_reader(self._now())
        elif not relay.push(self._now()):
            return
        self.closes[relay.edge.reader].append((self._now(), relay.edge.target.split(".")[1]))

    # ---- ends ----

    def _end(self, player: Player) -> None:
        self._stir()
        process = player.process
        assert process is not None
        with noted(player.name):
            process.poll()
        if not process.ended:  # another message than its report
            return
        del self.live[player.name]
        result, now = player.result(), self._now()
        for relay in self.scene.relays:
            if relay.over:  # all were killed: nobody is to see the end of another, and to end of that
                continue
            if relay.edge.writer == player.name:
                relay.writer_ended()
            if relay.edge.reader == player.name and relay.target >= 0:
                relay.no_reader(now)
        at = now
        usage = result.usage
        if usage.wall_time is not None:
            end = player.sent - self.began + (usage.setup_time or 0.0) + usage.wall_time
            for when, stream in self.closes[player.name]:
                if when >= end - SAME_S:
                    at = min(at, when)
                else:
                    self.happenings.append(Happening(when, player.name, "closed", stream))
        killed = self.stopped and result.verdict is Verdict.SIGNALED and result.signal == 9
        if killed:
            self.happenings.append(Happening(at, player.name, "killed"))
        else:
            self.happenings.append(Happening(at, player.name, "ended", None, result.verdict))

    def _pass_time(self, quiet: bool) -> None:
        now = time.monotonic()
        if self.deadline is not None and now >= self.deadline:
            if self.stopped:  # they were killed, and do not answer
                for player in self.live.values():
                    assert player.turn is not None
                    player.turn.hang_up()
            self._stop("wall_time")
        elif quiet and now >= self.look_at:
            self._look()

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why
        for relay in self.scene.relays:
            relay.over = True
        self.look_at = float("inf")
        self.deadline = time.monotonic() + KILL_PATIENCE_S
        for player in self.live.values():
            assert player.process is not None
            player.process.kill()

    # ---- deadlocks ----

    def _look(self) -> None:
        assert self.patience is not None
        found: dict[str, frozenset[waits.Thread]] = {}
        for name, player in self.live.items():
            assert player.turn is not None
            threads = waits.look(player.turn.keeper.pid)
            if threads is None:
                break
            found[name] = threads
        all_blocked = len(found) == len(self.live)
        if all_blocked and found == self.seen:
            self.deadlock = {name: self._waits_of(name, threads) for name, threads in found.items()}
            self._stop("deadlock")
            return
        self.seen = found if all_blocked else None
        self.look_at = time.monotonic() + self.patience / 2

    def _waits_of(self, name: str, threads: frozenset[waits.Thread]) -> tuple[str, ...]:
        pipes: list[str] = []
        calls: list[str] = []
        for thread in sorted(threads):
            file = waits.file_of(thread)
            for relay in self.scene.relays:
                source, target = relay.files
                # A file that cannot be told (None) is any of those that would block so.
                if "read" in thread.call and (file == target or (file is None and relay.is_dry(name))):
                    pipes.append(f"reads {relay.edge.target}, and {relay.edge.writer} writes nothing")
                elif "write" in thread.call and (file == source or (file is None and relay.is_full(name))):
                    pipes.append(f"writes {relay.edge.source}, and {relay.edge.reader} reads nothing")
            calls.append(f"waits in {thread.call}")
        return tuple(dict.fromkeys(pipes or calls))
