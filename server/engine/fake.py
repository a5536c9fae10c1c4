"""A deterministic stand-in for the engine: OpenAI's shapes without a model, for tests of all that is around.

Held to the same contract test as the real one. It knows no tools, no schemas and no template: its answer is
its model's name and the last words it was sent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from adapters.manifest import WEIGHTS
from server.engine.base import AdapterRefused, EngineUnavailable, Kind, RequestRefused, Version
from server.engine.fake_shapes import Answer, Choice

CONTEXT = 4096  # words, which are its tokens
DONE = b"data: [DONE]\n\n"


class FakeEngine:
    """`word_seconds` passes before each word; `alive` False plays a dead engine, `stuck` True a hung one."""

    def __init__(self, base: str = "tiny", *, word_seconds: float = 0.0, start_seconds: float = 0.0) -> None:
        self.base, self.word_seconds, self.start_seconds = base, word_seconds, start_seconds
        self.alive = self.stuck = False
        self.starts = 0
        self.running = 0
        self.loads: list[str] = []
        self.resident: dict[str, Version] = {}

    async def start(self) -> None:
        await asyncio.sleep(self.start_seconds)
        self.alive, self.starts = True, self.starts + 1

    async def stop(self) -> None:
        self.alive = self.stuck = False
        self.resident.clear()

    async def load(self, version: Version, path: Path) -> None:
        self._check_alive()
        if version.name not in self.resident:
            if not (path / WEIGHTS).is_file() or not (path / WEIGHTS).stat().st_size:
                raise AdapterRefused(f"There are no weights in {WEIGHTS}.")
            self.loads.append(version.name)
            self.resident[version.name] = version

    async def unload(self, version: Version) -> None:
        self.resident.pop(version.name, None)

    async def generate(
        self, kind: Kind, body: dict[str, Any], version: Version | None
    ) -> AsyncIterator[bytes]:
        self._check_alive()
        if version is not None and version.name not in self.resident:
            message = f"The model `{version.name}` does not exist."
            raise RequestRefused(404, message, type="invalid_request_error", code="model_not_found")
        answer = _answer(kind, body, version.name if version else self.base)
        self.running += 1
        try:
            if not body.get("stream"):
                await self._pause(self.word_seconds * answer.completion_tokens)
                yield _dump(answer.whole())
                return
            for chunk in answer.chunks():
                await self._pause(self.word_seconds)
                yield b"data: " + _dump(chunk) + b"\n\n"
            if (body.get("stream_options") or {}).get("include_usage"):
                yield b"data: " + _dump(answer.usage_chunk()) + b"\n\n"
            yield DONE
        finally:
            self.running -= 1

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while self.stuck:  # noqa: ASYNC110 (a test's flag, set from another thread)
            await asyncio.sleep(0.01)
        self._check_alive()

    def _check_alive(self) -> None:
        if not self.alive:
            raise EngineUnavailable("The engine is not running.")


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _answer(kind: Kind, body: dict[str, Any], model: str) -> Answer:
    """Raises RequestRefused for values that the real engine refuses as well."""
    prompt = _prompt(kind, body)
    budget = body.get("max_completion_tokens", body.get("max_tokens"))
    _check(body.get("temperature", 1), 0, 100, "temperature")
    _check(body.get("n", 1), 1, 16384, "n")
    if budget is not None:
        _check(budget, 1, CONTEXT, "max_tokens")
    said = f"{model} heard: {prompt}".split()
    words, reason = list(_until_stop(said, body.get("stop"))), "stop"
    if budget is not None and len(words) > budget:
        words, reason = words[:budget], "length"
    choices = [Choice(index, words, reason) for index in range(body.get("n", 1))]
    return Answer(kind, model, int(time.time()), len(prompt.split()), choices, bool(body.get("logprobs")))


def _prompt(kind: Kind, body: dict[str, Any]) -> str:
    if kind is Kind.COMPLETION:
        return str(body["prompt"])
    if not isinstance(body["messages"], list):
        raise _refused("messages", "must be a list")
    last = body["messages"][-1]
    content = last.get("content") or ""
    return content if isinstance(content, str) else " ".join(part["text"] for part in content)


def _until_stop(words: list[str], stop: str | list[str] | None) -> Iterator[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    for word in words:
        if any(text in word for text in stops):
            return
        yield word


def _check(value: Any, lowest: float, highest: float, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise _refused(name, f"must be a number from {lowest} to {highest}")


def _refused(name: str, problem: str) -> RequestRefused:
    return RequestRefused(400, f"{name} {problem}.", type="invalid_request_error", param=name)
