"""What a line of a training file is (OpenAI's chat format), and errors that name the line.

Read by the server at upload and by the trainer at the start of a job: one definition for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from records import strict_json

MIN_EXAMPLES = 10
MAX_LINE_BYTES = 4 * 1024 * 1024
SHOWN_ERRORS = 5


class InvalidLine(ValueError):
    """A line that is no training example; the text names the line and what to change."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"Line {line}: {problem}")
        self.line, self.problem = line, problem


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(_Strict):
    type: Literal["text"]
    text: str


Content: TypeAlias = str | list[TextPart]


class Function(_Strict):
    name: str = Field(min_length=1, max_length=64)
    arguments: str  # JSON text, as OpenAI sends it


class ToolCall(_Strict):
    id: str
    type: Literal["function"]
    function: Function


class Signature(_Strict):
    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None  # a JSON schema
    strict: bool | None = None


class OfferedTool(_Strict):
    type: Literal["function"]
    function: Signature


class Prompted(_Strict):
    role: Literal["system", "developer", "user"]
    content: Content
    name: str | None = None


class Assistant(_Strict):
    role: Literal["assistant"]
    content: Content | None = None
    name: str | None = None
    refusal: str | None = None
    weight: Literal[0, 1] = 1
    tool_calls: list[ToolCall] | None = None
    # Not OpenAI's: thoughts that go before the answer, under either of the names that engines give them.
    reasoning_content: str | None = Field(
        None, validation_alias=AliasChoices("reasoning_content", "reasoning")
    )

    @model_validator(mode="after")
    def _says_something(self) -> Assistant:
        if self.content in (None, "", []) and not self.tool_calls:
            raise ValueError("an assistant message needs content or tool_calls")
        return self


class Tool(_Strict):
    role: Literal["tool"]
    content: Content
    tool_call_id: str


Message = Annotated[Prompted | Assistant | Tool, Field(discriminator="role")]


class Example(_Strict):
    """One conversation: loss falls on its assistant messages with weight 1."""

    messages: list[Message] = Field(min_length=1)
    tools: list[OfferedTool] | None = Field(None, max_length=128)
    parallel_tool_calls: bool = True

    @model_validator(mode="after")
    def _teaches_something(self) -> Example:
        if not any(isinstance(message, Assistant) and message.weight for message in self.messages):
            raise ValueError("no assistant message with weight 1, so there is nothing to learn from")
        return self


def parse_line(raw: bytes, number: int) -> Example:
    """One JSONL line (UTF-8, a BOM on line 1 is dropped) as an Example. Raises InvalidLine."""
    if len(raw) > MAX_LINE_BYTES:
        raise InvalidLine(number, f"longer than {MAX_LINE_BYTES} bytes; split the conversation.")
    try:
        value = strict_json.loads(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)
    except strict_json.NotJson as error:
        raise InvalidLine(number, f"not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise InvalidLine(number, 'not a JSON object; expected {"messages": [...]}.')
    try:
        return Example.model_validate(value)
    except ValidationError as error:
        raise InvalidLine(number, _first_problem(error)) from None


def parse(lines: Iterable[bytes]) -> Iterator[tuple[int, Example]]:
    """(line number from 1, Example) of each line that is not blank. Raises InvalidLine at a bad one."""
    for number, raw in enumerate(lines, start=1):
        if raw.strip():
            yield number, parse_line(raw, number)


def check(lines: Iterable[bytes]) -> tuple[int, list[InvalidLine]]:
    """(number of good examples, the first SHOWN_ERRORS bad lines)."""
    good, bad = 0, list[InvalidLine]()
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            parse_line(raw, number)
            good += 1
        except InvalidLine as error:
            bad.append(error)
            if len(bad) == SHOWN_ERRORS:
                break
    return good, bad


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(
        str(part) for part in first["loc"] if part not in ("system", "developer", "user", "assistant", "tool")
    )
    return f"{where or 'example'}: {first['msg'].removeprefix('Value error, ')}."
