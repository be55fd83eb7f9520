"""interact: pipes as data, named pipes, transcripts."""

from __future__ import annotations

import json
import pickle
import tempfile

import pytest

from pyjail import Jail, Limits, Party
from tests.conftest import SLOW
from tests.jail.interact.parties import LIMITS, PAIR, PY, play, sh


def test_two_parties_talk():
    i = play(sh("echo 20; read x; echo got $x >&2"), sh("read n; echo $((n + 1))"))
    assert (i.verdict, i.ok, i.fault, i.deadlock) == ("ok", True, None, {})
    assert list(i.results) == ["a", "b"]
    assert i.results["a"].stderr == b"got 21\n"
    assert [str(f.edge) for f in i.flows] == list(PAIR)
    assert [f.data for f in i.flows] == [b"20\n", b"21\n"]
    assert [(f.written, f.delivered, f.truncated) for f in i.flows] == [(3, 3, False)] * 2
    assert i.flow("b.stdout") is i.flow("a.stdin") is i.flow("b.stdout -> a.stdin") is i.flows[1]
    with pytest.raises(KeyError):
        i.flow("c.stdin")
    (asked, _), (answered, _) = i.flows[0].transcript[0], i.flows[1].transcript[0]
    assert 0 < asked <= answered <= i.wall_time
    assert {h.what for h in i.happenings} == {"ended"}


def test_a_chain_and_what_is_not_joined_is_captured():
    i = play(
        sh("cat; echo log >&2", name="first", input=b"b\na\n"),
        sh("sort", name="second"),
        sh("cat > out; echo done", name="third", collect=["out"]),
        edges=["first.stdout -> second.stdin", ("second.stdout", "third.stdin")],
    )
    assert i.ok
    assert i.results["third"].files == {"out": b"a\nb\n"}
    assert i.results["third"].stdout == b"done\n"
    assert i.results["first"].stderr == b"log\n"
    assert i.results["first"].stdout is None


def test_a_circle_of_five():
    middle = [sh("read x; echo $((x + 1))", name=f"p{n}") for n in range(1, 5)]
    edges = [(f"p{n}.stdout", f"p{(n + 1) % 5}.stdin") for n in range(5)]
    i = play(sh("echo 0; read x; echo $x >&2", name="p0"), *middle, edges=edges)
    assert i.ok and i.results["p0"].stderr == b"4\n"


def test_stderr_can_be_a_source():
    i = play(sh("echo x >&2; echo y"), sh("cat"), edges=[("a.stderr", "b.stdin")])
    assert (i.results["a"].stdout, i.results["b"].stdout) == (b"y\n", b"x\n")


def test_a_manager_talks_to_many_through_named_pipes():
    manager = """if 1:
        import sys
        n = int(sys.argv[1])
        out = [open(f"/pipes/to{i}", "w", buffering=1) for i in range(n)]
        back = [open(f"/pipes/from{i}") for i in range(n)]
        for turn in range(50):
            for i in range(n): print(turn * i, file=out[i])
            for i in range(n): assert int(back[i].readline()) == turn * i + 1
        print(sys.stdin.read())
    """
    n = 5
    copies = [sh("while read x; do echo $((x + 1)); done", name=f"c{i}") for i in range(n)]
    edges = [(f"manager.to{i}", f"c{i}.stdin") for i in range(n)] + [
        (f"c{i}.stdout", f"manager.from{i}") for i in range(n)
    ]
    i = play(Party([*PY, manager, str(n)], LIMITS, name="manager", input=b"score"), *copies, edges=edges)
    assert i.ok, i.results["manager"].stderr
    assert i.results["manager"].stdout == b"score\n"
    assert i.flow("c4.stdin").data == b"".join(b"%d\n" % (4 * t) for t in range(50))


def test_named_pipes_carry_any_bytes_and_their_directory_cannot_be_filled():
    data = bytes(range(256)) * 4000
    i = play(
        sh("cat > /pipes/o; ls /pipes; touch /pipes/x", name="m", input=data),
        sh("cat > out", name="p", collect=["out"]),
        edges=["m.o -> p.stdin"],
    )
    assert i.results["p"].files["out"] == data
    assert i.results["m"].stdout == b"o\n"
    assert i.results["m"].exit_code == 1


def test_each_party_has_its_jail_and_its_limits():
    i = play(
        sh("hostname >&2; cat f >&2; pwd >&2; echo $X >&2", jail=Jail(hostname="alice"), files={"f": "file\n"}, cwd="/tmp",
           env={"PATH": "/bin:/usr/bin", "X": "env"}),
        sh("hostname >&2", Limits(wall_time=5 * SLOW), jail=Jail(hostname="bob")),
    )  # fmt: skip
    assert i.results["b"].stderr == b"bob\n"
    assert i.results["b"].limits.wall_time == 5 * SLOW
    assert i.results["a"].stderr.startswith(b"alice\n") and i.results["a"].stderr.endswith(b"/tmp\nenv\n")


def test_results_can_be_kept():
    i = play(sh("echo 20; read x"), sh("read n; printf '\\377'; exit 1"))
    assert pickle.loads(pickle.dumps(i)).to_dict() == i.to_dict()
    d = json.loads(json.dumps(i.to_dict()))
    assert d["verdict"] == "fault" and d["results"]["b"]["exit_code"] == 1
    assert d["flows"][0]["transcript"][0][1] == {"bytes": "20\n"}
    assert d["flows"][1]["transcript"][0][1] == {"base64": "/w=="}
    with pytest.raises(AttributeError):
        i.verdict = "ok"


@pytest.mark.parametrize(("cap", "kept", "cut"), [("1K", 1024, True), (0, 0, True), (None, 300_000, False)])
def test_the_transcript_has_a_cap_and_the_conversation_has_none(cap, kept, cut):
    i = play(sh("head -c 300000 /dev/zero"), sh("cat | wc -c >&2"), edges=["a.stdout -> b.stdin"], transcript=cap)
    flow = i.flow("a.stdout")
    assert i.results["b"].stderr.strip() == b"300000"
    assert (len(flow.data), flow.truncated, flow.written, flow.delivered) == (kept, cut, 300_000, 300_000)


def test_what_was_written_last_is_in_the_transcript_even_if_nobody_read_it():
    i = play(sh("echo never read"), sh("sleep 0.3"), edges=["a.stdout -> b.stdin"])
    assert i.flow("a.stdout").data == b"never read\n"
    assert i.ok


def test_named_pipes_are_in_the_jails_alone(tmp_path, monkeypatch):
    """A file of the host's would stay behind when this process is killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = "stat -c '%F %a' /pipes/o; ls /pipes; mknod /pipes/x p; rm -f /pipes/o; read n < /pipes/i; echo $n; echo x > /pipes/o"
    i = play(sh(script), sh("echo y; cat"), edges=["a.o -> b.stdin", "b.stdout -> a.i"])
    assert i.results["a"].stdout.splitlines() == [b"fifo 666", b"i", b"o", b"y"]
    assert i.results["a"].stderr.count(b"Read-only file system") == 2
    assert i.flow("b.stdin").data == b"x\n"
    assert list(tmp_path.iterdir()) == []
