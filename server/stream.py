"""The answer of an engine on its way to the client, and the end of everything that the request holds.

First item before the 200; an error after it is an SSE error event without [DONE]. When the last frame is out,
or the client has gone, the iterator is closed (which aborts the generation) and `until_end` is released.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from server import errors
from server.engine.base import EngineUnavailable, RequestRefused
from server.fields import Asked
from server.metrics import Observation
from server.said import DONE

T = TypeVar("T")
# Only the usage frame has it: inside a JSON string each quote would be escaped.
NO_CHOICES = b'"choices":[]'
# A client that takes nothing for so long has gone for us: others wait for its slot and its place in memory.
STUCK_SECONDS = 20.0
GONE = 499  # nobody reads it; nginx's number for a client that closed the request

log = logging.getLogger("chorus.server")


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


async def reply(
    request: Request,
    frames: AsyncIterator[bytes],
    asked: Asked,
    seen: Observation,
    *,
    until_end: AsyncExitStack,
) -> Response:
    """The response to `asked`; it owns `until_end` from here on. Raises what the engine raises first, here or
    when the response is called."""
    until_end.push_async_callback(_close, frames)
    if asked.stream:
        return Frames(frames, asked, seen, until_end)
    async with until_end:
        try:
            whole = await unless_gone(request.receive, _first(frames))
        except ClientGone:
            return Response(status_code=GONE)
        seen.frame()
        seen.usage(whole)
        return Response(whole, media_type="application/json")


class Frames(Response):
    """SSE frames as they come, and nothing before the first: until then an error is an answer of its own.

    No task group per frame: three tasks per stream, whatever its length. Nor one for the first frame alone:
    streams that begin together would each wait for all the others' change of tasks.
    """

    def __init__(
        self, frames: AsyncIterator[bytes], asked: Asked, seen: Observation, until_end: AsyncExitStack
    ) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-cache"
        self.frames, self.asked, self.seen, self.until_end = frames, asked, seen, until_end
        self.last = b""
        self.sending: float | None = None  # since when the frame waits that is on its way to the client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._send(send), self._stuck())
        except ClientGone:
            if not self.last:
                await Response(status_code=GONE)(scope, receive, send)
        else:
            # The engine may have died: do not wait for the next request to meet that.
            if DONE not in self.last:
                scope["app"].state.house.keeper.suspect()
        finally:
            await self.until_end.aclose()

    async def _send(self, send: Send) -> None:
        self.last = await anext(self.frames)
        self.seen.frame()
        self.sending = time.monotonic()
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.last, "more_body": True})
        self.sending, end = None, b""
        try:
            # No generator of our own in between: each one costs a switch for every frame of every stream.
            async for frame in self.frames:
                if NO_CHOICES in frame:
                    self.seen.usage(frame)
                    if not self.asked.wants_usage:
                        continue
                self.seen.frame()
                self.last, self.sending = frame, time.monotonic()
                await send({"type": "http.response.body", "body": frame, "more_body": True})
                self.sending = None
        except Exception as error:
            end = error_event(error)
        self.sending = time.monotonic()
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _stuck(self) -> None:
        """Ends when one frame has waited for the client for STUCK_SECONDS."""
        # No event that each frame sets: that would be a call per frame of every stream.
        while self.sending is None or time.monotonic() - self.sending < STUCK_SECONDS:  # noqa: ASYNC110
            await asyncio.sleep(STUCK_SECONDS / 4)


def error_event(error: Exception) -> bytes:
    """The last event of a stream that failed. Unexpected errors are logged and masked."""
    if isinstance(error, EngineUnavailable):
        error = errors.unavailable(f"The answer broke off: {error}")
    if not isinstance(error, RequestRefused):
        log.exception("A stream failed", exc_info=error)
        message = "The server had an error in the midst of this answer."
        error = RequestRefused(500, message, type="server_error", code="internal_error")
    return b"data: " + json.dumps(errors.body_of(error)).encode() + b"\n\n"


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T], *signs: Coroutine[Any, Any, None]) -> T:
    """The result of `work`; cancels it and raises ClientGone when the client leaves first, or one of `signs`
    that it does not listen any more ends."""
    working = asyncio.ensure_future(work)
    watching = [asyncio.ensure_future(sign) for sign in (_disconnect(receive), *signs)]
    for task in (working, *watching):
        task.add_done_callback(_seen)
    try:
        await asyncio.wait({working, *watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in watching:
            task.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


def _seen(task: asyncio.Future[Any]) -> None:
    """Takes note of how it ended: the engine answers a cancellation with an error of its own ("Client
    disconnected"), which asyncio would log as never retrieved where nobody is left to hear it."""
    if not task.cancelled():
        task.exception()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(frames: AsyncIterator[bytes]) -> bytes:
    return await anext(frames)


async def _close(frames: AsyncIterator[bytes]) -> None:
    close = getattr(frames, "aclose", None)
    if close is not None:
        await close()
