"""`python -m cli.worker_process PARENT`: the worker of `chorus serve`, tied to that process."""

from __future__ import annotations

import sys

from cli import options
from records.processes import die_with
from training.worker import main

if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    settings = options.read()
    options.open_database(settings)
    main(settings)
