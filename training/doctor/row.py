"""What the doctor keeps of an example. The one place that knows how examples are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from sys import intern

from records.dataset import Assistant, Content, Example, Message
from training.doctor.words import digest, words

KEPT_CHARACTERS = 8000  # of one text: what is compared, and what a row may cost


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer that is learnt, and what leads to it: `context` is the digest of all before it as words,
    `prompt` that text without system messages. A `call` is a call of tools, as JSON."""

    context: int
    prompt: str
    answer: str
    call: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One example. `whole` is the digest of all of it; lengths are in tokens (0: not counted),
    `longest` that of its longest sequence."""

    line: int
    whole: int
    system: str | None
    turns: tuple[Turn, ...]
    personal: frozenset[tuple[str, str]] = frozenset()  # (kind, digest of the value)
    tokens: int = 0
    supervised: int = 0
    longest: int = 0

    @property
    def last(self) -> Turn:
        return self.turns[-1]

    @property
    def key(self) -> int:
        """Equal for rows that ask the same."""
        return self.last.context

    @property
    def characters(self) -> int:
        return len(self.system or "") + sum(len(turn.prompt) + len(turn.answer) for turn in self.turns)


def row_of(example: Example, line: int) -> Row:
    told: list[tuple[str, str]] = [(message.role, said(message)) for message in example.messages]
    systems = [text for role, text in told if role in ("system", "developer")]
    return Row(
        line,
        digest(*(part for pair in told for part in pair)),
        intern("\n".join(systems)[:KEPT_CHARACTERS]) if systems else None,
        tuple(_turns(example.messages, told)),
    )


def text_of(example: Example) -> str:
    """All that is said in it."""
    return "\n".join(said(message) for message in example.messages)


def said(message: Message) -> str:
    """The text of a message; calls of tools as JSON."""
    text = _text(message.content)
    if isinstance(message, Assistant) and message.tool_calls:
        calls = [[call.function.name, _arguments(call.function.arguments)] for call in message.tool_calls]
        text += json.dumps(calls, sort_keys=True, ensure_ascii=False)
    return text or (getattr(message, "refusal", None) or "")


def _turns(messages: list[Message], told: list[tuple[str, str]]) -> Iterator[Turn]:
    context, prompt = 0, list[str]()
    for message, (role, text) in zip(messages, told, strict=True):
        if isinstance(message, Assistant) and message.weight:
            shown = "\n".join(prompt)
            kept = text[:KEPT_CHARACTERS]
            yield Turn(context, shown[-KEPT_CHARACTERS:], kept, bool(message.tool_calls))
        context = digest(str(context), role, *words(text))
        if role not in ("system", "developer"):
            prompt.append(text)


def _text(content: Content | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content)


def _arguments(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
