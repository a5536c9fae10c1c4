"""The engine seam: all that the server knows about whatever generates tokens.

Held to one contract test (tests/server/test_engine_contract.py) by every implementation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol


class Kind(StrEnum):
    CHAT = "chat"
    COMPLETION = "completion"


@dataclass(frozen=True)
class Version:
    """An adapter as the engine sees it. `name` is unique for ever: new weights have a new name."""

    name: str
    sha256: str


class EngineUnavailable(RuntimeError):
    """The engine is starting, dead or stopping; the same request may succeed in a while (503)."""


class EngineHung(EngineUnavailable):
    """The engine runs and does nothing with the work that it has."""


class EngineMisconfigured(RuntimeError):
    """No other start will help before the operator has changed what the message says."""


class AdapterRefused(RuntimeError):
    """The engine cannot take this adapter; the engine itself is unharmed."""


class RequestRefused(RuntimeError):
    """The request itself is at fault, or failed: an HTTP status and OpenAI's error fields."""

    def __init__(
        self, status: int, message: str, *, type: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.type, self.param, self.code = status, message, type, param, code


# For what nobody waits for. vLLM serves lower numbers first where its scheduling policy is `priority`; its
# default policy ignores it.
LOW_PRIORITY = 1000


class Engine(Protocol):
    """Five verbs. `start` returns once the engine can answer."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Ends every process of the engine; safe to call in any state, more than once."""

    async def load(self, version: Version, path: Path) -> None:
        """Make `version` answer; nothing to do when resident. Raises AdapterRefused, EngineUnavailable."""

    async def unload(self, version: Version) -> None:
        """Free the version's name and slot; does nothing when it is not resident."""

    def generate(self, kind: Kind, body: dict[str, Any], version: Version | None) -> AsyncIterator[bytes]:
        """Answer one request: exactly one JSON body, or, when `body["stream"]` is true, SSE frames.

        `body` is OpenAI's request without `model`; `version` None means the base model. Raises
        RequestRefused or EngineUnavailable before the first item (EngineHung when the engine was found to do
        nothing, however long that takes to show); after it an error is an SSE error frame.
        Closing the iterator aborts the generation.
        """


async def whole(engine: Engine, kind: Kind, body: dict[str, Any], version: Version | None) -> bytes:
    """The JSON body that answers a request without a stream. Raises as `Engine.generate` does."""
    async with aclosing(engine.generate(kind, body, version)) as items:  # type: ignore[type-var]
        return await anext(items)
