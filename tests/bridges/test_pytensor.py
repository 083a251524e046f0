"""Graphs of PyTensor in the mode "STATICGRAD" and as functions of arrays, beside PyTensor."""

import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import (
    ArgumentError,
    ExportError,
    ShapeError,
    SizeGuardError,
    StaticgradWarning,
)

pytensor = pytest.importorskip("pytensor", reason="PyTensor is not installed")

import pytensor.tensor as pt  # noqa: E402
from pytensor.graph.traversal import ancestors  # noqa: E402

import staticgrad.pytensor  # noqa: E402
from staticgrad.bridges import fallback  # noqa: E402
from staticgrad.extend.building import SourceLine  # noqa: E402
from staticgrad.pytensor.reading import lines_of_terms, set_line  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")
REFERENCE = "FAST_COMPILE"


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def compare(inputs, outputs, *arrays, tolerance=1e-12):
    """The mode gives PyTensor's values in PyTensor's element types; return the function."""
    outputs = outputs if isinstance(outputs, list) else [outputs]
    ours = pytensor.function(inputs, outputs, mode="STATICGRAD", on_unused_input="ignore")
    theirs = pytensor.function(inputs, outputs, mode=REFERENCE, on_unused_input="ignore")
    for actual, expected in zip(ours(*arrays), theirs(*arrays), strict=True):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
    return ours


def program_of(f):
    """Return the compiled form of a function of PyTensor."""
    return f.vm.jit_fn


x, y, m = pt.vector("x"), pt.vector("y"), pt.matrix("m")


@pytest.fixture
def warns_again(monkeypatch):
    """Warnings that other tests had are given again: usually a text is, once."""
    monkeypatch.setattr(fallback, "_warned", set())


def test_one_program_serves_all_shapes_and_sizes_must_agree():
    f = compare([x, y], [x + y, pytensor.grad(pt.log1p(x**2).sum(), x)], normal(3), normal(3))
    assert [len(program_of(f).parts), len(program_of(f).programs)] == [1, 1]
    np.testing.assert_array_equal(f(np.ones(5), np.ones(5))[0], np.full(5, 2.0))
    assert len(program_of(f).programs) == 1
    with pytest.raises(SizeGuardError, match="sizes x_0 and y_0 must agree"):
        f(np.ones(5), np.ones(4))


def test_a_run_of_one_program_returns_its_results_in_the_order_of_the_outputs():
    """Whatever the order of the nodes; PyTensor's call then has no detour."""
    late, early = pt.exp(x).sum(), pt.sin(x)
    for outputs in ([late, early], [early, late], [early * late, late, early], [late, late, x]):
        f = compare([x, y], outputs, normal(4), normal(2))
        assert program_of(f).alone is program_of(f).parts[0]


def test_a_check_passes_cotangents_on_and_raises():
    """Gradients from here; PyTensor's own rewrites drop the check of a gradient."""
    check = pytensor.raise_op.Assert("x is positive")
    loss = (check(x, pt.all(x > 0), y.sum() > 0) ** 3).sum()
    f = sg.grad(sg.pytensor.function(loss, [x, y], rewrite=False))
    np.testing.assert_allclose(f(np.array([1.0, 2.0]), np.ones(3)), [3.0, 12.0])
    with pytest.raises(AssertionError, match="x is positive"):
        f(np.array([1.0, -2.0]), np.ones(3))


def test_shapes_are_arithmetic_of_sizes():
    n = x.shape[0]
    outputs = [
        pt.alloc(x.sum(), n + 1, 2 * n), pt.arange(n), x[1:] * x[: n - 1], x.mean(),
        pt.concatenate([x, x]).reshape((2, -1)), pt.eye(n), pt.zeros((pt.maximum(n, 2), 2)),
        m.reshape((m.shape[1], m.shape[0])), m.sum(0) / m.shape[0], x[n // 2],
    ]  # fmt: skip
    f = compare([x, m], outputs, normal(5), normal(2, 3))
    assert not program_of(f).fallbacks
    assert [out.shape for out in f(np.ones(4), np.ones((3, 1)))[:3]] == [(5, 8), (4,), (3,)]


def test_integers_of_a_run_are_named_sizes():
    """Those of inputs at once; computed ones in the program after the one that computes them."""
    n, k = pt.lscalar("n"), pt.iscalar("k")
    total = pt.cast(x.sum(), "int64")
    for programs, inputs, outputs, arrays in [
        (1, [n, k], [pt.alloc(3.0, n, k + 1), pt.eye(n, k, 1), n * 2], [(4, 2), (0, 1)]),
        (1, [x, n], [x + pt.arange(n), x.sum() / n], [(normal(4), 4)]),
        (1, [n], [pt.arange(n - 3), pt.arange(2, 2 * n, 3)], [(5,), (1,)]),
        (1, [x, n, k], [x.reshape((n, k)) * 2], [(normal(6), 2, 3)]),
        (2, [x], [pt.arange(total), pt.zeros(total + 1)], [(np.ones(3),), (np.zeros(2),)]),
    ]:
        for args in arrays:
            f = compare(inputs, outputs, *args)
            assert [len(program_of(f).programs), program_of(f).fallbacks] == [programs, {}]
    f = pytensor.function([x, n], x + pt.arange(n), mode="STATICGRAD")
    with pytest.raises(SizeGuardError, match="sizes x_0 and n_size must agree"):
        f(normal(4), 5)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_an_index_of_sizes_may_be_negative(n):
    k = y.shape[0] - 4
    outputs = [
        x[k], x[-y.shape[0]], pt.set_subtensor(x[k], 7.0), m[:, k], m[k, 1:], m[k, k + 1],
        x[pt.minimum(y.shape[0], 3) - 1],
    ]  # fmt: skip
    f = compare([x, y, m], outputs, normal(9), normal(n), normal(4, 5))
    assert not program_of(f).fallbacks


def test_with_an_integer_beyond_memory_pytensor_computes_what_reads_it_as_a_size(warns_again):
    n = pt.lscalar("n")
    f = pytensor.function([n], pt.zeros(n % 7), mode="STATICGRAD")
    assert [f(3).shape, program_of(f).fallbacks] == [(3,), {}]
    with pytest.warns(StaticgradWarning, match="Alloc: a size of Alloc: only a run computes it"):
        assert f(10**17 + 1).shape == ((10**17 + 1) % 7,)


def test_arange_has_the_elements_of_numpy(warns_again):
    """Bit by bit, between numbers and sizes in one program, of a run's numbers in two."""
    start, stop, step = pt.dscalars("start", "stop", "step")
    n, k = pt.lscalar("n"), pt.iscalar("k")
    of_sizes = [
        pt.arange(0.0, x.shape[0], 0.5), pt.arange(1.5, 2 * x.shape[0], 1.5),
        pt.arange(x.shape[0], 0, -2.0), pt.arange(x.shape[0], dtype="float32"),
        pt.arange(0.0, 1.0, 0.1) + x.sum(), pt.arange(5.0, -3.0, -0.7, dtype="float32") + x.sum(),
    ]  # fmt: skip
    between = [pt.arange(n, k), pt.arange(k, n, -2), pt.arange(0.0, k, 0.1)]
    for programs, inputs, outputs, arrays in [
        (1, [x], of_sizes, [(normal(9),), (normal(1),), (normal(0),)]),
        (2, [n, k], between, [(-3, 4), (4, -3)]),
        (2, [start, stop, step], [pt.arange(start, stop, step)],
         [(0.0, 1.0, 0.1), (3.0, 1.0, -0.25), (0.0, 5.0, -1.0), (0.3, 2.7, 0.3)]),
    ]:  # fmt: skip
        for args in arrays:
            f = compare(inputs, outputs, *args, tolerance=0)
            assert [len(program_of(f).programs), program_of(f).fallbacks] == [programs, {}]
    f = pytensor.function([start, stop, step], pt.arange(start, stop, step), mode="STATICGRAD")
    with pytest.warns(StaticgradWarning, match="ARange"), pytest.raises(ZeroDivisionError):
        f(0.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="cannot compute length"):
        f(0.0, np.nan, 1.0)


def test_what_is_written_where_a_mask_of_a_run_holds_needs_no_count():
    cube = pt.tensor3("cube")
    outputs = [
        pt.set_subtensor(x[x > 0], 0.5), pt.inc_subtensor(x[x > 0], x.sum()),
        pt.inc_subtensor(m[m.sum(1) > 0], m[0]), pt.set_subtensor(m[:, m[0] > 0], m[:, :1]),
        pt.set_subtensor(cube[cube[:, :, 0] > 0], cube[0, :1]),
        pt.inc_subtensor(cube[:, cube[0] > 0], cube[:, 0, :1]),
    ]  # fmt: skip
    f = compare([x, m, cube], outputs, normal(5), normal(3, 4), normal(2, 3, 4))
    assert [len(program_of(f).programs), program_of(f).fallbacks] == [1, {}]


@pytest.mark.parametrize(
    ("shape", "mask_of"),
    [
        ((5,), lambda a: a > 0),
        ((3, 4), lambda a: a > 0),
        ((3, 4), lambda a: a[:, 0] > a[:, 0].min()),
    ],
    ids=["vector", "matrix", "rows"],
)
@pytest.mark.parametrize("write", [pt.set_subtensor, pt.inc_subtensor])
def test_a_value_for_each_element_that_a_mask_selects_is_written(
    write, shape, mask_of, warns_again
):
    """Pytensor writes: the number of values is known in a run alone."""
    a = pt.tensor("a", shape=(None,) * len(shape), dtype="float64")
    values = pt.tensor("v", shape=(None,) * a[mask_of(a)].ndim, dtype="float64")
    with pytest.warns(StaticgradWarning, match="a mask"):
        f = pytensor.function([a, values], write(a[mask_of(a)], values) * 2.0, mode="STATICGRAD")
    array = normal(*shape)
    mask = mask_of(array)
    assert 1 < mask.sum() < mask.size
    new = np.arange(1.0, 1.0 + array[mask].size).reshape(array[mask].shape)
    expected = array.copy()
    expected[mask] = new if write is pt.set_subtensor else new + array[mask]
    np.testing.assert_array_equal(f(array, new), expected * 2.0)


def test_with_an_integer_below_0_pytensor_computes_what_reads_it_as_a_size(warns_again):
    n, k = pt.lscalar("n"), pt.iscalar("k")
    f = pytensor.function([x, n, k], x.reshape((n, k)) + pt.exp(x).sum(), mode="STATICGRAD")
    assert not program_of(f).fallbacks
    with pytest.warns(StaticgradWarning, match="Reshape: the shape of reshape: only a run"):
        result = f(np.zeros(6), -1, 3)
    np.testing.assert_array_equal(result, np.full((2, 3), 6.0))
    assert f(np.zeros(6), 3, 2).shape == (3, 2)
    f = pytensor.function([n], pt.zeros(n), mode="STATICGRAD")
    with pytest.raises(ValueError, match="negative dimensions"), pytest.warns(StaticgradWarning):
        f(-1)


def test_what_only_a_run_computes_is_computed_by_pytensor_with_one_warning(warns_again):
    positive = pt.exp(x)[x > 0]
    with pytest.warns(StaticgradWarning, match="AdvancedSubtensor: a mask") as warned:
        f = pytensor.function([x], [positive * x.sum(), positive.shape[0]], mode="STATICGRAD")
    assert [warning.filename for warning in warned] == [__file__]
    array = np.array([-1.0, 2.0, 3.0])
    product, count = f(array)
    np.testing.assert_allclose(product, np.exp(array[1:]) * 4.0)
    assert count == 2
    assert [len(program_of(f).programs), len(program_of(f).fallbacks)] == [2, 1]


def test_scalar_ops_with_their_gradients():
    positive = abs(normal(7)) + 0.1
    unary = [
        pt.log, pt.log1p, pt.exp, pt.expm1, pt.sqrt, pt.sqr, pt.sigmoid, pt.softplus, pt.erf,
        pt.erfc, pt.gammaln, pt.digamma, pt.arctan, pt.tanh, pt.sin, pt.sign, pt.floor,
        pt.log1mexp, pt.round, pt.reciprocal, abs,
    ]  # fmt: skip
    values = [f(-x if f is pt.log1mexp else x) for f in unary]
    compare([x], values + [pytensor.grad(v.sum(), x) for v in values], positive)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "argmax"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_reductions(name, axis):
    compare([m], getattr(pt, name)(m, axis=axis), normal(3, 4))


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("assume_a", ["gen", "sym", "her", "pos"])
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_solve_reads_the_triangle_that_is_stored(lower, assume_a, columns, dtype):
    a = pt.tensor("a", shape=(None, None), dtype=dtype)
    b = pt.tensor("b", shape=(None,) * columns, dtype=dtype)
    matrix = normal(4, 4) + (1j * normal(4, 4, seed=1) if dtype == "complex128" else 0)
    matrix = matrix @ matrix.conj().T + 4 * np.eye(4)
    stored = np.tril(matrix) if lower else np.triu(matrix)
    if assume_a == "sym":
        matrix = stored + np.tril(stored, -1).T + np.triu(stored, 1).T
    right = normal(*(4, 3)[:columns]).astype(dtype)
    # PyTensor writes "pos" as a Cholesky factor of the lower triangle, whatever ``lower`` is
    read = stored if assume_a in ("sym", "her") else matrix
    x = pt.linalg.solve(a, b, assume_a=assume_a, lower=lower, b_ndim=columns)
    f = pytensor.function([a, b], x, mode="STATICGRAD")
    np.testing.assert_allclose(f(read, right), np.linalg.solve(matrix, right), rtol=1e-10)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_factors_of_cholesky_are_conjugated(lower, dtype):
    a = pt.tensor("a", shape=(None, None), dtype=dtype)
    b = pt.tensor("b", shape=(None,), dtype=dtype)
    matrix = normal(4, 4) + (1j * normal(4, 4, seed=1) if dtype == "complex128" else 0)
    matrix = matrix @ matrix.conj().T + 4 * np.eye(4)
    right = normal(4).astype(dtype)
    factor = pt.linalg.cholesky(a, lower=lower)
    x = pt.linalg.cho_solve((factor, lower), b, b_ndim=1)
    f = pytensor.function([a, b], [factor, x], mode="STATICGRAD")
    c, solution = f(matrix, right)
    product = c @ c.conj().T if lower else c.conj().T @ c
    np.testing.assert_allclose(product, matrix, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, right), rtol=1e-10)


def test_a_function_of_arrays_is_differentiated_mapped_and_pickled():
    f = sg.pytensor.function(pt.log1p(x**2).sum(), [x])
    point = normal(4)
    np.testing.assert_allclose(sg.grad(f)(point), 2 * point / (1 + point**2))
    assert sg.hessian(f)(point).shape == (4, 4)
    rows = normal(3, 4)
    np.testing.assert_allclose(sg.vmap(f)(rows), np.log1p(rows**2).sum(1))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(f))(point), f(point))


def test_gradients_stop_where_pytensor_stops_them():
    from pytensor.gradient import disconnected_grad, grad_clip

    f = sg.pytensor.function((x * disconnected_grad(x)).sum(), [x])
    np.testing.assert_array_equal(sg.grad(f)(np.array([3.0, 4.0])), [3.0, 4.0])
    clipped = sg.pytensor.function((grad_clip(x, -1, 1) ** 2).sum(), [x], rewrite=False)
    np.testing.assert_array_equal(sg.grad(clipped)(np.array([0.25, 3.0, -2.0])), [0.5, 1.0, -1.0])


def test_shared_variables_are_parameters_that_updates_change():
    total = pytensor.shared(np.zeros(2), name="total")
    f = sg.pytensor.function({"sum": (x + total).sum()}, [x], updates={total: total + x})
    assert [f(np.ones(2))["sum"], f(np.ones(2))["sum"]] == [2.0, 4.0]
    np.testing.assert_array_equal(total.get_value(), np.zeros(2))
    g = pytensor.function([x], (x * total).sum(), updates={total: total + x}, mode="STATICGRAD")
    assert [g(np.ones(2)), g(np.ones(2))] == [0.0, 2.0]
    np.testing.assert_array_equal(total.get_value(), np.full(2, 2.0))


def test_shared_variables_have_the_values_of_each_call():
    """Compare values of another shape, written in place, and gradients with PyTensor's."""
    scale = pytensor.shared(2.0, name="scale")
    data = pytensor.shared(np.zeros(3), name="data")
    output = ((x.sum() * scale - data) ** 2).sum()
    f = sg.pytensor.function(output, [x])
    around, gradient = sg.function(lambda x: f(x) + 1.0), sg.grad(f)
    reference = pytensor.function([x], [output, pytensor.grad(output, x)], mode=REFERENCE)
    point = np.array([0.5, -0.25, 2.0])

    def check():
        expected, slope = reference(point)
        np.testing.assert_allclose(f(point), expected, rtol=1e-14)
        np.testing.assert_allclose(around(point), expected + 1.0, rtol=1e-14)
        np.testing.assert_allclose(gradient(point), slope, rtol=1e-14)
        np.testing.assert_allclose(f.eagerly(point), expected, rtol=1e-14)

    check()
    scale.set_value(7.0)
    check()
    data.set_value(np.full(3, 2.0))
    check()
    data.get_value(borrow=True)[1] = 5.0
    check()
    assert f.stats.traces == 1
    data.set_value(np.arange(5.0))
    check()
    data.set_value(np.full(3, np.nan))
    check()
    data.set_value(np.zeros(3))
    check()
    assert f.stats.traces == 2  # one for each shape
    travelled = pickle.loads(pickle.dumps(f))
    scale.set_value(1.0)
    check()
    np.testing.assert_allclose(travelled(point), 3 * (2.25 * 7.0) ** 2, rtol=1e-14)


def test_parameters_of_shared_variables_may_be_trained():
    """An optimizer's update stays until the shared variable has another value."""
    scale = pytensor.shared(np.array(1.0), name="scale")
    f = sg.pytensor.function((x.sum() * scale - 6.0) ** 2, [x])
    (parameter,) = f.graph(np.ones(3)).parameters
    step = sg.function(lambda x: sg.optim.SGD(0.05).minimize(f(x), [parameter]))
    for _ in range(60):
        step(np.ones(3))
    np.testing.assert_allclose(parameter.value, 2.0, rtol=1e-6)
    assert f(np.ones(3)) < 1e-9
    scale.set_value(3.0)
    assert f(np.ones(3)) == 9.0


def test_outputs_that_read_more_than_the_inputs_are_refused():
    with pytest.raises(ArgumentError, match="the outputs read y, and the inputs have no") as error:
        sg.pytensor.function(x + y, [x])
    assert "name every variable" in error.value.hint
    with pytest.raises(ArgumentError) as error:
        sg.pytensor.function([x], x.sum())  # the order of pytensor.function
    assert error.value.hint == "the outputs come first: function(outputs, [x])"
    with pytest.raises(ExportError, match="Nonzero") as error:
        sg.pytensor.function(pt.nonzero(x)[0], [x])
    assert 'mode="STATICGRAD"' in error.value.hint


def test_operands_of_sizes_with_two_names_may_be_swapped():
    compare([x, y], [pt.exp(x) * y, y * pt.exp(x)], normal(3), normal(3, seed=1))


def test_numbers_are_numbers_of_numpy_and_arrays_without_axes_are_arrays():
    import pytensor.scalar as ps

    number = ps.float64("number")
    outputs = [number + 1, x.sum(), pt.scalar_from_tensor(x.sum()), number]
    f = pytensor.function([number, x], outputs, mode="STATICGRAD")
    reference = pytensor.function([number, x], outputs, mode=REFERENCE)
    actual, expected = f(2.0, np.ones(3)), reference(2.0, np.ones(3))
    assert [*map(type, actual)] == [*map(type, expected)]
    assert [*map(float, actual)] == [3.0, 3.0, 3.0, 2.0]


def test_sizes_that_a_graph_specifies_are_checked_axis_by_axis():
    f = pytensor.function([m], pt.specify_shape(m, (2, 3)) * 2, mode="STATICGRAD")
    assert f(np.ones((2, 3))).shape == (2, 3)
    for shape in ((3, 2), (1, 6), (2, 1), (1, 3)):
        with pytest.raises(SizeGuardError, match="does not fit"):
            f(np.ones(shape))


def test_a_split_has_sizes_that_are_not_negative_and_fill_the_axis():
    with pytest.raises(ShapeError, match="the size -1 is negative"):
        pytensor.function([x], pt.split(x, [-1, 5], n_splits=2), mode="STATICGRAD")
    f = pytensor.function([x], pt.split(x, [2, 1], n_splits=2), mode="STATICGRAD")
    assert [part.tolist() for part in f(np.arange(3.0))] == [[0.0, 1.0], [2.0]]
    with pytest.raises(SizeGuardError):
        f(np.ones(4))


def test_checks_raise_their_own_exceptions_and_pass_gradients_on():
    from pytensor.raise_op import CheckAndRaise

    first, second = CheckAndRaise(KeyError, "first"), CheckAndRaise(ArithmeticError, "second")
    z = (first(x, (x > 0).all()) ** 2).sum() + second(3.0 * x, x[0] < 5, x[1] < 7).sum()
    f = compare([x], [z, pytensor.grad(z, x)], np.array([1.0, 2.0]))
    assert not program_of(f).fallbacks
    for array, kind, message in (
        ([-1.0, 2.0], KeyError, "first"), ([6.0, 2.0], ArithmeticError, "second"),
        ([1.0, 8.0], ArithmeticError, "second"),
    ):  # fmt: skip
        with pytest.raises(kind, match=message):
            f(np.array(array))
    gradient = sg.grad(sg.pytensor.function(z, [x]))
    np.testing.assert_allclose(gradient(np.array([1.0, 2.0])), [5.0, 7.0])


def test_generators_and_sparse_matrices_are_results_unchanged():
    from pytensor import sparse
    from scipy.sparse import csr_matrix

    generator = pt.random.type.random_generator_type()
    f = pytensor.function([generator, x], [generator, x + 1], mode="STATICGRAD")
    same, plus = f(np.random.default_rng(3), np.ones(2))
    assert same.normal() == np.random.default_rng(3).normal()
    np.testing.assert_array_equal(plus, [2.0, 2.0])
    matrix = csr_matrix(np.array([[0.0, 2.0], [0.0, 0.0]]))
    turned = pytensor.function([], sparse.as_sparse_variable(matrix).T, mode="STATICGRAD")()
    np.testing.assert_array_equal(turned.toarray(), [[0.0, 0.0], [2.0, 0.0]])


def test_functions_of_the_mode_pickle():
    f = pytensor.function([x], (x**2).sum(), mode="STATICGRAD")
    assert pickle.loads(pickle.dumps(f))(np.array([1.0, 2.0])) == 5.0


def test_transforms_of_named_sizes_have_zeros_at_the_end_or_are_cut():
    from pytensor.tensor import fourier

    for rows in (4, 6, 9):
        f = pytensor.function([m], fourier.fft(m, 6, 0), mode="STATICGRAD")
        array = normal(rows, 2)
        np.testing.assert_allclose(f(array), np.fft.fft(array, 6, 0), atol=1e-12)


@pytest.mark.parametrize(
    "formula",
    [
        lambda x: pt.log1p(pt.exp(x)),
        lambda x: pt.log(1 + pt.exp(x)),
        lambda x: pt.log((1 + pt.exp(x))[:, None] * pt.ones(2)).sum(1),
        lambda x: pt.log((1 + pt.exp(x)).reshape((1, -1))).sum(0),
        lambda x: pt.log(pt.sigmoid(x)),
        lambda x: pt.log(1 - pt.sigmoid(x)),
        lambda x: pt.log(pt.special.softmax(x, axis=-1)),
        lambda x: pt.special.log_softmax(x, axis=-1),
        lambda x: pt.log(pt.exp(x).sum()),
        lambda x: pt.logsumexp(x),
        lambda x: -0.5 * (0.3 / pt.exp(x)) ** 2 - pt.log(pt.exp(x)),
        lambda x: pt.log(pt.erfc(x / 100)),
        lambda x: pt.exp(x) / (1 + pt.exp(x)),
    ],
)
def test_formulas_of_large_arguments_have_the_digits_of_pytensors_own_mode(formula):
    x = pt.vector("x")
    value = formula(x)
    outputs = [value, pytensor.grad(value.sum(), x)]
    numbers = np.array([-1e3, -300.0, -40.0, -1e-3, 0.0, 0.5, 40.0, 300.0, 1e3])
    ours = pytensor.function([x], outputs, mode="STATICGRAD")(numbers)
    theirs = pytensor.function([x], outputs, mode="FAST_RUN")(numbers)
    for result, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-12, atol=1e-12)


def test_what_one_term_of_a_density_reads_has_the_line_of_the_term():
    """One term, two with a part that both read, and a sum that is added up otherwise."""
    lines = [SourceLine("model.py", 3), SourceLine("model.py", 7)]
    terms = [pt.scalar("scale"), pt.scalar("level")]
    for term, line in zip(terms, lines, strict=True):
        set_line(term, line)
    shared = pt.exp(x)
    parts = [(shared * terms[0]).sum(), (shared - terms[1]).sum()]
    density = parts[0] + parts[1]
    for variable in ancestors([density]):
        if variable not in terms:
            variable.tag.trace = []  # a library made it
    alone = lines_of_terms(parts[0], terms[:1])
    assert {*alone.values()} == {lines[0]}
    assert {parts[0], shared} <= {*alone}
    by_variable = lines_of_terms(density, terms)
    assert [by_variable[part] for part in parts] == lines
    assert {shared, density}.isdisjoint(by_variable)
    assert lines_of_terms(density, [*terms, terms[0]]) == {}


def test_ranges_of_integers_that_no_double_holds_are_counted_in_integers():
    start, stop = pt.lscalar("start"), pt.lscalar("stop")
    f = pytensor.function([start, stop], pt.arange(start, stop), mode="STATICGRAD")
    for first in (2**62, 2**53, -(2**62)):
        np.testing.assert_array_equal(f(first, first + 3), first + np.arange(3))
