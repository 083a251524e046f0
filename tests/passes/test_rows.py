"""Groups that take a row at a time: which groups join, the stages they get, and equal bytes."""

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import VerifyError
from staticgrad.fusion.copies import with_copies
from staticgrad.fusion.merging import fused
from staticgrad.fusion.reasons import Precedence
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.stages import Columns, Map, Scalar
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.ir.schedule import KernelStep
from staticgrad.ir.summation import BLOCK, block_sum, lane_sum
from staticgrad.lowering.fuse import fuse, fusion
from tests.compiled.agreement import assert_same
from tests.diagonals import diagonals
from tests.passes.test_groups import check_owners
from tests.passes.test_neighbours import check as check_reasons
from tests.row_programs import RowProgram
from tests.schedules import run_schedule


def kernels(outputs, level="O1"):
    """Those of the steps of a graph."""
    schedule = fuse(pipeline(level)(sg.Graph(outputs)))
    return [kernel for step in schedule.steps for kernel in step.kernels()]


def stages(kernel):
    return [type(stage) for stage in kernel.stages]


# -- counts ---------------------------------------------------------------------------------------


def x_of(*shape, dtype="float32", name="x"):
    return sg.input(name, shape, dtype)


def test_softmax_is_one_kernel_and_its_gradient_another():
    x, ct = x_of("n", 100), x_of("n", 100, name="ct")
    y = sg.nn.softmax(x)
    (alone,) = kernels(y)
    assert stages(alone) == [Map, Map, Map]
    assert len(kernels({"y": y, "dx": sg.vjp(y, x, ct)})) == 1
    w = sg.parameter("w", np.ones((100, 30), "f4"))
    loss = sg.sum(sg.square(y @ w))
    made = kernels({"loss": loss, "dx": sg.grad(loss, x)})
    assert [stages(kernel).count(Map) for kernel in made if stages(kernel).count(Map) > 1] == [3, 2]


def test_a_softmax_writes_over_what_it_reads_no_more():
    (kernel,) = kernels(sg.nn.softmax(x_of("n", 100)))
    assert kernel.in_place == {("p1", "p0")}
    x, w = x_of("n", 64), sg.parameter("w", np.ones((64, 64), "f4"))
    f = sg.compile(sg.Graph(sg.nn.softmax(x @ w) @ w))
    assert f.plan(n=1000).peak_bytes < 2 * 1000 * 64 * 4  # one array, and what a row keeps


def test_layer_norm_is_one_kernel():
    gain, bias = (x_of(64, name=name) for name in "gb")
    (kernel,) = kernels(sg.nn.layer_norm(x_of("n", 64), gain, bias))
    assert stages(kernel) == [Map, Scalar, Map, Scalar, Map]


def test_the_gradient_of_a_layer_norm_is_one_kernel_and_two_that_combine():
    x, ct = x_of(300, 64), x_of(300, 64, name="ct")
    gain, bias = (x_of(64, name=name) for name in "gb")
    y = sg.nn.layer_norm(x, gain, bias)
    slopes = sg.vjp(y, [x, gain, bias], ct)
    both, *combining = kernels({"y": y, **dict(zip("abc", slopes, strict=True))})
    assert both.grouped == 1
    assert [stages(kernel) for kernel in combining] == [[Columns], [Columns]]
    assert both.text.count("column sum") == 2
    backward, *_ = kernels(dict(zip("abc", slopes, strict=True)))
    assert backward.text.count("column sum") == 2
    assert "scratch" in backward.text


@pytest.mark.parametrize("wanted", [("loss", "dx"), ("loss",), ("dx",)])
def test_a_label_outside_the_classes_is_told_with_its_place(wanted):
    x, labels = x_of(40, 50), sg.input("t", (40,), "int64")
    loss = sg.nn.cross_entropy(x, labels)
    outputs = {"loss": loss, "dx": sg.grad(loss, x)}
    f = sg.compile(sg.Graph({name: outputs[name] for name in wanted}))
    feeds = {"x": np.ones((40, 50), "f4"), "t": np.arange(40)}
    for wrong in (-1, 50):
        feeds["t"][[31, 17]] = wrong
        with pytest.raises(sg.StaticgradError, match=rf"(?s){wrong}.*17"):
            f.run(feeds)


@pytest.mark.parametrize("place", [0, -1])
def test_the_only_place_of_a_row_is_set_beside_a_longer_one(place):
    """The kernel has a loop over the longer row; the row of one element has none."""
    x, scale = sg.input("x", (5,), "float32"), sg.input("scale", (1,), "float32")
    short, at = sg.input("short", (1,), "float32"), sg.input("at", (1,), "int64")
    wide = (x + scale * 3.0) * x
    slope = sg.grad((sg.take_along_axis(short, at, 0) * scale).sum(), short)
    f = sg.compile(sg.Graph({"both": slope + wide.sum(keepdims=True), "wide": wide}))
    found = f.run({"x": np.arange(5, dtype="f4"), "scale": np.ones(1, "f4"), "at": [place]})
    assert found["both"] == 61.0  # 1 + 0 * 3 + 1 * 4 + 2 * 5 + 3 * 6 + 4 * 7
    assert len(f.schedule.steps) == 1
    with pytest.raises(sg.errors.IndexOutOfRange):
        f.run({"x": np.zeros(5, "f4"), "scale": np.ones(1, "f4"), "at": [1]})


def test_the_update_of_a_parameter_stays_in_place():
    w = sg.parameter("w", np.ones((20, 50), "f4"))
    graph = sg.Graph({}, updates={w: w / sg.sum(w, 1, keepdims=True)})
    (*_, last) = fuse(pipeline("O1")(graph)).steps
    assert {touch.buffer for touch in last.accesses() if touch.mode != "in"} == {"param.w"}


# -- bytes ----------------------------------------------------------------------------------------


def check_bytes(program):
    """What the kernels of one row at a time give, and those of one operation each."""
    optimized = pipeline("O1")(program.graph)
    found, wanted = (
        run_schedule(fuse(optimized, merge), program.graph, program.feeds, program.sizes)
        for merge in (True, False)
    )
    assert_same(found, wanted)


@pytest.mark.slow
@given(st.integers(0, 2**32), st.sampled_from(["float32", "float64"]))
@example(2445341, "float32")  # a look-up among elements of short rows, joined before their sum
@settings(max_examples=8)
def test_random_rows_have_the_bytes_of_single_operations(seed, dtype):
    check_bytes(RowProgram(seed, dtype))


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=8)
def test_random_rows_of_a_storage_dtype_have_the_same_bytes(seed):
    check_bytes(RowProgram(seed, "float16"))


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=24)
def test_random_rows_have_owners_and_reasons(seed):
    graph = pipeline("O1")(RowProgram(seed).graph)
    check_owners(with_copies(fused(graph)).groups)
    check_reasons(fusion(graph))


@pytest.mark.slow
def test_random_programs_have_rows_of_many_stages():
    counts = [
        max(len(kernel.stages) for kernel in kernels(RowProgram(seed).graph.outputs))
        for seed in range(30)
    ]
    assert sum(count > 2 for count in counts) >= 10
    assert max(counts) > 5


# -- an order that is kept while some become one --------------------------------------------------


@pytest.mark.slow
def test_a_join_that_several_groups_write_part_by_part_is_read_after_the_last():
    """Two parts of one join are written by groups of one level. A group of rows that one of them
    reads must not join another that reads the join."""
    x = sg.input("x", (4, 3), "float64")
    padded = sg.pad(x, ((0, 0), (1, 1)), mode="maximum", stat_length=2)
    slope = sg.grad(sg.sin(padded).sum(), x)
    curve = sg.grad((slope**2).sum(), x)
    feeds = {"x": np.random.default_rng(0).standard_normal((4, 3))}
    found = sg.compile(curve).run(feeds)
    assert same_bytes(found, sg.compile(curve, fuse=False, pipeline="").run(feeds))


@given(st.integers(0, 2**32))
def test_merges_leave_an_order_without_cycles(seed):
    """Beside a search of all paths, which is slow and has no order to keep."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 12))
    edges = {(a, b) for a in range(count) for b in range(a + 1, count) if random.random() < 0.3}
    order = Precedence(range(count), edges, lambda number: number)
    for _ in range(20):
        numbers = order.all()
        if len(numbers) < 2:
            break
        one, other = sorted(random.choice(numbers, 2, replace=False), key=order.place)
        reach = {n: {b for a, b in edges if a == n} for n in numbers}
        through = {b for a, b in edges if a == one} - {other}
        seen = set(through)
        while through:
            through = {b for n in through for b in reach[n]} - seen
            seen |= through
        assert order.may_merge(one, other) == (other not in seen)
        if other in seen:
            continue
        order.merge(one, other)
        edges = {tuple(one if n == other else n for n in edge) for edge in edges}
        edges -= {(one, one)}
        assert all(order.place(a) < order.place(b) for a, b in edges)
        assert {b: set(order.before(b)) for b in order.all()} == {
            n: {a for a, b in edges if b == n} for n in order.all()
        }


@pytest.mark.slow
def test_what_was_joined_to_a_part_that_is_taken_out_stays_in_the_group():
    """The second derivative of a vector function per row, whose long operations leave the group."""
    m, b = sg.input("m", (4, 4), "float64"), sg.input("b", (4,), "float64")
    x = sg.input("x", (4,), "float64")
    y = sg.special.log_ndtr(sg.atan2(x @ m, b + 0.1) * 0.5 + (m * x).sum(axis=1))
    slope = sg.grad((sg.sin(y) * 1.3).sum(), x)
    graph = sg.Graph({"h": sg.grad((slope * sg.sin(x)).sum(), x)})
    draw = np.random.default_rng(0).normal
    feeds = {"m": draw(size=(4, 4)), "b": draw(size=4), "x": draw(size=4)}
    found = sg.compile(graph).run(feeds)["h"]
    np.testing.assert_allclose(found, sg.evaluate(graph, feeds)["h"], rtol=1e-10)


def test_groups_that_store_parts_of_two_joins_come_in_one_order():
    """The derivatives of a cross product by both vectors are joins of the same three groups."""

    def ratio(a, b):
        return sg.cross(a, b)[:2] / (a * b).sum()

    slopes = sg.vmap(sg.jacobian(ratio, (0, 1)))
    a, b = np.random.default_rng(0).normal(size=(2, 80, 3))
    one, other = sg.function(slopes)(a, b)
    size = (a * b).sum(1)[:, None, None]
    for found, by, sign in ((one, b, 1.0), (other, a, -1.0)):
        zero, (u, v, w) = np.zeros(80), by.T
        skew = sign * np.stack([np.stack([zero, w, -v], 1), np.stack([-w, zero, u], 1)], 1)
        expected = skew / size - np.cross(a, b)[:, :2, None] * by[:, None] / size**2
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 40), st.integers(1, 4 * BLOCK), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_sums_of_pieces_add_up_to_that_of_the_row(pieces, rest, doublings):
    """By the counter rule, where each piece but the last is a power of two of blocks."""
    piece = BLOCK << doublings
    row = np.random.default_rng(pieces).normal(size=(pieces - 1) * piece + min(rest, piece))
    row = row.astype("f4")
    parts = [lane_sum(row[k : k + piece]) for k in range(0, row.size, piece)]
    assert same_bytes(block_sum(np.array(parts)), lane_sum(row))


BLOCKS = """kernel(p0: in {dtype}, p1: out {dtype}; n0) {{
  map j: n0 {{
    %0: {dtype} = load p0[j]
    @r0: {dtype} = {kind} of blocks %0
  }}
  scalar {{
    store p1[0] = @r0
  }}
}}
"""


def test_only_the_order_of_a_sum_of_floats_is_of_blocks():
    text = BLOCKS.format(dtype="f32", kind="sum")
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    assert str(kernel) == text.strip() or str(kernel) == text
    assert kernel != parse_kernel(text.replace(" of blocks", ""))
    for dtype, kind in (("f32", "max"), ("i32", "sum")):
        with pytest.raises(VerifyError, match="no order of blocks"):
            verify_kernel(parse_kernel(BLOCKS.format(dtype=dtype, kind=kind)))


ROWS = sg.dim("rows", hint=500)


def scratch_of(graph):
    """Of each step, how many operands it spreads out."""
    found = []
    for step in sg.compile(graph).schedule.steps:
        assert isinstance(step, KernelStep)
        found.append(sum(operand.mode == "scratch" for operand in step.kernel.operands))
    return found


def test_what_is_broadcast_is_spread_out():
    """Over rows, along them, or both; what is one number is not."""
    x, b, c = (sg.input(n, s) for n, s in (("x", (1000, 10)), ("b", (10,)), ("c", (1000, 1))))
    assert scratch_of(sg.Graph(x - b)) == [1]
    assert scratch_of(sg.Graph(sg.exp(x * c) * b)) == [2]
    assert scratch_of(sg.Graph(x * 2.0 + sg.input("one", ()))) == [0]


@pytest.mark.parametrize("shape", [(1000, 17), (20, 10)], ids=str)
def test_long_rows_and_few_are_taken_one_by_one(shape):
    assert scratch_of(sg.Graph(sg.input("x", shape) - sg.input("b", shape[1:]))) == [0]


def test_workers_share_its_chunks():
    x, b = sg.input("x", (25, 1000, 10)), sg.input("b", (25, 1, 10))
    (step,) = sg.compile(sg.Graph(x - b)).schedule.steps
    assert (str(step.total), step.grain) == ("200", 12)


def operand(name, form, length, dtype):
    """An operand over (3, rows, length), and its shape for so many rows."""
    shapes = {
        "whole": (3, ROWS, length),
        "rows": (ROWS, length),
        "alike": (length,),
        "outer": (3, 1, length),
        "each": (ROWS, 1),
        "number": (3, 1, 1),
        "transposed": (length, ROWS),
    }
    return sg.input(name, shapes[form], dtype), shapes[form]


@pytest.mark.slow
@given(
    st.lists(
        st.sampled_from(["rows", "alike", "outer", "each", "number", "transposed"]), max_size=4
    ),
    st.integers(2, 18),
    st.sampled_from(["float32", "float64", "float16", "int32", "bool"]),
    st.integers(0, 2**32),
)
@settings(max_examples=24, deadline=None)
def test_folded_maps_have_the_bytes_of_single_operations(forms, length, dtype, seed):
    made = [operand(f"x{k}", f, length, dtype) for k, f in enumerate(["whole", *forms])]
    pairs = zip(made[1:], forms, strict=True)
    values = [value.T if form == "transposed" else value for (value, _), form in pairs]
    total = made[0][0]
    for value in values:
        total = sg.where(total, value, total) if dtype == "bool" else total * value + total
    later = total if dtype in ("bool", "int32") else sg.tanh(total)
    graph = sg.Graph({"total": total, "later": later, "one": ~total if dtype == "bool" else -total})
    f, unfused = sg.compile(graph), sg.compile(graph, fuse=False)
    random = np.random.default_rng(seed)
    for rows in (1, 127, 129, int(random.integers(2, 400))):
        shapes = [[rows if n is ROWS else n for n in shape] for _, shape in made]
        arrays = [(random.normal(size=shape) * 4).astype(dtype) for shape in shapes]
        feeds = {f"x{k}": array for k, array in enumerate(arrays)}
        assert_same(f.run(feeds), unfused.run(feeds), rows)


def in_place(rows, length, dtype, read_later=False):
    """Rows of a product, scaled by what other rows of it come to; read by a product again."""
    x, w = sg.input("x", (rows, 12), dtype), sg.input("w", (12, length), dtype)
    v = sg.input("v", (length, 7), dtype)
    y = x @ w
    scaled = y * sg.tanh((y * y).sum(1))[::-1][:, None]
    outputs = {"z": scaled @ v}
    if read_later:
        outputs["again"] = sg.tanh(outputs["z"]) @ v.T @ y.T[:, :5]
    return sg.Graph(outputs)


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 16), ("float64", 8)])
def test_rows_do_not_wait_for_what_was_stored_over_their_operand(dtype, lanes):
    """Rows of up to three vectors, the last of which is not full; whole ones never wait.

    Those of a half or less are written out.
    """
    for length in (lanes - 1, lanes + 2, 3 * lanes - 1):
        assert 1 in scratch_of(in_place(1000, length, dtype)), length
    for length in (lanes, 2 * lanes, 3 * lanes + 1):
        assert 1 not in scratch_of(in_place(1000, length, dtype)), length
    assert 1 not in scratch_of(in_place(1000, lanes + 2, dtype, read_later=True))


@pytest.mark.thinned(4)
@diagonals(
    2,
    ("read_later", [False, True]),
    ("length", [3, 10, 23]),
    ("dtype", ["float16", "float32", "float64"]),
)
def test_what_lies_in_place_has_the_bytes_of_single_operations(length, dtype, read_later):
    """Groups that differ in nothing but who reads their operand later have kernels of their own."""
    graph = in_place(ROWS, length, dtype, read_later)
    f, unfused = sg.compile(graph, threads=3), sg.compile(graph, fuse=False)
    random = np.random.default_rng(length)
    for rows in (5, 129, 300):
        shapes = {"x": (rows, 12), "w": (12, length), "v": (length, 7)}
        feeds = {n: random.normal(size=s).astype(dtype) for n, s in shapes.items()}
        assert_same(f.run(feeds), unfused.run(feeds), rows)
