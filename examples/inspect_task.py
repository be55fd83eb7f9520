"""A task of Inspect AI in boxes of pyjail: `inspect eval examples/inspect_task.py --sandbox pyjail`.

The model is scripted, so that it runs without any: it looks at a program that is wrong, repairs it, and runs its test.
The scorer runs the test again, in the same box, after the model's last word.
"""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState, generate, use_tools
from inspect_ai.tool import bash
from inspect_ai.util import SandboxEnvironmentSpec, sandbox

from pyjail.integrations.inspect import PyjailConfig

FILES = {
    "mean.py": "def mean(numbers):\n    return sum(numbers) / 2\n",
    "test_mean.py": "from mean import mean\nassert mean([1, 2, 6]) == 3\nprint('fine')\n",
}
COMMANDS = ["cat mean.py; python3 test_mean.py", "sed -i 's|/ 2|/ len(numbers)|' mean.py", "python3 test_mean.py"]
TEST = FILES["test_mean.py"]


def script() -> list[ModelOutput]:
    """What the model says, one after the other."""
    outputs = [ModelOutput.for_tool_call("mockllm/model", "bash", {"command": command}) for command in COMMANDS]
    outputs.append(ModelOutput.from_content("mockllm/model", "It is repaired."))
    return [output.model_copy(update={"usage": ModelUsage()}) for output in outputs]


@scorer(metrics=[accuracy()])
def test_passes() -> Scorer:
    """Whether the test passes, by what the task has kept of it: the model may have changed the one in the box."""

    async def score(state: TaskState, target: Target) -> Score:
        result = await sandbox().exec(["python3", "-c", TEST], timeout=10)
        return Score(value=CORRECT if result.success else INCORRECT, explanation=result.stderr)

    return score


@task
def repair() -> Task:
    """One sample, in a box of 256 MiB."""
    return Task(
        dataset=[Sample("The test of mean.py fails. Repair the program.", files=FILES)],
        solver=[use_tools([bash(timeout=30)]), generate()],
        scorer=test_passes(),
        model=get_model("mockllm/model", custom_outputs=script()),
        sandbox=SandboxEnvironmentSpec("pyjail", PyjailConfig(limits={"memory": "256M"})),
    )
