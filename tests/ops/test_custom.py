"""Functions with a rule of the user's own, for cotangents or tangents: every mode, mistakes."""

import functools
import pickle
import subprocess
import sys

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, grad
from staticgrad.errors import ArgumentError, GradientError, OpDefinitionError
from staticgrad.language.ir.graph import ancestors


@sg.custom_vjp(name="tests.softplus")
def softplus(x, sharpness):
    """log(1 + exp(sharpness * x)) / sharpness; carries no gradient to the sharpness."""
    return sg.log1p(sg.exp(sharpness * x)) / sharpness


@softplus.rule
def _(ct, out, x, sharpness):
    return ct * sg.sigmoid(sharpness * x), None


@sg.custom_vjp(name="tests.norm")
def norm(x):
    return sg.sqrt((x * x).sum())


@norm.rule
def _(ct, out, x):
    safe = sg.where(out > 0.0, out, 1.0)
    return (ct * x / safe,)


@pytest.mark.slow
def test_a_process_without_the_rule_runs_the_graph_and_says_what_is_missing():
    x = sg.input("x", (), "float64")
    program = (
        "import sys, staticgrad as sg\n"
        "g = sg.parse(sys.stdin.read())\n"
        "print(float(sg.evaluate(g, {'x': 0.0})['y']))\n"
        "try: sg.grad(g['y'], g.inputs[0])\n"
        "except sg.StaticgradError as error: print(error.headline)\n"
    )
    text = str(sg.Graph({"y": softplus(x, 1.0)}))
    run = subprocess.run(
        [sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True
    )
    value, message = run.stdout.splitlines()
    assert float(value) == np.log(2.0)
    assert message == "this process has no derivative rule named 'tests.softplus'"


def test_rule_nodes_carry_the_line_of_the_call():
    x = sg.input("x", (), "float64")
    y = softplus(x, 2.0)  # the call
    new = [node for node in ancestors([sg.grad(y, x)]) if node.order == 1]
    assert any(node.op.name == "sigmoid" for node in new)
    assert all("the call" in node.origin.resolve().text for node in new)


# Mistakes


def test_a_value_that_is_not_an_operand_is_refused():
    x, w = sg.input("x", (), "float64"), sg.parameter("w", 2.0)

    @sg.custom_vjp
    def scale_by_parameter(x):
        return x * sg.exp(w)

    @scale_by_parameter.rule
    def _(ct, out, x):
        return (ct,)

    with pytest.raises(GradientError, match="not among its operands") as caught:
        scale_by_parameter(x)
    assert caught.value.related[0][0] == "w"

    @sg.custom_vjp
    def scale_by_constant(x):
        return x * sg.stop_gradient(w) * (w > 0.0)

    scale_by_constant.rule(lambda ct, out, x: (ct,))
    assert sg.evaluate(scale_by_constant(x), {"x": 3.0}) == 6.0


def test_a_rule_of_one_operand_may_give_the_cotangent_by_itself():
    @sg.custom_vjp
    def cube(x):
        return x**3

    cube.rule(lambda ct, out, x: 3.0 * x**2 * ct)
    rows = np.array([[0.5, 2.0], [1.0, -3.0]])
    np.testing.assert_allclose(sg.grad(lambda x: cube(x).sum())(rows), 3.0 * rows**2)
    np.testing.assert_allclose(sg.vmap(sg.grad(lambda x: cube(x).sum()))(rows), 3.0 * rows**2)
    by_one = sg.vmap(lambda x, w: (cube(x) * w).sum(), in_axes=(None, 0))
    slope = sg.grad(lambda x, w: by_one(x, w).sum())(rows[0], rows)
    np.testing.assert_allclose(slope, 3.0 * rows[0] ** 2 * rows.sum(0))
    turned = sg.grad(lambda x: cube(x * (1.0 + 2.0j)).real.sum())(rows)  # Re((1 + 2i)^3) = -11
    np.testing.assert_allclose(turned, -33.0 * rows**2)


def test_wrong_definitions_are_refused():
    x = sg.input("x", (), "float64")

    @sg.custom_vjp
    def bare(x):
        return x * 2.0

    with pytest.raises(GradientError, match="has no derivative rule yet"):
        bare(x)
    bare.rule(lambda ct, out, x: (ct, ct))
    with pytest.raises(OpDefinitionError, match="not a tuple of 1 cotangent"):
        sg.grad(bare(x), x)
    product = sg.custom_vjp(lambda a, b: a * b)
    product.rule(lambda ct, out, a, b: ct)
    with pytest.raises(OpDefinitionError, match="not a tuple of 2 cotangents"):
        sg.grad(product(x, x), x)

    @sg.custom_vjp
    def pair(x):
        return x, x

    pair.rule(lambda ct, out, x: (ct,))
    with pytest.raises(OpDefinitionError, match="not one value"):
        pair(x)
    with pytest.raises(ArgumentError, match="takes a function, not an int"):
        sg.custom_vjp(3)
    with pytest.raises(ArgumentError, match="no unique name"):
        sg.custom_vjp(functools.partial(sg.add, 1.0))
    named = sg.custom_vjp(functools.partial(sg.add, 1.0), name="tests.partial")
    with pytest.raises(OpDefinitionError, match=r"tests\.partial: the derivative rule is a list"):
        named.rule([])


WRONG_SHARES = {
    "an array": np.ones(3),
    "a list": [1.0, 2.0, 3.0],
    "a float": 1.0,
    "an int": 0,
    "a text": "none",
    "a Tensor": Tensor([1.0, 2.0, 3.0]),
    "a Symbolic": sg.input("stray", (3,), "float64") * 2.0,
}


@pytest.mark.parametrize(
    ("kind", "eager"),
    [(kind, eager) for kind in WRONG_SHARES for eager in (False, True)
     if kind != ("a Tensor" if eager else "a Symbolic")],
)  # fmt: skip
def test_a_rule_that_gives_no_value_is_named(kind, eager):
    @sg.custom_vjp(name=f"tests.wrong-{kind}-{eager}")
    def double(x):
        return x * 2.0

    double.rule(lambda ct, out, x: (WRONG_SHARES[kind],))
    leaf = sg.input("x", (3,), "float64")
    if eager:
        leaf = Tensor([1.0, 2.0, 3.0], dtype="float64", requires_grad=True)
    total = double(leaf).sum()
    with pytest.raises(OpDefinitionError, match=rf"tests\.wrong-.* gives {kind} for f64\[3\]"):
        total.backward() if eager else sg.grad(total, leaf)


def test_what_a_rule_raises_passes_through_with_a_note():
    @sg.custom_vjp(name="tests.raising")
    def double(x):
        return x * 2.0

    x = sg.input("x", (), "float64")
    double.rule(lambda ct, out, x: {}["missing"])
    with pytest.raises(KeyError, match="missing") as caught:
        sg.grad(double(x), x)
    assert caught.value.__notes__ == ["in the derivative rule of tests.raising"]


def test_two_functions_of_one_piece_of_code_need_names():
    def make_scale(factor, name=""):
        @sg.custom_vjp(name=name)
        def scale(x):
            return x * factor

        scale.rule(lambda ct, out, x: (ct * factor,))
        return scale

    make_scale(2.0)
    with pytest.raises(ArgumentError, match="exists already"):
        make_scale(3.0)
    x = sg.input("x", (), "float64")
    y = make_scale(4.0, "tests.four")(make_scale(5.0, "tests.five")(x))
    assert sg.evaluate(sg.grad(y, x)) == 20.0


@sg.custom_jvp(name="tests.log1pexp")
def log1pexp(x):
    return sg.log1p(sg.exp(x))


@log1pexp.rule
def _(tangents, out, x):
    return tangents[0] * sg.sigmoid(x)


@sg.custom_jvp(name="tests.scaled_rows")
def scaled_rows(x, w, n):
    """Rows of x times w, to a whole power."""
    return (x * w) ** n


@scaled_rows.rule
def _(tangents, out, x, w, n):
    assert tangents[2] is None
    slope = sg.astype(n, x.dtype) * (x * w) ** (n - 1)
    return slope * (tangents[0] * w + x * tangents[1])


def plain(x, w, n):
    return (x * w) ** n


X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
W = np.array([1.0, -2.0, 0.5])
CUBE = np.array(3)


def test_the_rule_counts_where_the_formula_overflows():
    x = sg.input("x", (3,), "float64")
    y = log1pexp(x)
    at = {"x": np.array([-1.0, 0.0, 1000.0])}
    expected = 1 / (1 + np.exp(-at["x"]))
    ones = np.ones(3)
    for actual in (sg.grad(y.sum(), x), sg.jvp(y, x, ones), sg.vjp(y, x, ones)):
        np.testing.assert_allclose(sg.evaluate(actual, at), expected, rtol=1e-12)
        np.testing.assert_allclose(sg.compile(actual).run(at), expected, rtol=1e-12)
    t = Tensor(at["x"], requires_grad=True, dtype="float64")
    log1pexp(t).sum().backward()
    np.testing.assert_allclose(t.grad, expected, rtol=1e-12)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", ["graph", "function", "tensor"])
def test_gradients_of_both_orders_are_those_of_the_formula(kind):
    """By operands of several shapes, one of them broadcast, and an integer."""

    def both_gradients(f):
        def energy(x, w):
            return (f(x, w, CUBE) * sg.sin(x)).sum()

        def second(x, w):
            return (sg.grad(energy, 0)(x, w) ** 2).sum()

        if kind == "function":
            return [sg.grad(energy, (0, 1))(X, W), sg.grad(second, (0, 1))(X, W)]
        if kind == "graph":
            x, w = sg.input("x", (2, 3), "float64"), sg.input("w", (3,), "float64")
            first = sg.grad(energy(x, w), [x, w])
            again = sg.grad((first[0] ** 2).sum(), [x, w])
            return [sg.evaluate(slopes, {"x": X, "w": W}) for slopes in (first, again)]
        x, w = (Tensor(a, requires_grad=True, dtype="float64") for a in (X, W))
        first = grad(energy(x, w), [x, w], create_graph=True)
        again = grad((first[0] ** 2).sum(), [x, w])
        return [[t.data for t in slopes] for slopes in (first, again)]

    for ours, theirs in zip(both_gradients(scaled_rows), both_gradients(plain), strict=True):
        for actual, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-11)


def test_operands_may_be_recorded_results():
    """A walk back over the tape uses the rule while what made its operands is still to come."""
    x, w = (Tensor(a, requires_grad=True, dtype="float64") for a in (X, W))
    energy = (scaled_rows(sg.sin(x) * w, w * w, CUBE) * x).sum()
    energy.backward()
    y, v = sg.input("y", X.shape, "float64"), sg.input("v", W.shape, "float64")
    by_formula = sg.grad((plain(sg.sin(y) * v, v * v, CUBE) * y).sum(), [y, v])
    for tensor, slope in zip((x, w), by_formula, strict=True):
        np.testing.assert_allclose(tensor.grad, sg.evaluate(slope, {"y": X, "v": W}), rtol=1e-11)


@sg.custom_jvp(name="tests.double_value")
def double_value(x):
    return 2.0 * x


@double_value.rule
def _(tangents, out, x):
    return double_value(tangents[0])  # it is linear


@sg.custom_jvp(name="tests.steep")
def steep(x):
    return sg.sin(x)


@steep.rule
def _(tangents, out, x):
    return 5.0 * tangents[0]


@sg.custom_jvp(name="tests.slope_of_steep")
def square_by_slope(x):
    return x * x


@square_by_slope.rule
def _(tangents, out, x):
    return tangents[0] * sg.grad(steep(x).sum(), x)  # 5, by the rule and not by the sine


def test_a_rule_may_apply_its_function_to_tangents_and_differentiate_others():
    x = np.arange(3.0)
    cube = lambda x: (double_value(x) ** 3).sum()  # noqa: E731
    np.testing.assert_array_equal(sg.grad(cube)(x), 24 * x**2)
    np.testing.assert_array_equal(sg.hessian(cube)(x), np.diag(48 * x))
    leaf = Tensor(x, requires_grad=True)
    np.testing.assert_array_equal(grad(cube(leaf), leaf), 24 * x**2)
    np.testing.assert_array_equal(sg.grad(lambda x: square_by_slope(x).sum())(x), [5.0] * 3)


@sg.custom_jvp(name="tests.ramp")
def ramp(x):
    return sg.maximum(x, 0.0)


@ramp.rule
def _(tangents, out, x):
    zero = sg.broadcast_to(0.0, x.shape)  # of numbers alone
    return tangents[0] * sg.where(x > zero, sg.full(x.shape, 1.0, x.dtype), zero)


@sg.custom_vjp(name="tests.leaky_ramp")
def leaky_ramp(x):
    return sg.where(x > 0.0, x, 0.1 * x)


@leaky_ramp.rule
def _(ct, out, x):
    return ct * sg.where(x > sg.broadcast_to(0.0, x.shape), sg.ones(x.shape, x.dtype), 0.1)


def host_ramp(x):
    return sg.host_call(
        lambda x: np.maximum(x, 0.0), x, types=x.type,
        vjp=lambda ct, out, x: ct * sg.where(x > 0.0, sg.ones(x.shape, x.dtype), 0.0),
        name="tests.host_ramp",
    )  # fmt: skip


@pytest.mark.parametrize(("function", "below"), [(ramp, 0.0), (leaky_ramp, 0.1), (host_ramp, 0.0)])
def test_what_a_rule_makes_of_numbers_is_of_the_kind_of_its_operands(function, below):
    """A walk back over the tape outside of ``eager_mode`` makes tensors, of first order and second.

    As ``jax.nn.relu``, whose rule compares with a literal.
    """
    x = np.array([-1.0, 0.5, 2.0])
    slopes = np.where(x > 0.0, 1.0, below)
    leaf = Tensor(x, requires_grad=True, dtype="float64")
    (function(leaf) ** 2).sum().backward()
    np.testing.assert_allclose(leaf.grad, 2 * x * slopes**2, rtol=1e-15)
    (slope,) = grad((function(leaf) ** 2).sum(), [leaf], create_graph=True)
    np.testing.assert_allclose(grad(slope.sum(), leaf), 2 * slopes**2, rtol=1e-15)
    np.testing.assert_allclose(
        sg.grad(lambda x: (function(x) ** 2).sum())(x), 2 * x * slopes**2, rtol=1e-15
    )


@pytest.mark.slow
def test_it_is_mapped_over_batches_with_its_rule():
    def slopes(x, w):
        return sg.grad((scaled_rows(x, w, CUBE) ** 2).sum(), [x, w])

    def push_forward(x, w):
        return sg.jvp(scaled_rows(x, w, CUBE), [x, w], [x * 2.0, w])

    for f in (slopes, push_forward):
        mapped = sg.function(sg.vmap(f, (0, None)))(X, W)
        rows = [sg.function(f)(row, W) for row in X]
        for k in range(2):
            actual = mapped if f is push_forward else mapped[0]
            np.testing.assert_allclose(
                actual[k], rows[k] if f is push_forward else rows[k][0], rtol=1e-12
            )


def test_graphs_with_it_are_text_and_pickles():
    x = sg.input("x", (3,), "float64")
    graph = sg.Graph({"y": log1pexp(x)})
    at = {"x": np.array([0.0, 1.0, 800.0])}
    for copy in (sg.parse(str(graph)), pickle.loads(pickle.dumps(graph))):
        slope = sg.grad(copy["y"].sum(), copy.inputs[0])
        np.testing.assert_allclose(sg.evaluate(slope, at), 1 / (1 + np.exp(-at["x"])), rtol=1e-12)


def test_mistakes():
    x = sg.input("x", (3,), "float64")
    with pytest.raises(ArgumentError, match="custom_jvp takes a function"):
        sg.custom_jvp(3)
    with pytest.raises(ArgumentError, match=r"'tests.log1pexp' exists already"):
        sg.custom_jvp(name="tests.log1pexp")(lambda x: x)
    bare = sg.custom_jvp(lambda x: x * 2.0, name="tests.bare")
    with pytest.raises(GradientError, match="no derivative rule yet"):
        bare(x)
    bare.rule(lambda tangents, out, x: tangents[0].sum())
    with pytest.raises(OpDefinitionError, match=r"gives f64\[\], not a tangent of type f64\[3\]"):
        sg.grad(bare(x).sum(), x)
    reads = sg.custom_jvp(lambda x: x * y, name="tests.reads")
    y = sg.input("y", (3,), "float64")
    reads.rule(lambda tangents, out, x: tangents[0])
    with pytest.raises(GradientError, match="not among its operands"):
        reads(x)
