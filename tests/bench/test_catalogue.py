"""Every bench is in the catalogue, says what its figures mean, and can be run as the runner runs it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import bench
from bench import document, runs
from bench.catalogue import BENCHES
from bench.figures import Bar, Bench, Figure, flat, named
from bench.runs import Run

HERE = Path(bench.__file__).parent
# The runner, the processes of bench.training, and what gives no ratio.
NOT_A_BENCH = {"__main__", "trainers", "trained", "gpu_paths"}


def modules() -> set[str]:
    return {path.stem for path in HERE.glob("*.py") if '__name__ == "__main__"' in path.read_text()}


def test_every_bench_module_is_in_the_catalogue_once() -> None:
    named = Counter(each.name for each in BENCHES)
    assert set(named.values()) == {1}
    assert modules() - NOT_A_BENCH <= set(named)
    assert set(named) <= modules()


@pytest.mark.parametrize("each", BENCHES, ids=lambda each: each.name)
def test_each_says_what_it_is_and_its_plots_show_figures_that_it_has(each: Bench) -> None:
    keys = {figure.key for figure in each.figures}
    assert each.title
    assert each.says.endswith(".")
    assert len(keys) == len(each.figures)
    shown = {key for plot in each.plots for _, key in (*plot.rows, *plot.others)}
    assert {key for key in shown if "*" not in key} <= keys


@pytest.mark.parametrize("each", [each for each in BENCHES if each.serving], ids=lambda each: each.name)
def test_what_starts_servers_takes_a_device_and_a_base(each: Bench) -> None:
    if (module := HERE / f"{each.name}.py").exists():
        assert "options.serving(" in module.read_text()


@pytest.mark.parametrize("run", runs.load(), ids=lambda run: run.file)
def test_every_figure_that_is_kept_says_what_it_means(run: Run) -> None:
    figures = next(each.figures for each in BENCHES if each.name == run.bench)
    values = dict(flat(run.figures or {}))
    assert values.keys() == {key for figure in figures for key in named(figure.key, values)}


def test_what_is_kept_was_measured_at_a_commit_that_others_can_check_out() -> None:
    assert [run.file for run in runs.load() if not run.commit or "changes" in run.commit] == []


def test_a_key_with_a_star_names_what_each_case_has_and_no_bar_is_on_it() -> None:
    keys = ["ratio", "small/ratio", "large/ratio", "large/mib_ours"]
    assert list(named("ratio", keys)) == ["ratio"]
    assert list(named("*/ratio", keys)) == ["small/ratio", "large/ratio"]
    assert list(named("*/mib_*", keys)) == ["large/mib_ours"]
    starred = [figure for each in BENCHES for figure in each.figures if "*" in figure.key]
    assert not any(str(figure.bar(kind)) for figure in starred for kind in (*document.KINDS, "neon"))


def test_a_bar_has_one_side_and_says_whether_it_held() -> None:
    bars = [
        figure.bar(kind) for each in BENCHES for figure in each.figures for kind in (*document.KINDS, "neon")
    ]
    assert all(bar.most is None or bar.least is None for bar in bars)
    most, least, none = Bar(most=1.5), Bar(least=0.8), Bar()
    assert (str(most), str(least), str(none)) == ("at most 1.5", "at least 0.8", "")
    assert [most.held(1.5), most.held(1.51), least.held(0.8), least.held(0.79)] == [True, False, True, False]
    assert str(Bar(most=0)) == "at most 0"


def test_a_kind_of_cpu_has_a_bar_of_its_own_or_the_one_of_all() -> None:
    figure = Figure("a", "b", most=2, on={"avx2": Bar(least=1), "neon": Bar()})
    assert [str(figure.bar(kind)) for kind in ("avx512_bf16", "avx2", "neon")] == [
        "at most 2",
        "at least 1",
        "",
    ]


def test_a_nested_result_is_read_by_case_and_key() -> None:
    nested = {"25m": {"speed": 3.5, "memory": 0.4}, "errors": 0}
    assert dict(flat(nested)) == {"25m/speed": 3.5, "25m/memory": 0.4, "errors": 0}


@pytest.mark.parametrize("each", BENCHES, ids=lambda each: each.name)
def test_each_takes_the_options_that_the_runner_gives_it(each: Bench) -> None:
    module = (HERE / f"{each.name}.py").read_text()
    assert "options.serving(" in module or "options.parser(" in module
