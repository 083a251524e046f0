"""Sums, maxima, orders and running sums."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.kinds import Values, normal, program


def logsumexp(ops: Any, v: Values) -> Any:
    """The logarithm of the sum of exponentials of a vector, written out."""
    return ops.log(ops.sum(ops.exp(v["x"])))


def rows(ops: Any, v: Values) -> Any:
    """The same of each row, without overflow."""
    return ops.mean(ops.logsumexp(v["x"], 1) ** 2)


def softmax(ops: Any, v: Values) -> Any:
    """The softmax of rows, weighted."""
    return ops.mean(ops.softmax(v["x"]) * v["g"])


def variance(ops: Any, v: Values) -> Any:
    """The logarithms of columns' variances."""
    away = v["x"] - ops.mean(v["x"], axis=0, keepdims=True)
    return ops.sum(ops.log(ops.mean(away * away, axis=0)))


def norms(ops: Any, v: Values) -> Any:
    """Rows over their lengths, weighted."""
    length = ops.sqrt(ops.sum(v["x"] * v["x"], axis=1, keepdims=True))
    return ops.mean(v["x"] / length * v["g"])


def cumsum(ops: Any, v: Values) -> Any:
    """Running sums of rows, squared."""
    return ops.mean(ops.cumsum(v["x"], 1) ** 2)


def sort(ops: Any, v: Values) -> Any:
    """Sorted rows, weighted by their places."""
    return ops.mean(ops.sort(v["x"], 1) * v["g"])


def top_k(ops: Any, v: Values) -> Any:
    """The 64 largest of each row."""
    return ops.mean(ops.top_k(v["x"], 64) ** 2)


def median(ops: Any, v: Values) -> Any:
    """Medians of rows of odd length."""
    return ops.mean(ops.median(v["x"], 1) ** 2)


def quantile(ops: Any, v: Values) -> Any:
    """The 0.9-quantile of each row."""
    return ops.mean(ops.quantile(v["x"], 0.9, 1) ** 2)


def extremes(ops: Any, v: Values) -> Any:
    """The range of each row."""
    return ops.mean((ops.max(v["x"], axis=1) + ops.max(-v["x"], axis=1)) ** 2)


_ROWS = {"x": (1000, 1000)}
WORKLOADS = (
    program("logsumexp", "a vector of 2,000,000", logsumexp,
            normal({"x": (2_000_000,)}), "float64"),
    program("logsumexp_rows", "1,000 rows of 1,000", rows, normal(_ROWS)),
    program("softmax", "1,000 rows of 1,000", softmax, normal(_ROWS, {"g": (1000, 1000)})),
    program("variance", "columns of 20,000 x 64", variance, normal({"x": (20_000, 64)})),
    program("norms", "20,000 rows of 64", norms, normal({"x": (20_000, 64)}, {"g": (20_000, 64)})),
    program("cumsum", "1,000 rows of 1,000", cumsum, normal(_ROWS), "float64"),
    program("sort", "200 rows of 2,000", sort,
            normal({"x": (200, 2000)}, {"g": (2000,)}), "float64"),
    program("top_k", "64 of 4,096, 128 rows", top_k, normal({"x": (128, 4096)})),
    program("median", "201 rows of 1,001", median, normal({"x": (201, 1001)})),
    program("quantile", "200 rows of 1,000", quantile, normal({"x": (200, 1000)})),
    program("extremes", "1,000 rows of 1,000", extremes, normal(_ROWS)),
)  # fmt: skip
