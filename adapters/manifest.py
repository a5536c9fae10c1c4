"""What training says to serving about a version: the only words between the two."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from adapters.base import Base

FILE = "manifest.json"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


class Manifest(BaseModel):
    """Lies in the version's folder and in its row; part of what the version's sha256 covers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    base: str
    base_config_sha256: str
    base_weights_sha256: str
    template_sha256: str
    rank: int
    alpha: float
    target_modules: list[str]
    job_id: str
    step: int
    seed: int
    training_sha256: str
    validation_sha256: str | None
    hyperparameters: dict[str, Any]
    metrics: dict[str, float]
    code_version: str

    def fits(self, base: Base) -> str | None:
        """None when the version was made for this very `base`, else a sentence that says what differs."""
        ours = (base.config_sha256, base.weights_sha256, base.template_sha256)
        theirs = (self.base_config_sha256, self.base_weights_sha256, self.template_sha256)
        for what, mine, its in zip(("configuration", "weights", "chat template"), ours, theirs, strict=True):
            if mine != its:
                return (
                    f"It was trained on base model {self.base!r}, whose {what} differs from the "
                    f"{base.slug!r} that is served here; train it again on this base."
                )
        return None
