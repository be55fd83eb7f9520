"""Talk to a program that lives on: a Python prompt in a jail, `python examples/repl.py`.

Limits hold all the while, and the prompt survives an interrupt. Then a shell on a terminal of its own, and two programs at
once under asyncio.
"""

from __future__ import annotations

import asyncio
import signal

import pyjail
from pyjail import Limits

LIMITS = Limits(cpu_time=10, wall_time=None, memory="64M", processes=8)  # no wall limit: it may live for hours
READY = "ready for more\n"  # the prompt. Who prints it himself confuses nobody but himself
PYTHON = ["python3", "-u", "-q", "-i", "-c", f"import sys; sys.ps1, sys.ps2 = {READY!r}, ''"]


class Prompt:
    """``with Prompt() as p: p.ask("1 + 1")``."""

    def __enter__(self) -> Prompt:
        self.process = pyjail.start(PYTHON, LIMITS, stderr=pyjail.STDOUT, text=True)
        self._answer()
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.__exit__(*exc)  # closes stdin, waits, reaps; kills first after an exception

    def ask(self, line: str, enough: str = "") -> str:
        """What it prints for a line. When it has printed the line ``enough``, it is interrupted, as by ^C."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer(enough)

    def _answer(self, enough: str = "") -> str:
        said = []
        while (line := self.process.stdout.readline()) not in (READY, ""):  # "": it has ended
            said.append(line)
            if line == f"{enough}\n":
                self.process.send_signal(signal.SIGINT)
        return "".join(said)


def terminal() -> None:
    """A shell on a terminal: its window, and ^C. Each time it is waited for the prompt, or else what is typed mixes with it."""
    with pyjail.start(["sh"], Limits(wall_time=60), pty=(24, 80), env={"PATH": "/usr/bin:/bin", "PS1": "$ "}) as p:

        def ask(keys: str, until: str) -> None:
            p.terminal.write(keys.encode())
            seen = ""
            while until not in seen:
                seen += p.terminal.read(1024).decode()

        ask("stty size\n", "24 80\r\n$ ")
        p.resize(50, 132)
        ask("stty size\n", "50 132\r\n$ ")
        ask("cat\nhello\n", "hello\r\nhello\r\n")  # the terminal's echo, and cat's
        ask("\x03", "$ ")  # ^C ends cat, not the shell
        p.terminal.write(b"exit 0\n")
        p.wait()
    print("terminal:", p.result.verdict, "after 24 80, 50 132 and an interrupt")


async def at_once() -> None:
    """The same without a thread for each: `pyjail.aio.start`."""

    async def square(n: int) -> str:
        async with await pyjail.aio.start(["python3", "-c", "print(int(input()) ** 2)"], text=True) as p:
            p.stdin.write(f"{n}\n")
            await p.stdin.drain()
            return (await p.stdout.readline()).strip()

    print("at once:", await asyncio.gather(square(12), square(34)))


def main() -> None:
    with Prompt() as prompt:
        prompt.ask("import math; kept = math.factorial(10)")
        print("kept from line to line:", prompt.ask("kept").strip())
        endless = prompt.ask("exec('print(1)\\nwhile True: pass')", enough="1")
        print("interrupted:", endless.splitlines()[-1])
        print("still there:", prompt.ask("kept + 1").strip(), prompt.process.poll())
        prompt.ask("x = bytearray(1 << 30)")  # more than its memory: the jail ends
        prompt.process.wait(timeout=60)
    print("ended by:", prompt.process.result.verdict)
    terminal()
    asyncio.run(at_once())


if __name__ == "__main__":
    main()
    pyjail.close()
