"""/v1/chat/completions and /v1/completions: the architecture on one screen."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter, Request, Response

from server import fields
from server.auth import CurrentTenant
from server.body import json_object
from server.engine.base import Kind
from server.house import Here, House
from server.stream import reply

router = APIRouter()


@router.post("/chat/completions")
async def chat(request: Request, tenant: CurrentTenant, house: Here) -> Response:
    return await _answer(Kind.CHAT, request, tenant, house)


@router.post("/completions")
async def completion(request: Request, tenant: CurrentTenant, house: Here) -> Response:
    return await _answer(Kind.COMPLETION, request, tenant, house)


async def _answer(kind: Kind, request: Request, tenant: str, house: House) -> Response:
    asked = fields.check(kind, await json_object(request), house.salts.of(tenant))
    async with AsyncExitStack() as stack:
        seen = stack.enter_context(house.metrics.observe())
        who = asked.user or request.state.request_id
        chosen = await stack.enter_async_context(house.catalog.acquire(tenant, asked.model, who))
        frames = house.engine.generate(kind, asked.body, chosen.version)
        frames = house.shadows.watch(frames, kind, tenant, asked, chosen.shadow)
        return await reply(request, frames, asked, seen, until_end=stack.pop_all())
