"""Means over the processes of an MPI job, and the parts that each of them has, as values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar, NamedTuple

import numpy as np

from staticgrad.errors import DTypeError, ShapeError
from staticgrad.language.ir.bodies import is_body_input
from staticgrad.language.ir.forms import CallForm, Form
from staticgrad.language.ir.graph import Input, Symbolic, ancestors
from staticgrad.language.ir.nodes import running_session
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ir.pairs import has_parts
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import size_value
from staticgrad.language.ops.cotangent import ZERO
from staticgrad.language.ops.indexing import stack
from staticgrad.language.ops.linalg import is_given
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import reshape
from staticgrad.language.ops.operands import as_value, as_values, known_integer
from staticgrad.language.types.arrays import TensorType, product
from staticgrad.language.types.dtype import F64, U8, as_dtype
from staticgrad.support import ranks


class RankExchange(Op):
    """Arrays exchanged between ``ranks`` processes: the base of the ops of ``ranks.Exchange``.

    Parts are those of updates: they have no derivative.
    """

    kind: ClassVar[str]
    differentiable = False
    exchanges = True
    ranks: int

    @property
    def weighting(self) -> str:
        """Return how means are weighted: "" for the plain mean."""
        return ""

    def infer(self, *types: TensorType) -> TensorType | tuple[TensorType, ...]:
        if self.weighting and (types[0].dtype is not F64 or types[0].rank != 1):
            raise DTypeError(f"{self.name}: the sizes are {types[0]}, not a vector of float64")
        exchanged = types[1:] if self.weighting else types
        results = tuple(map(self.result, range(len(exchanged)), exchanged))
        return results if len(results) > 1 else results[0]

    def result(self, place: int, operand: TensorType) -> TensorType:
        """The type of a result: this rank's part of the operand."""
        part = ranks.part_size(int(product(operand.shape)), self.ranks)
        return TensorType(operand.dtype, (part,))

    def reference(self, *arrays: Array) -> Any:
        """Compute an exchange between MPI ranks by NumPy, outside of a compiled step."""
        from staticgrad.native.libraries import collectives

        sizes, arrays = (arrays[0], arrays[1:]) if self.weighting else (None, arrays)
        operands = [np.asarray(array, order="C") for array in arrays]
        types = [TensorType(as_dtype(array.dtype), array.shape) for array in operands]
        result_types = [self.result(place, kind) for place, kind in enumerate(types)]
        results = [np.empty(kind.shape, kind.dtype.numpy) for kind in result_types]
        if self.ranks == 1:
            for source, target in zip(operands, results, strict=True):
                target.reshape(-1)[...] = source.reshape(-1)
        else:
            largest = [max(a.nbytes, b.nbytes) for a, b in zip(operands, results, strict=True)]
            work = np.empty(ranks.work_bytes(largest, self.ranks), np.uint8)
            collectives.exchange(
                self.kind, self.ranks, operands, results, work, sizes, self.weighting
            ).run()
        return tuple(results) if len(results) > 1 else results[0]

    def form(self, *types: TensorType) -> Form:
        """Return the library call of an exchange between MPI ranks, with its scratch memory."""
        from staticgrad.native.libraries import collectives

        count = len(types) // 2
        results, operand_types = types[:count], types[count:]
        operands = operand_types[1:] if self.weighting else operand_types
        largest = [
            max(a, b) if isinstance(a, int) and isinstance(b, int) else ranks.BLOCK
            for a, b in zip(
                *([t.nbytes for t in group] for group in (operands, results)), strict=True
            )
        ]
        kinds = [
            [(t.dtype.numpy.name, t.rank) for t in group] for group in (operand_types, results)
        ]
        return CallForm(
            collectives.routine(self.kind + self.weighting, self.ranks, *kinds),
            tuple(chain.from_iterable(t.shape for t in (*operand_types, *results))),
            ((U8, ranks.work_bytes(largest, self.ranks)),),
            checks=True,
            alone=True,
            flops=sum(product(t.shape) for t in operands),
        )


class RankAverage(RankExchange):
    """The base of means over the ranks.

    ``rows``: "" for a plain mean. Otherwise the first operand has the sizes that say how many rows
    each rank has: "weighted" for a mean weighted by them (``ranks.Job.shares``), "equal" if unequal
    shares are an error.
    """

    rows: str = ""

    @property
    def weighting(self) -> str:
        return self.rows

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        return as_values(*args)


class RankMean(RankAverage, name="rank_mean"):
    """The mean of each operand over all ``ranks``, added up in their order.

    Its derivative is that of the sum over the ranks of what they differentiate, each weighted as in
    the mean: the mean again. So the mean over the ranks of their gradients is the gradient of their
    mean loss.
    """

    kind = "mean"
    differentiable = True

    def result(self, place: int, operand: TensorType) -> TensorType:
        _check_floats(self, operand)
        return operand

    def batching_rule(self, size: Any, args: Sequence[Any], over: Sequence[bool]) -> Any:
        first = 1 if self.rows else 0
        if any(over[:first]):
            raise ShapeError(f"{self.name}: the rows of a rank are one number, not one per example")
        return self(*args[:first], *in_front(size, args[first:], over[first:]))

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """The means of the cotangents: the derivative of the sum over the ranks of their losses."""
        cts = ct if isinstance(ct, tuple) else (ct,)
        sizes = args[:1] if self.rows else ()
        means = [self(*sizes, cotangent) if is_given(cotangent) else ZERO for cotangent in cts]
        return (*(ZERO for _ in sizes), *means)

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        sizes = args[:1] if self.rows else ()
        means = [
            None if tangent is None else self(*sizes, tangent) for tangent in tangents[len(sizes) :]
        ]
        return tuple(means) if len(means) > 1 else means[0]


class RankScatter(RankAverage, name="rank_scatter"):
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


class Rows(NamedTuple):
    """The sizes that say how many rows a rank has, and the attribute of the ops that read them."""

    sizes: tuple[Any, ...] = ()  # no value, or a vector
    attribute: str = ""


def arrays_behind(value: Any) -> Sequence[Any]:
    """Return the arguments of the traced function, or the inputs of a graph that a value reads."""
    session = running_session()
    if session is not None and session.inputs is not None:
        return session.inputs
    nodes = [] if getattr(value, "computes", True) else ancestors([value])
    inputs = [node for node in nodes if isinstance(node.op, Input) and not is_body_input(node)]
    return [Symbolic(node) for node in sorted(inputs, key=lambda node: node.serial)]


def rows_of(name: str, value: Any, rows: Any = None) -> Rows:
    """Return this rank's number of rows: the size of axis 0 of the arrays that ``value`` reads.

    In a traced function these are its arguments, in a graph its inputs. A tensor outside of a
    function has none. ``rows``: the number itself, if the caller has one.
    """
    session = running_session()
    nodes = [] if getattr(value, "computes", True) else ancestors([value])
    inputs = arrays_behind(value)
    pairs = [isinstance(x, Symbolic) and has_parts(x.node.op) for x in inputs]
    shapes = [x.shape[:-1] if pair else x.shape for x, pair in zip(inputs, pairs, strict=True)]
    sizes = [shape[0] for shape in shapes if shape]
    if rows is not None:
        number = as_value(rows)
        if number.shape or number.dtype.is_complex:
            raise ShapeError(f"{name}: rows is {number.type}, not one number")
        vector = reshape(stop_gradient(number.astype(F64)), (1,))
    elif not sizes:
        return Rows()
    elif None in (integers := [known_integer(size) for size in sizes]):
        vector = stack([size_value(size) for size in sizes])
    else:
        vector = np.array(integers, np.float64)
    draws = (session is not None and session.draws) or any(node.op.draws_by_rank for node in nodes)
    return Rows((vector,), "equal" if draws else "weighted")


def means(count: int, values: Sequence[Any], rows: Rows = Rows()) -> tuple[Any, ...]:  # noqa: B008
    """The means of values over so many ranks, by one exchange."""
    return _together(RankMean(count, rows.attribute), [*rows.sizes, *values])


def parts(count: int, values: Sequence[Any]) -> tuple[Any, ...]:
    """This rank's parts of values that all ranks have equal."""
    return _together(RankPart(count), values)


def parts_of_means(count: int, values: Sequence[Any], rows: Rows) -> tuple[Any, ...]:
    """This rank's parts of the means of values over so many ranks, by one exchange."""
    return _together(RankScatter(count, rows.attribute), [*rows.sizes, *values])


def gather(count: int, elements: Sequence[int], values: Sequence[Any]) -> tuple[Any, ...]:
    """The flat values of so many elements, of which these are the ranks' parts, by one exchange."""
    return _together(RankGather(count, tuple(elements)), values)


def _together(op: Op, values: Sequence[Any]) -> tuple[Any, ...]:
    results = op(*values)
    return results if isinstance(results, tuple) else (results,)
