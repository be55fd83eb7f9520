"""Clients of Judge0, Piston, SandboxFusion and go-judge, from PyPI, unchanged but for the URL, against the real service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import judge0
import pyston
import pytest
import sandbox_fusion
from go_judge.client import RemoteSandbox
from judge0.base_types import LanguageAlias, Status
from judge0.clients import Client
from judge0.filesystem import File, Filesystem
from judge0_client import Judge0Client, SingleFileSubmission

from tests.jail.serve.served import PATIENCE, Served, served


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served() as found:
        # Compilers are asked for their versions when somebody wants to know first: it may take longer than a client waits.
        assert httpx.get(f"{found.url}/judge0/languages", timeout=PATIENCE).status_code == 200
        yield found


# ---- Judge0 ----


@pytest.fixture(scope="module")
def judge(service) -> Client:
    return Client(f"{service.url}/judge0", {})


@pytest.mark.parametrize(
    ("source", "given", "status"),
    [
        ("print(input())", {"stdin": "hi", "expected_output": "hi"}, Status.ACCEPTED), ("print(1)", {"expected_output": "2"}, Status.WRONG_ANSWER),
        ("exit(3)", {}, Status.RUNTIME_ERROR_NZEC), ("while True: pass", {"cpu_time_limit": 1}, Status.TIME_LIMIT_EXCEEDED),
        ("import os; os.abort()", {}, Status.RUNTIME_ERROR_SIGABRT),
    ],
)  # fmt: skip
def test_judge0_s_client_waits_for_submissions(judge, source, given, status):
    submission = judge0.Submission(source_code=source, language=LanguageAlias.PYTHON, **given)
    assert judge0.run(client=judge, submissions=submission).status is status


def test_judge0_s_client_takes_batches_and_test_cases(judge):
    cases = [judge0.TestCase(input=str(n), expected_output=str(n * n)) for n in range(4)]
    source = "print(int(input()) ** 2)"
    found = judge0.run(client=judge, source_code=source, language=LanguageAlias.PYTHON, test_cases=cases)
    assert [submission.status for submission in found] == [Status.ACCEPTED] * 4
    broken = judge0.Submission(source_code="int main() { return x; }", language=LanguageAlias.CPP_GCC)
    broken = judge0.run(client=judge, submissions=broken)
    assert broken.status is Status.COMPILATION_ERROR
    assert "was not declared" in broken.compile_output


def test_judge0_s_client_sends_files_options_and_whole_projects(judge):
    files = Filesystem(content=[File(name="word.py", content="said = 'hi'")])
    source = "import sys, word; print(word.said, *sys.argv[1:])"
    given = {"language": LanguageAlias.PYTHON, "additional_files": files, "command_line_arguments": "a 'b c'"}
    assert judge0.run(client=judge, submissions=judge0.Submission(source_code=source, **given)).stdout == "hi a b c\n"
    source = '#include <cstdio>\nint main() { printf("%d", N * M); }'
    given = {"language": LanguageAlias.CPP_GCC, "compiler_options": "-DN=6 -DM=7"}
    assert judge0.run(client=judge, submissions=judge0.Submission(source_code=source, **given)).stdout == "42"
    scripts = {"compile": "echo built > made", "run": "cat made"}
    files = Filesystem(content=[File(name=name, content=text) for name, text in scripts.items()])
    project = judge0.Submission(source_code="", additional_files=files, language=LanguageAlias.MULTI_FILE)
    assert judge0.run(client=judge, submissions=project).stdout == "built\n"


def test_another_client_of_judge0_asks_for_its_workers_and_for_several_runs(service):
    async def talk():
        async with Judge0Client(f"{service.url}/judge0", timeout=PATIENCE) as client:
            (workers,) = await client.get_workers()
            assert workers.available == workers.idle + workers.working > 0
            assert "pyjail" in await client.get_isolate() and "MIT" in await client.get_license()
            asked = SingleFileSubmission(source_code="print(input())", language_id=71, stdin="hi", number_of_runs=2)
            token = (await client.create_submission(asked)).token
            while (found := await client.get_submission(token)).status.id in (1, 2):
                await asyncio.sleep(0.05)
            assert (found.status.id, found.stdout) == (3, "hi\n")

    asyncio.run(talk())


# ---- Piston ----


def test_piston_s_client_runs_programs(service):
    async def talk():
        client = pyston.PystonClient(base_url=f"{service.url}/piston/api/v2/")
        try:
            runtimes = await client.runtimes()
            said = await client.execute("python", [pyston.File("print(input())")], stdin="hi")
            with pytest.raises(pyston.exceptions.ExecutionError, match="runtime is unknown"):
                await client.execute("python", [pyston.File("")], version="2.x")
            return {runtime.language for runtime in runtimes}, said
        finally:
            await client.close_session()

    languages, said = asyncio.run(talk())
    assert "python" in languages
    assert (said.run_stage.stdout, said.run_stage.code) == ("hi\n", 0)


# ---- SandboxFusion ----


def test_sandbox_fusion_s_client_runs_programs(service):
    at = {"endpoint": f"{service.url}/sandboxfusion", "max_attempts": 1}
    asked = sandbox_fusion.RunCodeRequest(
        code="open('/mnt/b', 'w').write(input()); print(1)", language="python", stdin="sauce", fetch_files=["/mnt/b"]
    )
    said = sandbox_fusion.run_code(asked, **at)
    assert (said.status, said.run_result.stdout, said.files) == (
        sandbox_fusion.RunStatus.Success,
        "1\n",
        {"/mnt/b": "c2F1Y2U="},
    )
    late = sandbox_fusion.RunCodeRequest(code="import time; time.sleep(9)", language="python", run_timeout=0.2)
    said = sandbox_fusion.run_code(late, **at)
    assert (said.status, said.run_result.status.value) == (sandbox_fusion.RunStatus.Failed, "TimeLimitExceeded")


# ---- go-judge ----


@pytest.fixture
def sandbox(service) -> Iterator[RemoteSandbox]:
    made = RemoteSandbox(f"{service.url}/go-judge", max_workers=4)
    yield made
    made.close()


def test_go_judge_s_client_compiles_once_and_runs_many(sandbox, service):
    assert sandbox.check_health()
    source = "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << n * n; }"
    found = sandbox.run_multiple("cpp", source, [str(n) for n in range(6)])
    assert [(one["status"], one["stdout"]) for one in found] == [("Accepted", str(n * n)) for n in range(6)]
    assert httpx.get(f"{service.url}/go-judge/file").json() == {}  # what it had kept is deleted
    broken = sandbox.run("cpp", "int main() { return x; }")
    assert broken["status"] == "Compile Error" and "was not declared" in broken["stderr"]


def test_go_judge_s_client_sees_how_programs_end(sandbox):
    ends = {"print(input())": "Accepted", "exit(3)": "Nonzero Exit Status", "import os; os.abort()": "Signalled"}
    for source, status in ends.items():
        assert sandbox.run("python", source, "hi")["status"] == status
    late = sandbox.run("python", "while True: pass", exec_cpu_limit_ns=10**9)
    assert (
        late["status"] == "Time Limit Exceeded" and late["time_ns"] > 0
    )  # on a busy machine the clock's limit is first
