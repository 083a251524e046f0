"""Complex values where arrays meet programs: feeds, outputs, parameters, texts, functions."""

import copy
import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor

RNG = np.random.default_rng(3)
A = RNG.normal(size=(4, 3)) + 1j * RNG.normal(size=(4, 3))


def energy(z):
    return sg.sum(sg.abs_square(sg.sin(z) / (z + 2.0)))


def slope(z):
    """The gradient of ``energy`` in closed form: conj(h) h' for h(z) = sin(z) / (z + 2), twice."""
    h = np.sin(z) / (z + 2.0)
    return 2 * h.conj() * (np.cos(z) / (z + 2.0) - np.sin(z) / (z + 2.0) ** 2)


@pytest.fixture
def product():
    z = sg.input("z", ("n", 3), "complex128")
    return sg.Graph({"y": z @ z.T, "size": abs(z)}, name="product")


def test_feeds_of_every_layout_and_runs_of_the_native_entry(product):
    f = sg.compile(product)
    for feed in [A, *[A] * 5, A[:, ::-1], A.astype("complex64"), A.real, A.real.astype("int32")]:
        actual = f.run({"z": feed})
        np.testing.assert_allclose(actual["y"], feed @ feed.T, rtol=1e-6)
        assert actual["y"].dtype == np.complex128
    assert f.stats.runs == 10
    out = np.empty((4, 4), complex)
    assert f.run({"z": A}, out={"y": out})["y"] is out
    np.testing.assert_allclose(out, A @ A.T)
    assert f.bind({"z": A})()["y"].dtype == np.complex128


def test_contiguous_feeds_and_outputs_are_not_copied():
    z = sg.input("z", ("n",), "complex64")
    f = sg.compile(z * (2.0 + 1.0j))
    plan = f.plan(n=100)
    assert plan.peak_bytes == 0
    assert len(plan.steps) == 1


@pytest.mark.parametrize(
    ("feed", "words"),
    [(A[0], "has 1 axis, the input has 2"), (A.astype(str), "the input takes complex128")],
)
def test_unfit_feeds_are_refused(product, feed, words):
    with pytest.raises(sg.errors.FeedError, match=words):
        sg.compile(product).run({"z": feed})
    with pytest.raises(sg.errors.FeedError, match=words):
        sg.evaluate(product, {"z": feed})


def test_sizes_meet_complex_values():
    z = sg.input("z", ("n",), "complex64")
    at = np.array([1 + 2j, 3j], "complex64")
    actual = sg.evaluate(z * z.shape[0], {"z": at})
    assert actual.dtype == at.dtype
    np.testing.assert_array_equal(actual, at * np.float32(2))


def test_a_real_input_takes_no_complex_feed():
    with pytest.raises(sg.errors.FeedDTypeError, match="complex128"):
        sg.compile(sg.input("x", (2,)) * 2).run({"x": np.ones(2, complex)})


def test_text_and_pickles_read_back(product):
    assert "(%z: f64[n, 3, 2] complex)" in str(product)
    again = sg.parse(str(product))
    assert sg.same_graph(again, product)
    assert not sg.same_graph(sg.parse(str(product).replace(" complex,", ",")), product)
    assert again["y"].type == product["y"].type
    for program in (again, pickle.loads(pickle.dumps(product)), copy.deepcopy(product)):
        np.testing.assert_allclose(sg.compile(program).run({"z": A})["y"], A @ A.T)
    unpickled = pickle.loads(pickle.dumps(sg.compile(product["y"])))
    np.testing.assert_allclose(unpickled.run({"z": A}), A @ A.T)
    with pytest.raises(sg.errors.ParseError, match="last axis of 2"):
        sg.parse(str(product).replace("%z: f64[n, 3, 2]", "%z: f64[n, 3]"))


def test_parameters_and_their_updates():
    w = sg.parameter("w", A)
    assert (w.dtype, w.shape, w.name) == ("complex128", (4, 3), "w")
    graph = sg.Graph({"size": abs(w)}, {w: w * 1j})
    assert "params(@w: f64[4, 3, 2] complex)" in str(graph)
    f = sg.compile(graph)
    np.testing.assert_allclose(f.run()["size"], abs(A))
    np.testing.assert_allclose(w.value, A * 1j)
    w.value = A.real
    np.testing.assert_array_equal(w.value, A.real + 0j)
    _, updates = sg.evaluate(graph, updates=True)
    np.testing.assert_allclose(updates["w"], A.real * 1j)
    with pytest.raises(sg.errors.DTypeError, match="an update keeps its dtype"):
        sg.Graph({}, {w: abs(w)})
    read = sg.parse(str(graph), parameters={"w": A})
    np.testing.assert_allclose(sg.compile(read).run()["size"], abs(A))
    for copied in (pickle.loads(pickle.dumps(w)), copy.deepcopy(w)):
        np.testing.assert_array_equal(copied.value, w.value)


def test_optimizers_descend():
    x = sg.input("x", (4, 3), "complex128")
    w, v, u = (sg.parameter(name, A) for name in "wvu")
    adam = sg.optim.Adam(0.1)
    step = sg.compile(sg.Graph({}, adam.updates(sg.sum(sg.abs_square(w - x)), [w])))

    @sg.function
    def step_by_minimize(x):
        loss = sg.sum(sg.abs_square(v - x))
        sg.optim.SGD(0.1).minimize(loss)
        return loss

    @sg.function
    def step_by_gradients(x):
        loss = sg.sum(sg.abs_square(u - x))
        sg.optim.SGD(0.1).apply_gradients({u: sg.grad(loss, u)})
        return loss

    target = np.full((4, 3), 1 + 2j)
    for _ in range(200):
        step.run({"x": target})
        step_by_minimize(target)
        step_by_gradients(target)
    for parameter in (w, v, u):
        np.testing.assert_allclose(parameter.value, target, atol=1e-3)


def test_modules_and_files(tmp_path):
    class Scale(sg.nn.Module):
        def __init__(self):
            self.factor = sg.parameter("factor", A)

        def forward(self, x):
            return self.factor * x

    module = Scale()
    assert [p.shape for p in module.parameters()] == [(4, 3, 2)]
    copied = copy.deepcopy(module)
    sg.save(tmp_path / "a.npz", {"module": module, "factor": module.factor})
    module.factor.value = 0 * A
    sg.load(tmp_path / "a.npz", into={"module": module, "factor": module.factor})
    for restored in (module, copied):
        np.testing.assert_array_equal(restored.factor.value, A)
    actual = sg.compile(module(sg.input("x", (), "float64"))).run({"x": 2.0})
    np.testing.assert_array_equal(actual, 2 * A)


def test_functions_of_arrays():
    f = sg.function(lambda z, x: {"product": z * x, "parts": [z.real, z.imag], "i": 1j})
    actual = f(A, 2.0 * np.ones(3))
    np.testing.assert_array_equal(actual["product"], A * 2)
    np.testing.assert_array_equal(actual["parts"], [A.real, A.imag])
    assert actual["i"] == 1j
    factor = A.copy()
    g = sg.function(lambda x: factor * x)
    np.testing.assert_array_equal(g(np.ones(3)), factor)
    factor *= 2
    np.testing.assert_array_equal(g(np.ones(3)), factor)


def test_gradients_are_those_of_jax():
    z = sg.input("z", A.shape, "complex128")
    expected = slope(A)
    np.testing.assert_allclose(sg.evaluate(sg.grad(energy(z), z), {"z": A}), expected)
    np.testing.assert_allclose(sg.grad(energy)(A), expected)
    tensor = Tensor(A, requires_grad=True)
    energy(tensor).backward()
    np.testing.assert_allclose(tensor.grad, expected)
    w = sg.parameter("w", A)
    np.testing.assert_allclose(sg.evaluate(sg.grad(energy(w), w)), expected)
    np.testing.assert_allclose(sg.grad(lambda: energy(w), argnums=w)(), expected)
    value, actual = sg.value_and_grad(energy)(A)
    np.testing.assert_allclose(actual, expected)
    np.testing.assert_allclose(value, np.sum(abs(np.sin(A) / (A + 2)) ** 2))
    np.testing.assert_array_equal(sg.grad(lambda z: sg.sum(z.real))(A), np.ones_like(A))


def test_gradients_by_values_that_ops_read_as_a_whole():
    """Factorizations and transforms read both parts as one stored value."""

    def loss(a):
        product = sg.linalg.inv(a) * sg.fft.fft(a)
        return sg.sum(sg.abs_square(product + sg.sin(a)))

    square, way = A[:3] + 3.0 * np.eye(3), A[1:] * 1j
    a = sg.input("a", (3, 3), "complex128")
    expected = sg.grad(loss)(square)
    np.testing.assert_allclose(sg.evaluate(sg.grad(loss(a), a), {"a": square}), expected)
    np.testing.assert_allclose(sg.function(lambda a: sg.grad(loss(a), a))(square), expected)
    actual = sg.evaluate(sg.jvp(loss(a), a, way), {"a": square})
    np.testing.assert_allclose(actual, sg.jvp(loss, square, way)[1])
    for function in (sg.linalg.inv, lambda a: sg.fft.ifft(a) * a):
        actual = sg.evaluate(sg.vjp(function(a), a, way), {"a": square})
        np.testing.assert_allclose(actual, sg.vjp(function, square, way)[1])
    middle = sg.fft.fft(a)
    slope = sg.grad(sg.sum(sg.abs_square(sg.fft.ifft(middle) * middle)), middle)
    expected = sg.grad(lambda m: sg.sum(sg.abs_square(sg.fft.ifft(m) * m)))(np.fft.fft(square))
    np.testing.assert_allclose(sg.evaluate(slope, {"a": square}), expected)


def test_products_with_jacobians():
    way = A[::-1] * 1j
    np.testing.assert_allclose(sg.jvp(lambda z: z * z, A, way)[1], 2 * A * way)
    np.testing.assert_allclose(sg.vjp(lambda z: z * z, A, way)[1], 2 * A * way)
    # of a function that is not holomorphic JAX conjugates cotangents on both sides
    np.testing.assert_allclose(sg.vjp(sg.conj, A, way)[1], way.conj())


def test_a_complex_loss_is_refused_unless_it_is_holomorphic():
    z = sg.input("z", (), "complex128")
    with pytest.raises(sg.errors.GradientError, match="the loss is c128"):
        sg.grad(z * z, z)
    with pytest.raises(sg.errors.GradientError, match="the loss is c128"):
        sg.grad(lambda z: z * z)(1j)
    expected = 3 * (1 + 2j) ** 2
    actual = sg.evaluate(sg.grad(z**3, z, holomorphic=True), {"z": 1 + 2j})
    np.testing.assert_allclose(actual, expected)
    np.testing.assert_allclose(sg.grad(lambda z: z**3, holomorphic=True)(1 + 2j), expected)
    value, actual = sg.value_and_grad(lambda z: z**3, holomorphic=True)(1 + 2j)
    np.testing.assert_allclose([value, actual], [(1 + 2j) ** 3, expected])
    with pytest.raises(sg.errors.GradientError, match="real values and functions"):
        sg.jacobian(lambda z: z * z)(A)


#: Functions whose result, or an intermediate value, lacks a part or does not move with it.
ONE_PART = {
    "1j * x": (lambda x: 1j * x, 1j),
    "conj": (lambda x: sg.conj((2.0 + 1j) * x), 2.0 - 1j),
    "astype": (lambda x: x.astype("complex128"), 1.0),
    "constant part": (lambda x: sg.complex(x, 1.0), 1.0),
    "rfft of one": (lambda x: sg.fft.rfft(x[:, None], axis=1)[:, 0], 1.0),
    "a part of a part": (lambda x: (1j * x).imag * 1j + (1j * x).real, 1j),
}


@pytest.mark.parametrize("name", ONE_PART)
def test_values_of_which_one_part_does_not_depend(name):
    f, factor = ONE_PART[name]
    at, way, ct = np.array([1.0, -2.0]), np.array([0.5, 3.0]), np.array([1.0 + 2.0j, -1j])
    x = sg.input("x", (2,), "float64")
    ev = lambda value: sg.evaluate([value, x], {"x": at})[0]  # noqa: E731
    t = Tensor(at, requires_grad=True)
    tangents = [ev(sg.jvp(f(x), x, way)), sg.jvp(f, at, way)[1], sg.linearize(f, at)[1](way)]
    tangents += [sg.jvp(f(t), t, way).data, sg.jvp(f, t, way)[1].data]
    tangents += [sg.linearize(f, t)[1](way).data]
    cotangents = [ev(sg.vjp(f(x), x, ct)), sg.vjp(f, at, ct)[1], sg.vjp(f, at)[1](ct)]
    cotangents += [sg.vjp(f(t), t, ct).data, sg.vjp(f, t)[1](ct).data]
    for actual in tangents:
        np.testing.assert_allclose(actual, factor * way, rtol=1e-14)
    for actual in cotangents:
        np.testing.assert_allclose(actual, (factor * ct).real, rtol=1e-14)
    size = lambda x: sg.abs_square(f(x)).sum()  # noqa: E731
    curved = [ev(sg.hvp(size(x), x, way)), sg.hvp(size, at, way), sg.hvp(size(t), t, way).data]
    for actual in curved:
        np.testing.assert_allclose(actual, 2 * abs(factor) ** 2 * way, rtol=1e-14)


#: Derivatives of a loss by a complex value, along ``way``.
DERIVATIVES = {
    "grad": lambda loss, z, way: sg.grad(loss, z),
    "disconnected": lambda loss, z, way: sg.grad(loss, z, allow_disconnected=True),
    "vjp": lambda loss, z, way: sg.vjp(loss, z, np.array(1.0, loss.dtype)),
    "jvp": lambda loss, z, way: sg.jvp(loss, z, way),
    "hvp": lambda loss, z, way: sg.hvp(loss, z, way),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_a_value_without_a_part_is_nothing_to_differentiate_by(name):
    x, t = sg.input("x", (2,), "float64"), Tensor([1.0, 2.0], requires_grad=True)
    for z in (1j * x, x.astype("complex128"), 1j * t):
        loss = (z.real + 2.0 * z.imag).sum()
        with pytest.raises(sg.errors.GradientError, match=r"c\d+\[2\] was made without"):
            DERIVATIVES[name](loss, z, np.ones(2) * 1j)
    complex_value = sg.complex((1j * x).real, (1j * x).imag)
    actual = sg.grad((complex_value.real + 2.0 * complex_value.imag).sum(), complex_value)
    np.testing.assert_allclose(sg.evaluate(actual), [1.0 - 2.0j] * 2)


def test_derivatives_of_tensors_are_those_of_values():
    t, way = Tensor(A, requires_grad=True), A[::-1] * 1j
    np.testing.assert_allclose(sg.grad(energy(t), t).data, slope(A))
    np.testing.assert_allclose(sg.vjp(sg.conj(t), t, way).data, way.conj())
    np.testing.assert_allclose(sg.vjp(t * t, t, way).data, 2 * A * way)
    np.testing.assert_allclose(sg.jvp(t * t, t, way).data, 2 * A * way)
    np.testing.assert_allclose(sg.jvp(t.real, t, way).data, way.real)


def test_products_with_hessians_are_tangents_of_gradients():
    way, step = A[::-1] * 1j, 1e-6
    expected = (slope(A + step * way) - slope(A - step * way)) / (2 * step)
    z, t = sg.input("z", A.shape, "complex128"), Tensor(A, requires_grad=True)
    products = [sg.hvp(energy, A, way), sg.evaluate(sg.hvp(energy(z), z, way), {"z": A})]
    products += [sg.hvp(energy, t, way).data, sg.hvp(energy(t), t, way).data]
    for product in products:
        np.testing.assert_allclose(product, expected, rtol=1e-7)


def test_matrices_of_derivatives_are_refused_of_complex_values():
    z, t = sg.input("z", (3,), "complex128"), Tensor([1j, 2.0], requires_grad=True)
    for call in (
        lambda: sg.jacobian(lambda z: abs(z))(A[0]),
        lambda: sg.jacobian(1j * z.real, z.real),
        lambda: sg.jacobian(abs(z), z),
        lambda: sg.jacobian(abs(t), t),
        lambda: sg.hessian(lambda z: abs(z).sum())(A[0]),
        lambda: sg.hessian(abs(z).sum(), z),
        lambda: sg.hessian(abs(t).sum(), t),
    ):
        with pytest.raises(sg.errors.GradientError, match="takes real values and functions"):
            call()


def test_batches_loops_and_branches():
    np.testing.assert_allclose(sg.vmap(lambda z: z @ z)(A), np.einsum("ij,ij->i", A, A))
    by_rows = sg.vmap(sg.grad(energy))(A)
    np.testing.assert_allclose(by_rows, slope(A))

    def step(carry, row):
        carry = carry * row + 1j
        return carry, abs(carry)

    carry, sizes = sg.function(lambda rows: sg.scan(step, 1j * np.ones(3), rows))(A)
    expected = 1j * np.ones(3)
    for row, size in zip(A, sizes, strict=True):
        expected = expected * row + 1j
        np.testing.assert_allclose(size, abs(expected))
    np.testing.assert_allclose(carry, expected)

    @sg.function
    def mandelbrot(c):
        z, n = sg.while_loop(lambda s: (abs(s[0]) < 2) & (s[1] < 50),
                             lambda s: (s[0] * s[0] + c, s[1] + 1), (0j * c, 0))  # fmt: skip
        return sg.cond(n < 50, lambda: z, lambda: z * 0.0)

    z, n = 0j, 0
    while abs(z) < 2 and n < 50:
        z, n = z * z + (0.4 + 0.4j), n + 1
    np.testing.assert_allclose(mandelbrot(np.complex128(0.4 + 0.4j)), z)


def test_numpy_functions_reach_complex_values():
    z = sg.input("z", (3,), "complex128")
    actual = sg.evaluate(
        [np.exp(z), np.real(z), np.conj(z), np.angle(z), np.vdot(z, z)], {"z": A[0]}
    )
    expected = [np.exp(A[0]), A[0].real, A[0].conj(), np.angle(A[0]), np.vdot(A[0], A[0])]
    for left, right in zip(actual, expected, strict=True):
        np.testing.assert_allclose(left, right)


def test_what_is_created_is_complex():
    assert sg.zeros(3, "complex64").dtype == "complex64"
    assert sg.constant([1j, 2.0]).dtype == "complex128"
    actual = sg.evaluate([sg.zeros_like(sg.constant(A)), sg.arange(3, dtype="complex64")])
    np.testing.assert_array_equal(actual[0], 0 * A)
    assert actual[1].dtype == np.complex64
    np.testing.assert_array_equal(sg.evaluate(sg.complex(A.real, A.imag)), A)
    assert sg.input("x", (2,), "float32").real.dtype == "float32"


def test_eager_mode_takes_complex_parameters():
    w = sg.parameter("w", A)
    with sg.eager_mode():
        np.testing.assert_allclose((w * 2).data, 2 * A)
    np.testing.assert_allclose((w * Tensor(np.ones(3))).data, A)
    tensor = Tensor([1j, 2.0])
    assert tensor.dtype == "complex64"
    assert complex(tensor[0]) == 1j
    assert len(tensor) == 2
    assert repr(tensor) == "Tensor([0.+1.j, 2.+0.j])"


def test_budgets_hold():
    z = sg.input("z", (64, 64), "complex128")
    y = z
    for _ in range(6):
        y = sg.sin(y) @ z * 0.1
    program = {"slope": sg.grad(sg.sum(sg.abs_square(y)), z)}
    plain = sg.compile(program)
    feed = np.resize(A, (64, 64)) * 0.1
    small = sg.compile(program, memory_budget="60%")
    np.testing.assert_array_equal(small.run({"z": feed})["slope"], plain.run({"z": feed})["slope"])
    assert small.peak_bytes <= 0.6 * plain.peak_bytes


def test_derivatives_by_inputs_of_gradients_by_several():
    """The gradient by one value depends on another, whatever both were asked for together."""
    at, w = A[:3] + 3.0 * np.eye(3), A[3]
    way, step = (A[1:] * 1j, A[0] * 1j), 1e-6
    a, b = sg.input("a", (3, 3), "complex128"), sg.input("b", (3,), "complex128")
    for loss in (
        lambda a, b: sg.abs_square(a @ b).sum(),
        lambda a, b: sg.abs_square(sg.linalg.solve(a, b) * (1.0 + 2j) + 1.0).sum(),
    ):
        slopes = sg.grad(loss, (0, 1))
        ends = [slopes(at + s * way[0], w + s * way[1]) for s in (step, -step)]
        by = sg.grad(loss(a, b), [a, b])
        actual = sg.evaluate(sg.jvp(by, [a, b], list(way)), {"a": at, "b": w})
        for left, up, down in zip(actual, *ends, strict=True):
            np.testing.assert_allclose(left, (up - down) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("point", [1 + 1j, 0.0j, -2 - 2j, 2 + 3j])
def test_a_complex_number_of_python_is_the_array_that_it_is(point):
    """Its parts are two arguments, also where they are one number."""
    array = np.complex128(point)

    def f(z):
        return z * z * (1.0 + 2.0j)

    for derive in (
        lambda z: sg.grad(f, holomorphic=True)(z),
        lambda z: sg.value_and_grad(f, holomorphic=True)(z),
        lambda z: sg.grad(lambda z: sg.abs_square(f(z)))(z),
        lambda z: sg.vjp(f, z, 1.0 - 1.0j),
        lambda z: sg.jvp(f, z, 1.0 - 1.0j),
        lambda z: sg.linearize(f, z)[1](2.0 + 0.0j),
    ):
        np.testing.assert_array_equal(np.ravel(derive(point)), np.ravel(derive(array)))
    np.testing.assert_allclose(sg.grad(f, holomorphic=True)(point), (2.0 + 4.0j) * point)


@pytest.mark.parametrize("policy", [None, "nothing_saveable", "everything_saveable"])
def test_complex_tensors_are_computed_again_for_gradients(policy):
    """d|w(z)| for w = z exp z: its parts by the chain rule, with w' = (1 + z) exp z."""
    runs = []

    def f(z):
        runs.append(type(z))
        return sg.exp(z) * z

    saved = policy and getattr(sg.checkpoint_policies, policy)
    again = sg.checkpoint(f, policy=saved) if saved else sg.checkpoint(f)
    at = np.array([1.0 + 2.0j, 3.0 - 1.0j])
    z = sg.eager.Tensor(at, requires_grad=True)
    actual = again(z)
    assert isinstance(actual, type(z))
    abs(actual).sum().backward()
    assert len(runs) == 2
    w, slope = np.exp(at) * at, (1.0 + at) * np.exp(at)
    np.testing.assert_allclose(z.grad, np.conj(w) / abs(w) * slope, rtol=1e-12)
