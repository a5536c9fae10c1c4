"""What a job asks to be evaluated on, and its end without a server. tests/server/evaluation has the rest."""

from __future__ import annotations

from adapters import gating, rollout
from adapters.base import resolve
from records import evaluations, jobs
from records.audit import By
from tests.training.place import Place, chat, chats
from training import evaluation
from training.chat import Renderer
from training.inputs import Inputs, validate
from training.journal import Journal

GATE = {"graders": [], "thresholds": {"score": 0.5}, "must_not_regress": None, "at_least_live": False}


def inputs(place: Place, job_id: str, renderer: Renderer) -> Inputs:
    journal = Journal(place.database, place.claim())
    base = resolve(place.settings.base, place.settings.home)
    return validate(journal, place.job(job_id), place.settings.home, base, renderer, 512)


def test_without_a_server_a_job_says_that_it_was_not_evaluated_and_ends_at_once(place: Place) -> None:
    job_id = place.submit(place.upload(chats(20)), place.upload(chats(4)), n_epochs=1)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED
    assert "Not evaluated: no server of small is running." in place.messages(job_id)
    with place.database.read() as session:
        assert evaluations.of(session, job_id) is None


def test_without_a_server_a_gate_keeps_the_version_candidate(place: Place) -> None:
    with place.database.write() as session:
        gating.set_gate(session, "acme", "luxe", "small", GATE, By("test"))
    job_id = place.submit(place.upload(chats(20)), place.upload(chats(4)), n_epochs=1)
    place.work()
    (version,) = place.versions(job_id, final=True)
    assert version.held_back == "It was not evaluated."
    with place.database.read() as session:
        row = rollout.find(session, "acme", "luxe", "small")
        assert row is not None
        assert (row.live, row.pending, row.candidate) == (None, None, version.name)


def test_held_out_rows_are_asked_and_taught_ones_are_examples(place: Place, renderer: Renderer) -> None:
    job_id = place.submit(place.upload(chats(60)), n_epochs="auto")
    read = inputs(place, job_id, renderer)
    made = evaluation.material(place.settings.home, place.job(job_id), read)
    held_out = {example.line for example in read.valid}
    assert {int(case.id.rsplit(":", 1)[1]) for case in made.cases} == held_out
    assert not {shot.id for shot in made.shots} & {case.id for case in made.cases}
    assert len(made.shots) == evaluation.SHOTS
    assert made.cases[0].messages[0]["role"] == "user"
    assert (made.instruction, made.from_rows, made.left_out) == (None, False, 0)
    assert made == evaluation.material(place.settings.home, place.job(job_id), read)


def test_more_than_the_most_cases_are_drawn_the_same_each_time(place: Place, renderer: Renderer) -> None:
    job_id = place.submit(place.upload(chats(12)), place.upload(chats(130)))
    read = inputs(place, job_id, renderer)
    made = evaluation.material(place.settings.home, place.job(job_id), read)
    assert len({case.id for case in made.cases}) == 100
    assert made == evaluation.material(place.settings.home, place.job(job_id), read)


def test_the_instruction_is_the_shared_system_message_unless_the_job_names_one(
    place: Place, renderer: Renderer
) -> None:
    rows = [chat(f"What of {k}?", "Gladly.") for k in range(12)]
    for row in rows:
        row["messages"].insert(0, {"role": "system", "content": "Be glad."})
    files = place.upload(rows), place.upload(rows[:3])
    job_id = place.submit(*files)
    made = evaluation.material(place.settings.home, place.job(job_id), inputs(place, job_id, renderer))
    assert (made.instruction, made.from_rows) == ("Be glad.", True)
    job_id = place.submit(*files, evaluation={"instruction": "Be gladder."})
    made = evaluation.material(place.settings.home, place.job(job_id), inputs(place, job_id, renderer))
    assert (made.instruction, made.from_rows) == ("Be gladder.", False)


def test_held_out_rows_that_training_has_too_are_not_asked(place: Place, renderer: Renderer) -> None:
    taught = [chat(f"What of {k}?", "Gladly.") for k in range(12)]
    unknown = [chat(f"And of {k}?", "Gladly.") for k in range(5)]
    job_id = place.submit(place.upload(taught), place.upload([*taught[:4], *unknown]))
    made = evaluation.material(place.settings.home, place.job(job_id), inputs(place, job_id, renderer))
    assert (made.taught, made.left_out) == (4, 0)
    assert [case.messages[0]["content"] for case in made.cases] == [f"And of {k}?" for k in range(5)]
