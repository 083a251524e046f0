"""Functions of arrays under JAX's transformations, beside the same functions written in JAX."""

import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ExportError

jax = pytest.importorskip("jax", reason="JAX is not installed")
jnp = jax.numpy


@pytest.fixture(autouse=True, scope="module")
def in_float64():
    old_value = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", old_value)


def arrays(*shapes, dtype="float64"):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=shape).astype(dtype)) for shape in shapes]


def layer(x, w):
    return sg.tanh(x @ w)


def loss(x, w):
    return sg.nn.mse(sg.tanh(x @ w), sg.sin(x[:, :2]))


def of_jax(x, w):
    return jnp.mean((jnp.tanh(x @ w) - jnp.sin(x[:, :2])) ** 2)


def several(x, w):
    y = x @ w
    return {"y": y, "more": (sg.exp(y).sum(axis=0), [sg.linalg.norm(x)])}


@pytest.mark.parametrize(
    "options",
    [
        {"jit": False},
        pytest.param({"backend": "numba"}, marks=pytest.mark.slow),  # half a minute
        {"debug": "nan"},
        {"threads": 2},
    ],
    ids=str,
)
def test_gradients_pass_check_grads_under_options(options):
    from jax.test_util import check_grads

    with sg.options(**options):
        check_grads(sg.jax.function(loss), arrays((3, 4), (4, 2)), order=1)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("f", [layer, loss, several])
def test_gradients_of_both_orders_pass_check_grads(f, jit):
    from jax.test_util import check_grads

    bridged = sg.jax.function(f)
    inputs = arrays((3, 4), (4, 2))
    check_grads(jax.jit(bridged) if jit else bridged, inputs, order=2)


TRANSFORMS = {
    "vmap": (lambda f: jax.vmap(f, (0, None)), (5, 3, 4), (4, 2)),
    "vmap of vmap": (lambda f: jax.vmap(jax.vmap(f, (0, None)), (None, 0)), (5, 3, 4), (6, 4, 2)),
    "vmap over one": (lambda f: jax.vmap(f, (0, None)), (1, 3, 4), (4, 2)),
    "vmap of grad": (lambda f: jax.vmap(jax.grad(f, (0, 1)), (0, None)), (5, 3, 4), (4, 2)),
    "grad of vmap": (
        lambda f: jax.grad(lambda x, w: jax.vmap(f, (0, None))(x, w).sum(), (0, 1)),
        (5, 3, 4),
        (4, 2),
    ),
    "jacrev of jacrev": (lambda f: jax.jacrev(jax.jacrev(f, 1), 0), (3, 4), (4, 2)),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transformations_give_what_they_give_of_jax(name, jit):
    transform, *shapes = TRANSFORMS[name]
    ours = transform(sg.jax.function(loss))
    actual = (jax.jit(ours) if jit else ours)(*arrays(*shapes))
    expected = transform(of_jax)(*arrays(*shapes))
    for array, reference in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert array.shape == reference.shape
        np.testing.assert_allclose(array, reference, rtol=1e-10, atol=1e-14)


def test_integers_constants_and_containers():
    bridged = sg.jax.function(lambda t, n: {"y": t["x"][t["at"]] * n, "at": t["at"] + 1, "n": n})
    x, at = arrays((4,))[0], jnp.array([2, 0])
    out = jax.jit(lambda x, at: bridged({"x": x, "at": at}, 3))(x, at)
    np.testing.assert_array_equal(out["at"], [3, 1])
    assert int(out["n"]) == 3
    slope = jax.grad(lambda x: bridged({"x": x, "at": at}, 3)["y"].sum())(x)
    np.testing.assert_array_equal(slope, [3.0, 0.0, 3.0, 0.0])


def test_float64_is_float32_where_jax_has_no_float64():
    jax.config.update("jax_enable_x64", False)
    try:
        out = sg.jax.function(lambda x: x.astype("float64") * 2.0)(jnp.ones(3))
        assert out.dtype == np.float32
    finally:
        jax.config.update("jax_enable_x64", True)


def test_large_arrays_do_not_wait_for_each_other():
    x = jnp.ones((1500, 1500))
    actual = jax.jit(jax.value_and_grad(sg.jax.function(lambda x: sg.tanh(x).sum())))(x)
    np.testing.assert_allclose(actual[0], np.tanh(1.0) * x.size)


def test_arrays_cross_by_dlpack():
    x = arrays((8, 3))[0]
    f = sg.compile(sg.Graph({"y": sg.input("x", ("n", 3), "float64") * 2.0}))
    actual = jnp.from_dlpack(f.run({"x": x})["y"])
    np.testing.assert_array_equal(actual, 2 * x)
    np.testing.assert_array_equal(jnp.from_dlpack(sg.eager.Tensor(np.asarray(x))), x)


def spectrum(module, x, z):
    """Compute Fourier transforms of a real and a complex array, here and in JAX."""
    total = module.fft.fft(x) * module.exp(z) + module.conj(z) * x
    return total, abs(total), 2.0 * module.fft.ifft(total).real, module.real(z) + 1j


def in_jax(x, z):
    return spectrum(jnp, x, z)


in_staticgrad = sg.jax.function(lambda x, z: spectrum(sg, x, z))


def loss_of(f):
    def loss(x, z):
        first, size, back, turned = f(x, z)
        return (abs(first) ** 2).sum() + (size * back).sum() + (turned**2).imag.sum() + (x**2).sum()

    return loss


def slope_of_slopes(f):
    def loss(x, z):
        by_x, by_z = jax.grad(loss_of(f), (0, 1))(x, z)
        return jnp.sin(by_x).sum() + (by_z**2).imag.sum()

    return jax.grad(loss, (0, 1))


COMPLEX = {
    "values": lambda f: f,
    "grad": lambda f: jax.grad(loss_of(f), (0, 1)),
    "grad of grad": slope_of_slopes,
    "vjp": lambda f: lambda x, z: jax.vjp(f, x, z)[1](f(x, z)),
    "vmap": lambda f: lambda x, z: jax.vmap(f, (0, None))(jnp.stack([x, -x]), z),
    "vmap of grad": lambda f: (
        lambda x, z: jax.vmap(jax.grad(loss_of(f), (0, 1)), (None, 0))(x, jnp.stack([z, 2j * z]))
    ),
    "grad of vmap": lambda f: jax.grad(
        lambda x, z: jax.vmap(loss_of(f), (None, 0))(x, jnp.stack([z, 2j * z])).sum(), (0, 1)
    ),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", COMPLEX)
def test_complex_arrays_have_the_gradients_of_jax(name, jit):
    x, real, imag = arrays((3,), (3,), (3,))
    z = real + 1j * imag
    wrapped = jax.jit if jit else lambda f: f
    ours = wrapped(COMPLEX[name](in_staticgrad))(x, z)
    theirs = wrapped(COMPLEX[name](in_jax))(x, z)
    for actual, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


def test_what_jax_computes_around_a_complex_function_has_its_gradient():
    energy = sg.jax.function(lambda z: sg.abs_square(z).sum())
    x = jnp.array([1.0, 2.0], "float32")
    actual = jax.grad(lambda x: energy(jnp.fft.fft(x)))(x)
    assert actual.dtype == "float32"
    assert actual.tolist() == [4.0, 8.0]
    z = jnp.array([1.0 + 2.0j, 3.0 - 1.0j], "complex64")
    assert jax.grad(energy)(z).tolist() == [2.0 - 4.0j, 6.0 + 2.0j]


def test_holomorphic_functions_have_their_derivatives():
    z = jnp.array([1.0 + 2.0j, 0.5 - 1.0j])
    power = sg.jax.function(lambda z: (z**3).sum())
    np.testing.assert_allclose(jax.grad(power, holomorphic=True)(z), 3 * z**2)
    matrix = jax.jacrev(sg.jax.function(lambda z: z**3), holomorphic=True)(z)
    np.testing.assert_allclose(matrix, np.diag(3 * z**2))
    with pytest.raises(TypeError, match="holomorphic"):
        jax.grad(power)(z)


def test_constants_among_the_results_and_numbers_are_taken():
    bridged = sg.jax.function(lambda x: (x**2, 3.0, 2j))
    assert jax.grad(lambda x: sum(bridged(x)).real)(3.0) == 6.0


bridged_layer = sg.jax.function(layer)


def test_functions_pickle():
    x, w = arrays((3, 4), (4, 2))
    again = pickle.loads(pickle.dumps(bridged_layer))
    np.testing.assert_allclose(jax.jit(again)(x, w), jnp.tanh(x @ w))


def test_exported_programs_run_without_the_functions_that_made_them():
    pytest.importorskip("flatbuffers")  # JAX writes exported programs with it
    x, w = arrays((3, 4), (4, 2))
    scaled = sg.jax.function(lambda x, rate: {"y": x * rate, "sum": x.sum()})

    def f(x, w):
        outputs = scaled(bridged_layer(x, w), 0.5)
        return outputs["y"] + outputs["sum"]

    slope = jax.grad(lambda x, w: f(x, w).sum(), (0, 1))
    for function in (f, slope):
        exported = jax.export.export(jax.jit(function))(x, w)
        again = jax.export.deserialize(exported.serialize())
        assert "staticgrad_" not in again.mlir_module()
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6),
            again.call(x, w),
            function(x, w),
        )


def test_symbolic_sizes_are_one_coded_error():
    (rows,) = jax.export.symbolic_shape("rows")
    x, w = jax.ShapeDtypeStruct((rows, 4), "float32"), jnp.ones((4, 2))
    for run in (
        lambda: jax.export.export(jax.jit(bridged_layer))(x, w),
        lambda: jax.export.export(jax.jit(sg.jax.lower(lambda x, w: x @ w)))(x, w),
        lambda: sg.jax.trace(jnp.dot, x, w),
    ):
        with pytest.raises(ExportError, match=r"the shape \(rows, 4\) has symbolic sizes"):
            run()
