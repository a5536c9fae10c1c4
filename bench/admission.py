"""The admission check on the tests' corpus of bad adapters: how many it refuses, and what a refusal costs.

Seconds are the processor's, so that other work on the machine does not count; the baseline is a good adapter.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from adapters import base as bases
from bench import options, report
from tests.adapters import bad_adapters, meter
from tests.adapters.bad_adapters import BAD, Made

SHOWN = 5


def main() -> None:
    given = options.parser(__doc__, "every fifth adapter").parse_args()
    names = list(BAD)[:: 5 if given.quick else 1]
    with tempfile.TemporaryDirectory() as place:
        base = bases.resolve("tiny", Path(place))
        template = bad_adapters.good(Path(place) / "good")
        made = [bad_adapters.make(name, template, Path(place) / str(n), base) for n, name in enumerate(names)]
        # Twice the good one: what is loaded on first use is neither the baseline's time nor a refusal's.
        _, good, *taken = meter.measure(base.path, [Made(template, None), Made(template, None), *made])
    slowest = sorted(zip(names, taken, strict=True), key=lambda pair: -pair[1].seconds)
    rows = [(name, each.code, f"{each.seconds:.3f}") for name, each in slowest[:SHOWN]]
    rows += [("a good adapter", good.code, f"{good.seconds:.3f}")]
    report.show("The slowest refusals", ("adapter", "code", "CPU, s"), rows)
    for name, each in slowest:
        if each.code != BAD[name].code:
            print(f"{name}: {each.code}, expected {BAD[name].code.value}", flush=True)
    report.end(
        {
            "slowest_s": slowest[0][1].seconds,
            "slowest_ratio": slowest[0][1].seconds / good.seconds,
            "peak_mb": (taken[-1].peak_bytes - good.peak_bytes) / 1e6,  # more than for a good one
            "unrefused": sum(each.code != BAD[name].code for name, each in slowest),
            "refused": sum(each.code == BAD[name].code for name, each in slowest),
            "corpus": len(names),
        }
    )


if __name__ == "__main__":
    main()
