"""mini-swe-agent repairs a program in a box. `pip install 'DIRECTORY[mini-swe-agent]'`"""

import os

os.environ.setdefault("MSWEA_SILENT_STARTUP", "1")

from engineer import FILES, TASK, commands
from minisweagent.agents.default import DefaultAgent
from minisweagent.models.test_models import DeterministicModel, make_output

from pyjail.integrations.minisweagent import SUBMIT, PyjailEnvironment


class Scripted(DeterministicModel):
    def __init__(self):
        super().__init__(outputs=[])
        self.script, self.started = commands(), False

    def query(self, messages, **options):
        try:
            command = self.script.send(messages[-1]["content"] if self.started else None)
        except StopIteration:
            command = f"echo {SUBMIT}; grep -n '<=' merged.py"
        self.started = True
        print("$", command)
        return make_output("", [{"command": command}])


with PyjailEnvironment(timeout=30) as env:
    for name, text in FILES.items():
        env.box.write(name, text)
    agent = DefaultAgent(
        Scripted(), env, system_template="You repair programs.", instance_template="{{task}}", cost_limit=0
    )
    done = agent.run(TASK)
print(done["exit_status"])
print(done["submission"].strip())
