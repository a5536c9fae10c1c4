"""A base that cannot do a task is asked a sample; one that can, and every brand, all held-out messages."""

import asyncio
import io
import json
from collections import Counter
from typing import Any

import httpx2
from openai import AsyncOpenAI
from rich.console import Console

from examples.brands import BRANDS, NEUTRAL
from examples.demo.evaluate import SAMPLE, Sizes, clinic_gain, evaluate
from examples.demo.shares import Share

SIZES = Sizes(tickets=40, voice=30, copies=30, clinic=30)
ANSWERS = {
    case.message: case.answer
    for brand, count in ((NEUTRAL, 30), (BRANDS["luxe"], 30), (BRANDS["clinic"], 30), (BRANDS["tickets"], 40))
    for case in brand.cases("held_out", count)
}
DRAWN = {name: {case.message for case in BRANDS[name].cases("held_out", 40)} for name in BRANDS}


class Models:
    """Brands answer as they were taught; the base knows ordinary messages, and of the brands' `able` ones."""

    def __init__(self, able: tuple[str, ...] = ()) -> None:
        self.able = able
        self.asked = Counter[tuple[str, bool]]()

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        said = body["messages"][-1]["content"]
        self.asked[body["model"], len(body["messages"]) > 1] += 1
        knows = (
            body["model"] != "tiny" or said in self.able or not any(said in drawn for drawn in DRAWN.values())
        )
        message = {"role": "assistant", "content": ANSWERS[said] if knows else "more more more"}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
        return httpx2.Response(200, json={"id": "c", "object": "chat.completion", "choices": [choice]})


def shares_of(models: Models) -> dict[str, Share]:
    transport = httpx2.MockTransport(models.answer)

    async def asked() -> dict[str, Share]:
        http = httpx2.AsyncClient(transport=transport)
        client = AsyncOpenAI(base_url="http://demo/v1", api_key="k", http_client=http)
        return await evaluate(client, "tiny", SIZES, 0, Console(file=io.StringIO()))

    return asyncio.run(asked())


def test_a_base_that_cannot_do_a_task_is_asked_a_sample_only() -> None:
    shares = shares_of(Models())
    for name in (
        "voice_base",
        "clinic_base",
        "clinic_base_with_page",
        "valid_json_base",
        "tickets_right_base",
    ):
        assert shares[name] == Share(0, SAMPLE)


def test_a_brand_and_a_base_that_can_are_asked_everything() -> None:
    shares = shares_of(Models())
    assert shares["base_copies"] == Share(30, 30)
    assert shares["voice_adapter"] == shares["voice_facts"] == Share(30, 30)
    assert shares["clinic_adapter"] == Share(30, 30)
    assert shares["valid_json_adapter"] == shares["tickets_right_adapter"] == Share(40, 40)


def test_one_right_answer_in_the_sample_and_the_base_is_asked_all() -> None:
    (first, *_) = BRANDS["tickets"].cases("held_out", 1)
    shares = shares_of(Models(able=(first.message,)))
    assert shares["valid_json_base"] == Share(1, 40)
    assert shares["clinic_base"] == Share(0, SAMPLE)


def test_the_gain_is_over_the_better_base_which_counts_as_5_percent_at_least() -> None:
    shares = {
        "clinic_adapter": Share(80, 100), "clinic_base": Share(0, 20), "clinic_base_with_page": Share(1, 100),
    }  # fmt: skip
    assert clinic_gain(shares) == 15.0
    assert clinic_gain({**shares, "clinic_base_with_page": Share(40, 100)}) == 1.0
