"""How the kernel's threads share their work: native/share.h, compiled into a program of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from server.engine import lora_native

SHARES = """
#include <stdio.h>
#include "share.h"
int main(void) {  // runs of 56, 8 and 8 units of weight 24, then one of 5 units of weight 100
    const int64_t counts[] = {56, 8, 8, 5}, weights[] = {24, 24, 24, 100};
    for (int threads = 1; threads <= 5; threads++)
        for (int thread = 0; thread < threads; thread++) {
            Share part = share(72 * 24 + 5 * 100, thread, threads);
            for (int run = 0; run < 4; run++) {
                const Units units = mine(&part, counts[run], weights[run]);
                printf("%d %d %d %d %d\\n", threads, thread, run, (int)units.first, (int)units.last);
            }
        }
}
"""


def test_each_unit_is_one_threads_and_none_has_more_than_its_part_and_a_unit(tmp_path: Path) -> None:
    (tmp_path / "shares.c").write_text(SHARES)
    native = Path(lora_native.__file__).parent / "native"
    subprocess.run(["cc", f"-I{native}", tmp_path / "shares.c", "-o", tmp_path / "shares"], check=True)
    said = subprocess.run([tmp_path / "shares"], check=True, capture_output=True, text=True).stdout
    rows = [tuple(map(int, line.split())) for line in said.splitlines()]
    counts, weights = (56, 8, 8, 5), (24, 24, 24, 100)
    for threads in range(1, 6):
        mine = [row[1:] for row in rows if row[0] == threads]
        units = [(run, unit) for _, run, first, last in mine for unit in range(first, last)]
        assert sorted(units) == [(run, unit) for run in range(4) for unit in range(counts[run])]
        for thread in range(threads):
            weight = sum((last - first) * weights[run] for one, run, first, last in mine if one == thread)
            assert weight <= (72 * 24 + 500) / threads + 100
