"""`chorus brands` as an operator uses it: what it changes, what it prints, how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters import proving, rollout
from adapters.proof import Verdict
from cli.commands import app
from records import tenants
from records.audit import By
from records.database import Database
from records.models import Audit, Rollout, Version
from records.settings import Settings


class Shell:
    """Runs `chorus brands ...` in this process on one home; `names` are the versions of `luxe`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = Database(Settings(home=home).url)
        self.database.prepare()
        with self.database.write() as session:
            tenants.create(session, "acme")
        self.names = [self.publish(digest * 8) for digest in "abc"]

    def publish(self, digest: str, base: str = "tiny", proved: bool = True) -> str:
        row = Version(
            name=f"ft:{base}:acme:luxe:{digest}", tenant="acme", brand="luxe", base=base, sha256=digest,
            created_at=1, manifest={}, proved_at=1 if proved else None,
        )  # fmt: skip
        with self.database.write() as session:
            session.add(row)
            rollout.arrived(session, row, By("job:x"))
        return row.name

    def __call__(self, *words: str) -> Result:
        where = ["--home", str(self.home), "--tenant", "acme"]
        return CliRunner().invoke(app, ["brands", words[0], *where, *words[1:]], env={"COLUMNS": "200"})

    def row(self, base: str = "tiny") -> Rollout:
        with self.database.read() as session:
            found = rollout.find(session, "acme", "luxe", base)
        assert found is not None
        return found


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_each_command_makes_its_change_and_shows_the_brand(shell: Shell) -> None:
    first, second, third = shell.names
    for words, part, expected in (
        (["promote", "luxe", first], "live", first),
        (["rollback", "luxe"], "live", third),
        (["canary", "luxe", second, "--share", "0.25"], "share", 0.25),
        (["canary", "luxe", "--share", "0.5"], "share", 0.5),
        (["promote", "luxe"], "live", second),
        (["shadow", "luxe", first], "shadow", first),
        (["shadow", "luxe"], "shadow", None),
        (["pause", "luxe"], "paused", True),
        (["resume", "luxe"], "paused", False),
    ):
        done = shell(*words)
        assert done.exit_code == 0, done.output
        assert getattr(shell.row(), part) == expected, words
        assert str(shell.row().live) in done.stdout
    shell("canary", "luxe", first, "--share", "1")
    assert shell("canary", "luxe").exit_code == 0
    assert shell.row().candidate is None


def test_a_retired_brand_has_nothing_live_until_it_is_rolled_back(shell: Shell) -> None:
    *_, live = shell.names
    done = shell("retire", "luxe")
    assert done.exit_code == 0, done.output
    assert (shell.row().live, shell.row().previous) == (None, live)
    assert "wait as candidate (paused)" in done.stdout
    assert "cccccccc" in shell("list").stdout
    assert shell("rollback", "luxe").exit_code == 0
    assert shell.row().live == live


def test_the_audit_says_that_it_was_the_command_line(shell: Shell) -> None:
    shell("rollback", "luxe")
    with shell.database.read() as session:
        newest = session.query(Audit).order_by(Audit.seq.desc()).first()
    assert newest is not None
    assert (newest.actor, newest.action, newest.request_id) == ("cli", "rollback", None)


def test_list_and_show_tell_what_answers_and_what_was_changed(shell: Shell) -> None:
    first, *_ = shell.names
    shell("canary", "luxe", first, "--share", "0.1")
    listed = shell("list").stdout
    for text in ("luxe", "tiny", "cccccccc", "bbbbbbbb", "aaaaaaaa 10%", "go live"):
        assert text in listed
    shown = shell("show", "luxe").stdout
    for text in (*shell.names, "10% of the requests", "canary", "arrived", "job:x"):
        assert text in shown


def test_what_is_not_proven_waits_for_a_server_and_the_command_says_so(shell: Shell) -> None:
    *_, live = shell.names
    new = shell.publish("d" * 8, proved=False)
    assert (shell.row().live, shell.row().pending) == (live, new)
    assert "cccccccc (soon dddddddd)" in shell("list").stdout
    shell("rollback", "luxe")
    done = shell("promote", "luxe", new)
    assert done.exit_code == 0
    assert f"{new} is not proven yet. A running server that serves tiny proves it" in done.stdout
    assert f"then it goes live by itself; until then {shell.row().live} answers." in done.stdout
    assert "`chorus brands show luxe --tenant acme` shows either" in done.stdout
    assert "pending" in shell("show", "luxe").stdout
    assert "then it goes live" in shell("canary", "luxe", new, "--share", "0.5").stdout
    shell("canary", "luxe")
    assert "not proven" not in shell("promote", "luxe", shell.names[0]).stdout
    assert "then it gets its share" in shell("canary", "luxe", new, "--share", "0.5").stdout
    shell("retire", "luxe")
    assert "until then nobody answers for 'luxe'" in shell("promote", "luxe", new).stdout


def test_show_tells_what_became_of_a_proof(shell: Shell) -> None:
    new = shell.publish("d" * 8, proved=False)
    assert "pending, not proven yet" in shell("show", "luxe").stdout
    with shell.database.write() as session:
        proving.settle(session, new, Verdict("the engine answers as without it", {}), By("server"))
    shown = shell("show", "luxe").stdout
    assert "refuted: the engine answers as without it" in shown
    assert "not proven yet" not in shown


def test_a_list_for_nobody_is_refused_and_a_narrow_one_is_whole(shell: Shell) -> None:
    nobody = CliRunner().invoke(app, ["brands", "list", "--home", str(shell.home), "--tenant", "acne"])
    assert nobody.exit_code == 2
    assert "no tenant 'acne'" in nobody.output
    shell.publish("d" * 8, proved=False)
    where = ["--home", str(shell.home), "--tenant", "acme"]
    listed = CliRunner().invoke(app, ["brands", "list", *where], env={"COLUMNS": "80"}).stdout
    assert "…" not in listed


def test_a_change_that_is_not_allowed_ends_with_a_sentence_and_changes_nothing(shell: Shell) -> None:
    *_, live = shell.names
    for words, said in (
        (["promote", "luxe"], "no candidate"),
        (["promote", "luxe", "ft:none"], "There is no version"),
        (["canary", "luxe", live, "--share", "0.5"], "already"),
        (["canary", "luxe", shell.names[0]], "share"),
        (["canary", "luxe", shell.names[0], "--share", "2"], "--share"),
        (["rollback", "unknown"], "no such brand"),
    ):
        done = shell(*words)
        assert done.exit_code == 2, words
        assert said in done.stderr
        assert "Traceback" not in done.output
    assert shell.row().generation == 3


def test_a_brand_on_two_bases_needs_the_base_to_be_named(shell: Shell) -> None:
    shell.publish("d" * 8, base="large")
    shell.publish("e" * 8, base="large")
    done = shell("rollback", "luxe")
    assert done.exit_code == 2
    assert "--base large or tiny" in done.stderr
    assert shell("rollback", "luxe", "--base", "large").exit_code == 0
    assert "dddddddd" in str(shell.row("large").live)
    assert shell.row().generation == 3
