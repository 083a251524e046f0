"""``vmap`` and Jacobians of tensors: what each element or row gives; derivatives of them."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, checkpoint, rowwise, tape
from staticgrad.errors import DTypeError

random = np.random.default_rng(0)
X = random.normal(size=(4, 3))
M = random.normal(size=(4, 3, 3)) + 3 * np.eye(3)
COUNTS = np.array([1, 4, 0, 2])
BATCHES = random.normal(size=(4, 2, 3))
TABLE = random.normal(size=(8, 3))  # more elements than a constant written in a body has


@sg.custom_vjp(name="tests.eager.doubled")
def times_sine(x, y):
    return sg.sin(y) * x


@times_sine.rule
def _(ct, out, x, y):
    return ct * sg.sin(y), 2 * ct * sg.cos(y) * x


def scan_positions(h, b):
    """A loop that closes over a value of the element, and over a position."""
    last, every = sg.scan(lambda c, i: (sg.tanh(c * b + i), c), h, np.arange(3.0))
    return last + every.sum(axis=0)


def shrink(h):
    return sg.while_loop(lambda c: (c * c).sum() > 1.0, lambda c: c * 0.7, h, max_steps=20)


FUNCTIONS = {
    "inverse": (sg.linalg.inv, (M,)),
    "factors": (lambda a: sg.linalg.cholesky(a @ a.T), (M,)),
    "exponential": (sg.linalg.expm, (M * 0.1,)),
    "its own rule": (times_sine, (X, X + 1)),
    "loop": (scan_positions, (X, X + 1)),
    "as many iterations as it wants": (
        lambda n, h: sg.fori_loop(0, n, lambda i, c: c + i, h),
        (COUNTS, X),
    ),
    "an array of the function's own": (lambda v: (sg.sin(TABLE @ v) * TABLE[:, 0]).sum(), (X,)),
    "rows of it": (lambda n, v: sg.take(TABLE, n, axis=0) @ sg.sin(v), (COUNTS, X)),
    "while": (shrink, (X * 3,)),
    "branch": (lambda n, h: sg.switch(n, [sg.sin, sg.exp, lambda v: v * v], h), (COUNTS, X)),
    "sort": (lambda v: sg.sort(v) * np.arange(3.0), (X,)),
    "matrix of slopes": (lambda v: sg.jacobian(lambda u: sg.sin(u) * u.sum())(v), (X,)),
    "curvature": (lambda v: sg.hessian(lambda u: (sg.sin(u) * u).sum())(v), (X,)),
    "mapped inside": (lambda b: sg.vmap(lambda v: sg.cumsum(v) * b.sum())(b), (BATCHES,)),
}


#: Those that are linear, or whose number of iterations no gradient knows.
STRAIGHT = {"as many iterations as it wants", "while", "sort", "mapped inside"}


def tensors(arrays):
    return [Tensor(array, dtype=str(array.dtype)) for array in arrays]


def stack_results(f, arrays):
    """An element at a time."""
    return np.stack([f(*tensors(row)).numpy() for row in zip(*arrays, strict=True)])


def slope(f):
    """The gradient by the last argument."""
    return lambda *a: sg.grad(lambda v: (f(*a[:-1], v) * 1.3).sum())(a[-1])


def along(f):
    """The tangent of the last argument's moving along itself."""
    return lambda *a: sg.jvp(lambda v: f(*a[:-1], v), (a[-1],), (a[-1] * 0.5,))[1]


@pytest.mark.thinned(7)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_the_stack_of_its_elements_and_so_are_its_derivatives(name):
    f, arrays = FUNCTIONS[name]
    functions = [f, along(f)] if name in STRAIGHT else [f, slope(f), along(slope(f))]
    for function in functions:
        actual = sg.vmap(function)(*tensors(arrays))
        assert isinstance(actual, Tensor)
        np.testing.assert_allclose(
            actual.numpy(), stack_results(function, arrays), rtol=1e-9, atol=1e-12
        )


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", ["its own rule", "loop", "inverse"])
def test_is_differentiated_over_the_batch(name):
    f, arrays = FUNCTIONS[name]
    for derivative in (slope, along):
        actual = derivative(sg.vmap(slope(f)))(*tensors(arrays))
        np.testing.assert_allclose(
            actual.numpy(), stack_results(derivative(slope(f)), arrays), rtol=1e-9
        )


@pytest.mark.slow
def test_derivatives_inside_are_taken_by_tensors_that_a_function_closes_over():
    def loss(w, x):
        return ((w @ x) ** 2).sum()

    def of(w):
        return [
            lambda x: loss(w - 0.1 * sg.grad(loss)(w, x), x),
            lambda x: loss(w - 0.1 * sg.grad(lambda v: loss(v, x))(w), x),
            lambda x: sg.jvp(lambda v: loss(v, x), w, w)[1],
            lambda x: sg.vjp(lambda v: v * x, w, w)[1].sum(),
            lambda x: sg.hvp(lambda v: loss(v, x), w, w * w).sum(),
            lambda x: (sg.hessian(lambda v: loss(v, x) * v[0])(w) @ w).sum(),
        ]

    for place in range(len(of(None))):
        w = Tensor(X[0], requires_grad=True, dtype="float64")
        actual = sg.vmap(of(w)[place])(Tensor(X, dtype="float64")).sum()
        actual.backward()
        traced = sg.value_and_grad(lambda w, place=place: sg.vmap(of(w)[place])(X).sum())
        value, slope = traced(X[0])
        np.testing.assert_allclose(actual.numpy(), value, rtol=1e-9)
        np.testing.assert_allclose(w.grad, slope, rtol=1e-9)


def test_in_eager_mode_arrays_are_tensors():
    w = Tensor(X[0], requires_grad=True, dtype="float64")

    def loss(x):
        return ((w * x) ** 3).sum()

    with sg.eager_mode():
        results = [sg.grad(loss)(X[1]), sg.vmap(loss)(X[:3]), sg.jvp(loss, X[1], X[2])[1]]
        results += [sg.hvp(loss, X[1], X[2]), sg.vjp(loss, X[1])[1](1.0), sg.grad(np.sin)(0.5)]
    slope = 3 * X[0] ** 3 * X[1] ** 2
    expected = [slope, ((X[0] * X[:3]) ** 3).sum(1), slope @ X[2], 2 * slope / X[1] * X[2], slope]
    for actual, array in zip(results, [*expected, np.cos(0.5)], strict=True):
        assert isinstance(actual, Tensor)
        np.testing.assert_allclose(actual.numpy(), array, rtol=1e-12)


def test_tensors_that_a_function_closes_over_are_shared_and_get_gradients():
    w, x = (Tensor(array, requires_grad=True, dtype="float64") for array in (M[0], X))
    p = sg.parameter("p", X[0])

    def iteration(c, row):
        return sg.tanh(c @ w + row), w.sum() * c

    def f(v):
        last, every = sg.scan(iteration, v * p, w * 0.1)
        inner = sg.vmap(lambda row: (row * v + x[0]).sum() * w)(w)
        mapped = sg.vmap(lambda row: row * v[0])(x)
        return last + every.sum(0) + inner.sum((0, 1)) + mapped.sum(0), w, sg.concat([v, x[1]], 0)

    actual = sg.vmap(f)(x)
    by_hand = [f(row) for row in x]
    for batched, single_results in zip(actual, zip(*by_hand, strict=True), strict=True):
        expected = np.stack([result.numpy() for result in single_results])
        np.testing.assert_allclose(batched.numpy(), expected, rtol=1e-12)
    gradients = sg.grad(sum((sg.sin(a).sum() for a, _, _ in by_hand), 0.0), [w, x, p])
    for batched, gradient in zip(
        sg.grad(sg.sin(actual[0]).sum(), [w, x, p]), gradients, strict=True
    ):
        np.testing.assert_allclose(batched.numpy(), gradient.numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, w: sg.grad(lambda x: w.sum(), allow_disconnected=True)(x) + w,
        lambda x, w: sg.value_and_grad(lambda x: w.sum(), allow_disconnected=True)(x)[0],
        lambda x, w: sg.jvp(lambda x: w * 2.0, x, x, allow_disconnected=True)[0],
        lambda x, w: sg.vjp(lambda x: w * 2.0, x, x, allow_disconnected=True)[0],
        lambda x, w: sg.linearize(lambda w: w * w, w)[1](x),
        lambda x, w: sg.jacobian(lambda x: w * 2.0, allow_disconnected=True)(x) + w,
        lambda x, w: sg.scan(lambda c, y: (w * 1.0, w), x, sg.stack([x, x])),
        lambda x, w: sg.while_loop(lambda c: c.sum() > 9.0, lambda c: w, x + 9.0, max_steps=2),
        lambda x, w: sg.cond(x.sum() > 0, lambda x: w, lambda x: x, x),
        lambda x, w: sg.switch(np.array(1), [lambda x: x, lambda x: w], x),
        lambda x, w: sg.map(lambda y: w, x),
    ],
)
def test_functions_within_a_map_may_give_a_tensor_of_outside(f):
    x, w = tensors([X, X[0] + 2.0])
    actual = sg.vmap(lambda row: f(row, w))(x)
    actual, expected = (
        outputs if isinstance(outputs, tuple) else (outputs,) for outputs in (actual, f(x[1], w))
    )
    for batched, single in zip(actual, expected, strict=True):
        np.testing.assert_allclose(batched.numpy()[1], single.numpy(), rtol=1e-12)
    loss = sum((sg.sin(output[1]).sum() for output in actual), 0.0)
    by_hand = sum((sg.sin(output).sum() for output in expected), 0.0)
    slopes = [sg.grad(target, w, allow_disconnected=True).numpy() for target in (loss, by_hand)]
    np.testing.assert_allclose(*slopes, rtol=1e-9)


def test_a_tensor_in_a_loop_of_a_graph_is_refused():
    tensor = Tensor(X[0])
    for f in (
        lambda x: sg.scan(lambda c, y: (tensor, c), x, X)[0],
        lambda x: sg.cond(x.sum() > 0, lambda x: tensor, lambda x: x, x),
    ):
        with pytest.raises(DTypeError, match="two kinds cannot meet"):
            sg.function(f)(X[0])


ROW_RNG = np.random.default_rng(0)
SQUARE = ROW_RNG.normal(size=(12, 12))


def drawn(*shape):
    return Tensor(ROW_RNG.normal(size=shape), requires_grad=True, dtype="float64")


def step_of_rows(h, x):
    h = sg.tanh(h + x)
    return h, h * x


ROWED = {
    "layers": lambda x: sg.tanh(sg.tanh(x @ SQUARE) @ SQUARE[:, :10]),
    "branches": lambda x: sg.where(x > 0, sg.log(sg.abs(x)), x * x),
    "rows": lambda x: sg.nn.softmax(x.reshape(4, 3)),
    "inverse": lambda x: sg.linalg.inv(x[:9].reshape(3, 3) + 4 * np.eye(3)),
    "slices": lambda x: sg.cumsum(sg.sort(x))[::-1] * x[1],
    "scan": lambda x: sg.scan(step_of_rows, x[0], x)[1],
    "wide": lambda x: sg.concatenate([x[:8] * x[0], sg.sin(x[:8]), x]),
    "kept": lambda x: checkpoint(lambda y: sg.sin(y) * y, x),
}


@pytest.mark.thinned(8)
@pytest.mark.parametrize("name", ROWED)
def test_rows_of_a_batch_are_those_of_single_walks(name, monkeypatch):
    f, x = ROWED[name], drawn(12)
    runs = []
    for fewest, most in ((2, 1 << 20), (2, 1), (1000, 1)):
        monkeypatch.setattr(rowwise, "FEWEST", fewest)
        monkeypatch.setattr(rowwise, "MOST", most)
        matrices = [sg.jacobian(f, mode=mode)(x) for mode in (None, "reverse", "forward")]
        again = sg.jacobian(f(x), x)
        runs.append([*matrices, again, sg.grad((again * again).sum(), x)])
    for batched in runs[:2]:
        for left, right in zip(batched, runs[-1], strict=True):
            assert isinstance(left, Tensor)
            np.testing.assert_allclose(left.data, right.data, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("fewest", "most", "count"), [(2, 1 << 20, 1), (2, 1, 12), (13, 1, 12)])
def test_rows_of_a_batch_are_one_walk_where_they_are_many_and_fit(fewest, most, count, monkeypatch):
    monkeypatch.setattr(rowwise, "FEWEST", fewest)
    monkeypatch.setattr(rowwise, "MOST", most)
    walks, run = [], tape.TapeSweep.run
    monkeypatch.setattr(tape.TapeSweep, "run", lambda *args: walks.append(1) or run(*args))
    x = Tensor(np.arange(12.0), requires_grad=True)
    matrix = sg.jacobian(sg.sin(x) * 2.0, x)
    assert len(walks) == count
    np.testing.assert_allclose(matrix.data, np.diag(2.0 * np.cos(np.arange(12.0))), rtol=1e-15)


@pytest.mark.parametrize("policy", [None, sg.checkpoint_policies.nothing_saveable])
def test_a_checkpoint_inside_of_vmap_reads_tensors_around_it(policy, rng):
    x, w = rng.normal(size=(3, 4)), rng.normal(size=3)
    tensors = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)

    def scale(column):
        region = sg.checkpoint(lambda v: sg.sin(v * column.sum()) + column.mean(), policy=policy)
        return region(tensors[1]).sum() * column

    def loss_of(x, w):
        columns = [(np.sin(w * c.sum()) + c.mean()).sum() * c for c in x.T]
        return (np.stack(columns, 1) ** 2).sum()

    loss = (sg.vmap(scale, 1, 1)(tensors[0]) ** 2).sum()
    np.testing.assert_allclose(float(loss.detach()), loss_of(x, w), 1e-12)
    loss.backward()
    step, direction = 1e-6, rng.normal(size=3)
    ends = [loss_of(x, w + sign * step * direction) for sign in (1, -1)]
    slope = (np.asarray(tensors[1].grad) * direction).sum()
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), 1e-5)
