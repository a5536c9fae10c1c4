from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.engine import openmp


@pytest.mark.parametrize("places", ["0 2 3", "{0,2,3}", "granularity=fine,explicit,proclist=[0,2,3]"])
def test_cpus_are_read_in_each_of_the_spellings_of_vllm(places: str) -> None:
    assert openmp.listed(places) == [0, 2, 3]


def test_the_openmp_of_torch_is_found_without_torch() -> None:
    code = "import sys; from server.engine import openmp; print(openmp.preloaded(''), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    library, imported = said.split()
    assert Path(library.split(":")[-1]).is_file()
    assert "libgomp" in library
    assert imported == "False"


def test_what_the_user_preloads_stays_the_only_openmp() -> None:
    assert "libgomp" not in openmp.preloaded("/opt/libiomp5.so")
    assert "/opt/libiomp5.so" in openmp.preloaded("/opt/libiomp5.so")


def test_variables_of_vllm_are_taken_on_after_the_libraries_were_loaded() -> None:
    """As if each thread had been bound when libgomp was loaded; in a process that has one from the start."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    code = f"""
import os, torch
from server.engine import openmp
cpus = {cpus}
wanted = {{"OMP_NUM_THREADS": str(len(cpus)), "GOMP_CPU_AFFINITY": " ".join(map(str, cpus))}}
openmp.take_on({{}}, wanted)
assert torch.get_num_threads() == len(cpus)
places = [sorted(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")]
assert all([cpu] in places for cpu in cpus), places
torch.ones(1000, 1000).sum()
assert len(os.listdir("/proc/self/task")) == len(places)  # in those threads, and in no others
"""
    environment = {**os.environ, "LD_PRELOAD": openmp.preloaded(""), "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_variables_that_were_there_when_the_libraries_were_loaded_change_nothing() -> None:
    before = os.sched_getaffinity(0)
    openmp.take_on({"GOMP_CPU_AFFINITY": "0"}, {"GOMP_CPU_AFFINITY": "0"})
    assert os.sched_getaffinity(0) == before
