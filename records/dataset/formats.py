"""The formats of training lines, and the three things that they come to: Example, Completion, Pair.

Chat is OpenAI's; prompt/completion and prompt/chosen/rejected are TRL's, as texts or as message lists; pairs
have OpenAI's spelling besides. Called by reading.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import AliasChoices, Field, model_validator

from records.dataset.messages import Answer, Assistant, Message, OfferedTool, Strict

Text = Annotated[str, Field(min_length=1)]
Messages = Annotated[list[Message], Field(min_length=1)]
Answers = Annotated[list[Answer], Field(min_length=1)]
Tools = Annotated[list[OfferedTool] | None, Field(max_length=128)]


class Example(Strict):
    """One conversation: loss falls on its assistant messages with weight 1."""

    messages: Messages
    tools: Tools = None
    parallel_tool_calls: bool = True

    @model_validator(mode="after")
    def _teaches_something(self) -> Example:
        _check_learnt(self.messages)
        return self

    def means(self) -> Example:
        return self


class Completion(Strict):
    """Raw text, as /v1/completions serves it: loss falls on the completion and the end token."""

    prompt: Text
    completion: Text

    def means(self) -> Completion:
        return self


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt; loss falls on the answers only."""

    preferred: Example | Completion
    other: Example | Completion


Line: TypeAlias = Example | Completion | Pair


class _Conversation(Strict):
    """TRL's prompt/completion with message lists."""

    prompt: Messages
    completion: Answers
    tools: Tools = None

    @model_validator(mode="after")
    def _teaches_something(self) -> _Conversation:
        _check_learnt(self.completion)
        return self

    def means(self) -> Example:
        return _example(self.prompt, self.completion, self.tools)


class _Asked(Strict):
    messages: Messages
    tools: Tools = None
    parallel_tool_calls: bool = True


class _Compared(Strict):
    """OpenAI's pairs. An older document of theirs says `preferred_completion`."""

    input: _Asked
    preferred_output: Answers = Field(
        validation_alias=AliasChoices("preferred_output", "preferred_completion")
    )
    non_preferred_output: Answers = Field(
        validation_alias=AliasChoices("non_preferred_output", "non_preferred_completion")
    )

    @model_validator(mode="after")
    def _differ(self) -> _Compared:
        _check_pair(self.preferred_output, self.non_preferred_output)
        return self

    def means(self) -> Pair:
        asked = self.input
        answers = self.preferred_output, self.non_preferred_output
        return Pair(*(_example(asked.messages, answer, asked.tools) for answer in answers))


class _ChosenMessages(Strict):
    """TRL's pairs with message lists."""

    prompt: Messages
    chosen: Answers
    rejected: Answers
    tools: Tools = None

    @model_validator(mode="after")
    def _differ(self) -> _ChosenMessages:
        _check_pair(self.chosen, self.rejected)
        return self

    def means(self) -> Pair:
        return Pair(*(_example(self.prompt, answer, self.tools) for answer in (self.chosen, self.rejected)))


class _ChosenText(Strict):
    """TRL's pairs with texts."""

    prompt: Text
    chosen: Text
    rejected: Text

    @model_validator(mode="after")
    def _differ(self) -> _ChosenText:
        if self.chosen == self.rejected:
            raise ValueError(SAME)
        return self

    def means(self) -> Pair:
        answers = self.chosen, self.rejected
        return Pair(*(Completion(prompt=self.prompt, completion=answer) for answer in answers))


SAME = "the preferred and the other answer are equal, so neither can be preferred; leave the pair out"


class Format(NamedTuple):
    """`shape` is how people are told of it."""

    shape: str
    model: Any


CHAT = Format('{"messages": [...]}', Example)
FORMATS = (
    CHAT,
    Format('{"prompt": "...", "completion": "..."}', Completion),
    Format('{"prompt": [...], "completion": [...]}', _Conversation),
    Format('{"input": {...}, "preferred_output": [...], "non_preferred_output": [...]}', _Compared),
    Format('{"prompt": "...", "chosen": "...", "rejected": "..."}', _ChosenText),
    Format('{"prompt": [...], "chosen": [...], "rejected": [...]}', _ChosenMessages),
)
_, TEXT, CONVERSATION, COMPARED, CHOSEN_TEXT, CHOSEN_MESSAGES = FORMATS


def format_of(value: dict[str, Any]) -> Format | None:
    """The format that a line is meant to have, by its keys; None when they tell of none."""
    is_text = not isinstance(value.get("prompt"), list)
    if "messages" in value:
        return CHAT
    if "completion" in value:
        return TEXT if is_text else CONVERSATION
    if "input" in value or "preferred_output" in value:
        return COMPARED
    if "chosen" in value or "rejected" in value:
        return CHOSEN_TEXT if is_text else CHOSEN_MESSAGES
    return None


def _check_learnt(messages: list[Any]) -> None:
    if not any(isinstance(message, Assistant) and message.weight for message in messages):
        raise ValueError("no assistant message with weight 1, so there is nothing to learn from")


def _check_pair(preferred: list[Any], other: list[Any]) -> None:
    _check_learnt(preferred)
    _check_learnt(other)
    if preferred == other:
        raise ValueError(SAME)


def _example(prompt: list[Any], answer: list[Any], tools: list[OfferedTool] | None) -> Example:
    """Of parts that are checked already: nothing in the prompt is learnt."""
    asked = [
        message.model_copy(update={"weight": 0}) if isinstance(message, Assistant) else message
        for message in prompt
    ]
    return Example.model_construct(messages=[*asked, *answer], tools=tools, parallel_tool_calls=True)
