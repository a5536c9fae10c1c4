"""Models that graders ask: by the names that their tenant's clients use, through the same door as chat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server import fields
from server.catalog import Catalog
from server.engine.base import LOW_PRIORITY, Engine, Kind, RequestRefused, whole
from server.graders.base import CannotGrade, Fault, Message, Said


@dataclass(frozen=True)
class EngineJudge:
    """One tenant's; `salt` keeps its prompts apart from others' in the engine's prefix cache."""

    engine: Engine
    catalog: Catalog
    tenant: str
    salt: str

    async def choose(
        self, model: str, messages: Sequence[Message], choices: Sequence[str], sampling: Mapping[str, Any]
    ) -> Said:
        """Raises as `Catalog.acquire` does; CannotGrade for what the engine refuses, as a long prompt."""
        given = {"messages": list(messages), "structured_outputs": {"choice": list(choices)}, **sampling}
        async with self.catalog.acquire(self.tenant, model, low=True) as chosen:
            try:
                asked = fields.check(Kind.CHAT, {"model": model, **given}, self.salt)
                body = {**asked.body, "priority": LOW_PRIORITY}
                answer = json.loads(await whole(self.engine, Kind.CHAT, body, chosen.version))
            except RequestRefused as error:
                raise CannotGrade(Fault.ENGINE, f"'{model}' cannot be asked: {error.message}") from None
        said = answer["choices"][0]["message"]["content"]
        return Said(said if said in choices else None, answer["model"], answer["usage"]["total_tokens"])
