"""Asks a model through the `openai` package: one streamed reply with its times, or many replies at once."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from examples.brands import Case

IN_FLIGHT = 64


@dataclass(frozen=True)
class Arm:
    """Who answers: a model, the page of instructions it gets (or none), and the most tokens of a reply."""

    model: str
    instructions: str | None = None
    max_tokens: int = 128

    def messages(self, message: str) -> list[ChatCompletionMessageParam]:
        """The conversation for one user message."""
        system: list[ChatCompletionMessageParam] = []
        if self.instructions is not None:
            system = [{"role": "system", "content": self.instructions}]
        return [*system, {"role": "user", "content": message}]


@dataclass(frozen=True)
class Streamed:
    """One streamed reply: its text, seconds to the first token, and tokens of the prompt."""

    text: str
    ttft_s: float
    prompt_tokens: int


def stream(client: OpenAI, arm: Arm, message: str) -> Streamed:
    """One reply at temperature 0; the time runs from the call to the first chunk that holds text."""
    started = time.perf_counter()
    first, parts, prompt_tokens = 0.0, [], 0
    chunks = client.chat.completions.create(
        model=arm.model,
        messages=arm.messages(message),
        max_tokens=arm.max_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        if chunk.usage is not None:
            prompt_tokens = chunk.usage.prompt_tokens
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.perf_counter() - started
            parts.append(chunk.choices[0].delta.content)
    return Streamed("".join(parts), first or time.perf_counter() - started, prompt_tokens)


async def ask_all(
    client: AsyncOpenAI, arm: Arm, cases: Sequence[Case], advance: Callable[[], None]
) -> list[str]:
    """The replies to all cases, in their order, at temperature 0; `advance` is called after each one."""
    permits = asyncio.Semaphore(IN_FLIGHT)

    async def ask(case: Case) -> str:
        async with permits:
            reply = await client.chat.completions.create(
                model=arm.model,
                messages=arm.messages(case.message),
                max_tokens=arm.max_tokens,
                temperature=0,
            )
        advance()
        return reply.choices[0].message.content or ""

    return await asyncio.gather(*(ask(case) for case in cases))
