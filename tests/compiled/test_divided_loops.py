"""Loops in segments: policies and budgets over the iterations of a loop, with equal bytes."""

from fractions import Fraction

import numpy as np
import pytest

import staticgrad as sg
from passes.late import loops
from passes.loops import segments
from passes.loops.divisions import segment_length
from passes.loops.loop_pairs import pairs_of
from passes.loops.segments import run_in_segments
from passes.pipelines import pipeline
from passes.remat import search
from passes.remat.recompute import StoreAll
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.divided import Divided, Divisions, all_divisions
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import BudgetInfeasible
from staticgrad.language.ir.bodies import BodyStep, body_input, body_of, walk_bodies
from staticgrad.language.ir.schedule_text import parse_schedule
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.ir.verify_schedule import verify_schedule
from staticgrad.language.ops import loop_sums as sums
from staticgrad.language.ops.loops import NUMBER, Loop
from tests.helpers.diagonals import diagonals


def recurrent(iterations, reverse=False):
    """A recurrence with two carries that reads its iteration's number, and all of its gradients."""
    x = sg.input("x", (iterations, "n", 6), "float32")
    w, h = sg.input("w", (6, 6), "float32"), sg.input("h", ("n", 6), "float32")

    def body(carry, slices):
        hidden, older = carry
        row, number = slices
        new = sg.tanh(row + hidden @ w) * sg.cos(sg.astype(number, "float32"))
        return (new + 0.5 * older, hidden), (new.sum(), older)

    (last, last_but_one), (sums, seen) = sg.scan(
        body, (h, h * 2.0), (x, sg.arange(iterations)), reverse=reverse
    )
    loss = (last * last_but_one).sum() + (sums * sums).mean() + seen.sum()
    gradients = sg.grad(loss, [x, w, h])
    outputs = dict(zip(("loss", "dx", "dw", "dh"), (loss, *gradients), strict=True))
    rng = np.random.default_rng(iterations)
    feeds = {"x": (iterations, 5, 6), "w": (6, 6), "h": (5, 6)}
    graph = sg.Graph({**outputs, "sums": sums})
    return graph, {name: rng.normal(size=s).astype("f4") / 2 for name, s in feeds.items()}


def bytes_of(f, feeds):
    return {name: array.tobytes() for name, array in f.run(feeds).items()}


@pytest.mark.slow
@diagonals(
    3,
    ("iterations,reverse", [(12, False), (36, True), (7, True), (13, False), (1, False)]),
    ("levels,share", [(1, 0), (1, 1 / 2), (2, 1 / 3)]),
)
def test_segments_change_no_byte(iterations, reverse, levels, share, monkeypatch):
    monkeypatch.setattr(segments, "_saves_bytes", lambda pair: True)  # whatever a rest costs
    graph, feeds = recurrent(iterations, reverse)
    f = sg.compile(graph)
    divided = run_in_segments(f.graph, levels, Fraction(share))
    verify_graph(divided)
    assert (divided is f.graph) == (segment_length(iterations) is None)
    if divided is not f.graph:
        assert bytes_of(sg.compile(divided, pipeline="O0"), feeds) == bytes_of(f, feeds)


@pytest.mark.slow
def test_budgets_divide_loops_as_deep_as_they_must():
    graph, feeds = recurrent(64)
    plain = sg.compile(graph)
    expected, full_peak = bytes_of(plain, feeds), plain.peak_bytes
    peaks = []
    for part in (0.8, 0.56):
        budget = int(full_peak * part)
        f = sg.compile(graph, memory_budget=budget, sizes={"n": 5}, debug=part == 0.56)
        assert bytes_of(f, feeds) == expected
        assert f.highest_touched in (None, f.peak_bytes)
        assert f.peak_bytes <= budget
        verify_plan(f.plan())
        peaks.append(f.peak_bytes)
    assert peaks == sorted(peaks, reverse=True)
    with pytest.raises(BudgetInfeasible):
        sg.compile(graph, memory_budget=full_peak // 100, sizes={"n": 5})


@pytest.mark.thinned(2)
@pytest.mark.parametrize("policy", ["sqrt", "recompute"])
def test_policies_divide_loops(policy):
    graph, feeds = recurrent(64)
    plain, f = sg.compile(graph), sg.compile(graph, checkpoint=policy)
    assert bytes_of(f, feeds) == bytes_of(plain, feeds)
    assert f.peak_bytes < 0.8 * plain.peak_bytes


def layers(iterations, reverse, times=None):
    """Two recurrent layers, and the gradients of all that is added up over their iterations."""
    sizes = {"w": (6, 8), "u": (8, 8), "b": (8,), "v": (8, 8), "s": (8, 8)}
    x = sg.input("x", (iterations if times is None else times, sg.dim("n", hint=5), 6), "float32")
    parameters = {name: sg.input(name, shape, "float32") for name, shape in sizes.items()}
    w, u, b, v, s = parameters.values()
    start = sg.zeros((x.shape[1], 8), "float32")

    def below(h, row):
        h = sg.tanh(row @ w + h @ u + b)
        return h, h

    def above(h, row):
        h = sg.sin(row @ v + h @ s)
        return h, None

    _, outputs = sg.scan(below, start, x, reverse=reverse)
    last, _ = sg.scan(above, start, outputs, reverse=reverse)
    slopes = sg.grad((last * last).sum(), [x, *parameters.values()])
    graph = sg.Graph(dict(zip(["x", *parameters], slopes, strict=True)))
    rng = np.random.default_rng(iterations)
    shapes = {"x": (iterations, 5, 6), **sizes}
    return graph, {name: rng.normal(size=s).astype("f4") / 2 for name, s in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("iterations", "reverse"),
    [
        (15, True),  # 40 and more are written out, which takes seconds to compile
        pytest.param(48, False, marks=pytest.mark.exhaustive),
        pytest.param(47, True, marks=pytest.mark.exhaustive),
    ],
)
def test_sums_over_time_are_those_of_blocks_whatever_the_segments(iterations, reverse, monkeypatch):
    monkeypatch.setattr(sums, "BLOCK_ROWS", 20)  # of four iterations
    graph, feeds = layers(iterations, reverse)
    wide = sg.evaluate(graph, feeds, dtype="float64")
    plain = sg.compile(graph)
    expected = bytes_of(plain, feeds)
    for name, array in plain.run(feeds).items():
        np.testing.assert_allclose(array, wide[name], rtol=2e-4, atol=2e-4)
    followed = [pair for pair in pairs_of(plain.graph) if pair.followers]
    assert {pair.unit for pair in followed} <= {3, 4}
    peaks = [plain.plan(n=5).peak_bytes]
    for levels, share in ((0, 0), (1, 0), (2, 1 / 4)):
        divided = run_in_segments(plain.graph, levels, Fraction(share))
        verify_graph(divided)
        f = sg.compile(divided, pipeline="O0", debug=levels == 1)
        assert bytes_of(f, feeds) == expected
        verify_plan(f.plan(n=5))
        peaks.append(f.plan(n=5).peak_bytes)
        again = [n for body in walk_bodies(divided) for n in body.nodes if n.op.name == "sin"]
        assert levels or len(again) == 1  # of no level, no loop runs again
    assert max(peaks[2:]) < peaks[0]


@pytest.mark.slow
def test_budgets_are_met_at_sizes_far_from_the_hints(monkeypatch):
    """Loops were divided for 400 iterations: of 5, the undivided ones need less."""
    monkeypatch.setattr(sums, "BLOCK_ROWS", 20)
    monkeypatch.setattr(search, "EFFORT", (900_000, *search.EFFORT[1:]))  # that of users
    graph, _ = layers(40, False, sg.dim("times", hint=400))
    plain, times = sg.compile(graph), 5
    undivided = plain.plan(times=times, n=5).peak_bytes
    f = sg.compile(graph, memory_budget=undivided)
    compiled = len(f.kernels)
    plan = f.plan(times=times, n=5)
    assert len(f.kernels) == compiled  # a plan compiles nothing
    assert plan.peak_bytes <= undivided
    assert plan.schedule is not f.schedule
    verify_plan(plan)
    for count in (times, 2, 0, times, times, times):  # the last ones by the native entry
        _, feeds = layers(count, False)
        assert bytes_of(f, feeds) == bytes_of(plain, feeds)
        assert f.peak_bytes == f.plan(times=count, n=5).peak_bytes
    assert len(f.explanation(times=times, n=5).steps) == len(plan.schedule.steps)
    with pytest.raises(BudgetInfeasible):
        f.plan(times=4000, n=5)


def test_what_is_refused_names_the_smallest_peak_of_all_divisions_without_planning_all(monkeypatch):
    """A division whose proven bound is no lower than what was refused is not sought."""
    graph = pipeline("O1")(recurrent(64)[0])
    limits = StoreAll(), 1, 1, 0.0
    divisions = [*all_divisions(graph, fuse, limits)]
    refused = []
    plan = Planner.plan

    def plan_and_count(self, sizes, **options):
        try:
            return plan(self, sizes, **options)
        except BudgetInfeasible as error:
            refused.append((error.lower_bound, error.smallest_peak))
            raise

    monkeypatch.setattr(Planner, "plan", plan_and_count)
    smallest = []
    for actual in divisions:
        with pytest.raises(BudgetInfeasible) as alone:
            actual.planner.plan({"n": 5})
        assert actual.planner.peak_bound({"n": 5}) == alone.value.lower_bound
        smallest.append(alone.value.smallest_peak)
    assert len({*smallest}) > 1
    for first in (divisions[0], divisions[-1]):
        refused.clear()
        with pytest.raises(BudgetInfeasible) as together:
            Divisions(first.planner, lambda: iter(divisions)).plan({"n": 5})
        assert together.value.smallest_peak == min(smallest)
        for place, (bound, _) in enumerate(refused):
            assert all(bound < peak for _, peak in refused[:place])
    assert len(refused) < len(divisions)  # the last division is the smallest


@pytest.mark.slow
def test_a_loop_without_carries_runs_again_in_segments():
    """All that the first loop gives, the second one alone reads."""
    x, w = sg.input("x", (40, 16), "float32"), sg.input("w", (16,), "float32")
    mapped = sg.map(lambda row: sg.sin(row * w), x)
    last, _ = sg.scan(lambda c, row: (sg.tanh(c + row * w), None), w, mapped, reverse=True)
    outputs = {"last": last, "dw": sg.grad(last.sum(), w)}
    rng = np.random.default_rng(3)
    feeds = {n: rng.normal(size=s).astype("f4") for n, s in (("x", (40, 16)), ("w", (16,)))}
    f = sg.compile(outputs)
    divided = run_in_segments(f.graph, 1)
    assert divided is not f.graph
    verify_graph(divided)
    expected = bytes_of(f, feeds)
    budget = f.plan().peak_bytes * 9 // 10
    assert bytes_of(sg.compile(outputs, memory_budget=budget), feeds) == expected
    assert bytes_of(sg.compile(outputs, checkpoint="recompute"), feeds) == expected


def counting_loops(iterations, reverse):
    """Two loops over each other's stacks, and one over blocks of both; all read their numbers."""
    x = sg.input("x", (iterations, 3), "float32")

    def over(arrays, *, backwards, blocks=0):
        kinds = [array.type.with_shape(array.shape[1:]) for array in arrays]
        i, c, *rows = (
            body_input(label, kind, x.node.origin)
            for label, kind in zip(
                ("i", "c0", "x0", "x1"), (NUMBER, kinds[0], *kinds), strict=False
            )
        )
        c = c if not blocks else body_input("c0", x.type.with_shape((3,)), x.node.origin)
        read = sum(rows[1:], rows[0])
        read = (read.sum(0) if blocks else read) * sg.astype(i, "float32") * 0.1
        values = {"c0": sg.sin(c + read)}
        values |= {} if blocks else {"y0": c * read}
        body = body_of([i, c, *rows], values)
        count = blocks or iterations
        return Loop(body, count, 1, len(rows), backwards)(sg.ones((3,), "float32"), *arrays)

    _, first = over([x], backwards=reverse)
    last, second = over([first], backwards=not reverse)
    left = iterations % 4
    cut = slice(0, iterations - left) if reverse else slice(left, iterations)
    remaining = slice(iterations - left, iterations) if reverse else slice(0, left)
    parts = [array[cut].reshape(iterations // 4, 4, 3) for array in (first, second)]
    total = over(parts, backwards=not reverse, blocks=iterations // 4)
    outputs = {"last": last, "total": total}
    if left:
        outputs["rest"] = second[remaining].sum(0) - first[remaining].sum(0)
    feeds = {"x": np.random.default_rng(iterations).normal(size=(iterations, 3)).astype("f4")}
    return sg.Graph(outputs), feeds


NEVER = 1 << 60


def recurrence(iterations, reverse, dtype):
    """Carries that trade places, are stacked before and behind an iteration, and are read by
    kernels, other loops and as results."""
    x = sg.input("x", (iterations, 3, 4), dtype)
    w, h = sg.input("w", (4, 4), dtype), sg.input("h", (3, 4), dtype)

    def body(carry, row):
        hidden, older, count = carry
        new = sg.tanh(row + hidden @ w) + 0.5 * older
        return (new, hidden, count + 2), (hidden, new, count, new.sum())

    carries, (former, latter, counts, sums) = sg.scan(
        body, (h, h * 2.0, sg.constant(np.int32(3))), x, reverse=reverse
    )
    last, _ = sg.scan(lambda c, row: (sg.tanh(row + c @ w), None), h, former, reverse=not reverse)
    loss = (carries[0] * carries[1]).sum() + (sums * sums).sum() + (last * latter.sum(0)).sum()
    slopes = sg.grad(loss, [x, w, h])
    outputs = {"last": carries[0], "two": carries[1], "behind": latter, "counts": counts + 1}
    return sg.Graph(outputs | dict(zip(("dx", "dw", "dh"), slopes, strict=True)))


def feeds_of(iterations, dtype):
    rng = np.random.default_rng(iterations)
    shapes = {"x": (iterations, 3, 4), "w": (4, 4), "h": (3, 4)}
    return {name: rng.normal(size=shape).astype(dtype) / 2 for name, shape in shapes.items()}


def logging_steps(schedule):
    body_steps = [step for step in schedule.steps if isinstance(step, BodyStep)]
    inner = [
        inner_step
        for step in body_steps
        for body in step.schedules
        for inner_step in logging_steps(body)
    ]
    return [step for step in body_steps if step.logged] + inner


def stencil(around, columns, reverse):
    """Steps of a cubic reaction with diffusion, and the gradient, which reads all of them."""
    x, rows = sg.input("x", (64, columns), "float64"), sg.input("rows", (5, columns), "float64")

    def body(c, row):
        new = c + 0.1 * around(c) - 0.1 * c * c * c + row
        return new, None

    last, _ = sg.scan(body, x, rows, reverse=reverse)
    slopes = sg.grad((last * last).sum(), [x, rows])
    return sg.Graph({"last": last, "dx": slopes[0], "drows": slopes[1]})


def sum_rolled_neighbours(c):
    return sg.roll(c, 1, 0) + sg.roll(c, -1, 0) - 2.0 * c


def sum_padded_neighbours(c):
    around = sg.pad(c, 1)
    return around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, 2:] - 3.0 * c


@pytest.mark.parametrize(
    ("around", "reverse"),
    [
        pytest.param(sum_rolled_neighbours, False, id="rolled-False"),
        pytest.param(sum_padded_neighbours, True, id="padded-True"),
    ],
)
def test_large_stencils_keep_carries_in_the_stack_that_the_gradient_reads(
    around, reverse, monkeypatch
):
    columns = loops.STENCIL // 64
    assert not logging_steps(sg.compile(stencil(around, columns // 2, reverse)).schedule)
    graph = stencil(around, columns, reverse)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(64, columns)), "rows": rng.normal(size=(5, columns))}
    f = sg.compile(graph)
    assert len(logging_steps(f.schedule)) == 1
    verify_schedule(f.schedule)
    monkeypatch.setattr(loops, "STENCIL", NEVER)
    plain = sg.compile(graph)
    assert not logging_steps(plain.schedule)
    assert bytes_of(f, feeds) == bytes_of(plain, feeds)


@pytest.mark.slow
@pytest.mark.parametrize(("reverse", "dtype"), [(False, "float32"), (True, "float64")])
def test_logs_change_no_byte(reverse, dtype, monkeypatch):
    monkeypatch.setattr(loops, "HEAVY", NEVER)
    named = recurrence(sg.dim("times", hint=6), reverse, dtype)
    literal = recurrence(6, reverse, dtype)
    plain = sg.compile(named, debug=True)
    assert not logging_steps(plain.schedule)
    expected = {times: bytes_of(plain, feeds_of(times, dtype)) for times in (6, 5, 1, 0)}
    monkeypatch.setattr(loops, "HEAVY", 1)
    f = sg.compile(named)
    steps = logging_steps(f.schedule)
    assert {step.backwards for step in steps} == {reverse, not reverse}
    verify_schedule(f.schedule)
    assert str(parse_schedule(str(f.schedule))) == str(f.schedule)
    for times, expected_bytes in expected.items():
        assert bytes_of(f, feeds_of(times, dtype)) == expected_bytes
        verify_plan(f.plan(times=times))
    ways = ({"debug": True}, {"threads": 2}, {"checkpoint": "recompute"})
    for options in ways[reverse::2]:
        variant = sg.compile(literal, **options)
        assert logging_steps(variant.schedule)
        assert bytes_of(variant, feeds_of(6, dtype)) == expected[6], options
        assert variant.highest_touched in (None, variant.peak_bytes)


@pytest.mark.thinned(1, budgeted=True)
def test_a_division_with_other_buffers_inside_is_one_of_the_same_program():
    """Budgets choose among divisions that read and write the same arrays of the caller."""
    graph = pipeline("O1")(recurrent(12)[0])
    undivided, divided = (Planner(fuse(part)) for part in (graph, run_in_segments(graph)))
    written = [
        {name for step in planner.schedule.steps for name in step.writes()}
        for planner in (undivided, divided)
    ]
    assert written[0] != written[1]
    others = [Divided(graph, divided.schedule, divided)]
    assert [*Divisions(undivided, lambda: iter(others))._other_divisions()] == others
    unlike = Planner(fuse(sg.Graph({"loss": graph.outputs["loss"]})))
    assert [*Divisions(unlike, lambda: iter(others))._other_divisions()] == []


def test_plans_are_for_one_worker_at_least():
    x = sg.input("x", (4,), "float32")
    with pytest.raises(ValueError, match="0 workers"):
        Planner(fuse(sg.Graph({"y": sg.sin(x)})), workers=0)
