"""What Inspect's own checks leave out: several programs at once, what is left behind, ends, limits, users, failures."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import signal
import time
import tomllib
from pathlib import Path

import anyio
import pytest
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.util import (
    OutputLimitExceededError,
    SandboxEnvironmentLimits,
    SandboxEnvironmentSpec,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
)
from inspect_ai.util._sandbox.limits import override_max_exec_output_size

from pyjail import ExecError, HostError, KeeperError, Result, SetupError, SpecError, Verdict, aio
from pyjail.integrations.inspect import PyjailConfig, PyjailSandboxEnvironment
from tests.host_side import keepers_of
from tests.scripts import until

pytestmark = pytest.mark.anyio
SERVER = """
import http.server, sys
class Says(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"served")
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", 8000), Says).serve_forever()
"""
ASKS = """
import time, urllib.request
for _ in range(100):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8000", timeout=5).read().decode()); break
    except OSError: time.sleep(0.1)
"""


async def boxes(config=None):
    return await PyjailSandboxEnvironment.sample_init("task", config, {})


async def closed(environments, interrupted=False):
    await PyjailSandboxEnvironment.sample_cleanup("task", None, environments, interrupted)


async def test_two_programs_run_at_once_and_wait_for_each_other(sandbox):
    wait = "touch {}; until [ -e {} ]; do sleep 0.02; done; echo {}"
    said = {}

    async def run(mine, other):
        said[mine] = await sandbox.exec(["sh", "-c", wait.format(mine, other, mine)], timeout=20)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, "a", "b")
        tasks.start_soon(run, "b", "a")
    assert {name: (r.success, r.stdout) for name, r in said.items()} == {"a": (True, "a\n"), "b": (True, "b\n")}


async def test_a_server_in_the_background_is_reached_by_a_later_program(sandbox):
    await sandbox.write_file("server.py", SERVER)
    began = time.monotonic()
    started = await sandbox.exec(["sh", "-c", "python3 server.py > log 2>&1 & echo $!"], timeout=20)
    assert started.success and time.monotonic() - began < 10
    answer = await sandbox.exec(["python3", "-c", ASKS], timeout=60)
    assert answer.stdout == "served\n", answer
    assert (await sandbox.exec(["kill", started.stdout.strip()])).success


async def test_a_program_that_is_cancelled_is_gone_with_its_children_and_the_others_live(sandbox):
    kept = await sandbox.exec(["sh", "-c", "sleep 1001 >/dev/null 2>&1 & echo $!"])
    list_all = ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]
    assert "sleep 1001" in (await sandbox.exec(list_all)).stdout
    with anyio.move_on_after(1) as scope:
        await sandbox.exec(["sh", "-c", "touch begun; (setsid sleep 1002 &) ; sleep 1003"])
    assert scope.cancelled_caught
    assert (await sandbox.exec(["test", "-e", "begun"])).success
    left = (await sandbox.exec(list_all)).stdout
    assert "sleep 1002" not in left and "sleep 1003" not in left
    assert "sleep 1001" in left
    assert (await sandbox.exec(["kill", kept.stdout.strip()])).success


async def test_what_was_written_before_a_time_out_is_told(sandbox):
    with pytest.raises(TimeoutError, match="after 1 seconds") as e:
        await sandbox.exec(["sh", "-c", "echo so far; echo warned >&2; sleep 100"], timeout=1)
    assert e.value.truncated_output == "so far\nwarned\n"


async def test_more_output_than_inspect_takes_is_an_error_with_what_came(sandbox):
    with override_max_exec_output_size(1024):
        assert len((await sandbox.exec(["head", "-c", "1024", "/dev/zero"])).stdout) == 1024
        with pytest.raises(OutputLimitExceededError, match="1 KiB") as e:
            await sandbox.exec(["sh", "-c", "yes"], timeout=30)
    assert e.value.truncated_output.startswith("y\ny\n")
    assert SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE > 1024


async def test_programs_that_cannot_be_started(sandbox):
    missing = await sandbox.exec(["no-such-program"])
    assert (missing.success, missing.returncode, missing.stderr) == (False, 127, "no-such-program: not found\n")
    await sandbox.write_file("text", "echo no interpreter is named\n")
    await sandbox.exec(["chmod", "+x", "text"])
    assert (await sandbox.exec(["./text"])).returncode == 126
    with pytest.raises(FileNotFoundError) as e:
        await sandbox.exec(["true"], cwd="no/such/directory")
    assert e.value.filename == "no/such/directory"
    with pytest.raises(ValueError, match="embedded null byte"):
        await sandbox.exec(["echo", "a\0b"])
    assert (await sandbox.exec(["echo", "half \ud83d"])).stdout == "half ?\n"


@pytest.mark.parametrize(
    ("limits", "program", "said"),
    [
        ({"limits": {"memory": "64M"}}, "x = b'x' * (1 << 30)", "no memory is left"),
        ({"exec_limits": {"cpu_time": "500ms"}}, "while True: pass", "its CPU time limit is 0.5 s"),
        ({"jail": {"seccomp": {"kill": ["mkdir", "mkdirat"]}}}, "import os; os.mkdir('x')", "system call mkdir"),
    ],
)
async def test_who_is_ended_by_a_limit_or_the_filter_has_no_success_and_is_told(limits, program, said):
    environments = await boxes(PyjailConfig(**limits))
    try:
        result = await environments["default"].exec(["python3", "-c", program], timeout=60)
        assert not result.success and result.returncode > 128
        assert result.stderr.splitlines()[-1].startswith("pyjail: killed: ") and said in result.stderr
        assert (await environments["default"].exec(["echo", "lives"])).stdout == "lives\n"
    finally:
        await closed(environments)


async def test_only_the_jails_own_user_is_there(sandbox):
    assert (await sandbox.exec(["id", "-u"], user="1000")).stdout == "1000\n"
    for other in ("root", "0", "nobody", "no-such-user"):
        with pytest.raises(SandboxUserUnsupportedError, match=other):
            await sandbox.exec(["true"], user=other)


async def test_variables_are_added_to_those_of_the_jail():
    environments = await boxes(PyjailConfig(jail={"env": {"PATH": "/usr/bin:/bin", "OWN": "1"}}))
    try:
        said = await environments["default"].exec(["sh", "-c", "echo $OWN $MORE"], env={"MORE": "2"})
        assert said.stdout == "1 2\n"
    finally:
        await closed(environments)


async def test_environments_have_names_and_boxes_of_their_own():
    config = PyjailConfig(
        limits={"memory": "128M"}, environments={"first": {}, "second": {"limits": {"processes": 16}, "disk": "1M"}}
    )
    environments = await boxes(config)
    try:
        assert list(environments) == ["first", "second"]
        first, second = environments.values()
        await first.write_file("big", b"x" * (2 << 20))
        with pytest.raises(OSError, match="No space left"):
            await second.write_file("big", b"x" * (2 << 20))
        with pytest.raises(FileNotFoundError):
            await second.read_file("/box/other")
    finally:
        await closed(environments, interrupted=True)


async def test_a_box_that_dies_is_unavailable_and_never_an_answer(sandbox):
    assert (await sandbox.exec(["true"])).success
    errors = []

    async def run():
        try:
            await sandbox.exec(["sleep", "100"])
        except SandboxUnavailableError as e:
            errors.append(e)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.5)
        for pid in keepers_of(os.getpid()):
            with contextlib.suppress(ProcessLookupError):  # it went with another one
                os.kill(pid, signal.SIGKILL)
    assert len(errors) == 1
    with pytest.raises(SandboxUnavailableError):
        await sandbox.exec(["true"])
    with pytest.raises(SandboxUnavailableError):
        await sandbox.read_file("x")
    with pytest.raises(SandboxUnavailableError):
        await sandbox.write_file("x", "y")


OURS = [
    HostError("memory", "there is no controller", "run as root"),
    KeeperError("the keeper is gone"),
    SetupError("mount", 3, "/proc", errno.EPERM),
    ExecError("exec", 0, "/bin/true", errno.ENOMEM),
    OSError(errno.EMFILE, "Too many open files"),
]


@pytest.mark.parametrize("error", OURS, ids=lambda e: type(e).__name__)
async def test_whatever_fails_on_our_side_is_unavailable(sandbox, monkeypatch, error):
    async def fails(*_, **__):
        raise error

    for name in ("run", "read", "write"):
        monkeypatch.setattr(sandbox._box, name, fails)
    for asked in (sandbox.exec(["true"]), sandbox.read_file("x"), sandbox.write_file("x", "")):
        with pytest.raises(SandboxUnavailableError, match="pyjail: ") as e:
            await asked
        assert str(error) in str(e.value)


async def test_a_program_that_the_jail_ended_is_unavailable(sandbox, monkeypatch):
    async def ends(args, limits, **_):
        return Result(args, -9, Verdict.JAIL_ERROR, b"42", b"", limits=limits, error="its cgroup was taken away")

    monkeypatch.setattr(sandbox._box, "run", ends)
    with pytest.raises(SandboxUnavailableError, match="its cgroup was taken away"):
        await sandbox.exec(["true"])


async def test_a_sample_whose_box_cannot_be_made_has_none_of_the_others_left(monkeypatch):
    monkeypatch.setattr(aio.Box, "__aenter__", failing_at_the(2, aio.Box.__aenter__, OURS[0]))
    with pytest.raises(SandboxUnavailableError, match="there is no controller"):
        await boxes(PyjailConfig(environments={"a": {}, "b": {}}))
    assert not list(PyjailSandboxEnvironment._open)
    monkeypatch.setattr(aio.Box, "__aenter__", failing_at_the(1, aio.Box.__aenter__, OURS[0]))
    with pytest.raises(PrerequisiteError) as e:
        await PyjailSandboxEnvironment.task_init("task", None)
    assert "no box can be held here" in e.value.message and "Fix: run as root" in e.value.message


def failing_at_the(number, enter, error):
    calls = itertools.count(1)

    async def entered(box):
        if next(calls) == number:
            raise error
        return await enter(box)

    return entered


async def test_what_this_machine_cannot_hold_is_a_prerequisite_with_its_fix():
    with pytest.raises(PrerequisiteError) as e:
        await PyjailSandboxEnvironment.task_init("task", PyjailConfig(jail={"rootfs": "/no/such/root"}))
    assert "/no/such/root" in str(e.value.message)
    with pytest.raises(SpecError, match="/no/such/root"):
        await boxes(PyjailConfig(jail={"rootfs": "/no/such/root"}))


async def test_a_task_is_begun_where_boxes_can_be_held_and_ends_what_samples_left():
    await PyjailSandboxEnvironment.task_init("task", None)
    environments = await boxes()
    await environments["default"].exec(["sh", "-c", "sleep 1000 >/dev/null 2>&1 &"])
    await PyjailSandboxEnvironment.task_cleanup("task", None, True)
    with pytest.raises(SandboxUnavailableError):
        await environments["default"].exec(["true"])
    assert until(lambda: not [pid for pid in keepers_of(os.getpid()) if b"sleep" in command(pid)])


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read()
    except OSError:
        return b""


def test_a_configuration_comes_from_a_file_and_out_of_a_log(tmp_path):
    config = PyjailConfig(jail={"hostname": "h"}, limits={"memory": "2G"}, environments={"a": {"disk": "1M"}})
    assert PyjailSandboxEnvironment.config_deserialize(config.model_dump()) == config
    spec = SandboxEnvironmentSpec("pyjail", config)
    assert hash(spec) == hash(SandboxEnvironmentSpec("pyjail", config.model_copy()))
    again = SandboxEnvironmentSpec.model_validate_json(spec.model_dump_json())
    assert again.config == config and isinstance(again.config, PyjailConfig)


def test_the_configuration_that_the_page_shows_is_one(tmp_path):
    page = (Path(__file__).resolve().parents[3] / "docs/inspect.md").read_text()
    shown = re.search(r"```toml\n(.*?)```", page, re.S)[1]
    config = PyjailConfig(**tomllib.loads(shown))
    assert list(config.each()) == ["default", "victim"]
    (jail, limits, program), (_, smaller, _) = (each.made() for each in config.each().values())
    assert (jail.network, jail.hostname, limits.memory, program.cpu_time) == ("loopback", "agent", 2 << 30, 300)
    assert smaller.memory == 256 << 20
    plain = PyjailConfig()
    assert all(f'"{word}"' in page or str(word) in page for word in (*plain.writable, plain.disk, plain.concurrency))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limits": {"memroy": "1G"}}, "limits.memroy.*did you mean 'memory'"),
        ({"jail": {"network": "host"}}, 'must be "none", "loopback" or an Egress'),
        ({"exec_limits": {"cpu_time": "soon"}}, "exec_limits.cpu_time"),
        ({"environments": {"a": {"jail": {"uid": -1}}}}, "jail.uid"),
        ({"dsik": "1G"}, "dsik"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_told(given, said):
    with pytest.raises(ValueError, match=said):
        PyjailConfig(**given)


@pytest.mark.parametrize("name", ["compose.yaml", "Dockerfile", "missing.toml", "wrong.toml"])
async def test_a_file_that_is_none_of_ours_is_refused_before_anything_runs(tmp_path, name):
    (tmp_path / "wrong.toml").write_text("[limits]\nmemory = 0\n")
    with pytest.raises(PrerequisiteError) as e:
        await PyjailSandboxEnvironment.task_init("task", str(tmp_path / name))
    assert name in str(e.value.message)


def test_how_many_samples_run_at_once():
    assert 1 <= PyjailSandboxEnvironment.default_concurrency() <= max(16, 4 * os.cpu_count())
    assert issubclass(SpecError, ValueError)
