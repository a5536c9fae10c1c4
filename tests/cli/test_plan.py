"""`chorus plan`: what `chorus serve` would take, as a table and as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters import base as bases
from adapters import plan as planning
from adapters.plan import GIB, Load, Machine, Wishes
from cli import plan
from cli.commands import app
from records.settings import LEAST_RANK


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["plan", *arguments])
    assert done.exit_code == status, done.output
    return done.stdout


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def test_it_shows_the_choice_its_reasons_and_its_costs() -> None:
    said = run("--memory", "24")
    for words in ("max_loras", "max_cpu_loras", "max_lora_rank", "KV cache", "No version is registered"):
        assert words in said
    assert "it is set" not in said


def test_what_is_set_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_MAX_LORAS", "5")
    assert run("--memory", "24").count("it is set") == 1
    assert json.loads(run("--memory", "24", "--json"))["max_loras"] == 5


def test_places_that_are_raised_to_the_slots_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_MAX_LORAS", "8")
    monkeypatch.setenv("CHORUS_MAX_CPU_LORAS", "4")
    assert "4 is set: as many as slots, and two, at least" in run("--memory", "24")


def test_as_json_it_is_what_a_plan_says(tmp_path: Path) -> None:
    said = json.loads(run("--memory", "8", "--json"))
    base = bases.resolve("tiny", tmp_path)
    assert said["max_lora_rank"] == LEAST_RANK
    assert said["fits"] is True
    assert base.slug == "tiny"


def test_a_machine_that_is_too_small_is_an_exit_status_and_a_row() -> None:
    assert "it does not fit" in run("--memory", "0.5", status=1)


def test_the_log_line_of_a_start_says_what_is_not_served() -> None:
    machine, load = Machine(24 * GIB, 2, GIB), Load(10**8, 10**5, {64: 3, 8: 1})
    said = plan.line(planning.choose(machine, load, Wishes(max_lora_rank=32)))
    assert re.match(r"16 slots, \d+ adapters in memory, rank 32 at most; ", said)
    assert said.endswith("3 versions have a larger rank and are not served")


def test_the_log_line_of_a_start_says_what_to_set_where_it_may_not_fit() -> None:
    tight = planning.choose(Machine(4 * GIB, 2, GIB), Load(10**8, 10**5, {}), Wishes(max_cpu_loras=5000))
    assert "that may not fit in 0.0 MB: set CHORUS_MAX_CPU_LORAS or CHORUS_MAX_LORAS lower" in plan.line(
        tight
    )
