"""`text_similarity`: how alike two texts are, by a metric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from server.graders.base import CannotGrade, Fault, Grade, Item, Plain, Sample
from server.graders.similarity import METRICS
from server.graders.template import Template, render

UNSUPPORTED = {
    "cosine": "needs an embedding model, and none is served here",
    "meteor": "needs WordNet, which holds English only and is not shipped",
}
DEFAULT_THRESHOLD = 0.5


def _metric(value: str) -> str:
    if value in UNSUPPORTED:
        raise ValueError(
            f"'{value}' is not supported: it {UNSUPPORTED[value]}; use one of {', '.join(METRICS)}"
        )
    if value not in METRICS:
        raise ValueError(f"use one of {', '.join(METRICS)}")
    return value


class TextSimilarity(Plain):
    """`pass_threshold` is the one that OpenAI's evaluations give this grader."""

    type: Literal["text_similarity"]
    input: Template
    reference: Template
    evaluation_metric: Annotated[str, AfterValidator(_metric)]
    pass_threshold: float = Field(DEFAULT_THRESHOLD, ge=0, le=1)

    def compute(self, sample: Sample, item: Item) -> Grade:
        text, reference = render(self.input, sample, item), render(self.reference, sample, item)
        try:
            score = METRICS[self.evaluation_metric](text, reference)
        except ValueError as error:
            raise CannotGrade(Fault.OTHER, f"{error}.") from None
        reason = f"{self.evaluation_metric} is {score:.3f}, to pass it takes {self.pass_threshold:g}"
        return Grade(score, score, score >= self.pass_threshold, reason)
