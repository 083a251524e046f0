"""Benchmarks of one subject each: what they run and what they say."""

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.compile_time import scaling
from benchmarks.compile_time.compile_programs import CELLS, of_cells, programs
from benchmarks.compile_time.stages import STAGES, owner_of
from benchmarks.harness.implementation import Settings
from benchmarks.implementations.with_staticgrad import (
    Staticgrad,
    StaticgradImplementation,
    feeds_of,
    graph_of,
)
from benchmarks.peers import gemm_map
from benchmarks.peers.convolutions import PARTS, Kind, calls, check


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
@pytest.mark.parametrize("cell", CELLS)
def test_a_scan_of_one_step_is_the_step(tmp_path, cell):
    settings = Settings(1, str(tmp_path))
    actual = {}
    for workload in of_cells(iterations=1, hidden=8):
        if workload.name.startswith(cell):
            work = StaticgradImplementation().program(workload, workload.make(), settings)
            work.build()
            work.compile()
            actual[workload.name.removeprefix(f"{cell}_")] = work.results(work.step())
    step, alone = actual["step"], actual["step_alone"]
    weights = {"loss", *(f"gradient:{name}" for name in ("w", "u", "b"))}
    states = {"gradient:h", "gradient:c"} if cell == "lstm" else {"gradient:h"}
    assert {*step} == weights | states
    assert {*alone} == weights
    for name, array in step.items():
        np.testing.assert_allclose(actual["long_scan"][name], array, rtol=1e-5, atol=1e-7)
    assert all(np.isfinite(array).all() for array in alone.values())


def test_stages_of_compile_times_are_there():
    for places in STAGES.values():
        for place in places:
            owner, name = owner_of(place)
            assert callable(getattr(owner, name))


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


KINDS = [
    Kind(2, (4, 6), (5, 7), (3, 2), stride=2, padding=1, dilation=2, groups=2),
    Kind(2, (4, 6), (5, 4), (3, 3), stride=2, padding=1, groups=2, transposed=True),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_results_are_compared_with_direct_sums(kind):
    operands, runs = calls("staticgrad", kind, 1)
    results = {part: np.array(call()) for part, call in runs.items()}
    check(kind, operands, results)
    for part in PARTS:
        wrong = results | {part: results[part] * 1.01}
        with pytest.raises(RuntimeError, match="instead of" if part == "result" else part):
            check(kind, operands, wrong)


#: Those that take milliseconds to build and to evaluate.
SMALL = ("unrolled_100", "hessian_rosenbrock", "hessian_network", "per_sample", "linalg")


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_the_loss(name):
    """Along the gradient itself the loss grows by its square, as central differences say."""
    workload = programs()[name].in_float64()
    data = workload.make()
    graph = graph_of(workload, data, Staticgrad())
    feeds = feeds_of(workload, data)
    outputs = sg.evaluate(graph, feeds)
    slopes = {variable: outputs[f"gradient:{variable}"] for variable in data.variables}
    square = sum(float((slope * slope).sum()) for slope in slopes.values())
    step = 1e-6 / np.sqrt(square)
    ahead, back = (
        sg.evaluate(
            graph, {**feeds, **{n: data.variables[n] + sign * step * s for n, s in slopes.items()}}
        )["loss"]
        for sign in (1, -1)
    )
    np.testing.assert_allclose((ahead - back) / (2 * step), square, rtol=1e-4)
