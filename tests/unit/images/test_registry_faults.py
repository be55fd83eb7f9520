"""Registries that are wrong in each way that a transport can be."""

from __future__ import annotations

import threading
import time

import pytest

from pyjail._images.digests import of
from pyjail._images.errors import ImageError
from tests.images_registry import LAYER, QUICK, SHORT, always, cut, got, layer, once, source

# Transport faults


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_registry_is_asked_again(there, status):
    there.faults += [once(lambda to, _: to.complain(status)), once(lambda to, _: to.complain(status), "/manifests/")]
    with source(there) as it:
        it.manifest()
        assert got(it) == LAYER
    assert len(there.asked) == 4


def test_a_registry_that_stays_busy_is_an_error_with_what_it_says(there):
    there.faults.append(always(lambda to, _: to.complain(503, "tired\x1b[2J\n of you")))
    with source(there) as it, pytest.raises(ImageError, match=r"3 tries: 503 tired\\x1b\[2J\\n of you"):
        got(it)
    assert len(there.asked) == 3


def test_retry_after_is_obeyed_when_it_is_short_and_an_error_when_it_is_long(there):
    there.faults.append(once(lambda to, _: to.complain(429, headers={"Retry-After": "1"})))
    begun = time.monotonic()
    with source(there) as it:
        assert got(it) == LAYER
    assert time.monotonic() - begun >= 1
    for told in ("21600", "Fri, 01 Jan 2100 00:00:00 GMT"):
        there.faults[:] = [always(lambda to, _, told=told: to.complain(429, "enough", headers={"Retry-After": told}))]
        with source(there) as it, pytest.raises(ImageError, match="enough: it asks to come again in"):
            got(it)
    there.faults[:] = [once(lambda to, _: to.complain(429, headers={"Retry-After": "9" * 400}))]
    with source(there) as it:
        assert got(it) == LAYER


def test_what_is_cut_off_is_resumed_from_there(there):
    there.faults.append(once(cut))
    with source(there) as it:
        assert got(it) == LAYER
    assert [asked.headers["Range"] for asked in there.asked] == [None, f"bytes={len(LAYER) // 2}-"]


def test_a_server_that_ignores_range_is_read_from_the_start(there):
    there.faults += [once(cut), once(lambda to, _: to.send(200, LAYER))]
    with source(there) as it:
        assert got(it) == LAYER
    assert len(there.asked) == 2


@pytest.mark.parametrize(
    ("status", "told"),
    [(206, "bytes 0-255999/256000"), (206, "bytes 128001-255999/256000"), (206, "bytes 128000-255998/256000"),
     (206, "bytes 128000-255999/256001"), (206, ""), (206, "nonsense"), (416, "bytes */256000"), (206, "bytes 128000-255999/256000\x85")],
)  # fmt: skip
def test_a_wrong_answer_to_range_is_refused(there, status, told):
    there.faults += [once(cut), once(lambda to, _: to.send(status, LAYER[128000:], {"Content-Range": told}))]
    with source(there) as it, pytest.raises(ImageError, match=f"blob {of(LAYER)}: "):
        got(it)
    assert len(there.asked) == 2


def test_a_part_that_nobody_asked_for_is_refused(there):
    there.faults.append(once(lambda to, _: to.send(206, LAYER, {"Content-Range": "bytes 0-255999/256000"})))
    with source(there) as it, pytest.raises(ImageError, match="the answer is 206"):
        got(it)


def test_what_is_cut_off_again_and_again_is_an_error(there):
    there.faults.append(always(lambda to, asked: (to.send_response(200), to.end())))
    with source(there) as it, pytest.raises(ImageError, match=r"cut off 3 times|3 tries"):
        got(it)
    assert 3 <= len(there.asked) <= 9


def test_a_blob_with_progress_is_resumed_as_often_as_it_takes(there):
    data = LAYER * 20
    there.blobs[str(of(data))] = data

    def a_piece(to, asked):
        at = int((asked.headers["Range"] or "bytes=0-")[6:-1])
        headers = {"Content-Length": str(len(data) - at)}
        if at:
            headers["Content-Range"] = f"bytes {at}-{len(data) - 1}/{len(data)}"
        to.send(206 if at else 200, data[at : at + (1 << 20)], headers)
        if at + (1 << 20) < len(data):
            to.end()

    there.faults.append(always(a_piece))
    with source(there) as it:
        assert got(it, layer(data)) == data
    assert len(there.asked) == 5


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize("sent", ["nothing", "half a header", "a byte at a time", "endless headers", "endless 100"])
def test_a_slow_or_endless_registry_ends_in_time(there, path, sent):
    over = threading.Event()

    def slow(to, _):
        write, flush = to.wfile.write, to.wfile.flush
        write({"endless 100": b"HTTP/1.1 100 Continue\r\n\r\n", "nothing": b""}.get(sent, b"HTTP/1.1 200 OK\r\nX"))
        flush()
        while not over.wait(0.05):
            if sent == "endless 100":
                write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
            elif sent == "endless headers":
                write(b": y\r\nX" * 1000)
            elif sent == "a byte at a time":
                write(b"x")
            else:
                continue
            flush()

    there.faults.append(always(slow, path))
    begun = time.monotonic()
    with source(there, patience=SHORT) as it, pytest.raises(ImageError):
        it.manifest() if path == "/manifests/" else got(it)
    over.set()
    assert time.monotonic() - begun < 30


def test_a_blob_that_drips_is_an_error_in_time(there):
    over = threading.Event()

    def drip(to, _):
        to.send(200, b"", {"Content-Length": str(len(LAYER))})
        while not over.wait(0.02):
            to.wfile.write(b"x")
            to.wfile.flush()

    there.faults.append(always(drip))
    begun = time.monotonic()
    with (
        source(there, patience=SHORT) as it,
        pytest.raises(ImageError, match=r"it brought \d+ bytes in"),
    ):
        got(it)
    over.set()
    assert time.monotonic() - begun < 30


def test_all_waiting_for_an_image_has_an_end(there):
    def slow(to, _):
        to.send(200, b"", {"Content-Length": str(len(LAYER))})
        for at in range(0, len(LAYER), len(LAYER) // 20):
            to.wfile.write(LAYER[at : at + len(LAYER) // 20])
            to.wfile.flush()
            time.sleep(0.1)

    there.faults.append(always(slow))
    with source(there, patience=QUICK._replace(whole=0.5)) as it:
        with pytest.raises(
            ImageError, match=r"registry 127\.0\.0\.1:\d+: its layers were waited for longer than 0\.5 s"
        ):
            got(it)
    with source(there, patience=QUICK) as it:
        assert got(it) == LAYER


def test_who_reads_slowly_is_not_taken_for_a_slow_registry(there):
    with source(there, patience=SHORT) as it, it.blob(layer()) as file:
        data = file.read(1000)
        time.sleep(1.2)
        assert data + file.read() == LAYER
    assert len(there.asked) == 1
