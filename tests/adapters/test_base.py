"""The base model: found, named and hashed, so that an adapter can tell whether it is its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adapters import base
from adapters.base import BaseNotFound
from tests.adapters.conftest import BASE, manifest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "Some.Model-7B"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_folder_is_a_base_with_a_slug_of_its_name(model: Path, tmp_path: Path) -> None:
    found = base.resolve(str(model), tmp_path)
    assert found.slug == "some.model-7b"
    assert found.is_named("some.model-7b")
    assert found.is_named(str(model))
    assert not found.is_named("Some.Model-7B")
    assert not found.is_named("")


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("config.json", "config_sha256"),
        ("model.safetensors", "weights_sha256"),
        ("tokenizer.json", "template_sha256"),
        ("chat_template.jinja", "template_sha256"),
    ],
)
def test_each_part_has_its_own_hash(model: Path, tmp_path: Path, file: str, changed: str) -> None:
    before = base.resolve(str(model), tmp_path)
    (model / file).write_text("another content")
    after = base.resolve(str(model), tmp_path)
    assert replace(before, **{changed: getattr(after, changed)}) == after
    assert getattr(before, changed) != getattr(after, changed)


def test_the_hash_of_unchanged_weights_is_remembered(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = base.resolve(str(model), tmp_path)
    known = json.loads((tmp_path / "base-hashes.json").read_text())
    assert list(known.values()) == [before.weights_sha256]
    (tmp_path / "base-hashes.json").write_text(json.dumps(dict.fromkeys(known, "5" * 64)))
    assert base.resolve(str(model), tmp_path).weights_sha256 == "5" * 64


@pytest.mark.parametrize(
    "left", [b"", b'{"a": "', b"\x00" * 90, b"\xff", b"[]", b"null", b"[" * 100_000, b"one value is no hash"]
)
def test_a_damaged_memory_of_hashes_is_an_empty_one_and_is_mended(
    model: Path, tmp_path: Path, left: bytes
) -> None:
    whole = base.resolve(str(model), tmp_path)
    memory = tmp_path / "base-hashes.json"
    good = memory.read_bytes()
    memory.write_bytes(left if b"value" not in left else good.replace(whole.weights_sha256.encode(), b""))
    assert base.resolve(str(model), tmp_path) == whole
    assert memory.read_bytes() == good
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Some.Model-7B", "base-hashes.json"]


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_model_is_refused_with_what_is_missing(
    model: Path, tmp_path: Path, missing: str
) -> None:
    (model / missing).unlink()
    with pytest.raises(BaseNotFound, match=r"config\.json|safetensors"):
        base.resolve(str(model), tmp_path)


def test_a_glance_finds_the_same_base_and_neither_hashes_nor_writes(model: Path, tmp_path: Path) -> None:
    seen = base.glance(str(model))
    assert not (tmp_path / "base-hashes.json").exists()
    found = base.resolve(str(model), tmp_path)
    assert (seen.slug, seen.path, seen.source) == (found.slug, found.path, found.source)
    with pytest.raises(BaseNotFound):
        base.glance(str(tmp_path / "none"))


def test_tiny_ships_with_the_project(tmp_path: Path) -> None:
    found = base.resolve("tiny", tmp_path)
    assert found.slug == "tiny"
    assert sum(file.stat().st_size for file in found.path.glob("*.safetensors")) <= 12_000_000


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("config_sha256", "configuration"),
        ("weights_sha256", "weights"),
        ("template_sha256", "chat template"),
    ],
)
def test_a_version_fits_its_own_base_and_says_why_it_fits_no_other(changed: str, said: str) -> None:
    assert manifest().fits(BASE) is None
    problem = manifest().fits(replace(BASE, **{changed: "0" * 64}))
    assert problem is not None
    assert said in problem
