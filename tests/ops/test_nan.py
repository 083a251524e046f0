"""NaN is never swallowed: what it makes of values, over the registry, and of derivatives at kinks.

An elementwise op with a NaN operand gives NaN, a reduction with a NaN element does, unless a table
below says otherwise; NumPy decides what the value of a function is. Of every op and function that
states a convention (``sg.conventions``) the derivatives at NaN are listed here, too.
"""

import inspect
import itertools
import re
from functools import partial

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.exports import LAYERS
from staticgrad.language.ir.op import op_class, registered_ops
from staticgrad.language.ops.arithmetic import FlatPower
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import ScatterExtreme
from tests.laws.samples import samples_of

NAN, INF = np.nan, np.inf
PARTNERS = [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, INF, -INF]

#: Op -> operands, one of them NaN, for which the value is a number all the same.
FINITE = {
    "where": lambda op, c, x, y: not np.isnan(x if c else y),
    "integer_pow": lambda op, x: op.exponent == 0,  # as in C: true whatever the number is
    "pow": lambda op, x, y: y == 0 or x == 1,  # and this
    "hypot": lambda op, x, y: np.isinf(x) or np.isinf(y),  # and this
}


def floating_ops():
    """Every elementwise op with a floating result, once for each of its attributes that differ."""
    for name, cls in registered_ops().items():
        if (
            issubclass(cls, Elementwise)
            and "f" in cls.kinds
            and "." not in name
            and name != "bitcast"
        ):
            yield from {sample.op.key: sample.op for sample in samples_of(name)}.values()


@pytest.mark.parametrize("op", list(floating_ops()), ids=repr)
def test_an_elementwise_op_of_nan_is_nan(op):
    choices = [True, False] if op.name == "where" else PARTNERS
    for place in range(op.name == "where", op.arity):
        axes = [choices if k == 0 else PARTNERS for k in range(op.arity)]
        axes[place] = [NAN]
        for operands in itertools.product(*axes):
            with np.errstate(all="ignore"):
                out = np.asarray(op.reference(*map(np.asarray, operands)))
            if out.dtype.kind == "f":
                allowed = FINITE.get(op.name, lambda *_: False)
                assert np.isnan(out) != allowed(op, *operands), operands


ROW = [2.0, NAN, 1.0]


@pytest.mark.parametrize("name", ["sum", "max", "min", "cumsum", "cumprod", "prod", "mean", "var",
                                  "std", "ptp", "median", "any", "all", "argmax", "argmin", "sort",
                                  "argsort", "norm", "trapezoid", "diff"])  # fmt: skip
def test_functions_over_axes_have_numpys_nan(name):
    array = np.array([ROW, [1.0, 2.0, 3.0]])
    ours = getattr(sg, name)(sg.input("x", array.shape, "float64"), axis=1)
    numpys = np.linalg.norm if name == "norm" else getattr(np, name)
    expected = numpys(array, axis=1)
    np.testing.assert_array_equal(np.isnan(sg.evaluate(ours, {"x": array})), np.isnan(expected))
    np.testing.assert_array_equal(np.isnan(sg.compile(ours).run({"x": array})), np.isnan(expected))


def gradients(function, at):
    """Derivatives by every operand, compiled, evaluated, and by the tape."""
    values = [sg.input(f"x{i}", (), "float64") for i in range(len(at))]
    slopes = sg.grad(function(*values), values, allow_disconnected=True)
    graph = sg.Graph({str(i): g for i, g in enumerate(slopes)}, inputs=values)
    compiled = list(sg.compile(graph).run(dict(zip(values, at, strict=True))).values())
    evaluated = [*sg.evaluate(graph, dict(zip(values, at, strict=True))).values()]
    np.testing.assert_array_equal(compiled, evaluated)
    tensors = [Tensor(x, requires_grad=True, dtype="float64") for x in at]
    function(*tensors).backward()
    eager = [0.0 if t.grad is None else t.grad for t in tensors]
    np.testing.assert_array_equal(compiled, eager)
    return compiled


def of_stack(function):
    return lambda *values: function(sg.stack(values))


def sent(x, y):
    """The larger of two that are sent to one place."""
    return ScatterExtreme("max", 0, 1)(sg.stack([x, y]), np.array([0, 0])).sum()


def pool_both(x, y):
    """The larger of two, by a window over both."""
    return sg.nn.max_pool(sg.stack([x, y]).reshape(1, 1, 2), 2).sum()


#: Name -> function, operands at the kink, derivatives by each operand.
AT_KINKS = {
    "abs": [(sg.abs, [0.0], [0.0])],
    "sqrt": [(sg.sqrt, [0.0], [INF])],
    "maximum": [
        (sg.maximum, [1.0, 1.0], [0.5, 0.5]),
        (sg.maximum, [0.0, -0.0], [0.5, 0.5]),
        (sg.maximum, [NAN, 1.0], [NAN, NAN]),
    ],
    "minimum": [
        (sg.minimum, [1.0, 1.0], [0.5, 0.5]),
        (sg.minimum, [2.0, NAN], [NAN, NAN]),
    ],
    "pow": [
        (lambda x, y: x**y, [0.0, 0.0], [0.0, 0.0]),
        (lambda x, y: x**y, [0.0, 2.0], [0.0, 0.0]),
    ],
    "where": [
        (lambda x: sg.where(x > 0.0, sg.log(x), 0.0), [-1.0], [0.0]),
        (lambda x, y: sg.where(x > 0.0, x, y), [1.0, NAN], [1.0, 0.0]),
    ],
    "max": [
        (lambda x, y: sg.stack([x, y, x]).max(), [3.0, 3.0], [2 / 3, 1 / 3]),
        (lambda x, y: sg.stack([x, y]).max(), [NAN, 3.0], [NAN, NAN]),
    ],
    "min": [(lambda x, y: sg.stack([x, y]).min(), [3.0, 3.0], [0.5, 0.5])],
    "nn.elu": [(lambda x: sg.nn.elu(x, 0.5), [0.0], [0.5])],
    "nn.leaky_relu": [(lambda x: sg.nn.leaky_relu(x, 0.25), [0.0], [0.25])],
    "nn.lp_pool": [
        (
            lambda x, y, p=p: sg.nn.lp_pool(sg.stack([x, y])[None, None], p, 2)[0, 0, 0],
            [0.0] * 2,
            [0.0] * 2,
        )
        for p in (0.5, 1, 1.5, 2, 3)
    ],
    "nanstd": [(lambda x, y: sg.nanstd(sg.stack([x, y, NAN])), [2.0, 2.0], [0.0, 0.0])],
    "norm": [
        *[
            (lambda x, y, p=p: sg.norm(sg.stack([x, y]), p), [0.0, 0.0], [0.0, 0.0])
            for p in (None, 1, 2, 3, 4, 0.5, 1.5, -1, -2.5, INF, -INF)
        ],
        (lambda x, y: sg.norm(sg.stack([x, y])[None], "fro"), [0.0, 0.0], [0.0, 0.0]),
        (lambda x, y: sg.norm(sg.stack([x, y]), 0.5), [0.0, 2.0], [0.0, 1.0]),
        (lambda x, y: sg.norm(sg.stack([x, y]), -2), [0.0, 2.0], [0.0, 0.0]),
    ],
    "relu": [(sg.nn.relu, [0.0], [0.0]), (sg.nn.relu, [NAN], [1.0])],
    "nn.relu": [(sg.nn.relu, [0.0], [0.0]), (sg.nn.relu, [NAN], [1.0])],
    "asin": [(sg.arcsin, [1.0], [INF])],
    "acos": [(sg.arccos, [-1.0], [-INF])],
    "acosh": [(sg.arccosh, [1.0], [INF])],
    "atan2": [(sg.arctan2, [0.0, 0.0], [NAN, NAN])],
    "hypot": [(sg.hypot, [0.0, 0.0], [0.0, 0.0])],
    "cbrt": [(sg.cbrt, [0.0], [INF])],
    "flat_power": [
        (FlatPower(p), [0.0], [slope])
        for p, slope in ((0.5, 0.0), (1.5, 0.0), (-0.5, NAN), (-1.5, NAN))
    ],
    "xlogy": [(sg.xlogy, [0.0, 0.0], [0.0, 0.0]), (sg.xlogy, [0.0, 1.0], [0.0, 0.0])],
    "remainder": [(sg.remainder, [-4.0, 2.0], [1.0, 2.0])],
    "fmod": [(sg.fmod, [-4.0, 2.0], [1.0, 2.0])],
    "at_least": [(lambda x, y: sg.clip(x, y, None), [1.0, 1.0], [1.0, 0.0])],
    "at_most": [(lambda x, y: sg.clip(x, None, y), [1.0, 1.0], [1.0, 0.0])],
    "sort": [
        (lambda x, y: (sg.sort(sg.stack([x, y])) * [1.0, 3.0]).sum(), [2.0, 2.0], [1.0, 3.0]),
        (lambda x, y: (sg.sort(sg.stack([x, y])) * [1.0, 3.0]).sum(), [0.0, -0.0], [1.0, 3.0]),
    ],
    "topk": [(lambda x, y: sg.topk(sg.stack([x, y, x]), 1)[0].sum(), [2.0, 2.0], [1.0, 0.0])],
    "order_statistic": [
        (lambda x, y: sg.median(sg.stack([x, y, x])).sum(), [2.0, 2.0], [0.0, 1.0])
    ],
    "scatter_extreme": [(sent, [3.0, 3.0], [0.0, 1.0]), (sent, [3.0, 2.0], [1.0, 0.0])],
    "loop": [
        (lambda x: sg.scan(lambda c, _: (sg.nn.relu(c), None), x, length=2)[0], [0.0], [0.0]),
        (lambda x: sg.fori_loop(0, 3, lambda i, c: abs(c) * x, x), [0.0], [0.0]),
    ],
    "while": [
        (
            lambda x: sg.while_loop(lambda y: y < 4.0, lambda y: y * 2, x, max_steps=9),
            [at],
            [slope],
        )
        for at, slope in ((1.0, 4.0), (3.0, 2.0), (4.0, 1.0))
    ],
    "branch": [
        (lambda x: sg.cond(x > 0.0, lambda: sg.sqrt(x), lambda: x * 3.0), [0.0], [3.0]),
        (lambda x: sg.cond(x >= 0.0, lambda: sg.sqrt(x), lambda: x * 3.0), [0.0], [INF]),
    ],
    "betainc": [(lambda x: sg.special.betainc(2.0, 3.0, x), [at], [0.0]) for at in (0.0, 1.0)],
    "entr": [(sg.special.entr, [0.0], [INF])],
    "gammainc": [(lambda x, a=a: sg.special.gammainc(a, x), [0.0], [a == 1]) for a in (1.0, 2.0)],
    "gammaincc": [(lambda x: sg.special.gammaincc(1.0, x), [0.0], [-1.0])],
    "i0e": [(sg.special.i0e, [0.0], [0.0])],
    "i1e": [(sg.special.i1e, [0.0], [0.5])],
    "kl_div": [(sg.special.kl_div, [0.0, 2.0], [-INF, 1.0])],
    "rel_entr": [(sg.special.rel_entr, [0.0, 2.0], [-INF, 0.0])],
    "polygamma": [(lambda x: sg.special.polygamma(1, x), [0.0], [-INF])],
    "special": [(sg.special.y0, [0.0], [np.inf])],
    "special_of_order": [(lambda x: sg.special.kv(1.0, x), [0.0], [-np.inf])],
    "window_max": [(pool_both, [3.0, 3.0], [1.0, 0.0]), (pool_both, [NAN, NAN], [1.0, 0.0])],
    "xlog1py": [
        (sg.special.xlog1py, [0.0, -1.0], [0.0, 0.0]),
        (sg.special.xlog1py, [0.0, 1.0], [np.log(2.0), 0.0]),
    ],
    "std": [
        (lambda x, y: sg.std(sg.stack([x, y])), [2.0, 2.0], [0.0, 0.0]),
        (lambda x, y: sg.std(sg.stack([x, y]), ddof=1), [2.0, 2.0], [0.0, 0.0]),
        (lambda x: sg.std(x), [3.0], [0.0]),
        (lambda x, y: sg.var(sg.stack([x, y])), [2.0, 2.0], [0.0, 0.0]),
    ],
}
#: Name -> function, operands, derivatives by each: those of what the function is at a NaN.
AT_NAN = {
    "abs": [(sg.abs, [NAN], [NAN])],
    "sqrt": [(sg.sqrt, [NAN], [NAN])],
    "cbrt": [(sg.cbrt, [NAN], [NAN])],
    "flat_power": [(FlatPower(p), [NAN], [NAN]) for p in (0.5, -0.5, 0.3)],
    "asin": [(sg.arcsin, [NAN], [NAN])],
    "acos": [(sg.arccos, [NAN], [NAN])],
    "acosh": [(sg.arccosh, [NAN], [NAN])],
    "maximum": [
        (sg.maximum, [NAN, 1.0], [NAN, NAN]), (sg.maximum, [2.0, NAN], [NAN, NAN]),
        (sg.maximum, [NAN, NAN], [NAN, NAN]), (lambda x: sg.maximum(x, 0.0), [NAN], [NAN]),
    ],
    "minimum": [
        (sg.minimum, [NAN, 1.0], [NAN, NAN]), (sg.minimum, [2.0, NAN], [NAN, NAN]),
    ],
    "max": [
        (of_stack(sg.max), ROW, [NAN] * 3), (of_stack(sg.max), [NAN] * 3, [NAN] * 3),
        (of_stack(sg.nanmax), ROW, [1.0, 0.0, 0.0]), (of_stack(sg.ptp), ROW, [NAN] * 3),
        (of_stack(lambda x: sg.max(x[:, None] * np.array([1.0, 2.0]))), ROW, [NAN] * 3),
        (of_stack(lambda x: sg.norm(x, INF)), ROW, [NAN] * 3),
    ],
    "min": [(of_stack(sg.min), ROW, [NAN] * 3), (of_stack(sg.nanmin), ROW, [0.0, 0.0, 1.0])],
    "pow": [(sg.power, [NAN, 2.0], [NAN, NAN]), (sg.power, [2.0, NAN], [NAN, NAN])],
    "where": [
        (lambda x: sg.where(x > 0.0, x, 3.0 * x), [NAN], [3.0]),
        (lambda x, y: sg.where(True, x, y), [NAN, 1.0], [1.0, 0.0]),
    ],
    "atan2": [(sg.arctan2, [NAN, 1.0], [NAN, NAN])],
    "hypot": [(sg.hypot, [NAN, 1.0], [NAN, NAN])],
    "xlogy": [(sg.xlogy, [NAN, 1.0], [0.0, NAN]), (sg.xlogy, [1.0, NAN], [NAN, NAN])],
    "remainder": [(sg.remainder, [NAN, 2.0], [1.0, NAN])],
    "fmod": [(sg.fmod, [NAN, 2.0], [1.0, NAN])],
    "relu": [(sg.nn.relu, [NAN], [1.0])],
    "at_least": [
        (lambda x, y: sg.clip(x, y, None), [NAN, 1.0], [1.0, 0.0]),
        (lambda x, y: sg.clip(x, y, None), [1.0, NAN], [0.0, 1.0]),
    ],
    "at_most": [(lambda x, y: sg.clip(x, None, y), [NAN, 1.0], [1.0, 0.0])],
    "loop": [(lambda x: sg.scan(lambda c, _: (c * x, None), x, length=2)[0], [NAN], [NAN])],
    "while": [(lambda x: sg.while_loop(lambda y: y < 4.0, lambda y: 2.0 * y, x, 9), [NAN], [1.0])],
    "branch": [(lambda x: sg.cond(x > 0.0, lambda: x * x, lambda: x * 3.0), [NAN], [3.0])],
    "sort": [(of_stack(lambda x: (sg.sort(x) * [1.0, 2.0, 4.0]).sum()), ROW, [2.0, 4.0, 1.0])],
    "topk": [(of_stack(lambda x: sg.topk(x, 1)[0].sum()), ROW, [0.0, 1.0, 0.0])],
    "order_statistic": [(of_stack(sg.median), ROW, [0.0, 1.0, 0.0])],
    "scatter_extreme": [(sent, [NAN, 3.0], [1.0, 0.0]), (sent, [NAN, NAN], [0.0, 1.0])],
    "nn.elu": [(sg.nn.elu, [NAN], [NAN])],
    "nn.leaky_relu": [(lambda x: sg.nn.leaky_relu(x, 0.25), [NAN], [0.25])],
    "nn.lp_pool": [
        (of_stack(lambda x: sg.nn.lp_pool(x[None, None], 2, 3)[0, 0, 0]), ROW, [NAN] * 3),
        (of_stack(lambda x: sg.nn.lp_pool(x[None, None], 1, 3)[0, 0, 0]), ROW, [1.0, NAN, 1.0]),
    ],
    "nn.relu": [(sg.nn.relu, [NAN], [1.0])],
    "norm": [(of_stack(sg.norm), ROW, [NAN] * 3),
             (of_stack(lambda x: sg.norm(x, 3)), ROW, [NAN] * 3),
             (of_stack(lambda x: sg.norm(x, -2)), ROW, [NAN] * 3),
             (of_stack(lambda x: sg.norm(x, 1)), ROW, [1.0, NAN, 1.0])],
    "nanstd": [(of_stack(sg.nanstd), [NAN, 1.0, 1.0], [0.0] * 3)],
    "std": [(of_stack(sg.std), ROW, [NAN] * 3), (of_stack(sg.var), ROW, [NAN] * 3)],
    "betainc": [(lambda x: sg.special.betainc(2.0, 3.0, x), [NAN], [NAN])],
    "entr": [(sg.special.entr, [NAN], [NAN])],
    "gammainc": [(lambda x: sg.special.gammainc(2.0, x), [NAN], [NAN])],
    "gammaincc": [(lambda x: sg.special.gammaincc(2.0, x), [NAN], [NAN])],
    "i0e": [(sg.special.i0e, [NAN], [NAN])],
    "i1e": [(sg.special.i1e, [NAN], [NAN])],
    "kl_div": [(sg.special.kl_div, [NAN, 2.0], [NAN] * 2),
               (sg.special.kl_div, [2.0, NAN], [NAN] * 2)],
    "rel_entr": [(sg.special.rel_entr, [NAN, 2.0], [NAN] * 2),
                 (sg.special.rel_entr, [2.0, NAN], [NAN] * 2)],
    "polygamma": [(lambda x: sg.special.polygamma(1, x), [NAN], [NAN])],
    "special": [(sg.special.j0, [NAN], [NAN])],
    "special_of_order": [(lambda x: sg.special.jv(1.0, x), [NAN], [NAN])],
    "window_max": [(pool_both, [NAN, 3.0], [1.0, 0.0]), (pool_both, [3.0, NAN], [0.0, 1.0])],
    "xlog1py": [(sg.special.xlog1py, [NAN, 1.0], [np.log(2.0), NAN]),
                (sg.special.xlog1py, [1.0, NAN], [NAN] * 2)],
}  # fmt: skip


def stated_names():
    """The entries of this package's ops that say more than that there is no gradient."""
    names = [name for name, text in sg.conventions().items() if "no gradient" not in text]
    return {name for name in names if name.startswith("nn.") or "." not in name}


def test_every_convention_is_tried():
    assert sorted(AT_KINKS) == sorted(AT_NAN) == sorted(stated_names())


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", sorted(AT_KINKS))
def test_every_convention_holds(name):
    for function, at, expected in AT_KINKS[name]:
        np.testing.assert_allclose(gradients(function, at), expected, rtol=1e-15, err_msg=str(at))


@pytest.mark.parametrize("name", AT_NAN)
def test_derivatives_at_nan(name):
    for function, at, expected in AT_NAN[name]:
        np.testing.assert_allclose(gradients(function, at), expected, err_msg=str(at))


#: Functions of sg.nn of one floating value, elementwise; others are those of test_losses.
ACTIVATIONS = ["elu", "gelu", "leaky_relu", "relu", "silu", "softplus"]


def test_every_activation_is_tried():
    unary = {
        name
        for name in LAYERS["staticgrad.nn.functional.basics"].split()
        if next(iter(inspect.signature(getattr(sg.nn, name)).parameters)) == "x"
    }
    over_axes = {"softmax", "log_softmax", "logsumexp"}
    assert unary - over_axes == set(ACTIVATIONS)


GELU_BY_TANH = partial(sg.nn.gelu, approximate="tanh")


@pytest.mark.parametrize("name", [*ACTIVATIONS, "gelu by tanh"])
def test_activations_have_their_limits_and_keep_nan(name):
    x, feeds = sg.input("x", (3,), "float64"), {"x": np.array([INF, -INF, NAN])}
    function = GELU_BY_TANH if name == "gelu by tanh" else getattr(sg.nn, name)
    y = function(x)
    slope = sg.grad(y.sum(), x)
    graph = sg.Graph(
        {"y": y, "slope": slope, "curve": sg.grad(slope.sum(), x, allow_disconnected=True)},
        inputs=[x],
    )
    tensor = Tensor(feeds["x"], requires_grad=True, dtype="float64")
    on_tape = function(tensor)
    on_tape.sum().backward()
    tape = {"y": on_tape.data, "slope": np.asarray(tensor.grad), "curve": np.zeros(2)}
    left = {"elu": -1.0, "leaky_relu": -INF}.get(name, 0.0)
    for actual in (sg.compile(graph).run(feeds), sg.evaluate(graph, feeds), tape):
        np.testing.assert_array_equal(actual["y"], [INF, left, NAN])
        np.testing.assert_array_equal(
            actual["slope"][:2], [1.0, 0.01 if name == "leaky_relu" else 0.0]
        )
        assert name in ("elu", "leaky_relu", "relu", "softplus") or np.isnan(actual["slope"][2])
        np.testing.assert_array_equal(actual["curve"][:2], [0.0, 0.0])


def test_a_diverged_weight_shows_in_the_loss_of_a_relu():
    w = sg.parameter("w", np.array([NAN, 1.0], "float32"))
    x = sg.input("x", (2,), "float32")
    step = sg.Graph({"loss": (sg.nn.relu(x * w) ** 2).sum()})
    step = sg.Graph(step.outputs, updates={w: w - sg.grad(step["loss"], w)})
    f = sg.compile(step)
    assert np.isnan(f.run({"x": np.ones(2, "float32")})["loss"])
    np.testing.assert_array_equal(np.isnan(w.value), [True, False])


def test_the_neutral_extreme_is_below_everything():
    for dtype in ("float32", "float64", "int8", "uint16", "int64", "bool"):
        kind = np.dtype(dtype)
        low = False if kind.kind == "b" else -INF if kind.kind == "f" else np.iinfo(kind).min
        high = True if kind.kind == "b" else INF if kind.kind == "f" else np.iinfo(kind).max
        for name, expected in (("max", low), ("min", high)):
            for shape in ((2, 0), (2, "n")):
                x = sg.input("x", shape, dtype)
                y = op_class(name)(axes=(1,), neutral=True)(x)
                empty = np.zeros((2, 0), dtype)
                for actual in (sg.compile(y).run({"x": empty}), sg.evaluate(y, {"x": empty})):
                    np.testing.assert_array_equal(actual, np.full(2, expected, dtype))
                assert sg.same_graph(sg.parse(str(sg.Graph(y))), sg.Graph(y))


#: Lengths that are piecewise linear, or of an order below 1: their second derivative is 0 by rule.
LINEAR = (1, 0.5, -1, INF)


@pytest.mark.parametrize("order", [None, 2, 3, 1.5, *LINEAR, "std", "nanstd"])
def test_lengths_and_deviations_of_nothing_have_no_second_derivative(order):
    """0 would be a wrong number: a step of Newton's method divides by it."""
    x = sg.input("x", (2, 3), "float64")
    length = getattr(sg, order)(x) if isinstance(order, str) else sg.norm(x, order, axis=1).sum()
    (slope,) = sg.grad(length, [x])
    bend = sg.grad((slope * np.arange(1.0, 4.0)).sum(), x, allow_disconnected=True)
    for rows in (np.zeros((2, 3)), np.array([[0.0, 0, 0], [0, 3, 4]])):
        actual = sg.compile(sg.Graph({"bend": bend}, inputs=[x])).run({x: rows})["bend"]
        missing = (rows == 0).all(1, keepdims=True) | (rows == 0) & (order == 1.5)
        if isinstance(order, str):
            missing = np.array((rows == 0).all())
        missing = missing & (order not in LINEAR)
        np.testing.assert_array_equal(np.isnan(actual), np.broadcast_to(missing, rows.shape))


def test_a_length_that_stays_zero_has_second_derivatives_where_the_zeros_are_selected():
    """The guide ``conventions`` says both."""

    def length(a, x):
        return sg.norm(a * x)

    def select_at_zero(a, x):
        y, at_zero = a * x, (x == 0).all()
        return sg.where(at_zero, 0.0, sg.norm(sg.where(at_zero, 1.0, y)))

    def slope_of_square(x):
        return sg.grad(lambda x: sg.norm(x) ** 2)(x).sum()

    a, zeros, x = np.array(2.0), np.zeros(3), np.array([3.0, 0.0, 4.0])
    assert np.isnan(sg.grad(lambda a, x: sg.grad(length)(a, x))(a, zeros))
    for rows, value, slope in ((zeros, 0.0, 0.0), (x, 10.0, 5.0)):
        assert select_at_zero(a, rows) == value
        assert sg.grad(select_at_zero)(a, rows) == slope
        assert sg.grad(lambda a, x: sg.grad(select_at_zero)(a, x))(a, rows) == 0.0
    np.testing.assert_array_equal(sg.grad(slope_of_square)(zeros), [2.0, 2.0, 2.0])


def test_the_table_lists_ops_without_gradient_and_prints_a_line_per_name():
    table = sg.conventions()
    without = {name for name, op in registered_ops().items() if not op.differentiable}
    assert without
    assert all("no gradient" in table[name] for name in without)
    lines = str(table).splitlines()
    assert len(lines) == len(table) > 10
    assert list(table) == sorted(table)
    assert any(re.fullmatch(r"abs +the derivative at 0 is 0", line) for line in lines)


SOME = np.array([False, True, True])
#: Reads only elements of x above 0, behind an op whose slope at 0 is not finite.
PARTS = {
    "mask": lambda x: (x**0.5)[SOME].sum(),
    "mask of two axes": lambda x: sg.sqrt(sg.stack([x, x]))[np.stack([SOME, SOME])].sum(),
    "slice": lambda x: sg.log(x)[1:].sum(),
    "slice of a slice": lambda x: sg.sqrt(x)[1:][::-1][:1].sum(),
    "two slices": lambda x: (lambda r: r[1:2].sum() + r[2:].sum())(sg.sqrt(x)),
    "index": lambda x: sg.sqrt(x)[2],
    "indices": lambda x: sg.take(1.0 / x, np.array([1, 2, 2])).sum(),
    "further factors": lambda x: (1.0 - 2.0 * sg.sqrt(x))[1:].sum(),
    "reshape": lambda x: sg.sqrt(x).reshape(3, 1)[1:].sum(),
    "roll": lambda x: sg.roll(sg.sqrt(x), 1)[np.array([0, 2])].sum(),
    "pad": lambda x: sg.pad(sg.sqrt(x), 1)[2:].sum(),
    "where of a slice": lambda x: sg.where(SOME[:2], sg.sqrt(x)[:2], 0.0).sum(),
    "where of another shape": lambda x: sg.where(SOME[:, None], sg.sqrt(x).reshape(3, 1), 0).sum(),
    "scan": lambda x: sg.scan(lambda c, v: (c + v, None), 0.0, sg.sqrt(x)[1:])[0],
}


@pytest.mark.parametrize("name", PARTS)
def test_what_is_not_read_has_slope_0(name):
    """An infinite slope outside of a part meets no cotangent: all ways agree, of two orders."""
    function, at = PARTS[name], np.array([0.0, 1.0, 4.0])
    x = sg.input("x", (3,), "float64")
    slope = sg.grad(function(x), x)
    values = [slope, sg.grad(slope.sum(), x)]
    near = np.array([1e-2, 1.0, 4.0])  # the same slopes where the first is finite
    references = [np.where(SOME, array, 0.0) for array in sg.evaluate(values, {"x": near})]
    for derivative, expected in zip(sg.evaluate(values, {"x": at}), references, strict=True):
        np.testing.assert_allclose(derivative, expected)
    tensor = Tensor(at, requires_grad=True, dtype="float64")
    function(tensor).backward()
    np.testing.assert_allclose(tensor.grad, references[0])
    np.testing.assert_allclose(sg.vmap(sg.grad(function))(np.stack([at, at]))[1], references[0])
    if name in ("mask", "roll"):
        actual = sg.compile(sg.Graph({"slope": slope, "twice": values[1]})).run({"x": at})
        np.testing.assert_allclose(list(actual.values()), references)


def test_parts_behind_finite_slopes_cost_nothing():
    """No mask is made where nothing can be infinite."""
    x, w = sg.input("x", (5,)), sg.input("w", (5,))
    for part in ((x * w)[1:], sg.tanh(x - w)[SOME.tolist() + [True] * 2], sg.sin(x).reshape(5, 1)):
        slopes = sg.grad((part * part).sum(), [x, w], allow_disconnected=True)
        ops = {node.op.name for node in sg.Graph(dict(zip("ab", slopes, strict=True))).nodes}
        assert not ops & {"where", "ne"}
