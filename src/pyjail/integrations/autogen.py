"""A code executor of AutoGen whose blocks run in a `pyjail.aio.Box`: ``pip install 'pyjail-linux[autogen]'``.

>>> import asyncio
>>> from autogen_core import CancellationToken
>>> from autogen_core.code_executor import CodeBlock
>>> from pyjail.integrations.autogen import PyjailCodeExecutor
>>> async def main():
...     async with PyjailCodeExecutor(timeout=30) as executor:
...         block = CodeBlock(code="print(6 * 7)", language="python")
...         return await executor.execute_code_blocks([block], CancellationToken())
>>> asyncio.run(main()).output
'42\\n'
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autogen_core import CancellationToken, Component
from autogen_core.code_executor import CodeBlock, CodeExecutor, CodeResult
from pydantic import BaseModel

from pyjail import STDOUT, Jail, JailError, Limits, Result, SpecError, Verdict
from pyjail.aio import Box
from pyjail.integrations import shared

__all__ = ["PyjailCodeExecutor", "PyjailCodeExecutorConfig", "PyjailCodeResult"]

LANGUAGES = {  # of a block: the end of its file's name, and what the file is given to
    "python": ("py", "python3"),
    "py": ("py", "python3"),
    "python3": ("py", "python3"),
    "bash": ("sh", "bash"),
    "shell": ("sh", "sh"),
    "sh": ("sh", "sh"),
}
LIST = ["find", ".", "-type", "f", "-printf", "%s %C@ %i\\t%P\\0"]  # busybox cannot: then names must do


@dataclass
class PyjailCodeResult(CodeResult):
    """What the blocks did.

    Attributes:
        exit_code: of the last block that ran: its own, 128+N for signal N, 124 when a limit ended it.
        output: stdout and stderr of the blocks, in order.
        code_file: where the first block was written, inside.
        output_files: paths inside of the files below /box that are new or changed; `PyjailCodeExecutor.box` reads them.
    """

    code_file: str | None = None
    output_files: list[str] = field(default_factory=list)


class PyjailCodeExecutorConfig(BaseModel):
    """What a `PyjailCodeExecutor` is made of, as AutoGen's component files have it: its arguments."""

    timeout: float = 60
    jail: dict[str, Any] | None = None
    limits: dict[str, Any] = {}
    env: dict[str, str] = {}
    disk: str | int = "256M"


class PyjailCodeExecutor(CodeExecutor, Component[PyjailCodeExecutorConfig]):
    """A box for the code blocks of an agent: python, py, bash, sh, shell. Files stay from call to call, until `stop`.

    Args:
        timeout: seconds for one block.
        jail: what is around the blocks, a `Jail`, or its fields. Default: `Jail` with its defaults in which `python` is
            found, too.
        limits: memory and processes of all blocks together, the rest for each: a `Limits`, or fields of it, those that
            are not given being of `pyjail.integrations.shared.AGENT_LIMITS`.
        env: variables besides those of the jail. disk: bytes of all that is written.

    Attributes:
        box: the `pyjail.aio.Box`. failure: the last failure of pyjail or of the machine, or None.

    A block whose first line is ``# filename: NAME`` is kept under that name in /box.
    """

    component_config_schema = PyjailCodeExecutorConfig
    component_provider_override = "pyjail.integrations.autogen.PyjailCodeExecutor"

    def __init__(
        self,
        timeout: float = 60,
        *,
        jail: Jail | Mapping[str, Any] | None = None,
        limits: Limits | Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        disk: str | int = "256M",
    ) -> None:
        if timeout <= 0:
            raise ValueError("timeout: seconds above 0 are needed")
        self._timeout = timeout
        self._default = jail is None
        self._jail = jail if isinstance(jail, Jail) else shared.configured(jail)
        if not isinstance(limits, Limits):
            limits = Limits(**{**shared.AGENT_LIMITS.to_dict(), **(limits or {})})
        self._limits = shared.patience(limits, timeout)
        self._env = dict(env or {})
        self._disk = disk
        self._box: Box | None = None
        self.failure: JailError | None = None

    @property
    def box(self) -> Box:
        """The `pyjail.aio.Box` that the blocks run in: reads and writes files. ValueError when it is not started."""
        if self._box is None:
            raise ValueError("The executor is not started: use it in `async with`, or call its start() first.")
        return self._box

    async def start(self) -> None:
        """Open the box. Nothing happens when it is open.

        Raises:
            HostError, SetupError, KeeperError: no such box can be had here; the first says how it can.
        """
        if self._box is None:
            box = Box(self._jail, self._limits, disk=self._disk)
            await box.__aenter__()
            self._box = box

    async def stop(self) -> None:
        """End all that runs; the box is gone with its files. Twice is fine."""
        box, self._box = self._box, None
        if box is not None:
            await box.close()

    async def restart(self) -> None:
        """A new, empty box."""
        await self.stop()
        await self.start()

    async def execute_code_blocks(
        self, code_blocks: list[CodeBlock], cancellation_token: CancellationToken
    ) -> PyjailCodeResult:
        """Run the blocks one after the other, until one fails.

        Raises:
            asyncio.TimeoutError: a block took longer than the timeout, and was killed.
            asyncio.CancelledError: the token was cancelled; the block that ran is gone, the box is not.
            ValueError: no blocks, or the executor is not started.
            HostError, SetupError, KeeperError: the machine or pyjail failed; this is no answer of the code. What a
                tool raises AutoGen shows the model, as an error, and goes on: ``failure`` has it then.
        """
        if not code_blocks:
            raise ValueError("No code blocks to execute.")
        box = self.box
        task = asyncio.ensure_future(self._execute(box, code_blocks))
        cancellation_token.link_future(task)
        try:
            return await task
        except shared.OURS as e:
            self.failure = e
            raise

    async def _execute(self, box: Box, blocks: Sequence[CodeBlock]) -> PyjailCodeResult:
        before = await _files(box)
        answer = PyjailCodeResult(0, "")
        made: list[str] = []
        try:
            for block in blocks:
                await self._one(box, block, answer, made)
                if answer.exit_code:
                    break
        finally:
            for path in made:
                await _forget(box, path)
        after = await _files(box)
        answer.output_files = sorted(f"/box/{name}" for name, stamp in after.items() if before.get(name) != stamp)
        return answer

    async def _one(self, box: Box, block: CodeBlock, answer: PyjailCodeResult, made: list[str]) -> None:
        """Write and run one block; what it did is added to the answer, its file to ``made`` when it is not to stay."""
        suffix, program = LANGUAGES.get(block.language.lower(), ("", ""))
        if not program:
            return _add(answer, 1, f"unknown language {block.language}: {', '.join(LANGUAGES)} are known\n")
        path = _named(block.code)
        if path is None:
            path = f"/box/.block_{hashlib.sha256(block.code.encode()).hexdigest()[:16]}.{suffix}"
            made.append(path)
        elif not path.startswith("/box/"):
            return _add(answer, 1, "Filename is not in the workspace\n")
        try:
            await box.write(path, block.code)
        except shared.OURS:
            raise
        except (OSError, SpecError) as e:  # its name, or the disk is full
            return _add(answer, 1, f"{e}\n")
        answer.code_file = answer.code_file or path
        env = {**self._jail.env, **self._env}
        result: Result[str] = await box.run([program, path], env=env, stderr=STDOUT, text=True, orphans="keep")
        shared.check(result)
        if result.verdict is Verdict.WALL_TIME:
            raise TimeoutError(f"more than {self._timeout:g} s; until then it printed: {result.stdout[-2000:]!r}")
        return _add(answer, shared.exit_code(result), shared.with_ending(result.stdout, result))

    def _to_config(self) -> PyjailCodeExecutorConfig:
        return PyjailCodeExecutorConfig(
            timeout=self._timeout,
            jail=None if self._default else self._jail.to_dict(),
            limits=self._limits.to_dict(),
            env=self._env,
            disk=self._disk,
        )

    @classmethod
    def _from_config(cls, config: PyjailCodeExecutorConfig) -> PyjailCodeExecutor:
        return cls(config.timeout, jail=config.jail, limits=config.limits, env=config.env, disk=config.disk)


def _add(answer: PyjailCodeResult, code: int, output: str) -> None:
    answer.exit_code = code
    answer.output += output


def _named(code: str) -> str | None:
    """The path that the first line asks for, below /box unless it leads elsewhere."""
    first = code.partition("\n")[0]
    name = first.partition(":")[2].strip() if first.startswith("# filename:") else ""
    return posixpath.normpath(posixpath.join("/box", name)) if name else None


async def _files(box: Box) -> dict[str, str]:
    """What distinguishes each file below /box, as far as its system can tell."""
    found = await box.run(LIST, stderr=STDOUT, text=True)
    shared.check(found)
    if not found.ok:
        return dict.fromkeys(await box.list("**"), "")
    rows = (row.split("\t", 1) for row in found.stdout.split("\0") if "\t" in row)
    return {name: stamp for stamp, name in rows}


async def _forget(box: Box, path: str) -> None:
    """Remove a block's file, if it is still there, and the box is: what else goes on says when that is lost."""
    with contextlib.suppress(OSError, JailError):
        await box.remove(path)
