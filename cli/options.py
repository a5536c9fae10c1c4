"""Command-line options made from the settings: their help and default are written once, in Settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from adapters.base import BaseNotFound
from records import settings as setting
from records.database import Database
from records.disk import is_full
from records.settings import Settings

errors = Console(stderr=True, highlight=False)


def _option(name: str, *flags: str) -> Any:
    field = Settings.model_fields[name]
    shown = f"{field.description} [{setting.PREFIX}{name.upper()}, default {field.default}]"
    return typer.Option(*flags, help=shown, show_default=False)


Base = Annotated[str | None, _option("base", "--base")]
Home = Annotated[Path | None, _option("home", "--home")]
Host = Annotated[str | None, _option("host", "--host")]
Port = Annotated[int | None, _option("port", "--port")]


def read(**given: Any) -> Settings:
    """The settings in force; ends the command with a sentence when one is wrong."""
    try:
        return setting.load(**given)
    except setting.UnknownSetting as error:
        raise stop(str(error)) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise stop(f"Setting {name!r} (or {setting.PREFIX}{name.upper()}): {first['msg']}.") from None


def open_database(settings: Settings) -> Database:
    """The database, its tables up to date; ends the command with a sentence when it does not answer."""
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.url)
    try:
        database.prepare()
    except DBAPIError as error:
        raise failed(error) from None
    return database


def failed(error: OSError | DBAPIError) -> typer.Exit:
    """Print what the disk or the database did not do, and exit with 2: `raise failed(...)`."""
    if is_full(error):
        return stop("The disk is full; nothing was changed. Make room where CHORUS_HOME lies and try again.")
    if isinstance(error, OSError):
        return stop(f"{error.strerror}: {error.filename}")
    said, where = str(error.orig).strip(), f"{setting.PREFIX}DATABASE_URL"
    return stop(f"The database does not answer ({said}). Is {where} right, and has its disk room?")


def stop(message: str) -> typer.Exit:
    """Print why, and exit with 2: `raise stop(...)`."""
    # Not broken into lines: a terminal does that, and who searches the text finds it whole.
    errors.print(f"chorus: {message}", style="red", markup=False, soft_wrap=True)
    return typer.Exit(2)


__all__ = [
    "Base", "BaseNotFound", "Home", "Host", "Port", "errors", "failed", "open_database", "read", "stop",
]  # fmt: skip
