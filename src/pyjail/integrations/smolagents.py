"""An executor of smolagents whose code runs in a `pyjail.Interpreter`: ``pip install 'pyjail-linux[smolagents]'``.

>>> from pyjail.integrations.smolagents import PyjailPythonExecutor
>>> executor = PyjailPythonExecutor()
>>> executor("x = 6 * 7\\nprint('worked')\\nx")
CodeOutput(output='42', logs='worked\\n', is_final_answer=False)
>>> executor.cleanup()

``smolagents.CodeAgent(tools=[], model=..., executor=PyjailPythonExecutor())`` is an agent that works in it.
"""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import PIL.Image
from smolagents.local_python_executor import CodeOutput
from smolagents.monitoring import AgentLogger, LogLevel
from smolagents.remote_executors import RemotePythonExecutor
from smolagents.serialization import SafeSerializer
from smolagents.tools import Tool, get_tools_definition_code
from smolagents.utils import AgentError

from pyjail import Interpreter, Jail, Limits, SpecError, Verdict
from pyjail.integrations import shared
from pyjail.interpreter import Display, Execution

__all__ = ["ExecutorUnavailableError", "PyjailPythonExecutor"]

ANSWER = "text/vnd.pyjail.answer"  # MIME type of a final answer, which is shown as a result: those are bounded
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n")[:11].decode()  # else PIL tries formats that start programs
DTYPE = re.compile(r"bool|object|u?int\d+|float\d+|complex\d+|[<>|=]?[US]\d\d?|(datetime|timedelta)64(\[\w+\])?")
PROPOSED = "FinalAnswerException"
FINAL = f"""
class SafeSerializer:
    @staticmethod
    def _get_optional_type(module, attr):
        import importlib
        try:
            return getattr(importlib.import_module(module), attr)
        except (ImportError, AttributeError):
            return None

{{serializer}}

class {PROPOSED}(BaseException):
    pass

def _final(tool, serializer, show, proposed):
    import base64, json
    from io import BytesIO

    def final_answer(*args, **kwargs):
        show({{{{"{ANSWER}": "safe:" + json.dumps(serializer.to_json_safe(tool(*args, **kwargs)))}}}}, raw=True)
        raise proposed("the answer was shown")

    return final_answer

import base64
from io import BytesIO
from typing import Any

final_answer = _final(final_answer, SafeSerializer, display, {PROPOSED})
"""


class ExecutorUnavailableError(BaseException):
    """pyjail or the machine failed, so nothing can be said of the code; ``__cause__`` is pyjail's error.

    No `Exception`: smolagents shows the model each of those as an error of its code, and goes on. This one ends
    ``agent.run``.
    """


class PyjailPythonExecutor(RemotePythonExecutor):
    """Runs the code of a `smolagents.CodeAgent` in a jail: ``CodeAgent(executor=PyjailPythonExecutor())``.

    Variables, imports and files stay from step to step. A step that takes longer than the timeout is interrupted, and
    its variables are kept; what ends the interpreter (its memory, ``os._exit``) loses them, and the model is told so;
    tools and the agent's own variables are there again in the next step. Nothing that comes back is unpickled: a final
    answer is smolagents' JSON ("safe:"), other results are text or images.

    Args:
        additional_imports: packages that the code may import, as pip names them: ``packages`` of `pyjail.Interpreter`.
        logger: of the agent; default: none.
        interpreter: one that there is, which stays open after `cleanup`; None: one of its own, of what follows.
        jail: default: `Jail` with its defaults in which `python` is found, too. limits: as of `pyjail.Interpreter`.
        timeout: seconds for one step.
        options: others of `pyjail.Interpreter`: ``wheelhouse``, ``disk``, ``env``, ``max_result`` ...

    Raises:
        ExecutorUnavailableError: from every step, when pyjail or the machine failed.
        AgentError: the code failed. HostError, SpecError: there can be no such interpreter here.
    """

    def __init__(
        self,
        additional_imports: Sequence[str] = (),
        logger: AgentLogger | None = None,
        *,
        interpreter: Interpreter | None = None,
        jail: Jail | None = None,
        limits: Limits | None = None,
        timeout: float | str | None = 60.0,
        **options: Any,
    ) -> None:
        super().__init__(list(additional_imports), logger or AgentLogger(level=LogLevel.OFF), allow_pickle=False)
        self._own = interpreter is None
        if interpreter is None:
            jail = jail or shared.agents_jail()
            interpreter = Interpreter(jail, limits, packages=tuple(additional_imports), **options)
        elif jail is not None or limits is not None or options or additional_imports:
            raise SpecError("interpreter", interpreter, "one that there is has its jail, limits and packages already")
        self.interpreter = interpreter
        self._timeout = timeout
        self._ready: dict[str, str] = {}  # what a new interpreter is told first: tools, variables

    def send_tools(self, tools: Mapping[str, Tool]) -> None:
        """Define the tools inside. ValueError: a managed agent, which cannot be there; or a package that is missing."""
        for name, tool in tools.items():
            if not isinstance(tool, Tool):
                raise ValueError(f"{name} is no tool but a managed agent, which cannot run in a jail")
        needed = {package for tool in tools.values() for package in tool.to_dict()["requirements"]}
        self.install_packages(sorted(needed - {"smolagents", *self.installed_packages}))
        code = get_tools_definition_code(tools)
        if "final_answer" in tools:
            code += FINAL.format(serializer=inspect.getsource(SafeSerializer.to_json_safe))
        self._prepare("tools", code)

    def send_variables(self, variables: Mapping[str, Any]) -> None:
        """Set variables inside. `smolagents.serialization.SerializationError`: one that JSON has no word for."""
        if variables:
            text = SafeSerializer.dumps(dict(variables))
            code = SafeSerializer.get_deserializer_code(False)
            self._prepare("variables", f"{code}\nglobals().update(_deserialize({text!r}))\n")

    def install_packages(self, additional_imports: list[str]) -> list[str]:
        """Nothing is installed into a jail that runs: ValueError for a module that cannot be imported inside."""
        if not additional_imports:
            return []
        found = f"[m for m in {json.dumps(additional_imports)} if not __import__('importlib.util').util.find_spec(m)]"
        missing = self._run(found).text
        if missing != "[]":
            raise ValueError(
                f"tools need modules that are not in the jail: {missing}. Name their packages: "
                "PyjailPythonExecutor(additional_imports=[...])"
            )
        self.installed_packages += additional_imports
        return additional_imports

    def run_code_raise_errors(self, code: str) -> CodeOutput:
        """Run a step: its main result, what it printed, and whether it gave the final answer.

        Raises:
            AgentError: the code failed: how, and what it printed. ExecutorUnavailableError: pyjail or the machine did.
        """
        done = self._run(code)
        logs = _logs(done)
        if done.error is not None and done.error.name == PROPOSED:
            return CodeOutput(output=self._answer(done), logs=logs, is_final_answer=True)
        if done.ended:
            self._again()
            why = f"The interpreter has ended: {done.ended}. Its variables are lost."
        elif done.lost and self._ready:
            self._again()
            why = f"The interpreter had ended before this code: {done.lost}. Its variables are lost: run it again."
        elif done.verdict is Verdict.WALL_TIME:
            why = f"Interrupted after {self._timeout} s. Variables are kept.\n{done.error and done.error.traceback}"
        elif done.error is not None:
            why = f"Executing code yielded an error:\n{done.error.name}\n{done.error.value}\n{done.error.traceback}"
        else:
            return CodeOutput(output=_main(done.results), logs=logs, is_final_answer=False)
        raise AgentError(f"{logs}\n{why}", self.logger)

    def _answer(self, done: Execution) -> Any:
        """The final answer: JSON, whatever it claims to be."""
        shown = [result.extra[ANSWER] for result in done.results if ANSWER in result.extra]
        if not shown:
            raise AgentError("The final answer is too large, or was never given by final_answer().", self.logger)
        try:
            return _read(shown[-1])
        except Exception as e:  # whatever it makes of readers is the code's fault
            raise AgentError(f"The final answer cannot be read: {e!r}", self.logger) from e

    def _prepare(self, what: str, code: str) -> None:
        self._ready[what] = code
        self.run_code_raise_errors(code)

    def _again(self) -> None:
        """A new interpreter is told what the one before knew of the agent."""
        for code in self._ready.values():
            self._run(code)

    def _run(self, code: str) -> Execution:
        try:
            return self.interpreter.run(code, self._timeout)
        except SpecError as e:
            raise AgentError(str(e), self.logger) from e
        except shared.OURS as e:
            raise ExecutorUnavailableError(f"nothing can be said of the code: {e}") from e

    def cleanup(self) -> None:
        """End the interpreter, where it is its own. Twice is fine."""
        if self._own:
            self.interpreter.close()


def _read(answer: str) -> Any:
    """The value of smolagents' JSON, less what could cost this process more than its own size."""
    if not answer.startswith("safe:"):
        raise ValueError('"safe:" is missing')
    return SafeSerializer.from_json_safe(json.loads(answer[5:], object_hook=_checked))


def _checked(node: dict[str, Any]) -> dict[str, Any]:
    if node.get("__type__") == "PIL.Image" and not node["data"].startswith(PNG):
        raise ValueError("an image that is no PNG")
    if node.get("__type__") == "ndarray" and not DTYPE.fullmatch(node["dtype"]):
        raise ValueError(f"an array of {node['dtype'][:40]!r}")
    return node


def _logs(done: Execution) -> str:
    """What was printed, and what of it is not here."""
    cut = "".join(f"\n[cut: {line}]" for line in done.cut)
    return "".join((*done.logs.stdout, *done.logs.stderr)) + cut


def _main(results: Sequence[Display]) -> Any:
    """The value of the last expression: an image where it is one, else text. Without one, the first image shown."""
    for result in sorted(results, key=lambda one: not one.is_main_result):
        for name in ("png", "jpeg"):
            if getattr(result, name) is not None:
                try:
                    return PIL.Image.open(BytesIO(result.raw(name)), formats=(name.upper(),))
                except (OSError, ValueError, PIL.Image.DecompressionBombError):
                    continue  # it is none, or one too large
        if result.is_main_result:
            return result.text
    return None
