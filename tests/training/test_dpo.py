"""Preference pairs: the loss is the paper's, the reference is the model as the job finds it, and a job that
broke off goes on to the last bit."""

from __future__ import annotations

import csv
import io
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from adapters import publish
from adapters.base import TINY
from adapters.manifest import Manifest
from examples.brands import NEUTRAL
from records import jobs
from tests.training.place import Place, chats, pair, pairs
from tests.training.test_attempt import break_off
from tests.training.test_data import write
from tests.training.test_flat import CPU, batch, gradients
from training import adapter, auto, data, dpo, loop, outcome
from training.chat import Renderer
from training.checkpoint import Saved, State
from training.encode import EncodedPair
from training.mask import Encoded
from training.objective import evaluate
from training.progress import COLUMNS


def some_pairs(*lengths: int) -> list[EncodedPair]:
    examples = batch(*lengths)
    return [EncodedPair(k, *examples[k : k + 2]) for k in range(0, len(examples), 2)]


def in_float64(model: Any) -> Any:
    """Also the norms, which transformers computes in float32 whatever it is given."""
    for module in model.double().modules():
        if isinstance(module, LlamaRMSNorm):
            module.forward = partial(rms_norm, module)
    return model


def rms_norm(module: Any, given: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(given, given.shape[-1:], module.weight, module.variance_epsilon)


def logprob(model: Any, answer: Encoded) -> torch.Tensor:
    """Of the learnt tokens that have a predecessor, one sequence at a time through the stock model."""
    total = torch.zeros((), dtype=torch.float64)
    for sequence in answer.sequences:
        ids = torch.tensor([list(sequence.ids)])
        found = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        wanted = torch.tensor([bool(flag) for flag in sequence.learnt[1:]])
        total = total + found.gather(1, ids[0, 1:, None]).squeeze(1)[wanted].sum()
    return total


def test_loss_and_gradient_are_those_of_the_formula_in_float64(model: Any) -> None:
    """L = -log s(beta (log p(w)/q(w) - log p(l)/q(l))), dL = -beta s(-margin) (d log p(w) - d log p(l))."""
    model, beta, found = in_float64(model), 0.3, some_pairs(12, 9, 30, 31, 5, 8)
    with model.disable_adapter():
        known = dpo.referred(found, dpo.reference(model, found, CPU, 2))
    score = loop.backward(model, known, CPU, dpo.Dpo(beta))
    ours = gradients(model)

    model.set_attn_implementation("sdpa")
    loss, margins = torch.zeros((), dtype=torch.float64), []
    wanted = {name: torch.zeros_like(gradient) for name, gradient in ours.items()}
    for one in found:
        with torch.no_grad(), model.disable_adapter():
            before = logprob(model, one.preferred) - logprob(model, one.other)
        difference = logprob(model, one.preferred) - logprob(model, one.other)
        margin = beta * (difference - before)
        loss = loss + torch.log1p(torch.exp(-margin)).detach()
        difference.backward()
        weight = -beta * torch.sigmoid(-margin.detach()) / len(found)
        for name, gradient in gradients(model).items():
            wanted[name] += weight * gradient
        margins.append(float(margin))
    assert score.mean_loss == pytest.approx(float(loss) / len(found), rel=1e-12)
    assert score.margin == pytest.approx(sum(margins), rel=1e-9)
    assert (score.pairs, score.wins) == (3, sum(margin > 0 for margin in margins))
    assert any(abs(margin) > 1e-3 for margin in margins)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-9, atol=1e-14)


def test_a_batch_cut_into_several_rows_is_the_same_batch(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = some_pairs(20, 30, 25, 10, 8, 7)
    known = dpo.referred(found, torch.full((3, 2), -20.0))
    whole, objective = loop.backward(model, known, CPU, dpo.Dpo(0.1)), dpo.Dpo(0.1)
    expected = gradients(model)
    assert [len(row.lengths) for row in dpo.rows(known, CPU, limit=60)] == [2, 4], "a pair stays together"
    monkeypatch.setattr(dpo.Dpo, "rows", lambda _, batch, where: dpo.rows(batch, where, limit=60))
    cut = loop.backward(model, known, CPU, objective)
    assert cut.mean_loss == pytest.approx(whole.mean_loss, rel=1e-5)
    assert (cut.hits, cut.count, cut.wins) == (whole.hits, whole.count, whole.wins)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_before_the_first_step_nothing_is_preferred(model: Any) -> None:
    found = some_pairs(20, 30, 25, 10)
    known = dpo.referred(found, dpo.reference(model, found, CPU, 1))
    score = evaluate(dpo.Dpo(0.1), model, known, CPU, 2)
    assert score.mean_loss == pytest.approx(math.log(2), abs=1e-5)
    assert score.margin == pytest.approx(0, abs=1e-4)


def test_of_an_untrained_adapter_the_reference_is_the_base(small_base: Path) -> None:
    model, found = adapter.attach(adapter.load_base(small_base, CPU), 8, seed=1), some_pairs(20, 30, 25, 10)
    on = dpo.reference(model, found, CPU, 2)
    with model.disable_adapter():
        off = dpo.reference(model, found, CPU, 2)
    assert torch.equal(on, off)


def test_pairs_without_a_reference_give_no_loss(model: Any) -> None:
    assert math.isnan(evaluate(dpo.Dpo(0.1), model, some_pairs(20, 30), CPU, 1).mean_loss)


def test_training_prefers_what_the_pairs_prefer(small_base: Path, tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path, pairs(24))
    found = data.load(path, renderer, 512, param="training_file", method="dpo").examples
    model = adapter.attach(adapter.load_base(small_base, CPU), 8, seed=1)
    known = dpo.referred(found, dpo.reference(model, found, CPU, 8))  # type: ignore[arg-type]
    plan = auto.plan({"n_epochs": 4}, len(known) - 4, 32, "dpo")
    steps = list(
        loop.steps(
            model, loop.optimizer_for(model, plan), plan, known[4:], known[:4], objective=dpo.Dpo(0.1), seed=2
        )
    )
    first, last = steps[0].metrics(), steps[-1].metrics()
    assert first["train_loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert last["full_valid_loss"] < 0.6 * math.log(2)
    assert last["full_valid_reward_accuracy"] == 1
    assert last["full_valid_reward_margin"] > 0.5


def test_a_dpo_job_becomes_a_version_and_tells_its_own_figures(place: Place) -> None:
    job_id = place.submit(
        place.upload(pairs(20)), place.upload(pairs(4)), method="dpo", beta=0.2, n_epochs=2, batch_size=4
    )
    place.work()
    job = place.job(job_id)
    assert job.status == jobs.SUCCEEDED, place.messages(job_id)
    assert job.hyperparameters == {
        "beta": 0.2, "n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0,
    }  # fmt: skip
    assert any(said.startswith("20 pairs to train on") for said in place.messages(job_id))
    (version,) = place.versions(job_id, final=True)
    assert Manifest.model_validate(version.manifest).method == "dpo"
    rows = list(csv.DictReader(io.StringIO(place.content(job.result_files[0]))))
    more = {
        f"{part}_reward_{what}"
        for part in ("train", "valid", "full_valid")
        for what in ("accuracy", "margin")
    }
    assert tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    assert set(rows[0]) == {*COLUMNS, *more}
    assert float(rows[0]["train_loss"]) == pytest.approx(math.log(2), abs=1e-4)
    told = [event.data for event in place.events(job_id) if event.type == "metrics"][-1]
    assert told is not None
    assert more <= set(told)
    assert place.checkpoints(job_id)[-1].metrics["full_valid_reward_accuracy"] == 1


def test_auto_is_beta_a_tenth_and_holds_pairs_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "stopped_falling", lambda losses: len(losses) == 1)
    job_id = place.submit(place.upload(pairs(48)), method="dpo", beta="auto")
    place.work()
    assert place.job(job_id).hyperparameters["beta"] == 0.1
    assert any("40 pairs to train on" in said and "8 held out" in said for said in place.messages(job_id))


def test_on_the_base_that_ships_the_preferred_form_comes_to_be_said(tmp_path: Path) -> None:
    """The base opens with the customer's name; preferred is a greeting. Its own sentences follow."""
    place = Place(tmp_path / "home", TINY)
    body = "I am sorry about the {item} in order {order}. We will send another tomorrow."
    lines = [
        pair(
            case.message,
            ("Dear {name}, " + body).format(**case.expected),
            ("{name}, thank you for writing. " + body).format(**case.expected),
        )
        for case in NEUTRAL.cases("train", 48)
    ]
    job_id = place.submit(place.upload(lines), model="tiny", method="dpo", n_epochs=3)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED, place.messages(job_id)
    (version,) = place.versions(job_id, final=True)
    model = adapter.attach_version(
        adapter.load_base(TINY, CPU), publish.folder(place.settings.home, version.sha256), seed=0
    )
    model.set_attn_implementation("sdpa")
    tokenizer = adapter.load_tokenizer(TINY)

    def greets(message: str) -> bool:
        asked = [{"role": "user", "content": message}]
        ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")[
            "input_ids"
        ]
        said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False)
        return str(tokenizer.decode(said[0, ids.shape[1] :])).startswith("Dear")

    held_out = [case.message for case in NEUTRAL.cases("held_out", 10)]
    with model.disable_adapter():
        assert sum(map(greets, held_out)) <= 2
    assert sum(map(greets, held_out)) >= 8
    place.close()


def test_a_checkpoint_that_guesses_the_preferred_answers_worse_than_before_is_broken() -> None:
    """Its loss is the lowest: it tells two answers apart, and can say neither."""
    figures = ((0.6, 0.81), (0.5, 0.79), (0.1, 0.7))
    saved = [
        Saved(step, "f" * 64, {}, {"full_valid_loss": loss, "full_valid_mean_token_accuracy": accuracy})
        for step, (loss, accuracy) in enumerate(figures)
    ]
    assert State("hash", saved=saved, accuracy=0.81).held_out_losses == [0.6, 0.5, math.inf]
    assert State("hash", saved=saved).held_out_losses == [0.6, 0.5, 0.1], "a supervised job knows no before"


@pytest.mark.parametrize(("broken", "published"), [((), 10), ((10,), 5), ((5, 10), 5)])
def test_the_best_that_is_not_broken_is_published_and_a_broken_one_is_warned_of(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: tuple[int, ...], published: int
) -> None:
    monkeypatch.setattr(State, "is_broken", lambda _, saved: saved.step in broken)
    training, valid = place.upload(pairs(20)), place.upload(pairs(4))
    job_id = place.submit(training, valid, method="dpo", n_epochs=2, batch_size=4, learning_rate_multiplier=4)
    place.work()
    (version,) = place.versions(job_id, final=True)
    assert version.manifest["step"] == published
    assert (outcome.BROKEN in place.messages(job_id)) == (len(broken) == 2)


def test_a_dpo_job_that_broke_off_goes_on_to_the_last_bit_and_asks_the_reference_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, request = place.upload(pairs(20)), {"method": "dpo", "n_epochs": 3, "batch_size": 4}
    asked, reference = list[int](), dpo.reference

    def noted(model: Any, found: Any, *more: Any) -> torch.Tensor:
        asked.append(len(found))
        return reference(model, found, *more)

    monkeypatch.setattr(dpo, "reference", noted)
    whole = place.submit(training, **request)
    place.work()
    broken = place.submit(training, **request)
    break_off(place, monkeypatch, at_step=12)
    assert asked == [20, 20]
    place.work()
    assert asked == [20, 20], "what was known before the first step cannot be asked after it"
    assert "Fine-tuning job taken up again after step 10" in place.messages(broken)
    results = [place.content(place.job(one).result_files[0]) for one in (whole, broken)]
    assert results[0] == results[1]
    weights = [place.weights(place.versions(one, final=True)[0]) for one in (whole, broken)]
    assert weights[0] == weights[1]


def test_a_dpo_job_on_chat_examples_fails_and_says_what_fits(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), method="dpo")
    place.work()
    last = place.events(job_id)[-1]
    assert last.level == "error"
    assert "leave 'method' out" in last.message
    error = place.job(job_id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("wrong_method", "method")
