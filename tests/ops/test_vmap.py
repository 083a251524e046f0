"""``vmap``: the rule of every op against a Python loop; containers, closures, draws, mistakes.

The batch stands at every place of every operand and of the result; several operands have it, or one
while the others are shared; it is nested; and it is differentiated.
"""

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, AxisError, ShapeError, SizeGuardError
from staticgrad.language.ir.graph import BodyOp, Graph
from staticgrad.language.ops.batching import batch_op
from staticgrad.language.ops.philox import FOLDED, RandomBits
from staticgrad.language.types.dtype import U64, as_dtype
from tests.helpers.diagonals import every_nth
from tests.helpers.limits import finfo
from tests.laws.samples import as_tuple, op_names, samples_of
from tests.ops.graphs import run_all, variable

NAMES = op_names()
every_op = pytest.mark.parametrize("name", NAMES)
BATCH = 3
#: Samples of an op that are tried: those of other attributes, ranks or dtypes than the ones before.
MOST = 6
#: Ops without a rule: the batch is a loop. With the reason for it.
IN_A_LOOP = {
    "call.host": "the function is a user's, and takes arrays of the promised shapes",
    "call.numba": "the function is a user's, and takes arrays of the promised shapes",
    "rank_part": "parts are those of updates, which have no batch",
    "rank_scatter": "parts are those of updates, which have no batch",
    "rank_gather": "parts are those of updates, which have no batch",
}
#: Those that have one which leaves some cases to a loop.
IN_PART = {
    "sparse_product": "a batch of patterns: each is one of its own",
    "sampled_product": "a batch of patterns: each is one of its own",
    "sparse_solve": "a batch of patterns: each is one of its own",
    "complex_sparse_solve": "a batch of patterns: each is one of its own",
    "searchsorted": "a vector for each element is searched one after the other",
    "conv": "image and filter over a batch of a named size: groups are literal",
    "conv_image": "image and filter over a batch of a named size: groups are literal",
    "conv_filter": "image and filter over a batch of a named size: groups are literal",
}


def distinct_samples(name):
    """A few samples that differ in more than their numbers."""
    samples = {}
    for sample in samples_of(name):
        if not sample.arrays or sum(a.size for a in sample.arrays) > 4000:
            continue
        kinds = tuple((a.dtype.name, a.shape) for a in sample.arrays)
        op = sample.op if isinstance(sample.op, BodyOp) else repr(sample.op)
        samples.setdefault((op, kinds), sample)
    every = list(samples.values())
    return every[:: max(1, -(-len(every) // MOST))]


def elements_of(array, smooth):
    """Other operands of the same kind: matrices stay definite, indices inside."""
    if as_dtype(array.dtype).is_float:
        with np.errstate(all="ignore"):
            return [array, *((array * f).astype(array.dtype) for f in (0.99, 1.01))]
    if array.ndim == 0 and array.dtype.kind in "iu":
        return [array, np.zeros_like(array), array]
    return [array, np.flip(array), array]


def choices(count):
    """Return choices of batched operands: all for up to three operands, else one or all."""
    if count <= 3:
        return [over for over in product((True, False), repeat=count) if any(over)]
    single = [tuple(k == place for k in range(count)) for place in range(count)]
    return [*single, (True,) * count]


def close(actual, expected, label):
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), label
    if not as_dtype(expected.dtype).is_float:
        np.testing.assert_array_equal(actual, expected, err_msg=str(label))
        return
    epsilon = float(finfo(expected.dtype).eps)
    with np.errstate(all="ignore"):
        actual, expected = actual.astype(np.float64), expected.astype(np.float64)
        finite = np.abs(expected[np.isfinite(expected)])
        scale = float(finite.max()) if finite.size else 1.0
        np.testing.assert_allclose(
            actual,
            expected,
            rtol=512 * epsilon,
            atol=min(64 * epsilon * scale, 1e300),
            err_msg=str(label),
        )


def inputs_for(arrays):
    values = [variable(f"x{k}", as_dtype(a.dtype), a.shape) for k, a in enumerate(arrays)]
    return values, {f"x{k}": a for k, a in enumerate(arrays)}


def stack_of_elements(sample, batches, over):
    """Results of each element, stacked."""
    every = [
        replace(
            sample,
            arrays=tuple(b[k] if has else b[0] for b, has in zip(batches, over, strict=True)),
        )
        for k in range(BATCH)
    ]
    if isinstance(sample.op, RandomBits):  # draws of an element have a key of their own
        fold = RandomBits((), U64, FOLDED)
        every = [
            replace(s, arrays=(fold.reference(s.arrays[0], np.uint64(k)), s.arrays[1]))
            for k, s in enumerate(every)
        ]
    return [
        np.stack(results) for results in zip(*(as_tuple(s.reference()) for s in every), strict=True)
    ]


@every_op
def test_is_the_stack_of_its_elements(name):
    for turn, sample in enumerate(distinct_samples(name)):
        batches = [elements_of(a, sample.smooth) for a in sample.arrays]
        for over in choices(len(sample.arrays)):
            references = stack_of_elements(sample, batches, over)
            ranks = [a.ndim for a in sample.arrays]
            axes = [
                turn % (rank + 1) if has else None for rank, has in zip(ranks, over, strict=True)
            ]
            outs = [(turn + 1) % w.ndim - (w.ndim if turn % 2 else 0) for w in references]
            arrays = [
                np.stack(b, axis) if has else b[0]
                for b, axis, has in zip(batches, axes, over, strict=True)
            ]
            values, feeds = inputs_for(arrays)
            mapped = sg.vmap(lambda *x, op=sample.op: as_tuple(op(*x)), tuple(axes), tuple(outs))
            outputs = run_all(mapped(*values), feeds)
            for actual, expected, out in zip(outputs, references, outs, strict=True):
                close(actual, np.moveaxis(expected, 0, out), (sample.op, axes, out))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random_bits"])
def test_nests(name):
    """A batch of batches, the outer one last in place: the inner ones are shared."""
    for sample in distinct_samples(name)[:3]:
        batches = [elements_of(a, sample.smooth) for a in sample.arrays]
        for over in choices(len(sample.arrays))[:4]:
            references = stack_of_elements(sample, batches, over)
            arrays = [
                np.stack([np.stack(b)] * 2, -1) if has else b[0]
                for b, has in zip(batches, over, strict=True)
            ]
            values, feeds = inputs_for(arrays)
            axes = [tuple(place if has else None for has in over) for place in (0, -1)]
            op = partial(lambda op, *x: as_tuple(op(*x)), sample.op)
            outputs = run_all(sg.vmap(sg.vmap(op, axes[0]), axes[1], 1)(*values), feeds)
            for actual, expected in zip(outputs, references, strict=True):
                close(actual, np.stack([expected] * 2, 1), (sample.op, over))


@every_op
def test_composes_with_gradients(name):
    """The gradient of a mapped op, and the mapped gradient, are those of each element."""
    smooth = [
        s
        for s in samples_of(name)
        if s.smooth
        and any(s.moves)
        and any(y.dtype.kind == "f" for y in map(np.asarray, as_tuple(s.reference())))
    ]
    for sample in smooth[-2:]:
        batches = [elements_of(a, sample.smooth) for a in sample.arrays]
        moves = [k for k, moves in enumerate(sample.moves) if moves]

        def slopes(*x, sample=sample, moves=moves):
            outs = [y for y in as_tuple(sample.op(*x)) if y.dtype.is_float]
            total = sum(sg.sum(sg.sin(y)) for y in outs)
            return sg.grad(total, [x[k] for k in moves], allow_disconnected=True)

        element, _ = inputs_for([*sample.arrays])
        of_one = slopes(*element)
        references = [
            np.stack(gradients)
            for gradients in zip(
                *(
                    run_all(of_one, {f"x{k}": b[e] for k, b in enumerate(batches)})
                    for e in range(BATCH)
                ),
                strict=True,
            )
        ]
        values, feeds = inputs_for([np.stack(b) for b in batches])
        inner = run_all(sg.vmap(slopes)(*values), feeds)
        totals = sg.vmap(
            lambda *x, op=sample.op: sum(
                sg.sum(sg.sin(y)) for y in as_tuple(op(*x)) if y.dtype.is_float
            )
        )(*values)
        outer = run_all(
            sg.grad(sg.sum(totals), [values[k] for k in moves], allow_disconnected=True), feeds
        )
        for actual, of_sum, expected in zip(inner, outer, references, strict=True):
            close(actual, expected, sample.op)
            close(of_sum, expected, sample.op)


@every_nth(3, "name", NAMES)
def test_compiles(name):
    """Kernels and routines over a batch of a named size give what the reference does: the graph of
    each op does daily, and each op is compiled daily without a batch."""
    sample = max(
        distinct_samples(name)[:4], key=lambda s: min(a.size for a in s.arrays), default=None
    )
    if sample is None:
        return
    batches = [elements_of(a, sample.smooth) for a in sample.arrays]
    values = [sg.input(f"x{k}", ("batch", *a.shape), a.dtype) for k, a in enumerate(sample.arrays)]
    outs = as_tuple(sg.vmap(sample.op)(*values))
    outputs = sg.compile({f"y{k}": y for k, y in enumerate(outs)}).run(
        {f"x{k}": np.stack(b) for k, b in enumerate(batches)}
    )
    references = stack_of_elements(sample, batches, (True,) * len(batches))
    for actual, expected in zip(outputs.values(), references, strict=True):
        close(actual, expected, sample.op)


def test_loops_are_listed():
    """Every op has a rule of its own but those that are listed."""
    for name in NAMES:
        loops = False
        for sample in distinct_samples(name)[:3]:
            for over in choices(len(sample.arrays)):
                arrays = [
                    np.stack([a] * BATCH) if has else a
                    for a, has in zip(sample.arrays, over, strict=True)
                ]
                values, _ = inputs_for(arrays)
                mapped = batch_op(sample.op, BATCH, values, over)
                loops |= mapped is None
                if mapped is not None and not isinstance(sample.op, BodyOp):
                    graph = Graph({str(k): v for k, v in enumerate(as_tuple(mapped))})
                    assert not any(n.op.name == "loop" for n in graph.nodes), name
        assert not loops or name in IN_A_LOOP or name in IN_PART, f"{name} has no batching rule"


X = np.random.default_rng(0).normal(size=(4, 3))


def batch(rows="n"):
    return sg.input("x", (rows, 3), "float64")


def at(value, x=X, **feeds):
    named = {str(k): output for k, output in enumerate(value)} if isinstance(value, list) else value
    outputs = sg.compile(named).run({"x": x, **feeds})
    return [*outputs.values()] if isinstance(value, list) else outputs


def test_containers_and_axes():
    x, q = batch(), sg.input("q", (3, "n"), "float64")

    def f(tree, how, *, scale):
        assert how == "sum"
        return {"o": tree["a"] * tree["b"][0] * scale.sum(), "c": 2.0, "none": None}

    axes = ({"a": 0, "b": [-1]}, None)
    actual = sg.vmap(f, axes, {"o": -1, "c": None, "none": 0})({"a": x, "b": [q]}, "sum", scale=x)
    assert actual["none"] is None
    assert actual["o"].shape == (3, x.shape[0])
    assert actual["c"].shape == ()
    out = sg.compile({"o": actual["o"]}).run({"x": X, "q": X.T * 2})["o"]
    np.testing.assert_allclose(out, (X * X * 2 * X.sum(1, keepdims=True)).T)


@pytest.mark.slow
def test_draws_are_those_of_a_loop():
    def drawn(mapped, inner):
        g = sg.random.Generator(5)
        shared = g.normal(shape=(2,), dtype="float64")
        return mapped(
            lambda row: (
                inner(lambda e: e + shared + g.normal(shape=(2,), dtype="float64"))(row)
                + g.uniform()
            ),
        )(batch())

    def as_loop(f):
        return lambda xs: sg.map(f, xs)

    actual = [
        at(drawn(outer, inner)) for outer in (sg.vmap, as_loop) for inner in (sg.vmap, as_loop)
    ]
    for again in actual[1:]:
        np.testing.assert_array_equal(actual[0], again)
    assert len(np.unique(actual[0] - X[..., None])) == X.size * 2


@pytest.mark.slow
def test_loops_and_branches_inside():
    """Iteration counts, carries and conditions that differ among elements; what is shared stays
    so."""
    w = sg.input("w", (3, 3), "float64")

    def f(row):
        state, trace = sg.scan(
            lambda c, e: (sg.tanh(c @ w) + e, c.sum()), sg.zeros(3, "float64"), row
        )
        far, done = sg.while_loop(
            lambda s: (s[0] < 10.0).all(),
            lambda s: (s[0] * 1.5 + 1.0, s[1] + 1),
            (abs(row), sg.constant(0)),
        )
        sign = sg.cond(row[0] > 0, lambda: far.sum(), lambda: -state.sum())
        shared = sg.fori_loop(0, 3, lambda i, c: c * 2.0, sg.constant(1.0))
        three = sg.switch(sg.astype(row[1] > 0, "int64") * 7, [lambda: state, lambda: -state])
        return {"s": state, "t": trace, "f": far, "d": done, "g": sign, "c": shared, "h": three}

    x = batch()
    feeds = {"x": X, "w": X[:3]}
    actual = sg.compile(sg.vmap(f)(x)).run(feeds)
    single_row = sg.compile(f(sg.input("row", (3,), "float64")))
    for k, row in enumerate(X):
        references = single_row.run({"row": row, "w": X[:3]})
        for name, expected in references.items():
            np.testing.assert_allclose(actual[name][k], expected, rtol=1e-12)
    total = sg.vmap(lambda row: f(row)["s"].sum() + f(row)["t"].sum() + f(row)["h"].sum())(x).sum()
    slopes = at(sg.grad(total, [x, w]), w=X[:3])
    row = sg.input("row", (3,), "float64")
    single = sg.compile(
        dict(
            zip(
                "rw",
                sg.grad(f(row)["s"].sum() + f(row)["t"].sum() + f(row)["h"].sum(), [row, w]),
                strict=True,
            )
        )
    )
    gradients = [single.run({"row": r, "w": X[:3]}) for r in X]
    np.testing.assert_allclose(slopes[0], [e["r"] for e in gradients], rtol=1e-10)
    np.testing.assert_allclose(slopes[1], sum(e["w"] for e in gradients), rtol=1e-10)


@sg.custom_vjp(name="tests.vmap_rule")
def scale(a, b):
    return a * b


@scale.rule
def _(ct, out, a, b):
    return ct * b * 10.0, (ct * a * 10.0).sum()


def test_rules_of_users_are_mapped():
    """Shares of what elements share are added up; batches of batches too."""
    p, x = sg.input("p", (), "float64"), batch()
    by_all = sg.vmap(lambda row: scale(row, p).sum())(x).sum()
    actual = at(sg.grad(by_all, [x, p]), p=2.0)
    np.testing.assert_allclose(actual[0], np.full(X.shape, 20.0))
    np.testing.assert_allclose(actual[1], 10 * X.sum())
    by_rows = sg.vmap(lambda row: sg.grad(scale(row, p).sum(), p))(x)
    np.testing.assert_allclose(sg.evaluate(by_rows, {"x": X}), 10 * X.sum(1))
    twice = sg.vmap(sg.vmap(lambda a, b: scale(a, b), (0, None)))(x, x[:, 0])
    slopes = at(sg.grad(twice.sum(), x))
    expected = np.repeat(X[:, :1] * 10, 3, 1)
    expected[:, 0] += 10 * X.sum(1)
    np.testing.assert_allclose(slopes, expected)


def test_functions_of_users_run_one_by_one():
    kind = sg.input("k", (3,), "float64").type
    calls = []

    def total(a):
        calls.append(a.shape)
        return np.cumsum(a)

    y = sg.vmap(lambda row: sg.host_call(total, row, types=kind))(batch())
    np.testing.assert_allclose(at(y), np.cumsum(X, 1))
    assert calls == [(3,)] * 4


def test_arrays_are_mapped_at_once():
    """Arrays in, arrays out, as of all functions made of functions; inside a trace, its values."""
    p = sg.parameter("p", np.array([1.0, 2.0, 3.0]))
    mapped = sg.vmap(lambda row, k: {"y": (row * p).sum() * k}, in_axes=(0, None))
    for rows in (2, 4, 3):
        actual = mapped(X[:rows], 2.0)["y"]
        assert isinstance(actual, np.ndarray)
        np.testing.assert_allclose(actual, X[:rows] @ [2.0, 4.0, 6.0])
    assert mapped.program.stats.traces <= 2
    slopes = sg.vmap(sg.vmap(sg.grad(lambda x: sg.sin(x))))(X)
    np.testing.assert_allclose(slopes, np.cos(X), rtol=1e-15)
    inside = sg.function(lambda x: sg.vmap(lambda row: row + x)(X).sum(0))
    np.testing.assert_allclose(inside(X[0]), (X + X[0]).sum(0), rtol=1e-15)
    with pytest.raises(ShapeError, match="argument 2 has 4 elements"):
        sg.vmap(lambda x, y: x @ y)(X[:3], X)


def test_named_sizes_agree_in_a_run():
    pair = sg.vmap(lambda a, b: a + b)(batch("n"), sg.input("y", ("m", 3), "float64"))
    f = sg.compile(pair)
    np.testing.assert_allclose(f.run({"x": X, "y": X}), X + X)
    with pytest.raises(SizeGuardError):
        f.run({"x": X, "y": X[:2]})
    for rows in (0, 1):
        assert f.run({"x": X[:rows], "y": X[:rows]}).shape == (rows, 3)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: sg.vmap(sg.add)(x, sg.ones((5, 3), "float64")), ShapeError, "5 elements"),
        (lambda x: sg.vmap(sg.add, (0, 2))(x, x), AxisError, "argument 2 is f64[4, 3], without"),
        (lambda x: sg.vmap(sg.add, None)(x, x), ArgumentError, "no argument has an axis"),
        (lambda x: sg.vmap(sg.add, (0,))(x, x), ArgumentError, "1 entries"),
        (lambda x: sg.vmap(sg.add, ({"a": 0}, 0))(x, x), ArgumentError, "in_axes[0]"),
        (lambda x: sg.vmap(sg.add, 0.5)(x, x), ArgumentError, "neither an axis nor None"),
        (lambda x: sg.vmap(sg.add, 0, 3)(x, x), AxisError, "out_axes is 3"),
        (lambda x: sg.vmap(sg.add, 0, None)(x, x), ArgumentError, "depends on the element"),
        (lambda x: sg.vmap(lambda a: a)(2.0), AxisError, "argument 1 is f64[]"),
        (lambda x: sg.vmap(x), ArgumentError, "a value, not a function"),
    ],
)
def test_mistakes_are_said_at_their_line(call, error, says):
    with pytest.raises(error) as caught:
        call(batch(4))
    assert says in str(caught.value)
    assert "test_vmap.py" in str(caught.value)


@pytest.mark.slow
def test_what_an_element_does_not_take_neither_raises_nor_makes_nan():
    s, i = sg.input("s", ("n",), "float64"), sg.input("i", ("n",), "int64")
    table = sg.parameter("table", np.random.default_rng(0).normal(size=(3, 3)))
    branches = [
        lambda v, k: sg.linalg.solve(table * v, table[k]).sum(),  # raises for v = 0 and k = 3
        lambda v, k: sg.log(v * sg.exp(table)).sum() + sg.sqrt(v),  # NaN and inf for v <= 0
        lambda v, k: v * table.sum(),  # NaN where v is
        lambda v, k: table.sum(),
    ]

    def choose(v, k):
        return sg.switch(k, branches, v, sg.minimum(k, 2) + sg.cond(k > 0, lambda: 1, lambda: 0))

    def repeat(v, k):
        ends = sg.fori_loop(
            k, 3, lambda at, c: c * sg.sqrt(v) + table[at], table[0] * v, max_steps=4
        )
        return ends.sum()

    cases = [
        {"s": [2.0, 3.0, np.nan, 0.0], "i": [0, 1, 3, 3]},
        {"s": [2.0, np.inf, 0.0], "i": [0, 3, 2]},
        {"s": [], "i": []},
    ]
    for f, feeds in ((f, feeds) for f in (choose, repeat) for feeds in cases):
        outs = []
        for mapped in (sg.vmap(f)(s, i), sg.map(lambda pair, f=f: f(*pair), (s, i))):
            slopes = sg.grad(mapped.sum(), [s, table])
            again = sg.grad(sum((g * g).sum() for g in slopes), [s, table])
            outs.append(run_all([mapped, *slopes, *again], feeds))
        for actual, expected in zip(*outs, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-10, equal_nan=True)
    mapped = sg.compile(sg.vmap(choose)(s, i), debug="nan")
    assert mapped.run({"s": [0.0, 2.0], "i": [3, 1]}).shape == (2,)
    v = Tensor([0.0, 1.0], requires_grad=True)
    sg.sum(sg.vmap(lambda v: sg.cond(v > 0, lambda: 1 / v, lambda: 3 * v))(v)).backward()
    np.testing.assert_array_equal(v.grad, [3.0, -1.0])
