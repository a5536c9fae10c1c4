"""Run the benches one after another, keep what each found, and write docs/benchmarks.md from what is kept.

A bench that fails is kept as failed, and the others go on; the exit status is then 1. With --quick the
figures are tries: they are printed, and neither replace what was measured nor get into the document.
"""

from __future__ import annotations

import sys

from bench import document, options, report, runner, runs
from bench.catalogue import BENCHES
from bench.figures import flat
from bench.servers import DEVICES


def main(words: list[str] | None = None) -> int:
    names = [bench.name for bench in BENCHES]
    parser = options.parser(__doc__, "most rounds")
    parser.prog = "python -m bench"
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=", ".join(names))
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="where engines compute")
    parser.add_argument("--base", help="a base of your own, for the benches that start servers")
    parser.add_argument("--write", action="store_true", help="run nothing, only write the document again")
    given = parser.parse_args(words)
    elsewhere = given.device != "cpu" or given.base
    chosen = [bench for bench in BENCHES if bench.name in (given.only or names)]
    if given.only and elsewhere and (fixed := [bench.name for bench in chosen if not bench.serving]):
        parser.error(f"{', '.join(fixed)} cannot be run with --device or --base: no server is started there")
    done = []
    for bench in [] if given.write else chosen:
        if elsewhere and not bench.serving:
            continue
        print(f"== {bench.name}: {bench.title}", flush=True)
        run = runner.run(bench, quick=given.quick, device=given.device, base=given.base, cpu=given.cpu)
        runs.save(run)
        done.append(run)
        if not given.quick:  # after each, so that what was measured is shown if this is stopped
            document.write(BENCHES, runs.load())
    if given.write:
        document.write(BENCHES, runs.load())
    if done:
        show(done)
    return 1 if any(run.failed for run in done) else 0


def show(done: list[runs.Run]) -> None:
    rows = []
    for run in done:
        (bench,) = (bench for bench in BENCHES if bench.name == run.bench)
        values = dict(flat(run.figures or {}))
        if run.failed:
            rows.append((run.bench, "", run.failed, "", ""))
        for figure in bench.figures:
            if figure.key in values:
                value = values[figure.key]
                bar = str(figure.bar(run.kind))
                held = "" if not bar else "yes" if figure.bar(run.kind).held(value) else "no"
                rows.append((run.bench, figure.key, document.number(value), bar, held))
    tried = any(run.quick for run in done)
    title = "Tries with --quick: no measurement" if tried else "Measured, and kept in docs/benchmarks"
    report.show(title, ("bench", "figure", "value", "bar", "held"), rows)


if __name__ == "__main__":
    sys.exit(main())
