"""What becomes of vLLM's frames and of its words about a request, without an engine."""

from __future__ import annotations

import json
from typing import Any

from server.engine.vllm_wire import frame

CHUNK = {
    "id": "chatcmpl-1",
    "choices": [
        {
            "index": 0,
            "delta": {"content": 'He said ,"token_ids":null and ,"stop_reason":null.'},
            "logprobs": None,
            "finish_reason": None,
            "stop_reason": None,
            "token_ids": None,
        }
    ],
    "prompt_token_ids": None,
    "prompt_text": None,
}


def sse(chunk: Any) -> str:
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"


def test_a_frame_loses_what_is_null_and_vllms_own() -> None:
    left = json.loads(frame(sse(CHUNK))[6:])
    assert set(left) == {"id", "choices"}
    assert set(left["choices"][0]) == {"index", "delta", "logprobs", "finish_reason"}


def test_the_words_of_the_model_stay_as_they_are() -> None:
    left = json.loads(frame(sse(CHUNK))[6:])
    assert left["choices"][0]["delta"] == CHUNK["choices"][0]["delta"]  # type: ignore[index]


def test_the_stop_that_ended_an_answer_stays() -> None:
    ended = {"choices": [{"finish_reason": "stop", "stop_reason": "END", "token_ids": None}]}
    assert json.loads(frame(sse(ended))[6:]) == {"choices": [{"finish_reason": "stop", "stop_reason": "END"}]}
