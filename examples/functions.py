"""Grade functions and test files, some of which cheat: `python examples/functions.py`.

The submission runs in one jail; the expected values and the tests are in another one, which alone reports.
"""

from __future__ import annotations

import pyjail
from pyjail.grading import Case, check_function, run_tests

CASES = [((), 0), ((3, 4), 7), Case((1.5, 2.5), 4.0), Case((1, "a"), raises="TypeError")]
FUNCTIONS = {
    "right": "def total(*numbers):\n    return sum(numbers)\n",
    "wrong for none": "def total(first, *more):\n    return sum(more, first)\n",
    "equals everything": "class Yes:\n    def __eq__(self, other): return True\ndef total(*numbers): return Yes()\n",
    "exits with 0": "import os\ndef total(*numbers):\n    print('4 passed')\n    os._exit(0)\n",
    "never ends": "def total(*numbers):\n    while True: pass\n",
}

TESTS = """
import unittest
from stack import Stack

class Top(unittest.TestCase):
    def test_last_in_first_out(self):
        self.assertEqual(Stack([1, 2]), [2, 1])
"""
SUBMISSIONS = {
    "right": {"stack.py": "def Stack(items):\n    return items[::-1]\n"},
    "replaces unittest": {
        "stack.py": "def Stack(items):\n    return items\n",
        "unittest.py": "class TestCase: pass\ndef main(): print('OK')\n",
        "sitecustomize.py": "import os; os._exit(0)\n",
        "conftest.py": "collect_ignore_glob = ['*']\n",
    },
}


def main() -> None:
    for name, source in FUNCTIONS.items():
        report = check_function(source, "total", CASES, timeout=1.0)
        passed = sum(row.passed for row in report.results)
        failed = next((row.reason for row in report.results if not row.passed), "")
        print(f"{name}: {passed} of {len(CASES)}{'; ' * bool(failed)}{failed}")
    for name, files in SUBMISSIONS.items():
        tested = run_tests(files, {"test_stack.py": TESTS}, modules=["stack"])
        print(f"test file, {name}: {tested.reason}")


if __name__ == "__main__":
    main()
    pyjail.close()
