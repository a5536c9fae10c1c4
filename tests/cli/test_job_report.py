"""`chorus jobs report` and `chorus brands gate` on the rows themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from adapters import rollout
from cli.commands import app
from records import evaluations, jobs, tenants
from records.database import Database
from records.models import Job
from records.settings import Settings
from server.evaluation.verdict import verdict
from tests.server.evaluation.test_figures import asked

BRAND = ("brands", "gate", "luxe", "--tenant", "acme")


class Shell:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = Database(Settings(home=home).url)
        self.database.prepare()
        with self.database.write() as session:
            tenants.create(session, "acme")

    def __call__(self, *words: str) -> Result:
        where = [*words, "--home", str(self.home)]
        return CliRunner().invoke(app, where, env={"COLUMNS": "200"})

    def evaluated(self) -> str:
        """A job whose version beats the base, as its evaluation says."""
        row = Job(
            id="ftjob-1", tenant="acme", brand="luxe", model="tiny", status=jobs.RUNNING, created_at=1,
            training_file="file-1", seed=1, requested={}, hyperparameters={}, result_files=[],
            request_sha256="0" * 64,
        )  # fmt: skip
        cases = [
            {"id": f"file-1:{k}", "question": "Where?", "reference": "Here", "characters": 4}
            for k in range(20)
        ]
        everybody = asked([1.0] * 20, base=[0.0] * 20)
        results: dict[str, Any] = {
            "cases": cases, "left_out": 0, "instruction": None, "graders": [], "scores": ["fields"],
            "subjects": everybody, "verdict": verdict(everybody), "regressions": None, "gate": None,
        }  # fmt: skip
        with self.database.write() as session:
            jobs.add(session, row)
            evaluations.ask(session, row, "b" * 64, {"gate": None, "live": None}, "i" * 64)
            claimed = evaluations.claim(session, "b" * 64, "server", 60)
            assert claimed is not None
            evaluations.finish(session, claimed[1], results)
        return row.id


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_report_is_shown_and_its_page_and_json_are_written(shell: Shell) -> None:
    page = shell.home / "report.html"
    job_id = shell.evaluated()
    shown = shell("jobs", "report", "--tenant", "acme", job_id, "--html", str(page))
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("Worth it\nOn 20 held-out examples")
    assert "few shot base │ left out" in " ".join(shown.output.split())
    assert page.read_text().startswith("<!doctype html>")
    assert "://" not in page.read_text()  # nothing from elsewhere
    found = json.loads(shell("jobs", "report", "--tenant", "acme", job_id, "--json").output)
    assert found["verdict"]["worth_it"] is True


def test_a_job_that_is_not_there_ends_with_a_sentence(shell: Shell) -> None:
    shown = shell("jobs", "report", "--tenant", "acme", "ftjob-none")
    assert shown.exit_code == 2
    assert "has no such job: 'ftjob-none'" in shown.output


def test_a_gate_is_read_from_a_file_and_removed(shell: Shell) -> None:
    file = shell.home / "gate.json"
    file.write_text('{"thresholds": {"score": 0.8}}')
    shown = shell(*BRAND, "--base", "tiny", "--file", str(file))
    assert shown.exit_code == 0, shown.output
    assert "go live if they pass the gate" in shown.output
    assert '{"thresholds": {"score": 0.8}}' in shown.output
    assert "removed" not in shown.output
    shown = shell(*BRAND, "--remove")
    assert shown.exit_code == 0, shown.output
    with shell.database.read() as session:
        row = rollout.find(session, "acme", "luxe", "tiny")
        assert row is not None
        assert row.gate is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Give --file FILE, or --remove."),
        (("--file", "none.json"), "cannot be read as JSON"),
        (("--remove",), "has 0 bases"),
        (("--remove", "--base", "tiny"), "has no such brand"),
    ],
)
def test_what_a_gate_lacks_is_said(shell: Shell, words: tuple[str, ...], said: str) -> None:
    shown = shell(*BRAND, *words)
    assert shown.exit_code == 2
    assert said in " ".join(shown.output.split())


def test_a_gate_at_fault_names_the_field(shell: Shell) -> None:
    file = shell.home / "gate.json"
    file.write_text('{"thresholds": {"taste": 0.8}}')
    shown = shell(*BRAND, "--base", "tiny", "--file", str(file))
    assert shown.exit_code == 2
    assert "There is no grader 'taste' here" in " ".join(shown.output.split())
