"""On the real engine: adapters come in beside the streams, and what came in does not need its files again."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from adapters.manifest import WEIGHTS
from bench.adapters import random_adapter
from server.engine.base import AdapterRefused, Engine, EngineUnavailable, Kind, Version
from server.engine.vllm import VllmEngine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

MANY = 100  # more than vLLM keeps by itself


def question(**given: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": "Where is my order?"}], "temperature": 0}
    return {**asked, "max_tokens": 8, "ignore_eos": True, **given}


async def said(engine: Engine, version: Version | None, **given: Any) -> str:
    (answer,) = [item async for item in engine.generate(Kind.CHAT, question(**given), version)]
    return str(json.loads(answer)["choices"][0]["message"]["content"])


def named(number: int) -> Version:
    return Version(f"ft:tiny:acme:quiet:{number:08x}", f"{number:064x}")


async def test_adapters_come_in_while_a_stream_runs(real_engine: Engine, tmp_path: Path) -> None:
    alone = await said(real_engine, None, max_tokens=200)
    stream = asyncio.create_task(said(real_engine, None, max_tokens=200))
    versions = [named(number) for number in range(8)]
    for number, version in enumerate(versions):
        await real_engine.load(version, random_adapter(tmp_path / str(number), number, strength=0.5))
    texts = [await said(real_engine, version) for version in versions]
    assert len(set(texts)) > 4, "each answers for itself"
    assert len(await stream) > 0
    assert await said(real_engine, None, max_tokens=200) == alone
    for version in versions:
        await real_engine.unload(version)


async def test_files_that_go_after_the_load_are_not_missed_even_when_vllm_drops_the_adapter(
    real_engine: Engine, tmp_path: Path
) -> None:
    versions = [named(number) for number in range(MANY)]
    for number, version in enumerate(versions):
        await real_engine.load(version, random_adapter(tmp_path / str(number), number, rank=8, strength=0.5))
    first = await said(real_engine, versions[0])
    shutil.rmtree(tmp_path)
    await asyncio.gather(*(said(real_engine, version, max_tokens=1) for version in versions[1:]))
    assert await said(real_engine, versions[0]) == first
    for version in versions:
        await real_engine.unload(version)
    assert isinstance(real_engine, VllmEngine)
    assert not await real_engine._client.list_loras()


@pytest.mark.parametrize("damage", ["torn", "too high a rank", "too wide"])
async def test_an_adapter_that_would_fail_in_the_loop_is_refused_and_streams_go_on(
    real_engine: Engine, tmp_path: Path, damage: str
) -> None:
    stream = asyncio.create_task(said(real_engine, None, max_tokens=100))
    bad = random_adapter(tmp_path / "bad", 1, rank=64 if damage == "too high a rank" else 8)
    if damage == "torn":
        whole = (bad / WEIGHTS).read_bytes()
        (bad / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    if damage == "too wide":
        widen(bad / WEIGHTS)
    with pytest.raises(AdapterRefused) as caught:
        await real_engine.load(named(1), bad)
    assert str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert await stream
    assert await said(real_engine, None)


def widen(weights: Path) -> None:
    """More outputs in one layer than the base has: fits no slot, which vLLM sees only when it copies."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("o_proj.lora_B.weight"))
    tensors[name] = torch.cat([tensors[name]] * 2)
    save_file(tensors, weights)


async def test_an_engine_that_dies_while_it_loads_is_unavailable(tmp_path: Path, real_engine: Engine) -> None:
    """Last in this file, as nothing answers after it."""
    import psutil

    assert isinstance(real_engine, VllmEngine)
    folder = random_adapter(tmp_path / "a", 1)
    for pid in real_engine._processes:
        psutil.Process(pid).kill()
    with pytest.raises(EngineUnavailable):
        await asyncio.gather(*(real_engine.load(named(number), folder) for number in range(100)))
    await real_engine.stop()
    await real_engine.start()
    await real_engine.load(named(1), folder)
    assert await said(real_engine, named(1))
    await real_engine.unload(named(1))
