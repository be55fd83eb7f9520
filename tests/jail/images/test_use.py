"""`Jail(image=)`: what a program finds, what it cannot change, what is told of it, and for how long the tree stays."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import pyjail
from pyjail import HostError, Jail, Limits, Mount, images
from tests import images_made as made
from tests import images_use
from tests.scripts import script

ETC = (made.folder(b"etc"), made.file(b"etc/motd", b"mine\n"), made.file(b"etc/passwd", b"root:x:0:0::/:/bin/sh\napp:x:77:77::/:/bin/sh\n"))  # fmt: skip
LOOSE = Jail(strict=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A store of this test's own."""
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))
    yield tmp_path
    pyjail.close()


@pytest.fixture
def tools(home):
    return images_use.load(home / "tools", "tools", *ETC, Env=["PATH=/bin:/opt", "FOO=bar"])


def run(command: str, jail: Jail, **given):
    return pyjail.run(["sh", "-c", command], jail=jail, text=True, **given)


def test_the_root_is_the_image_with_its_variables(tools):
    result = run("cat /etc/motd; cd /; echo *; echo $FOO $PATH $HOME $LANG; id -u", Jail(image="tools", strict=False))
    assert result.stdout.splitlines() == [
        "mine", "bin box dev etc proc tmp", "bar /bin:/opt /box C.UTF-8", "1000"
    ]  # fmt: skip
    assert result.ok


@pytest.mark.parametrize("asked", ["name", "digest", "image"])
def test_the_receipt_and_the_document_have_the_digest(tools, asked):
    given = {"name": "tools", "digest": tools.digest, "image": tools}[asked]
    result = run("true", Jail(image=given, strict=False))
    (row,) = [row for row in result.receipt if row.name == "image"]
    assert (row.asked, row.value) == ("tools" if asked == "name" else tools.digest, tools.digest)
    assert row.enforced_by == f"read-only bind of {tools.id}"
    document = json.loads(json.dumps(result.to_dict()))
    assert document["image"] == tools.digest
    assert pyjail.Result.from_dict(document) == result
    assert run("true", LOOSE).to_dict()["image"] is None


def test_nothing_in_it_can_be_changed(tools):
    attempts = "echo x > /etc/motd; touch /etc/new; busybox chmod 777 /etc/motd; busybox ln /etc/motd /etc/again; busybox rm /etc/motd"
    assert run(attempts, Jail(image="tools", strict=False, uid=0, gid=0)).stderr.count("Read-only file system") == 5
    assert images.verify("tools") == []


CHANGES = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#define T(name, call) do { errno = 0; long r = (long)(call); printf("%s %s\n", name, r == -1 ? strerror(errno) : "WORKS"); } while (0)
int main(void) {
    struct timespec times[2] = {{1, 0}, {1, 0}};
    int fd = open("/etc/motd", O_RDONLY), flags = 0;
    T("write", open("/etc/motd", O_WRONLY)); T("truncate", truncate("/etc/motd", 0));
    T("create", open("/etc/new", O_WRONLY | O_CREAT, 0600)); T("tmpfile", open("/etc", O_WRONLY | O_TMPFILE, 0600));
    T("chmod", chmod("/etc/motd", 0777)); T("fchmod", fchmod(fd, 0777)); T("chown", chown("/etc/motd", 0, 0));
    T("utime", utimensat(AT_FDCWD, "/etc/motd", times, 0)); T("futime", futimens(fd, times));
    T("xattr", setxattr("/etc/motd", "user.x", "y", 1, 0)); T("fxattr", fsetxattr(fd, "user.x", "y", 1, 0));
    T("overlay xattr", setxattr("/etc", "user.overlay.opaque", "y", 1, 0));
    T("link", link("/etc/motd", "/etc/again")); T("link out", link("/etc/motd", "/box/again"));
    T("rename", rename("/etc/motd", "/etc/again")); T("unlink", unlink("/etc/motd")); T("symlink", symlink("x", "/etc/l"));
    T("mkdir", mkdir("/etc/d", 0755)); T("rmdir", rmdir("/opt")); T("fifo", mkfifo("/etc/f", 0600));
    T("map", mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)); T("fallocate", fallocate(fd, 0, 0, 1));
    T("flags", ioctl(fd, 0x40086602, &flags)); T("by proc", open("/proc/self/fd/3", O_WRONLY));
    T("remount", mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0)); T("bind", mount("/", "/tmp", 0, MS_BIND, 0));
    T("over", mount("t", "/etc", "tmpfs", 0, 0));
    return 0;
}
"""


def test_no_call_changes_a_read_only_root(home, cc):
    """CVE-2026-46695: a root that was called read-only was not. Also as uid 0 of the jail."""
    program = made.file(b"changes", cc(CHANGES, "-static").read_bytes(), mode=0o755)
    image = images_use.load(home / "i", "mine", *ETC, made.folder(b"opt"), program)
    before = sorted(made.listed(Path(image.root)).items())
    for jail in (
        Jail(image="mine", strict=False), Jail(image="mine", strict=False, uid=0, gid=0),
        Jail(image="mine", strict=False, uid=0, gid=0, landlock=False),
    ):  # fmt: skip
        result = pyjail.run(["/changes"], jail=jail, text=True)
        assert result.stdout.count("\n") == 27 or result.verdict == "security", result
        assert "WORKS" not in result.stdout, result.stdout
        assert "create Read-only file system\n" in result.stdout
    pyjail.close()
    assert sorted(made.listed(Path(image.root)).items()) == before and images.verify("mine") == []


def test_a_name_that_is_not_there_is_refused_and_nothing_is_pulled(home):
    with pytest.raises(HostError, match="no image none") as e:
        run("true", Jail(image="none"))
    assert "pyjail image pull none" in e.value.hint
    assert not (home / "home").exists()


def test_a_name_means_its_newest_image_and_a_session_stays_with_its_own(home, tools):
    jail = Jail(image="tools", strict=False)
    with pyjail.Session(jail) as session:
        assert session.run(["cat", "/etc/motd"]).stdout == b"mine\n"
        images_use.load(home / "new", "tools", made.folder(b"etc"), made.file(b"etc/motd", b"new\n"))
        assert run("cat /etc/motd", jail).stdout == "new\n"
        assert session.run(["sh", "-c", "cat /etc/motd; echo $FOO"]).stdout == b"mine\nbar\n"
    assert run("cat /etc/motd", Jail(image=tools, strict=False)).stdout == "mine\n"


def test_a_tree_stays_as_long_as_a_keeper_has_it(tools):
    assert run("true", Jail(image="tools", strict=False)).ok
    images.remove("tools")
    assert os.path.isdir(tools.root)
    assert images.gc() == []
    with pytest.raises(HostError, match="no image"):
        run("true", Jail(image="tools", strict=False))
    pyjail.close()
    images.gc()
    assert not os.path.exists(tools.root)


@pytest.mark.parametrize(("user", "uid"), [("", 1000), ("root", 1000), ("77", 77), ("app", 77), ("app:staff", 77)])
def test_its_user_is_the_uid_where_none_is_given(home, user, uid):
    images_use.load(home / "i", "mine", *ETC, User=user)
    assert run("id -u", Jail(image="mine", strict=False)).stdout == f"{uid}\n"
    assert run("id -u", Jail(image="mine", strict=False, uid=5)).stdout == "5\n"


@pytest.mark.parametrize("user", ["65533", "4294967296", "nobody-there", "../x", "-1"])
def test_a_user_that_no_jail_can_have_is_an_error(home, user):
    images_use.load(home / "i", "mine", *ETC, User=user)
    with pytest.raises(images.ImageError, match="user"):
        run("true", Jail(image="mine", strict=False))


def test_own_places_are_the_jails_whatever_the_image_has_there(home, tmp_path):
    canary = tmp_path / "canary"
    canary.mkdir()
    hostile = [made.link(name, str(canary).encode()) for name in (b"proc", b"dev", b"tmp", b"box")]
    images_use.load(home / "i", "hostile", *hostile, made.link(b"etc", str(canary).encode()))
    result = run("echo x > /tmp/x; echo x > /box/x; echo x > /dev/null; echo x > /etc/x; ls /proc/self/fd > /dev/null && echo fine",
                 Jail(image="hostile", strict=False))  # fmt: skip
    assert result.stdout == "fine\n"
    assert os.listdir(canary) == []


def test_mounts_and_limits_work_on_it(tools, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "f").write_text("data")
    jail = Jail(
        image="tools", strict=False, mounts=(Mount.bind(tmp_path / "data", "/data"), Mount.tmpfs("/etc/own", "1M"))
    )
    assert run("cat /data/f; echo x > /etc/own/x && cat /etc/motd", jail).stdout == "datamine\n"
    assert run("sleep 9", Jail(image="tools", strict=False), limits=Limits(wall_time=0.3)).verdict == "wall_time"


def test_a_box_a_plan_and_what_was_learned(tools, tmp_path):
    jail = Jail(image="tools", strict=False)
    assert [s["what"] for s in pyjail.plan(["env"], jail=jail).steps if s["step"] == "exec"] == ["env"]
    found = pyjail.learn(["cat", "/etc/motd"], jail=jail)
    assert (found.result.stdout, found.learned_in.image) == (b"mine\n", f"tools@{tools.digest}")
    assert pyjail.run(["cat", "/etc/motd"], jail=found.jail(tmp_path / "root")).stdout == b"mine\n"
    assert Jail.from_dict(json.loads(json.dumps(found.learned_in.to_dict()))) == found.learned_in


@pytest.mark.needs_cgroups
def test_a_box_of_an_image(tools):
    with pyjail.Box(Jail(image="tools")) as box:
        assert box.run(["sh", "-c", "echo $FOO > /tmp/x"]).ok
        assert box.read("/tmp/x") == b"bar\n"
        images.remove("tools")
        assert box.run(["cat", "/etc/motd"]).stdout == b"mine\n"


def test_a_run_without_an_image_loads_nothing_of_them():
    code = "import sys, pyjail; pyjail.run(['true'], jail=pyjail.Jail(strict=False)); print([m for m in sys.modules if m.startswith(('pyjail._images', 'pyjail.images', 'pyjail._plan.image'))])"
    out = script(code)
    assert (out.returncode, out.stdout) == (0, "[]\n"), out.stderr


def test_a_first_run_with_an_image_loads_little_of_them(tools):
    heavy = [
        "typing",
        "json",
        "shutil",
        "hashlib",
        "zlib",
        "http.client",
        "ssl",
        "pyjail._images.add",
        "pyjail._images.tar",
        "pyjail.images",
    ]
    code = f"import sys, pyjail; pyjail.run(['true'], jail=pyjail.Jail(image='tools', strict=False)); print([m for m in {heavy} if m in sys.modules])"
    out = script(code)
    assert (out.returncode, out.stdout) == (0, "[]\n"), out.stderr


def cli(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pyjail", *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)  # fmt: skip


def test_the_command_line_runs_an_image_and_its_own_command(home):
    images_use.load(home / "i", "mine", *ETC, Entrypoint=["echo", "own"], Cmd=["command"], WorkingDir="/etc")
    images_use.load(home / "j", "there", *ETC, Cmd=["pwd"], WorkingDir="/etc", Env=["PATH=/bin", "FOO=bar"])
    assert cli("run", "--no-strict", "--image", "mine").stdout == "own command\n"
    assert cli("run", "--no-strict", "--image", "there").stdout == "/etc\n"
    assert cli("run", "--no-strict", "--image", "there", "--cwd", "/tmp").stdout == "/tmp\n"
    assert (
        cli("run", "--no-strict", "--image", "there", "--env", "A=b", "--", "sh", "-c", "pwd; echo $FOO $A").stdout
        == "/box\nbar b\n"
    )
    found = cli("run", "--no-strict", "--json", "--image", "mine")
    assert json.loads(found.stdout)["image"] == images.get("mine").digest


def test_the_command_line_says_what_is_wrong(home):
    images_use.load(home / "i", "mine")
    for args, code, said in (
        (("--image", "mine"), 125, "no command of its own"), (("--image", "none", "--", "true"), 125, "pyjail image pull none"),
        (("--image", "mine", "--rootfs", "/", "--", "true"), 125, "give one of them"), ((), 125, "name the program after --"),
    ):  # fmt: skip
        out = cli("run", "--no-strict", *args)
        assert (out.returncode, said in out.stderr) == (code, True), out.stderr


def test_a_configuration_names_an_image(home, tools):
    (home / "c.toml").write_text('[jail]\nimage = "tools"\nstrict = false\n')
    assert cli("run", "--config", str(home / "c.toml"), "--", "cat", "/etc/motd").stdout == "mine\n"
    images_use.load(home / "other", "other", made.folder(b"etc"), made.file(b"etc/motd", b"other\n"))
    assert (
        cli("run", "--config", str(home / "c.toml"), "--image", "other", "--", "cat", "/etc/motd").stdout == "other\n"
    )


def test_pools_fresh_keepers_and_event_loops_take_images(tools):
    jail = Jail(image="tools", strict=False)
    with pyjail.Pool(2, jail) as pool:
        assert pool.run(["cat", "/etc/motd"]).stdout == b"mine\n"
    assert pyjail.run(["cat", "/etc/motd"], jail=replace(jail, fresh=True)).stdout == b"mine\n"
    assert asyncio.run(pyjail.aio.run(["cat", "/etc/motd"], jail=jail)).stdout == b"mine\n"
    with pyjail.start(["cat", "/etc/motd"], jail=jail) as process:
        assert process.communicate()[0] == b"mine\n"


def held(tree: str) -> bool:
    """Whether this process has an fd of the tree's lock."""
    links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
    return any(os.path.lexists(link) and os.readlink(link).endswith(tree) for link in links)


def test_a_child_that_was_forked_holds_no_tree(tools):
    assert run("true", Jail(image="tools", strict=False)).ok
    assert held(tools.id)
    child = os.fork()
    if not child:
        os._exit(held(tools.id))
    assert os.waitpid(child, 0)[1] == 0
    pyjail.close()
    assert not held(tools.id)
