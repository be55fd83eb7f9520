"""The code of the two documents that BoxLite's pages are, and the examples of its package's docstrings.

The documents' text has lost the indentation of one page: `reindented` gives it back by rules that know nothing of this
code. What the docstrings show is here as it is there.
"""

from __future__ import annotations

import io
import re
import textwrap
import tokenize
from pathlib import Path

SEEDS = Path(__file__).resolve().parents[4] / "shared/seeds"  # beside the repository, or not there

# Each as the document has it, which must have no other code of boxlite's.
JUDGE = """import boxlite

async def run_user_code(code: str, language: str) -> dict:
    async with boxlite.SimpleBox(
        image=get_image(language),
        memory_mb=256,       # Limit memory
        cpus=1,               # Limit CPU
    ) as box:
        try:
            result = await asyncio.wait_for(
                box.exec("python", "-c", code),
                timeout=10.0   # 10 second timeout
            )
            return {
                "success": result.exit_code == 0,
                "output": result.stdout,
                "error": result.stderr
            }
        except asyncio.TimeoutError:
            return {"success": False, "error": "Execution timed out"}
"""
IMAGES = """LANGUAGE_IMAGES = {
    "python": "python:3.12-slim",
    "javascript": "node:20-slim",
    "rust": "rust:1.75-slim",
    "go": "golang:1.21-alpine",
    "java": "openjdk:21-slim",
    "cpp": "gcc:13",
}
"""
BOMB = ":(){ :|:& };:"
AGENT = '''import asyncio
import boxlite
async def run_ai_code(code: str) -> str:
"""Execute AI-generated Python code safely."""
async with boxlite.CodeBox() as box:
result = await box.run(code)
return result.stdout
# Example: Run untrusted code safely
ai_generated_code = """
import os
print("Running in isolated environment")
print("Cannot access host:", os.path.exists('/etc/passwd'))
"""
output = asyncio.run(run_ai_code(ai_generated_code))
print(output)'''
LIMITED = """async with boxlite.SimpleBox(
image="python:slim",
memory_mb=512, # Limit memory
cpus=1, # Limit CPU
timeout_seconds=30 # Kill if too slow
) as box:
result = await box.exec("python", "-c", code)"""
CAUGHT = '''try:
async with boxlite.CodeBox() as box:
result = await box.run(untrusted_code)
if result.exit_code != 0:
return "Code failed: " + result.stderr
return result.stdout
except boxlite.TimeoutError:
return "Execution timed out"
except boxlite.ResourceError:
return "Resource limit exceeded"'''
EXCERPTS = {"000.txt": (JUDGE, IMAGES, BOMB), "002.txt": (AGENT, LIMITED, CAUGHT)}

CLAUSES = {"elif": {"if"}, "else": {"if", "for", "while", "try"}, "except": {"try"}, "finally": {"try"}}


def taken(name: str, excerpts: tuple[str, ...]) -> None:
    """AssertionError when a document is there and an excerpt is not in it, or code of boxlite's is in no excerpt."""
    path = SEEDS / name
    if path.exists():
        left = path.read_text()
        for excerpt in excerpts:
            assert excerpt in left, f"{name} has no longer: {excerpt}"
            left = left.replace(excerpt, "", 1)
        assert re.findall(r"boxlite\.\w+|import boxlite", left) == [], name


def logical_lines(flat: str) -> list[list[str]]:
    """What brackets and long texts hold together stays together, and as it is."""
    lines = flat.splitlines()
    found, start = [], 1
    for token in tokenize.generate_tokens(io.StringIO(flat + "\n").readline):
        alone = token.type == tokenize.NL and token.line.strip().startswith("#")
        if token.type == tokenize.NEWLINE or alone:
            found.append(lines[start - 1 : token.start[0]])
            start = token.start[0] + 1
    return found


def reindented(flat: str) -> str:
    """Code whose lines have lost their indentation.

    A line that ends with a colon opens a block. A clause (``except``, ``else``, ...) closes what is open up to its
    statement. What comes behind a ``return`` cannot be reached in the same block, so it is outside of it, and outside of
    the ``with`` around it, which the ``return`` leaves, too.
    """
    done: list[str] = []
    blocks: list[str] = []  # the words that opened them
    returned = False
    for lines in logical_lines(flat):
        word = re.match(r"(?:async )?(\w*)", lines[0])[1]  # type: ignore[index]
        if word in CLAUSES:
            while blocks.pop() not in CLAUSES[word]:
                pass
        elif returned:
            while blocks and blocks.pop() == "with":
                pass
        done += [textwrap.indent(lines[0], "    " * len(blocks)), *lines[1:]]
        if re.search(r":\s*(#.*)?$", lines[-1]):
            blocks.append(next(iter(CLAUSES[word])) if word in ("except", "finally") else word)
        returned = word == "return"
    return "\n".join(done) + "\n"
