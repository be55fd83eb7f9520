"""What can be typed at the command line: every text is understood, or is an error of that option."""

from __future__ import annotations

from dataclasses import fields

import pytest

from pyjail import Jail, Limits, SpecError
from pyjail.cli import complaint, options
from pyjail.cli.complaint import UsageError
from tests.examples import examples, given, st

TEXT = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[-+#]?[0-9]{0,20}[.,]?[0-9]{0,3} ?[KMGTkmsuhinx]{0,4}", fullmatch=True),
    st.sampled_from(["none", "None", "0", "inf", "nan", "1e3", "²", "\u0661", "0x10", "1_000", ",", "#", "0,", "0,0"]),
)


def parsed(*args):
    asked = options.parser().parse_args(["run", *args, "--", "true"])
    return options.jail(asked, Jail()), options.limits(asked, Limits())


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@examples(60)
@given(value=TEXT)
def test_a_limit_is_understood_or_told(name, value):
    option = options.option(name)
    try:
        _, limits = parsed(f"{option}={value}")
    except SpecError as e:
        assert e.field == option
        assert str(e).startswith(option) and "\n" not in complaint.text(e)
    except UsageError as e:
        assert option in str(e)
    else:
        kept = getattr(limits, name)
        assert kept is None if value == "none" else kept is not None


@pytest.mark.parametrize("option", ["--bind", "--env", "--hostname", "--rootfs", "--python", "--network", "--seccomp"])
@examples(60)
@given(value=st.text(max_size=12))
def test_what_is_around_it_is_understood_or_told(option, value):
    try:
        parsed(f"{option}={value}")
    except SpecError as e:
        assert e.field == option
    except UsageError as e:
        assert option in str(e)


@examples(200)
@given(args=st.lists(st.text(max_size=8), max_size=6))
def test_any_words_are_a_command_or_an_error_of_usage(args):
    try:
        options.parser().parse_args(args)
    except UsageError as e:
        assert e.command.startswith("pyjail")
    except SystemExit as e:
        assert e.code == 0  # --help, --version


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["serve", "--hots", "x"], "there is no --hots; did you mean --host?"),
        (["serve", "--prot", "1"], "there is no --prot; did you mean --port?"),
        (["serve", "foo"], "there is no 'foo'"), (["--josn", "run"], "there is no --josn"),
        (["serve", "--check", "foo"], "there is no 'foo'"), (["serve", "--adress=x"], "did you mean --address?"),
    ],
)  # fmt: skip
def test_an_option_that_there_is_not_is_told_whatever_stands_behind_it(args, said):
    with pytest.raises(UsageError) as e:
        options.parser().parse_args(args)
    assert said in str(e.value)


def test_where_it_listens_is_an_option_by_the_name_of_its_key_too():
    assert options.parser().parse_args(["serve", "--address", "::1"]).host == "::1"
