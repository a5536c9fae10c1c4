"""Jobs as tables and as a progress bar for people; for cli/jobs.py."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from sqlalchemy import select

from cli.quote_shown import span
from records import jobs
from records.database import Database
from records.models import TERMINAL, Event, Job

POLL_SECONDS = 0.5
STYLES = {"warn": "yellow", "error": "red"}


def table(rows: Iterable[Job]) -> Table:
    """A line per job."""
    shown = Table("Job", "Brand", "Status", "Made", "Result")
    for row in rows:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.created_at))
        result = row.fine_tuned_model or (row.error or {}).get("message") or "-"
        shown.add_row(row.id, row.brand, row.status, made, escape(result))
    return shown


def follow(console: Console, database: Database, tenant: str, job_id: str) -> Job | None:
    """Print the job's messages above a bar of its steps until it ends; None: no such job."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    seen = 0
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=None, told="")
        pace = ""
        while True:
            with database.read() as session:
                job = jobs.get(session, tenant, job_id)
                new = select(Event).where(Event.job_id == job_id, Event.seq > seen).order_by(Event.seq)
                events = session.scalars(new).all()
            if job is None:
                return None
            for event in events:
                seen = event.seq
                if event.type == "metrics":
                    step, total = (float((event.data or {}).get(name, 0)) for name in ("step", "total_steps"))
                    progress.update(bar, completed=step, total=total)
                    pace = _pace(event)
                else:
                    console.print(event.message, style=STYLES.get(event.level), markup=False)
            told = ", ".join(filter(None, (pace, _left(job))))
            progress.update(bar, description=job.status, told=told)
            if job.status in TERMINAL:
                return job
            time.sleep(POLL_SECONDS)


def _pace(event: Event) -> str:
    """`loss 0.123, 4,500 tokens/s, peak 0.56 GB`: what the event tells of it."""
    data = event.data or {}
    told = [f"loss {data['train_loss']:.3f}"] if "train_loss" in data else []
    if "tokens_per_second" in data:
        told.append(f"{data['tokens_per_second']:,.0f} tokens/s")
    if "peak_memory_bytes" in data:
        told.append(f"peak {data['peak_memory_bytes'] / 1e9:.2f} GB")
    return ", ".join(told)


def _left(job: Job) -> str:
    """`0:01:10 left`, counted down; nothing when the job has ended, or takes longer than was estimated (its
    evaluation is not in the estimate)."""
    if job.status in TERMINAL or job.estimated_finish is None:
        return ""
    seconds = job.estimated_finish - int(time.time())
    return f"{span(seconds)} left" if seconds > 0 else ""
