"""The messages of OpenAI's chat format, of which most kinds of training lines are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(Strict):
    type: Literal["text"]
    text: str


Content: TypeAlias = str | list[TextPart]


class Function(Strict):
    name: str = Field(min_length=1, max_length=64)
    arguments: str  # JSON text, as OpenAI sends it


class ToolCall(Strict):
    id: str
    type: Literal["function"]
    function: Function


class Signature(Strict):
    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None  # a JSON schema
    strict: bool | None = None


class OfferedTool(Strict):
    type: Literal["function"]
    function: Signature


class Prompted(Strict):
    role: Literal["system", "developer", "user"]
    content: Content
    name: str | None = None


class Assistant(Strict):
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


class Tool(Strict):
    role: Literal["tool"]
    content: Content
    tool_call_id: str


Message = Annotated[Prompted | Assistant | Tool, Field(discriminator="role")]
Answer = Annotated[Assistant | Tool, Field(discriminator="role")]  # what may follow a prompt
