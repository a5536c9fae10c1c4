"""What an evaluation asks: held-out examples as questions with their reference answers, and what a base may
be given instead of training (an instruction, examples).

Written by a job into one blob, read by the server that evaluates; a gate's file is read with `of` too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from records.dataset import Assistant, Completion, Line, Pair

MOST_CASES = 100
CHECKPOINT_CASES = 20  # of them for a checkpoint that is not published: it decides nothing
MOST_TEXT = 16_000  # characters of a case's messages and answer
SYSTEMS = ("system", "developer")

Message = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Case(_Strict):
    """Messages that end where the assistant speaks, and what it should say. `id` says where it is from."""

    id: str
    messages: list[Message]
    reference: str
    tools: list[dict[str, Any]] | None = None

    def asked(self, *, systems: bool) -> list[Message]:
        """The messages, with or without those of the system."""
        return [message for message in self.messages if systems or message["role"] not in SYSTEMS]

    @property
    def said(self) -> tuple[str, str]:
        """What is asked, and the answer: two cases of the same are one."""
        return json.dumps(self.messages, sort_keys=True), self.reference

    @property
    def instruction(self) -> str | None:
        """Its one system message."""
        found = [text(message["content"]) for message in self.messages if message["role"] in SYSTEMS]
        return found[0] if len(found) == 1 else None


class Material(_Strict):
    """The blob. `shots` are taught examples for a few-shot prompt; `from_rows` says that the instruction is
    the system message that all examples share, `left_out` how many held-out examples are no cases, and
    `taught` how many were left out because training has them too."""

    cases: list[Case]
    shots: list[Case] = []
    instruction: str | None = None
    from_rows: bool = False
    max_tokens: int
    left_out: int = 0
    taught: int = 0


def of(line: Line, id: str) -> Case | None:
    """A line of a training file as a case: its last answer that is learnt, the preferred one of a pair.

    None for what has no text to compare with (calls of tools, a bare completion) or too much of it.
    """
    example = line.preferred if isinstance(line, Pair) else line
    if isinstance(example, Completion):
        return None
    last = max((k for k, said in enumerate(example.messages) if _is_learnt(said)), default=0)
    messages, answer = example.messages[:last], example.messages[last]
    if not messages or not isinstance(answer, Assistant) or answer.tool_calls:
        return None
    before = [message.model_dump(exclude_none=True, exclude={"weight"}) for message in messages]
    case = Case(
        id=id,
        messages=before,
        reference=text(answer.content),
        tools=[tool.model_dump(exclude_none=True) for tool in example.tools] if example.tools else None,
    )
    size = len(case.reference) + sum(len(str(message)) for message in before)
    return case if case.reference and size <= MOST_TEXT else None


def text(content: Any) -> str:
    """A message's content as one text."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part["text"] if isinstance(part, dict) else part.text for part in content)


def shared_instruction(cases: Iterable[Case]) -> str | None:
    """The system message that all of them have."""
    found = {case.instruction for case in cases}
    return found.pop() if len(found) == 1 else None


def _is_learnt(message: Any) -> bool:
    return isinstance(message, Assistant) and bool(message.weight)
