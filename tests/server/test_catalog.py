"""Residency: loaded once, pinned while in use, evicted when idle, never half in and half out."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from adapters import publish, rollout
from adapters.manifest import CONFIG, WEIGHTS, Manifest
from records import jobs
from records.audit import By
from records.database import Database
from records.models import SUCCEEDED, Job, new_id
from records.models import Version as Row
from server.catalog import Catalog
from server.engine.base import AdapterRefused, EngineUnavailable, RequestRefused, Version
from server.engine.fake import FakeEngine
from server.metrics import Metrics
from server.names import Names
from tests.server.conftest import a_base, manifest_of


class SlowEngine(FakeEngine):
    """Loads and unloads take a moment, and are written down in order."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.seconds = 0.02
        self.begun = asyncio.Event()  # the first load

    async def load(self, version: Version, path: Path) -> None:
        self.log.append(f"load {version.name[-8:]}")
        self.begun.set()
        await asyncio.sleep(self.seconds)
        await super().load(version, path)

    async def unload(self, version: Version) -> None:
        self.log.append(f"unload {version.name[-8:]}")
        await asyncio.sleep(self.seconds)
        await super().unload(version)


class House:
    """A catalog for 3 versions, and a way to publish."""

    def __init__(self, folder: Path, rows: Path) -> None:
        self.home = folder
        shutil.copy(rows, folder / "rows.db")
        self.database = Database(f"sqlite:///{folder}/rows.db")
        with self.database.write() as session:
            self.job = Job(
                id=new_id("ftjob-"), tenant="acme", brand="", model="tiny", status=SUCCEEDED, created_at=1,
                training_file="f", seed=1, requested={}, hyperparameters={}, result_files=[],
                request_sha256="",
            )  # fmt: skip
            jobs.add(session, self.job)
        self.base = a_base(folder)
        self.engine = SlowEngine()
        self.names = Names(self.database, self.base)
        self.catalog = Catalog(self.names, folder, self.engine, Metrics(), capacity=3)
        self.seeds = iter(range(1000))

    def publish(self, brand: str = "luxe") -> str:
        made = Manifest(
            **manifest_of(self.base) | {"seed": next(self.seeds), "job_id": self.job.id, "step": 1}
        )
        draft = self.home / "draft"
        draft.mkdir()
        (draft / CONFIG).write_text("{}")
        (draft / WEIGHTS).write_bytes(b"weights")
        sha256 = publish.store(self.home, draft, made)
        with self.database.write() as session:
            row = publish.record(session, made, sha256, tenant="acme", brand=brand, checkpoint=False)
            row.proved_at = 1
            rollout.arrived(session, row, By(f"job:{self.job.id}"))
            return row.name

    async def version(self, name: str) -> Version:
        return (await self.names.of("acme", name)).live

    async def use(self, model: str) -> str | None:
        async with self.catalog.acquire("acme", model) as chosen:
            return chosen.version.name if chosen.version else None


async def until(holds: Callable[[], bool]) -> None:
    """Let the others run until it holds; they wait for nothing but each other and the rows."""
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


@pytest_asyncio.fixture
async def house(tmp_path: Path, prepared: tuple[Path, dict[str, str]]) -> AsyncIterator[House]:
    house = House(tmp_path, prepared[0])
    await house.engine.start()
    yield house
    house.database.close()


async def test_the_base_needs_no_version_and_no_rows(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.database, "read", None)
    assert await house.use("tiny") is None


async def test_a_brand_is_its_newest_version_once_the_rows_are_looked_at_again(house: House) -> None:
    first = house.publish()
    assert await house.use("luxe") == first
    second = house.publish()
    assert await house.use("luxe") == first
    house.names.invalidate()
    assert await house.use("luxe") == second


async def test_a_known_name_reads_no_rows(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    version = house.publish()
    await house.use("luxe")
    monkeypatch.setattr(house.database, "read", None)
    assert await house.use("luxe") == version


async def test_an_unknown_name_is_not_remembered(house: House) -> None:
    for n in range(5):
        with pytest.raises(RequestRefused):
            await house.use(f"none-{n}")
    assert not house.names._known
    assert await house.use(house.publish("none-1"))


async def test_fifty_first_requests_load_a_version_once(house: House) -> None:
    version = house.publish()
    names = await asyncio.gather(*(house.use("luxe") for _ in range(50)))
    assert set(names) == {version}
    assert house.engine.log == [f"load {version[-8:]}"]


async def test_a_client_that_gives_up_does_not_stop_the_load_for_others(house: House) -> None:
    version = house.publish()
    one, other = (asyncio.create_task(house.use(version)) for _ in range(2))
    await house.engine.begun.wait()
    one.cancel()
    assert await other == version
    assert house.catalog._residents[version].pins == 0


async def test_past_the_capacity_the_least_recently_used_one_leaves(house: House) -> None:
    versions = [house.publish(f"b{n}") for n in range(3)]
    for version in (*versions, versions[0]):
        await house.use(version)
    fourth = house.publish("b3")
    await house.use(fourth)
    await until(lambda: set(house.engine.resident) == {versions[0], versions[2], fourth})
    assert house.catalog.held() == [versions[2], versions[0], fourth]


async def test_a_brands_previous_version_stays_as_long_as_the_brand_is_used(house: House) -> None:
    previous = house.publish()
    await house.use(previous)
    live = house.publish()
    for n in range(4):
        await house.use("luxe")
        await house.use(house.publish(f"b{n}"))
    await asyncio.sleep(0.1)
    assert {previous, live} <= set(house.engine.resident)
    for n in range(4, 7):
        await house.use(house.publish(f"b{n}"))
    # A brand that nobody asks for holds nothing.
    await until(lambda: not {previous, live} & set(house.engine.resident))


async def test_a_pinned_version_never_leaves(house: House) -> None:
    async with house.catalog.acquire("acme", house.publish()) as chosen:
        pinned = chosen.version
        assert pinned is not None
        for n in range(6):
            await house.use(house.publish(f"b{n}"))
        await until(lambda: len(house.engine.resident) == 3)
        assert pinned.name in house.engine.resident


async def test_a_request_that_waits_for_memory_gets_what_its_name_means_when_its_turn_comes(
    house: House,
) -> None:
    async with AsyncExitStack() as full:
        for n in range(3):
            await full.enter_async_context(house.catalog.acquire("acme", house.publish(f"b{n}")))
        before = house.publish("luxe")
        waiting = asyncio.create_task(house.use("luxe"))
        await until(lambda: house.catalog._places.waiting == 1)
        after = house.publish("luxe")
        house.names.invalidate()
        await house.catalog.release(before)
    assert await waiting == after
    assert before not in house.engine.loads


async def test_a_version_on_its_way_out_is_loaded_again_after_it_has_left(house: House) -> None:
    version = house.publish()
    await house.use(version)
    await house.catalog.release(version)
    await asyncio.sleep(0.005)
    assert await house.use(version) == version
    assert version in house.engine.resident
    assert house.engine.log == [f"{what} {version[-8:]}" for what in ("load", "unload", "load")]


async def test_a_released_version_waits_for_its_last_stream(house: House) -> None:
    version = house.publish()
    async with house.catalog.acquire("acme", version):
        await house.catalog.release(version)
        await asyncio.sleep(0.05)
        assert version in house.engine.resident
    await until(lambda: version not in house.engine.resident)
    assert house.catalog.held() == []


@pytest.mark.parametrize("asked_for", [False, True])
async def test_a_version_that_is_released_while_it_is_loaded_leaves_the_engine_all_the_same(
    house: House, asked_for: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real engine forgets in no time what it does not hold; here the load ends after that."""
    monkeypatch.setattr(SlowEngine, "unload", FakeEngine.unload)
    version = house.publish()
    loading = house.use(version) if asked_for else house.catalog.preload(await house.version(version))
    task = asyncio.create_task(loading)
    await house.engine.begun.wait()
    await house.catalog.release(version)
    task.cancel()
    await until(lambda: house.engine.loads == [version] and not house.engine.resident)
    assert house.catalog.held() == []


async def test_a_refused_version_is_not_tried_again_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        house.engine.log.append("refused")
        raise AdapterRefused("rank too large")

    version = house.publish()
    monkeypatch.setattr(house.engine, "load", refuse)
    for _ in range(3):
        with pytest.raises(RequestRefused, match="rank too large") as caught:
            await house.use(version)
        assert (caught.value.status, caught.value.code) == (410, "version_unusable")
    assert house.engine.log == ["refused"]
    assert house.catalog.held() == []


async def test_a_version_waits_out_an_engine_that_is_down(house: House) -> None:
    version = house.publish()
    await house.engine.stop()
    with pytest.raises(EngineUnavailable):
        await house.use(version)
    await house.engine.start()
    assert await house.use(version) == version


async def test_a_missing_folder_never_reaches_the_engine(house: House) -> None:
    version = house.publish()
    with house.database.read() as session:
        row = session.query(Row).one()
    (publish.folder(house.home, row.sha256) / WEIGHTS).unlink()
    with pytest.raises(RequestRefused, match="missing"):
        await house.use(version)
    assert house.engine.log == []


async def test_a_changed_file_never_reaches_the_engine_and_the_others_are_served(house: House) -> None:
    version = house.publish()
    with house.database.read() as session:
        row = session.query(Row).one()
    (publish.folder(house.home, row.sha256) / WEIGHTS).write_bytes(b"other")
    with pytest.raises(RequestRefused, match="changed"):
        await house.use(version)
    assert house.engine.log == []


async def test_a_candidate_that_is_lost_costs_no_user_an_answer(house: House) -> None:
    live, candidate = house.publish(), house.publish("luxe")
    with house.database.write() as session:
        row = rollout.find(session, "acme", "luxe", "tiny")
        assert row is not None
        rollout.rollback(session, row, By("cli"))
        rollout.canary(session, row, candidate, 1.0, By("cli"))
    house.names.invalidate()
    assert await house.use("luxe") == candidate
    await house.catalog.release(candidate)
    shutil.rmtree(publish.folder(house.home, (await house.version(candidate)).sha256))
    assert await house.use("luxe") == live
    with pytest.raises(RequestRefused) as lost:
        await house.use(candidate)
    assert lost.value.status == 410


async def test_what_was_held_is_told_most_recent_first_when_the_engine_restarts(house: House) -> None:
    versions = [house.publish(f"b{n}") for n in range(3)]
    for version in versions:
        await house.use(version)
    assert [version.name for version in house.catalog.forget()] == versions[::-1]
    assert house.catalog.held() == []


async def test_random_use_keeps_pins_and_capacity(house: House) -> None:
    import random

    source, versions = random.Random(7), [house.publish(f"b{n}") for n in range(8)]
    house.engine.seconds = 0.001

    async def user() -> None:
        for _ in range(20):
            name = source.choice(versions)
            async with house.catalog.acquire("acme", name) as chosen:
                assert chosen.version is not None
                await asyncio.sleep(source.random() / 500)
                assert name in house.engine.resident

    await asyncio.gather(*(user() for _ in range(6)))
    await until(lambda: len(house.engine.resident) == 3)
    assert all(resident.pins == 0 for resident in house.catalog._residents.values())
    assert set(house.engine.resident) == set(house.catalog.held())
