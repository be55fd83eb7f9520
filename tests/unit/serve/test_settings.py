"""The configuration: a file, the environment, options; what is wrong in it, and what is shown of it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tomllib
from pathlib import Path

import pytest

import pyjail
from pyjail import Limits, SpecError
from pyjail.serve import Config, effective, face_settings, faced, settings, tokens
from pyjail.serve.config import DEFAULTS, MAXIMA

DIGEST = "ab" * 32
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def load(tmp_path):
    """Of a file's text, variables and options."""

    def loaded(text="", environ=(), options=()):
        path = tmp_path / "serve.toml"
        path.write_text(text)
        return settings.load(str(path), dict(environ), dict(options))

    return loaded


def test_without_anything_it_is_the_default():
    assert settings.load(None, {}, {}) == settings.Settings(Config(), {})


def test_options_win_over_variables_and_variables_over_the_file(load):
    text = "[serve]\nport = 1\n[serve.admission]\nqueue = 1\nconcurrent = 1"
    found = load(
        text,
        {"PYJAIL_SERVE_PORT": "2", "PYJAIL_SERVE_ADMISSION_QUEUE": "2", "HOME": "/"},
        {"serve.port": ("--port", "3")},
    )
    assert (found.config.port, found.config.admission.queue, found.config.admission.concurrent) == (3, 2, 1)
    assert found.origins["serve.port"] == "--port"
    assert found.origins["serve.admission.queue"] == "$PYJAIL_SERVE_ADMISSION_QUEUE"
    assert found.origins["serve.admission.concurrent"].endswith("serve.toml")


def test_any_key_is_an_option_too(load):
    given = settings.of_options(
        ["serve.places.share=2", "serve.terminals.idle=1m", "limits.memory=64M", "serve.open=yes"]
    )
    found = load("[serve.places]\nshare = 3", {"PYJAIL_SERVE_PLACES_SHARE": "4"}, given)
    assert (found.config.places.share, found.config.terminals.idle, found.config.open) == (2, 60, True)
    assert found.config.limits.memory == 64 << 20
    assert found.origins["serve.places.share"] == "--set serve.places.share"
    assert "# --set serve.places.share" in effective.page(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("serve.places.shar=1", "did you mean 'serve.places.share'?"), ("serve.places.share", "KEY=VALUE is needed"),
        ("serve.tokens=x", "--set serve.tokens='x': there is no such key"), ("serve.prot=1", "did you mean 'serve.port'?"), ("serve.places.share=x", "--set serve.places.share='x'"),
        ("serve.places.share=0", "at least 1 is needed"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_option_is_said_by_its_name(load, text, said):
    with pytest.raises(SpecError) as raised:
        load("", {}, settings.of_options([text]))
    assert said in str(raised.value)


def test_the_file_may_be_named_by_a_variable(tmp_path):
    (tmp_path / "a.toml").write_text("[serve]\nport = 7")
    found = settings.load(None, {"PYJAIL_SERVE_CONFIG": str(tmp_path / "a.toml")}, {})
    assert found.config.port == 7


def test_every_field_has_a_variable_and_takes_its_own_default_as_text(load):
    """So that nothing can be configured by a file alone."""
    config = Config()
    for variable, name in settings.variables().items():
        table, _, key = name.rpartition(".")
        if name == "serve.tokens":
            continue
        part = {"serve": config, "limits": config.limits}.get(table) or getattr(config, table.removeprefix("serve."))
        value = getattr(part, key)
        text = ",".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)
        if text == "none" and key not in {f.name for f in dataclasses.fields(Limits)}:
            continue
        found = load("", {variable: text})
        assert found.origins == {name: f"${variable}"}
        if not {"cpu_time"} & {key}:  # without a wall time it follows
            assert found.config == config, variable


def test_every_table_of_the_config_can_be_written(load):
    names = {*settings.tables(), "serve.maxima"}
    fields = {f.name for f in dataclasses.fields(Config)}
    assert {"serve.admission", "serve.edge", "serve.files", "serve.jobs"} <= names
    assert {n.removeprefix("serve.") for n in names} - {"serve"} <= fields


def test_sizes_and_times_are_typed_as_elsewhere(load):
    found = load(
        '[serve]\ndrain = "1m"\n[serve.edge]\nbody = "1M"\nstall = "500ms"\n[serve.maxima]\nmemory = "2G"'
    ).config
    assert (found.drain, found.edge.body, found.edge.stall, found.maxima.memory) == (60, 1 << 20, 0.5, 2 << 30)


def test_limits_are_those_of_the_service_with_what_the_file_changes(load):
    found = load('[limits]\nmemory = "64M"').config
    assert found.limits == dataclasses.replace(DEFAULTS, memory=64 << 20)
    assert found.maxima == MAXIMA
    assert load("[limits]\ncpu_time = 20").config.limits.wall_time == Limits(cpu_time=20).wall_time


def test_what_nobody_gave_follows_a_lower_maximum_and_what_somebody_gave_is_refused(load):
    found = load('[serve.maxima]\nmemory = "64M"\naddress_space = "1G"').config
    assert (found.limits.memory, found.limits.address_space) == (64 << 20, 1 << 30)
    with pytest.raises(SpecError, match=r"limits\.memory"):
        load('[limits]\nmemory = "65M"\n[serve.maxima]\nmemory = "64M"')
    assert load("[limits]\ncpu_time = 60\n[serve.maxima]\nwall_time = 70").config.limits.wall_time == 70


def test_jail_languages_and_faces_are_of_the_same_file(load):
    found = load(
        '[jail]\nhostname = "x"\n[faces.boxer]\n'
        '[languages.awk]\ntitle = "AWK"\nextensions = [".awk"]\nsource = "a.awk"\ntools = { awk = "-W version" }\n'
        'package = "mawk"\nrun = ["awk", "-f", "{source}"]\n'
    )
    assert found.config.jail == pyjail.Jail(hostname="x")
    assert found.config.languages["awk"].title == "AWK" and "python" in found.config.languages
    assert dict(found.config.faces) == {"boxer": {}}


def test_faces_have_sizes_and_times_too(load):
    found = load(
        '[faces.boxer]\noutput = "1M"\n[faces.codebox]\ntimeout = "200ms"\n[faces.codebox.limits]\nmemory = "1M"'
    )
    assert found.config.faces["boxer"] == {"output": 1 << 20}
    assert found.config.faces["codebox"] == {"timeout": 0.2, "limits": {"memory": 1 << 20}}


def test_every_face_may_be_configured_by_the_settings_that_it_has_and_no_others():
    assert {name: {*made.settings} for name, made in faced.FACES.items()} == {
        name: {*kinds} for name, kinds in face_settings.KEYS.items()
    }


def test_the_settings_that_the_page_of_faces_shows_are_some(load):
    page = (ROOT / "docs/faces.md").read_text()
    for block in re.findall(r"```toml\n(.*?)```", page, re.S):
        load(block)


def test_other_commands_read_the_same_file(tmp_path):
    path = tmp_path / "all.toml"
    path.write_text("[serve]\nport = 1\n[faces.boxer]\n[limits]\nprocesses = 3")
    assert pyjail.from_toml(path)[1].processes == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[serv]", "serv={}: there is no such key; did you mean 'serve'?"),
        ("[serve]\npotr = 1", "serve.potr=1: there is no such key; did you mean 'port'?"),
        ("[serve.admision]", "serve.admision={}: there is no such key; did you mean 'admission'?"),
        ("[serve.edge]\nbodi = 1", "serve.edge.bodi=1: there is no such key; did you mean 'body'?"),
        ("[serve.maxima]\nmemroy = 1", "serve.maxima.memroy=1: there is no such key; did you mean 'memory'?"),
        ("[limits]\nmemroy = 1", "limits.memroy=1: there is no such key; did you mean 'memory'?"),
        ("[jail]\nhostnam = 1", "jail.hostnam=1: there is no such key; did you mean 'hostname'?"),
        ("[[serve.tokens]]\nnam = 1", "serve.tokens[1].nam=1: there is no such key; did you mean 'name'?"),
        ("serve = 1", "serve=1: a [serve] table is needed"),
        ("[serve]\nedge = 1", "serve.edge=1: a [serve.edge] table is needed"),
        ("[serve]\nport = 65536", "serve.port=65536: a number from 0 to 65535 is needed"),
        ("[serve]\nport = -1", "serve.port=-1: a number of at least 0 is needed"),
        ("[serve]\nprot = 1", "serve.prot=1: there is no such key; did you mean 'port'?"),
        ('[serve]\nport = "x"', "serve.port='x': a whole number is needed, or a size"),
        ('[serve.edge]\nembed = ["https://a;script-src"]', "serve.edge.embed='https://a;script-src': an origin such as"),
        ('[serve.edge]\norigins = ["https://*.a"]', "serve.edge.origins='https://*.a': an origin such as"),
        ('[serve.edge]\nhosts = ["a;b"]', "serve.edge.hosts='a;b': a name such as"),
        ("[languages.foo]\nrnu = 1", "serve.toml: languages.foo.rnu=1: there is no such key; did you mean 'run'?"),
        ("[serve]\nport = true", "serve.port=True: a number is needed"),
        ("[serve]\nport = 1.5", "serve.port=1.5: a whole number is needed"),
        ("[serve]\ndrain = nan", "serve.drain=nan: a number of at least 0 is needed"),
        ("[serve]\ndrain = inf", "serve.drain=inf: a number of at least 0 is needed"),
        ("[serve]\nopen = 1", "serve.open=1: true or false is needed"),
        ("[serve]\naddress = 1", "serve.address=1: text is needed"),
        ("[serve.admission]\nconcurrent = 0", "serve.admission.concurrent=0: at least 1 is needed"),
        ("[serve.admission]\nconcurrent = 4097", "serve.admission.concurrent=4097: at most 4096 jails"),
        ('[serve.observe]\nmetrics = "9100"', "serve.observe.metrics='9100': ADDRESS:PORT is needed"),
        ('[serve.admission]\nrate = "many"', "serve.admission.rate='many': a rate such as 60/minute is needed"),
        ('[serve.edge]\nhosts = [1]', "serve.edge.hosts=[1]: a list of texts is needed"),
        ('[serve.edge]\norigins = ["example.org"]', "serve.edge.origins='example.org': an origin such as"),
        ('[serve.edge]\nproxies = ["10.0.0.1/8"]', "serve.edge.proxies='10.0.0.1/8': an address or a network is needed"),
        ('[serve]\nroot = "x"', "serve.root='x': seeds, none or a face is needed"),
        ('[serve]\nprecheck = "jail"', "serve.precheck='jail': off, warn or reject is needed"),
        ('[limits]\nmemory = "2G"', "limits.memory=2147483648: serve.maxima.memory is 1073741824, which is less"),
        ('[limits]\nmemory = "none"', "limits.memory=None: serve.maxima.memory"),
        ("[serve]\ntokens = 1", "serve.tokens=1: [[serve.tokens]] tables are needed"),
        ('[[serve.tokens]]\nname = "a"', "serve.tokens[1].sha256=None: is missing"),
        (f'[[serve.tokens]]\nname = "a b"\nsha256 = "{DIGEST}"', "serve.tokens[1].name='a b': 1 to 64 letters"),
        (f'[[serve.tokens]]\nname = "a"\nsha256 = "{DIGEST}"\nrole = "god"', "serve.tokens[1].role='god': one of run"),
        ("[faces.boxr]", "faces.boxr={}: there is no such key; did you mean 'boxer'?"),
        ("[faces.boxer]\noutptu = 1", "faces.boxer.outptu=1: there is no such key; did you mean 'output'?"),
        ("[faces.boxer.limits]\nmemroy = 1", "faces.boxer.limits.memroy=1: there is no such key; did you mean 'memory'?"),
        ('[faces.boxer.limits]\nmemory = "2G"', "faces.boxer.limits.memory=2147483648: serve.maxima.memory is"),
        ('[faces.boxer]\nlimits = 1', "faces.boxer.limits=1: a table of limits is needed"),
        ('[faces.boxer]\nimages = ["a"]', "faces.boxer.images=['a']: a table of texts is needed"),
        ("[faces.codebox]\ntimeout = true", "faces.codebox.timeout=True: a number is needed"),
        ('[faces.go-judge]\nsrc_prefix = ["/"]', "faces.go-judge.src_prefix='/': the path of a directory is needed"),
        ('[faces.go-judge]\nsrc_prefix = ["tests"]', "faces.go-judge.src_prefix='tests': the path of a directory is needed"),
        ('[faces.go-judge]\nsrc_prefix = ["/a/../b"]', "faces.go-judge.src_prefix='/a/../b': the path of a directory is needed"),
        ("[serve.places]\nidel = 1", "serve.places.idel=1: there is no such key; did you mean 'idle'?"),
        ("[serve.places]\nidle = 0", "serve.places.idle=0.0: more than 0 is needed"),
        ("[serve.places]\nidle = 4000", "serve.places.idle=4000.0: serve.places.longest_idle is 3600, which is less"),
        ("[serve.places]\nlifetime = 0", "serve.places.lifetime=0.0: more than 0 is needed"),
        ("[serve.places]\nshare = 0", "serve.places.share=0: at least 1 is needed"),
        ("[serve.places]\nfile = 0", "serve.places.file=0: at least 1 is needed"),
        ("[serve.terminals]\nidle = 0", "serve.terminals.idle=0.0: more than 0 is needed"),
        ("[serve.terminals]\nwindow = 0", "serve.terminals.window=0: at least 1 is needed"),
        ("[serve.terminals]\nunread = -1", "serve.terminals.unread=-1: a number of at least 0 is needed"),
        ("[serve", "is not TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_its_name(load, text, said):
    with pytest.raises(SpecError) as raised:
        load(text)
    assert said in str(raised.value)
    assert str(raised.value).count("serve.toml") == 1


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PYJAIL_SERVE_PORT", "x", "$PYJAIL_SERVE_PORT='x'"),
        ("PYJAIL_SERVE_LIMITS_MEMORY", "x", "$PYJAIL_SERVE_LIMITS_MEMORY='x'"),
        ("PYJAIL_SERVE_OPEN", "maybe", "$PYJAIL_SERVE_OPEN='maybe': true or false is needed"),
        ("PYJAIL_SERVE_DRIAN", "1", "did you mean '$PYJAIL_SERVE_DRAIN'?"),
        ("PYJAIL_SERVE_TOKENS", "secret", "$PYJAIL_SERVE_TOKENS='...': NAME:ROLE:SHA256 is needed"),
    ],
)
def test_what_is_wrong_in_a_variable_is_said_by_its_name_without_the_file(load, variable, value, said):
    with pytest.raises(SpecError) as raised:
        load("[serve]\nport = 1", {variable: value})
    assert said in str(raised.value)
    assert "serve.toml" not in str(raised.value)


def test_the_value_of_an_unknown_variable_is_not_shown(load):
    with pytest.raises(SpecError) as raised:
        load("", {"PYJAIL_SERVE_TOKEN": "hunter2"})
    assert "hunter2" not in str(raised.value)


def test_a_secret_where_its_digest_belongs_is_not_shown(load):
    with pytest.raises(SpecError) as raised:
        load('[[serve.tokens]]\nname = "a"\nsha256 = "hunter2"')
    assert "hunter2" not in str(raised.value)


def test_a_new_token_is_random_and_its_table_has_only_its_digest(load):
    (secret, table), (other, _) = tokens.new("ci", "read"), tokens.new("ci", "read")
    assert secret != other and len(secret) == 43 and secret not in table
    (token,) = load(table).config.tokens
    assert (token.name, token.role) == ("ci", "read")
    assert token.sha256 == hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "expires"),
    [("2027-01-01", 1798761600), ("2027-01-01T00:00:00Z", 1798761600), ("1798761600", 1798761600)],
)
def test_a_token_may_expire_at_a_date(load, text, expires):
    (token,) = load(f'[[serve.tokens]]\nname = "a"\nsha256 = "{DIGEST}"\nexpires = {text}').config.tokens
    assert token.expires == expires


def test_tokens_of_a_variable_replace_those_of_the_file(load):
    table = f'[[serve.tokens]]\nname = "a"\nsha256 = "{DIGEST}"'
    found = load(table, {"PYJAIL_SERVE_TOKENS": f"b:run:{DIGEST},c:metrics:{'cd' * 32}"})
    assert [(token.name, token.role) for token in found.config.tokens] == [("b", "run"), ("c", "metrics")]


def test_an_empty_variable_takes_no_token_away(load):
    table = f'[[serve.tokens]]\nname = "a"\nsha256 = "{DIGEST}"'
    with pytest.raises(SpecError, match="is empty"):
        load(table, {"PYJAIL_SERVE_TOKENS": " "})


def test_two_tokens_with_the_same_secret_are_refused(load):
    with pytest.raises(SpecError, match="two tokens have the same secret"):
        load("", {"PYJAIL_SERVE_TOKENS": f"b:run:{DIGEST} c:admin:{DIGEST}"})


def test_what_is_shown_is_toml_with_origins_and_without_secrets(load):
    text = (
        f'[[serve.tokens]]\nname = "a"\nsha256 = "{DIGEST}"\n[serve.jobs]\npostgres = "postgresql://u:hunter2@h/db"\n'
    )
    found = load(text, {"PYJAIL_SERVE_DRAIN": "5"}, {"serve.port": ("--port", "0")})
    page = effective.page(found)
    assert DIGEST not in page and "hunter2" not in page
    shown = tomllib.loads(page)
    assert shown["serve"]["port"] == 0 and shown["serve"]["drain"] == 5
    assert shown["serve"]["jobs"]["postgres"] == "postgresql://u:********@h/db"
    lines = page.splitlines()
    assert "# --port" in next(line for line in lines if line.startswith("port = 0"))
    assert "# $PYJAIL_SERVE_DRAIN" in next(line for line in lines if line.startswith("drain = 5"))
    assert "serve.toml" in next(line for line in lines if line.startswith("postgres"))
    assert "# default" in next(line for line in lines if line.startswith("state"))


def test_what_is_shown_can_be_used_as_a_file(load):
    found = load(effective.page(load("", {"PYJAIL_SERVE_EDGE_HOSTS": "a.example,b.example"})))
    assert found.config == dataclasses.replace(
        Config(), edge=dataclasses.replace(Config().edge, hosts=("a.example", "b.example"))
    )


def test_the_page_shows_the_example_and_names_every_table_and_key(load):
    page, example = (ROOT / "docs/serve.md").read_text(), (ROOT / "examples/config/serve.toml").read_text()
    assert f"```toml\n{example}```" in page
    load(example)
    for table, fields in settings.tables().items():
        assert f"`[{table}]`" in page, table
        assert [key for key in fields if f"`{key}`" not in page] == []


def test_a_proxy_may_be_on_this_machine(load):
    assert load('[serve.edge]\nproxies = ["local", "::1", "10.0.0.0/8"]').config.edge.proxies[0] == "local"
