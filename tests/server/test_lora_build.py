"""The kernels in a program of their own, against float64: for aarch64, emulated, and with sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from server.engine import lora_kernels

ROOT = Path(__file__).parents[2]
HARNESS = Path(__file__).with_name("lora_harness.c")
NUMBERS = ("bf16", "float32")


# At -O3 they take five times as long to compile.
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover")


def built(compiler: str, program: Path, *more: str) -> Path:
    """With the flags of the install, and these."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (module,) = project["tool"]["setuptools"]["ext-modules"]
    flags = [*module["extra-compile-args"], *module["extra-link-args"], *more]
    native = (ROOT / module["sources"][0]).parent
    command = [compiler, *flags, f"-I{native}", HARNESS, "-o", program, "-lm"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    return program


def said(command: list[str | Path]) -> list[str]:
    # Threads that wait for each other on cores that are busy with other tests do so asleep.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "ASAN_OPTIONS": "detect_leaks=0"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
    return ran.stdout.splitlines()


def test_the_kernel_multiplies_right_on_aarch64(tmp_path: Path) -> None:
    program = built("aarch64-linux-gnu-gcc", tmp_path / "harness", "-static")
    assert said(["qemu-aarch64", program]) == [f"generic {number}" for number in NUMBERS]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: torch multiplies here")
def test_the_kernels_of_this_machine_read_and_write_only_what_is_theirs(tmp_path: Path) -> None:
    program = built("cc", tmp_path / "harness", *SANITIZED)
    assert said([program]) == [
        f"{kernel} {number}" for kernel in lora_kernels.kernels() for number in NUMBERS
    ]
