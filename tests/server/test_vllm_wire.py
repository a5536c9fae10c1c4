"""What becomes of vLLM's frames and of its words about a request, without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.engine.base import Kind, RequestRefused
from server.engine.vllm_refusals import MAX_MESSAGE, field, plain
from server.engine.vllm_wire import frame, request

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


HELLO = [{"role": "user", "content": "hi"}]


def said_of(kind: Kind, **given: Any) -> RequestRefused:
    asked = {"messages": HELLO} if kind is Kind.CHAT else {"prompt": "hi"}
    with pytest.raises(RequestRefused) as caught:
        request(kind, {"model": "tiny", "cache_salt": "salt", **asked, **given})
    assert caught.value.status == 400
    assert "\n" not in caught.value.message
    assert "For further" not in caught.value.message
    assert len(caught.value.message) < MAX_MESSAGE + 50
    return caught.value


@pytest.mark.parametrize(
    ("kind", "given", "param", "part"),
    [
        (Kind.CHAT, {"stop": 5}, "stop", "valid string, or: Input should be a valid list."),
        (Kind.CHAT, {"stop": ["a", 5]}, "stop", "valid string"),
        (Kind.CHAT, {"stop": list("abcde")}, "stop", "at most 4"),
        (Kind.COMPLETION, {"stop": list("abcde")}, "stop", "at most 4"),
        (Kind.CHAT, {"temperature": "hot"}, "temperature", "valid number"),
        (Kind.CHAT, {"response_format": "x"}, "response_format", "valid dictionary"),
        (Kind.CHAT, {"response_format": {"type": "x"}}, "response_format", "'json_schema'"),
        (Kind.CHAT, {"response_format": {"type": "structural_tag"}}, "response_format", "structural_tag"),
        (Kind.CHAT, {"bad_words": [1]}, "bad_words[0]", "valid string"),
        (Kind.CHAT, {"tools": [{"type": "function"}]}, "tools[0].function", "Missing"),
        (Kind.CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages[0]", "valid string"),
        (Kind.CHAT, {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages", "required"),
        (Kind.CHAT, {"messages": [{"role": "assistant", "tool_calls": 5}]}, None, "wrong kind"),
        (Kind.CHAT, {"structured_outputs": "x"}, None, "wrong kind"),
        (Kind.COMPLETION, {"prompt": [-1]}, "prompt", "greater than or equal to 0"),
        (Kind.COMPLETION, {"prompt": {}}, "prompt", "valid list"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_at_fault_is_named_as_it_was_sent(
    kind: Kind, given: dict[str, Any], param: str | None, part: str
) -> None:
    refusal = said_of(kind, **given)
    assert refusal.param == param
    assert part in refusal.message


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("x must be 1 (parameter=x, value=2)", "x must be 1"),
        (
            "Failed: [23:45:41] /project/cpp/grammar_parser.cc:820: EBNF parser error at line 1",
            "Failed: EBNF parser error at line 1",
        ),
        ("None is set: {'json': None, 'regex': None}", "None is set"),
        ("No file /home/someone/models/x here", "No file <path> here"),
        (
            "1 error for X\n  a\n    Bad [type=t, input_value='1']\n    For further information visit https://x",
            "",
        ),
        ("many " * 1000, ""),
    ],
)
def test_a_message_is_one_line_without_what_is_for_developers(message: str, left: str) -> None:
    assert left in plain(message)
    assert not any(noise in plain(message) for noise in ("\n", "https", "[type", ".cc"))
    assert len(plain(message)) <= MAX_MESSAGE + 3


def test_a_field_is_found_by_the_name_that_the_client_used() -> None:
    sent = {"model": "m", "logprobs": True, "top_logprobs": 99, "max_completion_tokens": 5, "messages": []}
    assert field("logprobs", "", sent) == "top_logprobs"
    assert field("max_tokens", "", sent) == "max_completion_tokens"
    assert field("input_tokens", "too many of them", sent) is None
    assert field(None, "the model wants `messages` before max_completion_tokens", sent) == "messages"
    assert field(None, "Invalid grammar specification.", {"structured_outputs": {}}) == "structured_outputs"
    assert field(None, "Invalid grammar specification.", sent) is None
