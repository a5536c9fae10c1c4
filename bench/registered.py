"""Many brands, each with a live version of its own, put straight into a home that no server uses yet."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from adapters import base as bases
from adapters import publish, rollout
from adapters.base import Base
from adapters.content import content_digest
from adapters.manifest import CONFIG, WEIGHTS, Manifest
from bench.adapters import random_adapter
from records import settings
from records.audit import By
from records.database import Database

RANK = 16
TENANT = "bench"


def brand(number: int) -> str:
    return f"brand-{number:04d}"


def register(home: Path, source: Path, count: int) -> None:
    """`count` brands of the tenant `bench`, which is there: real adapters of rank RANK on all linear layers
    of the base in the folder `source`, bf16, each with other bytes."""
    base, database = bases.resolve(str(source), home), Database(settings.load(home=home).url)
    with tempfile.TemporaryDirectory(dir=home) as place:
        pattern = random_adapter(Path(place) / "pattern", 1, RANK, base=base.path, dtype=torch.bfloat16)
        tensors, config = load_file(pattern / WEIGHTS), (pattern / CONFIG).read_bytes()
        manifest = _manifest(base, json.loads(config), content_digest(pattern))
        for number in range(count):
            draft = Path(place) / "draft"
            draft.mkdir()
            (draft / CONFIG).write_bytes(config)
            # Columns of A moved round: other weights, of the same size of effect, without drawing them anew.
            moved = {
                name: tensor.roll(1 + number, 1) if ".lora_A." in name else tensor
                for name, tensor in tensors.items()
            }
            save_file(moved, draft / WEIGHTS)
            sha256 = publish.store(home, draft, manifest)
            with database.write() as session:
                row = publish.record(
                    session, manifest, sha256, tenant=TENANT, brand=brand(number), checkpoint=False
                )
                row.proved_at = 1
                rollout.arrived(session, row, By("bench"))
    database.close()


def _manifest(base: Base, config: dict[str, Any], received: str) -> Manifest:
    return Manifest(
        source="imported",
        base=base.slug,
        base_config_sha256=base.config_sha256,
        base_weights_sha256=base.weights_sha256,
        template_sha256=base.template_sha256,
        rank=config["r"],
        alpha=config["lora_alpha"],
        target_modules=sorted(config["target_modules"]),
        received_sha256=received,
    )
