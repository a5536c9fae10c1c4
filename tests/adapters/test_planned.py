"""The plan of a home: what the rows and the base's weights say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters import base as bases
from adapters import container, plan, planned, publish
from adapters.base import Base
from adapters.dtype import Dtype
from adapters.manifest import Manifest
from adapters.plan import GIB
from records import settings, tenants
from records.database import Database
from records.settings import LEAST_RANK, Settings


@pytest.fixture
def tiny(tmp_path: Path) -> Base:
    return bases.resolve("tiny", tmp_path)


@pytest.fixture
def acme(database: Database) -> Database:
    """The tenant `acme` in a database of either kind."""
    with database.write() as session:
        tenants.create(session, "acme")
    return database


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return settings.load(home=tmp_path)


def register(
    database: Database, base: Base, rank: int, number: int, max_rank: int | None = None, **changed: str
) -> None:
    made = Manifest(
        source="imported", base=base.slug, base_config_sha256=base.config_sha256, rank=rank, alpha=1,
        max_rank=max_rank,
        base_weights_sha256=changed.get("weights", base.weights_sha256), template_sha256=base.template_sha256,
        target_modules=["q_proj"], received_sha256="0" * 64,
    )  # fmt: skip
    with database.write() as session:
        row = publish.record(
            session, made, f"{number:064x}"[::-1], tenant="acme", brand=f"b{number}", checkpoint=False
        )
        row.refuted = changed.get("refuted")
        row.deleted_at = 1 if changed.get("deleted") else None


def test_the_versions_that_this_base_may_be_asked_for_are_counted_by_rank(acme: Database, tiny: Base) -> None:
    for number, rank in enumerate((8, 64, 8)):
        register(acme, tiny, rank, number)
    register(acme, tiny, 512, 3, weights="f" * 64)
    register(acme, tiny, 512, 4, refuted="it says nothing")
    register(acme, tiny, 512, 5, deleted="yes")
    register(acme, replace(tiny, slug="other"), 512, 6)
    with acme.read() as session:
        assert planned.registered(session, tiny) == {8: 2, 64: 1}


def test_a_version_counts_by_the_largest_rank_of_its_layers(acme: Database, tiny: Base) -> None:
    register(acme, tiny, 8, 1)
    register(acme, tiny, 8, 2, max_rank=64)
    with acme.read() as session:
        assert planned.registered(session, tiny) == {8: 1, 64: 1}


def test_a_server_and_a_process_without_an_engine_come_to_the_same_rank(
    acme: Database, tiny: Base, bare: Settings
) -> None:
    assert planned.with_rank(bare, tiny, acme).largest_rank == LEAST_RANK
    register(acme, tiny, 100, 1)
    settled, chosen, _ = planned.settle(bare, tiny, acme, 8 * GIB)
    assert settled.largest_rank == planned.with_rank(bare, tiny, acme).largest_rank == 128
    assert (settled.slots, settled.kept) == (chosen.max_loras, chosen.max_cpu_loras)


def test_what_is_set_wins(acme: Database, tiny: Base, bare: Settings) -> None:
    given = bare.model_copy(update={"max_loras": 3, "max_cpu_loras": 5, "max_lora_rank": 8})
    settled, _, _ = planned.settle(given, tiny, acme)
    assert (settled.slots, settled.kept, settled.largest_rank) == (3, 5, 8)
    assert planned.with_rank(given, tiny, acme) is given


def test_a_base_weighs_what_its_files_do_and_an_adapter_what_its_layers_do(tiny: Base) -> None:
    half, whole = (planned.load(tiny, {}, Dtype(name, "")) for name in ("bfloat16", "float32"))
    size = (tiny.path / "model.safetensors").stat().st_size
    assert 0 < size - half.base < 16 * 1024, "all but the header"
    assert whole.base == 2 * half.base
    assert 0 < plan.weight(half, 16) == plan.weight(whole, 16) < half.base


def test_a_base_without_layers_to_adapt_is_planned_for_all_the_same(tmp_path: Path, tiny: Base) -> None:
    assert planned.load(replace(tiny, path=tmp_path), {}, Dtype("auto", "")).width == 0


def test_the_limit_of_a_container_is_its_machine(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "ROOT", tmp_path)
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    assert planned.machine(tiny).memory == GIB
    monkeypatch.setenv(plan.KV_CACHE, "3")
    assert planned.machine(tiny, memory=7).memory == 7
    assert planned.machine(tiny).kv_cache == 3 * GIB
    monkeypatch.setenv(plan.KV_CACHE, "2.5")  # vLLM reads an integer
    with pytest.raises(planned.BadVariable, match=r"whole number of GiB, not '2\.5'"):
        planned.machine(tiny)
