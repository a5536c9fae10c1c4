"""What training, or an import, says to serving about a version: the only words between the two."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.base import Base

FILE = "manifest.json"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
NF4: Final = "nf4"  # bitsandbytes' name of it
OF_TRAINING = ("job_id", "step", "seed", "training_sha256", "code_version")


def _is_empty(value: object) -> bool:
    return not value


class Manifest(BaseModel):
    """Lies in the version's folder and in its row; part of what the version's sha256 covers.

    Of an import the training is not known: what OF_TRAINING names is None, and `received_sha256` is the
    content address (content.py) of the files as they came, before a repair. Nothing in it changes from one
    import of the same files to the next, nor from one release to the next: a younger field that is empty is
    not written. `parents` are the versions that training went on from, name to sha256; `data` counts what was
    learnt from; `base_quantization` is how training held the base's linear layers, where it was not as they
    are served; `max_rank` is the largest of the layers' ranks, where a rank_pattern makes it another than
    `rank`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    source: Literal["trained", "imported"] = "trained"
    base: str
    base_config_sha256: str
    base_weights_sha256: str
    base_quantization: Literal["nf4"] | None = Field(default=None, exclude_if=_is_empty)
    template_sha256: str
    rank: int
    max_rank: int | None = Field(default=None, exclude_if=_is_empty)
    alpha: float
    target_modules: list[str]
    method: str | None = Field(default=None, exclude_if=_is_empty)
    parents: dict[str, str] = Field(default={}, exclude_if=_is_empty)
    job_id: str | None = None
    step: int | None = None
    seed: int | None = None
    training_sha256: str | None = None
    validation_sha256: str | None = None
    data: dict[str, int] = Field(default={}, exclude_if=_is_empty)
    hyperparameters: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    code_version: str | None = None
    received_sha256: str | None = None

    @model_validator(mode="after")
    def _says_where_it_is_from(self) -> Manifest:
        trained = self.source == "trained"
        for name in OF_TRAINING:
            if (getattr(self, name) is None) == trained:
                raise ValueError(f"{name} does not go with the source {self.source!r}")
        if (self.received_sha256 is None) != trained:
            raise ValueError(f"received_sha256 does not go with the source {self.source!r}")
        return self

    @property
    def served_rank(self) -> int:
        """What the engine's largest rank must be for it."""
        return self.max_rank or self.rank

    def fits(self, base: Base) -> str | None:
        """None when the version was made for this very `base`, else a sentence that says what differs."""
        theirs = {
            "configuration": self.base_config_sha256,
            "weights": self.base_weights_sha256,
            "chat template": self.template_sha256,
        }
        what = base.differs(theirs)
        if what is None:
            return None
        came = "trained on" if self.source == "trained" else "imported for"
        return (
            f"It was {came} base model {self.base!r}, whose {what} differs from the {base.slug!r} that is "
            "served here; train it again on this base."
        )
