"""The faces over real sockets, with real programs: what their clients meet."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pyjail.serve import Config
from pyjail.serve.config import Admission, Edge, Token
from tests.jail.serve.served import PATIENCE, Served, served

HELLO = {"image": "python:3.12-slim", "cmd": ["python3", "-c", "print(42)"]}


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served(Config(admission=Admission(concurrent=2))) as found:
        yield found


def call(service: Served, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        connection.request(method, path, data, given)
        answer = connection.getresponse()
        raw = answer.read()
        kind = answer.headers.get("Content-Type", "")
        return (
            answer.status,
            json.loads(raw) if kind == "application/json" else raw,
            {name.lower(): value for name, value in answer.headers.items()},
        )
    finally:
        connection.close()


def post(service: Served, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    return call(service, "POST", path, body, **headers)[:2]


def upload(service: Served, path: str, data: bytes, at: str = "/files") -> tuple[int, Any]:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="path"\r\n\r\n{path}\r\n'.encode(),
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="../../x"\r\n\r\n' + data + b"\r\n--b--\r\n",
    ]
    return post(service, at, b"".join(parts), Content_Type="multipart/form-data; boundary=b")


# ---- Boxer ----


def test_boxer_files_go_in_and_what_is_in_output_comes_out(service):
    assert upload(service, "work/in.py", b"print(open('/work/data').read(), file=open('/output/sub/x', 'w'))")[0] == 200
    assert upload(service, "work/data", b"\xc3\xa9")[0] == 200
    code = "import os, runpy; os.makedirs('/output/sub'); os.symlink('/etc/passwd', '/output/link'); runpy.run_path('/work/in.py')"
    asked = {"image": "python:3", "cmd": ["python3", "-c", code], "files": ["work/in.py", "work/data"], "persist": True}
    status, said = post(service, "/run", asked)
    assert (status, said["exit_code"], said["stderr"]) == (200, 0, "")
    assert call(service, "GET", f"/files?path=output/{said['exec_id']}/sub/x")[1] == "é\n".encode()
    assert call(service, "GET", f"/files?path=output/{said['exec_id']}/link")[0] == 404
    _, said = post(service, "/boxer/run/", {**asked, "persist": False})
    assert call(service, "GET", f"/files?path=output/{said['exec_id']}/sub/x")[0] == 404
    assert call(service, "GET", "/boxer/files/?path=work/in.py")[0] == 404  # inputs go, too
    assert post(service, "/run", asked)[1] == {"error": "file not found: work/in.py"}


def test_boxer_inputs_are_not_to_be_written_and_are_no_way_out(service):
    upload(service, "etc/own.conf", b"mine")
    code = "echo x > /etc/own.conf; cat /etc/own.conf; readlink /etc/own.conf; ls /etc/shadow"
    _, said = post(service, "/run", {"image": "python:3", "cmd": ["sh", "-c", code], "files": ["etc/own.conf"]})
    assert said["stdout"] == "mine/box/.boxer/etc/own.conf\n"
    assert "Permission denied" in said["stderr"]
    assert "/etc/shadow" in said["stderr"]


@pytest.mark.parametrize(
    ("code", "limits", "status", "expected"),
    [
        ("while True: pass", {"wall_clock_secs": 1}, 408, "execution timed out after "), ("while True: print('y' * 9999)", {}, 507, "output limit exceeded: limit=10485760 bytes"),
        ("x = bytearray(10**9)", {"memory_mb": 64}, 200, 137), ("import os; os.abort()", {}, 200, 134), ("exit(7)", {}, 200, 7),
    ],
)  # fmt: skip
def test_boxer_ends(service, code, limits, status, expected):
    found, said = post(service, "/run", {"image": "python:3", "cmd": ["python3", "-c", code], "limits": limits})
    assert found == status
    assert said["exit_code"] == expected if status == 200 else said["error"].startswith(expected)


def test_boxer_s_own_paths_are_what_go_clients_send(service):
    assert post(service, "/boxer/run", json.dumps(HELLO).encode(), Content_Type="")[1]["stdout"] == "42\n"
    assert call(service, "GET", "/boxer/healthz/")[1] == {"ok": True}
    assert post(service, "/run", {**HELLO, "cmd": ["pwd"]})[1]["stdout"] == "/\n"


# ---- Codebox ----


def test_codebox_commands_share_a_directory_and_go_on(service):
    commands = [
        {"command": "/venv/bin/python a.py", "timeout": 20}, {"command": "/bin/sleep 9", "timeout": 0.1}, {"command": "nope"},
        {"command": "/bin/cat /sandbox/made hello/x", "timeout": 20}, {"command": "/bin/cat", "stdin": "olá", "timeout": 20},
    ]  # fmt: skip
    sources = {"a.py": "open('/sandbox/made', 'w').write('made\\n'); exit(3)", "hello/x": "x"}
    status, said = post(service, "/execute", {"sources": sources, "commands": commands})
    assert status == 200
    assert [(e["stdout"], e["exit_code"]) for e in said] == [("", 3), ("", -1), ("", 127), ("made\nx", 0), ("olá", 0)]
    assert said[1]["stderr"] == "Timeout Error. Exceeded 0.1s"


def test_codebox_has_no_shared_memory_and_few_processes(service):
    memory = "from multiprocessing.shared_memory import SharedMemory\nSharedMemory('t', create=True, size=16)"
    forks = "import os\nwhile 1: os.fork()"
    for code, told in (
        (memory, "OSError: [Errno"),
        (forks, "BlockingIOError: [Errno 11] Resource temporarily unavailable"),
    ):
        command = {"command": "/venv/bin/python t.py", "timeout": 20}
        _, said = post(service, "/execute", {"sources": {"t.py": code}, "commands": [command]})
        assert told in said[0]["stderr"]


def test_codebox_runs_nothing_outside_of_a_jail(service):
    for path in ("/execute_insecure", "/codebox/execute_insecure"):
        assert post(service, path, {"sources": {}, "commands": []})[0] == 404
    assert "python" in call(service, "GET", "/languages")[1]


# ---- Secure-Sandbox ----


def test_secure_sandbox_has_its_rate_its_check_and_its_sanitiser():
    with served() as service:
        said = post(service, "/execute", {"code": "print(f'\\x1b[31m{input()}\\x1b[0m')", "input": "hi"})[1]
        assert (said["stdout"], said["returncode"]) == ("hi\n", 0)
        said = post(service, "/execute", {"code": "import os"})[1]
        assert said == {
            "stdout": "", "stderr": "Forbidden construct detected: Import(names=[alias(name='os')])", "returncode": -1,
            "execution_time": 0.0,
        }  # fmt: skip
        said = post(service, "/secure-sandbox/execute/", {"code": "print('y' * 200_000)"})[1]
        assert said["stdout"] == "y" * (100 * 1024) + "\n... [output truncated]"
        for _ in range(7):
            assert post(service, "/execute", {"code": "1"})[0] == 200
        status, said, headers = call(service, "POST", "/execute", {"code": "1"})
        assert (status, said) == (429, {"detail": "Rate limit exceeded"})
        assert 1 <= int(headers["retry-after"]) <= 60
        assert post(service, "/execute", {"sources": {}, "commands": []})[0] == 200  # Codebox's has no such rate


# ---- who is at the root, and what stands before ----


def test_bodies_tell_the_faces_apart(service):
    assert post(service, "/execute", {"commands": []})[1]["detail"][0]["loc"] == ["body", "sources"]
    assert post(service, "/execute/", {})[1]["detail"][0]["loc"] == ["body", "sources"]
    assert post(service, "/execute", {"code": 1})[1]["detail"][0]["loc"] == ["body", "code"]


def test_another_face_may_be_at_the_root_and_one_may_be_off():
    with served(Config(root="codebox", faces={"boxer": {"enabled": False}})) as service:
        assert post(service, "/execute", {"code": "1"})[1]["detail"][0]["loc"] == ["body", "sources"]
        assert post(service, "/run", HELLO)[0] in (404, 405)
        assert post(service, "/boxer/run", HELLO)[0] in (404, 405)
        assert post(service, "/secure-sandbox/execute", {"code": "1"})[0] == 200


@pytest.mark.parametrize(
    ("path", "key"),
    [("/run", "error"), ("/boxer/run/", "error"), ("/execute", "detail"), ("/codebox/execute", "detail")],
)
def test_what_stands_before_is_told_as_the_face_tells_it(path, key):
    token = Token("ci", hashlib.sha256(b"secret").hexdigest())
    with served(Config(tokens=(token,), edge=Edge(body=1000))) as service:
        status, said, headers = call(service, "POST", path, HELLO)
        assert (status, set(said)) == (401, {key})
        assert "www-authenticate" in headers
        bearer = {"Authorization": "Bearer secret"}
        status, said, headers = call(service, "POST", path, {**HELLO, "x": "x" * 2000}, **bearer)
        assert (status, set(said)) == (413, {key})
        assert headers["x-request-id"]
        assert call(service, "POST", path, HELLO, **bearer)[0] in (200, 422)


def test_who_goes_takes_the_jail_along(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    body = json.dumps({"image": "python:3", "cmd": ["sleep", "86"], "limits": {"wall_clock_secs": 100}})
    connection.request("POST", "/run", body, {"Content-Type": "application/json"})
    end = time.monotonic() + PATIENCE
    while not any(b"sleep\x0086" in line for line in service.programs()):
        assert time.monotonic() < end
        time.sleep(0.01)
    connection.close()
    while any(b"sleep\x0086" in line for line in service.programs()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_busy_service_says_so_in_the_face_s_words():
    with served(Config(admission=Admission(concurrent=1, queue=1, patience=0.2))) as service:
        sleeping = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
        body = json.dumps({"image": "python:3", "cmd": ["sleep", "60"], "limits": {"wall_clock_secs": 60}})
        sleeping.request("POST", "/run", body, {"Content-Type": "application/json"})
        end = time.monotonic() + PATIENCE
        while not any(b"sleep\x0060" in line for line in service.programs()):
            assert time.monotonic() < end
            time.sleep(0.01)
        for path, asked, key in (
            ("/run", HELLO, "error"), ("/execute", {"sources": {}, "commands": [{"command": "x"}]}, "detail"),
            ("/execute", {"code": "1"}, "detail"),
        ):  # fmt: skip
            status, said, headers = call(service, "POST", path, asked)
            assert (status, set(said)) == (503, {key})
            assert int(headers["retry-after"]) >= 1
        sleeping.close()


# ---- WebSockets ----


def test_go_judge_s_socket_runs_several_at_once_and_cancels(service):
    streams = [{"content": "hi"}, {"name": "stdout", "max": 100}]
    slow, hello = (
        {"args": ["/bin/sleep", "87"], "clockLimit": 90 * 10**9},
        {"args": ["/bin/cat"], "files": streams, "copyOut": ["stdout"]},
    )
    end = time.monotonic() + PATIENCE
    with connect(f"ws://127.0.0.1:{service.port}/go-judge/ws", compression=None) as line:
        line.send(json.dumps({"requestId": "slow", "cmd": [slow]}))
        line.send(json.dumps({"requestId": "quick", "cmd": [hello]}))
        quick = json.loads(line.recv(PATIENCE))
        assert (quick["requestId"], quick["results"][0]["files"]) == ("quick", {"stdout": "hi"})
        line.send(json.dumps({"cancelRequestId": "slow"}))
        assert json.loads(line.recv(PATIENCE)) == {"requestId": "slow", "error": "cancelled"}
        line.send(json.dumps({"requestId": "left", "cmd": [slow]}))
        while not any(b"sleep\x0087" in program for program in service.programs()):
            assert time.monotonic() < end
            time.sleep(0.01)
    while any(b"sleep\x0087" in program for program in service.programs()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_socket_of_another_site_or_without_a_token_is_refused():
    token = Token("ci", hashlib.sha256(b"secret").hexdigest())
    with served(Config(tokens=(token,))) as service:
        url = f"ws://127.0.0.1:{service.port}/go-judge/ws"
        asked = json.dumps({"requestId": "1", "cmd": [{"args": ["/bin/true"]}]})
        bearer = {"Authorization": "Bearer secret"}
        with pytest.raises(InvalidStatus), connect(url, origin="https://evil.example", additional_headers=bearer):
            raise AssertionError("let in")
        with connect(url) as line, pytest.raises(ConnectionClosed):
            line.send(asked)
            line.recv(PATIENCE)
        with connect(url, additional_headers=bearer) as line:
            line.send(asked)
            assert json.loads(line.recv(PATIENCE))["results"][0]["status"] == "Accepted"


def test_piston_s_socket_talks_to_a_program(service):
    url = f"ws://127.0.0.1:{service.port}/piston/api/v2/connect"
    code = """
import signal, sys, time
def end(*_):
    sys.stderr.buffer.write("é".encode())
    sys.exit(3)
signal.signal(signal.SIGUSR1, end)
print(input(), flush=True)
while True: time.sleep(0.01)  # a signal that comes right before a wait would end none
"""
    with connect(url) as line:
        line.send(json.dumps({"type": "init", "language": "python", "version": "*", "files": [{"content": code}]}))
        assert json.loads(line.recv(PATIENCE))["type"] == "runtime"
        assert json.loads(line.recv(PATIENCE)) == {"type": "stage", "stage": "run"}
        line.send(json.dumps({"type": "data", "stream": "stdin", "data": "typed\n"}))
        assert json.loads(line.recv(PATIENCE)) == {"type": "data", "stream": "stdout", "data": "typed\n"}
        line.send(json.dumps({"type": "signal", "signal": "SIGUSR1"}))
        assert json.loads(line.recv(PATIENCE)) == {"type": "data", "stream": "stderr", "data": "é"}
        said = json.loads(line.recv(PATIENCE))
        assert (said["type"], said["stage"], said["code"], said["signal"]) == ("exit", "run", 3, None)
        with pytest.raises(ConnectionClosed) as closed:
            line.recv(PATIENCE)
        assert closed.value.rcvd.code == 4999


def test_piston_s_socket_closes_with_piston_s_codes(service):
    url = f"ws://127.0.0.1:{service.port}/piston/api/v2/connect"
    hello = {"type": "init", "language": "python", "version": "*", "files": [{"content": "input()"}]}
    for messages, code in (
        ([], 4001), ([{"type": "data", "stream": "stdin", "data": "x"}], 4003), ([{**hello, "language": "cobol"}], 4002), ([hello, hello], 4000),
        ([hello, {"type": "data", "stream": "stdout", "data": "x"}], 4004), ([hello, {"type": "signal", "signal": "SIGNOT"}], 4005),
    ):  # fmt: skip
        with connect(url) as line, pytest.raises(ConnectionClosed) as closed:
            for message in messages:
                line.send(json.dumps(message))
            while True:
                line.recv(PATIENCE)
        assert closed.value.rcvd.code == code


def test_go_judge_s_stream_carries_input_and_output(service):
    url = f"ws://127.0.0.1:{service.port}/go-judge/stream"
    files = [{"streamIn": True}, {"streamOut": True}, {"streamOut": True}]
    command = {"args": ["/bin/cat"], "files": files, "clockLimit": 60 * 10**9, "cpuLimit": 10**9}
    with connect(url) as line:
        line.send(b"\x01" + json.dumps({"cmd": [command]}).encode())
        line.send(b"\x03\x00typed")
        assert line.recv(PATIENCE) == b"\x02\x01typed"
        line.send(b"\x03\x00")
        end = line.recv(PATIENCE)
        assert (end[:1], json.loads(end[1:])["results"][0]["status"]) == (b"\x01", "Accepted")
    with connect(url) as line:
        line.send(b"\x01" + json.dumps({"cmd": [{**command, "args": ["/bin/sleep", "89"]}]}).encode())
        end = time.monotonic() + PATIENCE
        while not any(b"sleep\x0089" in program for program in service.programs()):
            assert time.monotonic() < end
            time.sleep(0.01)
        line.send(b"\x04")
        with pytest.raises(ConnectionClosed):
            line.recv(PATIENCE)
    assert not any(b"sleep\x0089" in program for program in service.programs())
    for wrong in (b"\x03\x00x", b"\x01{", b'\x01{"cmd": 1}', b"", b'\x01{"cmd": [{"files": [], "args": []}]}'):
        with connect(url) as line:
            line.send(wrong)
            assert "error" in json.loads(line.recv(PATIENCE)[1:])


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/piston/x", "message"), ("/judge0/x", "error"), ("/snekbox/x", "title"), ("/codebox/x", "detail"), ("/boxer/x", "error"), ("/v1/x", "type")],
)  # fmt: skip
def test_what_is_no_path_is_told_as_the_face_s_client_expects(service, path, shape):
    status, said, _ = call(service, "GET", path)
    assert status == 404 and shape in (said if isinstance(said, dict) else json.loads(said))


def test_piston_s_programs_import_each_other_by_their_names(service):
    texts = {
        "app.py": "import main, lib; print(lib.said, main.n, __file__)", "main.py": "n = 1",
        "lib.py": "import os; said = os.environ['PISTON_LANGUAGE']",
    }  # fmt: skip
    files = [{"name": name, "content": text} for name, text in texts.items()]
    asked = {"language": "python", "version": ">=3 <4", "files": files}
    status, said = post(service, "/piston/api/v2/execute", asked)
    assert (status, said["run"]["stdout"]) == (200, "python 1 /box/app.py\n")


@pytest.mark.parametrize("end", ["", "/"])
def test_who_asks_whether_a_face_is_there_hears_so(service, end):
    status, said, _ = call(service, "GET", f"/piston{end}")
    assert (status, said["message"].startswith("Piston v")) == (200, True)
    assert call(service, "GET", f"/judge0{end}")[:2] == (200, b"")
    assert call(service, "GET", "/snekbox")[0] == 404


@pytest.mark.parametrize("root", ["piston", "judge0"])
def test_at_the_root_the_page_stays(root):
    with served(Config(root=root)) as service:
        status, _, headers = call(service, "GET", "/")
        assert (status, headers["content-type"].partition(";")[0]) == (200, "text/html")
        assert call(service, "GET", "/nope")[0] == 404
        assert call(service, "GET", "/languages" if root == "judge0" else "/api/v2/runtimes")[0] == 200
