"""The loop learns, repeats itself to the bit, and goes on from a checkpoint as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.place import chats
from tests.training.test_data import write
from training import adapter, auto, data, loop
from training.chat import Renderer
from training.checkpoint import Folder, Saved, State
from training.mask import Encoded

CPU = torch.device("cpu")


@pytest.fixture
def examples(tmp_path: Path, renderer: Renderer) -> list[Encoded]:
    return data.load(write(tmp_path, chats(24)), renderer, 512, param="training_file").examples


def start(base: Path, examples: list[Encoded], **requested: Any) -> tuple[Any, Any, auto.Plan]:
    model = adapter.attach(adapter.load_base(base, CPU), 8, seed=1)
    plan = auto.plan({"n_epochs": 4, "batch_size": 4} | requested, len(examples), 32)
    return model, loop.optimizer_for(model, plan), plan


def run(model: Any, optimizer: Any, plan: auto.Plan, examples: list[Encoded], **more: Any) -> list[loop.Step]:
    return list(loop.steps(model, optimizer, plan, examples, more.pop("valid", []), seed=2, **more))


def test_training_lowers_the_loss_and_raises_the_accuracy(small_base: Path, examples: list[Encoded]) -> None:
    steps = run(*start(small_base, examples, n_epochs=10), examples)
    assert steps[-1].train.mean_loss < 0.7 * steps[0].train.mean_loss
    assert steps[-1].train.accuracy > steps[0].train.accuracy


def test_a_steps_seconds_end_when_the_device_is_done(
    small_base: Path, examples: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    advance = loop.advance
    monkeypatch.setattr(loop, "advance", lambda *given: (seen.append("advanced"), advance(*given))[1])
    monkeypatch.setattr(loop, "wait", lambda where: seen.append(where.type))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: len(seen))
    assert [step.seconds for step in run(*start(small_base, examples, n_epochs=1), examples)] == [2] * 6
    assert seen == ["advanced", "cpu"] * 6


def test_only_the_adapter_is_changed(small_base: Path, examples: list[Encoded]) -> None:
    model, optimizer, plan = start(small_base, examples)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    run(model, optimizer, plan, examples)
    assert frozen
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)


def test_a_step_tells_its_figures_by_openais_names(small_base: Path, examples: list[Encoded]) -> None:
    steps = run(*start(small_base, examples[:20]), examples[:20], valid=examples[20:])
    assert [step.step for step in steps] == list(range(1, 21))
    assert set(steps[-1].metrics()) == {
        "step", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy",
        "full_valid_loss", "full_valid_mean_token_accuracy",
    }  # fmt: skip
    assert [step.step for step in steps if step.full_valid is not None] == [5, 10, 15, 20]


def test_a_run_cut_in_two_equals_the_whole_to_the_last_bit(
    small_base: Path, examples: list[Encoded], tmp_path: Path
) -> None:
    model, optimizer, plan = start(small_base, examples)
    whole = run(model, optimizer, plan, examples)
    wanted = adapter.weights(model)

    model, optimizer, plan = start(small_base, examples)
    first = []
    for step in loop.steps(model, optimizer, plan, examples, [], seed=2):
        first.append(step)
        if step.step == 2 * plan.steps_per_epoch:
            break
    folder = Folder(tmp_path, "ftjob-1", fence=1)
    folder.path.mkdir(parents=True)
    saved = [Saved(12, "f" * 64, {"base": "small"}, {"step": 12, "full_valid_loss": 1.5})]
    folder.save(
        State(
            "hash",
            step=12,
            tokens=99,
            saved=saved,
            rows=[{"step": 12}],
            adapter=adapter.weights(model),
            optimizer=optimizer.state_dict(),
            generator=torch.get_rng_state(),
        )
    )

    model, optimizer, plan = start(small_base, examples)
    found = Folder(tmp_path, "ftjob-1", fence=2).load("hash")
    assert found is not None
    assert (found.step, found.tokens, found.saved, found.rows) == (12, 99, saved, [{"step": 12}])
    adapter.restore(model, found.adapter)
    optimizer.load_state_dict(found.optimizer)
    second = run(model, optimizer, plan, examples, done=found.step)

    told = [(s.step, s.train.loss, s.learning_rate) for s in first + second]
    assert told == [(s.step, s.train.loss, s.learning_rate) for s in whole]
    got = adapter.weights(model)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_a_state_of_another_base_is_not_used(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "ftjob-1", fence=1)
    assert folder.load("hash") is None
    folder.path.mkdir(parents=True)
    folder.save(State("hash", generator=torch.get_rng_state()))
    assert folder.load("hash") is not None
    assert folder.load("other") is None


def test_a_torn_state_file_means_starting_over(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "ftjob-1", fence=1)
    folder.path.mkdir(parents=True)
    folder.save(State("hash", generator=torch.get_rng_state()))
    folder.file.write_bytes(folder.file.read_bytes()[:100])
    assert folder.load("hash") is None
