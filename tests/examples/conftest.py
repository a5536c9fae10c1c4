"""Drawn cases that several tests of the examples read; drawing them once keeps the tests fast."""

import pytest

from examples.brands import BRANDS, NEUTRAL, Case
from examples.generate import HELD_OUT, TRAINING_EXAMPLES

Drawn = dict[tuple[str, str], list[Case]]


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    """All cases of every brand and of the neutral messages, by name and split."""
    cases: Drawn = {}
    for name, brand in {**BRANDS, NEUTRAL.name: NEUTRAL}.items():
        cases[name, "train"] = brand.cases("train", TRAINING_EXAMPLES)
        cases[name, "held_out"] = brand.cases("held_out", HELD_OUT[name])
    return cases
