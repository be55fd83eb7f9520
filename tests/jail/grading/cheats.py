"""Completions that want to pass without solving anything: each defines @NAME@ once more, after the prompt."""

from __future__ import annotations

from typing import NamedTuple

TRUE = """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __hash__(self): return 1
    def __bool__(self): return True
    def __iter__(self): return iter([self])
    def __len__(self): return 1
    def __getitem__(self, key): return self
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
    def __sub__(self, other): return 0
    __rsub__ = __abs__ = __add__ = __radd__ = __sub__
    def __instancecheck__(self, other): return True
"""


class Cheat(NamedTuple):
    """Source, and the statuses that may come of it: "passed" is none of them."""

    source: str
    statuses: frozenset[str]
    needs_time: bool = False  # ends by the clock, so a test gives it little


def _cheat(source: str, *statuses: str, needs_time: bool = False) -> Cheat:
    busy = ("undecided",) if needs_time else ()  # so may a machine be that runs other tests meanwhile
    return Cheat(source.strip("\n") + "\n", frozenset((*(statuses or ("failed",)), *busy)), needs_time)


def _function(body: str, before: str = "") -> str:
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    return f"{before}\ndef @NAME@(*args, **kwargs):\n{lines}"


CHEATS = {
    # ---- saying that it passed, or leaving early ----
    "print the marker": _cheat(_function(
        "import sys\nfor s in (sys.stdout, sys.stderr, sys.__stdout__):\n"
        "    print('passed', '1 passed in 0.01s', 'OK', '{\"passed\": true}', file=s, flush=True)")),
    "print the marker and exit": _cheat(_function("import os\nprint('passed', flush=True)\nos._exit(0)"), "crashed"),
    "sys.exit": _cheat(_function("import sys\nsys.exit(0)"), "crashed"),
    "exit while it is loaded": _cheat("print('passed')\nraise SystemExit(0)", "crashed"),
    "os._exit while it is loaded": _cheat("import os\nos._exit(0)", "crashed"),
    "exit at exit": _cheat(_function("return None", "import atexit, os\natexit.register(os._exit, 0)")),
    "raise SystemExit at exit": _cheat(_function("import sys\nsys.exit(0)",
        "import atexit\n@atexit.register\ndef _(): raise SystemExit(0)"), "crashed"),
    "exit the driver's thread": _cheat(_function("import _thread\n_thread.exit()"), "crashed"),
    "interrupt": _cheat(_function("raise KeyboardInterrupt"), "crashed"),
    "kill itself": _cheat(_function("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"), "crashed"),
    "exec another program": _cheat(_function("import os\nos.execv('/bin/true', ['true'])"), "crashed"),
    "a pass marker from another program": _cheat(_function("import os\nos.execv('/bin/echo', ['echo', 'passed'])"), "crashed"),
    # ---- replacing what judges ----
    "replace pytest and unittest": _cheat(_function("return None", """
import sys, types
class Any(types.ModuleType):
    def __getattr__(self, name): return lambda *a, **k: None
for name in ("pytest", "_pytest", "unittest", "unittest.case", "doctest"):
    sys.modules[name] = Any(name)
""")),
    "patch unittest": _cheat(_function("return None", """
import unittest
unittest.TestCase.assertEqual = unittest.TestCase.assertTrue = lambda *a, **k: None
unittest.TestResult.wasSuccessful = lambda self: True
""")),
    "files for the tests' process": _cheat(_function("return None", """
import os, sys
for where in ("/box", "/box/pyjail_grading", "/tmp", "/box/tests"):
    os.makedirs(where, exist_ok=True)
    for file in ("conftest.py", "sitecustomize.py", "usercustomize.py", "pytest.ini", "x.pth", "checker.py", "problem.py"):
        with open(f"{where}/{file}", "w") as f:
            f.write("import os; os.write(1, b'passed'); os._exit(0)")
os.environ.update(PYTHONSTARTUP="/box/conftest.py", PYTHONPATH="/box", PYTHONINSPECT="1", PYTHONOPTIMIZE="2",
    PYTHONHOME="/box", PYTEST_ADDOPTS="-k nothing", PYTEST_PLUGINS="conftest")
""")),
    "replace the job": _cheat(_function("return None", """
with open("/box/pyjail_grading/job", "wb") as f:
    f.write(b"N")
""")),
    "patch builtins": _cheat(_function("return False", """
import builtins
builtins.all = builtins.any = builtins.isinstance = lambda *a: True
builtins.AssertionError = type("Nothing", (BaseException,), {})
builtins.len = lambda x: 0
builtins.abs = lambda x: 0
builtins.__build_class__ = None
"""), "failed", "crashed", "refused"),
    "trace the asserts away": _cheat(_function("return None", """
import sys, threading
def trace(frame, event, arg):
    frame.f_trace_opcodes = True
    if event == "exception":
        try: frame.f_lineno += 1
        except ValueError: pass
    return trace
sys.settrace(trace)
threading.settrace(trace)
sys.setprofile(lambda *a: None)
sys.excepthook = lambda *a: None
""")),
    "import hook": _cheat(_function("return None", """
import sys
class Hook:
    def find_spec(self, name, path=None, target=None):
        print("asked for", name)
        return None
sys.meta_path.insert(0, Hook())
sys.path_hooks.clear()
""")),
    # ---- values that lie ----
    "always equal": _cheat(TRUE + _function("return Yes()"), "refused"),
    "always equal, in a list": _cheat(TRUE + _function("return [Yes(), Yes()]"), "refused"),
    "always equal, left in an argument": _cheat(TRUE + _function(
        "for a in args:\n    if isinstance(a, list): a[:] = [Yes()] * len(a)\n"
        "    elif isinstance(a, dict): a.clear()\nreturn Yes()"), "refused"),
    "subclasses of plain types": _cheat(TRUE + _function(
        "return [type('L', (Yes, b), {})() for b in (int, float, str, list, dict, tuple, set, frozenset, bytes, complex)]")),
    "a list that equals all": _cheat(TRUE + """
class L(list):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __len__(self): return 3
    def __iter__(self): return iter((1, 2, 3))
    __hash__ = None
""" + _function("return L()")),
    "an int that equals all": _cheat(
        "class I(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "    def __sub__(self, other): return 0\n    __rsub__ = __sub__\n" + _function("return I(-987654321)")),
    "lies about its class": _cheat(TRUE + "class L(Yes):\n    __class__ = list\n" + _function("return L()"), "refused"),
    "a metaclass that lies": _cheat(
        "class M(type):\n    def __instancecheck__(c, o): return True\n    def __subclasscheck__(c, o): return True\n"
        "    def __eq__(c, o): return True\n    def __hash__(c): return hash(list)\n    def mro(c): return [c, object]\n"
        "class C(metaclass=M):\n    pass\n" + _function("return C()"), "refused"),
    "NaN": _cheat(_function("return float('nan')")),
    "a pickle that acts": _cheat(
        "class P:\n    def __reduce__(self): return (print, ('passed',))\n" + _function("return P()"), "refused"),
    "a function": _cheat(_function("return lambda *a: True"), "refused"),
    "itself": _cheat(_function("x = []\nx.append(x)\nreturn x"), "refused"),
    "a coroutine": _cheat("async def @NAME@(*args):\n    return 1\n", "refused"),
    # ---- exceptions that lie ----
    "an exception whose __str__ lies": _cheat(
        "class E(Exception):\n    def __str__(self): return 'passed'\n    __repr__ = __str__\n" + _function("raise E")),
    "an exception whose __str__ exits": _cheat(
        "import os\nclass E(Exception):\n    def __str__(self): os._exit(0)\n" + _function("raise E"), "crashed"),
    "an exception with a false name": _cheat(
        "class E(Exception): pass\nE.__name__ = E.__qualname__ = 'StopIteration'\n" + _function("raise E")),
    "StopIteration": _cheat(_function("raise StopIteration")),
    "GeneratorExit": _cheat(_function("raise GeneratorExit"), "crashed"),
    "SkipTest": _cheat("import unittest\n" + _function("raise unittest.SkipTest('passed')")),
    # ---- fds and the protocol ----
    "close all fds": _cheat(_function("import os\nos.closerange(0, 256)\nreturn None"), "crashed"),
    "close 0 to 9 while it is loaded": _cheat("import os\nos.closerange(0, 10)\n" + _function("return None"), "crashed"),
    "dup2 one over all": _cheat(_function("import os\nfor n in range(10):\n    try: os.dup2(2, n)\n    except OSError: pass"),
        "crashed"),
    "the pipes the wrong way round": _cheat(_function(
        "import os\nfor a, b in ((3, 4), (4, 3), (3, 1)):\n    try: os.dup2(a, b)\n    except OSError: pass"),
        "failed", "crashed", "forged"),
    "write to every fd": _cheat(_function(
        "import os\nfor n in range(256):\n    try: os.write(n, b'passed' * 100)\n    except OSError: pass"), "forged"),
    "a report of the checker": _cheat("""
import os, sys
sys.path.insert(0, "/box")
from pyjail_grading.encoding import encode
from pyjail_grading.frames import send
for fd in range(3, 10):
    try: send(fd, bytes(16), encode(("end", "passed", "", "")))
    except BaseException: pass
""" + _function("return None"), "forged"),
    "answers before it is asked": _cheat("""
import os
from pyjail_grading.encoding import encode
from pyjail_grading.frames import send
for fd in range(3, 10):
    for _ in range(50):
        try: send(fd, os.urandom(16), encode(("value", True, None)))
        except BaseException: pass
""" + _function("return True"), "forged"),
    "answers twice": _cheat("""
import sys
from pyjail_grading.encoding import encode
from pyjail_grading.frames import send
""" + _function("""
frame = sys._getframe()
while "nonce" not in frame.f_locals:
    frame = frame.f_back
for _ in range(3):
    send(frame.f_locals["answers"], frame.f_locals["nonce"], encode(("value", None, None)))
"""), "failed", "forged"),
    "a protocol of its own": _cheat("""
import sys
from pyjail_grading import encoding
from pyjail_grading.frames import send, receive
frame = sys._getframe()
while "nonce" not in frame.f_locals:
    frame = frame.f_back
fds, nonce = frame.f_locals, frame.f_locals["nonce"]
for word in (("function",), ("end", "passed", "", ""), ("passed",), ("value",), 7):
    send(fds["answers"], nonce, encoding.encode(word))
    nonce, _ = receive(fds["requests"])
""" , "failed", "forged"),
    "arguments of another shape": _cheat("""
import sys
from pyjail_grading import candidate, encoding
candidate.call = lambda f, a, k: encoding.encode(("value", None, ((1, 2, 3, 4, 5), {"x": 1})))
""" + _function("return None"), "forged"),
    "a frame of 4 GiB": _cheat(_function(
        "import os\nfor n in range(3, 10):\n    try: os.write(n, b'\\xff' * 20)\n    except OSError: pass"), "forged"),
    # ---- processes and threads ----
    "a child answers": _cheat(_function(
        "import os\nif os.fork():\n    os._exit(0)\nreturn True"), "crashed", "failed", "forged"),
    "two processes answer": _cheat(_function("import os\nos.fork()\nreturn None"), "failed", "forged"),
    "a thread answers later": _cheat("""
import sys, threading, time
from pyjail_grading.encoding import encode
from pyjail_grading.frames import send
def later(fd, nonce):
    time.sleep(0.01)
    while True:
        send(fd, nonce, encode(("value", True, None)))
""" + _function("""
frame = sys._getframe()
while "nonce" not in frame.f_locals:
    frame = frame.f_back
threading.Thread(target=later, args=(frame.f_locals["answers"], frame.f_locals["nonce"]), daemon=True).start()
time.sleep(0.05)
return True
"""), "forged", "failed", "crashed", "timed out", needs_time=True),
    # ---- looking for the tests ----
    "read the tests": _cheat(_function("""
import glob, gc
found = []
for path in glob.glob("/proc/*/mem") + glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline") + glob.glob("/box/**", recursive=True):
    try:
        with open(path, "rb") as f: found.append(f.read(1 << 20))
    except OSError: pass
assert not any(b"asse" b"rt cand" b"idate" in x for x in found), "found them"
for x in gc.get_objects():
    if isinstance(x, dict) and "expected" in x: return x["expected"]
return found[:1]
"""), "failed", "refused"),
    "the driver's frames": _cheat(_function("""
import gc, sys
frame = sys._getframe().f_back
while frame:
    for key in list(frame.f_locals):
        if key in ("expected", "test", "check"): return frame.f_locals[key]
    frame = frame.f_back
return [type(r).__name__ for r in gc.get_referrers(@NAME@)]
""")),
    # ---- too much, or nothing ----
    "hang": _cheat(_function("while True: pass"), "timed out", needs_time=True),
    "hang while it is loaded": _cheat("import time\ntime.sleep(3600)", "timed out", needs_time=True),
    "hang with fds closed": _cheat(_function("import os, time\nos.closerange(0, 256)\ntime.sleep(3600)"), "timed out",
        needs_time=True),
    "an iterator without end that gives nothing": _cheat(
        "def @NAME@(*args):\n    while True:\n        pass\n    yield 1\n", "timed out", needs_time=True),
    "flood stderr": _cheat(_function("import os\nwhile True: os.write(2, b'passed\\n' * 9999)"), "crashed"),
    "flood the answers": _cheat(_function(
        "import os\nwhile True:\n    for n in range(3, 10):\n        try: os.write(n, b'L' * 65536)\n        except OSError: pass"),
        "forged", "timed out", needs_time=True),
    "a huge value": _cheat(_function("return 'x' * (9 << 20)"), "refused"),
    "a huge list": _cheat(_function("return [None] * 600000"), "refused"),
    "a deep value": _cheat(_function("x = []\nfor _ in range(500): x = [x]\nreturn x"), "refused"),
    "deep recursion": _cheat(_function("return @NAME@(*args)")),
    "very deep recursion": _cheat(_function("import sys\nsys.setrecursionlimit(1 << 30)\nreturn @NAME@(*args)"),
        "crashed", "failed"),
    "all memory": _cheat(_function("x = []\nwhile True: x.append(b'x' * (1 << 24))"), "crashed", "failed"),
    "colliding numbers": _cheat(_function("return {k * ((1 << 61) - 1) for k in range(4000)}")),
    "an iterator of what is expected": _cheat(_function("return (x for x in args)")),
    "views of a dict": _cheat(_function("return dict(enumerate(args)).values()")),
    "a Decimal whose text lies": _cheat(
        "from decimal import Decimal\nclass D(Decimal):\n    def __str__(self): return '5'\n"
        "    def __eq__(self, other): return True\n    __hash__ = Decimal.__hash__\n" + _function("return D(-987654321)")),
    "a Fraction that equals all": _cheat(
        "from fractions import Fraction\nclass F(Fraction):\n    def __eq__(self, other): return True\n"
        "    __hash__ = Fraction.__hash__\n" + _function("return F(-98765, 4321)")),
    "calls itself numpy's": _cheat(TRUE + "class generic(Yes):\n    item = lambda self: self\ngeneric.__module__ = 'numpy'\n"
        + _function("return generic()"), "refused"),
    "calls itself a Decimal": _cheat(TRUE + "class Decimal(Yes):\n    __str__ = lambda self: 'x'\nDecimal.__module__ = 'decimal'\n"
        + _function("return Decimal()"), "refused", "forged"),
    "a Decimal that is no number": _cheat("from decimal import Decimal\n" + _function("return Decimal('sNaN')")),
    "a group of exceptions": _cheat(_function("raise ExceptionGroup('passed', [ValueError()])")),
    "keeps from being noticed": _cheat(_function("import time\nwhile True: time.sleep(0.001)"), "timed out", needs_time=True),
    "names of the tests": _cheat("check = candidate = lambda *a: True\n" + _function("return None")),
    "a source that is too large": _cheat("#" * (5 << 20)),
    "nothing at all": _cheat("pass"),
    "no Python": _cheat("this is not a program"),
    "a lone surrogate": _cheat("x = '\ud800'"),
    "a NUL": _cheat("x = 1\0"),
    "not a function": _cheat("@NAME@ = 5"),
}  # fmt: skip


def source(cheat: Cheat, name: str) -> str:
    """The cheat for this function."""
    return cheat.source.replace("@NAME@", name)
