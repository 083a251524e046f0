"""Scalar expressions over NumPy arrays: the exact meaning of every primitive.

``interpret`` is the oracle that renderers are compared with, bit for bit (any NaN equals any NaN).
It evaluates a DAG once, operands before users, and drops each array after its last reader. Blocks
are evaluated by their definitions. The caller says what a load, an index, a size or a ref holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticgrad.language.ir.expr import BLOCKS, LEAVES, Expr, postorder, ref, words_of
from staticgrad.language.ir.scalar_loop import Iterated, ScalarLoop
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dtype import DType, as_dtype
from staticgrad.language.vecmath.blocks import expand
from staticgrad.support.primitives import MEANING, scale, window

Array = NDArray[Any]


def interpret(roots: Iterable[Expr], leaf: Callable[..., Array]) -> list[Array]:
    """The values of ``roots``, in their dtypes, of the common broadcast shape of their leaves."""
    return _interpret_order(list(roots), leaf, {})


def _interpret_order(
    roots: list[Expr], leaf: Callable[..., Array], arrays_by_id: Mapping[int, Array]
) -> list[Array]:
    """Evaluate scalar expressions over NumPy arrays, operands first."""
    order = list(postorder(roots, arrays_by_id))
    readers = Counter(id(arg) for node in order for arg in node.args)
    readers.update(id(root) for root in roots)
    readers.update(list(arrays_by_id))
    values = dict(arrays_by_id)
    ended: dict[ScalarLoop, list[Array]] = {}
    with np.errstate(all="ignore"):
        for node in order:
            operands = [values[id(arg)] for arg in node.args]
            if isinstance(node, Iterated):
                if node.loop not in ended:
                    ended[node.loop] = _run_loop(node.loop, operands, leaf)
                values[id(node)] = ended[node.loop][node.place]
            else:
                values[id(node)] = _evaluate(node, operands, leaf)
            for arg in node.args:
                readers[id(arg)] -= 1
                if not readers[id(arg)]:
                    del values[id(arg)]
    return [values[id(root)] for root in roots]


def _run_loop(loop: ScalarLoop, operands: list[Array], leaf: Callable[..., Array]) -> list[Array]:
    """Run a scalar loop over arrays until all elements have ended; return its carries."""
    count = len(loop.carried)
    outside = {id(e): v for e, v in zip(loop.outside, operands[count:], strict=True)}
    carries = list(operands[:count])
    for _ in range(loop.iterations):
        names = {id(e): v for e, v in zip(loop.carried, carries, strict=True)}
        (going,) = _interpret_order([loop.going], leaf, outside | names)
        if not np.any(going):
            break
        next_carries = _interpret_order(list(loop.following), leaf, outside | names)
        carries = [
            np.where(going, new, old) for new, old in zip(next_carries, carries, strict=True)
        ]
    return carries


def _evaluate(node: Expr, operands: list[Array], leaf: Callable[..., Array]) -> Array:
    """Evaluate one primitive of a scalar expression over NumPy arrays."""
    if node.op == "literal":
        return np.asarray(node.attribute, node.dtype.numpy)
    if node.op in LEAVES:
        value = np.asarray(leaf(node, *operands))
        if value.dtype != node.dtype.numpy:
            raise TypeError(f"the leaf {node!r} got an array of {value.dtype}")
        return value
    if node.op in BLOCKS:
        return _block(node.op, node.dtype, operands)
    if node.op == "cast":
        return convert_array(operands[0], node.dtype)
    if node.op == "bitcast":
        return operands[0].view(node.dtype.numpy)
    if node.op == "window":
        return window(operands[0], words_of(str(node.attribute)))
    if node.op == "scale":
        return _scale(*operands)
    return np.asarray(MEANING[node.op](*operands))


@lru_cache(maxsize=64)
def _definition(op: str, dtype: DType) -> Expr:
    """The expansion of a block over refs named by operand position."""
    return expand(op, *(ref(str(position), dtype) for position in range(BLOCKS[op].operands)))


def _block(op: str, dtype: DType, operands: Sequence[Array]) -> Array:
    named = {str(position): operand for position, operand in enumerate(operands)}
    return interpret([_definition(op, dtype)], lambda node: named[node.attribute])[0]


def _scale(a: Array, low_bits: Array) -> Array:
    """a * 2**n rounded once, of a float whose low bits hold n and twice the bias."""
    dtype = as_dtype(a.dtype)
    n = low_bits - dtype.numpy.type(1.5 * 2.0 ** (dtype.digits - 1) + 2 * dtype.bias)
    return scale(a, n)
