"""Asked-for hyperparameters are kept; "auto" follows the written rules."""

from __future__ import annotations

import math

import pytest

from training import auto


def test_asked_for_values_are_kept_exactly() -> None:
    plan = auto.plan({"n_epochs": 7, "batch_size": 3, "learning_rate_multiplier": 0.5}, 100, 256)
    assert plan.shown() == {"n_epochs": 7, "batch_size": 3, "learning_rate_multiplier": 0.5}
    assert (plan.steps_per_epoch, plan.total_steps, plan.stops_early) == (34, 238, False)
    assert plan.learning_rate == pytest.approx(auto.base_rate(256) / 2)


@pytest.mark.parametrize("requested", [{}, {"n_epochs": "auto", "batch_size": "auto"}])
def test_absent_and_auto_are_the_same(requested: dict[str, str]) -> None:
    plan = auto.plan(requested, 450, 256)
    assert plan == auto.plan({"learning_rate_multiplier": "auto"}, 450, 256)
    assert plan.stops_early
    assert plan.learning_rate_multiplier == 1.0


@pytest.mark.parametrize(
    ("examples", "batch"), [(10, 4), (63, 4), (64, 8), (2000, 8), (2001, 16), (9000, 32), (10**6, 64)]
)
def test_batches_grow_with_the_data(examples: int, batch: int) -> None:
    assert auto.batch_for(examples) == batch


@pytest.mark.parametrize(("hidden", "rate"), [(256, 2.49e-3), (1024, 8.4e-4), (2560, 4.1e-4), (4096, 2.9e-4)])
def test_wider_models_learn_more_slowly(hidden: int, rate: float) -> None:
    assert auto.base_rate(hidden) == pytest.approx(rate, rel=0.03)


def test_the_rate_warms_up_and_comes_down() -> None:
    plan = auto.plan({"n_epochs": 4, "batch_size": 1}, 50, 256)
    rates = [plan.rate(step) for step in range(1, plan.total_steps + 1)]
    peak = rates.index(max(rates))
    assert rates[0] == pytest.approx(plan.learning_rate / 10)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak] == plan.learning_rate
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(plan.learning_rate * auto.FINAL_SHARE)


@pytest.mark.parametrize(
    ("losses", "index"),
    [
        ([None, None, None], 2),
        ([2.0, 1.0, 1.5], 1),
        ([2.0, 1.0, 1.0 + auto.TOLERANCE / 2], 2),
        ([1.0, 2.0, 3.0], 0),
    ],
    ids=["nothing held out", "best", "as good as the best", "first"],
)
def test_the_checkpoint_with_the_lowest_held_out_loss_is_published(
    losses: list[float | None], index: int
) -> None:
    assert auto.best(losses) == index


def test_training_stops_when_the_held_out_loss_no_longer_falls() -> None:
    assert auto.stopped_falling([1.0, 1.0, 1.0])
    assert auto.stopped_falling([2.0, 1.0, 1.0 - auto.TOLERANCE / 2, 1.0 - auto.TOLERANCE / 2])
    assert not auto.stopped_falling([1.0, 1.0, 1.0 - 2 * auto.TOLERANCE])
    assert not auto.stopped_falling([1.0, 1.0 - 2 * auto.TOLERANCE, 1.0 - 2 * auto.TOLERANCE])


def test_training_stops_when_the_held_out_loss_has_risen() -> None:
    assert auto.stopped_falling([1.0, 1.1, 1.05])
    assert not auto.stopped_falling([1.0, 1.1])
    assert not auto.stopped_falling([1.0, 1.1, 0.9])
    assert not auto.stopped_falling([1.1, 1.0, 1.1])
    assert not auto.stopped_falling([1.0])
    assert not auto.stopped_falling([1.0, 0.9])
    assert not auto.stopped_falling([1.0, 1.0])
    assert not auto.stopped_falling([None, None])


@pytest.mark.parametrize(
    ("pairs", "epochs", "share"), [(20, 3, 0.1), (160, 3, 0.1), (480, 1, 0.1), (4000, 1, 0.1 * 60 / 250)]
)
def test_dpo_moves_the_weights_about_as_far_whatever_the_number_of_pairs(
    pairs: int, epochs: int, share: float
) -> None:
    plan = auto.plan({}, pairs, 256, "dpo")
    assert plan.n_epochs == epochs
    assert plan.learning_rate == pytest.approx(share * auto.base_rate(256))
    assert plan.beta == 0.1
    assert plan.shown()["beta"] == 0.1


def test_what_is_asked_of_dpo_is_kept() -> None:
    plan = auto.plan({"beta": 0.4, "n_epochs": 10, "learning_rate_multiplier": 2.0}, 480, 256, "dpo")
    assert (plan.beta, plan.n_epochs) == (0.4, 10)
    assert plan.learning_rate == pytest.approx(2 * 0.1 * auto.base_rate(256) * 60 / 600)
    assert "beta" not in auto.plan({"beta": 0.4}, 480, 256).shown()


def test_of_broken_checkpoints_the_first_is_the_least() -> None:
    assert auto.best([0.6, 0.5, math.inf]) == 1
    assert auto.best([math.inf, math.inf]) == 0
    assert auto.stopped_falling([0.6, math.inf, math.inf])
