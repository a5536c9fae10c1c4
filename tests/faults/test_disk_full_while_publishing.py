"""A full disk: the work is refused or put off with words that say so, and succeeds once there is room.

First as the kernel would report it from each call on (tracer.py), then on a small disk of its own, where the
rights suffice to mount one.
"""

from __future__ import annotations

import os
import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from records.models import FAILED, SUCCEEDED, Job, Version
from tests.faults.home import Home, strikes
from tests.faults.stage import Stage, may_mount
from tests.faults.tracer import TAKES_SPACE, Ended, Point
from training.process import FULL

SAID = re.compile(r"disk is full")
MAKE = ("openat", "ftruncate")
UNSURE = re.compile(r"disk is full|has its disk room")


def taking_space(ended: Ended) -> list[Point]:
    names = {call.at: call.name for call in ended.calls}
    found = [at for at in strikes(ended) if names[at] in TAKES_SPACE]
    assert len(found) > 10
    return found


def test_disk_full_from_any_step_of_an_import_on(home: Home) -> None:
    whole = home.take_in()
    assert whole.status == 0, home.stage.said()
    # SQLite does not tell why it cannot make a file.
    making = [at for name, path, at in whole.calls if "db-" in path and name in MAKE]
    for at in taking_space(whole):
        home.renew()
        struck = home.take_in(at, full=True)
        home.check()
        if struck.status != 0:
            assert struck.status == 2, home.stage.said()
            assert (UNSURE if at <= making[-1] else SAID).search(home.stage.said()), at
            assert "Traceback" not in home.stage.said()
            assert len(home.all(Version)) == len(home.before)
            assert not list((home.path / "imports").glob("*"))
            assert home.take_in().status == 0, home.stage.said()
        home.check_done(versions=1)


def test_disk_full_from_any_step_of_a_jobs_publication_on(home: Home) -> None:
    whole = home.work()
    assert whole.status == 0, home.stage.said()
    for at in taking_space(whole):
        home.renew()
        struck = home.work(at, full=True)
        home.check()
        if home.all(Job)[-1].status != SUCCEEDED:
            assert struck.status == FULL, home.stage.said()
            assert "disk is full, its operator must make room" in home.messages()[-1]
            assert not list((home.path / "jobs").glob("*/*-1*")), "what was begun takes no room"
            assert home.work().status == 0, home.stage.said()
        home.check_done(versions=2)


SIZE = 16 << 20
ROOM = [0, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 8 << 20]  # bytes


class Disk:
    """A real disk: `place` as the stage sees it, `path` as we do."""

    def __init__(self, place: Path, stage: Stage) -> None:
        self.place, self.path = place, stage.mount(place, SIZE)

    def leave(self, room: int) -> None:
        found = os.statvfs(self.path)
        with (self.path / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, found.f_bavail * found.f_frsize - room)

    def free(self) -> None:
        (self.path / "filler").unlink()


@pytest.fixture
def disk(stage: Stage, tmp_path: Path) -> Disk:
    if not may_mount():
        pytest.skip("no disk can be mounted here; the tests above report a full one from every call on")
    (tmp_path / "disk").mkdir()
    return Disk(tmp_path / "disk", stage)


def test_a_small_disk_that_an_import_fills_up(home: Home, disk: Disk) -> None:
    """Rows and versions are on it."""
    ends = []
    for room in ROOM:
        home.renew()
        shutil.copytree(home.path, disk.path / "home")
        disk.leave(room)
        ends.append(home.take_in(place=disk.place / "home").status)
        assert (ends[-1] == 0) != bool(UNSURE.search(home.stage.said())), home.stage.said()
        disk.free()
        shutil.rmtree(home.path)
        shutil.move(disk.path / "home", home.path)
        home.check()
        assert home.take_in().status == 0, home.stage.said()
        home.check_done(versions=1)
    assert (ends[0], ends[-1]) == (2, 0)


def test_a_job_that_a_small_disk_has_no_room_for_is_refused_before_it_trains(
    template: Path, stage: Stage, disk: Disk, tmp_path: Path
) -> None:
    """Files and versions are on it, the rows elsewhere."""
    home = Home(disk.path / "home", stage, template, rows=tmp_path / "rows.db")
    ends = []
    for room in ROOM:
        home.renew()
        assert home.work(begin=partial(disk.leave, room)).status == 0, stage.said()
        disk.free()
        home.check()
        job = home.all(Job)[-1]
        ends.append(job.status)
        if job.status == SUCCEEDED:
            home.check_done(versions=2)
        else:
            assert job.error["code"] == "not_enough_disk", job.error
            assert f"{room / 1e6:.1f} MB are free" in job.error["message"]
            assert len(home.all(Version)) == len(home.before)
            assert not list((home.path / "jobs").glob("*/draft-*"))
    assert (ends[0], ends[-1]) == (FAILED, SUCCEEDED)
