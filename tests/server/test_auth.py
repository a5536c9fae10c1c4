"""Keys: which are good, how long one is remembered, and that nobody reads rows for it on the hot path."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from records import tenants
from records.audit import By
from records.database import Database
from server import auth
from server.auth import Doorkeeper
from server.engine.base import RequestRefused


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path}/rows.db")
    database.prepare()
    return database


@pytest.fixture
def key(database: Database) -> str:
    with database.write() as session:
        return tenants.create(session, "acme")


async def test_a_key_opens_the_door_of_its_tenant(database: Database, key: str) -> None:
    assert await Doorkeeper(database).tenant(f"Bearer {key}") == "acme"
    assert await Doorkeeper(database).tenant(f"bearer {key}") == "acme"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer  {key}",
        "Bearer {short}",
        "Bearer {upper}",
        "Bearer \u00e9",
        "Bearer " + "x" * 100_000,
    ],
)
async def test_anything_else_is_a_401(database: Database, key: str, header: str | None) -> None:
    given = header and header.replace("{key}", key).replace("{short}", key[:-1]).replace(
        "{upper}", key.upper()
    )
    with pytest.raises(RequestRefused) as caught:
        await Doorkeeper(database).tenant(given)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert key not in caught.value.message


async def test_a_known_key_reads_no_rows(
    database: Database, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    doorkeeper = Doorkeeper(database)
    await doorkeeper.tenant(f"Bearer {key}")
    monkeypatch.setattr(database, "read", None)
    assert await doorkeeper.tenant(f"Bearer {key}") == "acme"


async def test_a_revoked_key_is_refused_once_it_is_forgotten(
    database: Database, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    doorkeeper = Doorkeeper(database)
    await doorkeeper.tenant(f"Bearer {key}")
    with database.write() as session:
        tenants.revoke(session, key, By("cli"))
    later = time.monotonic() + auth.REMEMBERED_SECONDS + 1
    monkeypatch.setattr("server.auth.time.monotonic", lambda: later)
    with pytest.raises(RequestRefused):
        await doorkeeper.tenant(f"Bearer {key}")


async def test_the_memory_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_KEYS", 2)
    doorkeeper = Doorkeeper(database)
    with database.write() as session:
        keys = [tenants.create(session, "acme") for _ in range(4)]
    for key in keys:
        await doorkeeper.tenant(f"Bearer {key}")
    assert len(doorkeeper._known) == 2
    assert not any(key.encode() in known for key in keys for known in doorkeeper._known)
