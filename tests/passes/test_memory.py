"""The planner: orders, lifetimes, in-place results, offsets; checked by an independent verifier."""

import copy
import dataclasses
import gc
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.analysis import plan_check
from staticgrad.analysis.plan_check import lower_bound, peak_buffers, verify_plan
from staticgrad.analysis.planning.offsets import Spans, place, place_by_sweeps
from staticgrad.compiler.memory import planner as memory
from staticgrad.compiler.memory.planner import Planner, plan
from staticgrad.errors import BudgetInfeasible, SizeGuardError, UnknownNameError, VerifyError
from staticgrad.language.ir.schedule import Binding
from staticgrad.language.types.dim import dim, evaluate
from staticgrad.language.types.dtype import I64
from tests.runtime.handmade import ADD, ADD3, COPY, FORK, NEGATE, TAKE, Builder, N

M = dim("m")


def chain(length):
    """x -> -x -> x ... -> y, each link in its own buffer."""
    build = Builder()
    last = build.buffer("input", label="x")
    for _ in range(length - 1):
        link = build.buffer("temp")
        build.step(NEGATE, last, link)
        last = link
    result = build.buffer("output", label="y")
    build.step(NEGATE, last, result)
    return build.schedule(y=result)


def training_step(layers, check=False):
    """Forward through ``layers``, backward, all updates listed at the end."""
    build = Builder()
    table = build.buffer("input", label="x")
    weights = [build.buffer("parameter", label=f"w{i}") for i in range(layers)]
    values = [table]
    for weight in weights:
        values.append(build.buffer("temp"))
        build.step(ADD, values[-2], weight, values[-1])
    cotangent = values[-1]
    gradients = []
    for weight, value in reversed(list(zip(weights, values, strict=False))):
        gradient, onward = build.buffer("temp"), build.buffer("temp")
        build.step(ADD, cotangent, value, gradient)
        build.step(ADD, cotangent, weight, onward)
        gradients.append((weight, gradient))
        cotangent = onward
    if check:
        rows = build.buffer("input", label="i", dtype=I64)
        rows_of_table, words = build.buffer("temp"), build.buffer("check", 2, dtype=I64)
        build.step(TAKE, table, rows, rows_of_table, words, arguments=(N, N))
    result = build.buffer("output", label="y")
    build.step(COPY, cotangent, result)
    for weight, gradient in gradients:
        build.step(ADD, gradient, gradient, weight)
    return build.schedule(y=result)


def listed_peak(schedule, size):
    """Peak of the listed order without in-place results, all buffers of ``size`` f32."""
    arena = {b.name for b in schedule.buffers if b.in_arena}
    last = {
        name: i for i, step in enumerate(schedule.steps) for name in [*step.reads(), *step.writes()]
    }
    live = set()
    peak = 0
    for i, step in enumerate(schedule.steps):
        live |= {name for name in step.writes() if name in arena}
        peak = max(peak, len(live))
        live = {name for name in live if last[name] > i}
    return peak * -(-size * 4 // 64) * 64


@st.composite
def schedules(draw, uniform=False):
    """Random programs: reads of anything before, checks, updates, reads of those, dead results.

    Sizes differ from step to step, so that buffers are half read, unless they are ``uniform``.
    """
    build = Builder()
    most = N if uniform else N + M + 7
    values = [build.buffer("input", most, label="x"), build.buffer("input", most, label="z")]
    parameters = [build.buffer("parameter", label=f"w{i}") for i in range(draw(st.integers(0, 3)))]
    values += parameters
    indices = build.buffer("input", most, label="i", dtype=I64)

    def at_least(size):
        sizes = {b.name: b.size for b in build.buffers}
        return [v for v in values if all(
            evaluate(sizes[v], at) >= evaluate(size, at)
            for at in ({"n": 0, "m": 9}, {"n": 9, "m": 0}, {"n": 0, "m": 0})
        )]  # fmt: skip

    for _ in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from([NEGATE, ADD, ADD3, FORK, TAKE]))
        role = draw(st.sampled_from(["temp"] * 5 + ["output"]))
        size = N if uniform else draw(st.sampled_from([N, M, N + M, 7, 0]))
        large = at_least(size)
        reads = [
            draw(st.sampled_from(large)) for _ in range(sum(o.mode == "in" for o in kind.operands))
        ]
        wrote = [build.buffer(role, size) for o in kind.operands if o.mode == "out"]
        if kind is TAKE:
            words = build.buffer("check", 2, dtype=I64)
            build.step(TAKE, reads[0], indices, *wrote, words, arguments=(size, size))
        else:
            build.step(kind, *reads, *wrote, arguments=(size,))
        values += wrote
    for parameter in draw(st.permutations(parameters)):
        temps = [v for v in at_least(N) if v not in parameters]
        build.step(COPY, draw(st.sampled_from(temps)), parameter)
        for role in draw(st.lists(st.sampled_from(["temp", "output"]), max_size=2)):
            wrote = [build.buffer(role)]
            build.step(ADD, Binding(parameter, updated=True), draw(st.sampled_from(temps)), *wrote)
            values += wrote
    outputs = [b.name for b in build.buffers if b.role == "output"]
    return build.schedule(**{f"o{i}": name for i, name in enumerate(outputs)})


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(schedules(), st.integers(0, 70), st.integers(0, 40), st.booleans())
def test_random_plans_hold_every_promise(schedule, n, m, stage):
    inputs = [b.name for b in schedule.buffers if b.role == "input"]
    memory_plan = plan(schedule, {"n": n, "m": m}, staged=frozenset(inputs if stage else ()))
    verify_plan(memory_plan)
    assert lower_bound(memory_plan) <= memory_plan.peak_bytes
    assert memory_plan.peak_bytes == max(
        (p.offset + -(-p.nbytes // 64) * 64 for p in memory_plan.placements), default=0
    )


@settings(max_examples=60, deadline=None)
@given(schedules(), st.randoms(use_true_random=False))
def test_the_verifier_sees_every_small_damage(schedule, rng):
    """Two live buffers moved onto each other, one that is not aligned, a life that ends early."""
    memory_plan = plan(schedule, {"n": 33, "m": 5})
    placements = [p for p in memory_plan.placements if p.nbytes]
    pairs = [
        (p, q)
        for p in placements
        for q in placements
        if p is not q and p.first < q.last and q.first < p.last and p.offset != q.offset
    ]
    if pairs:
        chosen_first, target = rng.choice(pairs)
        damaged = [
            dataclasses.replace(p, offset=target.offset) if p is chosen_first else p
            for p in memory_plan.placements
        ]
        with pytest.raises(VerifyError):
            verify_plan(dataclasses.replace(memory_plan, placements=tuple(damaged)))
    for chosen in placements:
        damaged = [
            dataclasses.replace(p, offset=p.offset + 8) if p is chosen else p
            for p in memory_plan.placements
        ]
        room = dataclasses.replace(
            memory_plan, placements=tuple(damaged), peak_bytes=memory_plan.peak_bytes + 64
        )
        with pytest.raises(VerifyError):
            verify_plan(room)
    shortened = [p for p in memory_plan.placements if p.last > p.first]
    if shortened:
        chosen = rng.choice(shortened)
        damaged = [
            dataclasses.replace(p, last=p.last - 1) if p is chosen else p
            for p in memory_plan.placements
        ]
        with pytest.raises(VerifyError):
            verify_plan(dataclasses.replace(memory_plan, placements=tuple(damaged)))


def test_a_step_moved_before_what_it_reads_is_refused():
    memory_plan = plan(chain(4), {"n": 3})
    first, second, *later = memory_plan.steps
    with pytest.raises(VerifyError, match=r"version|written"):
        verify_plan(dataclasses.replace(memory_plan, steps=(second, first, *later)))


def test_a_chain_of_in_place_results_takes_one_buffer():
    memory_plan = plan(chain(6), {"n": 100})
    verify_plan(memory_plan)
    assert memory_plan.peak_bytes == 448  # 400 bytes, rounded up to 64
    assert {p.offset for p in memory_plan.placements} == {0}


def test_a_staged_input_is_counted_and_taken_over():
    schedule = chain(6)
    memory_plan = plan(schedule, {"n": 16}, staged={"b0"})
    verify_plan(memory_plan)
    assert memory_plan.placement("b0").first == 0
    assert memory_plan.peak_bytes == 64


def test_two_results_take_over_one_operand_once():
    build = Builder()
    x, a, b, c = (build.buffer(role) for role in ("input", "temp", "temp", "temp"))
    y = build.buffer("output")
    build.step(NEGATE, x, a)
    build.step(FORK, a, b, c)
    build.step(ADD, b, c, y)
    memory_plan = plan(build.schedule(y=y), {"n": 16})
    verify_plan(memory_plan)
    assert memory_plan.peak_bytes == 128


def test_an_operand_that_lives_on_is_not_overwritten():
    build = Builder()
    x, a, b = (build.buffer(role) for role in ("input", "temp", "temp"))
    y = build.buffer("output")
    build.step(NEGATE, x, a)
    build.step(NEGATE, a, b)
    build.step(ADD, a, b, y)
    memory_plan = plan(build.schedule(y=y), {"n": 16})
    verify_plan(memory_plan)
    assert memory_plan.peak_bytes == 128
    assert memory_plan.placement("b1").offset != memory_plan.placement("b2").offset


def test_an_operand_read_from_two_elements_on_is_not_overwritten():
    """``b[j] = a[j] + a[j + 4]``: ``a[4]`` is still needed after ``b[4]`` is written."""
    build = Builder()
    x, a = build.buffer("input", N + 4), build.buffer("temp", N + 4)
    b, y = build.buffer("temp", N + 4), build.buffer("output")
    build.step(NEGATE, x, a, arguments=(N + 4,))
    build.step(ADD, a, Binding(a, 4), b)
    build.step(COPY, b, y)
    memory_plan = plan(build.schedule(y=y), {"n": 12})
    verify_plan(memory_plan)
    assert memory_plan.peak_bytes == 128


def test_updates_run_early_and_free_their_gradients():
    schedule = training_step(12)
    memory_plan = plan(schedule, {"n": 16})
    verify_plan(memory_plan)
    assert memory_plan.peak_bytes < listed_peak(schedule, 16)
    # the twelve kept values and one cotangent with one gradient: nothing else lives at once
    assert memory_plan.peak_bytes <= (12 + 2) * 64


def test_no_parameter_is_written_before_the_last_check():
    schedule = training_step(5, check=True)
    memory_plan = plan(schedule, {"n": 16})
    verify_plan(memory_plan)
    checking = [i for i, s in enumerate(memory_plan.steps) if schedule.steps[s.step].kernel is TAKE]
    assert max(checking) < memory_plan.commit
    roles = [
        {schedule.buffer(n).role for n in schedule.steps[s.step].writes()}
        for s in memory_plan.steps
    ]
    assert memory_plan.commit == min(i for i, role in enumerate(roles) if "parameter" in role)


def test_a_check_that_needs_a_written_parameter_is_refused():
    build = Builder()
    x = build.buffer("input")
    w = build.buffer("parameter", label="w")
    rows, words = build.buffer("input", dtype=I64), build.buffer("check", 2, dtype=I64)
    y = build.buffer("output")
    build.step(NEGATE, x, w)
    build.step(TAKE, w, rows, y, words, arguments=(N, N))
    with pytest.raises(VerifyError, match="checked after"):
        plan(build.schedule(y=y), {"n": 4})


def test_the_listed_order_stays_where_none_is_better():
    memory_plan = plan(chain(5), {"n": 8})
    assert [step.step for step in memory_plan.steps] == [0, 1, 2, 3, 4]


def test_plans_do_not_depend_on_those_before():
    planner = Planner(training_step(6))
    sizes = [{"n": n} for n in (5, 100, 0, 5)]
    again = [planner.plan(s) for s in sizes]
    assert again == [plan(planner.schedule, s) for s in sizes]
    assert again[0] == again[3]


def test_an_unknown_staged_input_is_refused():
    with pytest.raises(UnknownNameError, match="b9"):
        plan(chain(2), {"n": 1}, staged={"b9"})


def test_zero_sizes_take_no_bytes():
    memory_plan = plan(chain(5), {"n": 0})
    verify_plan(memory_plan)
    assert memory_plan.peak_bytes == 0


def test_what_lives_at_the_peak_is_named_largest_first():
    build = Builder()
    x, a = build.buffer("input"), build.buffer("temp", 100)
    b, y = build.buffer("temp", 500), build.buffer("output")
    build.step(NEGATE, x, a)
    build.step(NEGATE, a, b)
    build.step(ADD, a, b, y)
    memory_plan = plan(build.schedule(y=y), {"n": 1})
    assert [buffer.name for _, buffer in peak_buffers(memory_plan)] == [b, a]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 8), st.integers(0, 9).map(lambda k: 64 * k)),
        max_size=25,
    )
)
def test_placed_blocks_never_meet(blocks):
    first = tuple(f for f, _, _ in blocks)
    last = tuple(f + length for f, length, _ in blocks)
    sizes = [size for _, _, size in blocks]
    spans = Spans(first, last, 28)
    bound = max(spans.load(sizes))
    for offsets, height in (place(spans, sizes, bound), *place_by_sweeps(spans, sizes)):
        assert height >= bound
        for i in range(len(blocks)):
            assert sizes[i] == 0 or 0 <= offsets[i] <= height - sizes[i]
            for j in range(i):
                together = first[i] <= last[j] and first[j] <= last[i]
                disjoint = (
                    offsets[i] + sizes[i] <= offsets[j] or offsets[j] + sizes[j] <= offsets[i]
                )
                assert not together or disjoint or not sizes[i] or not sizes[j]
    by_hand = [
        sum(s for f, e, s in zip(first, last, sizes, strict=True) if f <= t <= e) for t in range(28)
    ]
    assert spans.load(sizes) == by_hand


@pytest.mark.slow
@given(st.data(), st.integers(1, 12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_overlaps_are_those_of_every_pair(data, layers, staged):
    """The sweep over time finds what a look at every pair of placements finds."""
    schedule = training_step(layers)
    inputs = {b.name for b in schedule.buffers if b.role == "input"}
    memory_plan = plan(schedule, {"n": 100, "m": 3}, staged=inputs if staged else frozenset())
    places = list(memory_plan.placements)
    for _ in range(data.draw(st.integers(0, 3))):
        which = data.draw(st.integers(0, len(places) - 1))
        offset = data.draw(st.sampled_from([p.offset for p in places]))
        places[which] = dataclasses.replace(places[which], offset=offset)
    damaged = dataclasses.replace(
        memory_plan, placements=tuple(places), peak_bytes=memory_plan.peak_bytes + 4096
    )
    meeting = [
        (left, right)
        for i, left in enumerate(places)
        for right in places[:i]
        if max(left.first, right.first) <= min(left.last, right.last)
        and max(left.offset, right.offset)
        < min(left.offset + left.nbytes, right.offset + right.nbytes)
        and not plan_check._takes_over(damaged, left, right)
    ]
    if meeting:
        with pytest.raises(VerifyError, match="share bytes while both live"):
            verify_plan(damaged)
    else:
        verify_plan(damaged)


@pytest.mark.parametrize("n", [1, 5, 37, 64, 1000])
def test_plans_at_any_sizes_are_a_front(n):
    """Each needs fewer bytes than all that are cheaper, also at sizes that are not canonical."""
    planner = Planner(training_step(4))
    for sizes in ({"n": n, "m": 3}, {"n": n + 1, "m": 3}):
        front = planner.front(sizes)
        peaks, seconds = zip(*((plan.peak_bytes, seconds) for plan, seconds in front), strict=True)
        assert len(front) > 1
        assert all(more > fewer for more, fewer in pairwise(peaks))
        assert all(less <= more for less, more in pairwise(seconds))
        for memory_plan, _ in front:
            verify_plan(memory_plan)


@pytest.mark.slow
def test_fronts_and_timelines_are_kept_within_their_bytes(monkeypatch):
    schedule = training_step(8)
    planner = Planner(schedule, budget=0)
    expected = [
        [memory_plan for memory_plan, _ in planner.front({"n": n, "m": 3})] for n in range(1, 7)
    ]
    size = planner._fronts.nbytes / 6
    assert max(len(str(memory_plan)) for memory_plan in expected[0]) > 1000
    monkeypatch.setattr(memory, "_FRONTS", int(3.5 * size))
    monkeypatch.setattr(memory, "_TIMELINES", 1)
    few = Planner(schedule)
    for _ in range(2):
        for n, front in enumerate(expected, 1):
            assert [memory_plan for memory_plan, _ in few.front({"n": n, "m": 3})] == front
            assert few._fronts.nbytes <= 3.5 * size
            few.plan({"n": n, "m": 3})
            assert len(few._timelines) <= 2


@pytest.mark.slow
@pytest.mark.usefixtures("collected_apart")
@pytest.mark.parametrize("layers", [3, 9])
def test_bytes_of_fronts_and_timelines_are_estimated_honestly(layers):
    planner = Planner(training_step(layers))
    planner.plan({"n": 5, "m": 3})
    planner.front({"n": 5, "m": 3})
    planner = Planner(planner.schedule)
    assert planner.orders
    gc.collect()
    tracemalloc.start()
    try:
        planner.plan({"n": 100, "m": 3})
        gc.collect()
        real = tracemalloc.get_traced_memory()[0]
        assert 0.5 < planner._timelines.nbytes / real < 2.0
        assert planner.repeats
        for n in (1, 2, 3):
            planner.front({"n": n, "m": 3})
        fronts = [front for front, *_ in planner._fronts._entries.values()]
        bytes_before = tracemalloc.get_traced_memory()[0]
        copies = [copy.deepcopy(front) for front in fronts]
        real = tracemalloc.get_traced_memory()[0] - bytes_before
        assert 0.5 < sum(front.held_bytes for front in copies) / real < 2.0
    finally:
        tracemalloc.stop()


def test_negative_bytes_are_refused_by_the_planner_and_by_the_check(monkeypatch):
    build = Builder()
    x, y = build.buffer("input", label="x"), build.buffer("output", label="y")
    build.step(NEGATE, x, build.buffer("temp", size=N - 2), arguments=(N - 2,))
    build.step(NEGATE, x, y)
    planner = Planner(build.schedule(y=y))
    for n in (2, 5):
        verify_plan(planner.plan({"n": n}))
    with pytest.raises(SizeGuardError, match="at n=1, a value has -4 bytes"):
        planner.plan({"n": 1})
    monkeypatch.setattr(Planner, "_check_bytes", lambda *args: None)
    with pytest.raises(VerifyError, match="has -4 bytes"):
        verify_plan(planner.plan({"n": 1}))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("layers", [0, 1, 3, 4, 6])
def test_a_budget_equal_to_the_lower_bound_is_met_by_all_workers(layers, workers):
    """No plan needs fewer bytes; steps run again where all values together need more."""
    schedule = training_step(layers) if layers else chain(5)
    bound = Planner(schedule, workers=workers).peak_bound({"n": 64})
    memory_plan = Planner(schedule, budget=bound, workers=workers).plan({"n": 64})
    verify_plan(memory_plan)
    assert (memory_plan.peak_bytes, memory_plan.workers) == (bound, workers)
    with pytest.raises(BudgetInfeasible) as caught:
        Planner(schedule, budget=bound - 1, workers=workers).plan({"n": 64})
    assert caught.value.lower_bound == caught.value.smallest_peak == bound
