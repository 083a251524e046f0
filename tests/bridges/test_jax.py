"""Functions of arrays under JAX's transformations, beside the same functions written in JAX."""

import numpy as np
import pytest

import staticgrad as sg

jax = pytest.importorskip("jax", reason="JAX is not installed")
jnp = jax.numpy


@pytest.fixture(autouse=True, scope="module")
def in_float64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


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
    "options", [{"jit": False}, {"backend": "numba"}, {"debug": "nan"}, {"threads": 2}], ids=str
)
def test_gradients_pass_check_grads_under_options(options):
    from jax.test_util import check_grads

    with sg.options(**options):
        check_grads(sg.jax.function(loss), arrays((3, 4), (4, 2)), order=1, modes=["rev"])


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("f", [layer, loss, several])
def test_gradients_of_both_orders_pass_check_grads(f, jit):
    from jax.test_util import check_grads

    bridged = sg.jax.function(f)
    given = arrays((3, 4), (4, 2))
    check_grads(jax.jit(bridged) if jit else bridged, given, order=2, modes=["rev"])


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
    own = transform(sg.jax.function(loss))
    found = (jax.jit(own) if jit else own)(*arrays(*shapes))
    expected = transform(of_jax)(*arrays(*shapes))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)


def test_integers_constants_and_containers():
    bridged = sg.jax.function(lambda t, n: {"y": t["x"][t["at"]] * n, "at": t["at"] + 1, "n": n})
    x, at = arrays((4,))[0], jnp.array([2, 0])
    out = jax.jit(lambda x, at: bridged({"x": x, "at": at}, 3))(x, at)
    np.testing.assert_array_equal(out["at"], [3, 1])
    assert int(out["n"]) == 3
    slope = jax.grad(lambda x: bridged({"x": x, "at": at}, 3)["y"].sum())(x)
    np.testing.assert_array_equal(slope, [3.0, 0.0, 3.0, 0.0])


def test_forward_mode_is_jaxs_error():
    given = tuple(arrays((3, 4), (4, 2)))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(sg.jax.function(loss), given, given)


def test_float64_is_float32_where_jax_has_no_float64():
    jax.config.update("jax_enable_x64", False)
    try:
        out = sg.jax.function(lambda x: x.astype("float64") * 2.0)(jnp.ones(3))
        assert out.dtype == np.float32
    finally:
        jax.config.update("jax_enable_x64", True)


def test_large_arrays_do_not_wait_for_each_other():
    x = jnp.ones((1500, 1500))
    found = jax.jit(jax.value_and_grad(sg.jax.function(lambda x: sg.tanh(x).sum())))(x)
    np.testing.assert_allclose(found[0], np.tanh(1.0) * x.size)


def test_arrays_cross_by_dlpack():
    x = arrays((8, 3))[0]
    f = sg.compile(sg.Graph({"y": sg.input("x", ("n", 3), "float64") * 2.0}))
    found = jnp.from_dlpack(f.run({"x": x})["y"])
    np.testing.assert_array_equal(found, 2 * x)
    np.testing.assert_array_equal(jnp.from_dlpack(sg.eager.Tensor(np.asarray(x))), x)
