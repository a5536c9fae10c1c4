"""`chorus adapters`: what was found or imported and 0, or `code: what to do` on stderr and 1."""

from __future__ import annotations

import json
import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from adapters import proving
from adapters.proof import Verdict
from bench.adapters import random_adapter
from records import tenants
from records.audit import By
from records.database import Database
from records.settings import Settings
from tests.adapters.spoil import config, flip, renamed
from tests.cli.test_commands import chorus


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


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of one tenant, `acme`."""
    home = tmp_path / "home"
    database = Database(Settings(home=home).url)
    database.prepare()
    with database.write() as session:
        tenants.create(session, "acme")
    database.close()
    return home


def take_in(adapter: Path, *options: str, cwd: Path) -> CompletedProcess[str]:
    target = ("--tenant", "acme", "--brand", "luxe", "--home", "home")
    return chorus("adapters", "import", str(adapter), *target, *options, cwd=cwd)


def prove(home: Path, name: str, problem: str | None = None) -> None:
    """What a server does once it sees the version."""
    database = Database(Settings(home=home).url)
    with database.write() as session:
        assert proving.settle(session, name, Verdict(problem, {"tokens": 1}), By("server"))
    database.close()


def test_an_import_prints_its_name_and_what_was_repaired(adapter: Path, home: Path, tmp_path: Path) -> None:
    renamed(lambda name: name.removeprefix("base_model.model."))(adapter)
    done = take_in(adapter, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    name, repair, live = done.stdout.splitlines()
    assert name.startswith("ft:tiny:acme:luxe:")
    assert repair.startswith("repaired: 70 tensor names had another beginning")
    assert live == "It goes live for brand 'luxe' once a server has proven it."
    said = json.loads(take_in(adapter, "--json", cwd=tmp_path).stdout)
    assert (said["imported"], said["id"], said["live"], said["pending"]) == (True, name, False, True)
    assert said["repairs"] == [repair.removeprefix("repaired: ")]


def test_an_import_says_how_to_promote_it(adapter: Path, home: Path, tmp_path: Path) -> None:
    take_in(adapter, cwd=tmp_path)
    other = random_adapter(tmp_path / "other", seed=2, rank=8)
    name, said = take_in(other, cwd=tmp_path).stdout.splitlines()
    found = re.search("`chorus (brands promote .*)`", said)
    assert found is not None
    assert name in found[1]
    done = chorus(*found[1].split(), "--home", "home", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "It goes live for brand 'luxe'" in take_in(adapter, "--promote", cwd=tmp_path).stdout
    prove(home, name)
    assert "It is live for brand 'luxe'." in take_in(other, "--promote", cwd=tmp_path).stdout


def test_an_import_that_an_engine_has_refuted_is_refused_with_a_sentence(
    adapter: Path, home: Path, tmp_path: Path
) -> None:
    name, _ = take_in(adapter, cwd=tmp_path).stdout.splitlines()
    prove(home, name, problem="the engine answers as without it")
    done = take_in(adapter, "--promote", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the engine answers as without it. Use another version." in " ".join(done.stderr.split())


def test_an_import_that_is_refused_has_its_code(adapter: Path, home: Path, tmp_path: Path) -> None:
    config(use_dora=True)(adapter)
    done = take_in(adapter, "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "dora: use_dora is set; train it again with use_dora=False.\n"
    said = json.loads(done.stdout)
    assert (said["imported"], said["code"]) == (False, "dora")


def test_an_import_for_nobody_is_refused_with_a_sentence(adapter: Path, home: Path, tmp_path: Path) -> None:
    done = take_in(adapter, "--tenant", "nobody", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no tenant 'nobody'" in done.stderr


def test_a_versions_card_is_printed_to_its_tenant_only(adapter: Path, home: Path, tmp_path: Path) -> None:
    name = take_in(adapter, cwd=tmp_path).stdout.splitlines()[0]
    shown = chorus("adapters", "card", name, "--tenant", "acme", "--home", "home", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"\n# {name}\n" in shown.stdout
    assert "trained elsewhere and imported" in shown.stdout
    nobodys = chorus("adapters", "card", name, "--tenant", "rival", "--home", "home", cwd=tmp_path)
    assert (nobodys.returncode, nobodys.stdout) == (2, "")
    assert "'rival' has no version or brand" in nobodys.stderr
