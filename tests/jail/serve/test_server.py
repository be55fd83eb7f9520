"""``pyjail serve`` as it is typed: it says where it serves, or why it does not."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request

import pytest

from tests.jail.serve.typed import PATIENCE, post, refused, run, serving
from tests.scripts import until

pytestmark = pytest.mark.needs_cgroups


def test_it_says_its_address_in_one_line_and_serves_there():
    with serving() as (_, url):
        assert url.startswith("http://127.0.0.1:")
        for path in ("/healthz", "/readyz"):
            with urllib.request.urlopen(url + path, timeout=PATIENCE) as answer:
                assert json.load(answer) == {"ok": True}
                assert "server" not in answer.headers
        assert post(f"{url}/v1/runs", {"args": ["true"]})["result"]["verdict"] == "ok"


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is taken by another program" in refused("--port", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_reach_needs_tokens_or_open(host):
    said = refused("--host", host, "--port", "0")
    assert "without tokens anybody there could run programs" in said
    assert "--open" in said


def test_open_is_warned_of_at_each_start():
    with serving("--host", "0.0.0.0", "--open") as (process, url):
        process.send_signal(signal.SIGTERM)
        assert f"--open: whoever reaches {url} may run programs, without a token" in process.stderr.read()


def test_a_socket_of_a_path_is_replaced_when_it_is_dead_and_gone_afterwards(tmp_path):
    path = tmp_path / "serve.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving("--unix", str(path), port=()) as (_, url):
        assert url == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b'{"ok":true}' in client.makefile("rb").read()
        assert "another program listens there" in refused("--unix", str(path))
    assert not path.exists()


def test_a_file_where_a_socket_is_to_be_stays(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    assert "it is no socket" in refused("--unix", str(path))
    assert path.read_text() == "precious"


def test_what_could_be_too_little_memory_is_said():
    with serving(env={"PYJAIL_SERVE_ADMISSION_CONCURRENT": "4096"}) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert "programs of serve.maxima.memory and the service may need" in process.stderr.read()


def test_a_limit_that_cannot_be_enforced_is_refused_by_its_name():
    said = refused(
        "--port", "0", env={**os.environ, "PYJAIL_SERVE_MAXIMA_CPUS": "4096", "PYJAIL_SERVE_LIMITS_CPUS": "4096"}
    )
    assert "[limits]" in said and "cpus" in said


@pytest.mark.needs_root
def test_where_limits_cannot_be_enforced_it_does_not_start_and_says_what_is_in_the_way():
    hidden = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        'mount -t tmpfs tmpfs /sys/fs/cgroup && exec "$@"',
        "sh",
    ]
    said = refused("--port", "0", command=[*hidden, sys.executable, "-m", "pyjail", "serve"])
    assert "strict jails do not run here: " in said and "fix: " in said


def test_what_is_wrong_in_the_configuration_is_said_before_anything_is_tried(tmp_path):
    (tmp_path / "serve.toml").write_text("[serve]\nprot = 1")
    assert "serve.prot=1: there is no such key" in refused("--config", str(tmp_path / "serve.toml"))
    assert "there is no such option" not in refused("--config", str(tmp_path / "none.toml"))


def test_a_state_directory_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").touch()
    said = refused("--port", "0", "--state", str(tmp_path / "file"))
    assert f"{tmp_path}/file" in said


def test_a_state_directory_is_of_one_service_alone(tmp_path):
    with serving("--state", str(tmp_path)):
        assert "another service uses this state directory" in refused("--port", "0", "--state", str(tmp_path))


def test_check_serves_nothing_and_shows_no_secret(tmp_path):
    done = run("--check", "--port", "1", env={**os.environ, "PYJAIL_SERVE_TOKENS": f"ci:run:{'ab' * 32}"})
    assert done.returncode == 0 and "port = 1" in done.stdout and "abab" not in done.stdout


def test_a_new_token_lets_in_and_no_other(tmp_path):
    done = run("token", "new", "--name", "ci")
    secret = done.stdout.splitlines()[0].rpartition(" ")[2]
    (tmp_path / "serve.toml").write_text(done.stdout)
    with serving("--config", str(tmp_path / "serve.toml")) as (_, url):
        for given, status in ((secret, 200), (secret[:-1], 401), ("", 401)):
            request = urllib.request.Request(
                f"{url}/v1/runs", b'{"args": ["true"]}',
                {"Content-Type": "application/json", "Authorization": f"Bearer {given}"},
            )  # fmt: skip
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    assert answer.status == status
            except urllib.error.HTTPError as e:
                assert e.code == status
                e.close()


@pytest.mark.parametrize(
    ("module", "variable", "extra"),
    [
        ("uvicorn", "PYJAIL_SERVE_PORT=0", "serve"),
        ("opentelemetry.sdk", "PYJAIL_SERVE_OBSERVE_TRACES=true", "serve,otel"),
    ],
)
def test_without_the_extra_it_is_told_how_to_get_it(module, variable, extra):
    """A Python that cannot find it stands for one that does not have it."""
    name, value = variable.split("=")
    code = f"import sys; sys.modules[{module!r}] = None; from pyjail import cli; sys.exit(cli.main(['serve', '--port', '0']))"
    said = refused(command=[sys.executable, "-c", code], env={**os.environ, name: value})
    assert f"pip install 'pyjail-linux[{extra}]'" in said


def test_metrics_are_on_a_listener_of_their_own_too():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with serving(env={"PYJAIL_SERVE_OBSERVE_METRICS": f"127.0.0.1:{port}"}) as (_, url):
        post(f"{url}/v1/runs", {"args": ["true"]})

        def scraped(where):
            with urllib.request.urlopen(where, timeout=PATIENCE) as answer:
                return answer.read().decode()

        counted = 'pyjail_runs_total{face="v1",language="-",verdict="ok"} 1.0'
        for where in (f"http://127.0.0.1:{port}/metrics", f"{url}/metrics"):
            assert until(lambda where=where: counted in scraped(where), PATIENCE)  # after the answer, and soon
            page = scraped(where)
            for name in ("run_seconds_count", "queue_seconds_count", "overhead_seconds_count", "running", "queued",
                         "store_bytes", "keepers", 'jobs{state="queued"}'):  # fmt: skip
                assert f"\npyjail_{name} " in page, name


def test_what_is_no_request_is_counted_and_logged(tmp_path):
    with serving(log=tmp_path / "log") as (_, url):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), PATIENCE) as sock:
            sock.sendall(b"hunter2\r\n\r\n")
            assert sock.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
            assert b'pyjail_rejected_total{reason="http"} 1.0' in answer.read()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["status"], line["problem"]) for line in lines if line["event"] == "refused"] == [(400, "http")]
    assert "hunter2" not in str(lines)


def test_what_users_send_is_in_no_line_of_the_log(tmp_path):
    secret = "hunter2"
    with serving(log=tmp_path / "log") as (_, url):
        body = {"language": "python", "source": f"print('{secret}')", "stdin": secret, "env": {"A": secret}}
        post(f"{url}/v1/runs", body)
        for path in (f"/{secret}", f"/v1/runs/{secret}", f"/v1/runs?receipt={secret}"):
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(f"{url}{path}", timeout=PATIENCE)
            raised.value.close()
        refused_body = urllib.request.Request(
            f"{url}/v1/runs", json.dumps({secret: 1}).encode(), {"Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(refused_body, timeout=PATIENCE)
        raised.value.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines].count("request") == 5
    assert secret not in (tmp_path / "log").read_text()
    (ran,) = [line for line in lines if line["event"] == "run"]
    assert len(ran["sha256"]) == 64 and ran["request_id"] in {line["request_id"] for line in lines if line is not ran}


def test_a_run_that_is_fetched_later_is_logged_under_its_own_id(tmp_path):
    with serving(log=tmp_path / "log") as (_, url):
        request = urllib.request.Request(
            f"{url}/v1/runs", b'{"args": ["true"]}', {"Content-Type": "application/json", "Prefer": "respond-async"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            id = json.load(answer)["id"]
        with urllib.request.urlopen(f"{url}/v1/runs/{id}?wait=60", timeout=PATIENCE) as answer:
            assert json.load(answer)["state"] == "done"
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (ran,) = [line for line in lines if line["event"] == "run"]
    assert (ran["request_id"], ran["tenant"]) == (id, "127.0.0.1")
