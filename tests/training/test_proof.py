"""What is kept for the proof is what PEFT itself computes from the published files."""

from __future__ import annotations

from array import array
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from sqlalchemy import select
from transformers import AutoModelForCausalLM

from adapters import publish
from adapters.proof import Proof
from records.models import Version
from tests.training.place import Place, chats
from training import adapter, attempt, proof
from training.mask import Encoded, Sequence

CPU = torch.device("cpu")


def sequence(ids: list[int], learnt: list[int]) -> Sequence:
    marks = bytes(int(place in learnt) for place in range(len(ids)))
    return Sequence(array("i", ids), marks, len(ids))


def example(*sequences: Sequence) -> Encoded:
    return Encoded(1, sequences)


def thought(model: Any, ids: list[int], learnt: list[int]) -> list[float]:
    """The log-probabilities of the learnt tokens: plain attention over the one text, as anybody would."""
    with torch.no_grad():
        logprobs = model(torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)
    return [float(logprobs[place - 1, ids[place]]) for place in learnt]


def check(found: Proof, small_base: Path, folder: Path) -> None:
    """Against another computation, on the files."""
    base = AutoModelForCausalLM.from_pretrained(small_base, dtype=torch.float32).eval()
    bare = [thought(base, row.token_ids, row.learnt) for row in found.rows]
    loaded = PeftModel.from_pretrained(base, folder).eval()
    for row, base_logprobs in zip(found.rows, bare, strict=True):
        assert row.base_logprobs == pytest.approx(base_logprobs, abs=1e-4)
        assert row.logprobs == pytest.approx(thought(loaded, row.token_ids, row.learnt), abs=1e-4)
        assert max(abs(a - b) for a, b in zip(row.logprobs, row.base_logprobs, strict=True)) > 1e-3


def test_the_figures_are_those_of_the_saved_adapter(model: Any, small_base: Path, tmp_path: Path) -> None:
    rows = [
        example(sequence(list(range(5, 45)), [3, 10, 39])),
        example(sequence([9, 8, 7], [2]), sequence([50, 60, 70, 80], [1, 2, 3])),
    ]
    found = proof.compute(model, rows, CPU)
    assert found is not None
    assert [row.learnt for row in found.rows] == [[3, 10, 39], [2], [1, 2, 3]]
    adapter.save(model, tmp_path / "adapter", "small")
    check(found, small_base, tmp_path / "adapter")


def test_what_is_trained_stays_to_the_last_bit(model: Any) -> None:
    before = [parameter.clone() for parameter in adapter.trained(model)]
    places = [parameter.data_ptr() for parameter in adapter.trained(model)]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    proof.compute(model, [example(sequence(list(range(5, 45)), [3]))], CPU)
    with suppress(MemoryError), adapter.as_published(model):
        assert any(not torch.equal(a, b) for a, b in zip(adapter.trained(model), before, strict=True))
        raise MemoryError
    after = adapter.trained(model)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert [parameter.data_ptr() for parameter in after] == places, "the optimizer holds them"
    assert all(parameter.grad is None for parameter in after)
    assert torch.equal(torch.get_rng_state(), state)


def test_at_most_four_sequences_are_kept_and_none_that_teaches_nothing(model: Any) -> None:
    nothing = example(sequence([5, 6, 7], []), sequence([5, 6, 7], [0]))
    some = [example(sequence([first, 6, 7], [2])) for first in range(10, 20)]
    assert proof.compute(model, [nothing], CPU) is None
    found = proof.compute(model, [nothing, *some], CPU)
    assert found is not None
    assert [row.token_ids[0] for row in found.rows] == [10, 11, 12, 13]


@pytest.mark.parametrize("length", [proof.TOKENS - 1, proof.TOKENS, proof.TOKENS + 1, 400, 1000])
@pytest.mark.parametrize("first", [1, 40, 126, 390, 900])
def test_a_long_sequence_is_cut_to_a_window_with_what_is_learnt(length: int, first: int) -> None:
    first = min(first, length - 1)
    learnt = list(range(first, min(first + 30, length)))
    (cut,) = proof.windows([example(sequence(list(range(length)), learnt))])
    ids = list(cut.ids)
    assert len(ids) == min(length, proof.TOKENS)
    assert all(after == before + 1 for before, after in pairwise(ids)), "a window, without a gap"
    kept = [token for token, is_learnt in zip(ids, cut.learnt, strict=True) if is_learnt]
    assert kept == [place for place in learnt if ids[0] <= place <= ids[-1]]
    assert first in kept
    assert first - ids[0] >= min(first, proof.CONTEXT), "the first one has something to follow on"


@pytest.mark.parametrize("held_out", [True, False])
def test_a_jobs_versions_carry_the_proof_of_their_own_weights(
    place: Place, small_base: Path, held_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Encoded]] = []
    compute = proof.compute

    def noted(model: Any, examples: list[Encoded], where: torch.device) -> Proof | None:
        asked.append(examples)
        return compute(model, examples, where)

    monkeypatch.setattr(proof, "compute", noted)
    validation = place.upload(chats(6)) if held_out else None
    job_id = place.submit(place.upload(chats(20)), validation, n_epochs=2, batch_size=4)
    place.work()
    assert {len(examples) for examples in asked} == {6 if held_out else 20}
    with place.database.read() as session:
        rows = session.execute(
            select(Version.sha256, Version.step, Version.proof).order_by(Version.seq)
        ).all()
    assert [row.step for row in rows] == [5, 10, None]
    assert rows[1].proof == rows[2].proof != rows[0].proof
    for row in rows:
        found = Proof.model_validate(row.proof)
        assert len(found.rows) == proof.ROWS
        check(found, small_base, publish.folder(place.settings.home, row.sha256))
    assert place.job(job_id).fine_tuned_model


def test_a_checkpoint_taken_up_again_keeps_its_proof(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.submit(place.upload(chats(20)), n_epochs=2, batch_size=4)
    publishes = attempt.Attempt.publish

    def dies(_: attempt.Attempt) -> None:
        raise MemoryError

    monkeypatch.setattr(attempt.Attempt, "publish", dies)
    lease = place.claim(seconds=0.0)
    with pytest.raises(MemoryError):
        attempt.run(place.settings, lease)
    monkeypatch.setattr(attempt.Attempt, "publish", publishes)
    place.work()
    with place.database.read() as session:
        found = session.execute(select(Version.step, Version.proof).order_by(Version.seq)).all()
    assert [row.step for row in found] == [5, 10, None]
    assert found[1].proof == found[2].proof is not None
