"""A job over a base in four bits: what it publishes is proven over the base as it is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select
from transformers import AutoModelForCausalLM

from adapters import publish
from adapters.manifest import NF4
from adapters.proof import Proof, Row, compare
from records import jobs
from records.models import Version
from tests.training.breaks import At, break_off, killed
from tests.training.place import Place, chats, pairs
from tests.training.test_flat import batch, gradients
from tests.training.test_proof import thought
from tests.training.test_quote import ordered
from tests.training.test_resume import outcome
from training import adapter, bounds, loop, material, recompute
from training.objective import SUPERVISED, evaluate

CPU = torch.device("cpu")


@pytest.fixture
def small(tmp_path: Path, small_base: Path) -> Any:
    place = Place(tmp_path / "home", small_base, training_4bit=True)
    yield place
    place.close()


def four_bit(base: Path) -> Any:
    model = adapter.attach(adapter.load_base(base, CPU, four_bit=True), 8, seed=3)
    torch.manual_seed(4)
    for parameter in adapter.trained(model):
        parameter.data.normal_(std=0.05)
    return model


def test_the_base_takes_four_bits_and_the_lora_stays_in_float32(small_base: Path) -> None:
    model, exact = four_bit(small_base), adapter.load_base(small_base, CPU)
    linear = [module for module in model.modules() if type(module).__module__.startswith("bitsandbytes")]
    assert len(linear) == 2 * 7
    for module in linear:
        assert module.weight.quant_state.quant_type == NF4
        assert module.weight.numel() * 2 == module.in_features * module.out_features
    assert {parameter.dtype for parameter in adapter.trained(model)} == {torch.float32}
    assert adapter.targets(exact) == sorted(model.peft_config["default"].target_modules)
    assert not model.training


def test_gradients_still_flow_after_a_look_at_what_is_held_out(small_base: Path) -> None:
    """On CPU bitsandbytes would by then have packed the base for inference, through which none pass."""
    model, examples = four_bit(small_base), batch(20, 30)
    before = loop.backward(model, examples, CPU).loss, gradients(model)
    assert all(gradient.norm() > 0 for gradient in before[1].values())
    evaluate(SUPERVISED, model, examples, CPU, 2)
    after = loop.backward(model, examples, CPU).loss, gradients(model)
    assert after[0] == before[0]
    assert all(torch.equal(after[1][name], gradient) for name, gradient in before[1].items())


def test_with_gradient_checkpointing_it_learns_the_same(small_base: Path) -> None:
    model, examples = four_bit(small_base), batch(20, 30)
    expected = loop.backward(model, examples, CPU).loss, gradients(model)
    assert recompute.wrap(model) == 2
    assert loop.backward(model, examples, CPU).loss == expected[0]
    found = gradients(model)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected[1].items())


def test_a_jobs_proof_is_of_the_base_as_it_is_served(small: Place, small_base: Path) -> None:
    job_id = small.submit(small.upload(chats(20)), n_epochs=2, batch_size=4)
    small.work()
    assert small.job(job_id).status == jobs.SUCCEEDED, small.job(job_id).error
    (version,) = small.versions(job_id, final=True)
    assert version.manifest["base_quantization"] == NF4
    with small.database.read() as session:
        kept = Proof.model_validate(session.scalar(select(Version.proof).where(Version.seq == version.seq)))
    folder = publish.folder(small.settings.home, version.sha256)
    # What an engine in full precision says, and what the job itself saw.
    engine = AutoModelForCausalLM.from_pretrained(small_base, dtype=torch.float32).eval()
    base = [thought(engine, row.token_ids, row.learnt) for row in kept.rows]
    served = adapter.attach_version(adapter.load_base(small_base, CPU), folder, 0)
    served.set_attn_implementation("sdpa")
    ours = [thought(served, row.token_ids, row.learnt) for row in kept.rows]
    verdict = compare(kept, ours, base)
    assert verdict.holds, verdict.problem
    seen = adapter.load_base(small_base, CPU, four_bit=True)
    seen.set_attn_implementation("sdpa")
    rounded = [thought(seen, row.token_ids, row.learnt) for row in kept.rows]
    other = Proof(rows=[with_base(row, logprobs) for row, logprobs in zip(kept.rows, rounded, strict=True)])
    assert compare(other, ours, base).figures["base_off"] > 3 * verdict.figures["base_off"]


def with_base(row: Row, logprobs: list[float]) -> Row:
    return row.model_copy(update={"base_logprobs": logprobs})


def test_without_it_the_model_itself_is_proven(place: Place, model: Any, tmp_path: Path) -> None:
    assert material.as_served(place.settings, None, model, tmp_path) is model  # type: ignore[arg-type]


def test_a_version_of_a_plain_job_says_nothing_of_it(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), n_epochs=1, batch_size=4)
    place.work()
    (version,) = place.versions(job_id, final=True)
    assert "base_quantization" not in version.manifest


def test_a_killed_job_ends_as_one_that_never_was(
    small: Place, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = small.upload(chats(20))
    whole, broken = (small.submit(file, n_epochs=2, batch_size=4) for _ in range(2))
    small.work()
    monkeypatch.setattr(bounds.Clock, "is_due", lambda _: True)
    at(8, killed)
    break_off(small, broken, MemoryError)
    small.work()
    assert outcome(small, broken) == outcome(small, whole)


@pytest.mark.parametrize("first", [True, False])
def test_a_job_goes_on_in_mid_epoch_though_the_setting_has_changed(
    small: Place, at: At, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr(bounds.Clock, "is_due", lambda _: True)
    settings = small.settings
    small.settings = settings.model_copy(update={"training_4bit": first})
    job_id = small.submit(small.upload(chats(20)), n_epochs=2, batch_size=4)
    at(8, killed)
    break_off(small, job_id, MemoryError)
    small.settings = settings.model_copy(update={"training_4bit": not first})
    small.work()
    assert "Fine-tuning job taken up again after step 7" in small.messages(job_id)
    assert small.job(job_id).status == jobs.SUCCEEDED


def test_pairs_sweeps_and_going_on_from_a_version_work_over_it(small: Place) -> None:
    first = small.submit(small.upload(chats(220)), n_epochs=1, batch_size=64, sweep=2)
    small.work()
    (version,) = small.versions(first, final=True)
    assert small.job(first).status == jobs.SUCCEEDED, small.job(first).error
    second = small.submit(small.upload(pairs(12)), method="dpo", model=version.name, n_epochs=1, batch_size=4)
    small.work()
    assert small.job(second).status == jobs.SUCCEEDED, small.job(second).error


def test_a_quote_is_measured_over_it(small: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    load_base = adapter.load_base

    def noted(*given: Any, four_bit: bool = False) -> Any:
        asked.append(four_bit)
        return load_base(*given, four_bit=four_bit)

    monkeypatch.setattr(adapter, "load_base", noted)
    found = ordered(small, small.submit(small.upload(chats(20)), n_epochs=1, batch_size=4))
    assert found.quote is not None
    assert asked == [True]
