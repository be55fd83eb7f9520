"""The service as a process: it answers, and leaves nothing."""

from __future__ import annotations

import httpx

from tests.jail.serve.served import PATIENCE, served


def test_a_service_that_is_ended_leaves_no_process_and_no_cgroup():
    with served() as service:
        answer = httpx.post(f"{service.url}/v1/runs", json={"args": ["echo", "hello"]}, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        assert "hello" in answer.text
        assert service.programs() == []
