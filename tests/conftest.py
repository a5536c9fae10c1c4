"""One real engine at a time: first the fast tests, then the bare engine, then the whole server. And the two
kinds of database: a test that uses `database` or `database_url` runs on both."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from adapters import base, planned
from records import settings
from records.database import Database
from server.engine.base import Engine
from server.engine.vllm import VllmEngine
from tests.live import ENVIRONMENT, LiveServer
from tests.postgres import Cluster

BACKENDS = ("sqlite", "postgresql")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable order by what a test needs, so that two engines never share the two cores."""

    def need(item: pytest.Item) -> int:
        fixtures = getattr(item, "fixturenames", ())
        return 2 if "live_server" in fixtures else 1 if "real_engine" in fixtures else 0

    items.sort(key=need)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real_engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    """vLLM on `tiny`, in this process, in the dtype of this machine; in another with CHORUS_DTYPE. Tests that
    use it run with `loop_scope="module"`."""
    os.environ.update(ENVIRONMENT)
    home = tmp_path_factory.mktemp("engine")
    tiny, given = base.resolve("tiny", home), settings.load(home=home)
    numbers = planned.numbers_for(given, tiny.path).name
    engine = VllmEngine(given.model_copy(update={"dtype": numbers}), tiny)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """`chorus serve --base tiny` with its worker; started once for all tests that use it."""
    home: Path = tmp_path_factory.mktemp("home")
    server = LiveServer(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One for all tests; it starts when the first test asks."""
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/rows.db"
    else:
        with request.getfixturevalue("postgres").new() as url:
            yield url


@pytest.fixture(params=BACKENDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with the tables of today and no rows."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path}/rows.db")
        database.prepare()
    else:
        database = Database(request.getfixturevalue("postgres").emptied())
    yield database
    database.close()
