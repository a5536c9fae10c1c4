"""A version's model card, in Markdown, on demand: what it is, where it is from, how it does, what it is for.

Not a file in the version's folder: that is content-addressed, and the verdict comes after it. Called by the
route and by `chorus adapters card`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.manifest import Manifest
from records import jobs
from records.models import Event, Version
from server.evaluation.report import report
from server.evaluation.texts import figure, when
from server.evaluation.verdict import NAMES

MEDIA_TYPE = "text/markdown; charset=utf-8"


def card(session: Session, row: Version) -> str:
    """Of any version, also of one that does not answer. Of an import only what is known of it."""
    job = jobs.get(session, row.tenant, row.job_id) if row.job_id else None
    environment = Environment(  # noqa: S701 (no HTML: entities would be read as text)
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, finalize=_inert,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"figure": figure, "when": when}
    return environment.get_template("card.md").render(
        version=row,
        manifest=Manifest.model_validate(row.manifest),
        report=report(session, job) if job else None,
        data_check=_data_check(session, job.id) if job else None,
        names=NAMES,
    )


def _inert(value: Any) -> Any:
    """Graders and cases have names that people gave: no HTML of theirs in a page made of the card."""
    return value.replace("<", "&lt;") if isinstance(value, str) else value


def _data_check(session: Session, job_id: str) -> str | None:
    """What the data doctor said at the job's start."""
    told = select(Event).where(Event.job_id == job_id).order_by(Event.seq)
    rows: list[Any] = [one for one in session.scalars(told) if one.data and "findings" in one.data]
    return rows[0].message if rows else None
