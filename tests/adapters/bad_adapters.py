"""The corpus of bad adapters: each is a good one, spoiled in one way, with the code that refuses it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from adapters.base import Base
from adapters.content import content_digest
from adapters.manifest import FILE, Manifest
from bench.adapters import random_adapter
from tests.adapters.bad_configs import CONFIGS
from tests.adapters.bad_files import FILES
from tests.adapters.bad_weights import WEIGHT_FILES

BAD = {**FILES, **CONFIGS, **WEIGHT_FILES}
RANK = 8
MODULES = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


@dataclass(frozen=True)
class Made:
    """`sha256`: the content before it was spoiled, of an own version."""

    folder: Path
    sha256: str | None


def good(folder: Path) -> Path:
    return random_adapter(folder, seed=7, rank=RANK)


def describe(folder: Path, base: Base) -> Manifest:
    """Make it one of our own: the manifest that training would write."""
    made = Manifest(
        base=base.slug,
        base_config_sha256=base.config_sha256,
        base_weights_sha256=base.weights_sha256,
        template_sha256=base.template_sha256,
        rank=RANK,
        alpha=float(RANK),
        target_modules=MODULES,
        job_id="ftjob-acme",
        step=10,
        seed=1,
        training_sha256="0" * 64,
        code_version="test",
    )
    (folder / FILE).write_text(made.model_dump_json(indent=2))
    return made


def make(name: str, template: Path, target: Path, base: Base) -> Made:
    """A copy of `template` (from `good`), spoiled as `name` says."""
    bad = BAD[name]
    shutil.copytree(template, target)
    sha256 = None
    if bad.own:
        describe(target, base)
        sha256 = content_digest(target)
    bad.spoil(target)
    return Made(target, sha256)
