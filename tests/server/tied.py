"""What server/engine/preload.py does before all that takes long, for a forkserver of tests."""

import os

from records.processes import die_with

PID = os.getpid()
die_with(os.getppid())
