"""However many brands are asked at once, the engine works on as many as it has slots."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from server.admission import Admitted
from server.engine.base import LOW_PRIORITY, Kind, Version, whole
from server.engine.fake import FakeEngine
from server.metrics import Metrics, Waits
from server.places import Places
from tests.patience import PATIENCE
from tests.server.conftest import Running, Stage, until

HELLO: Any = [{"role": "user", "content": "hello"}]


class Counted(FakeEngine):
    """Notes the most versions that it was asked for at once, and what each request was."""

    def __init__(self, **given: float) -> None:
        super().__init__(**given)
        self.most, self._now = 0, list[str]()
        self.priorities: list[int] = []

    async def generate(
        self, kind: Kind, body: dict[str, Any], version: Version | None
    ) -> AsyncIterator[bytes]:
        if version is not None:
            self._now.append(version.name)
            self.priorities.append(body.get("priority", 0))
            self.most = max(self.most, len(set(self._now)))
        try:
            async for item in super().generate(kind, body, version):
                yield item
        finally:
            if version is not None:
                self._now.remove(version.name)


def ask(server: Running, model: str, stream: bool = False) -> str:
    """The name of the version that answered the whole of it."""
    body = {"model": model, "messages": HELLO, "stream": stream}
    reply = httpx.post(
        f"{server.root}/v1/chat/completions", json=body, timeout=PATIENCE,
        headers={"Authorization": f"Bearer {server.keys['acme']}"},
    )  # fmt: skip
    assert reply.status_code == 200, reply.text
    if stream:
        assert "[DONE]" in reply.text
        return str(json.loads(reply.text.split("\n", 1)[0].removeprefix("data: "))["model"])
    return str(reply.json()["model"])


def test_more_brands_than_slots_are_all_answered_and_the_bound_holds(serve: Stage) -> None:
    engine = Counted(word_seconds=0.01)
    server = serve(engine, max_loras=3, max_cpu_loras=4)
    versions = {f"b{n}": server.publish(f"b{n}", seed=n) for n in range(10)}
    with ThreadPoolExecutor(30) as pool:
        brands = [f"b{n % 10}" for n in range(60)]
        answered = list(pool.map(lambda n: ask(server, brands[n], n % 2 == 0), range(60)))
    assert answered == [versions[brand] for brand in brands]
    assert engine.most == 3
    assert len(server.engine.resident) <= 4 + 1  # one may be on its way out


def test_the_base_model_waits_for_no_slot(serve: Stage) -> None:
    server = serve(FakeEngine(word_seconds=0.01), max_loras=1)
    server.publish("luxe")
    words = [{"role": "user", "content": "word " * 2000}]
    with server.client().chat.completions.create(model="luxe", messages=words, stream=True) as stream:  # type: ignore[call-overload]
        next(iter(stream))
        assert ask(server, "tiny") == "tiny"
        assert server.engine.running == 1


def test_a_client_that_gives_up_gives_its_slot_and_its_turn_back(serve: Stage) -> None:
    server = serve(FakeEngine(word_seconds=0.01), max_loras=1)
    for n in range(3):
        server.publish(f"b{n}", seed=n)
    words: Any = [{"role": "user", "content": "word " * 2000}]
    slots = server.house.engine.slots
    first = server.client().chat.completions.create(model="b0", messages=words, stream=True)
    next(iter(first))
    body = {"model": "b1", "messages": HELLO}
    with pytest.raises(httpx.ReadTimeout):
        server.http().post("/v1/chat/completions", json=body, timeout=0.5)
    until(lambda: slots.waiting == 0)
    first.close()
    until(lambda: slots.held == 0)
    assert ask(server, "b2")


def test_a_version_is_loaded_while_its_request_waits(serve: Stage) -> None:
    server = serve(FakeEngine(word_seconds=0.01), max_loras=1)
    server.publish("b0")
    checkpoint = server.publish("b1", seed=1, step=5)  # nothing loads a checkpoint ahead
    words: Any = [{"role": "user", "content": "word " * 2000}]
    with server.client().chat.completions.create(model="b0", messages=words, stream=True) as stream:
        next(iter(stream))
        waiting = threading.Thread(target=ask, args=(server, checkpoint))
        waiting.start()
        until(lambda: server.house.engine.slots.waiting == 1)
        assert checkpoint in server.engine.resident
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


async def test_low_priority_waits_behind_a_client_that_came_later() -> None:
    engine = Counted()
    admitted = Admitted(engine, Places(1, Waits(Metrics(), "slot")))
    await engine.start()
    versions = [Version(f"ft:tiny:a:b{n}:0000000{n}", f"{n}" * 64) for n in range(3)]
    engine.resident = {version.name: version for version in versions}
    body = {"messages": HELLO, "stream": True}
    first = admitted.generate(Kind.CHAT, body, versions[0])
    await anext(first)
    low = asyncio.create_task(
        whole(admitted, Kind.CHAT, {"messages": HELLO, "priority": LOW_PRIORITY}, versions[1])
    )
    await asyncio.sleep(0)
    client = asyncio.create_task(whole(admitted, Kind.CHAT, {"messages": HELLO}, versions[2]))
    await asyncio.sleep(0)
    await first.aclose()  # type: ignore[attr-defined]
    await asyncio.gather(low, client)
    assert engine.priorities == [0, 0, LOW_PRIORITY]


async def test_an_answer_that_was_closed_takes_no_slot_any_more() -> None:
    engine, slots = FakeEngine(), Places(1, Waits(Metrics(), "slot"))
    await engine.start()
    version = Version("ft:tiny:a:b:00000000", "0" * 64)
    engine.resident = {version.name: version}
    frames = Admitted(engine, slots).generate(Kind.CHAT, {"messages": HELLO, "stream": True}, version)
    await anext(frames)
    for _ in range(2):
        await frames.aclose()  # type: ignore[attr-defined]
    with pytest.raises(StopAsyncIteration):
        await anext(frames)
    assert slots.held == 0
