"""Keys: shown once, kept as a hash, compared without telling anything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from records import tenants
from records.database import Database
from records.models import Key


def make(database: Database, name: str = "acme") -> str:
    with database.write() as session:
        return tenants.create(session, name)


def test_a_key_names_its_tenant(database: Database) -> None:
    acme, rival = make(database), make(database, "rival")
    with database.read() as session:
        assert tenants.authenticate(session, acme) == "acme"
        assert tenants.authenticate(session, rival) == "rival"


def test_a_tenant_may_have_several_keys_and_lose_one(database: Database) -> None:
    old, new = make(database), make(database)
    with database.write() as session:
        session.query(Key).filter(Key.id == old.split("-")[1]).update({"revoked_at": int(time.time())})
    with database.read() as session:
        assert tenants.authenticate(session, old) is None
        assert tenants.authenticate(session, new) == "acme"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_secret_is_on_disk(database: Database, tmp_path: Path) -> None:
    secret = make(database).split("-", 2)[2]
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "change", [lambda key: key[:-1], lambda key: key + "x", str.upper, lambda key: key[3:]]
)
def test_a_changed_key_is_no_key(database: Database, change: object) -> None:
    key = make(database)
    with database.read() as session:
        assert tenants.authenticate(session, change(key)) is None  # type: ignore[operator]


def test_the_secret_of_one_key_does_not_open_another(database: Database) -> None:
    (_, public, _), (_, _, secret) = make(database).split("-", 2), make(database, "rival").split("-", 2)
    with database.read() as session:
        assert tenants.authenticate(session, f"ck-{public}-{secret}") is None


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a/b", "a:b", "ü", "x" * 41, "a b", "a\n"])
def test_a_name_that_cannot_stand_in_a_models_name_is_refused(database: Database, name: str) -> None:
    with pytest.raises(ValueError, match="Tenant name"):
        make(database, name)
