"""docs/benchmarks.md says what was measured: no more, and nothing else than the kept JSON."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from bench import document, runs
from bench.catalogue import BENCHES
from bench.figures import Bar, Bench, Figure, Plot
from bench.runs import Run

SPEED = Bench(
    "speed",
    "How fast",
    "It says how fast.",
    (
        Figure("ratio", "ours / theirs", most=1.1, on={"avx2": Bar(most=1.3)}),
        Figure("small/gain", "how much", least=2),
        Figure("seen", "n", on={"avx2": Bar(least=1)}),
    ),
    (Plot("speed", "How <fast>", (("ours", "ratio"), ("", "*/gain")), (("theirs", "other"),), " s"),),
    serving=True,
)
RUN = Run(
    bench="speed",
    kind="avx512_bf16",
    forced=None,
    device="cpu",
    base=None,
    quick=False,
    command="python -m bench.speed",
    commit="abc",
    began="2026-11-28T07:18Z",
    seconds=125,
    failed=None,
    figures={"ratio": 1.2, "small": {"gain": 2.5}, "seen": 8709.0, "other": 3.14159},
    machine={"cpu": "EPYC", "cores": "2"},
)


def text(*kept: Run) -> str:
    return document.files([SPEED], kept)["benchmarks.md"]


def test_the_document_in_the_tree_is_what_the_kept_figures_give() -> None:
    made = document.files(BENCHES, runs.load())
    assert {name: (runs.DOCS / name).read_text() for name in made} == made, "run: python -m bench --write"
    pictures = {path.relative_to(runs.DOCS).as_posix() for path in runs.KEPT.rglob("*.svg")}
    assert pictures == set(made) - {"benchmarks.md"}


def test_what_is_kept_in_the_tree_names_no_folder_of_a_machine() -> None:
    for path in (runs.DOCS / "benchmarks.md", *runs.KEPT.rglob("*.json")):
        assert not re.search(r"(?<![\w.:/])/\w+/", path.read_text()), path


def test_a_figure_is_shown_with_its_bar_and_whether_it_held() -> None:
    shown = text(RUN)
    bars = "at most 1.1 / at most 1.3 | **no** / -"
    assert f"| [speed](#speed) | `ratio` | ours / theirs | 1.2 | not measured | {bars} |" in shown
    assert "| `small/gain` | how much | 2.5 | not measured | at least 2 | yes / - |" in shown
    assert "| `seen` | n | 8,709 | not measured | - / at least 1 |  |" in shown
    assert "On avx512_bf16 1 of 2 bars hold, 1 do not, 0 are not measured." in shown
    assert "On avx2 0 of 3 bars hold, 0 do not, 3 are not measured." in shown
    assert (
        "Measured on avx512_bf16, on 2026-11-28 in 2 min at commit abc."
        " To repeat it: `.venv/bin/python -m bench.speed`."
    ) in shown
    assert "cpu EPYC, cores 2." in shown


def test_a_figure_that_the_catalogue_does_not_know_is_shown_all_the_same() -> None:
    assert "| `other` |  | 3.14 | not measured |  |  |" in text(RUN)


LESSER = replace(
    RUN, kind="avx2", forced="avx512_bf16", command="python -m bench.speed --cpu avx2",
    figures={"ratio": 1.2, "small": {"gain": 1.5}, "slower": 2.0},
)  # fmt: skip


def test_each_kind_of_cpu_has_its_column_and_its_bars() -> None:
    shown = text(RUN, LESSER)
    assert "| ours / theirs | 1.2 | 1.2 | at most 1.1 / at most 1.3 | **no** / yes |" in shown
    assert "| how much | 2.5 | 1.5 | at least 2 | yes / **no** |" in shown
    assert "| `seen` | n | 8,709 |  | - / at least 1 |  |" in shown
    assert "| `slower` |  |  | 2 |  |  |" in shown
    assert "On avx2 1 of 3 bars hold, 1 do not, 1 are not measured." in shown
    assert text(LESSER, RUN) == shown


def test_a_kind_without_a_column_gets_one_where_something_is_kept_of_it() -> None:
    shown = text(replace(RUN, kind="neon"))
    assert "| avx512_bf16 | avx2 | neon | bar | held |" in shown
    assert "| not measured | not measured | 1.2 |" in shown
    assert "neon" not in text(RUN)


def test_a_cpu_that_acted_as_a_lesser_kind_is_said_to_have() -> None:
    said = "Measured on avx2, an avx512_bf16 that acted as such, on 2026-11-28"
    assert said in text(LESSER)
    assert "`.venv/bin/python -m bench.speed --cpu avx2`" in text(LESSER)
    assert "acted as such" not in text(RUN)


def test_what_is_known_by_its_own_key_is_said_of_it_and_else_what_each_case_has() -> None:
    each = replace(SPEED, figures=(*SPEED.figures, Figure("*/gain", "of each case")))
    cases = replace(RUN, figures={"large": {"gain": 3.0}, "small": {"gain": 2.5}})
    shown = document.files([each], [cases])["benchmarks.md"]
    assert (
        "| `small/gain` | how much | 2.5 | not measured | at least 2 | yes / - |\n"
        "| `large/gain` | of each case | 3 | not measured |  |  |"
    ) in shown


def test_a_try_and_a_bench_that_was_not_run_have_no_figure() -> None:
    for kept in ((), (replace(RUN, quick=True),)):
        shown = text(*kept)
        assert "1.2" not in shown
        assert "On avx512_bf16 0 of 2 bars hold, 0 do not, 2 are not measured." in shown
        assert "Not measured yet." in shown


def test_a_failed_bench_is_said_to_have_failed() -> None:
    shown = text(replace(RUN, failed="status 1: no memory", figures=None))
    assert "| failed | not measured | at most 1.1 / at most 1.3 |  |" in shown
    assert "**Failed** (status 1: no memory) on avx512_bf16, on 2026-11-28" in shown


def test_figures_of_a_gpu_or_of_another_base_stand_apart_from_the_bars() -> None:
    gpu = replace(RUN, device="cuda", machine={"gpu": "H"}, figures={"ratio": 1.01})
    other = replace(RUN, base="Qwen/Qwen3-4B", figures={"ratio": 1.03})
    shown = text(gpu, other)
    assert "On avx512_bf16 0 of 2 bars hold, 0 do not, 2 are not measured." in shown
    for line in (
        "On cuda, base `default`",
        "| `ratio` | 1.01 |",
        "base `Qwen/Qwen3-4B`",
        "| `ratio` | 1.03 |",
    ):
        assert line in shown
    assert "## Machines\n1. gpu H.\n2. cpu EPYC" in shown


def test_a_plot_is_a_picture_with_a_bar_per_figure_that_was_measured() -> None:
    made = document.files([SPEED], [RUN])
    name = "benchmarks/avx512_bf16/speed.svg"
    assert f"![How <fast>, avx512_bf16]({name})" in made["benchmarks.md"]
    picture = ElementTree.fromstring(made[name])
    space = "{http://www.w3.org/2000/svg}"
    assert [bar.get("class") for bar in picture.iter(f"{space}rect")] == ["bar strong", "bar strong", "bar"]
    assert [each.text for each in picture.iter(f"{space}text")][::2] == ["ours", "small", "theirs"]
    nothing = replace(RUN, figures={"seen": 1.0})
    assert list(document.files([SPEED], [nothing])) == ["benchmarks.md"]


def test_writing_takes_away_the_picture_of_what_is_no_longer_kept(tmp_path: Path) -> None:
    document.write([SPEED], [RUN], tmp_path)
    assert (tmp_path / "benchmarks" / "avx512_bf16" / "speed.svg").is_file()
    document.write([SPEED], [], tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["benchmarks.md"]


def test_a_run_comes_back_as_it_was_kept_each_kind_device_and_base_in_its_file_and_tries_are_not_read(
    tmp_path: Path,
) -> None:
    kept = [LESSER, RUN, replace(RUN, device="cuda"), replace(RUN, device="cuda", base="Qwen/Qwen3-4B")]
    saved = [runs.save(run, tmp_path) for run in (*kept, replace(RUN, quick=True))]
    assert [path.relative_to(tmp_path).as_posix() for path in saved] == [
        "avx2/speed.json", "avx512_bf16/speed.json", "avx512_bf16/speed.cuda.json",
        "avx512_bf16/speed.cuda.qwen-qwen3-4b.json", "avx512_bf16/speed.quick.json",
    ]  # fmt: skip
    assert sorted(runs.load(tmp_path), key=lambda run: len(run.file)) == kept
