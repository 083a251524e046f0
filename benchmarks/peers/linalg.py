"""Small linear algebra beside LAPACK (by NumPy and SciPy), PyTorch and JAX: times and residuals.

    python -m benchmarks linalg [--seconds 0.2] [--threads 1] [--only cholesky,solve]

Factorizations and solutions of n x n matrices, alone and in batches of 64. Times are the least of
many calls, those of all columns in turns. Residuals are scaled as in LAPACK's tests, such as
``|A - L L'| / (n |A| eps)`` by 1-norms, the largest of a batch; a row whose residual is above
LIMIT is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.linalg

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.harness.turns import least_times

SIZES: Final = (4, 16, 32, 64, 100, 200, 400)
BATCHES: Final = (1, 64)
DTYPES: Final = ("float32", "float64", "complex128")
COLUMNS: Final = ("staticgrad", "portable", "LAPACK", "PyTorch", "JAX")
#: Right-hand sides of a system.
RIGHT: Final = 8
#: The threshold of LAPACK's tests.
LIMIT: Final = 30.0
#: Elements of a batch beyond which a call takes seconds: of 64 matrices of 200 rows, and of 100
#: where rotations or LAPACK iterate.
LARGEST: Final = 64 * 200 * 200
LARGEST_ITERATED: Final = 64 * 100 * 100
Array = npt.NDArray[Any]


def norm(x: Array) -> float:
    """Return the largest 1-norm of a batch of matrices."""
    return float(abs(x).sum(-2).max())


def scale_residual(residual: Array, matrix: Array, dtype: str) -> float:
    """Return a residual beside the norm of a matrix, its rows and the machine epsilon."""
    eps = float(np.finfo(dtype).eps)
    beside: float = max(norm(matrix), 1e-300) * matrix.shape[-1] * eps
    return norm(residual) / beside


def adjoint(x: Array) -> Array:
    """Return the conjugate transposes."""
    return np.swapaxes(np.conj(x), -1, -2)


def unitary(q: Array, dtype: str) -> float:
    """Return the scaled departure of columns from orthonormal ones."""
    unit = np.eye(q.shape[-1])
    return scale_residual(adjoint(q) @ q - unit, unit, dtype)


def operands(name: str, n: int, batch: int, dtype: str) -> tuple[Array, ...]:
    """Return the matrices, and the right-hand sides of systems."""
    rng = np.random.default_rng(n + batch)

    def draw(*shape: int) -> Array:
        x = rng.normal(size=shape)
        return (x + 1j * rng.normal(size=shape) if dtype[0] == "c" else x).astype(dtype)

    leading = (batch,) if batch > 1 else ()
    x = draw(*leading, n, n)
    if name == "cholesky":
        return ((x @ adjoint(x) / n + np.eye(n)).astype(dtype),)
    if name == "eigh":
        return ((x + adjoint(x)) / 2,)
    if name == "triangular":
        x = np.tril(x) + 2 * n * np.eye(n, dtype=dtype)
    return (x, draw(*leading, n, RIGHT)) if name in ("solve", "triangular") else (x,)


def wide(x: Array) -> Array:
    """Return an array in double precision, in which residuals are computed."""
    x = np.asarray(x)
    return x.astype(np.result_type(x, np.float64))


def residual(name: str, arguments: Sequence[Array], results: Any) -> float:
    """Return the largest scaled residual of a call."""
    dtype = arguments[0].dtype.name
    a, *right = map(wide, arguments)
    parts = [wide(x) for x in (results if isinstance(results, tuple | list) else [results])]
    if name == "cholesky":
        return scale_residual(a - parts[0] @ adjoint(parts[0]), a, dtype)
    if name in ("solve", "triangular"):
        x = parts[0]
        return scale_residual(a @ x - right[0], a, dtype) / norm(x)
    if name == "qr":
        q, r = parts
        return max(scale_residual(a - q @ r, a, dtype), unitary(q, dtype))
    if name == "eigh":
        w, v = parts
        return max(
            scale_residual(a - (v * w[..., None, :]) @ adjoint(v), a, dtype), unitary(v, dtype)
        )
    u, s, v = parts
    product = (u * s[..., None, :]) @ v
    return max(scale_residual(a - product, a, dtype), unitary(u, dtype), unitary(adjoint(v), dtype))


OURS: Final[dict[str, Any]] = {
    "cholesky": sg.linalg.cholesky,
    "solve": sg.linalg.solve,
    "triangular": lambda a, b: sg.linalg.solve_triangular(a, b, lower=True),
    "qr": sg.linalg.qr,
    "eigh": sg.linalg.eigh,
    "svd": lambda a: sg.linalg.svd(a, full_matrices=False),
}


def by_lapack(name: str, arguments: Sequence[Array]) -> Callable[[], Any]:
    """Return the call of NumPy, or of SciPy where NumPy has none."""
    calls: dict[str, Any] = {
        "cholesky": np.linalg.cholesky,
        "solve": np.linalg.solve,
        "triangular": lambda a, b: scipy.linalg.solve_triangular(
            a, b, lower=True, check_finite=False
        ),
        "qr": np.linalg.qr,
        "eigh": np.linalg.eigh,
        "svd": lambda a: np.linalg.svd(a, full_matrices=False),
    }
    call = calls[name]
    return lambda: call(*arguments)


def by_torch(name: str, arguments: Sequence[Array]) -> Callable[[], Any]:
    """Return the call of PyTorch."""
    torch = import_module("torch")
    linalg = torch.linalg
    calls: dict[str, Any] = {
        "cholesky": linalg.cholesky,
        "solve": linalg.solve,
        "triangular": lambda a, b: linalg.solve_triangular(a, b, upper=False),
        "qr": linalg.qr,
        "eigh": linalg.eigh,
        "svd": lambda a: linalg.svd(a, full_matrices=False),
    }
    call = calls[name]
    tensors = [torch.from_numpy(a) for a in arguments]
    return lambda: call(*tensors)


def by_jax(name: str, arguments: Sequence[Array]) -> Callable[[], Any]:
    """Return the compiled call of JAX."""
    jax = import_module("jax")
    linalg = jax.numpy.linalg
    calls: dict[str, Any] = {
        "cholesky": linalg.cholesky,
        "solve": linalg.solve,
        "triangular": lambda a, b: jax.lax.linalg.triangular_solve(
            a, b, left_side=True, lower=True
        ),
        "qr": linalg.qr,
        "eigh": lambda a: tuple(linalg.eigh(a, symmetrize_input=False)),
        "svd": lambda a: linalg.svd(a, full_matrices=False),
    }
    call = calls[name]
    compiled = jax.jit(call)
    values = [jax.numpy.asarray(a) for a in arguments]
    return lambda: jax.block_until_ready(compiled(*values))


def graph_of(name: str, arguments: Sequence[Array]) -> sg.Graph:
    """Return the graph of a factorization or a solution."""
    values = [sg.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arguments)]
    results = OURS[name](*values)
    results = results if isinstance(results, tuple) else (results,)
    return sg.Graph({f"y{k}": value for k, value in enumerate(results)})


def builders() -> Builders:
    """Return what builds the smallest of each factorization, dtype and batch."""

    def build(name: str, dtype: str, batch: int) -> sg.Graph:
        return graph_of(name, operands(name, SIZES[0], batch, dtype))

    cells = product(OURS, DTYPES, BATCHES)
    return {" ".join(map(str, cell)): partial(build, *cell) for cell in cells}


def by_ours(name: str, arguments: Sequence[Array], threads: int, **settings: Any) -> Any:
    """Return the call of a compiled program."""
    graph = graph_of(name, arguments)
    program = sg.compile(graph, threads=threads, **settings)
    feeds = {f"x{k}": array for k, array in enumerate(arguments)}
    return lambda: tuple(program.run(feeds).values())


def calls_of(name: str, arguments: Sequence[Array], threads: int) -> dict[str, Any]:
    """Return the call of each column."""
    calls = {"staticgrad": by_ours(name, arguments, threads)}
    calls["portable"] = by_ours(name, arguments, threads, linalg="portable")
    if not (name == "triangular" and arguments[0].ndim > 2):
        calls["LAPACK"] = by_lapack(name, arguments)
    calls["PyTorch"] = by_torch(name, arguments)
    calls["JAX"] = by_jax(name, arguments)
    return calls


def write_row(cells: Sequence[str], times: Mapping[str, float], residuals: Sequence[float]) -> None:
    """Print a row: times in microseconds, the ratio to the best peer, residuals."""
    shown = [f"{times[n] * 1e6:,.1f}" if n in times else "" for n in COLUMNS]
    best = min(time for name, time in times.items() if name not in ("staticgrad", "portable"))
    ratio = f"{times['staticgrad'] / best:.2f}"
    texts = [f"{x:.2g}" for x in residuals]
    print("| " + " | ".join([*cells, *shown, ratio, *texts]) + " |", flush=True)


def main() -> int:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks linalg", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=0.2, help="measuring time of each cell")
    add("--threads", type=int, default=1, help="of ours and of PyTorch; JAX has its own")
    add("--only", default=",".join(OURS), help="names of factorizations")
    add("--dtypes", default=",".join(DTYPES), help="element types")
    options = parser.parse_args()
    torch, jax = map(import_module, ("torch", "jax"))
    torch.set_num_threads(options.threads)
    jax.config.update("jax_enable_x64", True)
    machine = describe()
    print(
        "# Small linear algebra\n\n`python -m benchmarks linalg`: microseconds a call, the least of"
        f" many in turns.\n{machine.processor}, {machine.cores} cores, threads: {options.threads}"
        f" (JAX has its own), PyTorch {torch.__version__}, JAX {jax.__version__}, NumPy"
        f' {np.__version__}.\n\n`portable` is ours with `linalg="portable"`; ratio: ours beside'
        " the best of the others, below 1 is faster.\nResiduals are scaled as in LAPACK's tests,"
        " whose threshold is 30.\n"
    )
    heads = ("what", "dtype", "n", "batch", *COLUMNS, "ratio", "residual", "of LAPACK")
    print("| " + " | ".join(heads) + " |\n|---|---|" + "--:|" * (len(heads) - 2), flush=True)
    for name in options.only.split(","):
        largest = LARGEST_ITERATED if name in ("eigh", "svd") else LARGEST
        for dtype in options.dtypes.split(","):
            for batch in BATCHES:
                for n in SIZES:
                    if batch > 1 and batch * n * n > largest:
                        continue
                    arguments = operands(name, n, batch, dtype)
                    calls = calls_of(name, arguments, options.threads)
                    residuals = {key: residual(name, arguments, f()) for key, f in calls.items()}
                    for key in ("staticgrad", "portable"):
                        if not residuals[key] <= LIMIT:
                            raise SystemExit(f"{name} {dtype} {n} x {batch}: {residuals}")
                    times = least_times(calls, options.seconds)
                    shown = residuals["staticgrad"], residuals.get("LAPACK", residuals["PyTorch"])
                    write_row([name, dtype, str(n), str(batch)], times, shown)
    return 0
