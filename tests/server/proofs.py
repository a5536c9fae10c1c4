"""Versions with a trainer's figures, engines that answer proofs in their own ways, and looks at the rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from adapters import rollout
from adapters.proof import Proof, Row
from records.audit import By
from records.models import Audit, Version
from server.engine.base import Kind, RequestRefused
from server.engine.base import Version as Loaded
from server.engine.fake import FakeEngine
from tests.server.conftest import Running, Stage, until

HELLO: Any = [{"role": "user", "content": "hello there"}]
BRAND = "/v1/brands/luxe"
TEXTS = [list(range(10, 50)), list(range(60, 75)), [7] * 20]
LEARNT = range(4, 12)


def trained(off: float = 0.0) -> Callable[[str], Proof]:
    """What a trainer would have kept of a version whose log-probabilities are `off` those that are served."""

    def make(name: str) -> Proof:
        return Proof(rows=[row(text, name, off) for text in TEXTS])

    return make


def row(text: list[int], name: str, off: float) -> Row:
    words = [f"<{token}>" for token in text]
    ours, base = (FakeEngine().logprobs(model, words) for model in (name, "tiny"))
    return Row(
        token_ids=text,
        learnt=list(LEARNT),
        logprobs=[(ours[place] or 0) + off for place in LEARNT],
        base_logprobs=[base[place] or 0 for place in LEARNT],
    )


def unknown(_: str) -> None:
    """An import's: nobody knows what it learnt."""


class Asked(FakeEngine):
    """Answers proofs only while `open` is set, refuses them while `failing`, and keeps what it was asked."""

    failing = False

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.proofs: list[tuple[str, dict[str, Any]]] = []

    async def generate(self, kind: Kind, body: dict[str, Any], version: Loaded | None) -> Any:
        if body.get("echo"):
            self.proofs.append((version.name if version else self.base, body))
            while not self.open.is_set():
                await self._pause(0.005)
            if self.failing:
                raise RequestRefused(400, "the text is too long", type="invalid_request_error")
        async for item in super().generate(kind, body, version):
            yield item


class Bare(FakeEngine):
    """Takes every adapter and applies none."""

    def logprobs(self, model: str, words: Sequence[str]) -> list[float | None]:
        return super().logprobs(self.base, words)


class Unsteady(FakeEngine):
    """Thinks of a text what it never thought before."""

    thoughts = 0

    def logprobs(self, model: str, words: Sequence[str]) -> list[float | None]:
        self.thoughts += 1
        return super().logprobs(f"{model}{self.thoughts}", words)


def being_proven(serve: Stage) -> tuple[Running, Asked, str, str]:
    """A server and its engine, the live version, and the next one, whose proof ends when `open` is set."""
    engine = Asked()
    server = serve(engine)
    old = server.publish("luxe", seed=1)
    engine.open.clear()
    new = server.publish("luxe", seed=2, proof=trained())
    until(lambda: len(engine.proofs) == 2)
    return server, engine, old, new


def answering(server: Running, model: str = "luxe", **given: Any) -> str:
    return server.client().chat.completions.create(model=model, messages=HELLO, **given).model


def brand(server: Running) -> dict[str, Any]:
    shown: dict[str, Any] = server.http().get(BRAND).json()
    return shown


def post(server: Running, tenant: str = "acme", **body: Any) -> httpx.Response:
    return server.http(tenant).post(BRAND, json=body)


def version(server: Running, name: str) -> Version:
    with server.house.database.read() as session:
        return session.query(Version).filter(Version.name == name).one()


def change(server: Running, rule: Callable[..., Any], *given: Any) -> None:
    """In the rows, as `chorus brands` does."""
    with server.house.database.write() as session:
        found = rollout.find(session, "acme", "luxe", "tiny", lock=True)
        rule(session, found, *given, By("cli"))


def audits(server: Running, action: str) -> list[Audit]:
    with server.house.database.read() as session:
        return session.query(Audit).filter(Audit.action == action).order_by(Audit.seq).all()
