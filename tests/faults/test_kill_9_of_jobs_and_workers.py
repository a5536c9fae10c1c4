"""kill -9 of workers and of jobs' processes at random moments. `python -m bench.kills` is the long trial."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.faults.check_queue import check
from tests.faults.trial import Trial

SEED = 4


def test_12_kills_over_4_jobs_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    with closing(Trial(tmp_path, count=4, seed=SEED)) as trial:
        trial.run(kills=12, said=print)
        assert sum(trial.kills.values()) == 12
        assert check(trial).what == []
