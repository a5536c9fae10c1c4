"""The limits of memory that a process finds, in the folders that cgroups(7) describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import container

TOTAL = 1000


@pytest.mark.parametrize(
    ("own", "limits", "memory"),
    [
        ("0::/\n", {"memory.max": "300\n"}, 300),
        ("0::/\n", {"memory.max": "max\n"}, TOTAL),
        ("0::/\n", {"memory.max": "1001\n"}, TOTAL),
        ("0::/\n", {}, TOTAL),
        ("0::/system.slice/chorus.service\n", {"system.slice/chorus.service/memory.max": "400\n"}, 400),
        (
            "0::/system.slice/chorus.service\n",
            {"system.slice/memory.max": "200\n", "system.slice/chorus.service/memory.max": "400\n"},
            200,
        ),
        ("0::/../other\n", {"memory.max": "300\n"}, 300),
        (
            "5:cpu,cpuacct:/one\n4:memory:/one\n0::/\n",
            {"memory/one/memory.limit_in_bytes": "500\n", "cpu/one/memory.limit_in_bytes": "1\n"},
            500,
        ),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, TOTAL),
    ],
)
def test_the_least_limit_of_a_process_and_of_what_it_is_in(
    own: str, limits: dict[str, str], memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in limits.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(container, "OWN", tmp_path / "own")
    monkeypatch.setattr(container, "ROOT", tmp_path / "root")
    assert container.memory(TOTAL) == memory


def test_without_cgroups_there_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "OWN", tmp_path / "none")
    assert container.memory(TOTAL) == TOTAL
