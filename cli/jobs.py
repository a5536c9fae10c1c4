"""`chorus jobs`: fine-tuning jobs changed in the database itself, by the API's rules; workers find out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy.orm import Session

from cli import jobs_shown, options
from cli.options import Home
from records import jobs as queue
from records import pages
from records.models import SUCCEEDED, Job

Tenant = Annotated[str, typer.Option("--tenant", help="Whose job it is.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id (ftjob-...).")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="So many of the newest.")]

jobs = typer.Typer(no_args_is_help=True)


@jobs.callback()
def about() -> None:
    """Fine-tuning jobs: list, follow, pause, resume, cancel, report."""


@jobs.command("list")
def list_jobs(tenant: Tenant, limit: Limit = 20, home: Home = None) -> None:
    """Show the tenant's jobs, the newest first."""
    database = options.open_database(options.read(home=home))
    with database.read() as session:
        page = pages.page(session, Job, Job.tenant == tenant, after=None, limit=limit)
    Console().print(jobs_shown.table(page.rows))


@jobs.command()
def follow(job: JobId, tenant: Tenant, home: Home = None) -> None:
    """Show a job's events and its progress until it ends; exits with 1 when it does not succeed."""
    database = options.open_database(options.read(home=home))
    ended = jobs_shown.follow(Console(), database, tenant, job)
    if ended is None:
        raise missing(tenant, job)
    raise typer.Exit(ended.status != SUCCEEDED)


@jobs.command()
def pause(job: JobId, tenant: Tenant, home: Home = None) -> None:
    """Stop a job after its step, and keep it; it holds no worker until it is resumed."""
    _change(tenant, job, home, queue.pause)


@jobs.command()
def resume(job: JobId, tenant: Tenant, home: Home = None) -> None:
    """Put a paused job back into the queue; it goes on from the step at which it stopped."""
    _change(tenant, job, home, queue.resume)


@jobs.command()
def cancel(job: JobId, tenant: Tenant, home: Home = None) -> None:
    """End a job; it cannot be taken up again, its checkpoints stay."""
    _change(tenant, job, home, queue.cancel)


def _change(
    tenant: str, job: str, home: Path | None, rule: Callable[[Session, str, str], Job | None]
) -> None:
    database = options.open_database(options.read(home=home))
    try:
        with database.write() as session:
            row = rule(session, tenant, job)
    except queue.ChangeRefused as refused:
        raise options.stop(str(refused)) from None
    if row is None:
        raise missing(tenant, job)
    Console().print(jobs_shown.table([row]))


def missing(tenant: str, job: str) -> typer.Exit:
    return options.stop(f"Tenant {tenant!r} has no such job: {job!r}. `chorus jobs list` shows them.")
