"""What BoxLite's words become, without a box."""

from __future__ import annotations

import builtins
import copy
import pickle
import textwrap

import pytest

import pyjail
from pyjail import boxlite
from pyjail.boxlite import _errors, _images, _results
from pyjail.boxlite._options import network
from tests.jail.boxlite import documents


@pytest.mark.parametrize("kind", [boxlite.SimpleBox, boxlite.CodeBox, boxlite.InteractiveBox, boxlite.SyncSimpleBox])
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("memory_mbs", "memory_mb"),
        ("memory", "memory_mi?b"),
        ("cpu", "cpus"),
        ("timeout_second", "timeout_seconds"),
        ("nam", "name"),
    ],
)
def test_an_unknown_keyword_names_the_nearest(kind, wrong, right):
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{wrong}'; did you mean '{right}'\?"):
        kind(image="python:slim", **{wrong: 1})


def test_an_unknown_keyword_of_options():
    with pytest.raises(TypeError, match="did you mean 'memory_mib'"):
        boxlite.BoxOptions(image="x", memory_mibs=1)
    with pytest.raises(TypeError, match=r"argument 'xyzzy'$"):
        boxlite.SimpleBox(image="x", xyzzy=1)


def test_an_image_is_needed():
    with pytest.raises(ValueError, match="Either 'image' or 'rootfs_path' must be provided"):
        boxlite.SimpleBox()


def test_two_words_for_memory_are_one():
    assert boxlite.BoxOptions("x", memory_mb=5).memory_mib == boxlite.BoxOptions("x", memory_mib=5).memory_mb == 5
    assert boxlite.BoxOptions("x", memory_mb=5, memory_mib=5).memory_mib == 5
    with pytest.raises(TypeError, match="two words for one thing"):
        boxlite.SimpleBox("x", memory_mb=5, memory_mib=6)


@pytest.mark.parametrize(
    "given",
    [
        {"memory_mb": 0},
        {"memory_mb": "256M"},
        {"cpus": -1},
        {"timeout_seconds": float("nan")},
        {"disk_size_gb": True},
        {"env": 5},
    ],
)
def test_a_value_that_makes_no_sense(given):
    with pytest.raises(boxlite.InvalidArgumentError, match=next(iter(given)).replace("memory_mb", "memory_mib")):
        boxlite.SimpleBox("python", **given)


@pytest.mark.parametrize(
    "given",
    [{"volumes": [("/a", "/b")]}, {"ports": [(80, 80)]}, {"secrets": [1]}, {"advanced": object()}, {"cmd": ["x"]},
     {"entrypoint": ["x"]}, {"network": "host"}, {"network": boxlite.NetworkSpec(mode="enabled")}, {"tty": True},
     {"network": boxlite.NetworkSpec(outbound=boxlite.OutboundNetworkSpec("enabled"))}, {"detach": True},
     {"network": boxlite.NetworkSpec(allow_net=["a.org"])}],
)  # fmt: skip
def test_what_a_jail_cannot_have_is_refused_with_its_name(given):
    with pytest.raises(boxlite.UnsupportedError, match=f"^{next(iter(given))}="):
        boxlite.SimpleBox("python", **given)


@pytest.mark.parametrize("given", [{"volumes": []}, {"ports": ()}, {"network": None}, {"network": "loopback"}, {"secrets": []},
                                   {"network": boxlite.NetworkSpec(mode="disabled")}, {"env": [("A", "b")]}])  # fmt: skip
def test_what_asks_for_nothing_is_taken(given):
    boxlite.SimpleBox("python", **given)


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, False), ({"auto_remove": True}, False), ({"auto_remove": False}, True), ({"auto_delete": 0}, True),
     ({"auto_delete": 60, "auto_remove": False}, False)],
)  # fmt: skip
def test_which_boxes_are_kept(options, kept):
    assert boxlite.BoxOptions("x", **options).kept is kept


def test_names_of_errors_bases_and_codes():
    assert boxlite.ResourceError is boxlite.ResourceExhaustedError
    assert issubclass(boxlite.TimeoutError, builtins.TimeoutError)
    codes = {
        "InvalidArgument": "invalid_argument", "Unsupported": "unsupported", "NotFound": "not_found", "SessionReaped": "session_reaped",
        "AlreadyExists": "already_exists", "InvalidState": "invalid_state", "Stopped": "stopped", "Image": "image_pull_failed",
        "Execution": "execution_failed", "ResourceExhausted": "resource_exhausted", "Network": "network_unavailable",
        "UpstreamUnavailable": "upstream_unavailable", "Engine": "engine_unavailable", "Storage": "storage_error",
        "Database": "database_error", "Metadata": "metadata_error", "Config": "config_error", "Internal": "internal",
    }  # fmt: skip
    for name, code in codes.items():
        kind = getattr(boxlite, f"{name}Error")
        assert issubclass(kind, boxlite.BoxliteError) and issubclass(kind, RuntimeError) and kind.code == code
    error = boxlite.ExecError("pip", 2, "no")
    assert str(error) == "Command 'pip' failed with exit code 2: no"
    for one in (error, boxlite.TimeoutError("late")):
        one.result = boxlite.ExecResult(1, "out", "")
        again = pickle.loads(pickle.dumps(one))
        assert (type(again), str(again), again.result.stdout) == (type(one), str(one), "out")


@pytest.mark.parametrize(
    ("raised", "told"),
    [(pyjail.SpecError("a", 1, "b"), boxlite.InvalidArgumentError), (pyjail.HostError("memory", "none", "root"), boxlite.UnsupportedError),
     (pyjail.ProgramNotFoundError("exec", None, "x", 2), boxlite.ExecutionError), (pyjail.SetupError("mount", 1, "x", 1), boxlite.EngineError),
     (pyjail.CwdNotFoundError("chdir", None, "x", 2), boxlite.ExecutionError), (pyjail.KeeperError("gone"), boxlite.EngineError),
     (pyjail.ProgramPermissionError("exec", None, "x", 13), boxlite.ExecutionError)],
)  # fmt: skip
def test_what_pyjail_raises_is_told_as_boxlite_s(raised, told):
    with pytest.raises(told) as caught, _errors.ours():
        raise raised
    assert caught.value.__cause__ is raised and str(raised) in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "told"),
    [(FileNotFoundError("x"), boxlite.NotFoundError), (FileExistsError("x"), boxlite.AlreadyExistsError),
     (PermissionError("x"), boxlite.StorageError), (KeyError("x"), KeyError), (boxlite.StoppedError("x"), boxlite.StoppedError)],
)  # fmt: skip
def test_what_files_raise(raised, told):
    with pytest.raises(told), _errors.ours(files=True):
        raise raised


def result(verdict: pyjail.Verdict, **fields: object) -> pyjail.Result:
    return pyjail.Result(["x"], fields.pop("returncode", 0), verdict, stdout=b"out\r\n\xff", stderr=b"err", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdict", "error"),
    [("wall_time", boxlite.TimeoutError), ("memory", boxlite.ResourceError), ("output", boxlite.ResourceError),
     ("cpu_time", boxlite.ResourceError), ("jail_error", boxlite.InternalError)],
)  # fmt: skip
def test_verdicts_that_raise(verdict, error):
    one = result(pyjail.Verdict(verdict), error="why")
    with pytest.raises(error, match="x") as caught:
        _results.told(one, "x")
    assert (caught.value.result.stdout, caught.value.result.result) == ("out\r\n\ufffd", one)


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("runtime_error", 3), ("signaled", -11), ("security", -31)])
def test_verdicts_that_are_results(verdict, code):
    told = _results.told(result(pyjail.Verdict(verdict), returncode=code, syscall="ptrace"), "x")
    assert (told.exit_code, told.stdout, told.stderr) == (code, "out\r\n\ufffd", "err")
    assert told.error_message == ("the filter refused ptrace" if verdict == "security" else None)


def test_every_verdict_is_one_of_both():
    raised = {"wall_time", "memory", "output", "cpu_time", "jail_error"}
    assert {v.value for v in pyjail.Verdict} == raised | {"ok", "runtime_error", "signaled", "security"}


def test_a_text_with_the_rest_is_a_text():
    one = boxlite.RunResult("out\n", "err", 3, {"a": 1})
    assert one == "out\n" and one.strip() == "out" and one + "x" == "out\nx" and hash(one) == hash("out\n")
    assert type(one.stdout) is str
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert (again, again.stderr, again.exit_code, again.result) == ("out\n", "err", 3, {"a": 1})


def test_a_directory_as_an_image(tmp_path):
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/x").touch()
    (tmp_path / "home").mkdir()
    view = _images.view(None, str(tmp_path), {}, pyjail.Jail(hostname="mine"))
    assert (view.jail.rootfs, view.jail.hostname, view.python) == (str(tmp_path), "mine", False)
    assert "/home" in view.writable and "/tmp" in view.writable and "/opt" not in view.writable
    named = {"alpine:latest": str(tmp_path), "mine/x:1": str(tmp_path)}
    for image in ("alpine", "alpine:latest", "mine/x:1"):
        assert _images.view(image, None, named, pyjail.Jail()).jail.rootfs == str(tmp_path)
    (tmp_path / "oci-layout").touch()
    with pytest.raises(boxlite.ImageError, match="umoci"):
        _images.view("python", str(tmp_path), {}, pyjail.Jail())


def test_nothing_that_python_needs_is_hidden_by_a_place_to_write_to(monkeypatch):
    monkeypatch.setattr(_images.sys, "base_prefix", "/opt/python3")
    free = _images.view("python:slim", None, {}, pyjail.Jail()).writable
    assert "/opt" not in free and "/workspace" in free


def test_classes_that_are_not_here_say_why():
    for name in ("BrowserBox", "ComputerBox", "SkillBox", "Secret"):
        assert not hasattr(boxlite, name)
    with pytest.raises(AttributeError, match="desktop"):
        boxlite.ComputerBox  # noqa: B018
    with pytest.raises(AttributeError, match=r"attribute 'nope'$"):
        boxlite.nope  # noqa: B018


def test_what_was_indented_is_so_again():
    code = documents.JUDGE
    flat = "\n".join(line.strip() for line in code.splitlines() if line.strip())
    again = documents.reindented(flat)
    compile(again, "x", "exec")
    layout = [line for line in code.splitlines() if line.strip()]
    heads = ("import", "async def", "    async with", "        try:", "            result", "            return {")
    for head in heads:
        assert any(line.startswith(head) for line in layout) == any(
            line.startswith(head) for line in again.splitlines()
        )
    text = 'if a:\nx = """\n  kept\n"""\nelif b: # c\nfor i in j:\nreturn 1\nelse:\nreturn 2\nfinal()'
    assert documents.reindented(textwrap.dedent(text)) == (
        'if a:\n    x = """\n  kept\n"""\nelif b: # c\n    for i in j:\n        return 1\n    else:\n        return 2\n    final()\n'
    )


@pytest.mark.parametrize(("spec", "rules"), [
    (boxlite.NetworkSpec(mode="enabled", allow_net=["PyPI.org"]), ("pypi.org", "pypi.org:80")),
    (boxlite.NetworkSpec(outbound=boxlite.OutboundNetworkSpec("enabled", ["*.a.org", "10.1.2.3"])),
     ("*.a.org", "*.a.org:80", "10.1.2.3/32", "10.1.2.3/32:80")),
    (boxlite.NetworkSpec(mode="enabled", allow_net=["10.1.0.0/16"]), ("10.1.0.0/16", "10.1.0.0/16:80")),
])  # fmt: skip
def test_hosts_that_are_allowed_are_an_egress(spec, rules):
    found = network(boxlite.BoxOptions(image="x", network=spec).network)
    assert found == pyjail.Egress(rules)


@pytest.mark.parametrize("spec", [
    boxlite.NetworkSpec(mode="enabled"), boxlite.NetworkSpec(mode="enabled", allow_net=["*"]), boxlite.NetworkSpec(allow_net=["a.org"]),
    boxlite.NetworkSpec(mode="enabled", allow_net=["*.org"]), boxlite.NetworkSpec(mode="enabled", allow_net=["https://a.org"]),
    boxlite.NetworkSpec(mode="disabled", outbound=boxlite.OutboundNetworkSpec("enabled", ["a.org"])),
    boxlite.NetworkSpec(mode="enabled", allow_net=["a.org"], inbound=boxlite.InboundNetworkSpec("enabled")),
])  # fmt: skip
def test_what_is_no_list_of_hosts_is_refused(spec):
    with pytest.raises(boxlite.UnsupportedError):
        boxlite.BoxOptions(image="x", network=spec)
