"""Judge0's interface, as a table."""

from __future__ import annotations

import base64
import uuid
from dataclasses import replace

import pytest

from pyjail import Limits, Usage, Verdict
from pyjail.serve import Config
from pyjail.serve.config import Token
from pyjail.serve.face import Kept
from pyjail.serve.faces.judge0 import Judge0
from pyjail.serve.faces.judge0_job import job_of
from pyjail.serve.job import Outcome
from pyjail.serve.problem import Problem
from tests.unit.serve.face_desk import Desk, ask, result

FACE = Judge0()
HELLO = {"language_id": 71, "source_code": "print(1)"}
WAIT = {"wait": "true"}


def create(body, desk=None, **query):
    return ask(FACE, "POST", "/submissions", body, desk, query=query)


def test_a_submission_has_a_token_and_is_fetched_by_it():
    ended = result(stdout=b"1\n", wall=0.2824)
    object.__setattr__(ended, "usage", Usage(wall_time=0.2824, cpu_time=0.1, memory_peak=2048))
    desk = Desk(ended)
    answer = create(HELLO, desk)
    token = answer.content["token"]
    assert (answer.status, uuid.UUID(token).version) == (201, 4)
    said = ask(FACE, "GET", "/submissions/{token}", desk=desk, params={"token": token}).content
    assert said == {
        "token": token, "time": "0.100", "memory": 2, "stdout": "1\n", "stderr": None, "compile_output": None, "message": None,
        "status": {"id": 3, "description": "Accepted"},
    }  # fmt: skip
    whole = ask(FACE, "GET", "/submissions/{token}", desk=desk, params={"token": token}, query={"fields": "*"}).content
    assert whole["language"] == {"id": 71, "name": "Python (3.11.2)"}
    assert "queued_at" not in whole  # judge0-python takes no field that it does not know
    query = {"fields": "queued_at,updated_at,execution_host"}
    later = ask(FACE, "GET", "/submissions/{token}", desk=desk, params={"token": token}, query=query).content
    assert list(later.values()) == [whole["created_at"], whole["finished_at"], None]
    assert (whole["created_at"], whole["finished_at"], whole["wall_time"]) == (
        "1970-01-01T00:00:01.500Z",
        "1970-01-01T00:00:02.250Z",
        "0.282",
    )


@pytest.mark.parametrize(
    ("verdict", "given", "status"),
    [
        (Verdict.OK, {}, 3), (Verdict.RUNTIME_ERROR, {}, 11), (Verdict.SIGNALED, {}, 7), (Verdict.SIGNALED, {"signal": 25}, 8), (Verdict.SIGNALED, {"signal": 8}, 9),
        (Verdict.SIGNALED, {"signal": 6}, 10), (Verdict.SIGNALED, {"signal": 15}, 12), (Verdict.CPU_TIME, {}, 5), (Verdict.WALL_TIME, {}, 5), (Verdict.MEMORY, {}, 12),
        (Verdict.OUTPUT, {}, 8), (Verdict.SECURITY, {}, 12), (Verdict.JAIL_ERROR, {}, 13),
    ],
)  # fmt: skip
def test_each_verdict_has_its_status(verdict, given, status):
    said = create(HELLO, Desk(result(verdict, **given)), **WAIT).content
    assert said["status"]["id"] == status
    assert "secret" not in str(said)


@pytest.mark.parametrize(
    ("stdout", "expected", "status"),
    [(b"a\nb\n", "a\nb", 3), (b"a  \nb", "a\nb\n\n", 3), (b"a", "b", 4), (b"a\n\nb", "a\nb", 4), (b"", "", 3), (b"x", None, 3)],
)  # fmt: skip
def test_output_is_compared_without_what_no_one_sees(stdout, expected, status):
    assert (
        create({**HELLO, "expected_output": expected}, Desk(result(stdout=stdout)), **WAIT).content["status"]["id"]
        == status
    )


def test_what_does_not_compile_is_6_and_what_is_lost_13():
    failed = Outcome(None, result(Verdict.RUNTIME_ERROR, stderr=b"no"))
    said = create({**HELLO, "language_id": 54}, Desk(failed), **WAIT).content
    assert (said["status"]["id"], said["compile_output"]) == (6, "no")
    for state, number in (("queued", 1), ("running", 2), ("lost", 13), ("cancelled", 13)):
        said = create(HELLO, Desk(Kept("", state, {}, reason="why")), **WAIT).content
        assert said["status"]["id"] == number


def test_base64_goes_both_ways():
    desk = Desk(result(stdout=b"\xff" * 50))
    body = {"language_id": 71, "source_code": base64.b64encode("é".encode()).decode() + "\n", "stdin": "YQ=="}
    said = create(body, desk, base64_encoded="true", fields="stdout,source_code", **WAIT).content
    encoded = base64.b64encode(b"\xff" * 50).decode()
    assert said == {"stdout": f"{encoded[:60]}\n{encoded[60:]}\n", "source_code": "w6k=\n"}
    (kept,) = desk.kept.values()
    job = job_of(kept.body, desk.config)
    assert (job.language, job.source, job.stdin) == ("python", "é", b"a")
    plain = ask(FACE, "GET", "/submissions/{token}", desk=desk, params={"token": kept.id})
    assert (plain.status, "base64_encoded=true" in plain.content["error"]) == (400, True)


def test_limits_and_arguments_become_a_job_s():
    body = {
        **HELLO,
        "cpu_time_limit": 2,
        "memory_limit": 2048,
        "command_line_arguments": "a 'b c'",
        "redirect_stderr_to_stdout": True,
        "max_processes_and_or_threads": 3,
    }
    desk = Desk()
    create(body, desk)
    (kept,) = desk.kept.values()
    job = job_of(kept.body, desk.config)
    assert (job.args, job.merged, job.label) == (("a", "b c"), True, "judge0")
    asked = job.limits
    assert (asked.cpu_time, asked.wall_time, asked.memory, asked.processes, asked.file_size) == (
        2,
        10,
        2 << 20,
        3,
        1 << 20,
    )


@pytest.mark.parametrize(
    ("given", "field", "text"),
    [
        ({"source_code": ""}, "source_code", "can't be blank"), ({"source_code": 1}, "source_code", "can't be blank"), ({"language_id": None}, "language_id", "can't be blank"),
        ({"language_id": 9999}, "language_id", "language with id 9999 doesn't exist"), ({"language_id": True}, "language_id", "can't be blank"), ({"stdin": 1}, "stdin", "string"),
        ({"cpu_time_limit": 16}, "cpu_time_limit", "less than or equal to 15"), ({"cpu_time_limit": "x"}, "cpu_time_limit", "number"), ({"memory_limit": 5}, "memory_limit", "greater than or equal to 2048"),
        ({"enable_network": True}, "enable_network", "not allowed"), ({"callback_url": "http://127.0.0.1"}, "callback_url", "setting callback is not allowed"), ({"additional_files": "UEs="}, "additional_files", "is no zip archive"),
        ({"additional_files": "UEsFB"}, "additional_files", "is no base64"), ({"additional_files": 1}, "additional_files", "string"), ({"compiler_options": "-O3"}, "compiler_options", "only allowed for compiled languages"),
        ({"compiler_options": "'", "language_id": 50}, "compiler_options", "quotation"), ({"compiler_options": "-DX={stem}", "language_id": 50}, "compiler_options", "{stem} cannot be"), ({"compiler_options": "x" * 513, "language_id": 50}, "compiler_options", "maximum is 512 characters"),
        ({"language_id": 89}, "additional_files", "can't be blank"), ({"language_id": 89}, "source_code", "must be blank"), ({"language_id": 89, "compiler_options": "-O3"}, "compiler_options", "compiled languages"),
        ({"cpu_extra_time": 6}, "cpu_extra_time", "less than or equal to 5"), ({"enable_per_process_and_thread_time_limit": True}, "enable_per_process_and_thread_time_limit", "this option cannot be enabled"),
        ({"enable_per_process_and_thread_memory_limit": True}, "enable_per_process_and_thread_memory_limit", "this option cannot be enabled"),
        ({"number_of_runs": 21}, "number_of_runs", "less than or equal to 20"), ({"number_of_runs": "0"}, "number_of_runs", "greater than or equal to 1"),
        ({"enable_network": "true"}, "enable_network", "not allowed"), ({"command_line_arguments": "'"}, "command_line_arguments", "quotation"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_422_by_field(given, field, text):
    desk = Desk()
    answer = create({**HELLO, **given}, desk)
    assert answer.status == 422
    assert text in answer.content[field][0]
    assert desk.kept == {}


TOKENS = Config(tokens=(Token("a", "0" * 64),))


def test_numbers_and_switches_may_be_texts_as_rails_takes_them():
    desk = Desk()
    body = {"language_id": "71", "cpu_time_limit": "1.5", "number_of_runs": "3", "enable_network": "false", "callback_url": "", "redirect_stderr_to_stdout": "true"}  # fmt: skip
    assert create({**HELLO, **body}, desk).status == 201
    (kept,) = desk.kept.values()
    made = job_of(kept.body, desk.config)
    assert (made.limits.cpu_time, made.times, made.merged, made.language) == (1.5, 3, True, "python")


def test_a_program_that_runs_several_times_is_told_with_the_means_of_all():
    desk = Desk()
    token = create({**HELLO, "number_of_runs": 3, "expected_output": "1"}, desk).content["token"]
    (id,) = desk.kept
    kept = desk.kept[id]
    made = job_of(kept.body, desk.config)
    assert made.times == 3 and made.good
    assert made.good(result(stdout=b"1\n")) and not made.good(result(stdout=b"2"))
    assert not made.good(result(Verdict.RUNTIME_ERROR, stdout=b"1"))
    means = {"runs": 3, "cpu_time": 0.25, "memory_peak": 5 << 20}
    desk.kept[id] = replace(kept, result={**(kept.result or {}), "means": means})
    query = {"fields": "time,memory,number_of_runs,wall_time"}
    said = ask(FACE, "GET", "/submissions/{token}", desk=desk, params={"token": token}, query=query).content
    assert said == {"time": "0.250", "memory": 5120, "number_of_runs": 3, "wall_time": "0.250"}
    assert ask(FACE, "GET", "/config_info").content["max_number_of_runs"] == 20


def listing(desk, **query):
    return ask(FACE, "GET", "/submissions", desk=desk, query=query)


def test_submissions_are_listed_page_by_page():
    desk = Desk(config=TOKENS)
    tokens = [create({**HELLO, "source_code": f"print({n})"}, desk).content["token"] for n in range(5)]
    said = listing(desk, page="2", per_page="2", fields="token,source_code", base64_encoded="true").content
    source = base64.b64encode(b"print(2)").decode() + "\n"
    assert said["submissions"][0] == {"token": tokens[2], "source_code": source}
    assert said["meta"] == {"current_page": 2, "next_page": 3, "prev_page": 1, "total_pages": 3, "total_count": 5}
    said = listing(desk).content
    assert [one["token"] for one in said["submissions"]] == tokens[::-1]
    assert said["meta"] == {"current_page": 1, "next_page": None, "prev_page": None, "total_pages": 1, "total_count": 5}
    assert listing(desk, page="9").content["submissions"] == []
    assert sum(desk.held) > 0
    for query in (
        {"page": "0"},
        {"page": "x"},
        {"per_page": "-2"},
        {"per_page": "101"},
        {"fields": "nope"},
        {"page": "9" * 50},
    ):
        said = listing(desk, **query)
        assert (said.status, said.content["error"].startswith("invalid ")) == (400, True)
    assert listing(Desk(config=TOKENS)).content["meta"]["total_pages"] == 1


def test_who_has_no_token_gets_no_list():
    said = listing(Desk())
    assert (said.status, "those who have a token" in said.content["error"]) == (403, True)


def test_workers_are_slots():
    desk = Desk()
    usual = {"queue": "default", "size": 3, "available": 4, "idle": 3, "working": 1, "paused": 0, "failed": 0}
    assert ask(FACE, "GET", "/workers", desk=desk).content == [usual]
    desk.ending = True
    assert ask(FACE, "GET", "/workers", desk=desk).content == [{**usual, "idle": 0, "paused": 3}]


@pytest.mark.parametrize("path", ["/system_info", "/statistics"])
def test_what_is_not_told_says_why(path):
    said = ask(FACE, "GET", path)
    assert (said.status, "is not told" in said.content["error"]) == (403, True)


ARCHIVE = base64.b64encode(b"PK\5\6" + bytes(18)).decode()  # of nothing: what is in one is looked at in a jail


def job(**given):
    desk = Desk()
    assert create({**HELLO, "language_id": 50, **given}, desk).status == 201
    (kept,) = desk.kept.values()
    return job_of(kept.body, desk.config)


def test_compiler_options_stand_behind_its_own_and_before_the_source():
    words = job(compiler_options="-std=c99 '-DX=a b' -lm").how.compile
    assert words[words.index("{sources}") - 3 :] == ("-std=c99", "-DX=a b", "-lm", "{sources}", "-lm")
    assert job().how is None


def test_of_files_that_came_with_it_none_is_compiled_unless_the_source_asks_for_it():
    made = job(additional_files=ARCHIVE)
    assert (made.archive[:4], made.how.extensions, "{sources}" in made.how.compile) == (b"PK\5\6", (), False)
    assert made.source == HELLO["source_code"]


def test_a_program_of_several_files_has_scripts_of_its_own():
    made = job(source_code=None, language_id=89, additional_files=ARCHIVE, cpu_time_limit=1)
    assert (made.language, made.args[0], made.build.args[0]) == ("", "bash", "bash")
    assert (made.limits.cpu_time, made.build.limits.cpu_time, made.build.merged) == (1, 15, True)


def test_what_is_no_language_is_shown_or_started():
    assert job(language_id=43, source_code="hi").how.run == ("cat", "text.txt")
    assert job(language_id=44, command_line_arguments="a").how.source == "a.out"


def test_additional_files_come_back_as_they_came():
    desk = Desk()
    token = create({**HELLO, "additional_files": ARCHIVE[:20] + "\n" + ARCHIVE[20:]}, desk).content["token"]
    said = ask(FACE, "GET", "/submissions/{token}", desk=desk, params={"token": token}, query={"fields": "*"}).content
    assert (said["additional_files"], said["enable_network"], said["cpu_extra_time"]) == (f"{ARCHIVE}\n", False, 1)


@pytest.mark.parametrize("name", ["additional_files", "compiler_options"])
def test_what_the_configuration_turns_off_is_refused(name):
    desk = Desk(settings={name: False})
    body = {**HELLO, "language_id": 50, "additional_files": ARCHIVE, "compiler_options": "-O1"}
    answer = create(body, desk)
    assert (answer.status, list(answer.content)) == (422, [name])
    assert answer.content[name] == [f"setting {name.replace('_', ' ')} is not allowed"]
    assert ask(FACE, "GET", "/config_info", desk=desk).content[f"enable_{name}"] is False
    assert create({**body, name: ""}, desk).status == 201


def test_deleting_is_off_unless_the_configuration_says_otherwise():
    for settings, status in (({}, 400), ({"delete": True}, 200)):
        desk = Desk(result(stdout=b"1"), settings=settings)
        token = {"token": create(HELLO, desk).content["token"]}
        gone = ask(FACE, "DELETE", "/submissions/{token}", desk=desk, params=token)
        assert gone.status == status
        assert ask(FACE, "GET", "/config_info", desk=desk).content["enable_submission_delete"] is (status == 200)
        left = ask(FACE, "GET", "/submissions/{token}", desk=desk, params=token)
        assert left.status == (404 if status == 200 else 200)
    assert gone.content["stdout"] == "MQ==\n"
    assert ask(FACE, "DELETE", "/submissions/{token}").content == {"error": "delete not allowed"}


@pytest.mark.parametrize(("state", "status"), [("queued", "1 (In Queue)"), ("running", "2 (Processing)")])
def test_what_has_not_ended_is_not_deleted(state, status):
    desk = Desk(Kept("", state, {}), settings={"delete": True})
    token = {"token": create(HELLO, desk).content["token"]}
    said = ask(FACE, "DELETE", "/submissions/{token}", desk=desk, params=token)
    assert (said.status, said.content["error"]) == (
        400,
        f"submission cannot be deleted because its status is {status}",
    )
    assert len(desk.kept) == 1


def test_who_waits_for_what_is_no_text_learns_the_token():
    desk = Desk(result(stdout=b"\xff"))
    said = create(HELLO, desk, **WAIT)
    assert (said.status, uuid.UUID(said.content["token"]).hex in desk.kept) == (201, True)
    assert "base64_encoded=true" in said.content["error"]


def test_only_who_waits_may_have_the_result_before_the_disk_has():
    for query, awaited in ((WAIT, True), ({"wait": "false"}, False), ({}, False)):
        desk = Desk(result())
        create(HELLO, desk, **query)
        assert desk.awaited is awaited


def test_a_compiler_that_takes_too_long_says_so():
    said = create({**HELLO, "language_id": 54}, Desk(Outcome(None, result(Verdict.CPU_TIME))), **WAIT).content
    assert (said["status"]["id"], said["compile_output"]) == (6, "Compilation time limit exceeded.")


def test_what_cannot_be_unpacked_is_told():
    said = create(HELLO, Desk(Outcome(None, fault="the archive: no")), **WAIT).content
    assert (said["status"]["id"], said["message"]) == (14, "the archive: no")


def test_the_service_s_maxima_hold_too():
    desk = Desk(config=Config(maxima=Limits(cpu_time=3, wall_time=8)))
    assert create({**HELLO, "cpu_time_limit": 4}, desk).content == {
        "cpu_time": ["cpu_time: at most 3 is given here, not 4"]
    }


def test_batches():
    desk = Desk()
    first, second = ask(FACE, "POST", "/submissions/batch", {"submissions": [HELLO, {}]}, desk).content
    assert set(second) == {"source_code", "language_id"}
    said = ask(FACE, "GET", "/submissions/batch", desk=desk, query={"tokens": f"{first['token']},nope"}).content
    assert said["submissions"][0]["token"] == first["token"]
    assert said["submissions"][1] is None
    said = ask(FACE, "GET", "/submissions/batch", desk=desk, headers={"tokens": first["token"]}).content
    assert [one["token"] for one in said["submissions"]] == [first["token"]]
    assert ask(FACE, "POST", "/submissions/batch", {"submissions": [HELLO] * 21}, desk).status == 400
    assert ask(FACE, "POST", "/submissions/batch", {"submissions": []}, desk).status == 400
    assert ask(FACE, "POST", "/submissions/batch", {"submissions": [{}]}, desk).status == 422
    assert ask(FACE, "GET", "/submissions/batch", desk=desk).status == 400


def test_what_a_batch_answers_counts_as_held():
    desk = Desk()
    token = create({**HELLO, "source_code": "x" * 1000}, desk).content["token"]
    query = {"tokens": f"{token},{token}", "fields": "source_code"}
    ask(FACE, "GET", "/submissions/batch", desk=desk, query=query)
    assert desk.held == [1000, 1000]


def test_what_it_says_of_itself():
    assert len(ask(FACE, "GET", "/config_info").content) == 39
    assert {"id": 71, "name": "Python (3.11.2)"} in ask(FACE, "GET", "/languages").content
    said = ask(FACE, "GET", "/languages/{id}", params={"id": "50"}).content
    assert (said["is_archived"], said["source_file"], said["compile_cmd"].split()[0]) == (False, "main.c", "gcc")
    assert ask(FACE, "GET", "/languages/{id}", params={"id": "89"}).content["run_cmd"] is None
    names = [row["name"] for row in ask(FACE, "GET", "/languages/all").content if not row["is_archived"]]
    assert names == sorted(names, key=str.lower) and "Bash (5.2)" in names
    assert b"pyjail" in ask(FACE, "GET", "/isolate").body and b"MIT" in ask(FACE, "GET", "/license").body
    assert ask(FACE, "GET", "/languages/{id}", params={"id": "1"}).status == 404
    assert len(ask(FACE, "GET", "/statuses").content) == 14
    assert ask(FACE, "GET", "/about").content["version"] == "1.13.1"
    assert ask(FACE, "GET", "/version").body == b"1.13.1"
    for config, status in ((Config(), 403), (TOKENS, 200)):
        found = [ask(FACE, "POST", path, desk=Desk(config=config)).status for path in ("/authenticate", "/authorize")]
        assert found == [200, status]
    assert ask(FACE, "GET", "/submissions/{token}", params={"token": "x"}).status == 404
    assert create(HELLO, fields="nope").content == {"error": "invalid fields: [nope]"}
    assert FACE.problem(Problem(503, "queue-full", "the queue is full", retry=2)).content == {"error": "queue is full"}
