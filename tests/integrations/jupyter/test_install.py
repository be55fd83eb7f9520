"""`pyjail kernel`: what it writes, lists and removes, and what it says of what cannot be."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pyjail import cli
from pyjail.integrations import jupyter_kernels, kernels


@pytest.fixture
def kernel(jupyter, capsys):
    """Runs the command: (exit code, stdout, stderr)."""

    def run(*words):
        code = cli.main(["kernel", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def document(jupyter, name):
    return json.loads((jupyter / f"share/jupyter/kernels/{name}/kernel.json").read_text())


def test_what_is_installed_is_listed_and_removed(kernel, jupyter):
    code, out, err = kernel("install", "--name", "mine", "--prefix", str(jupyter), "--memory", "2G", "--cpus", "0,1", "--wall-time", "1h",
                            "--bind", "/usr/share:/data", "--env", "A=b", "--display-name", "Mine", "--copy-directory")  # fmt: skip
    assert (code, err) == (0, "")
    assert out.startswith(f"installed mine in {jupyter}/share/jupyter/kernels/mine\n")
    made = document(jupyter, "mine")
    assert (made["argv"], made["display_name"]) == (
        [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "Mine",
    )
    stanza = made["metadata"]["kernel_provisioner"]
    assert stanza["provisioner_name"] == "pyjail"
    config = stanza["config"]
    assert config["limits"] == {"memory": "2G", "cpus": [0, 1], "wall_time": 3600.0}
    assert config["jail"]["mounts"] == [{"src": "/usr/share", "dst": "/data", "ro": True}]
    assert config["jail"]["env"]["A"] == "b"
    assert config["copy_directory"] is True
    jail, limits = kernels.settings(config["jail"], config["limits"])
    assert (jail.mounts[0].dst, limits.memory, limits.cpus, limits.processes) == ("/data", 2 << 30, {0, 1}, 256)
    assert {p.name for p in (jupyter / "share/jupyter/kernels/mine").iterdir()} >= {"logo-64x64.png"}
    code, out, err = kernel("list")
    assert (code, err) == (0, "")
    assert f"mine  {sys.executable}  cpu_time=60m wall_time=3600.0 memory=2G" in out
    assert "python-jailed  " in out
    assert "python3" not in out.split()
    assert kernel("remove", "mine") == (0, f"removed {jupyter}/share/jupyter/kernels/mine\n", "")
    assert "mine" not in kernel("list")[1]


def test_a_configuration_is_taken_over_and_options_win(kernel, jupyter, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text(
        "[limits]\nmemory = '1500M'\nprocesses = 70\n[jail]\nhostname = 'k'\n[jail.seccomp]\nrefuse = ['ptrace']\n"
        "[[jail.seccomp.rule]]\nname = 'socket'\naction = 'EACCES'\ntests = [[0, 2, 255]]\n[[jail.mounts]]\ndst = '/scratch'\nsize = '4M'\n"
    )
    assert (
        kernel("install", "--name", "c", "--prefix", str(jupyter), "--config", str(file), "--processes", "71")[0] == 0
    )
    config = document(jupyter, "c")["metadata"]["kernel_provisioner"]["config"]
    assert config["limits"] == {"memory": "1500M", "processes": 71}
    jail, limits = kernels.settings(config["jail"], config["limits"])
    assert (jail.hostname, jail.seccomp.refuse, jail.seccomp.rules[0].tests) == ("k", ("ptrace",), ((0, 2, 255),))
    assert (jail.mounts[0].dst, jail.mounts[0].size, limits.cpu_time) == ("/scratch", 4 << 20, 3600)
    assert kernel("remove", "c")[0] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["install", "--name", "a b"], "name='a b': Invalid kernel name"),
        (["install", "--name", "python3"], "another kernel has this name, in "),
        (["install", "--memory", "8M"], "ipykernel needs more even to start: 128M and 10s are enough"),
        (["install", "--memory", "8Q"], "--memory='8Q': sizes are bytes"),
        (["install", "--python", "/usr/bin/python3"], "/usr/bin/python3 -m pip install ipykernel"),
        (["install", "--user", "--sys-prefix"], "not allowed with"),
        (["install", "--memry", "1G"], "did you mean --memory?"),
        (["remove", "python3"], "not a jailed one, in "),
        (["remove", "nope"], "no kernel of this name; jailed kernels here: "),
        (["remov"], "did you mean remove?"),
        ([], "name an action: install, list, remove"),
    ],
)
def test_what_cannot_be_is_told_with_what_can(kernel, words, why):
    code, out, err = kernel(*words)
    assert (code, out) == (125, "")
    assert why in err


def test_another_kernels_name_is_taken_when_that_is_said(kernel, jupyter):
    place = jupyter / "share/jupyter/kernels/other"
    place.mkdir()
    (place / "kernel.json").write_text(json.dumps({"argv": ["x"], "display_name": "x", "language": "python"}))
    assert kernel("install", "--name", "other", "--prefix", str(jupyter))[0] == 125
    assert kernel("install", "--name", "other", "--prefix", str(jupyter), "--replace")[0] == 0
    assert [one.name for one in jupyter_kernels.installed() if one.name == "other"] == ["other"]
    assert jupyter_kernels.remove("other") == str(place)


def test_without_jupyter_it_says_what_to_install(jupyter):
    code = "import sys; sys.modules['jupyter_client'] = None; from pyjail import cli; sys.exit(cli.main(['kernel', 'list']))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 125
    assert "there is no jupyter_client in the environment of pyjail: " in out.stderr
    assert out.stderr.splitlines()[0].endswith("python -m pip install 'pyjail-linux[jupyter]'")


def test_what_the_help_says_of_limits_is_what_a_kernel_has(capsys):
    assert cli.main(["--version"]) == 0
    with pytest.raises(SystemExit):
        cli.main(["kernel", "install", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert [v for v in kernels.DEFAULTS.values() if f"default {v}" not in said] == []
