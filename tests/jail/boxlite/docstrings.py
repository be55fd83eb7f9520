"""The examples of the docstrings of boxlite 0.10.8 (Apache-2.0), of the classes that are here, as they stand there.

``ASYNC`` are bodies of a coroutine, with ``box`` and ``result`` as their neighbours in the docstring have them; ``SYNC``
are programs. Those for interactive use have their prompts.
"""

from __future__ import annotations

CODE = {
    "CodeBox": """
>>> async with CodeBox() as cb:
...     result = await cb.run("print('Hello, World!')")
""",
    "CodeBox.run": """
>>> async with CodeBox() as cb:
...     result = await cb.run("print('Hello, World!')")
...     print(result)
Hello, World!
""",
    "CodeBox.install_package": """
>>> async with CodeBox() as cb:
...     await cb.install_package("requests")
...     result = await cb.run("import requests; print(requests.__version__)")
""",
    "CodeBox.install_packages": """
>>> async with CodeBox() as cb:
...     await cb.install_packages("requests", "numpy", "pandas")
""",
}

ASYNC = {
    "SimpleBox.start": """
box = SimpleBox(image="alpine:latest")
await box.start()
await box.exec("echo", "hello")
""",
    "SimpleBox.exec, simple": """
result = await box.exec('ls', '-l', '-a')
""",
    "SimpleBox.exec, user": """
result = await box.exec('whoami', user='nobody')
""",
    "SimpleBox.exec, directory": """
result = await box.exec('pwd', cwd='/tmp')
""",
    "SimpleBox.copy_in, tar": """
execution = await box._box.exec("tar", args=["xf", "-", "-C", "/tmp"])
stdin = execution.stdin()
await stdin.send_input(tar_bytes)
await stdin.close()
result = await execution.wait()
""",
    "SimpleBox.copy_in, file": """
await box.copy_in("/local/config.json", "/app/config.json")
""",
    "SimpleBox.copy_in, directory": """
await box.copy_in("/local/data/", "/app/data/")
""",
    "SimpleBox.copy_in, contents": """
await box.copy_in("/local/data/.", "/app/data")
""",
    "SimpleBox.copy_out, file": """
await box.copy_out("/app/output.log", "/local/output.log")
""",
    "SimpleBox.copy_out, directory": """
await box.copy_out("/app/results/", "/local/results/")
""",
    "SimpleBox.copy_out, contents": """
await box.copy_out("/app/results/.", "/local/results")
""",
    "InteractiveBox": """
async with InteractiveBox(image="alpine:latest") as box:
    # You're now in an interactive shell!
    # Type commands, see output in real-time
    # Type "exit" to close
    pass
""",
}

SYNC = {
    "sync_api, standalone": """
from boxlite import SyncCodeBox, SyncSimpleBox

# Simplest usage - standalone (like async API)
with SyncCodeBox() as box:
    result = box.run("print('Hello!')")
    print(result)

with SyncSimpleBox(image="alpine:latest") as box:
    result = box.exec("echo", "Hello")
    print(result.stdout)
""",
    "sync_api, runtime": """
from boxlite import SyncBoxlite

with SyncBoxlite.default() as runtime:
    box = runtime.create(BoxOptions(image="alpine:latest"))
    execution = box.exec("echo", ["Hello"])
    for line in execution.stdout():
        print(line)
    box.stop()
""",
    "SyncBoxlite, options": """
with SyncBoxlite(Options(home_dir="/custom/path")) as runtime:
    box = runtime.create(BoxOptions(image="alpine:latest"))
    # Data stored in /custom/path instead of ~/.boxlite
    box.stop()
""",
    "SyncBoxlite, manual": """
runtime = SyncBoxlite.default().start()
box = runtime.create(BoxOptions(image="alpine:latest"))
# ... use box ...
runtime.stop()
""",
    "SyncBoxlite.stop": """
runtime = SyncBoxlite.default().start()
try:
    box = runtime.create(BoxOptions(image="alpine:latest"))
    # ... use box ...
finally:
    runtime.stop()
""",
    "SyncBoxlite.init_default": """
SyncBoxlite.init_default(Options(home_dir="/custom/path"))
with SyncBoxlite.default() as runtime:  # Now uses /custom/path
    ...
""",
    "SyncBoxlite.default": """
with SyncBoxlite.default() as runtime:
    box = runtime.create(BoxOptions(image="alpine:latest"))
    ...
""",
    "SyncBox": """
with SyncBoxlite.default() as runtime:
    box = runtime.create(BoxOptions(image="alpine:latest"))

    execution = box.exec("echo", ["Hello"])
    stdout = execution.stdout()

    for line in stdout:
        print(line)

    result = execution.wait()
    box.stop()
""",
    "SyncBox.exec": """
execution = box.exec("echo", ["Hello, World!"])
for line in execution.stdout():
    print(line)
result = execution.wait()
print(f"Exit code: {result.exit_code}")
""",
    "SyncExecution": """
execution = box.exec("echo", ["Hello"])

# Stream stdout
for line in execution.stdout():
    print(f"stdout: {line}")

# Stream stderr
for line in execution.stderr():
    print(f"stderr: {line}")

# Wait for completion
result = execution.wait()
print(f"Exit code: {result.exit_code}")
""",
    "SyncExecStdout": """
stdout = execution.stdout()
for line in stdout:
    print(line)
""",
    "SyncExecStdin": """
stdin = execution.stdin()
stdin.send_input(b"hello\\n")
stdin.close()
""",
    "SyncExecution.stdin": """
stdin = execution.stdin()
if stdin:
    stdin.send_input(b"hello\\n")
    stdin.close()
""",
    "SyncExecution.stdout": """
stdout = execution.stdout()
if stdout:
    for line in stdout:
        print(line)
""",
    "SyncExecution.stderr": """
stderr = execution.stderr()
if stderr:
    for line in stderr:
        print(line)
""",
    "SyncSimpleBox": """
with SyncSimpleBox(image="python:slim") as box:
    result = box.exec("ls", "-la")
    print(result.stdout)
""",
    "SyncSimpleBox, runtime": """
with SyncBoxlite.default() as runtime:
    with SyncSimpleBox(image="python:slim", runtime=runtime) as box:
        result = box.exec("ls", "-la")
        print(result.stdout)
""",
    "SyncCodeBox": """
with SyncCodeBox() as box:
    result = box.run("print('Hello, World!')")
    print(result)  # Hello, World!
""",
    "SyncCodeBox, runtime": """
with SyncBoxlite.default() as runtime:
    with SyncCodeBox(runtime=runtime) as box:
        result = box.run("print('Hello!')")
        print(result)
""",
    "SyncCodeBox.run": """
with SyncCodeBox() as box:
    result = box.run("print('Hello!')")
    print(result)  # Hello!

    # Multi-line code
    result = box.run('''
    import sys
    print(f"Python {sys.version}")
    ''')
""",
}
CODE_BOX = {
    "SyncSimpleBox.exec": """
result = box.exec("ls", "-la")
print(f"Exit code: {result.exit_code}")
print(f"Output: {result.stdout}")
""",
    "SyncCodeBox.install_package": """
box.install_package("requests")
result = box.run("import requests; print(requests.__version__)")
""",
    "SyncCodeBox.install_packages": """
box.install_packages("requests", "numpy", "pandas")
""",
    "SyncCodeBox.run_script": """
result = box.run_script("./my_script.py")
""",
}
