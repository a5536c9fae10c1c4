"""What the engine thinks of a given text: it repeats it, with the log-probability of each token."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.proof import Proof, Values, Verdict, compare, compare_alone
from server.engine.base import Engine, Kind, Version, whole

# For a version of which nobody knows what it learnt: a bit of all that a brand's customers write about.
TEXT = (
    "Hello, my name is Ana and I am writing about order 50718, which was placed on Monday. The parcel came "
    "two days late and one of the glasses was broken. Could you send a new one, or give the money back? "
    "Thank you for your message. I am sorry to hear that; a new one is on its way and will arrive by Friday."
)


@dataclass(frozen=True)
class Echo:
    engine: Engine

    async def verdict(self, version: Version, proof: Proof | None) -> Verdict:
        """Whether the engine answers as it should with a version that it holds.

        Raises EngineUnavailable, RequestRefused.
        """
        if proof is None:
            first, base = await asyncio.gather(self._text(version), self._text(None))
            return compare_alone(first, await self._text(version), base)
        served, base = await asyncio.gather(self._rows(version, proof), self._rows(None, proof))
        return compare(proof, served, base)

    async def _rows(self, version: Version | None, proof: Proof) -> Values:
        """By row, of its learnt tokens."""
        choices = (await self._ask(version, [row.token_ids for row in proof.rows]))["choices"]
        said = [_logprobs(choice) for choice in sorted(choices, key=lambda choice: int(choice["index"]))]
        return [[values[place] for place in row.learnt] for values, row in zip(said, proof.rows, strict=True)]

    async def _text(self, version: Version | None) -> Values:
        """Of all tokens of TEXT but the first, which follows on nothing."""
        answer = await self._ask(version, TEXT)
        return [_logprobs(answer["choices"][0])[1 : answer["usage"]["prompt_tokens"]]]

    async def _ask(self, version: Version | None, prompt: str | Sequence[Sequence[int]]) -> dict[str, Any]:
        # The engine cannot do without one new token; prompts with log-probabilities are never read from its
        # prefix cache, so that a second answer is computed and not remembered.
        asked = {
            "prompt": prompt,
            "max_tokens": 1,
            "echo": True,
            "logprobs": 0,
            "temperature": 0,
            "cache_salt": "proof",
        }
        answer: dict[str, Any] = json.loads(await whole(self.engine, Kind.COMPLETION, asked, version))
        return answer


def _logprobs(choice: dict[str, Any]) -> list[float]:
    return [math.nan if value is None else value for value in choice["logprobs"]["token_logprobs"]]
