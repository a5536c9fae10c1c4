"""One evaluation from its request to its results. Called by evaluator.py, which has the lease."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from sqlalchemy import select

from adapters.gate import Gate
from records import cases, dataset
from records.blobs import Blobs
from records.cases import Case, Material
from records.database import Database
from records.models import Evaluation, File
from records.settings import Settings
from server import grader_request
from server.at_once import each
from server.catalog import Catalog
from server.engine.base import Engine, RequestRefused, Version
from server.evaluation import gate, subjects
from server.evaluation.asking import AT_ONCE_QUIET, Answer, Asker
from server.evaluation.grading import Rule, rule_for
from server.evaluation.subjects import Subject
from server.evaluation.verdict import verdict
from server.graders.base import Means
from server.graders.multi import AnyGrader
from server.judge import EngineJudge
from server.metrics import Metrics
from server.salts import Salts

MOST_TOKENS = 1024  # of an answer to a case of the gate's
MOST_SHOWN = 2_000  # characters of an answer that are kept

Shape = dict[str, Any]


@dataclass(frozen=True)
class Carrier:
    """`threads` are for grading only: nobody else waits for them."""

    settings: Settings
    database: Database
    blobs: Blobs
    engine: Engine
    catalog: Catalog
    metrics: Metrics
    salts: Salts
    threads: CapacityLimiter

    async def carry_out(self, row: Evaluation) -> Shape:
        """The results. Raises EngineUnavailable; OSError when the items cannot be read."""
        material = await run_sync(self._material, row.items_sha256)
        rule_asked = None if row.request["gate"] is None else Gate.model_validate(row.request["gate"])
        salt = self.salts.of(row.tenant)
        means = Means(EngineJudge(self.engine, self.catalog, row.tenant, salt), self.threads)
        graders = await run_sync(_graders, rule_asked)
        guarded = await run_sync(self._guarded, row.tenant, rule_asked)
        deadline = time.monotonic() + self.settings.evaluation_seconds
        asker = Asker(self.engine, self.metrics, salt, deadline)
        rule = rule_for(material.cases, graders, means)
        work = _Work(self.catalog, row.tenant, asker, lambda _: rule, lambda _: material.max_tokens)
        # The job chose what is held out; how the gate's cases are asked and judged is not for it to choose.
        guard = replace(work, rule=lambda case: rule_for([case], graders, means), max_tokens=_most_tokens)
        asked = subjects.of(row.request, material)
        regressions = None if guarded is None else await guard.regressions(asked[:2], guarded)
        shapes = [
            await work.subject(subject, subjects.cases_for(subject, material.cases)) for subject in asked
        ]
        return {
            "cases": [{"id": case.id, **_shown(case)} for case in material.cases],
            "left_out": material.left_out,
            "taught": material.taught,
            "instruction": material.instruction,
            "graders": [grader.model_dump(mode="json", by_alias=True) for grader in graders],
            "scores": list(rule.names),
            "subjects": shapes,
            "regressions": regressions,
            "verdict": verdict(shapes),
            "gate": gate.outcome(rule_asked, shapes, regressions).model_dump() if rule_asked else None,
        }

    def _material(self, sha256: str) -> Material:
        return Material.model_validate_json(self.blobs.path(sha256).read_bytes())

    def _guarded(self, tenant: str, rule: Gate | None) -> list[Case] | None:
        """The cases of the gate's file; None when there is none or it cannot be read."""
        if rule is None or rule.must_not_regress is None:
            return None
        with self.database.read() as session:
            mine = select(File).where(File.id == rule.must_not_regress, File.tenant == tenant)
            file = session.scalar(mine)
        if file is None:
            return None
        try:
            with self.blobs.path(file.sha256).open("rb") as stream:
                return gate.cases_of(stream, file.id)
        except (OSError, dataset.InvalidLine):
            return None


def _graders(rule: Gate | None) -> list[AnyGrader]:
    return [grader_request.parse(given) for given in (rule.graders if rule else ())]


@dataclass(frozen=True)
class _Work:
    catalog: Catalog
    tenant: str
    asker: Asker
    rule: Callable[[Case], Rule]
    max_tokens: Callable[[Case], int]

    async def subject(self, subject: Subject, asked: Sequence[Case]) -> Shape:
        """A subject with what it answered, in the order of the cases; or why it is left out."""
        head = {"kind": subject.kind, "model": subject.model, "step": subject.step}
        if subject.left_out is not None or not asked:
            return {**head, "left_out": subject.left_out or "there are no cases", "cases": []}
        try:
            async with AsyncExitStack() as stack:
                version = await self._held(stack, subject)
                answered = await self._all(subject, asked, version)
        except RequestRefused as error:
            return {**head, "left_out": error.message, "cases": []}
        return {**head, "left_out": None, "cases": answered}

    async def regressions(self, two: Sequence[Subject], guarded: Sequence[Case]) -> list[Shape]:
        """How the new and the live version do the gate's cases."""
        new, live = [await self.subject(subject, guarded) for subject in two]
        nothing: Shape = {"score": None, "passed": False, "cut": False}
        mine, its = [
            one["cases"] or [{**nothing, "why": one["left_out"]} for _ in guarded] for one in (new, live)
        ]
        return [_regression(*three) for three in zip(guarded, its, mine, strict=True)]

    async def _held(self, stack: AsyncExitStack, subject: Subject) -> Version | None:
        """The subject's version, pinned in the engine. A checkpoint leaves it after its turn, the new version
        under its checkpoint's name too: the place is somebody else's. Raises as Catalog.acquire does."""
        if subject.model is None:
            return None
        if subject.step is not None and subject.model not in self.catalog.held():
            stack.push_async_callback(self.catalog.release, subject.model)
        acquired = self.catalog.acquire(self.tenant, subject.model, low=True)
        chosen = await stack.enter_async_context(acquired)
        return chosen.version

    async def _all(self, subject: Subject, asked: Sequence[Case], version: Version | None) -> list[Shape]:
        async def turn(case: Case) -> Shape:
            async with self.asker.turn():
                return await self._one(subject, case, version)

        return await each(AT_ONCE_QUIET, asked, turn)

    async def _one(self, subject: Subject, case: Case, version: Version | None) -> Shape:
        for messages in subject.prompts(case):
            answer = await self.asker.ask(messages, case.tools, self.max_tokens(case), version)
            if answer.problem is None:
                break
        shape = {"id": case.id, **_measured(answer), "shots": _shots(subject, case, messages)}
        if answer.problem is not None:
            return {**shape, "score": None, "passed": False, "parts": {}, "why": answer.problem}
        scored = await self.rule(case).score(answer.text, case)
        return {**shape, **asdict(scored), "text": answer.text[:MOST_SHOWN]}


def _most_tokens(case: Case) -> int:
    """A quarter more than its reference may take: a token has a byte at least."""
    size = len(case.reference.encode(errors="surrogatepass"))
    return min(MOST_TOKENS, size + size // 4 + 16)


def _regression(case: Case, live: Shape, new: Shape) -> Shape:
    """Whether each passes, None without an answer to grade. One of the live version that was cut and does not
    pass is none: whole it might have."""
    did, does = [None if one["score"] is None else bool(one["passed"]) for one in (live, new)]
    if live["cut"] and not did:
        live, did = {**live, "why": "its answer was cut"}, None
    why = f"the live version: {live['why']}" if did is None else new["why"]
    return {"id": case.id, "live": did, "new": does, "why": why}


def _measured(answer: Answer) -> Shape:
    return {
        "text": None,
        "characters": None if answer.problem is not None else len(answer.text),
        "first_token_seconds": answer.first_token_seconds,
        "seconds": answer.seconds,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "cut": answer.cut,
    }


def _shots(subject: Subject, case: Case, messages: Sequence[Any]) -> int:
    """How many of the subject's examples the prompt had."""
    places = [len(prompt) for prompt in subject.prompts(case)]
    return len(subject.shots) - places.index(len(messages)) if subject.shots else 0


def _shown(case: Case) -> Shape:
    return {
        "question": cases.text(case.messages[-1].get("content"))[:MOST_SHOWN],
        "reference": case.reference[:MOST_SHOWN],
        "characters": len(case.reference),
    }
