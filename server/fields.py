"""Which fields a chat or completion request may carry, in one table: say it or refuse it.

FORWARDED reaches the engine, whose handlers validate the value. READ_HERE decides which version answers:
`user` does where a brand has a canary. IGNORED has no effect on an answer here. ONLY accepts the values that
change nothing and refuses the rest. Any other field is a 400 that names it: the engine would honour more
(priority, chat_template, kv_transfer_params, ...) than a client may decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from server.bounds import MAX_MESSAGES, STRUCTURED_KEYS, check_choices, check_number, check_shapes
from server.engine.base import Kind
from server.errors import invalid

# fmt: off
_SAMPLING = {
    "max_tokens", "n", "stop", "stream", "stream_options", "temperature", "top_p", "frequency_penalty",
    "presence_penalty", "seed", "logit_bias", "logprobs", "response_format",
}
# vLLM's own; clients send them as `extra_body`.
_EXTRA = {
    "top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos", "bad_words",
    "skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output",
    "allowed_token_ids", "structured_outputs", "prompt_logprobs", "return_tokens_as_token_ids",
}
_CHAT = {
    "messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls",
    "reasoning_effort", "include_reasoning", "add_generation_prompt", "continue_final_message",
    "chat_template_kwargs",
}
# fmt: on
FORWARDED: Mapping[Kind, Set[str]] = {
    Kind.CHAT: _SAMPLING | _EXTRA | _CHAT,
    Kind.COMPLETION: _SAMPLING | _EXTRA | {"prompt", "echo", "add_special_tokens"},
}
READ_HERE = frozenset(["model", "user"])
IGNORED = frozenset(["metadata", "safety_identifier", "prompt_cache_key"])
ONLY: Mapping[str, tuple[Any, ...]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "prompt_cache_retention": ("in_memory", "in-memory"),
    "best_of": (1,),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "moderation": (),
    "prompt_cache_options": (),
    "functions": (),
    "function_call": (),
    "suffix": (),
}
_INSTEAD = {"functions": " Use `tools`.", "function_call": " Use `tool_choice`."}
_TEMPLATE_KEYS = frozenset(("enable_thinking", "thinking"))
_STREAM_OPTIONS = frozenset(("include_usage", "continuous_usage_stats", "include_obfuscation"))
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))
_KINDS = {"content": str | list | None, "tool_calls": list | None, "name": str | None}
_TEXT_PARTS = ("text", "refusal")


@dataclass(frozen=True)
class Asked:
    """A checked request: `body` is what the engine gets, without `model`. `user` is "" when none is named."""

    model: str
    user: str
    body: dict[str, Any]
    stream: bool
    wants_usage: bool


def check(kind: Kind, given: dict[str, Any], salt: str) -> Asked:
    """Split a client's body by the table. Raises RequestRefused that names the field."""
    model = given.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("You must provide a model, as text.", "model", "missing_required_parameter")
    user = given.get("user")
    if user is not None and not isinstance(user, str):
        raise invalid("'user' must be text.", "user", "invalid_type")
    forwarded, body = FORWARDED[kind], {"cache_salt": salt}
    for name, value in given.items():
        if name in forwarded:
            if value is not None:
                body[name] = value
                check_number(name, value)
        elif name not in READ_HERE:
            _refuse_unless_harmless(name, value)
    needed = "messages" if kind is Kind.CHAT else "prompt"
    if needed not in body:
        raise invalid(f"Missing required parameter: '{needed}'.", needed, "missing_required_parameter")
    if kind is Kind.CHAT:
        _check_messages(body["messages"])
    elif body["prompt"] in ("", []):
        raise invalid("'prompt' must not be empty.", "prompt", "invalid_value")
    check_choices(body.get("n", 1), body.get("prompt", ""))
    _check_keys("structured_outputs", body.get("structured_outputs", {}), STRUCTURED_KEYS)
    check_shapes(body)
    _check_keys("chat_template_kwargs", body.get("chat_template_kwargs", {}), _TEMPLATE_KEYS)
    stream, wants_usage = _check_stream(body)
    return Asked(model, user or "", body, stream, wants_usage)


def _refuse_unless_harmless(name: str, value: Any) -> None:
    if name in IGNORED:
        return
    if name not in ONLY:
        raise invalid(f"Unknown parameter: '{name[:64]}'.", name[:64], "unknown_parameter")
    allowed = ONLY[name]
    if value is not None and not any(value == known and type(value) is type(known) for known in allowed):
        only = f"; only {' or '.join(map(repr, allowed))} is" if allowed else ""
        raise invalid(
            f"'{name}' with this value is not supported{only}.{_INSTEAD.get(name, '')}",
            name,
            "unsupported_value" if allowed else "unsupported_parameter",
        )


def _check_messages(messages: Any) -> None:
    """A list of objects with known roles (a chat template would pass over others without a word), and no
    content but text: an image's address is one that the engine would fetch."""
    if not isinstance(messages, list) or not messages:
        raise invalid("'messages' must be a list of at least one message.", "messages", "invalid_type")
    if len(messages) > MAX_MESSAGES:
        raise invalid(
            f"Invalid 'messages': at most {MAX_MESSAGES} messages per request.", "messages", "too_large"
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise invalid(f"'messages[{index}]' must be an object.", f"messages[{index}]", "invalid_type")
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            param = f"messages[{index}].role"
            raise invalid(f"'{param}' must be one of {', '.join(sorted(_ROLES))}.", param, "invalid_value")
        for name, kinds in _KINDS.items():
            if not isinstance(message.get(name), kinds):
                param = f"messages[{index}].{name}"
                raise invalid(f"'{param}' is of the wrong kind.", param, "invalid_type")
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if not _is_text(part):
                param = f"messages[{index}].content[{place}]"
                raise invalid(f"'{param}' must be a part of type text.", param, "unsupported_value")


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and any(
        part.get("type") == kind and isinstance(part.get(kind), str) for kind in _TEXT_PARTS
    )


def _check_keys(name: str, value: Any, known: Set[str]) -> None:
    if not isinstance(value, dict):
        raise invalid(f"'{name}' must be an object.", name, "invalid_type")
    for key in value:
        if key not in known:
            param = f"{name}.{key[:64]}"
            raise invalid(f"Unknown parameter: '{param}'.", param, "unknown_parameter")


def _check_stream(body: dict[str, Any]) -> tuple[bool, bool]:
    """(stream, whether the client wants the usage frame); of a stream the engine is always asked for it."""
    stream, options = body.get("stream", False), body.pop("stream_options", {})
    if not isinstance(stream, bool):
        raise invalid("'stream' must be true or false.", "stream", "invalid_type")
    _check_keys("stream_options", options, _STREAM_OPTIONS)
    options = dict(options)
    if options.pop("include_obfuscation", None):
        param = "stream_options.include_obfuscation"
        raise invalid(f"'{param}' is not supported; leave it out.", param, "unsupported_value")
    if options and not stream:
        raise invalid("'stream_options' needs 'stream': true.", "stream_options", "invalid_value")
    if stream:
        body["stream_options"] = {**options, "include_usage": True}
    return stream, bool(options.get("include_usage"))
