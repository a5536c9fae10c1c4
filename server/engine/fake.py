"""A deterministic stand-in for the engine: OpenAI's shapes without a model, for tests of all that is around.

Held to the same contract test as the real one. It knows no tools, no schemas and no template: its answer is
its model's name and the last words it was sent; where it may only choose, the first of these words that is a
choice. Log-probabilities come from its model and the words so far.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from adapters.manifest import WEIGHTS
from server.engine.base import AdapterRefused, EngineHung, EngineUnavailable, Kind, RequestRefused, Version
from server.engine.fake_refusals import check, refused
from server.engine.fake_shapes import Answer, Choice

CONTEXT = 4096  # words, which are its tokens
DONE = b"data: [DONE]\n\n"


class FakeEngine:
    """`word_seconds` passes before each word; `alive` False plays a dead engine, `stuck` True a hung one,
    which shows after `hang_seconds`."""

    def __init__(
        self,
        base: str = "tiny",
        *,
        word_seconds: float = 0.0,
        start_seconds: float = 0.0,
        hang_seconds: float = 30.0,
    ) -> None:
        self.base, self.word_seconds, self.start_seconds = base, word_seconds, start_seconds
        self.hang_seconds = hang_seconds
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
        answer = self._answer(kind, body, version.name if version else self.base)
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

    def says(self, model: str, prompt: list[str]) -> list[str]:
        """The words of an answer."""
        return [model, "heard:", *prompt]

    def logprobs(self, model: str, words: Sequence[str]) -> list[float | None]:
        """What `model` thinks of each word; nothing of the first, which follows on nothing."""
        so_far, thought = hashlib.sha256(model.encode()), list[float | None]()
        for word in words:
            so_far.update(f" {word}".encode())
            thought.append(-3 * int.from_bytes(so_far.digest()[:4]) / 2**32 if thought else None)
        return thought

    def _answer(self, kind: Kind, body: dict[str, Any], model: str) -> Answer:
        """Raises RequestRefused for values that the real engine refuses as well."""
        check(body)
        prompts = _prompts(body) if kind is Kind.COMPLETION else [_last_message(body)]
        budget = body.get("max_completion_tokens", body.get("max_tokens"))
        _check(body.get("temperature", 1), 0, 100, "temperature")
        _check(body.get("n", 1), 1, 16384, "n")
        if budget is not None:
            _check(budget, 1, CONTEXT, "max_tokens")
        choices: list[Choice] = []
        for prompt in prompts:
            said = _chosen(body, prompt) or self.says(model, prompt)
            words, reason = list(_until_stop(said, body.get("stop"))), "stop"
            if budget is not None and len(words) > budget:
                words, reason = words[:budget], "length"
            echoed = len(prompt) if body.get("echo") else 0
            shown, thought = [*prompt[:echoed], *words], None
            if body.get("logprobs") is not None and body["logprobs"] is not False:  # 0 asks for them
                thought = self.logprobs(model, [*prompt, *words])[-len(shown) :]
            numbers = range(len(choices), len(choices) + body.get("n", 1))
            choices += [Choice(number, shown, reason, echoed, thought) for number in numbers]
        return Answer(kind, model, int(time.time()), sum(map(len, prompts)), choices)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen = time.monotonic()
        while self.stuck:
            if time.monotonic() - seen > self.hang_seconds:
                raise EngineHung("The engine hangs: a test has stopped it.")
            await asyncio.sleep(0.01)
        self._check_alive()

    def _check_alive(self) -> None:
        if not self.alive:
            raise EngineUnavailable("The engine is not running.")


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _prompts(body: dict[str, Any]) -> list[list[str]]:
    """Each prompt in words; a token id is a word."""
    given = body["prompt"]
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    return [one.split() if isinstance(one, str) else [f"<{token}>" for token in one] for one in given]


def _last_message(body: dict[str, Any]) -> list[str]:
    if not isinstance(body["messages"], list):
        raise refused("messages", "must be a list")
    last = body["messages"][-1]
    content = last.get("content") or ""
    text = content if isinstance(content, str) else " ".join(part["text"] for part in content)
    return text.split()


def _chosen(body: dict[str, Any], prompt: list[str]) -> list[str]:
    """Where it may only choose: the first word that is a choice, else the first choice. Nothing elsewhere."""
    choices: list[str] = (body.get("structured_outputs") or {}).get("choice") or []
    return [next((word for word in prompt if word in choices), choices[0])] if choices else []


def _until_stop(words: list[str], stop: str | list[str] | None) -> Iterator[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    for word in words:
        if any(text in word for text in stops):
            return
        yield word


def _check(value: Any, lowest: float, highest: float, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise refused(name, f"must be a number from {lowest} to {highest}")
