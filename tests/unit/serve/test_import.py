"""Configurations of other services: each name of theirs is taken, told not to be used, or refused."""

from __future__ import annotations

import dataclasses
import json
import tomllib

import pytest

from pyjail import Limits, SpecError, cli
from pyjail.serve import imports, imports_of, settings

BOXER = {
    "home": "/srv/boxer", "runsc_path": "/usr/bin/runsc", "platform": "systrap", "listen_addr": ":8080",
    "ignore_cgroups": False, "output_limit_bytes": 10485760, "upload_limit_bytes": 10485760,
    "dns_servers": ["8.8.8.8", "8.8.4.4"],
    "defaults": {"cpu_cores": 1.0, "memory_mb": 256, "wall_clock_secs": 30, "pids_limit": 64, "nofile": 256},
}  # fmt: skip
SECURE_SANDBOX = {
    "RATE_LIMIT": "10", "WINDOW_SECONDS": "60", "EXECUTION_TIMEOUT": "3", "MEMORY_LIMIT": "100m", "CPU_LIMIT": "1",
    "PIDS_LIMIT": "64", "MAX_CONCURRENT": "2", "MAX_CODE_SIZE": "65536",
}  # fmt: skip
CODEBOX = {
    "ENV": "production", "LOG_LEVEL": "INFO", "REQUEST_ID_LENGTH": "8", "TIMEOUT": "0.2", "NSJAIL_PATH": "/bin/nsjail",
    "NSJAIL_CFG": "/nsjail.cfg",
}  # fmt: skip


@pytest.fixture
def boxer(tmp_path):
    """What comes of a config.json."""

    def imported(given):
        path = tmp_path / "config.json"
        path.write_text(given if isinstance(given, str) else json.dumps(given))
        return imports_of.file("boxer", str(path))

    return imported


def became(found, what):
    return {row.old for row in found.rows if row.became == what}


def test_every_name_of_boxer_is_one_of_three(boxer):
    found = boxer(BOXER)
    assert not found.refused
    assert became(found, imports.UNUSED) == {"runsc_path", "platform", "ignore_cgroups", "dns_servers"}
    assert tomllib.loads(imports.page(found)) == {
        "serve": {"state": "/srv/boxer", "port": 8080},
        "faces": {"boxer": {
            "output": 10485760, "upload": 10485760,
            "limits": {"cpus": 1.0, "memory": 256 << 20, "wall_time": 30.0, "processes": 64, "open_files": 256},
        }},
    }  # fmt: skip


def test_limits_that_would_not_be_enforced_are_refused_with_the_reason(boxer):
    (row,) = boxer({**BOXER, "ignore_cgroups": True}).refused
    assert row.old == "ignore_cgroups"
    assert "accepted and not enforced" in row.said


def test_every_address_is_not_what_one_gets_by_an_import(boxer):
    assert boxer({"listen_addr": ":8080"}).values == {"serve.port": 8080}
    assert boxer({"listen_addr": "0.0.0.0:8080"}).values == {"serve.port": 8080}
    assert boxer({"listen_addr": "10.0.0.1:80"}).values == {"serve.address": "10.0.0.1", "serve.port": 80}
    assert boxer({"listen_addr": "[::1]:80"}).values == {"serve.address": "::1", "serve.port": 80}
    assert boxer({"listen_addr": "8080"}).refused


def test_what_boxer_does_not_know_is_told_with_the_nearest_name(boxer):
    with pytest.raises(SpecError, match="did you mean 'listen_addr'"):
        boxer({"listen_adr": ":1"})
    with pytest.raises(SpecError, match=r"did you mean 'defaults\.memory_mb'"):
        boxer({"defaults": {"memory_mib": 1}})


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100000])
def test_what_is_no_object_of_json_is_told(boxer, text):
    with pytest.raises(SpecError, match="JSON"):
        boxer(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory_mb", "x"), ("memory_mb", True), ("cpu_cores", 0), ("cpu_cores", -1), ("wall_clock_secs", 1e999),
     ("pids_limit", 1.5), ("nofile", [])],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused(boxer, name, value):
    (row,) = boxer({"defaults": {name: value}}).refused
    assert row.old == f"defaults.{name}"


def test_a_path_that_is_no_text_is_refused_and_can_be_shown(boxer):
    found = boxer('{"home": "\\ud800"}')
    assert found.refused
    assert imports.table(found).isascii()


def test_null_is_the_default(boxer):
    assert boxer({"home": None}).values == {}


def test_secure_sandbox():
    found = imports_of.environment("secure-sandbox", {**SECURE_SANDBOX, "PATH": "/bin"})
    assert len(found.rows) == len(SECURE_SANDBOX) and became(found, imports.TAKEN) == {*SECURE_SANDBOX}
    assert tomllib.loads(imports.page(found))["faces"]["secure-sandbox"] == {
        "rate": 10, "window": 60.0, "concurrent": 2, "code": 65536,
        "limits": {"wall_time": 3.0, "memory": 100 << 20, "cpus": 1.0, "processes": 64},
    }  # fmt: skip


@pytest.mark.parametrize(("text", "size"), [("100m", 100 << 20), ("1G", 1 << 30), ("64k", 65536), ("7", 7), ("7b", 7)])
def test_memory_is_typed_as_docker_takes_it(text, size):
    found = imports_of.environment("secure-sandbox", {"MEMORY_LIMIT": text})
    assert found.values == {"faces.secure-sandbox.limits.memory": size}


def test_codebox():
    found = imports_of.environment("codebox", CODEBOX)
    assert found.values == {"faces.codebox.timeout": 0.2}
    assert became(found, imports.UNUSED) == {*CODEBOX} - {"TIMEOUT"}


def test_piston():
    given = {
        "PISTON_BIND_ADDRESS": "0.0.0.0:2000", "PISTON_DISABLE_NETWORKING": "true", "PISTON_RUN_TIMEOUT": "3000",
        "PISTON_RUN_MEMORY_LIMIT": "-1", "PISTON_MAX_CONCURRENT_JOBS": "64", "PISTON_COMPILE_TIMEOUT": "10000",
    }  # fmt: skip
    found = imports_of.environment("piston", given)
    assert found.values == {
        "serve.port": 2000, "faces.piston.limits.wall_time": 3.0, "faces.piston.limits.memory": "none",
        "serve.admission.concurrent": 64, "faces.piston.compile_limits.wall_time": 10.0,
    }  # fmt: skip
    assert imports_of.environment("piston", {"PISTON_DISABLE_NETWORKING": "false"}).refused


def test_judge0():
    given = {
        "MEMORY_LIMIT": "128000", "MAX_MEMORY_LIMIT": "512000", "MAX_QUEUE_SIZE": "100", "AUTHN_TOKEN": "hunter2",
        "CPU_TIME_LIMIT": "5", "REDIS_PASSWORD": "hunter3", "ALLOW_ORIGIN": "https://a.example https://b.example",
    }  # fmt: skip
    found = imports_of.environment("judge0", given)
    page = imports.page(found)
    assert "hunter" not in page
    loaded = tomllib.loads(page)
    assert loaded["faces"]["judge0"]["limits"] == {"memory": 128000 << 10, "cpu_time": 5.0}
    assert loaded["serve"]["maxima"] == {"memory": 512000 << 10}
    assert loaded["serve"]["edge"]["origins"] == ["https://a.example", "https://b.example"]
    assert len(loaded["serve"]["tokens"][0]["sha256"]) == 64


@pytest.mark.parametrize("name", ["ENABLE_CALLBACKS", "ALLOW_ENABLE_NETWORK", "ENABLE_NETWORK"])
def test_what_would_make_the_service_or_programs_connect_is_refused(name):
    assert imports_of.environment("judge0", {name: "true"}).refused
    assert not imports_of.environment("judge0", {name: "false"}).refused


def test_what_judge0_turns_off_is_off_and_what_is_unpacked_is_no_more_than_it_says():
    given = {"ENABLE_SUBMISSION_DELETE": "true", "ENABLE_ADDITIONAL_FILES": "false", "ENABLE_COMPILER_OPTIONS": "false"}
    loaded = tomllib.loads(imports.page(imports_of.environment("judge0", given)))
    assert loaded["faces"]["judge0"] == {"delete": True, "additional_files": False, "compiler_options": False}
    assert imports_of.environment("judge0", {"MAX_EXTRACT_SIZE": "1024"}).refused
    assert not imports_of.environment("judge0", {"MAX_EXTRACT_SIZE": "10240"}).refused


def test_any_origin_is_refused():
    assert imports_of.environment("judge0", {"ALLOW_ORIGIN": "*"}).refused


def test_nobody_elses_variables_are_read():
    assert imports_of.environment("codebox", {"HOME": "/", "PYJAIL_SERVE_PORT": "1"}).rows == []


@pytest.mark.parametrize("service", imports_of.ENVIRONMENTS)
def test_limits_have_names_that_there_are(service):
    rules = imports_of.variables(service)
    names = [name for name, rule in rules.items() if not rule.unused]
    found = imports_of.environment(service, {name: "7" if name != "ALLOW_ORIGIN" else "" for name in names})
    limits = {field.name for field in dataclasses.fields(Limits)}
    for name in found.values:
        table, _, key = name.rpartition(".")
        if table.endswith(("limits", "maxima")):
            assert key in limits, name


def test_what_comes_of_boxer_is_a_configuration(boxer, tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text(imports.page(boxer(BOXER)))
    config = settings.load(str(path), {}, {}).config
    assert (config.port, config.address, config.state) == (8080, "127.0.0.1", "/srv/boxer")
    assert config.faces["boxer"]["limits"]["memory"] == 256 << 20


def test_the_command_prints_what_can_be_a_file_and_nothing_but_why_when_it_cannot(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(BOXER))
    assert cli.main(["serve", "--import", "boxer", str(path)]) == 0
    said = capsys.readouterr()
    assert tomllib.loads(said.out)["serve"]["port"] == 8080 and said.err == ""
    path.write_text(json.dumps({**BOXER, "ignore_cgroups": True}))
    assert cli.main(["serve", "--import", "boxer", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "refused: without cgroups" in said.err
    assert cli.main(["serve", "--import", "bxoer", str(path)]) == 125
    assert "known are boxer" in capsys.readouterr().err


def test_the_command_reads_the_variables_of_a_service(monkeypatch, capsys):
    for name, value in SECURE_SANDBOX.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["serve", "--compat-env", "secure-sandbox"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["faces"]["secure-sandbox"]["rate"] == 10


PISTON = {
    "PISTON_OUTPUT_MAX_SIZE": "1024", "PISTON_MAX_PROCESS_COUNT": "64", "PISTON_MAX_OPEN_FILES": "2048",
    "PISTON_MAX_FILE_SIZE": "10000000", "PISTON_COMPILE_TIMEOUT": "10000", "PISTON_RUN_TIMEOUT": "3000",
    "PISTON_COMPILE_CPU_TIME": "10000", "PISTON_RUN_CPU_TIME": "3000", "PISTON_MAX_CONCURRENT_JOBS": "64",
}  # fmt: skip
JUDGE0 = {
    "CPU_TIME_LIMIT": "5", "MAX_CPU_TIME_LIMIT": "15", "WALL_TIME_LIMIT": "10", "MAX_WALL_TIME_LIMIT": "20",
    "MEMORY_LIMIT": "128000", "MAX_MEMORY_LIMIT": "512000", "STACK_LIMIT": "64000", "MAX_STACK_LIMIT": "128000",
    "MAX_PROCESSES_AND_OR_THREADS": "60", "MAX_MAX_PROCESSES_AND_OR_THREADS": "120", "MAX_FILE_SIZE": "1024",
    "MAX_MAX_FILE_SIZE": "4096", "MAX_QUEUE_SIZE": "100", "COUNT": "4", "AUTHN_TOKEN": "hunter2",
}  # fmt: skip


def test_what_is_usual_there_and_more_than_the_maximum_here_raises_that():
    found = imports_of.environment("piston", PISTON)
    assert found.values["serve.maxima.open_files"] == 2048
    assert "serve.maxima.open_files = 2048" in imports.table(found)
    assert "serve.maxima.processes" not in found.values


@pytest.mark.parametrize(
    ("service", "given"),
    [("secure-sandbox", SECURE_SANDBOX), ("codebox", CODEBOX), ("piston", PISTON), ("judge0", JUDGE0)],
)
def test_what_comes_of_the_defaults_of_each_is_a_configuration(service, given, tmp_path):
    found = imports_of.environment(service, given)
    assert not found.refused
    path = tmp_path / "serve.toml"
    path.write_text(imports.page(found))
    assert settings.load(str(path), {}, {}).config.faces.get(service) or service == "judge0"
