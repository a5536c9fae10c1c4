"""What the doctor keeps of an example. The one place that knows how examples are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from sys import intern

from records.dataset import Assistant, Completion, Content, Example, Line, Message, Pair
from training.doctor.words import digest, words

SYSTEMS = ("system", "developer")
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


@dataclass(frozen=True, slots=True)
class Told:
    """A message, or a part of a raw text; `learnt` where loss falls on it."""

    role: str
    text: str
    learnt: bool = False
    call: bool = False


def row_of(line: Line, number: int) -> Row:
    """Of a pair the preferred answer counts; the other one tells two pairs apart."""
    wanted = line.preferred if isinstance(line, Pair) else line
    told, everything = list(_told(wanted)), list(_all(line))
    systems = [one.text for one in told if one.role in SYSTEMS]
    return Row(
        number,
        digest(*(part for one in everything for part in (one.role, one.text))),
        intern("\n".join(systems)[:KEPT_CHARACTERS]) if systems else None,
        tuple(_turns(told)),
    )


def text_of(line: Line) -> str:
    """All that is said in it."""
    return "\n".join(one.text for one in _all(line))


def _all(line: Line) -> Iterator[Told]:
    if isinstance(line, Pair):
        yield from _told(line.preferred)
        yield from (one for one in _told(line.other) if one.learnt)
    else:
        yield from _told(line)


def _told(line: Example | Completion) -> Iterator[Told]:
    if isinstance(line, Completion):
        yield Told("user", line.prompt)
        yield Told("assistant", line.completion, learnt=True)
        return
    for message in line.messages:
        if isinstance(message, Assistant):
            yield Told(message.role, _said(message), bool(message.weight), bool(message.tool_calls))
        else:
            yield Told(message.role, _said(message))


def _said(message: Message) -> str:
    """The text of a message; calls of tools as JSON."""
    text = _text(message.content)
    if isinstance(message, Assistant) and message.tool_calls:
        calls = [[call.function.name, _arguments(call.function.arguments)] for call in message.tool_calls]
        text += json.dumps(calls, sort_keys=True, ensure_ascii=False)
    return text or (getattr(message, "refusal", None) or "")


def _turns(told: list[Told]) -> Iterator[Turn]:
    context, prompt = 0, list[str]()
    for one in told:
        if one.learnt:
            shown = "\n".join(prompt)
            yield Turn(context, shown[-KEPT_CHARACTERS:], one.text[:KEPT_CHARACTERS], one.call)
        context = digest(str(context), one.role, *words(one.text))
        if one.role not in SYSTEMS:
            prompt.append(one.text)


def _text(content: Content | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content)


def _arguments(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
