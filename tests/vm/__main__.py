"""``python -m tests.vm``: the jail and escape tests, and those of cgroup v2 itself, in two guests at once: as root, and
as a user with a delegated cgroup. Prints what each pass printed; fails when one does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

SLOWNESS = "8"  # most of a test's time is waiting; qemu without KVM needs 20 times the CPU
PASSES = {
    "v2 root": [],
    "v2 user": [sys.executable, "tests/as_user.py"],
}
STEPS = "2"  # of tests that interrupt at many: each is a Python of its own here, 12 s when CI is busy
TIMEOUT = 3000
WHOLE = ["tests/vm", "tests/jail", "tests/escape"]
# What depends on cgroups most, for CI. Bring-up, controls, every verdict and limit in both; of the rest each where it is
# another thing than on a hybrid machine: verdicts as root, leaves and what the janitor removes in a delegated cgroup.
BOTH = ["tests/vm", "tests/jail/test_promises.py"]
JANITOR = (
    "sigkill_of_the_embedder_at_any_step_of_its_first_run_leaves_nothing",
    "sigkill_of_the_embedder_leaves_no_cgroup_either",
    "a_janitor_that_is_killed_is_replaced_before_the_next_directory_is_made",
    "the_janitor_removes_nothing_that_is_not_named_as_ours_or_lies_behind_a_symlink",
)
QUICK = {
    "v2 root": [*BOTH, "tests/jail/verdict/test_verdicts.py"],
    "v2 user": [
        *BOTH, "tests/jail/cgroups/test_cgroups.py", "tests/jail/host/test_rootless.py",
        *(f"tests/jail/keeper/test_dead_embedder.py::test_{name}" for name in JANITOR),
    ],
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Arguments go to pytest; without a path, the whole suite runs. ``--quick``: what depends on cgroups most."""
    from tests.vm import guest

    chosen = dict.fromkeys(PASSES, WHOLE)
    if "--quick" in arguments:
        arguments.remove("--quick")
        chosen = QUICK

    guest.install()  # once, not in both at the same time
    guest.kernel()
    given = any(not a.startswith("-") for a in arguments)
    codes: dict[str, int] = {}
    output: dict[str, str] = {}

    def one(place: str, wrap: list[str]) -> None:
        pytest = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--timeout=600",
            *arguments,
            *([] if given else chosen[place]),
        ]
        out = subprocess.run(
            [sys.executable, "-m", "tests.vm.guest", f"--timeout={TIMEOUT}", *wrap, *pytest],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env={
                "PYJAIL_TEST_STEPS": STEPS,
                **os.environ,
                "PYJAIL_TEST_SLOWNESS": SLOWNESS,
                "PYJAIL_TEST_PLACE": place,
            },
        )
        codes[place], output[place] = out.returncode, out.stdout

    start = time.monotonic()
    threads = [threading.Thread(target=one, args=item) for item in PASSES.items()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for place in PASSES:
        print(f"==== {place}: Linux with nothing but cgroup v2 ====\n{output[place]}", flush=True)
    ends = ", ".join(f"{place}: exit {code}" for place, code in codes.items())
    print(f"test-vm: {ends}; {time.monotonic() - start:.0f} s")
    return max(codes.values(), key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
