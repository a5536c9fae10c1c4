"""Keys: shown once, kept as a hash, compared without telling anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from records import tenants
from records.audit import By
from records.database import Database
from records.models import Audit


def make(database: Database, name: str = "acme") -> str:
    with database.write() as session:
        return tenants.create(session, name)


def test_a_key_names_its_tenant(database: Database) -> None:
    acme, rival = make(database), make(database, "rival")
    with database.read() as session:
        assert tenants.authenticate(session, acme) == "acme"
        assert tenants.authenticate(session, rival) == "rival"


@pytest.mark.parametrize(
    "named", [lambda key: key[:11], lambda key: key[3:11], str], ids=["ck-", "id", "key"]
)
def test_a_tenant_may_have_several_keys_and_lose_one(database: Database, named: Callable[[str], str]) -> None:
    old = make(database)
    with database.write() as session:
        new = tenants.add_key(session, "acme", By("cli"))
    with database.write() as session:
        revoked = tenants.revoke(session, named(old), By("cli"))
        assert tenants.prefix(revoked) == old[:11]
    with database.read() as session:
        assert tenants.authenticate(session, old) is None
        assert tenants.authenticate(session, new) == "acme"
        marks = {tenants.prefix(row): row.revoked_at is None for row in tenants.keys_of(session, "acme")}
    assert (marks[old[:11]], marks[new[:11]]) == (False, True)


def test_a_key_is_revoked_once_however_often_it_is_asked(database: Database) -> None:
    key = make(database)
    for _ in range(2):
        with database.write() as session:
            tenants.revoke(session, key[:11], By("cli"))
    with database.read() as session:
        (row,) = session.query(Audit)
    assert (row.tenant, row.actor, row.action, row.object) == (
        "acme",
        "cli",
        "revoke key",
        f"key:{key[3:11]}",
    )
    assert (row.before, row.after) == ({"revoked": False}, {"revoked": True})


@pytest.mark.parametrize("prefix", ["", "ck-", "ck-00000000", "acme", "ck-0000000g", "%"])
def test_a_key_that_is_not_there_cannot_be_revoked(database: Database, prefix: str) -> None:
    make(database)
    with pytest.raises(tenants.NotFound, match="keys list"), database.write() as session:
        tenants.revoke(session, prefix, By("cli"))


def test_a_tenant_that_is_not_there_has_no_keys_and_gets_none(database: Database) -> None:
    with pytest.raises(tenants.NotFound, match="tenants create"), database.read() as session:
        tenants.keys_of(session, "nobody")
    with pytest.raises(tenants.NotFound, match="tenants create"), database.write() as session:
        tenants.add_key(session, "nobody", By("cli"))


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
