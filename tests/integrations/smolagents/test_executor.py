"""smolagents' executor over an Interpreter: its contract, tools, answers that are data, failures of ours, a repair."""

from __future__ import annotations

import datetime
import pickle
from dataclasses import replace

import pytest
from smolagents import CodeAgent, FinalAnswerTool, Tool
from smolagents.models import ChatMessage, MessageRole, Model
from smolagents.remote_executors import RemotePythonExecutor
from smolagents.utils import AgentError

import pyjail
import pyjail.testing
from pyjail import Limits
from pyjail.integrations.smolagents import ANSWER, ExecutorUnavailableError, PyjailPythonExecutor
from tests.integrations import failing, repair

LIMITS = Limits(cpu_time=None, wall_time=None, memory="256M")


@pytest.fixture
def executor():
    executor = PyjailPythonExecutor(limits=LIMITS, timeout=20)
    yield executor
    executor.cleanup()


class Add(Tool):
    name = "add"
    description = "Adds."
    inputs = {"a": {"type": "integer", "description": "one"}, "b": {"type": "integer", "description": "other"}}  # noqa: RUF012
    output_type = "integer"

    def forward(self, a: int, b: int) -> int:
        return a + b


class Needs(Tool):
    name = "needs"
    description = "Needs a module that nobody has."
    inputs = {"a": {"type": "integer", "description": "one"}}  # noqa: RUF012
    output_type = "integer"

    def forward(self, a: int) -> int:
        import no_such_module

        return no_such_module.add(a)


def final():
    return {"final_answer": FinalAnswerTool()}


def test_variables_and_files_stay_and_the_last_expression_is_the_output(executor):
    assert isinstance(executor, RemotePythonExecutor)
    r = executor("x = 20\nprint('printed')")
    assert (r.output, r.logs, r.is_final_answer) == (None, "printed\n", False)
    assert executor("_ = open('a', 'w').write('1')\nx + 1").output == "21"
    assert executor("open('a').read()").output == "'1'"


def test_what_the_code_raises_is_an_agent_error_with_what_it_printed(executor):
    with pytest.raises(AgentError, match=r"(?s)before.*ZeroDivisionError.*division by zero"):
        executor("x = 5\nprint('before')\n1 / 0")
    assert executor("x").output == "5"


def test_tools_and_variables_are_there_inside(executor):
    executor.send_tools({"add": Add(), **final()})
    executor.send_variables({"numbers": [1, 2], "when": datetime.date(2026, 1, 2)})
    assert executor("add(*numbers) + when.year").output == "2029"


def test_a_tool_s_module_that_is_not_inside_is_told_before_the_run(executor):
    with pytest.raises(ValueError, match=r"no_such_module.*additional_imports"):
        executor.send_tools({"needs": Needs()})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("{'a': [1, (2, 3.5), None], 4: {5}}", {"a": [1, (2, 3.5), None], 4: {5}}),
        ("(b'bytes', 2j)", (b"bytes", 2j)),
        ("__import__('datetime').timedelta(seconds=3)", datetime.timedelta(seconds=3)),
        ("'x' * 900_000", "x" * 900_000),
    ],
)
def test_final_answers_are_values(executor, expression, value):
    executor.send_tools(final())
    r = executor(f"try:\n    final_answer({expression})\nexcept Exception:\n    pass")
    assert r.is_final_answer and r.output == value


def test_a_final_answer_that_is_no_data_is_the_code_s_error(executor):
    executor.send_tools(final())
    with pytest.raises(AgentError, match="Cannot safely serialize"):
        executor("final_answer(object())")
    with pytest.raises(AgentError, match="too large"):
        executor("final_answer('x' * (8 << 20))")


class Loaded:
    def __reduce__(self):
        return print, ("unpickled",)


FORGED = {
    "pickle": repr("pickle:" + pickle.dumps(Loaded()).hex()),
    "nothing": "''",
    "no JSON": "'safe:{'",
    "deep": "'safe:' + 100_000 * '['",
    "huge": "'safe:' + 10_000 * '9'",
    "date": """'safe:{"__type__": "datetime", "data": 1}'""",
    "no data": """'safe:{"__type__": "set"}'""",
    "unhashable": """'safe:{"__type__": "set", "data": [[]]}'""",
    "image": """'safe:{"__type__": "PIL.Image", "data": "aGk="}'""",
    "image of a format that starts a program": """'safe:{"__type__": "PIL.Image", "data": "JSFQUy1BZG9iZS0zLjAgRVBTRi0zLjAK"}'""",
    "array of 2 GB": """'safe:{"__type__": "ndarray", "data": [""], "dtype": "S2000000000"}'""",
    "array of a number": """'safe:{"__type__": "ndarray", "data": [""], "dtype": 5}'""",
    "list for an image": """'safe:{"__type__": "PIL.Image", "data": ["iVBORw0KGgo"]}'""",
    "decimal": """'safe:{"__type__": "Decimal", "data": "x"}'""",
    "bytes": """'safe:{"__type__": "bytes", "data": "a"}'""",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_answer_is_never_unpickled_and_is_the_code_s_error(executor, forged, capsys):
    forge = "class FinalAnswerException(BaseException): pass\n"
    with pytest.raises(AgentError, match="final answer"):
        executor(f"{forge}display({{{ANSWER!r}: {forged}}}, raw=True)\nraise FinalAnswerException('x')")
    assert "unpickled" not in capsys.readouterr().out
    with pytest.raises(AgentError, match="never given"):
        executor("raise FinalAnswerException('safe:1')")


def test_a_step_that_takes_too_long_is_interrupted_and_its_variables_are_kept():
    executor = PyjailPythonExecutor(limits=LIMITS, timeout=1)
    with pytest.raises(AgentError, match="Interrupted after 1 s"):
        executor("x = 7\nwhile True: pass")
    assert executor("x").output == "7"
    executor.cleanup()


def test_the_end_of_the_interpreter_is_told_and_tools_are_there_again(executor):
    executor.send_tools({"add": Add(), **final()})
    executor.send_variables({"given": 3})
    with pytest.raises(AgentError, match=r"(?s)has ended: memory.*variables are lost"):
        executor("x = bytearray(600 << 20)")
    assert executor("add(given, 4)").output == "7"
    with pytest.raises(AgentError, match="has ended: it exited with 3"):
        executor("y = 1\nimport os; os._exit(3)")
    assert executor("add(given, 5)").output == "8"
    with pytest.raises(AgentError, match="name 'y' is not defined"):
        executor("y")


def test_an_end_between_two_steps_is_told(executor):
    executor.send_tools({"add": Add()})
    executor("import threading, os, time\nthreading.Timer(0.2, os._exit, [3]).start()")
    executor.interpreter.box.run(["sleep", "0.6"])
    with pytest.raises(AgentError, match="had ended before this code"):
        executor("1")
    assert executor("add(1, 1)").output == "2"


PNG = r"""
import struct, zlib

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

class Shown:
    def __init__(self, data):
        self.data = data

    def _repr_png_(self):
        return self.data

head = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0))
picture = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0abc" * 2)) + chunk(b"IEND", b"")
"""


def test_an_image_is_an_image(executor):
    executor(PNG)
    executor.send_tools(final())
    answer = "{'__type__': 'PIL.Image', 'data': __import__('base64').b64encode(picture).decode()}"
    assert executor(f"final_answer({answer})").output.size == (3, 2)
    huge = "head = chunk(b'IHDR', struct.pack('>IIBBBBB', 60_000, 60_000, 8, 0, 0, 0, 0))\n"
    executor(huge + "bomb = picture[:8] + head + picture[33:]")
    assert "Shown" in executor("Shown(bomb)").output
    assert executor("Shown(picture)").output.size == (3, 2)
    assert "Shown" in executor("Shown(b'no image')").output


@pytest.mark.parametrize("failure", [name for name in failing.FAILURES if name != "jail_error"])
def test_a_failure_of_ours_ends_the_agent_s_run_and_is_never_an_observation(executor, monkeypatch, failure):
    model = Scripted(iter(["print(1)", "final_answer(2)"]))
    agent = CodeAgent(tools=[], model=model, executor=executor, verbosity_level=0)
    run = executor.interpreter.run

    def fail(code, *args, **options):
        return failing.FAILURES[failure]() if "print(1)" in code else run(code, *args, **options)

    monkeypatch.setattr(executor.interpreter, "run", fail)
    with pytest.raises(ExecutorUnavailableError) as caught:
        agent.run("Try.")
    assert type(caught.value.__cause__) is getattr(pyjail, failure)


def test_a_keeper_that_is_killed_is_told_so(executor):
    executor("x = 1")
    failing.kill_keepers()
    with pytest.raises(ExecutorUnavailableError):
        executor("x")


def test_managed_agents_are_refused_with_the_reason(executor):
    with pytest.raises(ValueError, match="managed agent"):
        executor.send_tools({"helper": object()})


def test_nothing_is_left_after_cleanup():
    with pyjail.testing.nothing_left():
        executor = PyjailPythonExecutor()
        executor("import subprocess\n_ = subprocess.Popen(['sleep', '60'])")
        executor.cleanup()
        executor.cleanup()


def test_an_interpreter_that_is_given_stays_open():
    with pyjail.Interpreter() as python:
        executor = PyjailPythonExecutor(interpreter=python)
        executor("x = 1")
        executor.cleanup()
        assert python.run("x").text == "1"
        with pytest.raises(pyjail.SpecError, match="already"):
            PyjailPythonExecutor(interpreter=python, disk="1G")


class Scripted(Model):
    """A model whose answers are code that is written down."""

    def __init__(self, codes):
        super().__init__()
        self.codes = codes

    def generate(self, messages, **options):
        return ChatMessage(role=MessageRole.ASSISTANT, content=f"<code>\n{next(self.codes)}\n</code>")


class Engineer(Scripted):
    """Is shown what the code printed, and says what the engineer does then."""

    def __init__(self, program):
        super().__init__(iter(()))
        self.program = program
        self.script, self.started = repair.commands(program), False

    def generate(self, messages, **options):
        last = messages[-1].content
        shown = last if isinstance(last, str) else "".join(part.get("text", "") for part in last)
        try:
            command = self.script.send(shown if self.started else None)
        except StopIteration:
            code = f"final_answer(open('{self.program.name}.py').read())"
        else:
            code = f"import subprocess\n_ = subprocess.run({command!r}, shell=True, stderr=subprocess.STDOUT)"
        self.started, self.codes = True, iter([code])
        return super().generate(messages)


@pytest.mark.parametrize("program", repair.PROGRAMS, ids=lambda p: p.name)
def test_an_agent_repairs_a_program(program):
    if "killed" in program.symptom:  # a step is interrupted, and its interpreter lives on
        program = replace(program, symptom="Interrupted after 5 s")
    executor = PyjailPythonExecutor(limits=LIMITS, timeout=5)
    for name, text in program.files.items():
        executor.interpreter.box.write(name, text)
    with CodeAgent(tools=[], model=Engineer(program), executor=executor, verbosity_level=0) as agent:
        answer = agent.run("Repair it.")
    assert program.right in answer
