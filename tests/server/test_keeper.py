"""The engine's death is noticed, the app lives on, and what was resident is back before ready is said."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from sqlalchemy.exc import OperationalError

from adapters import resolve
from server import keeper
from server.engine.base import EngineMisconfigured, EngineUnavailable, Kind, RequestRefused
from server.engine.fake import FakeEngine
from tests.server.conftest import Running, Stage, until

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(keeper, "CANARY_SECONDS", 0.2)


def chats(server: Running, model: str = "tiny") -> bool:
    body = {"model": model, "messages": HELLO}
    return server.http().post("/v1/chat/completions", json=body).status_code == 200


def test_a_dead_engine_is_started_again_with_what_it_held(server: Running) -> None:
    brand, checkpoint = server.publish("luxe", seed=1), server.publish("luxe", seed=2, step=3)
    assert chats(server, brand)
    assert chats(server, checkpoint)
    server.engine.alive = False
    assert not chats(server)
    until(lambda: server.engine.starts == 2 and server.house.keeper.ready)
    assert {brand, checkpoint} <= set(server.engine.resident)
    assert chats(server, "luxe")


def test_what_is_deleted_while_the_engine_is_down_does_not_come_back_with_it(serve: Stage) -> None:
    server = serve(FakeEngine(start_seconds=2))
    live, checkpoint = server.publish("luxe", seed=1), server.publish("luxe", seed=2, step=3)
    assert chats(server, checkpoint)
    server.engine.alive = False
    until(lambda: not server.house.keeper.ready and server.house.catalog.held() == [])
    assert server.client().models.delete(checkpoint).deleted
    until(lambda: server.engine.starts == 2 and server.house.keeper.ready)
    assert list(server.engine.resident) == server.house.catalog.held() == [live]


def test_the_canary_finds_a_death_that_no_request_met(server: Running) -> None:
    server.engine.alive = False
    until(lambda: server.engine.starts == 2 and server.house.keeper.ready)


def test_a_stream_that_breaks_off_is_enough_to_look_at_the_engine(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/readyz must not send clients here until the next one has failed, or a canary is due."""
    monkeypatch.setattr(keeper, "CANARY_SECONDS", 600)
    server = serve(FakeEngine(word_seconds=0.01))
    stream = server.client().chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "word " * 200}], stream=True
    )
    assert next(stream).choices
    server.engine.alive = False
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)
    until(lambda: server.engine.starts == 2 and server.house.keeper.ready)


def test_a_hung_engine_is_started_again_and_its_streams_end_with_an_error(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(FakeEngine(word_seconds=0.01, hang_seconds=0.3))
    words = " ".join(["word"] * 200)
    stream = server.client().chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": words}], stream=True
    )
    assert next(stream).choices
    server.engine.stuck = True
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)
    until(lambda: server.engine.starts == 2 and server.house.keeper.ready)
    assert 'chorus_engine_failures_total{kind="hung"} 1.0' in server.http().get("/metrics").text


def test_a_slow_stream_is_no_hang(serve: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(FakeEngine(word_seconds=0.5, hang_seconds=0.3))
    monkeypatch.setattr(keeper, "CANARY_SECONDS", 0.05)
    words = " ".join(["word"] * 6)
    said = server.client().chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": words}], stream=True
    )
    assert sum(bool(chunk.choices) for chunk in said) > 6
    assert server.engine.starts == 1


def test_control_routes_answer_while_the_engine_is_down(serve: Stage) -> None:
    class Broken(FakeEngine):
        async def start(self) -> None:
            raise EngineUnavailable("no memory for it")

    server = serve(Broken(), ready=False)
    until(lambda: "no memory" in server.http().get("/readyz").json()["reason"])
    assert server.upload()
    assert server.client().models.list().data
    assert server.http().get("/metrics").text.count("chorus_engine_up 0.0") == 1


def test_live_and_previous_versions_are_resident_before_ready(serve: Stage) -> None:
    first = serve()
    oldest, old, new = (first.publish("luxe", seed=seed) for seed in (0, 1, 2))
    other = first.publish("clinic", tenant="rival", seed=3)
    foreign = first.publish("foreign", seed=4, template_sha256="0" * 64)
    second = serve(FakeEngine())
    assert set(second.engine.resident) == {new, old, other}
    assert oldest not in second.engine.loads
    assert foreign not in second.engine.loads


def test_a_database_that_is_away_does_not_stop_an_engine_that_has_started(
    serve: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([OperationalError("select", None, Exception("gone"))])
    look = resolve.for_start

    def away_at_first(*given: Any) -> Any:
        for error in answers:
            raise error
        return look(*given)

    monkeypatch.setattr(resolve, "for_start", away_at_first)
    assert serve().engine.starts == 1
    assert next(answers, None) is None


def test_a_version_that_cannot_be_loaded_does_not_keep_the_others_from_ready(serve: Stage) -> None:
    first = serve()
    good, bad = first.publish("good", seed=1), first.publish("bad", seed=2)
    for path in (first.house.settings.home / "adapters").glob("*/*.safetensors"):
        if path.read_bytes() == b"bad":
            path.unlink()
    second = serve(FakeEngine())
    assert good in second.engine.resident
    assert bad not in second.engine.resident


def test_an_engine_that_runs_but_cannot_chat_is_not_ready_and_not_restarted(serve: Stage) -> None:
    class Templateless(FakeEngine):
        async def generate(self, kind: Kind, *rest: Any) -> Any:
            if kind is Kind.CHAT:
                raise RequestRefused(400, "there is no chat template", type="invalid_request_error")
            async for item in super().generate(kind, *rest):
                yield item

    server = serve(Templateless(), ready=False)
    until(lambda: "no chat template" in server.house.keeper.reason)
    assert server.http().get("/readyz").status_code == 503
    assert server.client().completions.create(model="tiny", prompt="x").choices
    assert server.engine.starts == 1


def test_the_engine_is_stopped_with_the_server(serve: Stage) -> None:
    server = serve()
    serve.stop()
    assert server.engine.alive is False
    assert server.house.keeper.ready is False


def test_an_engine_that_never_will_start_is_not_started_again_and_the_reason_stays(serve: Stage) -> None:
    class Misconfigured(FakeEngine):
        async def start(self) -> None:
            await super().start()
            raise EngineMisconfigured("vLLM does not take --this. Leave it out.")

    server = serve(Misconfigured(), ready=False)
    until(lambda: server.house.keeper.hopeless and not server.engine.alive)
    assert server.engine.starts == 1
    said = server.http().get("/readyz")
    assert (said.status_code, "Leave it out." in said.text) == (503, True)
    assert server.client().files.list().data == []
