"""`chorus adapters check`: a table or JSON and 0, or `code: what to do` on stderr and 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adapters.spoil import config, flip
from tests.cli.test_commands import chorus
from tests.made_adapters import random_adapter


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return random_adapter(tmp_path / "adapter", seed=1, rank=8)


def test_a_good_adapter_is_described_to_people_and_to_scripts(adapter: Path, tmp_path: Path) -> None:
    people = chorus("adapters", "check", str(adapter), cwd=tmp_path)
    assert people.returncode == 0, people.stderr
    scripts = chorus("adapters", "check", str(adapter), "--base", "tiny", "--json", cwd=tmp_path)
    found = json.loads(scripts.stdout)
    assert found["admitted"] is True
    assert (found["rank"], found["tensors"], found["warnings"]) == (8, 70, [])
    assert "q_proj" in people.stdout
    assert found["content_sha256"] in people.stdout


def test_a_bad_adapter_is_refused_with_its_code(adapter: Path, tmp_path: Path) -> None:
    config(use_dora=True)(adapter)
    people = chorus("adapters", "check", str(adapter), cwd=tmp_path)
    assert (people.returncode, people.stdout) == (1, "")
    assert people.stderr == "dora: use_dora is set; train it again with use_dora=False.\n"
    scripts = chorus("adapters", "check", str(adapter), "--json", cwd=tmp_path)
    assert scripts.returncode == 1
    assert json.loads(scripts.stdout)["code"] == "dora"


def test_the_name_of_a_versions_folder_is_held_to_its_content(adapter: Path, tmp_path: Path) -> None:
    address = json.loads(chorus("adapters", "check", str(adapter), "--json", cwd=tmp_path).stdout)[
        "content_sha256"
    ]
    version = adapter.rename(tmp_path / address)
    assert chorus("adapters", "check", address, cwd=tmp_path).returncode == 0
    flip(version, -4, 0)
    damaged = chorus("adapters", "check", address, cwd=tmp_path)
    assert damaged.returncode == 1
    assert damaged.stderr.startswith("content_changed: ")


def test_a_base_that_is_nowhere_is_said(adapter: Path, tmp_path: Path) -> None:
    done = chorus("adapters", "check", str(adapter), "--base", "no/where", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "no/where" in done.stderr
