"""A team of AutoGen repairs a program in a box. `pip install 'DIRECTORY[autogen]' autogen-agentchat autogen-ext`"""

import asyncio

from autogen_agentchat.agents import AssistantAgent, CodeExecutorAgent
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core.models import CreateResult, RequestUsage
from autogen_ext.models.replay import ReplayChatCompletionClient
from engineer import FILES, TASK, commands

from pyjail.integrations.autogen import PyjailCodeExecutor


class Scripted(ReplayChatCompletionClient):
    def __init__(self):
        super().__init__([""])
        self.script, self.started = commands(), False

    async def create(self, messages, **options):
        try:
            text = f"```sh\n{self.script.send(messages[-1].content if self.started else None)}\n```"
        except StopIteration:
            text = "REPAIRED"
        self.started = True
        return CreateResult(finish_reason="stop", content=text, usage=RequestUsage(0, 0), cached=False)


async def main() -> None:
    async with PyjailCodeExecutor(timeout=30) as executor:
        for name, text in FILES.items():
            await executor.box.write(name, text)
        team = RoundRobinGroupChat(
            [AssistantAgent("engineer", Scripted()), CodeExecutorAgent("runner", executor)],
            termination_condition=TextMentionTermination("REPAIRED"),
            max_turns=12,
        )
        async for message in team.run_stream(task=TASK):
            if hasattr(message, "content"):
                print(f"{message.source}: {message.content.strip().splitlines()[-1]}")
        (line,) = [line for line in (await executor.box.read("merged.py")).decode().splitlines() if "<=" in line]
        print(line.strip())


asyncio.run(main())
