"""All parts of one service, made together and ended together."""

from __future__ import annotations

from pyjail import aio
from pyjail.serve.admission import Turns
from pyjail.serve.config import Config
from pyjail.serve.engine import Engine


class Service:
    """What its routes use."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.turns = Turns(config.admission)
        self.engine = Engine(self.turns)

    async def start(self) -> None:
        """Before the first request."""
        aio.set_concurrency(self.config.admission.concurrent)  # the queue is ours alone

    def unready(self) -> list[str]:
        """Why no run would be taken, for people; nothing when one would."""
        return ["the service is being ended"] if self.turns.draining else []

    async def end(self) -> None:
        """After the last one."""
