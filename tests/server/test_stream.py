"""The way out: first item before the 200, errors in the midst, and all released when the client goes."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

from server import stream
from server.engine.base import RequestRefused
from server.engine.fake import FakeEngine
from server.stream import ClientGone, unless_gone
from tests.conforms import conforms
from tests.patience import PATIENCE
from tests.server.conftest import Running, Stage, until
from tests.server.waiting_engines import Stepwise

LONG: Any = [{"role": "user", "content": "word " * 200}]
CHAT = "/v1/chat/completions"


@pytest.fixture
def slow(serve: Stage) -> Running:
    """0.05 s per word: 10 s for LONG."""
    return serve(FakeEngine(word_seconds=0.05))


def in_flight(server: Running) -> float:
    return server.house.metrics.in_flight._value.get()


def pins(server: Running, version: str) -> int:
    return server.house.catalog._residents[version].pins


def hang_up(server: Running, body: dict[str, Any], *, after: bytes) -> None:
    """Send a request by hand, read until `after` was seen (nothing: at once), close the connection."""
    content = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.keys['acme']}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    host, port = server.root.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + content)
        seen = b""
        while after not in seen:
            seen += connection.recv(4096)
        if not after:
            until(lambda: server.engine.running == 1)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_ends_its_generation_and_frees_all(slow: Running, stream: bool) -> None:
    version = slow.publish("luxe")
    until(lambda: version in slow.engine.resident)
    lasting = [{"role": "user", "content": "word " * 1500}]  # 75 s, which `until` does not wait for
    body = {"model": "luxe", "messages": lasting, "stream": stream}
    hang_up(slow, body, after=b"heard" if stream else b"")
    until(lambda: slow.engine.running == 0 and pins(slow, version) == 0 and in_flight(slow) == 0)


async def test_what_the_engine_says_of_a_client_that_left_is_not_logged_as_unheard() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def answer() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RequestRefused(400, "Client disconnected") from None

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    with pytest.raises(ClientGone):
        await unless_gone(receive, answer())
    gc.collect()
    assert told == []


def test_a_client_that_leaves_a_stream_frees_all(slow: Running) -> None:
    with slow.client().chat.completions.create(model="tiny", messages=LONG, stream=True) as stream:
        next(stream)
        assert (slow.engine.running, in_flight(slow)) == (1, 1)
    until(lambda: slow.engine.running == 0 and in_flight(slow) == 0)


def test_a_version_is_pinned_until_the_last_frame(slow: Running) -> None:
    version = slow.publish("luxe")
    message: Any = [{"role": "user", "content": "a b c"}]
    stream = slow.client().chat.completions.create(model=version, messages=message, stream=True)
    next(stream)
    assert pins(slow, version) == 1
    list(stream)
    until(lambda: pins(slow, version) == 0)


def test_an_engine_that_dies_in_the_midst_ends_the_stream_with_an_error(slow: Running) -> None:
    stream = slow.client().chat.completions.create(model="tiny", messages=LONG, stream=True)
    next(stream)
    slow.engine.alive = False
    with pytest.raises(openai.APIError, match="broke off") as caught:
        list(stream)
    assert caught.value.code == "server_is_overloaded"


def test_a_broken_stream_is_no_complete_one(slow: Running) -> None:
    body = {"model": "tiny", "messages": LONG, "stream": True}
    with slow.http().stream("POST", CHAT, json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        slow.engine.alive = False
        rest = [line for line in lines if line]
    conforms(json.loads(rest[-1].removeprefix("data: ")), "ErrorResponse")
    assert "[DONE]" not in "".join(rest)
    until(lambda: in_flight(slow) == 0)


def test_an_unexpected_error_in_the_midst_is_masked(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> Any:
        yield b'data: {"choices":[{}]}\n\n'
        raise KeyError("secret")

    monkeypatch.setattr(server.house.engine, "generate", broken)
    answer = server.http().post(CHAT, json={"model": "tiny", "messages": LONG, "stream": True})
    assert answer.status_code == 200
    assert "secret" not in answer.text
    assert (
        json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == "internal_error"
    )


@pytest.mark.parametrize("stream", [True, False])
def test_a_dead_engine_is_a_503_before_the_first_frame(server: Running, stream: bool) -> None:
    server.engine.alive = False
    body = {"model": "tiny", "messages": LONG, "stream": stream}
    answer = server.http().post(CHAT, json=body)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/json"


def test_an_engine_without_any_answer_is_a_500(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> Any:
        for item in ():
            yield item

    monkeypatch.setattr(server.house.engine, "generate", silent)
    answer = server.http().post(CHAT, json={"model": "tiny", "messages": LONG})
    assert answer.status_code == 500
    assert in_flight(server) == 0


def test_frames_leave_as_they_come(serve: Stage) -> None:
    """Nothing between the engine and the socket collects them: each is there before the next one is made."""
    engine = Stepwise()
    message = [{"role": "user", "content": "a b c d e f"}]
    # With usage, as its frame would go no further else.
    body = {"model": "tiny", "messages": message, "stream": True, "stream_options": {"include_usage": True}}
    engine.may_give = 1
    with serve(engine).http().stream("POST", CHAT, json=body) as got:
        for chunk in got.iter_raw():
            assert chunk.count(b"data: ") <= 1
            engine.may_give += 1
    assert engine.given >= 8


def test_many_clients_that_hang_up_leave_nothing_behind(slow: Running) -> None:
    version = slow.publish("luxe")
    until(lambda: version in slow.engine.resident)
    limits = httpx.Timeout(0.3)
    with slow.http() as client:
        for stream in (True, False) * 10:
            body = {"model": "luxe", "messages": LONG, "stream": stream}
            try:
                with client.stream("POST", CHAT, json=body, timeout=limits) as answer:
                    next(answer.iter_bytes())
            except httpx.TimeoutException:
                pass
    until(lambda: slow.engine.running == 0 and pins(slow, version) == 0 and in_flight(slow) == 0)


@pytest.mark.parametrize("at", [1, 2, 5, 12])  # the head, the first frame, one of many, the end
async def test_a_client_that_stops_reading_loses_its_stream_and_what_it_held(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STUCK_SECONDS", 0.05)
    closed, sent = asyncio.Event(), list[dict[str, Any]]()
    until_end = AsyncExitStack()
    until_end.callback(closed.set)

    async def frames() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"data: {}\n\n"

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == at:
            await asyncio.Event().wait()

    asked: Any = SimpleNamespace(wants_usage=False)
    observed: Any = SimpleNamespace(frame=lambda: None)
    answer = stream.Frames(frames(), asked, observed, until_end)
    await answer({}, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert closed.is_set()
    assert len(sent) == at, "and nothing that looks like an end was sent after that"
