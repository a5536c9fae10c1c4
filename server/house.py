"""All the parts of one server, wired once by `create_app`; routes get it as a dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from adapters.base import Base
from records.blobs import Blobs
from records.database import Database
from records.settings import Settings
from server.admission import Admitted
from server.auth import Doorkeeper
from server.catalog import Catalog
from server.evaluation.evaluator import Evaluator
from server.file_reports import FileReports
from server.job_parent import Office
from server.keeper import Keeper
from server.metrics import Metrics
from server.names import Names
from server.prover import Prover
from server.quotes import Quotes
from server.salts import Salts
from server.shadow import Shadows


@dataclass(frozen=True)
class House:
    settings: Settings
    database: Database
    blobs: Blobs
    base: Base
    engine: Admitted
    doorkeeper: Doorkeeper
    names: Names
    catalog: Catalog
    prover: Prover
    keeper: Keeper
    evaluator: Evaluator
    metrics: Metrics
    salts: Salts
    shadows: Shadows
    reports: FileReports
    quotes: Quotes
    heavy: CapacityLimiter  # long work in threads: it must not take the threads of short look-ups

    @property
    def office(self) -> Office:
        return Office(self.settings, self.database, self.base, self.names)


async def house(request: Request) -> House:
    found: House = request.app.state.house
    return found


Here = Annotated[House, Depends(house)]
