"""Runs in the kernel before the first cell, as a startup file of IPython: ``!command`` by a pipe.

IPython gives a command a terminal of its own, and a jail has none to give. Standard library and IPython only.
"""


def _put_system() -> None:
    import codecs
    import os
    import signal
    import subprocess
    import types
    from typing import Any

    from IPython import get_ipython

    def system(shell: Any, cmd: str) -> None:
        """Run a command, and print what it writes as it comes; its exit code is ``_exit_code``."""
        command, decoder = shell.var_expand(cmd, depth=1), codecs.getincrementaldecoder("utf-8")("replace")
        with subprocess.Popen(  # noqa: S602 - it is what was typed
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            try:
                while data := os.read(process.stdout.fileno(), 1 << 16):
                    print(decoder.decode(data), end="", flush=True)
            except KeyboardInterrupt:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        shell.user_ns["_exit_code"] = process.returncode

    shell = get_ipython()
    shell.system = types.MethodType(system, shell)


_put_system()
del _put_system
