"""A home with a live version and work that waits, to strike copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters import proving, publish
from adapters.manifest import CONFIG, WEIGHTS
from adapters.proof import Verdict
from records.audit import By
from tests.faults.home import Home
from tests.faults.stage import Stage
from tests.training.place import Place, chats
from tests.training.small_base import build


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    stage = Stage(folder, build(folder / "small"))
    yield stage
    stage.close()


@pytest.fixture(scope="session")
def template(stage: Stage) -> Path:
    """Its folder `home` has one finished job, whose version is live, and one job that waits; `adapter` is
    another version, to be imported."""
    folder = stage.log.parent / "template"
    place = Place(folder / "home", stage.log.parent / "small")
    training = place.upload(chats(12))
    request = {"n_epochs": 1, "batch_size": 12}
    job_id = place.submit(training, **request)
    home = Home(folder / "home", stage)
    home.work()
    (version,) = place.versions(job_id, final=True)
    with place.database.write() as session:
        assert proving.settle(session, version.name, Verdict(None, {"tokens": 1}), By("server"))
    place.submit(training, learning_rate_multiplier=2.0, **request)
    place.close()
    stored = publish.folder(place.settings.home, version.sha256)
    (folder / "adapter").mkdir()
    for name in (CONFIG, WEIGHTS):
        shutil.copy(stored / name, folder / "adapter")
    return folder


@pytest.fixture
def home(template: Path, stage: Stage, tmp_path: Path) -> Home:
    return Home(tmp_path / "home", stage, template)
