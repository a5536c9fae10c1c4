"""An import is a version like any other, twice is once, and it takes over only where it is asked to."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from adapters import base as bases
from adapters import imported, proving, publish, resolve, rollout
from adapters.base import Base
from adapters.check import admit
from adapters.content import content_digest
from adapters.imported import Imported, NotImported
from adapters.manifest import CONFIG, WEIGHTS, Manifest
from adapters.proof import Verdict
from adapters.refused import Code, Refused
from bench.adapters import random_adapter
from records.audit import By
from records.database import Database
from records.models import Audit, Rollout, Version
from tests.adapters.bad_adapters import describe, good
from tests.adapters.conftest import Publish
from tests.adapters.spoil import config, renamed, tensors

BY = By("cli")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return bases.resolve("tiny", tmp_path_factory.mktemp("home"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return good(tmp_path / "adapter")


class Importer:
    """Imports, and proves as the next server would; `audits` leaves that out."""

    def __init__(self, database: Database, home: Path, base: Base) -> None:
        self.database, self.home, self.base = database, home, base

    def __call__(self, folder: Path, **given: Any) -> Imported:
        target = {"tenant": "acme", "brand": "luxe", "promote": False, "max_rank": 32, "by": BY, **given}
        done = imported.take_in(self.database, self.home, folder, self.base, **target)
        if done.pending:
            self.prove(done.version.name)
            done = replace(done, live=True, pending=False)
        return done

    def prove(self, name: str, problem: str | None = None) -> None:
        with self.database.write() as session:
            proving.settle(session, name, Verdict(problem, {"tokens": 1}), BY)

    def audits(self) -> list[tuple[str, str]]:
        with self.database.read() as session:
            rows = session.query(Audit).filter(Audit.action != "proved").order_by(Audit.seq)
            return [(row.action, row.object) for row in rows]

    def rollout(self) -> Rollout | None:
        with self.database.read() as session:
            return rollout.find(session, "acme", "luxe", "tiny")

    def answering(self) -> str | None:
        with self.database.read() as session:
            found = resolve.version_for(session, "acme", "luxe", self.base)
            return found.name if found else None

    def left(self) -> list[Path]:
        return list((self.home / "imports").iterdir())


@pytest.fixture
def take_in(database: Database, tmp_path: Path, base: Base) -> Importer:
    return Importer(database, tmp_path / "home", base)


@pytest.fixture
def trained(publish_one: Publish, base: Base) -> str:
    """The brand's live version, made for the base that is served."""
    hashes = {
        "base_config_sha256": base.config_sha256,
        "base_weights_sha256": base.weights_sha256,
        "template_sha256": base.template_sha256,
    }
    return publish_one(**hashes).name


def test_an_import_is_a_version_that_passes_the_check_of_our_own(
    take_in: Importer, adapter: Path, base: Base
) -> None:
    renamed(lambda name: name.removeprefix("base_model.model."))(adapter)
    done = take_in(adapter)
    row = done.version
    assert row.name == f"ft:tiny:acme:luxe:{row.sha256[:8]}"
    assert (row.job_id, row.step, row.base) == (None, None, "tiny")
    folder = publish.folder(take_in.home, row.sha256)
    admit(folder, base, max_rank=32, expected_sha256=row.sha256)
    manifest = Manifest.model_validate(row.manifest)
    assert manifest == Manifest.model_validate_json((folder / "manifest.json").read_text())
    assert (manifest.source, manifest.job_id, manifest.training_sha256) == ("imported", None, None)
    assert manifest.received_sha256 == content_digest(adapter)
    assert "another beginning" in done.ready.repairs[0]
    assert take_in.left() == []


def test_what_was_given_stays_as_it_was(take_in: Importer, adapter: Path) -> None:
    renamed(lambda name: f"base_model.model.{name}")(adapter)
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}
    take_in(adapter)
    assert {path.name: path.read_bytes() for path in adapter.iterdir()} == before


def test_the_same_files_twice_are_one_version_and_one_audit_row(take_in: Importer, adapter: Path) -> None:
    first, again = take_in(adapter), take_in(adapter)
    assert again.version.name == first.version.name
    assert again.version.seq == first.version.seq
    assert (first.live, again.live) == (True, True)
    assert take_in.audits() == [("import", f"version:{first.version.name}"), ("arrived", "rollout:tiny:luxe")]


def test_the_same_files_at_the_same_moment_are_one_version(take_in: Importer, adapter: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        names = {done.version.name for done in pool.map(lambda _: take_in(adapter), range(8))}
    assert len(names) == 1
    assert len(take_in.audits()) == 2
    assert len(list((take_in.home / "adapters").iterdir())) == 1
    assert take_in.left() == []


def test_a_brand_that_has_nothing_live_answers_with_its_first_import(
    take_in: Importer, adapter: Path
) -> None:
    done = take_in(adapter)
    assert done.live
    assert take_in.answering() == done.version.name


def test_a_live_version_stays_live_until_a_promotion(take_in: Importer, trained: str, adapter: Path) -> None:
    done = take_in(adapter)
    assert not done.live
    assert take_in.answering() == trained
    promoted = take_in(adapter, promote=True)
    assert promoted.live
    assert promoted.version.name == done.version.name == take_in.answering()
    row = take_in.rollout()
    assert row is not None
    assert (row.live, row.previous) == (done.version.name, trained)


def test_what_was_promoted_or_rolled_back_since_is_not_undone_by_the_same_import(
    take_in: Importer, database: Database, adapter: Path, tmp_path: Path
) -> None:
    first = take_in(adapter)
    second = take_in(random_adapter(tmp_path / "other", seed=2, rank=8), promote=True)
    again = take_in(adapter)
    assert (first.live, second.live, again.live) == (True, True, False)
    assert take_in.answering() == second.version.name


def test_a_paused_brand_keeps_what_it_has_but_for_a_promotion(
    take_in: Importer, database: Database, trained: str, adapter: Path
) -> None:
    with database.write() as session:
        row = rollout.find(session, "acme", "luxe", "tiny")
        assert row is not None
        rollout.pause(session, row, BY)
    assert not take_in(adapter).live
    row = take_in.rollout()
    assert row is not None
    assert (row.live, row.candidate) == (trained, None)
    assert take_in(adapter, promote=True).live


def test_a_retired_brand_stays_out_of_service_but_for_a_promotion(
    take_in: Importer, database: Database, trained: str, adapter: Path
) -> None:
    with database.write() as session:
        row = rollout.find(session, "acme", "luxe", "tiny")
        assert row is not None
        rollout.retire(session, row, BY)
    assert not take_in(adapter).live
    assert take_in.answering() is None
    assert take_in(adapter, promote=True).live


def test_a_live_version_of_an_older_base_gives_way(
    take_in: Importer, publish_one: Publish, adapter: Path
) -> None:
    """Its own base was changed under the slug: it cannot answer, so the brand has nothing live."""
    publish_one()
    done = take_in(adapter)
    assert done.live
    row = take_in.rollout()
    assert row is not None
    assert row.live == done.version.name


def test_a_deleted_version_comes_back_by_the_same_import(
    take_in: Importer, database: Database, adapter: Path, tmp_path: Path
) -> None:
    first = take_in(adapter)
    take_in(random_adapter(tmp_path / "other", seed=2, rank=8), promote=True)
    with database.write() as session:
        row = session.get(Version, first.version.seq)
        assert row is not None
        row.deleted_at = 5
        assert publish.unused(session, 10) == [row.sha256]
    shutil.rmtree(publish.folder(take_in.home, first.version.sha256))  # what the sweep does after a day
    again = take_in(adapter)
    assert (again.version.name, again.version.deleted_at, again.live) == (first.version.name, None, False)
    assert (publish.folder(take_in.home, first.version.sha256) / WEIGHTS).is_file()
    assert take_in.audits()[-1][0] == "import"


def test_two_tenants_with_the_same_files_have_two_names_for_one_folder(
    take_in: Importer, adapter: Path
) -> None:
    ours, theirs = take_in(adapter), take_in(adapter, tenant="rival")
    assert ours.version.sha256 == theirs.version.sha256
    assert theirs.version.name == ours.version.name.replace("acme", "rival")


@pytest.mark.parametrize(
    ("given", "param"),
    [({"tenant": "nobody"}, "tenant"), ({"brand": "a b"}, "brand"), ({"brand": ""}, "brand"),
     ({"brand": "tiny"}, "brand"), ({"brand": "../x"}, "brand"), ({"brand": "x" * 65}, "brand")],
)  # fmt: skip
def test_a_version_that_cannot_be_named_is_refused_before_any_work(
    take_in: Importer, adapter: Path, given: dict[str, str], param: str
) -> None:
    with pytest.raises(NotImported) as caught:
        take_in(adapter, **given)
    assert caught.value.param == param
    assert not take_in.home.exists()


def test_a_refused_adapter_leaves_nothing(take_in: Importer, adapter: Path) -> None:
    config(use_dora=True)(adapter)
    with pytest.raises(Refused) as caught:
        take_in(adapter)
    assert caught.value.code == Code.DORA
    assert take_in.left() == []
    assert not (take_in.home / "adapters").exists()
    assert take_in.audits() == []


def test_a_full_disk_leaves_nothing(
    take_in: Importer, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        take_in(adapter)
    assert take_in.left() == []
    assert not (take_in.home / "adapters").exists()


def test_a_version_from_another_home_is_held_to_its_manifest(
    take_in: Importer, adapter: Path, base: Base
) -> None:
    describe(adapter, base)
    done = take_in(adapter)
    assert "manifest.json is left out" in done.ready.repairs[0]
    text = (adapter / "manifest.json").read_text()
    (adapter / "manifest.json").write_text(text.replace(base.weights_sha256, "0" * 64))
    with pytest.raises(Refused) as caught:
        take_in(adapter)
    assert caught.value.code == Code.OTHER_BASE


def test_a_name_that_another_version_has_is_not_given_away(
    take_in: Importer, database: Database, adapter: Path
) -> None:
    """Eight digits of a digest can be made to be equal."""
    first = take_in(adapter)
    with database.write() as session:
        row = session.get(Version, first.version.seq)
        assert row is not None
        row.sha256 = f"{row.sha256[:8]}{'0' * 56}"
    with pytest.raises(NotImported, match="is taken by another version"):
        take_in(adapter)


def test_files_that_were_swept_in_between_are_not_recorded(
    take_in: Importer, database: Database, adapter: Path, base: Base
) -> None:
    ready = imported.prepare(take_in.home, adapter, base, max_rank=32)
    shutil.rmtree(publish.folder(take_in.home, ready.sha256))
    with pytest.raises(NotImported, match="import it again"), database.write() as session:
        imported.record(session, take_in.home, ready, base, tenant="acme", brand="luxe", promote=False, by=BY)
    assert take_in.answering() is None


def test_the_largest_rank_of_a_pattern_is_what_the_manifest_plans_with(
    take_in: Importer, adapter: Path
) -> None:
    uniform = take_in(adapter).version
    assert "max_rank" not in uniform.manifest

    def higher(found: dict[str, Any]) -> None:
        for name, tensor in list(found.items()):
            if "q_proj" in name:
                found[name] = tensor.repeat(*((3, 1) if "lora_A" in name else (1, 3)))

    config(rank_pattern={"q_proj": 24})(adapter)
    tensors(higher)(adapter)
    row = take_in(adapter).version
    assert (row.manifest["rank"], row.manifest["max_rank"]) == (8, 24)


def test_what_a_kill_left_goes_after_a_day(take_in: Importer, adapter: Path) -> None:
    root = take_in.home / "imports"
    for name, age in (("old", imported.DRAFT_SECONDS + 60), ("young", 60)):
        (root / name).mkdir(parents=True)
        (root / name / CONFIG).touch()
        os.utime(root / name, times=(time.time() - age,) * 2)
    take_in(adapter)
    assert [path.name for path in take_in.left()] == ["young"]


def test_the_files_of_a_refused_import_stay_where_a_row_names_them(take_in: Importer, adapter: Path) -> None:
    done = take_in(adapter)
    files = publish.folder(take_in.home, done.version.sha256)
    with take_in.database.write() as session:
        imported.discard(session, take_in.home, done.version.sha256)
        assert files.exists()
        session.execute(delete(Version))
        imported.discard(session, take_in.home, done.version.sha256)
    assert not files.exists()
