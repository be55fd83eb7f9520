"""A problem in HumanEval's shape: its ``check(candidate)``, or a list of bare asserts as MBPP has them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .proxy import Channel
    from .report import Reporter

TESTS = "<tests>"


def run(task: dict[str, Any], channel: Channel, reporter: Reporter) -> None:
    """Run its tests; returns when they passed. The prompt is trusted, and its helpers are there for the tests."""
    name, source = task["entry_point"], task["test"]
    namespace: dict[str, Any] = {"__name__": "__tests__"}
    for prompt in (task["prompt"], task["prompt"] + "\n    pass\n"):
        try:
            code = compile(prompt, "<prompt>", "exec")
        except (SyntaxError, ValueError):
            continue
        exec(code, namespace)  # noqa: S102 -- the problem's own text, in the checker's jail
        break
    channel.exceptions.update(
        (k.__name__, k) for k in namespace.values() if isinstance(k, type) and issubclass(k, Exception)
    )
    if channel.find(task["module"], name)[0] != "function":
        reporter.finish("failed", f"there is no function named {name!r}")

    def candidate(*args: Any, **kwargs: Any) -> Any:
        return channel.call(task["module"], name, args, kwargs)

    candidate.__name__ = candidate.__qualname__ = name
    namespace[name] = candidate
    asked, before = channel.asked, namespace.get("check")
    try:
        code = compile(source, TESTS, "exec")
    except (SyntaxError, ValueError) as e:
        reporter.finish("broken", f"the tests: {type(e).__name__}: {e}")
    try:
        exec(code, namespace)  # noqa: S102
        if namespace.get("check") is not before:  # the tests have defined it: it may be the name of a helper, too
            namespace["check"](candidate)
    except BaseException as e:
        reporter.finish("failed", explain(e, source, TESTS))
    if channel.asked == asked:
        reporter.finish("broken", f"the tests never call {name!r}")


def explain(e: BaseException, source: str, file: str) -> str:
    """What was raised, and the line of the tests where it was."""
    line, at = 0, e.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == file:
            line = at.tb_lineno
        at = at.tb_next
    lines = source.splitlines()
    try:
        text = str(e)
    except Exception as wrong:
        text = f"(no text: {type(wrong).__name__})"
    where = f" at line {line}: {lines[line - 1].strip()[:300]}" if 0 < line <= len(lines) else ""
    return f"{type(e).__name__}{f': {text[:1000]}' if text else ''}{where}"
