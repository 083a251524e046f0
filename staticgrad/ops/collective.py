"""Means over the processes of an MPI job, as values of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from staticgrad import ranks
from staticgrad.errors import DTypeError
from staticgrad.ir.forms import CallForm, Form
from staticgrad.ir.op import Array, Op
from staticgrad.ops.batch_axis import in_front
from staticgrad.ops.cotangent import ZERO
from staticgrad.ops.linalg import is_given
from staticgrad.types.arrays import TensorType, product
from staticgrad.types.dtype import U8


class RankMean(Op, name="rank_mean"):
    """The mean of each operand over all ``ranks``, added up in their order.

    Its derivative is that of the sum over the ranks of what they differentiate: the mean again. So
    the mean over the ranks of their gradients is the gradient of their mean loss.
    """

    ranks: int

    def infer(self, *types: TensorType) -> TensorType | tuple[TensorType, ...]:
        for each in types:
            if not each.dtype.is_float or each.dtype.is_storage:
                raise DTypeError(
                    f"rank_mean: {each} is neither float32 nor float64", hint="x.astype('float32')"
                )
        return types if len(types) > 1 else types[0]

    def reference(self, *arrays: Array) -> Any:
        from staticgrad.native.libraries import collectives

        if self.ranks == 1:
            return arrays if len(arrays) > 1 else arrays[0]
        operands = [np.asarray(array, order="C") for array in arrays]
        results = [np.empty_like(array) for array in operands]
        work = np.empty(ranks.work_bytes(sum(a.nbytes for a in operands), self.ranks), np.uint8)
        collectives.mean(self.ranks, operands, results, work).run()
        return tuple(results) if len(results) > 1 else results[0]

    def batched(self, size: Any, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return self(*in_front(size, args, over))

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """The means of the cotangents: the derivative of the sum over the ranks of their losses."""
        given = ct if isinstance(ct, tuple) else (ct,)
        return tuple(type(self)(self.ranks)(each) if is_given(each) else ZERO for each in given)

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        found = [None if each is None else type(self)(self.ranks)(each) for each in tangents]
        return tuple(found) if len(found) > 1 else found[0]

    def form(self, *types: TensorType) -> Form:
        from staticgrad.native.libraries import collectives

        operands = types[len(types) // 2 :]
        elements = [product(t.shape) for t in operands]
        nbytes = [n * t.dtype.itemsize for n, t in zip(elements, operands, strict=True)]
        known = [n for n in nbytes if isinstance(n, int)]
        most = sum(known) if len(known) == len(nbytes) else ranks.BLOCK
        return CallForm(
            collectives.routine(self.ranks, [(t.dtype.numpy.name, t.rank) for t in operands]),
            tuple(chain.from_iterable(t.shape for t in types)),
            ((U8, ranks.work_bytes(most, self.ranks)),),
            checks=True,
            alone=True,
            flops=sum(elements),
        )


def means(count: int, values: Sequence[Any]) -> tuple[Any, ...]:
    """The means of values over so many ranks, by one exchange."""
    found = RankMean(count)(*values)
    return found if isinstance(found, tuple) else (found,)
