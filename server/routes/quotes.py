"""POST /v1/fine_tuning/quote: what a job would take; the body is the job's, and nothing is created."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from records import quotes
from records.quotes import Order
from server import job_request
from server.auth import CurrentTenant
from server.body import json_object
from server.house import Here, House
from server.job_create import checked
from server.job_request import JobRequest
from server.job_servable import check_base
from server.quotes import order_of

router = APIRouter()


@router.post("/fine_tuning/quote")
async def create(request: Request, tenant: CurrentTenant, house: Here) -> JSONResponse:
    asked = job_request.parse(await json_object(request))
    order, size = await run_in_threadpool(_order, house, tenant, asked)
    quote = await house.quotes.get(tenant, order)
    return JSONResponse(await run_in_threadpool(_offer, house, quote, size))


def _order(house: House, tenant: str, asked: JobRequest) -> tuple[Order, int]:
    check_base(house.office)
    with house.database.read() as session:
        # Not a seed of its own per quote: the held-out examples depend on it, and the cache would never hit.
        job = checked(session, house.office, tenant, asked, seed=0)
        return order_of(session, house.settings, job)


def _offer(house: House, quote: quotes.Quote, size: int) -> dict[str, object]:
    with house.database.read() as session:
        return quotes.offer(session, quote, size, house.settings.price_per_million_tokens)
