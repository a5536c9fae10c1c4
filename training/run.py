"""The process of one attempt at a job: `python -m training.run --job ID --fence N --parent PID`.

Exit status: 0 when the job has ended, GONE when it is no longer ours, FULL when the disk is full; that, and
all else, is a crash, to be tried again by worker.py, which starts it.
"""

from __future__ import annotations

import argparse
import sys
import traceback

from records.disk import is_full
from records.jobs import Lease, LeaseLost
from records.processes import die_with
from records.settings import load
from training.process import FULL, GONE, step_aside


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs one attempt at a fine-tuning job.")
    parser.add_argument("--job", required=True)
    parser.add_argument("--fence", required=True, type=int)
    parser.add_argument("--parent", required=True, type=int, help="this process dies when that one does")
    options = parser.parse_args()
    die_with(options.parent)
    step_aside()
    # Only now the seconds of imports: before, a killed worker would leave this process behind.
    from training.attempt import run

    try:
        run(load(), Lease(options.job, options.fence))
    except LeaseLost:
        sys.exit(GONE)
    except Exception as error:
        if not is_full(error):
            raise
        traceback.print_exc()
        sys.exit(FULL)


if __name__ == "__main__":
    main()
