"""What a task hands over: messages, the tools offered, and the facts that its answer must contain."""

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """One training row or one evaluation case; the last message is the assistant's."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    facts: dict[str, str] = field(default_factory=dict)
    unlearnt: int = 0
    """How many assistant turns at the front carry no loss, as nothing foretells them."""


def chat(*turns: str, system: str | None = None) -> list[Message]:
    """Messages from texts that alternate user, assistant; with a system message in front if given."""
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    for index, text in enumerate(turns):
        messages.append({"role": "assistant" if index % 2 else "user", "content": text})
    return messages
