"""deepagents repairs a program in a box. `pip install 'DIRECTORY[langchain]'`"""

from deepagents import create_deep_agent
from engineer import FILES, TASK, commands
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage

from pyjail.integrations.langchain import PyjailSandbox

answers = []


def messages():
    script = commands()
    command = next(script)
    for number in range(10):
        yield AIMessage("", tool_calls=[{"name": "execute", "args": {"command": command}, "id": f"call-{number}"}])
        try:
            command = script.send(answers[-1])
        except StopIteration:
            break
    yield AIMessage("It is repaired.")


class Scripted(GenericFakeChatModel):
    def bind_tools(self, tools, **options):
        return self


with PyjailSandbox() as sandbox:
    sandbox.upload_files([(f"/box/{name}", text.encode()) for name, text in FILES.items()])
    agent = create_deep_agent(model=Scripted(messages=messages()), backend=sandbox)
    for state in agent.stream({"messages": [("user", TASK)]}, stream_mode="values"):
        last = state["messages"][-1]
        if isinstance(last, ToolMessage):
            answers.append(last.content)
            print("$ shown:", last.content.splitlines()[0])
    print(last.content)
    print(sandbox.execute("grep -n '<=' merged.py").output.strip())
