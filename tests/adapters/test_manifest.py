"""The manifest says what is known of a version's training, and nothing that is not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adapters.manifest import OF_TRAINING, Manifest
from tests.adapters.conftest import BASE, manifest

OF_AN_IMPORT: dict[str, Any] = {
    "source": "imported",
    **dict.fromkeys(OF_TRAINING),
    "received_sha256": "5" * 64,
}


def test_a_manifest_from_before_there_were_imports_is_read_as_trained() -> None:
    old = manifest().model_dump(mode="json", exclude={"source", "received_sha256"})
    assert Manifest.model_validate(old) == manifest()
    assert manifest().source == "trained"


def test_a_younger_field_that_is_empty_is_not_written() -> None:
    """The same import is the same bytes, and so the same version, before and after an upgrade."""
    written = manifest(**OF_AN_IMPORT).model_dump_json()
    assert "parents" not in written
    assert "method" not in written
    trained = manifest(method="dpo", parents={"ft:tiny:acme:luxe:01234567": "0" * 64})
    assert Manifest.model_validate_json(trained.model_dump_json()) == trained


@pytest.mark.parametrize("name", OF_TRAINING)
def test_a_trained_version_knows_its_training_and_an_import_does_not(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} does not go with the source 'trained'"):
        manifest(**{name: None})
    known = getattr(manifest(), name)
    with pytest.raises(ValidationError, match=f"{name} does not go with the source 'imported'"):
        manifest(**{**OF_AN_IMPORT, name: known})


def test_an_import_says_what_came_in() -> None:
    assert manifest(**OF_AN_IMPORT).received_sha256 == "5" * 64
    with pytest.raises(ValidationError, match="received_sha256"):
        manifest(**OF_AN_IMPORT | {"received_sha256": None})
    with pytest.raises(ValidationError, match="received_sha256"):
        manifest(received_sha256="5" * 64)


def test_what_fits_no_longer_is_said_by_where_it_came_from() -> None:
    assert manifest().fits(BASE) is None
    trained = manifest(base_weights_sha256="0" * 64).fits(BASE)
    imported = manifest(**OF_AN_IMPORT, base_weights_sha256="0" * 64).fits(BASE)
    assert trained is not None
    assert imported is not None
    assert trained.startswith("It was trained on base model 'tiny', whose weights")
    assert imported.startswith("It was imported for base model 'tiny', whose weights")
