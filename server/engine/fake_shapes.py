"""The fake engine's answers in OpenAI's shapes, keys in the order that the real engine has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from server.engine.base import Kind

Json = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """`words` begin with `echoed` ones of the prompt; `thought` are their log-probabilities, if asked for."""

    index: int
    words: list[str]
    reason: str
    echoed: int = 0
    thought: list[float | None] | None = None

    def text(self) -> str:
        return " ".join(self.words)

    def pieces(self) -> list[str]:
        """The words as a stream sends them: the blank belongs to the word behind it."""
        return [word if place == 0 else f" {word}" for place, word in enumerate(self.words)]


@dataclass(frozen=True)
class Answer:
    kind: Kind
    model: str
    created: int
    prompt_tokens: int
    choices: list[Choice]

    @property
    def completion_tokens(self) -> int:
        return sum(len(choice.words) - choice.echoed for choice in self.choices)

    def whole(self) -> Json:
        chat = self.kind is Kind.CHAT
        head = self._head("chat.completion" if chat else "text_completion")
        return {**head, "choices": [self._choice(choice) for choice in self.choices], "usage": self._usage()}

    def chunks(self) -> Iterator[Json]:
        """A role chunk per choice (chat), a chunk per word, and one with the reason of the end."""
        chat = self.kind is Kind.CHAT
        head = self._head("chat.completion.chunk" if chat else "text_completion")
        for choice in self.choices:
            if chat:
                yield {**head, "choices": [_delta(choice, {"role": "assistant", "content": ""}, None)]}
            for piece in choice.pieces():
                part = _delta(choice, {"content": piece}, None) if chat else _text(choice, piece, None)
                yield {**head, "choices": [part]}
            part = _delta(choice, {}, choice.reason) if chat else _text(choice, "", choice.reason)
            yield {**head, "choices": [part]}

    def usage_chunk(self) -> Json:
        chat = self.kind is Kind.CHAT
        head = self._head("chat.completion.chunk" if chat else "text_completion")
        return {**head, "choices": [], "usage": self._usage()}

    def _head(self, kind: str) -> Json:
        prefix = "chatcmpl" if self.kind is Kind.CHAT else "cmpl"
        return {"id": f"{prefix}-fake", "object": kind, "created": self.created, "model": self.model}

    def _usage(self) -> Json:
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "completion_tokens": self.completion_tokens,
        }

    def _choice(self, choice: Choice) -> Json:
        if self.kind is Kind.COMPLETION:
            return {**_text(choice, choice.text(), choice.reason), "logprobs": _text_logprobs(choice)}
        message = {"role": "assistant", "content": choice.text(), "refusal": None}
        logprobs = {"content": _logprobs(choice), "refusal": None} if choice.thought is not None else None
        return {
            "index": choice.index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": choice.reason,
        }


def _delta(choice: Choice, delta: Json, reason: str | None) -> Json:
    return {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _text(choice: Choice, text: str, reason: str | None) -> Json:
    return {"index": choice.index, "text": text, "logprobs": None, "finish_reason": reason}


def _logprobs(choice: Choice) -> list[Json]:
    return [
        {"token": piece, "logprob": thought or -0.5, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece, thought in zip(choice.pieces(), choice.thought or [], strict=True)
    ]


def _text_logprobs(choice: Choice) -> Json | None:
    if choice.thought is None:
        return None
    pieces = choice.pieces()
    return {
        "text_offset": [sum(map(len, pieces[:place])) for place in range(len(pieces))],
        "token_logprobs": choice.thought,
        "tokens": pieces,
        "top_logprobs": [
            None if thought is None else {piece: thought}
            for piece, thought in zip(pieces, choice.thought, strict=True)
        ],
    }
