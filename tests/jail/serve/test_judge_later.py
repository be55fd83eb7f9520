"""Judgements that are fetched later: kept, followed, cancelled and done again after a death, as runs are."""

from __future__ import annotations

import signal
from dataclasses import replace

import httpx
import pytest

from pyjail import Limits
from pyjail.languages import Language
from pyjail.serve import Config
from pyjail.serve.config import MAXIMA, Admission, Files
from tests.jail.serve.served import PATIENCE, served
from tests.jail.serve.test_events import parsed
from tests.scripts import until

LATER = {"prefer": "respond-async"}
SUM = "print(sum(map(int, input().split())))"
ASKED = {
    "language": "python",
    "source": SUM,
    "tests": [{"input": "3 4", "expected": "7"}, {"input": "1", "expected": "2"}],
}
SLOW = {"language": "python", "source": "import time; time.sleep(float(input())); print('x')",
        "tests": [{"input": "0", "expected": "x"}, {"input": "1000"}], "limits": {"wall_time": 100}}  # fmt: skip


def config(tmp_path=None, **more):
    return Config(admission=Admission(concurrent=2), files=Files(floor=1 << 20), state=str(tmp_path or ""), **more)


@pytest.fixture(scope="module")
def service():
    with served(config()) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def submitted(client, asked, **headers):
    answer = client.post("/v1/judge", json=asked, headers={**LATER, **headers})
    assert answer.status_code == 202, answer.text
    assert answer.headers["preference-applied"] == "respond-async"
    return answer.headers["location"]


def fetched(client, where):
    return client.get(f"{where}?wait=50").json()


def events_of(client, where, **headers):
    with client.stream("GET", f"{where}/events", headers=headers) as answer:
        return [*parsed(answer.iter_lines())]


def test_it_is_what_it_is_when_it_is_waited_for(client):
    now, later = client.post("/v1/judge", json=ASKED).json(), fetched(client, submitted(client, ASKED))
    assert later["state"] == "done" and later["verdict"] == now["verdict"] == "wrong_answer"
    assert [row["verdict"] for row in later["results"]] == [row["verdict"] for row in now["results"]]
    assert (later["points"], later["score"]) == (now["points"], now["score"])
    assert all("stdout" not in row["result"] and "receipt" not in row["result"] for row in later["results"])


def test_each_verdict_is_told_once_it_is_known_and_once_more_to_who_comes_late(service, client):
    where = submitted(client, SLOW)
    with client.stream("GET", f"{where}/events") as answer:
        for name, data, _ in parsed(answer.iter_lines()):
            if name == "test":
                assert data["verdict"] == "ok"
                break
    said = client.delete(where).json()
    assert said["state"] == "cancelled" and said["gone_ms"] >= 0 and not service.programs()
    where = submitted(client, ASKED)
    fetched(client, where)
    names = [name for name, _, _ in events_of(client, where)]
    assert names.count("test") == 2 and names[-1] == "result"


def test_the_same_key_is_the_same_judgement(client):
    key = {"idempotency-key": "k"}
    first = client.post("/v1/judge", json=ASKED, headers=key).json()
    assert client.post("/v1/judge", json=ASKED, headers=key).json() == first and first["verdict"] == "wrong_answer"
    assert submitted(client, ASKED, **key).endswith(first["id"])
    answer = client.post("/v1/judge", json={**ASKED, "source": "1"}, headers=key)
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key"), answer.text


def test_what_shows_only_later_to_be_wrong_is_its_result():
    tight = Limits(wall_time=0.2, cpu_time=0.2)
    with served(config(limits=tight, maxima=replace(MAXIMA, wall_time=0.2, cpu_time=0.2))) as service:
        with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
            asked = {"language": "bash", "source": "sleep 10", "tests": [{}] * 20}  # together longer than ten programs
            said = fetched(client, submitted(client, asked))
    assert said["state"] == "done" and said["problem"]["status"] == 422 and said["problem"]["field"] == "tests"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_it_outlives_the_service(tmp_path, end):
    slow = {**SLOW, "tests": [{"input": "0", "expected": "x"}, {"input": "4", "expected": "x"}]}
    made = config(tmp_path, drain=0.1)
    with served(made, end=end) as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        where = submitted(client, slow)
        assert until(lambda: any(b"python" in line for line in service.programs()), PATIENCE)
    with served(made) as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        assert until(lambda: client.get(f"{where}?wait=10").json()["state"] == "done", PATIENCE)
        said = fetched(client, where)
        assert said["passed"] and len(said["results"]) == 2
        assert [name for name, _, _ in events_of(client, where)].count("test") == 2
    with served(made) as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        assert fetched(client, where) == said
        assert [name for name, _, _ in events_of(client, where)].count("test") == 2


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"language": "pythn"}, "language"), ({"entry": "no.py"}, "entry"), ({"files": {"../x": ""}}, "files"),
        ({"files": {"main.py": ""}}, "files"), ({"subtasks": [{"name": "a", "points": 1, "tests": ["x"]}]}, "subtasks"),
        ({"subtasks": [{"name": "a", "points": 1, "tests": ["1"], "needs": ["b"]}]}, "subtasks"),
        ({"tests": [{"input": {"sha256": "0" * 64}}]}, "tests.0.input"), ({"files": {"a": {"sha256": "0" * 64}}}, "files.a"),
        ({"limits": {"memory": "1T"}}, "limits.memory"), ({"tests": []}, "tests"), ({"tests": [{"inptu": ""}]}, "tests.0.inptu"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_once_and_as_when_it_is_waited_for(client, more, field):
    asked = {**ASKED, **more}
    now = client.post("/v1/judge", json=asked)
    for headers in (LATER, {"idempotency-key": f"wrong {more}"}, {**LATER, "idempotency-key": f"wrong {more}"}):
        later = client.post("/v1/judge", json=asked, headers=headers)
        assert (later.status_code, later.json()["field"]) == (422, field) == (now.status_code, now.json()["field"])
        assert later.json()["detail"] == now.json()["detail"]


def test_what_held_each_run_is_told_where_that_is_asked_for(client):
    asked = {"language": "c", "source": "int main(void) { return 0; }", "tests": [{}], "receipts": True}
    later = client.get(f"{submitted(client, asked)}?wait=50&receipt=true").json()
    for said in (client.post("/v1/judge", json=asked).json(), later):
        rows = {row["name"]: row for row in said["results"][0]["result"]["receipt"]}
        assert rows["wall_time"]["status"] == "enforced" and said["compile"]["receipt"]


def test_a_source_that_is_no_program_is_a_verdict(client):
    for source in ({"a.txt": ""}, {}, {"../a.py": ""}):
        said = fetched(client, submitted(client, {**ASKED, "source": source}))
        assert (said["state"], said["verdict"]) == ("done", "compile_error")


def test_a_language_that_is_not_installed_is_told_at_once():
    away = Language("away", run=("no-such-tool", "{source}"), source="a", tools={"no-such-tool": "-c"})
    with served(config(languages={"away": away})) as service:
        for path, more in (("runs", {}), ("judge", {"tests": [{}]})):
            asked = {"language": "away", "source": "", **more}
            answer = httpx.post(f"{service.url}/v1/{path}", json=asked, headers=LATER, timeout=PATIENCE)
            assert (answer.status_code, answer.json()["field"]) == (422, "language"), answer.text
