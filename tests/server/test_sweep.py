"""A deleted version leaves the disk when no engine can hold it any more, and nothing else does."""

from __future__ import annotations

from pathlib import Path

from adapters import publish
from records.models import PAUSED, RUNNING, SUCCEEDED, Job, Version
from server.sweep import DRAIN_SECONDS, sweep
from tests.server.conftest import Running


def folder(server: Running, name: str) -> Path:
    with server.house.database.read() as session:
        sha256 = session.query(Version.sha256).filter(Version.name == name).scalar()
    return publish.folder(server.house.settings.home, sha256)


def delete(server: Running, name: str, seconds_ago: float = DRAIN_SECONDS + 60) -> None:
    assert server.client().models.delete(name).deleted
    with server.house.database.write() as session:
        row = session.query(Version).filter(Version.name == name).one()
        assert row.deleted_at is not None
        row.deleted_at -= int(seconds_ago)


def clean(server: Running) -> None:
    sweep(server.house.database, server.house.blobs, server.house.settings.home)


def test_the_folder_of_a_deleted_version_goes_after_a_day(server: Running) -> None:
    gone, fresh, kept = (server.publish("luxe", seed=seed) for seed in range(3))
    folders = [folder(server, name) for name in (gone, fresh, kept)]
    delete(server, gone)
    delete(server, fresh, seconds_ago=60)
    clean(server)
    assert [path.exists() for path in folders] == [False, True, True]
    clean(server)


def test_a_folder_that_another_version_shares_stays(server: Running) -> None:
    older, live = server.publish("luxe", seed=1), server.publish("luxe", seed=2)
    with server.house.database.write() as session:
        row = session.query(Version).filter(Version.name == older).one()
        twin = {"name": f"{older}:ckpt-step-1", "step": 1, "sha256": row.sha256}
        same = {
            key: getattr(row, key) for key in ("tenant", "brand", "base", "job_id", "created_at", "manifest")
        }
        session.add(Version(**same, **twin))
    path = folder(server, older)
    delete(server, older)
    clean(server)
    assert path.exists()
    delete(server, f"{older}:ckpt-step-1")
    clean(server)
    assert not path.exists()
    assert folder(server, live).exists()


def test_the_folder_of_an_unfinished_jobs_checkpoint_stays(server: Running) -> None:
    checkpoint = server.publish("luxe", seed=1, step=5)
    path = folder(server, checkpoint)
    delete(server, checkpoint)
    for status, there in ((RUNNING, True), (PAUSED, True), (SUCCEEDED, False)):
        with server.house.database.write() as session:
            session.query(Job).update({"status": status})
        clean(server)
        assert path.exists() == there
