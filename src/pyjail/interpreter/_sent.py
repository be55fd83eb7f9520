"""What an interpreter is made of, as it is sent to the Python in the jail: compiled for one like ours, else source."""

from __future__ import annotations

import marshal
from functools import cache
from importlib import resources
from importlib.util import MAGIC_NUMBER
from typing import Any

PACKAGE = "_pyjail"  # its name inside
START = """import os
def read(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part: os._exit(0)
        data += part
    return data
exec(read(int.from_bytes(read(4), "big")), {"read": read, "__name__": "<pyjail>"})
"""
_LOADER = """
import marshal, sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER
magic, *sizes = marshal.loads(read(int.from_bytes(read(4), "big")))
compiled, sources, start = [read(size) for size in sizes]
class Inside:
    def __init__(self, codes):
        self.codes = codes
    def find_spec(self, name, path=None, target=None):
        if name in self.codes:
            return ModuleSpec(name, self, is_package="." not in name)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        code = self.codes[module.__name__]
        if isinstance(code, str):
            code = compile(code, "<pyjail %s>" % module.__name__, "exec", 0, True)
        exec(code, vars(module))
sys.meta_path.insert(0, Inside(marshal.loads(compiled if magic == MAGIC_NUMBER else sources)))
for name in ("os", "read"):
    vars(sys.modules["__main__"]).pop(name, None)
__import__("_pyjail.main").main.main(*marshal.loads(start))
"""


@cache
def _modules() -> tuple[bytes, bytes]:
    """(compiled, as source): each {name: module}."""
    files = resources.files("pyjail.interpreter.inside").iterdir()
    texts = {f.name.removesuffix(".py"): f.read_text("utf-8") for f in files if f.name.endswith(".py")}
    sources = {PACKAGE if name == "__init__" else f"{PACKAGE}.{name}": text for name, text in sorted(texts.items())}
    codes = {name: compile(text, f"<pyjail {name}>", "exec", 0, True, 0) for name, text in sources.items()}
    return marshal.dumps(codes), marshal.dumps(sources)


def greeting(*settings: Any) -> bytes:
    """All that the Python in the jail reads before the first cell; ``settings`` are the arguments of its main()."""
    compiled, sources = _modules()
    start, loader = marshal.dumps(settings), _LOADER.encode()
    head = marshal.dumps((MAGIC_NUMBER, len(compiled), len(sources), len(start)))
    sized = [len(part).to_bytes(4, "big") + part for part in (loader, head)]
    return b"".join([*sized, compiled, sources, start])
