"""A shadow gets what the live version answered, after it has, and nobody else notices."""

from __future__ import annotations

import threading
from typing import Any

import openai
import pytest

from server import shadow as shadows
from server.engine.base import LOW_PRIORITY, Kind, Version
from server.engine.fake import FakeEngine
from server.shadow import MOST_AT_ONCE
from tests.server.conftest import Running, Stage, until
from tests.server.test_metrics import scrape

HELLO: Any = [{"role": "user", "content": "hello there"}]


class Watched(FakeEngine):
    """Notes each request; `hold` keeps the answers of one version back until it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.slow = ""
        self.hold = threading.Event()

    async def generate(self, kind: Kind, body: dict[str, Any], version: Version | None) -> Any:
        name = version.name if version else self.base
        self.asked.append((name, dict(body)))
        async for item in super().generate(kind, body, version):
            while name == self.slow and not self.hold.is_set():
                await self._pause(0.005)
            yield item

    def of(self, name: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.asked if asked == name]


@pytest.fixture
def mirrored(serve: Stage) -> tuple[Running, Watched, str, str]:
    """(server, its engine, live version, shadow) of brand `luxe`."""
    engine = Watched()
    server = serve(engine)
    shadow, live = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    until(lambda: {shadow, live} <= set(engine.resident))
    body = {"action": "shadow", "version": shadow}
    assert server.http().post("/v1/brands/luxe", json=body).status_code == 200
    return server, engine, live, shadow


def ask(server: Running, model: str = "luxe", **given: Any) -> Any:
    answer = server.client().chat.completions.create(model=model, messages=HELLO, **given)
    return list(answer) if given.get("stream") else answer


def tally(server: Running) -> dict[str, Any]:
    found: dict[str, Any] | None = server.http().get("/v1/brands/luxe").json()["mirrored"]
    return found or {"requests": 0, "failed": 0, "skipped": 0}


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_is_answered_by_the_live_version_and_the_shadow_gets_the_same_request(
    mirrored: tuple[Running, Watched, str, str], stream: bool
) -> None:
    server, engine, live, shadow = mirrored
    answer = ask(server, stream=stream, temperature=0, max_tokens=3)
    assert (answer[0] if stream else answer).model == live
    until(lambda: tally(server)["requests"] == 1)
    (real,), (copy,) = engine.of(live), engine.of(shadow)
    kept = {key: value for key, value in real.items() if key not in ("stream", "stream_options")}
    assert copy == {**kept, "stream": False, "priority": LOW_PRIORITY}


@pytest.mark.parametrize("stream", [False, True])
def test_latency_tokens_and_agreement_of_both_are_kept(
    mirrored: tuple[Running, Watched, str, str], stream: bool
) -> None:
    server, _, _, shadow = mirrored
    ask(server, stream=stream)
    until(lambda: tally(server)["requests"] == 1)
    found = tally(server)
    # The fake says `<version> heard: hello there`: three of four words are the same.
    assert found["version"] == shadow
    assert found["agreement"] == pytest.approx(0.75)
    for side in ("live", "shadow"):
        assert (found[side]["prompt_tokens"], found[side]["completion_tokens"]) == (2, 4)
        assert found[side]["seconds"] > 0
    ask(server, stream=stream, temperature=0)
    until(lambda: tally(server)["requests"] == 2)
    assert tally(server)["agreement"] == pytest.approx(0.375), "at temperature 0 only equal answers agree"


def test_equal_answers_at_temperature_0_agree(mirrored: tuple[Running, Watched, str, str]) -> None:
    server, *_ = mirrored
    for stream in (False, True):
        ask(server, stream=stream, temperature=0, stop="heard", max_tokens=1)
    until(lambda: tally(server)["requests"] == 2)
    assert tally(server)["agreement"] == 0, "the fake's first word is its name"
    for stream in (False, True):
        ask(server, stream=stream, temperature=0, stop=["ft:"])
    until(lambda: tally(server)["requests"] == 4)
    assert tally(server)["agreement"] == 0.5


def test_metrics_count_it_without_naming_anybody(mirrored: tuple[Running, Watched, str, str]) -> None:
    server, *_ = mirrored
    before = scrape(server)["chorus_tokens_total direction=out"]
    ask(server)
    until(lambda: scrape(server)["chorus_shadow_requests_total result=ok"] == 1)
    seen = scrape(server)
    assert seen["chorus_shadow_tokens_total direction=in"] == 2
    assert seen["chorus_shadow_tokens_total direction=out"] == 4
    assert seen["chorus_shadow_agreement_sum"] == pytest.approx(0.75)
    assert seen["chorus_shadow_seconds_count"] == 1
    assert seen["chorus_tokens_total direction=out"] == before + 4, (
        "what the tenant uses is the answer it got"
    )
    assert "luxe" not in server.http().get("/metrics").text


def test_nothing_is_mirrored_of_an_exact_name_the_base_or_another_brand(
    mirrored: tuple[Running, Watched, str, str],
) -> None:
    server, engine, live, shadow = mirrored
    other = server.publish("clinic", seed=3)
    for model in (live, "tiny", "clinic", other):
        ask(server, model)
    ask(server)
    until(lambda: tally(server)["requests"] == 1)
    assert len(engine.of(shadow)) == 1


def test_what_the_candidate_answered_is_not_compared(mirrored: tuple[Running, Watched, str, str]) -> None:
    server, engine, live, shadow = mirrored
    third = server.publish("luxe", seed=3)
    until(lambda: ask(server).model == third)
    until(lambda: tally(server)["requests"] + 1 > len(engine.of(shadow)))
    body = {"action": "canary", "version": live, "share": 1}
    assert server.http().post("/v1/brands/luxe", json=body).status_code == 200
    before = len(engine.of(shadow))
    assert ask(server).model == live
    body = {"action": "canary", "share": 0}
    assert server.http().post("/v1/brands/luxe", json=body).status_code == 200
    assert ask(server).model == third
    until(lambda: len(engine.of(shadow)) == before + 1)


def test_past_the_bound_a_request_is_answered_and_not_mirrored(
    mirrored: tuple[Running, Watched, str, str],
) -> None:
    server, engine, live, shadow = mirrored
    engine.slow = shadow
    for _ in range(MOST_AT_ONCE + 2):
        assert ask(server).model == live
    until(lambda: len(engine.of(shadow)) == MOST_AT_ONCE)
    assert tally(server)["skipped"] == 2
    engine.hold.set()
    until(lambda: tally(server)["requests"] == MOST_AT_ONCE)
    assert len(engine.of(shadow)) == MOST_AT_ONCE


@pytest.mark.parametrize("stream", [False, True])
def test_a_very_long_answer_is_not_kept_for_the_shadow(
    mirrored: tuple[Running, Watched, str, str], stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 128 choices of thousands of tokens the frames are a hundred megabytes."""
    monkeypatch.setattr(shadows, "MOST_BYTES", 400)
    server, engine, _, shadow = mirrored
    message: Any = [{"role": "user", "content": "word " * 100}]
    answer = server.client().chat.completions.create(model="luxe", messages=message, stream=stream)
    assert sum(bool(chunk.choices) for chunk in answer) > 100 if stream else answer.choices
    until(lambda: tally(server)["skipped"] == 1)
    assert engine.of(shadow) == []


def test_a_shadow_that_fails_is_counted_and_harms_nobody(
    mirrored: tuple[Running, Watched, str, str],
) -> None:
    server, engine, live, shadow = mirrored
    engine.resident.pop(shadow)
    assert ask(server).model == live
    until(lambda: tally(server)["failed"] == 1)
    assert tally(server)["agreement"] is None
    assert ask(server).model == live


def test_an_answer_that_broke_off_is_not_mirrored(mirrored: tuple[Running, Watched, str, str]) -> None:
    server, engine, _, shadow = mirrored
    engine.word_seconds = 0.05
    message: Any = [{"role": "user", "content": "word " * 100}]
    ask_for = server.client().chat.completions.create
    with ask_for(model="luxe", messages=message, stream=True) as left:
        next(left)
    until(lambda: engine.running == 0)
    broken = ask_for(model="luxe", messages=message, stream=True)
    next(broken)
    engine.alive = False
    with pytest.raises(openai.APIError):
        list(broken)
    until(lambda: server.house.metrics.in_flight._value.get() == 0)
    assert engine.of(shadow) == []


def test_another_shadow_begins_with_new_figures(mirrored: tuple[Running, Watched, str, str]) -> None:
    server, engine, _, shadow = mirrored
    ask(server)
    until(lambda: tally(server)["requests"] == 1)
    third = server.publish("luxe", seed=3, step=4)
    body = {"action": "shadow", "version": third}
    assert server.http().post("/v1/brands/luxe", json=body).status_code == 200
    ask(server)
    until(lambda: tally(server).get("version") == third and tally(server)["requests"] == 1)
    assert len(engine.of(shadow)) == 1
    server.http().post("/v1/brands/luxe", json={"action": "shadow"})
    ask(server)
    assert len(engine.of(third)) == 1, "an ended shadow gets nothing"


def test_a_server_stops_with_mirrored_requests_under_way(serve: Stage) -> None:
    engine = Watched()
    server = serve(engine)
    shadow, live = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    until(lambda: live in engine.resident)
    server.http().post("/v1/brands/luxe", json={"action": "shadow", "version": shadow})
    engine.slow = shadow
    ask(server)
    until(lambda: len(engine.of(shadow)) == 1)
    serve.stop()
    assert not server.house.shadows._running
