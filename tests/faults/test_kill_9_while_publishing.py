"""kill -9 just before each system call that changes the disk, from the first to the last of a publication."""

from __future__ import annotations

import signal

from records.models import SUCCEEDED, Job, Version
from tests.faults.home import Home, strikes


def test_kill_9_at_every_step_of_an_import(home: Home) -> None:
    whole = home.take_in()
    assert whole.status == 0, home.stage.said()
    home.check_done(versions=1)
    steps = strikes(whole)
    assert len(steps) > 30
    for at in steps:
        home.renew()
        assert home.take_in(at).status == -signal.SIGKILL, at
        home.check()
        assert home.take_in().status == 0, home.stage.said()
        home.check_done(versions=1)
        assert [action for action, _ in home.audits()].count("import") == 1


def test_kill_9_at_every_step_of_a_jobs_publication(home: Home) -> None:
    whole = home.work()
    assert whole.status == 0, home.stage.said()
    home.check_done(versions=2)
    steps = strikes(whole)
    assert len(steps) > 30
    for at in steps:
        home.renew()
        assert home.work(at).status == -signal.SIGKILL, at
        home.check()
        if home.all(Job)[-1].status != SUCCEEDED:
            assert home.work().status == 0, home.stage.said()
        home.check_done(versions=2)
        assert home.messages().count("The job has successfully completed") == 2
        final = [row for row in home.all(Version) if row.step is None]
        assert [row.job_id for row in final] == [job.id for job in home.all(Job)]
