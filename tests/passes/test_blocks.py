"""Attention, and what looks like it, as kernels of one head at a time.

Wanted are the bytes of single kernels: no product, sum or maximum is computed otherwise, wherever
its operands lie. Counts say that scores reach no memory but what the backward pass reads.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.fusion.blocks import blocked
from staticgrad.fusion.grouping import group
from staticgrad.ir.kernels.stages import Gemm, Loop, Map, nested
from staticgrad.ir.schedule import KernelStep
from tests.diagonals import diagonals


def random(shape, dtype):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def operands(batch, t, s, d, e, dtype):
    shapes = {"q": (t, d), "k": (s, d), "v": (s, e), "g": (t, e)}
    feeds = {name: random((*batch, *shape), dtype) for name, shape in shapes.items()}
    return [sg.input(name, array.shape, dtype) for name, array in feeds.items()], feeds


def attention(q, k, v, causal=True, mask=None):
    return sg.nn.attention(q, k, v, mask, causal=causal)


def by_hand(q, k, v):
    """As array code has it: an additive mask of -inf, a softmax without a shift, other names."""
    t, s = q.shape[-2], k.shape[-2]
    forbidden = np.where(np.tri(t, s, dtype=bool), 0, -np.inf).astype(q.dtype.numpy)
    scores = (q @ sg.swapaxes(k, -1, -2)) / 3.0 + forbidden
    raised = sg.exp(scores - scores.max(-1, keepdims=True))
    return raised @ v / raised.sum(-1, keepdims=True)


def with_gradients(out, sources):
    q, k, v, g = sources
    return {"o": out, **dict(zip("qkv", sg.grad((out * g).sum(), [q, k, v]), strict=True))}


def check_bytes(outputs, feeds):
    """What the blocks of a program give, beside a kernel for each node."""
    f = sg.compile(dict(outputs))
    found, wanted = f.run(feeds), sg.compile(dict(outputs), fuse=False).run(feeds)
    for name, array in wanted.items():
        assert same_bytes(found[name], array), name
    return f


def kernels_of_blocks(f):
    """The steps with a product beside other stages."""
    steps = [step for step in f.schedule.steps if isinstance(step, KernelStep)]
    return [step for step in steps if any(isinstance(s, Loop) for s in step.kernel.stages)]


SHAPES = [
    ((2, 2), 64, 64, 32, 32, True),
    ((3,), 37, 37, 20, 20, True),
    ((1, 2), 16, 50, 8, 24, True),
    ((2,), 45, 33, 16, 16, True),
    ((2,), 32, 32, 32, 32, True),  # all matrices of one shape
    ((2,), 33, 70, 16, 40, False),
    ((2,), 40, 40, 130, 16, True),  # deeper than what is packed together
    ((1,), 300, 300, 120, 16, True),  # more panels than are kept
]


@pytest.mark.thinned(4)
@pytest.mark.parametrize(("batch", "t", "s", "d", "e", "causal"), SHAPES)
def test_the_bytes_are_those_of_single_kernels(batch, t, s, d, e, causal):
    sources, feeds = operands(batch, t, s, d, e, "float32")
    f = check_bytes(with_gradients(attention(*sources[:3], causal=causal), sources), feeds)
    assert len(kernels_of_blocks(f)) == 2
    assert len(f.schedule.steps) == (2 if causal else 3)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_dtypes(dtype):
    sources, feeds = operands((2,), 40, 40, 24, 24, dtype)
    f = check_bytes(with_gradients(attention(*sources[:3]), sources), feeds)
    assert len(kernels_of_blocks(f)) == 2


def test_array_code():
    sources, feeds = operands((2, 1), 40, 40, 16, 24, "float32")
    f = check_bytes(with_gradients(by_hand(*sources[:3]), sources), feeds)
    assert kernels_of_blocks(f)


def test_a_mask_for_each_batch():
    sources, feeds = operands((2, 3), 20, 30, 16, 16, "float32")
    mask = sg.input("m", (2, 1, 1, 30), "bool")
    feeds["m"] = np.random.default_rng(0).random((2, 1, 1, 30)) < 0.6
    feeds["m"][1] = False  # nobody may look anywhere
    out = attention(*sources[:3], causal=False, mask=mask)
    check_bytes(with_gradients(out, sources), feeds)


def test_heads_that_share_keys():
    """Several heads of queries over one head of keys: the operand is stretched over them."""
    (q, _, _, g), feeds = operands((2, 3), 20, 20, 16, 16, "float32")
    k, v = (sg.input(name, (2, 1, 20, 16), "float32") for name in "kv")
    feeds |= {"k": random((2, 1, 20, 16), "float32"), "v": random((2, 1, 20, 16), "float32")}
    f = check_bytes(with_gradients(attention(q, k, v), [q, k, v, g]), feeds)
    assert kernels_of_blocks(f)


def test_heads_as_slices_of_one_product():
    """Queries, keys and values as views of one array, heads between rows and columns."""
    x = sg.input("x", (2, 24, 3, 4, 16), "float32")
    q, k, v = (sg.swapaxes(x[:, :, n], 1, 2) for n in range(3))
    out = attention(q, k, v)
    outputs = {"o": out, "x": sg.grad((out * out).sum(), x)}
    check_bytes(outputs, {"x": random((2, 24, 3, 4, 16), "float32")})


@pytest.mark.parametrize("t", [16, 33, 70])
def test_a_named_length(t):
    q, k, v = (sg.input(name, ("b", "t", 16), "float32") for name in "qkv")
    f = sg.compile({"o": attention(q, k, v)})
    feeds = {name: random((3, t, 16), "float32") for name in "qkv"}
    found = f.run(feeds)["o"]
    assert same_bytes(found, sg.compile({"o": attention(q, k, v)}, fuse=False).run(feeds)["o"])
    assert len(kernels_of_blocks(f)) == 1


def test_numbers_that_are_none():
    """NaN and infinities go where they go in single kernels."""
    sources, feeds = operands((3,), 40, 40, 16, 16, "float32")
    for name, (row, value) in {"q": (3, np.nan), "k": (20, np.inf), "v": (30, -np.inf)}.items():
        feeds[name][1, row, 2] = value
    feeds["q"][2] = -3e38
    check_bytes(with_gradients(attention(*sources[:3]), sources), feeds)


@pytest.mark.parametrize(
    ("backend", "derived"),
    [
        ("vector", True),
        pytest.param("numba", False, marks=pytest.mark.exhaustive),
        pytest.param("numba", True, marks=pytest.mark.exhaustive),
    ],
)
def test_backends(backend, derived):
    sources, feeds = operands((2,), 40, 40, 16, 16, "float32")
    out = attention(*sources[:3])
    outputs = with_gradients(out, sources) if derived else {"o": out}
    if not derived:
        del feeds["g"]
    found = sg.compile(outputs, backend=backend).run(feeds)
    with sg.options(jit=False):
        wanted = sg.compile(outputs).run(feeds)
    assert all(same_bytes(found[name], array) for name, array in wanted.items())


# -- what masks forbid ----------------------------------------------------------------------------


def masked(q, k, v, reach, fill):
    """Every value of attention under a mask that is a matrix."""
    t, s = q.shape[-2], k.shape[-2]
    allowed = np.tri(t, s, reach, dtype=bool)
    scores = sg.where(allowed, q @ sg.swapaxes(k, -1, -2) * 0.25, fill)
    top = sg.stop_gradient(scores.max(-1, keepdims=True))
    raised = sg.exp(scores - top)
    weights = sg.where(allowed, raised / raised.sum(-1, keepdims=True), 0.0)
    return {"scores": scores, "raised": raised, "weights": weights, "o": weights @ v}


@pytest.mark.thinned
@diagonals(
    2,
    ("reach,fill", [(0, -np.inf), (5, -1e9), (35, -1e9), (-1, -1e9)]),
    ("extra", [(), ("scores",), ("raised",), ("weights",)]),
)
def test_what_others_read_is_there(reach, fill, extra):
    sources, feeds = operands((2,), 70, 70, 16, 16, "float32")
    made = masked(*sources[:3], reach, fill)
    outputs = with_gradients(made["o"], sources) | {name: made[name] for name in extra}
    check_bytes(outputs, feeds)


def shortened(f):
    """How many products end or begin where a mask does."""
    stages = [stage for step in kernels_of_blocks(f) for stage, _ in nested(step.kernel.stages)]
    products = [stage for stage in stages if isinstance(stage, Gemm)]
    return sum(bool(g.k[0].limits or g.j[0].limits) for g in products)


def test_weights_are_computed_again_for_their_gradient():
    """Of all that lies over queries and keys one array crosses from forward to backward."""
    sources, feeds = operands((2,), 64, 64, 32, 32, "float32")
    f = check_bytes(with_gradients(attention(*sources[:3]), sources), feeds)
    temporaries = [b for b in f.schedule.buffers if b.role == "temp"]
    assert [b.size for b in temporaries if b.size == 2 * 64 * 64] == [2 * 64 * 64]


def ends_of_rows(f):
    """Whether the rows of tiles end where a mask does, in the first block of a program."""
    stages = nested(kernels_of_blocks(f)[0].kernel.stages)
    inside = [each for each, around in stages if len(around) > 1 and isinstance(each, Map)]
    return {bool(stage.axis.past) for stage in inside}


def test_what_readers_mask_is_stored_where_masks_allow_it():
    """The exponentials that the gradient divides again; not where somebody reads all of them."""
    sources, feeds = operands((2,), 64, 64, 32, 32, "float32")
    q, k, v, _ = sources
    allowed = np.tri(64, dtype=bool)
    scores = sg.where(allowed, q @ sg.swapaxes(k, -1, -2), -9.0)
    raised = sg.exp(scores - sg.stop_gradient(scores.max(-1, keepdims=True)))
    masked = sg.where(allowed, raised, 0.0)
    weights = sg.where(allowed, masked / masked.sum(-1, keepdims=True), 0.0)
    outputs = with_gradients(weights @ v, sources)
    f = check_bytes(outputs, feeds)
    assert ends_of_rows(f) == {True}
    assert ends_of_rows(check_bytes({**outputs, "raised": raised}, feeds)) == {False, True}
    found, wanted = sg.compile(outputs, debug=True).run(feeds), f.run(feeds)
    assert all(same_bytes(found[name], array) for name, array in wanted.items())


def test_products_leave_out_what_a_mask_forbids():
    sources, feeds = operands((2,), 70, 70, 16, 16, "float32")
    f = check_bytes(with_gradients(attention(*sources[:3]), sources), feeds)
    assert shortened(f) == 6
    assert not any(step.label == "le" for step in f.schedule.steps)  # positions decide it
    assert not shortened(sg.compile({"o": attention(*sources[:3], causal=False)}))


@pytest.mark.parametrize("sign", [1, -1])
def test_zeros_keep_their_sign(sign):
    """A product that vanishes is a zero with a sign, to which later zeros with signs are added."""
    sources, feeds = operands((1,), 70, 70, 16, 16, "float32")
    tiny = np.float32(1e-45)
    for name in "vkqg":
        feeds[name][...] = -tiny
        feeds[name][0, 40:, ::2] = sign * tiny
        feeds[name][0, :20, 3] = sign * tiny
    outputs = with_gradients(attention(*sources[:3]), sources)
    f = check_bytes(outputs, feeds)
    assert any(np.signbit(a[a == 0]).any() for a in f.run(feeds).values())


@pytest.mark.thinned(3)
@diagonals(2, ("name", ["q", "k", "v", "g"]), ("value", [np.nan, np.inf, -np.inf]))
def test_what_is_no_number_spreads_from_where_nobody_looks(name, value):
    """0 * inf is NaN also where a mask is why the first factor is 0."""
    sources, feeds = operands((2,), 70, 70, 16, 16, "float32")
    for row in (1, 31, 32, 69):
        feeds[name][0, row, row % 16] = value
    check_bytes(with_gradients(attention(*sources[:3]), sources), feeds)


@pytest.mark.slow
def test_rows_of_several_blocks():
    """Behind 4096 columns begins another block of each sum."""
    (q, k, v, _), feeds = operands((1,), 4160, 4160, 2, 3, "float32")
    feeds["v"][0, 4100:] = -np.float32(1e-45)
    feeds["v"][0, :4100] = -np.float32(1e-45)
    feeds["v"][0, 4159, 1] = np.inf
    f = check_bytes({"o": attention(q, k, v)}, {name: feeds[name] for name in "qkv"})
    assert shortened(f)


# -- what is not a block ---------------------------------------------------------------------------


def blocks_in(outputs):
    graph = sg.compile(outputs, pipeline="").graph
    return [each for each in blocked(group(graph)).all if each.kind == "block"]


def test_a_path_that_leaves_and_comes_back_is_no_block():
    """What is sorted between scores and weights needs a kernel that stands between the two."""
    (q, k, v, _), feeds = operands((2,), 20, 20, 16, 16, "float32")
    scores = q @ sg.swapaxes(k, 1, 2)
    raised = sg.exp(scores - scores.max(-1, keepdims=True))
    weights = raised * sg.sort(raised.sum(-1), 1)[:, :, None]
    f = check_bytes({"o": weights @ v}, {name: feeds[name] for name in "qkv"})
    assert not any(
        sum(isinstance(stage, Gemm) for stage in step.kernel.stages[0].stages) > 1
        for step in kernels_of_blocks(f)
    )


@pytest.mark.parametrize(
    "out",
    [
        pytest.param(lambda q, k, v: (q @ sg.swapaxes(k, 1, 2)) @ v, id="no rows"),
        pytest.param(lambda q, k, v: (q @ sg.swapaxes(k, 1, 2)).max(1), id="columns"),
        pytest.param(lambda q, k, v: q @ sg.swapaxes(k, 1, 2), id="one product"),
    ],
)
def test_other_products_stand_alone(out):
    sources, _ = operands((2,), 20, 20, 16, 16, "float32")
    assert not blocks_in({"o": out(*sources[:3])})


def test_a_layer_with_weights_is_no_block():
    """A product with the same weights for all batches runs faster over all rows at once."""
    x, w = sg.input("x", (4, 32, 16), "float32"), sg.input("w", (16, 64), "float32")
    shares = sg.nn.softmax(x @ w)
    assert not blocks_in({"o": shares @ sg.swapaxes(sg.broadcast_to(w, (4, 16, 64)), 1, 2)})


def test_scratch_that_would_leave_the_cache_is_no_block():
    q, k, v = (sg.input(name, (2, 20_000, 16), "float32") for name in "qkv")
    assert not blocks_in({"o": attention(q, k, v)})


def test_columns_are_multiplied_apart_where_they_would_not_fit():
    sources = [sg.input(name, (2, 1024, 16), "float32") for name in "qkvg"]
    (forward, backward) = blocks_in(with_gradients(attention(*sources[:3]), sources))
    assert sum(node.op.name == "matmul" for node in forward.nodes) == 2
    assert sum(node.op.name == "matmul" for node in backward.nodes) == 2


SQUARES = {
    "rows of an input": lambda x, v, u: (x * x.sum(-1, keepdims=True)) @ v,
    "rows of scores": lambda x, v, u: ((x @ u) * (x @ u).sum(-1, keepdims=True)) @ v,
    "weights": lambda x, v, u: sg.nn.softmax(x @ u) @ v,
    "weights of weights": lambda x, v, u: sg.nn.softmax(sg.nn.softmax(x @ u) @ v) @ u,
    "both ways": lambda x, v, u: (lambda p: p @ v + v @ p)(sg.nn.softmax(x @ u)),
    "beside weights": lambda x, v, u: (lambda p: (p @ v) * p)(sg.nn.softmax(x @ u)),
}


@pytest.mark.thinned(5)
@pytest.mark.parametrize(
    ("form", "order"), [*((form, 1) for form in SQUARES), *((form, 2) for form in [*SQUARES][:3])]
)
def test_what_rows_come_to_may_have_the_shape_of_scores(form, order):
    """As many keys as columns of a value: results of products are not scores for that."""
    x, v, u = sources = [sg.input(name, (3, 17, 17), "float64") for name in "xvu"]
    y = SQUARES[form](x, v, u)
    loss = (y * y).sum()
    slopes = sg.grad(loss, sources if order == 2 else [x], allow_disconnected=True)
    if order == 2:
        slopes = sg.grad(sum((s * s).sum() for s in slopes), sources, allow_disconnected=True)
    feeds = {name: random((3, 17, 17), "float64") for name in "xvu"}
    read = sg.Graph({"loss": loss}).inputs
    outputs = {"y": y, **{f"slope {k}": slope for k, slope in enumerate(slopes)}}
    check_bytes(outputs, {value.node.label: feeds[value.node.label] for value in read})
