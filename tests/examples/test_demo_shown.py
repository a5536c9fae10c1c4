"""What the demo prints says enough to be judged: cases that differ, short answers, fair comparisons."""

import io

import pytest
from rich.console import Console

from examples.brands import BRANDS
from examples.demo.compare import SHOWN_CHARACTERS, SHOWN_OUT_OF, SHOWN_PER_BRAND, differing, shortened
from examples.demo.report import figures_table


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
    figures_table({"clinic_gain": 16.0, "ttft_ratio": 0.9}, Console(file=shown, width=120))
    assert "at least 5%" in shown.getvalue()
    assert "prefix cache" in shown.getvalue()
