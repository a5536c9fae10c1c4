"""`chorus tenants keys` as an operator uses it: what it prints, what it never prints, how it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.commands import app
from records import tenants
from records.database import Database
from records.models import Audit
from records.settings import Settings


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(Settings(home=tmp_path).url)
    database.prepare()
    return database


@pytest.fixture
def key(database: Database) -> str:
    with database.write() as session:
        return tenants.create(session, "acme")


def chorus(home: Path, *words: str) -> Result:
    command = ["tenants", "keys", *words, "--home", str(home)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


def test_a_revoked_key_opens_nothing_and_another_one_does(
    tmp_path: Path, database: Database, key: str
) -> None:
    made = chorus(tmp_path, "create", "acme")
    assert re.fullmatch(r"ck-[0-9a-f]{8}-[\w-]{43}\n", made.stdout)
    done = chorus(tmp_path, "revoke", key[:11])
    assert done.exit_code == 0
    assert f"{key[:11]} of tenant acme is revoked since " in done.stdout
    assert "within 5 seconds" in done.stdout
    with database.read() as session:
        assert tenants.authenticate(session, key) is None
        assert tenants.authenticate(session, made.stdout.strip()) == "acme"
        assert [row.action for row in session.query(Audit)] == ["create key", "revoke key"]


def test_the_list_shows_prefixes_and_dates_and_no_secret(tmp_path: Path, key: str) -> None:
    other = chorus(tmp_path, "create", "acme").stdout.strip()
    chorus(tmp_path, "revoke", key)  # whoever found a leaked key has it whole
    shown = chorus(tmp_path, "list", "acme").stdout
    lines = {found[0]: line for line in shown.splitlines() if (found := re.findall(r"ck-[0-9a-f]{8}", line))}
    assert len(re.findall(r"\d{4}-\d\d-\d\d", lines[key[:11]])) == 2
    assert len(re.findall(r"\d{4}-\d\d-\d\d", lines[other[:11]])) == 1
    assert not any(secret[12:] in shown for secret in (key, other))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "nobody"), "chorus tenants create"),
        (("create", "nobody"), "chorus tenants create"),
        (("revoke", "ck-00000000"), "keys list"),
        (("revoke", "acme"), "keys list"),
    ],
    ids=["list", "create", "revoke", "no prefix"],
)
@pytest.mark.usefixtures("key")
def test_what_is_not_there_is_refused_with_what_to_do(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = chorus(tmp_path, *words)
    assert done.exit_code == 2
    assert said in done.stderr
