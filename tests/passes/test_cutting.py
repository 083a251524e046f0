"""How large groups become: what a kernel costs, and parts of one that would wait for itself."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.cost import (
    LARGEST,
    LARGEST_EPILOGUE,
    cut_cycles,
    cycles,
    instructions,
)
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import FeedError
from staticgrad.fusion import cutting
from staticgrad.fusion.copies import with_copies
from staticgrad.fusion.groups import Parts
from staticgrad.fusion.merging import fused
from staticgrad.lowering.fuse import fuse
from staticgrad.types.arrays import TensorType
from staticgrad.types.dtype import F32
from tests.passes.golden_models import MODELS
from tests.passes.test_fuse import with_gradients
from tests.passes.test_groups import check_owners
from tests.passes.test_neighbours import check
from tests.random_graphs import random_graph
from tests.schedules import run_schedule

LARGE = 1 << 20


def arithmetic(links, size=LARGE):
    """A chain of five operations a link, each of which waits for the one before."""
    a, b = sg.input("a", (size,)), sg.input("b", (size,))
    y = a
    for k in range(links):
        y = y * (0.5 + 0.001 * k) + b / (1.0 + y * y)
    return y


def alive_together(count, size=LARGE):
    """As many values that are all alive until the last is known, and then all used again."""
    a, b = sg.input("a", (size,)), sg.input("b", (size,))
    values = [(a * (0.5 + 0.001 * k)) / (b + float(k + 1)) for k in range(count)]
    y = values[0]
    for value in values[1:]:
        y = y * y + value
    z = y
    for value in reversed(values):
        z = z * value + y
    return z


def groups_of(value):
    return fused(pipeline("dce")(sg.Graph(value)))


def work_of(group):
    return sum(map(instructions, group.nodes))


def test_a_loop_takes_as_long_as_its_instructions_or_as_they_wait():
    """By hand: a window of 320 instructions, two a cycle."""
    assert cycles(100, 20, 1000) == 50  # nothing waits
    assert cycles(160, 500, 1000) == 250  # two vectors at a time
    assert cycles(640, 2000, 1000) == 2000  # the window holds less than one
    assert cycles(16, 200, 4) == 50  # there are but four
    assert cycles(640, 2000, 1000, side_by_side=4) == 500
    near, far = (TensorType(F32, (n,)) for n in (1 << 12, 1 << 24))
    assert cut_cycles(3, near) < cut_cycles(3, far) == 30 + 60 / (1 << 20)


@pytest.mark.parametrize("size", [LARGE, "n"])
def test_a_chain_of_hundreds_is_one_kernel_and_a_longer_one_is_cut(size):
    """400 operations on 2**21 elements: 6.6 ms in one kernel, 8.2 in kernels of 20."""
    assert len(groups_of(arithmetic(80, size))) == 1
    found = groups_of(arithmetic(160, size))
    lengths = [len(each.nodes) for each in found.all]
    assert sum(lengths) == 800
    assert all(15 <= length <= 60 for length in lengths[:-1])
    assert all(len(each.stored) <= 2 for each in found.all)
    assert {each.whole.number for each in found.all} == {0}
    assert len(groups_of(arithmetic(4, size))) == 1


def test_values_that_are_all_needed_again_are_not_stored():
    """A cut would store 100 arrays: 45 ms and 385 MB in kernels of 48 operations, 19 ms in one."""
    assert len(groups_of(alive_together(100))) == 1


def test_a_value_and_its_gradient_through_a_long_chain_are_one_kernel():
    """The gradient reads every value of the chain: 160 ms and 881 MB of cuts, 53 ms without."""
    a, y = sg.input("a", (LARGE,)), arithmetic(40)
    (a,) = [value for value in sg.Graph(y).inputs if value.node.op.label == "a"]
    slope = sg.grad(y.sum(), a)
    graph = pipeline("O1")(sg.Graph({"y": y, "da": slope}))
    assert len(fused(graph)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("program", "count"), [(arithmetic, 2000), (alive_together, 1500)])
def test_no_kernel_is_larger_than_the_limit(program, count):
    found = groups_of(program(count))
    assert max(map(work_of, found.all)) <= LARGEST
    assert max(each.instructions for each in found.all) > LARGEST // 2


def test_a_long_epilogue_is_a_kernel_of_its_own():
    x = sg.input("x", (256, 256))
    y = x @ np.eye(256, dtype="f4")
    for k in range(300):
        y = y * (0.5 + 0.001 * k) + x
    product = groups_of(y).all[0]
    assert product.kind == "gemm"
    assert 10 < work_of(product) <= LARGEST_EPILOGUE


@pytest.mark.parametrize("case", ["one copy", "two copies", "stored anyway"])
def test_elements_are_stored_where_rows_would_need_more_copies(case):
    """A row of several axes is one run of memory; what repeats along one of them is not."""
    shapes = {"x": (6, 5, 7, 9), "gain": (5, 1, 1), "bias": (7, 9)}
    x, gain, bias = (sg.input(name, shape, "float32") for name, shape in shapes.items())
    value = {"one copy": x * gain, "two copies": x * gain + bias, "stored anyway": x * bias}[case]
    outputs = {"sum": value.sum((1, 2, 3)), "max": value.max((1, 2, 3))}
    if case == "stored anyway":
        outputs["value"] = value
    graph = sg.Graph(outputs)
    kinds = [each.kind for each in with_copies(fused(graph)).groups.all]
    assert sorted(kinds) == (["copy", "map"] if case == "one copy" else ["map", "map"])
    rng = np.random.default_rng(5)
    feeds = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    feeds.pop({"one copy": "bias", "stored anyway": "gain"}.get(case, ""), None)
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    assert all(same_bytes(found[name], wanted[name]) for name in outputs)


def cut_anywhere(seed):
    """In the place of what decides where to cut: every group, at places drawn."""
    rng = np.random.default_rng(seed)

    def places(groups, group):
        count = len(group.nodes)
        if count < 2:
            return None
        drawn = rng.choice(np.arange(1, count), rng.integers(1, min(count, 4)), replace=False)
        return sorted(drawn.tolist()), Parts(group, 2, 1)

    return places


@pytest.mark.parametrize("name", MODELS)
def test_golden_models_cut_anywhere_have_owners_and_reasons(name, monkeypatch):
    from staticgrad.lowering.fuse import fusion

    graph = pipeline("O1")(MODELS[name]())
    for seed in range(5):
        monkeypatch.setattr(cutting, "_cuts", cut_anywhere(seed))
        check_owners(with_copies(fused(graph)).groups)
        check(fusion(graph))


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_cuts_anywhere_change_no_bit(seed):
    graph, feeds = random_graph(np.random.default_rng(seed))
    graph = with_gradients(graph)
    try:
        sizes = bind_sizes(graph, {name: np.shape(array) for name, array in feeds.items()}, None)
    except FeedError:
        return  # a size that no feed determines
    optimized = pipeline("O1")(graph)
    wanted = run_schedule(fuse(optimized), graph, feeds, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_cuts", cut_anywhere(seed))
        found = run_schedule(fuse(optimized), graph, feeds, sizes)
    assert all(same_bytes(found[name], array) for name, array in wanted.items())


@pytest.mark.slow
def test_a_chain_that_is_cut_gives_the_bytes_of_single_operations():
    graph = sg.Graph(arithmetic(250, "n"))
    feeds = {name: np.linspace(0.1, 2, 1003, dtype="f4") for name in "ab"}
    assert len(sg.compile(graph).schedule.steps) > 1
    found, wanted = (sg.compile(graph, fuse=f).run(feeds)["output"] for f in (True, False))
    assert same_bytes(found, wanted)
