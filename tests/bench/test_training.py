"""The training bench compares like with like: the same data, the same losses."""

from __future__ import annotations

import importlib.util
import random
import sys
from array import array
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench import trained, trainers, training, workloads
from bench.trained import Run
from bench.workloads import ANSWER, PROMPT, Workload, billion, large, tiny
from tests.training.small_base import build
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
    ours, stock = trained.run("ours", folder, "cpu"), trained.run("trainer", folder, "cpu")
    assert len(ours.losses) == 2
    assert ours.losses[1] != ours.losses[0]
    assert training.loss_difference(ours.losses, stock.losses) < 1e-5
    assert ours.held_out == pytest.approx(stock.held_out, rel=1e-5)


def test_a_side_names_what_it_would_do_on_a_gpu(folder: Path) -> None:
    """Here the two of ours do the same; Trainer learns the same with gradient checkpointing."""
    kept = trained.run("ours_kept", folder, "cpu")
    assert kept.losses == trained.run("ours", folder, "cpu").losses
    plain, recomputed = (
        trained.run(side, folder, "cpu") for side in ("trainer_bf16", "trainer_bf16_recomputed")
    )
    assert training.loss_difference(recomputed.losses, plain.losses) < 1e-3
    assert {side for sides in training.SIDES.values() for side in sides} == set(trainers.SIDES)


def test_the_model_for_a_gpu_has_the_size_that_is_told() -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**workloads.BILLION, tie_word_embeddings=True))
    assert sum(one.numel() for one in model.parameters()) == pytest.approx(1.04e9, rel=0.01)


def test_its_workload_has_its_own_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "random_llama", lambda *_, **__: tmp_path)
    work = billion(tmp_path, 3, 2)
    work.save(tmp_path)
    assert Workload.load(tmp_path) == work
    assert (work.batch, len(work.train), len(work.held_out)) == (32, 3, 2)


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


def test_the_figures_of_a_gpu_compare_like_with_like() -> None:
    found = {
        "ours": [run(300, 400, 2.0, 1.0)],
        "ours_kept": [run(400, 800, 2.0, 1.0)],
        "trainer": [run(50, 2000, 2.0, 1.0)],
        "trainer_bf16": [run(200, 1600, 9.0, 9.0)],
        "trainer_bf16_recomputed": [run(150, 1000, 9.0, 9.0)],
    }
    figures = training.figures(found)
    assert (figures["speedup_vs_trainer"], figures["memory_ratio"]) == (6, 0.2)
    assert (figures["kept_speedup_vs_trainer_bf16"], figures["kept_memory_vs_trainer_bf16"]) == (2, 0.5)
    assert figures["speedup_vs_trainer_bf16_recomputed"] == 2
    assert figures["memory_vs_trainer_bf16_recomputed"] == 0.4
    assert (figures["tokens_per_second_ours"], figures["peak_mib_trainer"]) == (300, 2000)
    assert not [name for name in figures if "trl" in name]


def test_on_a_gpu_a_missing_trl_is_said_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert training.sides("cuda") == training.SIDES["cuda"][:-1]
    assert "Left out: trl, which is not installed" in capsys.readouterr().out
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert "trl" in training.sides("cuda")


def test_without_the_libraries_that_it_compares_with_it_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["bench.training"])
    with pytest.raises(
        SystemExit, match=r"trl, which is not installed: pip install .*requirements/bench\.txt"
    ):
        training.main()
