"""A share of right answers with what it rests on: how many were asked, and its 95% interval."""

from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964  # of a normal distribution: 95% lie within


@dataclass(frozen=True)
class Share:
    """`right` of `asked`; half a right answer counts as half."""

    right: float
    asked: int

    @property
    def value(self) -> float:
        """From 0 to 1; 0 when nothing was asked."""
        return round(self.right / self.asked, 4) if self.asked else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """By E. B. Wilson's score (J. Am. Stat. Assoc. 22, 1927); not of width 0 when all are right."""
        if not self.asked:
            return 0.0, 1.0
        share, shift = self.right / self.asked, Z * Z / self.asked
        middle = (share + shift / 2) / (1 + shift)
        half = Z / (1 + shift) * (share * (1 - share) / self.asked + shift / (4 * self.asked)) ** 0.5
        return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


def share(scores: Sequence[float]) -> Share:
    """Of verdicts, or of scores from 0 to 1, one for each that was asked."""
    return Share(sum(scores), len(scores))
