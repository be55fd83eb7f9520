"""smolagents repairs a program in an interpreter. `pip install 'DIRECTORY[smolagents]'`"""

from engineer import FILES, TASK, commands
from smolagents import CodeAgent
from smolagents.models import ChatMessage, MessageRole, Model

from pyjail.integrations.smolagents import PyjailPythonExecutor


class Scripted(Model):
    def __init__(self):
        super().__init__()
        self.script, self.started = commands(), False

    def generate(self, messages, **options):
        try:
            command = self.script.send(str(messages[-1].content) if self.started else None)
            code = f"import subprocess\n_ = subprocess.run({command!r}, shell=True)"
        except StopIteration:
            code = "final_answer([line for line in open('merged.py') if '<=' in line][0].strip())"
        self.started = True
        print("code:", code.splitlines()[-1])
        return ChatMessage(role=MessageRole.ASSISTANT, content=f"<code>\n{code}\n</code>")


executor = PyjailPythonExecutor(timeout=30)
for name, text in FILES.items():
    executor.interpreter.box.write(name, text)
with CodeAgent(tools=[], model=Scripted(), executor=executor, verbosity_level=0) as agent:
    print(agent.run(TASK))
