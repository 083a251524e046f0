"""Attention, and what looks like it, as kernels of one head at a time.

Wanted are the bytes of single kernels: no product, sum or maximum is computed otherwise, wherever
its operands lie. Counts say that scores reach no memory but what the backward pass reads.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.fusion.blocks import build_block
from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.grouping import group
from staticgrad.language.ir.kernels.stages import Loop
from staticgrad.language.ir.schedule import KernelStep
from tests.compiled.ways import check, drawn
from tests.helpers.diagonals import diagonals

APART = ({"fuse": False},)


def sources_of(batch, t, s, d, e, dtype="float32"):
    """Queries, keys, values and a cotangent."""
    shapes = {"q": (t, d), "k": (s, d), "v": (s, e), "g": (t, e)}
    return [sg.input(name, (*batch, *shape), dtype) for name, shape in shapes.items()]


def attention(q, k, v, causal=True, mask=None):
    return sg.nn.attention(q, k, v, mask, causal=causal)


def by_hand(q, k, v):
    """Attention as in array code: an additive mask of -inf, a softmax without a shift."""
    t, s = q.shape[-2], k.shape[-2]
    forbidden = np.where(np.tri(t, s, dtype=bool), 0, -np.inf).astype(q.dtype.numpy)
    scores = (q @ sg.swapaxes(k, -1, -2)) / 3.0 + forbidden
    raised = sg.exp(scores - scores.max(-1, keepdims=True))
    return raised @ v / raised.sum(-1, keepdims=True)


def with_gradients(out, sources):
    q, k, v, g = sources
    return {"o": out, **dict(zip("qkv", sg.grad((out * g).sum(), [q, k, v]), strict=True))}


def attention_with_gradients(sources, **options):
    return with_gradients(attention(*sources[:3], **options), sources)


def heads_of_one_product(shape):
    """Queries, keys and values as views of one array, heads between rows and columns."""
    x = sg.input("x", shape, "float32")
    out = attention(*(sg.swapaxes(x[:, :, n], 1, 2) for n in range(3)))
    return {"o": out, "x": sg.grad((out * out).sum(), x)}


def shared_keys(q, g):
    """Several heads of queries over one head of keys: the operand is stretched over them."""
    k, v = (sg.input(name, (2, 1, *q.shape[-2:]), "float32") for name in "kv")
    return attention_with_gradients([q, k, v, g])


def kernels_of_blocks(f):
    """The steps with a product beside other stages."""
    steps = [step for step in f.schedule.steps if isinstance(step, KernelStep)]
    return [step for step in steps if any(isinstance(s, Loop) for s in step.kernel.stages)]


#: Batch, lengths of queries and keys, columns of keys and values, dtype, options of attention; how
#: many kernels are blocks, and how many there are.
SHAPES = {
    "square": ((2, 2), 64, 64, 32, 32, "float32", {}, 2, 3),
    "odd": ((3,), 37, 37, 20, 20, "float32", {}, 2, 3),
    "many keys": ((1, 2), 16, 50, 8, 24, "float32", {}, 2, 3),
    "many queries": ((2,), 45, 33, 16, 16, "float32", {}, 2, 3),
    "all matrices of one shape": ((2,), 32, 32, 32, 32, "float32", {}, 2, 3),
    "without a mask": ((2,), 33, 70, 16, 40, "float32", {"causal": False}, 2, 2),
    "deeper than what is packed": ((2,), 40, 40, 130, 16, "float32", {}, 2, 3),
    "more panels than are kept": ((1,), 280, 280, 120, 16, "float32", {}, 2, 3),
    "of float64": ((2,), 40, 40, 24, 24, "float64", {}, 2, None),
    "of float16": ((2,), 40, 40, 24, 24, "float16", {}, 2, None),
    "sums from tile to tile": ((2,), 330, 330, 16, 24, "float32", {}, 2, 3),
    "the same without a mask": ((1, 2), 170, 610, 20, 16, "float32", {"causal": False}, 2, 2),
    "the same of float64": ((1,), 230, 230, 16, 16, "float64", {}, 2, None),
    # The conversion behind a product of rows keeps it out of the block, and the scores in memory.
    "longer ones of float16": ((1,), 450, 450, 16, 16, "float16", {}, 2, None),
    "more queries than a chain has terms": ((1,), 4200, 34, 4, 5, "float32", {}, 2, 3),
    "the same, all of them": ((1,), 8200, 34, 4, 5, "float32", {"causal": False}, 2, 2),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", SHAPES)
def test_the_bytes_are_those_of_single_kernels(name):
    *shape, dtype, options, blocks, steps = SHAPES[name]
    outputs = attention_with_gradients(sources_of(*shape, dtype), **options)
    f = check(outputs, drawn(outputs), ways=APART, oracle=dtype != "float16")
    assert len(kernels_of_blocks(f)) == blocks
    assert steps is None or len(f.schedule.steps) == steps
    assert (products_that_go_on(f) > 0) == name.startswith(("sums", "the same", "more queries"))


def sums_over_rows_and_batches():
    """Sum attention over queries and batches, which takes two steps, beside the attention."""
    q, k, v, _ = sources_of((3,), 40, 56, 24, 16)
    scores = q @ sg.swapaxes(k, -1, -2)
    weights = sg.nn.softmax(scores)
    out, sums = weights @ v, {"w": weights.sum((0, 2)), "s": (scores * scores).sum((0, 2))}
    loss = (out * out).sum() + sums["s"].max()
    return {"o": out, **sums, "q": sg.grad(loss, q)}


FORMS = {
    "sums in two steps": sums_over_rows_and_batches,
    "array code": lambda: with_gradients(
        by_hand(*(s := sources_of((2, 1), 40, 40, 16, 24))[:3]), s
    ),
    "a mask for each batch": lambda: attention_with_gradients(
        sources_of((2, 3), 20, 30, 16, 16), causal=False, mask=sg.input("m", (2, 1, 1, 30), "bool")
    ),
    "heads that share keys": lambda: shared_keys(*sources_of((2, 3), 20, 20, 16, 16)[::3]),
    "heads as slices of one product": lambda: heads_of_one_product((2, 24, 3, 4, 16)),
    "heads that share many keys": lambda: shared_keys(*sources_of((2, 3), 240, 240, 16, 16)[::3]),
    "a named length": lambda: {
        "o": attention(*(sg.input(name, ("b", "t", 16), "float32") for name in "qkv"))
    },
}


@pytest.mark.parametrize("name", FORMS)
def test_other_forms(name):
    outputs = FORMS[name]()
    feeds = [drawn(outputs, b=3, t=t) for t in ((16, 33, 70) if name == "a named length" else (1,))]
    for arrays in feeds:
        if "m" in arrays:
            arrays["m"][1] = False  # nobody may look anywhere
    f = check(outputs, *feeds, ways=APART, oracle="mask" not in name)
    assert kernels_of_blocks(f) or "mask" in name or "slices" in name
    assert name != "a named length" or len(kernels_of_blocks(f)) == 1


@pytest.mark.thinned(5)
@pytest.mark.parametrize(
    "changes",
    [
        {"q": [(1, 3, 2, np.nan)], "k": [(1, 20, 2, np.inf)], "v": [(1, 30, 2, -np.inf)]},
        *(
            {name: [(0, row, row % 16, value) for row in (1, 31, 32, 69)]}
            for name in "qkvg"
            for value in (np.nan, np.inf, -np.inf)
        ),
    ],
    ids=str,
)
def test_what_is_no_number_spreads_as_in_single_kernels(changes):
    """0 * inf is NaN also where a mask is why the first factor is 0."""
    outputs = attention_with_gradients(sources_of((2,), 70, 70, 16, 16))
    feeds = drawn(outputs)
    for name, places in changes.items():
        for *place, value in places:
            feeds[name][tuple(place)] = value
    feeds["q"][1, 2] = -3e38
    check(outputs, feeds, ways=APART, oracle=False)


@pytest.mark.parametrize("sign", [1, -1])
def test_zeros_keep_their_sign(sign):
    """A product that vanishes is a zero with a sign, to which later zeros with signs are added."""
    outputs, tiny = attention_with_gradients(sources_of((1,), 70, 70, 16, 16)), np.float32(1e-45)
    feeds = drawn(outputs)
    for name in "vkqg":
        feeds[name][...] = -tiny
        feeds[name][0, 40:, ::2] = sign * tiny
        feeds[name][0, :20, 3] = sign * tiny
    f = check(outputs, feeds, ways=APART, oracle=False)
    assert any(np.signbit(a[a == 0]).any() for a in f.run(feeds).values())


# -- what masks forbid ----------------------------------------------------------------------------


def masked_attention(q, k, v, reach, fill):
    """Every value of attention under a mask that is a matrix."""
    allowed = np.tri(q.shape[-2], k.shape[-2], reach, dtype=bool)
    scores = sg.where(allowed, q @ sg.swapaxes(k, -1, -2) * 0.25, fill)
    raised = sg.exp(scores - sg.stop_gradient(scores.max(-1, keepdims=True)))
    weights = sg.where(allowed, raised / raised.sum(-1, keepdims=True), 0.0)
    return {"scores": scores, "raised": raised, "weights": weights, "o": weights @ v}


@pytest.mark.thinned
@diagonals(
    2,
    ("reach,fill", [(0, -np.inf), (5, -1e9), (35, -1e9), (-1, -1e9)]),
    ("extra", [(), ("scores",), ("raised",), ("weights",)]),
)
def test_what_others_read_is_there(reach, fill, extra):
    sources = sources_of((2,), 70, 70, 16, 16)
    values = masked_attention(*sources[:3], reach, fill)
    outputs = with_gradients(values["o"], sources) | {name: values[name] for name in extra}
    check(outputs, drawn(outputs), ways=APART, oracle=False)


def test_blocks_of_masks_that_reach_differently_far_are_different_kernels():
    """The elements of a constant mask decide what its kernel leaves out."""
    places = np.arange(64)
    outputs = {}
    for reach in (0, 9):
        mask = sg.constant(places[None, :] - places[:, None] <= reach)
        q, k, v = (sg.input(f"{name}{reach}", (4, 64, 64), "float32") for name in "qkv")
        scores = sg.where(mask, q @ sg.swapaxes(k, -1, -2) * 0.125, -np.inf)
        outputs[f"reach {reach}"] = sg.nn.softmax(scores) @ v
    graph = sg.Graph(outputs)
    assert len(kernels_of_blocks(sg.compile(graph))) == 2
    check(graph, drawn(graph), ways=APART)


# -- what is not a block ---------------------------------------------------------------------------


def blocks_in(outputs):
    graph = sg.compile(outputs, pipeline="").graph
    groups = Engine(group(graph)).run([build_block])
    return [kernel_group for kernel_group in groups.all if kernel_group.kind == "block"]


NO_BLOCKS = {
    "no rows": lambda q, k, v: (q @ sg.swapaxes(k, 1, 2)) @ v,
    "columns": lambda q, k, v: (q @ sg.swapaxes(k, 1, 2)).max(1),
    "one product": lambda q, k, v: q @ sg.swapaxes(k, 1, 2),
    # the same weights for all batches: a product runs faster over all rows at once
    "weights of a layer": lambda q, k, v: (
        sg.nn.softmax(q @ (w := sg.input("w", (16, 64), "float32")))
        @ sg.swapaxes(sg.broadcast_to(w, (2, 16, 64)), 1, 2)
    ),
}


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_other_products_stand_alone(name):
    assert not blocks_in({"o": NO_BLOCKS[name](*sources_of((2,), 20, 20, 16, 16)[:3])})


def test_long_rows_of_scores_are_a_block():
    """The scores of all rows would take 1.3 TB; those of a tile of rows are scratch."""
    factors = [sg.input(name, (2, 400_000, 16), "float32") for name in "qkv"]
    assert len(blocks_in({"o": attention(*factors)})) == 1


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
    """With as many keys as columns of a value, results of products are not scores."""
    x, v, u = sources = [sg.input(name, (3, 17, 17), "float64") for name in "xvu"]
    y = SQUARES[form](x, v, u)
    loss = (y * y).sum()
    slopes = sg.grad(loss, sources if order == 2 else [x], allow_disconnected=True)
    if order == 2:
        slopes = sg.grad(sum((s * s).sum() for s in slopes), sources, allow_disconnected=True)
    outputs = {"y": y, **{f"slope {k}": slope for k, slope in enumerate(slopes)}}
    check(outputs, drawn(outputs), ways=APART)


# -- sums that go on from tile to tile -------------------------------------------------------------


def products_that_go_on(f):
    return sum(str(step.kernel).count(" onto ") for step in kernels_of_blocks(f))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("reach", [0, 5, 35, -1, -20])
@pytest.mark.parametrize("extra", [(), ("weights",)])
def test_sums_go_on_from_the_first_tile_that_a_mask_leaves(reach, extra):
    sources = sources_of((1,), 460, 460, 16, 16)
    values = masked_attention(*sources[:3], reach, -1e9)
    outputs = with_gradients(values["o"], sources) | {name: values[name] for name in extra}
    feeds = drawn(outputs)
    feeds["g"][0, 300, 3] = feeds["q"][0, 17, 2] = np.inf
    feeds["q"][0, 200] = -0.0
    f = check(outputs, feeds, ways=APART, oracle=False)
    assert products_that_go_on(f) > 0


def test_named_lengths_go_on_over_any_number_of_blocks():
    t = sg.dim("t", hint=4000)
    shapes = {"q": (t, 8), "k": (40, 8), "v": (40, 8), "g": (t, 8)}
    sources = [sg.input(name, (1, *shape), "float32") for name, shape in shapes.items()]
    outputs = attention_with_gradients(sources, causal=False)
    f = check(outputs, *(drawn(outputs, t=t) for t in (33, 4096, 8300)), ways=APART)
    assert products_that_go_on(f) > 0


# -- masks that are computed where they are read ---------------------------------------------------


def readers_of(allowed, x):
    """Rows, columns, elements, a view, and a matrix that reads a mask of places."""
    chosen = sg.where(allowed, x, 0.0)
    return {
        "rows": sg.nn.softmax(chosen),
        "columns": chosen.sum(1),
        "all": chosen.sum(),
        "elements": sg.exp(sg.where(allowed, x, -1.0)),
        "transposed": sg.where(sg.swapaxes(allowed, 0, 1), x, 0.0).max(-1),
        "both": sg.logical_and(allowed, x > 0),
        "products": chosen @ sg.swapaxes(x, 1, 2)[:, :, :5],
        "slope": sg.grad((chosen * x).sum(), x),
    }


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    "reader", readers_of(sg.constant(np.ones((2, 2), bool)), sg.input("x", (1, 2, 2)))
)
def test_every_reader_computes_a_large_mask(reader):
    x = sg.input("x", (2, 520, 520), "float32")
    allowed = sg.iota((520, 520), 1) <= sg.iota((520, 520), 0)
    u, v = (sg.input(name, (2, 520, 8), "float32") for name in "uv")
    scores = sg.where(allowed, u @ sg.swapaxes(v, 1, 2), -1.0)
    outputs = {"y": readers_of(allowed, x)[reader], "scores": scores}
    check(outputs, drawn(outputs), ways=APART, oracle=reader not in ("products", "all"))


def test_a_mask_that_is_a_result_is_stored_too():
    x = sg.input("x", (1, 2, 520, 520), "float32")
    allowed = sg.iota((520, 520), 1) <= sg.iota((520, 520), 0)
    outputs = {"y": sg.where(allowed, x, 0.0), "allowed": allowed}
    check(outputs, drawn(outputs), ways=APART)
