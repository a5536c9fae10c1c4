"""OpenAI's cursor pages: rows in creation order, `after` is the id of the last row seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from records.models import Audit, Checkpoint, Event, File, Job

T = TypeVar("T", File, Job, Event, Checkpoint, Audit)


class UnknownCursor(LookupError):
    """`after` names no row of this list."""


@dataclass(frozen=True)
class Page(Generic[T]):
    rows: list[T]
    has_more: bool


def page(
    session: Session,
    kind: type[T],
    *where: ColumnElement[bool],
    after: str | None,
    limit: int,
    order: Literal["asc", "desc"] = "desc",
) -> Page[T]:
    """At most `limit` rows of `kind` that meet `where`, behind the row `after`. Raises UnknownCursor."""
    seq: Any = kind.seq
    query = select(kind).where(*where)
    if after is not None:
        last = session.scalar(select(seq).where(kind.id == after, *where))
        if last is None:
            raise UnknownCursor(after)
        query = query.where(seq < last if order == "desc" else seq > last)
    rows = list(session.scalars(query.order_by(seq.desc() if order == "desc" else seq).limit(limit + 1)))
    return Page(rows[:limit], len(rows) > limit)
