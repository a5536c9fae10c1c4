"""The check of a large upload in a process of its own says what the check in the server says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from records import check_file, dataset

GOOD = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}'


@pytest.mark.parametrize("content", [b"", GOOD, GOOD + b"\n\n" + GOOD + b"\n{", b"{\n" * 9, b"x" * 5_000_000])
def test_both_checks_say_the_same(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    apart = subprocess.run(
        [sys.executable, "-m", "records.check_file", str(file)], capture_output=True, check=True
    )
    with file.open("rb") as stream:
        good, bad = check_file.check(stream)
    assert json.loads(apart.stdout) == {"good": good, "bad": bad}


def test_a_line_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"x" * (3 * dataset.MAX_LINE_BYTES))
    with file.open("rb") as stream:
        assert check_file.check(stream) == (0, ["Line 1: longer than 4194304 bytes; split the conversation."])
        assert stream.tell() < 2 * dataset.MAX_LINE_BYTES
