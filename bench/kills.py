"""200 random kill -9 over 50 short jobs with two workers: what is lost, doubled, half there or wrong.

The processes are real, the base and the data very small; five jobs are cancelled, some paused. Each
result is compared with that of an undisturbed job of the same data and seed.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench import options, report
from records import jobs
from tests.faults.check_queue import check
from tests.faults.trial import Trial

JOBS, KILLS, SEED = 50, 200, 20261123
FAULTS = ("lost_events", "doubled_versions", "half_files", "not_ended", "wrong_losses")


def main() -> None:
    parser = options.parser(__doc__, "20 kills over 6 jobs")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    count, kills = (6, 20) if given.quick else (JOBS, KILLS)
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Trial(Path(folder), count, given.seed)) as trial,
    ):
        trial.run(kills, lambda text: print(text, flush=True))
        found = check(trial)
        seconds = time.monotonic() - began
        ends = [trial.place.job(job).status for job in trial.jobs]
        again = sum("taken up again" in text for job in trial.jobs for text in trial.place.messages(job))
    for text in found.what:
        print(text, flush=True)
    rows = [
        ("jobs that succeeded", str(ends.count(jobs.SUCCEEDED))),
        ("jobs that were cancelled", str(ends.count(jobs.CANCELLED))),
        ("kills of a worker", str(trial.kills["worker"])),
        ("kills of a job's process", str(trial.kills["job"])),
        ("jobs paused and resumed", str(trial.paused)),
        ("attempts that went on from a state", str(again)),
        *((name.replace("_", " "), str(found.counts[name])) for name in FAULTS),
        ("seconds", f"{seconds:.0f}"),
    ]
    report.show("kill -9 at random moments", ("what", "how many"), rows)
    faults = {name: found.counts[name] for name in FAULTS}
    report.end({"jobs": count, "kills": sum(trial.kills.values()), **faults})


if __name__ == "__main__":
    main()
