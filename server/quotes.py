"""What a job would take: measured beside the server by `training.quote`, on this machine and this base."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from adapters.base import Base
from records import files
from records.models import Job, Version
from records.quotes import Measured, Order, Quote
from records.settings import Settings
from server.aside import Aside
from server.engine.base import RequestRefused
from server.errors import invalid

WAITING = 8  # of one tenant: measurements take seconds each, one after another


class Quotes:
    """One measurement per order, whoever asks for it."""

    def __init__(self, settings: Settings, base: Base) -> None:
        self._home, self._base, self._aside = settings.home, base, Aside()

    async def get(self, tenant: str, order: Order) -> Quote:
        """Raises RequestRefused: 400 for what the job would fail of, 429 when too many of the tenant's wait,
        500."""
        path = order.path(self._home, self._base.weights_sha256)
        is_new = not self._aside.is_making(path) and not await run_in_threadpool(path.is_file)
        if is_new and self._aside.waiting(tenant) >= WAITING:
            said = f"{WAITING} of your quotes are being measured already; try again in some seconds."
            raise RequestRefused(429, said, type="requests", code="rate_limit_exceeded")
        found = await self._aside.get(
            tenant, path, "training.quote", "--home", str(self._home), "--base", str(self._base.path),
            "--slug", self._base.slug, "--order", order.model_dump_json(),
        )  # fmt: skip
        if found is None:
            raise RequestRefused(
                500,
                "The job could not be tried out; the server's log says why.",
                type="server_error",
                code="quote_failed",
            )
        measured = Measured.model_validate_json(found)
        if measured.refusal is not None:
            refusal = measured.refusal
            raise invalid(refusal.message, refusal.param, refusal.code)
        assert measured.quote is not None
        return measured.quote

    async def stop(self) -> None:
        await self._aside.stop()


def order_of(session: Session, settings: Settings, job: Job) -> tuple[Order, int]:
    """(what is to be measured for a job that was checked, bytes of its training file)."""
    training = files.get(session, job.tenant, job.training_file)
    validation = files.get(session, job.tenant, job.validation_file) if job.validation_file else None
    parent = select(Version.sha256).where(Version.tenant == job.tenant, Version.name == job.model)
    assert training is not None
    order = Order(
        training_sha256=training.sha256,
        validation_sha256=validation.sha256 if validation else None,
        parent_sha256=session.scalar(parent),
        method=job.method,
        requested=job.requested,
        seed=job.seed,
        max_lora_rank=settings.largest_rank,
        training_threads=settings.training_threads,
        gradient_checkpointing=settings.gradient_checkpointing,
        training_4bit=settings.training_4bit,
    )
    return order, training.bytes
