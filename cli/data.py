"""`chorus data`: what the data doctor says of a file, and a split that leaks nothing. No server is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adapters import base as bases
from cli import options
from cli.data_shown import errors_shown, show
from cli.options import Base, Home

File = Annotated[
    Path, typer.Argument(help="Training data as JSON lines.", exists=True, dir_okay=False, readable=True)
]

data = typer.Typer(no_args_is_help=True)


@data.callback()
def about() -> None:
    """Check training data, and split it."""


@data.command()
def check(
    file: File,
    validation: Annotated[
        Path | None,
        typer.Option("--validation", help="Validation data, to be compared.", exists=True, dir_okay=False),
    ] = None,
    base: Base = None,
    home: Home = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say whether the data is worth a training, and what to mend; exit 1 when a job would refuse it."""
    from training.doctor.examine import examine, open_base

    settings = options.read(base=base, home=home)
    try:
        model = bases.resolve(settings.base, settings.home)
        renderer, limit = open_base(model)
    except (bases.BaseNotFound, ValueError) as error:
        raise options.stop(str(error)) from None
    except OSError as error:
        raise options.failed(error) from None
    report = examine(file, validation, base=model.slug, renderer=renderer, limit=limit)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        show(Console(highlight=False, markup=False), report, file.name)
    if report.has_errors:
        raise typer.Exit(1)


@data.command()
def split(
    file: File,
    validation_share: Annotated[
        float, typer.Option("--validation-share", help="Share of the rows to hold out.", min=0.001, max=0.9)
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives another split.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; default is the file's.", file_okay=False)
    ] = None,
) -> None:
    """Write a training and a validation file. Rows that ask the same, but for trifles, stay on one side."""
    from training.doctor.split import NotSplit
    from training.doctor.split import split as run

    try:
        done = run(file, out or file.parent, validation_share, seed)
    except NotSplit as error:
        errors_shown(error.errors)
        raise options.stop(str(error)) from None
    except OSError as error:
        raise options.failed(error) from None
    shown = Console(highlight=False, markup=False, soft_wrap=True)
    shown.print(f"{done.training}: {done.training_rows:,} rows")
    shown.print(f"{done.validation}: {done.validation_rows:,} rows")
    if done.groups:
        shown.print(
            f"{done.grouped_rows:,} rows ask the same as another, but for trifles; each of their "
            f"{done.groups:,} groups is wholly on one side."
        )
