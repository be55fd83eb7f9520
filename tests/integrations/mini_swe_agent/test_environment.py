"""mini-swe-agent in a box: its protocol, its configuration, limits, failures of ours, a program that is repaired."""

from __future__ import annotations

import json
import os

os.environ.setdefault("MSWEA_SILENT_STARTUP", "1")

import pytest
import yaml
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments import get_environment
from minisweagent.exceptions import Submitted
from minisweagent.models.test_models import DeterministicModel, make_output

import pyjail
import pyjail.testing
from pyjail.integrations.minisweagent import SUBMIT, PyjailEnvironment
from tests.integrations import failing, repair

PATH = "pyjail.integrations.minisweagent.PyjailEnvironment"


@pytest.fixture
def env():
    with PyjailEnvironment(timeout=20, limits={"memory": "128M", "output": "1M"}) as env:
        yield env


def test_it_is_made_by_its_dotted_path_from_a_configuration_file():
    text = f"environment_class: {PATH}\ntimeout: 3\nenv: {{A: b}}\njail: {{network: loopback, hostname: bench}}\nlimits: {{memory: 64M}}"
    env = get_environment(yaml.safe_load(text))
    with env:
        assert type(env) is PyjailEnvironment
        assert env.execute({"command": "echo $A; hostname; pwd; python -c 'print(1)'"}) == {
            "output": "b\nbench\n/box\n1\n", "returncode": 0, "exception_info": "",
        }  # fmt: skip
        assert (env.box.limits.memory, env.box.limits.wall_time, env.box.limits.processes) == (64 << 20, 3, 256)
        described = json.loads(json.dumps(env.serialize()))["info"]["config"]
        assert described["environment_type"] == PATH
        with get_environment({"environment_class": PATH, **described["environment"]}) as again:
            assert again.config == env.config and again.box.jail == env.box.jail


def test_template_variables_are_the_configuration_and_the_system_and_nothing_of_this_process(env, monkeypatch):
    monkeypatch.setenv("SECRET", "42")
    seen = env.get_template_vars(task="t", timeout=7)
    assert seen["task"] == "t" and seen["timeout"] == 7 and seen["cwd"] == "/box" and seen["system"] == "Linux"
    assert "SECRET" not in seen and "SECRET" not in env.execute({"command": "env"})["output"]


def test_streams_are_one_text_and_files_and_servers_stay(env):
    r = env.execute({"command": f"echo 1; echo 2 >&2; {repair.BEATING} exit 3"})
    assert r == {"output": "1\n2\n", "returncode": 3, "exception_info": ""}
    assert env.execute({"command": repair.GROWS})["output"].endswith("lives\n")
    assert env.execute({"command": "pwd"}, cwd="/tmp")["output"] == "/tmp\n"
    assert env.execute({"command": "kill -TERM $$"})["returncode"] == -15


@pytest.mark.parametrize(
    ("command", "timeout", "kind", "said", "printed"),
    [
        ("echo before; sleep 60", 1, "TimeoutExpired", "more than 1 s of wall time", "before\n"),
        ("python -c 'x = bytearray(500 << 20)'", None, "memory", "out of memory: 128 MiB", ""),
        ("yes", None, "output", "more than 1048576 bytes of output", "y\ny\n"),
    ],
)
def test_a_limit_is_told_as_their_other_environments_tell_a_timeout(env, command, timeout, kind, said, printed):
    r = env.execute({"command": command}, timeout=timeout)
    assert r["returncode"] == -1 and said in r["exception_info"] and r["extra"]["exception_type"] == kind
    assert r["output"].startswith(printed)
    assert env.execute({"command": "echo alive"})["output"] == "alive\n"


def test_what_cannot_be_started_by_the_command_s_own_fault_is_answered(env):
    assert "Argument list too long" in env.execute({"command": "true " + "x" * 200_000})["exception_info"]
    env.execute({"command": "mkdir gone"})
    assert env.execute({"command": "rmdir ../gone; pwd"}, cwd="/box/gone")["returncode"] == 0
    r = env.execute({"command": "true"}, cwd="/box/gone")
    assert r["extra"]["exception_type"] == "CwdNotFoundError" and r["returncode"] == -1


def test_the_agreed_first_line_submits_what_follows_when_the_command_succeeded(env):
    with pytest.raises(Submitted) as caught:
        env.execute({"command": f"echo {SUBMIT}; echo a; echo b"})
    (message,) = caught.value.messages
    assert message["extra"] == {"exit_status": "Submitted", "submission": "a\nb\n"} and message["role"] == "exit"
    for command in (f"echo {SUBMIT}; exit 1", f"echo x; echo {SUBMIT}", f"echo {SUBMIT}; sleep 9"):
        assert SUBMIT in env.execute({"command": command}, timeout=1)["output"]


def test_files_of_this_machine_are_copied_in(tmp_path):
    (tmp_path / "repository/src").mkdir(parents=True)
    (tmp_path / "repository/src/a.py").write_text("print(6 * 7)")
    with PyjailEnvironment(copy_in={str(tmp_path / "repository"): "/box/work"}, cwd="/box/work") as env:
        assert env.execute({"command": "python src/a.py && echo 1 > src/b"})["output"] == "42\n"
    assert not (tmp_path / "repository/src/b").exists()


def agent(env, outputs, **options):
    return DefaultAgent(
        DeterministicModel(outputs=outputs), env, system_template="You repair programs.", instance_template="{{task}}",
        cost_limit=0, **options,
    )  # fmt: skip


@pytest.mark.parametrize("failure", failing.FAILURES)
def test_a_failure_of_ours_ends_the_run_and_is_never_an_observation(env, monkeypatch, failure, tmp_path):
    monkeypatch.setattr(env.box, "run", lambda *args, **options: failing.FAILURES[failure]())
    raised = pyjail.KeeperError if failure == "jail_error" else getattr(pyjail, failure)
    path = tmp_path / "trajectory.json"
    with pytest.raises(raised):
        agent(env, [make_output("", [{"command": "true"}])], output_path=path).run("t")
    told = json.loads(path.read_text())
    assert told["info"]["exit_status"] == raised.__name__ and told["info"]["submission"] == ""
    assert "forged" not in path.read_text()


def test_a_keeper_that_is_killed_ends_the_run(env):
    env.execute({"command": "true"})
    failing.kill_keepers()
    with pytest.raises(pyjail.KeeperError):
        env.execute({"command": "true"})


def test_nothing_is_left_after_cleanup():
    with pyjail.testing.nothing_left():
        env = PyjailEnvironment()
        env.execute({"command": "sleep 60 & sleep 60 &"})
        env.cleanup()
        env.cleanup()


class Engineer(DeterministicModel):
    """A model that is shown each observation, and says what the engineer does then."""

    def __init__(self, program):
        super().__init__(outputs=[])
        self.script = repair.commands(program)

    def query(self, messages, **options):
        try:
            command = self.script.send(None if len(messages) == 2 else messages[-1]["content"])
        except StopIteration:
            command = f"echo {SUBMIT}; cat *.py"
        return make_output("", [{"command": command}])


@pytest.mark.parametrize("program", repair.PROGRAMS, ids=lambda p: p.name)
def test_an_agent_repairs_a_program(program):
    with PyjailEnvironment(timeout=4) as env:
        for name, text in program.files.items():
            env.box.write(name, text)
        solved = DefaultAgent(
            Engineer(program), env, system_template="You repair programs.", instance_template="{{task}}", cost_limit=0
        ).run("Repair it.")
    assert solved["exit_status"] == "Submitted" and program.right in solved["submission"]
