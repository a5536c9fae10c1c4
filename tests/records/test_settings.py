"""Settings: three sources in order, and a typo that stops the start."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from records import settings
from records.settings import UnknownSetting


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_arguments_win_over_variables_and_variables_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chorus.toml").write_text('port = 1\nhost = "file"\nbase = "file"\n')
    monkeypatch.setenv("CHORUS_PORT", "2")
    monkeypatch.setenv("CHORUS_HOST", "variable")
    found = settings.load(port=3, host=None)
    assert (found.port, found.host, found.base) == (3, "variable", "file")


@pytest.mark.parametrize(
    ("name", "near"), [("CHORUS_PROT", "CHORUS_PORT"), ("CHORUS_MAX_LORA", "CHORUS_MAX_LORAS")]
)
def test_a_typo_in_a_variable_is_named_with_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, near: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UnknownSetting, match=name) as caught:
        settings.load()
    assert near in str(caught.value)


def test_a_typo_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "chorus.toml").write_text("prot = 1\n")
    with pytest.raises(UnknownSetting, match="prot"):
        settings.load()


@pytest.mark.parametrize("value", ["-1", "65536", "x"])
def test_a_bad_value_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CHORUS_PORT", value)
    with pytest.raises(ValidationError, match="port"):
        settings.load()


def test_the_admin_key_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_ADMIN_KEY", "s3cret")
    assert "s3cret" not in repr(settings.load())


def test_rows_lie_in_the_home_unless_moved(tmp_path: Path) -> None:
    assert settings.load(home=tmp_path).url == f"sqlite:///{tmp_path}/chorus.db"
    assert settings.load(database_url="postgresql://x/y").url == "postgresql://x/y"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgres://x:s3cret@y/z", "'postgres' is not supported; use postgresql://"),
        ("mysql://x:s3cret@y/z", "'mysql' is not supported"),
        ("postgresql+asyncpg://x:s3cret@y/z", "'postgresql+asyncpg' is not supported"),
        ("s3cret", "no database URL"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_without_showing_its_password(url: str, said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)) as caught:
        settings.load(database_url=url)
    assert "s3cret" not in str(caught.value)


def test_without_its_driver_postgresql_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValidationError, match=re.escape("pip install 'psycopg[binary]>=3.3'")):
        settings.load(database_url="postgresql://x/y")


def test_training_in_four_bits_without_its_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    with pytest.raises(ValidationError, match=re.escape("pip install 'bitsandbytes>=0.50'")) as caught:
        settings.load(training_4bit=True)
    assert "training_4bit" in str(caught.value)
    assert settings.load(training_4bit=False).training_4bit is False


def test_the_password_of_a_database_is_not_printed() -> None:
    assert "s3cret" not in repr(settings.load(database_url="postgresql://x:s3cret@y/z"))


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in settings.Settings.model_fields.values())
