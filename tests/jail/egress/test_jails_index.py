"""Package managers in a jail, from the index that this machine reaches, and from no other host."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import pyjail
from pyjail import Egress, Jail, Limits, Mount
from tests.conftest import SLOW

LIMITS = Limits(wall_time=120 * SLOW, cpu_time=60 * SLOW, memory="512M", disk="128M")
pytestmark = pytest.mark.timeout(600)
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def asked(*command: str) -> str:
    """What a tool says of its own configuration; "" where there is none."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    except OSError:
        return ""


def rules(*hosts: str, port: int = 443) -> list[str]:
    """These hosts; and where this network has them at addresses that are not public, these."""
    found = [host if port == 443 else f"{host}:{port}" for host in hosts]
    for host in hosts:
        for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            address = ipaddress.ip_address(str(row[4][0]))
            if not address.is_global:
                found.append(f"{address}/{address.max_prefixlen}:{port}")
    return found


def reached(url: str) -> str:
    """The hosts' page; skips where there is none."""
    bundle = next((path for path in (os.environ.get("PIP_CERT", ""), *BUNDLES) if path and os.path.exists(path)), None)
    try:
        with urllib.request.urlopen(url, timeout=20, context=ssl.create_default_context(cafile=bundle)) as page:
            return str(page.read(1 << 20).decode())
    except (OSError, ValueError) as e:
        pytest.skip(f"no index: {url} is not reached from here ({e})")


def certificates() -> tuple[Mount, ...]:
    found = next((path for path in BUNDLES if os.path.exists(path)), None)
    if found is None:
        pytest.skip("no bundle of certificates is installed: apt-get install ca-certificates")
    return (Mount.bind(os.path.realpath(found), "/opt/ca.crt"),)


@pytest.fixture(scope="module")
def index() -> str:
    told = asked(sys.executable, "-m", "pip", "config", "get", "global.index-url")
    own = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    found = os.environ.get("PIP_INDEX_URL") or told or asked(sys.executable, "-c", own)
    if not found.startswith("https://"):
        pytest.skip("no index: pip is missing, or has none that is spoken to by https")
    return found


def pip(index: str, *rule: str, what: str = "download") -> pyjail.Result[str]:
    where = Path(pytest.importorskip("pip").__file__).parent
    shown = (Mount.bind(str(where), "/opt/pip/pip"), *certificates())
    target = ["-d", "/tmp/out"] if what == "download" else ["--target", "/tmp/out"]
    command = [sys.executable, "-m", "pip", what, "--isolated", "--no-cache-dir", "--disable-pip-version-check", "--no-deps", "--retries", "1", "--cert", "/opt/ca.crt",
               "--index-url", index, *target, "six"]  # fmt: skip
    jail = Jail(network=Egress(rule), mounts=shown)
    return pyjail.run(command, LIMITS, jail=jail, env={"PYTHONPATH": "/opt/pip", "HOME": "/tmp"}, text=True)


@pytest.mark.parametrize("what", ["download", "install"])
def test_pip_takes_a_package_from_its_index_alone(index, what):
    page = reached(f"{index.rstrip('/')}/six/")
    files = {urlsplit(url).hostname for url in re.findall(r'href="(https://[^"]+)"', page)}
    hosts = sorted({str(urlsplit(index).hostname), *[host for host in files if host]})
    r = pip(index, *rules(*hosts), what=what)
    assert r.ok, (r, r.stdout, r.stderr)
    assert "Successfully installed six" in r.stdout or "Successfully downloaded six" in r.stdout
    assert r.egress is not None
    assert {row.host for row in r.egress.rows} <= set(hosts)
    assert all(row.allowed for row in r.egress.rows)
    assert sum(row.bytes_in for row in r.egress.rows) > 10000


def test_pip_is_refused_for_any_other_host_and_told_by_which_rules(index):
    r = pip(index, "allowed.test")
    assert r.exit_code == 1
    host = str(urlsplit(index).hostname)
    assert r.egress is not None and r.egress.rows
    assert {(row.host, row.allowed, row.bytes_in) for row in r.egress.rows} == {(host, False, 0)}
    assert "no rule names it (rules: allowed.test)" in r.egress.rows[0].why
    assert "Could not find a version" in r.stdout + r.stderr


def test_npm_takes_a_package_from_its_registry_alone():
    url = asked("npm", "config", "get", "registry")
    if not url.startswith("https://"):
        pytest.skip("npm is missing: apt-get install npm")
    reached(f"{url.rstrip('/')}/isarray")
    host = str(urlsplit(url).hostname)
    command = ["npm", "view", "--registry", url, "--cafile", "/opt/ca.crt", "--fetch-retries", "0", "isarray", "name"]
    env = {"HOME": "/tmp", "npm_config_cache": "/tmp/npm"}
    limits = Limits(wall_time=120 * SLOW, cpu_time=60 * SLOW, memory="1G", disk="128M", address_space=None)
    jail = Jail(network=Egress(rules(host)), mounts=certificates())
    r = pyjail.run(command, limits, jail=jail, env=env, text=True)
    assert r.ok and r.stdout == "isarray\n", (r, r.stdout, r.stderr)
    assert r.egress is not None and {(row.host, row.allowed) for row in r.egress.rows} == {(host, True)}
    refused = pyjail.run(command, limits, jail=Jail(network=Egress(["allowed.test"]), mounts=certificates()), env=env)
    assert not refused.ok and refused.egress is not None
    assert {(row.host, row.allowed) for row in refused.egress.rows} == {(host, False)}
