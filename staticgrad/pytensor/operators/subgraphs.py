"""Rows of Ops that contain graphs or other Ops: batches, calls, branches, checks."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

import staticgrad.functions as sg
from staticgrad.extend import broadcast_shapes
from staticgrad.extend.building import within
from staticgrad.programs.transformed import vmap
from staticgrad.pytensor.operators.registry import (
    PyTensorOp,
    PyTensorType,
    apply_row,
    is_known,
    operator,
    row_of,
    shape_of,
    value,
)


@operator("Blockwise")
def _blockwise(*xs: Any, core_op: PyTensorOp, inputs_sig: Any, outputs_sig: Any, out: Any) -> Any:
    kinds = out if isinstance(out[0], tuple) else (out,)
    row = row_of(core_op)
    ranks = [len(shape_of(x)) - len(axes) for x, axes in zip(xs, inputs_sig, strict=True)]
    if not any(ranks) or (row is not None and row.is_batched):
        return apply_row(core_op, xs, kinds)
    core_kinds = tuple([
        PyTensorType(kind.dtype, kind.shape[len(kind.shape) - len(axes) :])
        for kind, axes in zip(kinds, outputs_sig, strict=True)
    ])  # fmt: skip
    batch = broadcast_shapes(
        [shape_of(x)[:rank] for x, rank in zip(xs, ranks, strict=True) if rank]
    )
    mapped: list[Any] = []
    axes_of: list[int | None] = []
    for x, rank in zip(xs, ranks, strict=True):
        core_shape = shape_of(x)[rank:]
        if not rank or all(n == 1 for n in shape_of(x)[:rank]):
            mapped.append(sg.reshape(value(x), core_shape) if rank else x)
            axes_of.append(None)
        else:
            spread = sg.broadcast_to(value(x), (*batch, *core_shape))
            mapped.append(sg.reshape(spread, (-1, *core_shape)) if len(batch) > 1 else spread)
            axes_of.append(0)
    moving = [x for x, axis in zip(mapped, axes_of, strict=True) if axis == 0]

    def compute(*parts: Any) -> Any:
        rows = iter(parts)
        operands = [
            x if axis is None else next(rows) for x, axis in zip(mapped, axes_of, strict=True)
        ]
        return tuple([value(result) for result in apply_row(core_op, operands, core_kinds)])

    if not moving:
        results = compute()
        return tuple([
            sg.broadcast_to(x, (*batch, *x.shape)) for x in results
        ])  # fmt: skip
    results = vmap(compute)(*moving)
    return tuple([sg.reshape(x, (*batch, *x.shape[1:])) for x in results])


@operator("OpFromGraph")
def _call(*operands: Any, fgraph: Any, op: PyTensorOp, name: str | None = None, **_: Any) -> Any:
    with within(scope=name or op.name):
        return tuple(fgraph.run(operands))


@operator("IfElse")
def _if_else(condition: Any, *operands: Any, n_outs: int, out: Any, **_: Any) -> Any:
    kinds = out if isinstance(out[0], tuple) else (out,)
    pairs = [*zip(operands[:n_outs], operands[n_outs:], strict=True)]
    if all(is_known(a) and is_known(b) and np.array_equal(a, b) for a, b in pairs):
        return operands[:n_outs]
    branches = [
        tuple([value(x, kind.dtype) for x, kind in zip(half, kinds, strict=True)])
        for half in (operands[:n_outs], operands[n_outs:])
    ]
    if is_known(condition):
        return branches[0 if bool(condition) else 1]
    first, second = branches
    return tuple(sg.cond(value(condition, "bool"), lambda: first, lambda: second))


@operator("LazyIfElse")
def _lazy_if_else(
    condition: Any, *operands: Any, true_branch: Any, false_branch: Any, **_: Any
) -> Any:
    branches = [true_branch.attributes["fgraph"], false_branch.attributes["fgraph"]]
    if is_known(condition):
        return tuple(branches[0 if bool(condition) else 1].run(operands))

    def branch_of(program: Any) -> Any:
        return lambda *xs: tuple([value(x) for x in program.run(xs)])

    values = [value(x) for x in operands]
    return tuple(sg.cond(value(condition, "bool"), *map(branch_of, branches), *values))


@operator("CheckAndRaise")
def _check(x: Any, *conditions: Any, exc_type: Any, msg: str, **_: Any) -> Any:
    unknown = []
    for condition in conditions:
        if not is_known(condition):
            unknown.append(value(condition, "bool"))
        elif not np.all(condition):
            raise exc_type(msg)
    if not unknown:
        return x
    x = value(x)
    holds = functools.reduce(sg.logical_and, map(sg.all, unknown))
    fail = _Failure(exc_type, msg)
    passes = sg.cond(
        holds,
        lambda: sg.constant(np.True_),
        lambda: sg.host_call(fail, holds, types=((), "bool"), name=f"check.{next(_numbers)}"),
    )
    return sg.where(passes, x, sg.zeros_like(x))


class _Failure:
    """A step that raises an exception: the branch of a check that fails."""

    def __init__(self, kind: type[Exception], message: str) -> None:
        self._kind, self._message = kind, message

    def __call__(self, holds: Any) -> Any:
        raise self._kind(self._message)


_numbers = itertools.count()
