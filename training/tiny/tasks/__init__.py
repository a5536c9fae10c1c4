"""The mixtures of the rounds: every task with its share of the conversations."""

from collections.abc import Callable
from random import Random

from training.tiny.conversation import Conversation
from training.tiny.tasks import copying, fields, letters, reading, shaping, support, talking

Mixture = tuple[tuple[Callable[[Random], Conversation], float], ...]

FIRST: Mixture = (
    (support.make, 0.40),
    (copying.make, 0.14),
    (fields.make, 0.16),
    (reading.make, 0.10),
    (shaping.make, 0.12),
    (talking.make, 0.08),
)
SECOND: Mixture = (
    (letters.complete_support, 0.28),
    (letters.make, 0.24),
    (copying.make, 0.09),
    (fields.make, 0.17),
    (reading.make, 0.08),
    (shaping.make, 0.08),
    (talking.make, 0.06),
)
LAST: Mixture = (
    (letters.complete_support, 0.22),
    (letters.make, 0.14),
    (letters.last, 0.24),
    (copying.make, 0.09),
    (fields.make, 0.13),
    (reading.make, 0.06),
    (shaping.make, 0.07),
    (talking.make, 0.05),
)
