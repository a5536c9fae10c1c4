"""A version's model card: all that its manifest, its job and its evaluation know, for people."""

from __future__ import annotations

import pytest
from openai import NotFoundError

from records.models import Version
from tests.server.conftest import Running, Stage, until
from tests.server.evaluation.conftest import Theatre, good
from tests.server.proofs import brand


def card(server: Running, model: str, tenant: str = "acme") -> str:
    answer = server.http(tenant).get(f"/v1/models/{model}/card")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    return answer.text


def test_the_card_of_a_trained_version_says_where_it_is_from_and_how_it_does(theatre: Theatre) -> None:
    job = theatre.place.job(theatre.train())
    name = job.fine_tuned_model or ""
    until(lambda: brand(theatre.server)["live"] == name)
    said = card(theatre.server, name)
    with theatre.place.database.read() as session:
        row = session.query(Version).where(Version.name == name).one()
    manifest = row.manifest
    for digest in ("base_config", "base_weights", "template", "training"):
        assert f"`{manifest[f'{digest}_sha256']}`" in said
    assert f"| sha256 of the version | `{row.sha256}` |" in said
    assert f"| job, step, seed | {job.id}, {manifest['step']}, {job.seed} |" in said
    assert f"| examples | {manifest['data']['examples']:,} |" in said
    assert f"| held out examples | {manifest['data']['held_out_examples']} |" in said
    assert f"| n_epochs | {manifest['hyperparameters']['n_epochs']} |" in said
    assert f"| full_valid_loss | {manifest['metrics']['full_valid_loss']:,.4f} |" in said
    assert "Checked before training: " in said
    assert "**Worth it.** On 12 held-out examples" in said
    assert f"| the new version (step {manifest['step']}) | 1.00 |" in said
    assert "Proven by an engine 2" in said
    assert "## Use and limits" in said
    assert "\n\n\n\n" not in said


def test_a_brands_card_is_that_of_its_live_version_and_a_checkpoint_has_its_own(theatre: Theatre) -> None:
    job_id = theatre.train()
    checkpoint = theatre.place.checkpoints(job_id)[0].version
    assert card(theatre.server, checkpoint).startswith("---\nbase_model: ")
    assert f"# {checkpoint}\n" in card(theatre.server, checkpoint)
    final = theatre.place.job(job_id).fine_tuned_model
    until(lambda: brand(theatre.server)["live"] == final)
    assert f"# {final}\n" in card(theatre.server, "luxe")


def test_the_card_of_a_version_that_was_not_worth_it_says_so_among_its_limits(theatre: Theatre) -> None:
    theatre.engine.script = lambda model, asked: good("ft:", asked)
    said = card(theatre.server, theatre.place.job(theatre.train()).fine_tuned_model or "")
    assert "**Not worth it.**" in said
    assert "- Its job was not worth it by its own evaluation" in said


def test_a_card_names_the_versions_that_training_went_on_from(server: Running) -> None:
    parent = server.publish("luxe")
    child = server.publish("luxe", seed=2, parents={parent: "p" * 64}, data={"held_out_examples": 0})
    said = card(server, child)
    assert f"| trained on from | `{parent}`, sha256 `{'p' * 64}` |" in said
    assert "- Nothing was held out when it was trained" in said
    assert "Nothing was held out when" not in card(server, parent)  # an older manifest does not say


def test_a_card_says_how_training_held_the_base_where_it_is_served_otherwise(server: Running) -> None:
    plain, four_bit = server.publish("luxe"), server.publish("luxe", seed=2, base_quantization="nf4")
    assert "| base, as training held it | nf4, in 4 bits |" in card(server, four_bit)
    assert "as training held it" not in card(server, plain)


def test_the_card_of_an_import_claims_nothing_about_its_training(server: Running) -> None:
    unknown = dict.fromkeys(("job_id", "step", "seed", "training_sha256", "code_version"))
    name = server.publish("luxe")
    with server.house.database.write() as session:
        row = session.query(Version).where(Version.name == name).one()
        row.manifest = {**row.manifest, **unknown, "source": "imported", "received_sha256": "r" * 64}
        row.job_id = None
    said = card(server, name)
    assert "trained elsewhere and imported" in said
    assert f"| sha256 of the files as they came | `{'r' * 64}` |" in said
    assert "## Data\n\nNot known." in said
    assert "## Training" not in said


@pytest.mark.parametrize("why", ["refuted", "held_back"])
def test_a_card_says_why_its_version_does_not_answer(server: Running, why: str) -> None:
    name = server.publish("luxe")
    with server.house.database.write() as session:
        setattr(session.query(Version).where(Version.name == name).one(), why, "It broke 3 <b>cases.")
    assert "It broke 3 &lt;b>cases." in card(server, name).split("| | |")[0]


def test_nobody_else_reads_a_card_and_the_base_has_none(serve: Stage) -> None:
    server = serve()
    name = server.publish("luxe")
    for tenant, model in (("rival", name), ("rival", "luxe"), ("acme", "tiny"), ("acme", "ft:nothing")):
        answer = server.http(tenant).get(f"/v1/models/{model}/card")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert server.http(None).get(f"/v1/models/{name}/card").status_code == 401
    with pytest.raises(NotFoundError):
        server.client("rival").models.retrieve(f"{name}/card")
