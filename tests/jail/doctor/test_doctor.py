"""`pyjail doctor` on this machine, and in situations that are in the way: the right row says so, with the right fix."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail.cli.doctor import conclusion
from tests import host_side, place
from tests.inside import ASKED_FOR, host, remove_tree, size_of_the_default_filter
from tests.jail.cli.test_cli import cli
from tests.jail.host.test_hosts import FILTER, LANDLOCK, USERNS, shell
from tests.scripts import script, until

FENCES = (
    "kernel", "python", "libseccomp", "keeper", "clone3", "user namespaces", "mounts", "proc", "network namespace",
    "other namespaces", "seccomp", "rlimits",
)  # fmt: skip
LIMITS = ("cgroups", "memory", "swap", "processes", "cpu_time", "cpus", "memory peak")
RUNS = (
    "strict jail",
    "jail without strict",
    "fresh keeper",
    "loopback",
    "egress",
    "seccomp strict",
    "rootfs and binds",
    "writable root",
)
AS_USER = (sys.executable, "tests/as_user.py")
DOCTOR = """
import sys
from pyjail.cli import main
sys.exit(main(["doctor", "--json"]))
"""


def examined(before: str = "", *wrap: str, code: int, **kw) -> dict[str, pyjail.Finding]:
    """Rows by layer of a doctor in a process of its own, after the code ``before``."""
    out = script(before + DOCTOR, wrap=wrap, timeout=100, **kw)
    assert "Traceback" not in out.stderr
    assert out.returncode == code, out.stdout + out.stderr
    answer = json.loads(out.stdout)
    assert answer["ok"] == (code == 0)
    return {row["layer"]: pyjail.Finding(**row) for row in answer["rows"]}


def bad(rows: dict[str, pyjail.Finding]) -> dict[str, str]:
    return {name: row.status for name, row in rows.items() if row.status != "works"}


@pytest.mark.needs_cgroups
def test_every_layer_that_a_strict_jail_needs_works_here():
    rows = examined(code=0)
    assert {name for name in (*FENCES, *LIMITS, *RUNS) if rows[name].status != "works"} == set(), rows
    version = "v2 memory.max" if place.is_v2() else "v1 memory.limit_in_bytes"
    assert rows["memory"].why.startswith(version)
    assert str(256 << 20) in rows["memory"].why
    assert "outside uid" in rows["id mapping"].why
    if os.geteuid() == 0:
        assert rows["id mapping"].status == rows["cpuset"].status == "works"
        assert rows["io_rate"].status == ("works" if place.is_v2() else "no"), rows["io_rate"]


def test_the_page_ends_with_the_conclusion():
    out = cli("doctor")
    assert out.stderr == ""
    lines = out.stdout.splitlines()
    assert lines[0].split()[1:3] == ["works", "kernel"]
    assert lines[-1].startswith("strict jails run here" if place.CGROUPS else "strict jails do not run here: memory: ")
    assert out.returncode == (0 if place.CGROUPS else 1)
    assert "\033" not in out.stdout
    ascii_only = cli("doctor", env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert ascii_only.returncode == out.returncode
    assert ascii_only.stdout.splitlines()[0].startswith("+ works")


@pytest.mark.skipif(place.is_v2(), reason=place.ELSEWHERE)
def test_a_user_of_a_hybrid_machine_is_told_why_memory_cannot_be_limited():
    rows = examined("", *(() if os.geteuid() else AS_USER), code=1)
    for name in ("memory", "processes", "cpus", "strict jail"):
        assert rows[name].status == "no"
        assert "systemd-run --user --scope -p Delegate=yes" in rows[name].fix
    assert "is a cgroup v1 controller here" in rows["memory"].why
    assert "bound to the cgroup v1 hierarchy" in rows["io_rate"].why
    assert rows["jail without strict"].status == "works partly"
    assert "without cpu_time, memory, processes, cpus" in rows["jail without strict"].why
    for name in (*RUNS[2:], "id mapping"):
        assert rows[name].status in ("works partly", "works"), rows[name]
    assert {name for name in FENCES if rows[name].status != "works"} == set()


@pytest.mark.needs_root
def test_a_user_without_newuidmap_or_without_ids_is_told_what_gives_them():
    rows = examined("", *AS_USER, "env", "PATH=/nonexistent", code=0 if place.is_v2() else 1)
    assert rows["id mapping"].status == "works partly"
    assert rows["id mapping"].fix == "apt-get install uidmap"
    rows = examined("", *AS_USER, "setpriv", "--no-new-privs", code=0 if place.is_v2() else 1)
    assert "no_new_privs" in rows["id mapping"].why


# ---- in the way ----


def test_user_namespaces_switched_off():
    rows = examined("", *USERNS, *shell("echo 0 > /proc/sys/user/max_user_namespaces"), code=1)
    row = rows["user namespaces"]
    assert (row.status, row.why) == ("no", "they are switched off: sysctl user.max_user_namespaces is 0")
    assert row.fix.startswith("sysctl -w user.max_user_namespaces=")
    assert rows["strict jail"].status == rows["mounts"].status == "no"
    assert rows["clone3"].status == "works"
    assert "see user namespaces" in rows["mounts"].why


@pytest.mark.parametrize(
    ("refused", "number", "layer"),
    [
        ("clone3", "EPERM", "clone3"),
        ("mount_setattr", "EPERM", "mounts"),
        ("unshare", "EPERM", "user namespaces"),
        ("sethostname", "EPERM", "other namespaces"),
    ],
)
def test_a_seccomp_filter_around_us(refused, number, layer):
    rows = examined(FILTER + f"refuse(errno.{number}, '{refused}')\n", code=1)
    assert rows[layer].status == rows["strict jail"].status == "no"
    assert "seccomp filter around this process" in rows[layer].why
    assert "seccomp=unconfined" in rows[layer].fix
    assert all(call in rows[layer].fix for call in ASKED_FOR)
    if layer != "user namespaces":  # everything else rests on those
        others = {"clone3", "user namespaces", "network namespace", "other namespaces", "keeper"} - {layer}
        assert others & bad(rows).keys() == set()


def test_a_filter_that_kills_is_told_from_one_that_refuses():
    kill = "import pyseccomp\nf = pyseccomp.SyscallFilter(pyseccomp.ALLOW)\n"
    kill += "f.add_rule(pyseccomp.KILL_PROCESS, 'landlock_create_ruleset')\n"
    # our own look at the Landlock ABI would be killed, too: only what comes after it is under the filter
    before = f"from tests.inside import never_look_again\nnever_look_again()\n{kill}f.load()\n"
    code = before + "import pyjail\nprint(next(r for r in pyjail.doctor() if r.layer == 'landlock'))"
    out = script(code)
    assert "kills whoever calls landlock" in out.stdout, out.stderr


@pytest.mark.parametrize("mask", ["mount -t tmpfs none /proc/sys", "mount --bind /dev/null /proc/version"])
def test_a_masked_proc(mask):
    rows = examined("", *USERNS, "--mount", *shell(mask), code=1)
    assert rows["proc"].status == rows["strict jail"].status == "no"
    assert "the /proc here is masked" in rows["proc"].why
    assert "Jail(proc=False)" in rows["proc"].fix
    assert rows["mounts"].status == "works"
    assert rows["jail without strict"].why.startswith("Jail(strict=False, proc=False) runs")
    assert {rows[name].status for name in RUNS[2:]} == {"works partly"}


# ---- places where a jail runs, or does not, for a reason of their own ----

BWRAP = ("bwrap", "--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc", "--unshare-pid")
needs_bwrap = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is missing: apt-get install bubblewrap"
)


def proc_row_and_run(*wrap: str) -> tuple[pyjail.Finding, bool]:
    """What the page says of /proc there, and whether a jail has one."""
    code = "import pyjail\nr = pyjail.run(['ls', '/proc/self'], jail=pyjail.Jail(strict=False))\nprint(r.ok)\n"
    out = script(f"{code}", wrap=wrap)
    rows = json.loads(script(DOCTOR, wrap=wrap, timeout=100).stdout)["rows"]
    row = next(pyjail.Finding(**row) for row in rows if row["layer"] == "proc")
    return row, out.stdout == "True\n"


@needs_bwrap
@pytest.mark.needs_root
def test_a_proc_with_parts_on_top_that_we_may_leave_out_is_no_obstacle():
    """bwrap covers parts of /proc; where we could take that away ourselves, the kernel does not mind, nor may the probe."""
    row, runs = proc_row_and_run(*BWRAP)
    assert runs
    assert row.status == "works", row


def test_the_row_of_proc_says_what_a_run_finds():
    cover = shell("mount --bind /dev/null /proc/version")
    for wrap in (), (*USERNS, "--mount", *cover), ("unshare", "--mount", *cover) if os.geteuid() == 0 else ():
        row, runs = proc_row_and_run(*wrap)
        assert (row.status == "works") == runs, (wrap, row)


@needs_bwrap
def test_user_namespaces_that_a_sandbox_forbids_are_not_looked_for_in_a_sysctl_of_ours():
    rows = examined("", *BWRAP, "--unshare-user", "--disable-userns", code=1)
    row = rows["user namespaces"]
    assert row.status == "no"
    assert "a user namespace around this one allows no more" in row.why
    assert row.fix.startswith("start this program without what forbids them (bwrap --disable-userns")
    assert conclusion(tuple(rows.values())).startswith("strict jails do not run here: user namespaces: ")


@pytest.mark.needs_root
@pytest.mark.needs_cgroups
def test_a_cgroup_namespace_without_its_own_mounts():
    """What is in sight there is everybody's tree, in which our own cgroup has no name."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    if any(line.endswith(":/") for line in lines if place.is_v2() or ":memory:" in line):
        pytest.skip("needs a cgroup below the root: proved in another place")
    rows = examined("", "unshare", "--cgroup", "--mount", code=1)
    assert "outside of this cgroup namespace" in rows["memory"].why
    assert "cgroup_enable" not in str(rows)
    assert "in a mount namespace of its own" in rows["memory"].fix
    mount = rows["memory"].fix.partition("(unshare --mount): ")[2].partition(";")[0]
    mended = examined("", "unshare", "--cgroup", "--mount", *shell(mount), code=0)  # the fix is one
    assert mended["memory"].status == "works"


@pytest.mark.needs_root
@pytest.mark.needs_cgroups
def test_cgroups_that_are_mounted_read_only():
    close = (
        "for m in $(grep -E ' - cgroup2? ' /proc/self/mountinfo | cut -d' ' -f5); do mount -o remount,bind,ro $m; done"
    )
    before = "import os\nfrom pyjail._doctor import machine\nmachine.container_of = lambda *a: 'docker'\n"
    rows = examined(before, "unshare", "--mount", *shell(close), code=1)
    assert {rows[name].status for name in ("cgroups", "memory", "processes", "cpus", "strict jail")} == {"no"}
    assert "is mounted read-only" in rows["memory"].why
    assert "writable-cgroups=true" in rows["memory"].fix
    options = rows["container"].fix.splitlines()[0].split()
    assert "writable-cgroups=true" in options
    assert {"--privileged", "seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"} & {*options} == set()


@pytest.mark.needs_root
@pytest.mark.skipif(place.is_v2(), reason=place.ELSEWHERE)
def test_a_controller_of_v1_whose_tree_is_not_mounted():
    rows = examined("", "unshare", "--mount", *shell("umount /sys/fs/cgroup/memory"), code=1)
    assert rows["memory"].why == "no cgroup file system with memory is mounted here"
    assert "mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory" in rows["memory"].fix


def test_the_profile_that_the_page_makes_of_docker_s_allows_the_calls(tmp_path):
    page = (Path(__file__).parents[3] / "docs/doctor.md").read_text()
    (tmp_path / "jails.jq").write_text(page.partition("```jq\n")[2].partition("```")[0])
    allow, refuse = "SCMP_ACT_ALLOW", {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    theirs = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": allow}, refuse]}
    (tmp_path / "default.json").write_text(json.dumps(theirs))
    if shutil.which("jq") is None:
        pytest.skip("jq is missing: apt-get install jq")
    out = subprocess.run(["jq", "-f", "jails.jq", "default.json"], cwd=tmp_path, capture_output=True, check=True)
    made = json.loads(out.stdout)
    assert made["syscalls"][0] == theirs["syscalls"][0]
    assert [(row["names"], row["action"]) for row in made["syscalls"][1:]] == [([*ASKED_FOR], allow)]


def test_the_page_counts_the_filter_that_jails_get():
    why = examined(code=0 if place.CGROUPS else 1)["libseccomp"].why
    assert f"the filter of the default jail has {size_of_the_default_filter()} instructions" in why


def test_a_place_without_a_proc_of_its_own_is_named_first():
    rows = examined("", *USERNS, "--pid", "--fork", code=1)
    assert "/proc is of another pid namespace" in conclusion(tuple(rows.values()))
    assert not any("Traceback" in row.why or "setgroups" in row.why for row in rows.values())


def test_landlock_around_us_forbids_mounts():
    rows = examined(LANDLOCK + "landlock()\n", code=1)
    assert rows["mounts"].status == "no"
    assert "Landlock sandbox forbids them" in rows["mounts"].why
    assert "outside of the sandbox" in rows["mounts"].fix
    assert rows["user namespaces"].status == rows["clone3"].status == "works"


@pytest.mark.needs_root
def test_root_without_sys_admin_still_has_strict_jails():
    pytest.importorskip("prctl", reason="python-prctl is missing: ./dev test installs it")
    rows = examined("", "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", code=0)
    assert rows["privileges"].status == "works partly"
    assert "without sys_admin" in rows["privileges"].why
    assert "--cap-add" in rows["privileges"].fix
    assert rows["strict jail"].status == rows["id mapping"].status == "works"


@pytest.mark.needs_root
def test_root_without_setuid_is_refused():
    rows = examined("", "setpriv", "--bounding-set=-setuid", "--inh-caps=-setuid", code=1)
    assert rows["id mapping"].status == rows["strict jail"].status == "no"
    assert "--cap-add SETUID" in rows["id mapping"].fix


def test_hard_limits_of_the_caller_below_the_defaults():
    rows = examined("", *shell("ulimit -n 100"), code=1)
    assert rows["rlimits"].status == "no"
    assert "open_files: the caller's own hard RLIMIT_NOFILE is 100" in rows["rlimits"].why
    assert "LimitNOFILE=" in rows["rlimits"].fix


@pytest.mark.skipif(not place.CGROUPS or place.is_v2() or os.geteuid() != 0, reason=place.ELSEWHERE)
def test_a_smaller_limit_above_is_named():
    own = next(h.own for h in host().hierarchies if h.version == 1 and "memory" in h.controllers)
    cell = Path(own, f"doctor-{os.getpid()}")
    cell.mkdir()
    try:
        (cell / "memory.limit_in_bytes").write_text(str(200 << 20))
        rows = examined("", *shell(f"echo 0 > {cell}/tasks"), code=1)
        for name in ("memory", "limits above"):
            assert rows[name].status == "no"
            assert f"{cell}/memory.limit_in_bytes is {200 << 20}, below what was asked" in rows[name].why
            assert "raise it: echo" in rows[name].fix
    finally:
        remove_tree(str(cell), 2)


def test_bad_settings_are_rows_and_no_crash():
    rows = examined("import os; os.environ['PYJAIL_ID_RANGE'] = 'many'\n", code=1)
    assert rows["strict jail"].status == "no"
    assert "PYJAIL_ID_RANGE" in rows["strict jail"].why
    assert rows["kernel"].status == "works"


def test_a_probe_that_cannot_start_is_a_row_and_the_proof_goes_on():
    rows = examined("import sys; sys.executable = '/no/such/python'\n", code=0 if place.CGROUPS else 1)
    assert rows["clone3"].status == "no"
    assert "/no/such/python" in rows["clone3"].why
    assert rows["jail without strict"].status != "no"


def test_without_libseccomp_the_package_is_named():
    rows = examined("import sys; sys.modules['pyseccomp'] = None\n", code=0 if place.CGROUPS else 1)
    assert rows["libseccomp"].status == "no"  # policies of one's own cannot be compiled
    assert rows["jail without strict"].status != "no"
    assert rows["libseccomp"].fix == "apt-get install libseccomp2"
    assert rows["user namespaces"].status == "works"


# ---- our own privileges ----


def test_python_prctl_reads_our_own_sets():
    prctl = pytest.importorskip("prctl", reason="python-prctl is missing: ./dev test installs it")
    rows = examined(code=0 if place.CGROUPS else 1)
    why = rows["privileges"].why
    assert f"uid {os.geteuid()}; effective" in why
    assert f"no_new_privs {prctl.get_no_new_privs()}" in why
    assert "securebits none" in why
    if os.geteuid():
        assert "effective none; permitted none" in why
    keep = "import prctl\nprctl.set_keepcaps(True)\n"
    assert "securebits keep_caps" in examined(keep, code=0 if place.CGROUPS else 1)["privileges"].why


def test_without_python_prctl_the_row_says_so():
    rows = examined("import sys; sys.modules['prctl'] = None\n", code=0 if place.CGROUPS else 1)
    assert rows["privileges"].status == "works partly"
    assert "pip install 'pyjail-linux[doctor]'" in rows["privileges"].fix


# ---- nothing is left ----


def children() -> set[int]:
    """Our keepers, without what they have armed."""
    text = "".join(Path(p).read_text() + " " for p in glob.glob("/proc/self/task/*/children"))
    return {int(p) for p in text.split()}


def test_a_doctor_leaves_nothing_behind_and_spares_the_embedders_keepers():
    pyjail.close()
    others = children()  # multiprocessing's, when a test has used that
    pyjail.run(["true"])
    pyjail.doctor()  # once for the modules and files that stay open
    until(lambda: len(host_side.keepers_of(os.getpid())) >= 2)
    warm, before = children(), host_side.left_over()
    assert warm > others
    pyjail.doctor()
    assert warm <= children()
    assert until(lambda: host_side.left_over() == before), (host_side.left_over(), before)
    assert until(lambda: glob.glob("/tmp/pyjail-doctor-*") == [])  # another one's goes by itself
    pyjail.close()
    assert children() == others
    assert host_side.cgroups_of(os.getpid()) == []


def test_the_command_leaves_no_cgroup():
    out = script("import os; print(os.getpid(), flush=True)\n" + DOCTOR, timeout=100)
    assert host_side.cgroups_of(int(out.stdout.split()[0])) == []
