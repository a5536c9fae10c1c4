"""On the real engine: what one batch mixes, each request gets as if it were alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.adapters import random_adapter
from server.engine.base import AdapterRefused, Engine, Kind, Version
from server.engine.vllm import VllmEngine
from tests.rounding import CLEAR, MESSAGE, STRENGTH, allowed, apart, assert_clear, question, questions

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

BRANDS = 8


async def ask(engine: Engine, kind: Kind, body: dict[str, Any], version: Version | None) -> dict[str, Any]:
    (answer,) = [item async for item in engine.generate(kind, body, version)]
    return json.loads(answer)


def dtype_of(engine: Engine) -> torch.dtype:
    assert isinstance(engine, VllmEngine)
    return engine._client.vllm_config.model_config.dtype


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("adapters")
    return [
        random_adapter(root / str(seed), seed, rank=(8, 16, 32)[seed % 3], strength=STRENGTH)
        for seed in range(BRANDS)
    ]


async def test_base_and_eight_brands_in_one_batch_answer_as_each_alone(
    real_engine: Engine, folders: list[Path]
) -> None:
    base_alone = [await ask(real_engine, Kind.CHAT, asked, None) for asked in questions()]
    together = await asyncio.gather(*(ask(real_engine, Kind.CHAT, asked, None) for asked in questions()))
    limit = allowed(max(map(apart, base_alone, together)), dtype_of(real_engine))

    versions: list[Version | None] = [None]
    for seed, folder in enumerate(folders):
        version = Version(f"ft:tiny:test:brand{seed}:{seed:08x}", f"{seed:064x}")
        await real_engine.load(version, folder)
        versions.append(version)
    alone = [await ask(real_engine, Kind.CHAT, question(), version) for version in versions]
    assert_clear(alone, limit)

    echo = {"prompt": MESSAGE, "echo": True, "logprobs": 2, "max_tokens": 4, "temperature": 0}
    scored = {**question(), "prompt_logprobs": 1}
    for _ in range(3):
        mixed = await asyncio.gather(
            *(ask(real_engine, Kind.CHAT, question(), version) for version in versions),
            ask(real_engine, Kind.COMPLETION, echo, versions[1]),
            ask(real_engine, Kind.CHAT, scored, None),
        )
        for version, answer, expected in zip(versions, mixed, alone, strict=False):
            name = version.name if version else "tiny"
            assert answer["model"] == name
            assert apart(answer, expected) < limit, name


async def test_prompt_log_probabilities_are_those_of_the_adapter_that_was_asked(
    real_engine: Engine, folders: list[Path]
) -> None:
    version = Version(f"ft:tiny:test:brand0:{0:08x}", f"{0:064x}")
    await real_engine.load(version, folders[0])
    echo = {"prompt": MESSAGE, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}

    async def scores(who: Version | None) -> list[float]:
        answer = await ask(real_engine, Kind.COMPLETION, echo, who)
        return answer["choices"][0]["logprobs"]["token_logprobs"][1:]

    def farthest(one: list[float], other: list[float]) -> float:
        return max(abs(a - b) for a, b in zip(one, other, strict=True))

    adapted, base = await scores(version), await scores(None)
    alike = await asyncio.gather(*(scores(None) for _ in range(4)))
    limit = allowed(max(farthest(base, one) for one in alike), dtype_of(real_engine))
    assert farthest(adapted, base) > CLEAR * limit
    again = await asyncio.gather(*(scores(who) for who in (None, version, None, version)))
    for got, expected in zip(again, (base, adapted, base, adapted), strict=True):
        assert farthest(got, expected) < limit


async def test_a_broken_adapter_is_refused_and_the_engine_goes_on(
    real_engine: Engine, tmp_path: Path
) -> None:
    folder = random_adapter(tmp_path / "torn", 99)
    (folder / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(AdapterRefused):
        await real_engine.load(Version("ft:tiny:test:torn:0000dead", "0"), folder)
    assert await ask(real_engine, Kind.CHAT, question(), None)
