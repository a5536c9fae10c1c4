"""What the fake engine refuses because the real one does: fields that contradict or need each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from server.engine.base import RequestRefused

MAX_PROMPTS = 1024
_CONSTRAINTS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")


def check(body: dict[str, Any]) -> None:
    """Raises RequestRefused that names the field at fault."""
    for name, problem in _problems(body):
        raise refused(name, problem)


def refused(name: str, problem: str) -> RequestRefused:
    return RequestRefused(400, f"{name} {problem}.", type="invalid_request_error", param=name)


def _problems(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if body.get("top_logprobs") and not body.get("logprobs"):
        yield "top_logprobs", "needs logprobs to be true"
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools == []:
        yield "tools", "must hold at least one tool"
    if choice not in (None, "none"):
        if not tools:
            yield "tool_choice", "needs tools"
        elif isinstance(choice, dict):
            if choice["function"]["name"] not in [tool["function"]["name"] for tool in tools]:
                yield "tool_choice", "names a function that is not among the tools"
        elif choice not in ("auto", "required"):
            yield "tool_choice", "is unknown"
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema" and "json_schema" not in wanted:
        yield "response_format", "needs json_schema"
    if body.get("continue_final_message") and body.get("add_generation_prompt"):
        yield "continue_final_message", "cannot be true with add_generation_prompt"
    yield from _structured(body.get("structured_outputs"))
    prompt = body.get("prompt")
    if prompt == "":
        yield "prompt", "must not be empty"
    if isinstance(prompt, list) and not isinstance(prompt[0], int) and len(prompt) > MAX_PROMPTS:
        yield "prompt", f"has more than {MAX_PROMPTS} entries"


def _structured(given: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if given is None:
        return
    if sum(given.get(name) is not None for name in _CONSTRAINTS) != 1:
        yield "structured_outputs", f"must hold one of {', '.join(_CONSTRAINTS)}"
    if "structural_tag" in given:
        try:
            if not json.loads(given["structural_tag"]):
                yield "structured_outputs", "has an empty structural_tag"
        except ValueError:
            yield "structured_outputs", "has a structural_tag that is not JSON"
