"""A package of somebody else: one addition of each kind, made without a change of ours.

``test_additions.py`` runs it in a process of its own (``python -m tests.repository.outside``), for
what is registered here is known to the whole process. It prints the name of each part that went
through.
"""

import ctypes
import pickle
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import scipy.stats

import staticgrad as sg
from passes.base import Pass
from passes.pipelines import pipeline
from passes.remat.base import Policy
from passes.remat.segments import Forward
from passes.rewrite import holes, rule
from passes.rewrite.base import Rewrite
from staticgrad import backends, native
from staticgrad.backends import render
from staticgrad.eager import Tensor
from staticgrad.extend import (
    COMBINERS,
    AnyValue,
    ArrayLike,
    Combiner,
    Floating,
    PositiveInt,
    Reduction,
    as_value,
    called_name,
    namespace,
    present,
    quote,
)
from staticgrad.extend.distributions import Continuous, log1mexp
from staticgrad.extend.ops import reshape
from tests.native.support import assert_same

POINTS = np.linspace(-2, 2, 35, dtype="float32").reshape(7, 5)


def every_way(program, feeds):
    """Return the result if all readers of kernels, the text and the pickle give the same."""
    actual = [sg.compile(program, backend=name).run(feeds) for name in ("vector", "numba")]
    with sg.options(jit=False):
        actual.append(sg.compile(program).run(feeds))
    graph = sg.Graph({"y": program})
    for again in (sg.parse(str(graph)), pickle.loads(pickle.dumps(graph))):
        actual += [sg.compile(again).run(feeds)["y"], sg.evaluate(again, feeds)["y"]]
    for result in actual[1:]:
        assert_same(result, actual[0], str(graph))
    return actual[0]


class Bump(Floating, name="outside.bump"):
    """1 / (1 + x * x)."""

    exact = True

    def reference(self, x):
        return 1 / (x * x + 1)

    def scalar(self, x):
        return 1.0 / (x * x + 1.0)

    def partials(self, out, x):
        return (-2.0 * x * out * out,)


def bump(x):
    """A public function applies a class, or composes others."""
    return Bump()(x)


def op():
    sg.testing.check_op(Bump(), [(np.linspace(-2, 2, 6),)])
    x = sg.input("x", ("n", 5))
    assert_same(every_way(bump(x), {"x": POINTS}), 1 / (POINTS * POINTS + 1), "bump")
    slope = every_way(sg.grad(bump(x).sum(), x), {"x": POINTS})
    np.testing.assert_allclose(slope, -2 * POINTS / (POINTS * POINTS + 1) ** 2, rtol=1e-5)
    tensor = Tensor(POINTS, requires_grad=True)
    bump(tensor).sum().backward()
    np.testing.assert_allclose(tensor.grad, slope, rtol=1e-5)


def pool_mean(x: ArrayLike[AnyValue], width: PositiveInt) -> AnyValue:
    """Means of ``width`` neighbours along the last axis."""
    value = as_value(x)
    if value.shape[-1] % width:
        raise sg.errors.ShapeError(f"{called_name()}: {quote(width)} does not divide {value.type}")
    return sg.mean(reshape(value, (*value.shape[:-1], -1, width)), -1)


#: What a module of functions has as ``globals()``.
FUNCTIONS = {"__name__": "outside.functions", "__all__": ["pool_mean"], "pool_mean": pool_mean}
namespace(FUNCTIONS, operands=present)


def function():
    public = FUNCTIONS["pool_mean"]
    means = POINTS[:, :4].reshape(7, 2, 2).mean(-1)
    x = sg.input("x", ("n", 4), "float32")
    assert_same(every_way(public(x, np.int64(2)), {"x": POINTS[:, :4]}), means, "means")
    at_once = public(POINTS[:, :4], 2)
    assert isinstance(at_once, np.ndarray)
    assert_same(at_once, means, "means of arrays")
    with pytest.raises(sg.errors.ArgumentError, match=r"pool_mean: width must be .*, got 0"):
        public(x, 0)
    with pytest.raises(sg.errors.ShapeError, match="pool_mean: 3 does not divide"):
        public(x, 3)
    with pytest.raises(AttributeError, match=r"outside\.functions has no 'pool_means'"):
        FUNCTIONS["__getattr__"]("pool_means")


x, y = holes("x y")


class Undo(Rewrite, name="outside.undo"):
    """A table of one rule."""

    rules = (rule("outside-bump-minus", bump(-x), bump(x)),)


def rewrite_rule():
    z = sg.input("z", (3,))
    graph, _ = pipeline("outside.undo,dce").run(sg.Graph({"z": bump(-z)}))
    assert "neg" not in str(graph)
    assert "outside.bump(%z)" in str(graph)


class Count(Pass, name="outside.count"):
    """The same graph; how many nodes it has is noted."""

    def __call__(self, graph):
        SEEN.append(len(graph.nodes))
        return graph


SEEN = []


def graph_pass():
    f = sg.compile(sg.tanh(sg.input("x", (3,))), pipeline="outside.count,dce")
    assert len(SEEN) == 1
    assert "outside.count" in f.explain()


class Pairs(Policy, name="outside.pairs"):
    """Segments of two forward steps."""

    def sequences(self, problem):
        for order in problem.orders:
            forward = Forward.of(problem, order)
            sequence = forward.sequence(range(1, forward.places - 1, 2))
            if sequence is not None:
                yield sequence


def chain():
    h = sg.input("x", (64, 16))
    weights = [sg.parameter(f"w{i}", np.eye(16, dtype="float32")) for i in range(8)]
    for w in weights:
        h = sg.tanh(h @ w)
    return (h * h).mean(), weights


def policy():
    loss, weights = chain()
    step = sg.Graph({"loss": loss}, Signs(rate=0.1).updates(loss, weights))
    plain, by_policy = (sg.compile(step, checkpoint=c) for c in ("store_all", "outside.pairs"))
    assert by_policy.peak_bytes < plain.peak_bytes
    feeds = {"x": np.ones((64, 16), np.float32)}
    start = [w.value for w in weights]
    expected = plain.run(feeds)["loss"]
    for w, value in zip(weights, start, strict=True):
        w.value = value
    assert_same(by_policy.run(feeds)["loss"], expected, "loss")


@dataclass(frozen=True)
class Signs(sg.optim.Optimizer):
    """A step of one length against the sign of each gradient."""

    rate: float = 0.1

    def step(self, grads):
        return {p: p - self.rate * sg.sign(gradient) for p, gradient in grads.items()}


def optimizer():
    w = sg.parameter("w", np.array([1.0, -2.0]))
    loss = (w * w).sum()
    sg.compile(sg.Graph({"loss": loss}, Signs(rate=0.5).updates(loss, [w]))).run()
    assert w.value.tolist() == [0.5, -1.5]
    assert Signs in sg.optim.registered_optimizers()


COMBINERS["conjunction"] = Combiner(
    "conjunction", "and", "hand", "any", "b", lambda dtype: True, lambda dtype: True
)


class Conjunction(Reduction, name="outside.conjunction"):
    """True where all elements over ``axes`` are true."""

    kind = "conjunction"

    def reference(self, x):
        return np.logical_and.reduce(x, self.axes)


def kind_of_reduction():
    truths = np.random.default_rng(0).random((9, 37)) < 0.97
    x = sg.input("x", ("n", "m"), "bool")
    for axes in ((0,), (1,), (0, 1)):
        actual = every_way(Conjunction(axes)(x), {"x": truths})
        assert_same(actual, truths.all(axes), f"axes {axes}")


def run_in_python(kernel):
    """Code that calls back into Python: the kernel's source over NumPy lanes."""
    source = render(kernel)
    with sg.options(jit=False):
        python = native.kernel(source).python
    called = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(python)
    address = ctypes.cast(called, ctypes.c_void_p).value or 0
    return backends.Code("interpreted", address, source, "outside.python", keep=called)


backends.register(backends.Backend("outside.python", run_in_python))


def backend():
    x = sg.input("x", ("n", 5))
    f = sg.compile(sg.nn.softmax(bump(x)), backend="outside.python")
    assert {kernel.compiler for kernel in f.kernels} == {"outside.python"}
    expected = sg.compile(sg.nn.softmax(bump(x))).run({"x": POINTS})
    assert_same(f.run({"x": POINTS}), expected, "softmax")


class Kumaraswamy(Continuous):
    """P(X <= z) = 1 - (1 - z**a)**b on (0, 1)."""

    shapes = ("a", "b")
    low, high = 0.0, 1.0

    def log_density(self, z, a, b):
        return sg.log(a) + sg.log(b) + (a - 1) * sg.log(z) + (b - 1) * log1mexp(a * sg.log(z))

    def below(self, z, a, b):
        return -sg.expm1(self.log_above(z, a, b))

    def above(self, z, a, b):
        return sg.exp(self.log_above(z, a, b))

    def log_above(self, z, a, b):
        return b * log1mexp(a * sg.log(z))

    def quantile(self, q, a, b):
        return sg.exp(log1mexp(sg.log1p(-q) / b) / a)


kumaraswamy = Kumaraswamy("kumaraswamy")


def distribution():
    a, b, points = 0.3, 7.0, np.array([1e-12, 0.02, 0.4, 0.97])
    with mpmath.workdps(40):
        exact = [mpmath.mpf(float(point)) for point in points]
        one_minus = [1 - z ** mpmath.mpf(a) for z in exact]
        tails = [float(p ** mpmath.mpf(b)) for p in one_minus]
        logarithms = [float(mpmath.log(p) * b) for p in one_minus]
        densities = [
            float(a * b * z ** (mpmath.mpf(a) - 1) * p ** (mpmath.mpf(b) - 1))
            for z, p in zip(exact, one_minus, strict=True)
        ]
        lower = [float(1 - p ** mpmath.mpf(b)) for p in one_minus]
    for method, expected in (
        ("pdf", densities), ("cdf", lower), ("sf", tails), ("logsf", logarithms),
    ):  # fmt: skip
        at_once = getattr(kumaraswamy, method)(points, a, b)
        np.testing.assert_allclose(at_once, expected, rtol=1e-12)
    np.testing.assert_allclose(kumaraswamy.ppf(lower[:3], a, b), points[:3], rtol=1e-12)
    beta = scipy.stats.beta(1.0, b)
    np.testing.assert_allclose(kumaraswamy.logpdf(points, 1.0, b), beta.logpdf(points), rtol=1e-13)
    x = sg.input("x", ("n",), "float64")
    shape = sg.input("a", (), "float64")
    feeds = {"x": points, "a": np.float64(a)}
    log_density = kumaraswamy.logpdf(x, shape, b)
    np.testing.assert_allclose(every_way(log_density, feeds), np.log(densities), rtol=1e-12)
    slope = every_way(sg.grad(log_density.sum(), shape), feeds)
    with mpmath.workdps(40):
        power = [z ** mpmath.mpf(a) for z in exact]
        terms = [
            1 / mpmath.mpf(a) + mpmath.log(z) * (1 - (b - 1) * p / (1 - p))
            for z, p in zip(exact, power, strict=True)
        ]
    np.testing.assert_allclose(slope, float(mpmath.fsum(terms)), rtol=1e-12)
    draws = kumaraswamy.rvs(a, b, size=4000, random_state=0)
    assert scipy.stats.kstest(draws, lambda at: kumaraswamy.cdf(at, a, b)).pvalue > 0.01
    assert pickle.loads(pickle.dumps(kumaraswamy)) is kumaraswamy
    with pytest.raises(AttributeError, match="kumaraswamy has no 'mean'") as refused:
        kumaraswamy.mean(a, b)
    assert "sg.stats" not in refused.value.headline


PARTS = (
    *(op, function, rewrite_rule, graph_pass, policy, optimizer, kind_of_reduction, backend),
    distribution,
)

if __name__ == "__main__":
    for part in PARTS:
        part()
        print(part.__name__, flush=True)  # noqa: T201 - the test reads it
