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


def built(compiler: list[str], program: Path) -> Path:
    """With the flags of the install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (module,) = project["tool"]["setuptools"]["ext-modules"]
    flags = [*module["extra-compile-args"], *module["extra-link-args"]]
    native = (ROOT / module["sources"][0]).parent
    command = [*compiler, *flags, f"-I{native}", HARNESS, "-o", program, "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return program


def said(command: list[str | Path]) -> list[str]:
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "LD_PRELOAD": ""}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
    return ran.stdout.splitlines()


def test_the_kernel_multiplies_right_on_aarch64(tmp_path: Path) -> None:
    program = built(["aarch64-linux-gnu-gcc", "-static"], tmp_path / "harness")
    assert said(["qemu-aarch64", program]) == [f"generic {number}" for number in NUMBERS]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: torch multiplies here")
def test_the_kernels_of_this_machine_read_and_write_only_what_is_theirs(tmp_path: Path) -> None:
    program = built(
        ["cc", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"], tmp_path / "harness"
    )
    assert said([program]) == [
        f"{kernel} {number}" for kernel in lora_kernels.kernels() for number in NUMBERS
    ]
