"""`chorus serve` that cannot: it ends with a sentence, and says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def chorus(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command, given = [sys.executable, "-m", "cli.main", *arguments], {**os.environ, **variables}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("flags", "named"), [(["--max-model-len", "x"], "--max-model-len"), (["--max-lora-r", "8"], "in full")]
)
def test_a_flag_that_vllm_does_not_take_ends_the_server(flags: list[str], named: str, tmp_path: Path) -> None:
    done = chorus("serve", "--home", str(tmp_path), "--port", "0", "--no-worker", "--", *flags)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert named in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["serve", "plan"])
def test_a_cache_that_is_no_number_is_named(command: str, tmp_path: Path) -> None:
    done = chorus(command, "--home", str(tmp_path), VLLM_CPU_KVCACHE_SPACE="much")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "VLLM_CPU_KVCACHE_SPACE takes a whole number of GiB, not 'much'." in done.stderr
