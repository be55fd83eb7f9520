"""AutoGen's CodeExecutor in a box: its contract, limits, cancellation, files, failures of ours, a repaired program."""

from __future__ import annotations

import asyncio
import time

import pytest
from autogen_agentchat.agents import AssistantAgent, CodeExecutorAgent
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core import CancellationToken, ComponentModel
from autogen_core.code_executor import CodeBlock, CodeExecutor
from autogen_core.models import CreateResult, RequestUsage
from autogen_core.tools import StaticWorkbench
from autogen_ext.models.replay import ReplayChatCompletionClient
from autogen_ext.tools.code_execution import PythonCodeExecutionTool

import pyjail
import pyjail.testing
from pyjail.integrations.autogen import PyjailCodeExecutor
from tests.integrations import failing, repair


def blocks(*codes):
    """Blocks of (language, code)."""
    return [CodeBlock(language=language, code=code) for language, code in codes]


async def executed(executor, *codes, token=None):
    return await executor.execute_code_blocks(blocks(*codes), token or CancellationToken())


def with_executor(test, **options):
    """Run an async test with an executor of its own."""

    async def main():
        options.setdefault("limits", {"memory": "128M", "output": "1M"})
        async with PyjailCodeExecutor(options.pop("timeout", 20), **options) as executor:
            return await test(executor)

    return asyncio.run(main())


def test_python_and_shell_blocks_run_in_turn_and_files_stay():
    async def test(executor):
        r = await executed(
            executor,
            ("python", "open('a', 'w').write('1')\nprint('p')"),
            ("bash", "cat a; [[ 1 ]]"),
            ("sh", "echo s >&2"),
        )
        assert (r.exit_code, r.output) == (0, "p\n1s\n")
        assert r.output_files == ["/box/a"] and r.code_file.startswith("/box/.block_") and r.code_file.endswith(".py")
        r = await executed(executor, ("sh", "echo 1; exit 3"), ("sh", "echo never"))
        assert (r.exit_code, r.output, r.output_files) == (3, "1\n", [])
        r = await executed(executor, ("python", "raise ValueError(3)"))
        assert r.exit_code == 1 and r.output.endswith("ValueError: 3\n")
        r = await executed(executor, ("fortran", "stop"))
        assert r.exit_code == 1 and r.output.startswith("unknown language fortran")
        assert await executor.box.list() == ["a"]

    with_executor(test)


def test_a_block_with_a_name_is_kept_and_what_changed_is_told():
    async def test(executor):
        r = await executed(
            executor,
            ("python", "# filename: lib/m.py\nX = 7"),
            ("python", "import sys; sys.path.append('lib'); import m; print(m.X)\nopen('out.txt', 'w').write('1')"),
        )
        assert (r.exit_code, r.output, r.code_file) == (0, "7\n", "/box/lib/m.py")
        assert {"/box/lib/m.py", "/box/out.txt"} <= set(r.output_files)
        r = await executed(executor, ("sh", "echo 2 > out.txt"))
        assert r.output_files == ["/box/out.txt"] and await executor.box.read("out.txt") == b"2\n"
        for name in ("../x", "/etc/x", "/box", "."):
            r = await executed(executor, ("python", f"# filename: {name}\nprint(1)"))
            assert (r.exit_code, r.output) == (1, "Filename is not in the workspace\n"), name
        r = await executed(executor, ("sh", "# filename: lib\necho"))
        assert r.exit_code == 1 and "directory" in r.output.lower()

    with_executor(test)


def test_a_timeout_raises_what_the_contract_says_and_the_box_lives_on():
    async def test(executor):
        started = time.monotonic()
        with pytest.raises(asyncio.TimeoutError, match="before"):
            await executed(executor, ("sh", "echo before; while true; do date +%N > alive; done"))
        assert time.monotonic() - started < 10
        first = await executor.box.read("alive")
        await asyncio.sleep(0.2)
        assert await executor.box.read("alive") == first
        assert (await executed(executor, ("sh", "echo alive"))).output == "alive\n"

    with_executor(test, timeout=2)


def test_other_limits_are_told_in_the_output():
    async def test(executor):
        r = await executed(executor, ("python", "x = bytearray(500 << 20)"))
        assert r.exit_code == 124 and r.output.endswith("[killed: out of memory: 128 MiB are the limit]\n")
        r = await executed(executor, ("sh", "yes"))
        assert r.exit_code == 124 and "more than 1048576 bytes of output" in r.output

    with_executor(test)


def test_a_token_that_is_cancelled_ends_the_block_and_no_more():
    async def test(executor):
        token = CancellationToken()
        task = asyncio.create_task(
            executed(executor, ("sh", "while true; do date +%N > alive; sleep 0.02; done"), token=token)
        )
        other = asyncio.create_task(executed(executor, ("sh", "sleep 1; echo done")))
        await executor.box.run(["sh", "-c", "until [ -s alive ]; do sleep 0.02; done"])
        token.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        first = await executor.box.read("alive")
        await asyncio.sleep(0.2)
        assert await executor.box.read("alive") == first
        assert (await other).output == "done\n"
        with pytest.raises(asyncio.CancelledError):
            await executed(executor, ("sh", "true"), token=token)

    with_executor(test)


def test_it_starts_stops_and_restarts_empty():
    async def main():
        executor = PyjailCodeExecutor()
        with pytest.raises(ValueError, match="not started"):
            await executed(executor, ("sh", "true"))
        await executor.start()
        await executor.start()
        await executed(executor, ("sh", "touch a; sleep 60 &"))
        await executor.restart()
        assert (await executed(executor, ("sh", "ls"))).output == ""
        with pytest.raises(ValueError, match="No code blocks"):
            await executed(executor)
        await executor.stop()
        await executor.stop()
        with pytest.raises(ValueError, match="not started"):
            await executed(executor, ("sh", "true"))

    with pyjail.testing.nothing_left():
        asyncio.run(main())


def test_it_is_made_again_from_its_component_file():
    made = PyjailCodeExecutor(
        7, jail=pyjail.Jail(network="loopback"), limits={"memory": "64M"}, env={"A": "b"}, disk="1M"
    )
    again = CodeExecutor.load_component(ComponentModel.model_validate_json(made.dump_component().model_dump_json()))
    assert type(again) is PyjailCodeExecutor and again.dump_component() == made.dump_component()
    assert again.dump_component().config["limits"]["memory"] == 64 << 20
    plain = PyjailCodeExecutor().dump_component()
    assert plain.provider == "pyjail.integrations.autogen.PyjailCodeExecutor" and "jail" not in plain.config


@pytest.mark.parametrize("failure", failing.FAILURES)
def test_a_failure_of_ours_is_raised_and_never_an_answer(monkeypatch, failure):
    async def test(executor):
        async def fail(*args, **options):
            return failing.FAILURES[failure]()

        monkeypatch.setattr(executor.box, "run", fail)
        raised = pyjail.KeeperError if failure == "jail_error" else getattr(pyjail, failure)
        with pytest.raises(raised):
            await executed(executor, ("sh", "true"))
        coder = CodeExecutorAgent("runner", executor)
        with pytest.raises(raised):
            await coder.run(task="```sh\ntrue\n```")

    with_executor(test)


def test_what_a_workbench_makes_an_error_of_is_told_as_our_failure(monkeypatch):
    async def test(executor):
        tools = StaticWorkbench([PythonCodeExecutionTool(executor)])
        r = await tools.call_tool("CodeExecutor", {"code": "print(6 * 7)"})
        assert (r.is_error, r.to_text(), executor.failure) == (False, "42\n", None)

        async def fail(*args, **options):
            return failing.lost()

        monkeypatch.setattr(executor.box, "run", fail)
        r = await tools.call_tool("CodeExecutor", {"code": "print(6 * 7)"})
        assert r.is_error and "forged" not in r.to_text() and type(executor.failure) is pyjail.KeeperError

    with_executor(test)


def test_a_keeper_that_is_killed_is_raised():
    async def test(executor):
        await executed(executor, ("sh", "true"))
        failing.kill_keepers()
        with pytest.raises(pyjail.KeeperError):
            await executed(executor, ("sh", "true"))

    with_executor(test)


def test_the_tool_of_an_assistant_runs_python_in_the_box():
    async def test(executor):
        tool = PythonCodeExecutionTool(executor)
        r = await tool.run_json({"code": "print(6 * 7)"}, CancellationToken())
        assert r.success and r.output == "42\n"

    with_executor(test)


class Engineer(ReplayChatCompletionClient):
    """A model that is shown what the last block printed, and answers with the next one."""

    def __init__(self, program):
        super().__init__([""])
        self.script, self.started = repair.commands(program), False

    async def create(self, messages, **options):
        try:
            text = f"```sh\n{self.script.send(messages[-1].content if self.started else None)}\n```"
        except StopIteration:
            text = "REPAIRED"
        self.started = True
        return CreateResult(finish_reason="stop", content=text, usage=RequestUsage(0, 0), cached=False)


@pytest.mark.parametrize("program", repair.PROGRAMS, ids=lambda p: p.name)
def test_a_team_repairs_a_program(program):
    async def test(executor):
        for name, text in program.files.items():
            await executor.box.write(name, text)
        engineer = AssistantAgent("engineer", Engineer(program))
        runner = CodeExecutorAgent("runner", executor)
        team = RoundRobinGroupChat(
            [engineer, runner], termination_condition=TextMentionTermination("REPAIRED"), max_turns=12
        )
        done = await team.run(task="Repair it.")
        assert done.messages[-1].content == "REPAIRED", done.messages[-1]
        assert program.right in (await executor.box.read(f"{program.name}.py")).decode()

    with_executor(test, limits={"cpu_time": 2})
