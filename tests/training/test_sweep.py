"""A sweep: one job, many short trials, the better half goes on; the winner is trained and published."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from adapters import base as bases
from records import jobs
from records.quotes import Order
from tests.training.place import Place, chats
from training import attempt, auto, sweep
from training.auto import Plan
from training.quote.make import make
from training.sweep import MIN_HELD_OUT, Sweep, Table, Trial, most_steps, rungs, trials

ALL_AUTO: dict[str, Any] = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}


def submit(place: Place, **requested: Any) -> str:
    """24 examples, 12 steps an attempt, four trials in two rounds."""
    held_out = place.upload(chats(24 + MIN_HELD_OUT)[24:])
    given = {"n_epochs": 2, "batch_size": 4, "sweep": 4, **requested}
    return place.submit(place.upload(chats(24)), held_out, **given)


def table_of(place: Place, job_id: str) -> list[dict[str, Any]]:
    (event,) = [one for one in place.events(job_id) if one.data and "sweep" in one.data]
    rows: list[dict[str, Any]] = (event.data or {})["sweep"]
    return rows


@pytest.mark.parametrize("count", range(2, 33))
def test_a_sweep_costs_about_as_many_jobs_as_it_has_rounds(count: int) -> None:
    found = rungs(count)
    assert found[0][0] == count
    assert found[-1] == (2, 0.5)
    assert len(found) == math.ceil(math.log2(count))
    assert sum(tried * share for tried, share in found) <= len(found)
    plan = Plan(4, 4, 1.0, 1e-3, 64, stops_early=False)
    assert most_steps([plan] * count) <= len(found) * plan.total_steps


def test_the_first_trial_is_what_the_rules_give_and_no_two_are_alike() -> None:
    rules = auto.plan(ALL_AUTO, 500, 256)
    found = trials({**ALL_AUTO, "sweep": 32}, rules, 32, None, seed=1)
    assert found[0] == Trial(1, rules.learning_rate_multiplier, 16, rules.n_epochs)
    assert [trial.number for trial in found] == list(range(1, 33))
    assert len({trial.said() for trial in found}) == 32
    assert {trial.rank for trial in found} == {8, 16, 32}
    assert found == trials({**ALL_AUTO, "sweep": 32}, rules, 32, None, seed=1)
    assert found != trials({**ALL_AUTO, "sweep": 32}, rules, 32, None, seed=2)


def test_what_the_rules_give_goes_on_until_the_last_round_which_the_lower_loss_wins() -> None:
    rules, *others = tried = [Trial(number, 1.0, 16, number) for number in range(1, 5)]
    losses = {1: 4.0, 2: 1.0, 3: 2.0, 4: 1.0}
    table = Table([{"trial": number, "held_out_loss": loss} for number, loss in losses.items()])
    assert sweep._better_half(tried, rules, table) == [others[0], rules]
    assert sweep._better_half(others, others[0], table) == [others[0], others[2]]
    assert sweep._better_half([others[0], rules], rules, table) == [others[0]]


def test_what_is_given_and_what_the_server_or_the_parent_sets_is_not_tried() -> None:
    given = {**ALL_AUTO, "n_epochs": 3, "learning_rate_multiplier": 0.7, "sweep": 32}
    found = trials(given, auto.plan(given, 500, 256), 16, None, seed=1)
    assert [(one.n_epochs, one.learning_rate_multiplier, one.rank) for one in found] == [
        (3, 0.7, 16), (3, 0.7, 8),
    ]  # fmt: skip
    rules = auto.plan(ALL_AUTO, 500, 256)
    assert {one.rank for one in trials({**ALL_AUTO, "sweep": 9}, rules, 32, 64, seed=1)} == {64}


def test_the_winner_is_trained_and_published_and_the_table_is_kept(place: Place) -> None:
    job_id = submit(place)
    place.work()
    job = place.job(job_id)
    assert job.status == jobs.SUCCEEDED
    rows = table_of(place, job_id)
    assert [(row["rung"], row["steps"]) for row in rows] == [(1, 3)] * 4 + [(2, 6)] * 2
    first = sorted(rows[:4], key=lambda row: row["held_out_loss"])
    better = [row["trial"] for row in first[:2]]
    assert [row["trial"] for row in rows[4:]] == (better if 1 in better else [better[0], 1])
    best = min(rows[4:], key=lambda row: row["held_out_loss"])
    assert job.hyperparameters["learning_rate_multiplier"] == best["learning_rate_multiplier"]
    (version,) = place.versions(job_id, final=True)
    assert version.manifest["rank"] == best["rank"]
    assert version.manifest["hyperparameters"]["n_epochs"] == best["n_epochs"] == 2
    metrics, table = map(place.content, job.result_files)
    assert len(metrics.splitlines()) == 1 + 12
    assert [float(row["held_out_loss"]) for row in csv.DictReader(io.StringIO(table))] == [
        row["held_out_loss"] for row in rows
    ]
    said = place.messages(job_id)
    assert sum(one.startswith("Sweep, round") for one in said) == 6
    assert f"Sweep: trial {best['trial']} is best, " in " ".join(said)
    (told,) = [one for one in place.events(job_id) if one.message.startswith("Training took")]
    assert told.data is not None
    # The trials' tokens count: 24 steps of the trials, 12 of the winner.
    assert told.data["took"]["trained_tokens"] == job.trained_tokens == told.data["quote"]["trained_tokens"]


@pytest.mark.parametrize("after_writing", [False, True])
def test_a_kill_at_any_trial_changes_no_bit_and_loses_or_doubles_no_event(
    place: Place, monkeypatch: pytest.MonkeyPatch, after_writing: bool
) -> None:
    whole = submit(place)
    place.work()
    cut = submit(place)
    write = Sweep._write
    for count in range(1, 7):

        def crash(search: Sweep, table: Table, at: int = count) -> None:
            if len(table.rows) == at and not after_writing:
                raise MemoryError
            write(search, table)
            if len(table.rows) == at:
                raise MemoryError

        lease = place.claim(seconds=0.01)
        with monkeypatch.context() as patched:
            patched.setattr(Sweep, "_write", crash)
            with pytest.raises(MemoryError):
                attempt.run(place.settings, lease)
        time.sleep(0.02)
    place.work()
    assert table_of(place, cut) == table_of(place, whole)
    told = [[one for one in place.messages(job) if one.startswith("Sweep")] for job in (whole, cut)]
    assert told[0] == told[1]
    assert place.job(cut).trained_tokens == place.job(whole).trained_tokens
    weights = [place.weights(place.versions(job, final=True)[0]) for job in (whole, cut)]
    assert weights[0] == weights[1]


def test_a_sweep_without_enough_held_out_is_refused_with_what_to_send(place: Place) -> None:
    job_id = place.submit(place.upload(chats(100)), sweep=2)
    place.work()
    error = place.job(job_id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("too_few_held_out", "sweep")
    assert "there are 10; at least 20 are needed. Send a validation_file, or 200" in error["message"]


def test_a_quote_counts_the_trials(place: Place, tmp_path: Path) -> None:
    train, valid = (tmp_path / name for name in ("t.jsonl", "v.jsonl"))
    for file, rows in ((train, chats(24)), (valid, chats(MIN_HELD_OUT))):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = bases.resolve(place.settings.base, place.settings.home)
    given = {"n_epochs": 2, "batch_size": 4}
    tokens = []
    for requested in (given, {**given, "sweep": 4}, {**given, "sweep": 16}):
        order = Order(
            training_sha256="0" * 64, validation_sha256="1" * 64, parent_sha256=None, method="supervised",
            requested=requested, seed=1, max_lora_rank=32, training_threads=1,
            gradient_checkpointing=None, training_4bit=False,
        )  # fmt: skip
        quote = make(base, order, train, valid).quote
        assert quote is not None
        tokens.append(quote.trained_tokens)
    assert tokens[1] == 3 * tokens[0]  # two rounds and the winner
    assert 4 * tokens[0] <= tokens[2] <= 6 * tokens[0]


def searching(folder: Path, losses: dict[int, float], limit: float | None = None) -> tuple[Sweep, list[int]]:
    """A sweep whose trials only look their loss up and take 10 seconds each."""
    tried: list[int] = []

    class Fast(Sweep):
        def _try(self, table: Table, rung: int, trial: Trial, share: float) -> None:
            tried.append(trial.number)
            table.seconds += 10
            row = {"rung": rung, "trial": trial.number, "steps": 1}
            table.rows.append({**row, "held_out_loss": losses[trial.number]})

    nothing: Any = None
    search = Fast(folder / "s.json", 1, [], [], nothing, nothing, lambda *_: None, limit)
    return search, tried


def numbered(count: int) -> list[Trial]:
    return [Trial(number, 1.0, 16, 2) for number in range(1, count + 1)]


def test_the_better_half_goes_on_and_a_trial_without_a_number_never_does(tmp_path: Path) -> None:
    losses: dict[int, Any] = {1: None, 2: 0.4, 3: 0.2, 4: 0.3, 5: 0.9}
    search, tried = searching(tmp_path, losses)
    best, _ = search.run(numbered(5))
    assert best.number == 3
    assert tried == [1, 2, 3, 4, 5, 3, 4, 2, 3, 4]


def test_of_equals_the_earlier_trial_wins(tmp_path: Path) -> None:
    assert searching(tmp_path, dict.fromkeys(range(1, 5), 0.5))[0].run(numbered(4))[0].number == 1


def test_a_sweep_ends_with_half_of_the_jobs_time_and_its_best_so_far(tmp_path: Path) -> None:
    search, tried = searching(tmp_path, {1: 0.5, 2: 0.1, 3: 0.4, 4: 0.2}, limit=50)
    assert search.run(numbered(4))[0].number == 2
    assert tried == [1, 2, 3]


def test_losses_that_are_no_numbers_end_a_trial(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "MULTIPLIERS", (1e30,))
    job_id = submit(place, sweep=2)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    rows = table_of(place, job_id)
    assert rows[0]["held_out_loss"] is not None
    assert rows[1]["held_out_loss"] is None
    assert place.job(job_id).hyperparameters["learning_rate_multiplier"] == 1.0
