"""What every response has, and what no response tells."""

from __future__ import annotations

import pytest

from tests.server.conftest import Running, Stage

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v1/models", "/nothing"])
def test_every_response_has_an_id_and_its_time(shared: Running, path: str) -> None:
    headers = shared.http().get(path).headers
    assert headers["x-request-id"].startswith("req_")
    assert int(headers["openai-processing-ms"]) >= 0


@pytest.mark.parametrize("given", ["abc", "A-1_b", "x" * 64])
def test_a_harmless_id_of_the_client_is_kept(shared: Running, given: str) -> None:
    assert shared.http().get("/livez", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a;b", "<script>", "é"])
def test_any_other_id_is_replaced(shared: Running, given: str) -> None:
    headers = {"x-request-id": given.encode("latin-1")}
    answered = shared.http().get("/livez", headers=headers).headers.get_list("x-request-id")  # type: ignore[arg-type]
    assert len(answered) == 1
    assert answered[0].startswith("req_")


def test_an_unexpected_error_is_masked_and_its_id_is_in_the_log(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret of /home/somebody")

    monkeypatch.setattr("server.routes.models.resolve.versions_of", broken)
    answer = server.http().get("/v1/models")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert answer.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_is_a_413(serve: Stage, chunked: bool) -> None:
    server = serve(max_body_bytes=1000)
    content = b"x" * 200_000
    body = iter([content[:100_000], content[100_000:]]) if chunked else content
    answer = server.http().post(CHAT, content=body)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert server.http().get("/v1/models").status_code == 200


def test_a_body_at_the_limit_is_read(serve: Stage) -> None:
    server = serve(max_body_bytes=1000)
    answer = server.http().post(CHAT, content=b"x" * 1000)
    assert answer.status_code == 400


def test_without_a_key_no_body_is_read(serve: Stage) -> None:
    server = serve(max_body_bytes=1000)
    assert server.http(None).post(CHAT, content=b"x" * 5000).status_code == 401


def test_a_locked_database_is_a_503_that_may_be_tried_again(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    def locked(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("database is locked"))

    monkeypatch.setattr("server.routes.models.resolve.versions_of", locked)
    answer = server.http().get("/v1/models")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "SELECT" not in answer.text
