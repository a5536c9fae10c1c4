"""What a job will take, before it is made: the order that a measurement answers, and the answer with its
price and its place in the queue. Training measures (training/quote.py); the server and the cli ask and show.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.models import ACTIVE, File, Job
from records.reports import Reports

FORMAT = 1  # of a measurement on disk


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Order(_Strict):
    """All that a job's figures depend on, beside base and machine; the sha256 are of files' and adapters'
    contents."""

    training_sha256: str
    validation_sha256: str | None
    parent_sha256: str | None
    method: str
    requested: dict[str, Any]
    seed: int
    max_lora_rank: int
    training_threads: int
    gradient_checkpointing: bool | None
    training_4bit: bool

    @property
    def largest_rank(self) -> int:
        return self.max_lora_rank

    def path(self, home: Path, base_sha256: str) -> Path:
        """Where its measurement lies: beside the file's data report, so that it goes with the file."""
        text = f"{FORMAT} {base_sha256} {self.model_dump_json()}"
        return Reports(home).quote(self.training_sha256, hashlib.sha256(text.encode()).hexdigest())


class Quote(_Strict):
    """Measured by two steps; seconds and trained tokens include a sweep's. With `stops_early`, or a sweep,
    they, epochs and steps are what it takes at most. `seconds` are of training; `start_seconds` go by before:
    libraries, base model, data."""

    examples: int
    held_out: int
    truncated_examples: int
    tokens_per_epoch: int
    supervised_tokens_per_epoch: int
    hyperparameters: dict[str, Any]
    epochs: int
    steps: int
    stops_early: bool
    trained_tokens: int
    peak_memory_bytes: int
    seconds: float
    start_seconds: float
    device: str

    def after(self, seconds: float, tokens: int) -> Quote:
        """With what goes before the job's own training: a sweep."""
        more = {"seconds": round(self.seconds + seconds, 2), "trained_tokens": self.trained_tokens + tokens}
        return self.model_copy(update=more)


class Refusal(_Strict):
    """Why the job would fail before its first step."""

    code: str
    message: str
    param: str | None


class Measured(_Strict):
    """One of the two."""

    quote: Quote | None = None
    refusal: Refusal | None = None


def price(tokens: int, per_million: float | None) -> float | None:
    """None where the operator has set no price."""
    return None if per_million is None else round(tokens * per_million / 1e6, 6)


def offer(
    session: Session, quote: Quote, file_bytes: int, price_per_million_tokens: float | None
) -> dict[str, Any]:
    """The quote as clients get it; `file_bytes` is the size of its training file."""
    takes = quote.start_seconds + quote.seconds
    jobs, seconds = ahead(session, takes / max(1, file_bytes))
    return {
        "object": "fine_tuning.quote",
        **quote.model_dump(),
        "cost": price(quote.trained_tokens, price_per_million_tokens),
        "price_per_million_tokens": price_per_million_tokens,
        "queue": {"jobs": jobs, "seconds": round(seconds, 1)},
        "estimated_finish": int(time.time() + seconds + takes) + 1,
    }


def ahead(session: Session, seconds_per_byte: float) -> tuple[int, float]:
    """(unfinished jobs that are not paused, seconds until the workers are through with them).

    One that has no estimate yet counts by the size of its file. As many workers as hold a job now, at least
    one, share them; that tenants take turns can bring a job forward.
    """
    now = time.time()
    size = func.coalesce(File.bytes, 0)
    query = select(Job.estimated_finish, size).outerjoin(File, File.id == Job.training_file)
    rows = session.execute(query.where(Job.status.in_(ACTIVE))).all()
    held = select(func.count(func.distinct(Job.lease_owner))).where(
        Job.status.in_(ACTIVE), Job.lease_until >= now
    )
    left = sum(max(0.0, end - now) if end else size * seconds_per_byte for end, size in rows)
    return len(rows), left / max(1, session.scalar(held) or 0)
