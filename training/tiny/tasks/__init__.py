"""The mixture: every task with its share of the conversations."""

from collections.abc import Callable
from random import Random

from training.tiny.conversation import Conversation
from training.tiny.tasks import copying, fields, reading, shaping, support, talking

Mixture = tuple[tuple[Callable[[Random], Conversation], float], ...]

MIXTURE: Mixture = (
    (support.make, 0.42),
    (copying.make, 0.08),
    (fields.make, 0.21),
    (reading.make, 0.08),
    (shaping.make, 0.15),
    (talking.make, 0.06),
)
