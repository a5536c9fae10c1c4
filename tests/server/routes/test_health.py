"""Health and metrics: open, honest, and never a way in."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute

from server.auth import current_tenant
from tests.server.conftest import Running, Stage, until
from tests.server.waiting_engines import Held

OPEN = {"/livez", "/readyz", "/health", "/startupz", "/metrics"}


def test_only_health_and_metrics_have_no_key(shared: Running) -> None:
    """Deny by default: whoever adds a route without the dependency meets this test."""
    for route in shared.app.routes:
        assert isinstance(route, APIRoute), route
        asked = {dependency.call for dependency in route.dependant.dependencies}
        assert (current_tenant in asked) == (route.path not in OPEN), route.path
        assert route.path in OPEN or route.path.startswith("/v1/")


def test_ready_is_said_when_chat_works_and_not_before(serve: Stage) -> None:
    engine = Held()
    server = serve(engine, ready=False)
    http = server.http()
    assert http.get("/livez").status_code == 200
    for path in ("/readyz", "/health", "/startupz"):
        answer = http.get(path)
        assert answer.status_code == 503
        assert "starting" in answer.json()["reason"]
        assert "retry-after" in answer.headers
    assert http.get("/v1/models").status_code == 200
    chat = http.post("/v1/completions", json={"model": "tiny", "prompt": "x"})
    assert (chat.status_code, chat.json()["error"]["code"]) == (503, "server_is_overloaded")
    assert int(chat.headers["retry-after"]) > 0
    engine.may_start = True
    until(lambda: http.get("/readyz").status_code == 200)
    assert http.post("/v1/completions", json={"model": "tiny", "prompt": "x"}).status_code == 200


def test_metrics_are_open_without_an_admin_key(shared: Running) -> None:
    answer = shared.http(None).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer wrong"}, {"authorization": "s3cret"}])
def test_metrics_need_the_admin_key_when_there_is_one(serve: Stage, header: dict[str, str]) -> None:
    server = serve(admin_key="s3cret")
    http = server.http(None)
    assert http.get("/metrics", headers=header).status_code == 401
    assert http.get("/metrics", headers={"authorization": "Bearer s3cret"}).status_code == 200
