"""`learn`: what one run needed is enough for the next one, and no more; the program stays fenced meanwhile."""

from __future__ import annotations

import json
import os
import pickle
import threading
from dataclasses import replace

import pytest

import pyjail
from pyjail import (
    Jail,
    Limits,
    Mount,
    SeccompPolicy,
    SeccompRule,
    SpecError,
    Verdict,
)
from pyjail._learn import observe
from tests import place
from tests.conftest import QUICK, SLOW
from tests.inside import allowed_by, audit_arch, call_number, decision, host
from tests.scripts import script

PATIENT = Limits(cpu_time=20 * SLOW, wall_time=40 * SLOW)  # every stop at a call costs
PYTHON = "/usr/bin/python3"


def learn_and_repeat(args, tmp_path, limits=PATIENT, **kw):
    """Learn; run again with just that; the outcome is the same."""
    found = pyjail.learn(args, limits, **kw)
    assert found.complete
    kw.pop("jail", None)
    again = pyjail.run(args, limits, jail=found.jail(tmp_path / "root"), **kw)
    assert (again.verdict, again.returncode, again.syscall) == (found.result.verdict, found.result.returncode, None), (
        again.stderr
    )
    assert (again.stdout, again.stderr) == (found.result.stdout, found.result.stderr)
    assert allowed_by(found.policy) < allowed_by("default")
    assert pyjail.lint(found.policy) == []
    return found


def test_what_the_filter_answered_itself_it_answers_again(tmp_path):
    """fsync(2) where nothing on a disk can be written: learning it must not open the way to the host's disk."""
    code = "import os; f = os.open('/box/f', os.O_CREAT | os.O_RDWR); os.fsync(f); os.fdatasync(f); print('done')"
    found = learn_and_repeat([PYTHON, "-I", "-S", "-c", code], tmp_path)
    assert {(r.call, r.action) for r in found.refused} >= {("fsync", "noop"), ("fdatasync", "noop")}
    assert {decision(found.policy, name) for name in ("fsync", "fdatasync")} == {"noop"}
    assert found.policy.errno != "noop"


def test_a_pipeline_of_a_shell(tmp_path):
    found = learn_and_repeat(["sh", "-c", "echo x | cat"], tmp_path)
    assert found.result.stdout == b"x\n"
    assert found.policy.base == "strict"
    assert "wait4" in found.policy.allow
    assert "socket" not in found.calls
    sources = {m.src for m in found.mounts}
    assert os.path.realpath("/bin/cat") in sources
    assert os.path.realpath("/bin/ls") not in sources
    assert all(m.ro for m in found.mounts)


@pytest.mark.parametrize(
    "code",
    [
        "print(5)",
        "import threading; t = threading.Thread(target=print, args=('in a thread',)); t.start(); t.join()",
        "import subprocess, os; print(subprocess.run('whoami; ls /usr | wc -l', shell=True, capture_output=True))",
        "import os, signal; os.kill(os.getpid(), signal.SIGUSR1)",
        "import json, tempfile, pathlib; f = tempfile.mkdtemp(); (pathlib.Path(f) / 'x').write_text('y'); print(os.listdir(f)) if 0 else print('z')",
    ],
)
@pytest.mark.skipif(not os.path.exists(PYTHON), reason=f"{PYTHON} is missing")
def test_python(tmp_path, code):
    learn_and_repeat([PYTHON, "-c", code], tmp_path)


MQ = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
  struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 8};
  mqd_t q = mq_open("/q", O_CREAT | O_RDWR, 0600, &attr);
  char text[16] = "", name[16] = "";
  mq_send(q, "hello", 6, 1);
  long n = mq_receive(q, text, sizeof text, 0);
  prctl(PR_SET_NAME, "learned");
  prctl(PR_GET_NAME, name);
  int one = 1, s = socket(AF_UNIX, SOCK_STREAM, 0);
  setsockopt(s, SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
  printf("%ld %s %s %d\n", n, text, name, s >= 0);
  if (argc > 1 && strcmp(argv[1], "more") == 0) { fflush(stdout); mlockall(99); }
  if (argc > 1 && strcmp(argv[1], "netlink") == 0) { fflush(stdout); socket(AF_NETLINK, SOCK_RAW, 0); }
  return 0;
}
"""


def test_a_compiled_program_with_message_queues(cc, tmp_path):
    files = {"a": cc(MQ, "-lrt")}
    jail = Jail(landlock=False)  # which has no rule that could reach a queue: mq_open(3) would be EACCES
    found = learn_and_repeat(["./a"], tmp_path, files=files, jail=jail)
    assert found.result.stdout == b"6 hello learned 1\n"
    assert {"mq_open", "mq_timedsend", "mq_timedreceive"} <= set(found.policy.allow)
    assert {r.name for r in found.policy.rules} == {
        "socket",
        "prctl",
        "setsockopt",
    }  # only the arguments that were seen
    for more in ("more", "netlink"):  # what was not learned ends the run
        result = pyjail.run(["./a", more], PATIENT, jail=replace(jail, seccomp=found.policy), files=files)
        assert (result.verdict, result.stdout) == (Verdict.SECURITY, b"6 hello learned 1\n")
        assert result.syscall == {"more": "mlockall", "netlink": "socket"}[more]


REFUSED = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static void show(const char *name, long rc) { printf("%s %d\n", name, rc < 0 ? errno : 0); fflush(stdout); }
int main() {
  show("unshare", unshare(CLONE_NEWUSER));
  show("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
  show("unix", socket(AF_UNIX, SOCK_STREAM, 0));
  show("clone3", syscall(SYS_clone3, 0, 0));
  show("io_setup", syscall(SYS_io_setup, 1, 0));
  show("mount", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0));
  show("shadow", access("/etc/shadow", 0));
  EXTRA
  return 0;
}
"""


def test_what_is_refused_stays_refused_and_is_reported(cc, tmp_path):
    files = {"a": cc(REFUSED.replace("EXTRA", ""))}
    found = learn_and_repeat(["./a"], tmp_path, files=files)
    assert found.result.stdout == b"unshare 1\nnetlink 97\nunix 0\nclone3 38\nio_setup 38\nmount 1\nshadow 2\n"
    rows = {row.call: row for row in found.refused}
    assert {name: row.action for name, row in rows.items()} == {
        "unshare": "EPERM", "socket": "EAFNOSUPPORT", "clone3": "ENOSYS", "io_setup": "ENOSYS", "mount": "EPERM",
    }  # fmt: skip
    assert (rows["unshare"].times, "nested namespaces" in rows["unshare"].why) == (1, True)
    assert found.calls["socket"] == 1


def test_no_child_hides_from_the_tracer(cc, tmp_path):
    source = """
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() { if (syscall(SYS_clone, 0x00800000 | 17, 0, 0, 0, 0) == 0) { getppid(); _exit(0); } perror(""); return 0; }
"""
    found = pyjail.learn(["./a"], files={"a": cc(source)})
    assert found.result.stderr == b"Operation not permitted\n"
    assert "getppid" not in found.calls
    assert any("would not see" in row.why for row in found.refused)


def test_a_call_without_a_name_is_learned_on_the_default_profile(cc, tmp_path):
    files = {"a": cc(REFUSED.replace("EXTRA", 'show("future", syscall(600)); show("none", syscall(-1));'))}
    found = learn_and_repeat(["./a"], tmp_path, files=files)
    assert found.result.stdout.endswith(b"future 38\nnone 38\n")
    assert found.policy.base == "default"
    assert decision(found.policy, "fork") == "kill"


def test_the_program_has_all_its_fences_while_it_is_watched():
    found = pyjail.learn(["cat", "/proc/self/status"], PATIENT)
    status = dict(line.split(":\t", 1) for line in found.result.stdout.decode().splitlines() if ":\t" in line)
    assert (status["Seccomp"], status["NoNewPrivs"], int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (
        "2",
        "1",
        0,
        0,
    )
    rows = {row.name: row for row in found.result.receipt}
    assert rows["seccomp"].status == "enforced"
    assert [r.name for r in found.result.receipt.not_enforced] == [
        r.name for r in pyjail.run(["true"], PATIENT).receipt.not_enforced
    ]


@pytest.mark.skipif(host().arch != "x86_64", reason=place.ELSEWHERE)
def test_a_kill_is_a_kill_and_what_is_learned_is_not_complete(cc):
    found = pyjail.learn(
        ["./a"],
        PATIENT,
        files={"a": cc(REFUSED.replace("EXTRA", '__asm__ volatile("int $0x80" :: "a"(20)); puts("on");'))},
    )
    assert (found.result.verdict, found.complete) == (Verdict.SECURITY, False)
    assert b"on" not in found.result.stdout.splitlines()
    assert next(row for row in found.refused if row.action == "kill").call.startswith("i386")


def test_under_a_policy_of_ones_own(cc):
    policy = SeccompPolicy(kill=("mlockall",), rules=(SeccompRule("prctl", "EDOM", ((0, 15),)),))
    files = {"a": cc(MQ, "-lrt")}
    found = pyjail.learn(["./a"], PATIENT, jail=Jail(seccomp=policy), files=files)
    assert [(row.call, row.action) for row in found.refused] == [("prctl", "EDOM")]
    assert (decision(found.policy, "prctl", 15), decision(found.policy, "prctl", 16)) == ("EDOM", "allow")
    killed = pyjail.learn(["./a", "more"], PATIENT, jail=Jail(seccomp=policy), files=files)
    assert (killed.result.verdict, killed.result.syscall, killed.complete) == (Verdict.SECURITY, "mlockall", False)


def test_a_limit_ends_it_and_the_report_says_so():
    found = pyjail.learn(
        ["sh", "-c", "while :; do :; done"], Limits(wall_time=0.5 * SLOW, cpu_time=None if not place.CGROUPS else 20)
    )
    assert (found.result.verdict, found.complete) == (Verdict.WALL_TIME, False)


def test_nothing_is_left_open():
    pyjail.learn(["true"], PATIENT)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        pyjail.learn(["sh", "-c", "cd /usr; ls bin >/dev/null & wait"], PATIENT)
    assert sorted(os.listdir("/proc/self/fd")) == before


HARD = [
    "kill -STOP $$", "kill -STOP 0 & sleep 9", "for i in 1 2 3 4; do (sleep 99 & kill -9 $$) & done; wait",
    "(while :; do true | true; done) & while :; do true & wait; done",
]  # fmt: skip


@pytest.mark.parametrize("code", HARD)
def test_nothing_is_left_of_programs_that_stop_and_kill_themselves(code):
    before = threading.active_count()
    found = pyjail.learn(["sh", "-c", code], Limits(wall_time=1 * SLOW, cpu_time=None if not place.CGROUPS else 20))
    assert found.result.verdict in (Verdict.WALL_TIME, Verdict.SIGNALED)
    assert threading.active_count() == before
    assert pyjail.run(["true"], QUICK).ok


def test_scripts_need_their_interpreter_and_links_their_target(tmp_path):
    shown = tmp_path / "shown"
    shown.mkdir()
    os.chmod(tmp_path, 0o755)
    (shown / "script").write_text("#!/bin/sh\ncat /data/link /data/dir/../dir/f\nreadlink /data/link\n")
    (shown / "script").chmod(0o755)
    (shown / "dir").mkdir()
    (shown / "dir/f").write_text("content\n")
    (shown / "unused").write_text("x")
    (shown / "link").symlink_to("dir/f")
    found = learn_and_repeat(["/data/script"], tmp_path, jail=Jail(mounts=(Mount.bind(shown, "/data"),)))
    assert found.result.stdout == b"content\ncontent\ndir/f\n"
    assert found.skeleton["/data/link"] == "dir/f"
    assert {m.dst for m in found.mounts if m.dst.startswith("/data")} == {"/data/script", "/data/dir/f"}


def test_writable_mounts_are_kept(tmp_path):
    (tmp_path / "w").mkdir()
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "w", 0o777)
    jail = Jail(mounts=(Mount.bind(tmp_path / "w", "/w", ro=False), Mount.tmpfs("/scratch", "1M")), network="loopback")
    found = learn_and_repeat(
        ["sh", "-c", "echo a > /w/f; cat /w/f > /scratch/g; cat /scratch/g; rm /w/f"], tmp_path, jail=jail
    )
    assert [m for m in found.mounts if not m.ro] == list(jail.mounts)
    assert found.jail(tmp_path / "again").network == "loopback"


def test_files_and_input_and_results_as_with_run(tmp_path):
    found = pyjail.learn(
        ["sh", "-c", "cat f -; exit 3"], PATIENT, files={"f": "1"}, input=b"2", env={"PATH": "/bin"}, cwd="/box"
    )
    assert (found.result.stdout, found.result.returncode, found.complete) == (b"12", 3, True)
    with pytest.raises(pyjail.ProgramNotFoundError):
        pyjail.learn(["/no/such"], PATIENT)
    with pytest.raises(SpecError):
        pyjail.learn("true")
    with pytest.raises(pyjail.TimeoutExpired):
        pyjail.learn(["sleep", "99"], PATIENT, timeout=0.5)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(SpecError, match="empty"):
        found.jail(tmp_path / "full")


def test_what_was_learned_can_be_kept(tmp_path):
    found = pyjail.learn(["sh", "-c", "echo x | cat"], PATIENT)
    assert pickle.loads(pickle.dumps(found)) == found
    assert json.loads(json.dumps(found.to_dict()))["policy"]["base"] == "strict"
    jail = found.jail(tmp_path / "root")
    (tmp_path / "c.toml").write_text(found.to_toml(tmp_path / "root"))
    assert Jail.from_toml(tmp_path / "c.toml") == jail


def test_where_ptrace_is_forbidden_it_says_so_and_leaves_nothing(tmp_path):
    code = """
    import errno, os, pyjail, pyseccomp
    f = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    f.add_rule(pyseccomp.ERRNO(errno.EPERM), "ptrace")
    f.load()
    try:
        pyjail.learn(["true"])
    except pyjail.HostError as e:
        print(e.control, "SYS_PTRACE" in e.hint, "ptrace" in e.cause)
    print(pyjail.run(["true"]).verdict)
    pyjail.close()
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("nothing left")
    """
    out = script(code)
    assert out.stdout == "learn True True\nok\nnothing left\n", out.stderr


def test_a_skeleton_is_never_written_through_a_symlink(tmp_path):
    """What a hostile writer of a shared directory could have slipped in: a link, and something below it."""
    from pyjail._learn import root as learn_root

    victim, root = tmp_path / "victim", tmp_path / "root"
    victim.mkdir()
    for below in (b"content", "target", None):
        with pytest.raises(OSError, match="shared"):
            learn_root.make(str(root), {"/shared": str(victim), "/shared/x/y": below})
        assert list(victim.iterdir()) == []
        (root / "shared").unlink()


def test_nothing_of_a_writable_mount_is_in_the_skeleton(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "l").symlink_to("d")
    tmp_path.chmod(0o755)
    jail = Jail(mounts=(Mount.bind(tmp_path, "/shared", ro=False),), strict=place.CGROUPS)
    learned = pyjail.learn(["sh", "-c", "cat /shared/l/f; ls -l /shared/l"], jail=jail)
    assert [path for path in learned.skeleton if path.startswith("/shared/")] == []


def test_names_without_end_of_one_file_are_not_all_kept(monkeypatch):
    seen = observe.Observer([], "allow", host().arch)
    monkeypatch.setattr(observe, "read_string", lambda tid, address: b"/usr" + b"/../usr" * 500 + b"/" * address)
    for i in range(20_000):
        seen.entered(1, call_number("openat"), (0, i, os.O_RDONLY, 0, 0, 0), audit_arch())
        seen.left(1, 0)
    assert sum(len(path) for path, _ in seen.used) <= observe.MOST_NAMES
    assert len(seen.used) > 100
