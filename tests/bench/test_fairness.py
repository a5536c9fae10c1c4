"""The noisy neighbour's figures."""

from __future__ import annotations

import asyncio

import pytest

from bench import fairness
from bench.chat_load import Stream
from bench.fairness import Flood, Measured


def test_the_ratios_are_medians_over_rounds_of_flooded_over_alone() -> None:
    ours = [Measured([1.0, 1.0, 1.0], [2.0, 2.0, 4.0], 800.0), Measured([1.0] * 3, [6.0] * 3, 700.0)]
    theirs = [Measured([0.5] * 3, [50.0] * 3, 900.0)]
    figures = fairness.figures({"chorus": ours, "vllm": theirs})
    assert figures["ttft_p50_ratio"] == 4.0
    assert figures["ttft_p99_ratio"] == pytest.approx((3.96 + 6) / 2)
    assert figures["flood_tokens_per_s"] == 750.0
    assert (figures["stock_ttft_p50_ratio"], figures["stock_ttft_p99_ratio"]) == (100.0, 100.0)


async def test_a_flood_asks_anew_as_soon_as_it_is_answered_and_says_when_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def ask(_session: object, model: str, text: str, tokens: int) -> Stream:
        asked.append(text)
        await asyncio.sleep(0)
        return Stream(0.1, 0.2, tokens)

    monkeypatch.setattr(fairness, "ask", ask)
    flood = Flood()
    stream = asyncio.create_task(flood.stream(None, 1))  # type: ignore[arg-type]
    await flood.running.wait()
    stream.cancel()
    assert flood.answers >= fairness.PLACES
    assert len(set(asked)) == len(asked)  # no prompt twice: none lies in the prefix cache
