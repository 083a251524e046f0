"""Matrix products: square, tall, chains, sums, batches."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.workload import Make
from benchmarks.peers.kinds import Values, normal, program


def square(size: int) -> Make:
    """Two square matrices."""
    return normal({"a": (size, size), "b": (size, size)})


def product(ops: Any, v: Values) -> Any:
    """The mean square of a product."""
    return ops.mean((v["a"] @ v["b"]) ** 2)


def written_twice(ops: Any, v: Values) -> Any:
    """Two terms with the same product."""
    return 3.0 * ops.mean(v["a"] @ v["b"]) + ops.mean((v["a"] @ v["b"]) ** 2)


def tall_skinny(ops: Any, v: Values) -> Any:
    """A small layer over very many rows."""
    return ops.mean(ops.tanh(v["x"] @ v["w"]) ** 2)


def gram(ops: Any, v: Values) -> Any:
    """The sum of squares of a Gram matrix."""
    matrix = v["a"].T @ v["a"]
    return ops.sum(matrix * matrix)


def sum_of_products(ops: Any, v: Values) -> Any:
    """The mean square of a @ b + c @ d."""
    return ops.mean((v["a"] @ v["b"] + v["c"] @ v["d"]) ** 2)


def chain(ops: Any, v: Values) -> Any:
    """The mean square of a product of four matrices."""
    return ops.mean((v["a"] @ v["b"] @ v["c"] @ v["d"]) ** 2)


def multiply_transposed(ops: Any, v: Values) -> Any:
    """The mean square of a product of two transposed matrices."""
    return ops.mean((v["a"].T @ v["b"].T) ** 2)


def multiply_batches(ops: Any, v: Values) -> Any:
    """Two small matrices for each sample."""
    return ops.mean(ops.matmul(v["a"], v["b"]) ** 2)


def bilinear(ops: Any, v: Values) -> Any:
    """x_i w y_i for each row i."""
    return ops.mean(ops.einsum("bi,ij,bj->b", v["x"], v["w"], v["y"]) ** 2)


def matrix_vector(ops: Any, v: Values) -> Any:
    """A layer of one sample."""
    return ops.mean(ops.tanh(v["w"] @ v["x"]) ** 2)


def low_rank(ops: Any, v: Values) -> Any:
    """The distance of a matrix from one of low rank."""
    return ops.mean((v["u"] @ v["v"].T - v["m"]) ** 2)


_FOUR = dict.fromkeys("abcd", (300, 300))
_SMALL = normal({"a": (2000, 16, 16), "b": (2000, 16, 16)})
_BILINEAR = normal({"x": (2000, 100), "w": (100, 80), "y": (2000, 80)})
_LOW_RANK = normal({"u": (1500, 16), "v": (1200, 16)}, {"m": (1500, 1200)})
WORKLOADS = (
    program("product_500_f64", "a product of 500", product, square(500), "float64"),
    program("product_1000_f64", "a product of 1,000", product, square(1000), "float64"),
    program("product_500", "a product of 500", product, square(500)),
    program("product_1000", "a product of 1,000", product, square(1000)),
    program("written_twice", "two terms with the same product", written_twice, square(500)),
    program("tall_skinny", "200,000 x 8 @ 8 x 8, tanh", tall_skinny,
            normal({"x": (200_000, 8), "w": (8, 8)})),
    program("gram", "the Gram matrix of 100,000 x 24", gram,
            normal({"a": (100_000, 24)}, scale=0.01)),
    program("sum_of_products", "a @ b + c @ d of 300", sum_of_products, normal(_FOUR)),
    program("chain", "a @ b @ c @ d of 300", chain, normal(_FOUR, scale=0.1)),
    program("transposed", "a.T @ b.T of 600", multiply_transposed, square(600)),
    program("batched", "2,000 products of 16", multiply_batches, _SMALL),
    program("bilinear", "x w y of 2,000 rows", bilinear, _BILINEAR),
    program("matrix_vector", "a matrix of 2,000 times a vector", matrix_vector,
            normal({"w": (2000, 2000), "x": (2000,)}, scale=0.1)),
    program("low_rank", "1,500 x 1,200 beside rank 16", low_rank, _LOW_RANK),
)  # fmt: skip
