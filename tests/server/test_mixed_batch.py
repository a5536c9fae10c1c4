"""On the real engine: what one batch mixes, each request gets as if it were alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench.adapters import random_adapter
from server.engine.base import Engine, Kind, Version

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

BRANDS = 8
ROUNDING = 0.06  # of a log-probability: bf16 products of another batch size round differently
MESSAGE = "Hi, I am Marta Velasco. My order 48213, the linen scarf, arrived torn. What happens now?"


def question(text: str = MESSAGE) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 24,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
        "ignore_eos": True,
    }


async def ask(engine: Engine, kind: Kind, body: dict[str, Any], version: Version | None) -> dict[str, Any]:
    (answer,) = [item async for item in engine.generate(kind, body, version)]
    return json.loads(answer)


def tokens(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return answer["choices"][0]["logprobs"]["content"]


def assert_same(mixed: dict[str, Any], alone: dict[str, Any], who: str) -> None:
    """Token for token, or parted where the two best candidates were within rounding of each other."""
    for step, (one, other) in enumerate(zip(tokens(mixed), tokens(alone), strict=True)):
        if one["token"] != other["token"]:
            best, second = (entry["logprob"] for entry in other["top_logprobs"][:2])
            assert best - second < ROUNDING, f"{who} parts at step {step}: {one['token']!r}"
            return
        assert abs(one["logprob"] - other["logprob"]) < ROUNDING, f"{who}, step {step}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("adapters")
    return [random_adapter(root / str(seed), seed, rank=(8, 16, 32)[seed % 3]) for seed in range(BRANDS)]


async def test_base_and_eight_brands_in_one_batch_answer_as_each_alone(
    real_engine: Engine, folders: list[Path]
) -> None:
    versions: list[Version | None] = [None]
    for seed, folder in enumerate(folders):
        version = Version(f"ft:tiny:test:brand{seed}:{seed:08x}", f"{seed:064x}")
        await real_engine.load(version, folder)
        versions.append(version)
    alone = [await ask(real_engine, Kind.CHAT, question(), version) for version in versions]
    texts = {json.dumps([token["token"] for token in tokens(answer)]) for answer in alone}
    assert len(texts) == BRANDS + 1, "the adapters must differ, or this test shows nothing"

    echo = {"prompt": MESSAGE, "echo": True, "logprobs": 2, "max_tokens": 4, "temperature": 0}
    scored = {**question(), "prompt_logprobs": 1}
    for _ in range(3):
        mixed = await asyncio.gather(
            *(ask(real_engine, Kind.CHAT, question(), version) for version in versions),
            ask(real_engine, Kind.COMPLETION, echo, versions[1]),
            ask(real_engine, Kind.CHAT, scored, None),
        )
        for version, answer, expected in zip(versions, mixed, alone, strict=False):
            assert_same(answer, expected, version.name if version else "base")
            assert answer["model"] == (version.name if version else "tiny")


async def test_prompt_log_probabilities_are_those_of_the_adapter_that_was_asked(
    real_engine: Engine, folders: list[Path]
) -> None:
    version = Version(f"ft:tiny:test:brand0:{0:08x}", f"{0:064x}")
    await real_engine.load(version, folders[0])
    echo = {"prompt": MESSAGE, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}

    async def scores(who: Version | None) -> list[float]:
        answer = await ask(real_engine, Kind.COMPLETION, echo, who)
        return answer["choices"][0]["logprobs"]["token_logprobs"][1:]

    adapted, base = await scores(version), await scores(None)
    assert max(abs(a - b) for a, b in zip(adapted, base, strict=True)) > 0.5
    again = await asyncio.gather(*(scores(who) for who in (None, version, None, version)))
    for got, expected in zip(again, (base, adapted, base, adapted), strict=True):
        assert max(abs(a - b) for a, b in zip(got, expected, strict=True)) < 2 * ROUNDING


async def test_a_broken_adapter_is_refused_and_the_engine_goes_on(
    real_engine: Engine, tmp_path: Path
) -> None:
    from server.engine.base import AdapterRefused

    folder = random_adapter(tmp_path / "torn", 99)
    (folder / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(AdapterRefused):
        await real_engine.load(Version("ft:tiny:test:torn:0000dead", "0"), folder)
    answer = await ask(real_engine, Kind.CHAT, question(), None)
    assert tokens(answer)
