"""Groups as values: what every step of fusion gives, and that it leaves what it was given."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
import staticgrad.compiler.lowering.signatures
from passes.pipelines import pipeline
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.cycles import cut_cycles, cycles
from staticgrad.compiler.fusion import cutting
from staticgrad.compiler.fusion.copies import add_copies, add_late_copies
from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.grouping import group
from staticgrad.compiler.fusion.groups import Group, GroupCut, ResultBuffer
from staticgrad.compiler.fusion.merging import fuse_graph, merge_phases
from staticgrad.compiler.fusion.walks import broken_rows
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.lowering.signatures import Lowerings
from staticgrad.compiler.lowering.stages import lower_group
from staticgrad.errors import FeedError
from staticgrad.language.ir.forms import Leaf, Pointwise
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import F32
from tests.compiled.agreement import assert_same
from tests.helpers.diagonals import diagonals
from tests.helpers.random_programs import graphs, random_graph, with_gradients
from tests.passes.golden_models import MODELS
from tests.passes.schedules import run_schedule
from tests.passes.test_neighbours import check

GOLDEN = {name: pipeline("O1")(make()) for name, make in MODELS.items()}


def snapshot(groups):
    """All that the groups say, as it is now."""
    tables = [groups.owners, groups.sources, groups.types, groups.phases]
    of_groups = [tuple(getattr(g, f.name) for f in fields(Group)) for g in groups.all]
    return [*map(dict, tables), set(groups.retained), set(groups.roots), of_groups]


def check_steps(graph):
    """Every value is owned once, every step of fusion leaves the value before as it was."""
    first = group(graph)
    first_state = snapshot(first)
    second = Engine(first).run([merge_phases])
    assert snapshot(first) == first_state
    between = snapshot(second)
    with_copies = add_copies(second)
    assert snapshot(second) == between
    copied_state = snapshot(with_copies.groups)
    late, copies = add_late_copies(with_copies.groups, with_copies.outputs.values())
    assert snapshot(with_copies.groups) == copied_state
    assert {*copies.values()} == {*late.types} - {*with_copies.groups.types}
    for groups in (first, second, with_copies.groups, late):
        check_owners(groups)
    roots = [*with_copies.outputs.values(), *(key for _, key in with_copies.updates)]
    assert len(set(roots)) == len(roots)
    assert all(with_copies.groups.home(key) is not None for key in roots)
    assert all(not broken_rows(with_copies.groups, g) or g.copied for g in with_copies.groups.all)


def check_owners(groups):
    members = Counter(node for kernel_group in groups.all for node in kernel_group.nodes)
    assert set(members.values()) <= {1}
    assert all(key == kernel_group.number for key, kernel_group in groups.by_number.items())
    assert {*groups.owners.values()} <= {*groups.by_number}
    for kernel_group in groups.all:
        assert all(groups.home(key) is kernel_group for key in kernel_group.stored)
        assert all(groups.home(key) is kernel_group for key in kernel_group.reductions)
    for node in groups.graph.nodes:
        source = groups.sources[node, 0]
        if isinstance(node.form, Leaf):
            assert groups.home(ResultBuffer(node)) is None
        elif isinstance(node.form, Pointwise) and not source.inline:
            assert node in groups.by_number[groups.owners[ResultBuffer(node)]].nodes


@pytest.mark.parametrize("name", MODELS)
def test_every_value_has_one_owner_in_four_training_steps(name):
    check_steps(GOLDEN[name])


@given(graphs())
@settings(max_examples=50)
def test_every_value_of_a_random_graph_has_one_owner(drawn):
    graph, _ = drawn
    check_steps(graph)
    check_steps(pipeline("O1")(graph))


def check_groups(graph, merge=True):
    groups = add_copies(fuse_graph(graph, merge)).groups
    lowerings = Lowerings()
    for _ in range(2):  # the second time all is known
        for kernel_group in groups.all:
            if kernel_group.kind in ("call", "body"):  # they have no kernel of their own
                continue
            assert lowerings.lower(groups, kernel_group) == lower_group(groups, kernel_group)


@pytest.mark.thinned(3)
@diagonals(2, ("name", MODELS), ("merge", [True, False]))
def test_what_is_shared_is_what_each_group_would_get(name, merge):
    check_groups(pipeline("O1")(MODELS[name]()), merge)


@pytest.mark.slow
@given(graphs())
@settings(max_examples=40)
def test_what_is_shared_is_what_each_group_of_a_random_graph_would_get(drawn):
    graph, _ = drawn
    for merge in (True, False):
        check_groups(graph, merge)


LARGE = 1 << 20


def arithmetic(links, size=LARGE):
    """A chain of five operations a link, each of which waits for the one before."""
    a, b = sg.input("a", (size,)), sg.input("b", (size,))
    y = a
    for k in range(links):
        y = y * (0.5 + 0.001 * k) + b / (1.0 + y * y)
    return y


def alive_together(count, size=LARGE):
    """Values that are all live until the last is computed, and then all used again."""
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
    return fuse_graph(pipeline("dce")(sg.Graph(value)))


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
    actual = groups_of(arithmetic(160, size))
    lengths = [len(kernel_group.nodes) for kernel_group in actual.all]
    assert sum(lengths) == 800
    assert all(15 <= length <= 60 for length in lengths[:-1])
    assert all(len(kernel_group.stored) <= 2 for kernel_group in actual.all)
    assert {kernel_group.uncut_group.number for kernel_group in actual.all} == {0}
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
    assert len(fuse_graph(graph)) == 1


def cut_anywhere(seed):
    """In the place of what decides where to cut: every group, at places drawn."""
    rng = np.random.default_rng(seed)

    def places(groups, group):
        count = len(group.nodes)
        if count < 2:
            return None
        drawn = rng.choice(np.arange(1, count), rng.integers(1, min(count, 4)), replace=False)
        return sorted(drawn.tolist()), GroupCut(group, 2, 1)

    return places


@pytest.mark.parametrize("name", MODELS)
def test_golden_models_cut_anywhere_have_owners_and_reasons(name, monkeypatch):
    from staticgrad.compiler.lowering.fuse import fusion

    graph = pipeline("O1")(MODELS[name]())
    for seed in range(5):
        monkeypatch.setattr(cutting, "_find_cuts", cut_anywhere(seed))
        check_owners(add_copies(fuse_graph(graph)).groups)
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
    expected = run_schedule(fuse(optimized), graph, feeds, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_find_cuts", cut_anywhere(seed))
        assert_same(run_schedule(fuse(optimized), graph, feeds, sizes), expected)


def test_a_convolution_stores_nothing_that_only_sums_read():
    """Its tiles cannot sum, so each function of the result would be an array."""
    x = sg.input("x", (4, 8, 16, 16), "float32")
    k = sg.input("k", (8, 8, 3, 3), "float32")
    s = sg.input("s", (8, 1, 1), "float32")
    y = sg.nn.conv(x, k, padding=1)
    outputs = {
        "y": y,
        "a": sg.where(x > 0.0, y * (x - s), 0.0).sum((0, 2, 3)),
        "b": sg.where(x > 0.0, -y, 0.0).sum((0, 2, 3)),
    }
    graph = pipeline("O1")(sg.Graph(outputs))
    (product,) = [
        kernel_group for kernel_group in fuse_graph(graph).all if kernel_group.kind == "windows"
    ]
    assert len(product.stored) == 1
    random = np.random.default_rng(0)
    at = {
        n: random.normal(size=v.shape).astype("float32") for n, v in (("x", x), ("k", k), ("s", s))
    }
    assert_same(sg.compile(graph).run(at), sg.compile(graph, fuse=False).run(at))


def test_a_gradient_of_an_image_is_one_array_for_a_batch_norm():
    """The sums of the norm's gradient compute functions of it, and store what is read later."""
    random = np.random.default_rng(0)
    x = sg.input("x", (8, 16, 16, 16), "float32")
    shapes = {"k": (16, 16, 3, 3), "l": (16, 16, 3, 3), "gain": (16, 1, 1), "bias": (16, 1, 1)}
    p = {n: sg.parameter(n, random.normal(size=s).astype("float32")) for n, s in shapes.items()}
    h = sg.nn.conv(x, p["k"], padding=1)
    away = h - h.mean((0, 2, 3), keepdims=True)
    scale = 1.0 / sg.sqrt((away * away).mean((0, 2, 3), keepdims=True) + 1e-5)
    h = sg.nn.relu(away * scale * p["gain"] + p["bias"])
    loss = (sg.nn.conv(h, p["l"], padding=1) ** 2).mean()
    slopes = dict(zip(shapes, sg.grad(loss, [*p.values()]), strict=True))
    graph = pipeline("O1")(sg.Graph(slopes))
    windows = [
        kernel_group for kernel_group in fuse_graph(graph).all if kernel_group.kind == "windows"
    ]
    (image,) = [g for g in windows if any(n.op.name == "conv_image" for n in g.nodes)]
    assert len(image.stored) == 1
    at = {"x": random.normal(size=x.shape).astype("float32")}
    assert_same(sg.compile(graph).run(at), sg.compile(graph, fuse=False).run(at))


@pytest.mark.parametrize("shape", [(256, 256), (64, 512)])
def test_a_gradient_that_waits_for_a_check_is_stored_without_its_update(shape):
    w = sg.parameter("w", np.full(shape, 0.5, "float32"))
    x = sg.input("x", (32, shape[0]), "float32")
    updates = sg.optim.SGD(0.1, skip_nonfinite=True).updates((x @ w).sum(), [w])
    step = sg.compile(sg.Graph({}, updates))
    nbytes = w.value.nbytes
    assert nbytes <= step.plan().peak_bytes < 1.1 * nbytes
    values = np.random.default_rng(0).normal(size=x.shape).astype("float32")
    step.run({"x": values})
    slopes = np.broadcast_to(values.sum(0, dtype="float64")[:, None], shape)
    np.testing.assert_allclose(w.value, 0.5 - 0.1 * slopes, rtol=1e-4, atol=1e-5)
    value_before = w.value.copy()
    values[3, 5] = np.inf
    step.run({"x": values})
    np.testing.assert_array_equal(w.value, value_before)
