"""`python -m training.quote --base PATH --order JSON --parent PID ...`: keeps the measurement of an order.

The server runs it beside its streams, so it steps aside for everybody.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

from records.processes import die_with

NICENESS = 19


def main() -> None:
    """The command line."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description="Measures what a fine-tuning job would take.")
    parser.add_argument("--home", required=True)
    parser.add_argument("--base", required=True, help="folder of the base model")
    parser.add_argument("--slug", required=True, help="what clients call it")
    parser.add_argument("--order", required=True, help="records.quotes.Order as JSON")
    parser.add_argument("--parent", required=True, type=int, help="this process dies when that one does")
    options = parser.parse_args()
    die_with(options.parent)
    os.nice(NICENESS)
    # Only now the seconds of imports: before, a killed server would leave this process behind.
    from adapters import base as bases
    from adapters import publish
    from records.blobs import Blobs
    from records.quotes import Order
    from records.reports import write
    from training.quote.make import make

    home, order = Path(options.home), Order.model_validate_json(options.order)
    base = replace(bases.resolve(options.base, home), slug=options.slug)
    files = [order.training_sha256, *([order.validation_sha256] if order.validation_sha256 else [])]
    measured = make(
        base,
        order,
        *map(Blobs(home).path, files),
        parent=publish.folder(home, order.parent_sha256) if order.parent_sha256 else None,
        began=began,
    )
    write(order.path(home, base.weights_sha256), measured.model_dump_json().encode())


if __name__ == "__main__":
    main()
