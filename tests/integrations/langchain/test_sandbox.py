"""What their suite does not ask: limits, what stays, failures of ours, cancellation, an agent that repairs a program."""

from __future__ import annotations

import asyncio
import time

import pytest
from deepagents import create_deep_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage

import pyjail
import pyjail.testing
from pyjail import Limits
from pyjail.integrations.langchain import PyjailSandbox
from tests.integrations import failing, repair


@pytest.fixture
def sandbox():
    with PyjailSandbox(limits=Limits(cpu_time=None, wall_time=20, memory="128M", output="1M")) as sandbox:
        yield sandbox


def test_files_and_servers_stay_from_command_to_command(sandbox):
    sandbox.execute(f"echo kept > /tmp/a; {repair.BEATING}")
    r = sandbox.execute(f"cat /tmp/a; {repair.GROWS}")
    assert r.output.startswith("kept\n") and r.output.endswith("lives\n")


def test_streams_are_one_text_in_order_and_the_exit_code_is_a_shell_s(sandbox):
    r = sandbox.execute("echo 1; echo 2 >&2; echo 3; exit 5")
    assert (r.output, r.exit_code, r.truncated) == ("1\n2\n3\n", 5, False)
    assert sandbox.execute("kill -TERM $$").exit_code == 128 + 15
    assert "no-such" in sandbox.execute("no-such").output and sandbox.execute("no-such").exit_code == 127


@pytest.mark.parametrize(
    ("command", "timeout", "said"),
    [
        ("echo before; sleep 60", 1, "before\n[killed: more than 1 s of wall time]\n"),
        ("python -c 'x = bytearray(500 << 20)'", None, "[killed: out of memory: 128 MiB are the limit]\n"),
        ("yes", None, "[killed: more than 1048576 bytes of output; the rest is cut off]\n"),
    ],
)
def test_a_limit_is_told_in_the_output(sandbox, command, timeout, said):
    started = time.monotonic()
    r = sandbox.execute(command, timeout=timeout)
    assert r.output.endswith(said) and r.exit_code == 124 and r.truncated == (command == "yes")
    assert time.monotonic() - started < 15
    assert sandbox.execute("echo alive").output == "alive\n"


def test_a_command_that_no_program_can_be_given_is_answered(sandbox):
    r = sandbox.execute("true " + "x" * 200_000)
    assert r.exit_code == 126 and "too long" in r.output


def test_files_are_told_apart_by_what_is_wrong_with_them(sandbox):
    sandbox.execute("mkdir dir; echo x > closed; chmod 0 closed; head -c 1000 /dev/zero > link; ln -sf /proc/1/mem mem")
    up = sandbox.upload_files(
        [("/box/a/b", b"1"), ("/usr/b", b""), ("/box/dir", b""), ("c", b""), ("/box/closed", b"")]
    )
    assert [r.error for r in up] == [None, "permission_denied", "is_directory", "invalid_path", "permission_denied"]
    down = sandbox.download_files(["/box/a/b", "/box/none", "/box/dir", "/box/closed", "/etc/shadow", "/box/mem"])
    assert [r.content for r in down] == [b"1", None, None, None, None, None]
    assert [r.error for r in down[:4]] == [None, "file_not_found", "is_directory", "permission_denied"]
    assert down[5].error == "permission_denied"


@pytest.mark.parametrize("failure", failing.FAILURES)
def test_a_failure_of_ours_is_raised_and_never_an_answer(sandbox, monkeypatch, failure):
    for name in ("run", "read", "write"):
        monkeypatch.setattr(sandbox.box, name, lambda *args, **options: failing.FAILURES[failure]())
    with pytest.raises(pyjail.KeeperError if failure == "jail_error" else getattr(pyjail, failure)):
        sandbox.execute("true")
    assert sandbox.failure is not None
    if failure != "jail_error":
        for move in (lambda: sandbox.download_files(["/box/a"]), lambda: sandbox.upload_files([("/box/a", b"")])):
            with pytest.raises(getattr(pyjail, failure)):
                move()


def test_what_their_glob_tool_makes_an_error_of_is_told_as_our_failure(sandbox, monkeypatch):
    monkeypatch.setattr(sandbox.box, "run", lambda *args, **options: failing.FAILURES["HostError"]())
    call = AIMessage("", tool_calls=[{"name": "glob", "args": {"pattern": "*"}, "id": "call-0"}])
    model = Scripted(messages=iter([call, AIMessage("end")]))
    state = create_deep_agent(model=model, backend=sandbox).invoke({"messages": [("user", "look")]})
    assert state["messages"][-2].status == "error" and type(sandbox.failure) is pyjail.HostError


def test_a_keeper_that_is_killed_ends_the_agent_s_run(sandbox):
    sandbox.execute("true")
    failing.kill_keepers()
    with pytest.raises(pyjail.KeeperError):
        agent(sandbox, iter(["echo hello"])).invoke({"messages": [("user", "say hello")]})


async def test_a_task_that_is_cancelled_ends_its_command_and_no_other(sandbox):
    other = asyncio.create_task(sandbox.aexecute("sleep 1; echo done"))
    task = asyncio.create_task(sandbox.aexecute("while true; do date +%N > alive; sleep 0.02; done"))
    await sandbox.aexecute("until [ -s alive ]; do sleep 0.02; done")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    seen = [(await sandbox.aexecute("sleep 0.2; cat alive")).output for _ in range(2)]
    assert seen[0] == seen[1]
    assert (await other).output == "done\n"


def test_nothing_is_left_when_it_is_closed():
    with pyjail.testing.nothing_left():
        with PyjailSandbox() as sandbox:
            sandbox.execute("sleep 60 & sleep 60 &")
        sandbox.close()


def test_a_box_that_is_given_stays_open():
    with pyjail.Box() as box:
        with PyjailSandbox(box) as sandbox:
            assert sandbox.execute("echo 1 > a").exit_code == 0
        assert box.read("a") == b"1\n"
    with pytest.raises(pyjail.SpecError, match="already"):
        PyjailSandbox(box, disk="1G")


class Scripted(GenericFakeChatModel):
    """A model whose answers are written down."""

    def bind_tools(self, tools, **options):
        return self


def agent(sandbox, commands, shown=None):
    """An agent whose model runs the commands; each is told what the one before has shown, where it is a generator."""

    def messages():
        for number, command in enumerate(commands):
            call = {"name": "execute", "args": {"command": command, "timeout": 4}, "id": f"call-{number}"}
            yield AIMessage(content="", tool_calls=[call])
        yield AIMessage(content="repaired")

    return create_deep_agent(model=Scripted(messages=messages()), backend=sandbox)


@pytest.mark.parametrize("program", repair.PROGRAMS, ids=lambda p: p.name)
def test_an_agent_repairs_a_program(sandbox, program):
    sandbox.upload_files([(f"/box/{name}", text.encode()) for name, text in program.files.items()])
    script = repair.commands(program)
    answers: list[str] = []

    def commands():
        command = next(script)
        while True:
            yield command
            try:
                command = script.send(answers[-1])
            except StopIteration:
                return

    deep = agent(sandbox, commands())
    for state in deep.stream({"messages": [("user", "Repair it.")]}, stream_mode="values"):
        last = state["messages"][-1]
        if isinstance(last, ToolMessage):
            answers.append(last.content)
    assert state["messages"][-1].content == "repaired" and len(answers) == 4
    assert program.right in sandbox.download_files([f"/box/{program.name}.py"])[0].content.decode()


def test_long_output_is_kept_in_a_file_that_the_agent_can_read(sandbox):
    state = agent(sandbox, iter(["seq 60000", "sed -n 59999p /large_tool_results/call-0"])).invoke(
        {"messages": [("user", "count")]}
    )
    shown = [m.content for m in state["messages"] if isinstance(m, ToolMessage)]
    assert "/large_tool_results/call-0" in shown[0] and len(shown[0]) < 10_000 and shown[1].startswith("59999\n")
