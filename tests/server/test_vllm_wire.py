"""What becomes of vLLM's frames and of its words about a request, without an engine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from records.settings import Settings
from server.engine.base import EngineUnavailable, Kind, RequestRefused
from server.engine.vllm import VllmEngine
from server.engine.vllm_refusals import MAX_MESSAGE, field, plain
from server.engine.vllm_wire import first_error, frame, request
from tests.server.conftest import a_base

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


SENT = {"messages": [], "logit_bias": {"9": 1}}


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


@pytest.mark.parametrize(
    ("code", "refusal"), [(400, RequestRefused), (500, RequestRefused), (503, EngineUnavailable)]
)
def test_an_error_before_any_frame_is_an_answer_of_its_own(code: int, refusal: type[Exception]) -> None:
    error = {"message": "logit_bias is wrong", "type": "x", "param": None, "code": code}
    found = first_error(sse({"error": error}), SENT)
    assert type(found) is refusal
    if isinstance(found, RequestRefused):
        assert (found.status, found.param) == (code, "logit_bias" if code == 400 else None)


def an_engine(tmp_path: Path, frames: list[str]) -> VllmEngine:
    """Its handlers answer with these frames."""

    async def answer() -> AsyncIterator[str]:
        for one in frames:
            yield one

    async def handler(_request: Any) -> AsyncIterator[str]:
        return answer()

    engine = VllmEngine(Settings(home=tmp_path), a_base(tmp_path))
    engine._client = SimpleNamespace(errored=False)
    engine._loaders = SimpleNamespace(ended=False)
    engine._handlers = SimpleNamespace(
        openai_serving_models=SimpleNamespace(base_model_paths=[SimpleNamespace(name="tiny")]),
        openai_serving_chat=SimpleNamespace(create_chat_completion=handler),
    )
    return engine


def failing(error: Exception) -> str:
    """As vLLM's handlers write it."""
    from vllm.entrypoints.serve import create_error_response

    return f"data: {json.dumps(create_error_response(error).model_dump())}\n\n"


ASKED = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "top_logprobs": 0}


@pytest.mark.asyncio
async def test_a_stream_that_begins_with_an_error_is_refused_and_not_begun(tmp_path: Path) -> None:
    from vllm.exceptions import VLLMValidationError

    error = failing(VLLMValidationError("Too many.", parameter="top_logprobs", value=99))
    with pytest.raises(RequestRefused) as caught:
        await anext(an_engine(tmp_path, [error]).generate(Kind.CHAT, ASKED, None))
    assert (caught.value.status, caught.value.param, caught.value.message) == (
        400,
        "top_logprobs",
        "Too many.",
    )


@pytest.mark.asyncio
async def test_an_error_behind_a_frame_ends_the_stream_without_its_words(tmp_path: Path) -> None:
    frames = [sse(CHUNK), failing(ValueError("innards")), "data: [DONE]\n\n"]
    sent = [item async for item in an_engine(tmp_path, frames).generate(Kind.CHAT, ASKED, None)]
    assert len(sent) == 2
    assert b"The engine failed in the midst" in sent[1]
    assert b"innards" not in sent[1]


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
        ("Failed: <path>:83: Not closed.", "Failed: Not closed."),
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
