"""One question to one model through the engine seam, timed: for what nobody waits for.

A tenant's streams come first: few questions at once while anybody else is being answered, and all at
LOW_PRIORITY.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from server import fields
from server.engine.base import LOW_PRIORITY, Engine, EngineUnavailable, Kind, RequestRefused, Version
from server.metrics import Metrics
from server.said import DATA, said
from server.usage import tokens

AT_ONCE_QUIET, AT_ONCE = 8, 2
QUIET_SECONDS = 2.0  # since anybody else's answer last moved
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Answer:
    """What was said and what it took. `problem` says why nothing was; then there is no figure either."""

    text: str = ""
    first_token_seconds: float | None = None
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cut: bool = False  # it came to the end of its tokens
    problem: str | None = None


@dataclass
class Asker:
    """One evaluation's; `salt` is the tenant's, `deadline` a time.monotonic()."""

    engine: Engine
    metrics: Metrics
    salt: str
    deadline: float
    _running: int = field(default=0)

    async def ask(
        self, messages: list[dict[str, Any]], tools: Any, max_tokens: int, version: Version | None
    ) -> Answer:
        """Raises EngineUnavailable; what the engine refuses, and what there is no time for, is a problem."""
        asked = {
            "model": "evaluated", "messages": messages, "temperature": 0, "max_tokens": max_tokens,
            "stream": True, "stream_options": {"include_usage": True},
            **({"tools": tools, "tool_choice": "none"} if tools else {}),
        }  # fmt: skip
        try:
            body = {**fields.check(Kind.CHAT, asked, self.salt).body, "priority": LOW_PRIORITY}
            if time.monotonic() > self.deadline:
                return Answer(problem="there was no time left")
            return await self._stream(body, version)
        except RequestRefused as error:
            return Answer(problem=error.message)

    async def _stream(self, body: dict[str, Any], version: Version | None) -> Answer:
        began, first, items, item = time.perf_counter(), None, list[bytes](), b""
        async with aclosing(self.engine.generate(Kind.CHAT, body, version)) as frames:  # type: ignore[type-var]
            async for item in frames:
                error = _error(item)
                if error is not None and error.get("type") == "server_error":
                    raise EngineUnavailable(f"An answer broke off: {error.get('message')}")
                if error is not None:
                    return Answer(problem=str(error.get("message")))
                items.append(item)
                if first is None and any(said([item])):
                    first = time.perf_counter() - began
        spent = time.perf_counter() - began
        prompt, completion = next(filter(any, map(tokens, reversed(items))), (None, None))
        cut = any(b'"finish_reason":"length"' in frame for frame in items)
        return Answer("".join(said(items)), first, spent, prompt, completion, cut)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Around a question and the grading of its answer, which may ask a model too."""
        while self._running >= self._at_once():  # noqa: ASYNC110 (the bound itself moves with others' streams)
            await asyncio.sleep(LOOK_SECONDS)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def _at_once(self) -> int:
        return AT_ONCE_QUIET if self.metrics.idle_seconds() > QUIET_SECONDS else AT_ONCE


def _error(item: bytes) -> dict[str, Any] | None:
    """What an error frame says, which ends a stream."""
    if b'"error"' not in item[:32]:
        return None
    try:
        error = json.loads(item.strip().removeprefix(DATA)).get("error")
    except json.JSONDecodeError:
        return None
    return error if isinstance(error, dict) else None
