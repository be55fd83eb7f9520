"""The units of deploy/: what systemd says of them, and what they rely on, with this test in systemd's place."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

from tests import place
from tests.jail.serve.typed import PATIENCE, ROOT, post, refused, serving

pytestmark = pytest.mark.needs_cgroups
UNITS = ROOT / "deploy"


def unit(name):
    """{key: value} of a unit's file."""
    lines = (line.strip() for line in (UNITS / name).read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and line[0] not in "#[")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason=f"systemd-analyze {place.WITHOUT_TOOL}")
def test_systemd_has_nothing_to_say_about_them(tmp_path):
    for name in ("pyjail.service", "pyjail.socket"):
        text = (UNITS / name).read_text().replace("/opt/pyjail/bin/pyjail", sys.executable)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())], capture_output=True, text=True,
        timeout=PATIENCE, check=False, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    said = [line for line in (done.stdout + done.stderr).splitlines() if "pyjail" in line]
    assert (said, done.returncode) == ([], 0), done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason=f"systemd-analyze {place.WITHOUT_TOOL}")
@pytest.mark.parametrize("odd", [False, True])
def test_systemd_has_nothing_to_say_about_the_unit_of_this_machine_whose_command_is_one(tmp_path, odd):
    (tmp_path / "units").mkdir()
    file = tmp_path / ("50% of $HOME; 'a' \"b\".toml" if odd else "serve.toml")
    file.write_text("[serve]\ndrain = 7")
    done = subprocess.run(
        [sys.executable, "-m", "pyjail", "doctor", "--unit", "--config", str(file)], capture_output=True, text=True,
        timeout=PATIENCE, check=True,
    )  # fmt: skip
    written = tmp_path / "units/pyjail.service"
    written.write_text(done.stdout)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(written)], capture_output=True, text=True, timeout=PATIENCE,
        check=False, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{written.parent}:"},
    )  # fmt: skip
    said = [line for line in (verified.stdout + verified.stderr).splitlines() if "pyjail" in line]
    assert (said, verified.returncode) == ([], 0)
    (command,) = (line.removeprefix("ExecStart=") for line in done.stdout.splitlines() if line.startswith("ExecStart="))
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(command)]
    assert words[-4:] == ["--config", str(file), "--state", "/var/lib/pyjail"]
    checked = subprocess.run([*words, "--check"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "drain = 7" in checked.stdout


def test_a_configuration_is_for_the_unit_alone():
    done = subprocess.run(
        [sys.executable, "-m", "pyjail", "doctor", "--config", "x"], capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert done.returncode == 125 and "--unit" in done.stderr and done.stdout == ""


def test_a_unit_is_no_json():
    command = [sys.executable, "-m", "pyjail", "doctor", "--unit", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 125 and "no JSON" in done.stdout and "Delegate" not in done.stdout


def test_the_command_of_the_unit_is_one():
    command = unit("pyjail.service")["ExecStart"].split()
    given = [word for word in command[2:] if word.startswith("--")]
    assert command[1] == "serve" and given == ["--config", "--state"]


def test_what_takes_away_what_jails_are_made_of_is_not_set():
    keys = unit("pyjail.service")
    assert keys["Delegate"] == "yes" and keys["KillMode"] == "mixed" and keys["Type"] == "notify"
    assert keys["Environment"] == "PYJAIL_ENTER_LEAF=1"
    assert not {
        "NoNewPrivileges", "RestrictNamespaces", "SystemCallFilter", "ProtectControlGroups", "ProtectKernelTunables",
        "ProtectProc", "ProcSubset", "PrivateDevices", "MemoryDenyWriteExecute",
    } & {*keys}  # fmt: skip


def test_it_has_longer_to_stop_than_programs_have_to_end():
    from pyjail.serve import Config

    assert int(unit("pyjail.service")["TimeoutStopSec"]) > Config().drain + 5


def told(sock):
    """What a service manager is told next."""
    sock.settimeout(PATIENCE)
    return sock.recv(4096).decode()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told_when_it_serves_and_when_it_ends(tmp_path, abstract):
    name = f"pyjail-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        with serving(env={"NOTIFY_SOCKET": f"@{name}" if abstract else name}):
            assert told(manager) == "READY=1"
        assert told(manager).startswith("STOPPING=1\n")


def test_a_manager_that_is_not_there_is_no_reason_not_to_serve(tmp_path):
    with serving(env={"NOTIFY_SOCKET": str(tmp_path / "none")}) as (_, url), urllib.request.urlopen(url + "/healthz"):
        pass


@pytest.fixture
def listening():
    """A socket as a .socket unit makes one."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


# What systemd does: the socket as fd 3, and the environment of the very process that it starts.
START = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[2]}
os.execv(sys.executable, [sys.executable, "-m", "pyjail", "serve", *sys.argv[3:]])"""


def activated(sock, *options):
    """The command, for `serving`."""
    return [sys.executable, "-c", START, str(sock.fileno()), "1", *options]


def test_a_socket_that_is_passed_is_served_and_stays_open_for_the_next_one(listening):
    port = listening.getsockname()[1]
    for _ in range(2):
        client = socket.create_connection(("127.0.0.1", port), PATIENCE)  # before there is a service
        with client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            with serving(command=activated(listening), fds=(listening.fileno(),)) as (_, url):
                assert url == f"http://127.0.0.1:{port}"
                assert b'{"ok":true}' in client.makefile("rb").read()


def test_a_socket_that_others_reach_needs_tokens_though_it_is_passed():
    with socket.create_server(("0.0.0.0", 0)) as sock:
        said = refused(command=activated(sock), pass_fds=(sock.fileno(),))
    assert "without tokens anybody there could run programs" in said


def test_programs_in_jails_do_not_have_the_socket(listening):
    with serving(command=activated(listening), fds=(listening.fileno(),)) as (_, url):
        body = json.dumps({"args": ["/bin/sh", "-c", "ls -l /proc/self/fd; env"]}).encode()
        asked = urllib.request.Request(url + "/v1/runs", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            said = str(json.load(answer)["result"])
    assert "socket:" not in said and "LISTEN" not in said and "NOTIFY" not in said


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("lacks", "before"),
    [("namespaces", "echo 0 > /proc/sys/user/max_user_namespaces"), ("cgroups", "mount -t tmpfs none /sys/fs/cgroup")],
)
def test_what_lacks_a_right_does_not_start(lacks, before):
    """As in a container that was granted nothing: it says what is missing, and does not run weaker."""
    within = ["--user", "--map-root-user"] if lacks == "namespaces" else ["--mount"]
    script = f'{before} && exec "$0" -m pyjail serve --port 0'
    said = refused(command=["unshare", *within, "--", "sh", "-c", script, sys.executable])
    assert "strict jails do not run here: " in said
    assert "fix: " in said


AS_USER = [sys.executable, str(ROOT / "tests/as_user.py"), sys.executable, "-m", "pyjail", "serve", "--port", "0"]


@pytest.mark.needs_root
@pytest.mark.skipif(place.is_v2(), reason=place.ELSEWHERE)
def test_a_user_without_cgroups_is_refused_and_one_who_asked_for_less_is_told_what_it_is():
    said = refused(command=AS_USER)
    assert "strict jails do not run here: memory: " in said and "fix: " in said
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        (Path(directory) / "serve.toml").write_text("[jail]\nstrict = false")
        log = Path(directory) / "log"
        with serving("--config", f"{directory}/serve.toml", command=AS_USER, log=log) as (_, url):
            assert post(f"{url}/v1/runs", {"args": ["true"]})["result"]["verdict"] == "ok"
        assert "limits.memory is not enforced here, and jail.strict is false" in log.read_text()


READ_ONLY = """set -e
mount --make-rprivate /
mount -t tmpfs none /tmp
mkdir /tmp/state
while read -r _ _ _ _ place _; do
    case $place in /proc* | /sys* | /dev* | /tmp*) ;; *) mount -o remount,bind,ro "$place" || true ;; esac
done < /proc/self/mountinfo 2> /dev/null
! touch /var/lib/pyjail-test 2> /dev/null
exec "$@" """


@pytest.mark.needs_root
def test_it_serves_where_all_but_its_state_and_tmp_is_read_only():
    """As ProtectSystem=strict and PrivateTmp=yes leave it."""
    command = ["unshare", "--mount", "--", "sh", "-c", READ_ONLY, "sh", sys.executable, "-m", "pyjail", "serve"]
    with serving("--state", "/tmp/state", command=[*command, "--port", "0"]) as (_, url):
        body = {"language": "python", "source": "open('x', 'w').write('y'); print(open('x').read())"}
        assert post(f"{url}/v1/runs", body)["result"]["verdict"] == "ok"


def test_what_the_filter_of_the_jail_ends_is_no_limit_that_does_not_hold(tmp_path):
    (tmp_path / "serve.toml").write_text('[jail]\nseccomp = "strict"')
    with serving("--config", str(tmp_path / "serve.toml")) as (_, url):
        assert post(f"{url}/v1/runs", {"args": ["true"]})["result"]["verdict"] == "ok"
