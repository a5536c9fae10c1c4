"""What a job will take: measured without a trace, and shown beside what it took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters import base as bases
from records.quotes import Order
from tests.training.place import Place, chats, pairs
from training import adapter, auto, material
from training.auto import Plan
from training.data import load
from training.inputs import Inputs
from training.objective import SUPERVISED
from training.quote import make, pace


def quoted(place: Place, job_id: str) -> dict[str, Any]:
    (found,) = [one for one in place.events(job_id) if one.message.startswith("Fine-tuning job started")]
    quote: dict[str, Any] = (found.data or {})["quote"]
    return quote


def ordered(place: Place, job_id: str) -> make.Measured:
    """What an order of the same contents measures."""
    job = place.job(job_id)
    order = Order(
        training_sha256="0" * 64, validation_sha256=None, parent_sha256=None, method=job.method,
        requested=job.requested, seed=job.seed, max_lora_rank=32, training_threads=1,
        gradient_checkpointing=None, training_4bit=place.settings.training_4bit,
    )  # fmt: skip
    file = place.settings.home / "train.jsonl"
    file.write_text(place.content(job.training_file))
    return make.make(bases.resolve(place.settings.base, place.settings.home), order, file)


def exact(quote: dict[str, Any]) -> dict[str, Any]:
    measured = ("seconds", "start_seconds", "peak_memory_bytes")
    return {name: value for name, value in quote.items() if name not in measured}


def test_a_clock_is_read_when_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU still works on what was asked before, and on what was asked last."""
    seen: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: seen.append("waited"))
    monkeypatch.setattr(pace, "ENOUGH_SECONDS", 0.0)
    pace._timed(lambda: seen.append("worked"), torch.device("cuda"))
    assert seen == ["waited", "worked", "waited"]
    pace._timed(lambda: seen.append("worked"), torch.device("cpu"))
    assert seen[3:] == ["worked"]


def test_a_quote_counts_what_the_job_then_does(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), n_epochs=2, batch_size=4)
    before = ordered(place, job_id).quote
    place.work()
    assert before is not None
    assert exact(before.model_dump()) == exact(quoted(place, job_id))
    (told,) = [one for one in place.events(job_id) if one.message.startswith("Training took")]
    assert told.data is not None
    assert told.data["quote"] == quoted(place, job_id) | {"cost": None}
    took = told.data["took"]
    assert (before.steps, before.trained_tokens) == (10, place.job(job_id).trained_tokens)
    assert (took["steps"], took["trained_tokens"]) == (before.steps, before.trained_tokens)
    assert before.tokens_per_epoch * 2 == before.trained_tokens
    assert 0 < before.supervised_tokens_per_epoch < before.tokens_per_epoch
    assert before.seconds > 0
    assert before.start_seconds > 0
    # Libraries and model: more than 100 MB, less than this machine has.
    assert 1e8 < before.peak_memory_bytes < 1e12


def test_the_job_is_estimated_before_its_first_step(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []

    def tell(*_: object) -> None:
        seen.append(place.job(job_id).estimated_finish)
        raise MemoryError

    monkeypatch.setattr("training.progress.Progress.tell", tell)
    job_id = place.submit(place.upload(chats(20)), n_epochs=1, batch_size=4)
    with pytest.raises(MemoryError):
        place.work()
    assert seen[0] is not None
    assert seen[0] >= place.job(job_id).created_at


def test_a_measurement_leaves_no_trace_in_the_model(model: Any, place: Place) -> None:
    before, generator = adapter.weights(model), torch.get_rng_state()
    plan, inputs = auto.plan({"n_epochs": 3, "batch_size": 4}, 20, 32), examples(place)
    assert make.quote(model, SUPERVISED, plan, inputs, seed=1).steps == 15
    after = adapter.weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in adapter.trained(model))
    assert torch.equal(generator, torch.get_rng_state())


def examples(place: Place) -> Inputs:
    file = place.settings.home / "x.jsonl"
    file.write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in chats(24)))
    _, renderer = material.read(bases.resolve(place.settings.base, place.settings.home))
    found = load(file, renderer, 512, param="training_file").examples
    return Inputs(found[:20], found[20:], "0" * 64, None)


def test_the_seconds_are_those_of_all_steps_and_of_looking_at_what_is_held_out(place: Place) -> None:
    inputs, plan = examples(place), Plan(2, 4, 1.0, 1e-3, 5, stops_early=True)
    train, valid = (sum(one.tokens for one in part) for part in (inputs.train, inputs.valid))
    steps = pace.Pace(2.0, 0.0).seconds(plan, inputs.train, inputs.valid)
    assert steps == 2 * train * 2.0
    # Twice after an epoch, and a batch, which here is all of it, at each of 10 steps.
    assert pace.Pace(2.0, 1.0).seconds(plan, inputs.train, inputs.valid) == steps + 12 * valid


def test_pairs_are_quoted_too(place: Place) -> None:
    found = ordered(place, place.submit(place.upload(pairs(12)), method="dpo", n_epochs=1, batch_size=4))
    assert found.quote is not None
    assert (found.quote.steps, found.quote.hyperparameters["beta"]) == (3, 0.1)


def test_what_the_job_would_fail_of_is_said_with_its_code(place: Place) -> None:
    refusal = ordered(place, place.submit(place.upload(chats(5)))).refusal
    assert refusal is not None
    assert (refusal.code, refusal.param) == ("too_few_examples", "training_file")


def test_an_order_of_other_contents_is_another_file(tmp_path: Path) -> None:
    order = Order(
        training_sha256="a" * 64, validation_sha256=None, parent_sha256=None, method="supervised",
        requested={}, seed=0, max_lora_rank=32, training_threads=0,
        gradient_checkpointing=None, training_4bit=False,
    )  # fmt: skip
    paths = {
        order.path(tmp_path, "base"),
        order.path(tmp_path, "other base"),
        order.model_copy(update={"requested": {"n_epochs": 2}}).path(tmp_path, "base"),
        order.model_copy(update={"seed": 1}).path(tmp_path, "base"),
        order.model_copy(update={"gradient_checkpointing": True}).path(tmp_path, "base"),
        order.model_copy(update={"training_4bit": True}).path(tmp_path, "base"),
    }
    assert len(paths) == 6
    assert all(path.parent == tmp_path / "reports" / ("a" * 64) for path in paths)
