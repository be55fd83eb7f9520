"""What is counted and logged of runs and requests, and what is not."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace

import pytest

from pyjail import HostError, Verdict
from pyjail.serve import Config, logs
from pyjail.serve.admission import Turns
from pyjail.serve.config import Admission, Observe
from pyjail.serve.job import Job, Outcome
from pyjail.serve.observed import Observed
from pyjail.serve.observer import Observer, digest
from pyjail.serve.problem import Problem

SECRET = "hunter2"


@pytest.fixture
def observer():
    """One whose lines are in ``lines``."""
    made = Observer(Config(observe=Observe(log=False)), Turns(Admission(concurrent=1)))
    said = []
    made.log = logs.Log(said.append)
    made.lines = lambda: [json.loads(line) for line in said]
    return made


def ran(verdict=Verdict.OK, **more):
    usage = SimpleNamespace(wall_time=0.25, cpu_time=0.125, memory_peak=1 << 20)
    result = SimpleNamespace(
        verdict=verdict, limits_hit=frozenset({"output", "memory"}), usage=usage, stdout=SECRET.encode(), stderr=b""
    )
    return Outcome(**{"result": result, "queued": 0.5, **more})


def sample(observer, name, **labels):
    return observer.metrics.registry.get_sample_value(name, labels)


def answered(observer, app, path="/x", **more):
    """One request through it; what was sent."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": SECRET.encode()}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": SECRET.encode(), "headers": [], **more}
    try:
        asyncio.run(Observed(app, observer)(scope, receive, send))
    finally:
        observer.settle()
    return sent


def test_a_run_is_a_line_without_what_the_user_sent(observer):
    job = Job(("cat", SECRET), "python", SECRET, SECRET.encode(), {SECRET: SECRET.encode()}, {"A": SECRET}, SECRET)
    observer.ran(job, ran())
    (line,) = observer.lines()
    assert line["event"] == "run" and line["level"] == "info"
    assert (line["face"], line["verdict"], line["language"]) == ("v1", "ok", "python")
    assert line["limit"] == ["memory", "output"]
    assert (line["wall"], line["cpu"], line["memory"], line["queue_s"]) == (0.25, 0.125, 1 << 20, 0.5)
    assert (line["bytes_in"], line["bytes_out"]) == (14, 7)
    assert line["sha256"] == digest(SECRET)
    assert SECRET not in json.dumps(line)


def test_a_run_is_counted_by_words_of_ours(observer):
    for language in ("py", "Python", "python", "Pythn", SECRET):
        observer.ran(Job(language=language, source="1"), ran())
    count = "pyjail_runs_total"
    assert sample(observer, count, face="v1", verdict="ok", language="python") == 3
    assert sample(observer, count, face="v1", verdict="ok", language="unknown") == 2
    assert sample(observer, "pyjail_run_seconds_count") == 5
    assert sample(observer, "pyjail_queue_seconds_sum") == 2.5
    assert SECRET.encode() not in observer.metrics.page()


def test_words_of_users_are_not_kept_without_bound(observer):
    for number in range(3000):
        observer.language(f"{number}.py")
    observer.language("x" * 10**6 + ".py")
    assert len(observer._languages) == 1000 and max(map(len, observer._languages)) <= 32


def test_go_judge_s_commands_are_counted_by_its_names_too(observer):
    for verdict in (Verdict.OK, Verdict.CPU_TIME, Verdict.CPU_TIME):
        outcome = ran(verdict)
        outcome.result.exit_code, outcome.result.signal = 0, None
        observer.ran(Job(("x",), label="go-judge"), outcome)
    observer.ran(Job(("x",)), ran())
    observer.turns.running, observer.turns.waiting = 2, 5
    assert sample(observer, "go_judge_exec_time_seconds_count", status="Accepted") == 1
    assert sample(observer, "go_judge_exec_time_seconds_sum", status="Time Limit Exceeded") == 0.25
    assert sample(observer, "go_judge_exec_memory_bytes_sum", status="Accepted") == 1 << 20
    assert [sample(observer, f"go_judge_worker_{name}_count") for name in ("queue", "running")] == [5, 2]


def test_a_face_that_is_not_offered_has_no_metrics():
    made = Observer(Config(faces={"go-judge": {"enabled": False}}), Turns(Admission()))
    assert b"go_judge" not in made.metrics.page()


def test_what_did_not_compile_is_no_program_that_ran(observer):
    observer.ran(Job(language="c", source="x"), Outcome(None, ran().result))
    assert sample(observer, "pyjail_runs_total", face="v1", verdict="compile_error", language="c") == 1
    assert sample(observer, "pyjail_run_seconds_count") == 0


def test_a_jail_that_fails_is_an_error_without_its_text(observer):
    observer.failed(Job(), HostError("memory", SECRET, SECRET))
    (line,) = observer.lines()
    assert (line["level"], line["verdict"], line["where"]) == ("error", "jail_error", "HostError")
    assert SECRET not in json.dumps(line)


def test_who_leaves_is_counted(observer):
    observer.failed(Job(), asyncio.CancelledError())
    observer.failed(Job(), Problem(503, "ended", "x"))
    observer.failed(Job(), Problem(429, "share-full", "x"))
    assert sample(observer, "pyjail_cancelled_total", reason="client") == 1
    assert sample(observer, "pyjail_cancelled_total", reason="shutdown") == 1


def test_a_request_is_a_line_with_its_route_and_never_its_path(observer):
    async def app(scope, receive, send):
        scope |= {"request_id": "abc", "tenant": "ci", "route": SimpleNamespace(path="/v1/runs/{id}")}
        await receive()
        observer.ran(Job(), ran())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"12345"})

    answered(observer, app, f"/v1/runs/{SECRET}")
    run, request = observer.lines()
    assert (run["request_id"], run["tenant"]) == ("abc", "ci")
    assert (request["request_id"], request["tenant"], request["route"]) == ("abc", "ci", "/v1/runs/{id}")
    assert (request["status"], request["bytes_in"], request["bytes_out"]) == (200, 7, 5)
    assert SECRET not in json.dumps(request)
    assert sample(observer, "pyjail_http_requests_total", route="/v1/runs/{id}", status="200") == 1
    assert sample(observer, "pyjail_overhead_seconds_count") == 1


def test_a_request_that_is_refused_is_counted_by_the_kind_of_problem(observer):
    async def app(scope, receive, send):
        scope["problem"] = "queue-full"
        await send({"type": "http.response.start", "status": 503, "headers": []})

    answered(observer, app)
    assert sample(observer, "pyjail_rejected_total", reason="queue-full") == 1
    assert sample(observer, "pyjail_http_requests_total", route="-", status="503") == 1
    assert observer.lines()[-1]["problem"] == "queue-full"


def test_a_request_whose_application_fails_is_a_line_too(observer):
    async def app(scope, receive, send):
        raise ValueError(SECRET)

    with pytest.raises(ValueError, match=SECRET):
        answered(observer, app)
    assert observer.lines()[-1]["status"] == 0


def test_labels_are_bounded_whatever_happens(observer):
    for number in range(2000):
        observer.metrics.request(f"/{number}", 200, None)
    assert len(observer.metrics.page().splitlines()) < 1500
    assert sample(observer, "pyjail_http_requests_total", route="other", status="other") > 1000


def test_other_libraries_are_told_in_their_own_words_alone(observer):
    handler = observer.log.attach()
    try:
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("asyncio").error("it failed\n%s", SECRET, exc_info=True)
        logging.getLogger("uvicorn.error").info("not this")
        logging.getLogger("pyjail.serve").warning("%s is ours", "this")
    finally:
        logs.detach(handler)
    logging.getLogger("pyjail.serve").warning("nobody listens")
    first, second = observer.lines()
    assert first["text"] == "it failed" and first["level"] == "error"
    assert first["where"].startswith("ValueError < test_observer.py:")
    assert second["text"] == "this is ours"


def test_control_characters_are_escaped():
    lines = []
    logs.Log(lines.append).line("x", text="\x1b[31m\n\u202e")
    (said,) = lines
    assert said.isascii() and said.isprintable()


def test_what_clients_can_cause_as_often_as_they_like_is_said_some_times_a_second(observer, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    for _ in range(1000):
        observer.refused(Problem(400, "http", SECRET))
    now[0] += 1
    observer.refused(Problem(400, "http", SECRET))
    lines = observer.lines()
    assert len(lines) == 11 and lines[-1]["left_out"] == 990 and SECRET not in str(lines)
    assert sample(observer, "pyjail_rejected_total", reason="http") == 1001


def test_what_uvicorn_says_of_a_request_that_is_none_is_our_line_alone(observer):
    handler = observer.log.attach()
    try:
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        for _ in range(100):
            logging.getLogger("uvicorn.error").warning("Unsupported upgrade request.")
    finally:
        logs.detach(handler)
    assert [line["text"] for line in observer.lines()] == ["Unsupported upgrade request."] * 10
