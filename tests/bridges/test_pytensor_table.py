"""The table of PyTensor's Ops: every class has a row or a reason; rows beside PyTensor."""

import importlib
import pkgutil
import warnings

import numpy as np
import pytest
import scipy.linalg
from scipy import special
from scipy.sparse import csr_matrix

import staticgrad as sg
from staticgrad.bridges.operands import ForeignType
from staticgrad.bridges.tables import ForeignOperator
from staticgrad.errors import ExportError
from staticgrad.pytensor.operators import OPERATORS, SCALARS
from staticgrad.pytensor.operators.refused import ABSTRACT, REFUSED
from staticgrad.pytensor.operators.registry import apply_row

pytensor = pytest.importorskip("pytensor", reason="PyTensor is not installed")

import pytensor.scalar as ps  # noqa: E402
import pytensor.tensor as pt  # noqa: E402
from pytensor import sparse  # noqa: E402
from pytensor.graph.op import Op  # noqa: E402
from pytensor.scalar.loop import ScalarLoop  # noqa: E402
from pytensor.tensor import extra_ops, fft, fourier, subtensor  # noqa: E402
from pytensor.tensor.basic import alloc_diag, choose, permute_row_elements  # noqa: E402
from pytensor.tensor.elemwise import CAReduce  # noqa: E402
from pytensor.tensor.math import MulWithoutZeros, ProdWithoutZeros  # noqa: E402
from pytensor.tensor.signal import convolve1d, convolve2d  # noqa: E402

import staticgrad.pytensor  # noqa: E402
from staticgrad.pytensor.reading import name_class  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")
#: Packages of PyTensor that have Ops. ``link`` has those of other linkers.
PACKAGES = (
    "assumptions", "breakpoint", "compile", "conditional", "gradient", "printing", "raise_op",
    "scalar", "scan", "sparse", "tensor", "typed_list", "xtensor",
)  # fmt: skip
RNG = np.random.default_rng(0)


def list_op_classes():
    """Return the classes of Ops that PyTensor defines, without those of tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in PACKAGES:
            package = importlib.import_module(f"pytensor.{name}")
            for module in pkgutil.walk_packages(
                getattr(package, "__path__", []), f"{package.__name__}."
            ):
                importlib.import_module(module.name)
    classes, stack = set(), [Op]
    while stack:
        for kind in stack.pop().__subclasses__():
            if kind not in classes:
                classes.add(kind)
                stack.append(kind)
    return {kind for kind in classes if kind.__module__.startswith("pytensor.")}


def test_every_op_has_a_row_or_a_reason_to_have_none():
    names = set()
    for kind in list_op_classes():
        name, bases = name_class(kind), [name_class(base) for base in kind.__mro__[1:]]
        names.add(name)
        table = SCALARS if issubclass(kind, ps.ScalarOp) else OPERATORS
        has_row = name in table or any(base in table for base in bases)
        is_refused = name not in table and table.find_reason(
            ForeignOperator(name, {}, tuple(bases))
        )
        assert has_row or is_refused or name in ABSTRACT, f"{name} of {kind.__module__}"
        assert not (name in table and name in REFUSED), f"{name} has a row and a reason"
    packages = {name.partition(".")[0] for name in names}
    assert names.issuperset(ABSTRACT)
    assert (names | packages).issuperset({*REFUSED} - {"JAXOp", "JAXShapeTuple", "Output"})


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def definite(n):
    x = normal(n, n)
    return x @ x.T + n * np.eye(n)


V, W, M, T3 = pt.vector("v"), pt.vector("w"), pt.matrix("m"), pt.tensor3("t")
K, J = pt.lvector("k"), pt.lmatrix("j")
A, B, Q = normal(5), normal(3), definite(4)
INTEGERS = RNG.integers(-9, 9, (3, 5))
ORDER = np.array([2, 0, 3, 1])


def reduce_bits(scalar_op, x):
    return CAReduce(scalar_op, axis=(0,))(x)


#: What is computed, the inputs, and their arrays.
SAMPLES = {
    "and": (reduce_bits(ps.and_, J), [J], [INTEGERS]),
    "or": (reduce_bits(ps.or_, J), [J], [INTEGERS]),
    "xor": (reduce_bits(ps.xor, J), [J], [INTEGERS]),
    "prod without zeros": (ProdWithoutZeros()(M), [M], [np.array([[2.0, 0.0], [0.0, 3.0]])]),
    "choose": (choose(K, M, "wrap"), [K, M], [np.array([0, 4, 2]), normal(3, 3)]),
    "choose clip": (choose(K, M, "clip"), [K, M], [np.array([0, 4, -2]), normal(3, 3)]),
    "permute rows": (permute_row_elements(M, K), [M, K], [normal(3, 4), ORDER]),
    "permute rows back": (permute_row_elements(M, K, inverse=True), [M, K], [normal(3, 4), ORDER]),
    "ravel_multi_index": (
        pt.ravel_multi_index((K, K), (3, 4), order="F"), [K], [np.array([1, 2, 0])],
    ),
    "unravel_index": (
        pt.stack(pt.unravel_index(K, (3, 4))), [K], [np.array([1, 11, 6])],
    ),
    "fill_diagonal": (pt.fill_diagonal(M, 7.0), [M], [normal(5, 3)]),
    "fill_diagonal wide": (pt.fill_diagonal(M, 7.0), [M], [normal(3, 5)]),
    "fill_diagonal cube": (pt.fill_diagonal(T3, 7.0), [T3], [normal(3, 3, 3)]),
    "fill_diagonal_offset": (extra_ops.fill_diagonal_offset(M, 7.0, -1), [M], [normal(4, 3)]),
    "bartlett": (extra_ops.bartlett(7) + V, [V], [normal(7)]),
    "convolve full": (convolve1d(V, W, "full"), [V, W], [A, B]),
    "convolve valid": (convolve1d(V, W, "valid"), [V, W], [A, B]),
    "convolve same": (convolve1d(V, W, "same"), [V, W], [A, B]),
    "rfft": (fft.rfft(M), [M], [normal(3, 6)]),
    "irfft": (fft.irfft(T3), [T3], [normal(3, 4, 2)]),
    "fourier": (fourier.fft(M, 6, 1).real, [M], [normal(3, 6)]),
    "alloc_diag batch": (alloc_diag(M, 1, 1, 2), [M], [normal(2, 3)]),
    "lu": (pt.linalg.lu(M)[1], [M], [Q]),
    "lu p": (pt.linalg.lu(M)[0], [M], [normal(5, 5)]),
    "lu permuted": (pt.linalg.lu(M, permute_l=True)[0], [M], [normal(5, 5)]),
    "lu indices": (pt.linalg.lu(M, p_indices=True)[0], [M], [normal(5, 5)]),
    "lu batch": (pt.linalg.lu(T3)[2], [T3], [normal(2, 4, 4)]),
    "lu_factor": (pt.linalg.lu_factor(M)[0], [M], [normal(5, 5)]),
    "lu_factor pivots": (pt.linalg.lu_factor(M)[1], [M], [normal(5, 5)]),
    "lu_solve": (
        pt.linalg.lu_solve(pt.linalg.lu_factor(M), V), [M, V], [normal(5, 5), A],
    ),
    "pivots": (pt.linalg.pivot_to_permutation(K), [K], [np.array([2, 2, 3, 3])]),
    "pivots inverse": (
        pt.linalg.pivot_to_permutation(K, inverse=True), [K], [np.array([2, 2, 3, 3])],
    ),
    "eig": (pt.linalg.eig(M)[0].real.sum(), [M], [normal(4, 4)]),
    "schur": (abs(pt.linalg.schur(M)[0]), [M], [Q]),
    "solve_sylvester": (pt.linalg.solve_sylvester(M, M, M), [M], [Q]),
    "solve_discrete_are": (
        pt.linalg.solve_discrete_are(M * 0.1, M, M, M), [M], [Q / 4],
    ),
    "solve_discrete_lyapunov": (
        pt.linalg.solve_discrete_lyapunov(M, 2 * M), [M], [Q / 20],
    ),
    "tensorinv": (pt.linalg.tensorinv(pt.reshape(M, (6, 2, 3)), 1), [M], [definite(6)]),
    "qr": (abs(pt.linalg.qr(M, mode="full")[1]), [M], [normal(5, 3)]),
    "qr r": (abs(pt.linalg.qr(M, mode="r")), [M], [normal(5, 3)]),
    "qr economic": (abs(pt.linalg.qr(M, mode="economic")[0]), [M], [normal(5, 3)]),
    "tridiagonal": (
        pt.linalg.solve(M, V, assume_a="banded", b_ndim=1), [M, V], [definite(5), A],
    ),
    "increments at duplicates": (
        subtensor.advanced_inc_subtensor(V, W, np.array([1, 1, 3]), ignore_duplicates=True),
        [V, W], [A, B],
    ),
    "mul without zeros": (
        pt.elemwise.Elemwise(MulWithoutZeros(ps.upcast_out, name="mul_without_zeros"))(V, W),
        [V, W], [np.array([0.0, 2.0, 3.0]), np.array([5.0, 0.0, 4.0])],
    ),
    "logaddexp": (pt.logaddexp(V, 2 * V), [V], [A]),
    "xlogy": (pt.special.xlogy(V, abs(V)), [V], [A]),
    "hyp2f1": (
        pytensor.grad(pt.hyp2f1(V, 2.0, 3.0, 0.3).sum(), V), [V], [abs(A) + 0.5],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_a_row_gives_what_pytensor_does_without_its_help(name):
    output, inputs, arrays = SAMPLES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, which PyTensor calls
        expected = pytensor.function(inputs, output, mode="FAST_COMPILE")(*arrays)
    f = pytensor.function(inputs, output, mode="STATICGRAD")
    assert not f.vm.jit_fn.fallbacks
    actual = f(*arrays)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11)


def test_scalar_ops_of_earlier_releases_have_rows():
    x, y = np.array([0.0, 0.5, 2.0]), np.array([np.nan, 1.5, 3.0])
    logarithms = np.array([0.0, np.log(1.5), np.log(3.0)])
    for name, operands, expected in [
        ("GammaL", (x + 1, x), special.gammainc(x + 1, x) * special.gamma(x + 1)),
        ("GammaU", (x + 1, x), special.gammaincc(x + 1, x) * special.gamma(x + 1)),
        ("XlogX", (x,), special.xlogy(x, x)),
        ("XlogY0", (x, y), x * logarithms),
    ]:
        op, kind = ForeignOperator(name, is_scalar=True), ForeignType("float64", (3,))
        values = [sg.input(f"x{k}", (3,), "float64") for k in range(len(operands))]
        (result,) = apply_row(op, values, (kind,))
        actual = sg.evaluate(result, dict(zip(values, operands, strict=True)))
        np.testing.assert_allclose(actual, expected, rtol=1e-13, err_msg=name)


@pytest.mark.parametrize("mode", ["full", "valid"])
@pytest.mark.parametrize("shapes", [((6, 7), (2, 3)), ((2, 3), (6, 7))])
def test_images_are_convolved(mode, shapes):
    x, y = (pt.matrix(shape=shape) for shape in shapes)
    arrays = [normal(*shape) for shape in shapes]
    f = pytensor.function([x, y], convolve2d(x, y, mode), mode="STATICGRAD")
    assert not f.vm.jit_fn.fallbacks
    by_pytensor = pytensor.function([x, y], convolve2d(x, y, mode), mode="FAST_COMPILE")
    np.testing.assert_allclose(f(*arrays), by_pytensor(*arrays), rtol=1e-10, atol=1e-12)


def test_loops_over_numbers_repeat_their_graph():
    steps, start, change = ps.int64("steps"), ps.float64("start"), ps.float64("change")
    loop = ScalarLoop(init=[start], constant=[change], update=[start + change])
    f = pytensor.function([steps, start, change], loop(steps, start, change), mode="STATICGRAD")
    assert [f(5, 0.0, 1.0), f(4, 3.0, -1.0), f(0, 2.0, 1.0)] == [5.0, -1.0, 2.0]
    loop = ScalarLoop(init=[start], update=[start + 1], until=start + 1 >= 10)
    f = pytensor.function([steps, start], loop(steps, start), mode="STATICGRAD")
    assert [[*map(float, f(20, 0.0))], [*map(float, f(5, 1.0))]] == [[10.0, 1.0], [6.0, 0.0]]


def test_gradients_that_a_graph_changes_are_those_that_it_says():
    x = np.array([1.0, -3.0, 0.5])
    for change, expected in (
        (lambda v: pytensor.gradient.grad_clip(v, -1.0, 1.5), np.clip(2 * x, -1.0, 1.5)),
        (lambda v: pytensor.gradient.grad_scale(v, 3.0), 6 * x),
        (lambda v: v * pytensor.gradient.zero_grad(v), 2 * x**3),
    ):
        f = sg.pytensor.function((change(V) ** 2).sum(), [V], rewrite=False)
        np.testing.assert_allclose(sg.grad(f)(x), expected)


def test_an_op_without_a_row_is_an_error_that_says_why():
    with pytest.raises(ExportError, match="Unique: only a run computes how many") as error:
        sg.pytensor.function(pt.unique(V), [V])
    assert "test_pytensor_table.py" in str(error.value)
    generator = pytensor.shared(np.random.default_rng(3))
    _, draws = pt.random.normal(0.0, 1.0, size=4, rng=generator, return_next_rng=True)
    f = pytensor.function([V], draws + V, mode="STATICGRAD")
    assert len(f.vm.jit_fn.fallbacks) == 1
    np.testing.assert_array_equal(f(np.zeros(4)), np.random.default_rng(3).normal(size=4))


def test_eigenvalues_and_schur_forms_multiply_to_the_matrix():
    a = normal(5, 5)
    w, v, t, z = pytensor.function(
        [M], [*pt.linalg.eig(M), *pt.linalg.schur(M, output="complex")], mode="STATICGRAD"
    )(a)
    np.testing.assert_allclose(a @ v, v * w, atol=1e-12)
    np.testing.assert_allclose(z @ t @ z.conj().T, a, atol=1e-12)
    usual = scipy.linalg.eigvals(a)
    np.testing.assert_allclose(np.sort_complex(w), np.sort_complex(usual), atol=1e-12)


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_products_with_constant_sparse_matrices(form):
    """On both sides, of vectors and matrices, with gradients; nothing is left to PyTensor."""
    numbers = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, -1.0]])
    matrix = sparse.as_sparse_variable(csr_matrix(numbers).asformat(form))
    m = pt.matrix("m")
    products = [
        sparse.dot(matrix, m), sparse.structured_dot(matrix, m), sparse.dot(m.T, matrix.T),
    ]  # fmt: skip
    loss = sum((product**2).sum() for product in products)
    array = np.arange(6.0).reshape(3, 2)
    expected = [numbers @ array, numbers @ array, (numbers @ array).T]
    slope = 6.0 * numbers.T @ numbers @ array
    f = pytensor.function([m], [*products, pytensor.grad(loss, m)], mode="STATICGRAD")
    assert not f.vm.jit_fn.fallbacks
    for actual, product in zip(f(array), [*expected, slope], strict=True):
        np.testing.assert_allclose(actual, product, rtol=1e-13)
    np.testing.assert_allclose(sg.grad(sg.pytensor.function(loss, [m]))(array), slope, rtol=1e-13)


@pytest.mark.filterwarnings("ignore:.SG900. pytensor. PyTensor computes a part")
def test_sparse_matrices_go_through_pytensor():
    a = csr_matrix(np.array([[0.0, 2.0], [3.0, 0.0]]))
    x = sparse.csr_matrix("x", shape=(2, 2))
    f = pytensor.function([x, V], [x, sparse.dot(x, V.dimshuffle(0, "x"))], mode="STATICGRAD")
    same, product = f(a, np.array([1.0, 5.0]))
    np.testing.assert_array_equal(same.toarray(), a.toarray())
    np.testing.assert_array_equal(product, [[10.0], [3.0]])
