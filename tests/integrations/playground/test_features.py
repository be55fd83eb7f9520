"""What the page does, each by a program that really runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.integrations.playground.conftest import PATIENCE


def test_a_program_runs_and_its_verdict_is_told_in_words(visit):
    v = visit().go().write("print('hello', 6 * 7)").run()
    assert re.fullmatch(r"Ended well, with exit code 0, after [\d.]+ m?s\.", v.verdict)
    assert v.output.strip() == "hello 42"
    v.write("import sys; sys.exit(3)").run()
    assert v.verdict.startswith("Ended with exit code 3")
    v.write("import os; os.kill(os.getpid(), 11)").run()
    assert v.verdict.startswith("Killed by signal 11 (SIGSEGV)")


def test_output_is_seen_while_the_program_runs(visit):
    v = visit().go().write("import time\nprint('first')\ntime.sleep(600)")
    v.page.click("#run")
    expect(v.page.locator("#output")).to_contain_text("first")
    expect(v.page.locator("#verdict")).to_have_text("Running…")
    assert v.page.is_disabled("#run") and v.page.is_enabled("#stop")
    expect(v.page.locator("[data-gauge=wall_time] span")).to_contain_text(" of ")
    v.page.click("#stop")
    v.ended()


def test_stop_says_when_the_jail_is_gone(visit, service):
    v = visit().go().write("import time\nprint('up', flush=True)\ntime.sleep(600)")
    v.page.click("#run")
    expect(v.page.locator("#output")).to_contain_text("up")
    assert service.programs()
    v.page.click("#stop")
    v.ended()
    assert v.verdict == "Stopped by you."
    expect(v.page.locator("#gone")).to_have_text(re.compile(r"^Jail gone in [\d.]+ m?s\.$"))
    assert not [program for program in service.programs() if b"version" not in program]  # tools are asked for theirs


def test_a_reload_takes_the_run_up_again(visit):
    v = (
        visit()
        .go()
        .write(
            "import time\nprint('before', flush=True)\nwhile True:\n    time.sleep(0.05)\n    print('.', end='', flush=True)"
        )
    )
    v.page.click("#run")
    expect(v.page.locator("#output")).to_contain_text("before")
    v.page.reload()
    v.ready()
    expect(v.page.locator("#output")).to_contain_text("before")
    expect(v.page.locator("#verdict")).to_have_text("Running…")
    assert "time.sleep" in v.page.inner_text(".cm-content")  # the program, too
    v.page.click("#stop")
    v.ended()
    assert v.verdict == "Stopped by you."


def test_a_run_that_ended_meanwhile_is_shown_after_a_reload(visit):
    v = visit().go().write("import time\ntime.sleep(1.5)\nprint('after all')")
    v.page.click("#run")
    expect(v.page.locator("#verdict")).to_have_text("Running…")
    v.page.goto("about:blank")
    v.page.wait_for_timeout(2500)
    v.go().ended()
    assert "after all" in v.output and v.verdict.startswith("Ended well")


def test_a_connection_that_breaks_is_taken_up_where_it_broke(visit):
    v = visit().go().write("import time\nfor n in range(40):\n    print(n, flush=True)\n    time.sleep(0.1)")
    v.allowed.append("ERR_INTERNET_DISCONNECTED|Failed to load|ERR_NETWORK")
    v.page.click("#run")
    expect(v.page.locator("#output")).to_contain_text("5")
    v.page.context.set_offline(True)
    v.page.wait_for_timeout(500)
    v.page.context.set_offline(False)
    v.ended()
    assert v.output.split() == [str(n) for n in range(40)]


def test_both_streams_are_told_apart_by_more_than_colour(visit):
    v = visit().go().write("import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr)").run()
    expect(v.page.locator("#output .e")).to_have_text("err")
    assert v.page.locator("#output .e").evaluate("e => getComputedStyle(e).borderLeftStyle") == "solid"


def test_colours_are_classes_and_a_progress_bar_is_one_line(visit):
    v = visit().go()
    v.page.select_option("#example", "colours")
    v.run()
    assert v.page.locator("#output .fg1").first.inner_text().strip() == "red"
    assert v.page.locator("#output .bold").count() >= 8
    v.page.select_option("#example", "progress")
    v.run()
    assert v.output.split("\n")[:2] == ["[" + 30 * "#" + "] 100 %", "done"]


def test_colours_reach_over_lines_and_chunks(visit):
    v = visit().go()
    v.write(
        "import sys, time\nfor p in ('\\x1b[3', '1mred', '\\nstill\\n', '\\x1b[0mplain\\n'):\n    sys.stdout.write(p); sys.stdout.flush(); time.sleep(0.2)"
    ).run()
    assert v.page.locator("#output .fg1").all_inner_texts() == ["red", "still"]
    assert v.output.strip().endswith("plain")


def test_input_arguments_and_files_reach_the_program(visit):
    v = (
        visit()
        .go()
        .write("import sys, helper\nprint(sys.argv[1:], sys.stdin.read(), helper.NAME, open('data.txt').read())")
    )
    page = v.page
    page.fill("#stdin", "typed\n")
    page.fill("#args", 'one \'two words\' "a\\"b"')
    for name, text in (("helper.py", "NAME = 'helped'"), ("data.txt", "data")):
        page.click("#add")
        page.fill("#dialog input", name)
        page.keyboard.press("Enter")
        page.locator(".cm-content").click()
        v.paste(text)
    v.run()
    assert "['one', 'two words', 'a\"b'] typed\n helped data" in v.output, v.output + v.verdict
    page.click("#remove")
    assert page.locator("#files [role=tab]").all_inner_texts() == ["main.py", "helper.py"]


def test_a_compiled_program_has_its_headers_and_its_data(visit):
    v = visit().go()
    v.write(
        '#include <stdio.h>\n#include "n.h"\nint other(void);\nint main(void) {\n'
        '    FILE *f = fopen("data.txt", "r");\n    printf("%d %d %c\\n", N, other(), f ? fgetc(f) : 63);\n}\n',
        "c",
    )
    for name, text in (("n.h", "#define N 7"), ("other.c", "int other(void) { return 8; }"), ("data.txt", "d")):
        v.page.click("#add")
        v.page.fill("#dialog input", name)
        v.page.keyboard.press("Enter")
        v.page.locator(".cm-content").click()
        v.paste(text)
    v.run()
    assert v.output.strip() == "7 8 d", v.output + v.verdict


def test_a_run_that_is_known_no_more_is_said_to_be_so(visit):
    v = visit().go()
    v.allowed.append("status of 404")
    v.page.evaluate(
        "sessionStorage.setItem('pyjail.run', JSON.stringify({id: 'f'.repeat(32), began: 0, limits: {}, expected: ''}))"
    )
    v.page.reload()
    v.ready()
    expect(v.page.locator("#verdict")).to_have_text("The service does not know that run any more.")
    v.write("print(1)").run()
    assert v.output.strip() == "1"


def test_a_name_that_leaves_the_directory_or_deceives_is_refused(visit):
    v = visit().go()
    v.page.click("#add")
    for name in ("../up", "/etc/passwd", "a//b", "main.py", "a\u202etxt.py", "", "."):
        v.page.fill("#dialog input", name)
        v.page.keyboard.press("Enter")
        assert v.page.locator("#dialog [role=status]").inner_text(), name
        assert v.page.is_visible("#dialog")
    v.page.keyboard.press("Escape")
    assert v.page.locator("#files [role=tab]").count() == 1


def test_limits_are_bounded_by_what_the_service_gives(visit):
    v = visit().go().write("kept = []\nwhile True: kept.append(bytearray(4 << 20))")
    v.page.click("#limits summary")
    memory = v.page.locator("#limit-fields [name=memory]")
    assert memory.get_attribute("max") == "1024" and memory.get_attribute("placeholder") == "256"
    memory.fill("4096")
    v.page.click("#run")
    expect(v.page.locator("#notices")).to_contain_text("Memory: at most 1024 MiB")
    memory.fill("48")
    v.run()
    assert v.verdict == "Stopped at 48 MiB of memory."
    assert v.page.locator("#verdict").get_attribute("data-kind") == "limit"


def test_files_come_back_as_downloads(visit):
    v = visit().go()
    v.page.select_option("#example", "files")
    v.run()
    with v.page.expect_download() as waited:
        v.page.click("#collected button")
    assert waited.value.suggested_filename == "squares.csv"
    assert Path(waited.value.path()).read_text().startswith("0,0\n1,1\n2,4\n")


def test_a_compiler_s_words_are_shown(visit):
    v = visit().go()
    v.page.select_option("#example", "compile")
    v.run()
    assert v.verdict.startswith("It did not compile")
    assert "expected" in v.output and "[the compiler]" in v.output


def test_usage_is_plotted_and_the_receipt_is_a_table(visit):
    v = (
        visit()
        .go()
        .write("import time\nx = bytearray(40 << 20)\nfor _ in range(15): time.sleep(0.1); sum(range(10**5))")
        .run()
    )
    assert re.search(r"\d+ MiB of 256 MiB", v.page.inner_text("[data-gauge=memory]"))
    v.tab("usage")
    expect(v.page.locator("#plot canvas")).to_be_visible()
    drawn = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((v, i) => i % 4 === 3 && v).length"
    assert v.page.locator("#plot canvas").evaluate(drawn) > 500
    assert "on the clock" in v.page.inner_text("#usage-text")
    v.tab("receipt")
    row = v.page.locator("#view-receipt tr[data-row=memory]")
    assert "enforced" in row.inner_text() and "memory" in row.inner_text()


def test_the_request_works_as_curl_and_as_python(visit):
    v = visit().go().write("import sys\nprint('it\\'s \"quoted\" $HOME ü \\N{GRINNING FACE}', sys.argv[1])")
    v.page.fill("#args", "'a b'")
    v.run()
    v.tab("request")
    curl, python, told = v.page.locator("#view-request pre").all_inner_texts()
    wanted = 'it\'s "quoted" $HOME ü 😀 a b\n'
    answer = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, timeout=60, check=True).stdout
    assert json.loads(answer)["result"]["stdout"] == {"bytes": wanted}
    env = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    answer = subprocess.run(
        [sys.executable, "-c", python], capture_output=True, text=True, timeout=60, check=True, env=env
    )
    assert answer.stdout == "ok\n" + wanted
    assert json.loads(told)["args"] == ["a b"]


def test_history_is_kept_in_this_browser(visit):
    v = visit().go().write("print('remember me')").run()
    v.page.reload()
    v.ready().write("print('another')")
    v.page.click("#history")
    expect(v.page.locator("#dialog li")).to_have_count(1)
    v.page.click("#dialog li button")
    assert "remember me" in v.page.inner_text(".cm-content")
    assert v.page.evaluate("document.cookie") == ""


def test_a_link_brings_the_program_and_never_runs_it(visit, service):
    v = visit().go().write("print('shared')")
    v.page.fill("#stdin", "input")
    v.page.click("#share")
    link = v.page.input_value("#link")
    assert link.startswith(f"{service.url}/#s=")
    sent = []
    other = visit()
    other.page.on("request", lambda r: sent.append((r.method, r.url)))
    other.go(link.partition("/#")[2] and "#" + link.partition("#")[2])
    assert "shared" in other.page.inner_text(".cm-content") and other.page.input_value("#stdin") == "input"
    expect(other.page.locator("#notices")).to_contain_text("came with a link")
    other.page.wait_for_timeout(500)
    assert all(method == "GET" for method, _ in sent) and not any("s=" in url for _, url in sent)
    assert "#s=" not in other.page.url
    other.run()
    assert other.output.strip() == "shared"


def test_every_language_is_offered_or_says_why_not(visit):
    v = visit().go()
    options = v.page.locator("#language option").evaluate_all(
        "all => all.map(o => [o.value, o.disabled, o.textContent])"
    )
    assert len(options) == 14
    for name, disabled, text in options:
        assert not disabled or "(" in text
        if not disabled:
            v.page.select_option("#language", name)
            assert v.page.locator("#files [role=tab]").count() == 1
    there = [name for name, disabled, _ in options if not disabled]
    assert {"python", "bash", "perl"} <= set(there)
    for name in there:
        v.page.select_option("#language", name)
        v.run()
        assert v.output.startswith("Hello from"), (name, v.output, v.verdict)


ATTACKS = ("fork", "memory", "output", "disk", "sleep", "busy", "shadow", "network", "parent", "symlink", "injection")


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_comes_to_what_stands_beside_it(visit, attack):
    v = visit().go()
    listed = v.page.locator("#example optgroup[label=Attacks] option").evaluate_all("all => all.map(o => o.value)")
    assert tuple(listed) == ATTACKS
    v.page.select_option("#example", attack)
    expect(v.page.locator("#expected")).to_contain_text("Expected:")
    v.run()
    assert "as expected" in v.page.inner_text("#met"), (v.verdict, v.output)
    if attack != "injection":
        assert "Here:" in v.page.inner_text("#expected")
    told = {
        "shadow": "No such file",
        "network": "->",
        "symlink": "links are made",
        "disk": "No space left",
        "parent": "still here",
    }
    assert told.get(attack, "") in v.output
    assert "root:" not in v.output and "connected" not in v.output
    if attack == "output":
        assert "while it reads" in v.page.inner_text("#expected")
    if attack == "symlink":
        assert v.page.locator("#collected button").count() == 0


def test_a_terminal_talks_to_a_jail(visit, service):
    v = visit().go().tab("terminal")
    v.page.click("#view-terminal button:has-text('Start')")
    screen = v.page.locator("#view-terminal .xterm-rows")
    expect(v.page.locator("#view-terminal [role=status]")).to_have_text("running")
    v.page.keyboard.type("echo $((6*7)); printf '\\033[38;2;1;2;3mtrue\\033[0m\\n'\n")
    expect(screen).to_contain_text("42")
    expect(screen).to_contain_text("true")
    v.page.keyboard.type("stty size\n")
    expect(screen).to_contain_text(re.compile(r"\d\d+ \d\d+"))
    v.page.keyboard.type("printf '\\033]0;stolen\\007'; exit\n")
    expect(v.page.locator("#view-terminal [role=status]")).to_contain_text("ended")
    assert v.page.title() == "pyjail playground"
    assert PATIENCE and service.programs() == []
