"""Text from a program: whatever bytes it writes, the result is not lost."""

from __future__ import annotations

import asyncio
import pickle

import pytest

import pyjail
from pyjail import Limits, OutputDecodeError, SpecError, Verdict

BAD = ["sh", "-c", r"printf 'a\377b'; printf 'e\377' >&2; exit 3"]
TEXT = "a\ufffdb"


def by_run(args, **options):
    return pyjail.run(args, **options)


def by_session(args, **options):
    with pyjail.Session() as session:
        try:
            return session.run(args, **options)
        finally:
            assert len(session.results) == 1 and session.results[0].exit_code == 3


def by_pool(args, **options):
    with pyjail.Pool(1) as pool:
        return pool.run(args, **options)


def by_executor(args, **options):
    with pyjail.JailExecutor(1) as executor:
        return executor.submit(args, **options).result()


def by_aio(args, **options):
    return asyncio.run(pyjail.aio.run(args, **options))


def by_aio_pool(args, **options):
    async def main():
        async with pyjail.aio.Pool(1) as pool:
            return await pool.run(args, **options)

    return asyncio.run(main())


DOORS = (by_run, by_session, by_pool, by_executor, by_aio, by_aio_pool)
doors = pytest.mark.parametrize("door", DOORS, ids=lambda d: d.__name__)


@doors
@pytest.mark.parametrize("options", [{"text": True}, {"encoding": "utf-8"}, {"encoding": "ascii"}], ids=str)
def test_bytes_that_are_no_text_are_replaced_and_the_result_is_there(door, options):
    r = door(BAD, **options)
    assert (r.verdict, r.exit_code, r.stdout, r.stderr) == (Verdict.RUNTIME_ERROR, 3, TEXT, "e\ufffd")


@doors
def test_strict_decoding_raises_an_error_that_has_the_result(door):
    with pytest.raises(OutputDecodeError, match="replace") as caught:
        door(BAD, text=True, errors="strict")
    e = caught.value
    assert isinstance(e, UnicodeDecodeError) and isinstance(e, pyjail.JailError)
    assert (e.result.exit_code, e.result.stdout, e.result.stderr) == (3, b"a\xffb", b"e\xff")
    assert (e.encoding, e.start) == ("utf-8", 1)
    again = pickle.loads(pickle.dumps(e))
    assert (str(again), again.result) == (str(e), e.result)


def test_the_keeper_serves_on_after_output_that_is_no_text():
    with pyjail.Pool(1) as pool:
        for _ in range(3):
            with pytest.raises(OutputDecodeError):
                pool.run(BAD, text=True, errors="strict")
            assert pool.run(["echo", "x"], text=True).stdout == "x\n"


@pytest.mark.parametrize("encoding", ["idna", "punycode", "utf-7", "utf-16", "unicode_escape", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("errors", [None, "strict", "surrogateescape", "xmlcharrefreplace", "namereplace"])
def test_no_codec_loses_a_result(encoding, errors):
    try:
        r = pyjail.run(["printf", r"\377\\x\300xn--\200+-A=\330"], encoding=encoding, errors=errors)
    except OutputDecodeError as e:
        r = e.result
    assert r.exit_code == 0


def timed_out(*args, **kw):
    """The error of a run that writes something and goes on, as soon as it has had the time to write."""
    for timeout in (0.5, 2, 8, 30):
        with pytest.raises(pyjail.TimeoutExpired) as caught:
            pyjail.run(*args, timeout=timeout, **kw)
        if caught.value.output:
            break
    return caught.value


def test_a_timeout_comes_with_what_was_written_even_if_it_is_no_text():
    e = timed_out(["sh", "-c", r"printf 'a\377b'; sleep 60"], text=True, errors="strict")
    assert e.output == TEXT


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "idna", "punycode"])
def test_no_codec_loses_a_timeout(encoding):
    slow = ["sh", "-c", r"printf 'abcd\330\0\330'; sleep 60"]
    e = timed_out(slow, encoding=encoding)
    assert isinstance(e.output, str) and e.output
    with pyjail.start(slow, encoding=encoding) as p:
        with pytest.raises(pyjail.TimeoutExpired):
            p.communicate(timeout=0.5)
        p.kill()

    async def main():
        async with await pyjail.aio.start(slow, encoding=encoding) as p:
            try:
                await p.communicate(timeout=0.5)
            finally:
                p.kill()

    with pytest.raises(pyjail.TimeoutExpired):
        asyncio.run(main())


@pytest.mark.parametrize("door", [by_run, by_aio], ids=["run", "aio"])
def test_utf_16_without_its_mark_is_replaced_too(door):
    r = door(["printf", r"a\000b\000\330"], encoding="utf-16-le")
    assert r.stdout == door(["printf", r"a\000b\000\330"], encoding="utf-16").stdout == "ab\ufffd"


def test_an_error_handler_that_is_no_help_is_not_advised():
    with pytest.raises(OutputDecodeError) as caught:
        pyjail.run(["printf", "a..b"], encoding="idna")
    assert "takes it" not in str(caught.value) and caught.value.result.stdout == b"a..b"


def test_what_the_caller_writes_is_not_replaced_in_silence():
    with pytest.raises(SpecError, match="input"):
        pyjail.run(["cat"], input="\udcff", text=True)
    assert pyjail.run(["cat"], input="\udcff", text=True, errors="surrogateescape").stdout == "\udcff"
    assert pyjail.run(["cat"], input="\udcff", text=True, errors="replace").stdout == "?"
    with pyjail.start(["cat"], text=True) as p, pytest.raises(UnicodeEncodeError):
        p.stdin.write("\udcff")
        p.stdin.flush()


def test_live_streams_replace_what_is_no_text():
    with pyjail.start(BAD, text=True) as p:
        assert (p.stdout.read(), p.stderr.read()) == (TEXT, "e\ufffd")
    with pyjail.start(BAD, text=True) as p:
        assert p.communicate() == (TEXT, "e\ufffd")

    async def main():
        async with await pyjail.aio.start(BAD, text=True) as p:
            return await p.communicate()

    assert asyncio.run(main()) == (TEXT, "e\ufffd")


def test_communicate_with_strict_decoding_raises_an_error_that_has_the_result():
    with pyjail.start(BAD, Limits(cpu_time=5), text=True, errors="strict") as p:
        with pytest.raises(OutputDecodeError) as caught:
            p.communicate()
        with pytest.raises(ValueError, match="closed"):
            p.stdout.read()
    r = caught.value.result
    assert (r.exit_code, r.stdout, r.stderr, r.limits.cpu_time) == (3, b"a\xffb", b"e\xff", 5)


def test_what_an_awaited_communicate_had_read_is_read_on():
    program = r"trap 'printf \\251\\r\\n; exit' TERM; printf 'a\303'; while :; do sleep 0.1; done"

    async def main():
        async with await pyjail.aio.start(["sh", "-c", program], text=True) as p:
            seen = ""
            while not seen:
                with pytest.raises(pyjail.TimeoutExpired) as caught:
                    await p.communicate(timeout=0.3)
                seen = caught.value.output
            assert seen in ("a", "a\ufffd")
            p.terminate()
            return await p.stdout.readline(), await p.communicate()

    assert asyncio.run(main()) == ("a\u00e9\n", ("", ""))


def test_a_measured_program_may_write_what_is_no_text():
    m = pyjail.measure(["printf", r"\377"], repeat=pyjail.Repeat(2, quiet=False), text=True)
    assert [r.stdout for r in m.runs] == ["\ufffd"] * 2


def test_aio_communicate_with_strict_decoding_raises_the_same():
    async def main():
        async with await pyjail.aio.start(BAD, Limits(cpu_time=5), text=True, errors="strict") as p:
            with pytest.raises(OutputDecodeError) as caught:
                await p.communicate()
            assert p.stdout.closed and p.result is not None
            return caught.value.result

    r = asyncio.run(main())
    assert (r.verdict, r.exit_code, r.stdout, r.stderr, r.limits.cpu_time) == (
        Verdict.RUNTIME_ERROR, 3, b"a\xffb", b"e\xff", 5,
    )  # fmt: skip


LATE = ["sh", "-c", r"printf 'one\ntwo\n'; read x; printf 'th\377ree\n'; read y; sleep 1; printf 'four\n'; exit 3"]


def test_after_live_text_that_is_none_communicate_has_every_byte_that_nobody_has_read():
    """As a file of Python's has it, a live stream raises UnicodeDecodeError: there is no result yet. Nothing is lost."""

    async def main():
        async with await pyjail.aio.start(LATE, text=True, errors="strict") as p:
            assert await p.stdout.readline() == "one\n"
            p.stdin.write("\n")
            await p.stdin.drain()
            assert await p.stdout.readline() == "two\n"
            for _ in range(2):
                with pytest.raises(UnicodeDecodeError):
                    await p.stdout.readline()
            with pytest.raises(pyjail.TimeoutExpired) as late:
                await p.communicate(timeout=0.1)
            assert "th\ufffdree\n" in late.value.output
            with pytest.raises(OutputDecodeError) as caught:
                await p.communicate()
            return caught.value.result

    r = asyncio.run(main())
    assert (r.exit_code, r.stdout, r.stderr) == (3, b"th\xffree\nfour\n", b"")


@pytest.mark.parametrize("read", [False, True], ids=["unread", "partly read"])
def test_who_leaves_the_block_does_not_care_whether_the_rest_is_text(read):
    async def main():
        async with await pyjail.aio.start(LATE, text=True, errors="strict") as p:
            if read:
                assert await p.stdout.readline() == "one\n"
        return p.result.exit_code

    assert asyncio.run(main()) == 3
    with pyjail.start(LATE, text=True, errors="strict") as p:
        if read:
            assert p.stdout.readline() == "one\n"
    assert p.result.exit_code == 3
