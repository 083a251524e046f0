"""Benchmarks of one subject each: what they run and what they say."""

import json
import os
from time import process_time
from types import SimpleNamespace

import numpy as np
import pytest

import staticgrad as sg
from benchmarks import convolutions, gemm_map, scaling, scan_compilation, sweep
from benchmarks.__main__ import main
from benchmarks.compile_programs import programs
from benchmarks.compile_times import Stages, least, line
from benchmarks.convolutions import PARTS, Kind, calls, check
from benchmarks.implementation import Settings
from benchmarks.implementations.with_staticgrad import (
    Staticgrad,
    StaticgradImplementation,
    feeds_of,
    graph_of,
)


def test_every_stage_has_its_row(capsys, monkeypatch):
    collect = SimpleNamespace(collect=lambda: 0)  # of all that a test process has
    monkeypatch.setattr(scaling, "gc", collect)
    monkeypatch.setattr(
        "sys.argv", ["scaling", "--few", "40", "--nodes", "80", "--json", "--only", "wide"]
    )
    assert scaling.main() in (0, 1)
    table = json.loads(capsys.readouterr().out)
    assert [*table] == ["control", "wide"]
    assert {"passes", "fuse", "first plan", "verify plan"} <= {*table["wide"]}
    rows = [row for stages in table.values() for row in stages.values()]
    assert all([*row] == [*scaling.COLUMNS] for row in rows)


def test_what_grows_is_named():
    def row(ratio, calls, us=5.0):
        return dict(zip(scaling.COLUMNS, (us, us * ratio, ratio, 1.0, calls, calls), strict=True))

    table = {
        "control": {"walk": row(1.3, 1.0)},
        "chain": {
            "even": row(1.5, 1.1),
            "slow": row(1.6, 1.0),
            "many": row(1.3, 1.3),
            "fewer, longer": row(1.0, 1.3),
        },
        "wide": {"short": row(2.0, 2.0, 0.1)},
    }
    assert scaling.late(table) == ["chain: slow", "chain: many"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes"), [("blocks", (6, 18)), ("chain", (450, 1350)), ("recurrence", (6, 18))]
)
def test_calls_per_node_stay(name, sizes):
    """Counts, not times: what is super-linear at these sizes is at any.

    Both sizes are decided alike: residuals leaves a chain as it is from some 400 nodes on, where
    its two clones would spare less than a hundredth of what is stored.
    """
    make = scaling.PROGRAMS[name]
    counts = []
    for size in sizes:
        nodes, calls = scaling.stages(make, size, calls=True)
        counts.append({stage: number / nodes for stage, number in calls.items()})
    few, many = counts
    grown = {stage: many[stage] / few[stage] for stage in few if many[stage] > 2}
    assert max(grown.values()) < 1.2, grown


@pytest.mark.thinned(3)
@pytest.mark.parametrize("cell", scan_compilation.CELLS)
def test_a_scan_of_one_step_is_the_step(tmp_path, cell):
    settings = Settings(1, str(tmp_path))
    found = {}
    for program in scan_compilation.PROGRAMS:
        workload = scan_compilation.workload_of(cell, program, iterations=1, hidden=8)
        work = StaticgradImplementation().program(workload, workload.make(), settings)
        work.build()
        work.compile()
        found[program] = work.results(work.step())
    step, alone = found["step"], found[scan_compilation.ALONE]
    weights = {"loss", *(f"gradient:{name}" for name in ("w", "u", "b"))}
    states = {"gradient:h", "gradient:c"} if cell == "lstm" else {"gradient:h"}
    assert {*step} == weights | states
    assert {*alone} == weights
    for name, array in step.items():
        np.testing.assert_allclose(found["scan"][name], array, rtol=1e-5, atol=1e-7)
    assert all(np.isfinite(array).all() for array in alone.values())


def test_least_times_make_the_ratio():
    alone = scan_compilation.ALONE
    rows = {"step": [(2.0, 0.5), (1.0, 0.25)], "scan": [(1.5, 3.0), (2.0, 4.0)]}
    rows[alone] = [(0.75, 0.5), (0.8, 0.5)]
    programs = scan_compilation.summary(rows)
    assert programs["step"] == {
        "compile_min_s": 1.0,
        "compile_median_s": 1.5,
        "call_min_s": 0.25,
    }
    assert scan_compilation.ratios(programs) == {"step": 1.5, alone: 2.0}


@pytest.mark.slow
def test_cells_are_measured_by_every_library_that_is_asked():
    keys = [("float32", "tt", 3, 5, 2), ("float64", "nn", 1, 1, 1)]
    found = gemm_map.measure(keys, 1, 100.0, "staticgrad,numpy")
    assert set(found) == {"float32 tt 3 5 2 1", "float64 nn 1 1 1 1"}
    for rates in found.values():
        assert set(rates) == {"staticgrad", "numpy"}
        assert min(rates.values()) > 0


@pytest.mark.parametrize("form", gemm_map.FORMS)
@pytest.mark.parametrize("size", [4, 600])
def test_a_wrong_result_stops_the_run(form, size):
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(size, size)).astype("f4") for _ in range(2))
    right = (a if form[0] == "n" else a.T) @ (b if form[1] == "n" else b.T)
    gemm_map._check("one", form, a, b, right)
    right[0, 0] += 1
    with pytest.raises(SystemExit, match="one is wrong"):
        gemm_map._check("one", form, a, b, right)


def test_the_report_counts_cells_that_fall_short():
    rates = {"staticgrad": 8.0, "numpy": 10.0, "torch": 4.0}
    found = {
        "float32 nn 64 64 64 1": rates,
        "float32 nn 64 64 256 1": {**rates, "staticgrad": 40.0},
        "float32 nn 8 64 64 1": rates,
        "float32 nt 64 64 64 2": {"staticgrad": 1.0},  # not yet measured beside the others
    }
    text = gemm_map.report(found)
    assert "| float32 | nn | 1 | 1.79 | 0.80 | 1 of 2 | 0.80 | 0.80 | 0 of 1 |" in text
    assert "- float32 nn 64 x 64 x 64, 1 threads: 0.80" in text
    assert "nt" not in text.partition("1 cells fall short")[2]


@pytest.mark.slow
def test_the_picture_is_drawn():
    pytest.importorskip("matplotlib")
    rates = {"staticgrad": 8.0, "numpy": 10.0, "torch": 4.0}
    assert gemm_map.picture({"float32 nn 64 64 64 1": rates}).startswith(b"\x89PNG")


KINDS = [
    Kind(2, (4, 6), (5, 7), (3, 2), stride=2, padding=1, dilation=2, groups=2),
    Kind(2, (4, 6), (5, 4), (3, 3), stride=2, padding=1, groups=2, transposed=True),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_results_are_compared_with_direct_sums(kind):
    given, made = calls("staticgrad", kind, 1)
    found = {part: np.array(call()) for part, call in made.items()}
    check(kind, given, found)
    for part in PARTS:
        wrong = found | {part: found[part] * 1.01}
        with pytest.raises(RuntimeError, match="instead of" if part == "result" else part):
            check(kind, given, wrong)


def test_times_go_into_a_file_and_a_table(tmp_path, monkeypatch, capsys):
    file = tmp_path / "found.json"
    monkeypatch.setattr(convolutions, "KINDS", KINDS[:1])
    convolutions.main(["--threads", "1", "--into", str(file), "--each", "0"])
    (name,) = found = json.loads(file.read_text())
    assert name == "staticgrad 1"
    times = found[name][str(KINDS[0])]
    assert [*times] == [*PARTS]
    assert min(times.values()) > 0
    found["torch 1"] = {str(KINDS[0]): {part: 2 * ms for part, ms in times.items()}}
    file.write_text(json.dumps(found))
    convolutions.main(["--report", str(file)])
    table = capsys.readouterr().out
    assert table.count("| 0.5") >= 3
    assert "| 3x2/2, dilation 2, 2 groups | 2, 4 to 6 at 5x7 |" in table
    assert "1 thread\n" in table


@pytest.mark.slow
def test_the_tables_have_their_points(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "BATCHES", (1, 3))
    monkeypatch.setattr(sweep, "DEPTHS", (2,))
    monkeypatch.setattr(sweep, "NODES", (20,))
    monkeypatch.setattr(sweep, "WIDTH", 4)
    before = os.environ.get("STATICGRAD_CACHE_DIR")
    file = tmp_path / "scaling.json"
    assert main(["sweep", "--json", str(file)]) == 0
    assert os.environ.get("STATICGRAD_CACHE_DIR") == before
    batches, depths, nodes = json.loads(file.read_text(encoding="utf-8")).values()
    assert [point["batch"] for point in batches] == [1, 3]
    assert batches[1]["peak bytes"] > batches[0]["peak bytes"]
    assert depths[0]["distinct kernels"] > 1
    assert [next(iter(point)) for point in nodes] == ["deep: nodes", "wide: nodes"]
    assert all(second >= 0 for point in nodes for second in point.values())
    assert "distinct kernels" in capsys.readouterr().out


#: Those that take milliseconds to build and to evaluate.
SMALL = ("unrolled_100", "hessian_rosenbrock", "hessian_network", "per_sample", "linalg")


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_the_loss(name):
    """Along the gradient itself the loss grows by its square, as central differences say."""
    workload = programs()[name].in_float64()
    data = workload.make()
    graph = graph_of(workload, data, Staticgrad())
    feeds = feeds_of(workload, data)
    found = sg.evaluate(graph, feeds)
    slopes = {each: found[f"gradient:{each}"] for each in data.variables}
    square = sum(float((slope * slope).sum()) for slope in slopes.values())
    step = 1e-6 / np.sqrt(square)
    ahead, behind = (
        sg.evaluate(
            graph, {**feeds, **{n: data.variables[n] + sign * step * s for n, s in slopes.items()}}
        )["loss"]
        for sign in (1, -1)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), square, rtol=1e-4)


def test_a_stage_is_counted_without_those_inside_of_it():
    def busy(seconds):
        end = process_time() + seconds
        while process_time() < end:
            pass

    stages = Stages()
    inner = stages.timed("inner", lambda: busy(0.02))

    def work():
        inner()
        busy(0.01)
        inner()

    start = process_time()
    stages.timed("outer", work)()
    whole = process_time() - start
    assert 0.04 <= stages.spent["inner"] < 0.06
    assert 0.01 <= stages.spent["outer"] < 0.03
    assert sum(stages.spent.values()) <= whole


def test_a_row_that_took_too_long_says_so():
    row = {"build": 0.1, "compile": 0.2, "call": 0.1, "whole": 0.6, "nodes": 7, "kernels": 2}
    text = line("x", {"staticgrad": row, "jax": None, "by stage": {"stage LLVM": 0.25}})
    whole, rest = ["600", "late", "-", "-", "-", "-"], ["400", "late", "-", "-"]
    assert text.split() == ["x", "7", "2", *whole, *rest, "LLVM", "250"]
    assert len({str(kind) for kind in convolutions.KINDS}) == len(convolutions.KINDS)


def test_libraries_are_compared_by_whole_processes():
    """Imports count; each of both times is the least of all turns."""
    turns = [
        {"build": 0.1, "compile": 0.2, "call": 0.1, "whole": 0.9, "nodes": 7, "kernels": 2},
        {"build": 0.1, "compile": 0.3, "call": 0.1, "whole": 0.8, "nodes": 7, "kernels": 2},
    ]
    ours, theirs = least(turns), {"build": 0.1, "compile": 0.0, "call": 0.0, "whole": 1.6}
    cells = line("x", {"staticgrad": ours, "jax": theirs, "jax, warm": theirs}).split()
    assert cells[3:6] == ["800", "1600", "0.50"]
    assert cells[6:] == ["-", "1600", "-", "400", "100", "-", "100"]
