"""What our door costs, asked by either client."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench import overhead, report, vllm_load
from bench.chat_load import Round, Stream


def test_a_failed_request_of_vllms_client_ends_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(failed=1, errors=["Too Many Requests"])
    monkeypatch.setattr(vllm_load, "run", lambda *_, **__: found)
    server: Any = SimpleNamespace(name="chorus")
    with pytest.raises(RuntimeError, match=r"1 requests failed: .*Too Many"):
        overhead.ask(server, "vllm", 16, 96, 1)


def test_the_figures_are_ratios_of_neighbouring_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds(*ttfts: float) -> list[overhead.Round]:
        return [Round([Stream(ttft, 1.0, 10)], seconds=ttft) for ttft in ttfts]

    ended: dict[str, float] = {}
    monkeypatch.setattr(report, "end", ended.update)
    overhead.finish({16: (rounds(2, 4, 9), rounds(1, 4, 3)), 1: (rounds(1), rounds(2))})
    assert ended == {
        "ttft_p50_ratio": 2.0,
        "throughput_ratio": 0.5,
        "ttft_p50_ratio_1": 0.5,
        "throughput_ratio_1": 2.0,
    }
