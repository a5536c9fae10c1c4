"""A tied process ends with its parent, also when that is killed; what computes has its variables."""

from __future__ import annotations

import subprocess
import sys

import pytest

from records.processes import VARIABLES, computing
from records.settings import Settings
from tests.patience import PATIENCE
from training.process import environment

CHILD = (
    "import os, time; from records.processes import die_with;"
    "die_with(os.getppid()); print('tied', flush=True); time.sleep(3600)"
)
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def test_a_tied_process_does_not_outlive_a_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "tied\n"
    parent.kill()
    said, _ = parent.communicate(timeout=PATIENCE)
    assert said == "", "the pipe closes when the child, its last writer, is gone"


def test_a_process_whose_parent_is_already_gone_ends_at_once() -> None:
    code = "from records.processes import die_with; die_with(1 << 30); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (-9, b"")


def test_a_job_computes_with_variables_that_the_user_may_set_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert VARIABLES.items() <= environment(Settings()).items()
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert environment(Settings())["OMP_WAIT_POLICY"] == "ACTIVE"
    assert computing({"A": "b"}) == VARIABLES | {"A": "b"}
