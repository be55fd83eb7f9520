"""An agent's tools as they are written for BoxLite: only the import is another one. Run it: python examples/boxlite_agent.py"""

import asyncio

import pyjail.boxlite as boxlite

# What a model would say, step by step: it writes a program with a mistake, reads the error, repairs it.
STEPS = [
    ("write", "stats.py", "import sys\nnumbers = sys.stdin.read().split()\nprint(sum(numbers) / len(numbers))\n"),
    ("shell", "echo 3 4 8 > numbers; python stats.py < numbers"),
    (
        "write",
        "stats.py",
        "import sys\nnumbers = [*map(int, sys.stdin.read().split())]\nprint(sum(numbers) / len(numbers))\n",
    ),
    ("shell", "python stats.py < numbers"),
    ("shell", "python -m http.server --bind 127.0.0.1 8000 > server.log 2>&1 & sleep 1"),
    ("python", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/numbers').read().decode())", 30),
    ("python", "while True: pass", 2),
    ("python", "x = bytearray(1 << 30)", 30),
]


async def act(box, tool: str, *given) -> str:
    """What the model is told."""
    try:
        if tool == "write":
            path, text = given
            await box.jail.write(path, text)
            return f"{path} is written"
        if tool == "shell":
            result = await box.exec("sh", "-c", given[0])
        else:
            code, seconds = given
            result = await box.run(code, timeout=seconds)
    except boxlite.TimeoutError:
        return "timed out"
    except boxlite.ResourceError:
        return "too much memory"
    said = (result.stdout or result.stderr).strip()
    return said.splitlines()[-1] if said else "done"


async def main() -> None:
    async with boxlite.CodeBox(memory_mb=256, network="loopback") as box:
        for tool, *given in STEPS:
            print(f"{tool}: {await act(box, tool, *given)}")
        print(f"files: {' '.join(await box.jail.list('*'))}")


if __name__ == "__main__":
    asyncio.run(main())
