"""Judge0's face with real programs: files that come with a submission, compiler options, scripts, deleting."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import stat
import time
import zipfile

import pytest

from pyjail.serve import Config
from pyjail.serve.config import Admission, Files, Token
from tests.jail.serve.served import PATIENCE, served
from tests.jail.serve.test_faces import call, post
from tests.place import WITHOUT_TOOL
from tests.scripts import until

PYTHON, C, PROJECT = 71, 50, 89
MIB = 1 << 20
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason=f"gcc {WITHOUT_TOOL}")


@pytest.fixture(scope="module")
def service():
    with served(Config(admission=Admission(concurrent=2), faces={"judge0": {"delete": True}})) as found:
        yield found


def zipped(**members):
    """By their paths, with "__" for "/" and "_dot_" for "."; a tuple is (mode, data)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name.replace("__", "/").replace("_dot_", "."))
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            mode, text = data if isinstance(data, tuple) else (0o644, data)
            info.external_attr = (stat.S_IFREG | mode if not stat.S_IFMT(mode) else mode) << 16
            archive.writestr(info, text)
    return base64.b64encode(buffer.getvalue()).decode()


def submit(service, **body):
    status, said = post(service, "/judge0/submissions?wait=true", {"language_id": PYTHON, **body})
    assert status == 201, said
    return said


def test_modules_that_come_with_a_program_are_imported_and_the_program_itself_is_not_replaced(service):
    files = zipped(
        lib__word_dot_py="said = 'hi'", main_dot_py="print('not this')", tool=(0o755, "#!/bin/sh\necho ran\n")
    )
    source = "import subprocess; from lib.word import said; print(said, subprocess.getoutput('./tool'))"
    said = submit(service, source_code=source, additional_files=files)
    assert (said["stdout"], said["status"]["id"]) == ("hi ran\n", 3)


@needs_gcc
def test_headers_are_found_and_other_sources_are_not_compiled_beside_it(service):
    files = zipped(a_dot_h="#define WORD 4\n", b_dot_c="int twice(int n) { return n * FACTOR; }\n")
    source = '#include <stdio.h>\n#include "a.h"\n#include "b.c"\nint main() { printf("%d", twice(WORD)); }'
    given = {"language_id": C, "source_code": source, "additional_files": files}
    assert submit(service, **given, compiler_options="-DFACTOR=3")["stdout"] == "12"
    failed = submit(service, **given)
    assert (failed["status"]["id"], "FACTOR" in failed["compile_output"]) == (6, True)


@needs_gcc
def test_a_program_of_several_files_is_built_and_run_by_its_own_scripts_in_one_place(service):
    files = zipped(
        compile="set -e\nmkdir out\ngcc -c -o out/b.o src/b.c\ngcc -o out/real src/a.c out/b.o\nln -s real out/link\necho built",
        run="exec out/link $(cat)", src__a_dot_c="int puts(const char *); const char *b(); int main() { puts(b()); return 0; }",
        src__b_dot_c='const char *b() { return "from b"; }',
    )  # fmt: skip
    said = submit(service, language_id=PROJECT, additional_files=files, stdin="x", expected_output="from b")
    assert (said["status"]["id"], said["stdout"], said["compile_output"]) == (3, "from b\n", "built\n")


@pytest.mark.parametrize("script", ["compile", "run"])
def test_scripts_end_with_their_run_when_it_is_cancelled(service, script):
    files = zipped(**{"run": "echo", script: "sleep 1000 & sleep 1000"})
    asked = {"language_id": PROJECT, "additional_files": files, "wall_time_limit": 20}
    token = post(service, "/judge0/submissions", asked)[1]["token"]
    assert until(lambda: any(b"sleep" in line for line in service.programs()), PATIENCE)
    assert call(service, "DELETE", f"/v1/runs/{token.replace('-', '')}")[1]["state"] == "cancelled"
    assert not service.programs()


@pytest.mark.parametrize(
    ("files", "status", "field", "text"),
    [
        ({"run_dot_sh": "echo $0; exit 4"}, 11, "message", "Exited with error status 4"), ({"x": ""}, 11, "stderr", "No such file"),
        ({"compile_dot_sh": "echo wrong >&2; exit 1", "run": "echo no"}, 6, "compile_output", "wrong"),
        ({"compile": "kill -9 $$", "run": "echo no"}, 6, "message", ""), ({"run": "sleep 30"}, 5, "message", ""),
    ],
)  # fmt: skip
def test_scripts_end_as_programs_do(service, files, status, field, text):
    said = submit(service, language_id=PROJECT, additional_files=zipped(**files), wall_time_limit=2)
    assert said["status"]["id"] == status, said
    assert text in (said[field] or "")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"__etc__x": "x"}, "'/etc/x' is no path below the archive's own"), ({"a": (stat.S_IFLNK | 0o777, "/etc/passwd")}, "'a' is a link"),
        ({"bomb": bytes(200 * MIB)}, "it unpacks to more than 10485760 bytes"), ({f"f{i}": "" for i in range(3000)}, "it has 3000 entries, at most 1024"),
        ({"d__" * 65 + "x": ""}, "is deeper than 64 directories"), ({"main_dot_py__x": ""}, "'main.py' cannot be a file and a directory"),
    ],
)  # fmt: skip
def test_archives_that_are_no_good_are_told_and_nothing_runs(service, files, why):
    said = submit(service, source_code="print('ran')", additional_files=zipped(**files))
    assert (said["status"]["id"], said["stdout"]) == (14, None)
    assert why in said["message"]


def test_names_that_are_no_text_are_told(service):
    data = base64.b64decode(zipped(**{"é": ""})).replace("é".encode(), b"\xc3\x28")
    said = submit(service, source_code="print('ran')", additional_files=base64.b64encode(data).decode())
    assert (said["status"]["id"], said["message"]) == (14, "the archive: a name in it is no UTF-8")


def test_an_archive_of_nothing_is_one(service):
    assert submit(service, source_code="print('ran')", additional_files=zipped())["stdout"] == "ran\n"
    assert submit(service, source_code="print('ran')", additional_files=zipped(**{"d__": ""}))["stdout"] == "ran\n"


def test_as_much_as_may_be_unpacked_is(service):
    files = zipped(big=bytes(10 * MIB - 1), **{f"d{i}__x": "" for i in range(1000)})
    source = "import os; print(os.path.getsize('big'), len(os.listdir()))"
    assert submit(service, source_code=source, additional_files=files)["stdout"] == f"{10 * MIB - 1} 1002\n"


def test_texts_and_executables_are_no_languages_but_run(service):
    assert submit(service, language_id=43, source_code="hi {stem}")["stdout"] == "hi {stem}"
    script = "#!/bin/sh\necho $#"
    assert submit(service, language_id=44, source_code=script, command_line_arguments="a 'b c'")["stdout"] == "2\n"


def test_what_is_deleted_is_gone_and_what_runs_is_not(service):
    token = post(service, "/judge0/submissions", {"language_id": PYTHON, "source_code": "import time; time.sleep(60)"})[
        1
    ]["token"]
    status, said, _ = call(service, "DELETE", f"/judge0/submissions/{token}")
    assert status == 400
    assert said["error"].startswith("submission cannot be deleted because its status is ")
    assert call(service, "DELETE", f"/v1/runs/{token.replace('-', '')}")[0] == 200
    token = submit(service, source_code="print(1)")["token"]
    status, said, _ = call(service, "DELETE", f"/judge0/submissions/{token}?fields=stdout,source_code")
    assert (status, said) == (200, {"stdout": "MQo=\n", "source_code": "cHJpbnQoMSk=\n"})
    for method in ("GET", "DELETE"):
        assert call(service, method, f"/judge0/submissions/{token}")[0] == 404
    assert call(service, "GET", f"/v1/runs/{token.replace('-', '')}")[0] == 404


def test_a_program_that_is_to_run_several_times_does_as_long_as_it_is_accepted(service):
    source = "import sys, time; t = time.process_time()\nwhile time.process_time() < t + 0.1: pass\nprint('x')"
    said = submit(service, source_code=source, number_of_runs=3, expected_output="x")
    assert (said["status"]["id"], said["stdout"], float(said["time"]) >= 0.1) == (3, "x\n", True)
    runs = {"number_of_runs": 20, "wall_time_limit": 20, "cpu_time_limit": 15}
    for source, status, fields in (
        ("import time; time.sleep(1); exit(1)", 11, {}),
        ("import time; time.sleep(1); print('y')", 4, {"expected_output": "x"}),
    ):
        began = time.monotonic()
        said = submit(service, source_code=source, **runs, **fields)
        assert (said["status"]["id"], time.monotonic() - began < 15) == (status, True)
    kept = call(service, "GET", f"/judge0/submissions/{said['token']}?fields=number_of_runs,memory")[1]
    assert kept["number_of_runs"] == 20 and kept["memory"] > 0


def test_a_program_that_runs_again_and_again_is_cancelled_as_any(service):
    asked = {"language_id": PYTHON, "source_code": "import time; time.sleep(0.5)", "number_of_runs": 20}
    token = post(service, "/judge0/submissions", asked)[1]["token"].replace("-", "")
    assert until(lambda: bool(service.programs()), PATIENCE)
    assert call(service, "GET", "/judge0/workers")[1][0]["working"] in (0, 1)  # between two runs nothing works
    assert call(service, "DELETE", f"/v1/runs/{token}")[1]["state"] == "cancelled"
    assert not service.programs()


def test_whose_submissions_they_are_may_list_them_and_nobody_else(tmp_path):
    tokens = [Token(name, hashlib.sha256(name.encode()).hexdigest()) for name in ("one", "two")]
    with served(Config(state=str(tmp_path), files=Files(floor=0), tokens=tuple(tokens))) as service:

        def listed(who, query=""):
            return call(service, "GET", f"/judge0/submissions{query}", X_Auth_Token=who)

        mine = []
        for n in range(3):
            asked = {"language_id": PYTHON, "source_code": f"print({n})"}
            said = post(service, "/judge0/submissions?wait=true", asked, X_Auth_Token="one")[1]
            mine.append(said["token"])
        post(service, "/v1/runs", {"args": ["true"]}, X_Auth_Token="one", Prefer="respond-async")
        status, said, _ = listed("one", "?per_page=2&fields=token,stdout&page=1")
        assert (status, said["meta"]["total_count"], said["meta"]["next_page"]) == (200, 3, 2)
        assert said["submissions"] == [{"token": mine[n], "stdout": f"{n}\n"} for n in (2, 1)]
        assert listed("two")[1]["submissions"] == []
        assert listed("three")[0] == 401
        assert post(service, "/judge0/authorize", {}, X_Auth_Token="one")[0] == 200
