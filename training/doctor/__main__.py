"""`python -m training.doctor --base PATH --sha256 HEX --parent PID ...`: keeps an upload's report.

The server runs it beside its streams, so it steps aside for everybody.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from records.processes import die_with

NICENESS = 19


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Keeps the report of an uploaded training file.")
    parser.add_argument("--home", required=True)
    parser.add_argument("--base", required=True, help="folder of the base model")
    parser.add_argument("--slug", required=True, help="what clients call it")
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--parent", required=True, type=int, help="this process dies when that one does")
    options = parser.parse_args()
    die_with(options.parent)
    os.nice(NICENESS)
    # Only now the seconds of imports: before, a killed server would leave this process behind.
    from adapters import base as bases
    from training.doctor.examine import open_base
    from training.doctor.kept import report_of

    home = Path(options.home)
    base = replace(bases.resolve(options.base, home), slug=options.slug)
    report_of(home, base, *open_base(base), options.sha256)


if __name__ == "__main__":
    main()
