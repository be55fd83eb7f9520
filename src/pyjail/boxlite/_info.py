"""What a box and a runtime tell of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class BoxStateInfo:
    """``status`` is "configured", "running" or "stopped"; ``running``; ``pid`` and ``exit_code`` are None: a box has no
    main program."""

    status: str
    running: bool
    pid: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class BoxInfo:
    """What a box is.

    Attributes:
        id, name (None: it has none), state.
        image: as it was asked for. served: what is there instead of it; "" before the box was started.
        cpus, memory_mib: of the whole box. created_at, started_at: with their time zone.
    """

    id: str
    name: str | None
    state: BoxStateInfo
    image: str | None
    served: str
    cpus: float
    memory_mib: int
    created_at: datetime
    started_at: datetime | None = None
    network: None = None


@dataclass(frozen=True)
class BoxMetrics:
    """What a box has used since it was started.

    Attributes:
        commands_executed_total, exec_errors_total: programs; those that did not end by themselves.
        cpu_time_ms: of all of them. memory_bytes: the most that one of them had, as its cgroup counted it.
        network_bytes_sent, network_bytes_received: 0, there is no network.
    """

    commands_executed_total: int
    exec_errors_total: int
    cpu_time_ms: int
    memory_bytes: int
    network_bytes_sent: int = 0
    network_bytes_received: int = 0

    @property
    def memory_usage_bytes(self) -> int:
        """``memory_bytes``."""
        return self.memory_bytes


@dataclass(frozen=True)
class RuntimeMetrics:
    """What a runtime has done: boxes that were made, that could not be started, that run; programs, and those of them
    that did not end by themselves."""

    boxes_created_total: int
    boxes_failed_total: int
    num_running_boxes: int
    total_commands_executed: int
    total_exec_errors: int


@dataclass(frozen=True)
class SnapshotInfo:
    """A snapshot of a box: ``id``, ``box_id``, ``name``, ``created_at`` (s since 1970), ``size_bytes`` of its files."""

    id: str
    box_id: str
    name: str
    created_at: int
    size_bytes: int
