"""Every number of the build, written once. Called by all of the builder."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Recipe(BaseModel):
    """Sizes, seed and schedule; lengths are in tokens, rows and steps are counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 20
    processes: int = 2
    # shape
    vocabulary: int = 3584
    hidden: int = 192
    intermediate: int = 512
    layers: int = 5
    heads: int = 6
    rope_theta: float = 100000.0
    context: int = 2048
    # rows
    batch_tokens: int = 2560
    row_tokens: int = 1024
    block_rows: int = 3000
    block_readings: int = 360
    fact_weight: float = 3.0
    # schedule: warm-up, constant, linear to zero
    steps: int = 5000
    warmup_steps: int = 40
    decay_steps: int = 2400
    matrix_rate: float = 0.015
    vector_rate: float = 0.003
    repeat_every: int = 12
    repeat_rows: int = 24
    # where a long build keeps its state, if anywhere
    checkpoint: Path | None = None
    checkpoint_steps: int = 100
