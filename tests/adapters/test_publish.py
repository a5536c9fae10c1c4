"""Publication: content-addressed, whole or not at all, the same thing twice is one thing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from adapters import publish
from adapters.content import MEMBERS, content_digest
from adapters.manifest import FILE, WEIGHTS, Manifest
from records.database import Database
from records.models import Version
from tests.adapters.conftest import Publish, draft, manifest


def test_the_folder_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    sha256 = publish.store(tmp_path, draft(tmp_path), manifest())
    folder = publish.folder(tmp_path, sha256)
    assert {path.name for path in folder.iterdir()} == set(MEMBERS)
    total = hashlib.sha256()
    for name in MEMBERS:
        total.update(f"{name}\0{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n".encode())
    assert total.hexdigest() == sha256
    assert Manifest.model_validate_json((folder / FILE).read_text()) == manifest()


def test_other_weights_or_another_manifest_are_another_version(tmp_path: Path) -> None:
    stored = {
        publish.store(tmp_path, draft(tmp_path), manifest()),
        publish.store(tmp_path, draft(tmp_path, b"others"), manifest()),
        publish.store(tmp_path, draft(tmp_path), manifest(seed=2)),
    }
    assert len(stored) == 3


def test_storing_twice_is_storing_once(tmp_path: Path) -> None:
    first, second = (publish.store(tmp_path, draft(tmp_path), manifest()) for _ in range(2))
    assert first == second
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == [first]
    assert not list(tmp_path.glob("draft-*"))


def test_storing_again_mends_a_damaged_folder(tmp_path: Path) -> None:
    sha256 = publish.store(tmp_path, draft(tmp_path), manifest())
    for damage in (lambda path: path.write_bytes(b"others!"), lambda path: path.unlink()):
        damage(publish.folder(tmp_path, sha256) / WEIGHTS)
        publish.store(tmp_path, draft(tmp_path), manifest())
        assert content_digest(publish.folder(tmp_path, sha256)) == sha256
        assert not list(tmp_path.glob("draft-*"))


def test_what_does_not_belong_to_a_version_is_not_published(tmp_path: Path) -> None:
    folder = draft(tmp_path)
    (folder / "optimizer.pt").write_bytes(b"pickle")
    sha256 = publish.store(tmp_path, folder, manifest())
    assert not (publish.folder(tmp_path, sha256) / "optimizer.pt").exists()


def test_a_draft_without_weights_publishes_nothing(tmp_path: Path) -> None:
    folder = draft(tmp_path)
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError):
        publish.store(tmp_path, folder, manifest())
    assert not (tmp_path / "adapters").exists()


def test_a_disk_that_fails_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        publish.store(tmp_path, draft(tmp_path), manifest())
    assert not (tmp_path / "adapters").exists()


def test_one_version_is_one_row(database: Database, publish_one: Publish) -> None:
    first, again = publish_one(seed=5), publish_one(seed=5)
    assert first.name == again.name
    with database.read() as session:
        assert session.query(Version).count() == 1


def test_other_content_whose_name_would_be_the_same_is_refused(
    database: Database, publish_one: Publish
) -> None:
    first = publish_one(seed=5)
    other = first.sha256[:8].ljust(64, "0")
    with pytest.raises(publish.NameTaken, match=first.name), database.write() as session:
        publish.record(session, manifest(), other, tenant="acme", brand="luxe", checkpoint=False)
    with database.read() as session:
        assert [row.sha256 for row in session.query(Version)] == [first.sha256]


def test_a_checkpoint_and_the_final_version_of_one_step_are_two_names(publish_one: Publish) -> None:
    final, checkpoint = publish_one(seed=5), publish_one(seed=5, checkpoint=True)
    assert checkpoint.name == f"{final.name}:ckpt-step-10"
    assert checkpoint.sha256 == final.sha256
    assert (final.step, checkpoint.step) == (None, 10)
