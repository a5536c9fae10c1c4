"""One constructor wires the server; nothing happens at import, and there is no app but the one it makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio import CapacityLimiter
from fastapi import APIRouter, Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from adapters import base as bases
from adapters.base import Base
from records.blobs import Blobs
from records.database import Database
from records.settings import Settings
from server import errors
from server.admission import Admitted
from server.auth import Doorkeeper, current_tenant
from server.catalog import Catalog
from server.echo import Echo
from server.edge import Edge
from server.engine.base import Engine
from server.evaluation.carry import Carrier
from server.evaluation.evaluator import Evaluator
from server.file_reports import FileReports
from server.follow import follow, stamp
from server.house import House
from server.keeper import Keeper
from server.metrics import Metrics, Waits
from server.metrics_jobs import JobCollector
from server.names import Names
from server.places import Places
from server.prover import Prover
from server.quotes import Quotes
from server.routes import adapters, brands, chat, files, graders, health, jobs, models, quotes, reports
from server.salts import Salts
from server.shadow import Shadows

HEAVY_THREADS = 2
GRADING_THREADS = 1  # of evaluations, which nobody waits for


def create_app(settings: Settings, engine: Engine, database: Database, base: Base | None = None) -> FastAPI:
    """The server as an ASGI app; `database` is prepared, `engine` is started by the app's lifespan.

    Raises adapters.base.BaseNotFound when `base` is not given and cannot be resolved.
    """
    base = base or bases.resolve(settings.base, settings.home)
    metrics = Metrics()
    metrics.registry.register(JobCollector(database))
    names = Names(database, base)
    engine = Admitted(engine, Places(settings.slots, Waits(metrics, "slot")))
    catalog = Catalog(names, settings.home, engine, metrics, settings.kept)
    prover = Prover(Echo(engine), catalog, database, metrics)
    blobs, salts = Blobs(settings.home), Salts()
    keeper = Keeper(engine, catalog, prover, database, metrics)
    grading = CapacityLimiter(GRADING_THREADS)
    carrier = Carrier(settings, database, blobs, engine, catalog, metrics, salts, grading)
    house = House(
        settings=settings,
        database=database,
        blobs=blobs,
        base=base,
        engine=engine,
        doorkeeper=Doorkeeper(database),
        names=names,
        catalog=catalog,
        prover=prover,
        keeper=keeper,
        evaluator=Evaluator(carrier, keeper, database, base.weights_sha256),
        metrics=metrics,
        salts=salts,
        shadows=Shadows(engine, catalog, metrics),
        reports=FileReports(settings.home, base),
        quotes=Quotes(settings, base),
        heavy=CapacityLimiter(HEAVY_THREADS),
    )
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=_lifespan)
    app.state.house = house
    errors.install(app)
    # Deny by default: the key is asked for by the router, so no route in it can forget to.
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(current_tenant)], redirect_slashes=False)
    for part in (chat, models, brands, adapters, files, jobs, quotes, reports, graders):
        v1.include_router(part.router)
    app.include_router(v1)
    app.include_router(health.router)
    app.add_middleware(Edge, settings=settings, metrics=metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Control routes answer at once; chat does when the keeper has brought the engine up."""
    house: House = app.state.house
    known = await run_in_threadpool(stamp, house.database)
    tasks = [
        asyncio.create_task(house.keeper.run()),
        asyncio.create_task(house.evaluator.run()),
        asyncio.create_task(follow(house.database, house.blobs, house.catalog, house.prover, known)),
    ]
    try:
        yield
    finally:
        await house.shadows.stop()
        await house.reports.stop()
        await house.quotes.stop()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await house.prover.stop()
