"""A whole server with fewer slots and places in memory than brands: each brand answers as it does alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer
from tests.rounding import STRENGTH, allowed_on, apart, assert_clear, question

pytestmark = pytest.mark.engine

SLOTS, KEPT, BRANDS = 2, 4, 7


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """vLLM's own flags for adapters are the server's settings too."""
    flags = ("--no-worker", "--", "--max-loras", str(SLOTS), f"--max-cpu-loras={KEPT}")
    home: Path = tmp_path_factory.mktemp("crowded")
    server = LiveServer(home, *flags)
    for number in range(BRANDS):
        server.publish(f"brand-{number}", number, strength=STRENGTH)
    server.start()
    yield server
    server.stop()


def value(metrics: str, series: str) -> float:
    (found,) = re.findall(rf"^{re.escape(series)} (\S+)$", metrics, re.MULTILINE)
    return float(found)


def test_more_brands_than_slots_answer_as_each_alone_and_the_bounds_hold(crowded: LiveServer) -> None:
    client, brands = crowded.client(), [f"brand-{number}" for number in range(BRANDS)]

    def ask(brand: str) -> dict[str, Any]:
        return client.post("/chat/completions", body={**question(), "model": brand}, cast_to=dict[str, Any])

    limit = allowed_on(crowded)
    alone = {brand: ask(brand) for brand in brands}
    assert len({answer["model"] for answer in alone.values()}) == BRANDS
    assert_clear(list(alone.values()), limit)
    with ThreadPoolExecutor(3 * BRANDS) as pool:
        asked = [brands[number % BRANDS] for number in range(9 * BRANDS)]
        running = [pool.submit(ask, brand) for brand in asked]
        held = [0.0]
        while not all(answer.done() for answer in running):
            metrics = crowded.metrics()
            held.append(value(metrics, 'chorus_places_held{place="slot"}'))
            assert value(metrics, 'chorus_places_held{place="memory"}') <= KEPT
        mixed = [answer.result() for answer in running]
    for brand, answer in zip(asked, mixed, strict=True):
        assert answer["model"] == alone[brand]["model"]
        assert apart(answer, alone[brand]) < limit, brand
    assert max(held) == SLOTS
    after = crowded.metrics()
    assert value(after, 'chorus_requests_waiting{place="slot"}') == 0
    assert value(after, 'chorus_place_wait_seconds_sum{place="slot"}') > 0
    assert value(after, "chorus_resident_versions") <= KEPT
    assert "vllm:lora_requests_info{" not in after


def test_a_start_says_what_it_holds(crowded: LiveServer) -> None:
    said = crowded.log.read_text(errors="replace")
    assert f"chorus: {SLOTS} slots, {KEPT} adapters in memory, rank 32 at most" in said
