"""`string_check`: two texts compared; `like` and `ilike` ask whether the input contains the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from server.graders.base import Grade, Item, Plain, Sample, verdict
from server.graders.template import Template, render

HOLDS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


class StringCheck(Plain):
    type: Literal["string_check"]
    input: Template
    reference: Template
    operation: Literal["eq", "ne", "like", "ilike"]

    def compute(self, sample: Sample, item: Item) -> Grade:
        text, reference = render(self.input, sample, item), render(self.reference, sample, item)
        holds = HOLDS[self.operation](text, reference)
        return verdict(holds, f"{self.operation} {'holds' if holds else 'does not hold'}")
