"""The numbers of an adapter, read once from beginning to end in small pieces, hashed on the way.

Called by check.py after the shapes fit, so that the size of the file is known to be right. Read, not mapped:
a file that is cut while it is mapped kills the process.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from adapters.manifest import WEIGHTS
from adapters.refused import Code, Refused
from adapters.safetensors_header import Header, Tensor
from adapters.shapes import Pair

PIECE = 1 << 20  # bytes, a multiple of every item's size
# AdamW moves a number by at most about its learning rate per step, so 100,000 steps at 5e-4 reach 50; both
# factors begin below 1. 1024 is far beyond that, and far within float16 (65,504), also after the engine has
# multiplied lora_B with the scaling.
MAX_VALUE = 1024.0
# No entry of scaling * B @ A above this: the weights it is added to are about 0.01, bf16 steps there 4e-5.
MIN_EFFECT = 1e-9


@dataclass(frozen=True)
class Values:
    """The largest magnitude in each tensor by name (infinite for NaN too), and the sha256 of the file."""

    peaks: Mapping[str, float]
    sha256: str


def measure(file: BinaryIO, header: Header) -> Values:
    """Read the whole of `file`. Raises Refused when it has become shorter, OSError from the disk."""
    file.seek(0)
    digest = hashlib.sha256(file.read(header.data))
    peaks = {tensor.name: _peak(file, tensor, digest) for tensor in header.tensors}
    return Values(peaks, digest.hexdigest())


def judge(peaks: Mapping[str, float], pairs: Sequence[Pair]) -> list[str]:
    """Warnings. Raises Refused for numbers that no training ends with, and when they change nothing."""
    for name, peak in peaks.items():
        if not math.isfinite(peak):
            raise Refused(Code.NOT_FINITE, f"{name} holds NaN or infinity")
    for pair in pairs:
        for name, peak in ((pair.a, peaks[pair.a]), (pair.b, peaks[pair.b] * max(1.0, pair.scaling))):
            if peak > MAX_VALUE:
                raise Refused(Code.OUT_OF_BOUNDS, f"{name} reaches {peak:.3g}, {MAX_VALUE:g} at most")
    idle = [pair for pair in pairs if pair.scaling * pair.rank * peaks[pair.a] * peaks[pair.b] < MIN_EFFECT]
    if len(idle) == len(pairs):
        raise Refused(Code.NO_EFFECT, "lora_A or lora_B is zero in every layer")
    return (
        [f"{len(idle)} of {len(pairs)} adapted layers have no effect, {idle[0].module} first"] if idle else []
    )


def _peak(file: BinaryIO, tensor: Tensor, digest: hashlib._Hash) -> float:
    """Magnitudes of floats are ordered as their bits without the sign are, with NaN and infinity on top."""
    wide = tensor.dtype == "F32"
    bits, mask = ("<u4", np.uint32(0x7FFFFFFF)) if wide else ("<u2", np.uint16(0x7FFF))
    highest, left = 0, tensor.end - tensor.start
    while left:
        piece = file.read(min(PIECE, left))
        if len(piece) % mask.nbytes or not piece:
            raise Refused(Code.TRUNCATED, f"{WEIGHTS} has become shorter while it was read")
        digest.update(piece)
        highest = max(highest, int(np.bitwise_and(np.frombuffer(piece, bits), mask).max()))
        left -= len(piece)
    return _magnitude(highest, tensor.dtype)


def _magnitude(bits: int, dtype: str) -> float:
    made: NDArray[np.float16] | NDArray[np.float32]
    if dtype == "F16":
        made = np.array([bits], "<u2").view("<f2")
    else:
        made = np.array([bits << 16 if dtype == "BF16" else bits], "<u4").view("<f4")
    value = float(made[0])
    return value if math.isfinite(value) else math.inf
