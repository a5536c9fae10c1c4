"""The `chorus` command as a shell sees it: what it prints, where, and how it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from records import settings, tenants
from records.database import Database


def chorus(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHORUS_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={**kept, **variables, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_creating_a_tenant_prints_a_working_key_and_nothing_else(tmp_path: Path) -> None:
    done = chorus("tenants", "create", "acme", cwd=tmp_path, CHORUS_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"ck-[0-9a-f]{8}-[\w-]{43}\n", done.stdout)
    database = Database(settings.load(home=tmp_path / "home").url)
    with database.read() as session:
        assert tenants.authenticate(session, done.stdout.strip()) == "acme"
    assert done.stdout.strip().encode() not in (tmp_path / "home" / "chorus.db").read_bytes()


def test_a_database_that_does_not_answer_is_a_sentence_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://chorus:s3cret@127.0.0.1:1/rows"
    done = chorus("tenants", "create", "acme", cwd=tmp_path, CHORUS_DATABASE_URL=url)
    assert done.returncode == 2
    assert "The database does not answer" in done.stderr
    assert "CHORUS_DATABASE_URL" in done.stderr
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["Acme", "a_b", "-a", "", "x" * 41, "a:b", "../a"])
def test_a_tenant_name_that_cannot_stand_in_a_model_name_is_refused(name: str, tmp_path: Path) -> None:
    done = chorus("tenants", "create", "--home", str(tmp_path), "--", name, cwd=tmp_path)
    assert done.returncode == 2
    assert not done.stdout
    assert "a-z, 0-9" in done.stderr


def test_a_typo_in_a_variable_stops_the_start_and_names_the_key(tmp_path: Path) -> None:
    done = chorus("tenants", "create", "acme", cwd=tmp_path, CHORUS_HOEM="x")
    assert done.returncode == 2
    assert "CHORUS_HOEM" in done.stderr
    assert "CHORUS_HOME" in done.stderr


def test_a_typo_in_the_settings_file_stops_the_start_and_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "chorus.toml").write_text('bse = "tiny"\n')
    done = chorus("serve", cwd=tmp_path)
    assert done.returncode == 2
    assert "chorus.toml: bse" in done.stderr
    assert "base" in done.stderr


def test_a_bad_value_is_named_with_its_setting(tmp_path: Path) -> None:
    done = chorus("serve", cwd=tmp_path, CHORUS_PORT="eighty")
    assert done.returncode == 2
    assert "CHORUS_PORT" in done.stderr


def test_the_settings_file_is_read_and_a_variable_wins_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chorus.toml").write_text('port = 8100\nbase = "somewhere"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHORUS_PORT", "8200")
    found = settings.load(host="0.0.0.0")
    assert (found.port, found.base, found.host) == (8200, "somewhere", "0.0.0.0")


def test_a_base_that_is_nowhere_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    done = chorus("serve", "--base", "no/such-model", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "no/such-model" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_flag_of_vllm_that_would_end_the_engine_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    done = chorus("serve", "--no-worker", "--", "--kv-sharing-fast-prefill", cwd=tmp_path)
    assert done.returncode == 2
    assert "--kv-sharing-fast-prefill is not supported" in done.stderr
    assert "Start without it." in done.stderr
    assert "Traceback" not in done.stderr


def test_help_shows_each_setting_with_its_variable_and_default(tmp_path: Path) -> None:
    shown = chorus("serve", "--help", cwd=tmp_path).stdout
    for text in ("CHORUS_BASE", "default tiny", "CHORUS_PORT", "default 8000", "--no-worker"):
        assert text in shown
