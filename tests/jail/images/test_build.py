"""Images of Debian's packages, by mmdebstrap; and the files of them that the test programs of languages use."""

from __future__ import annotations

import http.server
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pyjail
from pyjail import HostError, Jail, SpecError, images, languages
from tests import images_debian
from tests.conftest import SLOW
from tests.images_made import walked

pytestmark = [
    pytest.mark.skipif(bool(images_debian.lacking()), reason=images_debian.lacking() or "-"),
    pytest.mark.timeout(900 * SLOW),  # whoever is first makes the image
]


@pytest.fixture
def debian(monkeypatch):
    """The image that all share; what else a test makes has a name of its own, and goes."""
    monkeypatch.setenv("PYJAIL_HOME", str(images_debian.home()))
    yield images.get(images_debian.NAME)
    pyjail.close()


@pytest.fixture
def named(debian):
    """A name for an image of this test."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    pyjail.close()
    if any(image.name == name for image in images.list()):
        images.remove(name)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A store of this test's own, in which nothing is left unfinished."""
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))
    yield tmp_path / "home" / "images"
    assert os.listdir(tmp_path / "home/images/staging") == []
    assert started_for(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert images.list() == []


def started_for(place: Path) -> list[str]:
    """Commands of processes that have this path in their arguments."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(place) in command:
            found.append(command)
    return found


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyjail", *words], capture_output=True, text=True, timeout=300 * SLOW, check=False
    )


def checked(image: str, *names: str) -> None:
    for name in names:
        found = languages.check(languages.find(name), jail=Jail(image=image))
        assert [check for check in found if not check.ok] == []


@pytest.mark.needs_cgroups
def test_the_languages_pass_their_checks_in_it(debian):
    checked(debian.name, *images_debian.LANGUAGES)


def test_the_command_tells_what_it_has_and_what_it_has_not(debian):
    done = command("languages", "--no-strict", "--image", debian.name)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert re.match(r"python +3\.\d+", rows["python"]) and re.match(r"c +\d+\.\d+", rows["c"])
    assert f"not in {debian.name}; default-jdk-headless would be needed in it" in rows["java"]
    assert command("languages", "--no-strict", "--image", debian.name, "java").returncode == 1
    assert "there is no image nothing" in command("languages", "--image", "nothing").stderr


def test_nothing_of_this_host_and_of_the_installation_is_in_it(debian):
    root = Path(debian.root)
    for name in ("etc/apt", "dev", "proc", "sys", "tmp", "run", "root", "var/cache", "var/log", "var/lib/apt"):
        assert not (root / name).exists() or os.listdir(root / name) == [], name
    for name in ("hostname", "resolv.conf", "machine-id", "shadow", "passwd-"):
        assert not (root / "etc" / name).exists(), name
    documents = [p for p in walked(root / "usr/share/doc") if not p.is_dir()]
    assert documents and {p.name for p in documents} == {"copyright"}
    assert debian.skipped == {}
    assert not any(stat.S_IMODE(p.lstat().st_mode) & 0o6000 for p in walked(root) if not p.is_symlink())


def test_it_tells_what_it_was_made_of(debian):
    assert debian.origin == {"source": "mmdebstrap", "languages": "python,c", "packages": "python3 gcc libc6-dev"}
    result = pyjail.run(["sh", "-c", "echo $PATH $LANG"], jail=Jail(image=debian.name))
    assert result.stdout == b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin C.UTF-8\n"


def test_python_s_compiled_files_are_as_new_as_their_sources(debian):
    code = "import sys, json; print([m.__name__ for m in sys.modules.values() if getattr(m, '__cached__', None) and not __import__('os').path.exists(m.__cached__)])"
    result = pyjail.run(["python3", "-v", "-c", code], jail=Jail(image=debian.name))
    assert result.ok and b"code object from /" not in result.stderr  # a source, that is: not in quotes
    assert b"matches /usr/lib/python3" in result.stderr


@pytest.mark.needs_cgroups
def test_a_learned_image_passes_the_checks(debian, named):
    images.build(named, ["python", "c"], learned=True, base=debian)
    checked(named, "python", "c")


def test_a_learned_image_has_a_few_files_with_which_programs_are_compiled_and_run(debian, named):
    made = images.build(named, ["python", "c"], learned=True, base=debian)
    assert made.entries < 500 and made.size < debian.size / 3
    for name in ("python", "c"):
        language = languages.find(name)
        judged = pyjail.judge_source(
            language, Path(language.check), [("stdin\n3 4", "7"), ("threads", None)], jail=Jail(image=named)
        )
        assert judged.passed, judged
    with pytest.raises(HostError, match="Perl needs perl"):
        languages.check(languages.find("perl"), jail=Jail(image=named))


def test_c_is_compiled_in_a_toolchain_and_runs_in_an_image_of_a_few_files(debian, named, tmp_path):
    tiny = images.build(named, ["c"], learned=True, run_only=True, base=debian)
    files = [p for p in walked(Path(tiny.root)) if p.is_file() and not p.is_symlink()]
    assert 2 <= len(files) < 30 and not any("gcc" in p.name for p in files)
    table = tmp_path / "mine.toml"
    table.write_text(f'[languages.c]\ncompile_image = "{debian.name}"\nrun_image = "{named}"\n')
    c = languages.load(table)["c"]
    source = '#include <stdio.h>\nint main() { int a, b; scanf("%d%d", &a, &b); printf("%d\\n", a + b); return fopen("/usr/bin/gcc", "r") != 0; }'
    judged = pyjail.judge_source(c, source, [("3 4", "7"), ("1 1", "2")])
    assert judged.passed, judged
    assert judged.compile.to_dict()["image"] == debian.digest
    assert {row.result.to_dict()["image"] for row in judged.results} == {tiny.digest}
    assert [
        row.passed for row in pyjail.judge_source(c, Path(c.check), [("hello", "hello"), ("threads", None)]).results
    ] == [True] * 2


def test_what_is_to_be_kept_is_kept_whole(debian, named):
    library = (
        f"/usr/lib/python{languages.version(languages.find('python'), Jail(image=debian.name)).rpartition('.')[0]}"
    )
    code = "import json, email.message, decimal; print(1)"
    images.build(named, ["python"], learned=True, base=debian)
    assert not pyjail.run(["python3", "-c", code], jail=Jail(image=named)).ok
    images.build(named, ["python"], learned=True, base=debian, keep=[library])
    assert pyjail.run(["python3", "-c", code], jail=Jail(image=named)).ok
    for path, why in (
        (f"{library}/none", "is not in"),
        ("/bin/sh", "is a symlink, to usr/bin"),
        ("usr", "absolute"),
        ("/usr/../etc", "absolute"),
    ):
        with pytest.raises(SpecError, match=why) as e:
            images.build(named, ["python"], learned=True, base=debian, keep=[path])
        assert e.value.field == "keep"


def test_humaneval_s_function_finds_python_in_it(debian):
    problem = {
        "task_id": "x", "prompt": "def add(a, b):\n", "entry_point": "add",
        "test": "import math\ndef check(candidate):\n    assert candidate(2, math.floor(3.5)) == 5\n",
    }  # fmt: skip
    found = pyjail.grading.check_correctness(problem, "    return a + b\n", 10 * SLOW, jail=Jail(image=debian.name))
    assert found.passed, found
    assert found.candidate.to_dict()["image"] == found.checker.to_dict()["image"] == debian.digest


@pytest.mark.slow  # the essential packages are installed before
def test_a_package_that_there_is_not_is_told_and_nothing_stays(empty):
    with pytest.raises(HostError, match="no-such-package") as e:
        images.build("x", packages=["no-such-package"])
    assert e.value.control == "image build" and "apt-cache show" in e.value.hint


@pytest.fixture
def refusing(monkeypatch):
    """The way to apt's sources is a proxy that refuses all; what passwords it was told."""
    asked: list[str | None] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Proxy-Authorization"])
            self.send_error(403, "not here")

        do_CONNECT = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for kind in ("http", "https"):
            monkeypatch.setenv(f"{kind}_proxy", f"http://user:s3cret@127.0.0.1:{server.server_port}")
        yield asked
        server.shutdown()


def test_a_proxy_is_asked_and_its_password_is_told_nobody(empty, refusing):
    with pytest.raises(HostError) as e:
        images.build("x", packages=["bash"])
    assert "Basic dXNlcjpzM2NyZXQ=" in refusing
    assert "403" in str(e.value) and "s3cret" not in str(e.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_ended_in_the_middle_leaves_no_process_no_mount_and_no_files(empty, number):
    ended(empty, number)


def test_what_nobody_could_remove_the_next_one_removes(empty, request):
    ended(empty, signal.SIGKILL)
    assert os.listdir(empty / "staging") != []
    request.getfixturevalue("refusing")
    with pytest.raises(HostError):
        images.build("x", packages=["bash"])


def ended(store: Path, number: int) -> None:
    """A build that gets this signal in the middle, and is gone with all that it started."""
    process = subprocess.Popen([sys.executable, "-m", "pyjail", "image", "build", "x", "--package", "bash"])
    try:
        until = time.monotonic() + 120 * SLOW
        while not list(store.glob("staging/*/build/mmdebstrap.*/var/lib/dpkg")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60 * SLOW) != 0
    finally:
        process.kill()
        process.wait()
    while started_for(store.parent):
        assert time.monotonic() < until
        time.sleep(0.05)
