"""The whole loop on the fake engine, with the unmodified `openai` client, a worker's part played by rows."""

from __future__ import annotations

from tests.server.conftest import TRAINING, Running, until


def test_a_client_uploads_trains_follows_and_chats(server: Running) -> None:
    client = server.client()
    file = client.files.create(file=("train.jsonl", TRAINING), purpose="fine-tune")
    assert client.files.wait_for_processing(file.id, poll_interval=0.01).status == "processed"
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file.id, suffix="luxe")
    assert job.status == "validating_files"
    assert [event.message for event in client.fine_tuning.jobs.list_events(job.id)] == [
        f"Created fine-tuning job: {job.id}"
    ]
    version = server.publish("luxe")
    until(lambda: version in server.engine.resident)
    for model in (version, "luxe"):
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
        assert answer.model == version
    assert {"tiny", "luxe", version} == {model.id for model in client.models.list()}


def test_a_publication_answers_its_brand_while_the_server_runs(server: Running) -> None:
    server.publish("luxe", seed=1)
    client = server.client()
    until(lambda: "luxe" in {model.id for model in client.models.list()})
    client.chat.completions.create(model="luxe", messages=[{"role": "user", "content": "hi"}])
    newer = server.publish("luxe", seed=2)
    until(
        lambda: (
            newer
            == client.chat.completions.create(
                model="luxe", messages=[{"role": "user", "content": "hi"}]
            ).model
        )
    )
    assert server.engine.loads.count(newer) == 1
