"""Sparse matrices beside SciPy, PyTorch and JAX: products, a graph network, solutions of systems.

    python -m benchmarks sparse [--seconds 2] [--threads 1] > FILE

Products of a random graph of 100,000 nodes with about 10 neighbours each (float32), and of the
matrix of Poisson's equation on a grid of 1000 x 1000 (float64). A training step of two layers of a
graph convolutional network over the former, and a solution with its gradient of the latter, in a
fixed number of iterations. A direct solution of a diffusion equation on 316 x 316 points, with the
gradient of a loss by its coefficients and by its right-hand side. Times are the least of many
calls, those of all columns in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as scipy_solvers

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.turns import least_times, start_page

NODES: Final = 100_000
NEIGHBOURS: Final = 10
FEATURES: Final = 64
CLASSES: Final = 16
SIDE: Final = 1000
ITERATIONS: Final = 50
CELLS: Final = 316  # a side of the square of the diffusion equation
RATE: Final = 0.1
COLUMNS: Final = ("staticgrad", "SciPy", "PyTorch", "JAX")
Calls = dict[str, Callable[[], Any]]


def graph(nodes: int = NODES) -> Any:
    """The normalized adjacency of a random graph, float32."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, nodes, (2, nodes * NEIGHBOURS // 2))
    edges = sp.coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(nodes, nodes))
    return sg.sparse.normalized_adjacency((edges + edges.T).tocsr()).astype("float32").tocsr()


def poisson(side: int = SIDE) -> Any:
    """The five-point stencil on a square, float64."""
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(side, side))
    unit = sp.eye_array(side)
    return (sp.kron(unit, line) + sp.kron(line, unit)).tocsr()


def in_torch(matrix: Any) -> Any:
    torch = import_module("torch")
    parts = (matrix.indptr.copy(), matrix.indices.copy(), matrix.data.copy())
    return torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=matrix.shape)


def in_jax(matrix: Any) -> Any:
    return import_module("jax.experimental.sparse").BCSR.from_scipy_sparse(matrix)


def products(matrix: Any, columns: int) -> Calls:
    """Calls that multiply by a dense matrix, or by a vector (0 columns)."""
    shape = (matrix.shape[1], columns) if columns else (matrix.shape[1],)
    x = np.random.default_rng(1).normal(size=shape).astype(matrix.dtype)
    torch, jax = map(import_module, ("torch", "jax"))
    ours = sg.compile(matrix @ sg.input("x", x.shape, x.dtype))
    theirs, tensor = in_torch(matrix), torch.from_numpy(x)
    last, value = in_jax(matrix), jax.numpy.asarray(x)
    product = jax.jit(lambda a, x: a @ x)
    return {
        "staticgrad": lambda: ours.run({"x": x}),
        "SciPy": lambda: matrix @ x,
        "PyTorch": lambda: (theirs @ tensor).numpy(),
        "JAX": lambda: np.asarray(product(last, value)),
    }


def network(matrix: Any) -> Calls:
    """Calls that take a step of training, and give the loss."""
    rng = np.random.default_rng(2)
    nodes = matrix.shape[0]
    x = rng.normal(size=(nodes, FEATURES)).astype("float32")
    labels = rng.integers(0, CLASSES, nodes)
    shapes = ((FEATURES, FEATURES), (FEATURES, CLASSES))
    first = [rng.normal(size=s).astype("float32") / np.float32(s[0] ** 0.5) for s in shapes]
    torch, jax = map(import_module, ("torch", "jax"))
    edges = sg.sparse.csr(matrix)
    w, v = (sg.parameter(name, array) for name, array in zip("wv", first, strict=True))
    optimizer = sg.optim.SGD(RATE)

    @sg.function
    def ours(x: Any, labels: Any) -> Any:
        scores = edges @ (sg.nn.relu(edges @ (x @ w)) @ v)
        loss = sg.nn.cross_entropy(scores, labels)
        optimizer.minimize(loss)
        return loss

    theirs, tensor, classes = in_torch(matrix), torch.from_numpy(x), torch.from_numpy(labels)
    weights = [torch.from_numpy(array.copy()).requires_grad_() for array in first]
    descent = torch.optim.SGD(weights, RATE)

    def by_torch() -> Any:
        hidden = torch.relu(theirs @ (tensor @ weights[0]))
        loss = torch.nn.functional.cross_entropy(theirs @ (hidden @ weights[1]), classes)
        descent.zero_grad()
        loss.backward()
        descent.step()
        return loss.detach().numpy()

    last = in_jax(matrix)
    state = [list(map(jax.numpy.asarray, first))]

    def loss_of(weights: Any, a: Any, x: Any, labels: Any) -> Any:
        scores = a @ (jax.nn.relu(a @ (x @ weights[0])) @ weights[1])
        picked = jax.numpy.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], 1)
        return -picked.mean()

    def step(weights: Any, a: Any, x: Any, labels: Any) -> Any:
        loss, slopes = jax.value_and_grad(loss_of)(weights, a, x, labels)
        return loss, [weight - RATE * slope for weight, slope in zip(weights, slopes, strict=True)]

    compiled = jax.jit(step)
    arrays = jax.numpy.asarray(x), jax.numpy.asarray(labels)

    def by_jax() -> Any:
        loss, state[0] = compiled(state[0], last, *arrays)
        return np.asarray(loss)

    return {
        "staticgrad": lambda: ours(x, labels),
        "PyTorch": by_torch,
        "JAX": by_jax,
    }


def solutions(matrix: Any) -> Calls:
    """Calls that give x with ``A @ x = b``, and the gradient of the sum of squares of x by b."""
    b = np.random.default_rng(3).normal(size=matrix.shape[0])
    torch, jax = map(import_module, ("torch", "jax"))
    edges = sg.sparse.csr(matrix)

    @sg.function
    def ours(b: Any) -> Any:
        def loss(b: Any) -> Any:
            x = sg.linalg.cg(edges, b, rtol=0.0, maxiter=ITERATIONS).x
            return (x * x).sum(), x

        (_, x), slope = sg.value_and_grad(loss, has_aux=True)(b)
        return x, slope

    def by_scipy() -> Any:
        x, _ = scipy_solvers.cg(matrix, b, rtol=0.0, maxiter=ITERATIONS)
        return x, scipy_solvers.cg(matrix, 2.0 * x, rtol=0.0, maxiter=ITERATIONS)[0]

    theirs, tensor = in_torch(matrix), torch.from_numpy(b)

    def solve_by_cg(b: Any) -> Any:
        x, r = torch.zeros_like(b), b.clone()
        p, rho = r.clone(), r @ r
        for _ in range(ITERATIONS):
            q = theirs @ p
            alpha = rho / (p @ q)
            x += alpha * p
            r -= alpha * q
            next_rho = r @ r
            p = r + next_rho / rho * p
            rho = next_rho
        return x

    def by_torch() -> Any:  # which has no solver: its derivative is written by hand
        x = solve_by_cg(tensor)
        return x.numpy(), solve_by_cg(2.0 * x).numpy()

    last = in_jax(matrix)

    def of_jax(a: Any, b: Any) -> Any:
        def loss(b: Any) -> Any:
            solve = jax.scipy.sparse.linalg.cg
            x, _ = solve(lambda v: a @ v, b, tol=0.0, maxiter=ITERATIONS)
            return (x * x).sum(), x

        (_, x), slope = jax.value_and_grad(loss, has_aux=True)(b)
        return x, slope

    value, compiled = jax.numpy.asarray(b), jax.jit(of_jax)
    return {
        "staticgrad": lambda: ours(b),
        "SciPy": by_scipy,
        "PyTorch": by_torch,
        "JAX": lambda: tuple(map(np.asarray, compiled(last, value))),
    }


def diffusion(side: int = CELLS) -> Calls:
    """Calls that solve -div(c grad u) = f, and give u, and the gradient of the sum of u squared.

    ``c`` is given in cells, and on a face between two cells it is their mean. SciPy's column is the
    adjoint method by hand: one factorization, and the transposed system by the same factors.
    """
    rng = np.random.default_rng(4)
    line = sp.diags_array([1.0, -1.0], offsets=[0, -1], shape=(side + 1, side))
    unit = sp.eye_array(side)
    slopes = sp.vstack([sp.kron(line, unit), sp.kron(unit, line)]).tocsr()
    beside = abs(slopes)
    mean = (sp.diags_array(1.0 / beside.sum(1)) @ beside).tocsr()
    c, f = np.exp(0.5 * rng.normal(size=side**2)), rng.normal(size=side**2)
    differences = sg.sparse.csr(slopes)

    @sg.function
    def ours(c: Any, f: Any) -> Any:
        def loss(c: Any, f: Any) -> Any:
            u = sg.sparse.spsolve((differences.T * (mean @ c)) @ differences, f)
            return (u * u).sum(), u

        (_, u), gradients = sg.value_and_grad(loss, (0, 1), has_aux=True)(c, f)
        return u, *gradients

    def by_scipy() -> Any:
        matrix = slopes.T @ sp.diags_array(mean @ c) @ slopes
        factors = scipy_solvers.splu(matrix.tocsc())
        u = factors.solve(f)
        adjoint = factors.solve(2.0 * u, "T")
        return u, -(mean.T @ ((slopes @ adjoint) * (slopes @ u))), adjoint

    def solve_anew() -> Any:  # other coefficients: the factors of the last call do not serve
        c[0] *= 1.0 + 1e-12
        return ours(c, f)

    return {"staticgrad": solve_anew, "SciPy": by_scipy}


def builders() -> Builders:
    """Return what makes a call of ours of each row, on few nodes, and calls it once."""

    def call_once(make: Callable[[], Calls]) -> object:
        return make()["staticgrad"]()

    makers: dict[str, Callable[[], Calls]] = {
        "vector": lambda: products(poisson(4), 0),
        "matrix": lambda: products(graph(20), 3),
        "network": lambda: network(graph(20)),
        "solutions": lambda: solutions(poisson(4)),
        "diffusion": lambda: diffusion(4),
    }
    return {name: partial(call_once, make) for name, make in makers.items()}


def check_results(calls: Calls, rtol: float) -> None:
    """Refuse columns whose results differ."""
    first, *others = calls.values()
    for call in others:
        for actual, expected in zip(sg.tree.leaves(call()), sg.tree.leaves(first()), strict=True):
            scale = float(np.abs(expected).max())
            np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * scale)


def copying() -> float:
    """Bytes a second that a copy of 64 MB reads and writes."""
    source, target = np.ones(8_000_000), np.empty(8_000_000)
    least = least_times({"copy": lambda: np.copyto(target, source)}, 1.0)["copy"]
    return 2 * source.nbytes / least


def row(text: str, times: Mapping[str, float], extra: str) -> None:
    cells = " | ".join(f"{times[n] * 1e3:,.1f}" if n in times else "" for n in COLUMNS)
    print(f"| {text} | {cells} | {extra} |", flush=True)


def main() -> int:
    """Print the page."""
    options, jax, line = start_page("sparse", __doc__, 2.0)
    jax.config.update("jax_enable_x64", True)
    print(
        "# Sparse matrices\n\n"
        "`python -m benchmarks sparse`: milliseconds a call, the least of many in turns."
        f"\n{line}\n\n"
        "GB/s: what ours reads and writes in that time, a dense row for each element of the"
        f" matrix.\nA copy of 64 MB: {copying() / 1e9:.1f} GB/s. Results are compared first.\n"
    )
    print("| what | " + " | ".join(COLUMNS) + " | GB/s |")
    print("|---|" + "--:|" * (len(COLUMNS) + 1))
    edges, stencil = graph(), poisson()
    with sg.options(threads=options.threads):
        for name, matrix, columns in (
            ("stencil, 10^6 rows, times a vector", stencil, 0),
            *((f"graph, 10^5 rows, times {k or 'a vector'}", edges, k) for k in (0, 16, 64, 128)),
        ):
            calls = products(matrix, columns)
            check_results(calls, 1e-5)
            times = least_times(calls, options.seconds)
            item, k = matrix.dtype.itemsize, columns or 1
            nbytes = matrix.nnz * (k * item + item + 4) + matrix.shape[0] * (k * item + 4)
            row(name, times, f"{nbytes / times['staticgrad'] / 1e9:.1f}")
        for name, calls, rtol in (
            (f"training step, {FEATURES} features", network(edges), 1e-4),
            (f"CG with gradient, 2 x {ITERATIONS} iterations", solutions(stencil), 1e-6),
            (f"direct solution with gradients, {CELLS} x {CELLS}", diffusion(), 1e-6),
        ):
            check_results(calls, rtol)
            row(name, least_times(calls, options.seconds), "")
    return 0
