"""What the demo prints says enough to be judged: cases that differ, short answers, fair comparisons."""

import io
import re

import pytest
from rich.console import Console

from examples.brands import BRANDS
from examples.demo.compare import SHOWN_CHARACTERS, SHOWN_OUT_OF, SHOWN_PER_BRAND, differing, shortened
from examples.demo.report import figures_table
from examples.demo.shares import Share


@pytest.mark.parametrize("brand", BRANDS)
def test_the_cases_shown_have_no_expected_value_in_common(brand: str) -> None:
    for seed in range(20):
        shown = differing(BRANDS[brand].cases("held_out", SHOWN_OUT_OF, seed), SHOWN_PER_BRAND)
        assert len(shown) == SHOWN_PER_BRAND
        values = [value for case in shown for value in set(case.expected.values())]
        assert len(values) == len(set(values))


def test_a_long_answer_is_cut_and_says_so_and_a_short_one_is_whole() -> None:
    assert shortened("Two\n  lines") == "Two lines"
    assert shortened("x" * SHOWN_CHARACTERS) == "x" * SHOWN_CHARACTERS
    cut = shortened("word " * 500)
    assert cut.endswith("word ... (cut here)")
    assert len(cut) < SHOWN_CHARACTERS + 20


def test_the_figures_say_what_they_are_compared_with() -> None:
    shown = io.StringIO()
    figures = {"clinic_gain": 16.0, "ttft_ratio": 0.9, "valid_json_adapter": 0.9975}
    figures_table(figures, {"valid_json_adapter": Share(399, 400)}, Console(file=shown, width=120))
    assert re.search(r"valid_json_adapter +│ +0.9975 │ +400 │ 0.986 to 1.000 │ +>= 0.995", shown.getvalue())
    assert "at least 5%" in shown.getvalue()
    assert "prefix cache" in shown.getvalue()
