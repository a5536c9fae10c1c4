"""The outermost layer, pure ASGI: request id, time, count, body limit, and the mask over unexpected errors.

It touches each response once, at its start; frames of a stream pass through it without any work.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from records.settings import Settings
from server import errors
from server.limits import limited
from server.metrics import Metrics

CLIENT_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
METHOD_NOT_ALLOWED = 405
UNMATCHED = ("-", "unmatched")  # neither an unknown path nor an odd method may become a label

log = logging.getLogger("chorus.server")


class Edge:
    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, started = time.perf_counter(), False
        request_id = _request_id(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id.decode()

        async def stamped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                spent = round((time.perf_counter() - began) * 1000)
                message["headers"] += [
                    (b"x-request-id", request_id),
                    (b"openai-processing-ms", b"%d" % spent),
                ]
                route, status = scope.get("route"), message["status"]
                method, path = UNMATCHED
                if route is not None and status != METHOD_NOT_ALLOWED:
                    method, path = scope["method"], route.path
                self.metrics.requests.labels(path, method, f"{status // 100}xx").inc()
            await send(message)

        try:
            await self.app(scope, limited(scope, receive, self.settings), stamped)
        except ClientDisconnect:
            return  # in the midst of its upload: nobody is left to answer
        except Exception:
            log.exception("Request %s failed", request_id.decode())
            if started:
                raise  # the server cuts the connection: half an answer must not look whole
            await errors.respond(errors.internal(request_id.decode()))(scope, receive, stamped)


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The client's own id when it is harmless, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and CLIENT_ID.fullmatch(value):
            return value
    return b"req_" + secrets.token_hex(16).encode()
