"""Rows of factors of matrices, and of systems that are solved by them."""

from __future__ import annotations

from math import nan
from typing import Any

import staticgrad.functions as sg
from staticgrad import linalg
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.pytensor.operators.registry import (
    PyTensorType,
    operator,
    value,
)


@operator("LU", batched=True)
def _lu(a: Any, *, permute_l: bool, p_indices: bool, out: Any) -> Any:
    rows, lower, upper = linalg.lu(value(a, out[-1].dtype), p_indices=True)
    if p_indices:
        return rows, lower, upper
    if permute_l:
        return sg.take_along_axis(lower, rows[..., None], -2), upper
    count = rows.shape[-1]
    permutation = sg.equal(rows[..., None], sg.arange(count))
    return permutation, lower, upper


@operator("LUFactor", batched=True)
def _lu_factor(a: Any) -> Any:
    packed, pivots = linalg.lu_factor(value(a))
    is_singular = sg.any(linalg.diagonal(packed) == 0, -1, keepdims=True)
    return sg.where(is_singular[..., None], nan, packed), pivots


@operator("PivotToPermutations")
def _permutation(pivots: Any, *, inverse: bool) -> Any:
    pivots = value(pivots, "int64")
    count = pivots.shape[0]

    def exchange(row: Any, order: Any) -> Any:
        target = pivots[row]
        return order.at[row].set(order[target]).at[target].set(order[row])

    order = sg.fori_loop(0, count, exchange, sg.arange(count, dtype="int64"))
    return order if inverse else sg.argsort(order)


@operator("Eig", batched=True)
def _eig(a: Any) -> Any:
    return tuple(linalg.eig(value(a)))


@operator("Schur", batched=True)
def _schur(a: Any, *, output: Any, sort: Any = None) -> Any:
    return tuple(linalg.schur(value(a), output, sort)[:2])


@operator("TRSYL", "SolveSylvester", batched=True)
def _solve_sylvester(a: Any, b: Any, c: Any, *, out: PyTensorType, **_: Any) -> Any:
    operands = [value(x, out.dtype) for x in (a, b, c)]
    return linalg.solve_sylvester(*operands, errors="nan")


@operator("SolveDiscreteARE")
def _solve_riccati(a: Any, b: Any, q: Any, r: Any, *, out: PyTensorType, **_: Any) -> Any:
    operands = [value(x, out.dtype) for x in (a, b, q, r)]
    n, k = operands[1].shape  # one name for each size
    shapes = (n, n), (n, k), (n, n), (k, k)
    operands = [sg.reshape(x, shape) for x, shape in zip(operands, shapes, strict=True)]
    return linalg.solve_discrete_are(*operands, errors="nan")


@operator("TensorInv")
def _tensor_inverse(a: Any, *, ind: int) -> Any:
    return linalg.tensorinv(value(a), ind)


@operator("TensorSolve")
def _tensor_solve(a: Any, b: Any, *, axes: Any, out: PyTensorType) -> Any:
    return linalg.tensorsolve(value(a, out.dtype), value(b, out.dtype), axes)


@operator("QR", batched=True)
def _qr(a: Any, *, mode: str, pivoting: bool = False, out: Any) -> Any:
    kinds = out if isinstance(out[0], tuple) else (out,)
    modes: dict[str, Any] = {"economic": "reduced", "full": "complete", "r": "complete"}
    if pivoting or mode not in modes:
        raise unsupported_variant(f"QR with mode={mode!r}, pivoting={pivoting}")
    factors = linalg.qr(value(a, kinds[0].dtype), modes[mode])
    return factors[1] if mode == "r" else tuple(factors)
