"""What the doctor says of a file. It names lines and kinds, and never shows what stands in an example, but
for labels and keys that many rows share."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from records.reports import FORMAT

SHOWN_LINES = 20
SHOWN_ERRORS = 100


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Severity(StrEnum):
    """`error`: a job refuses the file. `warning`: the result suffers. `note`: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Kind(StrEnum):
    TOO_FEW = "too_few"
    ENOUGH = "enough"
    MORE_THAN_NEEDED = "more_than_needed"
    CONTRADICTORY = "contradictory"


class Finding(_Frozen):
    """`count` rows, of which `lines` are the first; the message says what to do about them."""

    code: str
    severity: Severity
    message: str
    count: int
    lines: tuple[int, ...]


class LineError(_Frozen):
    line: int
    problem: str


class Spread(_Frozen):
    """Of a figure that each row has; `total` is over the rows examined."""

    min: int
    median: int
    p95: int
    max: int
    total: int


class Tokens(_Frozen):
    """In tokens of the base's own tokenizer and template, before truncation at `limit` per sequence."""

    limit: int
    per_example: Spread
    supervised: Spread
    truncated: int
    truncated_lines: tuple[int, ...]


class Counts(_Frozen):
    """`examined` is less than `rows` where the file was so large that a sample had to do; `distinct` and all
    findings but unusable lines are then of the sample."""

    rows: int
    unusable: int
    examined: int
    distinct: int
    validation: int | None


class Verdict(_Frozen):
    """`reasons`: one sentence each, with the figures."""

    kind: Kind
    reasons: tuple[str, ...]


class Report(_Frozen):
    """`errors` are the first SHOWN_ERRORS unusable lines of the training file, each with its problem."""

    format: int = FORMAT
    base: str
    counts: Counts
    tokens: Tokens | None
    errors: tuple[LineError, ...]
    findings: tuple[Finding, ...]
    verdict: Verdict

    def of(self, severity: Severity) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity is severity]

    @property
    def has_errors(self) -> bool:
        return bool(self.of(Severity.ERROR))

    def brief(self) -> str:
        """The verdict and the warnings in a few lines, for an event."""
        said = [f"Data check: {self.verdict.kind.replace('_', ' ')}.", *self.verdict.reasons]
        return " ".join(
            [*said, *(found.message for found in self.findings if found.severity is not Severity.NOTE)]
        )

    def by_code(self) -> dict[str, int]:
        return {finding.code: finding.count for finding in self.findings}
