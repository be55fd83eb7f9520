"""Spans of the real service, as a collector gets them over HTTP, with OpenTelemetry's own SDK and its messages."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.jail.serve.typed import PATIENCE, serving

SECRET = "hunter2"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector():
    """(its address, all spans that it has got)."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            message = ExportTraceServiceRequest()
            message.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            spans.extend(span for r in message.resource_spans for s in r.scope_spans for span in s.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def attributes(span):
    return {a.key: a.value.string_value or a.value.int_value or a.value.double_value for a in span.attributes}


def ask(url, body, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_a_run_is_a_span_below_that_of_its_request_and_of_the_client(collector):
    address, spans = collector
    env = {"PYJAIL_SERVE_OBSERVE_TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": address}
    with serving(env=env) as (_, url):
        body = {"args": ["sh", "-c", f"env; echo {SECRET}"], "stdin": SECRET}
        said = ask(f"{url}/v1/runs?receipt=false", body, traceparent=PARENT)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"{url}/{SECRET}?{SECRET}", timeout=PATIENCE)
        raised.value.close()
    found = {span.name: span for span in spans}
    request, run, unknown = found["POST /v1/runs"], found["run"], found["GET -"]
    assert run.trace_id == request.trace_id == bytes.fromhex(PARENT[3:35])
    assert run.parent_span_id == request.span_id and request.parent_span_id == bytes.fromhex(PARENT[36:52])
    assert attributes(run) == {"pyjail.face": "v1", "pyjail.verdict": "ok", "pyjail.language": "-"} | {
        "pyjail.queue_s": attributes(run)["pyjail.queue_s"]
    }
    assert attributes(request)["http.response.status_code"] == 200
    assert attributes(unknown)["http.response.status_code"] == 404
    assert request.start_time_unix_nano <= run.start_time_unix_nano <= run.end_time_unix_nano
    assert SECRET not in str(spans)
    assert "traceparent" not in str(said).lower() and "OTEL" not in str(said)


def test_a_collector_that_is_not_there_ends_nothing():
    env = {
        "PYJAIL_SERVE_OBSERVE_TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }  # fmt: skip
    with serving(env=env) as (_, url):
        assert ask(f"{url}/v1/runs", {"args": ["true"]})["result"]["verdict"] == "ok"


def test_without_it_no_span_is_made(collector):
    address, spans = collector
    with serving(env={"OTEL_EXPORTER_OTLP_ENDPOINT": address}) as (_, url):
        ask(f"{url}/v1/runs", {"args": ["true"]})
    assert spans == []
