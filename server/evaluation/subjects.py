"""Who is asked, and what each of them is sent for a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from records.cases import CHECKPOINT_CASES, Case, Material, Message

BASE, INSTRUCTED, FEW_SHOT, NEW, LIVE, CHECKPOINT = (
    "base", "base_with_instruction", "few_shot_base", "new", "live", "checkpoint",
)  # fmt: skip
WITHOUT_TRAINING = (BASE, INSTRUCTED, FEW_SHOT)

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """`model` None is the base. `shots` are those that a prompt may have: fewer where they do not fit."""

    kind: str
    model: str | None = None
    step: int | None = None
    instruction: str | None = None
    shots: Sequence[Case] = ()
    systems: bool = True
    left_out: str | None = None

    def prompts(self, case: Case) -> Sequence[list[Message]]:
        """What to send: the first of these that the engine takes."""
        asked = case.asked(systems=self.systems)
        if self.instruction is not None:
            asked = [{"role": "system", "content": self.instruction}, *case.asked(systems=False)]
        counts = range(len(self.shots), 0, -1) if self.shots else (0,)
        return [[*_as_turns(self.shots[:count]), *asked] for count in counts]


def spread(items: Sequence[T], count: int) -> list[T]:
    """`count` of them, evenly spread; all of fewer."""
    count = min(count, len(items))
    return [items[place * len(items) // count] for place in range(count)]


def cases_for(subject: Subject, cases: Sequence[Case]) -> Sequence[Case]:
    """What it is asked."""
    return spread(cases, CHECKPOINT_CASES) if subject.kind == CHECKPOINT else cases


def of(request: Mapping[str, Any], material: Material) -> list[Subject]:
    """All of a job's, in the order in which they are asked: what a gate needs comes first, for the case that
    time runs out. The new version is its best checkpoint, under the checkpoint's name."""
    # Where the rows carry the instruction themselves, the bare base is one without it.
    bare = not material.from_rows
    checkpoints = {one["step"]: one["model"] for one in request["checkpoints"]}
    new = Subject(NEW, checkpoints[request["step"]], request["step"])
    live = Subject(
        LIVE, request["live"], left_out=None if request["live"] else "nothing was live for the brand"
    )
    instructed = Subject(
        INSTRUCTED, instruction=material.instruction,
        left_out=None if material.instruction else
        "no instruction is known: the rows share no system message and the job has no evaluation.instruction",
    )  # fmt: skip
    few_shot = Subject(
        FEW_SHOT, shots=material.shots, systems=bare,
        left_out=None if material.shots else "no training example is short enough",
    )  # fmt: skip
    others = [
        Subject(CHECKPOINT, model, step) for step, model in checkpoints.items() if step != request["step"]
    ]
    return [new, live, Subject(BASE, systems=bare), instructed, few_shot, *others]


def _as_turns(shots: Sequence[Case]) -> list[Message]:
    return [
        message
        for shot in shots
        for message in [*shot.asked(systems=False), {"role": "assistant", "content": shot.reference}]
    ]
