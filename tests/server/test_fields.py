"""The table of request fields: what goes to the engine, what has no effect, what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.engine.base import Kind, RequestRefused
from server.fields import FORWARDED, IGNORED, ONLY, READ_HERE, check
from tests.conforms import document

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def checked(**given: Any) -> dict[str, Any]:
    return check(Kind.CHAT, {**HELLO, **given}, "salt").body


def refused(kind: Kind = Kind.CHAT, **given: Any) -> RequestRefused:
    base = HELLO if kind is Kind.CHAT else {"model": "tiny", "prompt": "hi"}
    with pytest.raises(RequestRefused) as caught:
        check(kind, {**base, **given}, "salt")
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("kind", list(Kind))
def test_every_field_that_openai_has_is_in_the_table(kind: Kind) -> None:
    """So that a new field of theirs is a decision of ours, not an accident."""
    schema = "CreateChatCompletionRequest" if kind is Kind.CHAT else "CreateCompletionRequest"
    known = FORWARDED[kind] | READ_HERE | IGNORED | set(ONLY)
    assert properties(schema) <= known


def properties(schema: str) -> set[str]:
    found: set[str] = set(document()["x-request-fields"][schema])
    assert "model" in found
    return found


@pytest.mark.parametrize(
    "name",
    [
        "priority",
        "cache_salt",
        "request_id",
        "chat_template",
        "kv_transfer_params",
        "vllm_xargs",
        "documents",
        "mm_processor_kwargs",
        "media_io_kwargs",
        "use_beam_search",
        "truncate_prompt_tokens",
        "prompt_embeds",
        "session_id",
        "lora_request",
        "tenant",
        "",
        "x" * 10_000,
    ],
)
@pytest.mark.parametrize("value", [None, 1, "x", {}])
def test_what_only_the_server_may_decide_is_refused_whatever_its_value(name: str, value: Any) -> None:
    refusal = refused(**{name: value})
    assert refusal.code == "unknown_parameter"
    assert refusal.param == name[:64]
    assert len(refusal.message) < 200


def test_the_salt_of_the_tenant_reaches_the_engine_and_the_model_does_not() -> None:
    assert checked()["cache_salt"] == "salt"
    assert "model" not in checked()


def test_null_means_left_out() -> None:
    assert checked(temperature=None, tools=None, store=None, audio=None) == checked()


def test_the_user_is_read_and_does_not_reach_the_engine() -> None:
    asked = check(Kind.CHAT, {**HELLO, "user": "u-1"}, "salt")
    assert asked.user == "u-1"
    assert "user" not in asked.body
    assert [check(Kind.CHAT, {**HELLO, **given}, "salt").user for given in ({}, {"user": None})] == ["", ""]


def test_fields_without_effect_are_taken_and_dropped() -> None:
    assert checked(user="u", metadata={"a": "b"}, store=False, service_tier="auto", modalities=["text"]) == (
        checked()
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store", True),
        ("store", 0),
        ("service_tier", "priority"),
        ("modalities", ["text", "audio"]),
        ("modalities", "text"),
        ("audio", {"voice": "x"}),
        ("prediction", {}),
        ("web_search_options", {}),
        ("functions", []),
        ("function_call", "auto"),
        ("verbosity", "low"),
        ("best_of", 2),
        ("suffix", "x"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(name: str, value: Any) -> None:
    assert refused(**{name: value}).param == name


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": ["tiny"]}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "nobody", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
                ]
            },
            "messages[0].content[0]",
        ),
        ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": 5}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "user", "content": "hi", "name": 5}]}, "messages[0].name"),
        ({"top_k": 2**70}, "top_k"),
        ({"max_tokens": -(2**31)}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"n": 129}, "n"),
        ({"user": 5}, "user"),
        ({"user": ["u"]}, "user"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs.chat_template"),
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs"),
    ],
    ids=str,
)
def test_a_value_at_fault_is_refused_with_its_place(given: dict[str, Any], param: str) -> None:
    assert refused(**given).param == param


def test_a_completion_takes_no_messages_and_needs_a_prompt() -> None:
    assert refused(Kind.COMPLETION, messages=[]).param == "messages"
    assert refused(Kind.COMPLETION, prompt=None).param == "prompt"


def test_a_stream_always_asks_the_engine_for_usage() -> None:
    asked = check(Kind.CHAT, {**HELLO, "stream": True}, "salt")
    assert asked.body["stream_options"] == {"include_usage": True}
    assert asked.wants_usage is False


def test_the_clients_body_is_left_as_it_was() -> None:
    given = {**HELLO, "stream": True, "stream_options": {"include_obfuscation": False}}
    before = json.dumps(given)
    check(Kind.CHAT, given, "salt")
    assert json.dumps(given) == before
