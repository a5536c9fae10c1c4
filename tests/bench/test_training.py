"""The training bench compares like with like: the same data, the same losses."""

from __future__ import annotations

import importlib.util
import random
import sys
from array import array
from pathlib import Path

import pytest

from bench import trainers, training
from bench.trainers import Run
from bench.workloads import ANSWER, PROMPT, Workload, large, tiny
from tests.training.conftest import build
from training.mask import Encoded, Sequence


def example(source: random.Random) -> Encoded:
    learnt = bytes([0] * source.randint(5, 40) + [1] * source.randint(5, 20))
    ids = array("i", [source.randrange(500) for _ in learnt])
    return Encoded(1, (Sequence(ids, learnt, len(ids)),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small base and two batches of examples."""
    source = random.Random(1)
    base = build(tmp_path / "base")
    Workload(base, [example(source) for _ in range(16)], [example(source) for _ in range(3)]).save(tmp_path)
    return tmp_path


def test_our_loop_and_transformers_trainer_learn_the_same(folder: Path) -> None:
    ours, stock = trainers.run("ours", folder), trainers.run("trainer", folder)
    assert len(ours.losses) == 2
    assert ours.losses[1] != ours.losses[0]
    assert training.loss_difference(ours.losses, stock.losses) < 1e-5
    assert ours.held_out == pytest.approx(stock.held_out, rel=1e-5)


def test_a_workload_is_the_same_after_a_way_through_its_file(folder: Path) -> None:
    work = Workload.load(folder)
    (folder / "again").mkdir()
    work.save(folder / "again")
    assert Workload.load(folder / "again") == work
    assert [len(work.train), len(work.held_out)] == [16, 3]


def test_the_examples_have_the_lengths_that_are_promised(tmp_path: Path) -> None:
    for make, template in ((tiny, 12), (large, 0)):  # the chat template adds a few tokens
        for one in make(tmp_path / make.__name__, 12, 1).train:
            (sequence,) = one.sequences
            learnt = sum(sequence.learnt)
            assert ANSWER[0] <= learnt <= ANSWER[1] + template
            assert PROMPT[0] <= len(sequence.ids) - learnt <= PROMPT[1] + template


def run(speed: float, peak: float, *losses: float) -> Run:
    return Run(speed, peak, list(losses), held_out=losses[-1])


def test_the_figures_are_medians_of_ratios_within_a_round() -> None:
    found = {
        "ours": [run(400, 500, 2.0, 1.0), run(200, 500, 2.0, 1.0), run(900, 600, 2.0, 1.0)],
        "trainer": [run(100, 1000, 2.0, 1.0), run(100, 1000, 2.0, 1.0), run(100, 1000, 2.0, 1.0)],
        "trainer_bf16": [run(200, 900, 9.0, 9.0)] * 3,
        "trl": [run(80, 2000, 2.0, 1.1), run(20, 2000, 2.0, 1.0), run(100, 2000, 2.0, 1.0)],
    }
    figures = training.figures(found)
    assert (figures["speedup_vs_trainer"], figures["speedup_vs_trl"], figures["memory_ratio"]) == (4, 9, 0.5)
    assert figures["speedup_vs_trainer_bf16"] == 2
    assert figures["loss_difference"] == pytest.approx(0.1)
    assert [figures[f"held_out_loss_{side}"] for side in found] == [1.0, 1.0, 9.0, 1.1]


def test_without_the_libraries_that_it_compares_with_it_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["bench.training"])
    with pytest.raises(
        SystemExit, match=r"trl, which is not installed: pip install .*requirements/bench\.txt"
    ):
        training.main()
