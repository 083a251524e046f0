"""Means over the processes of an MPI job, and the parts that each of them has, as values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from staticgrad import ranks
from staticgrad.errors import DTypeError
from staticgrad.ir.forms import CallForm, Form
from staticgrad.ir.op import Array, Op
from staticgrad.ops.batch_axis import in_front
from staticgrad.ops.cotangent import ZERO
from staticgrad.ops.linalg import is_given
from staticgrad.types.arrays import TensorType, product
from staticgrad.types.dtype import U8, as_dtype


class RankExchange(Op):
    """Arrays exchanged between ``ranks`` processes: the base of the ops of ``ranks.Exchange``.

    Parts are those of updates: they have no derivative.
    """

    kind: ClassVar[str]
    differentiable = False
    ranks: int

    def infer(self, *types: TensorType) -> TensorType | tuple[TensorType, ...]:
        found = tuple(map(self.result, range(len(types)), types))
        return found if len(found) > 1 else found[0]

    def result(self, place: int, operand: TensorType) -> TensorType:
        """The type of a result: this rank's part of the operand."""
        part = ranks.part_size(int(product(operand.shape)), self.ranks)
        return TensorType(operand.dtype, (part,))

    def reference(self, *arrays: Array) -> Any:
        from staticgrad.native.libraries import collectives

        operands = [np.asarray(array, order="C") for array in arrays]
        types = [TensorType(as_dtype(array.dtype), array.shape) for array in operands]
        made = [self.result(place, each) for place, each in enumerate(types)]
        results = [np.empty(each.shape, each.dtype.numpy) for each in made]
        if self.ranks == 1:
            for source, target in zip(operands, results, strict=True):
                target.reshape(-1)[...] = source.reshape(-1)
        else:
            largest = [max(a.nbytes, b.nbytes) for a, b in zip(operands, results, strict=True)]
            work = np.empty(ranks.work_bytes(largest, self.ranks), np.uint8)
            collectives.exchange(self.kind, self.ranks, operands, results, work).run()
        return tuple(results) if len(results) > 1 else results[0]

    def form(self, *types: TensorType) -> Form:
        from staticgrad.native.libraries import collectives

        count = len(types) // 2
        results, operands = types[:count], types[count:]
        largest = [
            max(a, b) if isinstance(a, int) and isinstance(b, int) else ranks.BLOCK
            for a, b in zip(
                *([t.nbytes for t in each] for each in (operands, results)), strict=True
            )
        ]
        kinds = [[(t.dtype.numpy.name, t.rank) for t in each] for each in (operands, results)]
        return CallForm(
            collectives.routine(self.kind, self.ranks, *kinds),
            tuple(chain.from_iterable(t.shape for t in (*operands, *results))),
            ((U8, ranks.work_bytes(largest, self.ranks)),),
            checks=True,
            alone=True,
            flops=sum(product(t.shape) for t in operands),
        )


class RankMean(RankExchange, name="rank_mean"):
    """The mean of each operand over all ``ranks``, added up in their order.

    Its derivative is that of the sum over the ranks of what they differentiate: the mean again. So
    the mean over the ranks of their gradients is the gradient of their mean loss.
    """

    kind = "mean"
    differentiable = True

    def result(self, place: int, operand: TensorType) -> TensorType:
        _check_floats(self, operand)
        return operand

    def batched(self, size: Any, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return self(*in_front(size, args, over))

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """The means of the cotangents: the derivative of the sum over the ranks of their losses."""
        given = ct if isinstance(ct, tuple) else (ct,)
        return tuple(type(self)(self.ranks)(each) if is_given(each) else ZERO for each in given)

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        found = [None if each is None else type(self)(self.ranks)(each) for each in tangents]
        return tuple(found) if len(found) > 1 else found[0]


class RankScatter(RankExchange, name="rank_scatter"):
    """This rank's part of the mean of each operand over all ``ranks``, added up in their order."""

    kind = "scatter"

    def result(self, place: int, operand: TensorType) -> TensorType:
        _check_floats(self, operand)
        return super().result(place, operand)


class RankPart(RankExchange, name="rank_part"):
    """This rank's part of each operand, as ``rank_scatter`` divides it; nothing is sent."""

    kind = "part"


class RankGather(RankExchange, name="rank_gather"):
    """The arrays of so many ``elements``, flat, of which each operand is a rank's part."""

    kind = "gather"
    elements: tuple[int, ...]

    def result(self, place: int, operand: TensorType) -> TensorType:
        return TensorType(operand.dtype, (self.elements[place],))


def _check_floats(op: Op, operand: TensorType) -> None:
    if not operand.dtype.is_float or operand.dtype.is_storage:
        raise DTypeError(
            f"{op.name}: {operand} is neither float32 nor float64", hint="x.astype('float32')"
        )


def means(count: int, values: Sequence[Any]) -> tuple[Any, ...]:
    """The means of values over so many ranks, by one exchange."""
    return _together(RankMean(count), values)


def parts(count: int, values: Sequence[Any]) -> tuple[Any, ...]:
    """This rank's parts of values that all ranks have equal."""
    return _together(RankPart(count), values)


def parts_of_means(count: int, values: Sequence[Any]) -> tuple[Any, ...]:
    """This rank's parts of the means of values over so many ranks, by one exchange."""
    return _together(RankScatter(count), values)


def gathered(count: int, elements: Sequence[int], values: Sequence[Any]) -> tuple[Any, ...]:
    """The flat values of so many elements, of which these are the ranks' parts, by one exchange."""
    return _together(RankGather(count, tuple(elements)), values)


def _together(op: Op, values: Sequence[Any]) -> tuple[Any, ...]:
    found = op(*values)
    return found if isinstance(found, tuple) else (found,)
