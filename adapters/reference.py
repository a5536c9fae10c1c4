"""The names of versions: `ft:<base>:<tenant>:<brand>:<8 hex>[:ckpt-step-<n>]`, OpenAI's form without `/`."""

from __future__ import annotations

import re
from dataclasses import dataclass

BRAND = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_NAME = re.compile(
    r"ft:(?P<base>[^:/]+):(?P<tenant>[^:/]+):(?P<brand>[^:/]*):(?P<digest>[0-9a-f]{8})(?::ckpt-step-(?P<step>\d{1,12}))?"
)


@dataclass(frozen=True)
class Reference:
    """A version's name in parts; `digest` is the start of its sha256, `step` is set for a checkpoint."""

    base: str
    tenant: str
    brand: str
    digest: str
    step: int | None = None

    def __str__(self) -> str:
        name = f"ft:{self.base}:{self.tenant}:{self.brand}:{self.digest[:8]}"
        return name if self.step is None else f"{name}:ckpt-step-{self.step}"

    @classmethod
    def parse(cls, name: str) -> Reference | None:
        """None when `name` is no version's name."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        step = match["step"]
        return cls(
            match["base"], match["tenant"], match["brand"], match["digest"], int(step) if step else None
        )
