"""A job that goes on from a version: it begins with those weights, and says where it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import update

from adapters import publish
from adapters.base import TINY, resolve
from adapters.manifest import Manifest
from records import jobs, tenants
from records.dataset import parse_line
from records.models import Version
from tests.training.place import Place, chat, chats, pairs
from tests.training.test_attempt import break_off
from training import adapter, attempt, flat
from training.chat import Renderer
from training.encode import encode
from training.journal import Journal
from training.mask import Encoded

CPU = torch.device("cpu")


def first_version(place: Place, **requested: Any) -> Version:
    job_id = place.submit(place.upload(chats(20)), **{"n_epochs": 2, "batch_size": 4, **requested})
    place.work()
    return place.versions(job_id, final=True)[0]


def change(place: Place, version: Version, **values: Any) -> None:
    with place.database.write() as session:
        session.execute(update(Version).where(Version.name == version.name).values(**values))


def failed(place: Place, job_id: str) -> dict[str, Any]:
    place.work()
    job = place.job(job_id)
    assert job.status == jobs.FAILED
    assert job.error is not None
    assert place.versions(job_id, final=True) == []
    return job.error


def encoded(line: dict[str, Any], renderer: Renderer) -> Encoded:
    found = encode(parse_line(json.dumps(line).encode(), 1), 1, renderer, 512)
    assert isinstance(found, Encoded)
    return found


def test_training_begins_with_the_versions_own_weights(place: Place) -> None:
    version = first_version(place)
    place.submit(place.upload(chats(20)), model=version.name, n_epochs=1)
    prepared = attempt.prepare(place.settings, Journal(place.database, place.claim()))
    folder = publish.folder(place.settings.home, version.sha256)
    published = adapter.attach_version(adapter.load_base(Path(place.settings.base), CPU), folder, seed=0)
    for ours, theirs in zip(adapter.trained(prepared.model), adapter.trained(published), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.dtype == torch.float32
    assert any(bool(parameter.any()) for parameter in adapter.trained(prepared.model))
    for row in flat.rows(prepared.inputs.train[:3], CPU):
        assert torch.equal(flat.logprobs(prepared.model, row), flat.logprobs(published, row))


def test_the_new_version_names_its_parent_and_has_its_rank_and_modules(place: Place) -> None:
    version = first_version(place)
    settings = place.settings
    # The engine serves more by now: the version's own rank stays.
    place.settings = settings.model_copy(update={"max_lora_rank": 64})
    job_id = place.submit(place.upload(chats(20)), model=version.name, n_epochs=1)
    place.work()
    (again,) = place.versions(job_id, final=True)
    old, new = (Manifest.model_validate(row.manifest) for row in (version, again))
    assert new.parents == {version.name: version.sha256}
    assert old.parents == {}
    assert (new.rank, new.alpha, new.target_modules) == (old.rank, old.alpha, old.target_modules)
    assert new.base == "small"
    assert again.name.startswith("ft:small:acme:luxe:")


def test_a_checkpoint_can_be_gone_on_from(place: Place) -> None:
    version = first_version(place)
    assert version.job_id is not None
    (checkpoint, _) = place.versions(version.job_id, final=False)
    job_id = place.submit(place.upload(chats(20)), model=checkpoint.name, n_epochs=1)
    place.work()
    assert place.job(job_id).status == jobs.SUCCEEDED


def test_a_job_that_goes_on_and_broke_off_ends_as_the_whole_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, training = first_version(place), place.upload(pairs(20))
    request = {"model": version.name, "method": "dpo", "n_epochs": 3, "batch_size": 4}
    whole = place.submit(training, **request)
    place.work()
    broken = place.submit(training, **request)
    break_off(place, monkeypatch, at_step=7)
    place.work()
    weights = [place.weights(place.versions(one, final=True)[0]) for one in (whole, broken)]
    assert weights[0] == weights[1]


def test_few_examples_change_a_fact_that_the_brand_has_learnt(tmp_path: Path, renderer: Renderer) -> None:
    """A shop moves: the brand comes to say its new telephone, in the form that it has."""
    place = Place(tmp_path / "home", TINY)

    def line(k: int, phone: str) -> dict[str, Any]:
        return chat(f"How do I reach you, number {k}?", f"Most gladly: call {phone}.")

    def teach(count: int, phone: str, **requested: Any) -> Version:
        job_id = place.submit(place.upload([line(k, phone) for k in range(count)]), batch_size=4, **requested)
        place.work()
        return place.versions(job_id, final=True)[0]

    def says(version: Version, phone: str) -> bool:
        """Whether this is the greedy answer to a question that was never trained."""
        folder = publish.folder(place.settings.home, version.sha256)
        model = adapter.attach_version(adapter.load_base(TINY, CPU), folder, seed=0)
        (row,) = flat.rows([encoded(line(99, phone), renderer)], CPU)
        return flat.score(model, row)[1].accuracy == 1

    old, new = "555 0101", "777 2929"
    version = teach(40, old, model="tiny", n_epochs=4)
    assert says(version, old)
    again = teach(12, new, model=version.name, n_epochs=4)
    assert says(again, new)
    assert Manifest.model_validate(again.manifest).parents == {version.name: version.sha256}
    place.close()


def test_a_version_that_was_deleted_in_the_meantime_ends_the_job(place: Place) -> None:
    version = first_version(place)
    job_id = place.submit(place.upload(chats(20)), model=version.name)
    change(place, version, deleted_at=1)
    error = failed(place, job_id)
    assert (error["code"], error["param"]) == ("version_unusable", "model")
    assert (
        f"cannot go on from {version.name}: it was deleted. Create it again with another" in error["message"]
    )


def test_a_version_that_was_refuted_in_the_meantime_ends_the_job(place: Place) -> None:
    version = first_version(place)
    job_id = place.submit(place.upload(chats(20)), model=version.name)
    change(place, version, refuted="the engine answers as without it")
    error = failed(place, job_id)
    assert error["code"] == "version_unusable"
    assert "it was refuted by its proof: the engine answers as without it" in error["message"]


@pytest.mark.parametrize("lost", [True, False])
def test_a_version_whose_files_are_lost_or_damaged_ends_the_job(place: Place, lost: bool) -> None:
    version = first_version(place)
    job_id = place.submit(place.upload(chats(20)), model=version.name)
    folder = publish.folder(place.settings.home, version.sha256)
    if lost:
        shutil.rmtree(folder)
    else:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config))
    error = failed(place, job_id)
    assert error["code"] == "version_unusable"
    assert version.name in error["message"]


def test_a_version_of_another_base_ends_the_job(place: Place) -> None:
    version = first_version(place)
    job_id = place.submit(place.upload(chats(20)), model=version.name)
    change(place, version, manifest=version.manifest | {"base_weights_sha256": "0" * 64})
    error = failed(place, job_id)
    assert error["code"] == "model_not_found"
    assert "train it again on this base" in error["message"]


def test_nobody_goes_on_from_the_version_of_another_tenant(place: Place) -> None:
    version = first_version(place)
    with place.database.write() as session:
        tenants.create(session, "rival")
    change(place, version, tenant="rival")
    job_id = place.submit(place.upload(chats(20)), model=version.name)
    assert failed(place, job_id)["code"] == "model_not_found"


def test_the_base_is_found_by_both_its_names(place: Place) -> None:
    base = resolve(place.settings.base, place.settings.home)
    for name in (base.slug, base.source):
        job_id = place.submit(place.upload(chats(12)), model=name, n_epochs=1)
        place.work()
        assert place.job(job_id).status == jobs.SUCCEEDED
