"""A share says how many were asked, and its interval is the one that the job's report has too."""

import pytest

from examples.demo.shares import Share, share
from server.evaluation.statistics import share_interval


@pytest.mark.parametrize(("right", "asked"), [(0, 20), (1, 20), (399, 400), (400, 400), (97, 100)])
def test_the_interval_is_that_of_a_jobs_report(right: int, asked: int) -> None:
    assert Share(right, asked).interval == pytest.approx(share_interval(right, asked), abs=1e-4)


def test_half_a_right_answer_counts_as_half_of_one_that_was_asked() -> None:
    assert share([1.0, 0.5, 0.0, True]) == Share(2.5, 4)
    assert share([1.0, 0.5, 0.0, True]).value == 0.625


def test_of_nothing_nothing_is_known() -> None:
    assert share([]).value == 0.0
    assert share([]).interval == (0.0, 1.0)
