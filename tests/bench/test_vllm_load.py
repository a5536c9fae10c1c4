"""vLLM's own load client: what it is given, and what its result says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from bench import vllm_load
from bench.servers import Server

SERVER = Server("vllm", "http://127.0.0.1:1", "medium", Path("/models/medium"), "ck-secret", Mock())
SHAPE: dict[str, Any] = {"streams": 4, "requests": 8, "input_tokens": 64, "output_tokens": 3, "seed": 5}


def given(**more: Any) -> str:
    return " ".join(vllm_load.arguments(SERVER, **SHAPE, **more))


def test_the_line_holds_all_that_is_needed_to_repeat_it_and_not_the_key() -> None:
    line = given()
    for part in (
        "--base-url http://127.0.0.1:1 --model medium --tokenizer /models/medium",
        "--input-len 64 --output-len 3 --num-prompts 8 --max-concurrency 4 --seed 5 --temperature 0",
    ):
        assert part in line
    assert not any(part in line for part in ("ck-secret", "lora", "rate", "chat"))


def test_models_take_turns_and_a_rate_and_chats_can_be_asked_for() -> None:
    assert "--lora-modules luxe clinic --lora-assignment round-robin" in given(models=["luxe", "clinic"])
    assert "--request-rate 2.5" in given(rate=2.5)
    assert "--backend openai-chat --endpoint /v1/chat/completions" in given(chat=True)


def test_what_ended_early_is_a_failure_and_counts_in_no_figure() -> None:
    found = {
        "duration": 2.0,
        "output_lens": [3, 1, 0, 3],
        "input_lens": [64, 64, 64, 65],
        "ttfts": [0.1, 0.2, 0.0, 0.3],
        "itls": [[0.01, 0.03], [], [], [0.02, 0.02]],
        "errors": ["", "", "Too Many Requests", ""],
    }
    result = vllm_load.parse(found, 3, "vllm bench serve")
    assert (result.completed, result.failed, result.errors) == (2, 2, ["Too Many Requests"])
    assert (result.throughput, result.ttft, result.prompt_tokens) == (3.0, 0.2, [64, 65])
    assert result.tpots == [0.02, 0.02]
    assert result.itls == [0.01, 0.03, 0.02, 0.02]


def test_the_key_is_in_the_environment_only_while_it_asks(monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    with vllm_load._key("ck-secret"):
        assert os.environ["OPENAI_API_KEY"] == "ck-secret"
    assert os.environ["OPENAI_API_KEY"] == "mine"
